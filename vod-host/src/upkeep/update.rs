//! References and missed defects added to a bank, without the images that it was fitted on.
//!
//! New references become rows, and their left-out value profiles join the normal class; the patches of
//! missed defects join the abnormal class, in which they count as much as all synthetic anomalies
//! together. The discriminant is then fitted again from the moments that the bank keeps, and the
//! threshold is calibrated again: on the new references, and on the old ones of which the bank keeps
//! the patches that made their scores. The scorer stays of the same form, so a device runs it as before.

use std::path::{Path, PathBuf};

use ::image::RgbImage;
use indicatif::ProgressBar;
use rayon::prelude::*;
use serde::Serialize;
use vod_core::{Bank, BankParts, Scorer};

use super::reference_shown;
use crate::bank_file::{BankFile, Calibration, HostSection, row_norms};
use crate::bank_records::{ClassMoments, HeldBack, Records, ReferenceFrame, View};
use crate::dataset::file_name;
use crate::error::{Error, Result};
use crate::eval::metrics::average_precision;
use crate::features::Extractor;
use crate::fit::{
    Against, Discriminant, Moments, Profiles, Rows, Space, cell_table, fixed_point, median,
    patch_scores, profiles_against, score_units, shrinkage_lda, threshold,
};
use crate::image;
use crate::score::{Frame, scale, score_levels};

/// What is added and how.
#[derive(Clone, Debug, Default)]
pub struct UpdateOptions {
    /// Bytes that the rows may take, at least what they take already;
    /// [`crate::backbone::Manifest::row_bytes_for`] if `None`.
    pub row_bytes: Option<usize>,
}

/// An image with a defect that the bank missed, and its mask where there is one.
#[derive(Clone, Debug)]
pub struct MissedDefect {
    /// The image.
    pub path: PathBuf,
    /// Its mask: every pixel above 127 is defect.
    pub mask: Option<PathBuf>,
}

/// An updated bank, and what changed.
#[derive(Debug)]
pub struct Update {
    /// The new bank.
    pub bank: BankFile,
    /// The new references.
    pub good: Vec<AddedReference>,
    /// The defects.
    pub bad: Vec<AddedDefect>,
    /// Old references that were scored again, left out as when the bank was fitted.
    pub held_back: Vec<HeldBackChange>,
    /// Share of the discriminant before and after.
    pub blend: (f64, f64),
    /// What the defects do to the scores; `None` where none were added.
    pub effect: Option<DefectEffect>,
    /// Images that could not be read, or are references already.
    pub failures: Vec<Error>,
}

/// What defects that were added do to the scores of the new bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DefectEffect {
    /// The discriminant that they were fitted into is part of the score.
    Scored,
    /// None: the score is plain distance, and one defect is too few to choose a share on.
    OneDefect,
    /// None: the score is plain distance, and there is no normal patch to try a share on, since there
    /// are no new references and the bank holds none back.
    NothingToTryOn,
    /// None: the score is plain distance, which tells these defects from normal patches as well as any
    /// share of the discriminant does.
    DistanceIsBest,
}

/// A new reference. Scores are on the scale 0 to 1 of the bank before and of the bank after.
#[derive(Clone, Debug, Serialize)]
pub struct AddedReference {
    /// Name of the image.
    pub name: String,
    /// Its score before.
    pub before: f64,
    /// Its score after, its own rows left out.
    pub after: f64,
    /// Rows of the new bank that are its.
    pub rows: usize,
    /// Held-back patches of old references whose nearest row now is its.
    pub held_back_patches: usize,
}

/// A defect that was added.
#[derive(Clone, Debug, Serialize)]
pub struct AddedDefect {
    /// Name of the image.
    pub name: String,
    /// Patches that were taken as abnormal.
    pub patches: usize,
    /// Its score before.
    pub before: f64,
    /// Its score after.
    pub after: f64,
}

/// An old reference, scored from the patches that the bank keeps of it.
#[derive(Clone, Debug, Serialize)]
pub struct HeldBackChange {
    /// Name of the image.
    pub name: String,
    /// Its left-out score before.
    pub before: f64,
    /// Its left-out score after.
    pub after: f64,
}

