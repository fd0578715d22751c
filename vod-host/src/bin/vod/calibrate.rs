//! `vod calibrate`: the threshold of a bank, set again on images from the line.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vod_host::bank_file::check_output;
use vod_host::score::ImageScorer;
use vod_host::upkeep::{LineImages, OperatingPoint, recalibrate, score_line};
use vod_host::{Result, image};

use crate::fit::rate;
use crate::{Outcome, bank, output};

/// Set the threshold again on images from the line, and show what each threshold brings.
///
/// Writes a new bank and leaves the old one as it is. Good images that are references of the bank are
/// left out. Defective images only tell what each threshold finds; the threshold is set on the good
/// ones.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod calibrate part.vod --good line/good --bad line/bad --fpr 0.02 --out new.vod"
)]
pub struct Arguments {
    /// Bank file.
    bank: PathBuf,
    /// Good images from the line (with all below).
    #[arg(long, value_name = "DIR")]
    good: PathBuf,
    /// Defective images from the line (with all below).
    #[arg(long, value_name = "DIR")]
    bad: Option<PathBuf>,
    /// Share of good images that may be called anomalous [default: the bank's].
    #[arg(long, value_parser = rate)]
    fpr: Option<f64>,
    /// New bank file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Write all thresholds and what they bring as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Summary<'s> {
    bank: &'s Path,
    out: &'s Path,
    fpr: f64,
    good_images: usize,
    bad_images: usize,
    left_out_references: usize,
    extrapolated: bool,
    before: OperatingPoint,
    after: OperatingPoint,
    choices: Vec<Choice>,
    curve: &'s [OperatingPoint],
}

#[derive(Serialize)]
struct Choice {
    fpr: f64,
    #[serde(flatten)]
    point: OperatingPoint,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    check_output(&arguments.out, arguments.force)?;
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let (file, backbone) = bank::open(&arguments.bank, arguments.backbone.as_deref())?;
    let scorer = ImageScorer::new(&file, &*backbone)?;
    let good_paths = image::list_recursive(&arguments.good)?;
    let bad_paths = match &arguments.bad {
        Some(folder) => image::list_recursive(folder)?,
        None => Vec::new(),
    };
    let bar = output::progress(quiet);
    let good = score_line(&scorer, &good_paths, &bar);
    let bad = score_line(&scorer, &bad_paths, &bar);
    bar.finish_and_clear();
    let failed = report_left_out(&good) + report_left_out(&bad);
    let fpr = arguments.fpr.unwrap_or(file.host().calibration.fpr);
    let new = recalibrate(&file, &good.frame_scores(), &bad.frame_scores(), fpr)?;
    new.bank.write(&arguments.out, arguments.force)?;
    let choices = new
        .choices
        .iter()
        .map(|&(fpr, point)| Choice { fpr, point })
        .collect();
    let summary = Summary {
        bank: &arguments.bank,
        out: &arguments.out,
        fpr,
        good_images: good.verdicts.len(),
        bad_images: bad.verdicts.len(),
        left_out_references: good.references.len() + bad.references.len(),
        extrapolated: new.extrapolated,
        before: new.before,
        after: new.after,
        choices,
        curve: &new.curve,
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &summary, arguments.force)?;
    }
    if arguments.json.as_deref() != Some("-") {
        output::print(&table(&summary))?;
    }
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}

/// Reports images that are references or can't be read; gives the number of the latter.
pub fn report_left_out(images: &LineImages) -> usize {
    for (path, reference) in &images.references {
        eprintln!(
            "vod: warning: {}: is the bank's reference {reference}, left out",
            path.display()
        );
    }
    images.failures.iter().for_each(output::report);
    images.failures.len()
}

fn table(summary: &Summary) -> String {
    let share = |v: f64| format!("{:.1} %", v * 100.0);
    let mut text = format!(
        "{} good and {} defective images; scores are on the old scale, where 0.5 was the threshold\n\
         {:>12}  {:>9}  {:>12}  {:>13}\n",
        summary.good_images, summary.bad_images, "", "threshold", "good alarmed", "defects found"
    );
    let mut line = |name: &str, point: &OperatingPoint| {
        // Writing to a String can't fail.
        let _ = writeln!(
            text,
            "{name:>12}  {:>9.3}  {:>12}  {:>13}",
            point.former_score,
            share(point.false_positive_rate),
            point.true_positive_rate.map_or("-".into(), share)
        );
    };
    for choice in &summary.choices {
        line(&format!("fpr {}", choice.fpr), &choice.point);
    }
    line("old", &summary.before);
    line("new", &summary.after);
    if summary.extrapolated {
        let _ = writeln!(
            text,
            "{} good images are fewer than 1 / {}: the threshold is a prediction from their mean and spread",
            summary.good_images, summary.fpr
        );
    }
    let _ = writeln!(
        text,
        "{}: for a false-positive rate of {}",
        summary.out.display(),
        summary.fpr
    );
    text
}
