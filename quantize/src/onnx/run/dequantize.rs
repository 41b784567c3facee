//! `DequantizeLinear` as plain arithmetic.
//!
//! tract's own operator is on the look-out for a `QuantizeLinear` behind it, and replaces what stands between the two by
//! its own arithmetic on integers. For a softmax that gives other numbers than the file's operators do, by far.

use tract_onnx::model::{Onnx, ParsingContext};
use tract_onnx::pb::NodeProto;
use tract_onnx::tract_core::ops::cast::cast;
use tract_onnx::tract_core::ops::math::{mul, sub};
use tract_onnx::tract_hir::internal::*;

/// Takes the place of tract's operator.
pub(super) fn register(onnx: &mut Onnx) {
    onnx.op_register.insert("DequantizeLinear", parse);
}

fn parse(_: &ParsingContext, node: &NodeProto) -> TractResult<(Box<dyn InferenceOp>, Vec<String>)> {
    let block: i64 = node.get_attr_opt("block_size")?.unwrap_or(0);
    ensure!(
        block == 0,
        "blocks of steps with a scale each are not known"
    );
    let has_zero = node.input.get(2).is_some_and(|zero| !zero.is_empty());
    let axis = node.get_attr_opt("axis")?.unwrap_or(1);
    Ok((expand(Dequantize { has_zero, axis }), vec![]))
}

/// `(x − zero) · scale`, both of the whole or along an axis.
#[derive(Debug, Clone, Hash, PartialEq, Eq)]
struct Dequantize {
    has_zero: bool,
    axis: i64,
}

impl Expansion for Dequantize {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        solver: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        check_input_arity(inputs, 2 + usize::from(self.has_zero))?;
        check_output_arity(outputs, 1)?;
        solver.equals(&inputs[1].datum_type, f32::datum_type())?;
        solver.equals(&outputs[0].datum_type, f32::datum_type())?;
        if self.has_zero {
            solver.equals(&inputs[0].datum_type, &inputs[2].datum_type)?;
        }
        solver.equals(&inputs[0].shape, &outputs[0].shape)
    }

    fn wire(
        &self,
        prefix: &str,
        target: &mut TypedModel,
        inputs: &[OutletId],
    ) -> TractResult<TVec<OutletId>> {
        let rank = target.outlet_fact(inputs[0])?.rank();
        let float = cast(f32::datum_type());
        let mut x = target.wire_node(format!("{prefix}.cast"), float, &inputs[..1])?[0];
        if self.has_zero {
            let zero = self.constant(target, inputs[2], rank)?;
            let zero = target.add_const(format!("{prefix}.zero"), zero)?;
            x = target.wire_node(format!("{prefix}.sub"), sub(), &[x, zero])?[0];
        }
        let scale = self.constant(target, inputs[1], rank)?;
        let scale = target.add_const(format!("{prefix}.scale"), scale)?;
        target.wire_node(prefix, mul(), &[x, scale])
    }
}

impl Dequantize {
    /// A constant as floats of the rank that they go with.
    fn constant(&self, target: &TypedModel, from: OutletId, rank: usize) -> TractResult<Tensor> {
        let numbers = target.outlet_fact(from)?.konst.clone();
        let numbers = numbers.context("a scale or a zero that is no constant")?;
        let mut shape = tvec![1; rank];
        if numbers.len() != 1 {
            let axis = if self.axis < 0 {
                self.axis + rank as i64
            } else {
                self.axis
            };
            let size = usize::try_from(axis)
                .ok()
                .and_then(|axis| shape.get_mut(axis));
            *size.context("an axis that is not there")? = numbers.len();
        }
        numbers.cast_to::<f32>()?.into_owned().into_shape(&shape)
    }
}
