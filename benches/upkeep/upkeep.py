#!/usr/bin/env python3
"""Runs calibrate, drift and update on real images and prints the tables of docs/results.md.

    python3 -m venv venv && venv/bin/pip install -r requirements.txt
    cargo build --release
    venv/bin/python upkeep.py DATA [--part calibrate|drift|update ...] [--backbone edge] [--size 224]

DATA is a folder with the sets solar_mono and magnetic_tile in MVTec AD layout. Which images are taken
follows from their order by name, and from the seed of `vod fit` for the references. Needs the built
command and, for the changed images of drift, Pillow; minutes on two cores.
"""

import argparse
import io
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from PIL import Image, ImageEnhance, ImageFilter

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHOTS = 4
TRIED = 60
DEFECTIVE = 120
ADDED_GOOD = 8
MISSED = 5
OTHERS = 25
UPDATED = {"solar_mono": ["defective"], "magnetic_tile": ["blowhole", "break", "crack", "fray", "uneven"]}


def jpeg(picture):
    stored = io.BytesIO()
    picture.save(stored, "JPEG", quality=20)
    return Image.open(stored)


CHANGES = {
    "unchanged": lambda p: p,
    "brightness times 0.9": lambda p: ImageEnhance.Brightness(p).enhance(0.9),
    "brightness times 0.7": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "blur, sigma 1": lambda p: p.filter(ImageFilter.GaussianBlur(1)),
    "blur, sigma 2": lambda p: p.filter(ImageFilter.GaussianBlur(2)),
    "turned by 5 degrees": lambda p: p.rotate(5, Image.Resampling.BICUBIC),
    "JPEG of quality 20": jpeg,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--vod", default=str(ROOT / "target/release/vod"))
    parser.add_argument("--part", nargs="+", default=["calibrate", "drift", "update"])
    parser.add_argument("--backbone", default="edge")
    parser.add_argument("--size", default="224")
    parser.add_argument("--seeds", type=int, default=1, help="draws of the references, for update")
    arguments = parser.parse_args()
    parts = {"calibrate": calibrate, "drift": drift, "update": update}
    for part in arguments.part:
        with tempfile.TemporaryDirectory() as folder:
            parts[part](Bench(arguments, pathlib.Path(folder)))


class Bench:
    """The command, and a folder for what it makes."""

    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.folder = folder
        self.data = arguments.data

    def vod(self, *words):
        """The JSON that a command prints."""
        command = [self.arguments.vod, "--quiet", *map(str, words)]
        run = subprocess.run(command, check=True, capture_output=True, text=True)
        return run.stdout

    def fit(self, dataset, seed=0):
        bank = self.folder / f"{dataset}-{seed}.vod"
        source = self.data / dataset / "train/good"
        self.vod("fit", source, "--shots", SHOTS, "--seed", seed, "--out", bank, "--backbone",
                 self.arguments.backbone, "--size", self.arguments.size)
        return bank

    def images(self, dataset, kind):
        return sorted((self.data / dataset / "test" / kind).iterdir())

    def put(self, name, paths):
        """A folder of these images."""
        folder = self.folder / name
        if not folder.is_dir():
            folder.mkdir(parents=True)
            for path in paths:
                shutil.copy(path, folder / path.name)
        return folder

    def verdicts(self, bank, folder):
        lines = self.vod("score", "--bank", bank, folder, "--format", "json").splitlines()
        return {pathlib.Path(v["path"]).name: v for v in map(json.loads, lines)}


def spread(items, count):
    """`count` of the items, evenly over the list."""
    return [items[i * len(items) // count] for i in range(min(count, len(items)))]


def auroc(normal, abnormal):
    """Share of pairs in which the abnormal one scores higher, ties counted half."""
    wins = sum((a > n) + (a == n) / 2 for a in abnormal for n in normal)
    return wins / (len(normal) * len(abnormal))


def share(verdicts):
    flagged = sum(v["anomalous"] for v in verdicts.values())
    return f"{100 * flagged / len(verdicts):.1f} %"


def show(value):
    return f"{value:.3f}".lstrip("0")


def row(cells):
    print("| " + " | ".join(cells) + " |", flush=True)


def head(cells):
    row(cells)
    row(["---"] * len(cells))


def halves(bench, dataset):
    """Good test images to calibrate on, and others to try it on."""
    good = bench.images(dataset, "good")
    return bench.put("used", good[0 : 2 * TRIED : 2]), bench.put("tried", good[1 : 2 * TRIED : 2])


def calibrate(bench):
    print(f"\nsolar_mono, flagged of {TRIED} other good and {DEFECTIVE} defective images\n")
    bank = bench.fit("solar_mono")
    used, tried = halves(bench, "solar_mono")
    bad = bench.put("bad", spread(bench.images("solar_mono", "defective"), DEFECTIVE))
    head(["threshold", "good", "defective"])
    for fpr in [None, "0.02", "0.1"]:
        now = bank
        if fpr:
            now = bench.folder / f"{fpr}.vod"
            bench.vod("calibrate", bank, "--good", used, "--fpr", fpr, "--out", now)
        name = f"`vod calibrate --fpr {fpr}`" if fpr else "of the fit"
        row([name] + [share(bench.verdicts(now, folder)) for folder in [tried, bad]])


def drift(bench):
    print(f"\nsolar_mono, `vod drift` of {TRIED} good images\n")
    fitted = bench.fit("solar_mono")
    used, tried = halves(bench, "solar_mono")
    again = bench.folder / "calibrated.vod"
    bench.vod("calibrate", fitted, "--good", used, "--out", again)
    head(["images", "bank as fitted", "p", "above", "bank calibrated on 60 others", "p", "above"])
    for name, change in CHANGES.items():
        folder = bench.folder / name
        folder.mkdir()
        for path in sorted(tried.iterdir()):
            change(Image.open(path).convert("RGB")).save(folder / f"{path.stem}.png")
        cells = []
        for bank in [fitted, again]:
            found = json.loads(bench.vod("drift", bank, folder, "--json", "-"))
            cells += ["yes" if found["drifted"] else "no", f"{found['p_value']:.2g}"]
            cells += [str(found["above_threshold"])]
        row([name] + cells)


def update(bench):
    seeds = bench.arguments.seeds
    print(f"\nimage AUROC of {OTHERS} other defects of the kind (of the other kinds) against {TRIED} good")
    draws = "one draw" if seeds == 1 else f"mean of {seeds} draws"
    print(f"test images, {draws} of the references; last: share of the discriminant by way\n")
    head(["kind", "before", "`--good`", "`--bad`", "`--bad --masks`", "`--good --bad --masks`", "shares"])
    for dataset, kinds in UPDATED.items():
        runs = [updates(bench, dataset, seed) for seed in range(seeds)]
        for kind in kinds:
            cells = [[run[kind][way] for run in runs if way in run[kind]] for way in WAYS]
            cells = ["-" if not figures else pair(figures) for figures in cells]
            shares = " ".join("/".join(f"{s:g}" for s in run[kind]["shares"]) for run in runs)
            row([f"{dataset}, {kind}"] + cells + [shares])


WAYS = ["before", "good", "bad", "masks", "both"]


def pair(figures):
    """Mean AUROC of the kind, and of the others where there are any."""
    mean = [sum(values) / len(values) for values in zip(*figures)]
    return show(mean[0]) + (f" ({show(mean[1])})" if len(mean) > 1 else "")


def updates(bench, dataset, seed):
    """AUROC by kind and by what was added."""
    bank = bench.fit(dataset, seed)
    name = f"{dataset}-{seed}"
    used = json.loads(bench.vod("inspect", bank, "--json", "-"))["references"]
    train = sorted((bench.data / dataset / "train/good").iterdir())
    good = bench.put(f"{name}/more", spread([p for p in train if p.name not in used], ADDED_GOOD))
    bench.put(f"{name}/tried/good", spread(bench.images(dataset, "good"), TRIED))
    missed = {}
    for kind in UPDATED[dataset]:
        paths = bench.images(dataset, kind)
        verdicts = bench.verdicts(bank, bench.put(f"{name}/all/{kind}", paths))
        paths.sort(key=lambda p: verdicts[p.name]["image_score"])
        missed[kind] = bench.put(f"{name}/missed/{kind}", paths[:MISSED])
        bench.put(f"{name}/tried/{kind}", spread(sorted(paths[MISSED:]), OTHERS))

    def tried(bank):
        """Image scores by kind."""
        lines = bench.vod("score", "--bank", bank, bench.folder / name / "tried", "--format", "json")
        scores = {}
        for verdict in map(json.loads, lines.splitlines()):
            kind = pathlib.Path(verdict["path"]).parent.name
            scores.setdefault(kind, []).append(verdict["image_score"])
        return scores

    def added(way, words):
        new = bench.folder / f"{name}-{way}.vod"
        summary = json.loads(bench.vod("update", bank, *words, "--out", new, "--json", "-"))
        return tried(new), summary["discriminant_share_after"]

    before = tried(bank)
    with_good, _ = added("good", ["--good", good])
    found = {}
    for kind, folder in missed.items():
        masks = bench.data / dataset / "ground_truth" / kind
        masks = ["--masks", masks] if masks.is_dir() else []
        scores = {"before": before, "good": with_good}
        ways = {"bad": ["--bad", folder], "both": ["--good", good, "--bad", folder, *masks]}
        if masks:
            ways["masks"] = ["--bad", folder, *masks]
        shares = {}
        for way, words in ways.items():
            scores[way], shares[way] = added(f"{kind}-{way}", words)
        found[kind] = {way: aurocs(scores[way], kind) for way in scores}
        found[kind]["shares"] = [shares[way] for way in WAYS if way in shares]
    return found


def aurocs(scores, kind):
    """Of this kind, and of all others where there are any."""
    others = [score for k, values in scores.items() if k not in (kind, "good") for score in values]
    figures = [auroc(scores["good"], scores[kind])]
    return figures + ([auroc(scores["good"], others)] if others else [])


if __name__ == "__main__":
    sys.exit(main())
