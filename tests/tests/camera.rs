//! Image in, verdict out on microcontrollers in QEMU: the program of `firmware/camera` on three
//! cores, and the C example of `firmware/c-api`. All give the host's bits.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::RgbImage;
use indicatif::ProgressBar;
use vod_core::bank::checksum;
use vod_core::conv::Network;
use vod_core::{FrameScore, Grid, Region, regions};
use vod_host::backbone::{self, int8};
use vod_host::bank_file::BankFile;
use vod_host::export::{Artefact, Format};
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{FitOptions, fit};
use vod_host::score::{ImageScorer, score_frame};
use vod_tests::cross::{cargo, has, leave_out, output, toolchain};
use vod_tests::sample;

const SIZE: u32 = 128;
/// Bytes of the bank's rows: it has to lie in a microcontroller's flash.
const ROW_BYTES: usize = 48 << 10;

/// A core: its name, its target, what the compiler is told, the emulated board.
const CORES: [(&str, &str, &str, &[&str]); 3] = [
    (
        "Cortex-M4",
        "thumbv7em-none-eabihf",
        "",
        &["-M", "mps2-an386", "-cpu", "cortex-m4"],
    ),
    (
        "Cortex-M7",
        "thumbv7em-none-eabihf",
        "",
        &["-M", "mps2-an500", "-cpu", "cortex-m7"],
    ),
    (
        "Cortex-M55",
        "thumbv8m.main-none-eabihf",
        "-C target-cpu=cortex-m55",
        &["-M", "mps3-an547"],
    ),
];

fn fitted() -> BankFile {
    let backbone = backbone::open("edge-int8").unwrap();
    let preprocess = preprocess_for(&*backbone, Some(SIZE), None);
    let extractor = Extractor::new(&*backbone, preprocess).unwrap();
    let references = vod_host::image::list(&sample().join("train/good")).unwrap();
    let options = FitOptions {
        row_bytes: ROW_BYTES,
        ..FitOptions::standard()
    };
    let progress = ProgressBar::hidden();
    fit(&extractor, &references[..4], &options, &progress)
        .unwrap()
        .bank
}

/// Everything that follows from one frame.
struct Expected {
    features: Vec<i8>,
    frame: FrameScore,
    map: Vec<i32>,
    regions: Vec<Region>,
}

fn expected(file: &BankFile, pixels: &RgbImage) -> Expected {
    let (width, height) = (pixels.width() as usize, pixels.height() as usize);
    let network = Network::from_bytes(&file.host().network).unwrap();
    let features = int8::features(&network, pixels.as_raw(), height, width).unwrap();
    let grid = network.grid(height, width).unwrap();
    let bank = file.bank().unwrap();
    let (frame, map) = score_frame(&bank, grid.height(), grid.width(), &features).unwrap();
    let map = map.into_raw_vec_and_offset().0;
    let regions = map_regions(&map, grid, bank.parts().map_threshold);
    Expected {
        features,
        frame,
        map,
        regions,
    }
}

fn map_regions(map: &[i32], grid: Grid, threshold: i32) -> Vec<Region> {
    let mut labels = vec![0; grid.len()];
    let found = regions(map, grid, threshold, &mut labels).unwrap();
    found.into_iter().collect()
}

/// Images, as the bank's preprocessing resizes them.
fn frames(file: &BankFile) -> Vec<(PathBuf, RgbImage)> {
    let images = vod_host::image::list_recursive(&sample().join("test")).unwrap();
    let read = |path: PathBuf| {
        let image = vod_host::image::load(&path).unwrap();
        let pixels = file.host().preprocess.resize(&image).unwrap();
        (path, pixels)
    };
    images.into_iter().map(read).collect()
}

fn write_frame(folder: &Path, pixels: &RgbImage) {
    let sides = [pixels.width(), pixels.height()].map(|side| side as u16);
    let mut bytes: Vec<u8> = sides.into_iter().flat_map(u16::to_le_bytes).collect();
    bytes.extend(pixels.as_raw());
    std::fs::write(folder.join("frame.rgb"), bytes).unwrap();
}

fn write(path: &Path, artefact: &Artefact, format: Format, name: &str) {
    std::fs::write(path, artefact.render(format, name).unwrap()).unwrap();
}

fn project(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("..")
        .join(folder)
}

fn emulate(folder: &Path, machine: &[&str], program: &Path) -> String {
    output(
        Command::new("qemu-system-arm")
            .current_dir(folder)
            .args(machine)
            .args(["-icount", "shift=0", "-display", "none", "-monitor", "none"])
            .args([
                "-serial",
                "none",
                "-chardev",
                "stdio,id=text",
                "-semihosting-config",
            ])
            .args(["enable=on,target=native,chardev=text", "-kernel"])
            .arg(program),
    )
}

