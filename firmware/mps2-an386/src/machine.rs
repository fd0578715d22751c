//! Addresses of the board.

use vod_firmware_mps::Machine;

pub struct An386;

impl Machine for An386 {
    const NAME: &'static str = "mps2-an386";
    const CLOCK_HZ: u32 = 25_000_000;
    const UART: usize = 0x4000_4000;
    const UART_INTERRUPT: u16 = 0;
    const FLASH: usize = 0x2100_0000;
}
