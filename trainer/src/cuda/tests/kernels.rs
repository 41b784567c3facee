//! Kernels by themselves, at sizes around warps, strips, tiles and the widths of heads, against the CPU's.

use std::sync::Arc;

use super::Tested;
use super::emulator::to_bf16;
use crate::cuda::kernels::{
    AddPartials, Attention, Dropout, Gelu, Narrow, NormBackward, NormForward, STRIP, Stream,
    block_rows,
};
use crate::cuda::machine::{Buffer, Memory, Operand};
use crate::kernels::attention::{self, Heads, Rows};
use crate::kernels::dropout;
use crate::kernels::gelu;
use crate::kernels::gemm::Precision;
use crate::kernels::isa::Isa;
use crate::kernels::norm::{self, Norm};
use crate::kernels::testing::{assert_close, numbers};
use crate::kernels::workspace::Workspace;
use crate::ops::Packing;

/// Rows around a strip and the four warps of a block; widths around a warp and a block, of single columns, pairs and fours.
const SHAPES: [(usize, usize); 7] = [
    (1, 1),
    (4, 31),
    (STRIP, 32),
    (STRIP + 1, 33),
    (3, 257),
    (2 * STRIP + 1, 258),
    (STRIP + 3, 516),
];

/// A device, or the host that plays one.
struct Device {
    tested: Tested,
    operand: Operand,
    memory: Arc<Memory>,
    stream: Stream,
}

impl Device {
    fn new(head: usize, operand: Operand) -> Option<Self> {
        let tested = Tested::new(head, operand)?;
        let machine = tested.machine();
        Some(Self {
            tested,
            operand,
            memory: Memory::new(machine.clone()),
            stream: Stream::new(machine),
        })
    }

    fn room(&self, count: usize) -> Buffer {
        self.memory.take(4 * count).unwrap()
    }

    fn zeros(&self, count: usize) -> Buffer {
        let buffer = self.room(count);
        buffer.clear().unwrap();
        buffer
    }

    fn send(&self, numbers: &[f32]) -> Buffer {
        let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_ne_bytes()).collect();
        let buffer = self.memory.take(bytes.len()).unwrap();
        buffer.upload(0, &bytes).unwrap();
        buffer
    }

    /// As products read them.
    fn send_operands(&self, numbers: &[f32]) -> Buffer {
        if self.operand == Operand::Full {
            return self.send(numbers);
        }
        let halves = numbers.iter().flat_map(|&x| to_bf16(x).to_ne_bytes());
        let bytes: Vec<u8> = halves.collect();
        let buffer = self.memory.take(bytes.len()).unwrap();
        buffer.upload(0, &bytes).unwrap();
        buffer
    }

    fn read_operands(&self, buffer: &Buffer, count: usize) -> Vec<f32> {
        if self.operand == Operand::Full {
            return read(buffer, count);
        }
        let bytes = bytes(buffer, 2 * count);
        let (halves, _) = bytes.as_chunks::<2>();
        halves
            .iter()
            .map(|&half| from_bf16(u16::from_ne_bytes(half)))
            .collect()
    }

    fn indices(&self, indices: &[usize]) -> Buffer {
        let as_floats: Vec<f32> = indices.iter().map(|&i| f32::from_bits(i as u32)).collect();
        self.send(&as_floats)
    }
}

fn bytes(buffer: &Buffer, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    buffer.download(0, &mut bytes).unwrap();
    bytes
}

fn read(buffer: &Buffer, count: usize) -> Vec<f32> {
    let bytes = bytes(buffer, 4 * count);
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| f32::from_ne_bytes(word)).collect()
}

fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

fn assert_same(what: &str, got: &Buffer, expected: &[f32], tolerance: f64) {
    assert_numbers(what, &read(got, expected.len()), expected, tolerance);
}

fn assert_numbers(what: &str, got: &[f32], expected: &[f32], tolerance: f64) {
    let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
    assert_close(what, got, &expected, tolerance);
}

