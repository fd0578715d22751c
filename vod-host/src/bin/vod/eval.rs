//! `vod eval`: data sets to metrics.

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use vod_core::Levels;
use vod_host::backbone;
use vod_host::bank_file::{SyntheticFigures, check_output};
use vod_host::dataset::Dataset;
use vod_host::eval::{EvalOptions, Evaluation, Method, PatchCore, evaluate, summarise};
use vod_host::features::{Extractor, preprocess_for, preprocess_for_template};
use vod_host::fit::{FitOptions, Recipe, Space};
use vod_host::generalist::{pool, study};
use vod_host::preprocess::Mirror;
use vod_host::{Result, image, report};

use crate::recipe::RecipeChanges;
use crate::train::{TrainChoices, same_domain};
use crate::{Outcome, output, train};

/// Evaluate on data sets: MVTec AD's layout, VisA, or folders of good and bad images.
#[derive(Args)]
#[command(after_help = "Example:\n  vod eval data/bottle data/cable --backbone vit --shots 1,2,4")]
pub struct Arguments {
    /// Data sets: folders with train/good, test/<kind> and ground_truth/<kind>/<stem>_mask.png; a
    /// split file (object,split,label,image,mask), VisA's root or one of its objects; folders with
    /// good and one folder a kind of defect.
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// edge, vit, or the path of a manifest.
    #[arg(long, default_value = "edge")]
    backbone: String,
    /// Numbers of reference images.
    #[arg(long, value_delimiter = ',', default_value = "1,2,4", value_parser = clap::value_parser!(u32).range(1..))]
    shots: Vec<u32>,
    /// Number of seeds; each chooses its own references.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    seeds: u64,
    /// What is evaluated.
    #[arg(long, value_enum, default_value_t = Name::Vod)]
    method: Name,
    /// Each test image's only reference is the train/good image of the same name; at the images' own
    /// size, at most twice the backbone's default, unless --size says otherwise.
    #[arg(long)]
    paired: bool,
    /// The part always lies the same way: compare with nearby places only.
    #[arg(long)]
    aligned: bool,
    /// Shorter side of the backbone's input, pixels.
    #[arg(long, value_name = "N")]
    size: Option<u32>,
    /// Overlapping tiles of this many pixels a side.
    #[arg(long, value_name = "N")]
    tile: Option<u32>,
    /// False-positive rate that the thresholds aim at.
    #[arg(long, default_value_t = 0.01)]
    fpr: f64,
    /// Bytes that a bank's reference rows may take (by default as many as the backbone's manifest says).
    #[arg(long, value_name = "N")]
    bank_bytes: Option<usize>,
    /// Folder where features are kept for further evaluations of the same images (large; makes
    /// images per second meaningless).
    #[arg(long, value_name = "DIR")]
    feature_cache: Option<PathBuf>,
    /// Generalist weights of `vod train`, or `default` for those that come with the backbone, to be
    /// blended in.
    #[arg(long, value_name = "FILE.vodw", conflicts_with = "leave_one_out")]
    weights: Option<PathBuf>,
    /// Train weights for each set on all the others, and blend them in.
    #[arg(long)]
    leave_one_out: bool,
    /// Sets of one domain, by the names of their folders: left out together. May be given again.
    #[arg(long, value_name = "NAME,...", requires = "leave_one_out")]
    domain: Vec<String>,
    #[command(flatten)]
    training: TrainChoices,
    #[command(flatten)]
    changes: RecipeChanges,
    /// Write all figures as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Write a page with figures, curves and all test images to FILE.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// Value-order decomposition.
    Vod,
    /// Plain distance in the same pipeline.
    Distance,
    /// PatchCore on the same features.
    Patchcore,
    /// A discriminant on the residuals themselves, their order kept.
    Raw,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let sets = arguments
        .folders
        .iter()
        .map(|folder| Dataset::open_all(folder))
        .collect::<Result<Vec<_>>>()?
        .concat();
    if let Some(target) = &arguments.report {
        check_output(target, arguments.force)?;
    }
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let backbone = backbone::open(&arguments.backbone)?;
    let (name, method, mut recipe) = match arguments.method {
        Name::Vod => ("vod", Method::Bank, Recipe::standard()),
        Name::Distance => ("distance", Method::Bank, Recipe::distance()),
        Name::Patchcore => ("patchcore", Method::PatchCore, Recipe::distance()),
        Name::Raw => {
            let recipe = Recipe {
                levels: Some(Levels::One),
                ..Recipe::standard()
            };
            ("raw", Method::RawResidual, recipe)
        }
    };
    arguments.changes.apply(&mut recipe);
    let shots: Vec<usize> = if arguments.paired {
        vec![1]
    } else {
        arguments.shots.iter().map(|k| *k as usize).collect()
    };
    let mut options = EvalOptions {
        method,
        shots: shots.clone(),
        seeds: arguments.seeds,
        fit: FitOptions {
            recipe,
            aligned: arguments.aligned,
            paired: arguments.paired,
            fpr: arguments.fpr,
            row_bytes: arguments.bank_bytes,
            ..FitOptions::standard()
        },
    };
    let bar = output::progress(quiet);
    let mut training = arguments.training.options(FitOptions {
        aligned: false,
        paired: false,
        ..options.fit.clone()
    });
    if options.method == Method::RawResidual {
        training.space = Space::Residual;
    }
    let cache = arguments.feature_cache.as_deref();
    let plain = preprocess_for(&*backbone, arguments.size, arguments.tile);
    let of_sources = Extractor::new(&*backbone, plain.clone())?.with_cache(cache);
    let studies = match arguments.leave_one_out {
        false => Vec::new(),
        true => sets
            .iter()
            .map(|set| study(&of_sources, set, &training, &bar))
            .collect::<Result<_>>()?,
    };
    let mut results = Vec::new();
    for set in &sets {
        let mut preprocess = plain.clone();
        if arguments.paired && arguments.size.is_none() {
            let template = image::load(&set.references[0])?;
            preprocess = preprocess_for_template(&*backbone, &template, arguments.tile);
        }
        if arguments.aligned {
            preprocess = preprocess.with_exact_size(&image::load(&set.references[0])?);
        }
        let patchcore = options.method == Method::PatchCore;
        if patchcore {
            preprocess.mirror = Mirror::NONE;
        }
        let mut extractor = Extractor::new(&*backbone, preprocess)?.with_cache(cache);
        if patchcore {
            extractor = extractor.with_pool(PatchCore::POOL);
        }
        options.fit.weights = if arguments.leave_one_out {
            let sources = studies
                .iter()
                .zip(&sets)
                .filter(|(_, source)| !same_domain(&arguments.domain, &source.name, &set.name));
            let sources = sources.map(|(study, _)| study);
            Some(Arc::new(pool(sources, &of_sources, &training, "")?))
        } else {
            train::read_weights(arguments.weights.as_deref(), &extractor)?
        };
        results.push(evaluate(set, &extractor, &options, &bar)?);
    }
    bar.finish_and_clear();
    let evaluation = summarise(&backbone.manifest().id, name, results, &shots);
    if let Some(target) = &arguments.json {
        output::write_json(target, &evaluation, arguments.force)?;
    }
    if let Some(target) = &arguments.report {
        report::evaluation::write(&evaluation, target, arguments.force)?;
    }
    if arguments.json.as_deref() != Some("-") {
        output::print(&table(&evaluation))?;
    }
    Ok(Outcome::Done)
}

