//! What can be wrong with a bank or a frame, one flat enum each.

use core::fmt;

/// Why bytes were refused as a bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BankError {
    /// Fewer bytes than the fixed part of the format, or another number than the header promises.
    Length {
        /// Bytes that the header promises, or the least there can be.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The first four bytes are not `VODB`.
    Magic,
    /// The format version is one that this library does not read.
    Version {
        /// The version in the header.
        found: u16,
    },
    /// The checksum over everything before it differs: the bytes are damaged.
    Checksum,
    /// The body is not the postcard encoding that the version prescribes.
    Encoding,
    /// A field has a value or a length that the format does not allow.
    Field {
        /// Name of the field in [`crate::BankParts`].
        name: &'static str,
    },
}

impl fmt::Display for BankError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "bank is {found} bytes long, {expected} were expected")
            }
            Self::Magic => f.write_str("not a bank: it does not start with VODB"),
            Self::Version { found } => write!(
                f,
                "bank format version {found} is not known here, this library reads version {}",
                crate::bank::VERSION
            ),
            Self::Checksum => f.write_str("bank is damaged: its checksum differs"),
            Self::Encoding => f.write_str("bank body can't be decoded"),
            Self::Field { name } => {
                write!(f, "bank field `{name}` is out of range or inconsistent")
            }
        }
    }
}

impl core::error::Error for BankError {}

/// Why a frame could not be scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameError {
    /// The grid has no patches, or more than [`crate::MAX_GRID_SIDE`] on a side.
    Grid,
    /// The features are not `height * width * dimension` (a frame) or `width * dimension` (a row).
    FeatureLength {
        /// Values that the grid and the bank ask for.
        expected: usize,
        /// Values that were given.
        found: usize,
    },
    /// The map buffer is not `height * width` long, or of another length than all levels together.
    MapLength {
        /// Patches of the grid, or of all of them.
        expected: usize,
        /// Length of the buffer.
        found: usize,
    },
    /// The scratch buffer is too short, see [`crate::Scorer::scratch_len`].
    Scratch {
        /// Words needed.
        expected: usize,
        /// Words given.
        found: usize,
    },
    /// More rows were pushed than the grid has, or `finish` came too early.
    RowCount,
    /// The frame was given at another number of levels than the bank looks at.
    Levels {
        /// Levels of the bank.
        expected: usize,
        /// Levels given.
        found: usize,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Grid => f.write_str("patch grid is empty or too large"),
            Self::FeatureLength { expected, found } => {
                write!(f, "{found} feature values given, {expected} were expected")
            }
            Self::MapLength { expected, found } => {
                write!(f, "map has {found} patches, {expected} were expected")
            }
            Self::Scratch { expected, found } => {
                write!(f, "scratch has {found} words, {expected} are needed")
            }
            Self::RowCount => f.write_str("number of pushed rows differs from the grid's height"),
            Self::Levels { expected, found } => write!(
                f,
                "the bank looks at frames at {expected} levels, {found} were given"
            ),
        }
    }
}

impl core::error::Error for FrameError {}
