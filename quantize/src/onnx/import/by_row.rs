//! What `berth export` writes in eight bits, read again: linears that quantize each row of their input by
//! its own range, and tables of steps with a scale for each row. `export::linear` has the formulas.

use crate::onnx::proto::Node;

use super::bert::Lookup;
use super::constant::Constant;
use super::graph::Graph;
use super::rules::Linear;
use super::weights::{MatrixAt, Values};

/// How far the sums of weights may be from what the file says they are, of their magnitude.
const SAME: f32 = 1e-4;

impl<'m, 'a> Graph<'m, 'a> {
    /// `(MatMulInteger(q, w) · w.scale) · row scale + (row's lowest · w.sum + bias)`.
    pub(super) fn by_row(&self, value: &'a str) -> Option<Linear<'m, 'a>> {
        let (sums, rest) = self.operands(value, "Add")?;
        let (by_channel, row_scale) = self.operands(sums, "Mul")?;
        let (floats, scale) = self.operands(by_channel, "Mul")?;
        let product = self.made_by(self.made_by(floats, "Cast")?.input(0)?, "MatMulInteger")?;
        let weight = self.bytes(product.input(1)?, scale, product.input(3))?;
        let (lows, bias) = self.operands(rest, "Add")?;
        let (low, sum) = self.operands(lows, "Mul")?;
        let input = self.steps_of_rows(product.input(0)?, low, row_scale)?;
        let from_zero = product
            .input(2)
            .is_none_or(|zero| self.integers(zero) == Some(vec![0]));
        let found = Linear {
            input,
            weight,
            bias: Some(self.vector(bias)?),
        };
        (from_zero && self.sums_to(&found.weight, sum)).then_some(found)
    }

    /// The two inputs of an operator, in their order.
    fn operands(&self, value: &str, op: &str) -> Option<(&'a str, &'a str)> {
        let node = self.made_by(value, op)?;
        Some((node.input(0)?, node.input(1)?))
    }

    /// The rows that became steps from their lowest to their highest number: `low` and `scale` have to be theirs.
    fn steps_of_rows(&self, steps: &str, low: &str, scale: &str) -> Option<&'a str> {
        let rounded = self.made_by(self.made_by(steps, "Cast")?.input(0)?, "Round")?;
        let (above, factor) = self.operands(rounded.input(0)?, "Mul")?;
        let (input, lowest) = self.operands(above, "Sub")?;
        let (steps, range) = self.operands(factor, "Div")?;
        let (same_range, same_steps) = self.operands(scale, "Div")?;
        let (difference, _) = self.operands(range, "Max")?;
        let (high, same_low) = self.operands(difference, "Sub")?;
        let of_input = |value: &str, op: &str| {
            let node = self.made_by(value, op);
            node.is_some_and(|node| {
                node.input(0) == Some(input) && node.ints("axes") == Some(&[-1])
            })
        };
        let fits = lowest == low
            && same_low == low
            && same_range == range
            && self.is(steps, 255.0)
            && self.is(same_steps, 255.0)
            && of_input(low, "ReduceMin")
            && of_input(high, "ReduceMax");
        fits.then_some(input)
    }

    /// Whether the numbers in `sum` are what each output's weights add up to.
    fn sums_to(&self, weight: &MatrixAt, sum: &'a str) -> bool {
        let (Ok(matrix), Ok(Some(sums))) = (weight.read(self.files), self.floats(sum)) else {
            return false;
        };
        let Values::Steps(steps, scale) = &matrix.values else {
            return false;
        };
        let rows = steps.chunks_exact(matrix.inputs).zip(scale);
        let own =
            rows.map(|(row, scale)| row.iter().map(|&step| f32::from(step)).sum::<f32>() * scale);
        let near = |(own, said): (f32, &f32)| (own - said).abs() <= SAME * own.abs().max(1e-3);
        sums.len() == matrix.outputs && own.zip(&sums).all(near)
    }

    /// `Cast(rows of steps) · rows of scale`, the rows of a table and what picks them.
    pub(super) fn rows_of_steps(&self, node: &Node<'a>) -> Option<(Constant<'m, 'a>, Lookup)> {
        let cast = self.made_by(node.input(0)?, "Cast")?;
        let (steps, ids) = self.picked(cast.input(0)?)?;
        let (scale, same_ids) = self.picked(node.input(1)?)?;
        let table = self.steps(steps, scale, None, 0)?;
        let Constant::Steps { steps, scale, .. } = table else {
            return None;
        };
        let by_row = matches!(
            (&steps.dims[..], &scale.dims[..]),
            (&[rows, _], &[scales, 1]) if rows == scales
        );
        (by_row && ids == same_ids && steps.is_byte()).then_some((table, ids))
    }
}
