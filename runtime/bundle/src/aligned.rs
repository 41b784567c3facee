//! Bytes on the heap that begin where a bundle has to begin.

use core::ops::Deref;
use std::vec::Vec;

use bytemuck::{Pod, Zeroable};

/// As much of a bundle as one unit of alignment holds.
#[repr(C, align(64))]
#[derive(Copy, Clone, Pod, Zeroable)]
struct Line([u8; 64]);

/// Owned bytes at a multiple of [`ALIGNMENT`](crate::ALIGNMENT), as
/// [`Bundle::open`](crate::Bundle::open) takes them. A file that is mapped needs no such copy.
#[derive(Clone)]
pub struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    /// A copy of `bytes`.
    pub fn copy_of(bytes: &[u8]) -> Self {
        AlignedBytes::filled(bytes.len(), |copy| copy.copy_from_slice(bytes))
    }

    /// As many bytes as `len`, written by `fill`; what it leaves is zero.
    pub(crate) fn filled(len: usize, fill: impl FnOnce(&mut [u8])) -> Self {
        let mut lines = std::vec![Line::zeroed(); len.div_ceil(size_of::<Line>())];
        fill(&mut bytemuck::cast_slice_mut(&mut lines)[..len]);
        AlignedBytes { lines, len }
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}
