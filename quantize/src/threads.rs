//! Rows that are worked on by several threads at once.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

/// Does `work`, made once for each thread, for each index; results in the order of the indices. The present thread is
/// one of so many, and where others can't be started it does their share.
///
/// # Errors
/// What `make` or `work` says, of several threads the first. The others finish the index that they are at, and
/// begin no more.
///
/// # Panics
/// When `make` or `work` does.
pub(crate) fn on_threads<T: Send, E: Send, W>(
    indices: &[usize],
    threads: usize,
    make: impl Fn() -> Result<W, E> + Sync,
) -> Result<Vec<T>, E>
where
    W: FnMut(usize) -> Result<T, E>,
{
    let next = AtomicUsize::new(0);
    let all_left = || -> Result<Vec<(usize, T)>, E> {
        let mut work = make()?;
        let mut done = Vec::new();
        loop {
            let place = next.fetch_add(1, Relaxed);
            let Some(&index) = indices.get(place) else {
                return Ok(done);
            };
            done.push((place, work(index)?));
        }
    };
    // Past the last index there is nothing for anyone.
    let until_error = || all_left().inspect_err(|_| next.store(indices.len(), Relaxed));
    let mut all = Vec::with_capacity(indices.len());
    thread::scope(|scope| {
        let others = 1..threads.clamp(1, indices.len().max(1));
        let others: Vec<_> = others
            .map_while(|_| thread::Builder::new().spawn_scoped(scope, until_error).ok())
            .collect();
        let own = until_error();
        let mut error = None;
        for thread in others {
            match thread.join() {
                Ok(Ok(done)) => all.extend(done),
                Ok(Err(failed)) => error = error.or(Some(failed)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all.extend(own?);
        error.map_or(Ok(()), Err)
    })?;
    all.sort_by_key(|(place, _)| *place);
    Ok(all.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn results_come_in_the_order_of_the_indices() {
        let indices: Vec<usize> = (0..100).rev().collect();
        for threads in [0, 1, 3, 200] {
            let found: Result<Vec<usize>, ()> =
                on_threads(&indices, threads, || Ok(|index: usize| Ok(2 * index)));
            let expected: Vec<usize> = indices.iter().map(|index| 2 * index).collect();
            assert_eq!(found, Ok(expected), "{threads} threads");
        }
    }

    #[test]
    fn after_an_error_few_more_rows_are_done() {
        const ROWS: usize = 10_000;
        let indices: Vec<usize> = (0..ROWS).collect();
        let done = &AtomicUsize::new(0);
        let found: Result<Vec<()>, &str> = on_threads(&indices, 4, || {
            Ok(move |index: usize| {
                if index == 10 {
                    return Err("row 10");
                }
                thread::sleep(Duration::from_millis(1));
                done.fetch_add(1, Relaxed);
                Ok(())
            })
        });
        assert_eq!(found, Err("row 10"));
        let done = done.load(Relaxed);
        assert!(done < ROWS / 2, "{done} rows");
    }

    #[test]
    fn a_thread_that_can_not_begin_stops_the_others() {
        const ROWS: usize = 10_000;
        let indices: Vec<usize> = (0..ROWS).collect();
        let (made, done) = (&AtomicUsize::new(0), &AtomicUsize::new(0));
        let found: Result<Vec<()>, &str> = on_threads(&indices, 4, || {
            if made.fetch_add(1, Relaxed) == 0 {
                return Err("no memory");
            }
            Ok(move |_: usize| {
                thread::sleep(Duration::from_millis(1));
                done.fetch_add(1, Relaxed);
                Ok(())
            })
        });
        assert_eq!(found, Err("no memory"));
        let done = done.load(Relaxed);
        assert!(done < ROWS / 2, "{done} rows");
    }
}
