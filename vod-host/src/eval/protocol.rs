//! The few-shot protocol: shots, seeds, references, figures (`docs/metrics.md`).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

use indicatif::ProgressBar;
use ndarray::Array2;
use rayon::prelude::*;
use serde::Serialize;
use vod_core::{Bank, Grid};

use super::metrics::{
    PixelCollector, PixelFigures, auroc, average_precision, f1_max, precision_recall_curve,
    roc_curve,
};
use super::patchcore::PatchCore;
use super::raw_residual::RawResidual;
use crate::bank_file::{BankFile, SyntheticFigures};
use crate::dataset::{Dataset, TestImage, choose_references, file_name, load_mask};
use crate::error::{Error, Result};
use crate::features::{Extractor, FeatureGrid, Pyramid};
use crate::fit::{self, FitOptions, Mix};
use crate::score::{self, ScoreScale, score_levels};

/// Test images that are taken through the backbone together.
const CHUNK: usize = 32;
/// Templates that the scorer is fitted on where each image has its own.
const PAIRED_TEMPLATES: usize = 4;

/// What is evaluated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Method {
    /// A fitted bank on the integer path, with the recipe of the options.
    Bank,
    /// [`PatchCore`] on the same backbone; its extractor averages over [`PatchCore::POOL`].
    PatchCore,
    /// [`RawResidual`] on the same residuals.
    RawResidual,
}

/// Options of an evaluation.
#[derive(Clone, Debug)]
pub struct EvalOptions {
    /// Bank or baseline.
    pub method: Method,
    /// Numbers of references.
    pub shots: Vec<usize>,
    /// Seeds `0..seeds` choose the references.
    pub seeds: u64,
    /// Options of each fit; the seed is the run's.
    pub fit: FitOptions,
}

/// Figures of one run; `None` where the set can't give one.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// References.
    pub shots: usize,
    /// Seed that chose them.
    pub seed: u64,
    /// Area under the ROC curve over images.
    pub image_auroc: Option<f64>,
    /// Average precision over images.
    pub image_ap: Option<f64>,
    /// Best F1 over images.
    pub image_f1_max: Option<f64>,
    /// Area under the ROC curve over pixels.
    pub pixel_auroc: Option<f64>,
    /// Average precision over pixels.
    pub pixel_ap: Option<f64>,
    /// Per-region overlap to FPR 0.3.
    pub pixel_aupro: Option<f64>,
    /// Seconds of the fit, reference features included.
    pub fit_seconds: f64,
    /// Images a second on all threads, features included.
    pub images_per_second: f64,
    /// Size of the bank.
    pub bank_bytes: usize,
    /// Names of the references.
    pub references: Vec<String>,
    /// Share of good test images that are called anomalous, at the fitted threshold.
    pub false_positive_rate: Option<f64>,
    /// Share of defective test images that are called anomalous.
    pub true_positive_rate: Option<f64>,
    /// Share of the discriminant in the patch score.
    pub blend: Option<f64>,
    /// Whose discriminant that is.
    pub mix: Option<Mix>,
    /// Figures on the fit's synthetic anomalies.
    pub synthetic: Option<SyntheticFigures>,
    /// Image AUROC of each kind of defect against the good images.
    pub kinds: BTreeMap<String, Option<f64>>,
    /// ROC curve over images: (false-positive rate, true-positive rate).
    #[serde(skip)]
    pub roc: Vec<(f64, f64)>,
    /// Precision-recall curve over images: (recall, precision).
    #[serde(skip)]
    pub precision_recall: Vec<(f64, f64)>,
    /// The test images with their maps; of the run that a report shows, see [`evaluate`].
    #[serde(skip)]
    pub images: Vec<ImageResult>,
}

/// What a run says of a test image, for reports.
#[derive(Clone, Debug)]
pub struct ImageResult {
    /// The image.
    pub path: PathBuf,
    /// `good` or its kind of defect.
    pub kind: String,
    /// Mask of the defect, where there is one.
    pub mask: Option<PathBuf>,
    /// Image score, 0 to 1; 0.5 is the bank's threshold. A method without one takes the score
    /// that one in twenty good test images exceeds.
    pub score: f64,
    /// Whether the score reaches the threshold.
    pub anomalous: bool,
    /// Anomaly map `[height, width]` in patches, 0 to 1; 0.5 is the threshold of regions.
    pub map: Array2<f32>,
}

