//! Fits, scores, evaluations, pages, manual.

use std::path::Path;

use serde_json::Value;

use crate::*;

/// A page that refers to nothing outside it, and lets nothing in.
fn check_page(page: &str) {
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains("url("));
    let policy = page.split("Content-Security-Policy\" content=\"").nth(1);
    assert!(
        policy
            .unwrap()
            .starts_with("default-src 'none'; img-src data:;")
    );
}

#[test]
fn fit_and_score_tell_cracked_cells_from_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 4, "160", &[]);
    let maps = folder.path().join("maps");
    let report = folder.path().join("report.html");
    let output = vod_with(
        "score --bank {} {} --format json --heatmaps {} --report {}",
        &[
            &bank,
            sample_folder().join("test").to_str().unwrap(),
            maps.to_str().unwrap(),
            report.to_str().unwrap(),
        ],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let verdicts: Vec<Value> = text(&output.stdout)
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(verdicts.len(), 16);
    let score = |i: usize| verdicts[i]["image_score"].as_f64().unwrap();
    for (verdict, i) in verdicts.iter().zip(0..) {
        assert_eq!(verdict["anomalous"].as_bool().unwrap(), score(i) >= 0.5);
        assert_eq!(verdict["threshold"], 0.5);
        for key in ["path", "map_max", "seconds", "regions"] {
            assert!(verdict.get(key).is_some(), "{key}");
        }
        for region in verdict["regions"].as_array().unwrap() {
            let n = |key: &str| region[key].as_u64().unwrap();
            assert!(n("x") + n("width") <= 300 && n("y") + n("height") <= 300);
            assert!(n("area") > 0 && region["score"].as_f64().unwrap() >= 0.5);
        }
    }
    // Sorted by path: 8 defective, then 8 good.
    let better = (0..8).flat_map(|d| (8..16).map(move |g| (d, g)));
    let wins = better.filter(|&(d, g)| score(d) > score(g)).count();
    assert!(wins >= 42, "only {wins} of 64 pairs in order");
    let map = image::open(maps.join("defective/000.png.png")).unwrap();
    assert_eq!((map.width(), map.height()), (300, 300));
    let page = std::fs::read_to_string(report).unwrap();
    let (index, contents) = blocks(&page);
    assert_eq!((index.len(), contents.len()), (16, 16));
    let shown: Vec<f64> = index.iter().map(|e| e["score"].as_f64().unwrap()).collect();
    assert!(shown.is_sorted_by(|a, b| a >= b), "{shown:?}");
    for (entry, content) in index.iter().zip(&contents) {
        let path = entry["name"].as_str();
        let verdict = verdicts
            .iter()
            .find(|v| v["path"].as_str() == path)
            .unwrap();
        let regions = verdict["regions"].as_array().unwrap();
        assert_eq!(content["regions"].as_array().unwrap().len(), regions.len());
        assert!(
            (entry["score"].as_f64().unwrap() - verdict["image_score"].as_f64().unwrap()).abs()
                < 1e-6
        );
    }
    check_page(&page);
}

#[test]
fn the_exit_status_tells_of_anomalies_only_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "160", &[]);
    let image = sample_folder().join("test/defective/002.png");
    let image = image.to_str().unwrap();
    let plain = vod(&["score", "--bank", &bank, image]);
    assert_eq!(plain.status.code(), Some(0));
    let anomalous = text(&plain.stdout).contains("ANOMALOUS");
    let asked = vod(&["score", "--bank", &bank, image, "--fail-on-anomaly"]);
    assert_eq!(asked.status.code(), Some(if anomalous { 3 } else { 0 }));
}

