//! The workstation's side: requests, repeated until they are answered or given up.

use core::fmt;
use core::time::Duration;

use embedded_io::{Error as _, ErrorKind, Read, Write};
use vod_core::LevelFeatures;

use crate::frame::{END, Header, Inbox, MAX_DATA, MAX_FRAME, decode, encode};
use crate::message::{
    BankInfo, DeviceInfo, Refusal, Request, Response, Statistics, VERSION, Verdict,
};

/// A stream whose reads end.
pub trait TimedRead: Read {
    /// From now on reads fail with [`ErrorKind::TimedOut`] once `limit` has passed, until the next
    /// call.
    fn start_waiting(&mut self, limit: Duration);
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Time until a request is sent for the second time; it grows by half with each further time.
    pub first: Duration,
    /// How often a request is sent before it is given up.
    pub attempts: u32,
}

impl Default for Patience {
    /// 2 s at first, 6 times: 41 s altogether.
    fn default() -> Self {
        Self {
            first: Duration::from_secs(2),
            attempts: 6,
        }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientError<E> {
    /// The stream failed.
    Stream(E),
    /// The stream ended.
    Closed,
    /// No answer, as often as the request was sent.
    NoAnswer {
        /// How often that was.
        attempts: u32,
    },
    /// The device refused.
    Refused(Refusal),
    /// The answer is not one to this request, or what was given does not fit it.
    Unexpected,
}

impl<E: fmt::Display> fmt::Display for ClientError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stream(e) => write!(f, "connection failed: {e}"),
            Self::Closed => f.write_str("connection was closed"),
            Self::NoAnswer { attempts } => write!(f, "no answer, asked {attempts} times"),
            Self::Refused(refusal) => write!(f, "device refused: {refusal}"),
            Self::Unexpected => f.write_str("device gave an answer that does not fit the question"),
        }
    }
}

impl<E: fmt::Debug + fmt::Display> core::error::Error for ClientError<E> {}

/// Pixels of one level of a frame.
#[derive(Clone, Copy, Debug)]
pub struct LevelPixels<'p> {
    /// Rows of pixels.
    pub height: u16,
    /// Pixels of a row.
    pub width: u16,
    /// 8 bits a colour, RGB or grey, `[height, width, colours]`.
    pub pixels: &'p [u8],
}

/// A session with a device.
#[derive(Debug)]
pub struct Client<S> {
    stream: S,
    patience: Patience,
    next: Header,
    inbox: Inbox<MAX_FRAME>,
    outbox: [u8; MAX_FRAME],
    device: DeviceInfo,
    resent: u32,
}

