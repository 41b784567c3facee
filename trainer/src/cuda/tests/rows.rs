//! Kernels on rows and on all parameters by themselves, at sizes around warps, strips and groups, against the CPU's.

use super::device::{Device, assert_each, assert_numbers, assert_same, bytes, from_bf16, read};
use super::emulator::to_bf16;
use crate::cuda::kernels::{
    AdamW, AddPartials, ColumnSums, Dropout, EmbedForward, Gelu, Narrow, NormBackward, NormForward,
    STRIP,
};
use crate::cuda::machine::{Buffer, Operand};
use crate::kernels::adamw::{Betas, Update};
use crate::kernels::dropout;
use crate::kernels::embed::{self, Tables, Token};
use crate::kernels::gelu;
use crate::kernels::isa::Isa;
use crate::kernels::norm::{self, Norm};
use crate::kernels::testing::numbers;
use crate::random::Random;

/// Rows around a strip, the four warps of a block and the strips that a warp of `add_partials` adds up; widths around a
/// warp and a block, of single columns, pairs and fours.
const SHAPES: [(usize, usize); 9] = [
    (1, 1),
    (4, 31),
    (STRIP, 32),
    (STRIP + 1, 33),
    (3, 257),
    (2 * STRIP + 1, 258),
    (STRIP + 3, 516),
    (2, 1028),
    (40 * STRIP + 3, 6),
];
const BOTH: [Operand; 2] = [Operand::Full, Operand::Half];
const EPS: f32 = 1e-3;

/// Of what bf16 is made of or read from, in its norm.
fn tolerance(operand: Operand) -> f64 {
    match operand {
        Operand::Full => 2e-5,
        Operand::Half => 3e-3,
    }
}

impl Device {
    /// The sums of strips, part by part.
    fn added<const N: usize>(&self, partials: &Buffer, rows: usize, width: usize) -> [Buffer; N] {
        let gradients = [(); N].map(|()| self.zeros(width));
        let mut sums = [0; 3];
        for (sum, gradient) in sums.iter_mut().zip(&gradients) {
            *sum = gradient.at();
        }
        let argument = AddPartials {
            partials: partials.at(),
            sums,
            strips: rows.div_ceil(STRIP) as u32,
            parts: N as u32,
            width: width as u32,
            added: N as u32,
        };
        // SAFETY: the callers give the sums of so many strips of so many parts.
        unsafe { self.stream.add_partials(Operand::Full, argument) }.unwrap();
        gradients
    }

    fn partials(&self, rows: usize, parts: usize, width: usize) -> Buffer {
        self.room(rows.div_ceil(STRIP) * parts * width)
    }
}

#[test]
fn residual_dropout_and_norm_are_the_cpus() {
    for operand in BOTH {
        let Some(device) = Device::new(16, operand) else {
            return;
        };
        for (rows, width) in SHAPES {
            for mask in [dropout::Dropout::OFF, dropout::Dropout::new(0.3, 11)] {
                compare_norm(&device, rows, width, mask);
            }
        }
    }
}

