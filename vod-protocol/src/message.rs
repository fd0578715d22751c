//! Requests of the workstation, answers of the device.

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};
use vod_core::{MAX_REGIONS, Region};

/// Version of the protocol; a device with another one is not talked to.
pub const VERSION: u16 = 3;

/// A short name.
pub type Text = String<32>;

/// What the workstation asks for. Offsets and lengths are in bytes unless they say otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request<'a> {
    /// Opens a session; always the first request (number 0).
    Hello {
        /// The workstation's [`VERSION`].
        version: u16,
    },
    /// What bank is in use.
    Bank,
    /// Erases the slot that is not in use, for a bank of `length`.
    UpdateBegin {
        /// Length of the bank.
        length: u32,
    },
    /// The next part of the bank.
    UpdateChunk {
        /// Where it belongs; what was received so far, parts come in order.
        offset: u32,
        /// The part.
        data: &'a [u8],
    },
    /// Checks the new bank and switches to it.
    UpdateFinish,
    /// Starts a frame of `height x width` patches at the input size; one that is unfinished is dropped.
    FrameBegin {
        /// Rows of patches.
        height: u16,
        /// Patches of a row.
        width: u16,
    },
    /// The next part of the frame's level: int8 features, `[height, width, dimension]`, or what
    /// [`Self::PixelsBegin`] says.
    FrameChunk {
        /// Where it belongs; what was received so far, parts come in order.
        offset: u32,
        /// The part; it may end within a row or a patch.
        data: &'a [u8],
    },
    /// The verdict, once the whole frame was sent, at all levels of the bank.
    FrameFinish,
    /// A part of the last frame's map.
    Map {
        /// First patch.
        offset: u32,
    },
    /// Counters.
    Statistics,
    /// Drops what is unfinished and the counters, reads the bank from flash anew.
    Reset,
    /// Starts a frame of `height x width` pixels, for a device that runs the network itself; one that
    /// is unfinished is dropped. [`Self::FrameChunk`] then carries the pixels, 8 bits a colour,
    /// `[height, width, colours]`; a part may end within a row or a pixel.
    PixelsBegin {
        /// Rows of pixels.
        height: u16,
        /// Pixels of a row.
        width: u16,
        /// Colours of a pixel: 3 (RGB) or 1 (grey).
        colours: u8,
    },
    /// Starts the next coarser level of the frame, once the one before was sent: `height x width`
    /// patches, or pixels of as many colours. Offsets start at 0 again.
    Level {
        /// Rows of patches or pixels.
        height: u16,
        /// Patches or pixels of a row.
        width: u16,
    },
}

/// What the device answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Response<'a> {
    /// Can't be done.
    Refused(Refusal),
    /// To [`Request::Hello`].
    Hello(DeviceInfo),
    /// To [`Request::Bank`]; `None` where no slot holds a usable bank.
    Bank(Option<BankInfo>),
    /// Bytes that were taken so far; the next part starts there.
    Progress {
        /// Bytes.
        received: u32,
    },
    /// The new bank is in use.
    Updated,
    /// To [`Request::FrameFinish`].
    Verdict(Verdict),
    /// To [`Request::Map`].
    Map {
        /// Smoothed scores, i32 little-endian, as many as fit.
        scores: &'a [u8],
    },
    /// To [`Request::Statistics`].
    Statistics(Statistics),
    /// Done.
    Done,
}

/// The device and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInfo {
    /// The device's [`VERSION`].
    pub version: u16,
    /// Name of the board.
    pub board: Text,
    /// Version of the firmware.
    pub firmware: Text,
    /// Search kernel ([`vod_core::Kernel::name`]).
    pub kernel: Text,
    /// Frequency of what counts cycles.
    pub clock_hz: u32,
    /// Most bytes of data in a request.
    pub max_data: u16,
    /// Longest row of features, bytes. Where the device runs networks: the bytes of rows between a
    /// network's layers and of a pixel row, too.
    pub max_row: u32,
    /// Most patches of a frame, those of all its levels together.
    pub max_patches: u32,
    /// Longest bank, and the network behind it, bytes.
    pub max_bank: u32,
    /// Whether it runs networks, which a bank then brings with it: it takes pixels.
    pub pixels: bool,
}