/// Mean figures over the runs of one number of shots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Mean {
    /// Mean image AUROC.
    pub image_auroc: Option<f64>,
    /// Mean image AP.
    pub image_ap: Option<f64>,
    /// Mean image F1-max.
    pub image_f1_max: Option<f64>,
    /// Mean pixel AUROC.
    pub pixel_auroc: Option<f64>,
    /// Mean pixel AP.
    pub pixel_ap: Option<f64>,
    /// Mean pixel AUPRO.
    pub pixel_aupro: Option<f64>,
    /// Mean share of good images called anomalous.
    pub false_positive_rate: Option<f64>,
}

/// All runs on one data set.
#[derive(Clone, Debug, Serialize)]
pub struct DatasetResult {
    /// Name of the set's folder.
    pub name: String,
    /// One entry a number of shots and seed.
    pub runs: Vec<Run>,
    /// Mean over seeds, by number of shots.
    pub mean: BTreeMap<usize, Mean>,
}

/// A whole evaluation.
#[derive(Clone, Debug, Serialize)]
pub struct Evaluation {
    /// Version of this format.
    pub version: u32,
    /// Backbone.
    pub backbone: String,
    /// Method.
    pub method: String,
    /// Results by data set.
    pub datasets: Vec<DatasetResult>,
    /// Mean over data sets (those that can give the figure), by number of shots.
    pub mean: BTreeMap<usize, Mean>,
}

/// What one run scores with.
enum Scorer {
    Bank(Box<BankFile>, Mix),
    /// With the templates, one an image, found by their names.
    Paired(Box<BankFile>, Mix),
    PatchCore(PatchCore),
    RawResidual(Box<RawResidual>),
}

struct Candidate<'b> {
    shots: usize,
    seed: u64,
    scorer: Scorer,
    /// With the network of the fit, where the backbone depends on the references.
    extractor: Option<Extractor<'b>>,
    references: Vec<String>,
    fit_seconds: f64,
}

/// Score of one test image in one run.
struct Scored {
    score: f32,
    anomalous: Option<bool>,
    map: Array2<f32>,
    seconds: f64,
}

/// Evaluates one data set: fits a bank for each number of shots and seed, then takes each test
/// image through the backbone once and scores it with all banks. The run of seed 0 with the most
/// shots keeps its scores and maps of the single images.
///
/// # Errors
/// Those of the fits; a test image that can't be read ends the evaluation, since figures over a
/// part of a set are not comparable.
pub fn evaluate(
    set: &Dataset,
    extractor: &Extractor,
    options: &EvalOptions,
    progress: &ProgressBar,
) -> Result<DatasetResult> {
    let extractor = &extractor.clone().with_levels(options.fit.levels(extractor));
    let mut candidates = Vec::new();
    for seed in 0..options.seeds {
        for &shots in &options.shots {
            candidates.push(candidate(set, extractor, options, shots, seed, progress)?);
        }
    }
    let has_masks = set.tests.iter().any(|t| t.mask.is_some());
    let mut scored: Vec<Vec<Scored>> = candidates.iter().map(|_| Vec::new()).collect();
    let mut sizes = Vec::new();
    let mut feature_seconds = 0.0;
    progress.set_message(format!("{}: test images", set.name));
    progress.set_length(set.tests.len() as u64);
    progress.set_position(0);
    for chunk in set.tests.chunks(CHUNK) {
        let results: Vec<(f64, (u32, u32), Vec<Scored>)> = chunk
            .par_iter()
            .map(|test| {
                let mut seconds = 0.0;
                let mut load = |extractor: &Extractor| {
                    let start = Instant::now();
                    let loaded = extractor.load_pyramid(&test.path);
                    seconds += start.elapsed().as_secs_f64();
                    loaded
                };
                let mut size = (0, 0);
                let mut scores = Vec::new();
                let mut common = None;
                for candidate in &candidates {
                    let own = match &candidate.extractor {
                        Some(own) => Some(load(own)?),
                        None => None,
                    };
                    if own.is_none() && common.is_none() {
                        common = Some(load(extractor)?);
                    }
                    let extractor = candidate.extractor.as_ref().unwrap_or(extractor);
                    if let Some((features, pixels)) = own.as_ref().or(common.as_ref()) {
                        size = *pixels;
                        scores.push(score(candidate, set, extractor, test, features)?);
                    }
                }
                progress.inc(1);
                Ok((seconds, size, scores))
            })
            .collect::<Result<_>>()?;
        for (seconds, size, scores) in results {
            feature_seconds += seconds;
            sizes.push(size);
            for (list, score) in scored.iter_mut().zip(scores) {
                list.push(score);
            }
        }
    }
    progress.set_message(format!("{}: figures", set.name));
    let mut runs = Vec::new();
    for (candidate, scored) in candidates.into_iter().zip(scored) {
        let pixels = if has_masks {
            pixel_figures(set, &sizes, &scored)?
        } else {
            PixelFigures::default()
        };
        let is_shown = candidate.seed == 0 && Some(&candidate.shots) == options.shots.iter().max();
        let images = if is_shown {
            image_results(set, &candidate.scorer, &scored)?
        } else {
            Vec::new()
        };
        let mut run = figures(set, candidate, &scored, pixels, feature_seconds);
        run.images = images;
        runs.push(run);
    }
    let mean = means(&runs, &options.shots);
    Ok(DatasetResult {
        name: set.name.clone(),
        runs,
        mean,
    })
}

