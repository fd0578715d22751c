//! Helium (Armv8.1-M: Cortex-M55, M85): plain loops that the compiler turns into VMLADAVA, 16
//! products an instruction, with the row loaded once for all queries of a tile.

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
