//! Dot-product extension: 16 int8 products an instruction (SDOT), four rows by four queries.

use core::arch::aarch64::*;
use core::arch::asm;

use super::super::{Search, tile};
use super::{LANES, load, sums, tail};
use crate::residual::Nearest;

/// Proof that the CPU has NEON and the dot-product extension.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const ROWS: usize = 4;
const QUERIES: usize = 4;

impl Token {
    pub(crate) fn detect() -> Option<Self> {
        #[cfg(feature = "std")]
        let present = std::arch::is_aarch64_feature_detected!("dotprod");
        #[cfg(not(feature = "std"))]
        let present = cfg!(target_feature = "dotprod");
        present.then_some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        // SAFETY: a Token exists only where `detect` found the extension, which implies NEON.
        unsafe { nearest(search, queries, best) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn nearest(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    let dimension = search.dimension;
    if queries.len() == dimension {
        tile::nearest::<ROWS, 1>(search, queries, best, |rows, query| {
            dots(&tile::split(rows, dimension), &[query])
        });
    } else {
        tile::nearest::<ROWS, QUERIES>(search, queries, best, |rows, queries| {
            dots(
                &tile::split(rows, dimension),
                &tile::split(queries, dimension),
            )
        });
    }
}

#[target_feature(enable = "neon,dotprod")]
fn dots<const Q: usize>(rows: &[&[i8]; ROWS], queries: &[&[i8]; Q]) -> [[i32; ROWS]; Q] {
    let len = tile::common_len(rows, queries);
    let mut total = [[vdupq_n_s32(0); ROWS]; Q];
    let mut at = 0;
    while at + LANES <= len {
        // SAFETY: `at + 16 <= len`, and no vector is shorter than `len`.
        let (row, query) = unsafe {
            (
                rows.map(|row| vld1q_s8(row.as_ptr().add(at))),
                queries.map(|query| vld1q_s8(query.as_ptr().add(at))),
            )
        };
        accumulate(&mut total, &row, &query);
        at += LANES;
    }
    if at < len {
        let row = rows.map(|row| load(&tail(row, len)));
        let query = queries.map(|query| load(&tail(query, len)));
        accumulate(&mut total, &row, &query);
    }
    total.map(|total| sums(total))
}

#[target_feature(enable = "neon,dotprod")]
fn accumulate<const Q: usize>(
    total: &mut [[int32x4_t; ROWS]; Q],
    rows: &[int8x16_t; ROWS],
    queries: &[int8x16_t; Q],
) {
    for (total, &query) in total.iter_mut().zip(queries) {
        for (total, &row) in total.iter_mut().zip(rows) {
            *total = sdot(*total, row, query);
        }
    }
}

/// Adds the products of four neighbouring values to each sum (the intrinsic is unstable).
#[target_feature(enable = "neon,dotprod")]
fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: registers only; the function asks for the extension.
    unsafe {
        asm!(
            "sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b",
            sum = inout(vreg) sum,
            a = in(vreg) a,
            b = in(vreg) b,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
