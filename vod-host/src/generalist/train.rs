//! Trains a generalist on labelled sets (method, step 7).

use std::sync::Arc;

use indicatif::ProgressBar;
use rayon::prelude::*;

use super::normal::{NormalStatistics, Scale};
use super::weights::{Source, Weights};
use crate::dataset::{Dataset, SplitMix64, TestImage, choose_references};
use crate::error::{Error, Result};
use crate::features::Extractor;
use crate::fit::{
    Against, Contrast, FitOptions, Moments, Prepared, Probe, Profiles, Space, moments, prepare,
    probe, profiles,
};

/// Share of the patches of a defective image that count as defective where there is no mask: those
/// that make up the image score.
const TOP_SHARE: f64 = 0.01;
/// Share of a patch of which nothing is known: neither normal nor abnormal.
const UNKNOWN: f32 = 0.25;

/// Abnormal patches that a generalist learns from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Anomalies {
    /// Pasted ones only: no defect is looked at.
    Synthetic,
    /// Those of the sets' defective test images only.
    Real,
    /// Both, with the same weight.
    Both,
}

/// Options of a training.
#[derive(Clone, Debug)]
pub struct TrainOptions {
    /// Abnormal patches that are learned from.
    pub anomalies: Anomalies,
    /// What makes the values of two targets comparable.
    pub scale: Scale,
    /// Shrinkage of the discriminant.
    pub shrinkage: f64,
    /// Numbers of references of the banks that are fitted on each set.
    pub shots: Vec<usize>,
    /// Banks for each number of references; each draws its own.
    pub draws: u64,
    /// Good and defective test images that each bank is compared with, at most so many of each.
    pub images: usize,
    /// How the banks are fitted.
    pub fit: FitOptions,
    /// What the discriminant sees; banks take sorted values only.
    pub space: Space,
}

impl TrainOptions {
    /// The options that the command uses.
    pub fn standard() -> Self {
        let fit = FitOptions::standard();
        Self {
            anomalies: Anomalies::Both,
            scale: Scale::Length,
            shrinkage: fit.recipe.shrinkage,
            shots: vec![1, 4],
            draws: 2,
            images: 40,
            space: Space::Values(fit.recipe.values),
            fit,
        }
    }
}

/// What was learned of one set: from any number of studies weights can be pooled.
#[derive(Clone, Debug)]
pub struct SourceStudy {
    name: String,
    targets: Vec<Target>,
}

/// One bank, as a target would fit it.
#[derive(Clone, Debug)]
struct Target {
    normal: NormalStatistics,
    synthetic: Option<Contrast>,
    real: Option<Contrast>,
    synthetic_patches: u64,
    real_patches: u64,
}

/// Fits banks on a set as targets would, and looks at how its anomalies differ from what is normal.
///
/// References are compared with the other references of their bank, test images with all of them:
/// no patch meets a row of its own image.
///
/// # Errors
/// Those of reading the images and of the fits.
pub fn study(
    extractor: &Extractor,
    set: &Dataset,
    options: &TrainOptions,
    progress: &ProgressBar,
) -> Result<SourceStudy> {
    check_fixed(extractor)?;
    let tests = match options.anomalies {
        Anomalies::Synthetic => Vec::new(),
        Anomalies::Real | Anomalies::Both => chosen_tests(set, options.images),
    };
    let mut targets = Vec::new();
    for &shots in &options.shots {
        let shots = shots.min(set.references.len());
        for seed in 0..options.draws {
            let paths = choose_references(&set.references, Some(shots), seed);
            let fit = FitOptions {
                seed,
                ..options.fit.clone()
            };
            let prepared = prepare(extractor, &paths, &fit, progress)?;
            progress.set_message(format!("{}: test images", set.name));
            progress.set_length(tests.len() as u64);
            progress.set_position(0);
            targets.push(target(extractor, &prepared, &tests, options, progress)?);
        }
    }
    Ok(SourceStudy {
        name: set.name.clone(),
        targets,
    })
}

/// Refuses a backbone that depends on the references: residuals of two sets would be of two networks.
pub(super) fn check_fixed(extractor: &Extractor) -> Result<()> {
    let backbone = extractor.backbone();
    if backbone.needs_calibration() {
        return Err(Error::Data(format!(
            "backbone `{}` is calibrated on each bank's references; a generalist needs the same for all",
            backbone.manifest().id
        )));
    }
    Ok(())
}

fn target(
    extractor: &Extractor,
    prepared: &Prepared,
    tests: &[&TestImage],
    options: &TrainOptions,
    progress: &ProgressBar,
) -> Result<Target> {
    let dimension = prepared.transform.dimension;
    let of_references: Vec<Profiles> = prepared
        .probes
        .par_iter()
        .map(|probe| profiles(prepared, probe, options.space))
        .collect::<Result<_>>()?;
    let normal = NormalStatistics::of(&prepared.probes, &of_references, prepared.transform.scale);
    let sum = |parts: Vec<[Moments; 2]>| {
        let mut sides = [Moments::new(dimension), Moments::new(dimension)];
        for part in &parts {
            sides[0].merge(&part[0]);
            sides[1].merge(&part[1]);
        }
        sides
    };
    let synthetic = sum(prepared
        .probes
        .par_iter()
        .zip(&of_references)
        .map(|(probe, profiles)| moments(probe, profiles, dimension))
        .collect());
    let real = sum(tests
        .par_iter()
        .map(|test| {
            let (features, _) = extractor.load(&test.path)?;
            let mut probe = probe(Against::All, 0, Arc::new(features), Vec::new(), Vec::new())?;
            let profiles = profiles(prepared, &probe, options.space)?;
            probe.shares = defective_shares(test, &probe, &profiles)?;
            progress.inc(1);
            Ok(moments(&probe, &profiles, dimension))
        })
        .collect::<Result<_>>()?);
    let contrast = |[normal, abnormal]: &[Moments; 2]| {
        (abnormal.count() >= 2.0)
            .then(|| Contrast::of(normal, abnormal))
            .transpose()
    };
    Ok(Target {
        normal,
        synthetic_patches: synthetic[1].count() as u64,
        real_patches: real[1].count() as u64,
        synthetic: contrast(&synthetic)?,
        real: contrast(&real)?,
    })
}

