"""Writes tests/fixtures/tokens: a model of a few bytes with a [1, 1 + h*w, 3] output.

Patches of 8 x 8 pixels are averaged; a class token of zeros stands before them.
Needs onnx and numpy (requirements.txt).
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

FOLDER = Path(__file__).parent.parent / "fixtures" / "tokens"

MANIFEST = """id = "tokens"
name = "8 x 8 means as tokens, for tests"
file = "tokens.onnx"
sha256 = "{sha256}"
licence = "MIT OR Apache-2.0"
provenance = "tests/oracle/token_model.py"

[input]
name = "input"
multiple = 8
colour = "rgb"
mean = [0.0, 0.0, 0.0]
std = [1.0, 1.0, 1.0]
default_size = 64

[[outputs]]
name = "tokens"
stride = 8
channels = 3
layout = "tokens"
prefix_tokens = 1

[features]
stride = 8
outputs = ["tokens"]
pool = 1
normalise = "unit"
"""


def main():
    weights = np.zeros((3, 3, 8, 8), np.float32)
    for channel in range(3):
        weights[channel, channel] = 1 / 64
    nodes = [
        helper.make_node("Conv", ["input", "weights"], ["grid"], kernel_shape=[8, 8], strides=[8, 8]),
        helper.make_node("Reshape", ["grid", "flat"], ["columns"]),
        helper.make_node("Transpose", ["columns"], ["patches"], perm=[0, 2, 1]),
        helper.make_node("Concat", ["class", "patches"], ["tokens"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tokens",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [1, 3, "h", "w"])],
        [helper.make_tensor_value_info("tokens", TensorProto.FLOAT, [1, "n", 3])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([1, 3, -1], np.int64), "flat"),
            numpy_helper.from_array(np.zeros((1, 1, 3), np.float32), "class"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    FOLDER.mkdir(parents=True, exist_ok=True)
    path = FOLDER / "tokens.onnx"
    onnx.save(model, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    (FOLDER / "tokens.toml").write_text(MANIFEST.format(sha256=digest))


if __name__ == "__main__":
    main()