#[test]
fn one_reference_works_and_says_that_its_threshold_is_a_guess() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 1, "160", &[]);
    let good = path(folder.path(), "good parts");
    let again = vod(&["fit", &good, "--size", "160", "--out", &bank, "--force"]);
    assert!(text(&again.stderr).contains("threshold is a guess"));
    let output = vod(&["inspect", &bank]);
    assert!(output.status.success());
    assert!(
        text(&output.stdout).contains("a guess"),
        "{}",
        text(&output.stdout)
    );
    let output = vod(&["inspect", &bank, "--json", "-"]);
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["backbone"], "edge");
    assert_eq!(json["calibration"]["is_guess"], true);
    assert_eq!(json["grid"], serde_json::json!([20, 20]));
    let macs = 400 * json["rows"].as_u64().unwrap() * json["dimension"].as_u64().unwrap();
    assert_eq!(json["macs_per_frame"], macs);
}

/// With one reference, all of a frame that is the reference itself scores 0 but for a spot in a corner:
/// whether that counts is what the margin says.
#[test]
fn a_margin_is_left_out_of_the_image_score_alone() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 1, "160", &[]);
    let good = path(folder.path(), "good parts");
    let frame = path(folder.path(), "corner.png");
    let mut pixels = image::open(path(Path::new(&good), "000.png"))
        .unwrap()
        .to_rgb8();
    let side = pixels.width() / 20;
    for (x, y) in (0..side).flat_map(|x| (0..side).map(move |y| (x, y))) {
        pixels.put_pixel(x, y, image::Rgb([255, 0, 0]));
    }
    pixels.save(&frame).unwrap();
    let scored = |bank: &str| {
        let verdict = json(&vod(&["score", "--bank", bank, &frame, "--format", "json"]));
        let inspected = json(&vod(&["inspect", bank, "--json", "-"]));
        (
            verdict["image_score"].as_f64().unwrap(),
            inspected["image_score_margin"].as_f64().unwrap(),
        )
    };
    let (within, margin) = scored(&bank);
    assert_eq!(margin, 0.0625);
    assert!(done(&["inspect", &bank]).contains("without 6.25 % along each edge"));
    let refit = |more: &[&str]| {
        let mut arguments = vec!["fit", &good, "--size", "160", "--out", &bank, "--force"];
        arguments.extend(more);
        done(&arguments);
        scored(&bank)
    };
    let (everywhere, margin) = refit(&["--margin", "0"]);
    assert_eq!(margin, 0.0);
    assert!(everywhere > within, "{within} {everywhere}");
    assert_eq!(refit(&["--aligned"]).1, 0.0);
    let refused = vod(&["fit", &good, "--margin", "0.5", "--out", &bank, "--force"]);
    assert_eq!(refused.status.code(), Some(2));
}

/// A layer's part of the JSON of `inspect`.
fn number(layer: &Value, name: &str) -> u64 {
    layer[name].as_u64().unwrap()
}

