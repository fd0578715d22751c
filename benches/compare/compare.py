#!/usr/bin/env python3
"""This project beside PatchCore: the same images, references and backbone, on the CPU.

PatchCore (Roth et al., CVPR 2022) is written here as published, on the same ONNX backbone with
onnxruntime and numpy, so that neither torch nor a download of weights is needed: 3x3 mean of each
layer, layers resized to the finest grid and concatenated, greedy coreset of 10 % (on a random
projection to 128 dimensions), distance to the nearest row, image score re-weighted by the 9 nearest
rows of the bank. Both see the image with the same shorter side.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    cargo build --release
    venv/bin/python compare.py DATASET... [--shots 4] [--limit 40] [--threads 1]

`--against anomalib` takes anomalib's own PatchCore instead, for which requirements-anomalib.txt installs
6 GB, torch and the CUDA libraries that it brings included.

A data set is a folder in MVTec AD layout. Figures go to stdout as a Markdown table.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AGAINST = {
    "published": "PatchCore",
    "anomalib": "anomalib's PatchCore",
    "anomalib-default": "anomalib's PatchCore, wide_resnet50_2",
}
IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp"}


def images(folder):
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES)


def spread(paths, count):
    """`count` of the paths, evenly over the list."""
    if count is None or len(paths) <= count:
        return paths
    return [paths[i * len(paths) // count] for i in range(count)]


def subset(source, target, limit):
    """The data set with at most `limit` good and `limit` defective test images, as links."""
    kinds = sorted(p for p in (source / "test").iterdir() if p.is_dir())
    defects = [p for kind in kinds if kind.name != "good" for p in images(kind)]
    chosen = spread(defects, limit)
    if (source / "test/good").is_dir():
        chosen = chosen + spread(images(source / "test/good"), limit)
    for path in images(source / "train/good") + chosen:
        link = target / path.relative_to(source)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(path.resolve())
    if (source / "ground_truth").is_dir():
        (target / "ground_truth").symlink_to((source / "ground_truth").resolve())


def measured(command, threads):
    """Runs a command; gives its stdout, seconds, CPU seconds and peak memory in bytes."""
    environment = dict(os.environ)
    for name in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment[name] = str(threads)
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen([str(c) for c in command], stdout=out, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.perf_counter() - start
        if process.returncode:
            raise SystemExit(f"{command[0]} failed with status {process.returncode}")
        out.seek(0)
        cpu = usage.ru_utime + usage.ru_stime
        return out.read(), seconds, cpu, usage.ru_maxrss * 1024


# ---- this project ----------------------------------------------------------------------------


def run_vod(vod, data, arguments):
    """Figures of `vod fit` and `vod score`; the accuracies are those of `vod eval`."""
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        bank = folder / "part.vod"
        shots = arguments.shots or len(images(data / "train/good"))
        recipe = ["--backbone", arguments.backbone, "--shots", shots]
        fit = [vod, "--quiet", "fit", data / "train/good", "--out", bank, *recipe]
        _, _, fit_cpu, fit_memory = measured([*fit, "--seed", 0], arguments.threads)
        score = [vod, "--quiet", "score", "--bank", bank, data / "test", "--format", "json"]
        lines, seconds, cpu, memory = measured(score, arguments.threads)
        first = next((data / "test").rglob("*.*"))
        one = [*score[:5], first, "--format", "json"]
        _, start, start_cpu, _ = measured(one, arguments.threads)
        count = len(lines.splitlines())
        result = folder / "eval.json"
        evaluate = [vod, "--quiet", "eval", data, *recipe, "--seeds", 1, "--json", result]
        measured(evaluate, arguments.threads)
        run = json.loads(result.read_text())["datasets"][0]["runs"][0]
        return {
            "references": run["references"],
            "images_per_second": (count - 1) / max(seconds - start, 1e-9),
            "cpu_seconds_per_image": (cpu - start_cpu) / (count - 1),
            "memory": max(memory, fit_memory),
            "bank": bank.stat().st_size,
            "fit_cpu_seconds": fit_cpu,
            "image_auroc": run["image_auroc"],
            "pixel_auroc": run["pixel_auroc"],
        }


# ---- PatchCore -------------------------------------------------------------------------------


class PatchCore:
    """PatchCore on the outputs of an ONNX backbone; `manifest` is as in `models/*.toml`."""

    def __init__(self, manifest, threads):
        import onnxruntime

        self.spec = tomllib.loads(manifest.read_text())
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        model = str(manifest.parent / self.spec["file"])
        self.session = onnxruntime.InferenceSession(model, options)

    def input(self, path):
        import numpy
        from PIL import Image, ImageOps

        image = ImageOps.exif_transpose(Image.open(path))
        if image.mode.startswith("I"):
            image = Image.fromarray((numpy.asarray(image, "f4") / 257).astype("u1"))
        image = image.convert("RGB")
        spec = self.spec["input"]
        side, multiple = spec["default_size"], spec["multiple"]
        scale = side / min(image.size)
        size = [max(side, round(s * scale / multiple) * multiple) for s in image.size]
        pixels = numpy.asarray(image.resize(size, Image.Resampling.BILINEAR), "f4")
        pixels = (pixels - numpy.float32(spec["mean"])) / numpy.float32(spec["std"])
        return numpy.ascontiguousarray(pixels.transpose(2, 0, 1)[None]), image.size

    def features(self, path):
        """`[h, w, channels]` and the image's (width, height)."""
        import numpy

        pixels, size = self.input(path)
        names = self.spec["features"]["outputs"]
        maps = self.session.run(names, {self.spec["input"]["name"]: pixels})
        maps = [pool3(m[0]) for m in maps]
        height, width = max(m.shape[1:] for m in maps)
        return numpy.concatenate([resize(m, height, width) for m in maps]).transpose(1, 2, 0), size

    def fit(self, paths):
        import numpy

        rows = numpy.concatenate([self.features(p)[0].reshape(-1, self.channels()) for p in paths])
        self.bank = rows[coreset(rows, max(1, len(rows) // 10))]
        self.norms = (self.bank**2).sum(1)

    def channels(self):
        named = {o["name"]: o["channels"] for o in self.spec["outputs"]}
        return sum(named[name] for name in self.spec["features"]["outputs"])

    def distances(self, rows):
        import numpy

        square = (rows**2).sum(1)[:, None] - 2 * rows @ self.bank.T + self.norms
        return numpy.sqrt(numpy.maximum(square, 0))

    def score(self, path):
        """Image score and the anomaly map at the grid."""
        import numpy

        features, size = self.features(path)
        distances = self.distances(features.reshape(-1, features.shape[2]))
        nearest = distances.min(1)
        worst = nearest.argmax()
        row = distances[worst].argmin()
        near = self.distances(self.bank[row : row + 1])[0].argsort()[:9]
        exponent = distances[worst][near]
        weight = 1 - numpy.exp(nearest[worst] - exponent.max()) / numpy.exp(
            exponent - exponent.max()
        ).sum()
        return weight * nearest[worst], nearest.reshape(features.shape[:2]), size


def pool3(maps):
    """Mean over 3x3 neighbours, over those inside the map at its edges."""
    import numpy

    padded = numpy.pad(maps, ((0, 0), (1, 1), (1, 1)))
    inside = numpy.pad(numpy.ones(maps.shape[1:], "f4"), 1)
    height, width = maps.shape[1:]
    places = [(y, x) for y in range(3) for x in range(3)]
    total = sum(padded[:, y : y + height, x : x + width] for y, x in places)
    return total / sum(inside[y : y + height, x : x + width] for y, x in places)


def resize(maps, height, width):
    """Bilinear with half-pixel centres, `[channels, h, w]`."""
    import numpy

    def along(maps, axis, length):
        old = maps.shape[axis]
        centre = ((numpy.arange(length) + 0.5) * old / length - 0.5).clip(0, old - 1)
        low = centre.astype(int)
        share = (centre - low).astype("f4")
        share = share[:, None] if axis == 1 else share
        high = numpy.minimum(low + 1, old - 1)
        return maps.take(low, axis) * (1 - share) + maps.take(high, axis) * share

    if maps.shape[1:] == (height, width):
        return maps
    return along(along(maps, 1, height), 2, width)


def coreset(rows, count):
    """Greedy k-centre on a random projection to 128 dimensions, as PatchCore does it."""
    import numpy

    random = numpy.random.default_rng(0)
    projection = random.standard_normal((rows.shape[1], min(128, rows.shape[1])), "f4")
    rows = rows @ projection
    norms = (rows**2).sum(1)
    chosen = [0]
    distance = numpy.full(len(rows), numpy.inf, "f4")
    while len(chosen) < count:
        centre = chosen[-1]
        numpy.minimum(distance, norms - 2 * (rows @ rows[centre]) + norms[centre], out=distance)
        distance[centre] = 0
        chosen.append(int(distance.argmax()))
    return chosen


def auroc(scores, labels):
    """Area under the ROC curve, ties count half."""
    import numpy

    scores, labels = numpy.asarray(scores), numpy.asarray(labels, bool)
    positive, negative = labels.sum(), (~labels).sum()
    if not positive or not negative:
        return None
    _, place, counts = numpy.unique(scores, return_inverse=True, return_counts=True)
    rank = counts.cumsum() - (counts - 1) / 2
    return float((rank[place][labels].sum() - positive * (positive + 1) / 2) / positive / negative)


def opponent(against, manifest, threads):
    """What this project is compared with."""
    published = PatchCore(manifest, threads)
    if against == "published":
        return published
    from anomalib_patchcore import AnomalibPatchCore

    model = str(manifest.parent / published.spec["file"])
    return AnomalibPatchCore(published, model, against == "anomalib-default", threads)


def patchcore(data, manifest, references, against, threads):
    """Child process: fits and scores, prints its figures as JSON."""
    import numpy
    from PIL import Image

    start = time.process_time()
    model = opponent(against, manifest, threads)
    model.fit([data / "train/good" / name for name in references])
    fit_cpu = time.process_time() - start
    paths = [p for kind in sorted((data / "test").iterdir()) for p in images(kind)]
    model.score(paths[0])
    start, cpu = time.perf_counter(), time.process_time()
    scored = [model.score(p) for p in paths]
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    # What follows is about the figures, not about PatchCore.
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    bad = [p.parent.name != "good" for p in paths]
    values, truth = [], []
    for path, (_, grid, (width, height)) in zip(paths, scored):
        mask = data / "ground_truth" / path.parent.name / f"{path.stem}_mask.png"
        if not mask.is_file() and path.parent.name != "good":
            continue
        values.append(resize(grid[None].astype("f4"), height, width).ravel())
        pixels = numpy.zeros((height, width), bool)
        if mask.is_file():
            pixels = numpy.asarray(Image.open(mask).convert("L").resize((width, height))) > 127
        truth.append(pixels.ravel())
    masks = any(t.any() for t in truth)
    pixel = auroc(numpy.concatenate(values), numpy.concatenate(truth)) if masks else None
    accurate = against != "anomalib-default"
    figures = {
        "images_per_second": len(paths) / seconds,
        "cpu_seconds_per_image": cpu / len(paths),
        "memory": memory,
        "bank": model.bank.nbytes,
        "fit_cpu_seconds": fit_cpu,
        "image_auroc": auroc([s for s, _, _ in scored], bad) if accurate else None,
        "pixel_auroc": pixel if accurate else None,
    }
    print(json.dumps(figures))


# ---- table -----------------------------------------------------------------------------------


def ratio(a, b):
    return "-" if not b else f"{a / b:.1f}"


def number(value):
    return "-" if value is None else f"{value:.3f}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--backbone", default="edge", help="edge or vit")
    parser.add_argument("--shots", type=int, default=4, help="references; 0 for all")
    parser.add_argument("--limit", type=int, help="good and defective test images, each")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--vod", type=Path, help="the command; default: the release build")
    parser.add_argument("--against", choices=AGAINST, default="published",
                        help="PatchCore as published, or anomalib's (see anomalib_patchcore.py)")
    parser.add_argument("--references", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    manifest = ROOT / "models" / f"{arguments.backbone}.toml"
    if arguments.references:
        names = json.loads(arguments.references)
        against = arguments.against
        return patchcore(arguments.datasets[0], manifest, names, against, arguments.threads)
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    vod = arguments.vod or target / "release/vod"
    print(f"{arguments.backbone}, {arguments.shots or 'all'} references, {arguments.threads} threads\n")
    print(f"| data set | | ratio | VOD | {AGAINST[arguments.against]} |")
    print("| --- | --- | --- | --- | --- |")
    for dataset in arguments.datasets:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / dataset.name
            data.mkdir()
            subset(dataset, data, arguments.limit)
            ours = run_vod(vod, data, arguments)
            child = [sys.executable, __file__, data, "--backbone", arguments.backbone]
            child += ["--threads", arguments.threads, "--against", arguments.against]
            child += ["--references", json.dumps(ours["references"])]
            other = json.loads(measured(child, arguments.threads)[0])
        pair = lambda key, unit: (f"{ours[key] / unit:.1f}", f"{other[key] / unit:.1f}")
        rows = [
            ("images a second", "images_per_second", 1, False),
            ("CPU time an image, ms", "cpu_seconds_per_image", 1e-3, True),
            ("peak memory, MB", "memory", 1e6, True),
            ("bank, KB", "bank", 1e3, True),
            ("CPU time of the fit, s", "fit_cpu_seconds", 1, True),
        ]
        for name, key, unit, less in rows:
            a, b = (other, ours) if less else (ours, other)
            print(f"| {dataset.name} | {name} | {ratio(a[key], b[key])} |", end="")
            print(" {} | {} |".format(*pair(key, unit)))
        for name, key in (("image AUROC", "image_auroc"), ("pixel AUROC", "pixel_auroc")):
            print(f"| {dataset.name} | {name} | | {number(ours[key])} | {number(other[key])} |")


if __name__ == "__main__":
    main()
