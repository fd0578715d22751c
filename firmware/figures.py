#!/usr/bin/env python3
"""Figures of the firmware in QEMU: sizes by section, device against host bit for bit, instructions.

usage: figures.py [--vod PATH] [--count N] [--size N] [--levels N] [--pixels] DATASET...

Builds the three boards, fits a 4-shot bank of at most 64 KB for each data set (MVTec layout), has
each board score the first N images of each test folder under `-icount`, the first few of them twice, and
prints Markdown. With --pixels the boards run the network of `edge-int8` too, and are sent pixels.
Needs qemu-system-arm, arm-none-eabi-size and -nm, the targets (firmware/README.md) and a built `vod`.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FIRMWARE = Path(__file__).resolve().parent
# Name, target, memory that stands in for flash, frequency that milliseconds are estimated for.
BOARDS = [
    ("mps2-an386", "thumbv7em-none-eabihf", "16M", "Cortex-M4", 168),
    ("mps2-an500", "thumbv7em-none-eabihf", "16M", "Cortex-M7", 480),
    ("mps3-an547", "thumbv8m.main-none-eabihf", "2G", "Cortex-M55", 400),
]
ICOUNT_SHIFT = 6
INSTRUCTION_NS = 1 << ICOUNT_SHIFT
SHOTS = 4
BANK_LIMIT = 64 * 1024
# What is left for the rest of a bank, so that its device part, without a network, is below the limit.
ROW_BYTES = 60_000


def run(*command, **options):
    return subprocess.run([str(c) for c in command], check=True, text=True, capture_output=True, **options).stdout


def build(board, target_dir, toolchain, pixels):
    cargo = ["cargo", *([toolchain] if toolchain else []), "build", "--release", "--locked", "--quiet"]
    features = ["--features", "pixels"] if pixels else []
    run(*cargo, *features, "--target-dir", target_dir, cwd=FIRMWARE / board)


def sections(elf):
    found = {}
    for line in run("arm-none-eabi-size", "-A", elf).splitlines():
        words = line.split()
        if len(words) == 3 and words[0].startswith(".") and words[1].isdigit() and int(words[2]) + int(words[1]) > 0:
            found[words[0]] = int(words[1])
    return found


def statics(elf):
    """Bytes of each variable, the largest first."""
    found = []
    for line in run("arm-none-eabi-nm", "-C", "-S", "--size-sort", "-r", elf).splitlines():
        match = re.match(r"\S+ (\S+) [bBdD] (.*)", line)
        if match:
            found.append((int(match[1], 16), match[2]))
    return found


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def score(vod, board, memory, elf, folder, bank, images):
    port = free_port()
    flash = folder / f"{board}.flash"
    qemu = subprocess.Popen(
        ["qemu-system-arm", "-machine", f"{board},memory-backend=flash", "-display", "none", "-monitor", "none",
         "-object", f"memory-backend-file,id=flash,size={memory},mem-path={flash},share=on",
         "-icount", f"shift={ICOUNT_SHIFT}", "-serial", f"tcp:127.0.0.1:{port},server=on,wait=off", "-kernel", elf])
    try:
        for _ in range(100):
            time.sleep(0.1)
            with socket.socket() as probe:
                # QEMU takes the next connection once this one is closed.
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
        command = [vod, "device", "--port", f"tcp:127.0.0.1:{port}", "--bank", bank, "--update", "--json", "-",
                   "--timeout", 20, *images]
        done = subprocess.run([str(c) for c in command], text=True, capture_output=True)
        if not done.stdout:
            sys.exit(f"{board}: {done.stderr}")
        return json.loads(done.stdout)
    finally:
        qemu.kill()
        qemu.wait()


def measure(arguments, board, elf, folder, bank, images):
    """Scores all images, then the first few again."""
    name, _, memory, *_ = board
    first = score(arguments.vod, name, memory, elf, folder, bank, images)
    again = score(arguments.vod, name, memory, elf, folder, bank, images[:arguments.again])
    return first, again


def figures(dataset, core, mhz, first, again):
    assert first["sent"] == "pixels" or first["bank"]["bytes"] <= BANK_LIMIT
    images = first["images"]
    tick_ns = 1e9 / first["device"]["clock_hz"]
    instructions = sum(image["cycles"] for image in images) * tick_ns / INSTRUCTION_NS
    patches = sum(image["patches"] for image in images)
    macs = sum(image["macs"] for image in images)
    mean = instructions / len(images)
    ticks = ["cycles", "network_cycles"]
    repeated = all(a[key] == b[key] for a, b in zip(images, again["images"]) for key in ticks)
    return (dataset, core, len(images), patches, sum(image["differing_patches"] for image in images),
            "yes" if first["equal"] and again["equal"] else "NO",
            f"{'yes' if repeated else 'NO'} ({len(again['images'])})",
            first["bank"]["bytes"], first["bank"]["rows"], f"{mean / 1e6:.2f} M",
            f"{instructions / patches:,.0f}", f"{instructions / macs:.3f}",
            *network_figures(images, tick_ns, mean, mhz))


def network_figures(images, tick_ns, scoring, mhz):
    """What the network adds, where pixels were sent; then the time of a frame."""
    if images[0]["network_cycles"] is None:
        return (f"{scoring / mhz / 1e3:.1f} at {mhz} MHz",)
    instructions = sum(image["network_cycles"] for image in images) * tick_ns / INSTRUCTION_NS
    mean = instructions / len(images)
    macs = sum(image["network_macs"] for image in images)
    return (f"{mean / 1e6:.1f} M", f"{instructions / macs:.2f}", f"{(scoring + mean) / mhz / 1e3:.0f} at {mhz} MHz")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vod", default=str(FIRMWARE.parent / "target/release/vod"))
    parser.add_argument("--count", type=int, default=10, help="images of each test folder")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--levels", type=int, default=1, help="levels at which banks look at a frame")
    parser.add_argument("--pixels", action="store_true", help="send pixels, which the boards make features of")
    parser.add_argument("--toolchain", default="", help="such as +stable")
    parser.add_argument("--target-dir", default=os.environ.get("CARGO_TARGET_DIR", str(FIRMWARE / "target")))
    parser.add_argument("--again", type=int, default=3, help="images that are scored a second time")
    parser.add_argument("datasets", nargs="+", type=Path)
    arguments = parser.parse_args()
    elfs = {}
    for board, target, *_ in BOARDS:
        build(board, arguments.target_dir, arguments.toolchain, arguments.pixels)
        elfs[board] = Path(arguments.target_dir) / target / "release" / board

    rows, stacks = [], {}
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for dataset in arguments.datasets:
            bank = folder / f"{dataset.name}.vod"
            backbone = "edge-int8" if arguments.pixels else "edge"
            run(arguments.vod, "--quiet", "fit", dataset, "--backbone", backbone, "--shots", SHOTS, "--size", arguments.size,
                "--levels", arguments.levels, "--bank-bytes", ROW_BYTES, "--out", bank)
            if arguments.pixels:
                network = json.loads(run(arguments.vod, "inspect", bank, "--json", "-"))["network"]
                print(f"{dataset.name}: network of {network['bytes']} bytes; "
                      f"{network['rows_bytes']} bytes of RAM between its layers for {network['frame']} pixels\n")
            images = [image for kind in sorted((dataset / "test").iterdir())
                      for image in sorted(kind.iterdir())[:arguments.count]]
            with ThreadPoolExecutor() as pool:
                runs = pool.map(lambda b: measure(arguments, b, elfs[b[0]], folder, bank, images), BOARDS)
                for (board, _, _, core, mhz), (first, again) in zip(BOARDS, list(runs)):
                    stacks[board] = max(stacks.get(board, 0), first["statistics"]["stack_bytes"])
                    rows.append(figures(dataset.name, core, mhz, first, again))
    print("| board | vectors and code | constants | flash | frame buffers | other RAM | stack, highest | RAM beside frame buffers |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for board, *_ in BOARDS:
        size = sections(elfs[board])
        buffers = max(size for size, name in statics(elfs[board]))
        ram = size.get(".data", 0) + size.get(".bss", 0) + size.get(".uninit", 0)
        code = size.get(".vector_table", 0) + size.get(".text", 0)
        flash = code + size.get(".rodata", 0) + size.get(".data", 0)
        print(f"| {board} | {code} | {size.get('.rodata', 0)} | {flash} | {buffers} | {ram - buffers} | {stacks[board]} "
              f"| {ram - buffers + stacks[board]} |")
    print()
    columns = ["data set", "core", "images", "patches", "differing", "equal bits",
               "equal ticks in a second run (images)", "bank bytes", "rows", "instructions a frame", "a patch", "a MAC"]
    if arguments.pixels:
        columns += ["network, instructions a frame", "a MAC"]
    columns += ["ms a frame"]
    print("| " + " | ".join(columns) + " |")
    print("| " + " | ".join(["---"] * len(columns)) + " |")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")


if __name__ == "__main__":
    main()
