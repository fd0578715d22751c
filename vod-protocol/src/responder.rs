//! The device's side: which requests are carried out, which are answered again, which ignored.

use crate::frame::{FRAME_OVERHEAD, FrameError, Header, Inbox, MAX_DATA, decode, encode};
use crate::message::{Refusal, Request, Response};

/// What a byte led to.
#[derive(Debug)]
pub enum Received<'r> {
    /// A request to carry out, once; [`Responder::reply`] is called next.
    Request(Request<'r>),
    /// An answer that was given before, to be sent again.
    Repeat(&'r [u8]),
    /// The refusal of a request, to be sent.
    Refuse(&'r [u8]),
    /// A frame that was damaged or too long; it is dropped.
    Damaged,
    /// A late copy of a request; it is dropped.
    OutOfOrder,
}

/// Receives requests and keeps the last answer. `N` is the size of each of its two buffers.
#[derive(Debug)]
pub struct Responder<const N: usize> {
    inbox: Inbox<N>,
    /// The session and its last request that was carried out.
    last: Option<Header>,
    answer: [u8; N],
    answer_len: usize,
    /// A refusal to another session, which must not replace the last answer.
    refusal: [u8; 32],
}

impl<const N: usize> Default for Responder<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Responder<N> {
    /// Most bytes of data in a request or an answer that fit the buffers.
    pub const MAX_DATA: usize = {
        // A verdict with all its regions is the longest answer that can't be made shorter.
        assert!(N >= 512 && N - FRAME_OVERHEAD <= MAX_DATA);
        N - FRAME_OVERHEAD
    };

    /// One without a session.
    pub const fn new() -> Self {
        Self {
            inbox: Inbox::new(),
            last: None,
            answer: [0; N],
            answer_len: 0,
            refusal: [0; 32],
        }
    }

    /// Takes a byte from the stream.
    pub fn push(&mut self, byte: u8) -> Option<Received<'_>> {
        let (header, message) = match self.inbox.push(byte)?.and_then(decode) {
            Ok(frame) => frame,
            Err(FrameError::Damaged | FrameError::Room) => return Some(Received::Damaged),
        };
        let request = postcard::from_bytes::<Request>(message);
        let opens = header.sequence == 0 && matches!(request, Ok(Request::Hello { .. }));
        let last = self.last.filter(|last| last.session == header.session);
        match last {
            Some(last) if header == last => {
                let answer = self.answer.get(..self.answer_len).unwrap_or_default();
                return Some(Received::Repeat(answer));
            }
            // Only one request is under way: a higher number says that those before were given up,
            // a lower one is a late copy.
            Some(last) if header.sequence < last.sequence => return Some(Received::OutOfOrder),
            None if !opens => {
                let refused = Response::Refused(Refusal::Session);
                let frame = encode(header, &refused, &mut self.refusal);
                return Some(Received::Refuse(frame.unwrap_or_default()));
            }
            _ => {}
        }
        self.last = Some(header);
        self.answer_len = 0;
        match request {
            Ok(request) => Some(Received::Request(request)),
            Err(_) => {
                let refused = Response::Refused(Refusal::Unknown);
                let frame = encode(header, &refused, &mut self.answer).unwrap_or_default();
                self.answer_len = frame.len();
                Some(Received::Refuse(frame))
            }
        }
    }

    /// Encodes the answer to the last [`Received::Request`], to be sent and kept.
    pub fn reply(&mut self, response: &Response) -> &[u8] {
        let Some(header) = self.last else { return &[] };
        // N has room for every answer (`MAX_DATA`).
        let answer = encode(header, response, &mut self.answer).unwrap_or_default();
        self.answer_len = answer.len();
        answer
    }
}
