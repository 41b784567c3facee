//! Bytes that begin at a cache line, as bundles and scratch memory have to.

use std::collections::TryReserveError;
use std::ops::{Deref, DerefMut};

use bytemuck::{Pod, Zeroable};

#[derive(Copy, Clone, Pod, Zeroable)]
#[repr(C, align(64))]
struct CacheLine([u8; 64]);

/// A block of bytes on the heap whose address is a multiple of 64.
pub(crate) struct AlignedBytes {
    lines: Vec<CacheLine>,
    len: usize,
}

impl AlignedBytes {
    /// `len` zeros. They are really written, so the memory is there from now on.
    pub(crate) fn zeroed(len: usize) -> Result<Self, TryReserveError> {
        let mut lines = Vec::new();
        lines.try_reserve_exact(len.div_ceil(64))?;
        lines.resize(len.div_ceil(64), CacheLine([0; 64]));
        Ok(AlignedBytes { lines, len })
    }

    pub(crate) fn copy_of(bytes: &[u8]) -> Result<Self, TryReserveError> {
        let mut copy = AlignedBytes::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Ok(copy)
    }
}

impl Deref for AlignedBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_keep_their_length_and_begin_at_a_cache_line() {
        for len in [0, 1, 63, 64, 65, 1000] {
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!(&*bytes, vec![0; len]);
            assert!(len == 0 || bytes.as_ptr().addr().is_multiple_of(64));
            bytes.fill(7);
            assert_eq!(&*AlignedBytes::copy_of(&bytes).unwrap(), vec![7; len]);
        }
        assert!(AlignedBytes::zeroed(usize::MAX).is_err());
    }
}
