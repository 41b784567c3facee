//! Numbers to compute with: random, but the same on every run.

use berth_kernels::{Linear, LinearF32, pack, pack_f32, packed_len, packed_len_f32};

/// A generator of numbers (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u32 << 24) as f32
    }

    /// From 1 to `most`, small numbers as often as large ones: log-uniform.
    pub fn size(&mut self, most: usize) -> usize {
        let x = (self.unit() * (most as f32 + 1.0).ln()).exp();
        (x as usize).clamp(1, most)
    }

    /// Floats of about one magnitude, a quarter of them at its extremes or at zero.
    pub fn floats(&mut self, count: usize, magnitude: f32) -> Vec<f32> {
        let extremes = [magnitude, -magnitude, 0.0, -0.0];
        let float = |_| match self.bits() % 16 {
            i @ 0..4 => extremes[i as usize],
            _ => (self.unit() + self.unit() - 1.0) * magnitude,
        };
        (0..count).map(float).collect()
    }

    /// Steps of weights, a quarter of them at the extremes.
    pub fn steps(&mut self, count: usize) -> Vec<i8> {
        let step = |_| match self.bits() % 8 {
            0 => 127,
            1 => -127,
            _ => (self.bits() % 255) as i8,
        };
        (0..count).map(step).map(|q: i8| q.max(-127)).collect()
    }
}

/// A dense layer that owns its arrays.
pub struct Layer {
    pub inputs: usize,
    pub outputs: usize,
    /// `[outputs][inputs]`
    pub steps: Vec<i8>,
    packed: Vec<i8>,
    scale: Vec<f32>,
    sum: Vec<f32>,
    bias: Vec<f32>,
}

impl Layer {
    pub fn random(random: &mut Random, inputs: usize, outputs: usize) -> Layer {
        let steps = random.steps(inputs * outputs);
        let mut packed = vec![0; packed_len(outputs, inputs)];
        pack(&steps, outputs, inputs, &mut packed);
        let columns = outputs.next_multiple_of(16);
        let scale: Vec<f32> = (0..columns)
            .map(|_| (0.1 + random.unit()) / (127.0 * (inputs as f32).sqrt()))
            .collect();
        let total = |output: usize| -> i32 {
            let row = steps.get(output * inputs..(output + 1) * inputs);
            row.into_iter().flatten().map(|&q| i32::from(q)).sum()
        };
        let sum = (0..columns).map(|o| scale[o] * total(o) as f32).collect();
        let bias = random.floats(columns, 0.5);
        Layer {
            inputs,
            outputs,
            steps,
            packed,
            scale,
            sum,
            bias,
        }
    }

    pub fn view(&self) -> Linear<'_> {
        Linear::new(
            self.inputs,
            self.outputs,
            &self.packed,
            &self.scale,
            &self.sum,
            &self.bias,
        )
        .expect("arrays as the dimensions ask")
    }
}

/// A dense layer in floats that owns its arrays.
pub struct LayerF32 {
    pub inputs: usize,
    pub outputs: usize,
    /// `[outputs][inputs]`
    pub weights: Vec<f32>,
    packed: Vec<f32>,
    pub bias: Vec<f32>,
}

impl LayerF32 {
    pub fn random(random: &mut Random, inputs: usize, outputs: usize) -> LayerF32 {
        let weights = random.floats(inputs * outputs, 2.0 / (inputs as f32).sqrt());
        let mut packed = vec![0.0; packed_len_f32(outputs, inputs)];
        pack_f32(&weights, outputs, inputs, &mut packed);
        let bias = random.floats(outputs.next_multiple_of(16), 0.5);
        LayerF32 {
            inputs,
            outputs,
            weights,
            packed,
            bias,
        }
    }

    pub fn view(&self) -> LinearF32<'_> {
        LinearF32::new(self.inputs, self.outputs, &self.packed, &self.bias)
            .expect("arrays as the dimensions ask")
    }
}
