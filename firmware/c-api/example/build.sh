#!/usr/bin/env bash
# Builds the library and the example.
# usage: build.sh FOLDER [TARGET [cargo toolchain, such as +arm]]
#   FOLDER holds bank.h and network.h (vod export --format c-header); example.elf is written there.
#   TARGET: thumbv7em-none-eabihf (Cortex-M4, the default), thumbv8m.main-none-eabihf (Cortex-M55),
#   aarch64-unknown-linux-gnu
set -euo pipefail
folder=$(realpath "$1")
target=${2:-thumbv7em-none-eabihf}
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"
flags=(-std=c11 -Wall -Wextra -Werror -O2 -ffunction-sections -fdata-sections -Wl,--gc-sections)
sources=(main.c)
bare=(-mthumb -mfloat-abi=hard -ffreestanding -nostdlib -T cortex-m.ld)
case $target in
thumbv7em-none-eabihf)
    compiler=arm-none-eabi-gcc
    flags+=(-mcpu=cortex-m4 -mfpu=fpv4-sp-d16 "${bare[@]}") sources+=(startup.c)
    ;;
thumbv8m.main-none-eabihf)
    compiler=arm-none-eabi-gcc
    # The library takes its Helium kernels where the CPU is named.
    export RUSTFLAGS="-C target-cpu=cortex-m55"
    flags+=(-mcpu=cortex-m55 -mfpu=auto "${bare[@]}") sources+=(startup.c)
    ;;
aarch64-unknown-linux-gnu)
    compiler=aarch64-linux-gnu-gcc
    flags+=(-D_DEFAULT_SOURCE)
    ;;
*)
    echo "no such target: $target" >&2
    exit 2
    ;;
esac
(cd .. && cargo ${3:-} build -q --release --target "$target")
library=$CARGO_TARGET_DIR/$target/release/libvod.a
"$compiler" "${flags[@]}" -I ../include -I "$folder" -o "$folder/example.elf" "${sources[@]}" "$library" -lgcc
