//! Whether the line's normal is still the bank's normal.

use serde::Serialize;

use crate::error::{Error, Result};

/// Samples of at most this many values in all, without ties, get the exact distribution of U.
const EXACT_VALUES: usize = 60;
/// A difference that is certain, but smaller than this, is none that matters: the share of pairs
/// that the line's image wins, beside one half.
const LEAST_EFFECT: f64 = 0.1;

/// Image scores of both sides, in the bank's integer units.
#[derive(Clone, Copy, Debug)]
pub struct Samples<'s> {
    /// What the bank was calibrated on.
    pub bank: &'s [i32],
    /// Whether these were images from the line, scored as any other, and not left-out references,
    /// which score a little higher since their own rows were missing.
    pub bank_from_line: bool,
    /// Images from the line.
    pub line: &'s [i32],
}

/// Which way the scores have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shift {
    /// The line's scores are higher.
    Higher,
    /// They are lower.
    Lower,
    /// No difference that is both certain and large enough to matter.
    None,
}

/// The line's scores against those that the bank was calibrated on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Drift {
    /// The answer: the line's normal is no longer the bank's.
    pub drifted: bool,
    /// Why, in words.
    pub reason: String,
    /// Calibration scores.
    pub bank_images: usize,
    /// Images from the line.
    pub line_images: usize,
    /// Probability that an image from the line scores higher than one of the calibration, ties
    /// counted half: 0.5 where nothing has changed.
    pub higher_share: f64,
    /// Two-sided p value of the Mann-Whitney test.
    pub p_value: f64,
    /// Which way the scores have moved.
    pub shift: Shift,
    /// Images from the line that reach the threshold.
    pub above_threshold: usize,
    /// Share of images that the threshold was set for.
    pub expected_share: f64,
    /// Probability of that many or more above the threshold, were the share as expected (binomial).
    pub above_p_value: f64,
    /// Level of both tests together.
    pub alpha: f64,
}

/// Compares the two samples; `threshold` and `fpr` are the bank's, `alpha` is the probability of a
/// false alarm of the two tests together (each gets half, after Bonferroni).
///
/// # Errors
/// [`Error::Data`] where either side has fewer than two scores.
pub fn drift(samples: Samples, threshold: i32, fpr: f64, alpha: f64) -> Result<Drift> {
    if samples.bank.len() < 2 {
        return Err(Error::Data(
            "the bank's calibration holds fewer than two left-out images, there is nothing to compare \
             with; run `vod calibrate` with good images from the line first"
                .into(),
        ));
    }
    if samples.line.len() < 2 {
        return Err(Error::Data(format!(
            "{} images from the line are too few to compare",
            samples.line.len()
        )));
    }
    let (higher_share, p_value) = mann_whitney(samples.line, samples.bank);
    let above = samples.line.iter().filter(|&&s| s >= threshold).count();
    let above_p_value = binomial_tail(samples.line.len(), above, fpr);
    let level = alpha / 2.0;
    let certain = p_value < level;
    let shift = if certain && higher_share >= 0.5 + LEAST_EFFECT {
        Shift::Higher
    } else if certain && higher_share <= 0.5 - LEAST_EFFECT {
        Shift::Lower
    } else {
        Shift::None
    };
    let alarms = above_p_value < level;
    // Left-out references score higher than images that all references are compared with.
    let lower = shift == Shift::Lower && samples.bank_from_line;
    let drifted = shift == Shift::Higher || lower || alarms;
    let mut reasons = Vec::new();
    match shift {
        Shift::Higher => reasons.push("scores are higher than in the calibration".to_string()),
        Shift::Lower if lower => {
            reasons.push("scores are lower than in the calibration".to_string());
        }
        Shift::Lower => reasons.push(
            "scores are lower than those of left-out references, which is no sign of drift"
                .to_string(),
        ),
        Shift::None => reasons.push("scores are those of the calibration".to_string()),
    }
    if alarms {
        reasons.push(format!(
            "{above} of {} images reach the threshold, {:.1} are expected",
            samples.line.len(),
            fpr * samples.line.len() as f64
        ));
    }
    Ok(Drift {
        drifted,
        reason: reasons.join("; "),
        bank_images: samples.bank.len(),
        line_images: samples.line.len(),
        higher_share,
        p_value,
        shift,
        above_threshold: above,
        expected_share: fpr,
        above_p_value,
        alpha,
    })
}

