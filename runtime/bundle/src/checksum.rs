//! CRC-32C (Castagnoli), the one checksum of the format.
//!
//! It finds every change of up to 32 neighbouring bits, so every changed byte. It is a guard
//! against damage, not against intent.

use crc::{CRC_32_ISCSI, Crc, Digest, Table};

/// Sixteen bytes a step, from 16 KiB of tables.
static CRC: Crc<u32, Table<16>> = Crc::<u32, Table<16>>::new(&CRC_32_ISCSI);

/// A checksum in the making, fed in as many pieces as one likes.
#[derive(Clone)]
pub(crate) struct Checksum(Digest<'static, u32, Table<16>>);

impl Checksum {
    pub(crate) fn new() -> Self {
        Checksum(CRC.digest())
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> u32 {
        self.0.finalize()
    }
}

/// The checksum of all of `bytes`.
pub(crate) fn of(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_castagnoli_polynomial_in_one_piece_or_several() {
        // The check value of the catalogue of parametrised CRC algorithms.
        assert_eq!(of(b"123456789"), 0xe306_9283);
        let mut pieces = Checksum::new();
        pieces.update(b"1234");
        pieces.update(b"");
        pieces.update(b"56789");
        assert_eq!(pieces.finish(), 0xe306_9283);
    }
}
