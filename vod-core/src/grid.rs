//! The patch grid of a frame.

use crate::bank::MAX_GRID_SIDE;

/// Height and width of a frame in patches; both from 1 to [`MAX_GRID_SIDE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Grid {
    height: usize,
    width: usize,
}

impl Grid {
    /// A grid of `height x width` patches, `None` where a side is 0 or too long.
    pub const fn new(height: usize, width: usize) -> Option<Self> {
        if height == 0 || width == 0 || height > MAX_GRID_SIDE || width > MAX_GRID_SIDE {
            None
        } else {
            Some(Self { height, width })
        }
    }

    /// Rows of patches.
    pub const fn height(&self) -> usize {
        self.height
    }

    /// Patches in a row.
    pub const fn width(&self) -> usize {
        self.width
    }

    /// All patches.
    pub const fn len(&self) -> usize {
        self.height * self.width
    }

    /// Width in patches of a margin of `share` / 65536 of the shorter side, rounded down.
    pub const fn margin(&self, share: u16) -> usize {
        let shorter = if self.height < self.width {
            self.height
        } else {
            self.width
        };
        (shorter * share as usize) >> 16
    }

    /// Patches that a margin of `margin` patches along each edge leaves.
    pub const fn inner_len(&self, margin: usize) -> usize {
        self.height.saturating_sub(2 * margin) * self.width.saturating_sub(2 * margin)
    }

    /// Whether patch `index`, counted row by row, is one that such a margin leaves.
    pub const fn is_inner(&self, index: usize, margin: usize) -> bool {
        let (y, x) = (index / self.width, index % self.width);
        y >= margin && y + margin < self.height && x >= margin && x + margin < self.width
    }

    /// Never: a grid has at least one patch.
    pub const fn is_empty(&self) -> bool {
        false
    }
}
