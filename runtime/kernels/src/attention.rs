//! Attention in int8, one head after another.
//!
//! ```text
//! keys     less their mean over the tokens, s8 a token ---> scores ---> weights, u8 ---> context
//! queries  u8 a token -----------------------------------/                            /
//! values   s8 a channel -------------------------------------------------------------/
//! ```
//!
//! Keys and values of a head are packed like weights, so both products are the tiles that linear
//! layers use. The queries are then taken through a few rows at a time: scores, softmax and
//! context of a tile stay in the innermost cache, and memory grows with the tokens, not with their
//! square. The factor `log2(e) / sqrt(head size)` is folded into the query weights by the
//! quantizer, so a score is the exponent of a power of two.
//!
//! Tokens are padded to whole panels of 16. What stands in the padding does not matter: its scores
//! are replaced by the lowest float, its weights become 0, and so its values count nothing.

use core::mem::MaybeUninit;
use core::ops::Range;

use crate::columns::{ColumnsMut, PanelsMut, Spare};
use crate::element::{Element, Lane, Out};
use crate::polynomials::{EXP2_255, exp2};
use crate::rows::quantize_vectors;
use crate::simd::{At, Groups, Kernel, MAX_ROWS, Panels, Simd, lanes, lanes_mut};
use crate::tile::{self, Tiles, each, unroll};
use crate::weights::{GROUP, MOST_PRODUCTS, SMALLEST_RANGE};
use crate::{Isa, LANES};

/// What attention reads: for each token its queries, keys and values, each for all heads.
#[derive(Copy, Clone, Debug)]
pub struct Attention<'a> {
    /// `[tokens][3][heads][head_size]`; the queries of a row that has no output may be anything.
    pub qkv: &'a [f32],
    /// How many tokens there are.
    pub tokens: usize,
    /// How many heads there are.
    pub heads: usize,
    /// How many channels a head has, a multiple of 16.
    pub head_size: usize,
}

/// The memory that one call of attention works in. Threads need one each.
#[derive(Debug)]
pub struct AttentionScratch<'s> {
    pub(crate) floats: &'s mut [f32],
    pub(crate) bytes: &'s mut [u8],
}

impl<'s> AttentionScratch<'s> {
    /// How many floats and how many bytes it takes for so many tokens and channels.
    pub const fn lens(tokens: usize, head_size: usize) -> (usize, usize) {
        let padded = tokens.saturating_add(LANES - 1) / LANES * LANES;
        let floats = padded
            .saturating_mul(4 + MAX_ROWS)
            .saturating_add(head_size.saturating_mul(2));
        let bytes = padded.saturating_mul(head_size.saturating_mul(3).saturating_add(MAX_ROWS));
        (floats, bytes)
    }

    /// How many floats [`Isa::attention_f32`] takes, and no bytes.
    pub const fn lens_f32(tokens: usize, head_size: usize) -> usize {
        let padded = tokens.saturating_add(LANES - 1) / LANES * LANES;
        padded.saturating_mul(head_size.saturating_add(MAX_ROWS))
    }

    /// Memory for as many tokens and channels as [`lens`](Self::lens) allows for. Its contents do
    /// not matter.
    pub fn new(floats: &'s mut [f32], bytes: &'s mut [u8]) -> Self {
        AttentionScratch { floats, bytes }
    }
}

impl Isa {
    /// Computes the given heads for the first tokens, as many as `out` has rows:
    /// `out[token][head - heads.start][channel]`.
    ///
    /// # Panics
    /// When the input's length is not what its dimensions ask for, when there is no token or more
    /// than 65,536, when the head size is not a multiple of 16 from 16 on, when there are no such heads, when `out` has
    /// more rows than tokens or not just the heads' columns, or when the scratch is too small.
    pub fn attention<E: Element>(
        self,
        input: &Attention<'_>,
        heads: Range<usize>,
        scratch: &mut AttentionScratch<'_>,
        out: ColumnsMut<'_, E>,
    ) {
        check_attention(input, &heads, &out);
        let work = Work::carve(scratch, input.tokens, input.head_size);
        self.heads(Heads {
            input: *input,
            heads,
            work,
            out: E::out(out),
        });
    }

