//! Armv7E-M DSP extension (Cortex-M4, M7): SXTB16 widens two bytes, SMLAD multiplies and adds two
//! pairs. Two rows by two queries, so that each widened word is used twice.

use core::arch::asm;

use super::super::{Search, tile};
use crate::residual::Nearest;

/// Proof that the target has the DSP extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const TILE: usize = 2;

impl Token {
    /// The extension is part of the target that this module is built for.
    pub(crate) const fn detect() -> Option<Self> {
        Some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        let dimension = search.dimension;
        if queries.len() == dimension {
            tile::nearest::<TILE, 1>(search, queries, best, |rows, query| {
                [dots_of_one(rows, query)]
            });
        } else {
            tile::nearest::<TILE, TILE>(search, queries, best, |rows, queries| {
                dots(rows, queries, dimension)
            });
        }
    }
}

/// Each query with each row, of two each or one each.
#[inline(always)]
fn dots(rows: &[i8], queries: &[i8], dimension: usize) -> [[i32; TILE]; TILE] {
    let Some(((b0, b1), (q0, q1))) = pair(rows, dimension).zip(pair(queries, dimension)) else {
        return dots_of_few(rows, queries, dimension);
    };
    let [[mut s00, mut s01], [mut s10, mut s11]] = [[0i32; TILE]; TILE];
    let whole = dimension / 4 * 4;
    if whole != 0 {
        // SAFETY: `rows` and `queries` hold two vectors of `dimension` bytes each; the loop reads
        // the first `whole` bytes of each, a word at a time, and ends where the first query's
        // pointer meets `end` (`whole` is not zero and divisible by 4). Armv7E-M loads unaligned
        // words. r6 and r7 can't be named as operands, yet a nameless operand may be put there: all
        // operands are named, and the two are restored.
        unsafe {
            asm!(
                "push {{r6, r7}}",
                "2:",
                "ldr r5, [r1, r2]",
                "ldr r4, [r1], #4",
                "ldr r6, [r0, r2]",
                "sxtb16 r9, r5, ror #8",
                "sxtb16 r5, r5",
                "sxtb16 r8, r4, ror #8",
                "sxtb16 r4, r4",
                "sxtb16 r7, r6, ror #8",
                "sxtb16 r6, r6",
                "smlad r11, r6, r4, r11",
                "smlad lr, r6, r5, lr",
                "ldr r6, [r0], #4",
                "smlad r11, r7, r8, r11",
                "smlad lr, r7, r9, lr",
                "sxtb16 r7, r6, ror #8",
                "sxtb16 r6, r6",
                "smlad r10, r6, r4, r10",
                "smlad r12, r6, r5, r12",
                "smlad r10, r7, r8, r10",
                "smlad r12, r7, r9, r12",
                "cmp r1, r3",
                "bne 2b",
                "pop {{r6, r7}}",
                inout("r0") rows.as_ptr() => _,
                inout("r1") queries.as_ptr() => _,
                in("r2") dimension,
                in("r3") queries.as_ptr().add(whole),
                out("r4") _,
                out("r5") _,
                out("r8") _,
                out("r9") _,
                inout("r10") s00,
                inout("r11") s01,
                inout("r12") s10,
                inout("lr") s11,
                options(readonly),
            );
        }
    }
    if whole != dimension {
        s00 += dot_of_tails(b0, q0);
        s01 += dot_of_tails(b1, q0);
        s10 += dot_of_tails(b0, q1);
        s11 += dot_of_tails(b1, q1);
    }
    [[s00, s01], [s10, s11]]
}

/// The two vectors, `None` where there is one.
fn pair(vectors: &[i8], dimension: usize) -> Option<(&[i8], &[i8])> {
    if vectors.len() == TILE * dimension {
        vectors.split_at_checked(dimension)
    } else {
        None
    }
}

/// Over what does not fill a word.
#[inline(never)]
fn dot_of_tails(row: &[i8], query: &[i8]) -> i32 {
    dot(row.as_chunks::<4>().1, query.as_chunks::<4>().1)
}

/// As [`dots`], where there is one row or one query.
#[cold]
#[inline(never)]
fn dots_of_few(rows: &[i8], queries: &[i8], dimension: usize) -> [[i32; TILE]; TILE] {
    let queries: [&[i8]; TILE] = tile::split(queries, dimension);
    queries.map(|query| dots_of_one(rows, query))
}

