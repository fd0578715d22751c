//! Detection metrics as the field defines them (`docs/metrics.md`).
//!
//! Scores are the higher the more anomalous; labels are true for anomalous. A figure that the data
//! can't give is `None`, never 0.

use ndarray::{Array2, ArrayView2, Axis};
use rayon::prelude::*;

use crate::features::resize_bilinear;

/// Numbers of samples in descending order of score.
fn descending(scores: &[f32]) -> Vec<u32> {
    let mut order: Vec<u32> = (0..scores.len() as u32).collect();
    order.par_sort_unstable_by(|&a, &b| {
        scores[b as usize]
            .total_cmp(&scores[a as usize])
            .then(a.cmp(&b))
    });
    order
}

/// Cumulated (true positives, false positives) after each distinct score, highest first.
fn operating_points(scores: &[f32], labels: &[bool]) -> Vec<(u64, u64)> {
    let order = descending(scores);
    let mut points = Vec::new();
    let (mut hits, mut alarms) = (0, 0);
    for (place, &index) in order.iter().enumerate() {
        if labels[index as usize] {
            hits += 1;
        } else {
            alarms += 1;
        }
        let next = order.get(place + 1).map(|&i| scores[i as usize]);
        if next != Some(scores[index as usize]) {
            points.push((hits, alarms));
        }
    }
    points
}

/// Both classes must be there for any of these figures.
fn totals(labels: &[bool]) -> Option<(u64, u64)> {
    let positives = labels.iter().filter(|l| **l).count() as u64;
    let negatives = labels.len() as u64 - positives;
    (positives > 0 && negatives > 0).then_some((positives, negatives))
}

/// Area under the ROC curve, ties counted half (trapezoids), as scikit-learn's `roc_auc_score`.
pub fn auroc(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let (positives, negatives) = totals(labels)?;
    let mut area = 0.0;
    let mut last = (0, 0);
    for (hits, alarms) in operating_points(scores, labels) {
        area += (alarms - last.1) as f64 * (hits + last.0) as f64 / 2.0;
        last = (hits, alarms);
    }
    Some(area / positives as f64 / negatives as f64)
}

/// Average precision `sum_n (R_n - R_(n-1)) P_n`, as scikit-learn's `average_precision_score`.
pub fn average_precision(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let (positives, _) = totals(labels)?;
    let mut sum = 0.0;
    let mut last = 0;
    for (hits, alarms) in operating_points(scores, labels) {
        sum += (hits - last) as f64 * hits as f64 / (hits + alarms) as f64;
        last = hits;
    }
    Some(sum / positives as f64)
}

/// Highest F1 over all thresholds.
pub fn f1_max(scores: &[f32], labels: &[bool]) -> Option<f64> {
    let (positives, _) = totals(labels)?;
    operating_points(scores, labels)
        .into_iter()
        .map(|(hits, alarms)| 2.0 * hits as f64 / (positives + hits + alarms) as f64)
        .max_by(f64::total_cmp)
}

/// Points (false-positive rate, true-positive rate) of the ROC curve from (0, 0) to (1, 1); empty
/// with one class only.
pub fn roc_curve(scores: &[f32], labels: &[bool]) -> Vec<(f64, f64)> {
    let Some((positives, negatives)) = totals(labels) else {
        return Vec::new();
    };
    let points = operating_points(scores, labels).into_iter();
    let rates = points.map(|(hits, alarms)| {
        (
            alarms as f64 / negatives as f64,
            hits as f64 / positives as f64,
        )
    });
    std::iter::once((0.0, 0.0)).chain(rates).collect()
}

/// Points (recall, precision) of the precision-recall curve, recall ascending; empty with one class
/// only.
pub fn precision_recall_curve(scores: &[f32], labels: &[bool]) -> Vec<(f64, f64)> {
    let Some((positives, _)) = totals(labels) else {
        return Vec::new();
    };
    operating_points(scores, labels)
        .into_iter()
        .map(|(hits, alarms)| {
            (
                hits as f64 / positives as f64,
                hits as f64 / (hits + alarms) as f64,
            )
        })
        .collect()
}

/// Integration limit of AUPRO, as MVTec's evaluation.
pub const PRO_LIMIT: f64 = 0.3;

