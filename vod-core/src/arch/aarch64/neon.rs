//! NEON: widening multiply, then pairwise accumulation (SMULL, SADALP), four rows by two queries.
//!
//! Two products of -128 by -128 do not fit an i16, so that each product vector is added up before
//! the next one (SMLAL would overflow).

use core::arch::aarch64::*;

use super::super::{Search, tile};
use super::{LANES, load, sums, tail};
use crate::residual::Nearest;

/// Proof that the CPU has NEON.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const ROWS: usize = 4;
const QUERIES: usize = 2;

impl Token {
    pub(crate) fn detect() -> Option<Self> {
        cfg!(target_feature = "neon").then_some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        // SAFETY: a Token exists only where `detect` found NEON.
        unsafe { nearest(search, queries, best) }
    }
}

#[target_feature(enable = "neon")]
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

#[target_feature(enable = "neon")]
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

#[target_feature(enable = "neon")]
fn accumulate<const Q: usize>(
    total: &mut [[int32x4_t; ROWS]; Q],
    rows: &[int8x16_t; ROWS],
    queries: &[int8x16_t; Q],
) {
    for (total, &query) in total.iter_mut().zip(queries) {
        for (total, &row) in total.iter_mut().zip(rows) {
            let low = vmull_s8(vget_low_s8(row), vget_low_s8(query));
            let high = vmull_high_s8(row, query);
            *total = vpadalq_s16(vpadalq_s16(*total, low), high);
        }
    }
}