/// A picture that is added.
struct Picture {
    name: String,
    size: (u32, u32),
    /// int8 features of the upright picture.
    frame: Frame,
    /// Features of the mirrored copies, in the order of [`View::ALL`] without the first.
    mirrored: Vec<Frame>,
    /// Patches that are abnormal.
    abnormal: Vec<usize>,
}

/// Adds `good` references and `bad` defects.
///
/// # Errors
/// [`Error::Data`] where there is nothing to add, or the bank can't take defects since it keeps no
/// moments; those of the backbone.
pub fn update(
    file: &BankFile,
    extractor: &Extractor,
    good: &[PathBuf],
    bad: &[MissedDefect],
    options: &UpdateOptions,
    progress: &ProgressBar,
) -> Result<Update> {
    let bank = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
    let records = file.records();
    if !bad.is_empty() && records.moments.is_none() {
        return Err(Error::Data(
            "the bank keeps no moments of value profiles (it was written by an earlier version, or \
             scores by plain distance), so defects can't be added; fit it again"
                .into(),
        ));
    }
    let dimension = bank.dimension();
    let mirror = records.origins.as_ref().is_some_and(|o| {
        o.rows
            .iter()
            .any(|r| !matches!(r.view, View::Upright | View::Coarser))
    });
    progress.set_message("features");
    progress.set_length((good.len() + bad.len()) as u64);
    let mut failures = Vec::new();
    let mut read = |results: Vec<Result<Picture>>| {
        let mut pictures = Vec::new();
        for result in results {
            match result {
                Ok(picture) => pictures.push(picture),
                Err(error) => failures.push(error),
            }
        }
        pictures
    };
    let good = read(
        good.par_iter()
            .map(|path| {
                let picture = picture(file, extractor, path, mirror);
                progress.inc(1);
                picture
            })
            .collect(),
    );
    let bad = read(
        bad.par_iter()
            .map(|defect| {
                let found = defect_picture(file, extractor, &bank, defect);
                progress.inc(1);
                found
            })
            .collect(),
    );
    if good.is_empty() && bad.is_empty() {
        let first = failures.into_iter().next();
        return Err(first.unwrap_or_else(|| Error::Data("nothing to add".into())));
    }
    progress.set_message("updating");

    let old_references = file.host().references.len();
    let old_rows = rows_of(file, &bank);
    let manifest = extractor.backbone().manifest();
    let usual = manifest.row_bytes_for(old_references + good.len());
    let row_bytes = options.row_bytes.unwrap_or(usual);
    let rows = merged_rows(&old_rows, &good, old_references, &bank, row_bytes);
    let known = records.origins.is_some();
    let against = |added: usize| Against::Without(old_references + added);

    // Old references that can be scored again.
    let held: &[HeldBack] = match (&records.calibration, known) {
        (Some(calibration), true) => &calibration.held_back,
        _ => &[],
    };
    let (discriminant, moments) = match &records.moments {
        Some(moments) => {
            let (discriminant, moments) = refit(file, &bank, moments, &rows, &good, &bad, held)?;
            (Some(discriminant), Some(moments))
        }
        None => (None, None),
    };
    let encode =
        |rows: &Rows, calibration: Option<&Calibration>, host: &HostSection, records: &Records| {
            build(
                &bank,
                discriminant.as_ref(),
                rows,
                calibration,
                host,
                records,
            )
        };
    // Only to score with.
    let bare = HostSection {
        network: Vec::new(),
        references: Vec::new(),
        ..file.host().clone()
    };
    let without = |against: Against| -> Result<BankFile> {
        encode(
            &rows.part(against, dimension),
            None,
            &bare,
            &Records::default(),
        )
    };

    // Old references, each without its own rows, before and after.
    let rescored: Vec<(i32, i32, Vec<usize>)> = held
        .par_iter()
        .map(|held| {
            let own = Against::Without(held.reference as usize);
            let former = build(
                &bank,
                None,
                &old_rows.part(own, dimension),
                None,
                &bare,
                &Records::default(),
            )?;
            let before = rescore(&former, held)?.0;
            let (after, nearest) = rescore(&without(own)?, held)?;
            let kept = rows.part(own, dimension);
            let images = nearest
                .iter()
                .filter_map(|&row| kept.image.get(row as usize));
            Ok((before, after, images.map(|&image| image as usize).collect()))
        })
        .collect::<Result<_>>()?;
    // The image score moves by as much as the mean of the patches: exact where it is that mean, an
    // estimate where it is taken from the smoothed map.
    let follow = |value: i32, before: i32, after: i32| {
        score_units(f64::from(value) + f64::from(after) - f64::from(before))
    };
    let held_back: Vec<(i32, i32, i32)> = held
        .iter()
        .zip(&rescored)
        .map(|(held, (before, after, _))| {
            (
                held.score,
                follow(held.score, *before, *after),
                follow(held.peak, *before, *after),
            )
        })
        .collect();

    let added: Vec<(i32, i32)> = good
        .par_iter()
        .enumerate()
        .map(|(number, picture)| frame_of(&without(against(number))?, picture))
        .collect::<Result<_>>()?;
    let calibration = calibrate(file, held, &held_back, &added);
    let mut host = file.host().clone();
    host.blend = discriminant.as_ref().map_or(host.blend, |d| d.blend);
    host.calibration = calibration.0;
    host.vod_version = env!("CARGO_PKG_VERSION").into();
    host.references.extend(good.iter().map(|p| p.name.clone()));
    let mut new_records = records.clone();
    new_records.moments = moments;
    let rows = if bank.is_aligned() {
        rows.by_cell(dimension)
    } else {
        rows
    };
    if let Some(origins) = &mut new_records.origins {
        origins.frames.extend(good.iter().map(|p| ReferenceFrame {
            grid: (p.frame.grid.height() as u16, p.frame.grid.width() as u16),
            size: p.size,
        }));
        origins.rows = rows.origins();
    }
    if let Some(frames) = &mut new_records.calibration {
        frames.peaks = calibration.1;
        for (kept, (_, score, peak)) in frames.held_back.iter_mut().zip(&held_back) {
            (kept.score, kept.peak) = (*score, *peak);
        }
    }
    let new = encode(&rows, Some(&host.calibration.clone()), &host, &new_records)?;

    let new_bank = new.bank().map_err(|e| Error::Fit(e.to_string()))?;
    let (old_scale, new_scale) = (scale(&bank), scale(&new_bank));
    let score_before = |picture: &Picture| frame_of(file, picture).map(|(score, _)| score);
    Ok(Update {
        good: good
            .iter()
            .zip(&added)
            .enumerate()
            .map(|(number, (picture, &(after, _)))| {
                let image = old_references + number;
                let of_it = |images: &[usize]| images.iter().filter(|i| **i == image).count();
                Ok(AddedReference {
                    name: picture.name.clone(),
                    before: old_scale.unit(score_before(picture)?),
                    after: new_scale.unit(after),
                    rows: rows.image.iter().filter(|i| **i as usize == image).count(),
                    held_back_patches: rescored.iter().map(|(.., images)| of_it(images)).sum(),
                })
            })
            .collect::<Result<_>>()?,
        bad: bad
            .iter()
            .map(|picture| {
                Ok(AddedDefect {
                    name: picture.name.clone(),
                    patches: picture.abnormal.len(),
                    before: old_scale.unit(score_before(picture)?),
                    after: new_scale.unit(frame_of(&new, picture)?.0),
                })
            })
            .collect::<Result<_>>()?,
        held_back: held
            .iter()
            .zip(&held_back)
            .map(|(held, &(before, after, _))| HeldBackChange {
                name: file.host().references[held.reference as usize].clone(),
                before: old_scale.unit(before),
                after: new_scale.unit(after),
            })
            .collect(),
        blend: (file.host().blend, host.blend),
        effect: match (bad.len(), host.blend) {
            (0, _) => None,
            (1, 0.0) => Some(DefectEffect::OneDefect),
            (_, 0.0) if good.is_empty() && held.is_empty() => Some(DefectEffect::NothingToTryOn),
            (_, 0.0) => Some(DefectEffect::DistanceIsBest),
            _ => Some(DefectEffect::Scored),
        },
        bank: new,
        failures,
    })
}