/// The bank in use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankInfo {
    /// Slot that it is in.
    pub slot: u8,
    /// How many updates led to it.
    pub generation: u32,
    /// Length in bytes, that of the network behind it included.
    pub length: u32,
    /// The CRC-32 at its end.
    pub id: u32,
    /// SHA-256 of all of it.
    pub sha256: [u8; 32],
    /// Pixels from one patch to the next where a network came with it; 0 where it takes features
    /// only.
    pub stride: u8,
    /// Channels of a patch feature.
    pub dimension: u16,
    /// Reference rows.
    pub rows: u32,
    /// Levels at which it looks at a frame: that many have to be sent.
    pub levels: u8,
    /// Image score from which a frame is anomalous.
    pub threshold: i32,
    /// Smoothed score from which a patch belongs to a region.
    pub map_threshold: i32,
}

/// Verdict on a frame.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Image score.
    pub score: i32,
    /// The bank's threshold.
    pub threshold: i32,
    /// Whether the score reaches it.
    pub anomalous: bool,
    /// Highest smoothed score.
    pub map_max: i32,
    /// Cycles that scoring took, without the transfer and the network ([`DeviceInfo::clock_hz`]).
    pub cycles: u64,
    /// Where the map is high, highest peak first.
    pub regions: Vec<Region, MAX_REGIONS>,
    /// What the network did, for a frame of pixels.
    pub network: Option<NetworkRun>,
}

/// From a frame's pixels to its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRun {
    /// Cycles that it took.
    pub cycles: u64,
    /// CRC-32 (ISO-HDLC) of all int8 features, `[height, width, dimension]`, those of coarser levels
    /// behind those of finer ones.
    pub features: u32,
}

/// Counters since the start or the last [`Request::Reset`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statistics {
    /// Requests that were carried out.
    pub requests: u32,
    /// Requests that came again and got the same answer.
    pub repeated: u32,
    /// Frames of the protocol whose checksum or encoding was wrong, or that were too long.
    pub damaged: u32,
    /// Requests that were not the next, or of another session.
    pub out_of_order: u32,
    /// Images scored.
    pub frames: u32,
    /// Of them anomalous.
    pub anomalous: u32,
    /// Cycles spent on scoring and in networks.
    pub cycles: u64,
    /// Banks that were switched to.
    pub updates: u32,
    /// New banks that were refused.
    pub updates_refused: u32,
    /// Most bytes of stack that were ever in use, 0 where the board does not know.
    pub stack_bytes: u32,
}

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Refusal {
    /// The device speaks another version of the protocol.
    Version {
        /// The device's.
        version: u16,
    },
    /// The device knows no such session: it restarted.
    Session,
    /// The request is one that this device does not know.
    Unknown,
    /// No slot holds a usable bank.
    NoBank,
    /// No frame, map or update is there to go on with.
    NotBegun,
    /// The part is not the next one.
    Offset {
        /// Where the next part starts.
        expected: u32,
    },
    /// More than the device has room for.
    TooLong {
        /// Room, in the unit of what was asked for.
        limit: u32,
    },
    /// A frame or a bank is shorter than was announced.
    Incomplete {
        /// Bytes that are missing.
        missing: u32,
    },
    /// The patch grid is none, or not the one that the bank was made for.
    Grid,
    /// The new bank is damaged or not one that this firmware reads; the old one stays in use.
    BadBank,
    /// The flash could not be erased or written.
    Flash,
    /// The firmware runs no network, or the bank in use came without one.
    NoNetwork,
    /// The bank in use looks at frames at another number of levels.
    Levels {
        /// How many it looks at.
        expected: u8,
    },
}

impl core::fmt::Display for Refusal {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Version { version } => write!(
                f,
                "it speaks version {version} of the protocol, this program version {VERSION}"
            ),
            Self::Session => f.write_str("it restarted and has lost what was begun"),
            Self::Unknown => f.write_str("its firmware does not know this request"),
            Self::NoBank => f.write_str("it holds no bank; update it first"),
            Self::NotBegun => f.write_str("nothing was begun that could be continued"),
            Self::Offset { expected } => write!(f, "it expected the part at {expected}"),
            Self::TooLong { limit } => write!(f, "it has room for {limit} only"),
            Self::Incomplete { missing } => write!(f, "{missing} bytes are missing"),
            Self::Grid => f.write_str("the bank is for another grid of patches"),
            Self::BadBank => {
                f.write_str("the new bank is damaged or unreadable to it; the old one stays")
            }
            Self::Flash => f.write_str("its flash could not be erased or written"),
            Self::NoNetwork => f.write_str("it has no network, and takes features only"),
            Self::Levels { expected } => {
                write!(
                    f,
                    "its bank looks at frames at {expected} levels, no more and no fewer"
                )
            }
        }
    }
}
