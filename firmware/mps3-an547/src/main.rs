//! Cortex-M55 of QEMU's mps3-an547.
#![no_std]
#![no_main]

mod machine;

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    vod_firmware_mps::serve(&machine::AN547)
}