/// One query with one or two rows.
fn dots_of_one(rows: &[i8], query: &[i8]) -> [i32; TILE] {
    let [b0, b1]: [&[i8]; TILE] = tile::split(rows, query.len());
    let ((b0, b0_tail), (b1, b1_tail)) = (b0.as_chunks::<4>(), b1.as_chunks::<4>());
    let (query, query_tail) = query.as_chunks::<4>();
    let (mut s0, mut s1) = (0, 0);
    for ((b0, b1), q) in b0.iter().zip(b1).zip(query) {
        let (b0, b1, q) = (word(b0), word(b1), word(q));
        let (even, odd) = (sxtb16(q), sxtb16_odd(q));
        s0 = smlad(sxtb16(b0), even, s0);
        s1 = smlad(sxtb16(b1), even, s1);
        s0 = smlad(sxtb16_odd(b0), odd, s0);
        s1 = smlad(sxtb16_odd(b1), odd, s1);
    }
    [s0 + dot(b0_tail, query_tail), s1 + dot(b1_tail, query_tail)]
}

fn dot(row: &[i8], query: &[i8]) -> i32 {
    let pairs = row.iter().zip(query);
    pairs.map(|(&b, &q)| i32::from(b) * i32::from(q)).sum()
}

pub(crate) fn word(bytes: &[i8; 4]) -> u32 {
    u32::from_le_bytes(bytes.map(|b| b as u8))
}

