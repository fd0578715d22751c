//! The reference bank as it lies in flash: checked once, then reads can't fail.
//!
//! File format, byte for byte: `docs/bank-format.md`.

use core::fmt;

use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::container;
pub use crate::container::{HEADER_LEN, TRAILER_LEN, checksum, file_len};
use crate::error::BankError;
use crate::grid::Grid;
use crate::map::rounded;

/// First bytes of every bank.
pub const MAGIC: [u8; 4] = *b"VODB";
/// Format version that this library writes and reads.
pub const VERSION: u16 = 1;
/// Largest number of channels of a patch feature.
pub const MAX_DIMENSION: usize = 4096;
/// Largest number of bank rows.
pub const MAX_ROWS: usize = 1 << 24;
/// Largest number of patches along one side of a grid.
pub const MAX_GRID_SIDE: usize = 4096;
/// Taps on one side of the smoothing kernel, the centre included.
pub const MAX_TAPS: usize = 6;
/// What the taps of a whole smoothing kernel add up to.
pub const KERNEL_SUM: u32 = 256;

/// Which order statistics of the residual are scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ValueKind {
    /// `sort(r)`: the sign of a channel's residual counts.
    Signed,
    /// `sort(|r|)`: only its size counts.
    Magnitude,
}

/// Which map the image score is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScoreStage {
    /// The patch scores as they are: best for defects of one patch.
    Raw,
    /// The smoothed map: best for defects of many patches.
    Smoothed,
    /// A few patch scores as they are and the smoothed map, in equal parts: for defects of any size. Of
    /// the patch scores a third of the share counts.
    Both,
}

/// How many sizes of a frame are looked at. All of them are searched in the same rows, and what they give
/// is averaged ([`crate::merge_levels`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Levels {
    /// The frame at its input size.
    One,
    /// Also at half of it, for large defects.
    Two,
    /// Also at a quarter of it, for defects as large as the part.
    Three,
}

impl Levels {
    /// All numbers of levels, in ascending order.
    pub const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// How many they are.
    pub const fn count(self) -> usize {
        self as usize + 1
    }

    /// So many levels; `None` for another number of them than there can be.
    pub fn from_count(count: usize) -> Option<Self> {
        Self::ALL.get(count.checked_sub(1)?).copied()
    }
}

/// How image score and map are made of a frame's patch scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageScore {
    /// Map that it is taken from.
    pub stage: ScoreStage,
    /// Margin along the frame's edges that it leaves out, in 1/65536 of the shorter side, less than
    /// half of it ([`Grid::margin`]). What lies there is cut off by the frame, and where the framing
    /// varies from part to part it resembles no reference.
    pub margin: u16,
    /// Sizes of the frame that are looked at.
    pub levels: Levels,
    /// What of a frame's background is taken off its map.
    pub background: Background,
}

/// What of a frame's background is taken off its map ([`crate::take_off_background`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Background {
    /// Share of what lies above or below the usual background that is taken off, in 1/256.
    pub share: u8,
    /// The background of a typical normal frame, whose map stays as it is, in the units of patch scores;
    /// within half of i32's range.
    pub usual: i32,
}

impl Background {
    /// Maps stay as they are.
    pub const NONE: Self = Self { share: 0, usual: 0 };

    /// What is taken off the map of a frame whose background is `found`, rounded to the nearest.
    pub fn off(self, found: i32) -> i32 {
        rounded((i64::from(found) - i64::from(self.usual)) * i64::from(self.share))
    }
}

impl ImageScore {
    /// Over the whole frame, at one level.
    pub const fn whole(stage: ScoreStage) -> Self {
        Self {
            stage,
            margin: 0,
            levels: Levels::One,
            background: Background::NONE,
        }
    }
}

/// In a bank, a number that says stage, margin, levels and background as the variant of an enum does, and
/// margin and background where there may be one. Banks with neither and of one level are those of readers
/// that know none of them.
impl Serialize for ImageScore {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let stage = match self.stage {
            ScoreStage::Raw => 0,
            ScoreStage::Smoothed => 1,
            ScoreStage::Both => 2,
        };
        let kind: u8 = match (self.levels, self.margin) {
            (Levels::One, 0) => stage,
            (Levels::One, _) => stage + MARGIN_KINDS,
            (Levels::Two, _) => stage + TWO_LEVEL_KINDS,
            (Levels::Three, _) => stage + THREE_LEVEL_KINDS,
        };
        let background = self.background;
        let lower = kind + BACKGROUND_KINDS;
        match (kind >= MARGIN_KINDS, background == Background::NONE) {
            (false, true) => serializer.serialize_u8(kind),
            (true, true) => (kind, self.margin).serialize(serializer),
            (false, false) => (lower, background).serialize(serializer),
            (true, false) => (lower, self.margin, background).serialize(serializer),
        }
    }
}

