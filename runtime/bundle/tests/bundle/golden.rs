//! The committed bytes of the hand-made bundle: what version 1 of the format is, for good.

use std::fs;
use std::path::PathBuf;

use berth_bundle::{AlignedBytes, Bundle};
use berth_kernels::{Linear, Norm};

use crate::example::{self, Numbers, SHAPE, crc32c, u32_at};

fn path() -> PathBuf {
    let here = env!("CARGO_MANIFEST_DIR");
    PathBuf::from(here).join("../../tests/golden/bundle/tiny.berth")
}

/// Where this fails on purpose, with a new version of the format, `BERTH_WRITE_GOLDEN=1` writes
/// the file anew.
#[test]
fn the_writer_writes_the_golden_bytes() {
    let written = example::bundle();
    if std::env::var_os("BERTH_WRITE_GOLDEN").is_some() {
        fs::write(path(), &*written).unwrap();
    }
    let golden = fs::read(path()).unwrap();
    let differs = golden.iter().zip(&*written).position(|(a, b)| a != b);
    assert_eq!(differs, None, "the first byte that differs");
    assert_eq!(golden.len(), written.len());
}

#[test]
fn the_golden_bytes_are_read_as_what_was_written() {
    let golden = AlignedBytes::copy_of(&fs::read(path()).unwrap());
    let bundle = Bundle::open(&golden).unwrap();
    bundle.verify().unwrap();
    let mut header = bundle.header().clone();
    assert_eq!(header.sections.len(), 6);
    header.sections.clear();
    assert_eq!(header, example::header());
    assert_eq!(bundle.file_len(), golden.len());

    let mut numbers = Numbers::default();
    let (read, written) = (bundle.embeddings(), numbers.embeddings());
    assert_eq!(read.word, written.word);
    assert_eq!(read.word_scale, written.word_scale);
    assert_eq!(read.position, written.position);
    assert_eq!(read.position_scale, written.position_scale);
    assert_eq!(read.kind, written.kind);
    same_norm(&read.norm, &written.norm);
    for index in 0..2 {
        let (read, written) = (bundle.layer(index).int8().unwrap(), numbers.layer());
        same_linear(&read.qkv, &written.qkv);
        same_linear(&read.attention_out, &written.attention_out);
        same_norm(&read.attention_norm, &written.attention_norm);
        same_linear(&read.up, &written.up);
        same_linear(&read.down, &written.down);
        same_norm(&read.output_norm, &written.output_norm);
    }
    let (read, written) = (bundle.head(), numbers.head());
    same_linear(&read.pooler.unwrap(), &written.pooler.unwrap());
    assert_eq!((read.weight, read.bias), (written.weight, written.bias));
    assert_eq!(bundle.tokenizer(), example::TABLES);
    assert_eq!(bundle.training(), example::TRAINING);
}

/// Every array begins at a multiple of 64, so an array alone tells its neighbours' places.
fn same_linear(read: &Linear<'_>, written: &Linear<'_>) {
    assert_eq!(read.inputs, written.inputs);
    assert_eq!(read.outputs, written.outputs);
    assert_eq!(read.weights, written.weights);
    assert_eq!(read.scale, written.scale);
    assert_eq!(read.sum, written.sum);
    assert_eq!(read.bias, written.bias);
    assert!(
        Linear::new(
            read.inputs,
            read.outputs,
            read.weights,
            read.scale,
            read.sum,
            read.bias
        )
        .is_some()
    );
}

fn same_norm(read: &Norm<'_>, written: &Norm<'_>) {
    assert_eq!((read.weight, read.bias), (written.weight, written.bias));
    assert_eq!(read.eps, written.eps);
}

/// The file taken apart by hand, with nothing of the crate but the numbers that `FORMAT.md` gives.
#[test]
fn the_golden_bytes_lie_where_the_specification_says() {
    let file = fs::read(path()).unwrap();
    assert_eq!(file[..8], *b"\x89BERTH\r\n");
    assert_eq!(u32_at(&file, 8), 1);
    assert_eq!(file[16..24], (file.len() as u64).to_le_bytes());
    let header_end = 64 + u32_at(&file, 12) as usize;
    let covered = [&file[..24], &file[28..header_end]].concat();
    assert_eq!(u32_at(&file, 24), crc32c(&covered));
    let shape = [2, 13, 16, 2, 1, 32, 9, 2, 2];
    assert_eq!(file[64..73], shape, "numerics, then the shape");
    assert_eq!(file[73..77], SHAPE.norm_eps.to_le_bytes());
    assert_eq!(file[77..87], *b"\x00\x02\x03bad\x03fun", "task and labels");
    assert_eq!(file[87..94], *b"\x08\x050.1.0", "tokens and provenance");

    let start = header_end.next_multiple_of(64);
    assert!(file[header_end..start].iter().all(|&byte| byte == 0));
    let lens = [
        256 + 64 + 192 + 64 + 128 + 2 * 64,
        linear(48, 16) + linear(16, 16) + linear(32, 16) + linear(16, 32) + 4 * 64,
        linear(48, 16) + linear(16, 16) + linear(32, 16) + linear(16, 32) + 4 * 64,
        linear(16, 16) + 128 + 64,
        example::TABLES.len(),
        example::TRAINING.len(),
    ];
    let mut table = vec![6];
    let (mut at, mut end) = (start, 0);
    for (len, kind) in lens
        .into_iter()
        .zip([&[0][..], &[1, 0], &[1, 1], &[2], &[3], &[4]])
    {
        table.extend_from_slice(kind);
        table.extend(varint(len as u32));
        table.extend(varint(crc32c(&file[at..at + len])));
        end = at + len;
        at = end.next_multiple_of(64);
    }
    assert_eq!(end, file.len());
    assert_eq!(file[header_end - table.len()..header_end], table);

    let words: Vec<u8> = (0..13 * 16).map(|n| (n * 37 % 255 - 127) as u8).collect();
    assert_eq!(file[start..start + 208], words);
    assert_eq!(file[start + 208..start + 256], [0; 48]);
    let first_scale = (208 * 29 % 257 - 128) as f32 / 64.0;
    assert_eq!(file[start + 256..start + 260], first_scale.to_le_bytes());
    assert!(file.ends_with(example::TRAINING));
}

/// The bytes of a linear whose dimensions are multiples of 16.
fn linear(outputs: usize, inputs: usize) -> usize {
    outputs * inputs + 3 * 4 * outputs
}

/// Seven bits a byte, the lowest first, the top bit set on all but the last.
fn varint(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number > 127 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
