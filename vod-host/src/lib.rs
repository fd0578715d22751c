#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! Data flows one way: [`image`] (decode) -> [`preprocess`] (resize, normalise) -> [`backbone`]
//! (feature maps) -> [`features`] (patch grid) -> [`fit`] or [`score`] -> [`report`]. A bank
//! ([`bank_file`]) holds everything that scoring needs, so that what was fitted is what runs. The
//! scores themselves are made by [`vod_core`], in integers, as on a device. [`dataset`] and
//! [`eval`] measure all of it on data sets.
#![deny(unsafe_code)]

pub mod backbone;
pub mod bank_file;
pub mod bank_records;
pub mod dataset;
pub mod device;
mod error;
pub mod eval;
pub mod explain;
pub mod export;
pub mod features;
pub mod fit;
pub mod generalist;
pub mod ignore;
pub mod image;
pub mod pipeline;
pub mod preprocess;
pub mod reference;
pub mod report;
pub mod score;
pub mod upkeep;

pub use error::{Error, Result};
pub use indicatif::ProgressBar;
