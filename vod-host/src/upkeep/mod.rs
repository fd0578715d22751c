//! A bank in daily work: its threshold set again on images from the line, references and missed
//! defects added, and whether the line still is what it was fitted on.

mod drift;
mod recalibrate;

pub use drift::{Drift, Samples, Shift, drift, mann_whitney};
pub use recalibrate::{FrameScores, OperatingPoint, Recalibration, recalibrate};

use crate::bank_file::BankFile;
use crate::bank_records::View;

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

/// The middle of a sample, the upper one of two; `None` for no values.
fn median(values: &[i32]) -> Option<i32> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied()
}