#[test]
fn residual_dropout_and_norm_are_the_cpus() {
    let Some(device) = Device::new(16, Operand::Full) else {
        return;
    };
    for (rows, width) in SHAPES {
        let n = rows * width;
        let [x, residual, dy] = [1, 2, 3].map(|seed| numbers(n, seed));
        let [added, weight, bias] = [4, 5, 6].map(|seed| numbers(width, seed));
        let eps = 1e-3;
        let cpu = Norm {
            weight: &weight,
            bias: &bias,
            eps,
        };
        for mask in [dropout::Dropout::OFF, dropout::Dropout::new(0.3, 11)] {
            let isa = Isa::best();
            let (mut z, mut y) = (x.clone(), vec![0.0; n]);
            norm::add_forward(isa, cpu, &added, mask, &residual, &mut z, &mut y);
            let (mut dz, mut dx) = (vec![0.0; n], vec![0.0; n]);
            let sums = norm::add_backward(isa, cpu, mask, &z, &dy, &mut dz, &mut dx);

            let [its_z, its_residual, its_dy] = [&x, &residual, &dy].map(|x| device.send(x));
            let [its_added, its_weight, its_bias] =
                [&added, &weight, &bias].map(|x| device.send(x));
            let its_y = device.room(n);
            let forward = NormForward {
                weight: its_weight.at(),
                bias: its_bias.at(),
                added: its_added.at(),
                residual: its_residual.at(),
                from: 0,
                z: its_z.at(),
                y: its_y.at(),
                operand: 0,
                dropout: Dropout::whole(mask),
                rows: rows as u32,
                width: width as u32,
                eps,
            };
            // SAFETY: the buffers are as long as rows and width say.
            unsafe { device.stream.norm_forward(Operand::Full, forward) }.unwrap();
            assert_same("z", &its_z, &z, 1e-6);
            assert_same("y", &its_y, &y, 2e-5);

            let strips = rows.div_ceil(STRIP);
            let (its_dz, its_dx) = (device.room(n), device.room(n));
            let (partials, gradients) = (
                device.room(strips * 3 * width),
                [(); 3].map(|()| device.zeros(width)),
            );
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
                eps,
            };
            let add = AddPartials {
                partials: partials.at(),
                sums: gradients.each_ref().map(Buffer::at),
                strips: strips as u32,
                parts: 3,
                width: width as u32,
                added: 3,
            };
            // SAFETY: as above.
            unsafe {
                device
                    .stream
                    .norm_backward(Operand::Full, backward)
                    .unwrap();
                device.stream.add_partials(Operand::Full, add).unwrap();
            }
            assert_same("dz", &its_dz, &dz, 2e-5);
            assert_same("dx", &its_dx, &dx, 2e-5);
            for (part, gradient) in gradients.iter().enumerate() {
                assert_same("sums", gradient, sums.part(part), 2e-5);
            }
        }
    }
}

#[test]
fn bias_and_gelu_are_the_cpus() {
    let Some(device) = Device::new(16, Operand::Full) else {
        return;
    };
    for (rows, width) in SHAPES {
        let n = rows * width;
        let h: Vec<f32> = numbers(n, 1).iter().map(|h| 3.0 * h).collect();
        let (bias, da) = (numbers(width, 2), numbers(n, 3));
        let (mut a, mut d) = (vec![0.0; n], da.clone());
        let dbias = gelu::backward(Isa::best(), &h, &bias, &mut a, &mut d);

        let strips = rows.div_ceil(STRIP);
        let [its_h, its_bias, its_d] = [&h, &bias, &da].map(|x| device.send(x));
        let (forward, again) = (device.room(n), device.room(n));
        let (partials, gradient) = (device.room(strips * width), device.zeros(width));
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
        let add = AddPartials {
            partials: partials.at(),
            sums: [gradient.at(), 0, 0],
            strips: strips as u32,
            parts: 1,
            width: width as u32,
            added: 1,
        };
        // SAFETY: the buffers are as long as rows and width say.
        unsafe {
            device.stream.gelu_forward(Operand::Full, argument).unwrap();
            device
                .stream
                .gelu_backward(Operand::Full, backward)
                .unwrap();
            device.stream.add_partials(Operand::Full, add).unwrap();
        }
        assert_same("a", &forward, &a, 1e-6);
        assert_same("a again", &again, &a, 1e-6);
        assert_same("dh", &its_d, &d, 1e-6);
        assert_same("db", &gradient, dbias.part(0), 1e-6);
    }
}