#[test]
fn inspect_shows_the_network_that_a_bank_brings_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", &["--backbone", "edge-int8"]);
    let inspected = json(&vod(&["inspect", &bank, "--json", "-"]));
    let network = &inspected["network"];
    let layers = network["layers"].as_array().unwrap();
    // Each layer fits the one before, from colours to what the bank's rows hold.
    let (mut channels, mut side, mut macs) = (3, 128, 0);
    for layer in layers {
        assert_eq!(number(layer, "inputs"), channels, "{layer}");
        channels = number(layer, "outputs");
        side /= number(layer, "stride");
        let window = number(layer, "kernel").pow(2);
        let weights = match layer["operation"].as_str().unwrap() {
            "depthwise" => window * channels,
            // An output's weights are padded to whole words.
            _ => channels * (window * number(layer, "inputs")).next_multiple_of(4),
        };
        assert_eq!(number(layer, "weight_bytes"), weights, "{layer}");
        let layer_macs = side * side * weights;
        assert_eq!(number(layer, "macs_per_frame"), layer_macs, "{layer}");
        macs += layer_macs;
    }
    assert_eq!(inspected["dimension"], channels);
    assert_eq!(inspected["grid"], serde_json::json!([side, side]));
    assert_eq!(network["frame"], serde_json::json!([128, 128]));
    assert_eq!(network["stride"], 128 / side);
    assert_eq!(network["macs_per_frame"], macs);
    // What boards of 256 KB have room for.
    let rows_bytes = number(network, "rows_bytes");
    assert!((1 << 16..160 << 10).contains(&rows_bytes), "{rows_bytes}");
    // It is in the bank's file, beside its weights.
    let weights: u64 = layers.iter().map(|l| number(l, "weight_bytes")).sum();
    let bytes = number(network, "bytes");
    assert!(weights < bytes, "{bytes} bytes for {weights} weights");
    assert!(bytes < number(&inspected, "bank_bytes"), "{bytes}");

    let printed = done(&["inspect", &bank]);
    let kilobytes = bytes as f64 / 1024.0;
    let first = format!(
        "network     int8, {kilobytes:.1} KB, {} layers, a patch every {} pixels, the outermost values \
         again beyond the edges\n",
        layers.len(),
        128 / side
    );
    assert!(printed.contains(&first), "{printed}");
    let (millions, rows) = (macs as f64 / 1e6, rows_bytes as f64 / 1024.0);
    let second = format!(
        "pixels      128 x 128: {millions:.1} M int8 MACs, {rows:.1} KB of RAM between the layers\n"
    );
    assert!(printed.contains(&second), "{printed}");
    let lines = printed.lines().filter(|line| line.starts_with("  layer "));
    assert_eq!(lines.count(), layers.len(), "{printed}");

    // A bank whose features a workstation makes has none.
    let without = json(&vod(&["inspect", &golden_bank(), "--json", "-"]));
    assert_eq!(without["network"], Value::Null);
    assert!(!done(&["inspect", &golden_bank()]).contains("network"));
}

#[test]
fn a_damaged_image_is_named_and_the_rest_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "160", &[]);
    let line = folder.path().join("line");
    std::fs::create_dir(&line).unwrap();
    let good = sample("test/good/000.png");
    copy(&good, line.join("whole.png"));
    let bytes = std::fs::read(&good).unwrap();
    std::fs::write(line.join("cut.png"), &bytes[..bytes.len() / 2]).unwrap();
    std::fs::write(line.join("empty.jpg"), b"").unwrap();
    let output = vod(&["score", "--bank", &bank, line.to_str().unwrap()]);
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        message.contains("cut.png") && message.contains("empty.jpg"),
        "{message}"
    );
    assert!(text(&output.stdout).contains("whole.png"));
    assert!(text(&output.stdout).contains("1 images"));
    // The same folder as references.
    let bank = folder.path().join("b.vod");
    let output = vod_with(
        "fit {} --out {} --size 96",
        &[line.to_str().unwrap(), bank.to_str().unwrap()],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("cut.png"));
    assert!(bank.is_file(), "the readable reference still gives a bank");
}

#[test]
fn nothing_is_overwritten_without_force() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "160", &[]);
    let before = std::fs::read(&bank).unwrap();
    let good = folder.path().join("good parts");
    let arguments = [
        "fit",
        good.to_str().unwrap(),
        "--out",
        &bank,
        "--size",
        "96",
    ];
    check_error(&vod(&arguments), 1, "--force");
    assert_eq!(std::fs::read(&bank).unwrap(), before);
    let forced: Vec<&str> = arguments.into_iter().chain(["--force"]).collect();
    assert!(vod(&forced).status.success());
    assert_ne!(std::fs::read(&bank).unwrap(), before);
}

#[test]
fn fits_are_the_same_to_the_bit_whatever_the_thread_count() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 3, "160", &[]);
    let good = folder.path().join("good parts");
    let again = folder.path().join("again.vod");
    let output = command(&["fit", good.to_str().unwrap(), "--size", "160", "--out"])
        .arg(&again)
        .env("RAYON_NUM_THREADS", "1")
        .output()
        .unwrap();
    assert!(output.status.success());
    assert!(std::fs::read(again).unwrap() == std::fs::read(&bank).unwrap());
}

