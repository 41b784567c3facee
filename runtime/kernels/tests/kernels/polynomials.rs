//! The error bounds that the documentation states, measured against f64.

use berth_kernels::{Activation, ColumnsMut, EXP2, EXP2_255, GELU_END, Isa, Linear, Rows};

use crate::oracle;

/// The error function: its Taylor series, summed until nothing is left to add.
fn erf(x: f64) -> f64 {
    if x.abs() > 5.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut n) = (x, x, 0.0);
    while term.abs() > 1e-18 {
        n += 1.0;
        term *= -x * x / n;
        sum += term / (2.0 * n + 1.0);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn exact_gelu(x: f32) -> f64 {
    let x = f64::from(x);
    0.5 * x * (1.0 + erf(x / std::f64::consts::SQRT_2))
}

#[test]
fn the_series_for_the_error_function_is_right() {
    let known = [
        (0.0, 0.0),
        (0.5, 0.520_499_877_813_046_5),
        (1.0, 0.842_700_792_949_714_9),
    ];
    for (x, value) in known {
        assert!((erf(x) - value).abs() < 1e-15);
        assert!((erf(-x) + value).abs() < 1e-15);
    }
    assert!((erf(3.0) - 0.999_977_909_503_001_4).abs() < 1e-13);
}

#[test]
fn gelu_keeps_its_bound() {
    let mut worst = 0.0f64;
    for i in -1_000_000..=1_000_000 {
        let x = i as f32 * 1e-5;
        worst = worst.max((f64::from(oracle::gelu(x)) - exact_gelu(x)).abs());
    }
    assert!(worst < 8e-5, "{worst:e}");
}

#[test]
fn gelu_is_the_line_or_nothing_far_out() {
    for x in [GELU_END, 5.0, 77.7, 1e10, f32::MAX] {
        assert_eq!(oracle::gelu(x), x);
        assert_eq!(oracle::gelu(-x), 0.0);
    }
}

#[test]
fn gelu_runs_alike_inside_a_layer() {
    // A layer without weights returns its biases, so GELU can be shown any number.
    let inputs: Vec<f32> = (-4096..4096).map(|i| i as f32 * 0.0021).collect();
    let outputs = inputs.len();
    let (weights, zero) = (vec![0; outputs * 4], vec![0.0; outputs]);
    let linear = Linear::new(4, outputs, &weights, &zero, &zero, &inputs).unwrap();
    let x = Rows::new(4, &[0; 4], &[1.0], &[0.0]).unwrap();
    let expected: Vec<f32> = inputs.iter().map(|&x| oracle::gelu(x)).collect();
    for isa in Isa::available() {
        let mut found = vec![9.0; outputs];
        let out = ColumnsMut::new(&mut found, outputs).unwrap();
        isa.linear(x, &linear, 0..linear.panels(), Activation::Gelu, out);
        crate::assert_bits(&found, &expected, isa.tier().name());
    }
}

#[test]
fn tanh_keeps_its_bound_and_runs_alike() {
    // Every third float between 1/4 and 4, where the error is largest, and the worst of all of them.
    let near = (0.25f32.to_bits()..4f32.to_bits()).step_by(3);
    let inputs: Vec<f32> = (-1_500_000..=1_500_000)
        .map(|i| i as f32 * 1e-5)
        .chain([0.0, -0.0, 1e-30, 50.0, -500.0, f32::MAX, f32::MIN])
        .chain(near.map(f32::from_bits))
        .chain([f32::from_bits(0x3f5d_b165)])
        .collect();
    let expected: Vec<f32> = inputs.iter().map(|&x| oracle::tanh(x)).collect();
    for (&x, &y) in inputs.iter().zip(&expected) {
        let error = (f64::from(y) - f64::from(x).tanh()).abs();
        assert!(error < 1.3e-7, "{x}: {error:e}");
    }
    for isa in Isa::available() {
        let mut found = inputs.clone();
        isa.tanh(&mut found);
        crate::assert_bits(&found, &expected, isa.tier().name());
    }
}

#[test]
fn powers_of_two_keep_their_bound() {
    // From 2^-12 on, below which nothing is rounded that shows; every float of either sign.
    let floats = (f32::to_bits(1.0 / 4096.0)..=f32::to_bits(0.5)).step_by(7);
    let mut worst = 0.0f64;
    for f in floats.map(f32::from_bits).flat_map(|f| [f, -f]) {
        let p = EXP2.iter().fold(0.0, |sum: f32, c| sum * f + c);
        worst = worst.max((f64::from(p) / f64::from(f).exp2() - 1.0).abs());
    }
    assert!((1.0e-7..1.1e-7).contains(&worst), "{worst:e}");
}

#[test]
fn powers_of_two_for_softmax_keep_their_bound() {
    let mut worst = 0.0f64;
    for i in 0..=1_000_000 {
        let f = i as f32 * 1e-6 - 0.5;
        let p = EXP2_255.iter().fold(0.0, |sum: f32, c| sum * f + c);
        worst = worst.max((f64::from(p) / (255.0 * f64::from(f).exp2()) - 1.0).abs());
    }
    assert!(worst < 7.6e-5, "{worst:e}");
    assert_eq!(EXP2_255[3].round(), 255.0);
}