fn picture(file: &BankFile, extractor: &Extractor, path: &Path, mirror: bool) -> Result<Picture> {
    let (input, size) = extractor.preprocess().load(path)?;
    let transform = &file.host().transform;
    let quantised = |input: &RgbImage| -> Result<Frame> {
        let pyramid = extractor.pyramid_of_input(input)?;
        transform.quantise_levels(&pyramid.fine, &pyramid.coarser)
    };
    let frame = quantised(&input)?;
    let sides = (frame.grid.height(), frame.grid.width());
    if let Some(number) = reference_shown(file, &frame.features, sides) {
        return Err(Error::Data(format!(
            "{}: is the bank's reference {} already",
            path.display(),
            file.host().references[number]
        )));
    }
    let mut mirrored = Vec::new();
    if mirror {
        let flips = [
            ::image::imageops::flip_horizontal(&input),
            ::image::imageops::flip_vertical(&input),
            ::image::imageops::rotate180(&input),
        ];
        for flip in &flips {
            mirrored.push(quantised(flip)?);
        }
    }
    Ok(Picture {
        name: file_name(path),
        size,
        frame,
        mirrored,
        abnormal: Vec::new(),
    })
}

/// A defect with its abnormal patches: those that the mask covers by half or more, or most of all; or
/// without a mask, the highest ones, whose mean is the image score.
fn defect_picture(
    file: &BankFile,
    extractor: &Extractor,
    bank: &Bank,
    defect: &MissedDefect,
) -> Result<Picture> {
    let mut picture = picture(file, extractor, &defect.path, false)?;
    let grid = picture.frame.grid;
    let (height, width) = (grid.height(), grid.width());
    let order: Vec<(f64, usize)> = match &defect.mask {
        Some(mask) => {
            let mask = image::load(mask)?;
            let mut shares = vec![0.0; height * width];
            let mut areas = vec![0.0f64; height * width];
            for (x, y, pixel) in mask.enumerate_pixels() {
                let row = y as usize * height / mask.height() as usize;
                let column = x as usize * width / mask.width() as usize;
                areas[row * width + column] += 1.0;
                shares[row * width + column] += f64::from(u8::from(pixel[0] > 127));
            }
            let shares = shares.iter().zip(&areas).map(|(s, a)| s / a.max(1.0));
            shares.zip(0..).collect()
        }
        None => {
            let margin = bank.margin(grid);
            let scores = patch_scores(bank, grid, &picture.frame.features)?;
            let mut counted: Vec<(i32, usize)> = scores.into_iter().zip(0..).collect();
            counted.retain(|&(_, patch)| grid.is_inner(patch, margin));
            counted.sort_unstable_by_key(|&(score, _)| std::cmp::Reverse(score));
            let top = Scorer::top_count(bank.parts().top_share, counted.len());
            let least = counted[top - 1].0;
            let taken = |(score, patch)| (f64::from(u8::from(score >= least)), patch);
            counted.into_iter().map(taken).collect()
        }
    };
    let highest = order.iter().fold(0.0f64, |m, (share, _)| m.max(*share));
    if highest == 0.0 {
        return Err(Error::Data(format!(
            "{}: its mask shows no defect",
            defect.path.display()
        )));
    }
    let limit = highest.min(0.5);
    let taken = order.into_iter().filter(|(share, _)| *share >= limit);
    picture.abnormal = taken.map(|(_, patch)| patch).collect();
    Ok(picture)
}

