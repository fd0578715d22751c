#!/usr/bin/env bash
# Code size of all that firmware calls and absence of panics, on Cortex-M: fails where a symbol of
# core::panicking is left, or where the code is larger than 24 KB on thumbv7em, for frames at one level.
# usage: check.sh [cargo toolchain, such as +arm]
set -euo pipefail
cd "$(dirname "$0")"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-../../target}"
limit=24576
failed=0
check() { # name, target, profile, flags, features
    RUSTFLAGS="$4" cargo $toolchain build -q --profile "$3" --features "${5:-}" --target "$2" --target-dir "$CARGO_TARGET_DIR"
    elf="$CARGO_TARGET_DIR/$2/$3/vod-footprint"
    code=$(arm-none-eabi-size "$elf" | awk 'NR == 2 { print $1 }')
    panics=$(arm-none-eabi-nm -C "$elf" | grep -Ec 'core::panicking|panic_(bounds|const|fmt|nounwind)|slice_.*_fail|unwrap_failed|expect_failed' || true)
    printf '%-24s %-6s code and constants %6d bytes, %d panic symbols\n' "$1" "$3" "$code" "$panics"
    [ "$panics" = 0 ] || failed=1
    [ "$1" != thumbv7em ] || [ "$code" -le "$limit" ] || failed=1
}
toolchain="${1:-}"
link="-C link-arg=--gc-sections"
for profile in release small; do
    check thumbv7em thumbv7em-none-eabihf $profile "$link"
    check thumbv6m thumbv6m-none-eabi $profile "$link"
    check "thumbv7em, levels" thumbv7em-none-eabihf $profile "$link" levels
    check m55 thumbv8m.main-none-eabihf $profile "$link -C target-cpu=cortex-m55"
done
exit $failed
