//! Anomaly map: smoothing, the mean of the top patches, regions (method, step 8).

use core::hint::black_box;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::bank::{Bank, KERNEL_SUM, MAX_TAPS};
use crate::error::FrameError;
use crate::grid::Grid;
use crate::scorer::FrameScore;

/// Most regions that are reported of one frame, those with the highest peaks.
pub const MAX_REGIONS: usize = 16;

/// `(sum + 128) / 256`, rounded down.
pub(crate) fn rounded(sum: i64) -> i32 {
    let half = i64::from(KERNEL_SUM / 2);
    // Taps add up to KERNEL_SUM, and shares of it are below it, so the result fits.
    ((sum + half) >> KERNEL_SUM.trailing_zeros()) as i32
}

/// `sum taps * neighbours` along a row; beyond its ends the nearest patch counts.
fn weigh(scores: &[i32], x: usize, centre: u16, sides: &[u16]) -> i64 {
    let at = |x: usize| scores.get(x).copied().map_or(0, i64::from);
    let mut sum = i64::from(centre) * at(x);
    let reach = sides.len();
    let window = x
        .checked_sub(reach)
        .and_then(|start| scores.get(start..)?.get(..2 * reach + 1));
    if let Some((left, right)) = window.and_then(|window| window.split_at_checked(reach)) {
        let pairs = left.iter().rev().zip(right.iter().skip(1));
        for (&tap, (&left, &right)) in sides.iter().zip(pairs) {
            sum += i64::from(tap) * (i64::from(left) + i64::from(right));
        }
    } else {
        let last = scores.len().saturating_sub(1);
        for (&tap, offset) in sides.iter().zip(1..) {
            let pair = at(x.saturating_sub(offset)) + at((x + offset).min(last));
            sum += i64::from(tap) * pair;
        }
    }
    sum
}

/// Tap of the centre, and those of either side up to the last that is not 0.
fn split_taps(taps: &[u16; MAX_TAPS]) -> (u16, &[u16]) {
    let [centre, sides @ ..] = taps;
    (*centre, sides.get(..reach(taps)).unwrap_or_default())
}

/// Smooths one row of patch scores along the row into `out` (same length).
pub(crate) fn smooth_row(scores: &[i32], taps: &[u16; MAX_TAPS], out: &mut [i32]) {
    let (centre, sides) = split_taps(taps);
    for (x, slot) in out.iter_mut().enumerate() {
        *slot = rounded(weigh(scores, x, centre, sides));
    }
}

/// Smooths across rows: `row(y)` is the row-smoothed row `y` of `height`.
pub(crate) fn smooth_column<'r>(
    row: impl Fn(usize) -> &'r [i32],
    height: usize,
    y: usize,
    taps: &[u16; MAX_TAPS],
    out: &mut [i32],
) {
    let (centre, sides) = split_taps(taps);
    let last = height.saturating_sub(1);
    let mut pairs: [(&[i32], &[i32]); MAX_TAPS - 1] = Default::default();
    for (pair, (_, offset)) in pairs.iter_mut().zip(sides.iter().zip(1..)) {
        *pair = (row(y.saturating_sub(offset)), row((y + offset).min(last)));
    }
    for (x, (slot, &score)) in out.iter_mut().zip(row(y)).enumerate() {
        let mut sum = i64::from(centre) * i64::from(score);
        for (&tap, (above, below)) in sides.iter().zip(&pairs) {
            let at = |row: &[i32]| row.get(x).copied().map_or(0, i64::from);
            sum += i64::from(tap) * (at(above) + at(below));
        }
        *slot = rounded(sum);
    }
}

/// Mean of `count` scores with this sum, rounded to the nearest, halves up.
// Once in a device's code, as `Top::offer`.
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn rounded_mean(sum: i64, count: usize) -> i32 {
    let count = (count as i64).max(1);
    (sum + count / 2).div_euclid(count) as i32
}

/// Background of a map, `[height, width]`: its mean in the margin that the image score leaves out, in the
/// units of patch scores; `None` without a margin.
pub fn background(bank: &Bank, grid: Grid, map: &[i32]) -> Option<i32> {
    let margin = bank.margin(grid);
    let mut sum = total(map);
    for (y, row) in map.chunks_exact(grid.width().max(1)).enumerate() {
        sum -= total(inner(grid, margin, y, row));
    }
    let count = grid.len() - grid.inner_len(margin);
    (count > 0).then(|| rounded_mean(sum, count))
}

