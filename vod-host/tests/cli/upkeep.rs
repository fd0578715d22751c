//! The commands of daily work: calibrate, update, drift, watch, explanations, maps, regions to ignore.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;

use crate::*;

#[test]
fn calibrate_writes_a_new_bank_and_shows_the_trade_off() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let before = std::fs::read(&bank).unwrap();
    let new = path(folder.path(), "new.vod");
    let (good, bad) = (sample("test/good"), sample("test/defective"));
    let arguments = [
        "calibrate",
        &bank,
        "--good",
        &good,
        "--bad",
        &bad,
        "--fpr",
        "0.2",
        "--out",
        &new,
        "--json",
        "-",
    ];
    let summary = json(&vod(&arguments));
    assert_eq!(summary["good_images"], 8);
    assert_eq!(summary["bad_images"], 8);
    let curve = summary["curve"].as_array().unwrap();
    let rates =
        |key: &str| -> Vec<f64> { curve.iter().map(|p| p[key].as_f64().unwrap()).collect() };
    for key in ["false_positive_rate", "true_positive_rate"] {
        assert!(rates(key).is_sorted(), "{key} falls as the threshold does");
        assert_eq!(rates(key).last(), Some(&1.0));
    }
    assert!(summary["after"]["false_positive_rate"].as_f64().unwrap() <= 0.25);
    assert_eq!(
        std::fs::read(&bank).unwrap(),
        before,
        "the old bank is kept"
    );
    // What was promised is what runs.
    let alarms = text(&vod(&["score", "--bank", &new, &good, "--format", "csv"]).stdout);
    let alarms = alarms.matches(",true,").count() as f64 / 8.0;
    assert_eq!(summary["after"]["false_positive_rate"], alarms);
    // Nothing is replaced, and references say nothing.
    let again = vod(&arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("--force"));
    let references = sample("train/good");
    let other = path(folder.path(), "other.vod");
    let output = vod_with(
        "calibrate {} --good {} --out {} --json -",
        &[&bank, &references, &other],
    );
    assert_eq!(
        text(&output.stderr).matches("left out").count(),
        4,
        "{}",
        text(&output.stderr)
    );
    assert_eq!(json(&output)["good_images"], 4);
}

