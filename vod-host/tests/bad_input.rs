//! Input that is wrong: each is refused in one line that says what and where, and loses nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

fn vod(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vod"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn check_error(output: &Output, part: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(part), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
}

fn references() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/solar-cells/train/good")
}

/// A bank that needs no fit.
fn bank() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/bank-v1.vod");
    path.display().to_string()
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// A PNG header of a size that its few bytes can't hold, with a valid checksum.
fn bomb(width: u32, height: u32) -> Vec<u8> {
    let mut bytes = b"\x89PNG\r\n\x1a\n".to_vec();
    let mut chunk = |kind: &[u8], data: &[u8]| {
        bytes.extend((data.len() as u32).to_be_bytes());
        let covered: Vec<u8> = kind.iter().chain(data).copied().collect();
        bytes.extend(&covered);
        bytes.extend(vod_core::bank::checksum(&covered).to_be_bytes());
    };
    let mut header = width.to_be_bytes().to_vec();
    header.extend(height.to_be_bytes());
    header.extend([8, 2, 0, 0, 0]);
    chunk(b"IHDR", &header);
    // The start of a deflate stream of zeros.
    chunk(b"IDAT", &[0x78, 0x9c, 0xed, 0xc1, 0x01, 0x01]);
    chunk(b"IEND", &[]);
    bytes
}

#[test]
fn decompression_bombs_are_refused_by_their_header() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bomb.png");
    for (width, height, part) in [
        (20_000, 20_000, "20000 x 20000 pixels are more than"),
        (40_000, 10, "not a readable image"),
        (4_000_000_000, 4_000_000_000, "not a readable image"),
    ] {
        std::fs::write(&path, bomb(width, height)).unwrap();
        let output = vod(&["score", "--bank", &bank(), path.to_str().unwrap()]);
        check_error(&output, part);
    }
}

#[test]
fn a_long_image_of_20000_pixels_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.png");
    image::GrayImage::from_fn(20_000, 300, |x, y| image::Luma([(x ^ y) as u8]))
        .save(&path)
        .unwrap();
    let output = vod(&[
        "score",
        "--bank",
        &bank(),
        path.to_str().unwrap(),
        "--format",
        "csv",
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn sizes_may_be_mixed_but_not_where_parts_are_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let good = folder.path().join("good");
    std::fs::create_dir(&good).unwrap();
    for i in 0..3 {
        let picture = image::open(references().join(format!("{i:03}.png"))).unwrap();
        let size = image::imageops::FilterType::Triangle;
        let picture = picture.resize_exact(300 - 40 * i, 200 + 90 * i, size);
        picture.save(good.join(format!("{i}.png"))).unwrap();
    }
    for option in ["--quiet", "--aligned"] {
        let out = folder.path().join(format!("{option}.vod"));
        let arguments = [
            "fit",
            good.to_str().unwrap(),
            "--size",
            "128",
            "--out",
            out.to_str().unwrap(),
            option,
        ];
        let output = vod(&arguments);
        assert!(
            output.status.success(),
            "{option}: {}",
            text(&output.stderr)
        );
    }
}

#[test]
fn damaged_banks_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.vod");
    let whole = std::fs::read(bank()).unwrap();
    let image = references().join("000.png");
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for (bytes, part) in [
        (&flipped[..], "checksum differs"),
        (&whole[..whole.len() - 9], "bytes long"),
        (&b""[..], "bytes long"),
        (
            &b"\x89PNG\r\n\x1a\n and more of it"[..],
            "does not start with VODB",
        ),
    ] {
        std::fs::write(&path, bytes).unwrap();
        let output = vod(&[
            "score",
            "--bank",
            path.to_str().unwrap(),
            image.to_str().unwrap(),
        ]);
        check_error(&output, part);
        assert!(text(&output.stderr).contains("damaged.vod"));
    }
}

#[test]
fn features_that_are_no_numbers_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/tokens");
    let manifest = std::fs::read_to_string(fixtures.join("tokens.toml")).unwrap();
    // Pixels divided by next to nothing.
    let broken = manifest.replace("std = [1.0, 1.0, 1.0]", "std = [1e-38, 1e-38, 1e-38]");
    assert_ne!(broken, manifest);
    let path = folder.path().join("tokens.toml");
    std::fs::write(&path, broken).unwrap();
    std::fs::copy(
        fixtures.join("tokens.onnx"),
        folder.path().join("tokens.onnx"),
    )
    .unwrap();
    let out = folder.path().join("x.vod");
    let output = vod(&[
        "fit",
        references().to_str().unwrap(),
        "--shots",
        "1",
        "--size",
        "128",
        "--backbone",
        path.to_str().unwrap(),
        "--out",
        out.to_str().unwrap(),
    ]);
    check_error(&output, "NaN or infinity");
    assert!(!out.exists());
}

#[cfg(unix)]
#[test]
fn names_with_blanks_and_without_utf8_are_taken() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let line = folder.path().join("line of today");
    std::fs::create_dir(&line).unwrap();
    let name = std::ffi::OsStr::from_bytes(b"caf\xe9 <b>.png");
    std::fs::copy(references().join("000.png"), line.join(name)).unwrap();
    let maps = folder.path().join("maps");
    let report = folder.path().join("report.html");
    let output = vod(&[
        "score",
        "--bank",
        &bank(),
        line.to_str().unwrap(),
        "--format",
        "json",
        "--heatmaps",
        maps.to_str().unwrap(),
        "--report",
        report.to_str().unwrap(),
    ]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stdout).contains("caf\u{fffd} <b>.png"));
    assert_eq!(std::fs::read_dir(maps).unwrap().count(), 1);
    let page = std::fs::read_to_string(report).unwrap();
    assert!(!page.contains("<b>.png"), "the page must escape names");
}

#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_is_told_and_a_device_stays_one() {
    use std::os::unix::fs::FileTypeExt;
    let image = references().join("000.png");
    let output = vod(&[
        "score",
        "--bank",
        &bank(),
        image.to_str().unwrap(),
        "--json",
        "/dev/full",
        "--force",
    ]);
    check_error(&output, "/dev/full: No space left on device");
    let kind = std::fs::metadata("/dev/full").unwrap().file_type();
    assert!(kind.is_char_device());
}

#[cfg(unix)]
#[test]
fn a_folder_that_can_not_be_written_is_named() {
    let image = references().join("000.png");
    // No user may create files here, not even the superuser.
    let output = vod(&[
        "score",
        "--bank",
        &bank(),
        image.to_str().unwrap(),
        "--json",
        "/proc/verdicts.json",
    ]);
    check_error(&output, "/proc/verdicts.json: ");
}

#[cfg(unix)]
#[test]
fn an_interrupted_fit_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("part.vod");
    let mut child = Command::new(env!("CARGO_BIN_EXE_vod"))
        .args([
            "fit",
            references().to_str().unwrap(),
            "--size",
            "512",
            "--out",
        ])
        .arg(&out)
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    let id = child.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-INT", &id])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(child.wait().unwrap().code(), Some(130));
    assert_eq!(files(folder.path()), Vec::<String>::new());
}
