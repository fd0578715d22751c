#![doc = include_str!("../README.md")]
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "faults")]
extern crate alloc;

mod client;
#[cfg(feature = "faults")]
pub mod faults;
mod frame;
mod message;
mod responder;

pub use client::{Client, ClientError, LevelPixels, Patience, TimedRead};
pub use frame::{FRAME_OVERHEAD, FrameError, Header, Inbox, MAX_DATA, MAX_FRAME, decode, encode};
pub use message::{
    BankInfo, DeviceInfo, NetworkRun, Refusal, Request, Response, Statistics, Text, VERSION,
    Verdict,
};
pub use responder::{Received, Responder};
