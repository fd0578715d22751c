#!/usr/bin/env python3
"""Runs `vod eval` over a folder of data sets and prints the tables of docs/results.md.

usage: accuracy.py DATA [--vod target/release/vod] [--out accuracy] [--cache DIR]
                   [--part methods|ablation|calibration|spread|paired|generalist ...] [--backbones edge,vit]

Each evaluation's JSON is kept in --out, and one that is there already is not run again, so that an
interrupted run goes on. Needs nothing but Python and the built command; hours on two cores.
"""

import argparse
import json
import math
import pathlib
import re
import statistics
import subprocess
import sys

SETS = ["bottle", "commutator", "magnetic_tile", "solar_mono", "solar_poly", "brain_mri"]
MODELS = pathlib.Path(__file__).resolve().parent.parent / "models"
METHODS = {"vod": [], "distance": ["--method", "distance"], "patchcore": ["--method", "patchcore"]}
# What one part of the method brings, each against the recipe as it stands.
ABLATION = {
    "recipe": [],
    "distance": ["--method", "distance"],
    "distance, with the recipe's image score": ["--blends", "0"],
    "no margin": ["--margin", "0"],
    "map as it is": ["--background", "0"],
    "one level": ["--levels", "1"],
    "two levels": ["--levels", "2"],
    "three levels": ["--levels", "3"],
    "raw residual, order kept": ["--method", "raw"],
    "values, signed": ["--values", "signed", "--blends", "1"],
    "values, magnitude": ["--values", "magnitude", "--blends", "1"],
    "blend, magnitude": ["--values", "magnitude"],
    "blend, whitened": ["--whitening", "1"],
    "no mirrored references": ["--mirror", "false"],
    "image score: highest patch": ["--image-score", "raw", "--top-share", "0"],
    "image score: top patches": ["--image-score", "raw"],
    "image score: smoothed map": ["--image-score", "smoothed"],
}

