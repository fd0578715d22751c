//! Scoring of patches, rows and frames (method, steps 5, 7, 8; "The device's arithmetic").

use crate::arch::{Kernel, QUERY_BLOCK};
use crate::bank::{Bank, Levels, ScoreStage};
use crate::error::FrameError;
use crate::grid::Grid;
use crate::levels::LevelFeatures;
use crate::map::{Top, inner, reach, smooth_column, smooth_row, take_off_background};
use crate::pruned::{self, SearchStats};
use crate::residual::{Nearest, residual};
#[cfg(feature = "std")]
use crate::value_order::WeightSums;
use crate::value_order::{Decomposition, decompose, weighted_values};

/// Fraction bits of the residual's length that `distance_weight` multiplies.
pub const LENGTH_BITS: u32 = 8;

/// Score of one patch in the bank's fixed-point units, and what it was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PatchScore {
    /// The higher, the more anomalous; same scale as [`FrameScore::score`].
    pub score: i32,
    /// The reference row that the residual was taken from.
    pub nearest: Nearest,
}

/// Verdict on one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameScore {
    /// Image score: mean of the top patches.
    pub score: i32,
    /// The bank's threshold.
    pub threshold: i32,
    /// Highest value of the map.
    pub map_max: i32,
}

impl FrameScore {
    /// Whether the score reaches the threshold.
    pub const fn anomalous(&self) -> bool {
        self.score >= self.threshold
    }
}

/// Scores patch features against a bank. Holds no state of a frame; that is in the caller's scratch.
#[derive(Clone, Debug)]
pub struct Scorer<'b> {
    bank: &'b Bank<'b>,
    kernel: Kernel,
    pruned: bool,
    /// Whether any value has a weight; the sum over the values is 0 where none has.
    by_values: bool,
}

impl<'b> Scorer<'b> {
    /// A scorer with the best kernel that this machine runs, pruned where that is faster.
    pub fn new(bank: &'b Bank<'b>) -> Self {
        let kernel = Kernel::best();
        Self::with_kernel(bank, kernel).pruned(kernel.gains_by_pruning())
    }

    /// A scorer with a kernel of the caller's choice that looks at every row; the scores are the same
    /// with each.
    pub fn with_kernel(bank: &'b Bank<'b>, kernel: Kernel) -> Self {
        Self {
            bank,
            kernel,
            pruned: false,
            by_values: bank.weights().any(|weight| weight != 0),
        }
    }

    /// Whether searches of the whole bank stop at a row as soon as it can't be the nearest. The scores
    /// are the same; the time then depends on the frame, and is that of brute force or more where
    /// neighbouring patches have nothing in common.
    pub fn pruned(mut self, pruned: bool) -> Self {
        self.pruned = pruned;
        self
    }

    /// The bank that is scored against.
    pub fn bank(&self) -> &'b Bank<'b> {
        self.bank
    }

    /// Nearest row of the whole bank. `None` where `patch` is not `[dimension]`.
    pub fn nearest(&self, patch: &[i8]) -> Option<Nearest> {
        if patch.len() != self.bank.dimension() {
            return None;
        }
        let mut out = [Nearest::NONE; 1];
        self.kernel
            .nearest(self.bank, 0..self.bank.row_count(), patch, &mut out);
        Some(out[0])
    }

    /// Nearest rows of many patches, `[n, dimension]`, by the pruned search; writes as many as `out` has
    /// room for. Says what the search cost.
    pub fn nearest_of_all_pruned(&self, patches: &[i8], out: &mut [Nearest]) -> SearchStats {
        let mut stats = SearchStats::default();
        let mut guess = 0;
        let patches = patches.chunks_exact(self.bank.dimension().max(1));
        for (patch, out) in patches.zip(out) {
            *out = pruned::nearest(self.bank, patch, guess, &mut stats);
            guess = out.row;
        }
        stats
    }