    /// Not generic, so that it is there once.
    fn heads(self, heads: Heads<'_>) {
        self.run(heads);
    }
}

/// What holds for every call of attention.
pub(crate) fn check_attention<E>(
    input: &Attention<'_>,
    heads: &Range<usize>,
    out: &ColumnsMut<'_, E>,
) {
    let (tokens, head_size) = (input.tokens, input.head_size);
    assert!((1..=MOST_PRODUCTS).contains(&tokens), "no sum overflows");
    assert!(head_size > 0 && head_size.is_multiple_of(LANES));
    // Dimensions whose product overflows are those of no input.
    let hidden = input.heads.checked_mul(head_size);
    let len = hidden.and_then(|hidden| hidden.checked_mul(3 * tokens));
    assert_eq!(Some(input.qkv.len()), len, "all of the input");
    assert!(heads.start <= heads.end && heads.end <= input.heads);
    assert!(out.rows() <= tokens, "outputs of tokens that there are");
    assert_eq!(out.columns(), heads.len() * head_size, "the heads' columns");
}

/// The scratch, cut into what a head needs.
struct Work<'s> {
    /// Packed, `[tokens / 16][head_size / 4][16][4]`.
    keys: &'s mut [u8],
    /// For each token what a step of its key is worth, and that times the sum of the steps.
    key_scale: &'s mut [f32],
    key_sum: &'s mut [f32],
    /// For each channel of the head.
    key_mean: &'s mut [f32],
    /// Packed, `[head_size / 16][tokens / 4][16][4]`.
    values: &'s mut [u8],
    /// For each channel of the head.
    value_scale: &'s mut [f32],
    /// Quantized, a row for each token, with what a step is worth and the smallest value.
    queries: &'s mut [u8],
    query_scale: &'s mut [f32],
    query_low: &'s mut [f32],
    /// A tile of scores, and of softmax weights.
    scores: &'s mut [f32],
    weights: &'s mut [u8],
}

impl<'s> Work<'s> {
    fn carve(scratch: &'s mut AttentionScratch<'_>, tokens: usize, head_size: usize) -> Self {
        let padded = tokens.next_multiple_of(LANES);
        let (floats, bytes) = AttentionScratch::lens(tokens, head_size);
        let fits = floats <= scratch.floats.len() && bytes <= scratch.bytes.len();
        assert!(fits, "scratch for so many tokens");
        let (key_scale, floats) = scratch.floats.split_at_mut(padded);
        let (key_sum, floats) = floats.split_at_mut(padded);
        let (query_scale, floats) = floats.split_at_mut(padded);
        let (query_low, floats) = floats.split_at_mut(padded);
        let (scores, floats) = floats.split_at_mut(MAX_ROWS * padded);
        let (value_scale, floats) = floats.split_at_mut(head_size);
        let (keys, bytes) = scratch.bytes.split_at_mut(padded * head_size);
        let (values, bytes) = bytes.split_at_mut(padded * head_size);
        let (queries, bytes) = bytes.split_at_mut(padded * head_size);
        Work {
            keys,
            key_scale,
            key_sum,
            key_mean: &mut floats[..head_size],
            values,
            value_scale,
            queries,
            query_scale,
            query_low,
            scores,
            weights: &mut bytes[..MAX_ROWS * padded],
        }
    }
}

/// A checked call of [`Isa::attention`].
struct Heads<'a> {
    input: Attention<'a>,
    heads: Range<usize>,
    work: Work<'a>,
    out: Out<'a>,
}