/// The host's own path from image to verdict gives the same as the frame's pixels by themselves.
#[test]
fn the_host_scores_with_the_network_of_the_bank() {
    let file = fitted();
    let backbone = backbone::open("edge-int8").unwrap();
    let scorer = ImageScorer::new(&file, &*backbone).unwrap();
    let mut scores = Vec::new();
    for (path, pixels) in frames(&file) {
        let verdict = scorer.score(&path).unwrap();
        let expected = expected(&file, &pixels);
        assert_eq!(
            verdict.raw_score,
            expected.frame.score,
            "{}",
            path.display()
        );
        assert_eq!(verdict.map.as_slice(), Some(expected.map.as_slice()));
        scores.push((
            path.to_string_lossy().contains("defective"),
            verdict.raw_score,
        ));
    }
    let of = |defective: bool| scores.iter().filter(move |s| s.0 == defective).map(|s| s.1);
    let pairs = of(true).flat_map(|d| of(false).map(move |g| d > g));
    let wins = pairs.filter(|won| *won).count();
    assert!(wins >= 40, "only {wins} of 64 pairs in order");
}

#[test]
fn pixels_become_the_same_verdict_on_every_core() {
    let what = "frames from pixels to verdict on Cortex-M";
    if !has("qemu-system-arm") {
        return leave_out(what, "no qemu-system-arm");
    }
    let folder = tempfile::tempdir().unwrap();
    let file = fitted();
    let (bank, network) = (
        folder.path().join("bank.bin"),
        folder.path().join("network.bin"),
    );
    write(
        &bank,
        &Artefact::bank(&file).unwrap(),
        Format::Bin,
        "vod_bank",
    );
    write(
        &network,
        &Artefact::network(&file).unwrap(),
        Format::Bin,
        "vod_network",
    );
    let frames = frames(&file);
    for (core, target, flags, machine) in CORES {
        let Some(toolchain) = toolchain(target) else {
            leave_out(what, &format!("no library for {target}"));
            continue;
        };
        let build = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("camera-{target}"));
        output(
            cargo(&toolchain)
                .current_dir(project("firmware/camera"))
                .env("RUSTFLAGS", flags)
                .env("VOD_BANK", &bank)
                .env("VOD_NETWORK", &network)
                .args([
                    "build",
                    "--quiet",
                    "--release",
                    "--target",
                    target,
                    "--target-dir",
                ])
                .arg(&build),
        );
        let program = build.join(target).join("release/vod-camera");
        for (number, (path, pixels)) in frames.iter().enumerate() {
            write_frame(folder.path(), pixels);
            let text = emulate(folder.path(), machine, &program);
            let expected = expected(&file, pixels);
            let bytes: Vec<u8> = expected.map.iter().flat_map(|v| v.to_le_bytes()).collect();
            let line = format!(
                "score {} threshold {} map_max {} features {:08x} map {:08x}",
                expected.frame.score,
                expected.frame.threshold,
                expected.frame.map_max,
                checksum(
                    &expected
                        .features
                        .iter()
                        .map(|&f| f as u8)
                        .collect::<Vec<_>>()
                ),
                checksum(&bytes)
            );
            assert_eq!(
                text.lines().next(),
                Some(line.as_str()),
                "{core}: {}",
                path.display()
            );
            if number == 0 {
                print!("{core}: {text}");
                assert_eq!(
                    text,
                    emulate(folder.path(), machine, &program),
                    "two runs differ"
                );
            }
        }
        if has("arm-none-eabi-size") {
            let mut size = Command::new("arm-none-eabi-size");
            print!("{}", output(size.arg(&program)));
        }
    }
}

#[test]
fn the_c_example_gives_the_verdict_of_the_host() {
    let what = "the C example";
    let target = "thumbv7em-none-eabihf";
    let tools = ["qemu-system-arm", "arm-none-eabi-gcc"];
    if let Some(missing) = tools.into_iter().find(|tool| !has(tool)) {
        return leave_out(what, &format!("no {missing}"));
    }
    let Some(toolchain) = toolchain(target) else {
        return leave_out(what, &format!("no library for {target}"));
    };
    let folder = tempfile::tempdir().unwrap();
    let file = fitted();
    let bank = Artefact::bank(&file).unwrap();
    let network = Artefact::network(&file).unwrap();
    write(
        &folder.path().join("bank.h"),
        &bank,
        Format::CHeader,
        "vod_bank",
    );
    write(
        &folder.path().join("network.h"),
        &network,
        Format::CHeader,
        "vod_network",
    );
    let mut build = Command::new(project("firmware/c-api/example/build.sh"));
    build
        .arg(folder.path())
        .args((!toolchain.is_empty()).then_some(&toolchain));
    build.env(
        "CARGO_TARGET_DIR",
        Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-api"),
    );
    for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        build.env_remove(name);
    }
    output(&mut build);
    for (path, pixels) in frames(&file) {
        write_frame(folder.path(), &pixels);
        let program = folder.path().join("example.elf");
        let text = emulate(folder.path(), CORES[0].3, &program);
        let expected = expected(&file, &pixels);
        let frame = expected.frame;
        let verdict = format!(
            "score {} threshold {} map_max {} {}",
            frame.score,
            frame.threshold,
            frame.map_max,
            if frame.anomalous() {
                "ANOMALOUS"
            } else {
                "normal"
            }
        );
        let mut lines = vec![format!("stream {verdict}")];
        lines.extend(expected.regions.iter().map(|r| {
            format!(
                "region {} {} {} {} peak {}",
                r.top, r.left, r.bottom, r.right, r.peak
            )
        }));
        lines.push(format!("frame {verdict}"));
        assert_eq!(
            text.lines().collect::<Vec<_>>(),
            lines,
            "{}",
            path.display()
        );
    }
}
