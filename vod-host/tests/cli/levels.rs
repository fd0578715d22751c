//! Banks that look at frames at two sizes.

use std::path::Path;

use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::score::{ImageScorer, score_frame};

use crate::*;

const TWO: [&str; 2] = ["--levels", "2"];

#[test]
fn the_image_score_is_the_mean_of_both_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let file = BankFile::read(Path::new(&fitted(folder.path(), 2, "128", &TWO))).unwrap();
    let backbone = backbone::open("edge").unwrap();
    let scorer = ImageScorer::new(&file, &*backbone).unwrap();
    let bank = file.bank().unwrap();
    let image = sample("test/defective/000.png");
    let (pyramid, _) = scorer.load(Path::new(&image)).unwrap();
    let coarse = pyramid.coarse.unwrap();
    assert_eq!(pyramid.fine.dim(), (16, 16, 232));
    assert_eq!(coarse.dim(), (8, 8, 232));
    let score = |features| {
        let (height, width, _) = vod_host::features::FeatureGrid::dim(features);
        let queries = file.host().transform.quantise(features);
        score_frame(&bank, height, width, &queries).unwrap().0.score
    };
    let (fine, coarse) = (score(&pyramid.fine), score(&coarse));
    assert_ne!(fine, coarse);
    let verdict = scorer.score(Path::new(&image)).unwrap();
    assert_eq!(verdict.raw_score, (fine + coarse + 1).div_euclid(2));
    assert_eq!(verdict.map.dim(), (16, 16));
}

#[test]
fn daily_work_goes_on_with_both_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &TWO);
    assert_eq!(json(&vod(&["inspect", &bank, "--json", "-"]))["levels"], 2);
    // References are told apart from other images, by their rows of the input size.
    let calibrated = path(folder.path(), "calibrated.vod");
    let output = vod_with(
        "calibrate {} --good {} --out {} --json -",
        &[&bank, &sample("train/good"), &calibrated],
    );
    assert_eq!(text(&output.stderr).matches("left out").count(), 4);
    assert_eq!(json(&output)["good_images"], 4);
    let new = path(folder.path(), "new.vod");
    let added = folder.path().join("added");
    std::fs::create_dir(&added).unwrap();
    copy(sample("test/good/000.png"), added.join("000.png"));
    let added = added.display().to_string();
    let line = "update {} --good {} --out {} --json -";
    let summary = json(&vod_with(line, &[&calibrated, &added, &new]));
    assert!(summary["good"][0]["rows"].as_u64().unwrap() > 0);
    let again = vod_with(line, &[&new, &added, &path(folder.path(), "third.vod")]);
    assert!(text(&again.stderr).contains("is the bank's reference"));
    // Its rows are of the upright image and its mirrored copies, at both sizes.
    let file = BankFile::read(Path::new(&new)).unwrap();
    let origins = file.records().origins.clone().unwrap().rows;
    let of_new = origins.iter().filter(|row| row.reference == 4);
    let mut views: Vec<String> = of_new.map(|row| format!("{:?}", row.view)).collect();
    views.sort();
    views.dedup();
    assert!(
        views.contains(&"HalfSize".to_string()) && views.len() > 2,
        "{views:?}"
    );
    let scored = done(&["score", "--bank", &new, &sample("test"), "--format", "csv"]);
    assert_eq!(scored.lines().count(), 17);
}

#[test]
fn firmware_gets_no_bank_of_two_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", &TWO);
    let output = vod_with(
        "export {} --format bin --out {}",
        &[&bank, &path(folder.path(), "bank.bin")],
    );
    check_error(&output, 1, "fit it with `--levels 1`");
}
