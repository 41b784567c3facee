//! The hand-made bundle that all tests start from, and the tools to bend it.

use berth_bundle::{
    AlignedBytes, Embeddings, Head, Header, Layer, LayerF32, Metric, Provenance, Shape, Writer,
};
use berth_kernels::{Linear, LinearF32, Norm};
use berth_task::{Labels, Task};

pub const SHAPE: Shape = Shape {
    vocab_size: 13,
    hidden: 16,
    layers: 2,
    heads: 1,
    intermediate: 32,
    positions: 9,
    types: 2,
    outputs: 2,
    norm_eps: 1e-12,
};

/// What the workstation remembers; as long as the tables.
pub const TRAINING: &[u8] = br#"{"task":"text-classification","max_seq_length":9,"mor":7}"#;

/// Bytes that are no multiple of 64, so that nothing hides in padding.
pub const TABLES: &[u8] = b"not the tables of a tokenizer, but bytes that are carried";

pub fn header() -> Header {
    let labels = Labels::of(["bad", "fun"]).unwrap();
    let mut header = Header::new(SHAPE, Task::TextClassification, labels, 8);
    header.provenance = Provenance {
        berth: "0.1.0".try_into().unwrap(),
        model: "tiny".try_into().unwrap(),
        base: "a base".try_into().unwrap(),
        weights_sha256: std::array::from_fn(|i| i as u8),
    };
    let metric = Metric {
        name: "eval_accuracy".try_into().unwrap(),
        f32: 0.875,
        int8: 0.75,
    };
    header.metrics.push(metric).unwrap();
    header
}

/// Hands out arrays whose values differ from place to place and are exact in every format.
#[derive(Default)]
pub struct Numbers {
    given: i64,
}

impl Numbers {
    pub fn integers(&mut self, count: usize) -> &'static [i8] {
        let values = self.take(count).map(|n| (n * 37 % 255 - 127) as i8);
        values.collect::<Vec<_>>().leak()
    }

    pub fn floats(&mut self, count: usize) -> &'static [f32] {
        let values = self.take(count).map(|n| (n * 29 % 257 - 128) as f32 / 64.0);
        values.collect::<Vec<_>>().leak()
    }

    fn take(&mut self, count: usize) -> std::ops::Range<i64> {
        let start = self.given;
        self.given += count as i64;
        start..self.given
    }

    fn linear(&mut self, outputs: usize, inputs: usize) -> Linear<'static> {
        Linear {
            inputs,
            outputs,
            weights: self.integers(outputs * inputs),
            scale: self.floats(outputs),
            sum: self.floats(outputs),
            bias: self.floats(outputs),
        }
    }

    fn norm(&mut self) -> Norm<'static> {
        Norm {
            weight: self.floats(16),
            bias: self.floats(16),
            channels: 16,
            eps: SHAPE.norm_eps,
        }
    }

    pub fn embeddings(&mut self) -> Embeddings<'static> {
        Embeddings {
            word: self.integers(13 * 16),
            word_scale: self.floats(13),
            position: self.integers(9 * 16),
            position_scale: self.floats(9),
            kind: self.floats(2 * 16),
            norm: self.norm(),
        }
    }

    pub fn layer(&mut self) -> Layer<'static> {
        Layer {
            qkv: self.linear(48, 16),
            attention_out: self.linear(16, 16),
            attention_norm: self.norm(),
            up: self.linear(32, 16),
            down: self.linear(16, 32),
            output_norm: self.norm(),
        }
    }

    fn linear_f32(&mut self, outputs: usize, inputs: usize) -> LinearF32<'static> {
        LinearF32 {
            inputs,
            outputs,
            weights: self.floats(outputs * inputs),
            bias: self.floats(outputs),
        }
    }

    pub fn layer_f32(&mut self) -> LayerF32<'static> {
        Layer {
            qkv: self.linear_f32(48, 16),
            attention_out: self.linear_f32(16, 16),
            attention_norm: self.norm(),
            up: self.linear_f32(32, 16),
            down: self.linear_f32(16, 32),
            output_norm: self.norm(),
        }
    }

    pub fn head(&mut self) -> Head<'static> {
        Head {
            pooler: Some(self.linear(16, 16)),
            weight: self.floats(2 * 16),
            bias: self.floats(2),
        }
    }
}

/// A writer that has been given every part.
pub fn writer() -> Writer {
    writer_of(header())
}

/// The same under another header.
pub fn writer_of(header: Header) -> Writer {
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(header).unwrap();
    writer.embeddings(&numbers.embeddings()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.head(&numbers.head()).unwrap();
    writer.tokenizer(TABLES).unwrap();
    writer.training(TRAINING).unwrap();
    writer
}

/// The same with layer 1 in floats.
pub fn mixed() -> Writer {
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(header()).unwrap();
    writer.embeddings(&numbers.embeddings()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.layer_f32(&numbers.layer_f32()).unwrap();
    writer.head(&numbers.head()).unwrap();
    writer.tokenizer(TABLES).unwrap();
    writer.training(TRAINING).unwrap();
    writer
}

/// The same with a head whose pooler ReLU follows.
pub fn relu() -> Writer {
    let mut numbers = Numbers::default();
    let mut writer = Writer::new(header()).unwrap();
    writer.embeddings(&numbers.embeddings()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.layer(&numbers.layer()).unwrap();
    writer.head_relu(&numbers.head()).unwrap();
    writer.tokenizer(TABLES).unwrap();
    writer.training(TRAINING).unwrap();
    writer
}

/// The bundle, whole.
pub fn bundle() -> AlignedBytes {
    writer().to_bytes().unwrap()
}

/// The header's bytes in a bundle.
pub fn header_bytes(file: &[u8]) -> &[u8] {
    &file[64..][..u32_at(file, 12) as usize]
}

/// The bundle with another header in front of its sections, and a prefix that fits.
pub fn with_header(header: &[u8]) -> Vec<u8> {
    let whole = bundle();
    let sections = &whole[(64 + header_bytes(&whole).len()).next_multiple_of(64)..];
    let mut file = vec![0; 64];
    file.extend_from_slice(header);
    file.resize(file.len().next_multiple_of(64), 0);
    file.extend_from_slice(sections);
    file[..12].copy_from_slice(&whole[..12]);
    file[12..16].copy_from_slice(&(header.len() as u32).to_le_bytes());
    let len = file.len() as u64;
    file[16..24].copy_from_slice(&len.to_le_bytes());
    repair(&mut file);
    file
}

/// Makes the header's checksum right, whatever stands in the prefix and the header.
pub fn repair(file: &mut [u8]) {
    let header = header_bytes(file).to_vec();
    let covered = [&file[..24], &file[28..64], &header].concat();
    file[24..28].copy_from_slice(&crc32c(&covered).to_le_bytes());
}

pub fn u32_at(file: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(file[at..at + 4].try_into().unwrap())
}

/// CRC-32C bit by bit, as the polynomial says.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| {
        if crc & 1 == 1 {
            (crc >> 1) ^ 0x82f6_3b78
        } else {
            crc >> 1
        }
    };
    let byte = |crc: u32, &byte: &u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc));
    !bytes.iter().fold(!0, byte)
}
