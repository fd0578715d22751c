//! Image in, verdict out on microcontrollers: the firmware on three boards in QEMU, and the C example of
//! `firmware/c-api` on every target. All give the host's bits.

use std::path::{Path, PathBuf};
use std::process::Command;

use image::RgbImage;
use indicatif::ProgressBar;
use vod_core::conv::Network;
use vod_core::{FrameScore, Grid, Levels, Region, regions};
use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::device::network_frame;
use vod_host::export::{Artefact, Format};
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{FitOptions, fit};
use vod_host::score::{ImageScorer, score_levels};
use vod_tests::boards::{BOARDS, Board, PROGRAM_LIMIT, build, flash_file, program_len, switch_on};
use vod_tests::cross::{has, leave_out, output, toolchain};
use vod_tests::sample;

const SIZE: u32 = 128;
/// Bytes of the bank's rows: it has to lie in a microcontroller's flash.
const ROW_BYTES: usize = 48 << 10;

fn fitted(levels: Levels) -> BankFile {
    let backbone = backbone::open("edge-int8").unwrap();
    let preprocess = preprocess_for(&*backbone, Some(SIZE), None);
    let extractor = Extractor::new(&*backbone, preprocess).unwrap();
    let references = vod_host::image::list(&sample().join("train/good")).unwrap();
    let mut options = FitOptions {
        row_bytes: Some(ROW_BYTES),
        ..FitOptions::standard()
    };
    options.recipe.levels = Some(levels);
    let progress = ProgressBar::hidden();
    fit(&extractor, &references[..4], &options, &progress)
        .unwrap()
        .bank
}

/// Everything that follows from one frame.
struct Expected {
    frame: FrameScore,
    map: Vec<i32>,
    regions: Vec<Region>,
}

