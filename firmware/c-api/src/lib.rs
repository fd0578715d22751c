//! C interface of `vod-core`. The header is `include/vod.h`; `README.md` says how to build and link.
//!
//! No function allocates or panics. Objects live in the caller's memory as arrays of words, whose
//! sizes are constants that are checked at compile time on every target. A tag in each object tells
//! one that was opened from memory that was not.
#![cfg_attr(target_os = "none", no_std)]

mod network;
mod object;
mod scoring;
mod status;

pub use network::*;
pub use object::*;
pub use scoring::*;
pub use status::*;

/// The library has no panic on any path; the compiler asks for this all the same.
#[cfg(target_os = "none")]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
