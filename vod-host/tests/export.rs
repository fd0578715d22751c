//! `vod export`: what firmware is given holds the device's part of the bank, whatever the form.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use vod_core::Bank;

fn golden_bank() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/bank-v1.vod")
}

fn export(bank: &Path, format: &str, out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_vod"))
        .args(["export", bank.to_str().unwrap(), "--format", format])
        .args(["--out", out.to_str().unwrap()])
        .args(more)
        .output()
        .unwrap()
}

/// The numbers of the one array in a source file.
fn numbers(source: &str, open: &str, close: &str) -> Vec<u8> {
    let (_, rest) = source.split_once(open).unwrap();
    let (list, _) = rest.split_once(close).unwrap();
    let items = list.split(',').map(str::trim).filter(|n| !n.is_empty());
    items.map(|n| n.parse().unwrap()).collect()
}

#[test]
fn every_form_holds_the_bank_without_its_host_section() {
    let folder = tempfile::tempdir().unwrap();
    let out = |name: &str| folder.path().join(name);
    for (format, name) in [("bin", "b.bin"), ("rust", "b.rs"), ("c-header", "b.h")] {
        let output = export(&golden_bank(), format, &out(name), &[]);
        assert!(output.status.success(), "{output:?}");
    }
    let whole = std::fs::read(golden_bank()).unwrap();
    let whole = Bank::from_bytes(&whole).unwrap();
    let device = std::fs::read(out("b.bin")).unwrap();
    let view = Bank::from_bytes(&device).unwrap();
    assert!(!whole.parts().host.is_empty() && view.parts().host.is_empty());
    let mut same = whole.parts().clone();
    same.host = &[];
    assert_eq!(*view.parts(), same);

    let rust = std::fs::read_to_string(out("b.rs")).unwrap();
    assert_eq!(numbers(&rust, "Aligned = Aligned([", "]);"), device);
    let header = std::fs::read_to_string(out("b.h")).unwrap();
    assert_eq!(
        numbers(&header, "vod_bank[VOD_BANK_SIZE] = {", "};"),
        device
    );
    assert!(header.contains(&format!("#define VOD_BANK_SIZE {}u", device.len())));
}

#[test]
fn rust_source_compiles_and_is_aligned() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("part.rs");
    let output = export(&golden_bank(), "rust", &source, &["--name", "part_7"]);
    assert!(output.status.success(), "{output:?}");
    let program = folder.path().join("main.rs");
    std::fs::write(
        &program,
        "#![deny(warnings)]\nmod part;\nfn main() {\n    \
         assert_eq!(part::PART_7.as_ptr() as usize % 16, 0);\n    \
         assert_eq!(&part::PART_7[..4], b\"VODB\");\n}\n",
    )
    .unwrap();
    let built = folder.path().join("main");
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-o"])
        .args([&built, &program])
        .status()
        .unwrap();
    assert!(status.success());
    assert!(Command::new(built).status().unwrap().success());
}

#[test]
fn wrong_names_and_existing_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("part.h");
    for name in ["", "Part", "7up", "a-b", "a b", "é"] {
        let output = export(&golden_bank(), "c-header", &out, &["--name", name]);
        assert_eq!(output.status.code(), Some(1), "{name}");
        assert!(!out.exists());
    }
    std::fs::write(&out, "kept").unwrap();
    let output = export(&golden_bank(), "c-header", &out, &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--force"));
    assert_eq!(std::fs::read_to_string(&out).unwrap(), "kept");
    let output = export(&golden_bank(), "c-header", &out, &["--force"]);
    assert!(output.status.success());
    let damaged = folder.path().join("damaged.vod");
    let mut bytes = std::fs::read(golden_bank()).unwrap();
    bytes[40] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();
    let output = export(&damaged, "bin", &folder.path().join("x"), &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("checksum"));
}

#[test]
fn the_network_of_an_int8_bank_goes_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let bank = folder.path().join("part.vod");
    let references = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/solar-cells");
    let output = Command::new(env!("CARGO_BIN_EXE_vod"))
        .args(["fit", references.to_str().unwrap(), "--shots", "2"])
        .args([
            "--backbone",
            "edge-int8",
            "--size",
            "96",
            "--bank-bytes",
            "8000",
        ])
        .args(["--out", bank.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    let out = folder.path().join("network.bin");
    let output = export(&bank, "bin", &out, &["--part", "network"]);
    assert!(output.status.success(), "{output:?}");
    let bytes = std::fs::read(&out).unwrap();
    let network = vod_core::conv::Network::from_bytes(&bytes).unwrap();
    assert_eq!((network.dimension(), network.stride()), (40, 8));
    let header = folder.path().join("network.h");
    let output = export(&bank, "c-header", &header, &["--part", "network"]);
    assert!(output.status.success(), "{output:?}");
    let text = std::fs::read_to_string(&header).unwrap();
    assert_eq!(
        numbers(&text, "vod_network[VOD_NETWORK_SIZE] = {", "};"),
        bytes
    );
    // The bank is exported without it.
    let out = folder.path().join("bank.bin");
    assert!(export(&bank, "bin", &out, &[]).status.success());
    assert!(std::fs::read(&out).unwrap().len() < 10_000);
    let output = export(
        &golden_bank(),
        "bin",
        &folder.path().join("x"),
        &["--part", "network"],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("carries no network"));
}
