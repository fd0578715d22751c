//! The `vod` command as its users meet it: results, messages, exit statuses, files.
//!
//! One program for all of it, so that the inference runtime is linked once.

mod background;
mod bad_input;
mod command;
mod demo;
mod levels;
mod upkeep;

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_vod"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn vod(arguments: &[&str]) -> Output {
    command(arguments).output().unwrap()
}

/// Runs a command given as a line of words, in which each `{}` stands for the next of `values`.
fn vod_with(line: &str, values: &[&str]) -> Output {
    let mut values = values.iter();
    let words = line.split(' ').map(|word| match word {
        "{}" => values.next().expect("a value for each {}"),
        word => word,
    });
    let output = vod(&words.collect::<Vec<_>>());
    assert!(values.next().is_none(), "a {{}} for each value of {line}");
    output
}

/// Runs a command that must succeed, and gives what it printed.
fn done(arguments: &[&str]) -> String {
    let output = vod(arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The JSON that a command that succeeded printed.
fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", text(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// One line on stderr that holds `part`, and this exit status.
fn check_error(output: &Output, status: i32, part: &str) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.contains(part), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
}

/// A file or folder of the bundled sample.
fn sample(part: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/solar-cells");
    folder.join(part).display().to_string()
}

fn path(folder: &Path, name: &str) -> String {
    folder.join(name).display().to_string()
}

/// A bank of the `edge` backbone that needs no fit.
fn golden_bank() -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures");
    path(&fixtures, "golden/bank-v1.vod")
}

/// Fits a bank of the first `shots` references of the sample into `folder`; gives its path.
fn fitted(folder: &Path, shots: usize, size: &str, more: &[&str]) -> String {
    let bank = path(folder, "part.vod");
    let good = folder.join("good parts");
    std::fs::create_dir(&good).unwrap();
    for i in 0..shots {
        let name = format!("{i:03}.png");
        copy(sample("train/good/") + &name, good.join(&name));
    }
    let good = good.display().to_string();
    let mut arguments = vec!["fit", &good, "--size", size, "--out", &bank];
    arguments.extend(more);
    done(&arguments);
    bank
}

fn copy(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    std::fs::copy(from, to).unwrap();
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Sends Ctrl-C to a program that runs.
#[cfg(unix)]
fn interrupt(child: &std::process::Child) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args(["-INT", &id]).status().unwrap();
    assert!(sent.success());
}

/// The blocks of JSON of a page: its index, then the contents of each image.
fn blocks(page: &str) -> (Vec<Value>, Vec<Value>) {
    let mut blocks = page
        .split("<script type=\"application/json\"")
        .skip(1)
        .map(|rest| rest.split_once('>').unwrap().1)
        .map(|rest| serde_json::from_str(rest.split_once("</script>").unwrap().0).unwrap());
    let index: Value = blocks.next().unwrap();
    (index.as_array().unwrap().clone(), blocks.collect())
}

/// The bundled sample as a folder.
fn sample_folder() -> PathBuf {
    PathBuf::from(sample(""))
}