impl Kernel for Heads<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let head_size = self.input.head_size;
        let mut kept = s.keep();
        for (index, number) in self.heads.enumerate() {
            let head = Head {
                input: self.input,
                number,
            };
            let (work, rows) = (&mut self.work, self.out.rows());
            s.apart(|| head.pack_keys(s, work));
            s.apart(|| head.pack_values(s, work));
            s.apart(|| head.quantize_queries(s, rows, work));
            let [keys, values] = head.packed(s, &self.work, self.out.rows(), &mut kept);
            let place = Place {
                keys,
                values,
                panel: index * head_size / LANES,
            };
            for (row, len) in tile::cut(self.out.rows(), S::ROWS, S::STEP) {
                let (work, out, kept) = (&mut self.work, &mut self.out, &mut kept);
                match len {
                    1 => head.rows::<S, 1>(s, row, work, kept, (out, place)),
                    2 => head.rows::<S, 2>(s, row, work, kept, (out, place)),
                    3 => head.rows::<S, 3>(s, row, work, kept, (out, place)),
                    4 => head.rows::<S, 4>(s, row, work, kept, (out, place)),
                    5 => head.rows::<S, 5>(s, row, work, kept, (out, place)),
                    _ => head.rows::<S, MAX_ROWS>(s, row, work, kept, (out, place)),
                }
            }
        }
    }
}

/// Which third of a token's input.
#[derive(Copy, Clone)]
pub(crate) enum Part {
    Query,
    Key,
    Value,
}

/// Where a head's products come from, and where they go.
#[derive(Copy, Clone)]
struct Place {
    keys: Packed,
    values: Packed,
    /// The first of the head's panels of the output.
    panel: usize,
}

/// Packed keys or values.
#[derive(Copy, Clone)]
struct Packed {
    panels: Panels,
    /// How many panels there are.
    count: usize,
    /// How many of them are taken through rows together.
    together: usize,
    /// Whether all have been looked at, once for all rows.
    kept: bool,
    /// The first that is kept, and its place.
    first: usize,
    place: usize,
}

impl Packed {
    /// As many panels as are asked for, none of which has been looked at.
    #[inline(always)]
    fn new<S: Simd>(s: S, start: &[u8], count: usize, groups: usize) -> Self {
        let stride = LANES * GROUP * groups;
        let start = &start[..count * stride];
        Packed {
            panels: Panels {
                start: start.as_ptr().cast(),
                stride,
                groups,
                columns: None,
            },
            count,
            together: tile::together(s, groups, MAX_ROWS),
            kept: false,
            first: 0,
            place: 0,
        }
    }

    /// The panels from `panel` on.
    ///
    /// # Safety
    /// There is such a panel.
    #[inline(always)]
    unsafe fn from(&self, panel: usize) -> Panels {
        debug_assert!(panel < self.count);
        // SAFETY: the caller knows that there is such a panel.
        let start = unsafe { self.panels.start.add(panel * self.panels.stride) };
        Panels {
            start,
            ..self.panels
        }
    }

    /// Looks at all panels, and keeps them from `place` on, for `rows` rows.
    ///
    /// # Safety
    /// They have been packed, and there are so many places.
    #[inline(always)]
    unsafe fn keep<S: Simd>(&mut self, s: S, rows: usize, kept: &mut S::Kept, place: usize) {
        // SAFETY: `new` has seen that the panels exist; nothing is said to be known of their columns.
        unsafe { s.ready(self.panels, self.count, rows, kept, place) }
        (self.together, self.place, self.kept) = (self.count, place, true);
    }

    /// Looks at some panels, unless all have been looked at.
    #[inline(always)]
    fn begin<S: Simd>(&mut self, s: S, panel: usize, count: usize, kept: &mut S::Kept) {
        if !self.kept {
            debug_assert!(panel + count <= self.count);
            self.first = panel;
            // SAFETY: the panels exist, since `tile::of_rows` does not leave its range; nothing is said to be known of
            // their columns.
            unsafe { s.ready(self.from(panel), count, MAX_ROWS, kept, 0) }
        }
    }

    /// The products of `M` rows from `a` on with some panels.
    ///
    /// # Safety
    /// `a` is valid for reads of `(M - 1) * row + 4 * groups` bytes, and `s.rows` has looked at them last. The
    /// panels exist, and have been looked at.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const N: usize>(
        &self,
        s: S,
        (a, row): (*const u8, usize),
        panel: usize,
        kept: &mut S::Kept,
        sums: &mut MaybeUninit<[[S::I32; N]; M]>,
    ) {
        debug_assert!(panel + N <= self.count);
        let place = self.place + (panel - self.first) * s.places(self.panels.groups);
        // SAFETY: the caller grants the same.
        unsafe { s.tile::<M, N>(a, row, self.from(panel), kept, At { slot: 0, place }, sums) }
    }
}

