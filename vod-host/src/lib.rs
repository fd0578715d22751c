//! x
#![deny(unsafe_code)]

pub mod backbone;
pub mod bank_file;
pub mod dataset;
mod error;
pub mod eval;
pub mod features;
pub mod fit;
pub mod image;
pub mod preprocess;
pub mod reference;
pub mod report;
pub mod score;

pub use error::{Error, Result};
