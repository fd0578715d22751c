//! `vod gaps`: how far objects, domains, real and pasted defects are apart.

use std::fmt::Write;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vod_host::bank_file::write_file;
use vod_host::dataset::Dataset;
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::FitOptions;
use vod_host::generalist::{Comparison, Gap, clouds, gaps};
use vod_host::report::gaps::{means, of_comparison, page, title};
use vod_host::{Result, backbone};

use crate::recipe::RecipeChanges;
use crate::train::{TrainChoices, same_domain};
use crate::{Outcome, output};

/// Measure how far objects, domains, real and pasted defects are apart.
///
/// In the residuals as they are and in their sorted values alone: the AUROC of a linear classifier
/// that tells two clouds of patches from each other on images that it has not seen.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod gaps data/bottle data/cable data/mri --domain bottle,cable --report gaps.html"
)]
pub struct Arguments {
    /// Data sets: train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// edge, vit, or the path of a manifest.
    #[arg(long, default_value = "edge")]
    backbone: String,
    /// Shorter side of the backbone's input, pixels [default: the backbone's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    size: Option<u32>,
    /// Sets of one domain, by the names of their folders. May be given again; what is not named is a
    /// domain of its own.
    #[arg(long, value_name = "NAME,...")]
    domain: Vec<String>,
    #[command(flatten)]
    choices: TrainChoices,
    #[command(flatten)]
    changes: RecipeChanges,
    /// Folder where features are kept for further runs on the same images (large).
    #[arg(long, value_name = "DIR")]
    feature_cache: Option<PathBuf>,
    /// Write a page with charts to FILE.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Write all figures as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Figures<'f> {
    version: u32,
    backbone: &'f str,
    gaps: &'f [Gap],
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let sets = arguments
        .folders
        .iter()
        .map(|folder| Dataset::open(folder))
        .collect::<Result<Vec<_>>>()?;
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let backbone = backbone::open(&arguments.backbone)?;
    let extractor = Extractor::new(&*backbone, preprocess_for(&*backbone, arguments.size, None))?
        .with_cache(arguments.feature_cache.as_deref());
    let mut fit = FitOptions::standard();
    arguments.changes.apply(&mut fit.recipe);
    let options = arguments.choices.options(fit);
    let bar = output::progress(quiet);
    let all = sets
        .iter()
        .map(|set| clouds(&extractor, set, &options, &bar))
        .collect::<Result<Vec<_>>>()?;
    bar.set_message("classifiers");
    let together = |a: &str, b: &str| same_domain(&arguments.domain, a, b);
    let found = gaps(&all, together, options.shrinkage)?;
    bar.finish_and_clear();
    let id = &backbone.manifest().id;
    if let Some(target) = &arguments.json {
        let figures = Figures {
            version: 1,
            backbone: id,
            gaps: &found,
        };
        output::write_json(target, &figures, arguments.force)?;
    }
    if let Some(target) = &arguments.report {
        write_file(target, page(id, &found).as_bytes(), arguments.force)?;
    }
    if arguments.json.as_deref() != Some("-") {
        output::print(&table(&found))?;
    }
    Ok(Outcome::Done)
}

fn table(found: &[Gap]) -> String {
    let mut text = format!(
        "{:<62} {:>8} {:>8}\n",
        "classifier AUROC", "residual", "values"
    );
    // Writing to a String can't fail.
    for comparison in [
        Comparison::NormalAbnormal,
        Comparison::Objects,
        Comparison::RealSynthetic,
        Comparison::Domains,
    ] {
        let of = of_comparison(found, comparison);
        let Some([residual, values]) = means(&of) else {
            continue;
        };
        for gap in &of {
            let pair = format!("{} / {}", gap.first, gap.second);
            let _ = writeln!(text, "{pair:<62} {:>8.3} {:>8.3}", gap.residual, gap.values);
        }
        let mean = format!("{}, mean", title(comparison));
        let _ = writeln!(text, "{mean:<62} {residual:>8.3} {values:>8.3}\n");
    }
    text
}
