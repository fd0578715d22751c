//! Arm's CMSDK APB UART; the core sleeps until a byte is there.

use core::convert::Infallible;
use core::ptr;

use cortex_m::interrupt::{self, InterruptNumber};
use cortex_m::peripheral::NVIC;
use embedded_io::{ErrorType, Read, Write};

/// Registers in their order.
#[repr(C)]
struct Registers {
    data: u32,
    state: u32,
    control: u32,
    interrupt: u32,
    baud_divisor: u32,
}

const STATE_TX_FULL: u32 = 1 << 0;
const STATE_RX_FULL: u32 = 1 << 1;
const CONTROL_TX: u32 = 1 << 0;
const CONTROL_RX: u32 = 1 << 1;
const CONTROL_RX_INTERRUPT: u32 = 1 << 3;
const INTERRUPT_RX: u32 = 1 << 1;
/// The smallest that the UART takes.
const FASTEST: u32 = 16;

/// Number of an interrupt.
#[derive(Clone, Copy)]
struct Irq(u16);

// SAFETY: the number comes from the board's table and does not change.
unsafe impl InterruptNumber for Irq {
    fn number(self) -> u16 {
        self.0
    }
}

/// A UART that is switched on.
pub struct CmsdkUart {
    registers: *mut Registers,
    receives: Irq,
}

impl CmsdkUart {
    /// Switches the UART at `address` on; `interrupt` is the number of its receive interrupt.
    ///
    /// # Safety
    /// A CMSDK UART with that interrupt lies there, and nothing else uses it.
    pub unsafe fn new(address: usize, interrupt: u16) -> Self {
        let registers = address as *mut Registers;
        let control = CONTROL_TX | CONTROL_RX | CONTROL_RX_INTERRUPT;
        let receives = Irq(interrupt);
        // SAFETY: the caller's promise; the registers are words. The interrupt has no handler: it is
        // only ever pending while interrupts are off, and wakes the core.
        unsafe {
            ptr::write_volatile(&raw mut (*registers).baud_divisor, FASTEST);
            ptr::write_volatile(&raw mut (*registers).control, control);
        }
        Self {
            registers,
            receives,
        }
    }

    /// Sleeps until a byte is there, or another interrupt wants to be served.
    fn sleep(&self) {
        interrupt::free(|_| {
            // SAFETY: as promised to `new`; unmasked with interrupts off, masked again before.
            unsafe {
                ptr::write_volatile(&raw mut (*self.registers).interrupt, INTERRUPT_RX);
                NVIC::unpend(self.receives);
                NVIC::unmask(self.receives);
            }
            if self.state() & STATE_RX_FULL == 0 {
                cortex_m::asm::wfi();
            }
            NVIC::mask(self.receives);
        });
    }

    fn state(&self) -> u32 {
        // SAFETY: as promised to `new`.
        unsafe { ptr::read_volatile(&raw const (*self.registers).state) }
    }
}

impl ErrorType for CmsdkUart {
    type Error = Infallible;
}

impl Read for CmsdkUart {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, Infallible> {
        let Some(first) = bytes.first_mut() else {
            return Ok(0);
        };
        while self.state() & STATE_RX_FULL == 0 {
            self.sleep();
        }
        // SAFETY: as promised to `new`.
        *first = unsafe { ptr::read_volatile(&raw const (*self.registers).data) } as u8;
        Ok(1)
    }
}

impl Write for CmsdkUart {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        for &byte in bytes {
            while self.state() & STATE_TX_FULL != 0 {}
            // SAFETY: as promised to `new`.
            unsafe { ptr::write_volatile(&raw mut (*self.registers).data, byte.into()) };
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        while self.state() & STATE_TX_FULL != 0 {}
        Ok(())
    }
}
