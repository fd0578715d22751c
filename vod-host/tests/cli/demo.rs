//! `vod demo`: what a new user runs first.

use crate::*;

#[test]
fn the_demo_scores_the_sample_and_replaces_nothing_of_others() {
    let folder = tempfile::tempdir().unwrap();
    let out = path(folder.path(), "demo");
    let arguments = ["demo", "--backbone", "edge", "--out", &out, "--json", "-"];
    let summary = json(&vod(&arguments));
    assert_eq!(summary["verdicts"].as_array().unwrap().len(), 16);
    let auroc = summary["image_auroc"].as_f64().unwrap();
    assert!(auroc > 0.6 && auroc <= 1.0, "{auroc}");
    let out = Path::new(&out);
    assert_eq!(files(out), ["demo.vod", "heatmaps", "report.html"]);
    assert_eq!(files(&out.join("heatmaps")).len(), 16);
    let page = std::fs::read_to_string(out.join("report.html")).unwrap();
    let (index, _) = blocks(&page);
    let missed = index.iter().filter(|e| e["outcome"] == "missed").count();
    let normal = |v: &&Value| v["kind"] == "defective" && v["anomalous"] == false;
    let verdicts = summary["verdicts"].as_array().unwrap();
    assert_eq!(missed, verdicts.iter().filter(normal).count());
    // Its own files are replaced, those of others are not.
    assert!(vod(&arguments).status.success());
    std::fs::write(out.join("demo.vod"), "my notes").unwrap();
    check_error(&vod(&arguments), 1, "exists already");
    std::fs::remove_file(out.join("demo.vod")).unwrap();
    check_error(&vod(&arguments), 1, "report.html: exists already");
    let notes = std::fs::read_to_string(out.join("report.html")).unwrap();
    assert_eq!(notes, page);
}
