//! What commands have in common when they print.

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use vod_host::bank_file::{check_output, write_file};
use vod_host::{Error, Result};

/// An error on stderr, in one line.
pub fn report(error: &Error) {
    eprintln!("vod: {}", error.to_string().replace('\n', " "));
}

/// A progress bar on stderr where that is a terminal.
pub fn progress(quiet: bool) -> ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(0);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Writes machine output to a file, or to stdout for `-`.
pub fn write_json(target: &str, value: &impl serde::Serialize, force: bool) -> Result<()> {
    let mut text = serde_json::to_string_pretty(value)
        .map_err(|e| Error::Data(format!("result can't be written as JSON: {e}")))?;
    text.push('\n');
    write_text(target, &text, force)
}

/// Refuses a file for machine output that could not be written, before the work that fills it.
pub fn check_json(target: Option<&str>, force: bool) -> Result<()> {
    match target {
        Some(target) if target != "-" => check_output(Path::new(target), force),
        _ => Ok(()),
    }
}

/// Writes text to a file, or to stdout for `-`.
pub fn write_text(target: &str, text: &str, force: bool) -> Result<()> {
    if target == "-" {
        return print(text);
    }
    write_file(Path::new(target), text.as_bytes(), force)
}

/// Writes to stdout; a reader that has gone away is no error.
pub fn print(text: &str) -> Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => Err(Error::io("stdout")(e)),
        _ => Ok(()),
    }
}
