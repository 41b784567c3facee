//! The steps that are timed are real ones.

use berth_trainer::bench::TrainBench;

use crate::common::Base;

#[test]
fn a_timed_step_runs_and_takes_time() {
    let mut bench = TrainBench::new(&Base::new().checkpoint).unwrap();
    assert!(bench.step(3, 16).unwrap().as_nanos() > 0);
    assert!(bench.step(1, 128).unwrap().as_nanos() > 0);
    assert!(
        bench.step(1, 129).is_err(),
        "the small model has 128 positions"
    );
}
