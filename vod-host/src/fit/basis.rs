//! From patch features to the bank's int8 channels: scaling, whitening, quantisation
//! (method, steps 1 and 4).

use std::borrow::Borrow;

use faer::{Mat, Side};
use ndarray::{Array2, ArrayView2, Axis};
use serde::{Deserialize, Serialize};
use vod_core::{FrameError, Grid};

use crate::backbone::Normalise;
use crate::error::{Error, Result};
use crate::features::FeatureGrid;
use crate::score::Frame;

/// Share of the references' values that the int8 range must hold; the rest is clipped.
const RANGE_SHARE: f64 = 0.9999;

/// A linear map from patch features to int8 channels, written into the bank.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transform {
    /// How patch features are normalised before anything else.
    pub normalise: Normalise,
    /// Factor of each channel, `[C]` (ones but for [`Normalise::LayerVariance`]).
    pub channel_scale: Vec<f32>,
    /// Whitening basis `B`, `[C, D]` row by row; empty for the identity.
    pub basis: Vec<f32>,
    /// Channels after the basis, `D`.
    pub dimension: usize,
    /// int8 units for a value of 1; one for all channels, so that distances keep their metric.
    pub scale: f32,
}

impl Transform {
    /// Scaling without a basis, from the references' patch features `[n, C]`; `layers` are the
    /// channel counts of the concatenated outputs.
    pub fn new(normalise: Normalise, features: ArrayView2<f32>, layers: &[usize]) -> Self {
        let channels = features.ncols();
        let channel_scale = match normalise {
            Normalise::Unit | Normalise::Int8 => vec![1.0; channels],
            Normalise::LayerVariance => {
                let mut scale = Vec::with_capacity(channels);
                let mut start = 0;
                for &width in layers {
                    let layer = features.slice_axis(Axis(1), (start..start + width).into());
                    let mean = column_means(layer);
                    let mut total = 0.0f64;
                    for row in layer.rows() {
                        for (value, mean) in row.iter().zip(&mean) {
                            total += (f64::from(*value) - mean).powi(2);
                        }
                    }
                    let variance = total / layer.nrows().max(1) as f64;
                    let factor = 1.0 / variance.sqrt().max(1e-12);
                    scale.extend(std::iter::repeat_n(factor as f32, width));
                    start += width;
                }
                scale
            }
        };
        Self {
            normalise,
            channel_scale,
            basis: Vec::new(),
            dimension: channels,
            scale: 1.0,
        }
    }

    /// Patch features `[n, C]` to channels `[n, D]`, before quantisation.
    pub fn project(&self, features: ArrayView2<f32>) -> Array2<f32> {
        let mut scaled = features.to_owned();
        for mut row in scaled.rows_mut() {
            match self.normalise {
                Normalise::LayerVariance => {
                    for (value, scale) in row.iter_mut().zip(&self.channel_scale) {
                        *value *= scale;
                    }
                }
                Normalise::Unit => {
                    let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
                    row /= norm.max(1e-12);
                }
                Normalise::Int8 => {}
            }
        }
        if self.basis.is_empty() {
            return scaled;
        }
        match ArrayView2::from_shape((scaled.ncols(), self.dimension), &self.basis) {
            Ok(basis) => scaled.dot(&basis),
            Err(_) => scaled,
        }
    }

    /// Patch features of an image to int8 channels, `[height * width, D]`.
    pub fn quantise(&self, grid: &FeatureGrid) -> Vec<i8> {
        self.project(flat(grid))
            .iter()
            .map(|value| (value * self.scale).round().clamp(-127.0, 127.0) as i8)
            .collect()
    }

