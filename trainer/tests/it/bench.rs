//! The steps that are timed are real ones.

use berth_trainer::bench::{Shape, TrainBench};
use berth_trainer::kernels::gemm::Precision;

use crate::common::Base;

#[test]
fn timed_steps_run_and_take_time() {
    let mut bench = TrainBench::new(&Base::new().checkpoint, Precision::F32).unwrap();
    let shape = |sequences, length| Shape { sequences, length };
    let timing = bench.time(shape(3, 16), 1, 3).unwrap();
    assert!(0.0 < timing.least() && timing.least() <= timing.median());
    assert!(bench.time(shape(1, 128), 0, 1).is_ok());
    let profile = bench.profile(shape(3, 16), 0, 2).unwrap();
    // Two steps over 48 rows, 32 and 64 columns wide, at least a layer's products forward and backward.
    let layer = 2 * 3 * 2 * 48 * (3 * 32 * 32 + 32 * 32 + 2 * 32 * 64);
    assert!(profile.products.operations > layer, "{profile:?}");
    assert!((0.0..1.0).contains(&profile.rest()), "{profile:?}");
    assert!(
        bench.time(shape(1, 129), 0, 1).is_err(),
        "the small model has 128 positions"
    );
}
