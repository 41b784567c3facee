//! The kernels, as they are called: an argument for each, which is the struct of the same name in `kernels/*.cu`, and how
//! many blocks work on it.

use std::ffi::c_void;
use std::sync::Arc;

use super::machine::{Address, Launch, Machine, Operand};
use crate::device::DeviceError;
use crate::kernels::dropout;
use crate::random;

/// The kernels' source, in the order in which it is compiled.
pub const SOURCE: &str = concat!(
    include_str!("kernels/prelude.cu"),
    include_str!("kernels/rows.cu"),
    include_str!("kernels/attention.cu"),
    include_str!("kernels/attention_tensor.cu"),
    include_str!("kernels/heads.cu"),
    include_str!("kernels/loss.cu"),
    include_str!("kernels/optimizer.cu"),
);

/// Rows whose column sums a block adds up: STRIP.
pub const STRIP: usize = 8;
/// Threads of most blocks: BLOCK.
const BLOCK: usize = 256;
/// Threads of blocks that add up the sums of strips: SUM_BLOCK.
const SUM_BLOCK: usize = 512;
/// Threads of blocks that take a strip of some columns.
const STRIP_BLOCK: usize = 128;
/// Lanes of a warp.
const WARP: usize = 32;
/// Numbers that a block of the optimizer's kernels works on: CHUNK.
pub const CHUNK: usize = 4096;
/// Threads of an attention block: ACROSS times DOWN, with bf16 WARPS times WARP.
const ATTENTION: u32 = 128;

/// Columns of the widest head.
#[cfg(feature = "cuda")]
pub const WIDEST_HEAD: usize = 128;

/// Rows that pass by a block of attention at a time, so that its tiles fit the shared memory of a block, 48 KB: TILE.
fn tile(head: usize) -> usize {
    if head <= 64 { 32 } else { 16 }
}

/// Rows of its own side that a block of attention works on: with bf16 BLOCK_ROWS, else TILE.
pub fn block_rows(operand: Operand, head: usize) -> usize {
    match operand {
        Operand::Full => tile(head),
        Operand::Half => 64,
    }
}

/// What the source is compiled with, for heads of `head` columns.
pub fn defines(operand: Operand, head: usize) -> [String; 3] {
    [
        format!("-DMIXED={}", u8::from(operand == Operand::Half)),
        format!("-DHEAD={head}"),
        format!("-DTILE={}", tile(head)),
    ]
}

/// A dropout mask.
#[derive(Copy, Clone, Debug)]
#[repr(C)]
pub struct Dropout {
    threshold: u32,
    scale: f32,
    key: u64,
}

impl Dropout {
    /// Over all elements of a place.
    pub fn whole(mask: dropout::Dropout) -> Self {
        let (threshold, scale, key) = mask.parts();
        Self {
            threshold,
            scale,
            key,
        }
    }

    /// Over the parts of a place, as [`dropout::Dropout::part`] tells them apart.
    pub fn of_parts(mask: dropout::Dropout) -> Self {
        let whole = Self::whole(mask);
        Self {
            key: random::key(&[whole.key]),
            ..whole
        }
    }
}

