//! `include/vod.h` is what cbindgen makes of this crate.

use std::path::Path;

#[test]
fn the_header_is_up_to_date() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let config = cbindgen::Config::from_file(folder.join("cbindgen.toml")).unwrap();
    let bindings = cbindgen::Builder::new()
        .with_crate(folder)
        .with_config(config)
        .generate()
        .unwrap();
    let mut header = Vec::new();
    bindings.write(&mut header);
    let path = folder.join("include/vod.h");
    if std::env::var_os("VOD_UPDATE_HEADER").is_some() {
        std::fs::write(&path, &header).unwrap();
    }
    let found = std::fs::read(&path).unwrap_or_default();
    assert!(
        found == header,
        "include/vod.h differs: run `VOD_UPDATE_HEADER=1 cargo test --test header`"
    );
}
