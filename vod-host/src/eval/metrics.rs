//! Detection metrics as the field defines them (`docs/metrics.md`).
//!
//! Scores are the higher the more anomalous; labels are true for anomalous. A figure that the data
//! can't give is `None`, never 0.

use rayon::prelude::*;

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