impl<S: TimedRead + Write> Client<S> {
    /// Opens a session. `session` is a number that earlier sessions did not have.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn connect(
        stream: S,
        session: u32,
        patience: Patience,
    ) -> Result<Self, ClientError<S::Error>> {
        let mut client = Self {
            stream,
            patience,
            next: Header {
                session,
                sequence: 0,
            },
            inbox: Inbox::new(),
            outbox: [0; MAX_FRAME],
            device: DeviceInfo {
                version: VERSION,
                board: Default::default(),
                firmware: Default::default(),
                kernel: Default::default(),
                clock_hz: 0,
                max_data: 0,
                max_row: 0,
                max_patches: 0,
                max_bank: 0,
                pixels: false,
            },
            resent: 0,
        };
        let version = VERSION;
        let device = client.ask(&Request::Hello { version }, |response| match response {
            Response::Hello(device) => Some(device),
            _ => None,
        })?;
        if device.version != VERSION {
            let version = device.version;
            return Err(ClientError::Refused(Refusal::Version { version }));
        }
        if device.max_data == 0 {
            return Err(ClientError::Unexpected);
        }
        client.device = device;
        Ok(client)
    }

    /// The device that answered.
    pub fn device(&self) -> &DeviceInfo {
        &self.device
    }

    /// How often requests were sent again.
    pub fn resent(&self) -> u32 {
        self.resent
    }

    /// The bank that the device scores with.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn bank(&mut self) -> Result<Option<BankInfo>, ClientError<S::Error>> {
        self.ask(&Request::Bank, |response| match response {
            Response::Bank(bank) => Some(bank),
            _ => None,
        })
    }

    /// Counters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn statistics(&mut self) -> Result<Statistics, ClientError<S::Error>> {
        self.ask(&Request::Statistics, |response| match response {
            Response::Statistics(statistics) => Some(statistics),
            _ => None,
        })
    }

    /// Drops what is unfinished on the device, and its counters.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn reset(&mut self) -> Result<(), ClientError<S::Error>> {
        self.ask(&Request::Reset, |response| {
            (response == Response::Done).then_some(())
        })
    }

    /// Replaces the device's bank by `bank` (a whole bank file; for a device that takes pixels, a
    /// network file may follow). `progress` is told how many bytes
    /// the device has.
    ///
    /// # Errors
    /// [`ClientError`]; the old bank stays in use.
    pub fn update(
        &mut self,
        bank: &[u8],
        mut progress: impl FnMut(usize),
    ) -> Result<(), ClientError<S::Error>> {
        let length = u32::try_from(bank.len()).map_err(|_| ClientError::Unexpected)?;
        self.progress(&Request::UpdateBegin { length })?;
        self.parts(
            bank,
            |offset, data| Request::UpdateChunk { offset, data },
            &mut progress,
        )?;
        self.ask(&Request::UpdateFinish, |response| {
            (response == Response::Updated).then_some(())
        })
    }

    /// Has a frame scored at the levels of the bank, the input size first.
    ///
    /// # Errors
    /// [`ClientError`]; [`Refusal::Levels`] for more or fewer levels than the device's bank looks at.
    pub fn score(&mut self, levels: &[LevelFeatures]) -> Result<Verdict, ClientError<S::Error>> {
        for (number, level) in levels.iter().enumerate() {
            // A grid's sides are at most 4096.
            let (height, width) = (level.grid.height() as u16, level.grid.width() as u16);
            let begin = match number {
                0 => Request::FrameBegin { height, width },
                _ => Request::Level { height, width },
            };
            self.level(&begin, bytemuck::cast_slice(level.features))?;
        }
        self.verdict()
    }

    /// Has a frame of pixels scored by a device that runs the network itself, at the levels of the
    /// bank, the input size first. All are RGB, or all are grey.
    ///
    /// # Errors
    /// As [`Self::score`].
    pub fn score_pixels(
        &mut self,
        levels: &[LevelPixels],
    ) -> Result<Verdict, ClientError<S::Error>> {
        for (number, level) in levels.iter().enumerate() {
            let LevelPixels { height, width, .. } = *level;
            let area = usize::from(height) * usize::from(width);
            let colours = level.pixels.len().checked_div(area).unwrap_or(0);
            let begin = match number {
                0 => Request::PixelsBegin {
                    height,
                    width,
                    colours: u8::try_from(colours).map_err(|_| ClientError::Unexpected)?,
                },
                _ => Request::Level { height, width },
            };
            self.level(&begin, level.pixels)?;
        }
        self.verdict()
    }

    /// Sends one level of a frame.
    fn level(&mut self, begin: &Request, bytes: &[u8]) -> Result<(), ClientError<S::Error>> {
        self.progress(begin)?;
        let part = |offset, data| Request::FrameChunk { offset, data };
        self.parts(bytes, part, &mut |_| ())
    }

    /// Asks for the verdict on the frame that was sent.
    fn verdict(&mut self) -> Result<Verdict, ClientError<S::Error>> {
        self.ask(&Request::FrameFinish, |response| match response {
            Response::Verdict(verdict) => Some(verdict),
            _ => None,
        })
    }

    /// Reads the map of the frame that was scored last, `[height, width]`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn read_map(&mut self, map: &mut [i32]) -> Result<(), ClientError<S::Error>> {
        let mut read = 0;
        while read < map.len() {
            let rest = map.get_mut(read..).unwrap_or_default();
            let offset = read as u32;
            read += self.ask(&Request::Map { offset }, |response| match response {
                Response::Map { scores } => {
                    let (scores, left) = scores.as_chunks::<4>();
                    let fits = left.is_empty() && !scores.is_empty() && scores.len() <= rest.len();
                    for (slot, score) in rest.iter_mut().zip(scores) {
                        *slot = i32::from_le_bytes(*score);
                    }
                    fits.then_some(scores.len())
                }
                _ => None,
            })?;
        }
        Ok(())
    }

    /// Sends `bytes` in parts.
    fn parts<'a>(
        &mut self,
        bytes: &'a [u8],
        request: impl Fn(u32, &'a [u8]) -> Request<'a>,
        progress: &mut impl FnMut(usize),
    ) -> Result<(), ClientError<S::Error>> {
        let part = usize::from(self.device.max_data).min(MAX_DATA);
        let mut sent = 0;
        for data in bytes.chunks(part) {
            let received = self.progress(&request(sent, data))?;
            sent += data.len() as u32;
            if received != sent {
                return Err(ClientError::Unexpected);
            }
            progress(sent as usize);
        }
        Ok(())
    }

    fn progress(&mut self, request: &Request) -> Result<u32, ClientError<S::Error>> {
        self.ask(request, |response| match response {
            Response::Progress { received } => Some(received),
            _ => None,
        })
    }

    /// Sends a request until it is answered; `take` makes what is wanted of the answer, or `None`
    /// where it is not one to this request.
    fn ask<T>(
        &mut self,
        request: &Request,
        mut take: impl FnMut(Response) -> Option<T>,
    ) -> Result<T, ClientError<S::Error>> {
        let header = self.next;
        self.next.sequence = header.sequence.wrapping_add(1);
        let frame =
            encode(header, request, &mut self.outbox).map_err(|_| ClientError::Unexpected)?;
        let mut limit = self.patience.first;
        for attempt in 0..self.patience.attempts {
            self.resent += u32::from(attempt > 0);
            // An end first: what the line held before is no part of this frame.
            self.stream
                .write_all(&[END])
                .and_then(|()| self.stream.write_all(frame))
                .and_then(|()| self.stream.flush())
                .map_err(ClientError::Stream)?;
            self.stream.start_waiting(limit);
            let answer = receive(&mut self.stream, &mut self.inbox, |found, message| {
                if found != header {
                    return None;
                }
                Some(match postcard::from_bytes::<Response>(message) {
                    Ok(Response::Refused(refusal)) => Err(ClientError::Refused(refusal)),
                    Ok(response) => take(response).ok_or(ClientError::Unexpected),
                    Err(_) => Err(ClientError::Unexpected),
                })
            })?;
            if let Some(answer) = answer {
                return answer;
            }
            limit += limit / 2;
        }
        Err(ClientError::NoAnswer {
            attempts: self.patience.attempts,
        })
    }
}

/// Reads frames until `take` takes one; `None` when the time is over.
fn receive<S: Read, T>(
    stream: &mut S,
    inbox: &mut Inbox<MAX_FRAME>,
    mut take: impl FnMut(Header, &[u8]) -> Option<T>,
) -> Result<Option<T>, ClientError<S::Error>> {
    let mut bytes = [0; 256];
    loop {
        let count = match stream.read(&mut bytes) {
            Ok(0) => return Err(ClientError::Closed),
            Ok(count) => count,
            Err(e) if e.kind() == ErrorKind::TimedOut => return Ok(None),
            Err(e) => return Err(ClientError::Stream(e)),
        };
        let mut taken = None;
        for &byte in bytes.get(..count).unwrap_or_default() {
            if let Some(Ok(frame)) = inbox.push(byte)
                && let Ok((header, message)) = decode(frame)
                && taken.is_none()
            {
                taken = take(header, message);
            }
        }
        if taken.is_some() {
            return Ok(taken);
        }
    }
}
