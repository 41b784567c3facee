//! BERT's parts, each with a forward and a backward pass, and the nodes of candle's graph that they make up.
//!
//! | node of the graph | part | computes | keeps for the backward pass, beside its input |
//! |---|---|---|---|
//! | [`encoder`] | [`embeddings`] | words + positions + types, norm, dropout | the sum |
//! | | [`self_attention`] | Q/K/V, attention, dense, dropout, residual, norm | Q/K/V, context, the sum |
//! | | [`feed_forward`] | dense, GELU, dense, dropout, residual, norm | the first product, the sum |
//! | [`pooler`] | | dense, tanh or ReLU | nothing |
//! | [`classifier`] | | dropout, dense | nothing |
//! | [`loss`] | | cross-entropy or squared error | the gradient of the logits |
//!
//! The arithmetic is in [`crate::kernels`], one file for each step.
//!
//! Ops read their parameters through handles and add the gradients to them ([`Parameter`]); candle's graph holds the
//! activations alone, and begins at the word table, the only parameter that is an op's argument.

pub mod classifier;
pub mod dense;
pub mod embeddings;
pub mod encoder;
pub mod feed_forward;
pub mod loss;
pub mod parameter;
pub mod pooler;
pub mod self_attention;

use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use candle_core::{CpuStorage, Device, Layout, Result, Storage, Tensor, bail};

use crate::kernels::dropout::Dropout;
use crate::kernels::gemm::Precision;
use crate::kernels::isa::Isa;
use crate::kernels::norm::{self, Norm};
use crate::kernels::workspace::{Buffer, Workspace};
use crate::random;

pub use dense::Dense;
pub use parameter::Parameter;

/// Where the sequences of a packed batch lie: one after the other, without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packing {
    starts: Vec<usize>,
}

impl Packing {
    /// From the lengths of the sequences.
    pub fn new(lengths: impl IntoIterator<Item = usize>) -> Self {
        let mut starts = vec![0];
        let mut end = 0;
        for length in lengths {
            end += length;
            starts.push(end);
        }
        Self { starts }
    }

    /// First row of each sequence, then the end of the last.
    pub fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// First row of each sequence.
    pub fn firsts(&self) -> &[usize] {
        &self.starts[..self.sequences()]
    }

    /// How many sequences.
    pub fn sequences(&self) -> usize {
        self.starts.len() - 1
    }

    /// Rows of all sequences.
    pub fn rows(&self) -> usize {
        self.starts[self.sequences()]
    }

    /// The length of each sequence.
    pub fn lengths(&self) -> impl Iterator<Item = usize> + Clone {
        self.starts.windows(2).map(|ends| ends[1] - ends[0])
    }

    /// The rows of some sequences.
    ///
    /// # Panics
    /// If there are no such sequences.
    pub fn rows_of(&self, sequences: Range<usize>) -> Range<usize> {
        self.starts[sequences.start]..self.starts[sequences.end]
    }

    /// Some of the sequences.
    ///
    /// # Panics
    /// If there are no such sequences.
    pub fn part(&self, sequences: Range<usize>) -> Self {
        let starts = &self.starts[sequences.start..=sequences.end];
        Self::new(starts.windows(2).map(|ends| ends[1] - ends[0]))
    }
}

/// One run of the network over one batch: what every op needs to know.
#[derive(Clone)]
pub struct Pass {
    /// Instructions to use.
    pub isa: Isa,
    /// Of the encoder's products; the heads' are f32.
    pub precision: Precision,
    /// Where buffers come from.
    pub workspace: Workspace,
    /// Where the sequences lie.
    pub packing: Arc<Packing>,
    /// In training, what dropout's masks depend on: seed and batch.
    pub masks: Option<u64>,
    /// Where the pass begins in its batch.
    pub before: Before,
}

/// What of a batch comes before a pass over some of its sequences. Masks are those of a pass over all of them.
#[derive(Copy, Clone, Debug, Default, PartialEq, Eq)]
pub struct Before {
    /// Sequences.
    pub sequences: usize,
    /// Their rows.
    pub rows: usize,
}