/// Sum of scores.
// Once in a device's code, as `Top::offer`; and `black_box`, since unrolled it is four times as long.
#[cfg_attr(not(feature = "std"), inline(never))]
fn total(scores: &[i32]) -> i64 {
    scores
        .iter()
        .fold(0, |sum, &score| sum + i64::from(black_box(score)))
}

/// The scores of row `y` of a frame that a margin of `margin` patches leaves: none of a row in it.
// Once in a device's code, as `Top::offer`.
#[cfg_attr(not(feature = "std"), inline(never))]
pub(crate) fn inner(grid: Grid, margin: usize, y: usize, row: &[i32]) -> &[i32] {
    if y < margin || y + margin >= grid.height() {
        return &[];
    }
    let right = grid.width().saturating_sub(margin);
    row.get(margin..right).unwrap_or_default()
}

/// Takes off a whole map, `[height, width]`, a share of what its [`background`] is above the usual one
/// ([`crate::Background`]), or adds one of what it is below; gives the frame's verdict with the map's highest value as it is then. What lies
/// all over a frame is light or focus rather than a defect.
///
/// Once for each map that was taken row by row or merged from levels; [`crate::Scorer::score_frame`] and
/// [`crate::Scorer::score_levels`] have done it.
///
/// # Errors
/// [`FrameError::MapLength`] where the map does not fit the grid.
pub fn take_off_background(
    bank: &Bank,
    frame: FrameScore,
    grid: Grid,
    map: &mut [i32],
) -> Result<FrameScore, FrameError> {
    if map.len() != grid.len() {
        return Err(FrameError::MapLength {
            expected: grid.len(),
            found: map.len(),
        });
    }
    let kept = bank.parts().image_score.background;
    let Some(found) = background(bank, grid, map).filter(|_| kept.share != 0) else {
        return Ok(frame);
    };
    let off = kept.off(found);
    let mut map_max = i32::MIN;
    for score in map {
        // As in `total`.
        *score = black_box(*score).saturating_sub(off);
        map_max = map_max.max(*score);
    }
    Ok(FrameScore { map_max, ..frame })
}

/// Rows on either side that smoothing reaches.
pub(crate) fn reach(taps: &[u16; MAX_TAPS]) -> usize {
    taps.iter().rposition(|&t| t != 0).unwrap_or(0)
}

/// The highest of the values that were offered, in a buffer of the caller's (a binary min-heap).
#[derive(Debug)]
pub(crate) struct Top<'s> {
    heap: &'s mut [i32],
    len: usize,
}

impl<'s> Top<'s> {
    pub(crate) fn new(heap: &'s mut [i32]) -> Self {
        Self { heap, len: 0 }
    }

    /// Goes on with a buffer that holds `len` values already.
    pub(crate) fn resume(&mut self, len: usize) {
        self.len = len.min(self.heap.len());
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    fn less(&self, a: usize, b: usize) -> bool {
        match (self.heap.get(a), self.heap.get(b)) {
            (Some(a), Some(b)) => a < b,
            _ => false,
        }
    }

    fn swap(&mut self, a: usize, b: usize) {
        if a < self.heap.len() && b < self.heap.len() {
            self.heap.swap(a, b);
        }
    }

    // Called from several places, and code is what a device has little of.
    #[cfg_attr(not(feature = "std"), inline(never))]
    pub(crate) fn offer(&mut self, value: i32) {
        if let Some(slot) = self.heap.get_mut(self.len) {
            *slot = value;
            let mut child = self.len;
            self.len += 1;
            while child > 0 && self.less(child, (child - 1) / 2) {
                self.swap(child, (child - 1) / 2);
                child = (child - 1) / 2;
            }
            return;
        }
        match self.heap.first_mut() {
            Some(least) if value > *least => *least = value,
            _ => return,
        }
        let mut parent = 0;
        loop {
            let left = 2 * parent + 1;
            if left >= self.len {
                return;
            }
            let child = if self.less(left + 1, left) {
                left + 1
            } else {
                left
            };
            if !self.less(child, parent) {
                return;
            }
            self.swap(child, parent);
            parent = child;
        }
    }

    /// Mean of the values kept, rounded to the nearest, halves up.
    pub(crate) fn mean(&self) -> i32 {
        let kept = self.heap.get(..self.len).unwrap_or_default();
        let sum: i64 = kept.iter().map(|&v| i64::from(v)).sum();
        rounded_mean(sum, kept.len())
    }
}

/// A connected part (8 neighbours) of the map at or above a threshold, in patches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Region {
    /// First row of its box.
    pub top: u16,
    /// First column of its box.
    pub left: u16,
    /// Last row of its box.
    pub bottom: u16,
    /// Last column of its box.
    pub right: u16,
    /// Patches in it.
    pub area: u32,
    /// Highest smoothed score in it.
    pub peak: i32,
}

