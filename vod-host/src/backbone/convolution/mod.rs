//! Convolutions on channels-last maps and matrix products in place of tract's, with the clamp or
//! the bias that follows them.
//!
//! tract computes on channels-first maps, where a depthwise convolution with a stride touches
//! every value by itself. With the channels side by side all of it is vectors, and a 1x1
//! convolution multiplies rows as they lie in memory, without packing them first; so does the
//! product of tokens and weights, which is the same operation.

mod kernels;

use std::sync::Arc;

use tract_onnx::prelude::*;
use tract_onnx::tract_core::internal::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::cnn::{Conv, KernelFormat};
use tract_onnx::tract_core::ops::einsum::EinSum;
use tract_onnx::tract_core::ops::math::{Add, Max, Min};
use tract_onnx::tract_core::ops::nn::DataFormat;
use tract_onnx::tract_core::optim::Optimizer;

use kernels::{Geometry, Kernels, PANEL, Weights, pack_columns, pack_dense};

/// Replaces the convolutions and products that the kernels here can do; leaves the others alone.
pub(super) fn replace_products(model: &mut TypedModel) -> TractResult<()> {
    if Kernels::detect().is_none() {
        return Ok(());
    }
    Optimizer::prop_consts().optimize(model)?;
    Rewriter::<()>::default()
        .with_rule_for("channels-last-convolution", replace_convolution)
        .with_rule_for("rows-times-matrix", replace_product)
        .rewrite(&(), model)
}

/// A 2-D f32 convolution `[1, height, width, channels]`, its output clamped; or, with a pointwise
/// geometry, the product of `[1, rows, channels]` and a constant matrix.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Convolution {
    geometry: Geometry,
    output_shape: TVec<usize>,
    depthwise: bool,
    kernel: Arc<Tensor>,
    bias: Arc<Tensor>,
    /// Least and greatest output.
    clamp: [TotalF32; 2],
}

/// f32 by its bits: what comparing and hashing operators takes.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct TotalF32(u32);

impl TotalF32 {
    fn new(value: f32) -> Self {
        Self(value.to_bits())
    }

    fn get(self) -> f32 {
        f32::from_bits(self.0)
    }
}

impl std::fmt::Debug for TotalF32 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

impl Op for Convolution {
    fn name(&self) -> StaticName {
        "ChannelsLastConvolution".into()
    }

