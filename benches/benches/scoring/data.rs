//! Frames and banks to measure with.

use std::path::Path;

use vod_core::bank::{BankParts, MAX_TAPS};
use vod_core::{Bank, Grid, ImageScore, Nearest, ScoreStage, ValueKind};

/// One frame and one bank.
pub struct Case {
    pub name: String,
    pub grid: Grid,
    pub dimension: usize,
    /// `[height, width, dimension]`.
    pub features: Vec<i8>,
    /// `[rows, dimension]`.
    pub rows: Vec<u8>,
    /// The bank's file, empty for noise.
    file: Vec<u8>,
    norms: Vec<u8>,
    weights: Vec<u8>,
}

impl Case {
    /// A camera's frame and a workstation's, and whatever `VOD_FEATURES` holds.
    pub fn all() -> Vec<Self> {
        let mut cases = vec![Self::noise(32, 32, 512, 96), Self::noise(28, 28, 1024, 232)];
        if let Ok(folder) = std::env::var("VOD_FEATURES") {
            cases.extend(Self::real(Path::new(&folder)));
        }
        cases
    }

    fn noise(height: usize, width: usize, row_count: usize, dimension: usize) -> Self {
        let rows = noise(1, row_count * dimension);
        let features = noise(2, height * width * dimension);
        Self::new("noise", (height, width), dimension, features, rows)
    }

    /// Every frame file with every bank file of its channels.
    fn real(folder: &Path) -> Vec<Self> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .expect("VOD_FEATURES is a folder")
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        let read = |path: &Path| std::fs::read(path).expect("the file is readable");
        let ends = |path: &Path, ending: &str| path.extension().is_some_and(|e| e == ending);
        let mut cases = Vec::new();
        for path in files.iter().filter(|path| ends(path, "i8")) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let Some((name, sizes)) = stem.rsplit_once('_') else {
                continue;
            };
            let sizes: Vec<usize> = sizes.split('x').filter_map(|s| s.parse().ok()).collect();
            let &[height, width, dimension] = &sizes[..] else {
                continue;
            };
            for path_of_bank in files.iter().filter(|path| ends(path, "vod")) {
                let file = read(path_of_bank);
                let bank = Bank::from_bytes(&file).expect("a bank");
                if bank.dimension() == dimension {
                    let features = read(path).into_iter().map(|v| v as i8).collect();
                    let rows = bank.rows().to_vec();
                    let size = (height, width);
                    let mut case = Self::new(name, size, dimension, features, rows);
                    case.file = file;
                    cases.push(case);
                }
            }
        }
        cases
    }

    fn new(
        kind: &str,
        (height, width): (usize, usize),
        dimension: usize,
        features: Vec<i8>,
        rows: Vec<i8>,
    ) -> Self {
        let norms = rows
            .chunks_exact(dimension)
            .map(|row| row.iter().map(|&v| i32::from(v).pow(2) as u32).sum::<u32>())
            .flat_map(u32::to_le_bytes)
            .collect();
        let row_count = rows.len() / dimension;
        Self {
            name: format!(
                "{kind}: {} patches, {row_count} rows, D = {dimension}",
                height * width
            ),
            grid: Grid::new(height, width).expect("a small grid"),
            dimension,
            features,
            rows: rows.into_iter().map(|v| v as u8).collect(),
            file: Vec::new(),
            norms,
            weights: (0..dimension as i16).flat_map(i16::to_le_bytes).collect(),
        }
    }

    pub fn bank(&self) -> Bank<'_> {
        if !self.file.is_empty() {
            return Bank::from_bytes(&self.file).expect("a bank");
        }
        let mut taps = [0; MAX_TAPS];
        taps[..3].copy_from_slice(&[104, 62, 14]);
        Bank::from_parts(BankParts {
            dimension: self.dimension as u16,
            row_count: self.row_count() as u32,
            grid: (0, 0),
            values: ValueKind::Signed,
            distance_weight: 100,
            shift: 8,
            taps,
            top_share: 655,
            image_score: ImageScore::whole(ScoreStage::Raw),
            threshold: 1,
            normal_score: 0,
            map_threshold: 1,
            radius: 0,
            weights: &self.weights,
            norms: &self.norms,
            cells: &[],
            rows: &self.rows,
            host: &[],
        })
        .expect("the parts hold")
    }

    pub fn row_count(&self) -> usize {
        self.rows.len() / self.dimension
    }

    /// Products of a brute-force search.
    pub fn macs(&self) -> u64 {
        (self.grid.len() * self.rows.len()) as u64
    }

    /// Room for every patch's nearest row.
    pub fn room(&self) -> Vec<Nearest> {
        let none = Nearest {
            row: 0,
            distance2: 0,
        };
        vec![none; self.grid.len()]
    }
}

fn noise(seed: u32, len: usize) -> Vec<i8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        })
        .collect()
}
