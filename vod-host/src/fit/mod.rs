//! Fits a bank from normal images: the method's steps 1 to 9, in floating point, then quantised.

mod basis;
mod calibrate;
mod discriminant;
mod quantise;

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;
use indicatif::ProgressBar;
use ndarray::{Array2, Axis};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use vod_core::{
    Background, Bank, FrameScore, Grid, ImageScore, Levels, Nearest, ScoreStage, Scorer, ValueKind,
    background, residual,
};

pub(crate) use basis::range_limit;
pub use basis::{Transform, flat};
pub(crate) use calibrate::median;
pub use calibrate::{student_t_quantile, threshold, threshold_of_copies};
pub use discriminant::{Contrast, Moments, shrinkage_lda};
pub use quantise::{Discriminant, smoothing_taps};
pub(crate) use quantise::{cell_table, fixed_point, search_bank};

use crate::backbone::FeatureSpec;
use crate::bank_file::{BankFile, Calibration, HostSection, SyntheticFigures, encode_host};
use crate::bank_records::{
    CalibrationFrames, ClassMoments, HeldBack, Records, ReferenceFrame, RowOrigin, RowOrigins, View,
};
use crate::dataset::{SplitMix64, file_name};
use crate::error::{Error, Result};
use crate::eval::metrics::{auroc, average_precision};
use crate::features::{Extractor, FeatureGrid};
use crate::generalist::{NormalStatistics, Weights};
use crate::ignore::IgnoreRegions;
use crate::preprocess::Preprocess;
use crate::reference::{k_centre, paste_anomaly, shifted_copy};
use crate::score::{Frame, score_frame, score_levels};

/// References whose features are held for residuals, synthetic anomalies and calibration; later
/// ones only give bank rows.
const HELD_IMAGES: usize = 48;
/// No more are held once their features take this, bytes.
const HELD_BYTES: usize = 256 << 20;
/// References that an int8 backbone is calibrated on.
const CALIBRATION_IMAGES: usize = 16;
/// Images that are read and taken through the backbone together.
const CHUNK: usize = 16;
/// Patches that layer variances and the int8 range are taken from.
const STATISTIC_PATCHES: usize = 32_768;
/// Thinned back to the bank's size whenever this many times as many rows are held.
const THIN_FACTOR: usize = 8;
/// Parts of the cross-validation where references can't be left out.
const FOLDS: usize = 4;
/// Shifted and re-lit copies that stand in for left-out images where there is one reference.
const COPIES: usize = 8;

/// Left-out references of which patches are kept, to score them again when the bank changes.
const HELD_BACK_FRAMES: usize = 12;
/// What their patch features may take, bytes; they stay on the host.
const HELD_BACK_BYTES: usize = 1 << 17;

/// What is fitted and how; one recipe for every data set.
#[derive(Clone, Debug, PartialEq)]
pub struct Recipe {
    /// Shrinkage `s` of the whitened residual space; `None` leaves it plain.
    pub whitening: Option<f64>,
    /// Mirrored copies of the references in the bank, where there are at most
    /// [`MIRRORED_REFERENCES`] and their places in the image do not count.
    pub mirror: bool,
    /// Values that the discriminant weighs.
    pub values: ValueKind,
    /// Synthetic anomalies, in all; spread over the held references.
    pub synthetic: usize,
    /// Shrinkage of the discriminant.
    pub shrinkage: f64,
    /// Shares of the bank's own discriminant in the patch score that are tried.
    pub blends: Vec<f64>,
    /// Shares of the generalist that are tried, where there are weights; what the two leave is
    /// plain distance.
    pub generalist: Vec<f64>,
    /// Standard deviation of the map's smoothing, patches.
    pub sigma: f64,
    /// Share of the patches whose mean is the image score.
    pub top_share: f64,
    /// Map that the image score is taken from; `None` where it goes by the backbone
    /// ([`Self::stage_for`]).
    pub stage: Option<ScoreStage>,
    /// Margin along the frame's edges that the image score leaves out, share of the shorter side, below
    /// .5. Not where the part always lies the same way: what the edges cut off is known there.
    pub margin: f64,
    /// Share of what the map's background, its mean in the margin, is above the usual one that is taken off
    /// the map, below 1; nothing where there is no margin ([`vod_core::take_off_background`]).
    pub background: f64,
    /// Sizes of a frame that are looked at; `None` where it goes by the backbone
    /// ([`Extractor::levels`]). One where the part always lies the same way.
    pub levels: Option<Levels>,
}

impl Recipe {
    /// The recipe that the command uses.
    ///
    /// Without whitening: a basis from the residuals of a few references makes just these
    /// references look alike, and a threshold calibrated on them then alarms on half of the other
    /// good images (`docs/results.md`).
    pub fn standard() -> Self {
        Self {
            whitening: None,
            mirror: true,
            values: ValueKind::Signed,
            synthetic: 16,
            shrinkage: 1.0,
            blends: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            generalist: vec![0.0, 0.25, 0.5, 0.75, 1.0],
            sigma: 1.0,
            top_share: 0.01,
            stage: None,
            margin: 1.0 / 16.0,
            background: 0.25,
            levels: None,
        }
    }

    /// Plain nearest-row distance, and the mean of the top patches as image score (AnomalyDINO's rule
    /// with `vit`).
    pub fn distance() -> Self {
        Self {
            synthetic: 0,
            blends: vec![0.0],
            generalist: vec![0.0],
            stage: Some(ScoreStage::Raw),
            margin: 0.0,
            background: 0.0,
            levels: Some(Levels::One),
            ..Self::standard()
        }
    }

    /// What the image score of a backbone's banks is taken from. Features that are means over neighbours
    /// have looked around already, and their scores are taken as they are; others are looked at patch by
    /// patch and smoothed, for small and for large defects (chosen on made defects, `docs/results.md`).
    pub fn stage_for(&self, features: &FeatureSpec) -> ScoreStage {
        let usual = if features.pool.looks_around() {
            ScoreStage::Raw
        } else {
            ScoreStage::Both
        };
        self.stage.unwrap_or(usual)
    }
}

/// Options of a fit.
#[derive(Clone, Debug)]
pub struct FitOptions {
    /// How the bank is fitted.
    pub recipe: Recipe,
    /// Limit the search to rows from nearby places: the part always lies the same way.
    pub aligned: bool,
    /// Each frame is compared with its own template, which lies the same way
    /// ([`crate::bank_file::BankFile::with_template`]).
    pub paired: bool,
    /// Share of normal frames that may be called anomalous.
    pub fpr: f64,
    /// Bytes that the bank's rows may take; [`crate::backbone::Manifest::row_bytes_for`] if `None`.
    pub row_bytes: Option<usize>,
    /// Seed of the synthetic anomalies; written into the bank.
    pub seed: u64,
    /// A scorer that was trained on other objects, to be blended in.
    pub weights: Option<Arc<Weights>>,
    /// Parts of the references that say nothing about normal parts.
    pub ignore: IgnoreRegions,
}

