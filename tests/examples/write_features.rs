//! Writes the int8 patch features of images as a device gets them, for the benches.
//!
//! `write_features BANK FOLDER IMAGE...` copies the bank to FOLDER and puts
//! `NAME_HEIGHTxWIDTHxCHANNELS.i8` beside it for each image.

use std::path::{Path, PathBuf};

use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::features::Extractor;
use vod_host::{Error, Result};

fn main() -> Result<()> {
    let paths: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let [bank, folder, images @ ..] = &paths[..] else {
        return Err(Error::Data(
            "usage: write_features BANK FOLDER IMAGE...".into(),
        ));
    };
    let file = BankFile::read(bank)?;
    let backbone = backbone::open(&file.host().backbone_id)?;
    let extractor = Extractor::for_bank(&file, &*backbone)?;
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    file.write(&folder.join(bank.file_name().unwrap_or_default()), true)?;
    for path in images {
        let (features, _) = extractor.load(path)?;
        let (height, width, _) = features.dim();
        let quantised = file.host().transform.quantise(&features);
        let bytes: Vec<u8> = quantised.iter().map(|&v| v as u8).collect();
        let channels = bytes.len() / (height * width);
        let name = format!("{}_{height}x{width}x{channels}.i8", name(path));
        let to = folder.join(name);
        std::fs::write(&to, bytes).map_err(Error::io(&to))?;
    }
    Ok(())
}

/// The image's folder and name: `good-000`.
fn name(path: &Path) -> String {
    let folder = path.parent().and_then(Path::file_name).unwrap_or_default();
    let stem = path.file_stem().unwrap_or_default();
    format!("{}-{}", folder.display(), stem.display())
}
