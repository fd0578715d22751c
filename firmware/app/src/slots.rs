//! Two banks in flash, one of them in use.
//!
//! A slot starts with a record (64 bytes), the bank follows, and behind it, where the firmware runs
//! networks, the network that its features are from. An update erases the other slot, writes
//! the bank, reads it back and checks it, and only then writes the record, which has a CRC of its
//! own: wherever the power fails, the slot has no valid record and the old one stays in use. Of two
//! valid slots the one with the higher generation is used.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};
use vod_core::Bank;
use vod_core::bank::{TRAILER_LEN, checksum, file_len};
#[cfg(feature = "pixels")]
use vod_core::conv::Network;
use vod_protocol::{BankInfo, Refusal};

/// Flash for one bank. It is read where it lies, so it is mapped into the address space.
pub trait Slot: NorFlash {
    /// All of it, as it is now.
    fn bytes(&self) -> &[u8];
}

/// Bytes of a record. Flash is written in units that divide it.
pub const RECORD_LEN: usize = 64;

const MAGIC: [u8; 4] = *b"VODS";
const CRC_LEN: usize = 4;
/// What erased flash reads as.
const ERASED: u8 = 0xff;

/// The record of a slot: magic, generation, length, SHA-256, 16 bytes that stay erased, CRC-32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub generation: u32,
    pub length: u32,
    pub sha256: [u8; 32],
}

impl Record {
    fn encode(&self) -> [u8; RECORD_LEN] {
        let mut bytes = [ERASED; RECORD_LEN];
        let fields = MAGIC
            .into_iter()
            .chain(self.generation.to_le_bytes())
            .chain(self.length.to_le_bytes())
            .chain(self.sha256);
        for (slot, byte) in bytes.iter_mut().zip(fields) {
            *slot = byte;
        }
        if let Some((covered, crc)) = bytes.split_last_chunk_mut::<CRC_LEN>() {
            *crc = checksum(covered).to_le_bytes();
        }
        bytes
    }

    fn decode(slot: &[u8]) -> Option<Self> {
        let bytes = slot.first_chunk::<RECORD_LEN>()?;
        let (magic, rest) = bytes.split_first_chunk::<4>()?;
        let (generation, rest) = rest.split_first_chunk()?;
        let (length, rest) = rest.split_first_chunk()?;
        let record = Self {
            generation: u32::from_le_bytes(*generation),
            length: u32::from_le_bytes(*length),
            sha256: *rest.first_chunk()?,
        };
        (*magic == MAGIC && record.encode() == *bytes).then_some(record)
    }
}

/// What a slot holds.
#[derive(Clone, Debug)]
pub struct Stored<'s> {
    /// The bank.
    pub bank: Bank<'s>,
    /// What makes its features of pixels, where it came with the bank.
    #[cfg(feature = "pixels")]
    pub network: Option<Network<'s>>,
}

impl<'s> Stored<'s> {
    /// Checks a bank file and, where the firmware runs networks, the network file that may follow.
    /// `None` where one of them does not hold, or the two do not go together.
    pub fn from_bytes(bytes: &'s [u8]) -> Option<Self> {
        let (bank, behind) = bytes.split_at_checked(file_len(bytes)?)?;
        let bank = Bank::from_bytes(bank).ok()?;
        #[cfg(feature = "pixels")]
        {
            let network = match behind {
                [] => None,
                _ => Some(Network::from_bytes(behind).ok()?),
            };
            let dimension = network.as_ref().map(Network::dimension);
            let fits = dimension.is_none_or(|dimension| dimension == bank.dimension());
            fits.then_some(Self { bank, network })
        }
        #[cfg(not(feature = "pixels"))]
        behind.is_empty().then_some(Self { bank })
    }

    /// Pixels from one patch to the next; 0 without a network.
    fn stride(&self) -> u8 {
        #[cfg(feature = "pixels")]
        let stride = self.network.as_ref().map_or(0, |network| network.stride());
        #[cfg(not(feature = "pixels"))]
        let stride = 0usize;
        u8::try_from(stride).unwrap_or(u8::MAX)
    }
}

/// What a slot holds, where its record and all of it hold.
pub(crate) fn load<S: Slot>(slot: &S) -> Option<(Record, Stored<'_>)> {
    let record = Record::decode(slot.bytes())?;
    let stored = Stored::from_bytes(bytes_of(slot, record.length)?)?;
    Some((record, stored))
}

fn bytes_of<S: Slot>(slot: &S, length: u32) -> Option<&[u8]> {
    let end = RECORD_LEN.checked_add(length as usize)?;
    slot.bytes().get(RECORD_LEN..end)
}

