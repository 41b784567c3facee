//! The memory of a forward pass, cut out of one block that the caller brings.
//!
//! ```text
//! | hidden rows | halves | context | quantized rows | share of thread 0 | share of thread 1 | …
//!   of all tokens, for the layer as a whole  \__ what one thread works in alone __/
//! ```
//!
//! The halves are a layer's rows where an input is long; what a share keeps of rows is then halves too, else floats.
//!
//! A share is used in two ways that never overlap in time: for the query, key and value of a few heads
//! and their attention ([`HeadsMemory`]), and for the feed-forward block of a few rows
//! ([`RowsMemory`]). Both are small enough for a second-level cache.

use berth_bundle::{ALIGNMENT, Header, Shape};
use berth_kernels::{
    AttentionScratch, Element, Isa, LANES, NORM_TOGETHER, RowRange, Rows, RowsMut, f16,
};
use bytemuck::Pod;

use crate::team::{Alone, Team};
use crate::weights::Value;

/// How many rows are taken through the feed-forward block at a time: a multiple of the rows of a tile on any tier, 6 or
/// fewer.
///
/// Its inside is the widest thing that a layer computes. A few rows of it stay in the second-level cache and keep the
/// scratch small; but the weights are read anew for each block. A workstation reads them from its third-level cache,
/// which takes no time beside the products. A board reads them from memory, and looks at them once a block; so there an
/// input of 128 tokens is a single one.
pub(crate) const BLOCK: usize = if cfg!(target_arch = "aarch64") {
    132
} else {
    96
};

/// Up to so many tokens an int8 layer keeps rows in floats between its linears, and in halves where there are more:
/// part of the arithmetic, see `NUMERICS.md`.
pub(crate) const SHORT: usize = 64;

/// How many columns of queries are computed at a time, at least: four panels of weights fill the
/// widest tile that a kernel has.
const GROUP_COLUMNS: usize = 4 * LANES;

/// How many floats queries, keys and values may have for more heads than the fewest to go together: 96 KiB, a part of a
/// second-level cache.
const NEAR: usize = 24_576;

/// How many floats queries, keys and values of one token have in one head.
fn qkv_of_head(shape: &Shape) -> usize {
    3 * shape.head_width() as usize
}

/// The fewest heads that a thread takes through attention at a time.
fn fewest_heads(shape: &Shape) -> usize {
    let heads = GROUP_COLUMNS.div_ceil(shape.head_width() as usize);
    heads.min(shape.heads as usize)
}

/// How many heads of so many tokens a thread takes through attention at a time.
pub(crate) fn heads_together(shape: &Shape, tokens: usize) -> usize {
    let near = NEAR / tokens.saturating_mul(qkv_of_head(shape)).max(1);
    near.min(shape.heads as usize).max(fewest_heads(shape))
}

/// How many floats queries, keys and values of the heads that go together have at most, for up to so many tokens.
fn qkv_len(shape: &Shape, tokens: usize) -> Option<usize> {
    let of_head = tokens.checked_mul(qkv_of_head(shape))?;
    let fewest = of_head.checked_mul(fewest_heads(shape))?;
    let all = of_head.checked_mul(shape.heads as usize)?;
    Some(fewest.max(all.min(NEAR)))
}

/// Memory for a forward pass over a number of tokens. Its contents do not matter before, and mean
/// nothing afterwards.
pub struct Scratch<'s> {
    /// How many tokens there is room for.
    pub(crate) tokens: usize,
    /// The hidden rows, where the caller has no place of their own for them.
    pub(crate) hidden: &'s mut [f32],
    /// The rows of a layer that keeps them in halves.
    pub(crate) halves: &'s mut [f16],
    /// The rows that a layer reads.
    pub(crate) quantized: Quantized<'s>,
    /// Where it is computed.
    pub(crate) bench: Bench<'s>,
}

