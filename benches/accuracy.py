#!/usr/bin/env python3
"""Runs `vod eval` over a folder of data sets and prints the tables of docs/results.md.

usage: accuracy.py DATA [--vod target/release/vod] [--out accuracy] [--cache DIR]
                   [--part methods|ablation|calibration|paired ...] [--backbones edge,vit]

Each evaluation's JSON is kept in --out, and one that is there already is not run again, so that an
interrupted run goes on. Needs nothing but Python and the built command; hours on two cores.
"""

import argparse
import json
import pathlib
import subprocess
import sys

SETS = ["bottle", "commutator", "magnetic_tile", "solar_mono", "solar_poly", "brain_mri"]
METHODS = {"vod": [], "distance": ["--method", "distance"], "patchcore": ["--method", "patchcore"]}
# What one part of the method brings, each against the recipe as it stands.
ABLATION = {
    "recipe": [],
    "distance": ["--method", "distance"],
    "values, signed": ["--values", "signed", "--blends", "1"],
    "values, magnitude": ["--values", "magnitude", "--blends", "1"],
    "blend, magnitude": ["--values", "magnitude"],
    "blend, whitened": ["--whitening", "1"],
    "no mirrored references": ["--mirror", "false"],
    "score of the smoothed map": ["--smoothed"],
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("--vod", default="target/release/vod")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("accuracy"))
    parser.add_argument("--cache", help="folder for features, some GB")
    parser.add_argument("--part", nargs="+", default=["methods", "ablation", "calibration", "paired"])
    parser.add_argument("--backbones", default="edge,vit")
    parser.add_argument("--seeds", default="3")
    parser.add_argument("--shots", default="1,2,4", help="of the methods' tables")
    parser.add_argument("--sets", default=",".join(SETS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    parts = {"methods": methods, "ablation": ablation, "calibration": calibration, "paired": paired}
    for part in arguments.part:
        parts[part](arguments)


def evaluate(arguments, name, backbone, dataset, flags):
    """The JSON of one evaluation of one data set."""
    target = arguments.out / f"{backbone}-{name.replace(' ', '_').replace(',', '')}-{dataset}.json"
    if not target.is_file():
        command = [arguments.vod, "--quiet", "eval", str(arguments.data / dataset)]
        command += ["--backbone", backbone, "--seeds", arguments.seeds, "--json", str(target)]
        command += ["--feature-cache", arguments.cache] if arguments.cache else []
        subprocess.run(command + flags, check=True, stdout=subprocess.DEVNULL)
    return json.loads(target.read_text())


def sets(arguments):
    return arguments.sets.split(",")


def mean(values):
    values = [value for value in values if value is not None]
    return sum(values) / len(values) if values else None


def show(value):
    return "-" if value is None else f"{value:.3f}".lstrip("0")


def row(cells):
    print("| " + " | ".join(cells) + " |")


def head(cells):
    row(cells)
    row(["---"] * len(cells))


def figures(arguments, name, backbone, flags, shots, figure):
    """One figure a data set, mean over seeds, and the mean over the sets that can give it."""
    found = []
    for dataset in sets(arguments):
        result = evaluate(arguments, name, backbone, dataset, flags)
        found.append(result["datasets"][0]["mean"][shots][figure])
    return found + [mean(found)]


def methods(arguments):
    for backbone in arguments.backbones.split(","):
        for figure in ["image_auroc", "pixel_auroc", "pixel_aupro"]:
            print(f"\n`{backbone}`, {figure}\n")
            head(["shots", "method"] + sets(arguments) + ["mean"])
            for shots in arguments.shots.split(","):
                for method, flags in METHODS.items():
                    name, flags = f"{shots} {method}", flags + ["--shots", shots]
                    cells = figures(arguments, name, backbone, flags, shots, figure)
                    row([shots, method] + [show(cell) for cell in cells])


def ablation(arguments):
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, 4 shots, image AUROC; last column: mean pixel AUROC\n")
        head(["scored"] + sets(arguments) + ["mean", "pixels"])
        for name, flags in ABLATION.items():
            label, flags = f"4 {'vod' if name == 'recipe' else name}", flags + ["--shots", "4"]
            images = figures(arguments, label, backbone, flags, "4", "image_auroc")
            pixels = figures(arguments, label, backbone, flags, "4", "pixel_auroc")
            row([name] + [show(cell) for cell in images + pixels[-1:]])


def calibration(arguments):
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, share of good test images flagged at --fpr 0.01\n")
        head(["references"] + sets(arguments) + ["mean"])
        flags = ["--shots", "4"]
        cells = figures(arguments, "4 vod", backbone, flags, "4", "false_positive_rate")
        row(["4"] + [show(cell) for cell in cells])
        many = []
        for dataset in sets(arguments):
            count = str(min(32, references(arguments.data / dataset)))
            flags = ["--shots", count, "--seeds", "1"]
            result = evaluate(arguments, "32", backbone, dataset, flags)
            many.append(result["datasets"][0]["mean"][count]["false_positive_rate"])
        row(["32 (all where fewer)"] + [show(cell) for cell in many + [mean(many)]])


def references(dataset):
    return sum(path.is_file() for path in (dataset / "train" / "good").iterdir())


def paired(arguments):
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, pcb_pairs, each image against its own template\n")
        head(["method", "pixel AUROC", "pixel AP", "pixel AUPRO"])
        for name, flags in {"vod": [], "distance": METHODS["distance"]}.items():
            flags = flags + ["--paired", "--aligned", "--seeds", "1"]
            result = evaluate(arguments, f"paired {name}", backbone, "pcb_pairs", flags)
            found = result["datasets"][0]["mean"]["1"]
            row([name] + [show(found[key]) for key in ["pixel_auroc", "pixel_ap", "pixel_aupro"]])


if __name__ == "__main__":
    sys.exit(main())
