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

    /// Never: a grid has at least one patch.
    pub const fn is_empty(&self) -> bool {
        false
    }
}
