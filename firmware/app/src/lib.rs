//! A camera that scores by itself, without anything of a particular board.
//!
//! ```text
//! bytes --> Responder (vod-protocol) --> Device --> vod-core --> answer --> bytes
//!                                          |
//!                                        slots: two banks in flash, one of them in use
//! ```
//!
//! What arrives are patch features, or, with the feature `pixels`, the pixels of a camera: a bank of
//! the backbone `edge-int8` brings its network with it, and the device runs that, too.
//!
//! A board brings what the four arguments of [`run`] ask for: a byte stream
//! ([`embedded_io::Read`] and [`embedded_io::Write`]), two pieces of flash ([`Slot`]), a counter of
//! cycles ([`Board`]) and memory ([`Buffers`]). `run` answers for ever. [`Device`] is the state
//! machine alone, for firmware with a loop of its own.
#![no_std]
#![forbid(unsafe_code)]

mod board;
mod device;
mod memory;
#[cfg(feature = "pixels")]
mod pixels;
mod run;
pub mod self_test;
mod slots;

pub use board::Board;
pub use device::{Device, Next};
pub use memory::{Buffers, Memory};
pub use run::run;
pub use slots::{RECORD_LEN, Slot, Stored};