    /// Nearest rows of many patches, `[n, dimension]`; writes as many as `out` has room for.
    pub fn nearest_of_all(&self, patches: &[i8], out: &mut [Nearest]) {
        if self.pruned {
            self.nearest_of_all_pruned(patches, out);
            return;
        }
        out.fill(Nearest::NONE);
        let all = 0..self.bank.row_count();
        self.kernel.nearest(self.bank, all, patches, out);
    }

    /// Scores one patch against the whole bank. `None` where `patch` is not `[dimension]`.
    pub fn score_patch(&self, patch: &[i8]) -> Option<PatchScore> {
        let nearest = self.nearest(patch)?;
        Some(self.score_against(patch, nearest))
    }

    /// Scores the patch at `(y, x)` of the grid as [`Self::score_frame`] does before smoothing: where
    /// the bank searches by position, against the rows from nearby cells. `None` where `patch` is not
    /// `[dimension]` or lies outside the bank's grid.
    pub fn score_patch_at(&self, y: usize, x: usize, patch: &[i8]) -> Option<PatchScore> {
        if !self.bank.is_aligned() {
            return self.score_patch(patch);
        }
        let grid = self.bank.grid()?;
        if patch.len() != self.bank.dimension() || y >= grid.height() || x >= grid.width() {
            return None;
        }
        Some(self.score_against(patch, self.nearest_near(y, x, patch)))
    }

    /// The score of a patch whose nearest row is known.
    fn score_against(&self, patch: &[i8], nearest: Nearest) -> PatchScore {
        if !self.by_values {
            return self.patch_score(0, nearest);
        }
        let residual = residual(patch, self.bank.row(nearest.row as usize));
        let kind = self.bank.parts().values;
        let weighted = weighted_values(residual, kind, self.bank.weights());
        self.patch_score(weighted, nearest)
    }

    /// The score of a patch from the weighted sum over its residual's values.
    fn patch_score(&self, weighted: i64, nearest: Nearest) -> PatchScore {
        let parts = self.bank.parts();
        let length = length(nearest.distance2);
        let sum = weighted.saturating_add(i64::from(parts.distance_weight).saturating_mul(length));
        let half = (1i64 << parts.shift) >> 1;
        let score = sum.saturating_add(half) >> parts.shift;
        PatchScore {
            // Half the range: sums and differences of two scores stay within i32.
            score: score.clamp(i64::from(i32::MIN / 2), i64::from(i32::MAX / 2)) as i32,
            nearest,
        }
    }

