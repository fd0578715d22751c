//! The gaps that a generalist has to bridge, as numbers: how far apart the residuals of two objects,
//! of real and pasted defects, and of two domains are, with and without their order.
//!
//! The measure is a classifier's AUROC: a shrinkage LDA is trained to tell one cloud of patches from
//! the other, and tested on images that it has not seen (domain classifier, Ben-David et al. 2010).
//! 0.5 says that the clouds can't be told apart, 1 that they have nothing in common.

use std::sync::Arc;

use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;

use super::normal::{NormalStatistics, Scale};
use super::train::{TrainOptions, check_fixed, chosen_tests, defective_shares};
use crate::dataset::{Dataset, SplitMix64, choose_references};
use crate::error::Result;
use crate::eval::metrics::auroc;
use crate::features::Extractor;
use crate::fit::{
    Against, Contrast, FitOptions, Moments, Probe, Profiles, Space, is_abnormal, prepare, probe,
    profiles,
};

/// Parts of the cross-validation; images are left out whole.
const FOLDS: usize = 5;
/// Patches of each class that are taken of one image.
const PATCHES_PER_IMAGE: usize = 32;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Normal patches with abnormal ones of the same set: not a gap, what must stay apart.
    NormalAbnormal,
    /// Two sets of one domain.
    Objects,
    /// Real with pasted defects of one set.
    RealSynthetic,
    /// Two domains.
    Domains,
}

/// How well a classifier tells two clouds of patches apart.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Gap {
    /// What is compared.
    pub comparison: Comparison,
    /// The clouds, for people.
    pub first: String,
    /// The other one.
    pub second: String,
    /// AUROC on residuals as they are.
    pub residual: f64,
    /// AUROC on their sorted values.
    pub values: f64,
}

/// Patches of one class.
#[derive(Clone, Debug, Default)]
struct Cloud {
    /// Image that each patch is from.
    images: Vec<usize>,
    /// Residuals in units of the set's normal ones, `[n, D]`.
    residuals: Vec<f32>,
    /// Their sorted values, `[n, D]`.
    values: Vec<f32>,
}

impl Cloud {
    fn append(&mut self, other: &Self) {
        let first = self.images.iter().max().map_or(0, |last| last + 1);
        self.images.extend(other.images.iter().map(|i| i + first));
        self.residuals.extend(&other.residuals);
        self.values.extend(&other.values);
    }
}

/// The clouds of one set.
#[derive(Clone, Debug)]
pub struct SetClouds {
    name: String,
    normal: Cloud,
    synthetic: Cloud,
    real: Cloud,
}

/// Fits a bank on a set as a target would and gathers patches of all classes.
///
/// # Errors
/// Those of reading the images and of the fit.
pub fn clouds(
    extractor: &Extractor,
    set: &Dataset,
    options: &TrainOptions,
    progress: &ProgressBar,
) -> Result<SetClouds> {
    check_fixed(extractor)?;
    let shots = options.shots.iter().copied().max().unwrap_or(1);
    let shots = shots.min(set.references.len());
    let paths = choose_references(&set.references, Some(shots), 0);
    let fit = FitOptions {
        seed: 0,
        ..options.fit.clone()
    };
    let prepared = prepare(extractor, &paths, &fit, progress)?;
    let values = Space::Values(options.fit.recipe.values);
    let pair = |probe: &Probe| -> Result<[Profiles; 2]> {
        Ok([
            profiles(&prepared, probe, Space::Residual)?,
            profiles(&prepared, probe, values)?,
        ])
    };
    let of_references: Vec<[Profiles; 2]> = prepared
        .probes
        .par_iter()
        .map(pair)
        .collect::<Result<_>>()?;
    let (residuals, sorted): (Vec<_>, Vec<_>) =
        of_references.into_iter().map(|[a, b]| (a, b)).unzip();
    let statistics = NormalStatistics::of(&prepared.probes, &sorted, prepared.transform.scale);
    let units = statistics.units(Scale::Length);

    let mut clouds = SetClouds {
        name: set.name.clone(),
        normal: Cloud::default(),
        synthetic: Cloud::default(),
        real: Cloud::default(),
    };
    let mut random = SplitMix64::new(0);
    let references = prepared.probes.iter().zip(residuals.iter().zip(&sorted));
    for (image, (probe, profiles)) in references.enumerate() {
        for (abnormal, cloud) in [(false, &mut clouds.normal), (true, &mut clouds.synthetic)] {
            take(cloud, image, probe, profiles, abnormal, &units, &mut random);
        }
    }
    let tests = chosen_tests(set, options.images);
    progress.set_message(format!("{}: test images", set.name));
    progress.set_length(tests.len() as u64);
    progress.set_position(0);
    let of_tests: Vec<(Probe, [Profiles; 2])> = tests
        .par_iter()
        .map(|test| {
            let (features, _) = extractor.load(&test.path)?;
            let mut probe = probe(Against::All, 0, Arc::new(features), Vec::new(), Vec::new())?;
            let pair = pair(&probe)?;
            probe.shares = defective_shares(test, &probe, &pair[1])?;
            progress.inc(1);
            Ok((probe, pair))
        })
        .collect::<Result<_>>()?;
    for (image, (probe, [residual, sorted])) in of_tests.iter().enumerate() {
        let image = prepared.probes.len() + image;
        for (abnormal, cloud) in [(false, &mut clouds.normal), (true, &mut clouds.real)] {
            let profiles = (residual, sorted);
            take(cloud, image, probe, profiles, abnormal, &units, &mut random);
        }
    }
    Ok(clouds)
}

