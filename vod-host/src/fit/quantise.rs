//! From the fitted model in floating point to the bank's integers.

use vod_core::bank::{BankParts, KERNEL_SUM, MAX_TAPS};
use vod_core::{Grid, ImageScore, LENGTH_BITS, ScoreStage, ValueKind};

use crate::bank_file::{Calibration, encode_parts, row_norms};
use crate::error::{Error, Result};

/// Patch score units for one standard deviation of normal patches.
const UNITS: f64 = 1024.0;
/// Largest shift that the fixed-point weights may need.
const MAX_SHIFT: u32 = 24;

/// Patch score `sum_i weights[i] * v_(i) + length_weight * |r|`, in int8 units.
#[derive(Clone, Debug, PartialEq)]
pub struct Discriminant {
    /// Values that are weighed.
    pub values: ValueKind,
    /// Weight of each order statistic, smallest value first.
    pub weights: Vec<f64>,
    /// Weight of the residual's length.
    pub length_weight: f64,
    /// Share of the discriminant, the rest being plain distance; for people.
    pub blend: f64,
}

impl Discriminant {
    /// The blend of a discriminant's `weights` and plain distance, both in standard deviations of
    /// normal patches (`length_spread` is that of the residual's length).
    pub fn blended(values: ValueKind, weights: &[f64], blend: f64, length_spread: f64) -> Self {
        Self {
            values,
            weights: weights.iter().map(|w| w * blend).collect(),
            length_weight: (1.0 - blend) / length_spread,
            blend,
        }
    }

    /// Plain distance.
    pub fn distance(dimension: usize, values: ValueKind) -> Self {
        Self {
            values,
            weights: vec![0.0; dimension],
            length_weight: 1.0 / 16.0,
            blend: 0.0,
        }
    }
}

/// Everything that goes into a bank.
pub(crate) struct Model<'m> {
    pub dimension: usize,
    /// `[M, D]`, sorted by cell where `cells` is given.
    pub rows: &'m [i8],
    /// Grid of the position-limited search and each row's cell.
    pub cells: Option<(Grid, &'m [u32])>,
    pub radius: u16,
    pub frame: Option<Grid>,
    pub discriminant: &'m Discriminant,
    pub taps: [u16; MAX_TAPS],
    pub top_share: f64,
    pub image_score: ImageScore,
    pub calibration: &'m Calibration,
    /// Host section and records ([`crate::bank_file::encode_host`]); may be empty.
    pub host: &'m [u8],
}

/// Integer taps of a Gaussian with `sigma` patches, the centre first; only the centre for 0.
pub fn smoothing_taps(sigma: f64) -> [u16; MAX_TAPS] {
    let mut taps = [0u16; MAX_TAPS];
    let gauss = |i: usize| (-0.5 * (i as f64 / sigma.max(1e-9)).powi(2)).exp();
    let total = gauss(0) + 2.0 * (1..MAX_TAPS).map(gauss).sum::<f64>();
    let mut rest = KERNEL_SUM as u16;
    for (i, tap) in taps.iter_mut().enumerate().skip(1) {
        *tap = (gauss(i) / total * f64::from(KERNEL_SUM)).round() as u16;
        rest -= 2 * *tap;
    }
    taps[0] = rest;
    taps
}

/// A bank for searching only: plain distance, no thresholds.
pub(crate) fn search_bank(dimension: usize, rows: &[i8]) -> Result<Vec<u8>> {
    encode(&Model {
        dimension,
        rows,
        cells: None,
        radius: 0,
        frame: None,
        discriminant: &Discriminant::distance(dimension, ValueKind::Magnitude),
        taps: smoothing_taps(0.0),
        top_share: 0.0,
        image_score: ImageScore::whole(ScoreStage::Raw),
        calibration: &Calibration::open(),
        host: &[],
    })
}

/// Quantises a model into the bytes of a bank file.
pub(crate) fn encode(model: &Model) -> Result<Vec<u8>> {
    let discriminant = model.discriminant;
    let (weights, length_weight, shift) = fixed_point(discriminant);
    let norms = row_norms(model.rows, model.dimension);
    let cells = model
        .cells
        .map_or_else(Vec::new, |(grid, cells)| cell_table(grid, cells));
    let side = |length: usize| u16::try_from(length).unwrap_or(u16::MAX);
    let too_many = |_| Error::Fit("bank has too many rows or channels".into());
    encode_parts(&BankParts {
        dimension: u16::try_from(model.dimension).map_err(too_many)?,
        row_count: u32::try_from(model.rows.len() / model.dimension).map_err(too_many)?,
        grid: model
            .frame
            .map_or((0, 0), |g| (side(g.height()), side(g.width()))),
        values: discriminant.values,
        distance_weight: length_weight,
        shift,
        taps: model.taps,
        top_share: (model.top_share * 65536.0).round().clamp(0.0, 65535.0) as u16,
        image_score: model.image_score,
        threshold: model.calibration.threshold,
        normal_score: model.calibration.normal_score,
        map_threshold: model.calibration.map_threshold,
        radius: model.radius,
        weights: &weights,
        norms: &norms,
        cells: &cells,
        rows: bytemuck::cast_slice(model.rows),
        host: model.host,
    })
}

/// First row of each grid cell and the number of rows, as a bank holds them; `cells` is the cell of
/// each row, ascending.
pub(crate) fn cell_table(grid: Grid, cells: &[u32]) -> Vec<u8> {
    (0..=grid.len() as u32)
        .map(|cell| cells.partition_point(|&c| c < cell) as u32)
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// i16 weights (little-endian), the length's weight and the shift: the largest shift that keeps all
/// in range.
pub(crate) fn fixed_point(discriminant: &Discriminant) -> (Vec<u8>, i32, u8) {
    let largest = discriminant
        .weights
        .iter()
        .fold(0.0f64, |max, w| max.max(w.abs()));
    let per_length = discriminant.length_weight * UNITS / f64::from(1u32 << LENGTH_BITS);
    let mut shift = MAX_SHIFT;
    let fits = |shift: u32| {
        let factor = f64::from(1u32 << shift);
        largest * UNITS * factor <= f64::from(i16::MAX)
            && per_length.abs() * factor <= f64::from(i32::MAX / 2)
    };
    while shift > 0 && !fits(shift) {
        shift -= 1;
    }
    let factor = f64::from(1u32 << shift);
    let limit = f64::from(i16::MAX);
    let weights = discriminant
        .weights
        .iter()
        .map(|w| (w * UNITS * factor).round().clamp(-limit, limit) as i16)
        .flat_map(i16::to_le_bytes)
        .collect();
    (weights, (per_length * factor).round() as i32, shift as u8)
}
