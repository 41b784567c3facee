//! An ONNX file run as it is, through tract on the workstation, and what each kind of operator costs.
//!
//! A plan is made for one length and thrown away when all inputs of that length have run. Lengths go up
//! in steps of 32 where the model has an `attention_mask` to say what is padding; else every length has
//! a plan of its own. Inputs are taken by Hugging Face's names.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use thiserror::Error;
use tract_onnx::tract_hir::internal::*;

use super::proto::{Model, ProtoError, told};

/// In what steps lengths go up.
const STEP: usize = 32;

/// Why a file did not run.
#[derive(Debug, Error)]
pub enum RunError {
    /// It can't be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is no ONNX model, or damaged.
    #[error("{}: {source}", path.display())]
    Proto {
        /// The file.
        path: PathBuf,
        /// In what way.
        source: ProtoError,
    },
    /// An input that is none of a BERT's.
    #[error(
        "{}: it has an input `{name}`; only input_ids, attention_mask and token_type_ids are known",
        path.display()
    )]
    Input {
        /// The file.
        path: PathBuf,
        /// The input.
        name: String,
    },
    /// tract can't run it.
    #[error("{}: tract does not run it: {what}", path.display())]
    Tract {
        /// The file.
        path: PathBuf,
        /// What it said.
        what: String,
    },
}

/// One input of a model.
#[derive(Copy, Clone, Debug)]
pub struct Tokens<'i> {
    /// The ids, without padding.
    pub ids: &'i [u32],
    /// The first position of the second text; the length without one.
    pub second: usize,
}

/// What a kind of operator cost.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// tract's name for it.
    pub op: String,
    /// Its share of the time, from 0 to 1.
    pub share: f64,
    /// How often it ran.
    pub calls: u64,
}

type Times = BTreeMap<String, (Duration, u64)>;

/// An open file.
pub struct Run {
    path: PathBuf,
    model: InferenceModel,
    inputs: Vec<(Input, DatumType)>,
    /// Whether the outputs are a start and an end.
    spans: bool,
    times: Times,
}

/// What an input is for.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
enum Input {
    Ids,
    Mask,
    Types,
}

