//! What Arm's MPS2 and MPS3 boards have in common, as QEMU has them; a model for other boards.
//!
//! A board crate names its addresses ([`Machine`]) and calls
//! [`serve`].
#![no_std]

mod clock;
mod flash;
mod uart;

use cortex_m::peripheral::SCB;
use cortex_m_semihosting::{debug, hprintln};
use vod_firmware::{Board, Buffers, run, self_test};
use vod_protocol::{FRAME_OVERHEAD, Responder};

pub use clock::SysTick;
pub use flash::RamFlash;
pub use uart::CmsdkUart;

/// Addresses of a board. Values, not a trait: what depends on a type is compiled with the crate of the
/// board, for speed, and there is little room for that (`Cargo.toml` of the workspace).
#[derive(Debug)]
pub struct Machine {
    /// Name of the board.
    pub name: &'static str,
    /// Frequency of the core's clock.
    pub clock_hz: u32,
    /// Address of a CMSDK UART.
    pub uart: usize,
    /// Number of its receive interrupt.
    pub uart_interrupt: u16,
    /// Address of RAM that stands in for flash, [`FLASH_LEN`] bytes.
    pub flash: usize,
}

/// Bytes of each bank slot.
pub const SLOT_LEN: usize = 2 << 20;
/// Bytes of both.
pub const FLASH_LEN: usize = 2 * SLOT_LEN;

/// Longest row of patch features, 141 patches of the `edge` backbone, 85 of `vit`; or what lies between
/// the layers of `edge-int8` for frames 256 pixels wide, and a pixel row.
const MAX_ROW: usize = if cfg!(feature = "pixels") {
    216 << 10
} else {
    32 << 10
};
/// Most patches of a frame: 64 x 64; or 45 x 45, so that all RAM stays below 256 KB.
const MAX_PATCHES: usize = if cfg!(feature = "pixels") { 2048 } else { 4096 };
/// Bytes of data in a request.
const MAX_DATA: usize = 1024;

/// The board as the application sees it.
struct Mps {
    clock: SysTick,
    machine: &'static Machine,
}

impl Board for Mps {
    fn name(&self) -> &str {
        self.machine.name
    }

    fn clock_hz(&self) -> u32 {
        self.machine.clock_hz
    }

    fn start_cycles(&mut self) {
        self.clock.restart();
    }

    fn elapsed_cycles(&mut self) -> u64 {
        self.clock.elapsed()
    }

    fn stack_bytes(&mut self) -> u32 {
        clock::stack_bytes()
    }
}

/// Everything of a board, taken once.
struct Parts {
    board: Mps,
    uart: CmsdkUart,
    slots: [RamFlash; 2],
    buffers: &'static mut Buffers<MAX_ROW, MAX_PATCHES>,
    responder: &'static mut Responder<{ MAX_DATA + FRAME_OVERHEAD }>,
}

impl Parts {
    fn take(machine: &'static Machine) -> Option<Self> {
        let peripherals = cortex_m::Peripherals::take()?;
        // SAFETY: the machine says what lies at these addresses, and `Peripherals::take` gives a
        // value only once, so that nothing else uses them.
        let (uart, slots) = unsafe {
            (
                CmsdkUart::new(machine.uart, machine.uart_interrupt),
                [
                    RamFlash::new(machine.flash, SLOT_LEN),
                    RamFlash::new(machine.flash + SLOT_LEN, SLOT_LEN),
                ],
            )
        };
        Some(Self {
            board: Mps {
                clock: SysTick::new(peripherals.SYST),
                machine,
            },
            uart,
            slots,
            buffers: cortex_m::singleton!(: Buffers<MAX_ROW, MAX_PATCHES> = Buffers::new())?,
            responder: cortex_m::singleton!(
                : Responder<{ MAX_DATA + FRAME_OVERHEAD }> = Responder::new()
            )?,
        })
    }
}

/// Answers on the UART for ever.
pub fn serve(machine: &'static Machine) -> ! {
    if let Some(mut parts) = Parts::take(machine) {
        let mut memory = parts.buffers.memory();
        let Ok(()) = run(
            &mut parts.board,
            &mut parts.slots,
            &mut parts.uart,
            &mut memory,
            parts.responder,
        );
    }
    SCB::sys_reset()
}

/// Tests the board itself and says by semihosting how that went; QEMU ends with status 0 or 1.
pub fn test(machine: &'static Machine) -> ! {
    let outcome = Parts::take(machine).map(|mut parts| {
        self_test::run(
            &mut parts.board,
            &mut parts.slots,
            &mut parts.buffers.memory(),
        )
    });
    match outcome {
        Some(Ok(report)) => {
            hprintln!("{}: {}", machine.name, report);
            debug::exit(debug::EXIT_SUCCESS);
        }
        Some(Err(failure)) => {
            hprintln!("{}: self-test failed: {}", machine.name, failure);
            debug::exit(debug::EXIT_FAILURE);
        }
        None => debug::exit(debug::EXIT_FAILURE),
    }
    SCB::sys_reset()
}

/// A camera goes on; the workstation hears that it restarted.
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    SCB::sys_reset()
}
