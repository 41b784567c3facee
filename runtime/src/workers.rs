//! Threads that share a query: started with the session, asleep between queries.
//!
//! ```text
//!   caller   give ──► part 0 ──► wait ─────────────► give …
//!              \                  ▲
//!   worker 1    └──► part 1 ──────┤   spin, then park until the next
//!   worker 2    └──► part 2 ──────┘
//! ```
//!
//! 1. **One slot a worker.** A slot belongs to the caller, but from `READY` until `DONE` to the worker:
//!    whoever doesn't own it only looks at its state. So a job needs no lock and no queue.
//! 2. **No allocation and no search.** Part `n` is always worker `n`'s. A job is an address, a number and a
//!    handle of the caller's thread; the handle is counted, not copied.
//! 3. **Spin, then park.** The steps of a layer follow one another within microseconds, which is less than
//!    the system takes to wake a thread; between queries nothing spins.
//! 4. **A panic is the caller's.** It is caught in the worker, which lives on, and goes on in the caller's
//!    thread once all parts have ended.

use std::any::Any;
use std::cell::UnsafeCell;
use std::fmt;
use std::hint;
use std::io;
use std::mem;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, TryLockError};
use std::thread::{self, Builder, JoinHandle, Thread};

use berth_encoder::Team;

/// How many threads share one query of a session, the caller's among them: 1 to
/// [`MAX_THREADS`](berth_encoder::MAX_THREADS).
///
/// More than the machine has cores only cost. The answers are the same bits for any number.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Threads(pub usize);

impl Default for Threads {
    /// The caller's alone.
    fn default() -> Self {
        Threads(1)
    }
}

/// How often a thread looks again before it goes to sleep: some 30 to 100 microseconds.
const SPINS: u32 = 2_000;

/// The slot is the caller's, and there was no job yet or the last one went well.
const DONE: u32 = 0;
/// The slot is the worker's, with a job in it.
const READY: u32 = 1;
/// The slot is the caller's, and the last job panicked.
const FAILED: u32 = 2;
/// The worker is to end.
const CLOSED: u32 = 3;

/// The threads of one session beside the caller's.
pub(crate) struct Workers {
    workers: Vec<Worker>,
    /// Held by the one who hands out jobs.
    busy: Mutex<()>,
}

struct Worker {
    slot: Arc<Slot>,
    /// There until the worker is dropped.
    thread: Option<JoinHandle<()>>,
}

/// Where a worker finds its jobs; in cache lines of its own.
#[repr(align(128))]
struct Slot {
    state: AtomicU32,
    content: UnsafeCell<Content>,
}

#[derive(Default)]
struct Content {
    job: Option<Job>,
    panic: Option<Box<dyn Any + Send>>,
}

/// One part of a piece of work.
struct Job {
    work: &'static (dyn Fn(usize) + Sync),
    part: usize,
    caller: Thread,
}

// SAFETY: the content is touched only by the owner of the slot, whom `state` names: by the caller, of
// whom there is one at a time (`Workers::busy`, or `&mut self`), unless the state is `READY`, and by the
// worker while it is. Each hands over by a store with release, which the other has loaded with acquire
// before it touches the content. What is handed over may be sent to another thread: `work` is `Sync`.
unsafe impl Sync for Slot {}
// SAFETY: as above.
unsafe impl Send for Slot {}

impl Workers {
    /// Starts the threads beside the caller's, and waits until each has done its first part: what the
    /// system allocates for a new thread is not left to the first query that needs it.
    ///
    /// # Errors
    /// When the system refuses one; those that were started have ended then.
    pub(crate) fn start(threads: Threads) -> io::Result<Self> {
        let workers = (1..threads.0).map(Worker::start);
        let team = Workers {
            workers: workers.collect::<io::Result<_>>()?,
            busy: Mutex::new(()),
        };
        team.run(team.threads(), &|_| ());
        Ok(team)
    }
}

// SAFETY: each part is done once, in order below or by the worker of its number, and `Given` waits for
// all workers that were given one, also where a part panics in this thread.
unsafe impl Team for Workers {
    fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    fn run(&self, parts: usize, work: &(dyn Fn(usize) + Sync)) {
        assert!(parts <= self.threads(), "a thread for each part");
        // Asked from two threads at once, or from within a part, the second does it all by itself.
        let busy = match self.busy.try_lock() {
            Err(TryLockError::WouldBlock) => None,
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Ok(busy) => Some(busy),
        };
        let others = &self.workers[..parts.saturating_sub(1)];
        if busy.is_none() || others.is_empty() {
            return (0..parts).for_each(work);
        }
        let given = Given { others };
        for (worker, part) in others.iter().zip(1..) {
            // SAFETY: `given` is dropped before this call returns or unwinds, and waits for the worker.
            unsafe { worker.give(work, part) };
        }
        work(0);
        drop(given);
        if let Some(panic) = others.iter().find_map(Worker::take_panic) {
            panic::resume_unwind(panic);
        }
    }
}

/// Workers that may have a job; dropping it waits until none has.
struct Given<'w> {
    others: &'w [Worker],
}

impl Drop for Given<'_> {
    fn drop(&mut self) {
        for worker in self.others {
            worker.slot.wait(|state| state != READY);
        }
    }
}

impl Worker {
    fn start(number: usize) -> io::Result<Self> {
        let slot = Arc::new(Slot {
            state: AtomicU32::new(DONE),
            content: UnsafeCell::default(),
        });
        let served = slot.clone();
        let name = format!("berth-{number}");
        let thread = Builder::new().name(name).spawn(move || served.serve())?;
        Ok(Worker {
            slot,
            thread: Some(thread),
        })
    }

