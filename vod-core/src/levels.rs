//! Several levels of one frame: its patches at the input size, at half of it and at a quarter.

use crate::bank::Levels;
use crate::error::FrameError;
use crate::grid::Grid;
use crate::map::{rounded_mean, take_off_background};
use crate::scorer::{FrameScore, Scorer};

/// Fraction bits of a place between two patches.
const PLACE_BITS: u32 = 8;

/// Most levels below the finest.
const COARSER: usize = Levels::ALL.len() - 1;

/// What goes in at one level of a frame.
#[derive(Clone, Copy, Debug)]
pub struct LevelFeatures<'f> {
    /// The level's patches.
    pub grid: Grid,
    /// Their features, `[height, width, dimension]`.
    pub features: &'f [i8],
}

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
/// the centres of its patches. The map is whole then, and [`take_off_background`] comes next.
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
    let count = coarser.len() + 1;
    let mut map_max = i32::MIN;
    for (y, row) in map.chunks_exact_mut(grid.width().max(1)).enumerate() {
        for (x, slot) in row.iter_mut().enumerate() {
            let there = coarser.iter().map(|level| level.at(grid, y, x));
            *slot = rounded_mean(i64::from(*slot) + there.sum::<i64>(), count);
            map_max = map_max.max(*slot);
        }
    }
    let scores = coarser.iter().map(|level| i64::from(level.frame.score));
    Ok(FrameScore {
        score: rounded_mean(i64::from(fine.score) + scores.sum::<i64>(), count),
        threshold: fine.threshold,
        map_max,
    })
}

impl Scorer<'_> {
    /// Scores a whole frame at the levels that the bank looks at, the finest first. `map` has room for
    /// the patches of all; the finest's, `[height, width]`, come first and are the frame's map, what
    /// lies behind it are patch scores of the others. `scratch` is what the finest level needs
    /// ([`Self::scratch_len_for`]), if none is larger.
    ///
    /// # Errors
    /// [`FrameError::Levels`] where there are more or fewer levels than the bank looks at, others where
    /// a length does not fit or the scratch is too short.
    pub fn score_levels(
        &self,
        levels: &[LevelFeatures],
        map: &mut [i32],
        scratch: &mut [i32],
    ) -> Result<FrameScore, FrameError> {
        let wanted = self.bank().parts().image_score.levels.count();
        let Some((fine, coarser)) = levels.split_first().filter(|_| levels.len() == wanted) else {
            return Err(FrameError::Levels {
                expected: wanted,
                found: levels.len(),
            });
        };
        let expected = levels.iter().map(|level| level.grid.len()).sum();
        let found = map.len();
        let wrong = FrameError::MapLength { expected, found };
        if expected != found {
            return Err(wrong);
        }
        let split = map.split_at_mut_checked(fine.grid.len());
        let (map, mut rest) = split.ok_or(wrong)?;
        let frame = self.score_level(fine, true, map, scratch)?;
        let mut below = [Level {
            frame,
            grid: fine.grid,
            map: &[],
        }; COARSER];
        for (slot, level) in below.iter_mut().zip(coarser) {
            let split = rest.split_at_mut_checked(level.grid.len());
            let (scores, behind) = split.ok_or(wrong)?;
            *slot = Level {
                frame: self.score_level(level, false, scores, scratch)?,
                grid: level.grid,
                map: scores,
            };
            rest = behind;
        }
        let merged = match below.get(..coarser.len()) {
            None | Some([]) => frame,
            Some(below) => merge_levels(frame, fine.grid, map, below)?,
        };
        take_off_background(self.bank(), merged, fine.grid, map)
    }
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

/// The two patches of `to` whose centres lie around that of patch `i` of `from`, and how far from the
/// first to the second, in 1/256.
fn between(i: usize, from: usize, to: usize) -> (usize, usize, i64) {
    // Sides are at most 4096 patches, so that the products stay below 2^32.
    let (i, from, to) = (i as u32, (from as u32).max(1), (to as u32).max(1));
    let half = 1 << (PLACE_BITS - 1);
    let place = ((2 * i + 1) * to * half / from).saturating_sub(half);
    let place = place.min((to - 1) << PLACE_BITS);
    let first = place >> PLACE_BITS;
    let across = place - (first << PLACE_BITS);
    (
        first as usize,
        (first + 1).min(to - 1) as usize,
        across.into(),
    )
}
