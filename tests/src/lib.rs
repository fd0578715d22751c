//! What cross-crate tests have in common: where the fixtures and the sample are, golden vectors, other
//! targets and boards.

pub mod boards;
pub mod cross;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use vod_core::Scorer;
use vod_host::bank_file::BankFile;
use vod_host::features::FeatureGrid;
use vod_host::score::Verdict;

/// Sample images that golden vectors are kept of, below `test/`.
pub const GOLDEN_IMAGES: [&str; 3] = ["good/002.png", "defective/002.png", "defective/004.png"];
/// Shorter side of their input, pixels.
pub const GOLDEN_SIZE: u32 = 128;

/// A file below `tests/fixtures`.
pub fn fixture(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    folder.join(name)
}

/// The bundled sample data set.
pub fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/solar-cells")
}

/// Little-endian f32 values of a file.
///
/// # Panics
/// Where the file can't be read.
pub fn read_f32(path: &Path) -> Vec<f32> {
    let bytes = std::fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let words = bytes.as_chunks::<4>().0;
    words.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// Everything between an image and its verdict.
#[derive(Debug)]
pub struct Golden {
    /// Patch features as the backbone gives them, `[height * width * C]`.
    pub features: Vec<f32>,
    /// int8 patch features, `[height * width * D]`.
    pub quantised: Vec<i8>,
    /// What follows from them, in integers.
    pub scores: GoldenScores,
}

/// Scores of one image.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct GoldenScores {
    /// Height, width and channels of the feature grid.
    pub grid: [usize; 3],
    /// Score of each patch before smoothing.
    pub patch_scores: Vec<i32>,
    /// Nearest reference row of each patch.
    pub nearest: Vec<u32>,
    /// Smoothed map.
    pub map: Vec<i32>,
    /// Image score.
    pub image_score: i32,
    /// Whether it is anomalous.
    pub anomalous: bool,
}

impl Golden {
    /// Collects the vectors of one image.
    ///
    /// # Panics
    /// Where the features do not fit the bank.
    pub fn new(bank: &BankFile, features: &FeatureGrid, verdict: &Verdict) -> Self {
        let quantised = bank.host().transform.quantise(features);
        let view = bank.bank().expect("a checked bank");
        let scorer = Scorer::new(&view);
        let patches: Vec<_> = quantised
            .chunks_exact(view.dimension())
            .map(|patch| scorer.score_patch(patch).expect("features of the bank"))
            .collect();
        let (height, width, channels) = features.dim();
        Self {
            features: features.iter().copied().collect(),
            scores: GoldenScores {
                grid: [height, width, channels],
                patch_scores: patches.iter().map(|p| p.score).collect(),
                nearest: patches.iter().map(|p| p.nearest.row).collect(),
                map: verdict.map.iter().copied().collect(),
                image_score: verdict.raw_score,
                anomalous: verdict.anomalous,
            },
            quantised,
        }
    }

    /// Writes `<path>.f32`, `<path>.i8` and `<path>.json`.
    ///
    /// # Panics
    /// Where they can't be written.
    pub fn write(&self, path: &Path) {
        let floats: Vec<u8> = self.features.iter().flat_map(|v| v.to_le_bytes()).collect();
        let bytes: Vec<u8> = self.quantised.iter().map(|&v| v as u8).collect();
        let text = serde_json::to_vec(&self.scores).expect("plain numbers");
        for (ending, content) in [("f32", floats), ("i8", bytes), ("json", text)] {
            std::fs::write(path.with_extension(ending), content).expect("fixtures can be written");
        }
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Panics
    /// Where a file is missing or damaged.
    pub fn read(path: &Path) -> Self {
        let read = |ending: &str| std::fs::read(path.with_extension(ending)).expect("a fixture");
        Self {
            features: read_f32(&path.with_extension("f32")),
            quantised: read("i8").into_iter().map(|b| b as i8).collect(),
            scores: serde_json::from_slice(&read("json")).expect("a fixture"),
        }
    }
}
