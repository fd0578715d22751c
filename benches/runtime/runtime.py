#!/usr/bin/env python3
"""The backbones' runtime beside onnxruntime: wall time of one image, on the same ONNX files.

Both run in turns, so that a change of clock or load hits both alike; medians over all runs of all
turns. Prints a Markdown table, ratio first.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    cargo build --release -p vod-tests --example time_backbone
    venv/bin/python runtime.py [--case edge 224] [--threads 1]
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def onnxruntime_times(backbone, side, runs, threads):
    import numpy
    import onnxruntime

    spec = tomllib.loads((ROOT / "models" / f"{backbone}.toml").read_text())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    model = str(ROOT / "models" / spec["file"])
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    c, y, x = numpy.indices((3, side, side))
    pixels = (((c * 31 + y * 7 + x * 13) % 255) / 127.5 - 1).astype("f4")[None]
    inputs = {spec["input"]["name"]: pixels}
    names = spec["features"]["outputs"]
    session.run(names, inputs)
    for _ in range(runs):
        start = time.perf_counter()
        session.run(names, inputs)
        print(f"{(time.perf_counter() - start) * 1e3:.3f}")


def times(command, threads):
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    text = subprocess.run(
        [str(c) for c in command], env=environment, check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    return [float(line) for line in text.split()]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", nargs=2, action="append", metavar=("BACKBONE", "SIDE"))
    parser.add_argument("--threads", type=int, action="append")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="of each turn, about")
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        backbone, *numbers = arguments.child
        return onnxruntime_times(backbone, *map(int, numbers))
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    ours = target / "release/examples/time_backbone"
    print("| backbone | pixels | threads | ratio | VOD, ms | onnxruntime, ms |")
    print("| --- | --- | --- | --- | --- | --- |")
    for backbone, side in arguments.case or [("edge", 224), ("edge", 320), ("vit", 448)]:
        for threads in arguments.threads or [1, 2]:
            other = [sys.executable, __file__, "--child", backbone, side]
            once = times([*other, 3, threads], threads)
            runs = max(3, int(arguments.seconds * 1e3 / min(once)))
            found = ([], [])
            for _ in range(arguments.turns):
                found[0].extend(times([ours, backbone, side, runs], threads))
                found[1].extend(times([*other, runs, threads], threads))
            a, b = map(statistics.median, found)
            print(f"| `{backbone}` | {side} | {threads} | {a / b:.2f} | {a:.1f} | {b:.1f} |")


if __name__ == "__main__":
    main()
