//! The state machine: one request in, one answer out.

use heapless::Vec;
#[cfg(feature = "pixels")]
use vod_core::conv::{COLOURS, Network};
use vod_core::{
    FrameScore, Grid, Kernel, Level, Levels, PausedStream, Scorer, Stream, merge_levels, regions,
    take_off_background,
};
use vod_protocol::{
    BankInfo, DeviceInfo, NetworkRun, Refusal, Request, Response, Statistics, Text, VERSION,
    Verdict,
};

use crate::board::Board;
use crate::memory::Memory;
#[cfg(feature = "pixels")]
use crate::pixels::{Pixels, Tally};
use crate::slots::{Slot, Stored, Update};

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
    #[cfg(feature = "pixels")]
    network: Option<&'d Network<'d>>,
    /// The slot that is not in use.
    spare: &'d mut S,
    memory: &'d mut Memory<'m>,
    statistics: &'d mut Statistics,
    max_data: u16,
    update: Option<Update>,
    frame: Frame,
}

/// The frame that is received, or the last one.
#[cfg_attr(
    feature = "pixels",
    expect(clippy::large_enum_variant, reason = "no allocator; a device has one")
)]
#[derive(Debug)]
enum Frame {
    None,
    Begun(Begun),
    /// Patches of the map that can be read.
    Scored(usize),
}

/// A frame that is received, level by level.
#[derive(Debug)]
struct Begun {
    /// Levels that were scored, the finest first.
    scored: Vec<(Grid, FrameScore), { Levels::ALL.len() }>,
    /// The level whose rows arrive.
    level: Option<Incoming>,
    /// Cycles that scoring took so far.
    cycles: u64,
    /// Where pixels arrive: colours of a pixel, and what the network did so far.
    #[cfg(feature = "pixels")]
    pixels: Option<(usize, Tally)>,
}

impl Begun {
    /// One of features, without any level.
    const fn new() -> Self {
        Self {
            scored: Vec::new(),
            level: None,
            cycles: 0,
            #[cfg(feature = "pixels")]
            pixels: None,
        }
    }

    /// Patches of the levels that were scored.
    fn patches(&self) -> usize {
        self.scored.iter().map(|(grid, _)| grid.len()).sum()
    }

    fn network(&self) -> Option<NetworkRun> {
        #[cfg(feature = "pixels")]
        return self.pixels.as_ref().map(|(_, tally)| tally.summary());
        #[cfg(not(feature = "pixels"))]
        None
    }
}

/// A level whose rows arrive: of features, or of pixels.
#[derive(Debug)]
struct Incoming {
    scoring: Scoring,
    /// Bytes of a row, and where in [`Memory::row`] it is gathered.
    row_len: usize,
    row_start: usize,
    /// Bytes of the level, all and so far.
    length: usize,
    received: usize,
    #[cfg(feature = "pixels")]
    pixels: Option<Pixels>,
}

impl Incoming {
    /// Why the frame can't go on without the rest.
    fn incomplete(&self) -> Refusal {
        Refusal::Incomplete {
            missing: (self.length - self.received) as u32,
        }
    }
}

/// How far the scoring of a level is.
#[derive(Clone, Copy, Debug)]
struct Scoring {
    grid: Grid,
    stream: PausedStream,
    /// Where its map lies: behind those of the finer levels. Only the finest, at 0, is smoothed.
    map_start: usize,
    /// Rows of the map that are there.
    map_rows: usize,
    cycles: u64,
}

impl Scoring {
    /// Scores a row of features; all rows of the map that are then ready go there.
    fn push<B: Board>(
        &mut self,
        scorer: &Scorer,
        features: &[i8],
        map: &mut [i32],
        scratch: &mut [i32],
        board: &mut B,
    ) -> Result<(), Refusal> {
        board.start_cycles();
        let stream = scorer.resume(self.stream, scratch);
        let mut stream = stream.map_err(|_| Refusal::Grid)?;
        stream.push_row(features).map_err(|_| Refusal::Grid)?;
        let width = self.grid.width().max(1);
        let map = map.get_mut(self.map_start..).unwrap_or_default();
        let mut rows = map.chunks_exact_mut(width).skip(self.map_rows);
        if self.map_start > 0 {
            let row = rows.next().into_iter().flatten();
            for (slot, &score) in row.zip(stream.patch_scores()) {
                *slot = score;
            }
            self.map_rows += 1;
            while stream.skip_row() {}
        }
        while stream.ready() {
            let Some(row) = rows.next() else { break };
            if !stream.pop_row(row) {
                break;
            }
            self.map_rows += 1;
        }
        self.stream = stream.pause();
        self.cycles += board.elapsed_cycles();
        Ok(())
    }
}