#[test]
fn update_adds_references_and_missed_defects() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let good = folder.path().join("good");
    let bad = folder.path().join("bad");
    std::fs::create_dir(&good).unwrap();
    std::fs::create_dir(&bad).unwrap();
    for name in ["000.png", "001.png", "002.png"] {
        std::fs::copy(Path::new(&sample("test/good")).join(name), good.join(name)).unwrap();
        std::fs::copy(
            Path::new(&sample("test/defective")).join(name),
            bad.join(name),
        )
        .unwrap();
    }
    let new = path(folder.path(), "new.vod");
    let (good, bad) = (good.display().to_string(), bad.display().to_string());
    let summary = json(&vod(&[
        "update", &bank, "--good", &good, "--bad", &bad, "--out", &new, "--json", "-",
    ]));
    let held = summary["held_back"].as_array().unwrap();
    assert_eq!(held.len(), 4);
    let added = summary["good"].as_array().unwrap();
    assert_eq!(added.len(), 3);
    assert!(added.iter().all(|a| a["rows"].as_u64().unwrap() > 0));
    assert!(
        added
            .iter()
            .any(|a| a["held_back_patches"].as_u64().unwrap() > 0)
    );
    assert!(
        summary["bad"]
            .as_array()
            .unwrap()
            .iter()
            .all(|b| b["patches"].as_u64().unwrap() > 0)
    );
    let inspected = json(&vod(&["inspect", &new, "--json", "-"]));
    assert_eq!(inspected["references"].as_array().unwrap().len(), 7);
    assert_eq!(
        inspected["calibration"]["scores"].as_array().unwrap().len(),
        7
    );
    let output = vod(&["score", "--bank", &new, &sample("test"), "--format", "csv"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    // Adding the same again is refused image by image.
    let third = path(folder.path(), "third.vod");
    let again = vod(&["update", &new, "--good", &good, "--out", &third]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("is the bank's reference"));
}

#[test]
fn masks_say_which_patches_a_missed_defect_has() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let bad = folder.path().join("bad");
    let masks = folder.path().join("masks");
    for place in [&bad, &masks] {
        std::fs::create_dir(place).unwrap();
    }
    // 300 x 300 pixels are 16 x 16 patches of 18.75: a square of four by four patches, and a line that
    // fills no patch by half but touches the whole width of one row.
    let rectangle = |x: u32, y: u32, width: u32, height: u32| {
        image::GrayImage::from_fn(300, 300, |px, py| {
            let inside = (x..x + width).contains(&px) && (y..y + height).contains(&py);
            image::Luma([if inside { 255 } else { 0 }])
        })
    };
    rectangle(75, 75, 75, 75)
        .save(masks.join("000_mask.png"))
        .unwrap();
    rectangle(0, 110, 300, 3)
        .save(masks.join("001.png"))
        .unwrap();
    for name in ["000.png", "001.png", "002.png"] {
        copy(sample("test/defective/") + name, bad.join(name));
    }
    let (bad, masks) = (bad.display().to_string(), masks.display().to_string());
    let new = path(folder.path(), "new.vod");
    let arguments = [
        "update", &bank, "--bad", &bad, "--masks", &masks, "--out", &new, "--json", "-",
    ];
    let output = vod(&arguments);
    assert!(text(&output.stderr).contains("002.png: no mask"));
    let summary = json(&output);
    let patches: Vec<u64> = summary["bad"]
        .as_array()
        .unwrap()
        .iter()
        .map(|b| b["patches"].as_u64().unwrap())
        .collect();
    // Without a mask those of which the image score is the mean: the highest 1 % of the 14 x 14 within the margin.
    assert_eq!(patches, [16, 16, 2]);

    // The mask decides what is learnt.
    let without = path(folder.path(), "without.vod");
    done(&["update", &bank, "--bad", &bad, "--out", &without]);
    assert_ne!(
        std::fs::read(&new).unwrap(),
        std::fs::read(&without).unwrap()
    );

    rectangle(0, 0, 0, 0)
        .save(Path::new(&masks).join("002.png"))
        .unwrap();
    let third = path(folder.path(), "third.vod");
    let output = vod(&[
        "update", &bank, "--bad", &bad, "--masks", &masks, "--out", &third,
    ]);
    check_error(&output, 1, "002.png: its mask shows no defect");
    assert!(Path::new(&third).is_file(), "the others are added");
    let output = vod(&["update", &bank, "--masks", &masks, "--out", &third]);
    assert_eq!(output.status.code(), Some(2), "masks of what?");
}

#[test]
fn defects_alone_enter_the_score_or_the_reason_is_said() {
    let folder = tempfile::tempdir().unwrap();
    // Plain distance is all that this bank has been given to score with.
    let bank = fitted(folder.path(), 4, "128", &[]);
    assert_eq!(
        json(&vod(&["inspect", &bank, "--json", "-"]))["discriminant_share"],
        0.0
    );
    let scores = |bank: &str| done(&["score", "--bank", bank, &sample("test/good")]);
    let update = |number: usize| {
        let bad = folder.path().join(format!("bad {number}"));
        std::fs::create_dir(&bad).unwrap();
        for i in 0..number {
            let name = format!("{i:03}.png");
            copy(sample("test/defective/") + &name, bad.join(&name));
        }
        let new = path(folder.path(), &format!("new-{number}.vod"));
        let line = "update {} --bad {} --out {} --json -";
        let summary = json(&vod_with(line, &[&bank, bad.to_str().unwrap(), &new]));
        (new, summary)
    };
    let (new, summary) = update(1);
    assert_eq!(summary["defect_effect"], "one_defect");
    let note = summary["note"].as_str().unwrap();
    assert!(note.starts_with("the bank scores as before"), "{note}");
    assert!(note.contains("add two defects"), "{note}");
    assert_eq!(scores(&bank), scores(&new));

    let (new, summary) = update(6);
    let share = summary["discriminant_share_after"].as_f64().unwrap();
    if share > 0.0 {
        assert_eq!(summary["defect_effect"], "scored");
        let note = summary["note"].as_str().unwrap();
        assert!(note.starts_with("the threshold is an estimate"), "{note}");
        assert_ne!(scores(&bank), scores(&new));
    } else {
        assert_eq!(summary["defect_effect"], "distance_is_best");
        assert_eq!(scores(&bank), scores(&new));
    }
}