/// That of the pictures of a frame at the bank's levels.
fn expected(file: &BankFile, pictures: &[RgbImage]) -> Expected {
    let network = Network::from_bytes(&file.host().network).unwrap();
    let bank = file.bank().unwrap();
    let given = network_frame(&network, pictures).unwrap();
    let (frame, map) = score_levels(&bank, &given).unwrap();
    let map = map.into_raw_vec_and_offset().0;
    let regions = map_regions(&map, given.grid, bank.parts().map_threshold);
    Expected {
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

/// Images, as the bank looks at them: at its levels.
fn frames(file: &BankFile) -> Vec<(PathBuf, Vec<RgbImage>)> {
    let backbone = backbone::open("edge-int8").unwrap();
    let extractor = Extractor::for_bank(file, &*backbone).unwrap();
    let images = vod_host::image::list_recursive(&sample().join("test")).unwrap();
    let read = |path: PathBuf| {
        let pictures = extractor.pictures(&path).unwrap();
        (path, pictures)
    };
    images.into_iter().map(read).collect()
}

fn write_frame(folder: &Path, pictures: &[RgbImage]) {
    let mut bytes = Vec::new();
    for pixels in pictures {
        let sides = [pixels.width(), pixels.height()].map(|side| side as u16);
        bytes.extend(sides.into_iter().flat_map(u16::to_le_bytes));
        bytes.extend(pixels.as_raw());
    }
    std::fs::write(folder.join("frame.rgb"), bytes).unwrap();
}

/// The host's own path from image to verdict gives the same as the frame's pixels by themselves.
#[test]
fn the_host_scores_with_the_network_of_the_bank() {
    let file = fitted(Levels::One);
    let backbone = backbone::open("edge-int8").unwrap();
    let scorer = ImageScorer::new(&file, &*backbone).unwrap();
    let mut scores = Vec::new();
    for (path, pictures) in frames(&file) {
        let verdict = scorer.score(&path).unwrap();
        let expected = expected(&file, &pictures);
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

/// Images that each board scores; its UART takes some ten thousand bytes a second.
const FRAMES: [&str; 4] = [
    "defective/000.png",
    "defective/002.png",
    "good/000.png",
    "good/001.png",
];

fn pixels_become_the_hosts_verdict(board: &Board, levels: Levels) {
    let Some(programs) = build(board, true) else {
        return;
    };
    let (file, folder) = (fitted(levels), tempfile::tempdir().unwrap());
    let bank = file.bank().unwrap();
    let network = Network::from_bytes(&file.host().network).unwrap();
    let flash = flash_file(board, folder.path(), "flash", &[]);
    let program = programs.join(board.name);
    let length = program_len(&program);
    assert!(length <= PROGRAM_LIMIT, "{}: {length} bytes", board.name);
    let counted = ["-icount", "shift=6"];
    let (_running, mut device) = switch_on(board, &program, &flash, &counted);
    assert!(device.takes_pixels(&file));
    device.update(&file, |_, _| ()).unwrap();
    let backbone = backbone::open("edge-int8").unwrap();
    let extractor = Extractor::for_bank(&file, &*backbone).unwrap();
    let grey = FRAMES.map(|name| {
        let path = sample().join("test").join(name);
        extractor.pictures(&path).unwrap()
    });
    // A frame with colours, narrower than high; grey at its coarser levels.
    let mut coloured: Vec<RgbImage> = (0..levels.count())
        .map(|level| image::imageops::crop_imm(&grey[0][level], 0, 0, 64 >> level, 96 >> level))
        .map(|part| part.to_image())
        .collect();
    for (x, y, pixel) in coloured[0].enumerate_pixels_mut() {
        pixel.0[0] = pixel.0[0].wrapping_add((x * 5) as u8);
        pixel.0[2] = pixel.0[2].wrapping_sub((y * 3) as u8);
    }
    let mut first = None;
    for frame in grey.iter().chain([&coloured, &grey[0]]) {
        let found = device.compare_pixels(&bank, &network, frame).unwrap();
        assert!(found.equal(), "{}: {found:?}", board.name);
        let run = found.device.network.unwrap();
        assert!(run.cycles > found.device.cycles);
        let cycles = (run.cycles, found.device.cycles);
        let (first_frame, first_cycles) = first.get_or_insert((frame, cycles));
        // Counted instructions: equal work takes equal time.
        if *first_frame == frame {
            assert_eq!(cycles, *first_cycles, "{}", board.name);
        }
    }
    // Features are still taken, and a frame of pixels that was begun is not in their way.
    let frame = network_frame(&network, &grey[0]).unwrap();
    assert!(device.compare(&bank, &frame).unwrap().equal());
    // Wider than the rows that there is room for.
    let wide: Vec<RgbImage> = (0..levels.count()).map(|_| RgbImage::new(512, 8)).collect();
    let refused = device.compare_pixels(&bank, &network, &wide).unwrap_err();
    assert!(refused.to_string().contains("room for"), "{refused}");
    assert!(device.statistics().unwrap().stack_bytes > 0);
}

#[test]
fn cortex_m4_takes_pixels() {
    pixels_become_the_hosts_verdict(&BOARDS[0], Levels::One);
}

#[test]
fn cortex_m7_takes_pixels() {
    pixels_become_the_hosts_verdict(&BOARDS[1], Levels::Two);
}

#[test]
fn cortex_m55_takes_pixels() {
    pixels_become_the_hosts_verdict(&BOARDS[2], Levels::Three);
}

/// Builds the C example for a target, has it score all images, and compares what it prints with the
/// host's verdicts. `emulate` runs a program in a folder and gives what it printed.
fn the_c_example_gives_the_hosts_verdict(
    target: &str,
    levels: Levels,
    tools: &[&str],
    emulate: impl Fn(&Path, &Path) -> String,
) {
    let what = format!("the C example on {target}");
    if let Some(missing) = tools.iter().find(|tool| !has(tool)) {
        return leave_out(&what, &format!("no {missing}"));
    }
    let Some(toolchain) = toolchain(target) else {
        return leave_out(&what, &format!("no library for {target}"));
    };
    let folder = tempfile::tempdir().unwrap();
    let file = fitted(levels);
    for (artefact, name) in [
        (Artefact::bank(&file).unwrap(), "bank"),
        (Artefact::network(&file).unwrap(), "network"),
    ] {
        let header = artefact.render(Format::CHeader, &format!("vod_{name}"));
        std::fs::write(folder.path().join(format!("{name}.h")), header.unwrap()).unwrap();
    }
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../firmware/c-api/example");
    let mut build = Command::new(example.join("build.sh"));
    build.arg(folder.path()).arg(target);
    build.args((!toolchain.is_empty()).then_some(&toolchain));
    let libraries = Path::new(env!("CARGO_TARGET_TMPDIR")).join("c-api");
    build.env("CARGO_TARGET_DIR", libraries);
    for name in ["RUSTUP_TOOLCHAIN", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        build.env_remove(name);
    }
    output(&mut build);
    for (path, pictures) in frames(&file) {
        write_frame(folder.path(), &pictures);
        let text = emulate(folder.path(), &folder.path().join("example.elf"));
        let expected = expected(&file, &pictures);
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
        let found: Vec<&str> = text.lines().collect();
        assert_eq!(found, lines, "{target}: {}", path.display());
    }
}

/// Runs a program on a machine of QEMU's, with semihosting.
fn machine(arguments: &[&str]) -> impl Fn(&Path, &Path) -> String {
    move |folder, program| {
        let mut qemu = Command::new("qemu-system-arm");
        qemu.current_dir(folder).args(arguments);
        qemu.args(["-display", "none", "-monitor", "none", "-serial", "none"]);
        qemu.args(["-chardev", "stdio,id=text", "-semihosting-config"]);
        qemu.args(["enable=on,target=native,chardev=text", "-kernel"]);
        output(qemu.arg(program))
    }
}

#[test]
fn c_on_cortex_m4() {
    let tools = ["qemu-system-arm", "arm-none-eabi-gcc"];
    let m4 = machine(&["-M", "mps2-an386", "-cpu", "cortex-m4"]);
    the_c_example_gives_the_hosts_verdict("thumbv7em-none-eabihf", Levels::Two, &tools, m4);
}

#[test]
fn c_on_cortex_m55() {
    let tools = ["qemu-system-arm", "arm-none-eabi-gcc"];
    let m55 = machine(&["-M", "mps3-an547"]);
    the_c_example_gives_the_hosts_verdict("thumbv8m.main-none-eabihf", Levels::One, &tools, m55);
}

#[test]
fn c_on_aarch64() {
    let tools = ["qemu-aarch64", "aarch64-linux-gnu-gcc"];
    let linux = |folder: &Path, program: &Path| {
        let mut qemu = Command::new("qemu-aarch64");
        qemu.current_dir(folder);
        output(qemu.args(["-L", "/usr/aarch64-linux-gnu"]).arg(program))
    };
    the_c_example_gives_the_hosts_verdict(
        "aarch64-unknown-linux-gnu",
        Levels::Three,
        &tools,
        linux,
    );
}
