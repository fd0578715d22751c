//! A bank in daily work: its threshold set again on images from the line, references and missed
//! defects added, and whether the line still is what it was fitted on.

mod drift;
mod recalibrate;
mod update;

pub use drift::{Drift, Samples, Shift, drift, mann_whitney};
pub use recalibrate::{FrameScores, OperatingPoint, Recalibration, recalibrate};
pub use update::{
    AddedDefect, AddedReference, DefectEffect, HeldBackChange, MissedDefect, Update, UpdateOptions,
    update,
};

use std::path::PathBuf;
use std::time::Instant;

use indicatif::ProgressBar;
use rayon::prelude::*;

use crate::bank_file::BankFile;
use crate::bank_records::View;
use crate::error::{Error, Result};
use crate::score::{ImageScorer, Verdict};

/// Largest difference of a channel between features of the same image on two machines.
const SAME_CHANNEL: u8 = 1;
/// Share of a reference's rows that must be found in their place.
const SAME_SHARE: f64 = 0.9;

/// The bank's reference that an image is, if it is one: such an image says nothing about others.
///
/// `queries` are the image's int8 features, `[height, width, D]`. Banks that do not know where their
/// rows are from give `None`.
pub fn reference_shown(
    file: &BankFile,
    queries: &[i8],
    (height, width): (usize, usize),
) -> Option<usize> {
    let origins = file.records().origins.as_ref()?;
    let bank = file.bank().ok()?;
    let dimension = bank.dimension();
    let mut found = vec![(0usize, 0usize); origins.frames.len()];
    for (number, row) in origins.rows.iter().enumerate() {
        let frame = origins.frames.get(row.reference as usize)?;
        let same_grid = (usize::from(frame.grid.0), usize::from(frame.grid.1)) == (height, width);
        if !same_grid || row.view != View::Upright {
            continue;
        }
        let patch = queries
            .get(row.cell as usize * dimension..)?
            .get(..dimension)?;
        let count = &mut found[row.reference as usize];
        count.1 += 1;
        let pairs = patch.iter().zip(bank.row(number));
        count.0 += usize::from(
            pairs
                .into_iter()
                .all(|(a, b)| a.abs_diff(*b) <= SAME_CHANNEL),
        );
    }
    found
        .iter()
        .position(|&(same, all)| all > 0 && same as f64 >= SAME_SHARE * all as f64)
}

/// Images from the line, scored.
#[derive(Debug, Default)]
pub struct LineImages {
    /// Verdicts, in the order of the paths.
    pub verdicts: Vec<Verdict>,
    /// Images that are references of the bank, with the reference's name; they are left out.
    pub references: Vec<(PathBuf, String)>,
    /// Images that can't be read.
    pub failures: Vec<Error>,
}

impl LineImages {
    /// Image scores and peaks in the bank's integer units.
    pub fn frame_scores(&self) -> Vec<FrameScores> {
        self.verdicts
            .iter()
            .map(|verdict| FrameScores {
                score: verdict.raw_score,
                peak: verdict.map.iter().copied().max().unwrap_or(i32::MIN),
            })
            .collect()
    }
}

/// Scores images from the line; the bank's own references are told apart, since they say nothing.
pub fn score_line(scorer: &ImageScorer, paths: &[PathBuf], progress: &ProgressBar) -> LineImages {
    enum Found {
        Verdict(Box<Verdict>),
        Reference(String),
    }
    let file = scorer.file();
    let score = |path: &PathBuf| -> Result<Found> {
        let start = Instant::now();
        let (features, size) = scorer.load(path)?;
        let queries = file.host().transform.quantise(&features.fine);
        let (height, width, _) = features.fine.dim();
        if let Some(number) = reference_shown(file, &queries, (height, width)) {
            let name = file.host().references.get(number);
            return Ok(Found::Reference(name.cloned().unwrap_or_default()));
        }
        let verdict = scorer.verdict(path, &features, size, start)?;
        Ok(Found::Verdict(Box::new(verdict)))
    };
    progress.set_message("scoring");
    progress.set_length(paths.len() as u64);
    let results: Vec<Result<Found>> = paths
        .par_iter()
        .map(|path| {
            let found = score(path);
            progress.inc(1);
            found
        })
        .collect();
    let mut images = LineImages::default();
    for (path, result) in paths.iter().zip(results) {
        match result {
            Ok(Found::Verdict(verdict)) => images.verdicts.push(*verdict),
            Ok(Found::Reference(name)) => images.references.push((path.clone(), name)),
            Err(error) => images.failures.push(error),
        }
    }
    images
}
