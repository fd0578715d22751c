//! What a board tests of itself before anybody relies on it: kernels, slots, cycle counter.

use core::fmt;

use vod_core::bank::{BankParts, HEADER_LEN, MAGIC, TRAILER_LEN, VERSION, checksum};
use vod_core::{
    Bank, FrameError, FrameScore, Grid, ImageScore, Kernel, ScoreStage, Scorer, ValueKind,
};

use crate::board::Board;
use crate::memory::Memory;
use crate::slots::{Slot, Update, choose, load};

const ROWS: usize = 37;
const DIMENSION: usize = 45;
const BANK_LEN: usize = 2048;
const HEIGHT: usize = 6;
const WIDTH: usize = 9;

/// What was found to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// Kernels that gave the same bits as the scalar one.
    pub kernels: usize,
    /// Image score of the test frame.
    pub score: i32,
    /// Cycles that the best kernel's frame took.
    pub cycles: u64,
    /// Most stack in use.
    pub stack_bytes: u32,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "self-test passed: {} kernels, the best is {}; score {}; {} cycles; {} bytes of stack",
            self.kernels,
            Kernel::best().name(),
            self.score,
            self.cycles,
            self.stack_bytes
        )
    }
}

/// What does not work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The buffers are too small for the test.
    Room,
    /// The test bank could not be made or the frame could not be scored.
    Score,
    /// A kernel gives other bits than the scalar one.
    Kernel(&'static str),
    /// A bank that was written to a slot is not the one that is loaded.
    Slots,
    /// The counter of cycles stands still.
    Clock,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Room => f.write_str("the buffers are too small"),
            Self::Score => f.write_str("the test frame could not be scored"),
            Self::Kernel(name) => write!(f, "kernel {name} gives other bits than the scalar one"),
            Self::Slots => f.write_str("the bank that was written is not the one that is loaded"),
            Self::Clock => f.write_str("the counter of cycles stands still"),
        }
    }
}

/// Tests a board. The slot that is not in use is written to; the one in use is left alone.
///
/// # Errors
/// [`Failure`] says what does not work.
pub fn run<B: Board, S: Slot>(
    board: &mut B,
    slots: &mut [S; 2],
    memory: &mut Memory,
) -> Result<Report, Failure> {
    let mut bytes = [0; BANK_LEN];
    let length = write_bank(&mut bytes).ok_or(Failure::Room)?;
    let bytes = bytes.get(..length).ok_or(Failure::Room)?;

    let active = choose(slots);
    let generation = active.and_then(|number| Some(load(&slots[number])?.0.generation));
    let spare = usize::from(active == Some(0));
    store(
        &mut slots[spare],
        bytes,
        generation.unwrap_or(0).wrapping_add(1),
    )?;
    if choose(slots) != Some(spare) {
        return Err(Failure::Slots);
    }
    // Of the slot's content only the bank is kept.
    let bank = load(&slots[spare]).ok_or(Failure::Slots)?.1.bank;

    let grid = Grid::new(HEIGHT, WIDTH).ok_or(Failure::Room)?;
    let definition = score(&bank, Kernel::SCALAR, grid, memory)?;
    let sum = map_sum(memory, grid);
    let (mut kernels, mut cycles) = (0, 0);
    for kernel in Kernel::available() {
        board.start_cycles();
        let found = score(&bank, kernel, grid, memory)?;
        cycles = board.elapsed_cycles();
        if found != definition || map_sum(memory, grid) != sum {
            return Err(Failure::Kernel(kernel.name()));
        }
        kernels += 1;
    }
    if cycles == 0 {
        return Err(Failure::Clock);
    }
    // The test's bank goes; the one that was in use before is in use again.
    slots[spare]
        .erase(0, S::ERASE_SIZE as u32)
        .map_err(|_| Failure::Slots)?;
    if choose(slots) != active {
        return Err(Failure::Slots);
    }
    Ok(Report {
        kernels,
        score: definition.score,
        cycles,
        stack_bytes: board.stack_bytes(),
    })
}

