//! Exact search that stops at a row as soon as it can't be the nearest.
//!
//! Neighbouring patches mostly share their nearest row, so that the row of the patch before bounds the
//! distance from the start, and squared differences are added up a few channels at a time only until
//! they reach the bound. Bounds from the vectors' lengths skip too few rows of real features to pay.

use crate::bank::Bank;
use crate::residual::Nearest;

/// Channels between two looks at the bound.
const SEGMENT: usize = 16;

/// What a search cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchStats {
    /// Multiplications that were made.
    pub macs: u64,
    /// Multiplications of a search that looks at every channel of every row.
    pub brute_force_macs: u64,
}

/// Nearest row of `query`, `[dimension]`; `guess` is a row that is likely near.
pub(crate) fn nearest(bank: &Bank, query: &[i8], guess: u32, stats: &mut SearchStats) -> Nearest {
    let guess = guess.min(bank.parts().row_count.saturating_sub(1));
    let (segments, rest) = query.as_chunks::<SEGMENT>();
    let mut best = Nearest {
        row: guess,
        distance2: squared_distance(query, bank.row(guess as usize)),
    };
    stats.macs += query.len() as u64;
    stats.brute_force_macs += bank.rows().len() as u64;
    let rows = bank.rows().chunks_exact(query.len().max(1));
    'rows: for (number, row) in (0..).zip(rows) {
        if number == guess {
            continue;
        }
        // Of equal distances the lower row wins.
        let limit = best.distance2 + u32::from(number < best.row);
        let (row_segments, row_rest) = row.as_chunks::<SEGMENT>();
        let mut sum = 0;
        for (seen, (query, row)) in (1..).zip(segments.iter().zip(row_segments)) {
            sum += squared_distance(query, row);
            if sum >= limit {
                stats.macs += seen * SEGMENT as u64;
                continue 'rows;
            }
        }
        sum += squared_distance(rest, row_rest);
        stats.macs += query.len() as u64;
        if sum < limit {
            best = Nearest {
                row: number,
                distance2: sum,
            };
        }
    }
    best
}

#[cfg(not(vod_dsp))]
fn squared_distance(query: &[i8], row: &[i8]) -> u32 {
    let pairs = query.iter().zip(row);
    pairs
        .map(|(&q, &b)| {
            let difference = i32::from(q) - i32::from(b);
            (difference * difference) as u32
        })
        .sum()
}

#[cfg(vod_dsp)]
use crate::arch::squared_distance;
