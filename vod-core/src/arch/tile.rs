//! The search over tiles of a few rows and a few queries, around a target's dot products.

use super::{Search, keep, squared_norm};
use crate::residual::Nearest;

/// Rows that all queries are compared with before the next ones: they stay in a near cache.
const ROW_BLOCK: usize = 256;

/// Searches in tiles of `R` rows by `Q` queries. Only a part of the last tile's sums is used.
///
/// `dots` gets 1 to `R` rows and 1 to `Q` queries, `[n, dimension]` each, and gives the dot product
/// of each query (outer) with each row (inner).
#[inline(always)]
pub(crate) fn nearest<const R: usize, const Q: usize>(
    search: &Search,
    queries: &[i8],
    best: &mut [Nearest],
    dots: impl Fn(&[i8], &[i8]) -> [[i32; R]; Q],
) {
    // The bank was checked; `max` only tells the compiler that no chunk is empty.
    let dimension = search.dimension.max(1);
    let mut first_row = search.first_row;
    let row_blocks = search.rows.chunks(ROW_BLOCK * dimension);
    for (rows, row_norms) in row_blocks.zip(search.norms.chunks(ROW_BLOCK)) {
        let groups = queries.chunks(Q * dimension);
        for (group, best) in groups.zip(best.chunks_mut(Q)) {
            let mut found = [Found::NONE; Q];
            let mut row = first_row;
            let tiles = rows.chunks_exact(R * dimension);
            let (norm_tiles, last_norms) = row_norms.as_chunks::<R>();
            let last_rows = tiles.remainder();
            for (tile, norms) in tiles.zip(norm_tiles) {
                let sums = dots(tile, group);
                for (found, sums) in found.iter_mut().zip(&sums) {
                    for index in 0..R {
                        found.compare(row.wrapping_add(index as u32), norms[index], sums[index]);
                    }
                }
                row = row.wrapping_add(R as u32);
            }
            if !last_rows.is_empty() {
                let sums = dots(last_rows, group);
                for (found, sums) in found.iter_mut().zip(&sums) {
                    for ((row, &norm), &dot) in (row..).zip(last_norms).zip(sums) {
                        found.compare(row, norm, dot);
                    }
                }
            }
            let results = best.iter_mut().zip(group.chunks_exact(dimension));
            for ((best, query), found) in results.zip(found) {
                let distance2 = squared_norm(query).wrapping_add(found.least as u32);
                keep(best, found.row, distance2);
            }
        }
        first_row = first_row.wrapping_add(ROW_BLOCK as u32);
    }
}

/// The best row of a block for one query.
#[derive(Clone, Copy)]
struct Found {
    /// `|b|^2 - 2 q.b`: the distance but for `|q|^2`, which no comparison needs.
    least: i32,
    row: u32,
}

impl Found {
    const NONE: Self = Self {
        least: i32::MAX,
        row: 0,
    };

    #[inline(always)]
    fn compare(&mut self, row: u32, norm: [u8; 4], dot: i32) {
        // Both are below 2^29.
        let value = i32::from_le_bytes(norm).wrapping_sub(dot.wrapping_mul(2));
        if value < self.least {
            *self = Self { least: value, row };
        }
    }
}

/// The vectors of a part of a matrix; the first again where there are fewer than `N`.
pub(crate) fn split<const N: usize>(values: &[i8], dimension: usize) -> [&[i8]; N] {
    let dimension = dimension.max(1);
    let mut vectors = [values.get(..dimension).unwrap_or_default(); N];
    for (slot, vector) in vectors.iter_mut().zip(values.chunks_exact(dimension)) {
        *slot = vector;
    }
    vectors
}

/// Length that every vector has.
#[allow(dead_code)] // not every target's kernel reads through pointers
pub(crate) fn common_len(rows: &[&[i8]], queries: &[&[i8]]) -> usize {
    let lens = rows.iter().chain(queries).map(|vector| vector.len());
    lens.min().unwrap_or(0)
}
