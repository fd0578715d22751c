//! Cases for every kernel of a target, without heap: each kernel, pruned and not, must give what the
//! scalar one gives. A digest of all results is the same on every target.
#![no_std]

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, Digest};
use vod_core::bank::MAX_TAPS;
use vod_core::{
    Background, Bank, BankParts, FrameScore, Grid, ImageScore, Kernel, Nearest, ScoreStage, Scorer,
    ValueKind,
};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// A bank fitted on solar cells, 211 rows of 232 channels.
pub const GOLDEN_BANK: &[u8] = include_bytes!("../../fixtures/golden/bank-v1.vod");
/// A frame of a good solar cell, 16 x 16 patches.
pub const GOLDEN_FRAME: &[u8] = include_bytes!("../../fixtures/golden/good-002.i8");
/// Its grid.
pub const GOLDEN_GRID: (usize, usize) = (16, 16);

/// Channels: one, around the width of a word, of a vector of 16 bytes, of two and of four.
const DIMENSIONS: [usize; 18] = [
    1, 2, 3, 4, 5, 7, 8, 15, 16, 17, 31, 33, 48, 63, 64, 65, 96, 130,
];
/// Rows: one, around the tiles of the kernels, more than a block of rows.
const ROW_COUNTS: [usize; 6] = [1, 2, 3, 5, 33, 259];
/// Grids of frames: one patch, fewer and more than a block of queries.
const GRIDS: [(usize, usize); 4] = [(1, 1), (1, 3), (2, 5), (3, 7)];
const MOST_ROWS: usize = 259;
const MOST_CHANNELS: usize = 130;
const MOST_PATCHES: usize = 256;
const SCRATCH: usize = 1024;

/// What a vector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    /// Any int8.
    Random,
    /// -1, 0 or 1: many rows at one distance.
    Narrow,
    /// -128 in every row, 127 in every patch: the largest distance there is.
    Far,
    /// -128 everywhere: the largest products, every row at distance 0.
    Lowest,
    /// Rows that are all one and the same.
    Equal,
}

const FILLS: [Fill; 5] = [
    Fill::Random,
    Fill::Narrow,
    Fill::Far,
    Fill::Lowest,
    Fill::Equal,
];

/// A numerical sequence that looks random (Numerical Recipes' generator).
pub struct Noise(pub u32);

impl Noise {
    /// The next value.
    pub fn next(&mut self) -> i8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as i8
    }
}

/// Memory for one case.
pub struct Room {
    rows: [u8; MOST_ROWS * MOST_CHANNELS],
    norms: [u8; MOST_ROWS * 4],
    weights: [u8; MOST_CHANNELS * 2],
    features: [i8; 21 * MOST_CHANNELS],
    nearest: [[Nearest; MOST_PATCHES]; 2],
    maps: [[i32; MOST_PATCHES]; 2],
    scratch: [i32; SCRATCH],
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Room {
    /// Memory that holds zeros.
    pub const fn new() -> Self {
        let none = Nearest {
            row: 0,
            distance2: 0,
        };
        Self {
            rows: [0; _],
            norms: [0; _],
            weights: [0; _],
            features: [0; _],
            nearest: [[none; _]; 2],
            maps: [[0; _]; 2],
            scratch: [0; _],
        }
    }
}

/// A kernel that does not give what the scalar one gives.
#[derive(Debug)]
pub struct Mismatch {
    kernel: &'static str,
    pruned: bool,
    what: &'static str,
    rows: usize,
    dimension: usize,
    fill: Option<Fill>,
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kernel,
            pruned,
            what,
            rows,
            dimension,
            fill,
        } = self;
        let pruned = if *pruned { ", pruned" } else { "" };
        let fill = fill.map_or("a real frame", |fill| match fill {
            Fill::Random => "random",
            Fill::Narrow => "narrow",
            Fill::Far => "far",
            Fill::Lowest => "lowest",
            Fill::Equal => "equal",
        });
        write!(
            f,
            "{kernel}{pruned}: {what} differ for {rows} rows of {dimension} channels, {fill}"
        )
    }
}

/// Cases that were run, and the digest of their results.
pub struct Outcome {
    /// Banks times frames.
    pub cases: u32,
    /// CRC-32 of every nearest row, distance, map and frame score.
    pub digest: u32,
}

/// Runs all cases.
///
/// # Errors
/// The first [`Mismatch`].
pub fn run(room: &mut Room) -> Result<Outcome, Mismatch> {
    let mut digest = CRC.digest();
    let mut cases = 0;
    for (index, dimension) in DIMENSIONS.into_iter().enumerate() {
        for (turn, row_count) in ROW_COUNTS.into_iter().enumerate() {
            for fill in FILLS {
                let grid = GRIDS[(index + turn) % GRIDS.len()];
                run_made_up(room, dimension, row_count, fill, grid, &mut digest)?;
                cases += 1;
            }
        }
    }
    let bank = Bank::from_bytes(GOLDEN_BANK).expect("the golden bank");
    let mut features = [0; GOLDEN_FRAME.len()];
    for (slot, &byte) in features.iter_mut().zip(GOLDEN_FRAME) {
        *slot = byte as i8;
    }
    let Room {
        nearest,
        maps,
        scratch,
        ..
    } = room;
    let lent = (nearest, maps, scratch);
    run_case(&bank, GOLDEN_GRID, &features, None, lent, &mut digest)?;
    Ok(Outcome {
        cases: cases + 1,
        digest: digest.finalize(),
    })
}