/// The bank's rows; where it does not know their origins, all are from no image.
fn rows_of(file: &BankFile, bank: &Bank) -> Rows {
    let mut rows = Rows::default();
    for number in 0..bank.row_count() {
        rows.values.extend_from_slice(bank.row(number));
    }
    match &file.records().origins {
        Some(origins) => {
            rows.image = origins.rows.iter().map(|r| r.reference).collect();
            rows.cell = origins.rows.iter().map(|r| r.cell).collect();
            rows.view = origins.rows.iter().map(|r| r.view).collect();
        }
        None => {
            rows.image = vec![u32::MAX; bank.row_count()];
            rows.cell = cells_of(bank);
            rows.view = vec![View::Upright; bank.row_count()];
        }
    }
    rows
}

/// Grid cell of each row of a bank that is searched by position, otherwise zeros.
fn cells_of(bank: &Bank) -> Vec<u32> {
    let starts = bank.parts().cells.as_chunks::<4>().0;
    let starts: Vec<usize> = starts
        .iter()
        .map(|b| u32::from_le_bytes(*b) as usize)
        .collect();
    (0..bank.row_count())
        .map(|row| starts.partition_point(|&s| s <= row).saturating_sub(1) as u32)
        .collect()
}

fn merged_rows(
    old: &Rows,
    good: &[Picture],
    old_references: usize,
    bank: &Bank,
    row_bytes: usize,
) -> Rows {
    let dimension = bank.dimension();
    let mut rows = old.part(Against::All, dimension);
    for (number, picture) in good.iter().enumerate() {
        let copies = std::iter::once(&picture.frame).chain(&picture.mirrored);
        for (frame, view) in copies.zip(View::ALL) {
            rows.add_frame(frame, old_references + number, view, &[]);
        }
    }
    let limit = (row_bytes / dimension).max(bank.row_count());
    rows.thin(dimension, limit);
    rows
}