/// Who computes a layer, and where.
pub(crate) struct Bench<'s> {
    pub(crate) team: &'s dyn Team,
    /// What attention returns, values of the layer's kind; behind the layers, what the pooler returns, floats.
    pub(crate) context: &'s mut [u8],
    /// The threads' own memory, `share` bytes each.
    pub(crate) shares: &'s mut [u8],
    pub(crate) share: usize,
}

/// A place for quantized rows.
pub(crate) struct Quantized<'s> {
    values: &'s mut [u8],
    scale: &'s mut [f32],
    low: &'s mut [f32],
}

impl Quantized<'_> {
    /// Quantizes whole rows of `width` values, a multiple of 16, for which there is room.
    pub(crate) fn rows<E: Element>(&mut self, isa: Isa, x: &[E], width: usize) -> Rows<'_> {
        let mut rows = self.places(x.len() / width, width);
        isa.quantize_rows(x, rows.reborrow());
        rows.into_rows()
    }

    /// Room for `count` rows.
    pub(crate) fn places(&mut self, count: usize, width: usize) -> RowsMut<'_> {
        let values = &mut self.values[..count * width];
        let (scale, low) = (&mut self.scale[..count], &mut self.low[..count]);
        RowsMut::new(width, values, scale, low).expect("lengths as just cut")
    }

    /// Room for `count` rows, in pieces of at most `most`.
    pub(crate) fn pieces(
        &mut self,
        count: usize,
        width: usize,
        most: usize,
    ) -> impl Iterator<Item = RowsMut<'_>> {
        let values = self.values[..count * width].chunks_mut(most * width);
        let scale = self.scale[..count].chunks_mut(most);
        let ranges = scale.zip(self.low[..count].chunks_mut(most));
        values.zip(ranges).map(move |(values, (scale, low))| {
            RowsMut::new(width, values, scale, low).expect("lengths as just cut")
        })
    }

    /// The rows that were written to all of these places.
    pub(crate) fn written(&self, count: usize, width: usize) -> Rows<'_> {
        let (values, scale) = (&self.values[..count * width], &self.scale[..count]);
        Rows::new(width, values, scale, &self.low[..count]).expect("lengths as just cut")
    }
}

/// A thread's share, for the attention of some heads.
pub(crate) struct HeadsMemory<'s> {
    /// Room for `[tokens][3][heads][head_width]`.
    pub(crate) qkv: &'s mut [f32],
    pub(crate) floats: &'s mut [f32],
    pub(crate) bytes: &'s mut [u8],
}

impl<'s> HeadsMemory<'s> {
    fn lens(header: &Header, tokens: usize) -> Option<[usize; 3]> {
        let shape = &header.shape;
        let head_width = shape.head_width() as usize;
        let (mut attention_floats, attention_bytes) = AttentionScratch::lens(tokens, head_width);
        if has_f32_layers(header) {
            let floats = AttentionScratch::lens_f32(tokens, head_width);
            attention_floats = attention_floats.max(floats);
        }
        Some([
            float_bytes(qkv_len(shape, tokens)?)?,
            float_bytes(attention_floats)?,
            attention_bytes,
        ])
    }

    /// Cuts a share that was made for as many tokens.
    pub(crate) fn carve(share: &'s mut [u8], header: &Header, tokens: usize) -> Option<Self> {
        let [qkv, attention, bytes] = carve(share, HeadsMemory::lens(header, tokens)?)?;
        Some(HeadsMemory {
            qkv: typed(qkv)?,
            floats: typed(attention)?,
            bytes,
        })
    }
}

/// A thread's share, for what follows attention, row by row: with values of the kind that the layer has.
pub(crate) struct RowsMemory<'s, V> {
    /// The feed-forward block's inside, `[rows][inside_width]`.
    pub(crate) inside: &'s mut [V],
    /// What a linear back to the hidden size returns, `[rows][width]`.
    pub(crate) out: &'s mut [V],
    /// What is added and not yet normalized, of a few rows.
    pub(crate) sums: &'s mut [f32],
    /// What is known of the inside of each row.
    pub(crate) ranges: &'s mut [RowRange],
    /// The rows that a linear reads.
    pub(crate) quantized: Quantized<'s>,
}

