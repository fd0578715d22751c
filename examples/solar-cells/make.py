#!/usr/bin/env python3
"""Take the demo pictures out of the wheel of elpv-dataset 1.0.0.post1.

The selection looks at labels only. Of the monocrystalline cells, in the order of
labels.csv, those with defect probability 0 and those with probability 1 are cut
into equally long stretches, and the middle cell of each stretch is taken:

* 16 good cells, alternately to train/good and test/good
* 8 defective cells, to test/defective

The pictures are copied byte for byte. Needs nothing but Python.
"""

import argparse
import zipfile
from pathlib import Path

DATA = "elpv_dataset/data/"
PER_FOLDER = 8


def evenly_spread(items, count):
    """The middle items of `count` equally long stretches of `items`."""
    return [items[(2 * i + 1) * len(items) // (2 * count)] for i in range(count)]


def select(labels):
    """Map each folder to its pictures, as named in the text of labels.csv."""
    cells = [line.split() for line in labels.splitlines()]

    def mono(wanted):
        return [
            path
            for path, probability, kind in cells
            if kind == "mono" and float(probability) == wanted
        ]

    good = evenly_spread(mono(0.0), 2 * PER_FOLDER)
    return {
        "train/good": good[0::2],
        "test/good": good[1::2],
        "test/defective": evenly_spread(mono(1.0), PER_FOLDER),
    }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wheel", help="elpv_dataset-1.0.0.post1-py3-none-any.whl")
    parser.add_argument(
        "--output",
        type=Path,
        default=Path(__file__).resolve().parent,
        help="folder to write to (default: that of this script)",
    )
    args = parser.parse_args()
    with zipfile.ZipFile(args.wheel) as wheel:
        folders = select(wheel.read(DATA + "labels.csv").decode())
        for folder, pictures in folders.items():
            (args.output / folder).mkdir(parents=True, exist_ok=True)
            for number, picture in enumerate(pictures):
                name = f"{folder}/{number:03}.png"
                (args.output / name).write_bytes(wheel.read(DATA + picture))
                # a line of the table in README.md
                print(f"| `{name}` | `{picture}` |")


if __name__ == "__main__":
    main()