/// One head of the input.
#[derive(Copy, Clone)]
pub(crate) struct Head<'a> {
    pub(crate) input: Attention<'a>,
    pub(crate) number: usize,
}

impl<'a> Head<'a> {
    /// This head's channels of one part, token after token.
    #[inline(always)]
    fn tokens(&self, part: Part) -> impl Iterator<Item = &'a [f32]> {
        let (first, head_size) = (self.place(0, part), self.input.head_size);
        let tokens = self.input.qkv.chunks_exact(self.stride());
        tokens.map(move |token| &token[first..first + head_size])
    }

    /// How far the channels of two tokens are apart.
    #[inline(always)]
    pub(crate) fn stride(&self) -> usize {
        3 * self.input.heads * self.input.head_size
    }

    /// This head's channels of one part of one token.
    #[inline(always)]
    pub(crate) fn channels(&self, token: usize, part: Part) -> &'a [f32] {
        &self.input.qkv[self.place(token, part)..][..self.input.head_size]
    }

    /// Where they begin in the input.
    #[inline(always)]
    pub(crate) fn place(&self, token: usize, part: Part) -> usize {
        ((token * 3 + part as usize) * self.input.heads + self.number) * self.input.head_size
    }

    /// Subtracts each channel's mean over the tokens, quantizes each token to s8, and packs.
    #[inline(always)]
    fn pack_keys<S: Simd>(self, s: S, work: &mut Work<'_>) {
        let tokens = self.input.tokens;
        let count = s.splat(tokens as f32);
        for c in 0..self.input.head_size / LANES {
            let mut sum = s.splat(0.0);
            for channels in self.tokens(Part::Key) {
                sum = s.add(sum, s.load(lanes(channels, c)));
            }
            s.store(s.div(sum, count), lanes_mut(work.key_mean, c));
        }
        let (vectors, tokens) = (self.input.head_size / LANES, self.tokens(Part::Key));
        let means = &work.key_mean.as_chunks().0[..vectors];
        let numbers = work.key_scale.iter_mut().zip(&mut *work.key_sum);
        let mut tokens = tokens.zip(numbers);
        let groups = work.keys.as_chunks_mut().0.as_chunks_mut().0;
        for panel in groups.as_chunks_mut().0.chunks_exact_mut(vectors) {
            for (column, (channels, (scale, sum))) in (0..LANES).zip(&mut tokens) {
                let channels = &channels.as_chunks().0[..vectors];
                (*scale, *sum) = pack_key(s, channels, means, column, panel);
            }
        }
    }

    /// Quantizes the queries of the first `rows` tokens.
    #[inline(always)]
    fn quantize_queries<S: Simd>(self, s: S, rows: usize, work: &mut Work<'_>) {
        let vectors = self.input.head_size / LANES;
        let queries = work.queries.as_chunks_mut().0.chunks_exact_mut(vectors);
        let numbers = work.query_scale.iter_mut().zip(&mut *work.query_low);
        let channels = self.tokens(Part::Query).take(rows);
        for ((channels, query), (scale, low)) in channels.zip(queries).zip(numbers) {
            (*scale, *low) = quantize_vectors(s, channels.as_chunks().0, query);
        }
    }

    /// Quantizes each channel to s8 over all tokens, and packs.
    #[inline(always)]
    fn pack_values<S: Simd>(self, s: S, work: &mut Work<'_>) {
        let tokens = self.input.tokens;
        let largest = s.splat(127.0);
        let panels = work
            .values
            .chunks_exact_mut(tokens.div_ceil(GROUP) * GROUP * LANES);
        for (c, panel) in (0..self.input.head_size / LANES).zip(panels) {
            let mut range = s.splat(SMALLEST_RANGE);
            for channels in self.tokens(Part::Value) {
                range = s.max(s.abs(s.load(lanes(channels, c))), range);
            }
            let steps = s.div(largest, range);
            s.store(s.div(range, largest), lanes_mut(work.value_scale, c));
            let mut values = self.tokens(Part::Value);
            for quads in panel.as_chunks_mut().0 {
                let mut four = [s.round(s.splat(0.0)); GROUP];
                for (four, channels) in four.iter_mut().zip(&mut values) {
                    *four = s.round(s.mul(s.load(lanes(channels, c)), steps));
                }
                s.store_quads(four, quads);
            }
        }
    }

    /// The packed keys, a column for each token, and the packed values, a column for each channel. Both are
    /// kept where there are places for them; `rows` rows will be taken through them.
    #[inline(always)]
    fn packed<S: Simd>(
        self,
        s: S,
        work: &Work<'_>,
        rows: usize,
        kept: &mut S::Kept,
    ) -> [Packed; 2] {
        let (tokens, channels) = (self.input.tokens, self.input.head_size);
        let mut keys = Packed::new(s, work.keys, tokens.div_ceil(LANES), channels / GROUP);
        let groups = tokens.div_ceil(GROUP);
        let mut values = Packed::new(s, work.values, channels / LANES, groups);
        // Where one of the two goes through in pieces, which begin at the first place, there are not enough for the
        // other beside it.
        let behind_keys = keys.count * s.places(keys.panels.groups);
        if behind_keys + values.count * s.places(groups) <= S::PLACES {
            // SAFETY: both have been packed, and there are places for all of them.
            unsafe {
                keys.keep(s, rows, kept, 0);
                values.keep(s, rows, kept, behind_keys);
            }
        }
        [keys, values]
    }

    /// Everything for `M` rows from `row` on.
    #[inline(always)]
    fn rows<S: Simd, const M: usize>(
        self,
        s: S,
        row: usize,
        work: &mut Work<'_>,
        kept: &mut S::Kept,
        (out, place): (&mut Out<'_>, Place),
    ) {
        if M > S::ROWS {
            return; // Never asked for; said so that the compiler leaves such tiles out.
        }
        let tokens = self.input.tokens;
        let padded = tokens.next_multiple_of(LANES);

        let mut scores = Scores {
            tokens,
            head_size: self.input.head_size,
            row,
            keys: place.keys,
            largest: [s.splat(f32::MIN); MAX_ROWS],
            work,
            kept,
        };
        let Packed {
            count, together, ..
        } = scores.keys;
        tile::of_rows::<S, M>(s, 0, 0..count, together, &mut scores);
        let largest = scores.largest;

        let mut share = [0.0; MAX_ROWS];
        s.apart(|| {
            for m in 0..M {
                let scores = &work.scores[m * padded..][..padded];
                let weights = &mut work.weights[m * padded..][..padded];
                let sum = softmax(s, scores, s.largest(largest[m]) + 0.0, weights);
                share[m] = 1.0 / sum as f32;
            }
        });

        let Packed {
            count, together, ..
        } = place.values;
        let mut context = Context {
            means: Means {
                padded,
                values: place.values,
                share,
                work,
                kept,
            },
            out,
            row,
            panel: place.panel,
        };
        tile::of_rows::<S, M>(s, 0, 0..count, together, &mut context);
    }
}