/// Adds some patches of one class of an image.
fn take(
    cloud: &mut Cloud,
    image: usize,
    probe: &Probe,
    (residuals, sorted): (&Profiles, &Profiles),
    abnormal: bool,
    units: &[f64],
    random: &mut SplitMix64,
) {
    let mut patches: Vec<usize> = (0..probe.grid.len())
        .filter(|patch| is_abnormal(probe.shares.get(*patch)) == Some(abnormal))
        .collect();
    for i in (1..patches.len()).rev() {
        patches.swap(i, random.below(i + 1));
    }
    patches.truncate(PATCHES_PER_IMAGE);
    let dimension = units.len();
    for patch in patches {
        let range = patch * dimension..(patch + 1) * dimension;
        let divided = |profiles: &Profiles| {
            let values = profiles.values[range.clone()].iter().zip(units);
            values
                .map(|(v, unit)| (f64::from(*v) / unit) as f32)
                .collect::<Vec<f32>>()
        };
        cloud.images.push(image);
        cloud.residuals.extend(divided(residuals));
        cloud.values.extend(divided(sorted));
    }
}

/// All gaps between the sets; `same_domain` says of two sets' names whether they are of one domain.
///
/// # Errors
/// [`crate::Error::Fit`] where a classifier can't be trained.
pub fn gaps(
    sets: &[SetClouds],
    same_domain: impl Fn(&str, &str) -> bool,
    shrinkage: f64,
) -> Result<Vec<Gap>> {
    let mut pairs: Vec<(Comparison, String, String, Cloud, Cloud)> = Vec::new();
    let named = |set: &SetClouds, what: &str| format!("{} {what}", set.name);
    for set in sets {
        let mut abnormal = set.real.clone();
        if abnormal.images.is_empty() {
            abnormal = set.synthetic.clone();
        }
        pairs.push((
            Comparison::NormalAbnormal,
            named(set, "normal"),
            named(set, "abnormal"),
            set.normal.clone(),
            abnormal,
        ));
        pairs.push((
            Comparison::RealSynthetic,
            named(set, "real"),
            named(set, "pasted"),
            set.real.clone(),
            set.synthetic.clone(),
        ));
    }
    let mut domains: Vec<Vec<&SetClouds>> = Vec::new();
    for set in sets {
        match domains
            .iter_mut()
            .find(|domain| same_domain(&domain[0].name, &set.name))
        {
            Some(domain) => domain.push(set),
            None => domains.push(vec![set]),
        }
    }
    let mut between = |comparison: Comparison, a: &[&SetClouds], b: &[&SetClouds]| {
        let name = |sets: &[&SetClouds], what: &str| {
            let names: Vec<&str> = sets.iter().map(|set| set.name.as_str()).collect();
            format!("{} {what}", names.join("+"))
        };
        type Part = fn(&SetClouds) -> &Cloud;
        let all = |sets: &[&SetClouds], cloud: Part| {
            let mut sum = Cloud::default();
            sets.iter().for_each(|set| sum.append(cloud(set)));
            sum
        };
        let classes: [(&str, Part); 2] =
            [("normal", |set| &set.normal), ("defects", |set| &set.real)];
        for (what, cloud) in classes {
            pairs.push((
                comparison,
                name(a, what),
                name(b, what),
                all(a, cloud),
                all(b, cloud),
            ));
        }
    };
    for (i, domain) in domains.iter().enumerate() {
        for (j, a) in domain.iter().enumerate() {
            for b in &domain[j + 1..] {
                between(Comparison::Objects, &[*a], &[*b]);
            }
        }
        for other in &domains[i + 1..] {
            between(Comparison::Domains, domain, other);
        }
    }
    let found: Vec<Option<Gap>> = pairs
        .par_iter()
        .map(|(comparison, first, second, a, b)| {
            let residual = classifier_auroc(a, b, |c| &c.residuals, shrinkage)?;
            let values = classifier_auroc(a, b, |c| &c.values, shrinkage)?;
            Ok(residual.zip(values).map(|(residual, values)| Gap {
                comparison: *comparison,
                first: first.clone(),
                second: second.clone(),
                residual,
                values,
            }))
        })
        .collect::<Result<_>>()?;
    let mut gaps: Vec<Gap> = found.into_iter().flatten().collect();
    gaps.sort_by_key(|gap| gap.comparison as u8);
    Ok(gaps)
}

