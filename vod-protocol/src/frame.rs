//! Frames: header and message, CRC-32, COBS, a zero at the end.

use crc::{CRC_32_ISO_HDLC, Crc};
use postcard::ser_flavors::crc::CrcModifier;
use postcard::ser_flavors::{Cobs, Slice};
use serde::{Deserialize, Serialize};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);
const CRC_LEN: usize = 4;

/// What ends a frame and occurs nowhere in it.
pub(crate) const END: u8 = 0;
/// Most bytes of data in one message, on any device.
pub const MAX_DATA: usize = 4096;
/// Bytes of a frame beside up to [`MAX_DATA`] bytes of data: header (10), variant (1), offset (5),
/// length (3), CRC (4), COBS (1 in 254), end (1).
pub const FRAME_OVERHEAD: usize = 24 + MAX_DATA / 254 + 2;
/// Longest frame.
pub const MAX_FRAME: usize = MAX_DATA + FRAME_OVERHEAD;

/// Which request a frame is or answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// Drawn by the workstation for each connection.
    pub session: u32,
    /// Number of the request in its session, from 0.
    pub sequence: u32,
}

/// Why a frame can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// Its COBS encoding, its checksum or its header does not hold.
    Damaged,
    /// It does not fit the buffer.
    Room,
}

/// Encodes a frame, its end included, into `buffer`.
///
/// # Errors
/// [`FrameError::Room`].
pub fn encode<'b, M: Serialize>(
    header: Header,
    message: &M,
    buffer: &'b mut [u8],
) -> Result<&'b [u8], FrameError> {
    let flavour = Cobs::try_new(Slice::new(buffer)).map_err(|_| FrameError::Room)?;
    let flavour = CrcModifier::new(flavour, CRC.digest());
    let frame = postcard::serialize_with_flavor::<_, _, &mut [u8]>(&(header, message), flavour);
    frame.map(|frame| &*frame).map_err(|_| FrameError::Room)
}

/// Header and still encoded message of a frame (without its end), decoded in place.
///
/// # Errors
/// [`FrameError::Damaged`].
pub fn decode(frame: &mut [u8]) -> Result<(Header, &[u8]), FrameError> {
    let length = cobs::decode_in_place(frame).map_err(|_| FrameError::Damaged)?;
    let content = frame.get(..length).ok_or(FrameError::Damaged)?;
    let (content, checksum) = content
        .split_last_chunk::<CRC_LEN>()
        .ok_or(FrameError::Damaged)?;
    if CRC.checksum(content) != u32::from_le_bytes(*checksum) {
        return Err(FrameError::Damaged);
    }
    postcard::take_from_bytes(content).map_err(|_| FrameError::Damaged)
}

/// Gathers bytes until a frame is whole.
#[derive(Debug)]
pub struct Inbox<const N: usize> {
    bytes: [u8; N],
    len: usize,
    /// Bytes of the present frame were dropped for want of room.
    overrun: bool,
}

impl<const N: usize> Default for Inbox<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Inbox<N> {
    /// An empty one.
    pub const fn new() -> Self {
        Self {
            bytes: [0; N],
            len: 0,
            overrun: false,
        }
    }

    /// Takes a byte. Gives the frame that it ends, to be [`decode`]d, or why that frame is lost.
    /// Ends without a frame before them say nothing.
    pub fn push(&mut self, byte: u8) -> Option<Result<&mut [u8], FrameError>> {
        if byte != END {
            match self.bytes.get_mut(self.len) {
                Some(slot) => {
                    *slot = byte;
                    self.len += 1;
                }
                None => self.overrun = true,
            }
            return None;
        }
        let len = core::mem::take(&mut self.len);
        if core::mem::take(&mut self.overrun) {
            return Some(Err(FrameError::Room));
        }
        match self.bytes.get_mut(..len) {
            Some([]) | None => None,
            Some(frame) => Some(Ok(frame)),
        }
    }
}
