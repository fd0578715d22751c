//! The whole `vod` command, built for aarch64 and run by QEMU, against this machine's: whether a Linux
//! camera gives the same bits. Ignored: the inference runtime takes long to build for another target.
//!
//! ```sh
//! cargo test --release -p vod-tests --test aarch64 -- --ignored --nocapture
//! ```

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use vod_host::bank_file::BankFile;
use vod_tests::cross::{cargo, has, leave_out, output, toolchain};
use vod_tests::sample;

const TARGET: &str = "aarch64-unknown-linux-gnu";
const LINKER: &str = "aarch64-linux-gnu-gcc";
const EMULATOR: &str = "qemu-aarch64";
/// The first with dot products, the second without.
const CPUS: [&str; 2] = ["max", "cortex-a53"];
const SIZE: &str = "128";

type Files = BTreeMap<PathBuf, Vec<u8>>;

/// Files of a folder and all below it.
fn files(folder: &Path) -> Files {
    let mut found = Files::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            let bytes = std::fs::read(&path).unwrap();
            found.insert(path, bytes);
        }
    }
    found
}

/// Something that runs a `vod` command.
struct Machine {
    start: Vec<String>,
    /// Its own folder for what it writes.
    folder: PathBuf,
}

impl Machine {
    fn new(start: &[&str], program: &Path, folder: PathBuf) -> Self {
        std::fs::create_dir(&folder).unwrap();
        let start = start.iter().map(|part| part.to_string());
        Self {
            start: start.chain([program.display().to_string()]).collect(),
            folder,
        }
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    fn vod(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(&self.start[0]);
        command.args(&self.start[1..]).arg("--quiet");
        output(command.args(arguments))
    }

    /// A bank of the sample.
    fn fit(&self, backbone: &str) -> BankFile {
        let (references, bank) = (sample().join("train/good"), self.path("bank.vod"));
        self.vod(&[
            "fit",
            references.to_str().unwrap(),
            "--backbone",
            backbone,
            "--shots",
            "4",
            "--size",
            SIZE,
            "--bank-bytes",
            "60000",
            "--out",
            &bank,
            "--force",
        ]);
        BankFile::read(Path::new(&bank)).unwrap()
    }

    /// What `bank` says of all test images, time left out, and their maps.
    fn score(&self, bank: &str) -> (Vec<Value>, Vec<Vec<u8>>) {
        let (images, maps) = (sample().join("test"), self.path("maps"));
        let text = self.vod(&[
            "score",
            "--bank",
            bank,
            images.to_str().unwrap(),
            "--format",
            "json",
            "--maps",
            &maps,
            "--map-format",
            "npy",
        ]);
        let verdicts = text.lines().map(|line| {
            let mut verdict: Value = serde_json::from_str(line).unwrap();
            verdict.as_object_mut().unwrap().remove("seconds").unwrap();
            verdict
        });
        let maps_found = files(Path::new(&maps)).into_values().collect();
        std::fs::remove_dir_all(&maps).unwrap();
        (verdicts.collect(), maps_found)
    }

    /// Floating-point features of the sample's images, by the hash of their pixels.
    fn features(&self, backbone: &str) -> BTreeMap<String, Vec<f32>> {
        let cache = self.path("features");
        self.vod(&[
            "eval",
            sample().to_str().unwrap(),
            "--backbone",
            backbone,
            "--method",
            "distance",
            "--shots",
            "1",
            "--seeds",
            "1",
            "--size",
            SIZE,
            "--feature-cache",
            &cache,
        ]);
        let named = |(path, bytes): (PathBuf, Vec<u8>)| {
            let words = bytes.as_chunks::<4>().0.iter();
            let values = words.map(|b| f32::from_le_bytes(*b)).collect();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, values)
        };
        files(Path::new(&cache)).into_iter().map(named).collect()
    }
}