/// Declares arguments, and calls of kernels that take them: `name(argument) = blocks; threads`.
macro_rules! kernels {
    ($(
        $(#[$about:meta])*
        struct $argument:ident { $($field:ident: $kind:ty),* $(,)? }
        $(fn $kernel:ident($a:ident) = $blocks:expr, $threads:expr;)*
    )*) => {
        $(
            $(#[$about])*
            #[derive(Copy, Clone, Debug)]
            #[repr(C)]
            pub struct $argument {
                $(#[allow(missing_docs)] pub $field: $kind,)*
            }
        )*

        impl Stream {
            $($(
                /// Runs the kernel of this name.
                ///
                /// # Safety
                /// What the argument's addresses point to is as long as its sizes say.
                pub unsafe fn $kernel(&self, operand: Operand, $a: $argument) -> Result<(), DeviceError> {
                    // SAFETY: the argument is the kernel's; the caller promises the rest.
                    unsafe { self.run(operand, stringify!($kernel), $blocks, $threads, &$a) }
                }
            )*)*
        }
    };
}

/// Where kernels are run, one after the other.
#[derive(Clone)]
pub struct Stream {
    machine: Arc<dyn Machine>,
}

impl Stream {
    /// Of a device.
    pub fn new(machine: Arc<dyn Machine>) -> Self {
        Self { machine }
    }

    /// The device.
    pub fn machine(&self) -> &dyn Machine {
        &*self.machine
    }

    /// # Safety
    /// As [`Machine::launch`].
    unsafe fn run<A>(
        &self,
        operand: Operand,
        kernel: &'static str,
        blocks: [usize; 3],
        threads: usize,
        argument: &A,
    ) -> Result<(), DeviceError> {
        if blocks.contains(&0) {
            return Ok(());
        }
        let too_large = |_| DeviceError::Call {
            call: kernel,
            problem: format!("a batch for {blocks:?} blocks is too large"),
        };
        let [x, y, z] = blocks.map(u32::try_from);
        let launch = Launch {
            operand,
            kernel,
            blocks: [
                x.map_err(too_large)?,
                y.map_err(too_large)?,
                z.map_err(too_large)?,
            ],
            threads: threads as u32,
            argument: std::ptr::from_ref(argument).cast::<c_void>(),
            size: size_of::<A>(),
        };
        // SAFETY: the caller's promise.
        unsafe { self.machine.launch(launch) }
    }
}

/// Blocks of four warps, a warp for each row.
fn by_warps(rows: u32) -> [usize; 3] {
    [(rows as usize).div_ceil(4), 1, 1]
}

/// A block for each strip of rows.
fn by_strips(rows: u32) -> [usize; 3] {
    [(rows as usize).div_ceil(STRIP), 1, 1]
}

/// A block for each strip of rows and two columns a thread, one where the width is odd.
fn by_strips_and_columns(rows: u32, width: u32) -> [usize; 3] {
    let columns = (width as usize).div_ceil(together(width, 2) * STRIP_BLOCK);
    [(rows as usize).div_ceil(STRIP), columns, 1]
}

/// A thread for each four columns of a row, for each one where the width is no multiple of four.
fn by_groups(rows: u32, width: u32) -> [usize; 3] {
    by_elements(u64::from(rows) * u64::from(width) / together(width, 4) as u64)
}

/// Neighbours that a thread moves together.
fn together(width: u32, most: usize) -> usize {
    if (width as usize).is_multiple_of(most) {
        most
    } else {
        1
    }
}

/// A thread for each element.
fn by_elements(count: u64) -> [usize; 3] {
    [(count as usize).div_ceil(BLOCK), 1, 1]
}

kernels! {
    /// Residual, dropout and norm.
    struct NormForward {
        weight: Address, bias: Address, added: Address, residual: Address, from: Address, z: Address, y: Address,
        operand: Address, dropout: Dropout, rows: u32, width: u32, eps: f32,
    }
    fn norm_forward(a) = by_warps(a.rows), 4 * WARP;

    /// Embeddings and norm.
    struct EmbedForward {
        word: Address, position: Address, kind: Address, tokens: Address, weight: Address, bias: Address, z: Address,
        y: Address, operand: Address, dropout: Dropout, rows: u32, width: u32, eps: f32,
    }
    fn embed_forward(a) = by_warps(a.rows), 4 * WARP;

    /// A norm backward; without `dx`, that of the embeddings.
    struct NormBackward {
        z: Address, dy: Address, weight: Address, dz: Address, dx: Address, partials: Address, dropout: Dropout,
        rows: u32, width: u32, eps: f32,
    }
    fn norm_backward(a) = by_strips(a.rows), BLOCK;

    /// Bias and GELU.
    struct Gelu { h: Address, bias: Address, a: Address, d: Address, partials: Address, rows: u32, width: u32 }
    fn gelu_forward(a) = by_groups(a.rows, a.width), BLOCK;
    fn gelu_backward(a) = by_strips_and_columns(a.rows, a.width), STRIP_BLOCK;

    /// Sums of strips of rows.
    struct ColumnSums { x: Address, partials: Address, rows: u32, width: u32 }
    fn column_sums(a) = by_strips_and_columns(a.rows, a.width), STRIP_BLOCK;

    /// Sums of strips, the first `added` of `parts`, added to a gradient each. The last field is the host's.
    struct AddPartials { partials: Address, sums: [Address; 3], strips: u32, parts: u32, width: u32, added: u32 }
    fn add_partials(a) = [(a.width as usize).div_ceil(WARP), a.added as usize, 1], SUM_BLOCK;

    /// Rows that are picked out, or added where they were picked.
    struct Rows {
        from: Address, to: Address, more: Address, sum: Address, places: Address, rows: u32, width: u32,
    }
    fn gather_rows(a) = [a.rows as usize, 1, 1], BLOCK;
    fn add_rows(a) = [a.rows as usize, 1, 1], BLOCK;

    /// The embedding tables' gradients. The last two fields are the host's.
    struct Scatter {
        dz: Address, order: Address, pieces: Address, sums: Address, rows: Address, gradient: Address, width: u32,
        piece_count: u32, row_count: u32,
    }
    fn sum_pieces(a) = [a.piece_count as usize, 1, 1], BLOCK;
    fn add_pieces(a) = [a.row_count as usize, 1, 1], BLOCK;

    /// f32 to bf16.
    struct Narrow { from: Address, to: Address, count: u64 }
    fn narrow(a) = by_elements(a.count), BLOCK;

    /// Attention, and its gradients. The last three fields are the host's.
    struct Attention {
        queries: Address, keys: Address, values: Address, query_bias: Address, key_bias: Address,
        value_bias: Address, context: Address, logsums: Address, deltas: Address, dcontext: Address, dqueries: Address,
        dkeys: Address, dvalues: Address, starts: Address, dropout: Dropout, query_stride: u32, key_stride: u32,
        heads: u32, only_first: u32, scale: f32, sequences: u32, query_tiles: u32, key_tiles: u32,
    }
    fn attention_forward(a) = [a.sequences as usize, a.heads as usize, a.query_tiles as usize], ATTENTION as usize;
    fn attention_queries(a) = [a.sequences as usize, a.heads as usize, a.query_tiles as usize], ATTENTION as usize;
    fn attention_keys(a) = [a.sequences as usize, a.heads as usize, a.key_tiles as usize], ATTENTION as usize;

    /// Work on each element.
    struct Elements { x: Address, with: Address, count: u64, width: u64, dropout: Dropout }
    fn add_bias(a) = by_elements(a.count), BLOCK;
    fn tanh_forward(a) = by_elements(a.count), BLOCK;
    fn relu_forward(a) = by_elements(a.count), BLOCK;
    fn tanh_backward(a) = by_elements(a.count), BLOCK;
    fn relu_backward(a) = by_elements(a.count), BLOCK;
    fn mask_elements(a) = by_elements(a.count), BLOCK;

    /// Cross-entropy.
    struct Choices {
        logits: Address, gradient: Address, rights: Address, weights: Address, terms: Address, starts: Address,
        choices: u32, columns: u32, smoothing: f64, gamma: f64, mass: f64,
    }
    fn cross_entropy(a) = [a.choices as usize, 1, 1], WARP;

    /// Losses of single outputs.
    struct Values { outputs: Address, targets: Address, gradient: Address, terms: Address, count: u64, mass: f64 }
    fn binary_cross_entropy(a) = by_elements(a.count), BLOCK;
    fn squared_error(a) = by_elements(a.count), BLOCK;

    /// The sum of terms.
    struct Total { terms: Address, sum: Address, count: u64 }
    fn total(_a) = [1, 1, 1], BLOCK;

    /// Squares of chunks.
    struct Squares { x: Address, terms: Address, count: u64 }
    fn squares(a) = [(a.count as usize).div_ceil(CHUNK), 1, 1], BLOCK;

    /// The optimizer. The last field is the host's.
    struct AdamW {
        p: Address, g: Address, m: Address, v: Address, narrowed: Address, chunks: Address, updates: Address,
        chunk_count: u64,
    }
    fn adamw(a) = [a.chunk_count as usize, 1, 1], BLOCK;
}