/// The places that have a dropout mask of their own.
#[derive(Copy, Clone, Debug)]
pub enum Site {
    /// After the embeddings' norm.
    Embeddings,
    /// The attention probabilities of a layer.
    Attention(usize),
    /// The attention's output in a layer.
    AttentionOutput(usize),
    /// The feed-forward's output in a layer.
    FeedForwardOutput(usize),
    /// Before the classifier.
    Classifier,
}

impl Pass {
    /// The mask at `site` with probability `p`, from the batch's beginning on; none outside training.
    pub fn dropout(&self, p: f64, site: Site) -> Dropout {
        dropout(self.masks, p, site)
    }

    /// The same over rows of `width`, from this pass's first row on.
    fn row_dropout(&self, p: f64, site: Site, width: usize) -> Dropout {
        self.dropout(p, site).skip(self.before.rows * width)
    }

    /// The same for what works on a single row of each sequence.
    pub(crate) fn of_first_rows(&self) -> Self {
        let before = Before {
            rows: self.before.sequences,
            ..self.before
        };
        Self {
            before,
            ..self.clone()
        }
    }
}

/// The mask at `site` with probability `p`; none without `masks`.
pub(crate) fn dropout(masks: Option<u64>, p: f64, site: Site) -> Dropout {
    let Some(masks) = masks else {
        return Dropout::OFF;
    };
    let (kind, layer) = match site {
        Site::Embeddings => (0, 0),
        Site::Attention(layer) => (1, layer),
        Site::AttentionOutput(layer) => (2, layer),
        Site::FeedForwardOutput(layer) => (3, layer),
        Site::Classifier => (4, 0),
    };
    Dropout::new(p, random::key(&[masks, kind, layer as u64]))
}

/// A layer norm's parameters.
pub struct LayerNorm {
    /// `weight`, `[width]`
    pub weight: Arc<Parameter>,
    /// `bias`, `[width]`
    pub bias: Arc<Parameter>,
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm {
    /// The norm of each row of `sum`.
    fn of(&self, sum: &[f32], pass: &Pass) -> Buffer {
        let mut y = pass.workspace.take(sum.len());
        self.with(|norm| norm::forward(pass.isa, norm, sum, &mut y));
        y
    }

    /// Calls `f` with the numbers.
    fn with<R>(&self, f: impl FnOnce(Norm<'_>) -> R) -> R {
        f(Norm {
            weight: &self.weight.values(),
            bias: &self.bias.values(),
            eps: self.eps,
        })
    }
}

/// What a forward pass leaves for the backward pass, which takes it once.
struct Saved<T>(Mutex<Option<T>>);

impl<T> Saved<T> {
    fn empty() -> Self {
        Self(Mutex::new(None))
    }

    fn put(&self, value: T) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(value);
    }

    fn take(&self) -> Result<T> {
        match self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(value) => Ok(value),
            None => bail!("a graph goes backward once"),
        }
    }
}

/// An op's input as a slice.
fn slice<'a>(storage: &'a CpuStorage, layout: &Layout) -> Result<&'a [f32]> {
    match (storage, layout.contiguous_offsets()) {
        (CpuStorage::F32(values), Some((start, end))) => Ok(&values[start..end]),
        _ => bail!("a contiguous f32 tensor is expected"),
    }
}

/// Calls `f` with a tensor's numbers.
fn read<R>(tensor: &Tensor, f: impl FnOnce(&[f32]) -> Result<R>) -> Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match &*storage {
        Storage::Cpu(storage) => f(slice(storage, layout)?),
        _ => bail!("a tensor on the CPU is expected"),
    }
}

/// A tensor of `values` in the shape of `like`.
fn tensor_like(values: Vec<f32>, like: &Tensor) -> Result<Tensor> {
    Tensor::from_vec(values, like.shape(), &Device::Cpu)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_packing_has_its_own_sequences_alone() {
        let packing = Packing::new([3, 1, 4]);
        assert_eq!(packing.part(1..3), Packing::new([1, 4]));
        assert_eq!(packing.part(3..3), Packing::new([]));
        assert!(std::panic::catch_unwind(|| packing.part(1..4)).is_err());
    }
}
