//! Addresses of the board.

use vod_firmware_mps::Machine;

pub static AN547: Machine = Machine {
    name: "mps3-an547",
    clock_hz: 32_000_000,
    uart: 0x4930_3000,
    uart_interrupt: 33,
    flash: 0x6000_0000,
};