#[test]
fn a_version_1_bank_takes_references_but_no_defects() {
    let folder = tempfile::tempdir().unwrap();
    let bank = golden_bank();
    let new = path(folder.path(), "new.vod");
    let defects = sample("test/defective");
    let output = vod(&["update", &bank, "--bad", &defects, "--out", &new]);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("fit it again"),
        "{}",
        text(&output.stderr)
    );
    let good = sample("test/good");
    let summary = json(&vod(&[
        "update", &bank, "--good", &good, "--out", &new, "--json", "-",
    ]));
    assert_eq!(summary["held_back"].as_array().unwrap().len(), 0);
    let inspected = json(&vod(&["inspect", &new, "--json", "-"]));
    assert_eq!(inspected["references"].as_array().unwrap().len(), 11);
}

#[test]
fn drift_says_yes_or_no() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let new = path(folder.path(), "new.vod");
    let (good, bad) = (sample("test/good"), sample("test/defective"));
    vod(&["calibrate", &bank, "--good", &good, "--out", &new]);
    let report = path(folder.path(), "drift.html");
    let same = json(&vod_with(
        "drift {} {} --json - --report {} --fail-on-drift",
        &[&new, &good, &report],
    ));
    assert_eq!(same["drifted"], false);
    assert_eq!(same["higher_share"], 0.5);
    let page = std::fs::read_to_string(report).unwrap();
    assert!(page.contains("<svg") && page.contains("drift: no"));
    // Blurred images, darker by two steps.
    let line = folder.path().join("line");
    std::fs::create_dir(&line).unwrap();
    for i in 0..8 {
        let picture = image::open(Path::new(&good).join(format!("{i:03}.png"))).unwrap();
        for darker in [60, 70] {
            let blurred = picture.blur(6.0).brighten(-darker);
            blurred
                .save(line.join(format!("{i}-{darker}.png")))
                .unwrap();
        }
    }
    let line = line.display().to_string();
    let output = vod(&["drift", &new, &line, "--fail-on-drift"]);
    assert_eq!(output.status.code(), Some(3), "{}", text(&output.stdout));
    assert!(text(&output.stdout).starts_with("drift: yes"));
    assert_eq!(vod(&["drift", &new, &line]).status.code(), Some(0));
    assert_eq!(
        vod(&["drift", &new, &bad, "--last", "1"]).status.code(),
        Some(2)
    );
}

#[test]
fn scores_are_explained_down_to_reference_and_channels() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let defect = sample("test/defective/002.png");
    let output = vod_with(
        "score --bank {} {} --explain --format json",
        &[&bank, &defect],
    );
    let verdict = json(&output);
    let first = &verdict["regions"][0]["explanation"];
    let explanation = if first.is_null() {
        &verdict["explanation"]
    } else {
        first
    };
    assert!(
        explanation["nearest"]["image"]
            .as_str()
            .unwrap()
            .ends_with(".png")
    );
    let shares = explanation["layers"].as_array().unwrap();
    let total: f64 = shares.iter().map(|l| l["share"].as_f64().unwrap()).sum();
    assert!((total - 1.0).abs() < 1e-9);
    let residuals: Vec<i64> = explanation["channels"]
        .as_array()
        .unwrap()
        .iter()
        .map(|c| c["residual"].as_i64().unwrap().abs())
        .collect();
    assert!(residuals.len() == 8 && residuals.is_sorted_by(|a, b| a >= b));
    let parts = explanation["from_values"].as_f64().unwrap()
        + explanation["from_distance"].as_f64().unwrap();
    assert!(
        (parts - explanation["raw_score"].as_f64().unwrap()).abs() <= 2.0,
        "{explanation}"
    );
    assert_eq!(
        explanation["profile"]["normal_mean"]
            .as_array()
            .unwrap()
            .len(),
        16
    );
    let table = text(&vod(&["score", "--bank", &bank, &defect, "--explain"]).stdout);
    assert!(table.contains("is nearest to") && table.contains("residual by layer"));
    let plain = text(&vod(&["score", "--bank", &bank, &defect, "--format", "json"]).stdout);
    assert!(!plain.contains("explanation"));
}