/// First kind with a margin, first ones of two and three levels, and the first of all these with a
/// background.
const MARGIN_KINDS: u8 = 3;
const TWO_LEVEL_KINDS: u8 = 6;
const THREE_LEVEL_KINDS: u8 = 9;
const BACKGROUND_KINDS: u8 = 12;

impl<'de> Deserialize<'de> for ImageScore {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_tuple(4, ImageScoreVisitor)
    }
}

struct ImageScoreVisitor;

impl<'de> Visitor<'de> for ImageScoreVisitor {
    type Value = ImageScore;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a kind of image score, its margin and background")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut parts: A) -> Result<ImageScore, A::Error> {
        let missing = |place| A::Error::invalid_length(place, &self);
        let number: u8 = parts.next_element()?.ok_or_else(|| missing(0))?;
        let without = number.checked_sub(BACKGROUND_KINDS);
        let kind = without.unwrap_or(number);
        let stage = match kind % MARGIN_KINDS {
            0 => ScoreStage::Raw,
            1 => ScoreStage::Smoothed,
            _ => ScoreStage::Both,
        };
        let levels = match kind / MARGIN_KINDS {
            0 | 1 => Levels::One,
            2 => Levels::Two,
            3 => Levels::Three,
            _ => return Err(A::Error::custom("unknown kind of image score")),
        };
        let margin = if kind < MARGIN_KINDS {
            0
        } else {
            parts.next_element()?.ok_or_else(|| missing(1))?
        };
        let background = match without {
            Some(_) => Background {
                share: parts.next_element()?.ok_or_else(|| missing(2))?,
                usual: parts.next_element()?.ok_or_else(|| missing(3))?,
            },
            None => Background::NONE,
        };
        Ok(ImageScore {
            stage,
            margin,
            levels,
            background,
        })
    }
}

/// The body of a bank file in its order of encoding (postcard).
///
/// Written by the host; a device reads it through [`Bank`], which has checked it.
/// Numbers in byte slices are little-endian and need no alignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankParts<'a> {
    /// Channels of a patch feature, `D`.
    pub dimension: u16,
    /// Reference rows, `M`.
    pub row_count: u32,
    /// Height and width of the frame's patch grid; zeros where frames differ in size.
    pub grid: (u16, u16),
    /// Which values the discriminant weighs.
    pub values: ValueKind,
    /// Weight of the residual's length, in score units before the shift for a length of 1/256.
    pub distance_weight: i32,
    /// Right shift, with rounding, from the weighted sum to a patch score (0..=40).
    pub shift: u8,
    /// Smoothing taps from the centre outwards; `taps[0] + 2 * (taps[1] + ...) = 256`.
    pub taps: [u16; MAX_TAPS],
    /// Share of the patches whose mean is the image score, in 1/65536 (at least one patch).
    pub top_share: u16,
    /// How the image score is taken.
    pub image_score: ImageScore,
    /// Image score from which a frame is called anomalous.
    pub threshold: i32,
    /// Median image score of normal frames; below the threshold.
    pub normal_score: i32,
    /// Smoothed patch score from which a patch belongs to a region.
    pub map_threshold: i32,
    /// Reach of the position-limited search in patches; used where `cells` is not empty.
    pub radius: u16,
    /// `D` discriminant weights (i16), the first for the smallest value.
    #[serde(borrow)]
    pub weights: &'a [u8],
    /// `M` squared row norms (u32).
    pub norms: &'a [u8],
    /// Empty, or `grid height * width + 1` row numbers (u32): rows `cells[c]..cells[c + 1]` come
    /// from cell `c` of the grid.
    pub cells: &'a [u8],
    /// `M x D` int8 reference rows, row by row.
    pub rows: &'a [u8],
    /// What only the host needs (preprocessing, backbone, basis, calibration); opaque here.
    pub host: &'a [u8],
}

/// A checked bank that borrows everything from the bytes it was made from.
#[derive(Clone, Debug)]
pub struct Bank<'a> {
    parts: BankParts<'a>,
    rows: &'a [i8],
}

