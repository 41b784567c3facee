//! The memory of a forward pass, cut out of one block that the caller brings.

use berth_bundle::{ALIGNMENT, Shape};
use berth_kernels::AttentionScratch;

/// How many of each kind of value some number of tokens takes.
struct Sizes {
    hidden: usize,
    wide: usize,
    narrow: usize,
    attention_floats: usize,
    quantized: usize,
    attention_bytes: usize,
    tokens: usize,
}

impl Sizes {
    /// `None` where a length is beyond what memory can have.
    fn of(shape: &Shape, tokens: usize) -> Option<Self> {
        let [hidden, intermediate] = [shape.hidden, shape.intermediate].map(|size| size as usize);
        let head_size = shape.head_size() as usize;
        let (attention_floats, attention_bytes) = AttentionScratch::lens(tokens, head_size);
        Some(Sizes {
            hidden: tokens.checked_mul(hidden)?,
            wide: tokens.checked_mul(hidden.checked_mul(3)?.max(intermediate))?,
            narrow: tokens.checked_mul(hidden)?,
            attention_floats,
            quantized: tokens.checked_mul(hidden.max(intermediate))?,
            attention_bytes,
            tokens,
        })
    }

    /// The lengths of all parts in bytes, in the order in which they lie in memory.
    fn bytes(&self) -> Option<[usize; 8]> {
        let floats = [
            self.hidden,
            self.wide,
            self.narrow,
            self.attention_floats,
            self.tokens,
            self.tokens,
        ];
        let mut bytes = [0, 0, 0, 0, 0, 0, self.quantized, self.attention_bytes];
        for (bytes, floats) in bytes.iter_mut().zip(floats) {
            *bytes = floats.checked_mul(size_of::<f32>())?;
        }
        Some(bytes)
    }
}

/// How many bytes a forward pass over `tokens` tokens takes, wherever the block begins.
///
/// [`usize::MAX`] for a shape and a length that no memory is large enough for.
///
/// # Panics
/// When the shape has no heads, which [`Shape::check`] refuses.
pub fn scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    let parts = Sizes::of(shape, tokens).and_then(|sizes| sizes.bytes());
    let total = parts.and_then(|parts| {
        parts.into_iter().try_fold(ALIGNMENT - 1, |sum: usize, part| {
            sum.checked_add(part.checked_next_multiple_of(ALIGNMENT)?)
        })
    });
    total.unwrap_or(usize::MAX)
}

/// Memory for a forward pass over a number of tokens. Its contents do not matter before, and mean
/// nothing afterwards.
#[derive(Debug)]
pub struct Scratch<'s> {
    /// How many tokens there is room for.
    pub(crate) tokens: usize,
    /// The hidden rows, where the caller has no place of their own for them.
    pub(crate) hidden: &'s mut [f32],
    /// The widest rows: query, key and value, or the feed-forward block's inside.
    pub(crate) wide: &'s mut [f32],
    /// Rows that are added to the hidden ones.
    pub(crate) narrow: &'s mut [f32],
    /// Rows that a linear layer reads.
    pub(crate) quantized: &'s mut [u8],
    pub(crate) scale: &'s mut [f32],
    pub(crate) low: &'s mut [f32],
    pub(crate) attention_floats: &'s mut [f32],
    pub(crate) attention_bytes: &'s mut [u8],
}

impl<'s> Scratch<'s> {
    /// Cuts up a block of [`scratch_bytes`] or more; every part begins at a multiple of 64.
    /// `None` when the block is too small.
    ///
    /// # Panics
    /// When the shape has no heads, which [`Shape::check`] refuses.
    pub fn carve(memory: &'s mut [u8], shape: &Shape, tokens: usize) -> Option<Self> {
        let parts = Sizes::of(shape, tokens)?.bytes()?;
        let mut rest = memory;
        let mut cut = parts.map(|_| None);
        for (cut, len) in cut.iter_mut().zip(parts) {
            let padding = rest.as_ptr().align_offset(ALIGNMENT);
            let (_, aligned) = rest.split_at_mut_checked(padding)?;
            let (part, behind) = aligned.split_at_mut_checked(len)?;
            (*cut, rest) = (Some(part), behind);
        }
        let [hidden, wide, narrow, attention, scale, low, quantized, bytes] = cut;
        Some(Scratch {
            tokens,
            hidden: floats(hidden?)?,
            wide: floats(wide?)?,
            narrow: floats(narrow?)?,
            quantized: quantized?,
            scale: floats(scale?)?,
            low: floats(low?)?,
            attention_floats: floats(attention?)?,
            attention_bytes: bytes?,
        })
    }
}

/// Aligned bytes as floats.
fn floats(bytes: &mut [u8]) -> Option<&mut [f32]> {
    bytemuck::try_cast_slice_mut(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const SHAPE: Shape = Shape {
        vocab_size: 7,
        hidden: 32,
        layers: 1,
        heads: 2,
        intermediate: 48,
        positions: 100,
        types: 2,
        outputs: 2,
        norm_eps: 1e-12,
    };

    #[test]
    fn what_is_asked_for_is_enough_wherever_the_block_begins() {
        for tokens in [1, 2, 15, 16, 17, 100] {
            let bytes = scratch_bytes(&SHAPE, tokens);
            let mut memory = vec![0; bytes + ALIGNMENT];
            for start in 0..ALIGNMENT {
                let block = &mut memory[start..start + bytes];
                let scratch = Scratch::carve(block, &SHAPE, tokens).unwrap();
                assert_eq!(scratch.hidden.len(), 32 * tokens);
                assert_eq!(scratch.wide.len(), 96 * tokens);
                assert_eq!(scratch.quantized.len(), 48 * tokens);
            }
        }
    }

    #[test]
    fn a_block_that_begins_badly_may_not_be_a_vector_shorter() {
        let bytes = scratch_bytes(&SHAPE, 9);
        let mut memory = vec![0; bytes + ALIGNMENT];
        let start = memory.as_ptr().align_offset(ALIGNMENT) + 1;
        let block = &mut memory[start..start + bytes - ALIGNMENT];
        assert!(Scratch::carve(block, &SHAPE, 9).is_none());
        assert!(Scratch::carve(&mut [], &SHAPE, 1).is_none());
    }

    #[test]
    fn lengths_beyond_memory_are_refused_and_nothing_overflows() {
        assert_eq!(scratch_bytes(&SHAPE, usize::MAX / 2), usize::MAX);
        assert!(Scratch::carve(&mut [0; 999], &SHAPE, usize::MAX / 2).is_none());
    }
}
