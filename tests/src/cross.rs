//! Building for other targets and running what was built: only where a toolchain and an emulator
//! are there, since neither is asked of those who build the project.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

/// Whether `program` can be started.
pub fn has(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version");
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// The first of rustup's toolchains, the default one before all, that has a library for `target`;
/// as an argument for cargo, such as `+nightly`. Empty for the default one.
pub fn toolchain(target: &str) -> Option<String> {
    let list = Command::new("rustup").args(["toolchain", "list"]).output();
    let list = list.map_or_else(
        |_| String::new(),
        |o| String::from_utf8_lossy(&o.stdout).into(),
    );
    let others = list
        .lines()
        .filter_map(|line| Some(format!("+{}", line.split_whitespace().next()?)));
    let mut candidates = std::iter::once(String::new()).chain(others);
    candidates.find(|toolchain| {
        let mut rustc = Command::new("rustc");
        if !toolchain.is_empty() {
            rustc.arg(toolchain).env_remove("RUSTUP_TOOLCHAIN");
        }
        rustc.args(["--print", "target-libdir", "--target", target]);
        rustc.output().is_ok_and(|output| {
            let folder = String::from_utf8_lossy(&output.stdout);
            output.status.success() && holds_core(Path::new(folder.trim()))
        })
    })
}

fn holds_core(folder: &Path) -> bool {
    std::fs::read_dir(folder).is_ok_and(|mut entries| {
        entries.any(|entry| {
            entry.is_ok_and(|entry| entry.file_name().to_string_lossy().starts_with("libcore-"))
        })
    })
}

/// Cargo of a toolchain, as [`toolchain`] names it, free of what the cargo that runs a test set.
pub fn cargo(toolchain: &str) -> Command {
    let mut command = Command::new("cargo");
    if !toolchain.is_empty() {
        command.arg(toolchain);
    }
    for name in [
        "RUSTUP_TOOLCHAIN",
        "RUSTFLAGS",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_TARGET_DIR",
    ] {
        command.env_remove(name);
    }
    command
}

/// Says, in one line that the test harness does not swallow, what was not tested and why.
pub fn leave_out(what: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "left out: {what}: {why}");
}

/// Runs to the end and gives what was printed.
///
/// # Panics
/// Where the command can't be run or fails.
pub fn output(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{command:?}: {}\n{text}{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}
