//! What the fuzz targets found worth keeping, replayed on a stable compiler.

#[path = "../fuzz/src/lib.rs"]
mod fuzz;

use std::path::Path;

/// Runs `target` over every committed input of the fuzz target `name`.
fn replay(name: &str, target: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(name);
    let mut paths: Vec<_> = std::fs::read_dir(&folder)
        .unwrap_or_else(|e| panic!("{}: {e}", folder.display()))
        .map(|entry| entry.expect("an entry").path())
        .collect();
    paths.sort();
    assert!(paths.len() >= 10, "{} inputs of {name}", paths.len());
    for path in paths {
        println!("{}", path.display()); // the last line names what fails
        target(&std::fs::read(&path).expect("an input"));
    }
}

#[test]
fn bank_bytes() {
    replay("bank_bytes", fuzz::bank_bytes);
}

#[test]
fn bank_and_frame() {
    replay("bank_and_frame", fuzz::bank_and_frame);
}
