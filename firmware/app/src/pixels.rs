//! Pixels on their way to features: the bank's network, one pixel row at a time.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, Digest};
use vod_core::conv::{Network, PausedFeatures};
use vod_protocol::{NetworkRun, Refusal};

use crate::board::Board;

static CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

/// What the network did for a frame, at all its levels so far.
#[derive(Debug)]
pub(crate) struct Tally {
    cycles: u64,
    features: Checksum,
}

impl Tally {
    /// That of no pixels.
    pub(crate) fn new() -> Self {
        Self {
            cycles: 0,
            features: Checksum(CRC.digest()),
        }
    }

    pub(crate) fn summary(&self) -> NetworkRun {
        NetworkRun {
            cycles: self.cycles,
            features: self.features.0.clone().finalize(),
        }
    }
}

/// One level of a frame of pixels in the making.
#[derive(Debug)]
pub(crate) struct Pixels {
    paused: PausedFeatures,
    /// Bytes of the rows between the network's layers.
    pub rows_len: usize,
}

struct Checksum(Digest<'static, u32>);

impl fmt::Debug for Checksum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Checksum")
    }
}

impl Pixels {
    /// Starts a level of `height x width` pixels. `rows` is what lies between the network's layers,
    /// at least [`Network::scratch_len`] bytes.
    pub(crate) fn begin(
        network: &Network,
        height: usize,
        width: usize,
        rows: &mut [i8],
    ) -> Result<Self, Refusal> {
        let rows_len = network.scratch_len(height, width).ok_or(Refusal::Grid)?;
        let stream = network.stream(height, width, rows);
        Ok(Self {
            paused: stream.map_err(|_| Refusal::Grid)?.pause(),
            rows_len,
        })
    }

    /// Takes the next pixel row; `sink` gets each row of features that it completes.
    pub(crate) fn push<B: Board>(
        &mut self,
        network: &Network,
        rows: &mut [i8],
        pixels: &[u8],
        tally: &mut Tally,
        board: &mut B,
        mut sink: impl FnMut(&[i8], &mut B) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        board.start_cycles();
        let stream = network.resume(self.paused.clone(), rows);
        let mut stream = stream.map_err(|_| Refusal::Grid)?;
        stream.push_row(pixels).map_err(|_| Refusal::Grid)?;
        loop {
            let features = stream.next_row();
            tally.cycles += board.elapsed_cycles();
            let Some(features) = features else { break };
            tally.features.0.update(bytemuck::cast_slice(features));
            sink(features, board)?;
            board.start_cycles();
        }
        self.paused = stream.pause();
        Ok(())
    }
}
