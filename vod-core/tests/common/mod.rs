//! Banks for tests.
#![allow(dead_code)] // each test file uses a part of it

use vod_core::bank::{HEADER_LEN, MAGIC, MAX_TAPS, VERSION, checksum};
use vod_core::{BankParts, ImageScore, ScoreStage, ValueKind};

/// Owned fields of a bank.
#[derive(Clone, Debug)]
pub struct TestBank {
    pub dimension: usize,
    pub rows: Vec<i8>,
    pub weights: Vec<i16>,
    pub values: ValueKind,
    pub taps: [u16; MAX_TAPS],
    pub image_score: ImageScore,
    pub grid: (u16, u16),
    pub cells: Vec<u32>,
}

impl TestBank {
    pub fn new(dimension: usize, rows: Vec<i8>) -> Self {
        Self {
            dimension,
            weights: (0..dimension as i16).map(|i| i * 37 - 100).collect(),
            rows,
            values: ValueKind::Magnitude,
            taps: [104, 62, 14, 0, 0, 0],
            image_score: ImageScore::whole(ScoreStage::Raw),
            grid: (0, 0),
            cells: Vec::new(),
        }
    }

    pub fn body(&self) -> Vec<u8> {
        let weights: Vec<u8> = self.weights.iter().flat_map(|w| w.to_le_bytes()).collect();
        let norms: Vec<u8> = self
            .rows
            .chunks_exact(self.dimension)
            .map(|row| row.iter().map(|&v| i32::from(v).pow(2) as u32).sum::<u32>())
            .flat_map(u32::to_le_bytes)
            .collect();
        let cells: Vec<u8> = self.cells.iter().flat_map(|c| c.to_le_bytes()).collect();
        let rows: Vec<u8> = self.rows.iter().map(|&v| v as u8).collect();
        postcard::to_stdvec(&BankParts {
            dimension: self.dimension as u16,
            row_count: (self.rows.len() / self.dimension) as u32,
            grid: self.grid,
            values: self.values,
            distance_weight: 900,
            shift: 5,
            taps: self.taps,
            top_share: 6554,
            image_score: self.image_score,
            threshold: 1000,
            normal_score: 10,
            map_threshold: 1200,
            radius: 1,
            weights: &weights,
            norms: &norms,
            cells: &cells,
            rows: &rows,
            host: b"host",
        })
        .expect("parts are encodable")
    }

    pub fn bytes(&self) -> Vec<u8> {
        wrap(&self.body())
    }
}

/// Header and checksum around a body.
pub fn wrap(body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len() + 4);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

/// A fixed sequence of bytes that looks random.
pub fn noise(seed: u64, len: usize) -> Vec<i8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as i8
        })
        .collect()
}
