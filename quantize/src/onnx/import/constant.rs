//! Numbers that a file holds: floats, or integers in steps of a scale.

use crate::onnx::proto::{Files, ProtoError, Tensor, told};

/// A constant, as it stands or in steps of a scale.
#[derive(Copy, Clone, Debug)]
pub(super) enum Constant<'g, 'a> {
    /// Floats.
    Plain(&'g Tensor<'a>),
    /// `(step − zero) · scale`, the scale of the whole or along an axis.
    Steps {
        steps: &'g Tensor<'a>,
        scale: &'g Tensor<'a>,
        zero: Option<&'g Tensor<'a>>,
        axis: i64,
    },
}

impl<'g, 'a> Constant<'g, 'a> {
    /// Its shape.
    pub fn dims(&self) -> &'g [usize] {
        match self {
            Constant::Plain(tensor) | Constant::Steps { steps: tensor, .. } => &tensor.dims,
        }
    }
    /// The numbers of a constant.
    ///
    /// # Errors
    /// When a shape lies.
    pub fn floats(self, files: &Files) -> Result<Vec<f32>, ProtoError> {
        let (steps, scale, zero, axis) = match self {
            Constant::Plain(tensor) => return tensor.floats(files),
            Constant::Steps {
                steps,
                scale,
                zero,
                axis,
            } => (steps, scale, zero, axis),
        };
        let (data, scales, zeros) = (
            steps.ints(files)?,
            scale.floats(files)?,
            zeros(zero, files)?,
        );
        if data.is_empty() {
            return Ok(Vec::new());
        }
        let rank = steps.dims.len() as i64;
        let axis = if axis < 0 { axis + rank } else { axis };
        let wrong = || ProtoError::Shape(told(scale.name));
        // How many numbers stand behind one another with one scale, and how many scales there are.
        let (run, count) = match scales.len() {
            1 => (data.len().max(1), 1),
            count => {
                let axis = usize::try_from(axis)
                    .ok()
                    .filter(|axis| steps.dims.get(*axis) == Some(&count));
                let axis = axis.ok_or_else(wrong)?;
                (
                    steps.dims[axis + 1..].iter().product::<usize>().max(1),
                    count,
                )
            }
        };
        if scales.is_empty() || !(zeros.len() <= 1 || zeros.len() == count) {
            return Err(wrong());
        }
        let number = |(at, step): (usize, i64)| {
            let which = at / run % count;
            let zero = zeros.get(which).or(zeros.first()).copied().unwrap_or(0);
            step.saturating_sub(zero) as f32 * scales[which]
        };
        Ok(data.into_iter().enumerate().map(number).collect())
    }
}

/// The steps that stand for 0: none, one, or one for each scale.
pub(super) fn zeros(zero: Option<&Tensor>, files: &Files) -> Result<Vec<i64>, ProtoError> {
    zero.map_or(Ok(Vec::new()), |zero| zero.ints(files))
}
