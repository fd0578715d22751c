//! What every file of the library is wrapped in: magic, version, length, body, CRC-32.

use crc::{CRC_32_ISO_HDLC, Crc};

use crate::error::BankError;

/// Bytes before the body: magic, version, two reserved zero bytes, body length.
pub const HEADER_LEN: usize = 12;
/// Bytes after the body: the CRC-32.
pub const TRAILER_LEN: usize = 4;

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// CRC-32 (ISO-HDLC, as in zip and PNG) of `bytes`.
pub fn checksum(bytes: &[u8]) -> u32 {
    CRC.checksum(bytes)
}

/// Bytes of the file that `bytes` start with, as its header says; `None` where there is no whole
/// header. Nothing else is checked.
pub fn file_len(bytes: &[u8]) -> Option<usize> {
    let (_, body_len) = bytes.first_chunk::<HEADER_LEN>()?.split_last_chunk::<4>()?;
    let body_len = u32::from_le_bytes(*body_len) as usize;
    body_len.checked_add(HEADER_LEN + TRAILER_LEN)
}

/// Checks everything around the body of a file, and the body's checksum.
pub(crate) fn body(bytes: &[u8], magic: [u8; 4], known_version: u16) -> Result<&[u8], BankError> {
    let least = HEADER_LEN + TRAILER_LEN;
    let length = |expected| BankError::Length {
        expected,
        found: bytes.len(),
    };
    let (found_magic, rest) = bytes.split_first_chunk::<4>().ok_or(length(least))?;
    if *found_magic != magic {
        return Err(BankError::Magic);
    }
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(length(least))?;
    let version = u16::from_le_bytes(*version);
    if version != known_version {
        return Err(BankError::Version { found: version });
    }
    let (reserved, rest) = rest.split_first_chunk::<2>().ok_or(length(least))?;
    let (body_len, rest) = rest.split_first_chunk::<4>().ok_or(length(least))?;
    let body_len = u32::from_le_bytes(*body_len) as usize;
    let expected = body_len.checked_add(least).ok_or(length(least))?;
    if bytes.len() != expected {
        return Err(length(expected));
    }
    let (body, trailer) = rest.split_at_checked(body_len).ok_or(length(expected))?;
    let trailer = trailer.first_chunk::<4>().ok_or(length(expected))?;
    let covered = bytes
        .get(..bytes.len().saturating_sub(TRAILER_LEN))
        .unwrap_or_default();
    if checksum(covered) != u32::from_le_bytes(*trailer) {
        return Err(BankError::Checksum);
    }
    if *reserved != [0, 0] {
        return Err(BankError::Field { name: "reserved" });
    }
    Ok(body)
}
