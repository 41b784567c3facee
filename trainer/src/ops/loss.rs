//! The loss of a batch: mean cross-entropy over the rows that have a class, or mean squared error.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};

use super::{Saved, slice, tensor_like};
use crate::kernels::loss::{IGNORED, cross_entropy, squared_error};

/// What the outputs of a batch should have been.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// A class for each row, or [`IGNORED`].
    Classes(Vec<i64>),
    /// A number for each row; there is one output.
    Values(Vec<f32>),
}

impl Targets {
    /// The mean loss of `logits`, a scalar.
    ///
    /// # Errors
    /// If there are not as many targets as rows, or a class is not an output.
    pub fn loss(self, logits: &Tensor) -> Result<Tensor> {
        let (rows, outputs) = logits.dims2()?;
        match &self {
            Self::Classes(classes) => {
                let known =
                    |&&class: &&i64| class != IGNORED && !(0..outputs as i64).contains(&class);
                if let Some(class) = classes.iter().find(known) {
                    bail!("class {class} of a model with {outputs} outputs");
                }
                if classes.len() != rows {
                    bail!("{} classes for {rows} rows", classes.len());
                }
            }
            Self::Values(values) if values.len() != rows * outputs => {
                bail!("{} values for {rows} x {outputs} outputs", values.len())
            }
            Self::Values(_) => {}
        }
        logits.apply_op1(Op {
            targets: self,
            gradient: Saved::empty(),
        })
    }
}

struct Op {
    targets: Targets,
    gradient: Saved<Vec<f32>>,
}

impl CustomOp1 for Op {
    fn name(&self) -> &'static str {
        "loss"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let logits = slice(storage, layout)?;
        let (loss, gradient) = match &self.targets {
            Targets::Classes(classes) => cross_entropy(logits, classes),
            Targets::Values(values) => squared_error(logits, values),
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
