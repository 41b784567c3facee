//! The memory of a forward pass, cut out of one block that the caller brings.

use berth_bundle::{ALIGNMENT, Shape};
use berth_kernels::{AttentionScratch, Isa, Rows, RowsMut, row_bytes};

/// How many rows are taken through the feed-forward block at a time.
///
/// Its inside is the widest thing that a layer computes. A few rows of it stay in the second-level
/// cache and keep the scratch small; so many that reading the weights anew for each block of rows
/// takes no time beside the products with them.
pub(crate) const BLOCK: usize = 96;

/// Memory for a forward pass over a number of tokens. Its contents do not matter before, and mean
/// nothing afterwards.
#[derive(Debug)]
pub struct Scratch<'s> {
    /// How many tokens there is room for.
    pub(crate) tokens: usize,
    /// The hidden rows, where the caller has no place of their own for them.
    pub(crate) hidden: &'s mut [f32],
    /// Query, key and value of all rows; later the feed-forward block's inside and output.
    pub(crate) wide: &'s mut [f32],
    /// What attention returns.
    pub(crate) context: &'s mut [f32],
    /// The rows that a linear layer reads.
    pub(crate) quantized: Quantized<'s>,
    pub(crate) attention_floats: &'s mut [f32],
    pub(crate) attention_bytes: &'s mut [u8],
}

/// A place for quantized rows.
#[derive(Debug)]
pub(crate) struct Quantized<'s> {
    values: &'s mut [u8],
    scale: &'s mut [f32],
    low: &'s mut [f32],
}

impl Quantized<'_> {
    /// Quantizes whole rows of `width` values, of which the scratch has room for as many.
    pub(crate) fn rows(&mut self, isa: Isa, x: &[f32], width: usize) -> Rows<'_> {
        let count = x.len() / width;
        let values = &mut self.values[..count * row_bytes(width)];
        let (scale, low) = (&mut self.scale[..count], &mut self.low[..count]);
        let mut rows = RowsMut::new(width, values, scale, low).expect("lengths as just cut");
        isa.quantize_rows(x, rows.reborrow());
        rows.into_rows()
    }
}

/// The parts of the scratch, in the order in which they lie in memory.
const PARTS: usize = 8;

/// How many bytes each part has, or `None` where one is longer than memory can be.
fn part_lens(shape: &Shape, tokens: usize) -> Option<[usize; PARTS]> {
    let [hidden, intermediate] = [shape.hidden, shape.intermediate].map(|size| size as usize);
    let block = tokens.min(BLOCK);
    let inside = block.checked_mul(intermediate)?;
    let rows = tokens.checked_mul(hidden)?;
    let wide = rows
        .checked_mul(3)?
        .max(inside.checked_add(block * hidden)?);
    let head_size = shape.head_size() as usize;
    let (attention_floats, attention_bytes) = AttentionScratch::lens(tokens, head_size);
    let floats = |count: usize| count.checked_mul(size_of::<f32>());
    Some([
        floats(rows)?,
        floats(wide)?,
        floats(rows)?,
        rows.max(inside),
        floats(tokens)?,
        floats(tokens)?,
        floats(attention_floats)?,
        attention_bytes,
    ])
}

/// How many bytes a forward pass over `tokens` tokens takes, wherever the block begins.
///
/// [`usize::MAX`] for a shape and a length that no memory is large enough for.
///
/// # Panics
/// When the shape has no heads, which [`Shape::check`] refuses.
pub fn scratch_bytes(shape: &Shape, tokens: usize) -> usize {
    let total = part_lens(shape, tokens).and_then(|parts| {
        // All parts but the last are followed by another, which begins at a multiple of 64.
        let (last, others) = parts.split_last()?;
        let padded = others.iter().try_fold(0usize, |sum, part| {
            sum.checked_add(part.checked_next_multiple_of(ALIGNMENT)?)
        });
        padded?.checked_add(*last)?.checked_add(ALIGNMENT - 1)
    });
    total.unwrap_or(usize::MAX)
}

impl<'s> Scratch<'s> {
    /// Cuts up a block of [`scratch_bytes`] or more; every part begins at a multiple of 64.
    /// `None` when the block is too small.
    ///
    /// # Panics
    /// When the shape has no heads, which [`Shape::check`] refuses.
    pub fn carve(memory: &'s mut [u8], shape: &Shape, tokens: usize) -> Option<Self> {
        let lens = part_lens(shape, tokens)?;
        let mut rest = memory;
        let mut cut = [const { None }; PARTS];
        for (cut, len) in cut.iter_mut().zip(lens) {
            let padding = rest.as_ptr().align_offset(ALIGNMENT);
            let (_, aligned) = rest.split_at_mut_checked(padding)?;
            let (part, behind) = aligned.split_at_mut_checked(len)?;
            (*cut, rest) = (Some(part), behind);
        }
        let [hidden, wide, context, values, scale, low, attention, bytes] = cut;
        Some(Scratch {
            tokens,
            hidden: floats(hidden?)?,
            wide: floats(wide?)?,
            context: floats(context?)?,
            quantized: Quantized {
                values: values?,
                scale: floats(scale?)?,
                low: floats(low?)?,
            },
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
                let inside = 48 * tokens.min(BLOCK);
                assert_eq!(scratch.quantized.values.len(), inside.max(32 * tokens));
            }
        }
    }

    #[test]
    fn not_a_byte_less_is_enough_at_the_worst_beginning() {
        for tokens in [1, 9, 16, 97] {
            let bytes = scratch_bytes(&SHAPE, tokens);
            let mut memory = vec![0; bytes + ALIGNMENT];
            let start = memory.as_ptr().align_offset(ALIGNMENT) + 1;
            let block = &mut memory[start..start + bytes];
            assert!(Scratch::carve(block, &SHAPE, tokens).is_some());
            assert!(Scratch::carve(&mut block[..bytes - 1], &SHAPE, tokens).is_none());
        }
        assert!(Scratch::carve(&mut [], &SHAPE, 1).is_none());
    }

    #[test]
    fn lengths_beyond_memory_are_refused_and_nothing_overflows() {
        for tokens in [usize::MAX, usize::MAX / 2, usize::MAX / 200] {
            assert_eq!(scratch_bytes(&SHAPE, tokens), usize::MAX);
            assert!(Scratch::carve(&mut [0; 999], &SHAPE, tokens).is_none());
        }
    }
}