fn candidate<'b>(
    set: &Dataset,
    extractor: &Extractor<'b>,
    options: &EvalOptions,
    shots: usize,
    seed: u64,
    progress: &ProgressBar,
) -> Result<Candidate<'b>> {
    let start = Instant::now();
    let wanted = if options.fit.paired {
        PAIRED_TEMPLATES
    } else {
        shots
    };
    if wanted > set.references.len() {
        return Err(Error::Data(format!(
            "{}: {wanted} references are wanted, train/good has {}",
            set.name,
            set.references.len()
        )));
    }
    let paths = choose_references(&set.references, Some(wanted), seed);
    progress.set_message(format!("{}: fitting, {shots} shots, seed {seed}", set.name));
    let scorer = match options.method {
        Method::Bank => {
            let mut fit_options = options.fit.clone();
            fit_options.seed = seed;
            let mut fitted = fit::fit(extractor, &paths, &fit_options, progress)?;
            if let Some(failure) = fitted.failures.pop() {
                return Err(failure);
            }
            let bank = Box::new(fitted.bank);
            if options.fit.paired {
                Scorer::Paired(bank, fitted.mix)
            } else {
                Scorer::Bank(bank, fitted.mix)
            }
        }
        Method::PatchCore | Method::RawResidual if extractor.backbone().needs_calibration() => {
            return Err(Error::Data(
                "a backbone that is calibrated by the fit gives no features without one".into(),
            ));
        }
        Method::RawResidual => {
            let fit_options = FitOptions {
                seed,
                ..options.fit.clone()
            };
            let model = RawResidual::fit(extractor, &paths, &fit_options, progress)?;
            Scorer::RawResidual(Box::new(model))
        }
        Method::PatchCore
            if extractor.feature_spec().pool != PatchCore::POOL
                || extractor.preprocess().mirror.at(0) != 0 =>
        {
            return Err(Error::Data(
                "PatchCore wants features that are averaged over its own neighbourhood, without a mirrored \
                 border"
                    .into(),
            ));
        }
        Method::PatchCore => {
            let grids: Vec<FeatureGrid> = paths
                .par_iter()
                .map(|path| Ok(extractor.load(path)?.0))
                .collect::<Result<_>>()?;
            let manifest = extractor.backbone().manifest();
            let normalise = manifest.features.normalise;
            Scorer::PatchCore(PatchCore::fit(
                &grids,
                normalise,
                &manifest.feature_channels(),
            )?)
        }
    };
    let own = match &scorer {
        Scorer::Bank(file, _) | Scorer::Paired(file, _) => {
            crate::backbone::of_bank(file, extractor.backbone())?
        }
        Scorer::PatchCore(_) | Scorer::RawResidual(_) => None,
    };
    let own = own.map(|own| extractor.with_backbone(own)).transpose()?;
    Ok(Candidate {
        shots,
        seed,
        scorer,
        extractor: own,
        references: paths.iter().map(|p| file_name(p)).collect(),
        fit_seconds: start.elapsed().as_secs_f64(),
    })
}