impl FitOptions {
    /// The options that the command uses where nothing else is asked for.
    pub fn standard() -> Self {
        Self {
            recipe: Recipe::standard(),
            aligned: false,
            paired: false,
            fpr: 0.01,
            row_bytes: None,
            seed: 0,
            weights: None,
            ignore: IgnoreRegions::default(),
        }
    }

    /// The levels that the bank looks at.
    pub(crate) fn levels(&self, extractor: &Extractor) -> Levels {
        if self.aligned || self.paired {
            return Levels::One;
        }
        self.recipe.levels.unwrap_or(extractor.levels())
    }

    /// The recipe's margin as banks hold it, in 1/65536 of the frame's shorter side.
    pub(crate) fn margin(&self) -> u16 {
        let held = self.aligned || self.paired;
        let share = if held { 0.0 } else { self.recipe.margin };
        (share * 65536.0).round().clamp(0.0, 32767.0) as u16
    }

    /// The recipe's share of the background as banks hold it; 0 where there is no margin.
    fn background(&self) -> u8 {
        match self.margin() {
            0 => 0,
            _ => (self.recipe.background * 256.0).round().clamp(0.0, 255.0) as u8,
        }
    }
}

/// With more references than this the bank has seen enough, and the time is saved.
pub const MIRRORED_REFERENCES: usize = 8;
/// Reach of the position-limited search, patches.
const ALIGNED_RADIUS: u16 = 2;

/// A fitted bank, and the references that could not be read.
#[derive(Debug)]
pub struct Fitted {
    /// The bank.
    pub bank: BankFile,
    /// References that were left out, one error each.
    pub failures: Vec<Error>,
    /// What the patch score is made of.
    pub mix: Mix,
}

/// Shares of the patch score; what they leave is plain distance.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Mix {
    /// The discriminant that was fitted on the bank's own references.
    pub specialist: f64,
    /// The discriminant that was trained on other objects.
    pub generalist: f64,
}

/// One reference image that is held: its input picture and its features.
struct Held {
    input: RgbImage,
    /// Features of the image and, where it is mirrored, of its copies in the order of [`View::ALL`].
    grids: Vec<Arc<FeatureGrid>>,
    /// The same at the coarser levels, of each copy.
    coarser: Vec<Vec<Arc<FeatureGrid>>>,
    /// Width and height of the upright image, pixels.
    size: (u32, u32),
    /// Cells of the upright grid that say nothing; empty for none.
    ignored: Vec<bool>,
}

impl Held {
    /// What the features take.
    fn bytes(&self) -> usize {
        let grids = self.grids.iter().chain(self.coarser.iter().flatten());
        let values: usize = grids.map(|grid| grid.len()).sum();
        values * size_of::<f32>()
    }

    fn frame(&self) -> ReferenceFrame {
        let (height, width, _) = self.grids[0].dim();
        ReferenceFrame {
            grid: (height as u16, width as u16),
            size: self.size,
        }
    }
}

/// The cell of `fine` that the middle of a cell of `coarse` lies in.
fn middle_cell(cell: usize, coarse: Grid, fine: Grid) -> usize {
    let middle = |place: usize, from: usize, to: usize| (2 * place + 1) * to / (2 * from);
    let y = middle(cell / coarse.width(), coarse.height(), fine.height());
    let x = middle(cell % coarse.width(), coarse.width(), fine.width());
    y * fine.width() + x
}

/// int8 rows with the reference and the grid cell that each is from.
#[derive(Default)]
pub(crate) struct Rows {
    pub values: Vec<i8>,
    pub image: Vec<u32>,
    /// Cell in the upright image.
    pub cell: Vec<u32>,
    pub view: Vec<View>,
}

impl Rows {
    /// Adds the patches of one grid, `[height * width, dimension]`, but for the `ignored` cells of the
    /// upright image.
    pub fn add(
        &mut self,
        values: &[i8],
        image: usize,
        (height, width): (usize, usize),
        view: View,
        ignored: &[bool],
    ) {
        let dimension = values.len() / (height * width).max(1);
        for (cell, patch) in values.chunks_exact(dimension.max(1)).enumerate() {
            let cell = view.upright_cell(cell, height, width);
            self.add_patch(patch, image, cell, view, ignored);
        }
    }

    /// Adds a patch, unless its cell of the upright image is to be ignored.
    fn add_patch(&mut self, patch: &[i8], image: usize, cell: usize, view: View, ignored: &[bool]) {
        if ignored.get(cell) == Some(&true) {
            return;
        }
        self.values.extend_from_slice(patch);
        self.image.push(image as u32);
        self.cell.push(cell as u32);
        self.view.push(view);
    }

    /// Adds the patches of all levels of a frame.
    pub fn add_frame(&mut self, frame: &Frame, image: usize, view: View, ignored: &[bool]) {
        let sides = |grid: Grid| (grid.height(), grid.width());
        self.add(&frame.features, image, sides(frame.grid), view, ignored);
        for (grid, values) in &frame.coarser {
            let dimension = values.len() / grid.len();
            for (cell, patch) in values.chunks_exact(dimension.max(1)).enumerate() {
                let (height, width) = sides(*grid);
                let cell = middle_cell(view.upright_cell(cell, height, width), *grid, frame.grid);
                self.add_patch(patch, image, cell, View::Coarser, ignored);
            }
        }
    }

    /// Adds a reference and its mirrored copies.
    fn add_held(&mut self, held: &Held, transform: &Transform, image: usize) -> Result<()> {
        for (copy, (fine, view)) in held.grids.iter().zip(View::ALL).enumerate() {
            let frame = transform.quantise_levels(fine, &held.coarser[copy])?;
            self.add_frame(&frame, image, view, &held.ignored);
        }
        Ok(())
    }

    /// Where each row is from, as a bank keeps it.
    pub fn origins(&self) -> Vec<RowOrigin> {
        let places = self.image.iter().zip(&self.cell).zip(&self.view);
        places
            .map(|((&reference, &cell), &view)| RowOrigin {
                reference,
                cell,
                view,
            })
            .collect()
    }

    pub fn len(&self) -> usize {
        self.image.len()
    }

    fn select(&self, numbers: &[usize], dimension: usize) -> Self {
        let row = |&n: &usize| {
            self.values[n * dimension..(n + 1) * dimension]
                .iter()
                .copied()
        };
        Self {
            values: numbers.iter().flat_map(row).collect(),
            image: numbers.iter().map(|&n| self.image[n]).collect(),
            cell: numbers.iter().map(|&n| self.cell[n]).collect(),
            view: numbers.iter().map(|&n| self.view[n]).collect(),
        }
    }