fn compare_norm(device: &Device, rows: usize, width: usize, mask: dropout::Dropout) {
    let (operand, n) = (device.operand, rows * width);
    let [x, residual, dy] = [1, 2, 3].map(|seed| numbers(n, seed));
    let [added, weight, bias] = [4, 5, 6].map(|seed| numbers(width, seed));
    let cpu = Norm {
        weight: &weight,
        bias: &bias,
        eps: EPS,
    };
    let isa = Isa::best();
    let (mut z, mut y) = (x.clone(), vec![0.0; n]);
    norm::add_forward(isa, cpu, &added, mask, &residual, &mut z, &mut y);
    let (mut dz, mut dx) = (vec![0.0; n], vec![0.0; n]);
    let sums = norm::add_backward(isa, cpu, mask, &z, &dy, &mut dz, &mut dx);

    let [its_z, its_residual, its_dy] = [&x, &residual, &dy].map(|x| device.send(x));
    let [its_added, its_weight, its_bias] = [&added, &weight, &bias].map(|x| device.send(x));
    let (its_y, its_operand) = (device.room(n), device.room(n));
    let forward = NormForward {
        weight: its_weight.at(),
        bias: its_bias.at(),
        added: its_added.at(),
        residual: its_residual.at(),
        from: 0,
        z: its_z.at(),
        y: its_y.at(),
        operand: its_operand.at(),
        dropout: Dropout::whole(mask),
        rows: rows as u32,
        width: width as u32,
        eps: EPS,
    };
    // SAFETY: the buffers are as long as rows and width say.
    unsafe { device.stream.norm_forward(operand, forward) }.unwrap();
    assert_same("z", &its_z, &z, 1e-6);
    assert_same("y", &its_y, &y, 2e-5);
    let its_operand = device.read_operands(&its_operand, n);
    assert_numbers("y as an operand", &its_operand, &y, tolerance(operand));

    let (its_dz, its_dx) = (device.room(n), device.room(n));
    let partials = device.partials(rows, 3, width);
    let backward = NormBackward {
        z: its_z.at(),
        dy: its_dy.at(),
        weight: its_weight.at(),
        dz: its_dz.at(),
        dx: its_dx.at(),
        partials: partials.at(),
        dropout: Dropout::whole(mask),
        rows: rows as u32,
        width: width as u32,
        eps: EPS,
    };
    // SAFETY: as above.
    unsafe { device.stream.norm_backward(operand, backward) }.unwrap();
    assert_same("dz", &its_dz, &dz, 2e-5);
    let its_dx = device.read_operands(&its_dx, n);
    assert_numbers("dx", &its_dx, &dx, tolerance(operand));
    let gradients = device.added::<3>(&partials, rows, width);
    for (part, gradient) in gradients.iter().enumerate() {
        assert_same("sums", gradient, sums.part(part), 2e-5);
    }
}

#[test]
fn embeddings_and_their_norm_are_the_cpus() {
    for operand in BOTH {
        let Some(device) = Device::new(16, operand) else {
            return;
        };
        // Of a row of one number the gradient is 0, and both are rounding.
        for (rows, width) in SHAPES.into_iter().filter(|(_, width)| *width > 1) {
            for mask in [dropout::Dropout::OFF, dropout::Dropout::new(0.3, 12)] {
                compare_embeddings(&device, rows, width, mask);
            }
        }
    }
}

fn compare_embeddings(device: &Device, rows: usize, width: usize, mask: dropout::Dropout) {
    let (operand, n) = (device.operand, rows * width);
    let [word, position, kind] =
        [(7, 1), (5, 2), (2, 3)].map(|(count, seed)| numbers(count * width, seed));
    let [weight, bias] = [4, 5].map(|seed| numbers(width, seed));
    let dy = numbers(n, 6);
    let mut random = Random::new(7);
    let tokens: Vec<Token> = (0..rows)
        .map(|_| Token {
            word: random.below(7) as u32,
            position: random.below(5) as u32,
            kind: random.below(2) as u32,
        })
        .collect();
    let cpu = Norm {
        weight: &weight,
        bias: &bias,
        eps: EPS,
    };
    let tables = Tables {
        word: &word,
        position: &position,
        kind: &kind,
    };
    let isa = Isa::best();
    let (mut z, mut y, mut dz) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    embed::forward(isa, tables, cpu, mask, &tokens, &mut z, &mut y);
    let sums = embed::backward(isa, cpu, mask, &z, &dy, &mut dz);

    let [its_word, its_position, its_kind] = [&word, &position, &kind].map(|x| device.send(x));
    let [its_weight, its_bias, its_dy] = [&weight, &bias, &dy].map(|x| device.send(x));
    let places = tokens
        .iter()
        .flat_map(|token| [token.word, token.position, token.kind]);
    let its_tokens = device.send_bytes(places.flat_map(u32::to_ne_bytes));
    let [its_z, its_y, its_operand, its_dz] = [(); 4].map(|()| device.room(n));
    let forward = EmbedForward {
        word: its_word.at(),
        position: its_position.at(),
        kind: its_kind.at(),
        tokens: its_tokens.at(),
        weight: its_weight.at(),
        bias: its_bias.at(),
        z: its_z.at(),
        y: its_y.at(),
        operand: its_operand.at(),
        dropout: Dropout::whole(mask),
        rows: rows as u32,
        width: width as u32,
        eps: EPS,
    };
    let partials = device.partials(rows, 3, width);
    let backward = NormBackward {
        z: its_z.at(),
        dy: its_dy.at(),
        weight: its_weight.at(),
        dz: its_dz.at(),
        dx: 0,
        partials: partials.at(),
        dropout: Dropout::whole(mask),
        rows: rows as u32,
        width: width as u32,
        eps: EPS,
    };
    // SAFETY: the buffers are as long as rows and width say, and tokens take rows that the tables have.
    unsafe {
        device.stream.embed_forward(operand, forward).unwrap();
        device.stream.norm_backward(operand, backward).unwrap();
    }
    assert_same("z", &its_z, &z, 1e-6);
    assert_same("y", &its_y, &y, 2e-5);
    let its_operand = device.read_operands(&its_operand, n);
    assert_numbers("y as an operand", &its_operand, &y, tolerance(operand));
    assert_same("dz", &its_dz, &dz, 2e-5);
    // The third part is that of a product's bias, of which there is none here.
    let [weight, bias, _] = device.added::<3>(&partials, rows, width);
    assert_same("dweight", &weight, sums.part(0), 2e-5);
    assert_same("dbias", &bias, sums.part(1), 2e-5);
}