fn store<S: Slot>(slot: &mut S, bytes: &[u8], generation: u32) -> Result<(), Failure> {
    let mut update = Update::begin(slot, bytes.len() as u32).map_err(|_| Failure::Slots)?;
    update.write(slot, 0, bytes).map_err(|_| Failure::Slots)?;
    update.finish(slot, generation).map_err(|_| Failure::Slots)
}

fn score(
    bank: &Bank,
    kernel: Kernel,
    grid: Grid,
    memory: &mut Memory,
) -> Result<FrameScore, Failure> {
    let scorer = Scorer::with_kernel(bank, kernel);
    let row_len = grid.width() * bank.dimension();
    let row = memory.row.get_mut(..row_len).ok_or(Failure::Room)?;
    let map = memory.map.get_mut(..grid.len()).ok_or(Failure::Room)?;
    let mut noise = Noise(3);
    let mut run = || -> Result<FrameScore, FrameError> {
        let mut stream = scorer.stream(grid, memory.scratch)?;
        let mut map_rows = map.chunks_exact_mut(grid.width());
        for _ in 0..grid.height() {
            row.fill_with(|| noise.next());
            stream.push_row(row)?;
            while stream.ready() {
                let Some(out) = map_rows.next() else { break };
                stream.pop_row(out);
            }
        }
        stream.finish()
    };
    run().map_err(|_| Failure::Score)
}

fn map_sum(memory: &Memory, grid: Grid) -> u32 {
    checksum(bytemuck::cast_slice(
        memory.map.get(..grid.len()).unwrap_or_default(),
    ))
}

/// Bytes that look random, the same each time.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> i8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as i8
    }
}

/// Writes a bank of noise; gives its length.
fn write_bank(bytes: &mut [u8; BANK_LEN]) -> Option<usize> {
    let mut noise = Noise(1);
    let mut rows = [0u8; ROWS * DIMENSION];
    rows.fill_with(|| noise.next() as u8);
    let mut norms = [0u8; ROWS * 4];
    for (norm, row) in norms
        .as_chunks_mut::<4>()
        .0
        .iter_mut()
        .zip(rows.chunks_exact(DIMENSION))
    {
        let square = |&x: &u8| i32::from(x as i8).pow(2) as u32;
        *norm = row.iter().map(square).sum::<u32>().to_le_bytes();
    }
    let mut weights = [0u8; DIMENSION * 2];
    for weight in weights.as_chunks_mut::<2>().0 {
        *weight = i16::from(noise.next()).to_le_bytes();
    }
    let parts = BankParts {
        dimension: DIMENSION as u16,
        row_count: ROWS as u32,
        grid: (0, 0),
        values: ValueKind::Magnitude,
        distance_weight: 5,
        shift: 6,
        taps: [104, 62, 14, 0, 0, 0],
        top_share: 4096,
        image_score: ImageScore::whole(ScoreStage::Smoothed),
        threshold: 1000,
        normal_score: 0,
        map_threshold: 1000,
        radius: 0,
        weights: &weights,
        norms: &norms,
        cells: &[],
        rows: &rows,
        host: &[],
    };
    let body = postcard::to_slice(&parts, bytes.get_mut(HEADER_LEN..)?)
        .ok()?
        .len();
    let header = MAGIC
        .into_iter()
        .chain(VERSION.to_le_bytes())
        .chain([0, 0])
        .chain((body as u32).to_le_bytes());
    for (slot, byte) in bytes.iter_mut().zip(header) {
        *slot = byte;
    }
    let (covered, rest) = bytes.split_at_mut_checked(HEADER_LEN + body)?;
    *rest.first_chunk_mut()? = checksum(covered).to_le_bytes();
    Some(HEADER_LEN + body + TRAILER_LEN)
}