/// Subtracts the means from a token's key, quantizes it to s8, and writes it to a column of a panel, four channels of
/// which stand together. Returns what a step is worth, and that times the sum of the steps.
#[inline(always)]
fn pack_key<S: Simd>(
    s: S,
    channels: &[[f32; LANES]],
    means: &[[f32; LANES]],
    column: usize,
    panel: &mut [[[[u8; GROUP]; LANES]; LANES / GROUP]],
) -> (f32, f32) {
    let mut range = s.splat(SMALLEST_RANGE);
    for (channels, mean) in channels.iter().zip(means) {
        range = s.max(s.abs(s.sub(s.load(channels), s.load(mean))), range);
    }
    let range = s.largest(range);
    let steps = s.splat(127.0 / range);
    let mut total = s.round(s.splat(0.0));
    for ((channels, mean), groups) in channels.iter().zip(means).zip(panel) {
        let centred = s.sub(s.load(channels), s.load(mean));
        let q = s.round(s.mul(centred, steps));
        total = s.add_int(total, q);
        let mut bytes = [0; LANES];
        s.store_bytes(q, &mut bytes);
        for (four, group) in bytes.as_chunks().0.iter().zip(groups) {
            group[column] = *four;
        }
    }
    let scale = range / 127.0;
    (scale, scale * s.total(total) as f32)
}

