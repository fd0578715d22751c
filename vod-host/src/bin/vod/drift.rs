//! `vod drift`: is the line's normal still the bank's normal?

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vod_host::bank_file::{check_output, write_file};
use vod_host::report;
use vod_host::score::ImageScorer;
use vod_host::upkeep::{Drift, Samples, drift, score_line};
use vod_host::{Error, Result, image};

use crate::calibrate::report_left_out;
use crate::fit::rate;
use crate::{Outcome, bank, output};

/// Tell whether the line's normal still is the bank's normal.
///
/// Compares the scores of images from the line with those that the bank was calibrated on: a
/// Mann-Whitney test of the scores, and a binomial test of the share above the threshold. Exit
/// status: 0 when the test was made, whatever it says; 3 on drift with --fail-on-drift; 1 for
/// errors; 2 for wrong usage.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod drift part.vod line/today --last 200 --report drift.html --fail-on-drift"
)]
pub struct Arguments {
    /// Bank file.
    bank: PathBuf,
    /// Images from the line (with all below), mostly good ones.
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Only the last N images by time of modification.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..))]
    last: Option<u32>,
    /// Probability of calling drift where there is none.
    #[arg(long, default_value_t = 0.01, value_parser = rate)]
    alpha: f64,
    /// Exit with status 3 on drift.
    #[arg(long)]
    fail_on_drift: bool,
    /// HTML page with both distributions.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Write the answer and both samples as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Summary<'s> {
    bank: &'s Path,
    #[serde(flatten)]
    drift: &'s Drift,
    bank_scores: &'s [f64],
    line_scores: &'s [f64],
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    if let Some(path) = &arguments.report {
        check_output(path, arguments.force)?;
    }
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let (file, backbone) = bank::open(&arguments.bank, arguments.backbone.as_deref())?;
    let scorer = ImageScorer::new(&file, &*backbone)?;
    let mut paths = image::list_recursive(&arguments.folder)?;
    if let Some(last) = arguments.last {
        let time = |path: &PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
        paths.sort_by_cached_key(|path| (time(path), path.clone()));
        paths.drain(..paths.len().saturating_sub(last as usize));
    }
    let calibration = &file.host().calibration;
    if calibration.is_guess {
        return Err(Error::Data(format!(
            "{}: its calibration is a guess from a single reference, there is nothing to compare with; \
             run `vod calibrate` with good images from the line first",
            arguments.bank.display()
        )));
    }
    let bar = output::progress(quiet);
    let images = score_line(&scorer, &paths, &bar);
    bar.finish_and_clear();
    let failed = report_left_out(&images);
    let line: Vec<i32> = images.verdicts.iter().map(|v| v.raw_score).collect();
    let frames = file.records().calibration.as_ref();
    let samples = Samples {
        bank: &calibration.scores,
        bank_from_line: frames.is_some_and(|frames| frames.from_line),
        line: &line,
    };
    let answer = drift(
        samples,
        calibration.threshold,
        calibration.fpr,
        arguments.alpha,
    )?;
    let scale = scorer.scale()?;
    let units = |scores: &[i32]| scores.iter().map(|&s| scale.unit(s)).collect::<Vec<f64>>();
    let (bank_scores, line_scores) = (units(&calibration.scores), units(&line));
    let text = format!(
        "drift: {}\n{}\n{} images from the line, {} of the calibration; the line's score is the higher in \
         {:.0} % of the pairs (p {}); {} above the threshold (p {})\n",
        if answer.drifted { "yes" } else { "no" },
        answer.reason,
        answer.line_images,
        answer.bank_images,
        answer.higher_share * 100.0,
        probability(answer.p_value),
        answer.above_threshold,
        probability(answer.above_p_value),
    );
    if let Some(target) = &arguments.report {
        let page = report::drift::page(&text, &bank_scores, &line_scores);
        write_file(target, page.as_bytes(), arguments.force)?;
    }
    if let Some(target) = &arguments.json {
        let summary = Summary {
            bank: &arguments.bank,
            drift: &answer,
            bank_scores: &bank_scores,
            line_scores: &line_scores,
        };
        output::write_json(target, &summary, arguments.force)?;
    }
    if arguments.json.as_deref() != Some("-") {
        output::print(&text)?;
    }
    Ok(match (failed, answer.drifted && arguments.fail_on_drift) {
        (1.., _) => Outcome::Incomplete,
        (0, true) => Outcome::Anomalous,
        (0, false) => Outcome::Done,
    })
}

/// A p value as it is read: three digits, or that it is smaller than they tell.
fn probability(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".into()
    } else {
        format!("= {p:.3}")
    }
}