    /// Hands the worker a part. The slot is the caller's.
    ///
    /// # Safety
    /// `work` lives until the slot is the caller's again.
    unsafe fn give(&self, work: &(dyn Fn(usize) + Sync), part: usize) {
        // SAFETY: only the lifetime is made longer; the worker has dropped the reference when it gives
        // the slot back, until when the caller of this function keeps `work` alive.
        let work = unsafe {
            mem::transmute::<&(dyn Fn(usize) + Sync), &'static (dyn Fn(usize) + Sync)>(work)
        };
        let job = Job {
            work,
            part,
            caller: thread::current(),
        };
        // SAFETY: the slot is the caller's, and there is one caller.
        unsafe { (*self.slot.content.get()).job = Some(job) };
        self.tell(READY);
    }

    /// Sets the state and wakes the worker.
    fn tell(&self, state: u32) {
        self.slot.state.store(state, Ordering::Release);
        if let Some(thread) = &self.thread {
            thread.thread().unpark();
        }
    }

    /// What the last job panicked with. The slot is the caller's.
    fn take_panic(&self) -> Option<Box<dyn Any + Send>> {
        if self.slot.state.load(Ordering::Acquire) != FAILED {
            return None;
        }
        // SAFETY: the slot is the caller's, and there is one caller.
        unsafe { (*self.slot.content.get()).panic.take() }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.tell(CLOSED);
        if let Some(thread) = self.thread.take() {
            // It ends by itself, and never by a panic.
            let _ = thread.join();
        }
    }
}

impl Slot {
    /// What a worker does all its life.
    fn serve(&self) {
        loop {
            let state = self.wait(|state| state == READY || state == CLOSED);
            if state == CLOSED {
                return;
            }
            // SAFETY: with `READY` the slot is the worker's.
            let job = unsafe { (*self.content.get()).job.take() };
            let Some(Job { work, part, caller }) = job else {
                continue; // Never: `READY` is told only behind a job.
            };
            let done = panic::catch_unwind(AssertUnwindSafe(|| work(part)));
            let state = if done.is_ok() { DONE } else { FAILED };
            // SAFETY: the slot is still the worker's.
            let last = unsafe { mem::replace(&mut (*self.content.get()).panic, done.err()) };
            // One that nobody took, since the caller panicked as well. Its drop is somebody's code, and
            // must not end this thread.
            mem::forget(last);
            self.state.store(state, Ordering::Release);
            caller.unpark();
        }
    }

    /// Waits for a state: awake for a while, then asleep. Whoever sets one wakes whoever may wait.
    fn wait(&self, wanted: impl Fn(u32) -> bool) -> u32 {
        let mut spins = 0;
        loop {
            let state = self.state.load(Ordering::Acquire);
            if wanted(state) {
                return state;
            }
            if spins < SPINS {
                spins += 1;
                hint::spin_loop();
            } else {
                thread::park();
            }
        }
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Workers({} threads)", self.threads())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use super::*;

    fn workers(threads: usize) -> Workers {
        Workers::start(Threads(threads)).unwrap()
    }

    /// How often each part was done.
    fn counted(team: &Workers, parts: usize) -> Vec<usize> {
        let counts: Vec<AtomicUsize> = (0..parts).map(|_| AtomicUsize::new(0)).collect();
        team.run(parts, &|part| {
            counts[part].fetch_add(1, Ordering::Relaxed);
        });
        counts.into_iter().map(AtomicUsize::into_inner).collect()
    }

    #[test]
    fn every_part_is_done_once_awake_or_asleep() {
        for threads in 1..=5 {
            let team = workers(threads);
            assert_eq!(team.threads(), threads);
            for turn in 0..200 {
                let parts = turn % (threads + 1);
                assert_eq!(counted(&team, parts), vec![1; parts]);
                if turn % 50 == 0 {
                    // Long enough for all to park.
                    thread::sleep(Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn parts_run_at_the_same_time() {
        let team = workers(3);
        // Each part waits for the others, so one thread alone would never come back.
        let barrier = std::sync::Barrier::new(3);
        team.run(3, &|_| {
            barrier.wait();
        });
    }

    #[test]
    fn a_panic_comes_out_in_the_caller_when_all_parts_have_ended() {
        let team = workers(3);
        let hook = panic::take_hook();
        panic::set_hook(Box::new(|_| ()));
        for bad in 0..3 {
            let ended = AtomicUsize::new(0);
            let run = panic::catch_unwind(AssertUnwindSafe(|| {
                team.run(3, &|part| {
                    if part == bad {
                        panic!("part {part}");
                    }
                    thread::sleep(Duration::from_millis(3));
                    ended.fetch_add(1, Ordering::Relaxed);
                });
            }));
            let panic = run.unwrap_err();
            assert_eq!(*panic.downcast::<String>().unwrap(), format!("part {bad}"));
            assert_eq!(ended.load(Ordering::Relaxed), 2);
            assert_eq!(counted(&team, 3), [1; 3], "the team is whole");
        }
        panic::set_hook(hook);
    }

    #[test]
    fn who_asks_a_busy_team_does_the_work_alone() {
        let team = workers(3);
        let inner = AtomicUsize::new(0);
        team.run(3, &|_| {
            inner.fetch_add(counted(&team, 3).iter().sum(), Ordering::Relaxed);
        });
        assert_eq!(inner.load(Ordering::Relaxed), 9);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..300 {
                        assert_eq!(counted(&team, 3), [1; 3]);
                    }
                });
            }
        });
    }

    #[test]
    fn a_team_ends_idle_fresh_or_asleep() {
        for threads in 1..=4 {
            drop(workers(threads));
            let team = workers(threads);
            counted(&team, threads);
            drop(team);
            let team = workers(threads);
            thread::sleep(Duration::from_millis(2));
            drop(team);
        }
    }
}