/// Queries times keys.
struct Scores<'w, 's, S: Simd> {
    tokens: usize,
    head_size: usize,
    /// The first of the rows.
    row: usize,
    keys: Packed,
    /// The largest scores of each row so far, lane by lane.
    largest: [S::F32; MAX_ROWS],
    work: &'w mut Work<'s>,
    kept: &'w mut S::Kept,
}

impl<S: Simd> Scores<'_, '_, S> {
    /// The first row's query.
    ///
    /// # Safety
    /// The row is that of a token.
    #[inline(always)]
    unsafe fn queries(&self) -> *const u8 {
        // SAFETY: `Work::carve` made `queries` long enough for all tokens.
        unsafe { self.work.queries.as_ptr().add(self.row * self.head_size) }
    }

    /// What a step of the query of each row is worth, and its smallest value.
    ///
    /// # Panics
    /// When there are no such rows.
    #[inline(always)]
    fn numbers<const M: usize>(&self) -> [[f32; M]; 2] {
        [&*self.work.query_scale, &*self.work.query_low]
            .map(|x| *x[self.row..].first_chunk().expect("rows that there are"))
    }
}

/// Sixteen scores of a row, of the sums and the numbers of their keys and those of the query.
#[inline(always)]
fn score<S: Simd>(s: S, sums: S::I32, [scale, sum]: [S::F32; 2], query: [f32; 2]) -> S::F32 {
    let product = s.mul(s.mul(s.float(sums), scale), s.splat(query[0]));
    s.add(product, s.mul(s.splat(query[1]), sum))
}

impl<S: Simd> Tiles<S> for Scores<'_, '_, S> {
    #[inline(always)]
    fn begin(&mut self, s: S, panel: usize, count: usize) {
        self.keys.begin(s, panel, count, self.kept);
    }

    #[inline(always)]
    fn rows<const M: usize>(&mut self, s: S, _row: usize, _index: usize) {
        debug_assert!(self.row + M <= self.tokens);
        let groups = self.keys.panels.groups;
        // SAFETY: the rows are those of tokens, since outputs are asked for of no others.
        unsafe {
            s.rows::<M>(
                self.queries(),
                self.head_size,
                Groups::all(groups, false),
                self.kept,
                0,
            )
        }
    }

    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, _row: usize, panel: usize) {
        let padded = self.tokens.next_multiple_of(LANES);
        let [query_scale, query_low] = self.numbers::<M>();
        let mut sums = MaybeUninit::uninit();
        // SAFETY: the rows are those of tokens, as for `rows`; the panels exist, since
        // `tile::of_rows` does not leave its range. `rows` and `begin` have looked at them.
        let sums: &[[S::I32; N]; M] = unsafe {
            let queries = (self.queries(), self.head_size);
            self.keys.tile(s, queries, panel, self.kept, &mut sums);
            sums.assume_init_ref()
        };
        let scores = &mut self.work.scores[..M * padded];
        let mut scores = ColumnsMut::new(scores, padded).expect("whole rows");
        each!(S, n < N {
            let scale = s.load(lanes(self.work.key_scale, panel + n));
            let sum = s.load(lanes(self.work.key_sum, panel + n));
            let left = self.tokens - (panel + n) * LANES;
            let mut spare = Spare::new();
            let mut out = scores.panel::<M>(0, panel + n, &mut spare);
            each!(S, m < M {
                let query = [query_scale[m], query_low[m]];
                let mut score = score(s, s.sums(sums, m, n), [scale, sum], query);
                if left < LANES {
                    score = s.first(left, score, s.splat(f32::MIN));
                }
                self.largest[m] = s.max(self.largest[m], score);
                out.put(s, m, score);
            });
            // SAFETY: each of the `M` rows was put.
            unsafe { out.finish() };
        });
    }

    #[inline(always)]
    fn strip<const M: usize>(&mut self, s: S, row: usize, panels: Range<usize>) {
        let padded = self.tokens.next_multiple_of(LANES);
        let [query_scale, query_low] = self.numbers::<M>();
        // The last panel may have fewer tokens.
        let whole = panels.start.max(panels.end.min(self.tokens / LANES));
        // SAFETY: as for `rows`.
        let queries = unsafe { (self.queries(), self.head_size) };
        let Work {
            key_scale,
            key_sum,
            scores,
            ..
        } = &mut *self.work;
        let [scales, sums] = [&**key_scale, &**key_sum]
            .map(|numbers| numbers.as_chunks::<LANES>().0[panels.start..whole].iter());
        let mut scores = ColumnsMut::new(&mut scores[..M * padded], padded).expect("whole rows");
        let outputs = scores.panels::<M>(0, panels.start..whole);
        let mut largest = self.largest;
        for (panel, ((scale, sum), mut out)) in (panels.start..).zip(scales.zip(sums).zip(outputs))
        {
            let mut sums = MaybeUninit::uninit();
            // SAFETY: as for `tile`.
            let sums: &[[S::I32; 1]; M] = unsafe {
                self.keys.tile(s, queries, panel, self.kept, &mut sums);
                sums.assume_init_ref()
            };
            let numbers = [s.load(scale), s.load(sum)];
            unroll!(m < M {
                let score = score(s, s.sums(sums, m, 0), numbers, [query_scale[m], query_low[m]]);
                largest[m] = s.max(largest[m], score);
                out.put(s, m, score);
            });
        }
        self.largest = largest;
        if whole < panels.end {
            self.tile::<M, 1>(s, row, whole);
        }
    }
}

