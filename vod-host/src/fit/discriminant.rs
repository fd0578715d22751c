//! Linear discriminant on sorted residual values (method, step 7).

use faer::linalg::solvers::Solve;
use faer::{Mat, Side};

use crate::error::{Error, Result};

/// Running first and second moments of value profiles of one class.
#[derive(Clone, Debug)]
pub struct Moments {
    count: f64,
    sum: Vec<f64>,
    /// Lower triangle of the sum of outer products, row by row, full square storage.
    products: Vec<f64>,
}

impl Moments {
    /// Moments of no profiles of `dimension` values.
    pub fn new(dimension: usize) -> Self {
        Self {
            count: 0.0,
            sum: vec![0.0; dimension],
            products: vec![0.0; dimension * dimension],
        }
    }

    /// Adds one profile (ascending values).
    pub fn add(&mut self, profile: &[i16]) {
        let dimension = self.sum.len();
        self.count += 1.0;
        for (i, &a) in profile.iter().enumerate() {
            let a = f64::from(a);
            self.sum[i] += a;
            let line = &mut self.products[i * dimension..i * dimension + i + 1];
            for (product, &b) in line.iter_mut().zip(profile) {
                *product += a * f64::from(b);
            }
        }
    }

    /// Adds those of another set of profiles.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        let pairs = self.sum.iter_mut().zip(&other.sum);
        pairs.for_each(|(a, b)| *a += b);
        let pairs = self.products.iter_mut().zip(&other.products);
        pairs.for_each(|(a, b)| *a += b);
    }

    /// Number of profiles.
    pub fn count(&self) -> f64 {
        self.count
    }

    fn mean(&self, i: usize) -> f64 {
        self.sum[i] / self.count
    }

    /// Covariance of values `i >= j`.
    fn covariance(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.sum.len() + j] / self.count - self.mean(i) * self.mean(j)
    }
}

/// Weights of the sorted values, from the shrinkage LDA
/// `(S + shrinkage * I) w = (m_abnormal - m_normal)` on values that were standardised by the normal
/// class; `S` is the mean of the two classes' covariances. Scaled so that normal scores have a
/// standard deviation of 1.
///
/// # Errors
/// [`Error::Fit`] where a class is empty or the system can't be solved.
pub fn shrinkage_lda(normal: &Moments, abnormal: &Moments, shrinkage: f64) -> Result<Vec<f64>> {
    let dimension = normal.sum.len();
    if normal.count < 2.0 || abnormal.count < 2.0 {
        return Err(Error::Fit(format!(
            "{} normal and {} abnormal patches are too few for a discriminant",
            normal.count, abnormal.count
        )));
    }
    let deviation: Vec<f64> = (0..dimension)
        .map(|i| normal.covariance(i, i).max(0.0).sqrt().max(0.25))
        .collect();
    let scatter = Mat::from_fn(dimension, dimension, |i, j| {
        let (low, high) = (i.min(j), i.max(j));
        let mean = (normal.covariance(high, low) + abnormal.covariance(high, low)) / 2.0;
        let ridge = if i == j { shrinkage } else { 0.0 };
        mean / (deviation[i] * deviation[j]) + ridge
    });
    let shift = Mat::from_fn(dimension, 1, |i, _| {
        (abnormal.mean(i) - normal.mean(i)) / deviation[i]
    });
    let solution = scatter
        .llt(Side::Lower)
        .map_err(|e| Error::Fit(format!("discriminant: {e:?}")))?
        .solve(&shift);
    let weights: Vec<f64> = (0..dimension)
        .map(|i| solution[(i, 0)] / deviation[i])
        .collect();
    let mut variance = 0.0;
    for i in 0..dimension {
        for j in 0..dimension {
            variance += weights[i] * weights[j] * normal.covariance(i.max(j), i.min(j));
        }
    }
    let spread = variance.max(0.0).sqrt().max(1e-9);
    Ok(weights.iter().map(|w| w / spread).collect())
}
