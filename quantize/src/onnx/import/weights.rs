//! The numbers of matched constants: floats, or int8 steps that are kept as they are.

use crate::onnx::proto::{Files, ProtoError, told};

use super::constant::{Constant, zeros};

/// The weights of a linear, row by row: `[outputs][inputs]`.
#[derive(Debug, PartialEq)]
pub(super) struct Matrix {
    /// Weights of an output.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// The numbers.
    pub values: Values,
}

/// The numbers of a matrix.
#[derive(Debug, PartialEq)]
pub(super) enum Values {
    /// In floats.
    Floats(Vec<f32>),
    /// In i8 steps, with what one step of each row is worth.
    Steps(Vec<i8>, Vec<f32>),
}

/// Which of several equal parts of a tensor's outputs are meant.
#[derive(Copy, Clone, Debug, Eq, PartialEq)]
pub(super) struct Part {
    /// Counted from 0.
    pub index: usize,
    /// How many there are.
    pub of: usize,
}

impl Part {
    /// All outputs.
    pub const WHOLE: Part = Part { index: 0, of: 1 };

    /// This part of `all` numbers, if they can be divided so.
    fn range(self, all: usize) -> Option<std::ops::Range<usize>> {
        let each = all.is_multiple_of(self.of).then_some(all / self.of)?;
        Some(self.index * each..(self.index + 1) * each)
    }
}

/// A vector in the file, or a part of one.
#[derive(Copy, Clone, Debug)]
pub(super) struct VectorAt<'g, 'a> {
    pub constant: Constant<'g, 'a>,
    pub part: Part,
}

impl VectorAt<'_, '_> {
    /// Reads the numbers.
    ///
    /// # Errors
    /// When a shape lies.
    pub fn read(&self, files: &Files) -> Result<Vec<f32>, ProtoError> {
        let data = self.constant.floats(files)?;
        let range = self.part.range(data.len());
        let range = range.ok_or_else(|| ProtoError::Shape(told(name(&self.constant))))?;
        Ok(data[range].to_vec())
    }
}

/// A matrix in the file, or a part of its outputs: columns are outputs unless it is `by_row`.
#[derive(Copy, Clone, Debug)]
pub(super) struct MatrixAt<'g, 'a> {
    pub constant: Constant<'g, 'a>,
    pub by_row: bool,
    pub part: Part,
}

impl MatrixAt<'_, '_> {
    /// Inputs and outputs.
    pub fn size(&self) -> Option<(usize, usize)> {
        let (inputs, outputs) = self.whole()?;
        Some((inputs, self.part.range(outputs)?.len()))
    }

    /// Inputs and outputs of the whole.
    fn whole(&self) -> Option<(usize, usize)> {
        match (self.constant.dims(), self.by_row) {
            (&[inputs, outputs], false) | (&[outputs, inputs], true) => Some((inputs, outputs)),
            _ => None,
        }
    }

    /// Reads the numbers.
    ///
    /// # Errors
    /// When a shape lies, or there is no number at all.
    pub fn read(&self, files: &Files) -> Result<Matrix, ProtoError> {
        let size = self.whole();
        let size = size.filter(|(inputs, outputs)| *inputs > 0 && *outputs > 0);
        let part = size.and_then(|(_, outputs)| self.part.range(outputs));
        let (Some((inputs, outputs)), Some(part)) = (size, part) else {
            return Err(ProtoError::Shape(told(name(&self.constant))));
        };
        let places = part.start * inputs..part.end * inputs;
        let turn = |at: usize| at % inputs * outputs + at / inputs;
        let place = |at: usize| if self.by_row { at } else { turn(at) };
        let values = match kept(&self.constant, self.by_row, outputs, files)? {
            Some((steps, scale)) => {
                let steps = places.map(|at| steps[place(at)]).collect();
                Values::Steps(steps, scale[part.clone()].to_vec())
            }
            None => {
                let data = self.constant.floats(files)?;
                Values::Floats(places.map(|at| data[place(at)]).collect())
            }
        };
        Ok(Matrix {
            inputs,
            outputs: part.len(),
            values,
        })
    }
}

/// What a constant is called in the file.
pub(super) fn name<'a>(constant: &Constant<'_, 'a>) -> &'a str {
    match constant {
        Constant::Plain(tensor) | Constant::Steps { steps: tensor, .. } => tensor.name,
    }
}

/// Steps of i8, and what one step of each output is worth.
pub(super) type Kept = (Vec<i8>, Vec<f32>);

/// The steps as they are, where they fit into i8 and each output has one scale.
fn kept(
    constant: &Constant,
    by_row: bool,
    outputs: usize,
    files: &Files,
) -> Result<Option<Kept>, ProtoError> {
    let Constant::Steps {
        steps,
        scale,
        zero,
        axis,
    } = *constant
    else {
        return Ok(None);
    };
    // The numbers first: their count proves that there are so many outputs.
    let data = steps.ints(files)?;
    let scales = scale.floats(files)?;
    let along = if by_row { 0 } else { 1 };
    let each = match scales[..] {
        [one] => vec![one; outputs],
        _ if scales.len() == outputs && (axis == along || axis == along - 2) => scales,
        _ => return Ok(None),
    };
    let zeros = zeros(zero, files)?;
    if !(zeros.len() <= 1 || zeros.len() == outputs) {
        return Ok(None);
    }
    let columns = steps.dims[1];
    let output = |at: usize| if by_row { at / columns } else { at % columns };
    let from_zero = |(at, step): (usize, i64)| {
        let zero = zeros
            .get(output(at))
            .or(zeros.first().filter(|_| zeros.len() == 1));
        let step = i8::try_from(step.saturating_sub(zero.copied().unwrap_or(0))).ok();
        // Sums of two products have room for 127 at most: -128 is no step of the device's.
        step.filter(|&step| step != i8::MIN)
    };
    let steps: Option<Vec<i8>> = data.into_iter().enumerate().map(from_zero).collect();
    Ok(steps.map(|steps| (steps, each)))
}

/// The steps of a table that has a scale for each row, where they fit into i8.
///
/// # Errors
/// When a shape lies.
pub(super) fn kept_by_row(constant: &Constant, files: &Files) -> Result<Option<Kept>, ProtoError> {
    match *constant {
        Constant::Steps { steps, scale, .. } if steps.dims[0] > 1 && scale.count()? > 1 => {
            kept(constant, true, steps.dims[0], files)
        }
        _ => Ok(None),
    }
}
