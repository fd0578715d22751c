//! Cycles by SysTick, which QEMU counts exactly (its DWT does not count), and the stack's paint.

use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use cortex_m::peripheral::syst::SystClkSource;
use cortex_m::peripheral::{SCB, SYST};
use cortex_m_rt::{STACK_PAINT_VALUE, exception};

const RELOAD: u32 = (1 << 24) - 1;

/// How often the counter went round since its start.
static ROUNDS: AtomicU32 = AtomicU32::new(0);

#[exception]
fn SysTick() {
    ROUNDS.store(
        ROUNDS.load(Ordering::Relaxed).wrapping_add(1),
        Ordering::Relaxed,
    );
}

/// The system timer, counting the core's clock.
pub struct SysTick {
    timer: SYST,
}

impl SysTick {
    /// Starts the timer.
    pub fn new(mut timer: SYST) -> Self {
        timer.set_clock_source(SystClkSource::Core);
        timer.set_reload(RELOAD);
        timer.clear_current();
        timer.enable_counter();
        timer.enable_interrupt();
        Self { timer }
    }

    /// Starts from 0. The counter is set anew too, so that equal work gives equal numbers.
    pub fn restart(&mut self) {
        self.timer.disable_counter();
        self.timer.clear_current();
        SCB::clear_pendst();
        ROUNDS.store(0, Ordering::Relaxed);
        self.timer.enable_counter();
    }

    /// Cycles since the start.
    pub fn elapsed(&self) -> u64 {
        loop {
            let rounds = ROUNDS.load(Ordering::Relaxed);
            let passed = RELOAD.saturating_sub(SYST::get_current());
            if rounds == ROUNDS.load(Ordering::Relaxed) {
                return u64::from(rounds) * u64::from(RELOAD + 1) + u64::from(passed);
            }
        }
    }
}

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// Bytes of stack that have lost their paint.
pub fn stack_bytes() -> u32 {
    let (top, end) = (&raw const _stack_start, &raw const _stack_end);
    let mut word = end;
    // SAFETY: the linker's symbols enclose the stack, which is RAM.
    while word < top && unsafe { ptr::read_volatile(word) } == STACK_PAINT_VALUE {
        word = word.wrapping_add(1);
    }
    (top as usize - word as usize) as u32
}