/// Fits the discriminant again from the kept moments and the new pictures, and chooses its share anew
/// where there are two defects or more to choose it on: beside the patches of the new references, or
/// where there are none, of those that the bank holds back.
fn refit(
    file: &BankFile,
    bank: &Bank,
    kept: &ClassMoments,
    rows: &Rows,
    good: &[Picture],
    bad: &[Picture],
    held: &[HeldBack],
) -> Result<(Discriminant, ClassMoments)> {
    let dimension = bank.dimension();
    let kind = bank.parts().values;
    let old_references = file.host().references.len();
    let normal_profiles: Vec<Profiles> = good
        .par_iter()
        .enumerate()
        .map(|(number, p)| {
            let own = Against::Without(old_references + number);
            profiles_against(&p.frame.features, rows, own, dimension, Space::Values(kind))
        })
        .collect::<Result<_>>()?;
    let bad_profiles: Vec<Profiles> = bad
        .par_iter()
        .map(|p| {
            let patches = p.abnormal.iter();
            let queries: Vec<i8> = patches
                .flat_map(|&n| &p.frame.features[n * dimension..(n + 1) * dimension])
                .copied()
                .collect();
            profiles_against(&queries, rows, Against::All, dimension, Space::Values(kind))
        })
        .collect::<Result<_>>()?;
    let moments_of = |profiles: &[&Profiles]| {
        let mut moments = Moments::new(dimension);
        for profile in profiles
            .iter()
            .flat_map(|p| p.values.chunks_exact(dimension))
        {
            moments.add(profile);
        }
        moments
    };
    let mut normal = Moments::from_record(&kept.normal);
    normal.merge(&moments_of(&normal_profiles.iter().collect::<Vec<_>>()));
    let synthetic = Moments::from_record(&kept.synthetic);
    let before = kept.missed.as_ref().map(Moments::from_record);
    let missed = |skip: Option<usize>| {
        let all = bad_profiles.iter().enumerate();
        let used: Vec<&Profiles> = all
            .filter(|(n, _)| Some(*n) != skip)
            .map(|(_, p)| p)
            .collect();
        let mut moments = moments_of(&used);
        before.iter().for_each(|m| moments.merge(m));
        moments
    };
    let weights = |missed: &Moments| {
        let mut abnormal = synthetic.clone();
        if missed.count() > 0.0 {
            let mut real = missed.clone();
            // Half of the abnormal class, however few they are.
            real.scale(synthetic.count().max(1.0) / missed.count());
            abnormal.merge(&real);
        }
        shrinkage_lda(&normal, &abnormal, kept.shrinkage)
    };
    let mut blend = file.host().blend;
    if bad.len() >= 2 && !(good.is_empty() && held.is_empty()) {
        let folds: Vec<Vec<f64>> = (0..bad.len())
            .map(|n| weights(&missed(Some(n))))
            .collect::<Result<_>>()?;
        let all = weights(&missed(None))?;
        let score = |blend: f64, weights: &[f64], values: &[i16], length: f64| {
            let terms = weights.iter().zip(values);
            let sum: f64 = terms.map(|(w, &v)| w * f64::from(v)).sum();
            blend * sum + (1.0 - blend) * length / kept.length_spread
        };
        let scores = |blend: f64, weights: &[f64], profiles: &Profiles| -> Vec<f64> {
            let patches = profiles.values.chunks_exact(dimension);
            let patches = patches.zip(&profiles.lengths);
            patches
                .map(|(values, &length)| score(blend, weights, values, length))
                .collect()
        };
        let held_profiles: Vec<Profiles> = if good.is_empty() {
            held.par_iter()
                .map(|held| {
                    let own = Against::Without(held.reference as usize);
                    let queries = bytemuck::cast_slice(&held.features);
                    profiles_against(queries, rows, own, dimension, Space::Values(kind))
                })
                .collect::<Result<_>>()?
        } else {
            Vec::new()
        };
        let quality = |blend: f64| {
            let mut found = Vec::new();
            let mut labels = Vec::new();
            let mut put = |profiles: &Profiles, weights: &[f64], abnormal: bool| {
                let scores = scores(blend, weights, profiles);
                found.extend(scores.into_iter().map(|score| score as f32));
                labels.resize(found.len(), abnormal);
            };
            for profiles in normal_profiles.iter().chain(&held_profiles) {
                put(profiles, &all, false);
            }
            for (profiles, weights) in bad_profiles.iter().zip(&folds) {
                put(profiles, weights, true);
            }
            average_precision(&found, &labels).unwrap_or(0.0)
        };
        // The patches that are held back were the highest by the old score, so that any other score
        // finds them lower. What the moments say of all normal patches guards against that: how far
        // the defects are above their mean. Both terms have a deviation of 1 on normal patches, hence
        // the sum one of at most 1: a share is not taken for better than it is.
        let margin = |blend: f64| {
            let length = normal.mean_length(kept.length_spread);
            let above = bad_profiles.iter().zip(&folds).map(|(profiles, weights)| {
                let scores = scores(blend, weights, profiles);
                let mean = scores.iter().sum::<f64>() / scores.len() as f64;
                let usual = blend * normal.mean_along(weights)
                    + (1.0 - blend) * length / kept.length_spread;
                mean - usual
            });
            above.sum::<f64>() / bad.len() as f64
        };
        let (mut best, least) = (quality(blend), margin(blend));
        for &candidate in &kept.blends {
            let found = quality(candidate);
            let is_safe = !good.is_empty() || margin(candidate) > least;
            if found > best + 1e-9 && is_safe {
                (best, blend) = (found, candidate);
            }
        }
    }
    let missed = missed(None);
    let discriminant = Discriminant::blended(kind, &weights(&missed)?, blend, kept.length_spread);
    let moments = ClassMoments {
        normal: normal.record(),
        missed: (missed.count() > 0.0).then(|| missed.record()),
        ..kept.clone()
    };
    Ok((discriminant, moments))
}

