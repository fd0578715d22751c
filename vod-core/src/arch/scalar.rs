//! The definition that every other kernel is held against.

use super::{Search, distance2, keep, squared_norm};
use crate::residual::Nearest;

pub(crate) fn nearest(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    for (query, best) in queries.chunks_exact(search.dimension.max(1)).zip(best) {
        let query_norm = squared_norm(query);
        for (number, row_norm, row) in search.iter() {
            let dot: i32 = query
                .iter()
                .zip(row)
                .map(|(&q, &b)| i32::from(q) * i32::from(b))
                .sum();
            keep(best, number, distance2(query_norm, row_norm, dot));
        }
    }
}