#[test]
fn aligned_and_tiled_banks_score() {
    let folder = tempfile::tempdir().unwrap();
    for option in [["--aligned", "--fpr", "0.05"], ["--tile", "96", "--quiet"]] {
        let bank = folder.path().join(format!("{}.vod", option[0]));
        let bank = bank.to_str().unwrap();
        let references = sample_folder().join("train/good");
        let mut arguments = vec![
            "fit",
            references.to_str().unwrap(),
            "--out",
            bank,
            "--shots",
            "3",
            "--size",
            "160",
        ];
        arguments.extend(option);
        let output = vod(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let image = sample_folder().join("test/defective/001.png");
        let output = vod_with(
            "score --bank {} {} --format csv",
            &[bank, image.to_str().unwrap()],
        );
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert_eq!(text(&output.stdout).lines().count(), 2);
    }
}

#[test]
fn image_paths_come_from_stdin() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "160", &[]);
    let mut child = command(&["score", "--bank", &bank, "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let image = sample_folder().join("test/good/001.png");
    writeln!(child.stdin.take().unwrap(), "{}", image.display()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout).lines().count(), 1);
}

#[test]
fn wrong_input_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let out = path("x.vod");
    check_error(
        &vod(&["fit", &path("missing"), "--out", &out]),
        1,
        "missing",
    );
    check_error(&vod(&["fit", &path(""), "--out", &out]), 1, "no images");
    let references = sample_folder().join("train/good");
    let references = references.to_str().unwrap();
    check_error(
        &vod(&["fit", references, "--out", &out, "--shots", "99"]),
        1,
        "only 8 images",
    );
    check_error(
        &vod(&["fit", references, "--out", &out, "--backbone", "nonsense"]),
        1,
        "expected `edge`, `vit`",
    );
    std::fs::write(path("no.vod"), b"VODX").unwrap();
    check_error(
        &vod(&["inspect", &path("no.vod")]),
        1,
        "does not start with VODB",
    );
    assert_eq!(vod(&["fit"]).status.code(), Some(2));
    assert_eq!(
        vod(&["fit", references, "--out", &out, "--fpr", "2"])
            .status
            .code(),
        Some(2)
    );
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_bank_of_another_backbone_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "160", &[]);
    let image = sample_folder().join("test/good/001.png");
    let output = vod_with(
        "score --bank {} --backbone vit {}",
        &[&bank, image.to_str().unwrap()],
    );
    check_error(&output, 1, "fitted with backbone `edge`");
}