    pub fn thin(&mut self, dimension: usize, count: usize) {
        if self.len() > count {
            *self = self.select(&k_centre(&self.values, dimension, count), dimension);
        }
    }

    pub fn part(&self, against: Against, dimension: usize) -> Self {
        let kept: Vec<usize> = (0..self.len())
            .filter(|&n| match against {
                Against::All => true,
                Against::Without(image) => self.image[n] as usize != image,
                Against::Only(image) => self.image[n] as usize == image,
            })
            .collect();
        self.select(&kept, dimension)
    }

    /// Sorts rows by grid cell, stable, for the position-limited search.
    pub fn by_cell(&self, dimension: usize) -> Self {
        let mut order: Vec<usize> = (0..self.len()).collect();
        order.sort_by_key(|&n| self.cell[n]);
        self.select(&order, dimension)
    }
}

/// Which references' rows a probe is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Against {
    /// All of them.
    All,
    /// All but the one that the probe was made from.
    Without(usize),
    /// Only the one that the probe was made from: its own template.
    Only(usize),
}

/// A picture that is compared with a part of the bank.
pub(crate) struct Probe {
    against: Against,
    /// Probes of one group are left out together when the discriminant is cross-validated.
    group: usize,
    pub(crate) grid: Grid,
    features: Arc<FeatureGrid>,
    /// Features at the coarser levels.
    coarser: Vec<Arc<FeatureGrid>>,
    /// Pasted share of each patch; empty for a normal picture.
    pub(crate) shares: Vec<f32>,
    /// Patches that say nothing; empty for none.
    ignored: Vec<bool>,
}

impl Probe {
    /// Whether a patch counts as abnormal; `None` where it counts as neither.
    pub(crate) fn label(&self, patch: usize) -> Option<bool> {
        if self.ignored.get(patch) == Some(&true) {
            return None;
        }
        is_abnormal(self.shares.get(patch))
    }
}

/// References as rows, with the probes that are compared with them: all that discriminants are
/// fitted on.
pub(crate) struct Prepared {
    held: Vec<Held>,
    names: Vec<String>,
    frames: Vec<ReferenceFrame>,
    failures: Vec<Error>,
    pub(crate) transform: Transform,
    rows: Rows,
    pub(crate) probes: Vec<Probe>,
}

/// Reads the references and makes the probes (method, steps 1, 2, 4 and 5); a backbone that depends
/// on the references is calibrated already.
pub(crate) fn prepare(
    extractor: &Extractor,
    paths: &[PathBuf],
    options: &FitOptions,
    progress: &ProgressBar,
) -> Result<Prepared> {
    let extractor = &extractor.clone().with_levels(options.levels(extractor));
    let recipe = &options.recipe;
    let mut failures = Vec::new();
    let mut names = Vec::new();
    let mut frames = Vec::new();
    let ignore = &options.ignore;

    let mirror =
        recipe.mirror && !options.aligned && !options.paired && paths.len() <= MIRRORED_REFERENCES;
    progress.set_message("reference features");
    progress.set_length(paths.len() as u64);
    let read = |chunk: &[PathBuf], mirror: bool| -> Vec<_> {
        let results = chunk.par_iter().map(|path| {
            let result = hold(extractor, path, mirror, ignore);
            progress.inc(1);
            result
        });
        results.collect()
    };
    let mut later = paths;
    let mut held: Vec<Held> = Vec::new();
    while !later.is_empty()
        && paths.len() - later.len() < HELD_IMAGES
        && held.iter().map(Held::bytes).sum::<usize>() < HELD_BYTES
    {
        let chunk;
        (chunk, later) = later.split_at(later.len().min(CHUNK));
        for (path, result) in chunk.iter().zip(read(chunk, mirror)) {
            match result {
                Ok(reference) => {
                    frames.push(reference.frame());
                    held.push(reference);
                    names.push(file_name(path));
                }
                Err(error) => failures.push(error),
            }
        }
    }
    if held.is_empty() {
        return Err(failures
            .into_iter()
            .next()
            .unwrap_or_else(|| Error::Data("no reference images were given".into())));
    }

    let transform = fit_transform(extractor, &held, recipe)?;
    let dimension = transform.dimension;
    let manifest = extractor.backbone().manifest();
    let usual = manifest.row_bytes_for(paths.len());
    let row_bytes = options.row_bytes.unwrap_or(usual);
    let row_limit = (row_bytes / dimension).max(1);
    let mut rows = Rows::default();
    for (image, reference) in held.iter().enumerate() {
        rows.add_held(reference, &transform, image)?;
    }
    for chunk in later.chunks(CHUNK) {
        for (path, result) in chunk.iter().zip(read(chunk, false)) {
            match result {
                Ok(reference) => {
                    rows.add_held(&reference, &transform, names.len())?;
                    frames.push(reference.frame());
                    names.push(file_name(path));
                }
                Err(error) => failures.push(error),
            }
        }
        if rows.len() > row_limit * THIN_FACTOR {
            rows.thin(dimension, row_limit);
        }
    }
    if rows.len() == 0 {
        return Err(Error::Data(
            "every patch of every reference is to be ignored".into(),
        ));
    }
    progress.set_message("thinning the bank");
    rows.thin(dimension, row_limit);

    let probes = probes(extractor, &held, options, progress)?;
    Ok(Prepared {
        held,
        names,
        frames,
        failures,
        transform,
        rows,
        probes,
    })
}

