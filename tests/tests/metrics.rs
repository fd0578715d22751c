//! Metrics equal scikit-learn's and an independent AUPRO (`tests/oracle/metrics.py`).

use ndarray::Array2;
use serde::Deserialize;
use vod_host::eval::metrics::{
    PixelCollector, auroc, average_precision, f1_max, precision_recall_curve, roc_curve,
};
use vod_tests::fixture;

#[derive(Deserialize)]
struct Case {
    name: String,
    image_scores: Vec<f32>,
    image_labels: Vec<u8>,
    maps: Vec<Map>,
    masks: Vec<Mask>,
    expected: Expected,
}

#[derive(Deserialize)]
struct Map {
    height: usize,
    width: usize,
    scores: Vec<f32>,
}

#[derive(Deserialize)]
struct Mask {
    height: usize,
    width: usize,
    data: Vec<u8>,
}

#[derive(Deserialize)]
struct Expected {
    image_auroc: Option<f64>,
    image_ap: Option<f64>,
    image_f1_max: Option<f64>,
    pixel_auroc: Option<f64>,
    pixel_ap: Option<f64>,
    pixel_aupro: Option<f64>,
}

fn check(case: &str, figure: &str, found: Option<f64>, expected: Option<f64>) {
    let close = match (found, expected) {
        (None, None) => true,
        (Some(a), Some(b)) => (a - b).abs() < 1e-9,
        _ => false,
    };
    assert!(
        close,
        "{case}: {figure} is {found:?}, expected {expected:?}"
    );
}

#[test]
fn figures_equal_the_oracle() {
    let mut cases = 0;
    for entry in std::fs::read_dir(fixture("metrics")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let case: Case = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let labels: Vec<bool> = case.image_labels.iter().map(|l| *l == 1).collect();
        let scores = &case.image_scores;
        let expected = &case.expected;
        check(
            &case.name,
            "image AUROC",
            auroc(scores, &labels),
            expected.image_auroc,
        );
        check(
            &case.name,
            "image AP",
            average_precision(scores, &labels),
            expected.image_ap,
        );
        check(
            &case.name,
            "image F1",
            f1_max(scores, &labels),
            expected.image_f1_max,
        );
        check_curves(&case);
        let mut pixels = PixelCollector::default();
        for (map, mask) in case.maps.iter().zip(&case.masks) {
            let map = Array2::from_shape_vec((map.height, map.width), map.scores.clone()).unwrap();
            let data = mask.data.iter().map(|m| *m == 1).collect();
            let mask = Array2::from_shape_vec((mask.height, mask.width), data).unwrap();
            pixels.add(map.view(), mask.view());
        }
        let figures = pixels.figures();
        check(
            &case.name,
            "pixel AUROC",
            figures.auroc,
            expected.pixel_auroc,
        );
        check(&case.name, "pixel AP", figures.ap, expected.pixel_ap);
        check(&case.name, "AUPRO", figures.aupro, expected.pixel_aupro);
        cases += 1;
    }
    assert!(cases >= 10, "only {cases} cases found");
}

/// The curves that a report draws enclose the figures that it prints.
fn check_curves(case: &Case) {
    let labels: Vec<bool> = case.image_labels.iter().map(|l| *l == 1).collect();
    let roc = roc_curve(&case.image_scores, &labels);
    let area = roc
        .windows(2)
        .map(|pair| (pair[1].0 - pair[0].0) * (pair[1].1 + pair[0].1) / 2.0)
        .sum();
    let enclosed = (!roc.is_empty()).then_some(area);
    check(&case.name, "ROC", enclosed, case.expected.image_auroc);
    let curve = precision_recall_curve(&case.image_scores, &labels);
    let mut recall = 0.0;
    let mut sum = 0.0;
    for &(next, precision) in &curve {
        sum += (next - recall) * precision;
        recall = next;
    }
    let enclosed = (!curve.is_empty()).then_some(sum);
    check(&case.name, "PR", enclosed, case.expected.image_ap);
}