#[test]
fn eval_writes_the_figures_and_null_where_there_is_none() {
    let output = vod_with(
        "eval {} --shots 2 --seeds 1 --size 160 --json -",
        &[sample_folder().to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["version"], 1);
    assert_eq!(json["method"], "vod");
    let run = &json["datasets"][0]["runs"][0];
    assert_eq!(run["shots"], 2);
    assert_eq!(run["seed"], 0);
    assert!(run["pixel_auroc"].is_null() && run["pixel_aupro"].is_null());
    assert_eq!(run["references"].as_array().unwrap().len(), 2);
    let auroc = run["image_auroc"].as_f64().unwrap();
    assert!(auroc > 0.6 && auroc <= 1.0, "{auroc}");
    assert_eq!(json["mean"]["2"]["image_auroc"], run["image_auroc"]);
    for method in ["distance", "patchcore"] {
        let output = vod_with(
            "eval {} --shots 2 --seeds 1 --size 160 --method {} --json -",
            &[sample_folder().to_str().unwrap(), method],
        );
        let json: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(
            json["mean"]["2"]["image_auroc"].as_f64().unwrap() > 0.6,
            "{method}"
        );
    }
}

#[test]
fn a_synthesised_set_is_evaluated_down_to_pixels_with_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let set = folder.path().join("tuning");
    let page = folder.path().join("page.html");
    let set_name = set.to_str().unwrap();
    let sample = sample_folder();
    let make = ["synthesise", sample.to_str().unwrap(), "--out", set_name];
    let output = vod(&make);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let names = |part: &str| {
        let entries = std::fs::read_dir(set.join(part)).unwrap();
        let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let tests = names("test/good");
    assert!(
        names("train/good").iter().all(|name| !tests.contains(name)),
        "a test image is a reference too"
    );
    assert_eq!(names("test/pasted"), tests);
    check_error(&vod(&make), 1, "exists");

    let output = vod_with(
        "eval {} --shots 2 --seeds 1 --size 160 --json - --report {}",
        &[set_name, page.to_str().unwrap()],
    );
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = &json["datasets"][0]["runs"][0];
    for figure in ["pixel_auroc", "pixel_aupro"] {
        assert!(run[figure].as_f64().unwrap() > 0.6, "{figure}: {run}");
    }
    let page = std::fs::read_to_string(page).unwrap();
    assert_eq!(page.matches("<svg class=\"chart").count(), 3);
    assert!(page.contains("false-positive rate") && page.contains("called anomalous"));
    let (index, contents) = blocks(&page);
    assert_eq!(index.len(), 2 * tests.len());
    for (entry, content) in index.iter().zip(&contents) {
        let is_outlined = content["truth"].is_string();
        assert_eq!(
            is_outlined,
            entry["kind"] == "pasted",
            "each defect has its mask"
        );
    }
    check_page(&page);
}

#[test]
fn eval_takes_folders_of_good_and_bad_images_and_split_files() {
    let folder = tempfile::tempdir().unwrap();
    let sample = sample_folder();
    let place = |name: &str, from: &str| {
        let to = folder.path().join(name);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        copy(sample.join(from), &to);
    };
    for i in 0..4 {
        let name = format!("{i:03}.png");
        place(&format!("plain/good/{name}"), &format!("train/good/{name}"));
        let defective = format!("test/defective/{name}");
        place(&format!("plain/cracked/{name}"), &defective);
        place(&format!("cell/Data/Images/Anomaly/{name}"), &defective);
    }
    let mut split = String::from("object,split,label,image,mask\n");
    for i in 0..4 {
        let part = if i < 2 { "train" } else { "test" };
        split += &format!("cell,{part},normal,plain/good/{i:03}.png,\n");
        split += &format!("cell,test,anomaly,cell/Data/Images/Anomaly/{i:03}.png,\n");
    }
    std::fs::create_dir(folder.path().join("split_csv")).unwrap();
    std::fs::write(folder.path().join("split_csv/1cls.csv"), split).unwrap();
    let plain = folder.path().join("plain").display().to_string();
    let visa = folder.path().join("cell").display().to_string();
    let output = vod(&[
        "eval", &plain, &visa, "--shots", "2", "--seeds", "1", "--size", "96", "--json", "-",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    let run = |set: usize| &json["datasets"][set]["runs"][0];
    assert_eq!(json["datasets"][0]["name"], "plain");
    assert_eq!(json["datasets"][1]["name"], "cell");
    assert_eq!(
        run(0)["kinds"]["cracked"],
        run(1)["kinds"]["anomaly"],
        "the same images by two layouts"
    );
    assert!(run(0)["image_auroc"].is_f64());
}

#[test]
fn completions_and_manual_pages_know_every_command() {
    let help = text(&vod(&["--help"]).stdout);
    let commands: Vec<&str> = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next())
        .filter(|name| *name != "help")
        .collect();
    assert!(commands.contains(&"fit") && commands.len() >= 8, "{help}");
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&vod(&["completions", shell]).stdout);
        for command in &commands {
            assert!(script.contains(command), "{shell}: {command}");
        }
        assert!(script.contains("bank-bytes"), "{shell}: options");
    }
    assert_eq!(vod(&["completions", "nonsense"]).status.code(), Some(2));
    let printed = text(&vod(&["man"]).stdout);
    assert!(
        printed.starts_with(".ie") || printed.starts_with(".TH"),
        "{printed:.80}"
    );
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("man1");
    let arguments = ["man", "--out", out.to_str().unwrap()];
    assert!(vod(&arguments).status.success());
    for command in &commands {
        let page = std::fs::read_to_string(out.join(format!("vod-{command}.1"))).unwrap();
        assert!(page.contains(&format!("vod\\-{command}")), "{page}");
    }
    assert_eq!(std::fs::read_to_string(out.join("vod.1")).unwrap(), printed);
    check_error(&vod(&arguments), 1, "--force");
}

