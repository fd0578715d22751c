//! Status codes.

use core::ffi::{CStr, c_char};

use vod_core::conv::NetworkError;
use vod_core::{BankError, FrameError};

/// What a function came to.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(non_camel_case_types)]
pub enum vod_status {
    /// Done.
    VOD_OK = 0,
    /// A pointer is null.
    VOD_NULL = 1,
    /// The object was not opened or started, or was closed by an error.
    VOD_NOT_OPEN = 2,
    /// The file is shorter or longer than its header says.
    VOD_FILE_LENGTH = 3,
    /// The file is of another kind.
    VOD_FILE_MAGIC = 4,
    /// The file has a format version that this library does not read.
    VOD_FILE_VERSION = 5,
    /// The file is damaged.
    VOD_FILE_CHECKSUM = 6,
    /// The file's body can't be decoded.
    VOD_FILE_ENCODING = 7,
    /// A field of the file is out of range or inconsistent.
    VOD_FILE_FIELD = 8,
    /// The frame's size is none that the bank or the network takes.
    VOD_GRID = 9,
    /// Another number of features or pixels than the frame has.
    VOD_FEATURE_LENGTH = 10,
    /// Another number of map values than the frame has patches.
    VOD_MAP_LENGTH = 11,
    /// The scratch memory is too short.
    VOD_SCRATCH = 12,
    /// A row too many, a row that came before those that wait were taken, or an end too early.
    VOD_ROW_COUNT = 13,
    /// Any other error.
    VOD_OTHER = 14,
    /// The frame was given at another number of levels than the bank looks at.
    VOD_LEVELS = 15,
}

use vod_status::*;

impl From<BankError> for vod_status {
    fn from(error: BankError) -> Self {
        match error {
            BankError::Length { .. } => VOD_FILE_LENGTH,
            BankError::Magic => VOD_FILE_MAGIC,
            BankError::Version { .. } => VOD_FILE_VERSION,
            BankError::Checksum => VOD_FILE_CHECKSUM,
            BankError::Encoding => VOD_FILE_ENCODING,
            BankError::Field { .. } => VOD_FILE_FIELD,
            _ => VOD_OTHER,
        }
    }
}

impl From<NetworkError> for vod_status {
    fn from(error: NetworkError) -> Self {
        match error {
            NetworkError::Length { .. } => VOD_FILE_LENGTH,
            NetworkError::Magic => VOD_FILE_MAGIC,
            NetworkError::Version { .. } => VOD_FILE_VERSION,
            NetworkError::Checksum => VOD_FILE_CHECKSUM,
            NetworkError::Encoding => VOD_FILE_ENCODING,
            NetworkError::Field { .. } => VOD_FILE_FIELD,
            _ => VOD_OTHER,
        }
    }
}

impl From<FrameError> for vod_status {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Grid => VOD_GRID,
            FrameError::FeatureLength { .. } => VOD_FEATURE_LENGTH,
            FrameError::MapLength { .. } => VOD_MAP_LENGTH,
            FrameError::Scratch { .. } => VOD_SCRATCH,
            FrameError::RowCount => VOD_ROW_COUNT,
            FrameError::Levels { .. } => VOD_LEVELS,
            _ => VOD_OTHER,
        }
    }
}

/// The status of a body that ends early with one.
pub(crate) fn status(body: impl FnOnce() -> Result<(), vod_status>) -> vod_status {
    match body() {
        Ok(()) => VOD_OK,
        Err(status) => status,
    }
}

/// What a status means, in English; any number may be given.
#[unsafe(no_mangle)]
pub extern "C" fn vod_status_text(status: i32) -> *const c_char {
    let text: &CStr = match status {
        0 => c"done",
        1 => c"a pointer is null",
        2 => c"the object was not opened or started",
        3 => c"the file is shorter or longer than its header says",
        4 => c"the file is of another kind",
        5 => c"the file's format version is not known here",
        6 => c"the file is damaged",
        7 => c"the file can't be decoded",
        8 => c"a field of the file is out of range or inconsistent",
        9 => c"the frame's size does not fit the bank or the network",
        10 => c"the number of features or pixels differs from the frame's",
        11 => c"the number of map values differs from the frame's patches",
        12 => c"the scratch memory is too short",
        13 => c"a row too many, a row before those that wait were taken, or an end too early",
        15 => c"the bank looks at frames at another number of levels",
        _ => c"error",
    };
    text.as_ptr()
}
