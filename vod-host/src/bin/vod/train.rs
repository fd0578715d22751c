//! `vod train`: labelled sets of other objects to generalist weights.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use clap::{Args, ValueEnum};
use serde::Serialize;
use vod_core::Levels;
use vod_host::backbone;
use vod_host::bank_file::check_output;
use vod_host::dataset::Dataset;
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{FitOptions, Space};
use vod_host::generalist::{Anomalies, Scale, Source, TrainOptions, Weights, pool, study};
use vod_host::{Error, Result};

use crate::recipe::RecipeChanges;
use crate::{Outcome, output};

/// Train a scorer on labelled sets of other objects, for `vod fit --weights`.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod train data/pcb data/cable --out generalist.vodw --backbone vit\n  \
                  vod fit parts/good --out part.vod --backbone vit --weights generalist.vodw"
)]
pub struct Arguments {
    /// Source sets: train/good, test/<kind>, ground_truth/<kind>/<stem>_mask.png.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Weights file to write.
    #[arg(long, value_name = "FILE.vodw")]
    out: PathBuf,
    /// edge, vit, or the path of a manifest.
    #[arg(long, default_value = "edge")]
    backbone: String,
    /// Shorter side of the backbone's input, pixels [default: the backbone's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    size: Option<u32>,
    /// Overlapping tiles of this many pixels a side.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    tile: Option<u32>,
    #[command(flatten)]
    choices: TrainChoices,
    #[command(flatten)]
    changes: RecipeChanges,
    /// What may be done with the weights, written into the file: the licences of the source sets.
    #[arg(long, value_name = "TEXT", default_value = "")]
    licence: String,
    /// Folder where features are kept for further runs on the same images (large).
    #[arg(long, value_name = "DIR")]
    feature_cache: Option<PathBuf>,
    /// Write what was trained as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// How a generalist is trained.
#[derive(Args)]
#[command(next_help_heading = "Training")]
pub struct TrainChoices {
    /// Abnormal patches that are learned from.
    #[arg(long, value_enum, default_value_t = AnomaliesName::Both)]
    anomalies: AnomaliesName,
    /// What makes the values of two objects comparable.
    #[arg(long, value_enum, default_value_t = ScaleName::Length)]
    scale: ScaleName,
    /// Numbers of references of the banks that are fitted on each source.
    #[arg(long, value_delimiter = ',', default_value = "1,4", value_parser = clap::value_parser!(u32).range(1..))]
    source_shots: Vec<u32>,
    /// Banks on each source for each number of references.
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    draws: u64,
    /// Good and defective test images of each source, at most so many of each.
    #[arg(long, value_name = "N", default_value_t = 40)]
    source_images: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum AnomaliesName {
    /// Pasted ones, no real defect.
    Synthetic,
    /// Real defects.
    Real,
    /// Both.
    Both,
}

#[derive(Clone, Copy, ValueEnum)]
enum ScaleName {
    /// Nothing.
    Feature,
    /// The median length of the object's normal residuals.
    Length,
    /// The spread of each value over the object's normal residuals.
    Rank,
}

impl TrainChoices {
    /// Options of a training whose banks are fitted as `fit` says.
    pub fn options(&self, mut fit: FitOptions) -> TrainOptions {
        // Residuals are those of the input size.
        fit.recipe.levels = Some(Levels::One);
        TrainOptions {
            anomalies: match self.anomalies {
                AnomaliesName::Synthetic => Anomalies::Synthetic,
                AnomaliesName::Real => Anomalies::Real,
                AnomaliesName::Both => Anomalies::Both,
            },
            scale: match self.scale {
                ScaleName::Feature => Scale::Feature,
                ScaleName::Length => Scale::Length,
                ScaleName::Rank => Scale::Rank,
            },
            shrinkage: fit.recipe.shrinkage,
            shots: self.source_shots.iter().map(|k| *k as usize).collect(),
            draws: self.draws,
            images: self.source_images,
            space: Space::Values(fit.recipe.values),
            fit,
        }
    }
}

/// Reads weights, those that come with the backbone for `default`, and refuses those that were
/// trained on other features than the extractor's.
pub fn read_weights(path: Option<&Path>, extractor: &Extractor) -> Result<Option<Arc<Weights>>> {
    let Some(path) = path else { return Ok(None) };
    let backbone = extractor.backbone();
    let weights = if path == Path::new("default") {
        let path = Weights::default_path(backbone).ok_or_else(|| {
            Error::Data(format!(
                "no weights come with backbone `{}`; train some with `vod train`",
                backbone.manifest().id
            ))
        })?;
        Weights::read(&path)?
    } else {
        Weights::read(path)?
    };
    weights.check(backbone, extractor.preprocess())?;
    Ok(Some(Arc::new(weights)))
}

/// Whether two sets are the same, or named together in one `--domain`.
pub fn same_domain(domains: &[String], a: &str, b: &str) -> bool {
    let in_domain = |domain: &String, name: &str| domain.split(',').any(|part| part == name);
    a == b || domains.iter().any(|d| in_domain(d, a) && in_domain(d, b))
}

#[derive(Serialize)]
struct Summary<'s> {
    weights: &'s PathBuf,
    bytes: usize,
    backbone: &'s str,
    sources: &'s [Source],
    seconds: f64,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let start = Instant::now();
    check_output(&arguments.out, arguments.force)?;
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let sets = arguments
        .folders
        .iter()
        .map(|folder| Dataset::open(folder))
        .collect::<Result<Vec<_>>>()?;
    let backbone = backbone::open(&arguments.backbone)?;
    let preprocess = preprocess_for(&*backbone, arguments.size, arguments.tile);
    let extractor =
        Extractor::new(&*backbone, preprocess)?.with_cache(arguments.feature_cache.as_deref());
    let mut fit = FitOptions::standard();
    arguments.changes.apply(&mut fit.recipe);
    let options = arguments.choices.options(fit);
    let bar = output::progress(quiet);
    let studies = sets
        .iter()
        .map(|set| study(&extractor, set, &options, &bar))
        .collect::<Result<Vec<_>>>()?;
    bar.finish_and_clear();
    let weights = pool(&studies, &extractor, &options, &arguments.licence)?;
    weights.write(&arguments.out, arguments.force)?;
    let summary = Summary {
        weights: &arguments.out,
        bytes: weights.to_bytes()?.len(),
        backbone: &weights.backbone_id,
        sources: &weights.sources,
        seconds: start.elapsed().as_secs_f64(),
    };
    match &arguments.json {
        Some(target) => output::write_json(target, &summary, arguments.force)?,
        None => {
            let patches =
                |count: fn(&Source) -> u64| weights.sources.iter().map(count).sum::<u64>();
            output::print(&format!(
                "{}: {} bytes for {}, from {} sets, {} pasted and {} real abnormal patches, \
                 {:.1} s\n",
                arguments.out.display(),
                summary.bytes,
                summary.backbone,
                weights.sources.len(),
                patches(|s| s.synthetic),
                patches(|s| s.real),
                summary.seconds
            ))?;
        }
    }
    Ok(Outcome::Done)
}