/// Fits a bank on the images at `paths` (in this order).
///
/// Images that can't be read are reported in [`Fitted::failures`] and left out.
///
/// # Errors
/// [`Error::Data`] where no image is left, those of the backbone, and [`Error::Fit`].
pub fn fit(
    extractor: &Extractor,
    paths: &[PathBuf],
    options: &FitOptions,
    progress: &ProgressBar,
) -> Result<Fitted> {
    let recipe = &options.recipe;
    let calibrated = calibrate_backbone(extractor, paths)?;
    let extractor = calibrated.as_ref().unwrap_or(extractor);
    let spec = extractor.feature_spec();
    let prepared = prepare(extractor, paths, options, progress)?;
    progress.set_message("fitting the discriminant");
    let (discriminant, mix, moments) = fit_discriminant(&prepared, options)?;
    let Prepared {
        held,
        names,
        frames,
        failures,
        transform,
        rows,
        probes,
    } = prepared;
    let dimension = transform.dimension;
    progress.set_message("calibrating");
    let taps = smoothing_taps(recipe.sigma);
    let frame = common_grid(&held);
    let cells = match (options.aligned, frame) {
        (false, _) => None,
        (true, Some(grid)) => Some(grid),
        (true, None) => {
            return Err(Error::Data(
                "aligned references need a frame of one exact size".into(),
            ));
        }
    };
    let encode = |rows: &Rows, calibrated: Option<Calibrated>| {
        let (calibration, background, kept) = match calibrated {
            Some(found) => (found.calibration, found.background, Some(found.frames)),
            None => (Calibration::open(), Background::NONE, None),
        };
        let rows = if cells.is_some() {
            rows.by_cell(dimension)
        } else {
            rows.part(Against::All, dimension)
        };
        let host = match kept {
            None => Vec::new(),
            Some(kept) => {
                let manifest = extractor.backbone().manifest();
                let preprocess = extractor.preprocess();
                let section = HostSection {
                    vod_version: env!("CARGO_PKG_VERSION").into(),
                    backbone_id: manifest.id.clone(),
                    backbone_sha256: manifest.sha256.to_lowercase(),
                    preprocess: Preprocess {
                        // Nothing that earlier programs don't know where it changes nothing.
                        mirror: preprocess.mirror.up_to(options.levels(extractor)),
                        ..preprocess.clone()
                    },
                    features: spec.clone(),
                    transform: transform.clone(),
                    calibration: calibration.clone(),
                    references: names.clone(),
                    seed: options.seed,
                    blend: discriminant.blend,
                    network: extractor.backbone().network().unwrap_or_default().to_vec(),
                };
                let records = Records {
                    origins: Some(RowOrigins {
                        frames: frames.clone(),
                        rows: rows.origins(),
                    }),
                    moments: moments.clone(),
                    calibration: Some(kept),
                    ..Records::default()
                };
                encode_host(&section, &records)?
            }
        };
        quantise::encode(&quantise::Model {
            dimension,
            rows: &rows.values,
            cells: cells.map(|grid| (grid, rows.cell.as_slice())),
            radius: ALIGNED_RADIUS,
            frame,
            discriminant: &discriminant,
            taps,
            top_share: recipe.top_share,
            image_score: ImageScore {
                stage: recipe.stage_for(spec),
                margin: options.margin(),
                levels: options.levels(extractor),
                background,
            },
            calibration: &calibration,
            host: &host,
        })
    };
    let calibrated = calibrate(&transform, &rows, &probes, options, &encode)?;
    let bytes = encode(&rows, Some(calibrated))?;
    Ok(Fitted {
        bank: BankFile::from_bytes(bytes)?,
        failures,
        mix,
    })
}

/// The extractor that the fit goes on with, where the backbone depends on the references. References
/// that can't be read are reported later.
fn calibrate_backbone<'b>(
    extractor: &Extractor<'b>,
    paths: &[PathBuf],
) -> Result<Option<Extractor<'b>>> {
    if !extractor.backbone().needs_calibration() {
        return Ok(None);
    }
    let preprocess = extractor.preprocess();
    let pictures: Vec<RgbImage> = paths[..paths.len().min(CALIBRATION_IMAGES)]
        .par_iter()
        .filter_map(|path| Some(preprocess.load(path).ok()?.0))
        .collect();
    let backbone = extractor.backbone().calibrate(preprocess, &pictures)?;
    backbone
        .map(|backbone| extractor.with_backbone(backbone))
        .transpose()
}

/// Reads one reference: its input picture, its features and those of its mirror images.
fn hold(
    extractor: &Extractor,
    path: &std::path::Path,
    mirror: bool,
    ignore: &IgnoreRegions,
) -> Result<Held> {
    let (input, size) = extractor.preprocess().load(path)?;
    let mut grids = Vec::new();
    let mut coarser = Vec::new();
    let mut add = |input: &RgbImage| -> Result<()> {
        let pyramid = extractor.pyramid_of_input(input)?;
        grids.push(Arc::new(pyramid.fine));
        coarser.push(pyramid.coarser.into_iter().map(Arc::new).collect());
        Ok(())
    };
    add(&input)?;
    if mirror {
        let flips = [
            image::imageops::flip_horizontal(&input),
            image::imageops::flip_vertical(&input),
            image::imageops::rotate180(&input),
        ];
        for flip in &flips {
            add(flip)?;
        }
    }
    let (height, width, _) = grids[0].dim();
    Ok(Held {
        ignored: ignore.cells(&file_name(path), size, (height, width)),
        input,
        grids,
        coarser,
        size,
    })
}

/// The grid that all references share, if they do.
fn common_grid(held: &[Held]) -> Option<Grid> {
    let size = |h: &Held| (h.grids[0].dim().0, h.grids[0].dim().1);
    let first = size(held.first()?);
    held.iter()
        .all(|h| size(h) == first)
        .then(|| Grid::new(first.0, first.1))
        .flatten()
}

/// At most [`STATISTIC_PATCHES`] patch features, evenly spread over the grids, `[n, C]`.
pub(crate) fn statistics(grids: &[&FeatureGrid]) -> Result<Array2<f32>> {
    let channels = grids
        .first()
        .map(|grid| grid.dim().2)
        .ok_or_else(|| Error::Data("no references".into()))?;
    let total: usize = grids.iter().map(|g| g.len() / channels).sum();
    let step = total.div_ceil(STATISTIC_PATCHES).max(1);
    let mut values = Vec::new();
    let rows = grids.iter().flat_map(|grid| flat(grid).into_outer_iter());
    for row in rows.step_by(step) {
        values.extend(row);
    }
    Array2::from_shape_vec((values.len() / channels, channels), values)
        .map_err(|e| Error::Fit(e.to_string()))
}

fn fit_transform(extractor: &Extractor, held: &[Held], recipe: &Recipe) -> Result<Transform> {
    let manifest = extractor.backbone().manifest();
    let spec = extractor.feature_spec();
    let grids: Vec<&FeatureGrid> = held.iter().map(|h| &*h.grids[0]).collect();
    let patches = statistics(&grids)?;
    let mut transform =
        Transform::new(spec.normalise, patches.view(), &manifest.feature_channels());
    transform.set_scale(transform.project(patches.view()).view());
    if let Some(shrinkage) = recipe.whitening {
        let residuals = plain_residuals(&transform, held)?;
        transform.whiten(residuals.view(), shrinkage)?;
        transform.set_scale(transform.project(patches.view()).view());
    }
    Ok(transform)
}