impl<'s, V: Value> RowsMemory<'s, V> {
    fn lens(header: &Header, rows: usize) -> Option<[usize; 7]> {
        let shape = &header.shape;
        let widths = [shape.width(), shape.heads_width(), shape.inside_width()];
        let [width, heads, inside] = widths.map(|width| width as usize);
        Some([
            value_bytes(header, rows, inside)?,
            value_bytes(header, rows, width)?,
            float_bytes(NORM_TOGETHER.checked_mul(width)?)?,
            rows.checked_mul(size_of::<RowRange>())?,
            rows.checked_mul(heads.max(inside))?,
            float_bytes(rows)?,
            float_bytes(rows)?,
        ])
    }

    /// Cuts a share that was made for as many rows.
    pub(crate) fn carve(share: &'s mut [u8], header: &Header, rows: usize) -> Option<Self> {
        let lens = Self::lens(header, rows)?;
        let [inside, out, sums, ranges, values, scale, low] = carve(share, lens)?;
        let shape = &header.shape;
        Some(RowsMemory {
            inside: kept(inside, rows * shape.inside_width() as usize)?,
            out: kept(out, rows * shape.width() as usize)?,
            sums: typed(sums)?,
            ranges: typed(ranges)?,
            quantized: Quantized {
                values,
                scale: typed(scale)?,
                low: typed(low)?,
            },
        })
    }
}

/// How many bytes each part has, or `None` where one is longer than memory can be. The shares of the
/// threads are the last.
fn part_lens(header: &Header, tokens: usize, threads: usize) -> Option<[usize; 7]> {
    let widths = [header.shape.width(), header.shape.heads_width()];
    let [width, heads] = widths.map(|width| width as usize);
    let rows = tokens.checked_mul(width)?;
    let context = value_bytes(header, tokens, heads)?;
    let halves = match tokens > SHORT {
        true => rows.checked_mul(size_of::<f16>())?,
        false => 0,
    };
    Some([
        float_bytes(rows)?,
        halves,
        // At least a row of floats, for the pooler.
        context.max(float_bytes(width)?),
        rows,
        float_bytes(tokens)?,
        float_bytes(tokens)?,
        share_len(header, tokens)?.checked_mul(threads)?,
    ])
}

/// How many bytes one thread works in, a multiple of 64.
fn share_len(header: &Header, tokens: usize) -> Option<usize> {
    let heads = padded_sum(&HeadsMemory::lens(header, tokens)?)?;
    let rows = padded_sum(&RowsMemory::<f32>::lens(header, tokens.min(BLOCK))?)?;
    Some(heads.max(rows))
}

/// The sum of lengths, each up to a multiple of 64.
fn padded_sum(lens: &[usize]) -> Option<usize> {
    lens.iter().try_fold(0usize, |sum, len| {
        sum.checked_add(len.checked_next_multiple_of(ALIGNMENT)?)
    })
}

/// How many bytes a forward pass of a bundle with this header over `tokens` tokens takes on one thread,
/// wherever the block begins.
///
/// [`usize::MAX`] for a shape and a length that no memory is large enough for.
///
/// # Panics
/// When the shape has no heads, which [`Shape::check`] refuses.
pub fn scratch_bytes(header: &Header, tokens: usize) -> usize {
    scratch_bytes_for(header, tokens, 1)
}

/// The same for a number of threads.
///
/// # Panics
/// As [`scratch_bytes`].
pub fn scratch_bytes_for(header: &Header, tokens: usize, threads: usize) -> usize {
    let lens = part_lens(header, tokens, threads);
    let total = lens.and_then(|lens| padded_sum(&lens)?.checked_add(ALIGNMENT - 1));
    total.unwrap_or(usize::MAX)
}

