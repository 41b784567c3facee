//! Dense layers at every size around the tiles, at random sizes, and in pieces.

use std::thread;

use berth_kernels::{Activation, ColumnsMut, Isa, LANES, Linear, Rows, RowsMut, row_bytes};

use crate::assert_bits;
use crate::input::{Layer, Random};
use crate::oracle;

/// Quantized rows that own their arrays.
pub struct OwnedRows {
    width: usize,
    values: Vec<u8>,
    scale: Vec<f32>,
    low: Vec<f32>,
}

impl OwnedRows {
    /// Steps of which a quarter are 0 or 255.
    pub fn random(random: &mut Random, count: usize, width: usize) -> OwnedRows {
        let step = |_| match random.bits() % 8 {
            0 => 0,
            1 => 255,
            _ => random.bits() as u8,
        };
        let values = (0..count * row_bytes(width)).map(step).collect();
        let scale = (0..count).map(|_| 0.01 + 0.05 * random.unit()).collect();
        OwnedRows {
            width,
            values,
            scale,
            low: random.floats(count, 3.0),
        }
    }

    pub fn view(&self) -> Rows<'_> {
        Rows::new(self.width, &self.values, &self.scale, &self.low).expect("whole rows")
    }

    pub fn row(&self, row: usize) -> oracle::Row {
        oracle::Row {
            steps: self.values[row * row_bytes(self.width)..][..self.width].to_vec(),
            scale: self.scale[row],
            low: self.low[row],
        }
    }
}

fn check(random: &mut Random, rows: usize, outputs: usize, inputs: usize, activation: Activation) {
    let layer = Layer::random(random, inputs, outputs);
    let x = OwnedRows::random(random, rows, inputs);
    let expected: Vec<f32> = (0..rows)
        .flat_map(|row| oracle::linear(&x.row(row), &layer, activation))
        .collect();
    let linear = layer.view();
    for isa in Isa::available() {
        let mut found = vec![9.0; rows * outputs];
        let out = ColumnsMut::new(&mut found, outputs).unwrap();
        isa.linear(x.view(), &linear, 0..linear.panels(), activation, out);
        let what = format!("{}: {rows} x {outputs} x {inputs}", isa.tier());
        assert_bits(&found, &expected, &what);
    }
}

#[test]
fn every_count_of_rows_around_the_tiles() {
    let mut random = Random(10);
    for rows in (0..=19).chain([24, 25, 31, 48, 61]) {
        check(&mut random, rows, 80, 36, Activation::None);
        check(&mut random, rows, 17, 7, Activation::Gelu);
    }
}

#[test]
fn every_count_of_outputs_around_the_panels() {
    let mut random = Random(11);
    for outputs in (1..=70).chain([96, 112, 128, 144, 160]) {
        check(&mut random, 7, outputs, 20, Activation::None);
    }
}

#[test]
fn every_count_of_inputs() {
    let mut random = Random(12);
    for inputs in (1..=400).chain([1536]) {
        check(&mut random, 3, 33, inputs, Activation::None);
    }
}

#[test]
fn random_shapes() {
    let mut random = Random(13);
    for _ in 0..200 {
        let (rows, outputs) = (random.size(100), random.size(400));
        let inputs = random.size(1600);
        check(&mut random, rows, outputs, inputs, Activation::Gelu);
    }
}

#[test]
fn the_shapes_of_the_default_model() {
    let mut random = Random(14);
    for (outputs, inputs) in [(1152, 384), (384, 384), (1536, 384), (384, 1536)] {
        check(&mut random, 13, outputs, inputs, Activation::None);
    }
}

#[test]
fn the_largest_sums_do_not_overflow() {
    for (weight, inputs) in [(127, 65_536), (-127, 65_536), (-128, 65_536)] {
        let packed = vec![weight; 16 * inputs];
        let (scale, zero) = ([1.0; 16], [0.0; 16]);
        let linear = Linear::new(inputs, 16, &packed, &scale, &zero, &zero).unwrap();
        let values = vec![255; inputs];
        let x = Rows::new(inputs, &values, &[1.0], &[0.0]).unwrap();
        let expected = (i64::from(weight) * 255 * inputs as i64) as f32;
        for isa in Isa::available() {
            let mut found = [0.0; 16];
            let out = ColumnsMut::new(&mut found, 16).unwrap();
            isa.linear(x, &linear, 0..1, Activation::None, out);
            assert_eq!(found, [expected; 16], "{}", isa.tier());
        }
    }
}