/// Regions of a smoothed `map` at or above `threshold`, highest peak first.
///
/// `labels` is scratch of the map's length. Of more than [`MAX_REGIONS`] the highest are kept.
///
/// # Errors
/// [`FrameError::MapLength`], [`FrameError::Scratch`] where a buffer does not fit the grid.
pub fn regions(
    map: &[i32],
    grid: Grid,
    threshold: i32,
    labels: &mut [u32],
) -> Result<Vec<Region, MAX_REGIONS>, FrameError> {
    if map.len() != grid.len() {
        return Err(FrameError::MapLength {
            expected: grid.len(),
            found: map.len(),
        });
    }
    let found = labels.len();
    let labels = labels.get_mut(..grid.len()).ok_or(FrameError::Scratch {
        expected: grid.len(),
        found,
    })?;
    labels.fill(UNSEEN);
    let mut regions: Vec<Region, MAX_REGIONS> = Vec::new();
    for first in 0..map.len() {
        if let Some(region) = grow(map, grid, threshold, labels, first) {
            if regions.is_full() {
                if regions.last().is_some_and(|r| r.peak >= region.peak) {
                    continue;
                }
                regions.pop();
            }
            // There is room now.
            let _ = regions.push(region);
            for place in (1..regions.len()).rev() {
                match regions.get_mut(place - 1..=place) {
                    Some([before, after]) if before.peak < after.peak => {
                        core::mem::swap(before, after);
                    }
                    _ => break,
                }
            }
        }
    }
    Ok(regions)
}

const UNSEEN: u32 = u32::MAX;
const END: u32 = u32::MAX - 1;

/// The component of patch `first`, `None` where it was seen before or lies below the threshold.
///
/// Breadth first; the queue is a linked list in `labels`, so that each patch costs one word.
fn grow(
    map: &[i32],
    grid: Grid,
    threshold: i32,
    labels: &mut [u32],
    first: usize,
) -> Option<Region> {
    // A grid is at least one wide; `max` tells the compiler.
    let (height, width) = (grid.height(), grid.width().max(1));
    let unseen = |labels: &[u32], index: usize| {
        labels.get(index) == Some(&UNSEEN) && map.get(index).is_some_and(|&v| v >= threshold)
    };
    if !unseen(labels, first) {
        return None;
    }
    *labels.get_mut(first)? = END;
    let mut region = Region {
        top: (first / width) as u16,
        left: (first % width) as u16,
        bottom: 0,
        right: 0,
        area: 0,
        peak: i32::MIN,
    };
    let (mut head, mut tail) = (first, first);
    loop {
        let (y, x) = (head / width, head % width);
        region.left = region.left.min(x as u16);
        region.right = region.right.max(x as u16);
        region.bottom = region.bottom.max(y as u16);
        region.area += 1;
        region.peak = region.peak.max(map.get(head).copied().unwrap_or(i32::MIN));
        for ny in y.saturating_sub(1)..(y + 2).min(height) {
            for nx in x.saturating_sub(1)..(x + 2).min(width) {
                let next = ny * width + nx;
                if unseen(labels, next) {
                    *labels.get_mut(next)? = END;
                    *labels.get_mut(tail)? = next as u32;
                    tail = next;
                }
            }
        }
        match labels.get(head) {
            Some(&next) if next != END => head = next as usize,
            _ => return Some(region),
        }
    }
}