/// A bank of these rows with the parts of `bank`, or with another discriminant and calibration.
fn build(
    bank: &Bank,
    discriminant: Option<&Discriminant>,
    rows: &Rows,
    calibration: Option<&Calibration>,
    host: &HostSection,
    records: &Records,
) -> Result<BankFile> {
    let dimension = bank.dimension();
    let sorted = bank.is_aligned().then(|| rows.by_cell(dimension));
    let rows = sorted.as_ref().unwrap_or(rows);
    let cells = match bank.grid().filter(|_| bank.is_aligned()) {
        Some(grid) => cell_table(grid, &rows.cell),
        None => Vec::new(),
    };
    let norms = row_norms(&rows.values, dimension);
    let fixed = discriminant.map(fixed_point);
    let mut parts: BankParts = bank.parts().clone();
    parts.row_count = rows.len() as u32;
    parts.rows = bytemuck::cast_slice(&rows.values);
    parts.norms = &norms;
    parts.cells = &cells;
    if let Some((weights, distance_weight, shift)) = &fixed {
        parts.weights = weights;
        parts.distance_weight = *distance_weight;
        parts.shift = *shift;
    }
    if let Some(calibration) = calibration {
        parts.threshold = calibration.threshold;
        parts.normal_score = calibration.normal_score;
        parts.map_threshold = calibration.map_threshold;
    }
    BankFile::rebuilt(&parts, host, records)
}

