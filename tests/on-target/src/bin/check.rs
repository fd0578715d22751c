//! Runs every case and prints `ok CASES cases, digest DIGEST, kernels NAMES`, or what differs.
#![cfg_attr(target_os = "none", no_std, no_main)]

use core::cell::UnsafeCell;
use core::fmt::{self, Write};

use vod_core::Kernel;
use vod_on_target::{Room, run};

/// Memory of the only thread there is.
struct Only(UnsafeCell<Room>);

// SAFETY: `report` is called once, by one thread.
unsafe impl Sync for Only {}

static ROOM: Only = Only(UnsafeCell::new(Room::new()));

/// Whether all kernels agree.
fn report(out: &mut impl Write) -> Result<bool, fmt::Error> {
    // SAFETY: called once, so that nothing else refers to the memory.
    let room = unsafe { &mut *ROOM.0.get() };
    match run(room) {
        Ok(outcome) => {
            let (cases, digest) = (outcome.cases, outcome.digest);
            write!(out, "ok {cases} cases, digest {digest:08x}, kernels")?;
            for kernel in Kernel::available() {
                write!(out, " {}", kernel.name())?;
            }
            writeln!(out)?;
            Ok(true)
        }
        Err(mismatch) => {
            writeln!(out, "{mismatch}")?;
            Ok(false)
        }
    }
}

#[cfg(not(target_os = "none"))]
fn main() -> std::process::ExitCode {
    let mut text = String::new();
    let agree = report(&mut text).expect("text can be written");
    print!("{text}");
    if agree {
        std::process::ExitCode::SUCCESS
    } else {
        std::process::ExitCode::FAILURE
    }
}

#[cfg(target_os = "none")]
#[cortex_m_rt::entry]
fn main() -> ! {
    use cortex_m_semihosting::{debug, hio};
    use panic_semihosting as _;
    let mut out = hio::hstdout().expect("semihosting");
    let status = match report(&mut out) {
        Ok(true) => debug::EXIT_SUCCESS,
        _ => debug::EXIT_FAILURE,
    };
    loop {
        debug::exit(status);
    }
}
