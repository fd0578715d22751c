//! Helium (Armv8.1-M: Cortex-M55, M85): plain loops that the compiler turns into VMLADAVA, 16
//! products an instruction, with the row loaded once for all queries of a tile.

#[cfg(feature = "conv")]
use core::arch::asm;

use super::super::{Search, tile};
use crate::residual::Nearest;

/// Proof that the target has Helium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const QUERIES: usize = 4;

impl Token {
    /// Helium is part of the target that this module is built for.
    pub(crate) const fn detect() -> Option<Self> {
        Some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        let dimension = search.dimension;
        if queries.len() == dimension {
            tile::nearest::<1, 1>(search, queries, best, |row, query| [[dot(row, query)]]);
        } else {
            tile::nearest::<1, QUERIES>(search, queries, best, |row, queries| {
                dots(row, queries, dimension)
            });
        }
    }
}

#[inline(never)]
fn dot(row: &[i8], query: &[i8]) -> i32 {
    let pairs = row.iter().zip(query);
    pairs.map(|(&b, &q)| i32::from(b) * i32::from(q)).sum()
}

#[inline(always)]
fn dots(row: &[i8], queries: &[i8], dimension: usize) -> [[i32; 1]; QUERIES] {
    match queries
        .split_at_checked(dimension)
        .and_then(|(q0, rest)| Some((q0, rest.split_at_checked(dimension)?)))
        .and_then(|(q0, (q1, rest))| Some((q0, q1, rest.split_at_checked(dimension)?)))
    {
        Some((q0, q1, (q2, q3))) if q3.len() >= dimension => dots_of_four(row, [q0, q1, q2, q3]),
        _ => tile::split(queries, dimension).map(|query| [dot(row, query)]),
    }
}

#[inline(always)]
pub(crate) fn dots_of_four(row: &[i8], [q0, q1, q2, q3]: [&[i8]; QUERIES]) -> [[i32; 1]; QUERIES] {
    let (mut s0, mut s1, mut s2, mut s3) = (0, 0, 0, 0);
    for ((((&b, &q0), &q1), &q2), &q3) in row.iter().zip(q0).zip(q1).zip(q2).zip(q3) {
        let b = i32::from(b);
        s0 += b * i32::from(q0);
        s1 += b * i32::from(q1);
        s2 += b * i32::from(q2);
        s3 += b * i32::from(q3);
    }
    [[s0], [s1], [s2], [s3]]
}

/// `clamp((high(sum + bias, multiplier) + offset) >> shift)` to int8 for each of the sums, whose
/// number is a multiple of 4; biases and multipliers are little-endian i32.
#[cfg(feature = "conv")]
pub(crate) fn scale(
    sums: &[i32],
    biases: &[[u8; 4]],
    multipliers: &[[u8; 4]],
    offset: i32,
    shift: u32,
    out: &mut [i8],
) {
    let len = sums.len().min(biases.len()).min(multipliers.len());
    let len = len.min(out.len()) & !3;
    if len == 0 {
        return;
    }
    // SAFETY: each turn reads 16 bytes of the sums, biases and multipliers and writes 4 bytes of
    // `out`, `len / 4` times; all hold as many. Byte loads need no alignment. q0 to q3 are d0 to d7.
    // Stores that narrow ask for a base of r0 to r7.
    unsafe {
        asm!(
            "vdup.32 q2, {lowest}",
            "vdup.32 q3, {highest}",
            "dls lr, {turns}",
            "2:",
            "vldrb.u8 q0, [{sums}], #16",
            "vldrb.u8 q1, [{biases}], #16",
            "vadd.i32 q0, q0, q1",
            "vldrb.u8 q1, [{multipliers}], #16",
            "vmulh.s32 q0, q0, q1",
            "vadd.i32 q0, q0, {offset}",
            "vshl.s32 q0, {left}",
            "vmax.s32 q0, q0, q2",
            "vmin.s32 q0, q0, q3",
            "vstrb.32 q0, [r0], #4",
            "le lr, 2b",
            sums = inout(reg) sums.as_ptr() => _,
            biases = inout(reg) biases.as_ptr() => _,
            multipliers = inout(reg) multipliers.as_ptr() => _,
            turns = in(reg) len / 4,
            offset = in(reg) offset,
            left = in(reg) -(shift as i32),
            lowest = in(reg) -128,
            highest = in(reg) 127,
            inout("r0") out.as_mut_ptr() => _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            options(nostack),
        );
    }
}

/// Adds the products of 16 channels at `K` places in a row; both slices hold `channels` bytes a
/// place and start with the first channel.
#[cfg(feature = "conv")]
#[inline(always)]
pub(crate) fn add_row_products<const K: usize>(
    sums: &mut [i32; 16],
    values: &[i8],
    weights: &[i8],
    channels: usize,
) {
    let needed = (K - 1) * channels + 16;
    if values.len() < needed || weights.len() < needed {
        return;
    }
    // SAFETY: reads 16 bytes at each of `K` places `channels` bytes apart, of both slices, whose
    // lengths were checked, and the 16 sums, which are written. Byte loads need no alignment; sums
    // are words. q0 to q5 are d0 to d11. Loads that widen ask for a base of r0 to r7.
    unsafe {
        asm!(
            "vldrw.u32 q0, [{sums}]",
            "vldrw.u32 q1, [{sums}, #16]",
            "vldrw.u32 q2, [{sums}, #32]",
            "vldrw.u32 q3, [{sums}, #48]",
            "dls lr, {places}",
            "2:",
            "vldrb.s32 q4, [r0]",
            "vldrb.s32 q5, [r1]",
            "vmul.i32 q4, q4, q5",
            "vadd.i32 q0, q0, q4",
            "vldrb.s32 q4, [r0, #4]",
            "vldrb.s32 q5, [r1, #4]",
            "vmul.i32 q4, q4, q5",
            "vadd.i32 q1, q1, q4",
            "vldrb.s32 q4, [r0, #8]",
            "vldrb.s32 q5, [r1, #8]",
            "vmul.i32 q4, q4, q5",
            "vadd.i32 q2, q2, q4",
            "vldrb.s32 q4, [r0, #12]",
            "vldrb.s32 q5, [r1, #12]",
            "vmul.i32 q4, q4, q5",
            "vadd.i32 q3, q3, q4",
            "add r0, r0, {channels}",
            "add r1, r1, {channels}",
            "le lr, 2b",
            "vstrw.32 q0, [{sums}]",
            "vstrw.32 q1, [{sums}, #16]",
            "vstrw.32 q2, [{sums}, #32]",
            "vstrw.32 q3, [{sums}, #48]",
            sums = in(reg) sums.as_mut_ptr(),
            channels = in(reg) channels,
            places = in(reg) K,
            inout("r0") values.as_ptr() => _,
            inout("r1") weights.as_ptr() => _,
            out("lr") _,
            out("d0") _, out("d1") _, out("d2") _, out("d3") _,
            out("d4") _, out("d5") _, out("d6") _, out("d7") _,
            out("d8") _, out("d9") _, out("d10") _, out("d11") _,
            options(nostack),
        );
    }
}
