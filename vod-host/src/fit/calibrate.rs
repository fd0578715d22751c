//! A threshold at a wanted false-positive rate from left-out normal scores (method, step 9).

/// Threshold that a share `fpr` of normal frames is expected to reach, from image scores of
/// left-out normal frames.
///
/// With at least `1 / fpr` scores the empirical quantile; with fewer the Student-t prediction
/// interval (mean and deviation are estimated from these few, and the interval knows it); with one
/// score twice its distance from 0, which is a guess.
pub fn threshold(scores: &[f64], fpr: f64) -> f64 {
    let count = scores.len();
    let mean = scores.iter().sum::<f64>() / count.max(1) as f64;
    if count < 2 {
        return mean + mean.abs().max(1.0);
    }
    if count as f64 * fpr >= 1.0 {
        let mut sorted = scores.to_vec();
        sorted.sort_by(f64::total_cmp);
        let place = (1.0 - fpr) * (count as f64 + 1.0) - 1.0;
        let low = (place.floor() as usize).min(count - 1);
        let high = (low + 1).min(count - 1);
        return sorted[low] + (place - low as f64).clamp(0.0, 1.0) * (sorted[high] - sorted[low]);
    }
    let n = count as f64;
    let variance = scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (n - 1.0);
    mean + student_t_quantile(1.0 - fpr, n - 1.0) * (variance * (1.0 + 1.0 / n)).sqrt()
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

#[cfg(test)]
mod tests {
    use super::{student_t_quantile, threshold};

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
    fn few_scores_put_the_threshold_above_them_all() {
        assert!(threshold(&[1.0, 1.2, 0.9, 1.1], 0.01) > 1.5);
        assert!(threshold(&[3.0], 0.01) > 3.0);
    }
}