    /// Values and order of a patch's residual to its nearest row, in the caller's buffers of
    /// `dimension` each. `None` where `patch` is not `[dimension]`.
    pub fn decompose<'s>(
        &self,
        patch: &[i8],
        values: &'s mut [i16],
        order: &'s mut [u16],
    ) -> Option<Decomposition<'s>> {
        let nearest = self.nearest(patch)?;
        let row = self.bank.row(nearest.row as usize);
        let kind = self.bank.parts().values;
        Some(decompose(residual(patch, row), kind, values, order))
    }

    /// Scores row `y` of a grid into `out`, `[width]`. `features` starts with the row,
    /// `[width, dimension]`; what follows are the rows below, as far as they are known.
    fn score_row(&self, y: usize, features: &[i8], out: &mut [i32], ahead: &mut Ahead) {
        let mut rest = features;
        for (x, slot) in out.iter_mut().enumerate() {
            let Some((patch, after)) = rest.split_at_checked(self.bank.dimension()) else {
                return;
            };
            let nearest = if self.bank.is_aligned() {
                self.nearest_near(y, x, patch)
            } else {
                ahead.next(|found| self.nearest_of_all(rest, found))
            };
            *slot = ahead.score(self, patch, nearest).score;
            rest = after;
        }
    }

    /// Nearest of the rows from cells within the bank's radius of `(y, x)`; of the whole bank where
    /// there is none.
    fn nearest_near(&self, y: usize, x: usize, patch: &[i8]) -> Nearest {
        let radius = usize::from(self.bank.parts().radius);
        let Some(grid) = self.bank.grid() else {
            return Nearest::NONE;
        };
        let mut best = [Nearest::NONE; 1];
        let bottom = y.saturating_add(radius).min(grid.height() - 1);
        let right = x.saturating_add(radius).min(grid.width() - 1);
        for cell_y in y.saturating_sub(radius)..=bottom {
            let rows = self.bank.cell_rows(cell_y, x.saturating_sub(radius), right);
            self.kernel.nearest(self.bank, rows, patch, &mut best);
        }
        if best[0] == Nearest::NONE {
            let all = 0..self.bank.row_count();
            self.kernel.nearest(self.bank, all, patch, &mut best);
        }
        best[0]
    }

    /// Patches whose mean is the image score, of `patches` that it counts.
    pub const fn top_count(top_share: u16, patches: usize) -> usize {
        let count = (patches as u64 * top_share as u64 + (1 << 15)) >> 16;
        if count == 0 { 1 } else { count as usize }
    }

    /// Patches whose scores before smoothing have a part in the image score of [`ScoreStage::Both`].
    const fn sharp_count(top_share: u16, patches: usize) -> usize {
        Self::top_count(top_share / 3, patches)
    }

    /// Words of scratch that a frame of `grid` needs, whatever its margin.
    pub const fn scratch_len(grid: Grid, radius: usize, top_share: u16) -> usize {
        let tops =
            Self::top_count(top_share, grid.len()) + Self::sharp_count(top_share, grid.len());
        (2 * radius + 2) * grid.width() + tops
    }

    /// Words of scratch that this bank needs for a frame of `grid`.
    pub fn scratch_len_for(&self, grid: Grid) -> usize {
        let parts = self.bank.parts();
        Self::scratch_len(grid, reach(&parts.taps), parts.top_share)
    }

    /// Starts a frame, or one level of it, that arrives row by row.
    ///
    /// # Errors
    /// [`FrameError::Scratch`] where `scratch` is shorter than [`Self::scratch_len_for`];
    /// [`FrameError::Grid`] where the bank is for another grid and searches by position.
    pub fn stream<'s>(
        &'s self,
        grid: Grid,
        scratch: &'s mut [i32],
    ) -> Result<Stream<'s, 'b>, FrameError> {
        if self.bank.is_aligned() && self.bank.grid() != Some(grid) {
            return Err(FrameError::Grid);
        }
        let parts = self.bank.parts();
        let reach = reach(&parts.taps);
        let margin = self.bank.margin(grid);
        let counted = grid.inner_len(margin);
        let top = Self::top_count(parts.top_share, counted);
        let needed = self.scratch_len_for(grid);
        let short = FrameError::Scratch {
            expected: needed,
            found: scratch.len(),
        };
        let scratch = scratch.get_mut(..needed).ok_or(short)?;
        let sharp = Self::sharp_count(parts.top_share, counted);
        let (heap, rest) = scratch.split_at_mut_checked(top).ok_or(short)?;
        let (sharp, rows) = rest.split_at_mut_checked(sharp).ok_or(short)?;
        let (raw, ring) = rows.split_at_mut_checked(grid.width()).ok_or(short)?;
        Ok(Stream {
            scorer: self,
            grid,
            reach,
            margin,
            pushed: 0,
            popped: 0,
            raw,
            ring,
            top: Top::new(heap),
            sharp: Top::new(sharp),
            map_max: i32::MIN,
        })
    }

    /// Goes on with a frame that was paused. `scratch` holds what it held then; other contents give
    /// another score.
    ///
    /// # Errors
    /// As [`Self::stream`].
    pub fn resume<'s>(
        &'s self,
        paused: PausedStream,
        scratch: &'s mut [i32],
    ) -> Result<Stream<'s, 'b>, FrameError> {
        let mut stream = self.stream(paused.grid, scratch)?;
        stream.pushed = paused.pushed;
        stream.popped = paused.popped;
        stream.top.resume(paused.top_len);
        stream.sharp.resume(paused.sharp_len);
        stream.map_max = paused.map_max;
        Ok(stream)
    }

    /// Scores a whole frame: `features` is `[height, width, dimension]`, `map` (out) is
    /// `[height, width]`, smoothed.
    ///
    /// # Errors
    /// [`FrameError`] where a length does not fit the grid or the scratch is too short;
    /// [`FrameError::Levels`] for a bank that looks at several levels ([`Self::score_levels`]).
    pub fn score_frame(
        &self,
        grid: Grid,
        features: &[i8],
        map: &mut [i32],
        scratch: &mut [i32],
    ) -> Result<FrameScore, FrameError> {
        let levels = self.bank.parts().image_score.levels;
        if levels != Levels::One {
            return Err(FrameError::Levels {
                expected: levels.count(),
                found: 1,
            });
        }
        if map.len() != grid.len() {
            return Err(FrameError::MapLength {
                expected: grid.len(),
                found: map.len(),
            });
        }
        // Not by way of `score_levels`: firmware for one level need not hold what merges several.
        let level = LevelFeatures { grid, features };
        let frame = self.score_level(&level, true, map, scratch)?;
        take_off_background(self.bank, frame, grid, map)
    }

    /// Scores one level into `map`, `[height, width]`: its smoothed map, or its patch scores.
    pub(crate) fn score_level(
        &self,
        level: &LevelFeatures,
        smoothed: bool,
        map: &mut [i32],
        scratch: &mut [i32],
    ) -> Result<FrameScore, FrameError> {
        let LevelFeatures { grid, features } = *level;
        let row_len = grid.width() * self.bank.dimension();
        let expected = row_len.saturating_mul(grid.height());
        if features.len() != expected {
            return Err(FrameError::FeatureLength {
                expected,
                found: features.len(),
            });
        }
        let mut stream = self.stream(grid, scratch)?;
        let mut map_rows = map.chunks_exact_mut(grid.width().max(1));
        let mut ahead = Ahead::new();
        for y in 0..grid.height() {
            stream.push_known(features.get(y * row_len..).unwrap_or_default(), &mut ahead)?;
            if !smoothed {
                let row = map_rows.next().into_iter().flatten();
                for (slot, &score) in row.zip(stream.patch_scores()) {
                    *slot = score;
                }
            }
            while stream.ready() {
                if !smoothed {
                    stream.skip_row();
                } else if let Some(out) = map_rows.next() {
                    stream.pop_row(out);
                } else {
                    break;
                }
            }
        }
        stream.finish()
    }
}