fn cell(value: Option<f64>) -> String {
    value.map_or("-".into(), |v| format!("{v:.3}"))
}

/// A table for people: means over seeds by set and shots, then image AUROC by kind of defect.
fn table(evaluation: &Evaluation) -> String {
    let mut text = format!(
        "{} {}\n{:<16} {:>5}  {:>7} {:>7} {:>7}  {:>7} {:>7} {:>7}  {:>6}\n",
        evaluation.backbone,
        evaluation.method,
        "data set",
        "shots",
        "i-AUROC",
        "i-AP",
        "i-F1max",
        "p-AUROC",
        "p-AP",
        "p-AUPRO",
        "FPR"
    );
    let all = evaluation
        .datasets
        .iter()
        .map(|d| (d.name.as_str(), &d.mean))
        .chain([("mean", &evaluation.mean)]);
    // Writing to a String can't fail.
    for (name, means) in all {
        for (shots, m) in means {
            let _ = writeln!(
                text,
                "{name:<16} {shots:>5}  {:>7} {:>7} {:>7}  {:>7} {:>7} {:>7}  {:>6}",
                cell(m.image_auroc),
                cell(m.image_ap),
                cell(m.image_f1_max),
                cell(m.pixel_auroc),
                cell(m.pixel_ap),
                cell(m.pixel_aupro),
                cell(m.false_positive_rate)
            );
        }
    }
    let synthetic = |figure: fn(&SyntheticFigures) -> Option<f64>| {
        let runs = evaluation.datasets.iter().flat_map(|d| &d.runs);
        let values: Vec<f64> = runs
            .filter_map(|r| r.synthetic.as_ref().and_then(figure))
            .collect();
        cell((!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64))
    };
    let _ = writeln!(
        text,
        "synthetic anomalies of the fits: image AUROC {}, patch AUROC {}, patch AP {}",
        synthetic(|s| s.image_auroc),
        synthetic(|s| s.patch_auroc),
        synthetic(|s| s.patch_ap)
    );
    for set in &evaluation.datasets {
        let Some(last) = set.runs.last() else {
            continue;
        };
        if last.kinds.len() < 2 {
            continue;
        }
        let _ = write!(text, "{} by kind, {} shots:", set.name, last.shots);
        let runs: Vec<_> = set.runs.iter().filter(|r| r.shots == last.shots).collect();
        for kind in last.kinds.keys() {
            let values: Vec<f64> = runs.iter().filter_map(|r| r.kinds[kind]).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let _ = write!(
                text,
                " {kind} {}",
                cell((!values.is_empty()).then_some(mean))
            );
        }
        text.push('\n');
    }
    text
}
