//! A link that fails as serial lines do, by a given plan.

use alloc::vec::Vec;
use core::time::Duration;

use embedded_io::{ErrorType, Read, Write};

use crate::client::TimedRead;
use crate::frame::END;

/// What happens to one frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It arrives.
    None,
    /// It is lost.
    Lose,
    /// It arrives twice.
    Repeat,
    /// It arrives behind the next frame.
    Delay,
    /// One of its bytes (counted modulo its length) is changed by these bits.
    Damage {
        /// Which byte.
        byte: usize,
        /// Bits that are flipped.
        bits: u8,
    },
    /// Its bytes from here on (modulo its length) are lost, its end among them.
    Cut {
        /// First byte that is lost.
        byte: usize,
    },
    /// A byte that nobody sent comes before it.
    Noise {
        /// The byte.
        byte: u8,
    },
}

/// Applies a plan to what is written to a stream; what is read passes unchanged.
#[derive(Debug)]
pub struct Faulty<S, P> {
    stream: S,
    /// One fault a frame; when it ends, everything arrives.
    plan: P,
    frame: Vec<u8>,
    delayed: Vec<u8>,
}

impl<S: Write, P: Iterator<Item = Fault>> Faulty<S, P> {
    /// A link over `stream`.
    pub fn new(stream: S, plan: P) -> Self {
        Self {
            stream,
            plan,
            frame: Vec::new(),
            delayed: Vec::new(),
        }
    }

    fn send(&mut self) -> Result<(), S::Error> {
        let mut frame = core::mem::take(&mut self.frame);
        let delayed = core::mem::take(&mut self.delayed);
        let place = |byte: usize| byte % frame.len().max(1);
        match self.plan.next().unwrap_or(Fault::None) {
            Fault::None => {}
            Fault::Lose => frame.clear(),
            Fault::Repeat => frame.extend_from_within(..),
            Fault::Delay => self.delayed = core::mem::take(&mut frame),
            Fault::Damage { byte, bits } => {
                let place = place(byte);
                frame[place] ^= bits;
            }
            Fault::Cut { byte } => frame.truncate(place(byte)),
            Fault::Noise { byte } => frame.insert(0, byte),
        }
        self.stream.write_all(&frame)?;
        self.stream.write_all(&delayed)
    }
}

impl<S: ErrorType, P> ErrorType for Faulty<S, P> {
    type Error = S::Error;
}

impl<S: Write, P: Iterator<Item = Fault>> Write for Faulty<S, P> {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, S::Error> {
        for &byte in bytes {
            self.frame.push(byte);
            // An end alone is no frame.
            if byte == END && self.frame.len() > 1 {
                self.send()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), S::Error> {
        self.stream.flush()
    }
}

impl<S: Read, P> Read for Faulty<S, P> {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, S::Error> {
        self.stream.read(bytes)
    }
}

impl<S: TimedRead, P> TimedRead for Faulty<S, P> {
    fn start_waiting(&mut self, limit: Duration) {
        self.stream.start_waiting(limit);
    }
}