#[test]
fn bias_and_gelu_are_the_cpus() {
    for operand in BOTH {
        let Some(device) = Device::new(16, operand) else {
            return;
        };
        for (rows, width) in SHAPES {
            compare_gelu(&device, rows, width);
        }
    }
}

fn compare_gelu(device: &Device, rows: usize, width: usize) {
    let (operand, n) = (device.operand, rows * width);
    // Four times as large, and still such as operands can be.
    let h: Vec<f32> = device.operands(n, 1).iter().map(|h| 4.0 * h).collect();
    let (bias, da) = (numbers(width, 2), device.operands(n, 3));
    let (mut a, mut d) = (vec![0.0; n], da.clone());
    let dbias = gelu::backward(Isa::best(), &h, &bias, &mut a, &mut d);

    // To which f32 is exact in the curve.
    let sizes = vec![4.0; n];
    let [its_h, its_d] = [&h, &da].map(|x| device.send_operands(x));
    let its_bias = device.send(&bias);
    let (forward, again) = (device.room(n), device.room(n));
    let partials = device.partials(rows, 1, width);
    let argument = Gelu {
        h: its_h.at(),
        bias: its_bias.at(),
        a: forward.at(),
        d: 0,
        partials: 0,
        rows: rows as u32,
        width: width as u32,
    };
    let backward = Gelu {
        a: again.at(),
        d: its_d.at(),
        partials: partials.at(),
        ..argument
    };
    // SAFETY: the buffers are as long as rows and width say.
    unsafe {
        device.stream.gelu_forward(operand, argument).unwrap();
        device.stream.gelu_backward(operand, backward).unwrap();
    }
    for (what, got) in [("a", &forward), ("a again", &again)] {
        assert_each(what, operand, &device.read_operands(got, n), &a, &sizes);
    }
    assert_each("dh", operand, &device.read_operands(&its_d, n), &d, &da);
    let [gradient] = device.added::<1>(&partials, rows, width);
    assert_same("db", &gradient, dbias.part(0), 2e-6);
}

#[test]
fn sums_of_columns_are_those_of_all_rows() {
    for operand in BOTH {
        let Some(device) = Device::new(16, operand) else {
            return;
        };
        for (rows, width) in SHAPES {
            let x = device.operands(rows * width, 1);
            let its_x = device.send_operands(&x);
            let partials = device.partials(rows, 1, width);
            let argument = ColumnSums {
                x: its_x.at(),
                partials: partials.at(),
                rows: rows as u32,
                width: width as u32,
            };
            // SAFETY: the buffers are as long as rows and width say.
            unsafe { device.stream.column_sums(operand, argument) }.unwrap();
            let column = |i: usize| x.iter().skip(i).step_by(width).map(|&x| f64::from(x));
            let expected: Vec<f32> = (0..width).map(|i| column(i).sum::<f64>() as f32).collect();
            let [sums] = device.added::<1>(&partials, rows, width);
            assert_same("sums", &sums, &expected, 1e-6);
        }
    }
}