#[test]
fn bf16_is_rounded_to_nearest_and_ties_to_even() {
    let Some(device) = Device::new(16, Operand::Full) else {
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
    unsafe { device.stream.narrow(Operand::Full, argument) }.unwrap();
    let bytes = bytes(&to, 2 * all.len());
    let (halves, _) = bytes.as_chunks::<2>();
    for (x, half) in all.iter().zip(halves) {
        assert_eq!(u16::from_ne_bytes(*half), to_bf16(*x), "{x:e}");
    }
}

/// Context and gradients of queries, keys and values, here and there.
fn compare_attention(
    operand: Operand,
    head: usize,
    lengths: &[usize],
    only_first: bool,
    mask: dropout::Dropout,
) {
    let Some(device) = Device::new(head, operand) else {
        return;
    };
    let heads = Heads {
        count: 2,
        size: head,
    };
    let (width, packing) = (heads.width(), Packing::new(lengths.iter().copied()));
    let (rows, sequences) = (packing.rows(), packing.sequences());
    let asked = if only_first { sequences } else { rows };
    let operands = |n, seed| -> Vec<f32> {
        let round = |x: f32| match operand {
            Operand::Full => x,
            Operand::Half => from_bf16(to_bf16(x)),
        };
        numbers(n, seed).into_iter().map(round).collect()
    };
    // Products without biases there, with them here.
    let [raw_q, raw_kv] =
        [(asked * width, 1), (rows * 2 * width, 2)].map(|(n, seed)| operands(n, seed));
    let (bias_q, bias_kv) = (numbers(width, 3), numbers(2 * width, 4));
    let biased = |raw: &[f32], bias: &[f32]| -> Vec<f32> {
        raw.iter()
            .zip(bias.iter().cycle())
            .map(|(x, b)| x + b)
            .collect()
    };
    let (q, kv, dcontext) = (
        biased(&raw_q, &bias_q),
        biased(&raw_kv, &bias_kv),
        operands(asked * width, 5),
    );
    let interleaved = |q: &[f32], kv: &[f32]| -> Vec<f32> {
        let pairs = q.chunks(width).zip(kv.chunks(2 * width));
        pairs.flat_map(|(q, kv)| [q, kv].concat()).collect()
    };
    let workspace = Workspace::default();
    let cpu = attention::Attention {
        first: 0,
        isa: Isa::best(),
        precision: Precision::F32,
        workspace: &workspace,
        heads,
        starts: packing.starts(),
        dropout: mask,
    };
    let (mut context, mut dq, mut dkv) = (
        vec![0.0; asked * width],
        vec![0.0; q.len()],
        vec![0.0; kv.len()],
    );
    if only_first {
        let both = Rows::First {
            queries: &q[..],
            keys_values: &kv[..],
        };
        cpu.forward(&both, &mut context);
        let gradient = Rows::First {
            queries: &mut dq[..],
            keys_values: &mut dkv[..],
        };
        cpu.backward(&both, &dcontext, gradient);
    } else {
        let all = interleaved(&q, &kv);
        let mut gradient = vec![0.0; all.len()];
        cpu.forward(&Rows::Every(&all[..]), &mut context);
        cpu.backward(
            &Rows::Every(&all[..]),
            &dcontext,
            Rows::Every(&mut gradient[..]),
        );
        let parts = gradient.chunks(3 * width);
        dq = parts
            .clone()
            .flat_map(|row| row[..width].to_vec())
            .collect();
        dkv = parts.flat_map(|row| row[width..].to_vec()).collect();
    }

    let [its_q, its_kv, its_d] = [&raw_q, &raw_kv, &dcontext].map(|x| device.send_operands(x));
    let (its_bias_q, its_bias_kv) = (device.send(&bias_q), device.send(&bias_kv));
    let its_context = device.room(asked * width);
    let [logsums, deltas] = [(); 2].map(|()| device.room(asked * heads.count));
    let (its_dq, its_dkv) = (device.room(q.len()), device.room(kv.len()));
    let starts = device.indices(packing.starts());
    let tiles = lengths
        .iter()
        .max()
        .unwrap()
        .div_ceil(block_rows(operand, head)) as u32;
    let column = (operand.size() * width) as u64;
    let argument = Attention {
        queries: its_q.at(),
        keys: its_kv.at(),
        values: its_kv.at() + column,
        query_bias: its_bias_q.at(),
        key_bias: its_bias_kv.at(),
        value_bias: its_bias_kv.at() + 4 * width as u64,
        context: its_context.at(),
        logsums: logsums.at(),
        deltas: deltas.at(),
        dcontext: its_d.at(),
        dqueries: its_dq.at(),
        dkeys: its_dkv.at(),
        dvalues: its_dkv.at() + column,
        starts: starts.at(),
        dropout: Dropout::of_parts(mask),
        query_stride: width as u32,
        key_stride: 2 * width as u32,
        heads: 2,
        only_first: u32::from(only_first),
        scale: 1.0 / (head as f32).sqrt(),
        sequences: sequences as u32,
        query_tiles: if only_first { 1 } else { tiles },
        key_tiles: tiles,
    };
    // The threads of a block take their turns in both orders: without a barrier that is needed, one would go wrong.
    for _ in 0..2 {
        // SAFETY: the buffers are as long as lengths and heads say.
        unsafe {
            device.stream.attention_forward(operand, argument).unwrap();
            device.stream.attention_queries(operand, argument).unwrap();
            device.stream.attention_keys(operand, argument).unwrap();
        }
        // With 8 bits of bf16 a number is off by up to 4e-3 of itself, and the gradients are differences of such.
        let [near, far] = match operand {
            Operand::Full => [1e-5; 2],
            Operand::Half => [6e-3, 3e-2],
        };
        for (what, got, expected, tolerance) in [
            ("context", &its_context, &context, near),
            ("dq", &its_dq, &dq, far),
            ("dkv", &its_dkv, &dkv, far),
        ] {
            let got = device.read_operands(got, expected.len());
            let what = format!("{what} of {operand:?}, heads of {head}, {lengths:?}, {only_first}");
            assert_numbers(&what, &got, expected, tolerance);
        }
        device.tested.reverse();
    }
}

#[test]
fn attention_of_heads_of_every_kind_is_the_cpus() {
    let mask = dropout::Dropout::new(0.2, 8);
    // As in BERT, of an odd width, and of one for which tiles are smaller; lengths around a tile, and with bf16 a block.
    for (operand, head, lengths) in [
        (Operand::Full, 64, &[1, 31, 32, 33][..]),
        (Operand::Full, 5, &[33, 1]),
        (Operand::Full, 65, &[17, 1, 16]),
        (Operand::Half, 64, &[1, 31, 32, 33]),
        (Operand::Half, 32, &[63, 65, 1]),
        (Operand::Half, 5, &[33, 1]),
        (Operand::Half, 24, &[17]),
        (Operand::Half, 65, &[17, 1, 16]),
    ] {
        compare_attention(operand, head, lengths, false, mask);
        compare_attention(operand, head, lengths, true, mask);
        compare_attention(operand, head, lengths, false, dropout::Dropout::OFF);
    }
}