#[test]
fn threads_on_their_own_panels_write_what_one_call_writes() {
    let mut random = Random(15);
    let layer = Layer::random(&mut random, 52, 150);
    let x = OwnedRows::random(&mut random, 11, 52);
    let linear = layer.view();
    let isa = Isa::best();
    let mut whole = vec![9.0; 11 * 150];
    let out = ColumnsMut::new(&mut whole, 150).unwrap();
    isa.linear(x.view(), &linear, 0..10, Activation::Gelu, out);

    let mut pieces = vec![9.0; 11 * 150];
    let (first, rest) = ColumnsMut::new(&mut pieces, 150).unwrap().split_at(3 * 16);
    let (second, third) = rest.split_at(5 * 16);
    thread::scope(|scope| {
        for (panels, out) in [(0..3, first), (3..8, second), (8..10, third)] {
            let x = x.view();
            scope.spawn(move || isa.linear(x, &linear, panels, Activation::Gelu, out));
        }
    });
    assert_bits(&pieces, &whole, "in three threads");
}

#[test]
fn a_layer_of_floats_is_met_within_the_quantization() {
    let mut random = Random(16);
    let layer = Layer::random(&mut random, 384, 48);
    let floats = random.floats(384, 2.0);
    let (mut values, mut scale, mut low) = (vec![0; 384], [0.0], [0.0]);
    let mut rows = RowsMut::new(384, &mut values, &mut scale, &mut low).unwrap();
    Isa::best().quantize_rows(&floats, rows.reborrow());
    let mut found = [0.0; 48];
    let (linear, out) = (layer.view(), ColumnsMut::new(&mut found, 48).unwrap());
    Isa::best().linear(rows.into_rows(), &linear, 0..3, Activation::None, out);
    for (o, steps) in layer.steps.chunks(384).enumerate() {
        let scale = f64::from(linear.scale[o]);
        let pairs = steps.iter().zip(&floats);
        let exact: f64 = pairs
            .map(|(&w, &x)| f64::from(w) * scale * f64::from(x))
            .sum();
        let error = (f64::from(found[o] - linear.bias[o]) - exact).abs();
        // Each of 384 inputs is off by at most half a step, the weights are exact.
        assert!(error < 384.0 * 127.0 * scale * 0.5 * 4.0 / 255.0, "{error}");
        assert!(error < 0.02, "{error}");
    }
}

#[test]
#[should_panic(expected = "the columns of these panels")]
fn an_output_of_the_wrong_width_is_refused() {
    let layer = Layer::random(&mut Random(17), 8, 32);
    let x = OwnedRows::random(&mut Random(18), 2, 8);
    let mut out = [0.0; 2 * 16];
    let out = ColumnsMut::new(&mut out, 16).unwrap();
    Isa::best().linear(x.view(), &layer.view(), 0..2, Activation::None, out);
}

#[test]
#[should_panic(expected = "arrays as the dimensions ask")]
fn a_layer_with_short_arrays_is_refused() {
    let layer = Layer::random(&mut Random(19), 8, 32);
    let x = OwnedRows::random(&mut Random(20), 2, 8);
    let mut linear = layer.view();
    linear.weights = &linear.weights[1..];
    let mut out = [0.0; 2 * 32];
    let out = ColumnsMut::new(&mut out, 32).unwrap();
    Isa::best().linear(x.view(), &linear, 0..2, Activation::None, out);
}

#[test]
fn parts_of_a_layer_are_those_of_the_whole() {
    let mut random = Random(21);
    for (rows, inputs) in [(1, 36), (3, 36), (6, 384), (7, 384), (3, 4_100)] {
        let layer = Layer::random(&mut random, inputs, 70);
        let x = OwnedRows::random(&mut random, rows, inputs);
        let linear = layer.view();
        for isa in Isa::available() {
            let [mut whole, mut pieces] = [(); 2].map(|()| vec![9.0; rows * 70]);
            let out = ColumnsMut::new(&mut whole, 70).unwrap();
            isa.linear(x.view(), &linear, 0..5, Activation::None, out);
            // The first of them has no panel, and leaves nothing behind for the next one to use.
            let (none, all) = ColumnsMut::new(&mut pieces, 70).unwrap().split_at(0);
            let (first, second) = all.split_at(2 * LANES);
            let parts = [(0..0, none), (0..2, first), (2..5, second)];
            isa.linear_parts(x.view(), &linear, parts);
            assert_bits(
                &pieces,
                &whole,
                &format!("{}: {rows} x {inputs}", isa.tier()),
            );
        }
    }
}
