//! PatchCore (Roth et al., CVPR 2022) on the same backbone features, as a baseline.
//!
//! Neighbourhood pooling of 3 x 3 patches, a greedy coreset of 10 % of the patches, the distance to
//! the nearest row as map, and the re-weighted largest distance as image score (equation 7).

use ndarray::Array2;
use vod_core::{Bank, Nearest, Scorer};

use crate::backbone::{Normalise, Pool};
use crate::error::{Error, Result};
use crate::features::FeatureGrid;
use crate::fit::{Transform, search_bank, statistics};
use crate::reference::k_centre;

/// Share of the patches that the coreset keeps.
const CORESET_SHARE: f64 = 0.1;
/// Neighbours of the nearest row that weigh the image score (`b` in the paper).
const NEIGHBOURS: usize = 9;

/// A fitted PatchCore.
pub struct PatchCore {
    transform: Transform,
    bank: Vec<u8>,
}

impl PatchCore {
    /// Neighbourhood that its features are averaged over.
    pub const POOL: Pool = Pool::Mean(3);

    /// Fits on the reference images' features; `layers` are the channel counts of the outputs.
    /// Features are averaged over [`Self::POOL`].
    ///
    /// # Errors
    /// [`Error::Data`] without references.
    pub fn fit(references: &[FeatureGrid], normalise: Normalise, layers: &[usize]) -> Result<Self> {
        let views: Vec<&FeatureGrid> = references.iter().collect();
        let patches = statistics(&views)?;
        let mut transform = Transform::new(normalise, patches.view(), layers);
        transform.set_scale(transform.project(patches.view()).view());
        let rows: Vec<i8> = references
            .iter()
            .flat_map(|g| transform.quantise(g))
            .collect();
        let dimension = transform.dimension;
        let count = ((rows.len() / dimension) as f64 * CORESET_SHARE).ceil() as usize;
        let core: Vec<i8> = k_centre(&rows, dimension, count)
            .into_iter()
            .flat_map(|n| rows[n * dimension..(n + 1) * dimension].iter().copied())
            .collect();
        Ok(Self {
            bank: search_bank(dimension, &core)?,
            transform,
        })
    }

    /// Image score and map of distances, `[height, width]` patches.
    ///
    /// # Errors
    /// [`Error::Fit`] where the features have another number of channels.
    pub fn score(&self, features: &FeatureGrid) -> Result<(f32, Array2<f32>)> {
        let bank = Bank::from_bytes(&self.bank).map_err(|e| Error::Fit(e.to_string()))?;
        let scorer = Scorer::new(&bank);
        let queries = self.transform.quantise(features);
        let (height, width, _) = features.dim();
        let mut nearest = vec![
            Nearest {
                row: 0,
                distance2: 0
            };
            height * width
        ];
        scorer.nearest_of_all(&queries, &mut nearest);
        let distance = |d2: u32| f64::from(d2).sqrt() / f64::from(self.transform.scale);
        let map = nearest
            .iter()
            .map(|n| distance(n.distance2) as f32)
            .collect();
        let map =
            Array2::from_shape_vec((height, width), map).map_err(|e| Error::Fit(e.to_string()))?;
        let Some((patch, worst)) = nearest
            .iter()
            .enumerate()
            .max_by_key(|(patch, n)| (n.distance2, std::cmp::Reverse(*patch)))
        else {
            return Err(Error::Data("image without patches".into()));
        };
        let dimension = bank.dimension();
        let query = &queries[patch * dimension..(patch + 1) * dimension];
        let squared = |a: &[i8], b: &[i8]| -> u32 {
            let pairs = a.iter().zip(b);
            pairs
                .map(|(&a, &b)| (i32::from(a) - i32::from(b)).unsigned_abs().pow(2))
                .sum()
        };
        let centre = bank.row(worst.row as usize);
        let mut near: Vec<(u32, usize)> = (0..bank.row_count())
            .map(|row| (squared(bank.row(row), centre), row))
            .collect();
        near.sort_unstable();
        let sum: f64 = near
            .iter()
            .take(NEIGHBOURS)
            .map(|(_, row)| {
                (distance(squared(query, bank.row(*row))) - distance(worst.distance2)).exp()
            })
            .sum();
        let weight = 1.0 - 1.0 / sum;
        Ok(((weight * distance(worst.distance2)) as f32, map))
    }

    /// Bytes of the bank.
    pub fn bank_bytes(&self) -> usize {
        self.bank.len()
    }
}