/// Mann-Whitney U test: the share of pairs in which the value of `a` is higher (ties counted half),
/// and the two-sided p value.
///
/// Exact for small samples without ties, otherwise the normal approximation with corrections for
/// ties and continuity, as SciPy's `mannwhitneyu`.
pub fn mann_whitney(a: &[i32], b: &[i32]) -> (f64, f64) {
    let (m, n) = (a.len(), b.len());
    let mut all: Vec<(i32, bool)> = a.iter().map(|&v| (v, true)).collect();
    all.extend(b.iter().map(|&v| (v, false)));
    all.sort_unstable();
    let (mut rank_sum, mut ties) = (0.0, 0.0);
    let mut start = 0;
    while start < all.len() {
        let same = all[start..]
            .iter()
            .take_while(|v| v.0 == all[start].0)
            .count();
        let of_a = all[start..start + same].iter().filter(|v| v.1).count();
        rank_sum += of_a as f64 * (start as f64 + (same as f64 + 1.0) / 2.0);
        let t = same as f64;
        ties += t * t * t - t;
        start += same;
    }
    let (mf, nf) = (m as f64, n as f64);
    let u = rank_sum - mf * (mf + 1.0) / 2.0;
    let share = u / (mf * nf);
    let extreme = u.max(mf * nf - u);
    let p = if ties == 0.0 && m + n <= EXACT_VALUES {
        2.0 * exact_tail(m, n, extreme as usize)
    } else {
        let total = mf + nf;
        let variance = mf * nf / 12.0 * (total + 1.0 - ties / (total * (total - 1.0)));
        if variance <= 0.0 {
            1.0
        } else {
            let z = (extreme - mf * nf / 2.0 - 0.5) / variance.sqrt();
            2.0 * normal_tail(z)
        }
    };
    (share, p.min(1.0))
}

/// Probability that U of samples of `m` and `n` values is `u` or more.
///
/// The number of ways to reach each U follows `ways(m, n, u) = ways(m - 1, n, u - n) +
/// ways(m, n - 1, u)`, by whether the highest value belongs to the first or to the second sample.
fn exact_tail(m: usize, n: usize, u: usize) -> f64 {
    let most = m * n;
    // Line `j` holds the ways for `i` values of the first sample and `j` of the second, as a
    // probability so that nothing overflows.
    let mut lines = vec![vec![0.0f64; most + 1]; n + 1];
    for line in &mut lines {
        line[0] = 1.0;
    }
    for i in 1..=m {
        let mut next = vec![vec![0.0f64; most + 1]; n + 1];
        next[0][0] = 1.0;
        for j in 1..=n {
            let first = i as f64 / (i + j) as f64;
            for value in 0..=i * j {
                let of_first = if value >= j { lines[j][value - j] } else { 0.0 };
                let of_second = next[j - 1][value];
                next[j][value] = first * of_first + (1.0 - first) * of_second;
            }
        }
        lines = next;
    }
    lines[n].iter().skip(u).sum()
}

/// Probability that a standard normal value is `z` or more: `erfc(z / sqrt 2) / 2`, by its series
/// below 3 and by Laplace's continued fraction above.
fn normal_tail(z: f64) -> f64 {
    let density = (-0.5 * z * z).exp() / (2.0 * std::f64::consts::PI).sqrt();
    if z < 3.0 {
        // Sum of z^(2k+1) / (1 * 3 * ... * (2k+1)).
        let (mut term, mut sum) = (z, z);
        for k in 1..200 {
            term *= z * z / f64::from(2 * k + 1);
            sum += term;
        }
        return (0.5 - density * sum).clamp(0.0, 1.0);
    }
    let mut fraction = z;
    for k in (1..100).rev() {
        fraction = z + f64::from(k) / fraction;
    }
    density / fraction
}

