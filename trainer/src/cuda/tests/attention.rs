//! Attention by itself, at sizes around tiles and the widths of heads, against the CPU's.

use super::device::{Device, assert_numbers};
use crate::cuda::kernels::{Attention, Dropout, block_rows};
use crate::cuda::machine::Operand;
use crate::kernels::attention::{self, Heads, Rows};
use crate::kernels::dropout;
use crate::kernels::gemm::Precision;
use crate::kernels::isa::Isa;
use crate::kernels::testing::numbers;
use crate::kernels::workspace::Workspace;
use crate::ops::Packing;

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
    // Products without biases there, with them here.
    let [raw_q, raw_kv] =
        [(asked * width, 1), (rows * 2 * width, 2)].map(|(n, seed)| device.operands(n, seed));
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
        device.operands(asked * width, 5),
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
