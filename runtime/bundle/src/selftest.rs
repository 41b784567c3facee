//! Inputs with known answers, by which a device tells that it computes what the workstation measured.

use core::fmt;

use crate::checksum;

/// How many numbers stand before the ids of an input.
const HEAD: usize = 3;

/// An input, and the checksum of its logits.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Golden<'a> {
    /// The tokens.
    pub ids: &'a [u32],
    /// The first token of the second text; as many as there are where there is none.
    pub second: u32,
    /// What [`logits_crc`] says of the logits.
    pub crc: u32,
}

/// The checksum of logits: CRC-32C over their bytes. It differs wherever 32 neighbouring bits or
/// fewer do, and else but for one case in 2^32.
pub fn logits_crc(logits: &[f32]) -> u32 {
    checksum::of(bytemuck::cast_slice(logits))
}

/// Walks over the inputs of a bundle's section. What is no input gives one error and ends the walk.
#[derive(Clone, Debug)]
pub struct Selftest<'a> {
    rest: Result<&'a [u32], SelftestError>,
}

impl<'a> Selftest<'a> {
    /// The inputs in their section, which begins at a multiple of 64.
    pub(crate) fn read(section: &'a [u8]) -> Self {
        let rest = bytemuck::try_cast_slice(section).map_err(|_| SelftestError);
        Selftest { rest }
    }
}

impl<'a> Iterator for Selftest<'a> {
    type Item = Result<Golden<'a>, SelftestError>;

    fn next(&mut self) -> Option<Self::Item> {
        let taken = match self.rest {
            Ok([]) => return None,
            Ok(words) => take(words),
            Err(error) => Err(error),
        };
        let (golden, rest) = match taken {
            Ok((golden, rest)) => (Ok(golden), rest),
            Err(error) => (Err(error), &[][..]),
        };
        self.rest = Ok(rest);
        Some(golden)
    }
}

impl core::iter::FusedIterator for Selftest<'_> {}

/// The first input, and what stands behind it.
fn take(words: &[u32]) -> Result<(Golden<'_>, &[u32]), SelftestError> {
    let (head, rest) = words.split_first_chunk::<HEAD>().ok_or(SelftestError)?;
    let [tokens, second, crc] = *head;
    let whole = rest.split_at_checked(tokens as usize);
    let (ids, rest) = whole.filter(|_| tokens > 0).ok_or(SelftestError)?;
    Ok((Golden { ids, second, crc }, rest))
}

/// The section's bytes.
#[cfg(feature = "std")]
pub(crate) fn encode(inputs: &[Golden<'_>]) -> std::vec::Vec<u8> {
    let words = inputs.iter().flat_map(|golden| {
        let head = [golden.ids.len() as u32, golden.second, golden.crc];
        head.into_iter().chain(golden.ids.iter().copied())
    });
    words.flat_map(u32::to_le_bytes).collect()
}

/// The section is no sequence of inputs.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct SelftestError;

impl fmt::Display for SelftestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bundle's section \"selftest\" is no sequence of inputs")
    }
}

impl core::error::Error for SelftestError {}