/// AUROC of a classifier between two clouds on images that it was not trained on; `None` where a
/// cloud has too few images.
fn classifier_auroc(
    a: &Cloud,
    b: &Cloud,
    profiles: fn(&Cloud) -> &Vec<f32>,
    shrinkage: f64,
) -> Result<Option<f64>> {
    let images = |cloud: &Cloud| {
        let mut images = cloud.images.clone();
        images.sort_unstable();
        images.dedup();
        images
    };
    let (images_a, images_b) = (images(a), images(b));
    if images_a.len() < FOLDS || images_b.len() < FOLDS {
        return Ok(None);
    }
    let dimension = profiles(a).len() / a.images.len();
    // Images of a class are dealt to the folds in turn, so that each fold has some of both.
    let fold = |images: &[usize], image: usize| images.partition_point(|i| *i < image) % FOLDS;
    let mut parts = vec![[Moments::new(dimension), Moments::new(dimension)]; FOLDS];
    for (side, (cloud, images)) in [(a, &images_a), (b, &images_b)].into_iter().enumerate() {
        let patches = profiles(cloud).chunks_exact(dimension).zip(&cloud.images);
        for (profile, image) in patches {
            parts[fold(images, *image)][side].add(profile);
        }
    }
    let mut sum = 0.0;
    for left_out in 0..FOLDS {
        let mut sides = [Moments::new(dimension), Moments::new(dimension)];
        for (_, part) in parts.iter().enumerate().filter(|(i, _)| *i != left_out) {
            sides[0].merge(&part[0]);
            sides[1].merge(&part[1]);
        }
        let weights = Contrast::of(&sides[0], &sides[1])?.direction(shrinkage)?;
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        for (label, (cloud, images)) in [(false, (a, &images_a)), (true, (b, &images_b))] {
            let patches = profiles(cloud).chunks_exact(dimension).zip(&cloud.images);
            for (profile, _) in patches.filter(|(_, i)| fold(images, **i) == left_out) {
                let terms = weights.iter().zip(profile);
                scores.push(terms.map(|(w, v)| w * f64::from(*v)).sum::<f64>() as f32);
                labels.push(label);
            }
        }
        sum += auroc(&scores, &labels).unwrap_or(0.5);
    }
    Ok(Some(sum / FOLDS as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 20 images of 16 patches; channel `loud` is three times as wide as the other seven.
    fn cloud(seed: u64, loud: usize) -> Cloud {
        const DIMENSION: usize = 8;
        let mut random = SplitMix64::new(seed);
        let mut cloud = Cloud::default();
        for patch in 0..20 * 16 {
            let residual: Vec<f32> = (0..DIMENSION)
                .map(|channel| {
                    let width = if channel == loud { 3.0 } else { 1.0 };
                    (width * random.between(0.0, 1.0)) as f32
                })
                .collect();
            let mut values = residual.clone();
            values.sort_by(f32::total_cmp);
            cloud.images.push(patch / 16);
            cloud.residuals.extend(residual);
            cloud.values.extend(values);
        }
        cloud
    }

    #[test]
    fn clouds_that_differ_by_channel_are_apart_in_residuals_and_together_in_values() {
        let (a, b) = (cloud(1, 0), cloud(2, 5));
        let residual = classifier_auroc(&a, &b, |c| &c.residuals, 1.0);
        assert!(residual.unwrap().unwrap() > 0.9);
        let values = classifier_auroc(&a, &b, |c| &c.values, 1.0);
        let values = values.unwrap().unwrap();
        assert!((values - 0.5).abs() < 0.1, "{values}");
    }

    #[test]
    fn too_few_images_give_no_gap() {
        let mut few = cloud(1, 0);
        few.images.iter_mut().for_each(|image| *image %= 4);
        let gap = classifier_auroc(&few, &cloud(2, 0), |c| &c.values, 1.0);
        assert_eq!(gap.unwrap(), None);
    }
}
