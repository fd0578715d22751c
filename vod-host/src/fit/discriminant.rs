//! Linear discriminant on sorted residual values (method, step 7).

use faer::linalg::matmul::matmul;
use faer::linalg::solvers::Solve;
use faer::{Accum, Mat, MatMut, MatRef, Par, Side};

use crate::bank_records::MomentsRecord;
use crate::error::{Error, Result};

/// Profiles whose outer products are summed by one matrix product.
const BLOCK: usize = 256;
/// Steps of a stored correlation of 1.
const CORRELATION_UNITS: f64 = 32767.0;

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

    /// Adds one profile, `[D]`.
    pub fn add<T: Copy + Into<f64>>(&mut self, profile: &[T]) {
        let dimension = self.sum.len();
        self.count += 1.0;
        for (i, &a) in profile.iter().enumerate() {
            let a: f64 = a.into();
            self.sum[i] += a;
            let line = &mut self.products[i * dimension..i * dimension + i + 1];
            for (product, &b) in line.iter_mut().zip(profile) {
                *product += a * b.into();
            }
        }
    }

    /// Adds many profiles, `[D]` each: what [`Self::add`] gives one by one, to the bit, since sums of
    /// products of 16-bit integers are exact in `f64`.
    pub fn add_all<'p>(&mut self, profiles: impl IntoIterator<Item = &'p [i16]>) {
        let dimension = self.sum.len();
        let mut profiles = profiles.into_iter();
        let mut block: Vec<f64> = Vec::with_capacity(BLOCK * dimension);
        loop {
            block.clear();
            for profile in profiles.by_ref().take(BLOCK) {
                let sums = self.sum.iter_mut().zip(profile);
                sums.for_each(|(sum, &value)| *sum += f64::from(value));
                block.extend(profile.iter().map(|&value| f64::from(value)));
                self.count += 1.0;
            }
            if block.is_empty() {
                return;
            }
            let rows = block.len() / dimension;
            let block = MatRef::from_row_major_slice(&block, rows, dimension);
            let products =
                MatMut::from_row_major_slice_mut(&mut self.products, dimension, dimension);
            // One thread: probes are already spread over all of them.
            matmul(
                products,
                Accum::Add,
                block.transpose(),
                block,
                1.0,
                Par::Seq,
            );
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

    /// Lets each profile count `factor` times.
    pub fn scale(&mut self, factor: f64) {
        self.count *= factor;
        let all = self.sum.iter_mut().chain(&mut self.products);
        all.for_each(|value| *value *= factor);
    }

    /// The moments as a bank keeps them.
    pub fn record(&self) -> MomentsRecord {
        let dimension = self.sum.len();
        let deviation: Vec<f64> = (0..dimension)
            .map(|i| self.covariance(i, i).max(0.0).sqrt())
            .collect();
        let pairs = (0..dimension).flat_map(|i| (0..i).map(move |j| (i, j)));
        let correlation = pairs.map(|(i, j)| {
            let scale = (deviation[i] * deviation[j]).max(f64::MIN_POSITIVE);
            (self.covariance(i, j) / scale).clamp(-1.0, 1.0)
        });
        MomentsRecord {
            count: self.count,
            mean: (0..dimension).map(|i| self.mean(i) as f32).collect(),
            deviation: deviation.iter().map(|d| *d as f32).collect(),
            correlation: correlation
                .map(|c| (c * CORRELATION_UNITS).round() as i16)
                .flat_map(i16::to_le_bytes)
                .collect(),
        }
    }

    /// The moments that a record holds; zeros where it is shorter than its mean.
    pub fn from_record(record: &MomentsRecord) -> Self {
        let dimension = record.mean.len();
        let mut moments = Self::new(dimension);
        moments.count = record.count;
        let at = |values: &[f32], i: usize| values.get(i).copied().map_or(0.0, f64::from);
        let mut correlations = record.correlation.as_chunks::<2>().0.iter();
        for i in 0..dimension {
            moments.sum[i] = at(&record.mean, i) * record.count;
            for j in 0..=i {
                let correlation = if i == j {
                    1.0
                } else {
                    let stored = correlations.next().copied().unwrap_or_default();
                    f64::from(i16::from_le_bytes(stored)) / CORRELATION_UNITS
                };
                let covariance = correlation * at(&record.deviation, i) * at(&record.deviation, j);
                let product = covariance + at(&record.mean, i) * at(&record.mean, j);
                moments.products[i * dimension + j] = product * record.count;
            }
        }
        moments
    }

    /// Number of profiles.
    pub fn count(&self) -> f64 {
        self.count
    }

    /// Standard deviation of `weights . profile`.
    pub fn deviation_along(&self, weights: &[f64]) -> f64 {
        let mut variance = 0.0;
        for (i, a) in weights.iter().enumerate() {
            for (j, b) in weights.iter().enumerate() {
                variance += a * b * self.covariance(i.max(j), i.min(j));
            }
        }
        variance.max(0.0).sqrt().max(1e-9)
    }

    /// Mean of `weights . profile`.
    pub fn mean_along(&self, weights: &[f64]) -> f64 {
        let terms = weights.iter().enumerate();
        terms.map(|(i, weight)| weight * self.mean(i)).sum()
    }

    /// Mean of the profiles' lengths, whose standard deviation is `spread`.
    pub fn mean_length(&self, spread: f64) -> f64 {
        let dimension = self.sum.len();
        let squares: f64 = (0..dimension)
            .map(|i| self.products[i * dimension + i])
            .sum();
        (squares / self.count - spread * spread).max(0.0).sqrt()
    }

    fn mean(&self, i: usize) -> f64 {
        self.sum[i] / self.count
    }

    /// Covariance of values `i >= j`.
    fn covariance(&self, i: usize, j: usize) -> f64 {
        self.products[i * self.sum.len() + j] / self.count - self.mean(i) * self.mean(j)
    }
}

/// How the profiles of an abnormal class differ from those of a normal one: what a linear
/// discriminant is made from.
#[derive(Clone, Debug)]
pub struct Contrast {
    /// Mean of the abnormal class minus mean of the normal one, `[D]`.
    shift: Vec<f64>,
    /// Standard deviations of the normal class, `[D]`, at least a quarter of an int8 unit.
    deviation: Vec<f64>,
    /// Mean of the two classes' covariances; lower triangle, row by row, full square storage.
    scatter: Vec<f64>,
}

impl Contrast {
    /// The contrast of two classes.
    ///
    /// # Errors
    /// [`Error::Fit`] where a class has fewer than two profiles.
    pub fn of(normal: &Moments, abnormal: &Moments) -> Result<Self> {
        let dimension = normal.sum.len();
        if normal.count < 2.0 || abnormal.count < 2.0 {
            return Err(Error::Fit(format!(
                "{} normal and {} abnormal patches are too few for a discriminant",
                normal.count, abnormal.count
            )));
        }
        let mut scatter = vec![0.0; dimension * dimension];
        for i in 0..dimension {
            for j in 0..=i {
                scatter[i * dimension + j] =
                    (normal.covariance(i, j) + abnormal.covariance(i, j)) / 2.0;
            }
        }
        Ok(Self {
            shift: (0..dimension)
                .map(|i| abnormal.mean(i) - normal.mean(i))
                .collect(),
            deviation: (0..dimension)
                .map(|i| normal.covariance(i, i).max(0.0).sqrt().max(0.25))
                .collect(),
            scatter,
        })
    }

    /// The contrast of profiles whose values are divided by `units`, `[D]`.
    pub fn divided(mut self, units: &[f64]) -> Self {
        let dimension = units.len();
        for (i, unit) in units.iter().enumerate() {
            self.shift[i] /= unit;
            self.deviation[i] /= unit;
            let line = &mut self.scatter[i * dimension..i * dimension + i + 1];
            for (value, other) in line.iter_mut().zip(units) {
                *value /= unit * other;
            }
        }
        self
    }

    /// The mean of several contrasts, each with its weight (variances are averaged, not
    /// deviations).
    ///
    /// # Errors
    /// [`Error::Fit`] where there are none.
    pub fn mean<'c>(contrasts: impl IntoIterator<Item = (&'c Self, f64)>) -> Result<Self> {
        let mut sum: Option<Self> = None;
        let mut total = 0.0;
        for (contrast, weight) in contrasts {
            let dimension = contrast.shift.len();
            let sum = sum.get_or_insert_with(|| Self {
                shift: vec![0.0; dimension],
                deviation: vec![0.0; dimension],
                scatter: vec![0.0; dimension * dimension],
            });
            total += weight;
            let add = |to: &mut [f64], from: &[f64], power: i32| {
                for (to, from) in to.iter_mut().zip(from) {
                    *to += weight * from.powi(power);
                }
            };
            add(&mut sum.shift, &contrast.shift, 1);
            add(&mut sum.deviation, &contrast.deviation, 2);
            add(&mut sum.scatter, &contrast.scatter, 1);
        }
        let mut mean = sum.ok_or_else(|| Error::Fit("no profiles to learn from".into()))?;
        mean.shift.iter_mut().for_each(|v| *v /= total);
        mean.scatter.iter_mut().for_each(|v| *v /= total);
        let root = |v: &mut f64| *v = (*v / total).sqrt();
        mean.deviation.iter_mut().for_each(root);
        Ok(mean)
    }

    /// Weights of the values: `(S + shrinkage * I) w = shift` on values that are standardised by
    /// the normal class.
    ///
    /// # Errors
    /// [`Error::Fit`] where the system can't be solved.
    pub fn direction(&self, shrinkage: f64) -> Result<Vec<f64>> {
        let dimension = self.shift.len();
        let deviation = &self.deviation;
        let scatter = Mat::from_fn(dimension, dimension, |i, j| {
            let within = self.scatter[i.max(j) * dimension + i.min(j)];
            let ridge = if i == j { shrinkage } else { 0.0 };
            within / (deviation[i] * deviation[j]) + ridge
        });
        let shift = Mat::from_fn(dimension, 1, |i, _| self.shift[i] / deviation[i]);
        let solution = scatter
            .llt(Side::Lower)
            .map_err(|e| Error::Fit(format!("discriminant: {e:?}")))?
            .solve(&shift);
        Ok((0..dimension)
            .map(|i| solution[(i, 0)] / deviation[i])
            .collect())
    }
}