/// Residuals of normal patches to their nearest left-out neighbours in the scaled, not yet whitened
/// space, `[n, C]`.
///
/// With one reference the neighbour is the nearest patch of the same image that is not next to it.
fn plain_residuals(transform: &Transform, held: &[Held]) -> Result<Array2<f32>> {
    const PATCHES_PER_IMAGE: usize = 1024;
    let dimension = transform.dimension;
    let projected: Vec<Array2<f32>> = held
        .iter()
        .map(|h| transform.project(flat(&h.grids[0])))
        .collect();
    let mut rows = Rows::default();
    for (image, reference) in held.iter().enumerate() {
        let grid = &reference.grids[0];
        let (height, width, _) = grid.dim();
        let values = transform.quantise(grid);
        rows.add(&values, image, (height, width), View::Upright, &[]);
    }
    let parts: Vec<Array2<f32>> = (0..held.len())
        .into_par_iter()
        .map(|image| {
            let queries = transform.quantise(&held[image].grids[0]);
            let count = queries.len() / dimension;
            let step = count.div_ceil(PATCHES_PER_IMAGE).max(1);
            let width = held[image].grids[0].dim().1;
            let against = if held.len() > 1 {
                Against::Without(image)
            } else {
                Against::All
            };
            let others = rows.part(against, dimension);
            let mut out = Vec::new();
            for patch in (0..count).step_by(step) {
                let query = &queries[patch * dimension..(patch + 1) * dimension];
                let near = |cell: usize| {
                    held.len() == 1
                        && (cell / width).abs_diff(patch / width) <= 1
                        && (cell % width).abs_diff(patch % width) <= 1
                };
                let best = others
                    .values
                    .chunks_exact(dimension)
                    .enumerate()
                    .filter(|(n, _)| !near(others.cell[*n] as usize))
                    .map(|(n, row)| {
                        let d: i32 = residual(query, row).map(|r| i32::from(r).pow(2)).sum();
                        (d, n)
                    })
                    .min();
                if let Some((_, n)) = best {
                    let from = &projected[others.image[n] as usize];
                    let row = from.row(others.cell[n] as usize);
                    out.extend(
                        projected[image]
                            .row(patch)
                            .iter()
                            .zip(row)
                            .map(|(q, b)| q - b),
                    );
                }
            }
            Array2::from_shape_vec((out.len() / dimension, dimension), out)
                .map_err(|e| Error::Fit(e.to_string()))
        })
        .collect::<Result<_>>()?;
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    ndarray::concatenate(Axis(0), &views).map_err(|e| Error::Fit(e.to_string()))
}

/// Normal pictures and synthetic anomalies for the discriminant and the calibration.
fn probes(
    extractor: &Extractor,
    held: &[Held],
    options: &FitOptions,
    progress: &ProgressBar,
) -> Result<Vec<Probe>> {
    // What is compared with rows of its own image must not be the same picture.
    let against = |image: usize| match (options.paired, held.len()) {
        (true, _) => Against::Only(image),
        (false, 1) => Against::All,
        (false, _) => Against::Without(image),
    };
    let copied = options.paired || held.len() == 1;
    let mut random = SplitMix64::new(options.seed ^ 0x5eed_0f5e_ed0f_5eed);
    let stride = extractor.feature_spec().stride;
    let inputs: Vec<&RgbImage> = held.iter().map(|h| &h.input).collect();
    let mut pictures: Vec<(usize, usize, RgbImage, Vec<f32>)> = Vec::new();
    if copied {
        for number in 0..COPIES {
            let image = number % held.len();
            let copy = shifted_copy(inputs[image], &mut random);
            pictures.push((image, number % FOLDS, copy, Vec::new()));
        }
    }
    for number in 0..options.recipe.synthetic {
        let image = number % held.len();
        let base = if copied {
            shifted_copy(inputs[image], &mut random)
        } else {
            inputs[image].clone()
        };
        let anomaly = paste_anomaly(&base, &inputs, &mut random);
        let shares = anomaly.patch_shares(stride);
        let group = if copied { number % FOLDS } else { image };
        pictures.push((image, group, anomaly.image, shares));
    }
    progress.set_message("synthetic anomalies");
    progress.set_length(pictures.len() as u64);
    progress.set_position(0);
    let mut probes: Vec<Probe> = pictures
        .par_iter()
        .map(|(image, group, picture, shares)| {
            let pyramid = extractor.pyramid_of_input(picture)?;
            progress.inc(1);
            let ignored = held[*image].ignored.clone();
            let features = Arc::new(pyramid.fine);
            let probe = probe(against(*image), *group, features, shares.clone(), ignored)?;
            Ok(Probe {
                coarser: pyramid.coarser.into_iter().map(Arc::new).collect(),
                ..probe
            })
        })
        .collect::<Result<_>>()?;
    if !copied {
        for (image, reference) in held.iter().enumerate() {
            let features = Arc::clone(&reference.grids[0]);
            let ignored = reference.ignored.clone();
            let probe = probe(against(image), image, features, Vec::new(), ignored)?;
            probes.push(Probe {
                coarser: reference.coarser[0].clone(),
                ..probe
            });
        }
    }
    Ok(probes)
}

pub(crate) fn probe(
    against: Against,
    group: usize,
    features: Arc<FeatureGrid>,
    shares: Vec<f32>,
    ignored: Vec<bool>,
) -> Result<Probe> {
    let (height, width, _) = features.dim();
    let grid = Grid::new(height, width).ok_or_else(|| {
        Error::Data(format!(
            "a grid of {width}x{height} patches can't be scored"
        ))
    })?;
    Ok(Probe {
        against,
        group,
        grid,
        features,
        coarser: Vec::new(),
        shares,
        ignored,
    })
}

/// What a discriminant sees of a residual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Space {
    /// Its sorted values.
    Values(ValueKind),
    /// The residual as it is, channel by channel: the order is kept. For comparison only, a bank
    /// can't hold such a discriminant.
    Residual,
}

/// Value profiles `[n, D]` and lengths `[n]` of the residuals of many patches.
pub(crate) struct Profiles {
    pub values: Vec<i16>,
    pub lengths: Vec<f64>,
}

/// Compares a probe with its rows.
pub(crate) fn profiles(prepared: &Prepared, probe: &Probe, space: Space) -> Result<Profiles> {
    let queries = prepared.transform.quantise(&probe.features);
    let dimension = prepared.transform.dimension;
    profiles_against(&queries, &prepared.rows, probe.against, dimension, space)
}

/// Profiles of int8 patches `[n, D]` against those rows that they are compared with.
pub(crate) fn profiles_against(
    queries: &[i8],
    rows: &Rows,
    against: Against,
    dimension: usize,
    space: Space,
) -> Result<Profiles> {
    let others = rows.part(against, dimension);
    let bytes = quantise::search_bank(dimension, &others.values)?;
    let bank = Bank::from_bytes(&bytes).map_err(|e| Error::Fit(e.to_string()))?;
    let scorer = Scorer::new(&bank);
    let mut nearest = vec![
        Nearest {
            row: 0,
            distance2: 0
        };
        queries.len() / dimension
    ];
    scorer.nearest_of_all(queries, &mut nearest);
    let mut values = vec![0i16; queries.len()];
    for ((query, near), profile) in queries
        .chunks_exact(dimension)
        .zip(&nearest)
        .zip(values.chunks_exact_mut(dimension))
    {
        let residual = residual(query, bank.row(near.row as usize));
        profile.iter_mut().zip(residual).for_each(|(p, r)| *p = r);
        if let Space::Values(kind) = space {
            sort_values(profile, kind);
        }
    }
    let lengths = nearest
        .iter()
        .map(|n| f64::from(n.distance2).sqrt())
        .collect();
    Ok(Profiles { values, lengths })
}