/// Probability of `count` or more of `trials` at a probability of `p` each.
fn binomial_tail(trials: usize, count: usize, p: f64) -> f64 {
    // Logarithms, since p^trials may be too small a number.
    let mut log_term = trials as f64 * (1.0 - p).ln();
    let mut below = 0.0;
    for k in 0..count {
        below += log_term.exp();
        log_term += ((trials - k) as f64 / (k + 1) as f64).ln() + (p / (1.0 - p)).ln();
    }
    if below < 0.5 {
        return (1.0 - below).clamp(0.0, 1.0);
    }
    // The tail itself, where the difference to 1 would lose it.
    let mut tail = 0.0;
    for k in count..=trials {
        tail += log_term.exp();
        log_term += ((trials - k) as f64 / (k + 1) as f64).ln() + (p / (1.0 - p)).ln();
    }
    tail.clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::{Samples, Shift, binomial_tail, drift, mann_whitney, normal_tail};

    /// Figures of SciPy 1.x: `mannwhitneyu`, `norm.sf`, `binom.sf`.
    #[test]
    fn tests_equal_scipys() {
        let check = |found: f64, expected: f64| {
            assert!(
                (found - expected).abs() < 1e-9 + 1e-6 * expected,
                "{found} {expected}"
            );
        };
        check(
            mann_whitney(&[3, 7, 9, 12, 20], &[1, 2, 4, 5, 6, 8, 10]).1,
            0.148989898989899,
        );
        let high: Vec<i32> = (1..=10).collect();
        let (share, p) = mann_whitney(&[30, 31, 32, 33], &high);
        check(p, 0.001998001998001998);
        check(share, 1.0);
        check(
            mann_whitney(&[5, 5, 6, 7, 9, 9], &[1, 2, 5, 5, 6, 3, 2]).1,
            0.019930297799056414,
        );
        let a: Vec<i32> = (0..60).map(|i| (i * 37) % 101 + 8).collect();
        let b: Vec<i32> = (0..70).map(|i| (i * 53) % 97).collect();
        let (share, p) = mann_whitney(&a, &b);
        check(p, 0.037895151896373686);
        check(share, 0.6059523809523809);
        check(mann_whitney(&[4, 4, 4], &[4, 4]).1, 1.0);
        check(normal_tail(0.5), 0.308537539);
        check(normal_tail(2.9), 0.00186581330);
        check(normal_tail(3.1), 0.000967603213);
        check(binomial_tail(100, 5, 0.01), 0.0034323215877545207);
        check(binomial_tail(10, 1, 0.01), 0.09561792499119552);
        check(binomial_tail(10, 0, 0.01), 1.0);
        let rare = binomial_tail(1000, 30, 0.01);
        assert!((rare / 2.059988850971949e-7 - 1.0).abs() < 1e-6, "{rare}");
    }

    #[test]
    fn the_answer_follows_what_moved() {
        let bank: Vec<i32> = (0..40).map(|i| 100 + (i * 17) % 41).collect();
        let line =
            |offset: i32| -> Vec<i32> { (0..50).map(|i| 100 + offset + (i * 23) % 41).collect() };
        let test = |line: &[i32], bank_from_line| {
            let samples = Samples {
                bank: &bank,
                bank_from_line,
                line,
            };
            drift(samples, 200, 0.01, 0.01).unwrap()
        };
        let same = test(&line(0), true);
        assert!(!same.drifted && same.shift == Shift::None, "{same:?}");
        let higher = test(&line(30), false);
        assert!(
            higher.drifted && higher.shift == Shift::Higher,
            "{higher:?}"
        );
        assert!(test(&line(-30), true).drifted);
        assert!(
            !test(&line(-30), false).drifted,
            "left-out references score higher"
        );
        let mut outliers = line(0);
        outliers[..5].fill(900);
        let outliers = test(&outliers, true);
        assert!(
            outliers.drifted && outliers.above_threshold == 5,
            "{outliers:?}"
        );
    }

    #[test]
    fn too_little_to_compare_is_said() {
        let samples = Samples {
            bank: &[1],
            bank_from_line: false,
            line: &[1, 2],
        };
        let error = drift(samples, 5, 0.01, 0.01).unwrap_err().to_string();
        assert!(error.contains("vod calibrate"), "{error}");
    }
}