/// Builds both commands; `None`, with a line of why, where that can't be tried.
fn programs() -> Option<[PathBuf; 2]> {
    let what = "the vod command on aarch64";
    if let Some(missing) = [EMULATOR, LINKER].into_iter().find(|program| !has(program)) {
        leave_out(what, &format!("no {missing}"));
        return None;
    }
    let Some(toolchain) = toolchain(TARGET) else {
        leave_out(what, &format!("no library for {TARGET}"));
        return None;
    };
    // That of the kernels' tests, which need a part of the same crates.
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cross");
    let build = |mut cargo: Command, target_dir: &Path| {
        cargo
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(".."))
            .args(["build", "--quiet", "--release", "--locked"])
            .args(["-p", "vod-host", "--bin", "vod", "--target-dir"])
            .arg(target_dir);
        cargo
    };
    let mut cross = build(cargo(&toolchain), &folder);
    cross.env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
    output(cross.args(["--target", TARGET]));
    let test = std::env::current_exe().unwrap();
    // target/release/deps/aarch64-...
    let own = test.ancestors().nth(3).unwrap();
    output(&mut build(cargo(""), own));
    Some([
        own.join("release/vod"),
        folder.join(TARGET).join("release/vod"),
    ])
}

#[test]
#[ignore = "builds the inference runtime for another target"]
fn a_linux_camera_gives_the_bits_of_the_host() {
    let Some([own, cross]) = programs() else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let host = Machine::new(&[], &own, folder.path().join("host"));
    let host_features = host.features("edge");
    for cpu in CPUS {
        let emulator = [EMULATOR, "-cpu", cpu, "-L", "/usr/aarch64-linux-gnu"];
        let camera = Machine::new(&emulator, &cross, folder.path().join(cpu));

        let found = camera.features("edge");
        assert!(found.keys().eq(host_features.keys()), "pixels differ");
        let pairs = || {
            found
                .values()
                .flatten()
                .zip(host_features.values().flatten())
        };
        let differing = pairs().filter(|(a, b)| a.to_bits() != b.to_bits()).count();
        let largest = pairs().map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        println!(
            "{cpu}: {differing} of {} features of `edge` differ, by at most {largest:e}",
            pairs().count()
        );
        assert!(largest < 1e-3, "{cpu}: features differ by {largest}");

        for backbone in ["edge", "edge-int8"] {
            let (wanted, fitted) = (host.fit(backbone), camera.fit(backbone));
            let (wanted_bank, bank) = (wanted.bank().unwrap(), fitted.bank().unwrap());
            println!(
                "{cpu}, {backbone}: bank equal: {}, its rows: {}, its network: {}",
                wanted.bytes() == fitted.bytes(),
                wanted_bank.rows() == bank.rows(),
                wanted.host().network == fitted.host().network,
            );
            // The host's bank on both.
            let (verdicts, maps) = host.score(&host.path("bank.vod"));
            let (found, found_maps) = camera.score(&host.path("bank.vod"));
            assert_eq!(verdicts.len(), 16);
            let equal = |a: usize, b: usize| format!("{a} of {b} equal");
            let same_verdicts = verdicts.iter().zip(&found).filter(|(a, b)| a == b).count();
            let same_maps = maps.iter().zip(&found_maps).filter(|(a, b)| a == b).count();
            println!(
                "{cpu}, {backbone}: verdicts {}, maps {}",
                equal(same_verdicts, verdicts.len()),
                equal(same_maps, maps.len())
            );
            let anomalous = |all: &[Value]| -> Vec<Value> {
                all.iter().map(|v| v["anomalous"].clone()).collect()
            };
            assert_eq!(anomalous(&verdicts), anomalous(&found), "{cpu}, {backbone}");
            if backbone == "edge-int8" || differing == 0 {
                // Integers from the pixels on, or from features that are the same.
                assert_eq!(verdicts, found, "{cpu}, {backbone}");
                assert!(maps == found_maps, "{cpu}, {backbone}: maps differ");
            }
        }
    }
}
