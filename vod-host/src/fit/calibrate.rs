//! A threshold at a wanted false-positive rate from left-out normal scores (method, step 9).

/// How much the logarithm of normal frames' scores varies on a part: what is believed before any score
/// is seen, as a scaled inverse chi-squared distribution of the variance.
///
/// Scores are proportional to the residuals (a discriminant without a constant is), so that ratios
/// are comparable between parts.
struct Prior {
    /// Standard deviation, of natural logarithms.
    spread: f64,
    /// Scores that the belief is worth.
    weight: f64,
}

/// The spread is about what reference images of six data sets show (`docs/results.md`); what it is worth
/// is a choice: as much as the scores of four references.
const OTHER_PARTS: Prior = Prior {
    spread: 0.12,
    weight: 4.0,
};

/// How the logarithm of another part's score lies to that of a single reference's copies, on reference
/// images (`docs/results.md`): mean, standard deviation over parts and images together, and, chosen,
/// degrees of freedom for how little is known of both.
const ABOVE_COPIES: f64 = 0.35;
const ABOVE_COPIES_SPREAD: f64 = 0.20;
const ABOVE_COPIES_FREEDOM: f64 = 10.0;

/// Threshold that a share `fpr` of normal frames is expected to reach, from image scores of
/// left-out normal frames.
///
/// With at least `1 / fpr` scores the empirical quantile. With fewer the bound of a Student-t prediction
/// for the logarithm of the next score, the variance being estimated from the scores and from what
/// other parts vary (conjugate normal model, Gelman et al., Bayesian Data Analysis, 3.3). Where scores
/// are not above 0, the same for the scores themselves without knowledge of other parts.
pub fn threshold(scores: &[f64], fpr: f64) -> f64 {
    let count = scores.len();
    if count as f64 * fpr >= 1.0 {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let place = (1.0 - fpr) * (count as f64 + 1.0) - 1.0;
        let low = (place.floor() as usize).min(count - 1);
        let high = (low + 1).min(count - 1);
        return sorted[low] + (place - low as f64).clamp(0.0, 1.0) * (sorted[high] - sorted[low]);
    }
    match logarithms(scores) {
        Some(logarithms) => prediction_bound(&logarithms, &OTHER_PARTS, fpr).exp(),
        None if count < 2 => {
            let only = scores.first().copied().unwrap_or_default();
            only + only.abs().max(1.0)
        }
        None => {
            let unknown = Prior {
                spread: 0.0,
                weight: 0.0,
            };
            prediction_bound(scores, &unknown, fpr)
        }
    }
}

/// The same from scores of lightly changed copies of the only reference: a guess, that goes by how
/// far above them other parts are elsewhere.
pub fn threshold_of_copies(scores: &[f64], fpr: f64) -> f64 {
    let mean = scores.iter().sum::<f64>() / scores.len().max(1) as f64;
    if mean <= 0.0 {
        return threshold(&[mean], fpr);
    }
    let bound = student_t_quantile(1.0 - fpr, ABOVE_COPIES_FREEDOM) * ABOVE_COPIES_SPREAD;
    mean * (ABOVE_COPIES + bound).exp()
}

/// `None` without any, or where one is not above 0.
fn logarithms(scores: &[f64]) -> Option<Vec<f64>> {
    let positive = !scores.is_empty() && scores.iter().all(|score| *score > 0.0);
    positive.then(|| scores.iter().map(|score| score.ln()).collect())
}

/// What the next value reaches with a probability of `fpr`.
fn prediction_bound(values: &[f64], prior: &Prior, fpr: f64) -> f64 {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let freedom = prior.weight + n - 1.0;
    let variance = (prior.weight * prior.spread.powi(2) + squares) / freedom;
    mean + student_t_quantile(1.0 - fpr, freedom) * (variance * (1.0 + 1.0 / n)).sqrt()
}

/// Quantile of Student's t distribution with `freedom` degrees of freedom.
///
/// With `t = sqrt(freedom) tan(a)` the density is proportional to `cos(a)^(freedom - 1)`, whose
/// integral is summed by the midpoint rule.
pub fn student_t_quantile(probability: f64, freedom: f64) -> f64 {
    const STEPS: usize = 200_000;
    let width = std::f64::consts::PI / STEPS as f64;
    let angle = |i: usize| (i as f64 + 0.5) * width - std::f64::consts::FRAC_PI_2;
    let density = |i: usize| angle(i).cos().powf(freedom - 1.0);
    let total: f64 = (0..STEPS).map(density).sum();
    let mut sum = 0.0;
    for i in 0..STEPS {
        let next = sum + density(i);
        if next >= probability * total {
            let part = (probability * total - sum) / (next - sum);
            return freedom.sqrt() * (angle(i) + (part - 0.5) * width).tan();
        }
        sum = next;
    }
    f64::INFINITY
}

/// The middle of a sample, the upper one of two; `None` for no values.
pub(crate) fn median(values: &[i32]) -> Option<i32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::{student_t_quantile, threshold, threshold_of_copies};

    #[test]
    fn student_t_quantiles_equal_the_tables() {
        for (probability, freedom, expected) in [
            (0.99, 3.0, 4.5407),
            (0.95, 1.0, 6.3138),
            (0.975, 10.0, 2.2281),
            (0.5, 5.0, 0.0),
        ] {
            let found = student_t_quantile(probability, freedom);
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }

    #[test]
    fn many_scores_give_the_empirical_quantile() {
        let scores: Vec<f64> = (1..=999).map(f64::from).collect();
        assert!((threshold(&scores, 0.01) - 990.0).abs() < 1e-9);
    }

    #[test]
    fn few_scores_are_believed_to_vary_as_on_other_parts() {
        // t(0.99, 7) = 2.9980, spread 0.12 worth four scores, four scores without any.
        let expected = 10.0 * (2.9980 * (4.0 * 0.12f64.powi(2) / 7.0 * 1.25).sqrt()).exp();
        let found = threshold(&[10.0; 4], 0.01);
        assert!((found - expected).abs() < 1e-2, "{found} {expected}");
        assert!(threshold(&[10.0, 10.0], 0.01) > found);
        assert!(threshold(&[7.0, 10.0, 13.0, 10.0], 0.01) > found);
        assert!(threshold(&[3.0], 0.01) > 3.0);
    }

    #[test]
    fn thresholds_have_the_unit_of_the_scores() {
        let scores = [1.0, 1.2, 0.9, 1.1];
        let thousand = scores.map(|score| 1000.0 * score);
        for rule in [threshold, threshold_of_copies] {
            let (small, large) = (rule(&scores, 0.01), rule(&thousand, 0.01));
            assert!((large / small - 1000.0).abs() < 1e-6, "{small} {large}");
        }
    }

    #[test]
    fn copies_of_one_image_count_as_one_score() {
        let once = threshold_of_copies(&[5.0], 0.01);
        let found = threshold_of_copies(&[4.0, 5.0, 6.0, 5.0], 0.01);
        assert!((found - once).abs() < 1e-9);
        assert!(found > threshold(&[4.0, 5.0, 6.0, 5.0], 0.01));
    }

    #[test]
    fn scores_that_are_not_above_zero_are_bounded_by_themselves_alone() {
        // t(0.99, 3) = 4.5407.
        let expected = 4.5407 * (2.0f64 / 3.0 * 1.25).sqrt();
        let found = threshold(&[-1.0, 1.0, 0.0, 0.0], 0.01);
        assert!((found - expected).abs() < 1e-3, "{found} {expected}");
    }
}
