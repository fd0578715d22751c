//! A linear discriminant on the residual as it is, channel by channel, as a baseline: what is lost
//! when the order of the values is kept.

use std::path::PathBuf;
use std::sync::Arc;

use indicatif::ProgressBar;
use ndarray::Array2;
use rayon::prelude::*;
use vod_core::Grid;

use crate::error::{Error, Result};
use crate::features::{Extractor, FeatureGrid};
use crate::fit::{
    Against, FitOptions, Moments, Prepared, Profiles, Space, moments, prepare, probe, profiles,
    shrinkage_lda, smoothing_taps,
};
use crate::generalist::NormalStatistics;

/// A fitted discriminant on residuals; floating point, no bank can hold it.
pub struct RawResidual {
    prepared: Prepared,
    /// Weight of each channel, `[D]`.
    weights: Vec<f64>,
    sigma: f64,
    top_share: f64,
    /// Margin that the image score leaves out ([`Grid::margin`]).
    margin: u16,
}

impl RawResidual {
    /// Fits it on the references at `paths` and their pasted anomalies, or takes the weights of the
    /// options.
    ///
    /// # Errors
    /// Those of reading the references, [`Error::Fit`], [`Error::Data`] for weights of values.
    pub fn fit(
        extractor: &Extractor,
        paths: &[PathBuf],
        options: &FitOptions,
        progress: &ProgressBar,
    ) -> Result<Self> {
        let recipe = &options.recipe;
        let prepared = prepare(extractor, paths, options, progress)?;
        let dimension = prepared.transform.dimension;
        let all: Vec<Profiles> = prepared
            .probes
            .par_iter()
            .map(|probe| profiles(&prepared, probe, Space::Residual))
            .collect::<Result<_>>()?;
        let weights = match &options.weights {
            Some(weights) => {
                weights.check_space(Space::Residual, dimension)?;
                let scale = prepared.transform.scale;
                weights.for_target(&NormalStatistics::of(&prepared.probes, &all, scale))
            }
            None => {
                let mut sides = [Moments::new(dimension), Moments::new(dimension)];
                for (probe, profiles) in prepared.probes.iter().zip(&all) {
                    let [normal, abnormal] = moments(probe, profiles, dimension);
                    sides[0].merge(&normal);
                    sides[1].merge(&abnormal);
                }
                shrinkage_lda(&sides[0], &sides[1], recipe.shrinkage)?
            }
        };
        Ok(Self {
            prepared,
            weights,
            sigma: recipe.sigma,
            top_share: recipe.top_share,
            margin: options.margin(),
        })
    }

    /// Image score and smoothed map, `[height, width]` patches.
    ///
    /// # Errors
    /// [`Error::Fit`], [`Error::Data`] where the features do not fit the references.
    pub fn score(&self, features: &FeatureGrid) -> Result<(f32, Array2<f32>)> {
        let (height, width, _) = features.dim();
        let probe = probe(
            Against::All,
            0,
            Arc::new(features.clone()),
            Vec::new(),
            Vec::new(),
        )?;
        let found = profiles(&self.prepared, &probe, Space::Residual)?;
        let scores: Vec<f64> = found
            .values
            .chunks_exact(self.weights.len())
            .map(|residual| {
                let terms = self.weights.iter().zip(residual);
                terms.map(|(w, &r)| w * f64::from(r)).sum()
            })
            .collect();
        let grid = Grid::new(height, width).ok_or(vod_core::FrameError::Grid)?;
        let margin = grid.margin(self.margin);
        let counted = scores.iter().zip(0..);
        let counted = counted.filter(|&(_, patch)| grid.is_inner(patch, margin));
        let mut sorted: Vec<f64> = counted.map(|(&score, _)| score).collect();
        sorted.sort_by(|a, b| b.total_cmp(a));
        let count = (self.top_share * sorted.len() as f64).round().max(1.0) as usize;
        let top = &sorted[..count.min(sorted.len())];
        let score = top.iter().sum::<f64>() / top.len() as f64;
        let map = Array2::from_shape_vec((height, width), scores)
            .map_err(|e| Error::Fit(e.to_string()))?;
        Ok((score as f32, smooth(&map, self.sigma)))
    }
}

/// The bank's smoothing (nearest patch beyond the edge), in floating point.
fn smooth(map: &Array2<f64>, sigma: f64) -> Array2<f32> {
    let taps = smoothing_taps(sigma);
    let total: f64 = taps.iter().map(|t| f64::from(*t)).sum::<f64>() * 2.0 - f64::from(taps[0]);
    let along = |map: &Array2<f64>| {
        let (rows, columns) = map.dim();
        // Transposed on the way out: two passes give the map back upright.
        Array2::from_shape_fn((columns, rows), |(x, y)| {
            let mut sum = 0.0;
            for (reach, tap) in taps.iter().enumerate().filter(|(_, tap)| **tap > 0) {
                let (left, right) = (x.saturating_sub(reach), (x + reach).min(columns - 1));
                let pair = if reach == 0 {
                    map[[y, x]]
                } else {
                    map[[y, left]] + map[[y, right]]
                };
                sum += f64::from(*tap) * pair;
            }
            sum / total
        })
    };
    along(&along(map)).mapv(|v| v as f32)
}