impl<'d, 'm, S: Slot> Device<'d, 'm, S> {
    /// A device with the bank of one slot, where there is one, and another slot for updates.
    /// `max_data` is what one request has room for.
    pub fn new(
        bank: Option<(BankInfo, &'d Stored<'d>)>,
        spare: &'d mut S,
        memory: &'d mut Memory<'m>,
        statistics: &'d mut Statistics,
        max_data: usize,
    ) -> Self {
        Self {
            #[cfg(feature = "pixels")]
            network: bank
                .as_ref()
                .and_then(|(_, stored)| stored.network.as_ref()),
            bank: bank.map(|(info, stored)| (info, Scorer::new(&stored.bank))),
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
            Request::Hello { version } => self.hello(version, board),
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
            Request::FrameBegin { height, width } => {
                self.frame = Frame::Begun(Begun::new());
                self.begin_level(height.into(), width.into())
            }
            #[cfg(feature = "pixels")]
            Request::PixelsBegin {
                height,
                width,
                colours,
            } => self.begin_pixels(height.into(), width.into(), colours.into()),
            #[cfg(not(feature = "pixels"))]
            Request::PixelsBegin { .. } => Err(Refusal::NoNetwork),
            Request::Level { height, width } => self.begin_level(height.into(), width.into()),
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

    fn hello<B: Board>(&mut self, version: u16, board: &B) -> Result<Response<'static>, Refusal> {
        if version != VERSION {
            return Err(Refusal::Version { version: VERSION });
        }
        let text = |text: &str| Text::try_from(text).unwrap_or_default();
        let word = |length: usize| u32::try_from(length).unwrap_or(u32::MAX);
        Ok(Response::Hello(DeviceInfo {
            version: VERSION,
            board: text(board.name()),
            firmware: text(env!("CARGO_PKG_VERSION")),
            kernel: text(Kernel::best().name()),
            clock_hz: board.clock_hz(),
            max_data: self.max_data,
            max_row: word(self.memory.row.len()),
            max_patches: word(self.memory.max_patches()),
            max_bank: Update::max_length(self.spare),
            pixels: cfg!(feature = "pixels"),
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

    #[cfg(feature = "pixels")]
    fn begin_pixels(
        &mut self,
        height: usize,
        width: usize,
        colours: usize,
    ) -> Result<Response<'static>, Refusal> {
        self.frame = Frame::None;
        if self.bank.is_none() {
            return Err(Refusal::NoBank);
        }
        if self.network.is_none() {
            return Err(Refusal::NoNetwork);
        }
        if colours != 1 && colours != COLOURS {
            return Err(Refusal::Grid);
        }
        self.frame = Frame::Begun(Begun {
            pixels: Some((colours, Tally::new())),
            ..Begun::new()
        });
        self.begin_level(height, width)
    }

    /// Starts the next level of the frame that was begun; without room for it, there is no frame.
    fn begin_level(&mut self, height: usize, width: usize) -> Result<Response<'static>, Refusal> {
        let Frame::Begun(mut frame) = core::mem::replace(&mut self.frame, Frame::None) else {
            return Err(Refusal::NotBegun);
        };
        frame.level = Some(self.level(&frame, height, width)?);
        self.frame = Frame::Begun(frame);
        Ok(Response::Progress { received: 0 })
    }

    fn level(&mut self, frame: &Begun, height: usize, width: usize) -> Result<Incoming, Refusal> {
        let (info, scorer) = self.bank.as_ref().ok_or(Refusal::NoBank)?;
        if let Some(level) = &frame.level {
            return Err(level.incomplete());
        }
        if frame.scored.len() >= usize::from(info.levels) {
            let expected = info.levels;
            return Err(Refusal::Levels { expected });
        }
        #[cfg(feature = "pixels")]
        if let Some((colours, _)) = frame.pixels {
            let network = self.network.ok_or(Refusal::NoNetwork)?;
            let sizes = network.grid(height, width);
            let sizes = sizes.zip(network.scratch_len(height, width));
            let (grid, rows_len) = sizes.ok_or(Refusal::Grid)?;
            // Sides that a network takes are at most 4096.
            let row_len = width * colours;
            room(rows_len.saturating_add(row_len), self.memory.row.len())?;
            let scoring = self.begin_scoring(grid, frame.patches())?;
            let pixels = Pixels::begin(network, height, width, self.memory.row)?;
            return Ok(Incoming {
                scoring,
                row_len,
                row_start: pixels.rows_len,
                length: row_len.saturating_mul(height),
                received: 0,
                pixels: Some(pixels),
            });
        }
        let grid = Grid::new(height, width).ok_or(Refusal::Grid)?;
        let row_len = grid.width() * scorer.bank().dimension();
        room(row_len, self.memory.row.len())?;
        Ok(Incoming {
            scoring: self.begin_scoring(grid, frame.patches())?,
            row_len,
            row_start: 0,
            length: row_len.saturating_mul(grid.height()),
            received: 0,
            #[cfg(feature = "pixels")]
            pixels: None,
        })
    }

    fn begin_scoring(&mut self, grid: Grid, map_start: usize) -> Result<Scoring, Refusal> {
        let (_, scorer) = self.bank.as_ref().ok_or(Refusal::NoBank)?;
        room(map_start + grid.len(), self.memory.max_patches())?;
        room(scorer.scratch_len_for(grid), self.memory.scratch.len())?;
        let stream = scorer.stream(grid, self.memory.scratch);
        Ok(Scoring {
            grid,
            stream: stream.map_err(|_| Refusal::Grid)?.pause(),
            map_start,
            map_rows: 0,
            cycles: 0,
        })
    }

    fn continue_frame<B: Board>(
        &mut self,
        offset: u32,
        data: &[u8],
        board: &mut B,
    ) -> Result<Response<'static>, Refusal> {
        let (Frame::Begun(begun), Some((_, scorer))) = (&mut self.frame, &self.bank) else {
            return Err(Refusal::NotBegun);
        };
        let Some(frame) = &mut begun.level else {
            return Err(Refusal::TooLong { limit: 0 });
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
        let Memory { row, map, scratch } = &mut *self.memory;
        #[cfg_attr(not(feature = "pixels"), expect(unused_variables))]
        let (between, row) = row
            .split_at_mut_checked(frame.row_start)
            .ok_or(Refusal::Grid)?;
        let row = row.get_mut(..frame.row_len).ok_or(Refusal::Grid)?;
        let mut data: &[i8] = bytemuck::cast_slice(data);
        while !data.is_empty() {
            let filled = frame.received % frame.row_len;
            let (part, rest) = data.split_at(data.len().min(frame.row_len - filled));
            for (slot, &value) in row.iter_mut().skip(filled).zip(part) {
                *slot = value;
            }
            frame.received += part.len();
            data = rest;
            if filled + part.len() < frame.row_len {
                continue;
            }
            let scoring = &mut frame.scoring;
            #[cfg(feature = "pixels")]
            if let (Some(pixels), Some((_, tally)), Some(network)) =
                (&mut frame.pixels, &mut begun.pixels, self.network)
            {
                let row = bytemuck::cast_slice(row);
                pixels.push(network, between, row, tally, board, |features, board| {
                    scoring.push(scorer, features, map, scratch, board)
                })?;
                continue;
            }
            scoring.push(scorer, row, map, scratch, board)?;
        }
        let received = frame.received as u32;
        if frame.received == frame.length {
            let Scoring { grid, cycles, .. } = frame.scoring;
            board.start_cycles();
            let stream = scorer.resume(frame.scoring.stream, self.memory.scratch);
            let score = stream.and_then(Stream::finish).map_err(|_| Refusal::Grid)?;
            begun.cycles += cycles + board.elapsed_cycles();
            begun.level = None;
            // There is room: no more levels are begun than the bank looks at.
            let _ = begun.scored.push((grid, score));
        }
        Ok(Response::Progress { received })
    }

    fn finish_frame<B: Board>(&mut self, board: &mut B) -> Result<Response<'static>, Refusal> {
        let (Frame::Begun(frame), Some((info, scorer))) = (&self.frame, &self.bank) else {
            return Err(Refusal::NotBegun);
        };
        if let Some(level) = &frame.level {
            return Err(level.incomplete());
        }
        let expected = info.levels;
        let missing = Refusal::Levels { expected };
        let (&(grid, score), coarser) = frame.scored.split_first().ok_or(missing)?;
        if frame.scored.len() != usize::from(expected) {
            return Err(missing);
        }
        board.start_cycles();
        let maps = self.memory.map.split_at_mut_checked(grid.len());
        let (map, mut behind) = maps.ok_or(Refusal::Grid)?;
        let mut below: Vec<Level, { Levels::ALL.len() }> = Vec::new();
        for &(grid, frame) in coarser {
            let split = behind.split_at_mut_checked(grid.len());
            let (map, rest) = split.ok_or(Refusal::Grid)?;
            let _ = below.push(Level { frame, grid, map });
            behind = rest;
        }
        let merged = match below.as_slice() {
            [] => Ok(score),
            below => merge_levels(score, grid, map, below),
        };
        let score = merged
            .and_then(|merged| take_off_background(scorer.bank(), merged, grid, map))
            .map_err(|_| Refusal::Grid)?;
        let labels = bytemuck::cast_slice_mut(self.memory.scratch);
        let regions = regions(map, grid, info.map_threshold, labels).map_err(|_| Refusal::Grid)?;
        let cycles = frame.cycles + board.elapsed_cycles();
        let network = frame.network();
        self.frame = Frame::Scored(grid.len());
        let counters = &mut *self.statistics;
        counters.frames = counters.frames.wrapping_add(1);
        let all = cycles + network.map_or(0, |network| network.cycles);
        counters.cycles = counters.cycles.wrapping_add(all);
        if score.anomalous() {
            counters.anomalous = counters.anomalous.wrapping_add(1);
        }
        Ok(Response::Verdict(Verdict {
            score: score.score,
            threshold: score.threshold,
            anomalous: score.anomalous(),
            map_max: score.map_max,
            cycles,
            regions,
            network,
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

/// Refuses what is larger than its limit.
fn room(needed: usize, limit: usize) -> Result<(), Refusal> {
    match u32::try_from(limit) {
        Ok(limit) if needed > limit as usize => Err(Refusal::TooLong { limit }),
        _ => Ok(()),
    }
}
