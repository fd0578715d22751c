//! What can go wrong on the host: each message says what, where, and what to do.

use std::path::{Path, PathBuf};

use vod_core::{BankError, FrameError};

/// Result of the library's functions.
pub type Result<T> = std::result::Result<T, Error>;

/// Error of the library. Its `Display` is one line.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// An image is damaged, of an unknown kind, or larger than the limits allow.
    #[error("{}: not a readable image: {reason}", path.display())]
    Image {
        /// The file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// An annotation file can't be used.
    #[error("{}: not usable as regions to ignore: {reason}", path.display())]
    Annotation {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A folder holds no images.
    #[error("{}: no images (jpg, png, bmp, tif, webp) in it", path.display())]
    NoImages {
        /// The folder.
        path: PathBuf,
    },
    /// An output file exists and would be lost.
    #[error("{}: exists already; give --force to replace it", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// A backbone's manifest can't be read.
    #[error("{}: not a backbone manifest: {reason}", path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// A backbone name is neither built in nor a path to a manifest or model.
    #[error(
        "backbone `{name}` not found: expected `edge`, `vit`, `edge-int8` or the path of a manifest (.toml); looked in {searched}"
    )]
    UnknownBackbone {
        /// What was asked for.
        name: String,
        /// Folders that were looked in.
        searched: String,
    },
    /// The model file is not the one that its manifest describes.
    #[error("{}: SHA-256 is {found}, the manifest expects {expected}", path.display())]
    ModelHash {
        /// The model file.
        path: PathBuf,
        /// Hash in the manifest.
        expected: String,
        /// Hash of the file.
        found: String,
    },
    /// The model can't be loaded or run, or lacks what the manifest promises.
    #[error("{}: {reason}", path.display())]
    Model {
        /// The model file.
        path: PathBuf,
        /// What was expected and what was found.
        reason: String,
    },
    /// A bank was refused.
    #[error("{}: {source}", path.display())]
    Bank {
        /// The bank file.
        path: PathBuf,
        /// Why.
        source: BankError,
    },
    /// The host's part of a bank can't be decoded.
    #[error("{}: the bank's host section can't be decoded ({reason}); it was stripped or written by another version", path.display())]
    BankHost {
        /// The bank file.
        path: PathBuf,
        /// What the decoder said.
        reason: String,
    },
    /// The bank was fitted with another backbone than the one at hand.
    #[error(
        "bank was fitted with backbone `{expected_id}` ({expected}), the one at hand is `{found_id}` ({found})"
    )]
    BankBackbone {
        /// Id in the bank.
        expected_id: String,
        /// Model hash in the bank.
        expected: String,
        /// Id of the backbone at hand.
        found_id: String,
        /// Hash of the backbone at hand.
        found: String,
    },
    /// A device can't be reached, or does not do what it was asked.
    #[error("{port}: {reason}")]
    Device {
        /// Where it is.
        port: String,
        /// What went wrong.
        reason: String,
    },
    /// A file of generalist weights was refused.
    #[error("{}: no usable weights file: {reason}", path.display())]
    Weights {
        /// The weights file.
        path: PathBuf,
        /// What is wrong in it.
        reason: String,
    },
    /// The weights were trained with another backbone than the one at hand.
    #[error(
        "weights were trained with backbone `{expected_id}` ({expected}), the one at hand is `{found_id}` ({found}); train weights for it with `vod train --backbone`"
    )]
    WeightsBackbone {
        /// Id in the weights.
        expected_id: String,
        /// Model hash in the weights.
        expected: String,
        /// Id of the backbone at hand.
        found_id: String,
        /// Hash of the backbone at hand.
        found: String,
    },
    /// The weights were trained with another preprocessing than the one asked for.
    #[error("weights were trained with another preprocessing ({expected}) than this one ({found})")]
    WeightsPreprocess {
        /// In the weights.
        expected: String,
        /// What was asked for.
        found: String,
    },
    /// Frame and bank do not fit together.
    #[error("frame can't be scored: {0}")]
    Frame(#[from] FrameError),
    /// The data can't give what was asked for.
    #[error("{0}")]
    Data(String),
    /// The fit met numbers it can't go on with.
    #[error("fit failed: {0}")]
    Fit(String),
}

impl Error {
    /// Attaches the path to an operating system's error.
    pub fn io(path: impl AsRef<Path>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.as_ref().to_path_buf();
        move |source| Self::Io { path, source }
    }
}
