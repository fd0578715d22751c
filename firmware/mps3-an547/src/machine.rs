//! Addresses of the board.

use vod_firmware_mps::Machine;

pub struct An547;

impl Machine for An547 {
    const NAME: &'static str = "mps3-an547";
    const CLOCK_HZ: u32 = 32_000_000;
    const UART: usize = 0x4930_3000;
    const UART_INTERRUPT: u16 = 33;
    const FLASH: usize = 0x6000_0000;
}
