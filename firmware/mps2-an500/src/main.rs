//! Cortex-M7 of QEMU's mps2-an500.
#![no_std]
#![no_main]

mod machine;

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    vod_firmware_mps::serve(&machine::AN500)
}
