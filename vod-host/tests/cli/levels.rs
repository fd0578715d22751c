//! Banks that look at frames at several sizes.

use std::path::Path;

use vod_core::{Bank, Levels, Scorer};
use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::features::FeatureGrid;
use vod_host::score::{ImageScorer, score_frame};

use crate::*;

#[test]
fn the_image_score_is_the_mean_of_all_sizes() {
    for (flag, sides) in [("2", &[16, 8][..]), ("3", &[16, 8, 4])] {
        let folder = tempfile::tempdir().unwrap();
        let bank = fitted(
            folder.path(),
            2,
            "128",
            &["--levels", flag, "--background", "0"],
        );
        let file = BankFile::read(Path::new(&bank)).unwrap();
        let backbone = backbone::open("edge").unwrap();
        let scorer = ImageScorer::new(&file, &*backbone).unwrap();
        let bank = file.bank().unwrap();
        let mut parts = bank.parts().clone();
        parts.image_score.levels = Levels::One;
        let one = Bank::from_parts(parts).unwrap();
        let image = sample("test/defective/000.png");
        let (pyramid, _) = scorer.load(Path::new(&image)).unwrap();
        let levels: Vec<_> = std::iter::once(&pyramid.fine)
            .chain(&pyramid.coarser)
            .collect();
        let scores: Vec<i64> = levels
            .iter()
            .map(|features| {
                let (height, width, _) = features.dim();
                let queries = file.host().transform.quantise(features);
                let (frame, _) = score_frame(&one, height, width, &queries).unwrap();
                i64::from(frame.score)
            })
            .collect();
        let found: Vec<usize> = levels.iter().map(|features| features.dim().0).collect();
        assert_eq!(found, sides);
        assert_ne!(scores[0], scores[1]);
        let verdict = scorer.score(Path::new(&image)).unwrap();
        let mean = scores.iter().sum::<i64>() as f64 / scores.len() as f64;
        assert_eq!(f64::from(verdict.raw_score), (mean + 0.5).floor());
        // The map: at a corner there is nothing to interpolate.
        let corner = |features: &FeatureGrid| {
            let queries = file.host().transform.quantise(features);
            let patch = &queries[..bank.dimension()];
            f64::from(Scorer::new(&bank).score_patch(patch).unwrap().score)
        };
        let (height, width, _) = pyramid.fine.dim();
        let queries = file.host().transform.quantise(&pyramid.fine);
        let (_, smoothed) = score_frame(&one, height, width, &queries).unwrap();
        let coarser: f64 = pyramid.coarser.iter().map(corner).sum();
        let mean = (f64::from(smoothed[[0, 0]]) + coarser) / levels.len() as f64;
        assert_eq!(verdict.map.dim(), (16, 16));
        assert_eq!(f64::from(verdict.map[[0, 0]]), (mean + 0.5).floor());
    }
}

#[test]
fn daily_work_goes_on_with_all_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &["--levels", "3"]);
    assert_eq!(json(&vod(&["inspect", &bank, "--json", "-"]))["levels"], 3);
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
    // Its rows are of the upright image and its mirrored copies, at all sizes.
    let file = BankFile::read(Path::new(&new)).unwrap();
    let origins = file.records().origins.clone().unwrap().rows;
    let of_new = origins.iter().filter(|row| row.reference == 4);
    let mut views: Vec<String> = of_new.map(|row| format!("{:?}", row.view)).collect();
    views.sort();
    views.dedup();
    assert!(
        views.contains(&"Coarser".to_string()) && views.len() > 2,
        "{views:?}"
    );
    let scored = done(&["score", "--bank", &new, &sample("test"), "--format", "csv"]);
    assert_eq!(scored.lines().count(), 17);
}

#[test]
fn a_bank_says_the_border_of_each_size() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", &["--levels", "3"]);
    let printed = done(&["inspect", &bank]);
    let line = "half and a quarter of it, mirrored 16 px beyond its edges";
    assert!(printed.contains(line), "{printed}");
    assert!(printed.contains("int8 MACs at the input size"), "{printed}");

    let edge = backbone::open("edge").unwrap();
    let model = format!("file = {:?}", edge.manifest().file.canonicalize().unwrap());
    let text = std::fs::read_to_string(edge.manifest().file.with_extension("toml")).unwrap();
    let text = text.replace("file = \"edge.onnx\"", &model);
    let text = text.replace("mirror = 16", "levels = 3\nmirror = [0, 0, 16]");
    let manifest = path(folder.path(), "own.toml");
    std::fs::write(&manifest, text).unwrap();
    let own = path(folder.path(), "own.vod");
    let parts = folder.path().join("good parts").display().to_string();
    let line = "fit {} --backbone {} --size 128 --out {}";
    assert!(vod_with(line, &[&parts, &manifest, &own]).status.success());
    let printed = done(&["inspect", &own]);
    assert!(
        printed.contains(", mirrored 0, 0, 16 px beyond their edges"),
        "{printed}"
    );
    let inspected = json(&vod(&["inspect", &own, "--json", "-"]));
    let size = &inspected["preprocess"]["size"]["MirroredLevels"];
    assert_eq!(size["mirror"], serde_json::json!([0, 0, 16]));
    // Where the mirrored level is not looked at, the bank is as those without any border.
    let line = line.to_string() + " --levels 2 --force";
    assert!(vod_with(&line, &[&parts, &manifest, &own]).status.success());
    let inspected = json(&vod(&["inspect", &own, "--json", "-"]));
    let size = &inspected["preprocess"]["size"];
    assert!(size.get("ShortSide").is_some(), "{size}");
}

/// The bank of a device is that of the host, its section apart, levels and all.
#[test]
fn firmware_gets_a_bank_of_several_sizes() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", &["--levels", "2"]);
    let bytes = path(folder.path(), "bank.bin");
    done(&["export", &bank, "--format", "bin", "--out", &bytes]);
    let exported = std::fs::read(&bytes).unwrap();
    let exported = Bank::from_bytes(&exported).unwrap();
    let file = BankFile::read(Path::new(&bank)).unwrap();
    let whole = file.bank().unwrap();
    assert_eq!(exported.parts().image_score, whole.parts().image_score);
    assert_eq!(exported.parts().image_score.levels, Levels::Two);
    assert_eq!(exported.rows(), whole.rows());
    assert!(exported.parts().host.is_empty());
    let header = path(folder.path(), "bank.h");
    done(&["export", &bank, "--format", "c-header", "--out", &header]);
    let text = std::fs::read_to_string(&header).unwrap();
    assert!(
        text.contains("frames of 16 x 16 patches, at 2 levels"),
        "{text}"
    );
}
