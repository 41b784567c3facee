//! Linears in plain operators: in f32, or by row and channel in integers as `NUMERICS.md` lays down.
//!
//! ```text
//!  low   = ReduceMin(x)   high = ReduceMax(x)            of each row
//!  range = Max(high − low, 1e-20)
//!  q     = Cast(Round((x − low) · (255 / range)))        u8
//!  y     = ((MatMulInteger(q, w) · w.scale) · (range / 255)) + ((low · w.sum) + w.bias)
//! ```
//!
//! The weights are those of the bundle, moved from [−127, 127] to [1, 255], with 128 as their zero
//! point: ONNX Runtime multiplies u8 by u8 exactly on every machine, but u8 by i8 with saturating
//! sixteen-bit sums where the processor has no dot products.

use crate::dense::Rows;
use crate::error::QuantizeError;
use crate::onnx::write::{FLOAT, Graph, Set, UINT8};

use super::Form;

/// What stands for 0 among the weights.
const ZERO: u8 = 128;

/// Where weights come from and nodes go to.
pub(super) trait Source {
    /// `weight[outputs][inputs]` and `bias[outputs]` of a dense layer.
    fn weight_and_bias(&mut self, name: &str) -> Result<(Vec<f32>, Vec<f32>), QuantizeError>;

    /// The graph that is being made.
    fn graph(&mut self) -> &mut Graph;
}

/// The linears of one input, which is quantized once for all of them.
pub(super) struct Linears<'e, S> {
    source: &'e mut S,
    input: String,
    form: Form,
    rows: Option<Quantized>,
}

/// The names of a quantized input's parts.
struct Quantized {
    steps: String,
    scale: String,
    low: String,
}

impl<'e, S: Source> Linears<'e, S> {
    /// Those of the value `input`.
    pub fn new(source: &'e mut S, input: &str, form: Form) -> Self {
        Linears {
            source,
            input: input.to_owned(),
            form,
            rows: None,
        }
    }

    /// Adds the linear of this name. Returns the name of its output.
    pub fn of(&mut self, name: &str) -> Result<String, QuantizeError> {
        self.called(name, &format!("{name}/out"))
    }

    /// The same, with a name for the output.
    pub fn called(&mut self, name: &str, output: &str) -> Result<String, QuantizeError> {
        let (weight, bias) = self.source.weight_and_bias(name)?;
        let (outputs, inputs) = (bias.len(), weight.len() / bias.len());
        match self.form {
            Form::F32 => {
                let columns = transposed(&weight, inputs);
                let graph = self.source.graph();
                let weight = graph.floats(
                    &format!("{name}.weight/transposed"),
                    &[inputs, outputs],
                    &columns,
                );
                let bias = graph.floats(&format!("{name}.bias"), &[outputs], &bias);
                let product = graph.node(
                    &format!("{name}/product"),
                    "MatMul",
                    &[&self.input, &weight],
                    &[],
                );
                Ok(graph.node(output, "Add", &[&product, &bias], &[]))
            }
            Form::Int8 => {
                let rows = Rows::of(&weight, inputs);
                Ok(self.quantized(name, output, &rows, &bias, inputs))
            }
        }
    }

    fn quantized(
        &mut self,
        name: &str,
        output: &str,
        rows: &Rows,
        bias: &[f32],
        inputs: usize,
    ) -> String {
        if self.rows.is_none() {
            self.rows = Some(quantize(self.source.graph(), &self.input));
        }
        let x = self.rows.as_ref().expect("made above");
        let graph = self.source.graph();
        let outputs = bias.len();
        let at = |part: &str| format!("{name}/{part}");
        let columns = transposed(&rows.values, inputs);
        let bytes = columns.iter().map(|&step| (step as u8).wrapping_add(ZERO));
        let weight = graph.steps(&at("weight"), UINT8, &[inputs, outputs], bytes);
        let scale = graph.floats(&at("scale"), &[outputs], &rows.scale);
        let sum = graph.floats(&at("sum"), &[outputs], &rows.sums(inputs));
        let bias = graph.floats(&format!("{name}.bias"), &[outputs], bias);
        let zero = graph.byte_once("zero_point", ZERO);
        let none = graph.byte_once("no_zero_point", 0);
        let mut node = |part: &str, op: &str, inputs: &[&str], sets: &[(&str, Set)]| {
            graph.node(&at(part), op, inputs, sets)
        };
        let sums = node(
            "integers",
            "MatMulInteger",
            &[&x.steps, &weight, &none, &zero],
            &[],
        );
        let sums = node("floats", "Cast", &[&sums], &[("to", Set::Int(FLOAT))]);
        let sums = node("by_channel", "Mul", &[&sums, &scale], &[]);
        let sums = node("by_row", "Mul", &[&sums, &x.scale], &[]);
        let lows = node("lows", "Mul", &[&x.low, &sum], &[]);
        let rest = node("rest", "Add", &[&lows, &bias], &[]);
        graph.node(output, "Add", &[&sums, &rest], &[])
    }
}

/// Quantizes each row of `x` by its own range.
fn quantize(graph: &mut Graph, x: &str) -> Quantized {
    let smallest = graph.scalar("smallest_range", 1e-20);
    let steps = graph.scalar("255.0", 255.0);
    let mut node = |part: &str, op: &str, inputs: &[&str], sets: &[(&str, Set)]| {
        graph.node(&format!("{x}/{part}"), op, inputs, sets)
    };
    let last = [("axes", Set::Ints(&[-1])), ("keepdims", Set::Int(1))];
    let low = node("low", "ReduceMin", &[x], &last);
    let high = node("high", "ReduceMax", &[x], &last);
    let range = node("difference", "Sub", &[&high, &low], &[]);
    let range = node("range", "Max", &[&range, &smallest], &[]);
    let factor = node("factor", "Div", &[&steps, &range], &[]);
    let scale = node("scale", "Div", &[&range, &steps], &[]);
    let above = node("above", "Sub", &[x, &low], &[]);
    let places = node("places", "Mul", &[&above, &factor], &[]);
    let places = node("rounded", "Round", &[&places], &[]);
    let steps = node("steps", "Cast", &[&places], &[("to", Set::Int(UINT8))]);
    Quantized { steps, scale, low }
}

/// `rows[outputs][inputs]` column by column, as `MatMul` takes its second factor.
fn transposed<T: Copy>(rows: &[T], inputs: usize) -> Vec<T> {
    let outputs = rows.len() / inputs;
    (0..rows.len())
        .map(|at| rows[at % outputs * inputs + at / outputs])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        assert_eq!(transposed(&[1, 2, 3, 4, 5, 6], 3), [1, 4, 2, 5, 3, 6]);
        assert_eq!(transposed(&[1, 2], 1), [1, 2]);
    }
}
