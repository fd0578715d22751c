//! `vod update`: references and missed defects added to a bank.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use vod_host::bank_file::check_output;
use vod_host::features::Extractor;
use vod_host::upkeep::{
    self, AddedDefect, AddedReference, DefectEffect, HeldBackChange, MissedDefect, UpdateOptions,
};
use vod_host::{Result, image};

use crate::{Outcome, bank, output};

/// Add references or missed defects to a bank, without the images that it was fitted on.
///
/// Good images (false alarms, a new batch) become reference rows. Defects that were missed are
/// abnormal references: the discriminant is fitted again with their value profiles in the abnormal
/// class. The threshold is calibrated again, and the effect on old references that the bank holds
/// back for this is shown. Writes a new bank and leaves the old one as it is.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod update part.vod --good alarms/false --bad missed --masks missed-masks --out new.vod"
)]
pub struct Arguments {
    /// Bank file.
    bank: PathBuf,
    /// Normal images to add (with all below).
    #[arg(long, value_name = "DIR", required_unless_present = "bad")]
    good: Option<PathBuf>,
    /// Images with defects that were missed (with all below).
    #[arg(long, value_name = "DIR")]
    bad: Option<PathBuf>,
    /// Masks of the defects (white is defect), named <stem>.png or <stem>_mask.png; without one, the
    /// highest patches of an image are taken, which may miss the defect again.
    #[arg(long, value_name = "DIR", requires = "bad")]
    masks: Option<PathBuf>,
    /// New bank file.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Bytes that the reference rows may take, never less than they take already (by default as many as
    /// the backbone's manifest says).
    #[arg(long, value_name = "N")]
    bank_bytes: Option<usize>,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Write what changed as JSON to FILE, or to stdout for -.
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
    good: &'s [AddedReference],
    bad: &'s [AddedDefect],
    held_back: &'s [HeldBackChange],
    discriminant_share_before: f64,
    discriminant_share_after: f64,
    /// What the defects do to the scores; null without defects.
    defect_effect: Option<DefectEffect>,
    /// What to do next, where they do nothing or leave the threshold an estimate.
    note: Option<String>,
    raw_threshold_before: i32,
    raw_threshold_after: i32,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    check_output(&arguments.out, arguments.force)?;
    output::check_json(arguments.json.as_deref(), arguments.force)?;
    let (file, backbone) = bank::open(&arguments.bank, arguments.backbone.as_deref())?;
    let extractor = Extractor::for_bank(&file, &*backbone)?;
    let list = |folder: &Option<PathBuf>| match folder {
        Some(folder) => image::list_recursive(folder),
        None => Ok(Vec::new()),
    };
    let good = list(&arguments.good)?;
    let bad: Vec<MissedDefect> = list(&arguments.bad)?
        .into_iter()
        .map(|path| MissedDefect {
            mask: arguments.masks.as_ref().and_then(|m| mask_of(m, &path)),
            path,
        })
        .collect();
    if arguments.masks.is_some() {
        for defect in bad.iter().filter(|defect| defect.mask.is_none()) {
            eprintln!("vod: warning: {}: no mask", defect.path.display());
        }
    }
    let bar = output::progress(quiet);
    let options = UpdateOptions {
        row_bytes: arguments.bank_bytes,
    };
    let updated = upkeep::update(&file, &extractor, &good, &bad, &options, &bar);
    bar.finish_and_clear();
    let updated = updated?;
    updated.failures.iter().for_each(output::report);
    updated.bank.write(&arguments.out, arguments.force)?;
    let summary = Summary {
        bank: &arguments.bank,
        out: &arguments.out,
        good: &updated.good,
        bad: &updated.bad,
        held_back: &updated.held_back,
        discriminant_share_before: updated.blend.0,
        discriminant_share_after: updated.blend.1,
        defect_effect: updated.effect,
        note: updated.effect.and_then(|effect| {
            let is_same = updated.blend.0 == updated.blend.1;
            note(effect, updated.good.is_empty(), is_same)
        }),
        raw_threshold_before: file.host().calibration.threshold,
        raw_threshold_after: updated.bank.host().calibration.threshold,
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &summary, arguments.force)?;
    }
    if arguments.json.as_deref() != Some("-") {
        output::print(&table(&summary))?;
    }
    Ok(if updated.failures.is_empty() {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}

fn mask_of(masks: &Path, image: &Path) -> Option<PathBuf> {
    let stem = image.file_stem()?;
    ["_mask.png", ".png"]
        .into_iter()
        .map(|ending| {
            let mut name = stem.to_os_string();
            name.push(ending);
            masks.join(name)
        })
        .find(|path| path.is_file())
}

/// Why the defects change no score and what to do about it, or where they do, what is open.
fn note(effect: DefectEffect, without_good: bool, is_same_share: bool) -> Option<String> {
    let (reason, then) = match effect {
        DefectEffect::Scored => {
            // The held-back patches were the highest by the old score, not by the new one.
            let text = "the threshold is an estimate, from the held-back patches alone: set it on good \
                        images (vod calibrate)";
            return (without_good && !is_same_share).then(|| text.into());
        }
        DefectEffect::OneDefect => (
            "one defect is too few to choose a share of the discriminant on",
            "add two defects or more at once",
        ),
        DefectEffect::NothingToTryOn => (
            "the bank holds no normal patches back to try a share of the discriminant on",
            "add good images beside them (--good)",
        ),
        DefectEffect::DistanceIsBest if without_good => (
            "no share of the discriminant tells them from held-back normal patches with certainty better",
            "add good images beside them (--good), on which more can be told, or lower the threshold \
             (vod calibrate)",
        ),
        DefectEffect::DistanceIsBest => (
            "no share of the discriminant tells them from the new normal patches better",
            "lower the threshold (vod calibrate), or fit with larger images (--size) or the other \
             backbone",
        ),
    };
    let unchanged = if without_good {
        "the bank scores as before"
    } else {
        "the defects change no score"
    };
    Some(format!(
        "{unchanged}: its score is plain distance, and {reason}; {then}"
    ))
}

fn table(summary: &Summary) -> String {
    let mut text = String::from("before -> after (0.5 is the threshold)\n");
    // Writing to a String can't fail.
    for added in summary.good {
        let _ = writeln!(
            text,
            "{:.3} -> {:.3}  normal   {}: {} rows, nearest to {} held-back patches",
            added.before, added.after, added.name, added.rows, added.held_back_patches
        );
    }
    for added in summary.bad {
        let _ = writeln!(
            text,
            "{:.3} -> {:.3}  defect   {}: {} patches",
            added.before, added.after, added.name, added.patches
        );
    }
    for held in summary.held_back {
        let _ = writeln!(
            text,
            "{:.3} -> {:.3}  held     {}",
            held.before, held.after, held.name
        );
    }
    let alarms = |score: fn(&HeldBackChange) -> f64| {
        summary.held_back.iter().filter(|h| score(h) >= 0.5).count()
    };
    let found =
        |score: fn(&AddedDefect) -> f64| summary.bad.iter().filter(|d| score(d) >= 0.5).count();
    if summary.held_back.is_empty() {
        text.push_str(
            "the bank holds no references back: what the update does to old ones is not known\n",
        );
    } else {
        let _ = writeln!(
            text,
            "false alarms on {} held-back references: {} -> {}",
            summary.held_back.len(),
            alarms(|h| h.before),
            alarms(|h| h.after)
        );
    }
    if !summary.bad.is_empty() {
        let _ = writeln!(
            text,
            "defects found of {}: {} -> {}",
            summary.bad.len(),
            found(|d| d.before),
            found(|d| d.after)
        );
    }
    if let Some(note) = &summary.note {
        let _ = writeln!(text, "{note}");
    }
    let _ = writeln!(
        text,
        "share of the discriminant {:.2} -> {:.2}; written to {}",
        summary.discriminant_share_before,
        summary.discriminant_share_after,
        summary.out.display()
    );
    text
}
