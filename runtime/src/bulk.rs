//! Many inputs at once, on a workstation: a session for each thread, results in the order of the inputs.
//!
//! ```text
//!   inputs ──► a window of 1,024 ──► sorted, longest first ──► batches of 8 ──► whoever is free
//!                                                                                  │
//!   results in order ◄──────────────────────── put back to their places ◄──────────┘
//! ```
//!
//! Each input runs by itself, as a device runs it, so its logits are the same bits. (Rows of several
//! texts in one product would bring nothing: a token takes as long among 16 as among 128.) What costs
//! is a thread that still works at one long text while the others are done. So the longest go first,
//! and no thread has a share of its own. At any time one window is in memory.

use std::fmt;
use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread::{self, Builder};

use crate::error::{OpenError, QueryError};
use crate::model::Model;
use crate::session::Session;

/// How many inputs are in memory at a time.
pub const WINDOW: usize = 1_024;

/// How many inputs of about the same length a thread takes at a time.
const BATCH: usize = 8;

/// The tokens of one input.
#[derive(Copy, Clone, Debug)]
pub struct Input<I> {
    /// Their ids.
    pub ids: I,
    /// The first token of the second text; as many as there are where there is none.
    pub second: usize,
}

/// Threads' worth of sessions.
pub struct Bulk {
    sessions: Vec<Session>,
}

/// An input that has no answer, and why.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct BulkError {
    /// Which input, counted from 0.
    pub index: usize,
    /// What is wrong with it.
    pub source: QueryError,
}

impl fmt::Display for BulkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "input {}: {}", self.index + 1, self.source)
    }
}

impl std::error::Error for BulkError {}

impl Bulk {
    /// Makes a session of `model` for each of so many threads.
    ///
    /// # Errors
    /// As [`Model::session`].
    pub fn new(model: &Model, threads: NonZero<usize>) -> Result<Self, OpenError> {
        let sessions = (0..threads.get()).map(|_| model.session());
        let sessions = sessions.collect::<Result<_, _>>()?;
        Ok(Bulk { sessions })
    }

    /// Calls `done` with the logits of each input, in the order of the inputs. Where the system starts fewer threads,
    /// those that it starts do all the work, or the caller's alone.
    ///
    /// # Errors
    /// At the first input that has no answer; `done` has been called for all before it.
    pub fn logits<I: AsRef<[u32]> + Sync>(
        &mut self,
        inputs: impl IntoIterator<Item = Input<I>>,
        mut done: impl FnMut(Vec<f32>),
    ) -> Result<(), BulkError> {
        let mut inputs = inputs.into_iter();
        let mut before = 0;
        loop {
            let window: Vec<Input<I>> = inputs.by_ref().take(WINDOW).collect();
            if window.is_empty() {
                return Ok(());
            }
            for (index, result) in self.window(&window).into_iter().enumerate() {
                let index = before + index;
                done(result.map_err(|source| BulkError { index, source })?);
            }
            before += window.len();
        }
    }

    /// The logits of each of a few inputs, computed by all threads.
    fn window<I: AsRef<[u32]> + Sync>(
        &mut self,
        inputs: &[Input<I>],
    ) -> Vec<Result<Vec<f32>, QueryError>> {
        let mut order: Vec<usize> = (0..inputs.len()).collect();
        order.sort_by_key(|&index| std::cmp::Reverse(inputs[index].ids.as_ref().len()));
        let batches: Vec<&[usize]> = order.chunks(BATCH).collect();
        let next = AtomicUsize::new(0);
        let work = |session: &mut Session| {
            let mut answers = Vec::new();
            while let Some(batch) = batches.get(next.fetch_add(1, Relaxed)) {
                for &index in *batch {
                    let Input { ids, second } = &inputs[index];
                    let logits = session.logits_of(ids.as_ref(), *second);
                    answers.push((index, logits.map(<[f32]>::to_vec)));
                }
            }
            answers
        };
        let mut results = vec![Err(QueryError::Plan); inputs.len()];
        thread::scope(|scope| {
            // No more threads than batches, and the present one is one of them.
            let count = self.sessions.len().min(batches.len());
            let (own, others) = self.sessions[..count].split_at_mut(1);
            let others: Vec<_> = others
                .iter_mut()
                .map_while(|session| Builder::new().spawn_scoped(scope, || work(session)).ok())
                .collect();
            let mut answers = own.first_mut().map(work).unwrap_or_default();
            for thread in others {
                match thread.join() {
                    Ok(more) => answers.extend(more),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            for (index, answer) in answers {
                results[index] = answer;
            }
        });
        results
    }
}