impl<'s> Scratch<'s> {
    /// Cuts up a block of [`scratch_bytes`] or more; every part begins at a multiple of 64. `None`
    /// when the block is too small.
    ///
    /// # Panics
    /// When the shape has no heads, which [`Shape::check`] refuses.
    pub fn carve(memory: &'s mut [u8], header: &Header, tokens: usize) -> Option<Self> {
        Scratch::carve_for(memory, header, tokens, &Alone)
    }

    /// The same for a team, and [`scratch_bytes_for`] its threads.
    ///
    /// # Panics
    /// As [`carve`](Self::carve).
    pub fn carve_for(
        memory: &'s mut [u8],
        header: &Header,
        tokens: usize,
        team: &'s dyn Team,
    ) -> Option<Self> {
        let lens = part_lens(header, tokens, team.threads())?;
        let [hidden, halves, context, values, scale, low, shares] = carve(memory, lens)?;
        Some(Scratch {
            tokens,
            hidden: typed(hidden)?,
            halves: typed(halves)?,
            quantized: Quantized {
                values,
                scale: typed(scale)?,
                low: typed(low)?,
            },
            bench: Bench {
                team,
                context,
                shares,
                share: share_len(header, tokens)?,
            },
        })
    }
}

impl core::fmt::Debug for Scratch<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let (tokens, threads) = (self.tokens, self.bench.team.threads());
        write!(f, "Scratch({tokens} tokens, {threads} threads)")
    }
}

/// Cuts parts of these lengths from the front, each from a multiple of 64 on.
fn carve<const N: usize>(memory: &mut [u8], lens: [usize; N]) -> Option<[&mut [u8]; N]> {
    let mut rest = memory;
    let mut parts = [const { None }; N];
    for (cut, len) in parts.iter_mut().zip(lens) {
        let padding = rest.as_ptr().align_offset(ALIGNMENT);
        let (_, aligned) = rest.split_at_mut_checked(padding)?;
        let (part, behind) = aligned.split_at_mut_checked(len)?;
        (*cut, rest) = (Some(part), behind);
    }
    // Every part is there, or the loop would not have come to its end.
    Some(parts.map(|part| part.unwrap_or_default()))
}

/// Whether there are layers that keep their rows in floats.
fn has_f32_layers(header: &Header) -> bool {
    header.f32_layers().next().is_some()
}

/// How many bytes there have to be for `each` values of each of up to so many tokens, whichever the layers keep:
/// floats where an input is short or the layer is in floats, and halves elsewhere.
fn value_bytes(header: &Header, tokens: usize, each: usize) -> Option<usize> {
    let in_floats = match has_f32_layers(header) {
        true => tokens,
        false => tokens.min(SHORT),
    };
    let floats = float_bytes(in_floats.checked_mul(each)?)?;
    let halves = tokens.checked_mul(each)?.checked_mul(size_of::<f16>())?;
    Some(floats.max(halves))
}

/// The first so many values of one kind in aligned bytes.
pub(crate) fn kept<V: Pod>(bytes: &mut [u8], count: usize) -> Option<&mut [V]> {
    typed(bytes)?.get_mut(..count)
}

/// How many bytes floats have.
fn float_bytes(count: usize) -> Option<usize> {
    count.checked_mul(size_of::<f32>())
}