/// Pixel figures of a set of test images.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct PixelFigures {
    /// AUROC over all pixels.
    pub auroc: Option<f64>,
    /// Average precision over all pixels.
    pub ap: Option<f64>,
    /// Per-region overlap against FPR, integrated to [`PRO_LIMIT`], normalised.
    pub aupro: Option<f64>,
}

/// Collects pixels of anomaly maps and masks.
#[derive(Debug, Default)]
pub struct PixelCollector {
    /// Score and region of each pixel; region 0 is normal.
    pixels: Vec<(f32, u32)>,
    /// Pixels of each region, from region 1 on.
    areas: Vec<u64>,
}

impl PixelCollector {
    /// Adds an image: its `map` of any size, and its mask `[height, width]` (true = defect). The
    /// map is resized bilinearly to the mask's size; regions are 8-connected.
    pub fn add(&mut self, map: ArrayView2<f32>, mask: ArrayView2<bool>) {
        let (height, width) = mask.dim();
        let resized = resize_bilinear(map.insert_axis(Axis(2)), height, width);
        let (labels, areas) = components(mask);
        let first = self.areas.len() as u32;
        let regions = labels
            .iter()
            .map(|&label| if label == 0 { 0 } else { first + label });
        self.pixels.extend(resized.iter().copied().zip(regions));
        self.areas.extend(areas);
    }

    /// The figures over all pixels; exact, every distinct score is a threshold.
    pub fn figures(mut self) -> PixelFigures {
        let defective: u64 = self.areas.iter().sum();
        let normal = self.pixels.len() as u64 - defective;
        if defective == 0 || normal == 0 {
            return PixelFigures::default();
        }
        self.pixels
            .par_sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let weights: Vec<f64> = self
            .areas
            .iter()
            .map(|area| 1.0 / (*area as f64 * self.areas.len() as f64))
            .collect();
        let (mut roc_area, mut precision_sum, mut pro_area) = (0.0, 0.0, 0.0);
        let (mut hits, mut alarms, mut overlap) = (0u64, 0u64, 0.0f64);
        let mut last = (0u64, 0u64, 0.0f64);
        for (place, &(score, region)) in self.pixels.iter().enumerate() {
            match weights.get((region as usize).wrapping_sub(1)) {
                Some(weight) => {
                    hits += 1;
                    overlap += weight;
                }
                None => alarms += 1,
            }
            if self
                .pixels
                .get(place + 1)
                .is_some_and(|next| next.0 == score)
            {
                continue;
            }
            roc_area += (alarms - last.1) as f64 * (hits + last.0) as f64 / 2.0;
            precision_sum += (hits - last.0) as f64 * hits as f64 / (hits + alarms) as f64;
            let from = last.1 as f64 / normal as f64;
            let to = alarms as f64 / normal as f64;
            if from < PRO_LIMIT && to > from {
                let part = ((PRO_LIMIT - from) / (to - from)).min(1.0);
                let end = last.2 + (overlap - last.2) * part;
                pro_area += (to - from) * part * (last.2 + end) / 2.0;
            }
            last = (hits, alarms, overlap);
        }
        PixelFigures {
            auroc: Some(roc_area / defective as f64 / normal as f64),
            ap: Some(precision_sum / defective as f64),
            aupro: Some(pro_area / PRO_LIMIT),
        }
    }
}

/// 8-connected components of a mask: labels from 1 (0 = normal), and the pixels of each.
fn components(mask: ArrayView2<bool>) -> (Array2<u32>, Vec<u64>) {
    let (height, width) = mask.dim();
    let mut labels = Array2::zeros((height, width));
    let mut areas = Vec::new();
    let mut stack = Vec::new();
    for ((y, x), &defect) in mask.indexed_iter() {
        if !defect || labels[[y, x]] != 0 {
            continue;
        }
        let label = areas.len() as u32 + 1;
        let mut area = 0;
        labels[[y, x]] = label;
        stack.push((y, x));
        while let Some((y, x)) = stack.pop() {
            area += 1;
            for ny in y.saturating_sub(1)..(y + 2).min(height) {
                for nx in x.saturating_sub(1)..(x + 2).min(width) {
                    if mask[[ny, nx]] && labels[[ny, nx]] == 0 {
                        labels[[ny, nx]] = label;
                        stack.push((ny, nx));
                    }
                }
            }
        }
        areas.push(area);
    }
    (labels, areas)
}