#[test]
fn weights_are_trained_blended_in_and_refused_where_they_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let (set, weights) = (sample_folder().display().to_string(), path("w.vodw"));
    let train = [
        "train",
        &set,
        "--out",
        &weights,
        "--size",
        "160",
        "--source-shots",
        "2",
        "--draws",
        "1",
        "--source-images",
        "4",
    ];
    let output = vod(&train);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(std::fs::metadata(&weights).unwrap().len() < 8192);
    check_error(&vod(&train), 1, "exists already");

    let fit = |more: &[&str]| {
        let bank = path("part.vod");
        let mut arguments = vec!["fit", &set, "--out", &bank, "--force", "--shots", "2"];
        arguments.extend(["--weights", &weights, "--json", "-"]);
        arguments.extend(more);
        vod(&arguments)
    };
    let output = fit(&["--size", "160", "--blends", "0", "--generalist", "0.5"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let summary: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["mix"]["generalist"], 0.5);
    let bank = vod_host::bank_file::BankFile::read(Path::new(&path("part.vod"))).unwrap();
    assert!(bank.bank().unwrap().weights().any(|w| w != 0));

    check_error(&fit(&["--size", "192"]), 1, "another preprocessing");
    check_error(
        &fit(&["--size", "160", "--values", "magnitude"]),
        1,
        "Magnitude",
    );
    let model = fit(&["--size", "154", "--backbone", "vit"]);
    check_error(&model, 1, "trained with backbone `edge`");
    let mut bytes = std::fs::read(&weights).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&weights, bytes).unwrap();
    check_error(&fit(&["--size", "160"]), 1, "no usable weights file");
}

#[test]
fn one_set_left_out_is_judged_by_what_the_others_teach() {
    let folder = tempfile::tempdir().unwrap();
    let made = folder.path().join("made").display().to_string();
    let set = sample_folder().display().to_string();
    let output = vod(&["synthesise", &set, "--out", &made]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let small = [
        "--size", "160", "--shots", "2", "--seeds", "1", "--json", "-",
    ];
    let training = [
        "--source-shots",
        "2",
        "--draws",
        "1",
        "--source-images",
        "4",
    ];
    for method in ["vod", "raw"] {
        let mut arguments = vec!["eval", &set, &made, "--leave-one-out", "--method", method];
        arguments.extend(small.iter().chain(&training));
        let output = vod(&arguments);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        for set in result["datasets"].as_array().unwrap() {
            let auroc = set["runs"][0]["image_auroc"].as_f64().unwrap();
            assert!((0.0..=1.0).contains(&auroc), "{method} {auroc}");
        }
    }
    // With both sets in one domain nothing is left to learn from.
    let names = "solar-cells,made";
    let mut arguments = vec!["eval", &set, &made, "--leave-one-out", "--domain", names];
    arguments.extend(small.iter().chain(&training));
    check_error(&vod(&arguments), 1, "no anomalies to learn from");
}

#[test]
fn gaps_are_measured_and_drawn() {
    let folder = tempfile::tempdir().unwrap();
    let page = folder.path().join("gaps.html").display().to_string();
    let set = sample_folder().display().to_string();
    let mut arguments = vec!["gaps", &set, "--report", &page, "--json", "-"];
    arguments.extend(["--size", "160", "--source-shots", "2"]);
    arguments.extend(["--source-images", "6"]);
    let output = vod(&arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<&str> = result["gaps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|gap| gap["comparison"].as_str().unwrap())
        .collect();
    assert_eq!(kinds, ["normal_abnormal", "real_synthetic"]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.contains("<svg") && page.contains("Real and pasted defects"));
}
