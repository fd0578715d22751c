//! RAM for a frame.

/// Buffers that a board lends.
#[derive(Debug)]
pub struct Memory<'m> {
    /// One row of features, `[width, dimension]`; for a frame of pixels, the rows between the
    /// network's layers (`Network::scratch_len`) and a pixel row.
    pub row: &'m mut [i8],
    /// The map of a frame, and behind it the patch scores of its coarser levels: 5/16 as many, of
    /// three levels.
    pub map: &'m mut [i32],
    /// Scores in the making, then the labels of regions: as long as the map.
    pub scratch: &'m mut [i32],
}

impl Memory<'_> {
    /// Most patches of a frame, those of all its levels together.
    pub fn max_patches(&self) -> usize {
        self.map.len().min(self.scratch.len())
    }
}

/// Memory for rows of up to `ROW` bytes and frames of up to `PATCHES` patches at all their levels.
#[derive(Debug)]
pub struct Buffers<const ROW: usize, const PATCHES: usize> {
    row: [i8; ROW],
    map: [i32; PATCHES],
    scratch: [i32; PATCHES],
}

impl<const ROW: usize, const PATCHES: usize> Default for Buffers<ROW, PATCHES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const ROW: usize, const PATCHES: usize> Buffers<ROW, PATCHES> {
    /// Empty ones, for a `static`.
    pub const fn new() -> Self {
        Self {
            row: [0; ROW],
            map: [0; PATCHES],
            scratch: [0; PATCHES],
        }
    }

    /// Lends them.
    pub const fn memory(&mut self) -> Memory<'_> {
        Memory {
            row: &mut self.row,
            map: &mut self.map,
            scratch: &mut self.scratch,
        }
    }
}
