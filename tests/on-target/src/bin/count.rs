//! Counts instructions on Cortex-M (`count.sh`). The emulator must run with `-icount shift=0`: SysTick then
//! counts instructions, some at a time, and every run gives the same figures.
#![cfg_attr(target_os = "none", no_std, no_main)]

#[cfg(not(target_os = "none"))]
fn main() {
    eprintln!("runs on Cortex-M only");
    std::process::exit(2);
}

#[cfg(target_os = "none")]
mod bare {
    use core::arch::asm;
    use core::fmt::Write;

    use cortex_m::peripheral::SYST;
    use cortex_m::peripheral::syst::SystClkSource;
    use cortex_m_semihosting::{debug, hio};
    use panic_semihosting as _;
    use vod_core::bank::MAX_TAPS;
    use vod_core::{
        Bank, BankParts, Grid, ImageScore, Kernel, Nearest, ScoreStage, Scorer, ValueKind,
    };
    use vod_on_target::{GOLDEN_BANK, GOLDEN_FRAME, GOLDEN_GRID, Noise};

    const SYSTICK_MAX: u32 = 0xff_ffff;

    /// Instructions by SysTick.
    struct Counter {
        /// Instructions of a calibration run, and its ticks.
        instructions: u64,
        ticks: u64,
    }

    impl Counter {
        fn new(mut timer: SYST) -> Self {
            timer.set_clock_source(SystClkSource::Core);
            timer.set_reload(SYSTICK_MAX);
            timer.clear_current();
            timer.enable_counter();
            let rounds = 4_000_000u32;
            let ticks = ticks_of(|| {
                // SAFETY: counts a register down.
                unsafe {
                    asm!("2:", "subs {n}, #1", "bne 2b", n = inout(reg) rounds => _);
                }
            });
            Self {
                instructions: u64::from(rounds) * 2,
                ticks,
            }
        }

        fn instructions_of(&self, work: impl FnOnce()) -> u64 {
            ticks_of(work) * self.instructions / self.ticks
        }
    }

    fn ticks_of(work: impl FnOnce()) -> u64 {
        let start = SYST::get_current();
        work();
        let end = SYST::get_current();
        u64::from(start.wrapping_sub(end) & SYSTICK_MAX)
    }

    /// `part / whole` in text, to three places.
    fn ratio(part: u64, whole: u64) -> (u64, u64) {
        let thousandths = part * 1000 / whole.max(1);
        (thousandths / 1000, thousandths % 1000)
    }

    #[cortex_m_rt::entry]
    fn main() -> ! {
        let mut out = hio::hstdout().expect("semihosting");
        let timer = cortex_m::Peripherals::take().expect("once").SYST;
        let counter = Counter::new(timer);
        made_up(&mut out, &counter).expect("semihosting");
        real(&mut out, &counter).expect("semihosting");
        loop {
            debug::exit(debug::EXIT_SUCCESS);
        }
    }

    const NONE: Nearest = Nearest {
        row: 0,
        distance2: 0,
    };
    const ROWS: usize = 512;
    const DIMENSION: usize = 96;
    const PATCHES: usize = 32;

    /// The search on noise: what the distance kernel costs.
    fn made_up(out: &mut impl Write, counter: &Counter) -> core::fmt::Result {
        let mut noise = Noise(1);
        let mut rows = [0; ROWS * DIMENSION];
        rows.fill_with(|| noise.next() as u8);
        let mut features = [0; PATCHES * DIMENSION];
        features.fill_with(|| noise.next());
        let mut norms = [0; ROWS * 4];
        let slots = norms.as_chunks_mut().0.iter_mut();
        for (slot, row) in slots.zip(rows.chunks_exact(DIMENSION)) {
            let squares = row.iter().map(|&v| i32::from(v as i8).pow(2));
            *slot = squares.sum::<i32>().to_le_bytes();
        }
        let mut taps = [0; MAX_TAPS];
        taps[0] = 256;
        let bank = Bank::from_parts(BankParts {
            dimension: DIMENSION as u16,
            row_count: ROWS as u32,
            grid: (0, 0),
            values: ValueKind::Signed,
            distance_weight: 900,
            shift: 5,
            taps,
            top_share: 655,
            image_score: ImageScore::whole(ScoreStage::Raw),
            threshold: 1,
            normal_score: 0,
            map_threshold: 1,
            radius: 0,
            weights: &[1; DIMENSION * 2],
            norms: &norms,
            cells: &[],
            rows: &rows,
            host: &[],
        })
        .expect("the parts hold");
        let mut nearest = [NONE; PATCHES];
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let count = counter.instructions_of(|| scorer.nearest_of_all(&features, &mut nearest));
            let (whole, part) = ratio(count, (features.len() * ROWS) as u64);
            let name = kernel.name();
            writeln!(
                out,
                "search of {PATCHES} patches x {ROWS} rows x {DIMENSION}, {name}: \
                 {whole}.{part:03} instructions a MAC"
            )?;
        }
        Ok(())
    }

    /// A frame of a solar cell against its bank.
    fn real(out: &mut impl Write, counter: &Counter) -> core::fmt::Result {
        let bank = Bank::from_bytes(GOLDEN_BANK).expect("the golden bank");
        let grid = Grid::new(GOLDEN_GRID.0, GOLDEN_GRID.1).expect("its grid");
        let mut features = [0; GOLDEN_FRAME.len()];
        for (slot, &byte) in features.iter_mut().zip(GOLDEN_FRAME) {
            *slot = byte as i8;
        }
        let mut nearest = [NONE; GOLDEN_GRID.0 * GOLDEN_GRID.1];
        let mut map = [0; GOLDEN_GRID.0 * GOLDEN_GRID.1];
        let mut scratch = [0; 256];
        let patches = grid.len();
        let (rows, dimension) = (bank.row_count(), bank.dimension());
        let macs = (patches * rows * dimension) as u64;
        writeln!(
            out,
            "a real frame: {patches} patches x {rows} rows x {dimension}, {macs} MACs by brute force"
        )?;
        for kernel in Kernel::available() {
            let name = kernel.name();
            let mut brute_force = 0;
            for pruned in [false, true] {
                let scorer = Scorer::with_kernel(&bank, kernel).pruned(pruned);
                let search =
                    counter.instructions_of(|| scorer.nearest_of_all(&features, &mut nearest));
                let frame = counter.instructions_of(|| {
                    scorer
                        .score_frame(grid, &features, &mut map, &mut scratch)
                        .expect("the buffers fit");
                });
                let (whole, part) = ratio(search, macs);
                let (over, over_part) = ratio(frame, search);
                let what = if pruned { "pruned" } else { "brute force" };
                writeln!(
                    out,
                    "  {name}, {what}: search {search} instructions ({whole}.{part:03} a MAC), \
                     frame {frame} ({over}.{over_part:03} of the search)"
                )?;
                if pruned {
                    let (times, times_part) = ratio(brute_force, frame);
                    writeln!(
                        out,
                        "  {name}: pruning makes the frame {times}.{times_part:03} times faster"
                    )?;
                }
                brute_force = frame;
            }
        }
        let stats = Scorer::new(&bank).nearest_of_all_pruned(&features, &mut nearest);
        let (_, seen) = ratio(stats.macs, stats.brute_force_macs);
        writeln!(out, "  pruning makes {seen} of 1000 MACs")
    }
}
