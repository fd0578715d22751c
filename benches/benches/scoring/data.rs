//! Frames and banks to measure with.

use std::path::Path;

use vod_core::bank::{BankParts, MAX_TAPS};
use vod_core::{Bank, Grid, Nearest, ScoreStage, ValueKind};

/// One frame and one bank.
pub struct Case {
    pub name: String,
    pub grid: Grid,
    pub dimension: usize,
    /// `[height, width, dimension]`.
    pub features: Vec<i8>,
    /// `[rows, dimension]`.
    pub rows: Vec<u8>,
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

    /// Every frame file with every bank file of its dimension.
    fn real(folder: &Path) -> Vec<Self> {
        let files: Vec<(String, Vec<usize>)> = std::fs::read_dir(folder)
            .expect("VOD_FEATURES is a folder")
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter_map(|name| {
                let sizes = name.strip_suffix(".i8")?.rsplit('_').next()?;
                let sizes = sizes
                    .split('x')
                    .map(|size| size.parse().ok())
                    .collect::<Option<_>>()?;
                Some((name, sizes))
            })
            .collect();
        let read = |name: &str| -> Vec<i8> {
            let bytes = std::fs::read(folder.join(name)).expect("the file is readable");
            bytes.into_iter().map(|byte| byte as i8).collect()
        };
        let mut cases = Vec::new();
        for (queries, sizes) in &files {
            let &[height, width, dimension] = &sizes[..] else {
                continue;
            };
            for (rows, row_sizes) in &files {
                if matches!(row_sizes[..], [_, d] if d == dimension) {
                    let size = (height, width);
                    cases.push(Self::new(
                        "real",
                        size,
                        dimension,
                        read(queries),
                        read(rows),
                    ));
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
            norms,
            weights: (0..dimension as i16).flat_map(i16::to_le_bytes).collect(),
        }
    }

    pub fn bank(&self) -> Bank<'_> {
        let mut taps = [0; MAX_TAPS];
        taps[..3].copy_from_slice(&[104, 62, 14]);
        Bank::from_parts(BankParts {
            dimension: self.dimension as u16,
            row_count: self.row_count() as u32,
            grid: (0, 0),
            values: ValueKind::Magnitude,
            distance_weight: 100,
            shift: 8,
            taps,
            top_share: 655,
            stage: ScoreStage::Raw,
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
