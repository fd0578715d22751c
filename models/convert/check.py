#!/usr/bin/env python3
"""Check the committed models: hashes, outputs, and the arithmetic of vit.onnx.

* Each manifest's hash, input and outputs agree with its model.
* The position embedding that vit.onnx computes is compared with a plain numpy
  bicubic interpolation that gathers four clamped taps per axis.
* With --reference (vit.onnx made with --weights f32), the cosine between the
  patch features of the two models, on a fixed synthetic picture.

Exits with an error if anything is off.
"""

import argparse
import hashlib
import tomllib
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper

SIZES = [(224, 448), (448, 448), (518, 518), (560, 700), (14, 28)]  # height, width
POSITION_TOLERANCE = 1e-5
COSINE_MEAN, COSINE_LEAST = 0.9997, 0.998


def session(model):
    """An onnxruntime session on one thread; `model` is a path or bytes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def check_manifest(path):
    """The manifest says what the model is."""
    manifest = tomllib.loads(path.read_text())
    data = (path.parent / manifest["file"]).read_bytes()
    assert hashlib.sha256(data).hexdigest() == manifest["sha256"], f"{path}: wrong hash"
    model = session(data)
    assert [i.name for i in model.get_inputs()] == [manifest["input"]["name"]]
    found = [(o.name, o.shape[1]) for o in model.get_outputs()]
    assert found == [(o["name"], o["channels"]) for o in manifest["outputs"]], found
    size = manifest["input"]["multiple"] * np.array([7, 10])
    results = model.run(None, {manifest["input"]["name"]: np.zeros((1, 3, *size), np.float32)})
    for output, result in zip(manifest["outputs"], results, strict=True):
        assert result.shape == (1, output["channels"], *(size // output["stride"])), output
    print(f"{path.name}: hash, input and outputs are as stated")


def resize_axis(table, size, a=-0.75):
    """Bicubic resize of the first axis, as torch with align_corners=False."""
    count = len(table)
    result = np.zeros((size, *table.shape[1:]))
    for i in range(size):
        position = (i + 0.5) * count / size - 0.5
        base = int(np.floor(position))
        for tap in range(base - 1, base + 3):
            t = abs(position - tap)
            if t <= 1:
                weight = (a + 2) * t**3 - (a + 3) * t**2 + 1
            else:
                weight = a * t**3 - 5 * a * t**2 + 8 * a * t - 4 * a
            result[i] += weight * table[min(max(tap, 0), count - 1)]
    return result


def check_position_embedding(path):
    """The position embedding in the graph is the bicubic resize of its table."""
    model = onnx.load(path)
    (stored,) = (t for t in model.graph.initializer if t.name.startswith("position_table"))
    table = numpy_helper.to_array(stored).astype(np.float64).reshape(37, 37, 384)
    model.graph.output.append(
        helper.make_tensor_value_info("position", onnx.TensorProto.FLOAT, None)
    )
    run = session(model.SerializeToString())
    for height, width in SIZES:
        picture = np.zeros((1, 3, height, width), np.float32)
        (found,) = run.run(["position"], {"input": picture})
        rows = resize_axis(table, height // 14)
        expected = resize_axis(rows.swapaxes(0, 1), width // 14).swapaxes(0, 1)
        difference = np.abs(found.reshape(expected.shape) - expected).max()
        print(f"position embedding, {height} x {width}: largest difference {difference:.2g}")
        assert difference < POSITION_TOLERANCE


def synthetic_picture(height, width):
    """Smooth noise with edges in it, normalised to about unit deviation."""
    random = np.random.default_rng(0)
    noise = random.normal(size=(3, height // 14, width // 14))
    picture = noise.repeat(14, axis=1).repeat(14, axis=2)
    return (picture + 0.2 * random.normal(size=picture.shape))[None].astype(np.float32)


def check_against_reference(path, reference):
    """Quantised weights hardly turn the patch features."""
    model, exact = session(path), session(reference)
    for height, width in [(448, 448), (224, 448)]:
        feed = {"input": synthetic_picture(height, width)}
        for output in exact.get_outputs():
            (a,), (b,) = model.run([output.name], feed), exact.run([output.name], feed)
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosine = (a * b).sum(axis=1) / norms
            print(
                f"{output.name}, {height} x {width}: patch cosine mean {cosine.mean():.6f}, "
                f"least {cosine.min():.6f}"
            )
            assert cosine.mean() > COSINE_MEAN and cosine.min() > COSINE_LEAST


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models",
        type=Path,
        default=Path(__file__).resolve().parent.parent,
        help="folder of the manifests and models (default: the one above this script)",
    )
    parser.add_argument("--reference", help="vit.onnx with f32 weights to compare with")
    args = parser.parse_args()
    for manifest in ("edge.toml", "vit.toml"):
        check_manifest(args.models / manifest)
    check_position_embedding(str(args.models / "vit.onnx"))
    if args.reference:
        check_against_reference(str(args.models / "vit.onnx"), args.reference)


if __name__ == "__main__":
    main()
