//! Every kernel on arrays that end, or begin, at memory that may not be touched. A read or a write beside one of
//! them, or a write to an input, ends the whole program with a fault.

use std::ffi::{c_int, c_void};
use std::ops::{Deref, DerefMut};
use std::{ptr, slice};

use berth_kernels::{
    Activation, Attention, AttentionScratch, ByteRow, ColumnsMut, Isa, Linear, LinearF32,
    NORM_TOGETHER, Norm, RowRange, Rows, RowsMut, f16, row_bytes,
};

use crate::halves::{floats, halves};
use crate::input::{Layer, LayerF32, Random};
use crate::linear::OwnedRows;

unsafe extern "C" {
    fn mmap(
        at: *mut c_void,
        len: usize,
        protection: c_int,
        flags: c_int,
        file: c_int,
        offset: isize,
    ) -> *mut c_void;
    fn mprotect(at: *mut c_void, len: usize, protection: c_int) -> c_int;
    fn munmap(at: *mut c_void, len: usize) -> c_int;
}

const PROT_NONE: c_int = 0;
const PROT_READ: c_int = 1;
const PROT_WRITE: c_int = 2;
const MAP_PRIVATE_ANONYMOUS: c_int = 0x22;

/// A multiple of the pages of every machine.
const PAGE: usize = 1 << 16;

/// Which end of an array lies at memory that may not be touched.
#[derive(Copy, Clone)]
enum Side {
    Start,
    End,
}

const SIDES: [Side; 2] = [Side::Start, Side::End];

/// Numbers between two stretches of memory that may not be touched, right beside one of them.
struct Fenced<T> {
    map: *mut c_void,
    map_len: usize,
    start: *mut T,
    len: usize,
}

impl<T: Copy> Fenced<T> {
    /// A copy that may be read and no more.
    fn input(values: &[T], side: Side) -> Self {
        Fenced::new(values, side, PROT_READ)
    }

    /// As many of the same number, which may be written.
    fn output(value: T, len: usize, side: Side) -> Self {
        Fenced::new(&vec![value; len], side, PROT_READ | PROT_WRITE)
    }

    fn new(values: &[T], side: Side, protection: c_int) -> Self {
        let bytes = size_of_val(values);
        let room = bytes.next_multiple_of(PAGE);
        let map_len = room + 2 * PAGE;
        // SAFETY: memory that nobody has yet is asked for.
        let map = unsafe {
            let flags = MAP_PRIVATE_ANONYMOUS;
            mmap(ptr::null_mut(), map_len, PROT_NONE, flags, -1, 0)
        };
        assert_ne!(map.addr(), usize::MAX, "no memory");
        let inside = map.wrapping_byte_add(PAGE);
        let start = match side {
            Side::Start => inside,
            Side::End => inside.wrapping_byte_add(room - bytes),
        };
        let start = start.cast::<T>();
        assert!(start.is_aligned());
        let protect = |protection| {
            // SAFETY: the pages are those of the map between its first and its last, which nobody else knows.
            let failed = room > 0 && unsafe { mprotect(inside, room, protection) } != 0;
            assert!(!failed, "memory that can't be protected");
        };
        protect(PROT_READ | PROT_WRITE);
        // SAFETY: the memory may be written, and as much as the values take begins here.
        unsafe { start.copy_from_nonoverlapping(values.as_ptr(), values.len()) };
        protect(protection);
        Fenced {
            map,
            map_len,
            start,
            len: values.len(),
        }
    }
}

impl<T> Deref for Fenced<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: so many values were written here, and the memory is there for as long as this lives.
        unsafe { slice::from_raw_parts(self.start, self.len) }
    }
}

impl<T> DerefMut for Fenced<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and this is the only way to the values.
        unsafe { slice::from_raw_parts_mut(self.start, self.len) }
    }
}

impl<T> Drop for Fenced<T> {
    fn drop(&mut self) {
        // SAFETY: the map was made by this and is used by nobody else.
        let failed = unsafe { munmap(self.map, self.map_len) };
        assert_eq!(failed, 0, "a map that was made");
    }
}

