//! What commands have in common when they read and write banks.

use std::path::Path;

use vod_host::Result;
use vod_host::backbone::{self, Backbone};
use vod_host::bank_file::BankFile;

/// A bank and its backbone: the one named, otherwise the one that the bank names.
pub fn open(path: &Path, backbone: Option<&str>) -> Result<(BankFile, Box<dyn Backbone>)> {
    let file = BankFile::read(path)?;
    let backbone = backbone::open(backbone.unwrap_or(&file.host().backbone_id))?;
    Ok((file, backbone))
}
