//! `vod synthesise`: a data set with defects, made from normal images alone.

use std::path::{Path, PathBuf};

use clap::Args;
use image::RgbImage;
use vod_host::dataset::{GOOD, SplitMix64, choose_references, file_name};
use vod_host::reference::paste_anomaly;
use vod_host::{Error, Result, bank_file, image as images};

use crate::score::write_png;
use crate::{Outcome, output};

/// Make a data set with cut-and-paste defects from normal images alone.
///
/// Half of the images become train/good of the new set, the others test/good; a copy of each of
/// these with pieces pasted into it becomes test/pasted, with its mask. What is chosen on such a
/// set (recipe, size, backbone) has not seen a single real defect.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod synthesise data/bottle --out tuning/bottle\n  \
                        vod eval tuning/bottle --backbone vit --size 560"
)]
pub struct Arguments {
    /// Normal images, or a data set whose train/good holds them.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Folder of the new data set; must not exist.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Seed of the split and of the pasted pieces.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    if arguments.out.exists() {
        return Err(Error::Exists {
            path: arguments.out.clone(),
        });
    }
    let of_set = arguments.folder.join("train").join(GOOD);
    let folder = if of_set.is_dir() {
        &of_set
    } else {
        &arguments.folder
    };
    let all = images::list(folder)?;
    if all.len() < 2 {
        return Err(Error::Data(format!(
            "{}: two images are needed at least, one to compare with and one to change",
            folder.display()
        )));
    }
    let shuffled = choose_references(&all, Some(all.len()), arguments.seed);
    let (references, tests) = shuffled.split_at(all.len() / 2);
    let bar = output::progress(quiet);
    bar.set_message("pasting");
    bar.set_length(all.len() as u64);
    let out = &arguments.out;
    for path in references {
        copy(path, &out.join("train").join(GOOD))?;
        bar.inc(1);
    }
    let mut random = SplitMix64::new(arguments.seed);
    for path in tests {
        copy(path, &out.join("test").join(GOOD))?;
        let image = images::load(path)?;
        let source = images::load(&references[random.below(references.len())])?;
        let anomaly = paste_anomaly(&image, &[&image, &source], &mut random);
        let mask = RgbImage::from_fn(image.width(), image.height(), |x, y| {
            let share = anomaly.mask[(y * image.width() + x) as usize];
            image::Rgb([if share > 127 { 255 } else { 0 }; 3])
        });
        let stem = path.file_stem().unwrap_or_default().to_string_lossy();
        let picture = out.join("test").join("pasted").join(format!("{stem}.png"));
        write_png(&picture, &anomaly.image, false)?;
        let truth = out.join("ground_truth").join("pasted");
        write_png(&truth.join(format!("{stem}_mask.png")), &mask, false)?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    output::print(&format!(
        "{}: {} references, {} good and {} pasted test images\n",
        out.display(),
        references.len(),
        tests.len(),
        tests.len()
    ))?;
    Ok(Outcome::Done)
}

fn copy(path: &Path, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let bytes = std::fs::read(path).map_err(Error::io(path))?;
    bank_file::write_file(&folder.join(file_name(path)), &bytes, false)
}