/// Weights of the sorted values, from the shrinkage LDA of the two classes, scaled so that normal
/// scores have a standard deviation of 1.
///
/// # Errors
/// [`Error::Fit`] where a class is empty or the system can't be solved.
pub fn shrinkage_lda(normal: &Moments, abnormal: &Moments, shrinkage: f64) -> Result<Vec<f64>> {
    let mut weights = Contrast::of(normal, abnormal)?.direction(shrinkage)?;
    let deviation = normal.deviation_along(&weights);
    weights.iter_mut().for_each(|w| *w /= deviation);
    Ok(weights)
}

#[cfg(test)]
mod tests {
    use super::{Contrast, Moments};
    use crate::dataset::SplitMix64;

    fn classes(unit: f64) -> [Moments; 2] {
        let mut random = SplitMix64::new(3);
        [0.0, 20.0].map(|shift| {
            let mut moments = Moments::new(3);
            for _ in 0..200 {
                let common = random.between(-30.0, 30.0);
                let profile = [0.0, 1.0, 2.0].map(|i| {
                    let value: f64 = common + random.between(-20.0, 20.0) + shift * i;
                    value.round() / unit
                });
                moments.add(&profile);
            }
            moments
        })
    }

    #[test]
    fn a_divided_contrast_is_that_of_divided_profiles() {
        let [normal, abnormal] = classes(1.0);
        let divided = Contrast::of(&normal, &abnormal).unwrap().divided(&[2.0; 3]);
        let [normal, abnormal] = classes(2.0);
        let expected = Contrast::of(&normal, &abnormal).unwrap();
        let (a, b) = (divided.direction(1.0), expected.direction(1.0));
        for (a, b) in a.unwrap().iter().zip(&b.unwrap()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
    }

    #[test]
    fn equal_contrasts_are_their_own_mean() {
        let [normal, abnormal] = classes(1.0);
        let one = Contrast::of(&normal, &abnormal).unwrap();
        let mean = Contrast::mean([(&one, 0.5), (&one, 2.0)]).unwrap();
        let (a, b) = (mean.direction(0.5), one.direction(0.5));
        for (a, b) in a.unwrap().iter().zip(&b.unwrap()) {
            assert!((a - b).abs() < 1e-9, "{a} {b}");
        }
        assert!(Contrast::mean([]).is_err());
    }
}

#[cfg(test)]
mod record_tests {
    use super::{Moments, shrinkage_lda};
    use crate::dataset::SplitMix64;