# Sets that a generalist is trained on beside those that it is evaluated on, and sets of one domain.
SOURCES = ["pcb_pairs"]
DOMAINS = ["solar_mono,solar_poly"]
OWN_ONLY = ["--blends", "0", "--generalist", "1"]
# Scorers from the set itself, and scorers that were trained on all other domains.
SPECIALISTS = {"distance": METHODS["distance"], "specialist": [], "raw, specialist": ["--method", "raw"]}
GENERALISTS = {
    "raw, generalist": ["--method", "raw"],
    "generalist": OWN_ONLY,
    "both blended": [],
    "generalist, pasted only": OWN_ONLY + ["--anomalies", "synthetic"],
    "generalist, values as they are": OWN_ONLY + ["--scale", "feature"],
    "generalist, values by rank": OWN_ONLY + ["--scale", "rank"],
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
    parts = {"methods": methods, "ablation": ablation, "calibration": calibration, "paired": paired,
             "generalist": generalist, "spread": spread}
    for part in arguments.part:
        parts[part](arguments)


def evaluate(arguments, name, backbone, dataset, flags):
    """One evaluation of one data set."""
    return run(arguments, f"{backbone}-{name}-{dataset}", backbone, [dataset], flags)["datasets"][0]


def run(arguments, name, backbone, datasets, flags):
    """The JSON of one run of `vod eval`."""
    target = arguments.out / f"{name.replace(' ', '_').replace(',', '')}.json"
    if not target.is_file():
        command = [arguments.vod, "--quiet", "eval"] + [str(arguments.data / d) for d in datasets]
        command += ["--backbone", str(backbone), "--json", str(target)]
        command += [] if "--seeds" in flags else ["--seeds", arguments.seeds]
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
        found.append(result["mean"][shots][figure])
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
        for layer, manifest in layers(arguments, backbone).items():
            cells = []
            for figure in ["image_auroc", "pixel_auroc"]:
                found = []
                for dataset in sets(arguments):
                    name = f"{backbone}-4 layer {layer}-{dataset}"
                    result = run(arguments, name, manifest, [dataset], ["--shots", "4"])
                    found.append(result["datasets"][0]["mean"]["4"][figure])
                cells += found + [mean(found)] if figure == "image_auroc" else [mean(found)]
            row([f"layer {layer} alone"] + [show(cell) for cell in cells])


def layers(arguments, backbone):
    """A manifest for each output of a backbone alone."""
    manifest = MODELS / f"{backbone}.toml"
    text = manifest.read_text()
    file = re.search(r'^file = "(.*)"', text, re.MULTILINE).group(1)
    text = text.replace(f'"{file}"', f'"{(MODELS / file).resolve()}"')
    found = {}
    for layer in re.findall(r'^name = "(.*)"', text.split("[[outputs]]", 1)[1], re.MULTILINE):
        found[layer] = arguments.out / f"{backbone}-{layer}.toml"
        only = re.sub(r"^outputs = .*", f'outputs = ["{layer}"]', text, flags=re.MULTILINE)
        found[layer].write_text(only)
    return found


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
            many.append(result["mean"][count]["false_positive_rate"])
        row(["32 (all where fewer)"] + [show(cell) for cell in many + [mean(many)]])


def spread(arguments):
    """What the constants of `vod-host/src/fit/calibrate.rs` are about; looks at train/good alone."""
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, logarithms of the image scores of the references that a bank has not seen, two banks each\n")
        head(["figure", "references"] + sets(arguments) + ["mean", "root mean square"])
        found = {}
        for dataset in sets(arguments):
            for shots in [1, 4]:
                spreads, above = zip(*(others(arguments, dataset, backbone, shots, seed) for seed in [0, 1]))
                found.setdefault(("standard deviation", shots), []).append(mean(spreads))
                found.setdefault(("median above the bank's own scores", shots), []).append(mean(above))
        for (figure, shots), values in found.items():
            square = mean([value * value for value in values]) ** 0.5
            row([figure, str(shots)] + [f"{value:.2f}" for value in values + [mean(values), square]])


def others(arguments, dataset, backbone, shots, seed):
    """How much the other references' scores vary, and how far they lie above those of the bank's
    left-out references or copies."""
    good = arguments.data / dataset / "train" / "good"
    bank = arguments.out / f"{backbone}-{dataset}-{shots}-{seed}.vod"
    fit = ["fit", good.parent.parent, "--backbone", backbone, "--shots", shots, "--seed", seed]
    vod(arguments, fit + ["--out", bank, "--force"])
    inspected = json.loads(vod(arguments, ["inspect", bank, "--json", "-"]))
    paths = [path for path in sorted(good.iterdir()) if path.name not in inspected["references"]]
    verdicts = vod(arguments, ["score", "--bank", bank, "--format", "json"] + paths).splitlines()
    scores = [math.log(json.loads(verdict)["raw_score"]) for verdict in verdicts]
    own = math.log(mean(inspected["calibration"]["scores"]))
    return statistics.stdev(scores), statistics.median(scores) - own


def vod(arguments, words):
    """What the command prints."""
    command = [arguments.vod, "--quiet"] + [str(word) for word in words]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout


def references(dataset):
    return sum(path.is_file() for path in (dataset / "train" / "good").iterdir())


def paired(arguments):
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, pcb_pairs, each image against its own template\n")
        head(["method", "pixel AUROC", "pixel AP", "pixel AUPRO"])
        for name, flags in {"vod": [], "distance": METHODS["distance"]}.items():
            flags = flags + ["--paired", "--aligned", "--seeds", "1"]
            result = evaluate(arguments, f"paired {name}", backbone, "pcb_pairs", flags)
            found = result["mean"]["1"]
            row([name] + [show(found[key]) for key in ["pixel_auroc", "pixel_ap", "pixel_aupro"]])


def generalist(arguments):
    for backbone in arguments.backbones.split(","):
        print(f"\n`{backbone}`, each set by a scorer that saw no set of its domain, image AUROC\n")
        head(["shots", "scored by"] + sets(arguments) + ["mean"])
        found = {}
        for name, flags in SPECIALISTS.items():
            flags = flags + ["--shots", arguments.shots]
            label = f"all {name}"
            found[name] = [evaluate(arguments, label, backbone, d, flags) for d in sets(arguments)]
        for name, flags in GENERALISTS.items():
            flags = flags + ["--leave-one-out", "--shots", arguments.shots]
            flags += [word for domain in DOMAINS for word in ["--domain", domain]]
            datasets = sets(arguments) + SOURCES
            result = run(arguments, f"{backbone}-left_out {name}", backbone, datasets, flags)
            found[name] = result["datasets"][: len(sets(arguments))]
        for shots in arguments.shots.split(","):
            for name, results in found.items():
                cells = [result["mean"][shots]["image_auroc"] for result in results]
                row([shots, name] + [show(cell) for cell in cells + [mean(cells)]])


if __name__ == "__main__":
    sys.exit(main())
