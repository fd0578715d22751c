//! `vod fit`: normal images to a bank.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde::Serialize;
use vod_host::backbone;
use vod_host::bank_file::check_output;
use vod_host::dataset::{GOOD, choose_references, file_name};
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{self, FitOptions, Mix};
use vod_host::ignore::IgnoreRegions;
use vod_host::{Error, Result, image};

use crate::recipe::RecipeChanges;
use crate::{Outcome, output, train};

/// Fit a bank from normal images.
#[derive(Args)]
#[command(after_help = "Example:\n  vod fit parts/good --out part.vod --backbone vit --shots 4")]
pub struct Arguments {
    /// Folder of normal images, or a data set with train/good in it.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Bank file to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// edge (EfficientNet-Lite0), vit (DINOv2 ViT-S/14), edge-int8 (for microcontrollers), or the path
    /// of a manifest.
    #[arg(long, default_value = "edge")]
    backbone: String,
    /// Shorter side of the backbone's input, pixels [default: the backbone's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    size: Option<u32>,
    /// Number of reference images that are used [default: all].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    shots: Option<u32>,
    /// Seed that chooses the references and makes the synthetic anomalies.
    #[arg(long, value_name = "S", default_value_t = 0)]
    seed: u64,
    /// The part always lies the same way: compare with nearby places only.
    #[arg(long)]
    aligned: bool,
    /// Overlapping tiles of this many pixels a side, for details that would be lost otherwise.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    tile: Option<u32>,
    /// Share of normal images that may be called anomalous.
    #[arg(long, default_value_t = 0.01, value_parser = rate)]
    fpr: f64,
    /// Bytes that the bank's reference rows may take (by default as many as the backbone's manifest says).
    #[arg(long, value_name = "N")]
    bank_bytes: Option<usize>,
    /// Generalist weights of `vod train`, or `default` for those that come with the backbone, to be
    /// blended in.
    #[arg(long, value_name = "FILE.vodw")]
    weights: Option<PathBuf>,
    /// Annotations (COCO or LabelMe JSON, or a folder of them) of regions in the references that say
    /// nothing about normal parts; what they touch gives no reference patches.
    #[arg(long, value_name = "FILE")]
    ignore: Vec<PathBuf>,
    #[command(flatten)]
    changes: RecipeChanges,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
    /// Write what was fitted as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

/// The regions to ignore; annotations of other images than the references are reported.
fn ignored(files: &[PathBuf], references: &[PathBuf]) -> Result<IgnoreRegions> {
    let regions = IgnoreRegions::read(files)?;
    let known: Vec<String> = references.iter().map(|path| file_name(path)).collect();
    let (of_references, others): (Vec<&str>, Vec<&str>) = regions
        .names()
        .partition(|name| known.iter().any(|known| known == name));
    if of_references.is_empty() && !files.is_empty() {
        return Err(Error::Data(format!(
            "--ignore has regions of {}, none of them a reference",
            if others.is_empty() {
                "no image".into()
            } else {
                others.join(", ")
            }
        )));
    }
    Ok(regions)
}

/// A rate between 0 and 1.
pub fn rate(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if value > 0.0 && value < 1.0 => Ok(value),
        _ => Err("expected a number between 0 and 1".into()),
    }
}

#[derive(Serialize)]
struct Summary<'s> {
    bank: &'s PathBuf,
    bank_bytes: usize,
    rows: usize,
    dimension: usize,
    references: &'s [String],
    threshold_is_guess: bool,
    mix: Mix,
    seconds: f64,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let start = Instant::now();
    check_output(&arguments.out, arguments.force)?;
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let of_set = arguments.folder.join("train").join(GOOD);
    let folder = if of_set.is_dir() {
        &of_set
    } else {
        &arguments.folder
    };
    let all = image::list(folder)?;
    let shots = arguments.shots.map(|k| k as usize);
    if let Some(shots) = shots.filter(|k| *k > all.len()) {
        return Err(Error::Data(format!(
            "{}: --shots {shots} but only {} images",
            folder.display(),
            all.len()
        )));
    }
    let paths = choose_references(&all, shots, arguments.seed);
    let backbone = backbone::open(&arguments.backbone)?;
    let mut preprocess = preprocess_for(&*backbone, arguments.size, arguments.tile);
    if arguments.aligned {
        preprocess = preprocess.with_exact_size(&image::load(&paths[0])?);
    }
    let extractor = Extractor::new(&*backbone, preprocess)?;
    let weights = train::read_weights(arguments.weights.as_deref(), &extractor)?;
    let mut options = FitOptions {
        aligned: arguments.aligned,
        fpr: arguments.fpr,
        row_bytes: arguments.bank_bytes,
        seed: arguments.seed,
        weights,
        ignore: ignored(&arguments.ignore, &paths)?,
        ..FitOptions::standard()
    };
    arguments.changes.apply(&mut options.recipe);
    let bar = output::progress(quiet);
    let fitted = fit::fit(&extractor, &paths, &options, &bar);
    bar.finish_and_clear();
    let fitted = fitted?;
    fitted.bank.write(&arguments.out, arguments.force)?;
    for failure in &fitted.failures {
        output::report(failure);
    }
    let bank = fitted.bank.bank().map_err(|source| Error::Bank {
        path: arguments.out.clone(),
        source,
    })?;
    let host = fitted.bank.host();
    let summary = Summary {
        bank: &arguments.out,
        bank_bytes: fitted.bank.bytes().len(),
        rows: bank.row_count(),
        dimension: bank.dimension(),
        references: &host.references,
        threshold_is_guess: host.calibration.is_guess,
        mix: fitted.mix,
        seconds: start.elapsed().as_secs_f64(),
    };
    if host.calibration.is_guess {
        eprintln!(
            "vod: warning: one reference gives no left-out image, the threshold is a guess; \
             use two or more"
        );
    }
    match &arguments.json {
        Some(target) => output::write_json(target, &summary, arguments.force)?,
        None => output::print(&format!(
            "{}: {} rows of {} from {} images, {} KB, fitted in {:.1} s\n",
            arguments.out.display(),
            summary.rows,
            summary.dimension,
            summary.references.len(),
            summary.bank_bytes / 1024,
            summary.seconds
        ))?,
    }
    Ok(if fitted.failures.is_empty() {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}