/// Turns a residual into its values: those of [`vod_core::decompose`], without the order, by a sort
/// that is no less fast for being too large for a device.
fn sort_values(residual: &mut [i16], kind: ValueKind) {
    if kind == ValueKind::Magnitude {
        residual.iter_mut().for_each(|r| *r = r.saturating_abs());
    }
    residual.sort_unstable();
}

/// Whether a patch is abnormal by its pasted share; `None` for what is neither.
pub(crate) fn is_abnormal(share: Option<&f32>) -> Option<bool> {
    match share {
        Some(&share) if share > 0.5 => Some(true),
        Some(&share) if share > 0.0 => None,
        _ => Some(false),
    }
}

/// Moments of a probe's normal and of its abnormal patches.
pub(crate) fn moments(probe: &Probe, profiles: &Profiles, dimension: usize) -> [Moments; 2] {
    let mut sides = [Moments::new(dimension), Moments::new(dimension)];
    for (side, abnormal) in sides.iter_mut().zip([false, true]) {
        let patches = profiles.values.chunks_exact(dimension).enumerate();
        side.add_all(patches.filter_map(|(patch, profile)| {
            (probe.label(patch) == Some(abnormal)).then_some(profile)
        }));
    }
    sides
}

/// Fits the discriminant on the probes, and chooses the shares of the score by leaving out one
/// reference after the other.
fn fit_discriminant(
    prepared: &Prepared,
    options: &FitOptions,
) -> Result<(Discriminant, Mix, Option<ClassMoments>)> {
    let recipe = &options.recipe;
    let probes = &prepared.probes;
    let dimension = prepared.transform.dimension;
    let mixes = mixes(recipe, options.weights.is_some());
    if mixes.iter().all(|mix| *mix == Mix::default()) {
        let distance = Discriminant::distance(dimension, recipe.values);
        return Ok((distance, Mix::default(), None));
    }
    let all: Vec<Profiles> = probes
        .par_iter()
        .map(|probe| profiles(prepared, probe, Space::Values(recipe.values)))
        .collect::<Result<_>>()?;
    let moments: Vec<[Moments; 2]> = probes
        .par_iter()
        .zip(&all)
        .map(|(probe, profiles)| moments(probe, profiles, dimension))
        .collect();
    let sides = |skip: Option<usize>| {
        let mut sides = [Moments::new(dimension), Moments::new(dimension)];
        for (probe, part) in probes.iter().zip(&moments) {
            if Some(probe.group) != skip {
                sides[0].merge(&part[0]);
                sides[1].merge(&part[1]);
            }
        }
        sides
    };
    let specialist = |skip: Option<usize>| {
        let [normal, abnormal] = sides(skip);
        shrinkage_lda(&normal, &abnormal, recipe.shrinkage)
    };
    let length_spread = spread(probes.iter().zip(&all).flat_map(|(probe, p)| {
        let normal = |i: &usize| probe.label(*i) == Some(false);
        (0..p.lengths.len()).filter(normal).map(|i| p.lengths[i])
    }));
    let generalist = match &options.weights {
        Some(weights) => {
            weights.check_space(Space::Values(recipe.values), dimension)?;
            let normal = NormalStatistics::of(probes, &all, prepared.transform.scale);
            let mut generalist = weights.for_target(&normal);
            let [normal, _] = sides(None);
            let deviation = normal.deviation_along(&generalist);
            generalist.iter_mut().for_each(|w| *w /= deviation);
            generalist
        }
        None => vec![0.0; dimension],
    };
    let mix = choose_mix(
        probes,
        &all,
        &mixes,
        &specialist,
        &generalist,
        length_spread,
    )?;
    let own = if mix.specialist > 0.0 {
        specialist(None)?
    } else {
        vec![0.0; dimension]
    };
    let discriminant = Discriminant {
        values: recipe.values,
        weights: own
            .iter()
            .zip(&generalist)
            .map(|(s, g)| mix.specialist * s + mix.generalist * g)
            .collect(),
        length_weight: (1.0 - mix.specialist - mix.generalist) / length_spread,
        blend: mix.specialist + mix.generalist,
    };
    // A generalist's part can't be fitted again.
    let kept = (options.weights.is_none()).then(|| {
        let [normal, synthetic] = sides(None);
        ClassMoments {
            normal: normal.record(),
            synthetic: synthetic.record(),
            missed: None,
            length_spread,
            shrinkage: recipe.shrinkage,
            blends: recipe.blends.clone(),
        }
    });
    Ok((discriminant, mix, kept))
}

/// The shares that are tried, plain distance first.
fn mixes(recipe: &Recipe, generalist: bool) -> Vec<Mix> {
    let shares: &[f64] = if generalist {
        &recipe.generalist
    } else {
        &[0.0]
    };
    let mut mixes: Vec<Mix> = recipe
        .blends
        .iter()
        .flat_map(|&specialist| {
            shares.iter().map(move |&generalist| Mix {
                specialist,
                generalist,
            })
        })
        .filter(|mix| mix.specialist + mix.generalist <= 1.0)
        .collect();
    let total = |mix: &Mix| mix.specialist + mix.generalist;
    mixes.sort_by(|a, b| total(a).total_cmp(&total(b)));
    mixes
}

/// Standard deviation, at least a little above 0.
fn spread(values: impl Iterator<Item = f64> + Clone) -> f64 {
    let count = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / count;
    let variance = values.map(|v| (v - mean).powi(2)).sum::<f64>() / count;
    variance.sqrt().max(1e-3)
}

