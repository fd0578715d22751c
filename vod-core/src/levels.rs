//! Two levels of one frame: its patches at the input size, and at half of it.

use crate::error::FrameError;
use crate::grid::Grid;
use crate::scorer::FrameScore;

/// Fraction bits of a place between two patches.
const PLACE_BITS: u32 = 8;

/// What one level of a frame gave.
#[derive(Clone, Copy, Debug)]
pub struct Level<'m> {
    /// Score of the frame at this level.
    pub frame: FrameScore,
    /// Its patches.
    pub grid: Grid,
    /// Its smoothed map, `[height, width]`.
    pub map: &'m [i32],
}

/// Verdict of a frame from two levels: image score and map are the means of both. `map` is the finer
/// level's smoothed map, `[height, width]`, and becomes that of both; the coarser one is bilinear between
/// the centres of its patches.
///
/// # Errors
/// [`FrameError::MapLength`] where a map does not fit its grid.
pub fn merge_levels(
    fine: FrameScore,
    grid: Grid,
    map: &mut [i32],
    coarse: Level,
) -> Result<FrameScore, FrameError> {
    for (expected, found) in [
        (grid.len(), map.len()),
        (coarse.grid.len(), coarse.map.len()),
    ] {
        if expected != found {
            return Err(FrameError::MapLength { expected, found });
        }
    }
    let columns = coarse.grid.width();
    let mut map_max = i32::MIN;
    for (y, row) in map.chunks_exact_mut(grid.width().max(1)).enumerate() {
        let (top, bottom, down) = between(y, grid.height(), coarse.grid.height());
        for (x, slot) in row.iter_mut().enumerate() {
            let (left, right, across) = between(x, grid.width(), columns);
            let at = |y: usize, x: usize| {
                let value = coarse.map.get(y * columns + x).copied().unwrap_or(0);
                i64::from(value)
            };
            let one = 1 << PLACE_BITS;
            let above = at(top, left) * (one - across) + at(top, right) * across;
            let below = at(bottom, left) * (one - across) + at(bottom, right) * across;
            let sum = above * (one - down) + below * down;
            let half = 1 << (2 * PLACE_BITS - 1);
            *slot = mean(*slot, ((sum + half) >> (2 * PLACE_BITS)) as i32);
            map_max = map_max.max(*slot);
        }
    }
    Ok(FrameScore {
        score: mean(fine.score, coarse.frame.score),
        threshold: fine.threshold,
        map_max,
    })
}

/// Mean of two scores, halves up.
fn mean(a: i32, b: i32) -> i32 {
    ((i64::from(a) + i64::from(b) + 1) >> 1) as i32
}

/// The two patches of `to` whose centres lie around that of patch `i` of `from`, and how far from the
/// first to the second, in 1/256.
fn between(i: usize, from: usize, to: usize) -> (usize, usize, i64) {
    // Sides are at most 4096 patches.
    let (from, to) = (from.max(1) as i64, to.max(1) as i64);
    let half = 1 << (PLACE_BITS - 1);
    let place = (2 * i as i64 + 1) * to * half / from - half;
    let place = place.clamp(0, (to - 1) << PLACE_BITS);
    let first = place >> PLACE_BITS;
    (
        first as usize,
        (first + 1).min(to - 1) as usize,
        place - (first << PLACE_BITS),
    )
}
