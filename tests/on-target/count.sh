#!/usr/bin/env bash
# Prints instructions a MAC and a frame on Cortex-M4, M7 and M55, counted by QEMU: equal from run to run.
# usage: count.sh [cargo toolchain, such as +nightly]
set -euo pipefail
cd "$(dirname "$0")"
toolchain="${1:-}"
folder="${CARGO_TARGET_DIR:-../../target}/on-target"
count() { # name, machine, target, flags
    RUSTFLAGS="$4" cargo $toolchain build -q --release --bin count --target "$3" --target-dir "$folder"
    printf '%s\n' "$1"
    qemu-system-arm -M "$2" -icount shift=0 -nographic \
        -semihosting-config enable=on,target=native -kernel "$folder/$3/release/count"
}
count Cortex-M4 mps2-an386 thumbv7em-none-eabihf ""
count Cortex-M7 mps2-an500 thumbv7em-none-eabihf ""
count Cortex-M55 mps3-an547 thumbv8m.main-none-eabihf "-C target-cpu=cortex-m55"
