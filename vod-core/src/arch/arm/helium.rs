//! Helium (Armv8.1-M: Cortex-M55, M85): VMLADAVA multiplies and adds 16 pairs of int8. Four queries
//! against one row after the other, all in one loop, since every instruction around the products
//! counts where a row is a few vectors long.

#[cfg(feature = "conv")]
use core::arch::asm;
use core::arch::global_asm;

use super::super::{Search, keep, squared_norm, tile};
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
        let dimension = search.dimension.max(1);
        let mut groups = queries.chunks_exact(QUERIES * dimension);
        let mut best = best.chunks_mut(QUERIES);
        for (group, best) in groups.by_ref().zip(best.by_ref()) {
            nearest_of_four(search, group, best);
        }
        if let Some(best) = best.next() {
            for (query, best) in groups
                .remainder()
                .chunks_exact(dimension)
                .zip(best.chunks_mut(1))
            {
                tile::nearest::<1, 1>(search, query, best, |row, query| [[dot(row, query)]]);
            }
        }
    }
}

#[inline(never)]
fn dot(row: &[i8], query: &[i8]) -> i32 {
    let pairs = row.iter().zip(query);
    pairs.map(|(&b, &q)| i32::from(b) * i32::from(q)).sum()
}

/// What the loop over the rows works on.
#[repr(C)]
struct State {
    /// `|b|^2 - 2 q.b` of the best row of each query.
    least: [i32; QUERIES],
    /// Address behind the norm of that row.
    found: [*const [u8; 4]; QUERIES],
    /// Norm of the next row, and where norms end.
    norm: *const [u8; 4],
    norms_end: *const [u8; 4],
}

fn nearest_of_four(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    let norms = search.norms.as_ptr_range();
    let dimension = search.dimension;
    if norms.is_empty()
        || dimension == 0
        || queries.len() < QUERIES * dimension
        || search.rows.len() < search.norms.len() * dimension
    {
        return;
    }
    let mut state = State {
        least: [i32::MAX; QUERIES],
        found: [norms.start; QUERIES],
        norm: norms.start,
        norms_end: norms.end,
    };
    // SAFETY: there is a row, a norm for each and `dimension` values in each, and four queries of as
    // many; the function follows the calling convention and writes to `state` alone.
    unsafe {
        vod_helium_nearest(
            search.rows.as_ptr(),
            queries.as_ptr(),
            dimension,
            &mut state,
        )
    };
    let found = state.least.iter().zip(state.found);
    let queries = queries.chunks_exact(dimension);
    for ((best, query), (&least, found)) in best.iter_mut().zip(queries).zip(found) {
        let behind = (found as usize).wrapping_sub(norms.start as usize) / size_of::<[u8; 4]>();
        let row = search.first_row.wrapping_add(behind as u32).wrapping_sub(1);
        keep(best, row, squared_norm(query).wrapping_add(least as u32));
    }
}

/// Dot products of a row with four queries, in loops that the compiler makes vectors of.
#[cfg(feature = "conv")]
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

unsafe extern "C" {
    /// Compares all rows with four queries, `[4, dimension]`.
    fn vod_helium_nearest(rows: *const i8, queries: *const i8, dimension: usize, state: &mut State);
}

// Sums are in r0, r2, r4 and r6 (VMLADAVA asks for even ones), queries in r1, r3, r5 and r7, the row in
// r8, the dimension in r9, in r10 what a pass over a vector moves its pointer by (a multiple of 16), in
// r11 the norm's address. lr counts values down, and LETP masks what lies beyond the end. Bytes 0 to
// 39 of the stack are the state. Loads of norms need no alignment, as on every Armv8-M mainline.
global_asm!(
    ".cpu cortex-m55",
    ".section .text.vod_helium_nearest,\"ax\",%progbits",
    ".global vod_helium_nearest",
    ".type vod_helium_nearest,%function",
    ".thumb_func",
    "vod_helium_nearest:",
    "push {{r3-r11, lr}}",
    "sub sp, #40",
    "mov r8, r0",
    "mov r9, r2",
    "add r10, r2, #15",
    "bic r10, r10, #15",
    "ldrd r11, r12, [r3, #32]",
    "strd r11, r12, [sp, #32]",
    "ldrd r4, r5, [r3, #16]",
    "strd r4, r5, [sp, #16]",
    "ldrd r4, r5, [r3, #24]",
    "strd r4, r5, [sp, #24]",
    "ldrd r4, r5, [r3]",
    "strd r4, r5, [sp]",
    "ldrd r4, r5, [r3, #8]",
    "strd r4, r5, [sp, #8]",
    "add r3, r1, r9",
    "add r5, r3, r9",
    "add r7, r5, r9",
    "1:",
    "movs r0, #0",
    "movs r2, #0",
    "movs r4, #0",
    "movs r6, #0",
    "dlstp.8 lr, r9",
    "2:",
    "vldrb.u8 q0, [r8], #16",
    "vldrb.u8 q1, [r1], #16",
    "vmladava.s8 r0, q0, q1",
    "vldrb.u8 q2, [r3], #16",
    "vmladava.s8 r2, q0, q2",
    "vldrb.u8 q3, [r5], #16",
    "vmladava.s8 r4, q0, q3",
    "vldrb.u8 q1, [r7], #16",
    "vmladava.s8 r6, q0, q1",
    "letp lr, 2b",
    "ldr r12, [r11], #4",
    "sub r1, r10",
    "sub r3, r10",
    "sub r5, r10",
    "sub r7, r10",
    "sub r0, r12, r0, lsl #1",
    "sub r2, r12, r2, lsl #1",
    "sub r4, r12, r4, lsl #1",
    "sub r6, r12, r6, lsl #1",
    "sub r8, r10",
    "add r8, r9",
    "ldr r12, [sp]",
    "cmp r0, r12",
    "blt 4f",
    "3:",
    "ldr r12, [sp, #4]",
    "cmp r2, r12",
    "blt 6f",
    "5:",
    "ldr r12, [sp, #8]",
    "cmp r4, r12",
    "blt 8f",
    "7:",
    "ldr r12, [sp, #12]",
    "cmp r6, r12",
    "blt 12f",
    "9:",
    "ldr r12, [sp, #36]",
    "cmp r11, r12",
    "bne 1b",
    "ldr r3, [sp, #40]",
    "ldrd r4, r5, [sp]",
    "strd r4, r5, [r3]",
    "ldrd r4, r5, [sp, #8]",
    "strd r4, r5, [r3, #8]",
    "ldrd r4, r5, [sp, #16]",
    "strd r4, r5, [r3, #16]",
    "ldrd r4, r5, [sp, #24]",
    "strd r4, r5, [r3, #24]",
    "add sp, #40",
    "pop {{r3-r11, pc}}",
    "4:",
    "str r0, [sp]",
    "str r11, [sp, #16]",
    "b 3b",
    "6:",
    "str r2, [sp, #4]",
    "str r11, [sp, #20]",
    "b 5b",
    "8:",
    "str r4, [sp, #8]",
    "str r11, [sp, #24]",
    "b 7b",
    "12:",
    "str r6, [sp, #12]",
    "str r11, [sp, #28]",
    "b 9b",
    ".size vod_helium_nearest, . - vod_helium_nearest",
);
