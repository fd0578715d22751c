//! What a target's own normal residuals say about its scale.

use serde::{Deserialize, Serialize};

use crate::fit::{Probe, Profiles, is_abnormal};

/// From the median absolute deviation to a standard deviation, for a normal distribution.
const MAD_TO_DEVIATION: f64 = 1.4826;
/// Residual values lie in `-LIMIT..=LIMIT`.
const LIMIT: i16 = 255;

/// What the sorted values are divided by before the generalist weighs them, so that those of two
/// targets can be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// Nothing: values in the units of the normalised patch features.
    Feature,
    /// The median length of the target's normal residuals.
    Length,
    /// The spread of each value over the target's normal residuals, one divisor a rank.
    Rank,
}

/// Robust statistics of a target's normal residuals, left-out references against the others; with
/// one reference of its shifted and re-lit copies. int8 units.
#[derive(Clone, Debug, PartialEq)]
pub struct NormalStatistics {
    /// int8 units for a feature value of 1.
    feature: f64,
    /// Median length of the residuals.
    length: f64,
    /// Median absolute deviation of each value, as a standard deviation.
    deviations: Vec<f64>,
}

impl NormalStatistics {
    /// Statistics of the normal patches of probes; `scale` is that of the transform to int8.
    pub(crate) fn of(probes: &[Probe], profiles: &[Profiles], scale: f32) -> Self {
        let normal: Vec<(&[i16], f64)> = probes
            .iter()
            .zip(profiles)
            .flat_map(|(probe, profiles)| {
                let dimension = profiles.values.len() / profiles.lengths.len().max(1);
                let patches = profiles.values.chunks_exact(dimension.max(1));
                let patches = patches.zip(profiles.lengths.iter().copied()).enumerate();
                patches.filter_map(|(patch, found)| {
                    (is_abnormal(probe.shares.get(patch)) == Some(false)).then_some(found)
                })
            })
            .collect();
        let mut lengths: Vec<f64> = normal.iter().map(|(_, length)| *length).collect();
        lengths.sort_by(f64::total_cmp);
        let dimension = normal.first().map_or(0, |(profile, _)| profile.len());
        let deviations = (0..dimension)
            .map(|rank| {
                let values = || normal.iter().map(|(profile, _)| profile[rank]);
                let middle = median(values());
                let deviation = median(values().map(|v| (v - middle).abs()));
                // Half an int8 step: what rounding alone spreads.
                f64::from(deviation).max(0.5) * MAD_TO_DEVIATION
            })
            .collect();
        Self {
            feature: f64::from(scale),
            length: lengths
                .get(lengths.len() / 2)
                .copied()
                .unwrap_or(1.0)
                .max(1.0),
            deviations,
        }
    }

    /// What each value is divided by, `[D]`.
    pub(crate) fn units(&self, scale: Scale) -> Vec<f64> {
        match scale {
            Scale::Feature => vec![self.feature; self.deviations.len()],
            Scale::Length => vec![self.length; self.deviations.len()],
            Scale::Rank => self.deviations.clone(),
        }
    }
}

/// Median of integers that are at most twice [`LIMIT`], by counting.
fn median(values: impl Iterator<Item = i16>) -> i16 {
    const REACH: i16 = 2 * LIMIT;
    let mut counts = [0usize; 2 * REACH as usize + 1];
    let mut total = 0;
    for value in values {
        counts[usize::from((value.clamp(-REACH, REACH) + REACH).unsigned_abs())] += 1;
        total += 1;
    }
    let mut seen = 0;
    for (bin, count) in (-REACH..).zip(counts) {
        seen += count;
        if 2 * seen > total {
            return bin;
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn medians_of_integers() {
        assert_eq!(median([3, -7, 255].into_iter()), 3);
        assert_eq!(median([-255, -255, 510, 510, 510].into_iter()), 510);
        assert_eq!(median(std::iter::empty()), 0);
    }
}
