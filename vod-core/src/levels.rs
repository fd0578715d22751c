//! Several levels of one frame: its patches at the input size, at half of it and at a quarter.

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
    /// Its patch scores, `[height, width]`. Not smoothed: between its patches, which are large, the map
    /// is interpolated.
    pub map: &'m [i32],
}

/// Verdict of a frame from several levels: image score and map are the means of all. `map` is the finest
/// level's smoothed map, `[height, width]`, and becomes that of all; a coarser one is bilinear between
/// the centres of its patches.
///
/// # Errors
/// [`FrameError::MapLength`] where a map does not fit its grid.
pub fn merge_levels(
    fine: FrameScore,
    grid: Grid,
    map: &mut [i32],
    coarser: &[Level],
) -> Result<FrameScore, FrameError> {
    let fits = |grid: Grid, found: usize| match grid.len() {
        expected if expected != found => Err(FrameError::MapLength { expected, found }),
        _ => Ok(()),
    };
    fits(grid, map.len())?;
    for level in coarser {
        fits(level.grid, level.map.len())?;
    }
    let count = coarser.len() as i64 + 1;
    let mut map_max = i32::MIN;
    for (y, row) in map.chunks_exact_mut(grid.width().max(1)).enumerate() {
        for (x, slot) in row.iter_mut().enumerate() {
            let there = coarser.iter().map(|level| level.at(grid, y, x));
            *slot = mean(i64::from(*slot) + there.sum::<i64>(), count);
            map_max = map_max.max(*slot);
        }
    }
    let scores = coarser.iter().map(|level| i64::from(level.frame.score));
    Ok(FrameScore {
        score: mean(i64::from(fine.score) + scores.sum::<i64>(), count),
        threshold: fine.threshold,
        map_max,
    })
}

impl Level<'_> {
    /// Its map at the centre of patch (`y`, `x`) of the grid `fine`.
    fn at(&self, fine: Grid, y: usize, x: usize) -> i64 {
        let columns = self.grid.width();
        let (top, bottom, down) = between(y, fine.height(), self.grid.height());
        let (left, right, across) = between(x, fine.width(), columns);
        let value = |y: usize, x: usize| {
            let value = self.map.get(y * columns + x).copied().unwrap_or(0);
            i64::from(value)
        };
        let one = 1 << PLACE_BITS;
        let above = value(top, left) * (one - across) + value(top, right) * across;
        let below = value(bottom, left) * (one - across) + value(bottom, right) * across;
        let sum = above * (one - down) + below * down;
        let half = 1 << (2 * PLACE_BITS - 1);
        (sum + half) >> (2 * PLACE_BITS)
    }
}

/// Mean of `count` scores with this sum, halves up.
fn mean(sum: i64, count: i64) -> i32 {
    (2 * sum + count).div_euclid(2 * count) as i32
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