    fn info(&self) -> TractResult<Vec<String>> {
        Ok(vec![format!("{:?} clamp {:?}", self.geometry, self.clamp)])
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Convolution {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let kernels = Kernels::detect().context("no fused multiply-add")?;
        let input = args_1!(inputs);
        let mut output = Tensor::zero::<f32>(&self.output_shape)?;
        {
            let weights = Weights {
                kernel: self.kernel.try_as_plain_ram()?.as_slice::<f32>()?,
                bias: self.bias.try_as_plain_ram()?.as_slice::<f32>()?,
                clamp: self.clamp.map(TotalF32::get),
            };
            let input = input.try_as_plain_ram()?.as_slice::<f32>()?;
            let mut view = output.try_as_plain_ram_mut()?;
            let output = view.as_slice_mut::<f32>()?;
            if self.depthwise {
                kernels.depthwise(&self.geometry, input, weights, output);
            } else {
                kernels.dense(&self.geometry, input, weights, output);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for Convolution {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.output_shape)))
    }

    as_op!();
}

fn replace_convolution(
    _context: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    conv: &Conv,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(kernels = Kernels::detect());
    let spec = &conv.pool_spec;
    rule_if!(conv.q_params.is_none() && conv.kernel_fmt == KernelFormat::OIHW);
    rule_if!(spec.data_format == DataFormat::NCHW && node.inputs.len() == 3);
    rule_if!(spec.dilations().iter().all(|d| *d == 1));
    let fact = model.outlet_fact(node.inputs[0])?;
    rule_if!(fact.datum_type == f32::datum_type());
    rule_if_some!(shape = fact.shape.as_concrete());
    rule_if!(shape.len() == 4 && shape[0] == 1);
    rule_if_some!(kernel = model.outlet_fact(node.inputs[1])?.konst.clone());
    rule_if_some!(bias = model.outlet_fact(node.inputs[2])?.konst.clone());
    rule_if!(kernel.datum_type() == f32::datum_type() && bias.datum_type() == f32::datum_type());
    let (channels_in, channels_out) = (conv.input_channels(), conv.output_channels());
    let depthwise = conv.group == channels_in && channels_in == channels_out;
    rule_if!(if depthwise {
        channels_in >= kernels.lanes
    } else {
        conv.group == 1
    });
    let padded = spec.computed_padding(&shape[2..]);
    let strides = spec.strides();
    let geometry = Geometry {
        input: [shape[2], shape[3]],
        output: [padded[0].convoluted, padded[1].convoluted],
        kernel: [spec.kernel_shape[0], spec.kernel_shape[1]],
        stride: [strides[0], strides[1]],
        pad: [padded[0].pad_before, padded[1].pad_before],
        channels_in,
        channels_out,
    };
    // From `[out, in, height, width]` to `[out, height, width, in]`, or without `out`.
    let plain = kernel.to_plain_array_view::<f32>()?;
    let order = if depthwise {
        [1, 2, 3, 0]
    } else {
        [0, 2, 3, 1]
    };
    let flat: Vec<f32> = plain
        .permuted_axes(order.as_slice())
        .iter()
        .copied()
        .collect();
    let flat = if depthwise {
        flat
    } else {
        pack_dense(&flat, geometry.depth())
    };
    let mut biases = vec![0.0; channels_out];
    let given = bias.try_as_plain_ram()?.as_slice::<f32>()?;
    rule_if!(given.len() == 1 || given.len() == channels_out);
    biases
        .iter_mut()
        .zip(given.iter().cycle())
        .for_each(|(to, from)| *to = *from);
    if !depthwise {
        biases.resize(channels_out.next_multiple_of(PANEL), 0.0);
    }
    let (clamp, last) = clamp_after(model, node)?;
    let convolution = Convolution {
        geometry,
        output_shape: tvec!(1, geometry.output[0], geometry.output[1], channels_out),
        depthwise,
        kernel: tensor1(&flat).into_arc_tensor(),
        bias: tensor1(&biases).into_arc_tensor(),
        clamp: clamp.map(TotalF32::new),
    };
    let mut patch = TypedModelPatch::default();
    let input = patch.tap_model(model, node.inputs[0])?;
    let input = patch.wire_node(
        format!("{name}.channels_last"),
        AxisOp::Move(1, 3),
        &[input],
    )?;
    let output = patch.wire_node(name, convolution, &input)?;
    let output = patch.wire_node(
        format!("{name}.channels_first"),
        AxisOp::Move(3, 1),
        &output,
    )?;
    patch.shunt_outside(model, last.into(), output[0])?;
    Ok(Some(patch))
}

/// The limits that the only successors of a node clamp it to, and the last of these nodes.
fn clamp_after(model: &TypedModel, node: &TypedNode) -> TractResult<([f32; 2], usize)> {
    let mut clamp = [f32::NEG_INFINITY, f32::INFINITY];
    let mut last = node.id;
    // A lower limit that follows an upper one is not the same clamp once they cross: in order only.
    for _ in 0..2 {
        let [next] = &*model.node(last).outputs[0].successors else {
            break;
        };
        let next = model.node(next.node);
        let Some(op) = next.op_as::<TypedBinOp>() else {
            break;
        };
        let other = next.inputs.iter().find(|input| input.node != last);
        let Some(limit) = other.and_then(|o| model.outlet_fact(*o).ok()?.konst.clone()) else {
            break;
        };
        if limit.len() != 1 || limit.datum_type() != f32::datum_type() {
            break;
        }
        let limit = limit.try_as_plain_ram()?.as_slice::<f32>()?[0];
        if model.outputs.iter().any(|o| o.node == last) {
            break;
        }
        if op.0.is::<Max>() && clamp[1] == f32::INFINITY {
            clamp[0] = clamp[0].max(limit);
        } else if op.0.is::<Min>() && limit >= clamp[0] {
            clamp[1] = clamp[1].min(limit);
        } else {
            break;
        }
        last = next.id;
    }
    Ok((clamp, last))
}

/// Products of f32 matrices: of `[1, rows, depth]` with a constant matrix and a bias, or of a batch
/// of pairs.
fn replace_product(
    _context: &(),
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    product: &EinSum,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(product.q_params.is_none() && product.operating_dt == f32::datum_type());
    rule_if!(node.inputs.len() == 2);
    let left = model.outlet_fact(node.inputs[0])?;
    let right = model.outlet_fact(node.inputs[1])?;
    rule_if!(left.datum_type == f32::datum_type() && right.datum_type == f32::datum_type());
    rule_if_some!(left = left.shape.as_concrete());
    rule_if_some!(right_shape = right.shape.as_concrete());
    let axes = product.axes.to_string();
    let mut patch = TypedModelPatch::default();
    if axes == "abmk,abkn->abmn" {
        let (rows, depth) = (left[2], left[3]);
        let columns = right_shape[3];
        rule_if!(left[..2] == right_shape[..2]);
        let inputs = patch.taps(model, &node.inputs)?;
        let output_shape = tvec!(left[0], left[1], rows, columns);
        let output = patch.wire_node(
            name,
            BatchProduct {
                depth,
                output_shape,
            },
            &inputs,
        )?;
        patch.shunt_outside(model, node.id.into(), output[0])?;
        return Ok(Some(patch));
    }
    rule_if!(axes == "amk,kn->amn" && left[0] == 1);
    rule_if_some!(matrix = right.konst.clone());
    let (rows, depth, columns) = (left[1], left[2], right_shape[1]);
    let (mut bias, last) = bias_after(model, node, columns)?;
    bias.resize(columns.next_multiple_of(PANEL), 0.0);
    let matrix = matrix.try_as_plain_ram()?.as_slice::<f32>()?;
    let convolution = Convolution {
        geometry: Geometry {
            input: [1, rows],
            output: [1, rows],
            kernel: [1, 1],
            stride: [1, 1],
            pad: [0, 0],
            channels_in: depth,
            channels_out: columns,
        },
        output_shape: tvec!(1, rows, columns),
        depthwise: false,
        kernel: tensor1(&pack_columns(matrix, depth)).into_arc_tensor(),
        bias: tensor1(&bias).into_arc_tensor(),
        clamp: [f32::NEG_INFINITY, f32::INFINITY].map(TotalF32::new),
    };
    let input = patch.tap_model(model, node.inputs[0])?;
    let output = patch.wire_node(name, convolution, &[input])?;
    patch.shunt_outside(model, last.into(), output[0])?;
    Ok(Some(patch))
}

/// The constant that the only successor of a node adds to its columns (zeros where there is none),
/// and the last node that is covered.
fn bias_after(
    model: &TypedModel,
    node: &TypedNode,
    columns: usize,
) -> TractResult<(Vec<f32>, usize)> {
    let none = Ok((vec![0.0; columns], node.id));
    let [next] = &*node.outputs[0].successors else {
        return none;
    };
    let next = model.node(next.node);
    let is_sum = next
        .op_as::<TypedBinOp>()
        .is_some_and(|op| op.0.is::<Add>());
    let is_output = model.outputs.iter().any(|o| o.node == node.id);
    let other = next.inputs.iter().find(|input| input.node != node.id);
    let konst = other.and_then(|o| model.outlet_fact(*o).ok()?.konst.clone());
    match konst {
        Some(konst)
            if is_sum
                && !is_output
                && konst.datum_type() == f32::datum_type()
                && konst.len() == columns
                && konst.shape().last() == Some(&columns) =>
        {
            let bias = konst.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
            Ok((bias, next.id))
        }
        _ => none,
    }
}

/// Products of the matrices of a batch, `[a, b, rows, depth]` and `[a, b, depth, columns]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct BatchProduct {
    depth: usize,
    output_shape: TVec<usize>,
}

