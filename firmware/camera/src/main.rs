//! Takes the pixels of `frame.rgb` row by row, as a camera gives them, through the network and the
//! scorer, and prints the verdict, a checksum of all features and of the map, and what it cost.
//!
//! `frame.rgb` (semihosting, in the emulator's folder): width and height (u16, little-endian), then
//! RGB rows. QEMU must run with `-icount shift=0`: SysTick then counts instructions, and every run
//! gives the same figures.
#![no_std]
#![no_main]

mod counter;
mod frame;

use core::fmt;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::{debug, hprintln};
use crc::{CRC_32_ISO_HDLC, Crc};
use vod_core::conv::Network;
use vod_core::{Bank, FrameError, Scorer, Stream};

use counter::Counter;
use frame::FrameFile;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// Bytes at an address that any load may be from.
#[repr(C, align(16))]
struct Aligned<T: ?Sized>(T);

static BANK: &Aligned<[u8]> = &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/bank.bin")));
static NETWORK: &Aligned<[u8]> =
    &Aligned(*include_bytes!(concat!(env!("OUT_DIR"), "/network.bin")));

/// Longest pixel row.
const MAX_WIDTH: usize = 160;
/// Patches of the largest frame.
const MAX_PATCHES: usize = 400;
/// Rows between the network's layers: what `edge-int8` needs for [`MAX_WIDTH`].
const ROWS_LEN: usize = 140 << 10;
/// Scores between the rows of a map.
const SCRATCH_LEN: usize = 256;

#[entry]
fn main() -> ! {
    match run() {
        Ok(()) => debug::exit(debug::EXIT_SUCCESS),
        Err(failure) => {
            hprintln!("{}", failure);
            debug::exit(debug::EXIT_FAILURE);
        }
    }
    loop {}
}

/// Why there is no verdict.
enum Failure {
    Setup(&'static str),
    Frame(FrameError),
}

impl From<&'static str> for Failure {
    fn from(reason: &'static str) -> Self {
        Self::Setup(reason)
    }
}

impl From<FrameError> for Failure {
    fn from(error: FrameError) -> Self {
        Self::Frame(error)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(reason) => f.write_str(reason),
            Self::Frame(error) => error.fmt(f),
        }
    }
}

fn run() -> Result<(), Failure> {
    let peripherals = cortex_m::Peripherals::take().ok_or("peripherals are taken")?;
    let rows = cortex_m::singleton!(: [i8; ROWS_LEN] = [0; ROWS_LEN]).ok_or("rows")?;
    let scratch = cortex_m::singleton!(: [i32; SCRATCH_LEN] = [0; SCRATCH_LEN]).ok_or("scratch")?;
    let map = cortex_m::singleton!(: [i32; MAX_PATCHES] = [0; MAX_PATCHES]).ok_or("map")?;
    let pixels =
        cortex_m::singleton!(: [u8; MAX_WIDTH * 3] = [0; MAX_WIDTH * 3]).ok_or("pixels")?;
    let mut counter = Counter::new(peripherals.SYST);

    let bank = Bank::from_bytes(&BANK.0).map_err(|_| "the bank is refused")?;
    let network = Network::from_bytes(&NETWORK.0).map_err(|_| "the network is refused")?;
    if bank.dimension() != network.dimension() {
        return Err(Failure::Setup("bank and network do not go together"));
    }
    let mut file = FrameFile::open()?;
    let (width, height) = (file.width, file.height);
    let grid = network.grid(height, width).ok_or(FrameError::Grid)?;
    let pixels = pixels.get_mut(..width * 3).ok_or("the frame is too wide")?;
    let map = map.get_mut(..grid.len()).ok_or("the map is too large")?;
    let scorer = Scorer::new(&bank);
    let mut features = network.stream(height, width, rows)?;
    let mut scores = scorer.stream(grid, scratch)?;
    let mut map_rows = map.chunks_exact_mut(grid.width());
    let mut pop = |scores: &mut Stream| {
        while scores.ready() {
            if let Some(row) = map_rows.next() {
                scores.pop_row(row);
            }
        }
    };
    let mut digest = CRC.digest();
    let (mut network_ticks, mut scorer_ticks) = (0, 0);
    for _ in 0..height {
        file.read_row(pixels)?;
        network_ticks += counter.ticks_of(|| features.push_row(pixels)).1;
        loop {
            let (row, ticks) = counter.ticks_of(|| features.next_row());
            network_ticks += ticks;
            let Some(row) = row else { break };
            row.iter()
                .for_each(|&value| digest.update(&value.to_le_bytes()));
            let (pushed, ticks) = counter.ticks_of(|| {
                let pushed = scores.push_row(row);
                pop(&mut scores);
                pushed
            });
            pushed?;
            scorer_ticks += ticks;
        }
    }
    let verdict = scores.finish()?;
    let features_digest = digest.finalize();
    let mut digest = CRC.digest();
    map.iter()
        .for_each(|score| digest.update(&score.to_le_bytes()));
    hprintln!(
        "score {} threshold {} map_max {} features {:08x} map {:08x}",
        verdict.score,
        verdict.threshold,
        verdict.map_max,
        features_digest,
        digest.finalize()
    );
    hprintln!(
        "instructions network {} scorer {}; network macs {}; bytes rows {} scratch {} stack {} network {} bank {}",
        counter.instructions(network_ticks),
        counter.instructions(scorer_ticks),
        network.macs(height, width),
        network.scratch_len(height, width).unwrap_or(0),
        scorer.scratch_len_for(grid) * 4,
        counter::stack_bytes(),
        NETWORK.0.len(),
        BANK.0.len()
    );
    Ok(())
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    hprintln!("{}", info);
    loop {
        debug::exit(debug::EXIT_FAILURE);
    }
}