/// Aligned bytes as values of one kind.
fn typed<V: Pod>(bytes: &mut [u8]) -> Option<&mut [V]> {
    bytemuck::try_cast_slice_mut(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use berth_bundle::{Section, SectionKind};
    use berth_task::{Labels, Task};
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

    fn header() -> Header {
        let labels = Labels::of(["a", "b"]).unwrap();
        Header::new(SHAPE, Task::TextClassification, labels, 100)
    }

    #[test]
    fn a_layer_in_floats_asks_for_room_of_its_own() {
        let mut mixed = header();
        let kind = SectionKind::LayerF32(0);
        let section = Section {
            kind,
            len: 0,
            crc: 0,
        };
        mixed.sections.push(section).unwrap();
        // For 100 tokens and one head at a time: keys of 112 by 16, and six rows of scores.
        let [qkv, floats, bytes] = HeadsMemory::lens(&mixed, 100).unwrap();
        assert_eq!(floats, 4 * 112 * (16 + 6));
        let [same_qkv, fewer, same_bytes] = HeadsMemory::lens(&header(), 100).unwrap();
        assert!(fewer < floats && (same_qkv, same_bytes) == (qkv, bytes));
    }

    #[test]
    fn what_is_asked_for_is_enough_wherever_the_block_begins() {
        for tokens in [1, 2, 15, 16, 17, 100] {
            let bytes = scratch_bytes(&header(), tokens);
            let mut memory = vec![0; bytes + ALIGNMENT];
            for start in 0..ALIGNMENT {
                let block = &mut memory[start..start + bytes];
                let scratch = Scratch::carve(block, &header(), tokens).unwrap();
                assert_eq!(scratch.hidden.len(), 32 * tokens);
                let share = &mut *scratch.bench.shares;
                assert_eq!(share.len(), scratch.bench.share);
                let heads = HeadsMemory::carve(share, &header(), tokens).unwrap();
                assert_eq!(heads.qkv.len(), 96 * tokens);
                let rows = RowsMemory::<f16>::carve(share, &header(), tokens.min(BLOCK)).unwrap();
                assert_eq!(rows.inside.len(), 48 * tokens.min(BLOCK));
            }
        }
    }

    #[test]
    fn heads_that_go_together_have_room_however_few_the_tokens_are() {
        for (heads, head_size, intermediate) in [(2, 16, 48), (12, 32, 1536), (12, 64, 3072)] {
            let shape = Shape {
                hidden: heads * head_size,
                heads,
                intermediate,
                ..SHAPE
            };
            let width = 3 * head_size as usize;
            for most in [1, 16, 17, 128, 512] {
                let room = qkv_len(&shape, most).unwrap();
                for tokens in 1..=most {
                    let together = heads_together(&shape, tokens);
                    assert!((1..=heads as usize).contains(&together));
                    assert!(
                        tokens * width * together <= room,
                        "{tokens} of {most} tokens"
                    );
                }
            }
        }
        let mini = Shape {
            hidden: 384,
            heads: 12,
            ..SHAPE
        };
        let together = [16, 32, 64, 128, 512].map(|tokens| heads_together(&mini, tokens));
        assert_eq!(together, [12, 8, 4, 2, 2]);
    }

    #[test]
    fn every_thread_has_a_share_of_its_own() {
        let one = scratch_bytes(&header(), 9);
        let share = share_len(&header(), 9).unwrap();
        assert_eq!(scratch_bytes_for(&header(), 9, 4), one + 3 * share);
        assert!(share.is_multiple_of(ALIGNMENT));
    }

    #[test]
    fn too_little_is_refused() {
        for tokens in [1, 9, 16, BLOCK + 1] {
            let bytes = scratch_bytes(&header(), tokens);
            let mut memory = vec![0; bytes + ALIGNMENT];
            let start = memory.as_ptr().align_offset(ALIGNMENT) + 1;
            let block = &mut memory[start..start + bytes];
            assert!(Scratch::carve(block, &header(), tokens).is_some());
            assert!(Scratch::carve(&mut block[..bytes - 1], &header(), tokens).is_none());
        }
        assert!(Scratch::carve(&mut [], &header(), 1).is_none());
    }

    #[test]
    fn lengths_beyond_memory_are_refused_and_nothing_overflows() {
        for tokens in [usize::MAX, usize::MAX / 2, usize::MAX / 200] {
            assert_eq!(scratch_bytes(&header(), tokens), usize::MAX);
            assert!(Scratch::carve(&mut [0; 999], &header(), tokens).is_none());
        }
    }
}
