//! Tests the board itself, see `vod_firmware::self_test`.
#![no_std]
#![no_main]

mod machine;

use cortex_m_rt::entry;

#[entry]
fn main() -> ! {
    vod_firmware_mps::test(&machine::AN386)
}