/// At most `count` good and `count` defective test images, the same for every bank.
pub(super) fn chosen_tests(set: &Dataset, count: usize) -> Vec<&TestImage> {
    let mut random = SplitMix64::new(0);
    let mut chosen = Vec::new();
    for defective in [false, true] {
        let mut tests: Vec<&TestImage> = set
            .tests
            .iter()
            .filter(|test| test.is_defective() == defective)
            .collect();
        for i in (1..tests.len()).rev() {
            tests.swap(i, random.below(i + 1));
        }
        chosen.extend(tests.into_iter().take(count));
    }
    chosen
}

/// How much of each patch of a test image is defective; empty for a good one.
///
/// Where there is no mask the patches with the longest residuals count as defective, and nothing
/// is known of the others.
pub(super) fn defective_shares(
    test: &TestImage,
    probe: &Probe,
    profiles: &Profiles,
) -> Result<Vec<f32>> {
    if !test.is_defective() {
        return Ok(Vec::new());
    }
    let grid = probe.grid;
    if let Some(path) = &test.mask {
        let mask = crate::image::load(path)?;
        let mut counts = vec![[0u32; 2]; grid.len()];
        for (x, y, pixel) in mask.enumerate_pixels() {
            let row = y as usize * grid.height() / mask.height() as usize;
            let column = x as usize * grid.width() / mask.width() as usize;
            let [defective, all] = &mut counts[row * grid.width() + column];
            *defective += u32::from(pixel[0] > 127);
            *all += 1;
        }
        let share = |[defective, all]: [u32; 2]| defective as f32 / all.max(1) as f32;
        return Ok(counts.into_iter().map(share).collect());
    }
    let mut lengths = profiles.lengths.clone();
    lengths.sort_by(|a, b| b.total_cmp(a));
    let count = (lengths.len() as f64 * TOP_SHARE).round().max(1.0) as usize;
    let least = lengths[count.min(lengths.len()) - 1];
    let label = |length: &f64| if *length >= least { 1.0 } else { UNKNOWN };
    Ok(profiles.lengths.iter().map(label).collect())
}

/// Puts studies together: every set weighs the same, and every bank in it.
///
/// # Errors
/// [`Error::Data`] where there is nothing to learn from, [`Error::Fit`].
pub fn pool<'s>(
    studies: impl IntoIterator<Item = &'s SourceStudy>,
    extractor: &Extractor,
    options: &TrainOptions,
    licence: &str,
) -> Result<Weights> {
    let studies: Vec<&SourceStudy> = studies.into_iter().collect();
    let direction = pooled_direction(&studies, options)?;
    let manifest = extractor.backbone().manifest();
    let sources = studies.iter().map(|study| {
        let sum = |count: fn(&Target) -> u64| study.targets.iter().map(count).sum();
        Source {
            name: study.name.clone(),
            targets: study.targets.len() as u32,
            synthetic: match options.anomalies {
                Anomalies::Real => 0,
                _ => sum(|t| t.synthetic_patches),
            },
            real: sum(|t| t.real_patches),
        }
    });
    Ok(Weights {
        vod_version: env!("CARGO_PKG_VERSION").into(),
        backbone_id: manifest.id.clone(),
        backbone_sha256: manifest.sha256.to_lowercase(),
        preprocess: extractor.preprocess().clone(),
        features: extractor.feature_spec().clone(),
        space: options.space,
        scale: options.scale,
        weights: direction.iter().map(|w| *w as f32).collect(),
        sources: sources.collect(),
        licence: licence.into(),
    })
}

/// The discriminant of all studies, on values divided by their target's units.
fn pooled_direction(studies: &[&SourceStudy], options: &TrainOptions) -> Result<Vec<f64>> {
    let mut contrasts = Vec::new();
    for study in studies {
        let mut of_set = Vec::new();
        for target in &study.targets {
            let units = target.normal.units(options.scale);
            let synthetic = match options.anomalies {
                Anomalies::Real => None,
                Anomalies::Synthetic | Anomalies::Both => target.synthetic.as_ref(),
            };
            for contrast in [synthetic, target.real.as_ref()].into_iter().flatten() {
                of_set.push(contrast.clone().divided(&units));
            }
        }
        let weight = 1.0 / of_set.len().max(1) as f64;
        contrasts.extend(of_set.into_iter().map(|contrast| (contrast, weight)));
    }
    if contrasts.is_empty() {
        return Err(Error::Data(
            "the sets have no anomalies to learn from".into(),
        ));
    }
    Contrast::mean(
        contrasts
            .iter()
            .map(|(contrast, weight)| (contrast, *weight)),
    )?
    .direction(options.shrinkage)
}