#[test]
fn a_step_moves_the_numbers_of_every_chunk() {
    let Some(device) = Device::new(16, Operand::Half) else {
        return;
    };
    let betas = Betas {
        first: 0.9,
        second: 0.999,
        eps: 1e-8,
    };
    // The first, how many, and which update: at fours and beside them.
    let chunks = [
        (0u64, 7u32, 0u32),
        (7, 9, 1),
        (16, 4096, 0),
        (4112, 64, 1),
        (4178, 6, 0),
    ];
    let updates = [0.0, 0.1].map(|decay| Update::new(betas, 1e-2, decay, 3, 0.5));
    let n = 4184;
    let [mut p, g, mut m] = [1, 2, 3].map(|seed| numbers(n, seed));
    let mut v: Vec<f32> = numbers(n, 4).iter().map(|v| v * v).collect();
    let [its_p, its_g, its_m, its_v] = [&p, &g, &m, &v].map(|x| device.send(x));
    let narrowed = device.zeros(n);
    let listed = chunks.iter().flat_map(|(begin, count, update)| {
        let ends = [count.to_ne_bytes(), update.to_ne_bytes()];
        begin
            .to_ne_bytes()
            .into_iter()
            .chain(ends.into_iter().flatten())
    });
    let its_chunks = device.send_bytes(listed);
    let numbers = updates.iter().flat_map(|update| update.numbers());
    let its_updates = device.send_bytes(numbers.flat_map(f32::to_ne_bytes));
    let argument = AdamW {
        p: its_p.at(),
        g: its_g.at(),
        m: its_m.at(),
        v: its_v.at(),
        narrowed: narrowed.at(),
        chunks: its_chunks.at(),
        updates: its_updates.at(),
        chunk_count: chunks.len() as u64,
    };
    // SAFETY: the chunks lie in the buffers, and each has an update.
    unsafe { device.stream.adamw(Operand::Full, argument) }.unwrap();
    let mut left = g.clone();
    let mut halves = vec![0.0; n];
    for (begin, count, update) in chunks {
        let own = begin as usize..begin as usize + count as usize;
        let update = updates[update as usize];
        update.apply_here(
            Isa::best(),
            &mut p[own.clone()],
            &g[own.clone()],
            &mut m[own.clone()],
            &mut v[own.clone()],
        );
        left[own.clone()].fill(0.0);
        halves[own.clone()].copy_from_slice(&p[own]);
    }
    assert_same("p", &its_p, &p, 1e-6);
    assert_same("m", &its_m, &m, 1e-6);
    assert_same("v", &its_v, &v, 1e-6);
    assert_eq!(read(&its_g, n), left, "gradients of chunks are cleared");
    let narrowed = device.read_operands(&narrowed, n);
    assert_each(
        "p as an operand",
        Operand::Half,
        &narrowed,
        &halves,
        &halves,
    );
}

#[test]
fn bf16_is_rounded_to_nearest_and_ties_to_even() {
    for operand in BOTH {
        let Some(device) = Device::new(16, operand) else {
            return;
        };
        let mut all: Vec<f32> = [
            0x3f80_8000,
            0x3f81_8000,
            0x3f80_8001,
            0x7f7f_ffff,
            0x7f80_0001,
            0xff80_0000,
            1,
            0,
        ]
        .map(f32::from_bits)
        .to_vec();
        all.extend(numbers(1000, 1));
        let (from, to) = (device.send(&all), device.room(all.len()));
        let argument = Narrow {
            from: from.at(),
            to: to.at(),
            count: all.len() as u64,
        };
        // SAFETY: both are long enough.
        unsafe { device.stream.narrow(operand, argument) }.unwrap();
        let bytes = bytes(&to, 2 * all.len());
        let (halves, _) = bytes.as_chunks::<2>();
        for (x, half) in all.iter().zip(halves) {
            let half = u16::from_ne_bytes(*half);
            // Which NaN is left to the GPU.
            let same = half == to_bf16(*x) || (x.is_nan() && from_bf16(half).is_nan());
            assert!(same, "{x:e} is {half:#x}");
        }
    }
}
