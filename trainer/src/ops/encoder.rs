//! The encoder: embeddings and layers, as one node of candle's graph.
//!
//! ```text
//! tokens ─► embeddings ─► attention ─► feed-forward ─► … ─► rows      kept: what each part asks to keep
//!              ◄──────────────◄────────────◄─────────────── gradient  passed on in place, kept things freed on the way
//! ```
//!
//! One node and not one for each part, for a reason of cost: candle gives every tensor fresh memory, which the system
//! clears page by page, and adds each gradient that a node returns to a tensor of zeros. In between the parts, rows
//! and gradients are the workspace's buffers, the same ones on every step.
//!
//! What goes from part to part is a norm's result, and its argument is kept anyway. So the backward pass computes it
//! again, one pass over its rows, rather than keeping a sixth more.
//!
//! The word table is the node's argument, so that candle's graph has a variable to begin with.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor};

use super::embeddings::Embeddings;
use super::feed_forward::{self, FeedForward};
use super::self_attention::{self, Asking, SelfAttention};
use super::{Pass, Saved, read};
use crate::kernels::embed::Token;
use crate::kernels::workspace::Buffer;

/// A layer: rows in, rows out.
pub struct Layer {
    /// `attention`
    pub attention: SelfAttention,
    /// `intermediate` and `output`
    pub feed_forward: FeedForward,
}

/// The parameters of `embeddings` and `encoder`.
pub struct Encoder {
    /// `embeddings`
    pub embeddings: Embeddings,
    /// `encoder.layer`
    pub layers: Vec<Layer>,
}

impl Encoder {
    /// `[tokens, hidden]`, or `[sequences, hidden]` where only the first rows of the last layer are asked for.
    ///
    /// # Errors
    /// If a token asks for a row that its table does not have; those of candle.
    pub fn forward(
        self: &Arc<Self>,
        tokens: Vec<Token>,
        asking: Asking,
        pass: &Pass,
    ) -> Result<Tensor> {
        self.embeddings.check(&tokens)?;
        let word = self.embeddings.word.tensor(pass.masks.is_some());
        word.apply_op1(Op {
            weights: self.clone(),
            tokens,
            asking,
            pass: pass.clone(),
            saved: Saved::empty(),
        })
    }
}

struct Op {
    weights: Arc<Encoder>,
    tokens: Vec<Token>,
    /// Of the last layer; in the others every row asks.
    asking: Asking,
    pass: Pass,
    saved: Saved<Activations>,
}

/// What the backward pass needs.
struct Activations {
    /// What the embeddings' norm reads.
    embedded: Buffer,
    layers: Vec<LayerActivations>,
}

struct LayerActivations {
    attention: self_attention::Activations,
    feed_forward: feed_forward::Activations,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "encoder"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> Result<(CpuStorage, Shape)> {
        let Self { weights, pass, .. } = self;
        let (mut x, embedded) = weights.embeddings.forward(&self.tokens, pass);
        let mut layers = Vec::with_capacity(weights.layers.len());
        for (i, layer) in weights.layers.iter().enumerate() {
            let (between, attention) = layer.attention.forward(&x, self.asking_of(i), pass);
            let (y, feed_forward) = layer.feed_forward.forward(&between, &self.pass_behind(i));
            x = y;
            if pass.masks.is_some() {
                layers.push(LayerActivations {
                    attention,
                    feed_forward,
                });
            }
        }
        if pass.masks.is_some() {
            self.saved.put(Activations { embedded, layers });
        }
        let hidden = weights.embeddings.norm.weight.len();
        let shape = (x.len() / hidden, hidden).into();
        Ok((CpuStorage::F32(x.to_vec()), shape))
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, dy: &Tensor) -> Result<Option<Tensor>> {
        let Self { weights, pass, .. } = self;
        let Activations {
            embedded,
            mut layers,
        } = self.saved.take()?;
        let mut d = read(dy, |dy| {
            let mut d = pass.workspace.take(dy.len());
            d.copy_from_slice(dy);
            Ok(d)
        })?;
        while let Some(kept) = layers.pop() {
            let (i, layer) = (layers.len(), &weights.layers[layers.len()]);
            let between = layer.attention.again(&kept.attention, pass);
            let behind = self.pass_behind(i);
            d = layer
                .feed_forward
                .backward(&between, d, kept.feed_forward, &behind);
            drop(between);
            let input = match layers.last() {
                Some(below) => weights.layers[layers.len() - 1]
                    .feed_forward
                    .again(&below.feed_forward, pass),
                None => weights.embeddings.again(&embedded, pass),
            };
            d = layer.attention.backward(&input, d, kept.attention, pass);
        }
        weights.embeddings.backward(&self.tokens, d, embedded, pass);
        Ok(None)
    }
}

impl Op {
    fn asking_of(&self, layer: usize) -> Asking {
        if layer + 1 == self.weights.layers.len() {
            self.asking
        } else {
            Asking::EveryRow
        }
    }

    /// The pass for what stands behind a layer's attention.
    fn pass_behind(&self, layer: usize) -> Pass {
        match self.asking_of(layer) {
            Asking::EveryRow => self.pass.clone(),
            Asking::FirstRows => self.pass.of_first_rows(),
        }
    }
}