/// Fails unless every number was written: before, none of them was one.
#[track_caller]
fn all_written(out: &[f32], isa: Isa) {
    assert!(out.iter().all(|y| !y.is_nan()), "{}", isa.tier());
}

/// Fails unless every number is another one than `before`, which all were where a kernel works in place.
#[track_caller]
fn all_changed(out: &[f32], before: f32, isa: Isa) {
    assert!(out.iter().all(|&y| y != before), "{}", isa.tier());
}

/// A layer whose outputs are three parts, for `first` rows, and for all rows twice, or for all of them at once.
fn check_linear(random: &mut Random, [first, rows]: [usize; 2], outputs: usize, inputs: usize) {
    let layer = Layer::random(random, inputs, outputs);
    let x = OwnedRows::random(random, rows, inputs);
    let (linear, x) = (layer.view(), x.view());
    for side in SIDES {
        let weights = Fenced::input(linear.weights, side);
        let arrays = [linear.scale, linear.sum, linear.bias, x.scale(), x.low()];
        let [scale, sum, bias, x_scale, x_low] = arrays.map(|array| Fenced::input(array, side));
        let linear = Linear::new(inputs, outputs, &weights, &scale, &sum, &bias).unwrap();
        let values = Fenced::input(x.values(), side);
        let x = Rows::new(inputs, &values, &x_scale, &x_low).unwrap();
        for isa in Isa::available() {
            let panels = linear.panels();
            for activation in [Activation::None, Activation::Gelu] {
                let mut out = Fenced::output(f32::NAN, rows * outputs, side);
                let columns = ColumnsMut::new(&mut out, outputs).unwrap();
                isa.linear(x, &linear, 0..panels, activation, columns);
                all_written(&out, isa);
            }
            if panels < 3 {
                continue;
            }
            let ranges = [0..1, 1..2, 2..panels];
            let mut outs = [(first, 16), (rows, 16), (rows, outputs - 32)]
                .map(|(rows, columns)| Fenced::output(f32::NAN, rows * columns, side));
            let [a, b, c] = &mut outs;
            let columns = [(a, 16), (b, 16), (c, outputs - 32)]
                .map(|(out, columns)| ColumnsMut::new(out, columns).unwrap());
            let [a, b, c] = columns;
            let [to_a, to_b, to_c] = ranges;
            isa.linear_parts(x, &linear, [(to_a, a), (to_b, b), (to_c, c)]);
            outs.iter().for_each(|out| all_written(out, isa));
        }
    }
}

#[test]
fn dense_layers() {
    let mut random = Random(70);
    for rows in [1, 2, 3, 4, 5, 6, 7, 13] {
        for outputs in [1, 15, 16, 17, 48, 70] {
            for inputs in [1, 3, 4, 6, 13, 16, 17, 64, 67] {
                check_linear(&mut random, [1, rows], outputs, inputs);
            }
        }
    }
    // On AArch64 and with AVX2 so many inputs go through in pieces, and so many rows are not kept all.
    for (rows, outputs, inputs) in [(1, 17, 6150), (7, 49, 6150), (37, 49, 6100)] {
        check_linear(&mut random, [2.min(rows), rows], outputs, inputs);
    }
}

