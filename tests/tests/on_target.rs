//! Kernels of other processors under emulation, and what the scoring path takes of their memory.

use std::path::{Path, PathBuf};
use std::process::Command;

use vod_tests::cross::{cargo, has, leave_out, output, toolchain};

/// A Cortex-M and the machine that emulates it.
struct Target {
    name: &'static str,
    triple: &'static str,
    flags: &'static str,
    machine: &'static str,
    kernels: &'static str,
}

const TARGETS: [Target; 4] = [
    // Armv6-M is a part of the Cortex-M3's instructions.
    Target {
        name: "thumbv6m",
        triple: "thumbv6m-none-eabi",
        flags: "",
        machine: "mps2-an385",
        kernels: "scalar",
    },
    Target {
        name: "Cortex-M4",
        triple: "thumbv7em-none-eabihf",
        flags: "",
        machine: "mps2-an386",
        kernels: "scalar dsp",
    },
    Target {
        name: "Cortex-M7",
        triple: "thumbv7em-none-eabihf",
        flags: "",
        machine: "mps2-an500",
        kernels: "scalar dsp",
    },
    Target {
        name: "Cortex-M55",
        triple: "thumbv8m.main-none-eabihf",
        flags: "-C target-cpu=cortex-m55",
        machine: "mps3-an547",
        kernels: "scalar helium",
    },
];

fn project(folder: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)
}

/// One folder for all, so that what the host needs of the dependencies is built once.
fn build_folder() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("cross")
}

/// Every kernel agrees with the scalar one, and every processor with this one.
#[test]
fn cortex_m_gives_the_bits_of_the_host() {
    let what = "kernels on Cortex-M";
    if !has("qemu-system-arm") {
        return leave_out(what, "no qemu-system-arm");
    }
    let here = project("on-target");
    let mut host = cargo("");
    host.current_dir(&here)
        .args([
            "run",
            "--quiet",
            "--release",
            "--bin",
            "check",
            "--target-dir",
        ])
        .arg(build_folder());
    let expected = output(&mut host);
    let expected = expected.trim().strip_suffix("scalar").expect("the host");
    for target in TARGETS {
        let Some(toolchain) = toolchain(target.triple) else {
            leave_out(what, &format!("no library for {}", target.triple));
            continue;
        };
        let folder = build_folder();
        output(
            cargo(&toolchain)
                .current_dir(&here)
                .env("RUSTFLAGS", target.flags)
                .args(["build", "--quiet", "--release", "--bin", "check"])
                .args(["--target", target.triple, "--target-dir"])
                .arg(&folder),
        );
        let found = output(
            Command::new("qemu-system-arm")
                .args(["-M", target.machine, "-nographic"])
                .args(["-semihosting-config", "enable=on,target=native", "-kernel"])
                .arg(folder.join(target.triple).join("release/check")),
        );
        let expected = format!("{expected}{}", target.kernels);
        assert_eq!(found.trim(), expected, "{}", target.name);
    }
}

/// The property tests of the scoring core, with dot products and without.
#[test]
fn aarch64_kernels_pass_the_property_tests() {
    let (what, triple) = ("kernels on aarch64", "aarch64-unknown-linux-gnu");
    let (emulator, linker) = ("qemu-aarch64", "aarch64-linux-gnu-gcc");
    if let Some(missing) = [emulator, linker].into_iter().find(|program| !has(program)) {
        return leave_out(what, &format!("no {missing}"));
    }
    let Some(toolchain) = toolchain(triple) else {
        return leave_out(what, &format!("no library for {triple}"));
    };
    for (cpu, kernels) in [
        ("max", r#"["scalar", "neon", "dotprod"]"#),
        ("cortex-a53", r#"["scalar", "neon"]"#),
    ] {
        let runner = format!("{emulator} -cpu {cpu} -L /usr/aarch64-linux-gnu");
        let found = output(
            cargo(&toolchain)
                .current_dir(project("../vod-core"))
                .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", linker)
                .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER", runner)
                .args(["test", "--quiet", "--release", "--features", "std"])
                .args(["--test", "scoring", "--target", triple, "--target-dir"])
                .arg(build_folder())
                .args(["--", "--nocapture"]),
        );
        assert!(found.contains(kernels), "{cpu}: {found}");
    }
}

/// No panic is left on the scoring path, and its code fits.
#[test]
fn the_scoring_path_is_small_and_can_not_panic() {
    let what = "code size and absence of panics";
    if !has("arm-none-eabi-size") {
        return leave_out(what, "no arm-none-eabi-size");
    }
    let triples = [
        "thumbv6m-none-eabi",
        "thumbv7em-none-eabihf",
        "thumbv8m.main-none-eabihf",
    ];
    let toolchains: Option<Vec<String>> = triples.into_iter().map(toolchain).collect();
    // The script takes one toolchain.
    match toolchains.as_deref() {
        Some([first, others @ ..]) if others.iter().all(|other| other == first) => {
            let mut check = Command::new(project("footprint/check.sh"));
            check.env("CARGO_TARGET_DIR", build_folder());
            check.env_remove("RUSTUP_TOOLCHAIN");
            if !first.is_empty() {
                check.arg(first);
            }
            print!("{}", output(&mut check));
        }
        _ => leave_out(what, "no toolchain with libraries for all of Cortex-M"),
    }
}