fn run_made_up(
    room: &mut Room,
    dimension: usize,
    row_count: usize,
    fill: Fill,
    grid: (usize, usize),
    digest: &mut Digest<u32>,
) -> Result<(), Mismatch> {
    let mut noise = Noise((dimension * 1000 + row_count) as u32);
    let rows = &mut room.rows[..dimension * row_count];
    let features = &mut room.features[..dimension * grid.0 * grid.1];
    for (place, slot) in rows.iter_mut().enumerate() {
        *slot = match fill {
            Fill::Random => noise.next() as u8,
            Fill::Narrow => (noise.next() % 2) as u8,
            Fill::Far | Fill::Lowest => i8::MIN as u8,
            Fill::Equal => (place % dimension) as u8,
        };
    }
    for slot in features.iter_mut() {
        *slot = match fill {
            Fill::Random | Fill::Equal => noise.next(),
            Fill::Narrow => noise.next() % 2,
            Fill::Far => i8::MAX,
            Fill::Lowest => i8::MIN,
        };
    }
    let norms = &mut room.norms[..row_count * 4];
    let row_norms = rows.chunks_exact(dimension).map(|row| {
        let squares = row.iter().map(|&v| i32::from(v as i8).pow(2));
        squares.sum::<i32>().to_le_bytes()
    });
    norms
        .as_chunks_mut()
        .0
        .iter_mut()
        .zip(row_norms)
        .for_each(|(slot, norm)| *slot = norm);
    let weights = &mut room.weights[..dimension * 2];
    weights.fill_with(|| noise.next() as u8);
    let signed = dimension % 2 == 0;
    let mut taps = [0; MAX_TAPS];
    taps[..3].copy_from_slice(&[104, 62, 14]);
    let bank = Bank::from_parts(BankParts {
        dimension: dimension as u16,
        row_count: row_count as u32,
        grid: (0, 0),
        values: if signed {
            ValueKind::Signed
        } else {
            ValueKind::Magnitude
        },
        distance_weight: 900,
        shift: 5,
        taps,
        top_share: 6554,
        image_score: ImageScore {
            // None, or less than a third of the shorter side.
            margin: row_count as u16 % 2 * 20_000,
            background: Background {
                share: row_count as u8 % 5 * 60,
                usual: 7000,
            },
            ..ImageScore::whole(match dimension % 3 {
                0 => ScoreStage::Raw,
                1 => ScoreStage::Smoothed,
                _ => ScoreStage::Both,
            })
        },
        threshold: 1,
        normal_score: 0,
        map_threshold: 1,
        radius: 0,
        weights,
        norms,
        cells: &[],
        rows,
        host: &[],
    })
    .expect("the parts hold");
    let lent = (&mut room.nearest, &mut room.maps, &mut room.scratch);
    run_case(&bank, grid, features, Some(fill), lent, digest)
}

type Lent<'r> = (
    &'r mut [[Nearest; MOST_PATCHES]; 2],
    &'r mut [[i32; MOST_PATCHES]; 2],
    &'r mut [i32; SCRATCH],
);

/// One frame by every kernel, pruned and not.
fn run_case(
    bank: &Bank,
    (height, width): (usize, usize),
    features: &[i8],
    fill: Option<Fill>,
    (nearest, maps, scratch): Lent,
    digest: &mut Digest<u32>,
) -> Result<(), Mismatch> {
    let grid = Grid::new(height, width).expect("a grid");
    let [expected_nearest, found_nearest] = nearest;
    let [expected_map, found_map] = maps;
    let (expected_nearest, found_nearest) = (
        &mut expected_nearest[..grid.len()],
        &mut found_nearest[..grid.len()],
    );
    let (expected_map, found_map) = (
        &mut expected_map[..grid.len()],
        &mut found_map[..grid.len()],
    );
    let definition = Scorer::with_kernel(bank, Kernel::SCALAR);
    definition.nearest_of_all(features, expected_nearest);
    let expected = score(&definition, grid, features, expected_map, scratch);
    for nearest in expected_nearest.iter() {
        digest.update(&nearest.row.to_le_bytes());
        digest.update(&nearest.distance2.to_le_bytes());
    }
    for score in expected_map.iter().chain([&expected.score]) {
        digest.update(&score.to_le_bytes());
    }
    for kernel in Kernel::available() {
        for pruned in [false, true] {
            let scorer = Scorer::with_kernel(bank, kernel).pruned(pruned);
            let mismatch = |what| Mismatch {
                kernel: kernel.name(),
                pruned,
                what,
                rows: bank.row_count(),
                dimension: bank.dimension(),
                fill,
            };
            scorer.nearest_of_all(features, found_nearest);
            if found_nearest != expected_nearest {
                return Err(mismatch("nearest rows"));
            }
            let found = score(&scorer, grid, features, found_map, scratch);
            if found_map != expected_map {
                return Err(mismatch("maps"));
            }
            if found != expected {
                return Err(mismatch("frame scores"));
            }
            let patches = features.chunks_exact(bank.dimension());
            for (patch, expected) in patches.zip(expected_nearest.iter()) {
                if scorer.nearest(patch) != Some(*expected) {
                    return Err(mismatch("nearest rows of single patches"));
                }
            }
        }
    }
    Ok(())
}

fn score(
    scorer: &Scorer,
    grid: Grid,
    features: &[i8],
    map: &mut [i32],
    scratch: &mut [i32],
) -> FrameScore {
    scorer
        .score_frame(grid, features, map, scratch)
        .expect("the buffers fit")
}