fn score(
    candidate: &Candidate,
    set: &Dataset,
    extractor: &Extractor,
    test: &TestImage,
    features: &Pyramid,
) -> Result<Scored> {
    let start = Instant::now();
    let broken = |e: vod_core::BankError| Error::Fit(e.to_string());
    let (score, anomalous, map) = match &candidate.scorer {
        Scorer::PatchCore(model) => {
            let (score, map) = model.score(&features.fine)?;
            (score, None, map)
        }
        Scorer::RawResidual(model) => {
            let (score, map) = model.score(&features.fine)?;
            (score, None, map)
        }
        Scorer::Bank(file, _) => {
            let transform = &file.host().transform;
            let levels = transform.quantise_levels(&features.fine, &features.coarser)?;
            let (frame, map) = score_levels(&file.bank().map_err(broken)?, &levels)?;
            (
                frame.score as f32,
                Some(frame.anomalous()),
                map.mapv(|v| v as f32),
            )
        }
        Scorer::Paired(file, _) => {
            let path = template(set, &test.path)?;
            let transform = &file.host().transform;
            let (template, _) = extractor.load(path)?;
            let grid =
                Grid::new(template.dim().0, template.dim().1).ok_or(vod_core::FrameError::Grid)?;
            let bytes = file.with_template(&transform.quantise(&template), grid)?;
            let bank = Bank::from_bytes(&bytes).map_err(broken)?;
            let levels = transform.quantise_levels(&features.fine, &features.coarser)?;
            let (frame, map) = score_levels(&bank, &levels)?;
            (
                frame.score as f32,
                Some(frame.anomalous()),
                map.mapv(|v| v as f32),
            )
        }
    };
    Ok(Scored {
        score,
        anomalous,
        map,
        seconds: start.elapsed().as_secs_f64(),
    })
}

/// The template of a test image: the reference with the same stem.
fn template<'s>(set: &'s Dataset, image: &Path) -> Result<&'s Path> {
    set.references
        .iter()
        .find(|path| path.file_stem() == image.file_stem())
        .map(PathBuf::as_path)
        .ok_or_else(|| {
            Error::Data(format!(
                "{}: no template of this name among the references",
                image.display()
            ))
        })
}

fn pixel_figures(set: &Dataset, sizes: &[(u32, u32)], scored: &[Scored]) -> Result<PixelFigures> {
    let mut pixels = PixelCollector::default();
    for ((test, size), scored) in set.tests.iter().zip(sizes).zip(scored) {
        let mask = match &test.mask {
            Some(path) => load_mask(path)?,
            // A defect without a mask says nothing about pixels.
            None if test.is_defective() => continue,
            None => Array2::from_elem((size.1 as usize, size.0 as usize), false),
        };
        pixels.add(scored.map.view(), mask.view());
    }
    Ok(pixels.figures())
}

fn figures(
    set: &Dataset,
    candidate: Candidate,
    scored: &[Scored],
    pixels: PixelFigures,
    feature_seconds: f64,
) -> Run {
    let scores: Vec<f32> = scored.iter().map(|s| s.score).collect();
    let labels: Vec<bool> = set.tests.iter().map(TestImage::is_defective).collect();
    let rate = |defective: bool| {
        let calls: Vec<bool> = scored
            .iter()
            .zip(&labels)
            .filter(|(_, label)| **label == defective)
            .filter_map(|(s, _)| s.anomalous)
            .collect();
        let hits = calls.iter().filter(|c| **c).count();
        (!calls.is_empty()).then(|| hits as f64 / calls.len() as f64)
    };
    let mut kinds = BTreeMap::new();
    for kind in set
        .tests
        .iter()
        .filter(|t| t.is_defective())
        .map(|t| &t.kind)
    {
        kinds.entry(kind.clone()).or_insert_with(|| {
            let (scores, labels): (Vec<f32>, Vec<bool>) = set
                .tests
                .iter()
                .zip(&scores)
                .filter(|(t, _)| !t.is_defective() || t.kind == *kind)
                .map(|(t, s)| (*s, t.is_defective()))
                .unzip();
            auroc(&scores, &labels)
        });
    }
    let seconds = feature_seconds + scored.iter().map(|s| s.seconds).sum::<f64>();
    let threads = rayon::current_num_threads() as f64;
    let (bank_bytes, mix, synthetic) = match &candidate.scorer {
        Scorer::Bank(file, mix) | Scorer::Paired(file, mix) => {
            let synthetic = Some(file.host().calibration.synthetic);
            (file.bytes().len(), Some(*mix), synthetic)
        }
        Scorer::PatchCore(model) => (model.bank_bytes(), None, None),
        Scorer::RawResidual(_) => (0, None, None),
    };
    Run {
        shots: candidate.shots,
        seed: candidate.seed,
        image_auroc: auroc(&scores, &labels),
        image_ap: average_precision(&scores, &labels),
        image_f1_max: f1_max(&scores, &labels),
        pixel_auroc: pixels.auroc,
        pixel_ap: pixels.ap,
        pixel_aupro: pixels.aupro,
        fit_seconds: candidate.fit_seconds,
        images_per_second: scored.len() as f64 * threads / seconds.max(1e-9),
        bank_bytes,
        references: candidate.references,
        false_positive_rate: rate(false),
        true_positive_rate: rate(true),
        blend: mix.map(|m| m.specialist + m.generalist),
        mix,
        synthetic,
        kinds,
        roc: roc_curve(&scores, &labels),
        precision_recall: precision_recall_curve(&scores, &labels),
        images: Vec::new(),
    }
}