/// `sqrt(distance2)` in 1/256, rounded down.
#[cfg(not(feature = "std"))]
fn length(distance2: u32) -> i64 {
    (u64::from(distance2) << (2 * LENGTH_BITS)).isqrt() as i64
}

/// `sqrt(distance2)` in 1/256, rounded down. An IEEE square root of a number below 2^52 rounds down to
/// the integer one, and takes a tenth of its time.
#[cfg(feature = "std")]
fn length(distance2: u32) -> i64 {
    ((u64::from(distance2) << (2 * LENGTH_BITS)) as f64).sqrt() as i64
}

/// What is found once for many patches: the nearest rows of the patches to come, so that a kernel gets
/// whole blocks of patches where the rows of a grid are shorter or longer than a block, and sums of
/// the weights where memory is plenty.
struct Ahead {
    nearest: [Nearest; QUERY_BLOCK],
    taken: usize,
    #[cfg(feature = "std")]
    sums: WeightSums,
}

impl Ahead {
    fn new() -> Self {
        Self {
            nearest: [Nearest::NONE; QUERY_BLOCK],
            taken: QUERY_BLOCK,
            #[cfg(feature = "std")]
            sums: WeightSums::new(),
        }
    }

    /// Scores a patch whose nearest row is known.
    fn score(&mut self, scorer: &Scorer, patch: &[i8], nearest: Nearest) -> PatchScore {
        if !scorer.by_values {
            return scorer.patch_score(0, nearest);
        }
        let bank = scorer.bank;
        let row = bank.row(nearest.row as usize);
        let residual = residual(patch, row);
        let kind = bank.parts().values;
        #[cfg(feature = "std")]
        let weighted = {
            self.sums.fill(bank.weights());
            let sums = self.sums.as_slice();
            let fast = scorer.kernel.weighted_values(patch, row, kind, sums);
            fast.unwrap_or_else(|| self.sums.weighted_values(residual, kind))
        };
        #[cfg(not(feature = "std"))]
        let weighted = weighted_values(residual, kind, bank.weights());
        scorer.patch_score(weighted, nearest)
    }

