//! Input that is wrong: each is refused in one line that says what and where, and loses nothing.

use std::path::{Path, PathBuf};

use crate::*;

fn references() -> PathBuf {
    PathBuf::from(sample("train/good"))
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
        let output = vod(&["score", "--bank", &golden_bank(), path.to_str().unwrap()]);
        check_error(&output, 1, part);
    }
}

#[test]
fn a_long_image_of_20000_pixels_is_scored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.png");
    image::GrayImage::from_fn(20_000, 300, |x, y| image::Luma([(x ^ y) as u8]))
        .save(&path)
        .unwrap();
    let output = vod_with(
        "score --bank {} {} --format csv",
        &[&golden_bank(), path.to_str().unwrap()],
    );
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
    let whole = std::fs::read(golden_bank()).unwrap();
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
        check_error(&output, 1, part);
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
    let output = vod_with(
        "fit {} --shots 1 --size 128 --backbone {} --out {}",
        &[
            references().to_str().unwrap(),
            path.to_str().unwrap(),
            out.to_str().unwrap(),
        ],
    );
    check_error(&output, 1, "NaN or infinity");
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
    let output = vod_with(
        "score --bank {} {} --format json --heatmaps {} --report {}",
        &[
            &golden_bank(),
            line.to_str().unwrap(),
            maps.to_str().unwrap(),
            report.to_str().unwrap(),
        ],
    );
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
    let output = vod_with(
        "score --bank {} {} --json /dev/full --force",
        &[&golden_bank(), image.to_str().unwrap()],
    );
    check_error(&output, 1, "/dev/full: No space left on device");
    let kind = std::fs::metadata("/dev/full").unwrap().file_type();
    assert!(kind.is_char_device());
}

#[cfg(unix)]
#[test]
fn a_folder_that_can_not_be_written_is_named() {
    let image = references().join("000.png");
    // No user may create files here, not even the superuser.
    let output = vod_with(
        "score --bank {} {} --json /proc/verdicts.json",
        &[&golden_bank(), image.to_str().unwrap()],
    );
    check_error(&output, 1, "/proc/verdicts.json: ");
}

/// Runs `vod` where a file of more than 64 KB can't be written.
#[cfg(target_os = "linux")]
#[test]
fn a_disk_that_fills_up_loses_no_file_and_leaves_no_half_one() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("disk");
    std::fs::create_dir(&out).unwrap();
    // A file system of its own, which is gone with the program.
    let script = r#"mount -t tmpfs -o size=64k tmpfs "$1" || exit 99
        echo kept > "$1/kept.vod"
        "$2" fit "$3" --shots 2 --size 160 --out "$1/kept.vod" --force
        status=$?
        ls -A "$1"; cat "$1/kept.vod"
        exit $status"#;
    let output = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, "sh"])
        .arg(&out)
        .arg(env!("CARGO_BIN_EXE_vod"))
        .arg(references())
        .output();
    let output = match output {
        Ok(output)
            if !text(&output.stderr).contains("unshare:") && output.status.code() != Some(99) =>
        {
            output
        }
        _ => {
            // Unlike `eprintln!` seen where tests pass.
            let _ = std::io::Write::write_all(
                &mut std::io::stderr(),
                b"left out: no small disk can be mounted here\n",
            );
            return;
        }
    };
    check_error(&output, 1, "kept.vod: No space left on device");
    assert_eq!(text(&output.stdout), "kept.vod\nkept\n");
}

#[cfg(unix)]
#[test]
fn a_bank_that_could_not_be_written_is_refused_before_the_fit() {
    let start = std::time::Instant::now();
    let references = references().display().to_string();
    let fit = |out: &str| vod(&["fit", &references, "--backbone", "vit", "--out", out]);
    check_error(&fit("/proc/part.vod"), 1, "/proc/part.vod: ");
    check_error(
        &fit("/no/such/folder/part.vod"),
        1,
        "No such file or directory",
    );
    let told = start.elapsed();
    let folder = tempfile::tempdir().unwrap();
    let json = folder.path().join("there.json");
    std::fs::write(&json, "mine").unwrap();
    let (bank, json) = (path(folder.path(), "x.vod"), json.display().to_string());
    let output = vod(&["fit", &references, "--out", &bank, "--json", &json]);
    check_error(&output, 1, "there.json: exists already");
    assert_eq!(files(folder.path()), ["there.json"]);
    // No backbone can be loaded in this time, let alone eight images of it.
    assert!(told.as_secs() < 60, "{told:?}");
}

#[test]
fn folders_without_images_are_named_by_every_command() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no image").unwrap();
    let (empty, bank) = (folder.path().display().to_string(), golden_bank());
    let out = path(folder.path(), "new.vod");
    let good = sample("test/good");
    for arguments in [
        &["fit", &empty, "--out", &out][..],
        &["calibrate", &bank, "--good", &empty, "--out", &out],
        &[
            "calibrate",
            &bank,
            "--good",
            &good,
            "--bad",
            &empty,
            "--out",
            &out,
        ],
        &["update", &bank, "--good", &empty, "--out", &out],
        &["update", &bank, "--bad", &empty, "--out", &out],
        &["drift", &bank, &empty],
        &["score", "--bank", &bank, &empty, "--format", "json"],
        &["eval", &empty],
    ] {
        let output = vod(arguments);
        check_error(&output, 1, folder.path().to_str().unwrap());
        let message = text(&output.stderr);
        let is_told = message.contains("no images") || message.contains("no data set with images");
        assert!(is_told, "{arguments:?}: {message}");
    }
    assert_eq!(files(folder.path()), ["notes.txt"]);
}

#[cfg(unix)]
#[test]
fn references_and_banks_may_have_any_name() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let name = |bytes: &[u8]| folder.path().join(std::ffi::OsStr::from_bytes(bytes));
    let (good, bank) = (name(b"gute Teile \xfc"), name(b"Teil \xe4.vod"));
    std::fs::create_dir(&good).unwrap();
    for i in 0..2 {
        let from = references().join(format!("{i:03}.png"));
        copy(
            from,
            good.join(std::ffi::OsStr::from_bytes(&[
                b'\xe9',
                b'0' + i,
                b'.',
                b'p',
                b'n',
                b'g',
            ])),
        );
    }
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = command(&[]).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };
    let plain = std::ffi::OsStr::new;
    run(&[
        plain("fit"),
        good.as_os_str(),
        plain("--size"),
        plain("128"),
        plain("--out"),
        bank.as_os_str(),
    ]);
    assert!(bank.is_file());
    let printed = run(&[
        plain("score"),
        good.as_os_str(),
        plain("--bank"),
        bank.as_os_str(),
    ]);
    assert!(
        printed.contains("\u{fffd}1.png") && printed.contains("2 images"),
        "{printed}"
    );
}

#[cfg(unix)]
#[test]
fn an_interrupted_fit_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("part.vod");
    let references = references().display().to_string();
    let mut child = command(&["fit", &references, "--size", "512", "--out"])
        .arg(&out)
        .spawn()
        .unwrap();
    std::thread::sleep(std::time::Duration::from_millis(300));
    interrupt(&child);
    // Before the program listens to Ctrl-C, the system ends it by the signal.
    use std::os::unix::process::ExitStatusExt;
    let status = child.wait().unwrap();
    assert!(
        status.code() == Some(130) || status.signal() == Some(2),
        "{status}"
    );
    assert_eq!(files(folder.path()), Vec::<String>::new());
}