/// The shares that tell pasted from untouched patches on references that the specialist was not fitted
/// on: of those that are within a standard error of the best, the ones with most distance (the
/// one-standard-error rule; Breiman et al., Classification and Regression Trees, 3.4.3).
fn choose_mix(
    probes: &[Probe],
    all: &[Profiles],
    mixes: &[Mix],
    specialist: &(impl Fn(Option<usize>) -> Result<Vec<f64>> + Sync),
    generalist: &[f64],
    length_spread: f64,
) -> Result<Mix> {
    if let [only] = mixes {
        return Ok(*only);
    }
    let mut groups: Vec<usize> = probes.iter().map(|p| p.group).collect();
    groups.sort_unstable();
    groups.dedup();
    let without = mixes.iter().all(|mix| mix.specialist == 0.0);
    let product = |weights: &[f64], profile: &[i16]| -> f64 {
        let terms = weights.iter().zip(profile);
        terms.map(|(w, &v)| w * f64::from(v)).sum()
    };
    // Scores of all patches by each mix, `[group][mix]`, and whether the patches are pasted.
    let scored: Vec<(Vec<Vec<f32>>, Vec<bool>)> = groups
        .par_iter()
        .map(|&group| {
            let fold = match without {
                true => vec![0.0; generalist.len()],
                false => specialist(Some(group))?,
            };
            let mut scores = vec![Vec::new(); mixes.len()];
            let mut labels = Vec::new();
            let of_group = probes.iter().zip(all).filter(|(p, _)| p.group == group);
            for (probe, profiles) in of_group {
                let patches = profiles.values.chunks_exact(generalist.len());
                for (patch, profile) in patches.enumerate() {
                    let Some(abnormal) = probe.label(patch) else {
                        continue;
                    };
                    // Each term is in standard deviations of normal patches.
                    let own = product(&fold, profile);
                    let trained = product(generalist, profile);
                    let length = profiles.lengths[patch] / length_spread;
                    for (scores, mix) in scores.iter_mut().zip(mixes) {
                        let distance = 1.0 - mix.specialist - mix.generalist;
                        let values = mix.specialist * own + mix.generalist * trained;
                        scores.push((values + distance * length) as f32);
                    }
                    labels.push(abnormal);
                }
            }
            Ok((scores, labels))
        })
        .collect::<Result<_>>()?;
    // Over all groups together, since scores of different images are compared with each other.
    let quality = |mix: usize, skip: Option<usize>| {
        let (mut scores, mut labels) = (Vec::new(), Vec::new());
        let kept = scored.iter().enumerate().filter(|(g, _)| Some(*g) != skip);
        for (_, (of_mixes, abnormal)) in kept {
            scores.extend_from_slice(&of_mixes[mix]);
            labels.extend_from_slice(abnormal);
        }
        average_precision(&scores, &labels).unwrap_or(0.0)
    };
    let qualities = |skip: Option<usize>| -> Vec<f64> {
        let numbers = (0..mixes.len()).into_par_iter();
        numbers.map(|mix| quality(mix, skip)).collect()
    };
    let of_parts: Vec<Vec<f64>> = (0..groups.len())
        .map(|group| qualities(Some(group)))
        .collect();
    Ok(mixes[simplest_good(&qualities(None), &of_parts)])
}

/// Number of the first choice whose quality is at most a standard error below the best one's, by the
/// jackknife: `all` is the quality of each choice on all samples, `without` that on all but one of them,
/// `[sample][choice]`, the simplest choice first.
fn simplest_good(all: &[f64], without: &[Vec<f64>]) -> usize {
    let samples = without.len() as f64;
    let best = (0..all.len()).max_by(|&a, &b| all[a].total_cmp(&all[b]).then(b.cmp(&a)));
    let Some(best) = best else { return 0 };
    // Samples differ in how hard they are: what counts is how much the differences vary.
    let good = |choice: &usize| {
        let difference = |part: &Vec<f64>| part[best] - part[*choice];
        let mean = without.iter().map(difference).sum::<f64>() / samples.max(1.0);
        let squares = without.iter().map(|part| (difference(part) - mean).powi(2));
        let error = (squares.sum::<f64>() * (samples - 1.0) / samples.max(1.0)).max(0.0);
        all[best] - all[*choice] <= error.sqrt() + 1e-9
    };
    (0..all.len()).find(good).unwrap_or(best)
}

/// What a bank is calibrated to.
struct Calibrated {
    calibration: Calibration,
    background: Background,
    frames: CalibrationFrames,
}

/// A picture that the bank is calibrated on.
struct Scored {
    frame: FrameScore,
    map: Vec<i32>,
    /// Background of the map; `None` without a margin.
    background: Option<i32>,
    held_back: Option<HeldBack>,
}

/// Image scores of left-out normal pictures on the integer path, and the thresholds from them.
fn calibrate(
    transform: &Transform,
    rows: &Rows,
    probes: &[Probe],
    options: &FitOptions,
    encode: &(impl Fn(&Rows, Option<Calibrated>) -> Result<Vec<u8>> + Sync),
) -> Result<Calibrated> {
    let dimension = transform.dimension;
    // Left-out references that can be scored again later.
    let left_out: Vec<usize> = (0..probes.len())
        .filter(|&i| probes[i].shares.is_empty() && is_left_out(&probes[i]))
        .collect();
    let step = left_out.len().div_ceil(HELD_BACK_FRAMES).max(1);
    let chosen: Vec<usize> = left_out.into_iter().step_by(step).collect();
    let room = HELD_BACK_BYTES / dimension / chosen.len().max(1);
    let mut scored: Vec<Scored> = probes
        .par_iter()
        .enumerate()
        .map(|(number, probe)| {
            let others = rows.part(probe.against, dimension);
            let bytes = encode(&others, None)?;
            let bank = Bank::from_bytes(&bytes).map_err(|e| Error::Fit(e.to_string()))?;
            let mut levels = transform.quantise_levels(&probe.features, &probe.coarser)?;
            // What is to be ignored counts as equal to a reference.
            let ignored = |cell: usize| probe.ignored.get(cell) == Some(&true);
            let fine = levels.features.chunks_exact_mut(dimension).enumerate();
            fine.filter(|(cell, _)| ignored(*cell))
                .for_each(|(_, patch)| patch.copy_from_slice(bank.row(0)));
            for (grid, features) in &mut levels.coarser {
                let coarse = features.chunks_exact_mut(dimension).enumerate();
                coarse
                    .filter(|(cell, _)| ignored(middle_cell(*cell, *grid, probe.grid)))
                    .for_each(|(_, patch)| patch.copy_from_slice(bank.row(0)));
            }
            let (frame, map) = score_levels(&bank, &levels)?;
            let held_back = match probe.against {
                Against::Without(image) if chosen.contains(&number) => {
                    held_back(&bank, probe.grid, &levels.features, image, &frame, room)?
                }
                _ => None,
            };
            let map = map.into_raw_vec_and_offset().0;
            Ok(Scored {
                frame,
                background: background(&bank, probe.grid, &map),
                map,
                held_back,
            })
        })
        .collect::<Result<_>>()?;
    let is_normal = |probe: &&Probe| probe.shares.is_empty();
    let found: Vec<i32> = probes
        .iter()
        .zip(&scored)
        .filter(|(probe, _)| is_normal(probe))
        .filter_map(|(_, scored)| scored.background)
        .collect();
    let background = match options.background() {
        0 => Background::NONE,
        share => Background {
            share,
            usual: median(&found).unwrap_or(0),
        },
    };
    for scored in &mut scored {
        let off = scored.background.map_or(0, |found| background.off(found));
        scored.map.iter_mut().for_each(|score| *score -= off);
        scored.frame.map_max -= off;
        scored
            .held_back
            .iter_mut()
            .for_each(|held| held.peak -= off);
    }
    let normal: Vec<&FrameScore> = probes
        .iter()
        .zip(&scored)
        .filter(|(probe, _)| is_normal(probe))
        .map(|(_, scored)| &scored.frame)
        .collect();
    let scores: Vec<f64> = normal.iter().map(|f| f64::from(f.score)).collect();
    let peaks: Vec<f64> = normal.iter().map(|f| f64::from(f.map_max)).collect();
    let raw_scores: Vec<i32> = normal.iter().map(|f| f.score).collect();
    let normal_score = median(&raw_scores).unwrap_or(0);
    let is_guess = !options.paired && probes.iter().all(|p| p.against == Against::All);
    let threshold = |scores: &[f64]| match is_guess {
        true => threshold_of_copies(scores, options.fpr),
        false => threshold(scores, options.fpr),
    };
    let calibration = Calibration {
        threshold: score_units(threshold(&scores)).max(normal_score + 1),
        normal_score,
        map_threshold: score_units(threshold(&peaks)),
        fpr: options.fpr,
        scores: raw_scores,
        is_guess,
        synthetic: synthetic_figures(probes, &scored),
    };
    let frames = CalibrationFrames {
        peaks: normal.iter().map(|f| f.map_max).collect(),
        from_line: false,
        held_back: scored.into_iter().filter_map(|s| s.held_back).collect(),
    };
    Ok(Calibrated {
        calibration,
        background,
        frames,
    })
}