impl Run {
    /// Opens a file.
    ///
    /// # Errors
    /// When it is damaged, has unknown inputs, or operators that tract lacks.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let error = |what: &TractError| tract(path, what);
        let spans = is_spans(path)?;
        let model = guarded(path, || tract_onnx::onnx().model_for_path(path))?;
        let mut inputs = Vec::new();
        let outlets = guarded(path, || Ok(model.input_outlets()?.to_vec()))?;
        for outlet in outlets {
            let name = &model.node(outlet.node).name;
            let input = match name.as_str() {
                "input_ids" => Input::Ids,
                "attention_mask" => Input::Mask,
                "token_type_ids" => Input::Types,
                _ => {
                    let (path, name) = (path.to_owned(), told(name));
                    return Err(RunError::Input { path, name });
                }
            };
            let fact = model.outlet_fact(outlet).map_err(|what| error(&what))?;
            inputs.push((input, fact.datum_type().unwrap_or(i64::datum_type())));
        }
        Ok(Run {
            path: path.to_owned(),
            model,
            inputs,
            spans,
            times: Times::new(),
        })
    }

    /// The logits of every input, in their order: row by row where there are rows for each token, start
    /// and end side by side. `most` is the longest input that the model takes; `done` is called after
    /// each input.
    ///
    /// # Errors
    /// When tract can't compute them.
    pub fn logits(
        &mut self,
        inputs: &[Tokens],
        most: usize,
        threads: usize,
        done: &(dyn Fn() + Sync),
    ) -> Result<Vec<Vec<f32>>, RunError> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (at, input) in inputs.iter().enumerate() {
            let length = self.padded(input.ids.len(), most);
            by_length.entry(length).or_default().push(at);
        }
        let mut logits = vec![Vec::new(); inputs.len()];
        for (length, places) in by_length {
            let plan = guarded(&self.path, || self.plan(length))?;
            let next = AtomicUsize::new(0);
            let results = Mutex::new((Vec::new(), Times::new(), None));
            thread::scope(|scope| {
                for _ in 0..threads.clamp(1, places.len()) {
                    scope.spawn(|| {
                        let mut times = Times::new();
                        let mut state = None;
                        while let Some(&at) = places.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let ran = guarded(&self.path, || {
                                let state = match &mut state {
                                    Some(state) => state,
                                    none => none.insert(plan.spawn()?),
                                };
                                self.one(state, inputs[at], length, &mut times)
                            });
                            let mut results = results.lock().expect("no thread panics with it");
                            match ran {
                                Ok(row) => results.0.push((at, row)),
                                Err(error) => {
                                    results.2 = Some(error);
                                    return;
                                }
                            }
                            done();
                        }
                        let mut results = results.lock().expect("no thread panics with it");
                        add(&mut results.1, &times);
                    });
                }
            });
            let (rows, times, failed) = results.into_inner().expect("no thread panics with it");
            if let Some(error) = failed {
                return Err(error);
            }
            rows.into_iter().for_each(|(at, row)| logits[at] = row);
            add(&mut self.times, &times);
        }
        Ok(logits)
    }

    /// What each kind of operator cost so far, the dearest first.
    pub fn shares(&self) -> Vec<Share> {
        let all: Duration = self.times.values().map(|(time, _)| *time).sum();
        let share = |(op, (time, calls)): (&String, &(Duration, u64))| Share {
            op: op.clone(),
            share: time.as_secs_f64() / all.as_secs_f64().max(f64::MIN_POSITIVE),
            calls: *calls,
        };
        let mut shares: Vec<_> = self.times.iter().map(share).collect();
        shares.sort_by(|one, other| other.share.total_cmp(&one.share));
        shares
    }

    /// How long an input is made.
    fn padded(&self, length: usize, most: usize) -> usize {
        let has_mask = self.inputs.iter().any(|(input, _)| *input == Input::Mask);
        match has_mask {
            true => length.next_multiple_of(STEP).min(most).max(length),
            false => length,
        }
    }

    fn plan(&self, length: usize) -> TractResult<Arc<TypedSimplePlan>> {
        let mut model = self.model.clone();
        for (place, (_, kind)) in self.inputs.iter().enumerate() {
            model.set_input_fact(place, InferenceFact::dt_shape(*kind, [1, length]))?;
        }
        model.into_optimized()?.into_runnable()
    }

    fn one(
        &self,
        state: &mut TypedSimpleState,
        tokens: Tokens,
        length: usize,
        times: &mut Times,
    ) -> TractResult<Vec<f32>> {
        let mut values = tvec![];
        for (input, kind) in &self.inputs {
            let number = |at: usize| match input {
                Input::Ids => tokens.ids.get(at).map_or(0, |&id| i64::from(id)),
                Input::Mask => i64::from(at < tokens.ids.len()),
                Input::Types => i64::from(at >= tokens.second && at < tokens.ids.len()),
            };
            let data: Vec<i64> = (0..length).map(number).collect();
            let tensor = Tensor::from_shape(&[1, length], &data)?;
            values.push(tensor.cast_to_dt(*kind)?.into_owned().into_tvalue());
        }
        let outputs = state.run_plan_with_eval(values, |context, op_state, node, inputs| {
            let begun = Instant::now();
            let result = tract_onnx::tract_core::plan::eval(context, op_state, node, inputs);
            let entry = times.entry(node.op.name().into_owned()).or_default();
            entry.0 += begun.elapsed();
            entry.1 += 1;
            result
        })?;
        self.answer(&outputs, tokens.ids.len())
    }

    /// The outputs as one row for each token, or as one row.
    fn answer(&self, outputs: &[TValue], tokens: usize) -> TractResult<Vec<f32>> {
        let floats = |at: usize| -> TractResult<(Vec<f32>, usize)> {
            let output = outputs
                .get(at)
                .with_context(|| "an output is missing".to_owned())?;
            let floats = output.cast_to::<f32>()?;
            let data = floats.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((data, output.rank()))
        };
        let (mut first, rank) = floats(0)?;
        if self.spans {
            let (end, _) = floats(1)?;
            let both = first.into_iter().zip(end).take(tokens);
            return Ok(both.flat_map(|(start, end)| [start, end]).collect());
        }
        if rank == 3 {
            let width = outputs[0].shape()[2];
            first.truncate(tokens * width);
        }
        Ok(first)
    }
}

/// Whether the outputs are a start and an end. Damage is told here, before tract reads the file.
fn is_spans(path: &Path) -> Result<bool, RunError> {
    let bytes = std::fs::read(path).map_err(|source| RunError::Read {
        path: path.to_owned(),
        source,
    })?;
    let proto = |source| RunError::Proto {
        path: path.to_owned(),
        source,
    };
    let model = Model::read(&bytes).map_err(proto)?;
    for external in model.externals() {
        let location = external.location;
        if Path::new(location)
            .file_name()
            .is_none_or(|last| last != location)
        {
            return Err(proto(ProtoError::External {
                name: "?".to_owned(),
                location: told(location),
                offset: external.offset,
            }));
        }
    }
    Ok(model.outputs == ["start_logits", "end_logits"])
}

fn tract(path: &Path, what: &TractError) -> RunError {
    RunError::Tract {
        path: path.to_owned(),
        what: format!("{what:#}").replace('\n', " "),
    }
}

/// Runs tract's code. It has panics for what it does not expect in a file; those are errors too.
fn guarded<T>(path: &Path, run: impl FnOnce() -> TractResult<T>) -> Result<T, RunError> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(tract(path, &error)),
        Err(_) => Err(RunError::Tract {
            path: path.to_owned(),
            what: "it gave up in the middle".to_owned(),
        }),
    }
}

fn add(sum: &mut Times, times: &Times) {
    for (op, (time, calls)) in times {
        let entry = sum.entry(op.clone()).or_default();
        entry.0 += *time;
        entry.1 += calls;
    }
}