impl<'a> Bank<'a> {
    /// Checks `bytes` (a whole bank file) and borrows a bank from them.
    ///
    /// # Errors
    /// [`BankError`] says which part of the format does not hold. Any bytes may be given.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, BankError> {
        let body = container::body(bytes, MAGIC, VERSION)?;
        let (parts, left) =
            postcard::take_from_bytes::<BankParts<'a>>(body).map_err(|_| BankError::Encoding)?;
        if !left.is_empty() {
            return Err(BankError::Encoding);
        }
        Self::from_parts(parts)
    }

    /// Checks parts that are already decoded.
    ///
    /// # Errors
    /// [`BankError::Field`] with the name of the first field that does not hold.
    pub fn from_parts(parts: BankParts<'a>) -> Result<Self, BankError> {
        let field = |name| Err(BankError::Field { name });
        let dimension = usize::from(parts.dimension);
        let row_count = parts.row_count as usize;
        if dimension == 0 || dimension > MAX_DIMENSION {
            return field("dimension");
        }
        if row_count == 0 || row_count > MAX_ROWS {
            return field("row_count");
        }
        if row_count.checked_mul(dimension) != Some(parts.rows.len()) {
            return field("rows");
        }
        if parts.norms.len() != row_count.saturating_mul(4) {
            return field("norms");
        }
        if parts.weights.len() != dimension * 2 {
            return field("weights");
        }
        let (height, width) = (usize::from(parts.grid.0), usize::from(parts.grid.1));
        if height > MAX_GRID_SIDE || width > MAX_GRID_SIDE || (height == 0) != (width == 0) {
            return field("grid");
        }
        if parts.shift > 40 {
            return field("shift");
        }
        let side: u32 = parts.taps.iter().skip(1).map(|&t| u32::from(t)).sum();
        if u32::from(parts.taps[0]) + 2 * side != KERNEL_SUM {
            return field("taps");
        }
        let usual = parts.image_score.background.usual.unsigned_abs();
        if parts.image_score.margin >= 1 << 15 || usual > i32::MAX as u32 / 2 {
            return field("image_score");
        }
        if parts.normal_score >= parts.threshold {
            return field("normal_score");
        }
        let rows: &[i8] = bytemuck::cast_slice(parts.rows);
        for (row, norm) in rows.chunks_exact(dimension).zip(u32s(parts.norms)) {
            let sum: u32 = row
                .iter()
                .map(|&x| i32::from(x).unsigned_abs().pow(2))
                .sum();
            if sum != norm {
                return field("norms");
            }
        }
        if !parts.cells.is_empty() {
            // A place of the input size says nothing of one at half of it.
            if parts.image_score.levels != Levels::One {
                return field("image_score");
            }
            let cells = height * width;
            if cells == 0 || parts.cells.len() != (cells + 1) * 4 {
                return field("cells");
            }
            let mut last = 0;
            for (index, start) in u32s(parts.cells).enumerate() {
                if start < last || (index == 0 && start != 0) {
                    return field("cells");
                }
                last = start;
            }
            if last != parts.row_count {
                return field("cells");
            }
        }
        Ok(Self { parts, rows })
    }

    /// Channels of a patch feature, `D`.
    pub fn dimension(&self) -> usize {
        usize::from(self.parts.dimension)
    }

    /// Reference rows, `M`.
    pub fn row_count(&self) -> usize {
        self.parts.row_count as usize
    }

    /// Grid of a frame, where all frames have the same.
    pub fn grid(&self) -> Option<Grid> {
        Grid::new(
            usize::from(self.parts.grid.0),
            usize::from(self.parts.grid.1),
        )
    }

    /// All rows, `[M, D]`.
    pub fn rows(&self) -> &'a [i8] {
        self.rows
    }

    /// Row `index`, empty past the end.
    pub fn row(&self, index: usize) -> &'a [i8] {
        let start = index.saturating_mul(self.dimension());
        self.rows
            .get(start..start.saturating_add(self.dimension()))
            .unwrap_or_default()
    }

    /// Discriminant weights, the first for the smallest value.
    pub fn weights(&self) -> impl Iterator<Item = i16> + use<'a> {
        self.parts
            .weights
            .as_chunks::<2>()
            .0
            .iter()
            .map(|b| i16::from_le_bytes(*b))
    }

    /// Row numbers that come from cells `(y, x0)..=(y, x1)` of the grid; the whole bank where the
    /// search is not limited by position.
    pub(crate) fn cell_rows(&self, y: usize, x0: usize, x1: usize) -> core::ops::Range<usize> {
        let width = usize::from(self.parts.grid.1);
        let starts = self.parts.cells.as_chunks::<4>().0;
        let start = |cell: usize| {
            starts
                .get(cell)
                .map_or(self.row_count(), |b| u32::from_le_bytes(*b) as usize)
        };
        start(y * width + x0)..start(y * width + x1 + 1)
    }

    /// Whether the search is limited to rows from nearby grid cells.
    pub fn is_aligned(&self) -> bool {
        !self.parts.cells.is_empty()
    }

    /// Patches along each edge of a frame of `grid` that the image score leaves out.
    pub fn margin(&self, grid: Grid) -> usize {
        grid.margin(self.parts.image_score.margin)
    }

    /// Everything in the bank.
    pub fn parts(&self) -> &BankParts<'a> {
        &self.parts
    }
}

fn u32s(bytes: &[u8]) -> impl Iterator<Item = u32> + '_ {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|b| u32::from_le_bytes(*b))
}
