//! Bytes to be damaged, at an address that a bundle may have.

use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A block of bytes that begins at a multiple of 64 and can be written to.
pub(crate) struct Memory {
    lines: Vec<Line>,
    len: usize,
}

impl Memory {
    /// A copy of `bytes` with `room` zeros behind it.
    pub(crate) fn of(bytes: &[u8], room: usize) -> Self {
        let len = bytes.len() + room;
        let lines = vec![Line::zeroed(); len.div_ceil(64)];
        let mut memory = Memory { lines, len };
        memory[..bytes.len()].copy_from_slice(bytes);
        memory
    }
}

impl Deref for Memory {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for Memory {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
