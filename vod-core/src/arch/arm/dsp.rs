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
        tile::nearest::<TILE, TILE>(search, queries, best, dots);
    }
}

#[inline(always)]
fn dots(rows: &[&[i8]; TILE], queries: &[&[i8]; TILE]) -> [[i32; TILE]; TILE] {
    let [(b0, b0_tail), (b1, b1_tail)] = rows.map(|row| row.as_chunks::<4>());
    let [(q0, q0_tail), (q1, q1_tail)] = queries.map(|query| query.as_chunks::<4>());
    let (mut s00, mut s01, mut s10, mut s11) = (0, 0, 0, 0);
    for (((b0, b1), q0), q1) in b0.iter().zip(b1).zip(q0).zip(q1) {
        let (b0, b1, q0, q1) = (word(b0), word(b1), word(q0), word(q1));
        let (b0_even, q0_even) = (sxtb16(b0), sxtb16(q0));
        s00 = smlad(b0_even, q0_even, s00);
        let b1_even = sxtb16(b1);
        s01 = smlad(b1_even, q0_even, s01);
        let q1_even = sxtb16(q1);
        s10 = smlad(b0_even, q1_even, s10);
        s11 = smlad(b1_even, q1_even, s11);
        let (b0_odd, q0_odd) = (sxtb16_odd(b0), sxtb16_odd(q0));
        s00 = smlad(b0_odd, q0_odd, s00);
        let b1_odd = sxtb16_odd(b1);
        s01 = smlad(b1_odd, q0_odd, s01);
        let q1_odd = sxtb16_odd(q1);
        s10 = smlad(b0_odd, q1_odd, s10);
        s11 = smlad(b1_odd, q1_odd, s11);
    }
    [
        [s00 + dot(b0_tail, q0_tail), s01 + dot(b1_tail, q0_tail)],
        [s10 + dot(b0_tail, q1_tail), s11 + dot(b1_tail, q1_tail)],
    ]
}

fn dot(row: &[i8], query: &[i8]) -> i32 {
    let pairs = row.iter().zip(query);
    pairs.map(|(&b, &q)| i32::from(b) * i32::from(q)).sum()
}

fn word(bytes: &[i8; 4]) -> u32 {
    u32::from_le_bytes(bytes.map(|b| b as u8))
}

/// Bytes 0 and 2, sign-extended to the halves of a word.
#[inline(always)]
fn sxtb16(bytes: u32) -> u32 {
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
fn sxtb16_odd(bytes: u32) -> u32 {
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