/// A feed-forward block whose inside is kept in halves.
fn check_block(random: &mut Random, rows: usize, inside: usize) {
    let (inputs, outputs) = (20, 33);
    let up = Layer::random(random, inputs, inside);
    let down = Layer::random(random, inside, outputs);
    let x = OwnedRows::random(random, rows, inputs);
    let nothing = f16::from_f32(f32::NAN);
    for side in SIDES {
        for isa in Isa::available() {
            let mut middle = Fenced::output(nothing, rows * inside, side);
            let mut ranges: Fenced<RowRange> = Fenced::output([[f32::NAN; 16]; 2], rows, side);
            let out = ColumnsMut::new(&mut middle, inside).unwrap();
            isa.linear_and_ranges(x.view(), &up.view(), out, &mut ranges);
            assert!(middle.iter().all(|y| !y.is_nan()), "{}", isa.tier());
            let mut values = Fenced::output(0xa5, rows * row_bytes(inside), side);
            let [mut scale, mut low] = [rows; 2].map(|len| Fenced::output(f32::NAN, len, side));
            let places = RowsMut::new(inside, &mut values, &mut scale, &mut low).unwrap();
            let mut out = Fenced::output(nothing, rows * outputs, side);
            let columns = ColumnsMut::new(&mut out, outputs).unwrap();
            isa.linear_in_ranges(&middle, &mut ranges, places, &down.view(), columns);
            assert!(out.iter().all(|y| !y.is_nan()), "{}", isa.tier());
        }
    }
}

#[test]
fn blocks_norms_and_rounding_in_halves() {
    let mut random = Random(75);
    for rows in [1, 2, 5, 6, 7, 64, 65, 66, 67, 68, 69, 70] {
        for inside in [16, 48, 272] {
            check_block(&mut random, rows, inside);
        }
    }
    for width in [16, 48, 80] {
        for count in [0, 1, 4, 5] {
            let [x, y] = [2.0; 2].map(|most| random.floats(count * width, most));
            let [weight, bias] = [1.5; 2].map(|most| random.floats(width, most));
            let norm = Norm {
                weight: &weight,
                bias: &bias,
                channels: width,
                eps: 1e-12,
            };
            for side in SIDES {
                let y = Fenced::input(&halves(&y), side);
                let x = Fenced::input(&x, side);
                for isa in Isa::available() {
                    let mut rows = Fenced::output(f16::from_f32(f32::NAN), count * width, side);
                    isa.halve(&x, &mut rows);
                    let mut out = Fenced::output(f32::NAN, count * width, side);
                    isa.add_norm_of_halves(&rows, &y, &norm, &mut out);
                    all_written(&out, isa);
                    let mut sums = Fenced::output(f32::NAN, NORM_TOGETHER * width, side);
                    isa.add_norm_halves(&mut rows, &y, &norm, &mut sums);
                    all_written(&floats(&rows), isa);
                }
            }
        }
    }
}

#[test]
fn dense_layers_in_floats() {
    let mut random = Random(71);
    for rows in [1, 2, 5, 6, 7] {
        for outputs in [1, 16, 17, 33] {
            for inputs in [1, 5, 16, 33] {
                let layer = LayerF32::random(&mut random, inputs, outputs);
                let linear = layer.view();
                let x = random.floats(rows * inputs, 2.0);
                for side in SIDES {
                    let arrays = [linear.weights, linear.bias, &x];
                    let [weights, bias, x] = arrays.map(|array| Fenced::input(array, side));
                    let linear = LinearF32::new(inputs, outputs, &weights, &bias).unwrap();
                    for isa in Isa::available() {
                        let mut out = Fenced::output(f32::NAN, rows * outputs, side);
                        let columns = ColumnsMut::new(&mut out, outputs).unwrap();
                        let panels = 0..linear.panels();
                        isa.linear_f32(&x, &linear, panels, Activation::Gelu, columns);
                        all_written(&out, isa);
                    }
                }
            }
        }
    }
}