    /// int8 features of an image at each of its levels.
    ///
    /// # Errors
    /// [`Error::Frame`] for a grid that can't be scored.
    pub fn quantise_levels(
        &self,
        fine: &FeatureGrid,
        coarser: &[impl Borrow<FeatureGrid>],
    ) -> Result<Frame> {
        let level = |features: &FeatureGrid| -> Result<(Grid, Vec<i8>)> {
            let (height, width, _) = features.dim();
            let grid = Grid::new(height, width).ok_or(FrameError::Grid)?;
            Ok((grid, self.quantise(features)))
        };
        let (grid, features) = level(fine)?;
        Ok(Frame {
            grid,
            features,
            coarser: coarser
                .iter()
                .map(|features| level(features.borrow()))
                .collect::<Result<_>>()?,
        })
    }

    /// Sets the int8 scale from projected features `[n, D]` of the references; features that are
    /// int8 already keep theirs, so that a device has nothing to do.
    pub fn set_scale(&mut self, projected: ArrayView2<f32>) {
        self.scale = if self.normalise == Normalise::Int8 && self.basis.is_empty() {
            1.0
        } else {
            127.0 / range_limit(projected.iter().copied()).max(1e-12)
        };
    }

    /// Whitens by the normal residuals `[n, C]` (of scaled features, without basis):
    /// `B = V diag((l_i + shrinkage * mean(l))^-1/2)` (method, step 4).
    ///
    /// # Errors
    /// [`Error::Fit`] where the eigendecomposition fails.
    pub fn whiten(&mut self, residuals: ArrayView2<f32>, shrinkage: f64) -> Result<()> {
        let channels = residuals.ncols();
        let covariance = second_moment(residuals);
        let eigen = covariance
            .self_adjoint_eigen(Side::Lower)
            .map_err(|e| Error::Fit(format!("eigendecomposition of residuals: {e:?}")))?;
        let values = eigen.S().column_vector();
        let mean = values.iter().sum::<f64>() / channels as f64;
        let factors: Vec<f64> = values
            .iter()
            .map(|l| (l.max(0.0) + shrinkage * mean).max(1e-18).sqrt().recip())
            .collect();
        let vectors = eigen.U();
        self.basis = (0..channels)
            .flat_map(|row| {
                let factors = &factors;
                (0..channels).map(move |column| (vectors[(row, column)] * factors[column]) as f32)
            })
            .collect();
        self.dimension = channels;
        Ok(())
    }
}

/// Size of value that all but a few of `values` stay below: what the int8 range has to hold.
pub(crate) fn range_limit(values: impl Iterator<Item = f32>) -> f32 {
    let mut sizes: Vec<f32> = values.map(f32::abs).collect();
    let index = (sizes.len().saturating_sub(1) as f64 * RANGE_SHARE) as usize;
    if sizes.is_empty() {
        return 0.0;
    }
    *sizes.select_nth_unstable_by(index, f32::total_cmp).1
}

/// `mean(r r^T)` over rows, in f64; rows in a fixed order, so that the sum is the same everywhere.
fn second_moment(rows: ArrayView2<f32>) -> Mat<f64> {
    let channels = rows.ncols();
    let mut sum = Array2::<f64>::zeros((channels, channels));
    for chunk in rows.axis_chunks_iter(Axis(0), 256) {
        let chunk = chunk.mapv(f64::from);
        sum += &chunk.t().dot(&chunk);
    }
    let count = rows.nrows().max(1) as f64;
    Mat::from_fn(channels, channels, |i, j| sum[[i, j]] / count)
}

fn column_means(rows: ArrayView2<f32>) -> Vec<f64> {
    let mut sums = vec![0.0f64; rows.ncols()];
    for row in rows.rows() {
        for (sum, value) in sums.iter_mut().zip(row) {
            *sum += f64::from(*value);
        }
    }
    let count = rows.nrows().max(1) as f64;
    sums.iter().map(|s| s / count).collect()
}

/// A grid's patches as rows, `[height * width, C]`.
pub fn flat(grid: &FeatureGrid) -> ArrayView2<'_, f32> {
    let (height, width, channels) = grid.dim();
    grid.view()
        .into_shape_with_order((height * width, channels))
        .expect("feature grids are made in standard layout")
}
