#!/usr/bin/env bash
# Builds the library and the example for a Cortex-M4.
# usage: build.sh FOLDER [cargo toolchain, such as +arm]
#   FOLDER holds bank.h and network.h (vod export --format c-header); example.elf is written there.
set -euo pipefail
folder=$(realpath "$1")
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/../target}"
target=thumbv7em-none-eabihf
(cd .. && cargo ${2:-} build -q --release --target $target)
arm-none-eabi-gcc -std=c11 -Wall -Wextra -Werror -O2 -ffunction-sections -fdata-sections \
    -mcpu=cortex-m4 -mthumb -mfloat-abi=hard -mfpu=fpv4-sp-d16 \
    -ffreestanding -nostdlib -Wl,--gc-sections -T mps2-an386.ld \
    -I ../include -I "$folder" -o "$folder/example.elf" \
    main.c startup.c "$CARGO_TARGET_DIR/$target/release/libvod.a" -lgcc
