//! Fits reference banks for visual anomaly detection from a few normal images, scores images
//! against them, evaluates data sets.
//!
//! Data flows one way: [`image`] (decode) -> [`preprocess`] (resize, normalise) -> [`backbone`]
//! (feature maps) -> [`features`] (patch grid) -> [`fit`] or [`score`] -> [`report`]. A bank
//! ([`bank_file`]) holds everything that scoring needs, so that what was fitted is what runs. The
//! scores themselves are made by [`vod_core`], in integers, as on a device.
//!
//! ```no_run
//! use std::path::{Path, PathBuf};
//! use vod_host::features::{Extractor, preprocess_for};
//! use vod_host::fit::{FitOptions, fit};
//! use vod_host::score::ImageScorer;
//!
//! # fn main() -> vod_host::Result<()> {
//! let backbone = vod_host::backbone::open("edge")?;
//! let extractor = Extractor::new(&*backbone, preprocess_for(&*backbone, None, None))?;
//! let references: Vec<PathBuf> = vod_host::image::list(Path::new("parts/good"))?;
//! let options = FitOptions::standard();
//! let fitted = fit(&extractor, &references, &options, &indicatif::ProgressBar::hidden())?;
//! fitted.bank.write(Path::new("part.vod"), false)?;
//!
//! let scorer = ImageScorer::new(&fitted.bank, &*backbone)?;
//! let verdict = scorer.score(Path::new("line/0001.jpg"))?;
//! println!("{} {}", verdict.image_score, verdict.anomalous);
//! # Ok(())
//! # }
//! ```
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
pub mod preprocess;
pub mod reference;
pub mod report;
pub mod score;
pub mod upkeep;

pub use error::{Error, Result};