/// Writes `255 * 2^(score - largest)`, rounded, and returns the sum of what it wrote.
#[inline(always)]
fn softmax<S: Simd>(s: S, scores: &[f32], largest: f32, weights: &mut [u8]) -> i32 {
    let largest = s.splat(largest);
    let mut sum = s.round(s.splat(0.0));
    let by_four = match S::STEPS_BY_FOUR {
        true => scores.len() / (4 * LANES) * (4 * LANES),
        false => 0,
    };
    let (fours, rest) = scores.split_at(by_four);
    let (weights_of_fours, weights_of_rest) = weights.split_at_mut(by_four);
    let fours = fours.as_chunks::<{ 4 * LANES }>().0;
    let weights_of_fours = weights_of_fours.as_chunks_mut::<{ 4 * LANES }>().0;
    for (scores, weights) in fours.iter().zip(weights_of_fours) {
        let mut four = [sum; 4];
        for i in 0..4 {
            four[i] = weight(s, lanes(scores, i), largest);
        }
        let both = [s.add_int(four[0], four[1]), s.add_int(four[2], four[3])];
        sum = s.add_int(sum, s.add_int(both[0], both[1]));
        s.store_steps(four, weights);
    }
    let rest = rest.as_chunks().0.iter();
    for (scores, weights) in rest.zip(weights_of_rest.as_chunks_mut().0) {
        let weight = weight(s, scores, largest);
        sum = s.store_and_add(weight, sum, weights);
    }
    s.total(sum)
}

/// The weights of sixteen scores.
#[inline(always)]
fn weight<S: Simd>(s: S, scores: &[f32; LANES], largest: S::F32) -> S::I32 {
    s.round(exp2(s, &EXP2_255, s.sub(s.load(scores), largest)))
}

/// Softmax weights times values.
struct Context<'w, 's, 'o, S: Simd> {
    means: Means<'w, 's, S>,
    out: &'w mut Out<'o>,
    row: usize,
    /// The first of the head's panels of the output.
    panel: usize,
}

/// What the context of a tile of rows is made of.
struct Means<'w, 's, S: Simd> {
    padded: usize,
    values: Packed,
    /// One over the sum of each row's weights.
    share: [f32; MAX_ROWS],
    work: &'w Work<'s>,
    kept: &'w mut S::Kept,
}