/// Number of the slot in use: the one with the highest generation whose bank holds.
pub(crate) fn choose<S: Slot>(slots: &[S; 2]) -> Option<usize> {
    let generation = |slot: &S| load(slot).map(|(record, _)| record.generation);
    match [generation(&slots[0]), generation(&slots[1])] {
        [None, None] => None,
        [Some(_), None] => Some(0),
        [None, Some(_)] => Some(1),
        [Some(first), Some(second)] => Some(usize::from(second > first)),
    }
}

/// What the protocol says of the bank in slot `number`.
pub(crate) fn describe<S: Slot>(
    number: usize,
    record: &Record,
    stored: &Stored,
    slot: &S,
) -> BankInfo {
    let parts = stored.bank.parts();
    let bytes = bytes_of(slot, record.length).unwrap_or_default();
    let bank = bytes.get(..file_len(bytes).unwrap_or(0));
    let id = bank.and_then(|bank| bank.last_chunk::<TRAILER_LEN>());
    BankInfo {
        slot: number as u8,
        generation: record.generation,
        length: record.length,
        id: id.copied().map_or(0, u32::from_le_bytes),
        sha256: record.sha256,
        stride: stored.stride(),
        dimension: parts.dimension,
        rows: parts.row_count,
        // At most three.
        levels: parts.image_score.levels.count() as u8,
        threshold: parts.threshold,
        map_threshold: parts.map_threshold,
    }
}

/// A bank on its way into the slot that is not in use.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Update {
    length: u32,
    received: u32,
}

impl Update {
    /// Longest bank.
    pub(crate) fn max_length<S: Slot>(slot: &S) -> u32 {
        let room = slot.capacity().min(slot.bytes().len());
        u32::try_from(room.saturating_sub(RECORD_LEN)).unwrap_or(u32::MAX)
    }

    /// Erases the slot, its record first.
    pub(crate) fn begin<S: Slot>(slot: &mut S, length: u32) -> Result<Self, Refusal> {
        const { assert!(RECORD_LEN.is_multiple_of(S::WRITE_SIZE)) };
        let limit = Self::max_length(slot);
        if length > limit {
            return Err(Refusal::TooLong { limit });
        }
        let used = (RECORD_LEN + length as usize).next_multiple_of(S::ERASE_SIZE);
        let end = u32::try_from(used).map_err(|_| Refusal::TooLong { limit })?;
        slot.erase(0, end).map_err(|_| Refusal::Flash)?;
        Ok(Self {
            length,
            received: 0,
        })
    }

    /// Writes the next part; all but the last are multiples of the flash's unit. Gives the bytes that
    /// were received so far.
    pub(crate) fn write<S: Slot>(
        &mut self,
        slot: &mut S,
        offset: u32,
        data: &[u8],
    ) -> Result<u32, Refusal> {
        let missing = (self.length - self.received) as usize;
        let (units, tail) = data.split_at(data.len() - data.len() % S::WRITE_SIZE);
        if offset != self.received || (!tail.is_empty() && data.len() != missing) {
            return Err(Refusal::Offset {
                expected: self.received,
            });
        }
        if data.len() > missing {
            return Err(Refusal::TooLong {
                limit: missing as u32,
            });
        }
        let start = RECORD_LEN as u32 + offset;
        slot.write(start, units).map_err(|_| Refusal::Flash)?;
        if !tail.is_empty() {
            let mut last = [ERASED; RECORD_LEN];
            for (slot, &byte) in last.iter_mut().zip(tail) {
                *slot = byte;
            }
            let last = last.get(..S::WRITE_SIZE).unwrap_or_default();
            slot.write(start + units.len() as u32, last)
                .map_err(|_| Refusal::Flash)?;
        }
        self.received += data.len() as u32;
        Ok(self.received)
    }

    /// Reads the bank back, checks it, writes the record.
    pub(crate) fn finish<S: Slot>(self, slot: &mut S, generation: u32) -> Result<(), Refusal> {
        if self.received < self.length {
            return Err(Refusal::Incomplete {
                missing: self.length - self.received,
            });
        }
        let bytes = bytes_of(slot, self.length).unwrap_or_default();
        Stored::from_bytes(bytes).ok_or(Refusal::BadBank)?;
        let record = Record {
            generation,
            length: self.length,
            sha256: Sha256::digest(bytes).into(),
        };
        slot.write(0, &record.encode())
            .map_err(|_| Refusal::Flash)?;
        if Record::decode(slot.bytes()) == Some(record) {
            Ok(())
        } else {
            Err(Refusal::Flash)
        }
    }
}
