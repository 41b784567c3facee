//! The steps that are timed are real ones. A program of its own, since the meter of products counts the whole process's:
//! other training beside it would be in the figures.

use berth_checkpoint::{Checkpoint, tiny};
use berth_trainer::bench::{Shape, TrainBench};
use berth_trainer::kernels::gemm::Precision;

#[test]
fn timed_steps_run_and_take_time() {
    let dir = tempfile::tempdir().unwrap();
    let base = dir.path().join("base");
    tiny::create(&base, 3, &["good", "bad"]).unwrap();
    let mut bench = TrainBench::new(&Checkpoint::open(base).unwrap(), Precision::F32).unwrap();
    let shape = |sequences, length| Shape { sequences, length };
    let timing = bench.time(shape(3, 16), 1, 3).unwrap();
    assert!(0.0 < timing.least() && timing.least() <= timing.median());
    assert!(bench.time(shape(1, 128), 0, 1).is_ok());
    // On more threads than one the products' time is a sum over them, and may pass that of the steps.
    let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build();
    let profile = pool.unwrap().install(|| bench.profile(shape(3, 16), 0, 2));
    let profile = profile.unwrap();
    // Two steps over 48 rows, 32 and 64 columns wide, at least a layer's products forward and backward.
    let layer = 2 * 3 * 2 * 48 * (3 * 32 * 32 + 32 * 32 + 2 * 32 * 64);
    assert!(profile.products.operations > layer, "{profile:?}");
    assert!((0.0..1.0).contains(&profile.rest()), "{profile:?}");
    assert!(
        bench.time(shape(1, 129), 0, 1).is_err(),
        "the small model has 128 positions"
    );
}
