//! Kernels called one by one: memory with numbers in it, and a stream.

use std::sync::Arc;

use super::Tested;
use super::emulator::to_bf16;
use crate::cuda::kernels::Stream;
use crate::cuda::machine::{Buffer, Memory, Operand};
use crate::kernels::testing::{assert_close, numbers};

/// A device, or the host that plays one.
pub struct Device {
    pub tested: Tested,
    pub operand: Operand,
    memory: Arc<Memory>,
    pub stream: Stream,
}

impl Device {
    pub fn new(head: usize, operand: Operand) -> Option<Self> {
        let tested = Tested::new(head, operand)?;
        let machine = tested.machine();
        Some(Self {
            tested,
            operand,
            memory: Memory::new(machine.clone()),
            stream: Stream::new(machine),
        })
    }

    pub fn room(&self, count: usize) -> Buffer {
        self.memory.take(4 * count).unwrap()
    }

    pub fn zeros(&self, count: usize) -> Buffer {
        let buffer = self.room(count);
        buffer.clear().unwrap();
        buffer
    }

    pub fn send(&self, numbers: &[f32]) -> Buffer {
        self.send_bytes(numbers.iter().flat_map(|x| x.to_ne_bytes()))
    }

    /// As products read them.
    pub fn send_operands(&self, numbers: &[f32]) -> Buffer {
        match self.operand {
            Operand::Full => self.send(numbers),
            Operand::Half => {
                self.send_bytes(numbers.iter().flat_map(|&x| to_bf16(x).to_ne_bytes()))
            }
        }
    }

    pub fn send_bytes(&self, bytes: impl Iterator<Item = u8>) -> Buffer {
        let bytes: Vec<u8> = bytes.collect();
        let buffer = self.memory.take(bytes.len()).unwrap();
        buffer.upload(0, &bytes).unwrap();
        buffer
    }

    pub fn read_operands(&self, buffer: &Buffer, count: usize) -> Vec<f32> {
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

    pub fn indices(&self, indices: &[usize]) -> Buffer {
        self.send_bytes(indices.iter().flat_map(|&i| (i as u32).to_ne_bytes()))
    }

    /// Normal draws, such as operands can be.
    pub fn operands(&self, count: usize, seed: u64) -> Vec<f32> {
        let mut all = numbers(count, seed);
        if self.operand == Operand::Half {
            all.iter_mut().for_each(|x| *x = from_bf16(to_bf16(*x)));
        }
        all
    }
}

pub fn bytes(buffer: &Buffer, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    buffer.download(0, &mut bytes).unwrap();
    bytes
}

pub fn read(buffer: &Buffer, count: usize) -> Vec<f32> {
    let bytes = bytes(buffer, 4 * count);
    let (words, _) = bytes.as_chunks::<4>();
    words.iter().map(|&word| f32::from_ne_bytes(word)).collect()
}

/// The float whose upper half this is.
pub fn from_bf16(bits: u16) -> f32 {
    f32::from_bits(u32::from(bits) << 16)
}

pub fn assert_same(what: &str, got: &Buffer, expected: &[f32], tolerance: f64) {
    assert_numbers(what, &read(got, expected.len()), expected, tolerance);
}

/// That the norm of the difference is no more than this share of the norm.
pub fn assert_numbers(what: &str, got: &[f32], expected: &[f32], tolerance: f64) {
    let expected: Vec<f64> = expected.iter().map(|x| f64::from(*x)).collect();
    assert_close(what, got, &expected, tolerance);
}

/// That each number of operands is the nearest there is, or next to it; `scale` is what it was made of, to whose size
/// f32 is exact.
pub fn assert_each(what: &str, operand: Operand, got: &[f32], expected: &[f32], scale: &[f32]) {
    assert_eq!(got.len(), expected.len(), "{what}: lengths");
    let share = match operand {
        Operand::Full => 2e-6,
        Operand::Half => 1.0 / 256.0,
    };
    for (i, ((got, expected), scale)) in got.iter().zip(expected).zip(scale).enumerate() {
        let most = share * expected.abs() + 2e-6 * scale.abs().max(1e-3);
        assert!(
            (got - expected).abs() <= most,
            "{what}: {got} instead of {expected} at {i}"
        );
    }
}
