//! Instructions by SysTick, and the depth of the stack.

use core::arch::asm;

use cortex_m::peripheral::SYST;
use cortex_m::peripheral::syst::SystClkSource;

const SYSTICK_MAX: u32 = 0xff_ffff;
/// What `paint-stack` of cortex-m-rt fills the stack with.
const PAINT: u32 = 0xcccc_cccc;

/// A count of ticks, calibrated in instructions.
pub struct Counter {
    /// Instructions of a calibration run.
    instructions: u64,
    /// Its ticks.
    ticks: u64,
}

impl Counter {
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(SYSTICK_MAX);
        timer.clear_current();
        timer.enable_counter();
        let mut counter = Self {
            instructions: 1,
            ticks: 1,
        };
        let rounds = 4_000_000u32;
        let (_, ticks) = counter.ticks_of(|| {
            // SAFETY: counts a register down.
            unsafe {
                asm!("2:", "subs {n}, #1", "bne 2b", n = inout(reg) rounds => _);
            }
        });
        counter.instructions = u64::from(rounds) * 2;
        counter.ticks = ticks;
        counter
    }

    /// What `work` gives, and its ticks.
    pub fn ticks_of<T>(&mut self, work: impl FnOnce() -> T) -> (T, u64) {
        let start = SYST::get_current();
        let value = work();
        let end = SYST::get_current();
        (value, u64::from(start.wrapping_sub(end) & SYSTICK_MAX))
    }

    /// Instructions in so many ticks.
    pub fn instructions(&self, ticks: u64) -> u64 {
        ticks * self.instructions / self.ticks
    }
}

/// Most bytes of stack that were in use so far.
pub fn stack_bytes() -> usize {
    unsafe extern "C" {
        static mut _stack_start: u32;
        static mut _stack_end: u32;
    }
    let (top, mut word) = (&raw const _stack_start, &raw const _stack_end);
    // SAFETY: the linker script puts both ends there; words below the stack pointer are read only.
    unsafe {
        while word < top && word.read_volatile() == PAINT {
            word = word.add(1);
        }
        top.byte_offset_from(word) as usize
    }
}
