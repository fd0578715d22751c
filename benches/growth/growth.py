#!/usr/bin/env python3
"""How cost grows with references, bank rows, the patch grid and threads.

Runs `vod fit` and `vod score` on shifted and re-lit copies of the sample images, one quantity
changed at a time, and measures CPU time and peak memory of each process. Prints Markdown tables and
writes a plot, both axes logarithmic.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    cargo build --release
    venv/bin/python growth.py [--quick] [--plot growth.svg]
"""

import argparse
import math
import os
import subprocess
import tempfile
import time
from pathlib import Path

import numpy
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = ROOT / "examples/solar-cells/train/good"
# Bytes a bank row takes with `edge`.
DIMENSION = 232
# Images that are scored for one figure.
SCORED = 8


def pictures(folder, count, side):
    """Distinct images like the samples, `side` pixels square."""
    folder.mkdir(parents=True)
    sources = sorted(SAMPLES.iterdir())
    random = numpy.random.default_rng(0)
    for n in range(count):
        with Image.open(sources[n % len(sources)]) as image:
            pixels = numpy.asarray(image.convert("L").resize((side, side)), "f4")
        pixels = numpy.roll(pixels, random.integers(-8, 9, 2), (0, 1))
        pixels = pixels * random.uniform(0.9, 1.1) + random.normal(0, 2, pixels.shape)
        Image.fromarray(pixels.clip(0, 255).astype("u1")).save(folder / f"{n:04}.png")


def measured(command, threads=1):
    """Wall seconds, CPU seconds and peak MB of a command."""
    environment = dict(os.environ, RAYON_NUM_THREADS=str(threads))
    start = time.perf_counter()
    process = subprocess.Popen(
        [str(c) for c in command], env=environment, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode not in (0, 3):
        raise SystemExit(f"{command[0]} failed with status {process.returncode}")
    return seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


class Bench:
    def __init__(self, vod, folder):
        self.vod = vod
        self.folder = folder
        self.scored = folder / "scored"
        pictures(self.scored, SCORED, 1024)

    def fit(self, references, size, rows):
        """A bank, with the CPU seconds and peak MB of its fit."""
        images = self.folder / f"references-{references}"
        if not images.exists():
            pictures(images, references, 512)
        bank = self.folder / "bank.vod"
        command = [self.vod, "--quiet", "fit", images, "--out", bank, "--force"]
        command += ["--backbone", "edge", "--size", size, "--bank-bytes", rows * DIMENSION]
        _, cpu, memory = measured(command)
        return bank, cpu, memory

    def score(self, bank, threads=1):
        """Wall and CPU ms an image, start left out, and the peak MB."""
        command = [self.vod, "--quiet", "score", "--bank", bank]
        images = sorted(self.scored.iterdir())
        start = measured([*command, images[0]], threads)
        all_images = measured([*command, *images], threads)
        wall, cpu = ((all_images[i] - start[i]) / (SCORED - 1) * 1000 for i in (0, 1))
        return wall, cpu, all_images[2]


def table(heads, rows):
    print("| " + " | ".join(heads) + " |")
    print("|" + " --- |" * len(heads))
    for row in rows:
        cells = (f"{v:.1f}" if isinstance(v, float) else str(v) for v in row)
        print("| " + " | ".join(cells) + " |")
    print()


def panel(title, points, unit, left):
    """One log-log plot as SVG; points are (x, y)."""
    width, height = 260, 200
    xs, ys = zip(*[(math.log10(x), math.log10(max(y, 1e-3))) for x, y in points])
    low, high = math.floor(min(ys)), math.floor(max(ys)) + 1
    span = max(xs) - min(xs) or 1
    place = lambda x, y: (
        left + 40 + (x - min(xs)) / span * width,
        30 + (high - y) / (high - low) * height,
    )
    out = [f'<text x="{left + 40}" y="18">{title} ({unit})</text>']
    for decade in range(low, high + 1):
        y = place(min(xs), decade)[1]
        out.append(f'<path d="M{left + 40} {y:.1f}h{width}" stroke="#ddd"/>')
        out.append(f'<text x="{left + 36}" y="{y + 4:.1f}" text-anchor="end">{10**decade:g}</text>')
    for (x, _), log in zip(points, xs):
        at = place(log, low)[0]
        out.append(f'<text x="{at:.1f}" y="{height + 46}" text-anchor="middle">{x}</text>')
    line = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(xs, ys))
    out.append(f'<polyline points="{line}" fill="none" stroke="#06c" stroke-width="2"/>')
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="every second number of rows, at most 100 references")
    parser.add_argument("--plot", type=Path, default=Path("growth.svg"))
    parser.add_argument("--vod", type=Path, help="the command; default: the release build")
    arguments = parser.parse_args()
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    vod = arguments.vod or target / "release/vod"
    references = [1, 10, 100] if arguments.quick else [1, 4, 16, 64, 250, 1000]
    plots = []
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(vod, Path(folder))
        rows = []
        for count in references:
            _, cpu, memory = bench.fit(count, 320, 4096)
            rows.append((count, cpu, memory))
        print("Fit, 320 pixels, 4096 rows:\n")
        table(["references", "CPU s", "peak MB"], rows)
        plots.append(("fit, CPU s", [r[:2] for r in rows], "references"))

        rows = []
        for count in [256, 1024, 4096, 16384] if arguments.quick else [256, 512, 1024, 2048, 4096, 8192, 16384]:
            bank, fit, _ = bench.fit(16, 320, count)
            rows.append((count, fit, *bench.score(bank)[1:]))
        print("Bank rows, 16 references, 320 pixels:\n")
        table(["rows", "fit, CPU s", "score, CPU ms an image", "peak MB"], rows)
        plots.append(("score, CPU ms", [(r[0], r[2]) for r in rows], "bank rows"))

        rows = []
        for grid in [16, 32, 64, 128]:
            bank, fit, memory = bench.fit(4, grid * 8, 4096)
            rows.append((grid, fit, memory, *bench.score(bank)[1:]))
        print("Patch grid, 4 references, 4096 rows:\n")
        table(["side", "fit, CPU s", "fit, peak MB", "score, CPU ms an image", "peak MB"], rows)
        plots.append(("score, CPU ms", [(r[0], r[3]) for r in rows], "grid side"))

        bank, _, _ = bench.fit(4, 320, 4096)
        rows = []
        for threads in (1, 2):
            wall, cpu, memory = bench.score(bank, threads)
            rows.append((threads, 1000 / wall, cpu, memory))
        print("Threads, 4 references, 320 pixels, 4096 rows:\n")
        table(["threads", "images a second", "CPU ms an image", "peak MB"], rows)
    drawn = [line for n, plot in enumerate(plots) for line in panel(*plot, n * 320)]
    arguments.plot.write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{320 * len(plots)}" height="260" '
        'font-family="sans-serif" font-size="12"><rect width="100%" height="100%" fill="#fff"/>\n'
        + "\n".join(drawn)
        + "\n</svg>\n"
    )


if __name__ == "__main__":
    main()