#[test]
fn maps_are_written_in_the_size_of_the_image() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let maps = path(folder.path(), "maps");
    let defect = sample("test/defective/002.png");
    for format in ["png", "npy"] {
        let output = vod_with(
            "score --bank {} {} --maps {} --map-format {}",
            &[&bank, &defect, &maps, format],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
    let picture = image::open(Path::new(&maps).join("002.png.png"))
        .unwrap()
        .into_luma16();
    assert_eq!(picture.dimensions(), (300, 300));
    let bytes = std::fs::read(Path::new(&maps).join("002.png.npy")).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]])) + 10;
    assert!(header.is_multiple_of(64) && bytes[header - 1] == b'\n');
    assert!(text(&bytes[..header]).contains("'shape': (300, 300)"));
    let values = bytes[header..].as_chunks::<4>().0;
    assert_eq!(values.len(), 300 * 300);
    for (value, pixel) in values.iter().zip(picture.pixels()) {
        let difference = f32::from_le_bytes(*value) - f32::from(pixel.0[0]) / 65535.0;
        assert!(difference.abs() < 1e-4);
    }
}

#[test]
fn ignored_regions_give_no_reference_patches() {
    let folder = tempfile::tempdir().unwrap();
    let annotation = folder.path().join("dust.json");
    let name = "000.png";
    let write = |name: &str| {
        let shape =
            r#"{"label":"dust","points":[[0,0],[299,0],[299,150],[0,150]],"shape_type":"polygon"}"#;
        let file = format!(
            r#"{{"imagePath":"{name}","imageWidth":300,"imageHeight":300,"shapes":[{shape}]}}"#
        );
        std::fs::write(&annotation, file).unwrap();
    };
    write(name);
    let file = annotation.display().to_string();
    let bank = path(folder.path(), "part.vod");
    let references = sample("train/good");
    let fit = |out: &str, more: &[&str]| {
        let mut arguments = vec![
            "fit",
            &references,
            "--size",
            "128",
            "--out",
            out,
            "--bank-bytes",
            "99999999",
            "--json",
            "-",
        ];
        arguments.extend(more);
        vod(&arguments)
    };
    let without = json(&fit(&bank, &["--ignore", &file]));
    let whole = json(&fit(&path(folder.path(), "whole.vod"), &[]));
    let rows = |summary: &Value| summary["rows"].as_u64().unwrap();
    // Half of one of eight images of 16 x 16 patches and their mirrored copies.
    let expected = rows(&whole) * 15 / 16;
    assert!(
        rows(&without).abs_diff(expected) <= 16 * 4 * 2,
        "{} {expected}",
        rows(&without)
    );
    write("other.png");
    let output = fit(&path(folder.path(), "x.vod"), &["--ignore", &file]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("none of them a reference"));
}

/// Waits for a line of a child's output, but not for ever.
fn next_line(lines: &std::sync::mpsc::Receiver<String>) -> Value {
    let line = lines.recv_timeout(Duration::from_secs(60)).unwrap();
    serde_json::from_str(&line).unwrap()
}

#[cfg(unix)]
#[test]
fn watch_scores_what_arrives_and_waits_for_half_written_files() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "128", &[]);
    let line = folder.path().join("line");
    std::fs::create_dir(&line).unwrap();
    let good = PathBuf::from(sample("test/good"));
    std::fs::copy(good.join("000.png"), line.join("there.png")).unwrap();
    let mut child = command(&[
        "watch",
        line.to_str().unwrap(),
        "--bank",
        &bank,
        "--existing",
    ])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let (sender, lines) = std::sync::mpsc::channel();
    let output = child.stdout.take().unwrap();
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = sender.send(line);
        }
    });
    let ends = |verdict: &Value, name: &str| verdict["path"].as_str().unwrap().ends_with(name);
    assert!(ends(&next_line(&lines), "there.png"));
    let bytes = std::fs::read(good.join("001.png")).unwrap();
    let arriving = line.join("arriving.png");
    std::fs::write(&arriving, &bytes[..bytes.len() / 2]).unwrap();
    std::thread::sleep(Duration::from_millis(800));
    std::fs::write(&arriving, &bytes).unwrap();
    let verdict = next_line(&lines);
    assert!(ends(&verdict, "arriving.png"), "{verdict}");
    assert!(
        lines.recv_timeout(Duration::from_millis(800)).is_err(),
        "scored once"
    );
    interrupt(&child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
