//! The loss of a batch: mean cross-entropy over the rows that have a class, mean binary cross-entropy where each row has
//! any number of them, mean squared error, or mean cross-entropy over the places where a span may begin and where it may end.

use std::ops::Range;
use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{Packing, Saved, slice, tensor_like};
use crate::kernels::loss::{
    IGNORED, Weighing, binary_cross_entropy, cross_entropy, span_cross_entropy, squared_error,
    weighed_cross_entropy,
};

/// What the outputs of a batch should have been.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class for each row, or [`IGNORED`].
    Classes(Vec<i64>),
    /// Any number of classes for each row.
    Sets(Vec<Vec<u32>>),
    /// A number for each row; there is one output.
    Values(Vec<f32>),
    /// The first and the last row of a span in each sequence, counted from the sequence's beginning; there are two
    /// outputs a row.
    Spans(Packing, Vec<[usize; 2]>),
}

impl Targets {
    /// The mean loss of `logits`, a scalar.
    ///
    /// # Errors
    /// If there are not as many targets as rows, or a class is not an output.
    pub fn loss(self, logits: &Tensor) -> Result<Tensor> {
        self.weighed_loss(logits, None)
    }

    /// The same with classes weighed, where each row has one; nothing else is weighed.
    ///
    /// # Errors
    /// As [`Targets::loss`], and if classes have weights, but not one for each output.
    pub fn weighed_loss(self, logits: &Tensor, weighing: Option<&Arc<Weighing>>) -> Result<Tensor> {
        self.apply(logits, weighing, None)
    }

    /// The share that these have in the [`weighed_loss`](Self::weighed_loss) of all that they are a part of, which
    /// weighs `whole`.
    ///
    /// # Errors
    /// As [`Targets::weighed_loss`].
    pub(crate) fn share_of_loss(
        self,
        logits: &Tensor,
        weighing: Option<&Arc<Weighing>>,
        whole: f64,
    ) -> Result<Tensor> {
        if matches!(self, Self::Classes(_)) && weighing.is_some() {
            return self.apply(logits, weighing, Some(whole));
        }
        // Where nothing counts, each loss is 0.
        let share = self.weight(None) / if whole > 0.0 { whole } else { 1.0 };
        // As a tensor: candle gives no gradient to what it multiplies by the number 0.
        let share = Tensor::new(share as f32, logits.device())?;
        self.apply(logits, None, None)?.mul(&share)
    }

    fn apply(
        self,
        logits: &Tensor,
        weighing: Option<&Arc<Weighing>>,
        whole: Option<f64>,
    ) -> Result<Tensor> {
        let (rows, outputs) = logits.dims2()?;
        self.check(rows, outputs, weighing.map(Arc::as_ref))?;
        logits.apply_op1(Op {
            targets: self,
            weighing: weighing.cloned(),
            whole,
            gradient: Saved::empty(),
        })
    }

    /// What they weigh together: a mean over several parts of a batch, or over several batches, is the mean of theirs,
    /// each by its weight.
    pub fn weight(&self, weighing: Option<&Arc<Weighing>>) -> f64 {
        match self {
            Self::Classes(classes) => {
                let counted = classes.iter().filter(|&&class| class != IGNORED);
                let weight = |&class: &i64| weighing.map_or(1.0, |w| w.weight(class as usize));
                counted.map(weight).sum()
            }
            Self::Sets(sets) => sets.len() as f64,
            Self::Values(values) => values.len() as f64,
            Self::Spans(_, spans) => spans.len() as f64,
        }
    }

    /// Those of some sequences, to which the given rows of logits belong.
    pub(crate) fn part(&self, sequences: Range<usize>, rows: Range<usize>) -> Self {
        match self {
            Self::Classes(classes) => Self::Classes(classes[rows].to_vec()),
            Self::Sets(sets) => Self::Sets(sets[rows].to_vec()),
            Self::Values(values) => Self::Values(values[rows].to_vec()),
            Self::Spans(packing, spans) => {
                Self::Spans(packing.part(sequences.clone()), spans[sequences].to_vec())
            }
        }
    }

    /// That these are targets of `rows` rows of a model with `outputs` outputs, each with a weight where classes have
    /// any.
    ///
    /// # Errors
    /// If they are not.
    pub(crate) fn check(
        &self,
        rows: usize,
        outputs: usize,
        weighing: Option<&Weighing>,
    ) -> Result<()> {
        match self {
            Self::Classes(classes) => {
                let known =
                    |&&class: &&i64| class != IGNORED && !(0..outputs as i64).contains(&class);
                if let Some(class) = classes.iter().find(known) {
                    bail!("class {class} of a model with {outputs} outputs");
                }
                if classes.len() != rows {
                    bail!("{} classes for {rows} rows", classes.len());
                }
                let weights = weighing.map_or(0, |weighing| weighing.weights.len());
                if weights != 0 && weights != outputs {
                    bail!("{weights} class weights for {outputs} outputs");
                }
            }
            Self::Sets(sets) => {
                let mut classes = sets.iter().flatten();
                if let Some(class) = classes.find(|&&class| class as usize >= outputs) {
                    bail!("class {class} of a model with {outputs} outputs");
                }
                if sets.len() != rows {
                    bail!("{} sets of classes for {rows} rows", sets.len());
                }
            }
            Self::Values(values) if values.len() != rows * outputs => {
                bail!("{} values for {rows} x {outputs} outputs", values.len())
            }
            Self::Values(_) => {}
            Self::Spans(packing, spans) => {
                if outputs != 2 || packing.rows() != rows || packing.sequences() != spans.len() {
                    let (sequences, of) = (packing.sequences(), packing.rows());
                    bail!(
                        "{} spans in {sequences} sequences of {of} rows for {rows} x {outputs} outputs",
                        spans.len()
                    );
                }
                for (span, length) in spans.iter().zip(packing.lengths()) {
                    if span.iter().any(|&row| row >= length) {
                        bail!("span {span:?} of a sequence of {length} rows");
                    }
                }
            }
        }
        Ok(())
    }
}

struct Op {
    targets: Targets,
    weighing: Option<Arc<Weighing>>,
    /// What all weighs that the targets are a part of.
    whole: Option<f64>,
    gradient: Saved<Vec<f32>>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slice(storage, layout)?;
        let (loss, gradient) = match &self.targets {
            Targets::Classes(classes) => match &self.weighing {
                Some(weighing) => weighed_cross_entropy(logits, classes, weighing, self.whole),
                None => cross_entropy(logits, classes),
            },
            Targets::Sets(sets) => binary_cross_entropy(logits, sets),
            Targets::Values(values) => squared_error(logits, values),
            Targets::Spans(packing, spans) => span_cross_entropy(logits, packing.starts(), spans),
        };
        self.gradient.put(gradient);
        Ok((CpuStorage::F32(vec![loss as f32]), ().into()))
    }

    fn bwd(&self, logits: &Tensor, _: &Tensor, dloss: &Tensor) -> Result<Option<Tensor>> {
        let scale: f32 = dloss.to_scalar()?;
        let gradient = self
            .gradient
            .take()?
            .into_iter()
            .map(|g| g * scale)
            .collect();
        Ok(Some(tensor_like(gradient, logits)?))
    }
}
