#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![deny(unsafe_code)]

mod arch;
pub mod bank;
mod container;
#[cfg(feature = "conv")]
pub mod conv;
mod error;
mod grid;
mod levels;
mod map;
mod pruned;
mod residual;
mod scorer;
mod value_order;

pub use arch::Kernel;
pub use bank::{
    Background, Bank, BankParts, ImageScore, Levels, MAX_GRID_SIDE, ScoreStage, ValueKind,
};
pub use error::{BankError, FrameError};
pub use grid::Grid;
pub use levels::{Level, LevelFeatures, merge_levels};
pub use map::{MAX_REGIONS, Region, background, regions, take_off_background};
pub use pruned::SearchStats;
pub use residual::{Nearest, residual};
pub use scorer::{FrameScore, LENGTH_BITS, PatchScore, PausedStream, Scorer, Stream};
pub use value_order::{Decomposition, decompose, weighted_values};
