//! The state machine: one request in, one answer out.

use vod_core::{Bank, Grid, Kernel, PausedStream, Scorer, Stream, regions};
use vod_protocol::{
    BankInfo, DeviceInfo, Refusal, Request, Response, Statistics, Text, VERSION, Verdict,
};

use crate::board::Board;
use crate::memory::Memory;
use crate::slots::{Slot, Update};

/// What follows an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The next request.
    Serve,
    /// The slots have changed or were to be read anew: a new [`Device`] takes over.
    Restart,
}

/// A bank in use, and everything that a session changes.
#[derive(Debug)]
pub struct Device<'d, 'm, S> {
    bank: Option<(BankInfo, Scorer<'d>)>,
    /// The slot that is not in use.
    spare: &'d mut S,
    memory: &'d mut Memory<'m>,
    statistics: &'d mut Statistics,
    max_data: u16,
    update: Option<Update>,
    frame: Frame,
}

/// The frame that is received, or the last one.
#[derive(Debug)]
enum Frame {
    None,
    Rows(Incoming),
    /// Patches of the map that can be read.
    Scored(usize),
}

/// A frame whose rows arrive.
#[derive(Clone, Copy, Debug)]
struct Incoming {
    grid: Grid,
    stream: PausedStream,
    /// Bytes of features, all and so far.
    length: usize,
    received: usize,
    /// Rows of the map that are there.
    map_rows: usize,
    cycles: u64,
}

impl<'d, 'm, S: Slot> Device<'d, 'm, S> {
    /// A device with the bank of one slot, where there is one, and another slot for updates.
    /// `max_data` is what one request has room for.
    pub fn new(
        bank: Option<(BankInfo, &'d Bank<'d>)>,
        spare: &'d mut S,
        memory: &'d mut Memory<'m>,
        statistics: &'d mut Statistics,
        max_data: usize,
    ) -> Self {
        Self {
            bank: bank.map(|(info, bank)| (info, Scorer::new(bank))),
            spare,
            memory,
            statistics,
            max_data: u16::try_from(max_data).unwrap_or(u16::MAX),
            update: None,
            frame: Frame::None,
        }
    }

    /// Counters.
    pub fn statistics(&mut self) -> &mut Statistics {
        self.statistics
    }

    /// Carries a request out.
    pub fn handle<B: Board>(&mut self, request: &Request, board: &mut B) -> (Response<'_>, Next) {
        self.statistics.requests = self.statistics.requests.wrapping_add(1);
        let mut next = Next::Serve;
        let answer = match *request {
            Request::Hello { version } => self.hello::<B>(version),
            Request::Bank => Ok(Response::Bank(
                self.bank.as_ref().map(|(info, _)| info.clone()),
            )),
            Request::UpdateBegin { length } => self.begin_update(length),
            Request::UpdateChunk { offset, data } => self.continue_update(offset, data),
            Request::UpdateFinish => {
                let answer = self.finish_update();
                if answer.is_ok() {
                    next = Next::Restart;
                }
                answer
            }
            Request::FrameBegin { height, width } => self.begin_frame(height, width),
            Request::FrameChunk { offset, data } => self.continue_frame(offset, data, board),
            Request::FrameFinish => self.finish_frame(board),
            Request::Map { offset } => self.map(offset),
            Request::Statistics => {
                self.statistics.stack_bytes = board.stack_bytes();
                Ok(Response::Statistics(*self.statistics))
            }
            Request::Reset => {
                next = Next::Restart;
                *self.statistics = Statistics::default();
                Ok(Response::Done)
            }
        };
        (answer.unwrap_or_else(Response::Refused), next)
    }

    fn hello<B: Board>(&mut self, version: u16) -> Result<Response<'static>, Refusal> {
        if version != VERSION {
            return Err(Refusal::Version { version: VERSION });
        }
        let text = |text: &str| Text::try_from(text).unwrap_or_default();
        let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Ok(Response::Hello(DeviceInfo {
            version: VERSION,
            board: text(B::NAME),
            firmware: text(env!("CARGO_PKG_VERSION")),
            kernel: text(Kernel::best().name()),
            clock_hz: B::CLOCK_HZ,
            max_data: self.max_data,
            max_row: word(self.memory.row.len()),
            max_patches: word(self.memory.max_patches()),
            max_bank: Update::max_length(self.spare),
        }))
    }