/// All test images on the scale 0 to 1, with the thresholds of the bank; without a bank those of
/// the good test images, and nothing where there are none.
fn image_results(set: &Dataset, scorer: &Scorer, scored: &[Scored]) -> Result<Vec<ImageResult>> {
    let (image_scale, map_scale) = match scorer {
        Scorer::Bank(file, _) | Scorer::Paired(file, _) => {
            let bank = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
            (score::scale(&bank), score::map_scale(&bank))
        }
        Scorer::PatchCore(_) | Scorer::RawResidual(_) => {
            let good = || {
                let both = scored.iter().zip(&set.tests);
                both.filter(|(_, test)| !test.is_defective())
                    .map(|(s, _)| s)
            };
            let peak = |s: &Scored| s.map.iter().copied().fold(f32::MIN, f32::max);
            let scale = |mut values: Vec<f32>| {
                values.sort_by(f32::total_cmp);
                Some(ScoreScale {
                    normal: (*values.get(values.len() / 2)?).into(),
                    threshold: (*values.get(values.len() * 19 / 20)?).into(),
                })
            };
            let image_scale = scale(good().map(|s| s.score).collect());
            let map_scale = scale(good().map(peak).collect());
            match (image_scale, map_scale) {
                (Some(image_scale), Some(map_scale)) => (image_scale, map_scale),
                _ => return Ok(Vec::new()),
            }
        }
    };
    let both = set.tests.iter().zip(scored);
    Ok(both
        .map(|(test, scored)| {
            let score = image_scale.unit(scored.score);
            ImageResult {
                path: test.path.clone(),
                kind: test.kind.clone(),
                mask: test.mask.clone(),
                score,
                anomalous: scored.anomalous.unwrap_or(score >= 0.5),
                map: scored.map.mapv(|v| map_scale.unit(v) as f32),
            }
        })
        .collect())
}

/// Mean of the figures that there are; `None` without any.
fn mean_of(values: impl Iterator<Item = Option<f64>>) -> Option<f64> {
    let values: Vec<f64> = values.flatten().collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}

fn means(runs: &[Run], shots: &[usize]) -> BTreeMap<usize, Mean> {
    shots
        .iter()
        .map(|&k| {
            let of = |figure: fn(&Run) -> Option<f64>| {
                mean_of(runs.iter().filter(|r| r.shots == k).map(figure))
            };
            let mean = Mean {
                image_auroc: of(|r| r.image_auroc),
                image_ap: of(|r| r.image_ap),
                image_f1_max: of(|r| r.image_f1_max),
                pixel_auroc: of(|r| r.pixel_auroc),
                pixel_ap: of(|r| r.pixel_ap),
                pixel_aupro: of(|r| r.pixel_aupro),
                false_positive_rate: of(|r| r.false_positive_rate),
            };
            (k, mean)
        })
        .collect()
}

/// Puts the results of several data sets together.
pub fn summarise(
    backbone: &str,
    method: &str,
    datasets: Vec<DatasetResult>,
    shots: &[usize],
) -> Evaluation {
    let mean = shots
        .iter()
        .map(|&k| {
            let of = |figure: fn(&Mean) -> Option<f64>| {
                mean_of(datasets.iter().map(|d| d.mean.get(&k).and_then(figure)))
            };
            let mean = Mean {
                image_auroc: of(|m| m.image_auroc),
                image_ap: of(|m| m.image_ap),
                image_f1_max: of(|m| m.image_f1_max),
                pixel_auroc: of(|m| m.pixel_auroc),
                pixel_ap: of(|m| m.pixel_ap),
                pixel_aupro: of(|m| m.pixel_aupro),
                false_positive_rate: of(|m| m.false_positive_rate),
            };
            (k, mean)
        })
        .collect();
    Evaluation {
        version: 1,
        backbone: backbone.to_string(),
        method: method.to_string(),
        datasets,
        mean,
    }
}
