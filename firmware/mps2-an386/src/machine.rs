//! Addresses of the board.

use vod_firmware_mps::Machine;

pub static AN386: Machine = Machine {
    name: "mps2-an386",
    clock_hz: 25_000_000,
    uart: 0x4000_4000,
    uart_interrupt: 0,
    flash: 0x2100_0000,
};
