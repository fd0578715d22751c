//! The search over tiles of a few rows and a few queries, around a target's dot products.

use super::{QUERY_BLOCK, Search, distance2, keep, squared_norm};
use crate::residual::Nearest;

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
    let blocks = queries.chunks(QUERY_BLOCK * dimension);
    for (queries, best) in blocks.zip(best.chunks_mut(QUERY_BLOCK)) {
        let mut query_norms = [0; QUERY_BLOCK];
        for (norm, query) in query_norms.iter_mut().zip(queries.chunks_exact(dimension)) {
            *norm = squared_norm(query);
        }
        let mut first_row = search.first_row;
        let rows = search.rows.chunks(R * dimension);
        for (rows, row_norms) in rows.zip(search.norms.chunks(R)) {
            let groups = queries.chunks(Q * dimension).zip(best.chunks_mut(Q));
            for ((queries, best), query_norms) in groups.zip(query_norms.chunks(Q)) {
                let sums = dots(rows, queries);
                for ((best, sums), &query_norm) in best.iter_mut().zip(&sums).zip(query_norms) {
                    for ((number, row_norm), &dot) in (first_row..).zip(row_norms).zip(sums) {
                        let row_norm = u32::from_le_bytes(*row_norm);
                        keep(best, number, distance2(query_norm, row_norm, dot));
                    }
                }
            }
            first_row = first_row.wrapping_add(R as u32);
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
