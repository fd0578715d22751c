#!/usr/bin/env python3
"""Store what onnxruntime makes of three small pictures with the two backbones.

The pictures are made from the cells in examples/solar-cells. Their sizes suit
both backbones, so nothing is resized:

* a.png, 224 x 224, grey: the centre of a defective cell
* b.png, 224 x 224, RGB: the centres of three cells as red, green and blue, so
  that mixed up channels show
* c.png, 448 wide and 224 high, grey: two centres side by side

index.json lists the stored outputs; the files hold little-endian f32 in the
order [channel, row, column]. With a channel_step of n only the channels 0, n,
2n, ... are stored; `shape` is that of the file, `channels` the number the model
gives out.

Preparation: 8-bit RGB (grey replicated), (x - mean) / std in f32 with the values
of the manifest, [1, 3, height, width].
"""

import argparse
import json
import tomllib
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

PROJECT = Path(__file__).resolve().parents[2]
CELLS = PROJECT / "examples" / "solar-cells"
SIZE = 224

# model -> outputs to store, channel step
STORED = {"edge": (["s8", "s16_mid", "s16"], 1), "vit": (["block8"], 3)}


def centre(name):
    """The middle SIZE x SIZE pixels of a demo cell, as u8."""
    picture = np.asarray(Image.open(CELLS / name))
    top, left = ((side - SIZE) // 2 for side in picture.shape)
    return picture[top : top + SIZE, left : left + SIZE]


def make_pictures():
    """Map names to u8 arrays, [h, w] or [h, w, 3]."""
    return {
        "a": centre("test/defective/001.png"),
        "b": np.stack(
            [
                centre("test/defective/004.png"),
                centre("test/good/002.png"),
                centre("train/good/005.png"),
            ],
            axis=2,
        ),
        "c": np.concatenate(
            [centre("train/good/000.png"), centre("test/defective/006.png")], axis=1
        ),
    }


def prepare(path, manifest):
    """Decode and normalise a picture as the manifest says."""
    assert manifest["input"]["colour"] == "rgb"
    pixels = np.asarray(Image.open(path).convert("RGB")).astype(np.float32)
    mean, std = (np.array(manifest["input"][key], np.float32) for key in ("mean", "std"))
    return np.ascontiguousarray(((pixels - mean) / std).transpose(2, 0, 1)[None])


def run_model(model, pictures, output):
    """Write the outputs of one model; returns their entries of the index."""
    manifest = tomllib.loads((PROJECT / "models" / f"{model}.toml").read_text())
    names, step = STORED[model]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        PROJECT / "models" / manifest["file"], options, providers=["CPUExecutionProvider"]
    )
    entries = []
    for picture in pictures:
        feed = {manifest["input"]["name"]: prepare(output / f"{picture}.png", manifest)}
        for name, full in zip(names, session.run(names, feed), strict=True):
            kept = full[0, ::step].astype("<f4")
            file = f"{model}-{picture}-{name}.f32"
            (output / file).write_bytes(kept.tobytes())
            entries.append(
                {
                    "file": file,
                    "model": model,
                    "model_sha256": manifest["sha256"],
                    "picture": f"{picture}.png",
                    "output": name,
                    "shape": list(kept.shape),
                    "channels": full.shape[1],
                    "channel_step": step,
                    "max_abs": float(np.abs(kept).max()),
                }
            )
    return entries


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=PROJECT / "tests" / "fixtures" / "backbone",
        help="folder to write to (default: tests/fixtures/backbone)",
    )
    output = parser.parse_args().output
    output.mkdir(parents=True, exist_ok=True)
    pictures = make_pictures()
    for name, pixels in pictures.items():
        Image.fromarray(pixels).save(output / f"{name}.png", optimize=True)
    entries = [entry for model in STORED for entry in run_model(model, pictures, output)]
    index = {"onnxruntime": onnxruntime.__version__, "outputs": entries}
    (output / "index.json").write_text(json.dumps(index, indent=2) + "\n")
    for entry in entries:
        print(entry["file"], entry["shape"], f"max {entry['max_abs']:.3f}")


if __name__ == "__main__":
    main()