fn check_attention(random: &mut Random, tokens: usize, heads: usize, size: usize, rows: usize) {
    let hidden = heads * size;
    let qkv = random.floats(tokens * 3 * hidden, 3.0);
    let what = format!("{rows} of {tokens} tokens, {heads} heads of {size}");
    for side in SIDES {
        let input = Attention {
            qkv: &Fenced::input(&qkv, side),
            tokens,
            heads,
            head_size: size,
        };
        for isa in Isa::available() {
            let (floats, bytes) = AttentionScratch::lens(tokens, size);
            let mut floats = Fenced::output(f32::NAN, floats, side);
            let mut bytes = Fenced::output(0xa5, bytes, side);
            let mut scratch = AttentionScratch::new(&mut floats, &mut bytes);
            let mut out = Fenced::output(f32::NAN, rows * hidden, side);
            let columns = ColumnsMut::new(&mut out, hidden).unwrap();
            isa.attention(&input, 0..heads, &mut scratch, columns);
            assert!(out.iter().all(|y| !y.is_nan()), "{}: {what}", isa.tier());

            let floats = AttentionScratch::lens_f32(tokens, size);
            let mut floats = Fenced::output(f32::NAN, floats, side);
            let mut scratch = AttentionScratch::new(&mut floats, &mut []);
            let mut out = Fenced::output(f32::NAN, rows * hidden, side);
            let columns = ColumnsMut::new(&mut out, hidden).unwrap();
            isa.attention_f32(&input, 0..heads, &mut scratch, columns);
            assert!(out.iter().all(|y| !y.is_nan()), "{}: {what}", isa.tier());
        }
    }
}

#[test]
fn attention() {
    let mut random = Random(72);
    for tokens in [1, 2, 3, 5, 15, 16, 17, 33] {
        for size in [16, 48, 96, 128] {
            for rows in [1, tokens] {
                check_attention(&mut random, tokens, 2, size, rows);
            }
        }
    }
    // More than AArch64 has places for, of keys, of values, or of both; and values that go through in pieces.
    for (tokens, size, rows) in [
        (513, 96, 1),
        (513, 96, 7),
        (1200, 64, 3),
        (64, 1024, 3),
        (6150, 16, 1),
        (6150, 16, 2),
    ] {
        check_attention(&mut random, tokens, 1, size, rows);
    }
}

#[test]
fn quantized_rows() {
    let mut random = Random(73);
    for count in [0, 1, 2, 5] {
        for width in (1..=70).chain([127, 130, 200]) {
            let x = random.floats(count * width, 2.0);
            for side in SIDES {
                let x = Fenced::input(&x, side);
                for isa in Isa::available() {
                    let mut values = Fenced::output(0xa5, count * row_bytes(width), side);
                    let [mut scale, mut low] =
                        [count; 2].map(|len| Fenced::output(f32::NAN, len, side));
                    let rows = RowsMut::new(width, &mut values, &mut scale, &mut low).unwrap();
                    isa.quantize_rows(&x, rows);
                    all_written(&scale, isa);
                    all_written(&low, isa);
                }
            }
        }
    }
}

#[test]
fn norms_embeddings_heads_and_tanh() {
    let mut random = Random(74);
    for width in [16, 32, 48, 80] {
        for count in [0, 1, 3, 4, 5, 9] {
            let floats =
                [count * width, width, width, count * width].map(|n| random.floats(n, 2.0));
            let steps = [(); 2].map(|()| random.steps(width));
            for side in SIDES {
                let [x, weight, bias, y] = floats.each_ref().map(|x| Fenced::input(x, side));
                let steps = steps.each_ref().map(|steps| Fenced::input(steps, side));
                let norm = Norm {
                    weight: &weight,
                    bias: &bias,
                    channels: weight.len(),
                    eps: 1e-12,
                };
                let [word, position] = steps.each_ref().map(|values| ByteRow {
                    values,
                    scale: 0.01,
                });
                for isa in Isa::available() {
                    let mut out = Fenced::output(0.5, count * width, side);
                    isa.add_norm(&mut out, &y, &norm);
                    all_changed(&out, 0.5, isa);
                    let mut out = Fenced::output(f32::NAN, width, side);
                    isa.embed(word, position, &bias, &norm, &mut out);
                    all_written(&out, isa);
                    // As many outputs as there are rows.
                    let mut out = Fenced::output(f32::NAN, count * count, side);
                    isa.dense(&x, width, &y, &y[..count], &mut out);
                    all_written(&out, isa);
                    let mut out = Fenced::output(0.5, count * width - count, side);
                    isa.tanh(&mut out);
                    all_changed(&out, 0.5, isa);
                }
            }
        }
    }
}
