//! The first 64 bytes: enough to know what the file is, whether it is whole, and where it goes on.

use crate::ALIGNMENT;
use crate::checksum::Checksum;
use crate::error::OpenError;
use crate::version::{FORMAT_VERSION, OLDEST_VERSION};

/// How every bundle begins. The first byte is not text, and the line ending in the last two is
/// the first thing to break where a file is sent as text.
pub const MAGIC: [u8; 8] = *b"\x89BERTH\r\n";

/// The longest header, in bytes.
pub const MAX_HEADER_LEN: u32 = 65_536;

/// How many bytes the prefix has.
pub(crate) const LEN: usize = ALIGNMENT;

/// Where the header's checksum stands; it covers the prefix but for these four bytes.
const CRC: core::ops::Range<usize> = 24..28;

/// What the prefix says.
pub(crate) struct Prefix {
    pub(crate) version: u32,
    pub(crate) header_len: u32,
    pub(crate) file_len: u64,
    crc: u32,
}

impl Prefix {
    /// Reads the prefix of `file` and holds it against the file's length and the header's checksum.
    pub(crate) fn read(file: &[u8]) -> Result<Prefix, OpenError> {
        let known = MAGIC.len().min(file.len());
        if file.is_empty() || file[..known] != MAGIC[..known] {
            return Err(OpenError::NotABundle);
        }
        let found = file.len() as u64;
        let Some(prefix) = file.first_chunk::<LEN>() else {
            return Err(OpenError::Cut {
                found,
                expected: LEN as u64,
            });
        };
        let version = u32_at(prefix, 8);
        if !(OLDEST_VERSION..=FORMAT_VERSION).contains(&version) {
            return Err(OpenError::FormatVersion(version));
        }
        let this = Prefix {
            version,
            header_len: u32_at(prefix, 12),
            file_len: u64::from(u32_at(prefix, 16)) | u64::from(u32_at(prefix, 20)) << 32,
            crc: u32_at(prefix, CRC.start),
        };
        this.check_lengths(found)?;
        if prefix[CRC.end..].iter().any(|&byte| byte != 0) {
            return Err(OpenError::Reserved);
        }
        if this.crc != checksum(prefix, this.header(file)) {
            return Err(OpenError::HeaderChecksum);
        }
        Ok(this)
    }

    /// Holds the two lengths against each other and the file's against what is there.
    fn check_lengths(&self, found: u64) -> Result<(), OpenError> {
        let expected = self.file_len;
        if found < expected {
            return Err(OpenError::Cut { found, expected });
        }
        if found > expected {
            return Err(OpenError::Longer { found, expected });
        }
        let end = LEN as u64 + u64::from(self.header_len);
        if self.header_len > MAX_HEADER_LEN || end > self.file_len {
            return Err(OpenError::HeaderLength(self.header_len));
        }
        Ok(())
    }

    /// The header's bytes in `file`, which is known to be long enough.
    pub(crate) fn header<'a>(&self, file: &'a [u8]) -> &'a [u8] {
        &file[LEN..][..self.header_len as usize]
    }

    /// The prefix of a file of `file_len` bytes with this header, in a version of the format.
    #[cfg(feature = "std")]
    pub(crate) fn encode(version: u32, header: &[u8], file_len: u64) -> [u8; LEN] {
        let mut prefix = [0; LEN];
        prefix[..8].copy_from_slice(&MAGIC);
        prefix[8..12].copy_from_slice(&version.to_le_bytes());
        prefix[12..16].copy_from_slice(&(header.len() as u32).to_le_bytes());
        prefix[16..24].copy_from_slice(&file_len.to_le_bytes());
        let crc = checksum(&prefix, header);
        prefix[CRC].copy_from_slice(&crc.to_le_bytes());
        prefix
    }
}

/// The checksum over the prefix, without the place where it stands itself, and the header.
fn checksum(prefix: &[u8; LEN], header: &[u8]) -> u32 {
    let mut checksum = Checksum::new();
    checksum.update(&prefix[..CRC.start]);
    checksum.update(&prefix[CRC.end..]);
    checksum.update(header);
    checksum.finish()
}

/// The number in the four bytes from `at`.
fn u32_at(prefix: &[u8; LEN], at: usize) -> u32 {
    let [a, b, c, d] = [prefix[at], prefix[at + 1], prefix[at + 2], prefix[at + 3]];
    u32::from_le_bytes([a, b, c, d])
}
