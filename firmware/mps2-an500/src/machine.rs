//! Addresses of the board.

use vod_firmware_mps::Machine;

pub static AN500: Machine = Machine {
    name: "mps2-an500",
    clock_hz: 25_000_000,
    uart: 0x4000_4000,
    uart_interrupt: 0,
    flash: 0x6000_0000,
};
