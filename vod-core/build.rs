//! Says which Armv7E-M and Armv8.1-M kernels may be built: stable Rust has no `cfg(target_feature)`
//! for the DSP extension and Helium.

use std::env;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(vod_dsp, vod_helium)");
    let target = env::var("TARGET").unwrap_or_default();
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let cpu = |names: &[&str]| {
        names
            .iter()
            .any(|name| flags.contains(&format!("target-cpu={name}")))
    };
    let mainline = target.starts_with("thumbv8m.main");
    if mainline && cpu(&["cortex-m55", "cortex-m85"]) {
        println!("cargo::rustc-cfg=vod_helium");
    } else if target.starts_with("thumbv7em") || mainline && cpu(&["cortex-m33", "cortex-m35p"]) {
        println!("cargo::rustc-cfg=vod_dsp");
    }
}