impl<S: Simd> Tiles<S> for Context<'_, '_, '_, S> {
    #[inline(always)]
    fn begin(&mut self, s: S, panel: usize, count: usize) {
        let Means { values, kept, .. } = &mut self.means;
        values.begin(s, panel, count, kept);
    }

    #[inline(always)]
    fn rows<const M: usize>(&mut self, s: S, _row: usize, _index: usize) {
        debug_assert!(M <= MAX_ROWS);
        let means = &mut self.means;
        let (weights, padded) = (means.work.weights.as_ptr(), means.padded);
        let groups = Groups::all(means.values.panels.groups, false);
        // SAFETY: `Work::carve` made `weights` long enough for `MAX_ROWS` rows of `padded`, which is no
        // less than `4 * groups`.
        unsafe { s.rows::<M>(weights, padded, groups, means.kept, 0) }
    }

    #[inline(always)]
    fn tile<const M: usize, const N: usize>(&mut self, s: S, _row: usize, panel: usize) {
        let (means, row, first) = (&mut self.means, self.row, self.panel);
        match self.out {
            Out::Floats(out) => means.tile::<_, M, N>(s, panel, (out, row, first)),
            Out::Halves(out) => means.tile::<_, M, N>(s, panel, (out, row, first)),
        }
    }

    #[inline(always)]
    fn strip<const M: usize>(&mut self, s: S, _row: usize, panels: Range<usize>) {
        let (means, row) = (&mut self.means, self.row);
        let places = self.panel + panels.start..self.panel + panels.end;
        match self.out {
            Out::Floats(out) => means.strip(s, panels, out.panels::<M>(row, places)),
            Out::Halves(out) => {
                for m in 0..M {
                    let columns = &mut out.row(row + m)[places.start * LANES..places.end * LANES];
                    // SAFETY: they are borrowed exclusively, all of them are written now, and zeros are halves.
                    unsafe { s.claim(columns.as_mut_ptr().cast(), size_of_val(columns)) };
                }
                means.strip(s, panels, out.panels::<M>(row, places));
            }
        }
    }
}

impl<S: Simd> Means<'_, '_, S> {
    /// Writes `N` panels from `panel` on of `M` rows from `row` on, whose first panel is the output's `first`.
    #[inline(always)]
    fn tile<E: Lane, const M: usize, const N: usize>(
        &mut self,
        s: S,
        panel: usize,
        (out, row, first): (&mut ColumnsMut<'_, E>, usize, usize),
    ) {
        let mut sums = MaybeUninit::uninit();
        // SAFETY: the rows exist as for `Context::rows`, and the panels since `tile::of_rows` does not leave its
        // range. `rows` and `begin` have looked at them.
        let sums: &[[S::I32; N]; M] = unsafe {
            let weights = (self.work.weights.as_ptr(), self.padded);
            self.values.tile(s, weights, panel, self.kept, &mut sums);
            sums.assume_init_ref()
        };
        each!(S, n < N {
            let scale = s.load(lanes(self.work.value_scale, panel + n));
            let mut spare = Spare::new();
            let mut out = out.panel::<M>(row, first + panel + n, &mut spare);
            each!(S, m < M {
                let mean = s.mul(s.float(s.sums(sums, m, n)), s.splat(self.share[m]));
                out.put(s, m, s.mul(mean, scale));
            });
            // SAFETY: each of the `M` rows was put.
            unsafe { out.finish() };
        });
    }

    /// Writes panels to as many of the output.
    #[inline(always)]
    fn strip<E: Lane, const M: usize>(
        &mut self,
        s: S,
        panels: Range<usize>,
        out: PanelsMut<'_, E, M>,
    ) {
        let weights = (self.work.weights.as_ptr(), self.padded);
        let scales = self.work.value_scale.as_chunks::<LANES>().0[panels.clone()].iter();
        let share = self.share;
        for (panel, (scale, mut out)) in panels.zip(scales.zip(out)) {
            let mut sums = MaybeUninit::uninit();
            // SAFETY: as for `tile`.
            let sums: &[[S::I32; 1]; M] = unsafe {
                self.values.tile(s, weights, panel, self.kept, &mut sums);
                sums.assume_init_ref()
            };
            let scale = s.load(scale);
            unroll!(m < M {
                let mean = s.mul(s.float(s.sums(sums, m, 0)), s.splat(share[m]));
                out.put(s, m, s.mul(mean, scale));
            });
        }
    }
}