    fn begin_update(&mut self, length: u32) -> Result<Response<'static>, Refusal> {
        self.update = None;
        self.update = Some(Update::begin(self.spare, length)?);
        Ok(Response::Progress { received: 0 })
    }

    fn continue_update(&mut self, offset: u32, data: &[u8]) -> Result<Response<'static>, Refusal> {
        let update = self.update.as_mut().ok_or(Refusal::NotBegun)?;
        let received = update.write(self.spare, offset, data)?;
        Ok(Response::Progress { received })
    }

    fn finish_update(&mut self) -> Result<Response<'static>, Refusal> {
        let update = self.update.take().ok_or(Refusal::NotBegun)?;
        let generation = self.bank.as_ref().map_or(0, |(info, _)| info.generation);
        let finished = update.finish(self.spare, generation.wrapping_add(1));
        let counter = match finished {
            Ok(()) => &mut self.statistics.updates,
            Err(_) => &mut self.statistics.updates_refused,
        };
        *counter = counter.wrapping_add(1);
        finished.map(|()| Response::Updated)
    }

    fn begin_frame(&mut self, height: u16, width: u16) -> Result<Response<'static>, Refusal> {
        self.frame = Frame::None;
        let (_, scorer) = self.bank.as_ref().ok_or(Refusal::NoBank)?;
        let grid = Grid::new(height.into(), width.into()).ok_or(Refusal::Grid)?;
        let row = grid.width() * scorer.bank().dimension();
        let room = |needed: usize, limit: usize| match u32::try_from(limit) {
            Ok(limit) if needed > limit as usize => Err(Refusal::TooLong { limit }),
            _ => Ok(()),
        };
        room(row, self.memory.row.len())?;
        room(grid.len(), self.memory.max_patches())?;
        room(scorer.scratch_len_for(grid), self.memory.scratch.len())?;
        let stream = scorer.stream(grid, self.memory.scratch);
        let stream = stream.map_err(|_| Refusal::Grid)?.pause();
        self.frame = Frame::Rows(Incoming {
            grid,
            stream,
            length: row.saturating_mul(grid.height()),
            received: 0,
            map_rows: 0,
            cycles: 0,
        });
        Ok(Response::Progress { received: 0 })
    }

    fn continue_frame<B: Board>(
        &mut self,
        offset: u32,
        data: &[u8],
        board: &mut B,
    ) -> Result<Response<'static>, Refusal> {
        let (Frame::Rows(frame), Some((_, scorer))) = (&mut self.frame, &self.bank) else {
            return Err(Refusal::NotBegun);
        };
        if offset as usize != frame.received {
            return Err(Refusal::Offset {
                expected: frame.received as u32,
            });
        }
        let missing = frame.length - frame.received;
        if data.len() > missing {
            return Err(Refusal::TooLong {
                limit: missing as u32,
            });
        }
        let width = frame.grid.width();
        let row_len = width * scorer.bank().dimension();
        let row = self.memory.row.get_mut(..row_len).ok_or(Refusal::Grid)?;
        let mut data: &[i8] = bytemuck::cast_slice(data);
        while !data.is_empty() {
            let filled = frame.received % row_len;
            let (part, rest) = data.split_at(data.len().min(row_len - filled));
            for (slot, &value) in row.iter_mut().skip(filled).zip(part) {
                *slot = value;
            }
            frame.received += part.len();
            data = rest;
            if filled + part.len() < row_len {
                continue;
            }
            board.start_cycles();
            let stream = scorer.resume(frame.stream, self.memory.scratch);
            let mut stream = stream.map_err(|_| Refusal::Grid)?;
            stream.push_row(row).map_err(|_| Refusal::Grid)?;
            frame.map_rows += pop(&mut stream, self.memory.map, frame.map_rows, width);
            frame.stream = stream.pause();
            frame.cycles += board.elapsed_cycles();
        }
        Ok(Response::Progress {
            received: frame.received as u32,
        })
    }

    fn finish_frame<B: Board>(&mut self, board: &mut B) -> Result<Response<'static>, Refusal> {
        let (Frame::Rows(frame), Some((info, scorer))) = (&self.frame, &self.bank) else {
            return Err(Refusal::NotBegun);
        };
        let frame = *frame;
        if frame.received < frame.length {
            return Err(Refusal::Incomplete {
                missing: (frame.length - frame.received) as u32,
            });
        }
        board.start_cycles();
        let stream = scorer.resume(frame.stream, self.memory.scratch);
        let score = stream.and_then(Stream::finish).map_err(|_| Refusal::Grid)?;
        let map = self.memory.map.get(..frame.grid.len()).unwrap_or_default();
        let labels = bytemuck::cast_slice_mut(self.memory.scratch);
        let regions =
            regions(map, frame.grid, info.map_threshold, labels).map_err(|_| Refusal::Grid)?;
        let cycles = frame.cycles + board.elapsed_cycles();
        self.frame = Frame::Scored(frame.grid.len());
        self.statistics.frames = self.statistics.frames.wrapping_add(1);
        self.statistics.cycles = self.statistics.cycles.wrapping_add(cycles);
        if score.anomalous() {
            self.statistics.anomalous = self.statistics.anomalous.wrapping_add(1);
        }
        Ok(Response::Verdict(Verdict {
            score: score.score,
            threshold: score.threshold,
            anomalous: score.anomalous(),
            map_max: score.map_max,
            cycles,
            regions,
        }))
    }

    fn map(&self, offset: u32) -> Result<Response<'_>, Refusal> {
        let Frame::Scored(patches) = self.frame else {
            return Err(Refusal::NotBegun);
        };
        let rest = self.memory.map.get(offset as usize..patches);
        let rest = rest
            .filter(|rest| !rest.is_empty())
            .ok_or(Refusal::TooLong {
                limit: patches as u32,
            })?;
        let count = rest
            .len()
            .min(usize::from(self.max_data) / size_of::<i32>());
        // Cortex-M is little-endian, as the protocol is.
        const { assert!(cfg!(target_endian = "little")) };
        Ok(Response::Map {
            scores: bytemuck::cast_slice(rest.get(..count).unwrap_or_default()),
        })
    }
}

/// Moves all rows that are ready to the map, from row `first` on; says how many there were.
fn pop(stream: &mut Stream, map: &mut [i32], first: usize, width: usize) -> usize {
    let mut rows = map.chunks_exact_mut(width.max(1)).skip(first);
    let mut count = 0;
    while stream.ready() {
        let Some(row) = rows.next() else { break };
        if !stream.pop_row(row) {
            break;
        }
        count += 1;
    }
    count
}