    #[test]
    fn moments_tell_mean_scores_and_lengths() {
        let profiles = [[3.0, 4.0], [0.0, 5.0], [6.0, 8.0], [1.0, 0.0]];
        let mut moments = Moments::new(2);
        profiles.iter().for_each(|p| moments.add(p));
        assert!((moments.mean_along(&[2.0, -1.0]) - (20.0 - 17.0) / 4.0).abs() < 1e-12);
        // Lengths 5, 5, 10 and 1.
        let variance: f64 = (25.0 + 25.0 + 100.0 + 1.0) / 4.0 - 5.25 * 5.25;
        assert!((moments.mean_length(variance.sqrt()) - 5.25).abs() < 1e-12);
    }

    #[test]
    fn profiles_together_and_one_by_one_give_the_same_moments() {
        let mut random = SplitMix64::new(7);
        for count in [0, 1, 255, 256, 700] {
            let profiles: Vec<i16> = (0..count * 9)
                .map(|_| random.between(-254.0, 255.0) as i16)
                .collect();
            let [mut one_by_one, mut together] = [Moments::new(9), Moments::new(9)];
            profiles.chunks(9).for_each(|p| one_by_one.add(p));
            together.add_all(profiles.chunks(9));
            assert_eq!(one_by_one.count, together.count);
            assert_eq!(one_by_one.sum, together.sum);
            for i in 0..9 {
                let lower = i * 9..i * 9 + i + 1;
                assert_eq!(one_by_one.products[lower.clone()], together.products[lower]);
            }
        }
    }

    #[test]
    fn moments_that_were_kept_give_the_same_discriminant() {
        let mut random = SplitMix64::new(5);
        let mut sides = [Moments::new(24), Moments::new(24)];
        for patch in 0..600 {
            let spread = if patch % 3 == 0 { 30.0 } else { 12.0 };
            let mut profile: Vec<i16> = (0..24)
                .map(|_| random.between(-spread, spread) as i16)
                .collect();
            profile.sort_unstable();
            sides[usize::from(patch % 3 == 0)].add(&profile);
        }
        let before = shrinkage_lda(&sides[0], &sides[1], 1.0).unwrap();
        let kept = sides.map(|side| Moments::from_record(&side.record()));
        let after = shrinkage_lda(&kept[0], &kept[1], 1.0).unwrap();
        let scale = before.iter().fold(0.0f64, |m, w| m.max(w.abs()));
        for (a, b) in before.iter().zip(&after) {
            assert!((a - b).abs() < 1e-3 * scale, "{a} {b}");
        }
    }
}