    /// The next patch's; `search` fills a block from that patch on.
    fn next(&mut self, search: impl FnOnce(&mut [Nearest])) -> Nearest {
        if self.taken >= QUERY_BLOCK {
            search(&mut self.nearest);
            self.taken = 0;
        }
        let nearest = self.nearest.get(self.taken).copied();
        self.taken += 1;
        nearest.unwrap_or(Nearest::NONE)
    }
}

impl Nearest {
    /// What a search over no rows gives.
    pub(crate) const NONE: Self = Self {
        row: u32::MAX,
        distance2: u32::MAX,
    };
}

/// A frame in the making, at one level: rows of patch features in, rows of the smoothed map out.
///
/// The smoothed row `y` is ready once row `y + reach` was pushed, `reach` being that of the
/// smoothing kernel; the last ones are ready after the last push. RAM is `2 * reach + 2` rows of
/// scores, whatever the frame's height.
#[derive(Debug)]
pub struct Stream<'s, 'b> {
    scorer: &'s Scorer<'b>,
    grid: Grid,
    reach: usize,
    /// Patches along each edge that the image score leaves out.
    margin: usize,
    pushed: usize,
    popped: usize,
    raw: &'s mut [i32],
    ring: &'s mut [i32],
    top: Top<'s>,
    /// Patch scores before smoothing, for [`ScoreStage::Both`].
    sharp: Top<'s>,
    map_max: i32,
}

/// How far a frame is, without the scratch and the bank that its [`Stream`] borrows: for state
/// machines that hold these themselves.
#[derive(Clone, Copy, Debug)]
pub struct PausedStream {
    grid: Grid,
    pushed: usize,
    popped: usize,
    top_len: usize,
    sharp_len: usize,
    map_max: i32,
}

impl Stream<'_, '_> {
    /// Gives the scratch back; [`Scorer::resume`] goes on.
    pub fn pause(self) -> PausedStream {
        PausedStream {
            grid: self.grid,
            pushed: self.pushed,
            popped: self.popped,
            top_len: self.top.len(),
            sharp_len: self.sharp.len(),
            map_max: self.map_max,
        }
    }

    /// Scores the next row, `[width, dimension]`. Rows that are [`Self::ready`] are popped first.
    ///
    /// # Errors
    /// [`FrameError::FeatureLength`], or [`FrameError::RowCount`] for a row too many or while a
    /// ready row waits.
    pub fn push_row(&mut self, features: &[i8]) -> Result<(), FrameError> {
        let expected = self.grid.width() * self.scorer.bank.dimension();
        if features.len() != expected {
            return Err(FrameError::FeatureLength {
                expected,
                found: features.len(),
            });
        }
        self.push_known(features, &mut Ahead::new())
    }

