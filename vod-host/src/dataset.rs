//! Data sets in MVTec AD layout.

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::image::list;

/// One test image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    /// The file.
    pub path: PathBuf,
    /// Name of the folder that it lies in: `good` or a kind of defect.
    pub kind: String,
    /// Mask of the defect (255 = defect), where there is one.
    pub mask: Option<PathBuf>,
}

impl TestImage {
    /// Whether the image shows a defect.
    pub fn is_defective(&self) -> bool {
        self.kind != GOOD
    }
}

/// Name of the folders of normal images.
pub const GOOD: &str = "good";

/// A data set: `train/good`, `test/<kind>`, `ground_truth/<kind>/<stem>_mask.png`.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of its folder.
    pub name: String,
    /// Normal images that references are taken from, sorted by name.
    pub references: Vec<PathBuf>,
    /// Test images, by kind, then by name.
    pub tests: Vec<TestImage>,
}

impl Dataset {
    /// Lists a data set; images are not opened.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NoImages`] where a folder is missing or empty.
    pub fn open(folder: &Path) -> Result<Self> {
        let references = list(&folder.join("train").join(GOOD))?;
        let test = folder.join("test");
        let mut kinds = Vec::new();
        for entry in std::fs::read_dir(&test).map_err(Error::io(&test))? {
            let path = entry.map_err(Error::io(&test))?.path();
            if path.is_dir() {
                kinds.push(path);
            }
        }
        kinds.sort();
        let mut tests = Vec::new();
        for kind_folder in kinds {
            let kind = file_name(&kind_folder);
            for path in list(&kind_folder)? {
                let mask = path.file_stem().and_then(|stem| {
                    let name = format!("{}_mask.png", stem.to_string_lossy());
                    let mask = folder.join("ground_truth").join(&kind).join(name);
                    mask.is_file().then_some(mask)
                });
                tests.push(TestImage {
                    path,
                    kind: kind.clone(),
                    mask,
                });
            }
        }
        if tests.is_empty() {
            return Err(Error::NoImages { path: test });
        }
        let name = folder
            .canonicalize()
            .map_or_else(|_| file_name(folder), |path| file_name(&path));
        Ok(Self {
            name,
            references,
            tests,
        })
    }
}

/// Last part of a path, for people.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The first `shots` of `paths` in an order that `seed` shuffles (all where `None`).
///
/// Fisher-Yates from the end with SplitMix64 (see `docs/metrics.md`): the same choice on every
/// machine and in every version. `paths` are sorted by name before.
pub fn choose_references(paths: &[PathBuf], shots: Option<usize>, seed: u64) -> Vec<PathBuf> {
    let mut paths = paths.to_vec();
    paths.sort();
    let Some(shots) = shots else { return paths };
    let mut random = SplitMix64::new(seed);
    for i in (1..paths.len()).rev() {
        paths.swap(i, random.below(i + 1));
    }
    paths.truncate(shots);
    paths
}

/// Steele, Lea and Flood's SplitMix64: a fixed generator whose sequence is part of the protocol.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `0..n` (`n > 0`), by multiplication and shift.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A number from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}
