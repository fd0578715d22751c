//! Links by cortex-m-rt's script, with the bank and the network that `VOD_BANK` and `VOD_NETWORK`
//! name (as `vod export --format bin` writes them).

use std::path::PathBuf;
use std::{env, fs};

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for (variable, name) in [("VOD_BANK", "bank.bin"), ("VOD_NETWORK", "network.bin")] {
        println!("cargo::rerun-if-env-changed={variable}");
        let file = env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no file"));
        println!("cargo::rerun-if-changed={}", file.display());
        fs::copy(&file, out.join(name)).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    }
    fs::copy("memory.x", out.join("memory.x")).expect("OUT_DIR can be written to");
    println!("cargo::rerun-if-changed=memory.x");
    println!("cargo::rustc-link-search={}", out.display());
    println!("cargo::rustc-link-arg-bins=-Tlink.x");
    println!("cargo::rustc-link-arg-bins=--nmagic");
}