impl Op for BatchProduct {
    fn name(&self) -> StaticName {
        "BatchProduct".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for BatchProduct {
    op_out_of_plan!();

    fn eval(&self, _context: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let kernels = Kernels::detect().context("no fused multiply-add")?;
        let (left, right) = args_2!(inputs);
        let mut output = Tensor::zero::<f32>(&self.output_shape)?;
        {
            let left = left.try_as_plain_ram()?.as_slice::<f32>()?;
            let right = right.try_as_plain_ram()?.as_slice::<f32>()?;
            let [.., rows, columns] = *self.output_shape else {
                bail!("product without rows and columns");
            };
            let mut view = output.try_as_plain_ram_mut()?;
            let outputs = view.as_slice_mut::<f32>()?.chunks_exact_mut(rows * columns);
            let lefts = left.chunks_exact(rows * self.depth);
            let rights = right.chunks_exact(self.depth * columns);
            for ((left, right), output) in lefts.zip(rights).zip(outputs) {
                kernels.product(left, right, self.depth, output);
            }
        }
        Ok(tvec!(output.into_tvalue()))
    }
}

impl TypedOp for BatchProduct {
    fn output_facts(&self, _inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        Ok(tvec!(f32::fact(&self.output_shape)))
    }

    as_op!();
}
