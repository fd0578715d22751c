//! The threshold of a bank, set again on images from the line.

use serde::Serialize;

use crate::bank_file::{BankFile, Calibration, HostSection};
use crate::bank_records::{CalibrationFrames, Records};
use crate::error::{Error, Result};
use crate::fit::{median, score_units, threshold};
use crate::score::{ScoreScale, scale};

/// What a threshold brings on the images at hand.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OperatingPoint {
    /// Threshold in the bank's integer units.
    pub raw_threshold: i32,
    /// The same on the scale of the bank's former image scores, where 0.5 was its threshold.
    pub former_score: f64,
    /// Share of the good images that reach it.
    pub false_positive_rate: f64,
    /// Share of the defective images that reach it; `None` without any.
    pub true_positive_rate: Option<f64>,
}

/// A bank with a new threshold, and what each threshold would bring.
#[derive(Clone, Debug)]
pub struct Recalibration {
    /// The new bank.
    pub bank: BankFile,
    /// The former threshold on the images at hand.
    pub before: OperatingPoint,
    /// The new one.
    pub after: OperatingPoint,
    /// Every threshold that makes a difference on the images at hand, highest first.
    pub curve: Vec<OperatingPoint>,
    /// Thresholds for some false-positive rates that one may aim at, as `(rate, point)`.
    pub choices: Vec<(f64, OperatingPoint)>,
    /// Whether there are too few good images to see the wanted rate: the threshold then is the bound
    /// of a Student-t prediction.
    pub extrapolated: bool,
}

/// Image score and highest smoothed patch score of one image, the bank's integer units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameScores {
    /// Image score.
    pub score: i32,
    /// Highest value of its smoothed map.
    pub peak: i32,
}

/// False-positive rates that are shown.
const RATES: [f64; 7] = [0.001, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2];

/// Sets the threshold for a false-positive rate of `fpr` on `good` images, none of them a reference;
/// `bad` ones only tell what each threshold finds.
///
/// # Errors
/// [`Error::Data`] for fewer than two good images.
pub fn recalibrate(
    file: &BankFile,
    good: &[FrameScores],
    bad: &[FrameScores],
    fpr: f64,
) -> Result<Recalibration> {
    if good.len() < 2 {
        return Err(Error::Data(format!(
            "{} good images that are no references are too few to set a threshold on; \
             two are needed at least, and 1 / fpr of them to see the rate",
            good.len()
        )));
    }
    let bank = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
    let parts = bank.parts();
    let scores: Vec<i32> = good.iter().map(|f| f.score).collect();
    let as_float = |values: &[i32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<_>>();
    let peaks: Vec<i32> = good.iter().map(|f| f.peak).collect();
    let normal_score = median(&scores).unwrap_or_default();
    let at_rate = |values: &[i32], rate: f64| score_units(threshold(&as_float(values), rate));
    let point = |raw_threshold: i32| operating_point(scale(&bank), raw_threshold, good, bad);

    let mut thresholds: Vec<i32> = good.iter().chain(bad).map(|f| f.score).collect();
    thresholds.sort_unstable_by(|a, b| b.cmp(a));
    thresholds.dedup();
    let new_threshold = at_rate(&scores, fpr).max(normal_score + 1);

    let calibration = Calibration {
        threshold: new_threshold,
        normal_score,
        map_threshold: at_rate(&peaks, fpr),
        fpr,
        scores: scores.clone(),
        is_guess: false,
        synthetic: file.host().calibration.synthetic,
    };
    let mut records: Records = file.records().clone();
    records.calibration = Some(CalibrationFrames {
        peaks,
        from_line: true,
        ..records.calibration.unwrap_or_default()
    });
    let mut changed = parts.clone();
    changed.threshold = calibration.threshold;
    changed.normal_score = calibration.normal_score;
    changed.map_threshold = calibration.map_threshold;
    let host = HostSection {
        calibration,
        ..file.host().clone()
    };
    Ok(Recalibration {
        bank: BankFile::rebuilt(&changed, &host, &records)?,
        before: point(parts.threshold),
        after: point(new_threshold),
        curve: thresholds.into_iter().map(point).collect(),
        choices: RATES
            .into_iter()
            .map(|rate| (rate, point(at_rate(&scores, rate).max(normal_score + 1))))
            .collect(),
        extrapolated: (good.len() as f64) * fpr < 1.0,
    })
}

fn operating_point(
    scale: ScoreScale,
    raw_threshold: i32,
    good: &[FrameScores],
    bad: &[FrameScores],
) -> OperatingPoint {
    let reached = |frames: &[FrameScores]| {
        let count = frames.iter().filter(|f| f.score >= raw_threshold).count();
        count as f64 / frames.len() as f64
    };
    OperatingPoint {
        raw_threshold,
        former_score: scale.unit(raw_threshold),
        false_positive_rate: reached(good),
        true_positive_rate: (!bad.is_empty()).then(|| reached(bad)),
    }
}