/// Bytes 0 and 2, sign-extended to the halves of a word.
#[inline(always)]
pub(crate) fn sxtb16(bytes: u32) -> u32 {
    let halves;
    // SAFETY: registers only; the target has the DSP extension.
    unsafe {
        asm!("sxtb16 {}, {}", out(reg) halves, in(reg) bytes,
            options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

/// Bytes 1 and 3, sign-extended to the halves of a word.
#[inline(always)]
pub(crate) fn sxtb16_odd(bytes: u32) -> u32 {
    let halves;
    // SAFETY: registers only; the target has the DSP extension.
    unsafe {
        asm!("sxtb16 {}, {}, ror #8", out(reg) halves, in(reg) bytes,
            options(pure, nomem, nostack, preserves_flags));
    }
    halves
}

/// `sum` plus the products of both halves (the intrinsic is unstable).
#[inline(always)]
fn smlad(a: u32, b: u32, mut sum: i32) -> i32 {
    // SAFETY: registers only; the target has the DSP extension. A sum may set the Q flag, which is
    // why flags are not promised to be kept.
    unsafe {
        asm!("smlad {sum}, {a}, {b}, {sum}", a = in(reg) a, b = in(reg) b, sum = inout(reg) sum,
            options(pure, nomem, nostack));
    }
    sum
}

/// Squared distance of two vectors of one length.
#[inline(always)]
pub(crate) fn squared_distance(query: &[i8], row: &[i8]) -> u32 {
    let (query, query_tail) = query.as_chunks::<4>();
    let (row, row_tail) = row.as_chunks::<4>();
    let mut sum = 0;
    for (query, row) in query.iter().zip(row) {
        let (low, high) = magnitudes(word(query), word(row));
        sum = smlad(low, low, sum);
        sum = smlad(high, high, sum);
    }
    let tail: u32 = query_tail
        .iter()
        .zip(row_tail)
        .map(|(&q, &b)| u32::from(q.abs_diff(b)).pow(2))
        .sum();
    sum as u32 + tail
}

/// Four differences without their signs, as the halves of two words.
#[inline(always)]
fn magnitudes(a: u32, b: u32) -> (u32, u32) {
    let (even, odd);
    // SAFETY: registers only; the target has the DSP extension. SSUB8 sets the GE flags, which SEL
    // reads, so that flags are not promised to be kept.
    unsafe {
        asm!(
            "ssub8 {odd}, {b}, {a}",
            "ssub8 {even}, {a}, {b}",
            "sel {odd}, {even}, {odd}",
            "uxtb16 {even}, {odd}",
            "uxtb16 {odd}, {odd}, ror #8",
            a = in(reg) a,
            b = in(reg) b,
            even = out(reg) even,
            odd = out(reg) odd,
            options(pure, nomem, nostack),
        );
    }
    (even, odd)
}

/// The products of two rows of weights, `[2, n]` bytes, with two vectors that are widened to halves
/// and interleaved: for each four bytes the words of the first vector, then those of the second,
/// even bytes before odd ones. Each vector (outer) with each row (inner).
#[cfg(feature = "conv")]
#[inline(always)]
pub(crate) fn dots_of_widened(weights: &[i8], vectors: &[[u32; 4]]) -> [[i32; 2]; 2] {
    let len = vectors.len() * 4;
    let [mut s00, mut s01, mut s10, mut s11] = [0i32; 4];
    if len != 0 && weights.len() >= 2 * len {
        // SAFETY: the loop reads `len` bytes of each of two rows, a word at a time, and all of
        // `vectors`, and ends where its pointer meets the end (there is at least one element).
        // Armv7E-M loads unaligned words; `vectors` is aligned as LDRD asks for. r6 and r7 can't be
        // named as operands, yet a nameless operand may be put there: all operands are named, and
        // the two are restored.
        unsafe {
            asm!(
                "push {{r6, r7}}",
                "2:",
                "ldr r5, [r0, r2]",
                "ldr r4, [r0], #4",
                "sxtb16 r9, r5, ror #8",
                "sxtb16 r5, r5",
                "sxtb16 r8, r4, ror #8",
                "sxtb16 r4, r4",
                "ldrd r6, r7, [r1], #8",
                "smlad r10, r6, r4, r10",
                "smlad r11, r6, r5, r11",
                "smlad r10, r7, r8, r10",
                "smlad r11, r7, r9, r11",
                "ldrd r6, r7, [r1], #8",
                "smlad r12, r6, r4, r12",
                "smlad lr, r6, r5, lr",
                "smlad r12, r7, r8, r12",
                "smlad lr, r7, r9, lr",
                "cmp r1, r3",
                "bne 2b",
                "pop {{r6, r7}}",
                inout("r0") weights.as_ptr() => _,
                inout("r1") vectors.as_ptr() => _,
                in("r2") len,
                in("r3") vectors.as_ptr_range().end,
                out("r4") _,
                out("r5") _,
                out("r8") _,
                out("r9") _,
                inout("r10") s00,
                inout("r11") s01,
                inout("r12") s10,
                inout("lr") s11,
                options(readonly),
            );
        }
    }
    [[s00, s01], [s10, s11]]
}

/// Adds, for every channel, the products of 3 or 5 (`K`) places in a row; both slices hold a byte a
/// channel and place. There are as many sums as channels, a multiple of 4.
#[cfg(feature = "conv")]
pub(crate) fn add_row_products<const K: usize>(sums: &mut [i32], values: &[i8], weights: &[i8]) {
    let channels = sums.len();
    let needed = K * channels;
    let whole = channels != 0 && channels.is_multiple_of(4);
    if !whole || values.len() < needed || weights.len() < needed {
        return;
    }
    macro_rules! add_rows {
        ($($place:literal),+) => {
            // SAFETY: for each four channels reads four bytes at each of `K` places of both slices,
            // whose lengths were checked, and four sums, which are written; ends where the sums do
            // (there are at least four). Armv7E-M loads unaligned words; sums are aligned as LDM
            // asks for. r6 and r7 can't be named as operands, yet a nameless operand may be put
            // there: all operands are named, and the two are restored.
            unsafe {
                asm!(
                    "push {{r6, r7}}",
                    "2:",
                    "ldm r4, {{r10, r11, r12, lr}}",
                    $(
                        concat!("ldr r6, [r0", $place, "]"),
                        concat!("ldr r7, [r1", $place, "]"),
                        "sxtb16 r8, r6, ror #8",
                        "sxtb16 r6, r6",
                        "sxtb16 r9, r7, ror #8",
                        "sxtb16 r7, r7",
                        "smlabb r10, r6, r7, r10",
                        "smlabb r11, r8, r9, r11",
                        "smlatt r12, r6, r7, r12",
                        "smlatt lr, r8, r9, lr",
                    )+
                    "adds r0, r0, #4",
                    "adds r1, r1, #4",
                    "stm r4!, {{r10, r11, r12, lr}}",
                    "cmp r4, r5",
                    "bne 2b",
                    "pop {{r6, r7}}",
                    inout("r0") values.as_ptr() => _,
                    inout("r1") weights.as_ptr() => _,
                    in("r2") channels,
                    in("r3") 3 * channels,
                    inout("r4") sums.as_mut_ptr() => _,
                    in("r5") sums.as_ptr_range().end,
                    out("r8") _,
                    out("r9") _,
                    out("r10") _,
                    out("r11") _,
                    out("r12") _,
                    out("lr") _,
                );
            }
        };
    }
    if K == 3 {
        add_rows!("", ", r2", ", r2, lsl #1");
    } else {
        add_rows!("", ", r2", ", r2, lsl #1", ", r3", ", r2, lsl #2");
    }
}