/// A threshold in the bank's integer units: scores that reach `value` reach it.
pub(crate) fn score_units(value: f64) -> i32 {
    let limit = f64::from(i32::MAX / 2);
    value.ceil().clamp(-limit, limit) as i32
}

fn is_left_out(probe: &Probe) -> bool {
    matches!(probe.against, Against::Without(_))
}

/// The patches that a left-out reference's image score is the mean of, and the next lower ones, at
/// most `room`; `None` where there is no room.
fn held_back(
    bank: &Bank,
    grid: Grid,
    queries: &[i8],
    image: usize,
    frame: &FrameScore,
    room: usize,
) -> Result<Option<HeldBack>> {
    let dimension = bank.dimension();
    let margin = bank.margin(grid);
    let top = Scorer::top_count(bank.parts().top_share, grid.inner_len(margin));
    let scores = patch_scores(bank, grid, queries)?;
    let mut cells: Vec<u32> = (0..grid.len() as u32).collect();
    cells.retain(|&cell| grid.is_inner(cell as usize, margin));
    cells.sort_by_key(|&cell| (std::cmp::Reverse(scores[cell as usize]), cell));
    cells.truncate((3 * top).min(room));
    if cells.len() < top {
        return Ok(None);
    }
    let features = cells
        .iter()
        .flat_map(|&cell| &queries[cell as usize * dimension..][..dimension])
        .map(|&v| v as u8)
        .collect();
    Ok(Some(HeldBack {
        reference: image as u32,
        score: frame.score,
        peak: frame.map_max,
        top: top as u32,
        cells,
        features,
    }))
}

/// Scores of the patches of a frame before smoothing, `[height * width]`.
pub(crate) fn patch_scores(bank: &Bank, grid: Grid, queries: &[i8]) -> Result<Vec<i32>> {
    let mut parts = bank.parts().clone();
    parts.taps = smoothing_taps(0.0);
    parts.image_score = ImageScore::whole(ScoreStage::Raw);
    let bank = Bank::from_parts(parts).map_err(|e| Error::Fit(e.to_string()))?;
    let (_, map) = score_frame(&bank, grid.height(), grid.width(), queries)?;
    Ok(map.into_raw_vec_and_offset().0)
}

/// Figures of the synthetic anomalies against the normal pictures.
fn synthetic_figures(probes: &[Probe], scored: &[Scored]) -> SyntheticFigures {
    let images: Vec<f32> = scored
        .iter()
        .map(|scored| scored.frame.score as f32)
        .collect();
    let pasted: Vec<bool> = probes.iter().map(|p| !p.shares.is_empty()).collect();
    let mut patches = Vec::new();
    let mut labels = Vec::new();
    for (probe, scored) in probes.iter().zip(scored) {
        for (patch, score) in scored.map.iter().enumerate() {
            if let Some(abnormal) = probe.label(patch) {
                patches.push(*score as f32);
                labels.push(abnormal);
            }
        }
    }
    SyntheticFigures {
        image_auroc: auroc(&images, &pasted),
        patch_auroc: auroc(&patches, &labels),
        patch_ap: average_precision(&patches, &labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_must_be_better_by_more_than_chance() {
        // Means of samples: the jackknife's error is then the standard error of the mean.
        let choose = |samples: &[[f64; 3]]| {
            let mean = |skip: Option<usize>| -> Vec<f64> {
                let kept = samples.iter().enumerate().filter(|(n, _)| Some(*n) != skip);
                let kept: Vec<&[f64; 3]> = kept.map(|(_, sample)| sample).collect();
                let of_choice =
                    |c: usize| kept.iter().map(|s| s[c]).sum::<f64>() / kept.len() as f64;
                (0..3).map(of_choice).collect()
            };
            let without: Vec<Vec<f64>> = (0..samples.len()).map(|n| mean(Some(n))).collect();
            simplest_good(&mean(None), &without)
        };
        // The second is better each time, the third now and then.
        let clear = [[0.5, 0.6, 0.7], [0.3, 0.4, 0.3], [0.7, 0.8, 0.75]];
        assert_eq!(choose(&clear), 1);
        let chance = [[0.5, 0.8, 0.1], [0.5, 0.3, 0.1], [0.5, 0.5, 0.1]];
        assert_eq!(choose(&chance), 0);
        assert_eq!(simplest_good(&[0.5, 0.9, 0.9], &[]), 1);
        assert_eq!(simplest_good(&[], &[]), 0);
    }

    #[test]
    fn sorted_values_are_those_of_the_decomposition() {
        let mut random = SplitMix64::new(1);
        let residual: Vec<i16> = (0..232)
            .map(|_| random.between(-254.0, 255.0) as i16)
            .collect();
        for kind in [ValueKind::Signed, ValueKind::Magnitude] {
            let (mut values, mut order) = (vec![0; 232], vec![0; 232]);
            vod_core::decompose(residual.iter().copied(), kind, &mut values, &mut order);
            let mut sorted = residual.clone();
            sort_values(&mut sorted, kind);
            assert_eq!(sorted, values);
        }
    }
}