    /// Scores the row that `features` starts with, as [`Scorer::score_row`] does.
    fn push_known(&mut self, features: &[i8], ahead: &mut Ahead) -> Result<(), FrameError> {
        if self.pushed == self.grid.height() || self.ready() {
            return Err(FrameError::RowCount);
        }
        let parts = self.scorer.bank.parts();
        self.scorer
            .score_row(self.pushed, features, self.raw, ahead);
        let top = match parts.image_score.stage {
            ScoreStage::Raw => Some(&mut self.top),
            ScoreStage::Smoothed => None,
            ScoreStage::Both => Some(&mut self.sharp),
        };
        if let Some(top) = top {
            let counted = inner(self.grid, self.margin, self.pushed, self.raw);
            counted.iter().for_each(|&score| top.offer(score));
        }
        let slot = ring_start(self.pushed, self.reach, self.grid.width());
        if let Some(row) = self.ring.get_mut(slot) {
            smooth_row(self.raw, &parts.taps, row);
        }
        self.pushed += 1;
        Ok(())
    }

    /// Scores of the row that was pushed last, `[width]`, before smoothing.
    pub fn patch_scores(&self) -> &[i32] {
        self.raw
    }

    /// Whether a smoothed row can be popped.
    pub fn ready(&self) -> bool {
        self.popped < self.pushed
            && (self.pushed > self.popped + self.reach || self.pushed == self.grid.height())
    }

    /// Writes the next smoothed row of the map to `out`, `[width]`; false where none is ready.
    pub fn pop_row(&mut self, out: &mut [i32]) -> bool {
        let width = self.grid.width();
        if !self.ready() || out.len() != width {
            return false;
        }
        let parts = self.scorer.bank.parts();
        let ring = &*self.ring;
        let row = |y| {
            ring.get(ring_start(y, self.reach, width))
                .unwrap_or_default()
        };
        smooth_column(row, self.grid.height(), self.popped, &parts.taps, out);
        self.map_max = out.iter().fold(self.map_max, |max, &score| max.max(score));
        if parts.image_score.stage != ScoreStage::Raw {
            let counted = inner(self.grid, self.margin, self.popped, out);
            counted.iter().for_each(|&score| self.top.offer(score));
        }
        self.popped += 1;
        true
    }

    /// As [`Self::pop_row`], for a map that is not wanted; [`Self::patch_scores`] are lost.
    pub fn skip_row(&mut self) -> bool {
        let raw = core::mem::take(&mut self.raw);
        let popped = self.pop_row(raw);
        self.raw = raw;
        popped
    }

    /// The verdict, once every row was pushed and popped; of a bank that looks at several levels, what
    /// this level has to say ([`crate::merge_levels`]). `map_max` is that of the rows that were popped: a
    /// map that is kept goes through [`take_off_background`].
    ///
    /// # Errors
    /// [`FrameError::RowCount`] where rows are missing.
    pub fn finish(self) -> Result<FrameScore, FrameError> {
        if self.popped != self.grid.height() {
            return Err(FrameError::RowCount);
        }
        let parts = self.scorer.bank.parts();
        let score = match parts.image_score.stage {
            ScoreStage::Raw | ScoreStage::Smoothed => self.top.mean(),
            // Half of the sum, rounded up; the sum alone might not fit.
            ScoreStage::Both => {
                ((i64::from(self.sharp.mean()) + i64::from(self.top.mean()) + 1) >> 1) as i32
            }
        };
        Ok(FrameScore {
            score,
            threshold: parts.threshold,
            map_max: self.map_max,
        })
    }
}

/// Where row `y` lies in a ring of `2 * reach + 1` rows.
fn ring_start(y: usize, reach: usize, width: usize) -> core::ops::Range<usize> {
    let start = (y % (2 * reach + 1)) * width;
    start..start + width
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_integer_square_roots() {
        let near_squares = (0..=u32::from(u16::MAX)).flat_map(|root| {
            let square = root * root;
            [square.saturating_sub(1), square, square + 1]
        });
        for distance2 in near_squares
            .chain((0..u32::MAX).step_by(65_521))
            .chain([u32::MAX])
        {
            let exact = (u64::from(distance2) << (2 * LENGTH_BITS)).isqrt();
            assert_eq!(length(distance2), exact as i64, "{distance2}");
        }
    }
}