/// Image score and peak of a whole frame.
fn frame_of(file: &BankFile, picture: &Picture) -> Result<(i32, i32)> {
    let bank = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
    let (frame, _) = score_levels(&bank, &picture.frame)?;
    Ok((frame.score, frame.map_max))
}

/// Mean of the highest held-back patches against a bank, and the nearest row of each patch.
fn rescore(file: &BankFile, held: &HeldBack) -> Result<(i32, Vec<u32>)> {
    let bank = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
    let scorer = Scorer::new(&bank);
    let width = bank.grid().map_or(1, |g| g.width());
    let features: &[i8] = bytemuck::cast_slice(&held.features);
    let patches = features.chunks_exact(bank.dimension()).zip(&held.cells);
    let scored: Vec<_> = patches
        .filter_map(|(patch, &cell)| {
            scorer.score_patch_at(cell as usize / width, cell as usize % width, patch)
        })
        .collect();
    let mut scores: Vec<i64> = scored.iter().map(|s| i64::from(s.score)).collect();
    scores.sort_unstable_by(|a, b| b.cmp(a));
    scores.truncate(held.top as usize);
    let count = (scores.len() as i64).max(1);
    let mean = (scores.iter().sum::<i64>() + count / 2).div_euclid(count);
    Ok((mean as i32, scored.iter().map(|s| s.nearest.row).collect()))
}

/// The calibration on old and new references: those that were scored again as they are now, the other
/// old ones moved by as much in the middle. Gives the peaks, too.
fn calibrate(
    file: &BankFile,
    held: &[HeldBack],
    changed: &[(i32, i32, i32)],
    added: &[(i32, i32)],
) -> (Calibration, Vec<i32>) {
    let old = &file.host().calibration;
    let moves: Vec<i32> = changed
        .iter()
        .map(|(b, a, _)| a.saturating_sub(*b))
        .collect();
    let moved = median(&moves).unwrap_or(0);
    let frames = file.records().calibration.clone().unwrap_or_default();
    let mut scores = Vec::new();
    let mut peaks = Vec::new();
    // A guess is from copies of one image, which left-out images replace.
    let replaced = old.is_guess && added.len() >= 2;
    if !replaced {
        for (i, &score) in old.scores.iter().enumerate() {
            let peak = frames.peaks.get(i).copied();
            let found = held
                .iter()
                .position(|h| h.score == score && peak.is_none_or(|peak| peak == h.peak))
                .filter(|_| !frames.from_line);
            scores.push(found.map_or(score.saturating_add(moved), |n| changed[n].1));
            peaks.extend(peak.map(|p| found.map_or(p.saturating_add(moved), |n| changed[n].2)));
        }
    }
    scores.extend(added.iter().map(|(score, _)| *score));
    peaks.extend(added.iter().map(|(_, peak)| *peak));
    let float = |values: &[i32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let normal_score = median(&scores).unwrap_or(old.normal_score);
    let known_peaks = peaks.len() >= scores.len() && !peaks.is_empty();
    let calibration = Calibration {
        threshold: score_units(threshold(&float(&scores), old.fpr)).max(normal_score + 1),
        normal_score,
        map_threshold: if known_peaks {
            score_units(threshold(&float(&peaks), old.fpr))
        } else {
            old.map_threshold.saturating_add(moved)
        },
        fpr: old.fpr,
        scores,
        is_guess: old.is_guess && !replaced,
        synthetic: old.synthetic,
    };
    (calibration, peaks)
}
