//! The loop around the state machine.

use embedded_io::{Read, Write};
use vod_protocol::{Received, Responder, Statistics};

use crate::board::Board;
use crate::device::{Device, Next};
use crate::memory::Memory;
use crate::slots::{Slot, choose, describe, load};

/// Answers what `stream` asks, until it ends (a UART never does).
///
/// `stream` may wait for bytes as long as it likes: nothing else is to be done until then.
///
/// # Errors
/// That of the stream; calling again goes on with the session of `responder`.
pub fn run<B: Board, S: Slot, IO: Read + Write, const N: usize>(
    board: &mut B,
    slots: &mut [S; 2],
    stream: &mut IO,
    memory: &mut Memory,
    responder: &mut Responder<N>,
) -> Result<(), IO::Error> {
    const {
        assert!(Responder::<N>::MAX_DATA.is_multiple_of(S::WRITE_SIZE));
    }
    let mut statistics = Statistics::default();
    loop {
        let active = choose(slots);
        let [first, second] = slots;
        let (used, spare) = match active {
            Some(0) => (first, second),
            _ => (second, first),
        };
        let bank = active.and_then(|number| {
            let (record, stored) = load(used)?;
            Some((describe(number, &record, &stored, used), stored))
        });
        let bank = bank.as_ref().map(|(info, stored)| (info.clone(), stored));
        let max_data = Responder::<N>::MAX_DATA;
        let mut device = Device::new(bank, spare, memory, &mut statistics, max_data);
        if serve(board, &mut device, stream, responder)? {
            return Ok(());
        }
    }
}

/// Serves until the device restarts (false) or the stream ends (true).
fn serve<B: Board, S: Slot, IO: Read + Write, const N: usize>(
    board: &mut B,
    device: &mut Device<S>,
    stream: &mut IO,
    responder: &mut Responder<N>,
) -> Result<bool, IO::Error> {
    loop {
        // One byte at a time: those behind a request that restarts the device stay in the stream.
        let mut byte = [0];
        if stream.read(&mut byte)? == 0 {
            return Ok(true);
        }
        let Some(received) = responder.push(byte[0]) else {
            continue;
        };
        let mut next = Next::Serve;
        match received {
            Received::Request(request) => {
                let (response, then) = device.handle(&request, board);
                next = then;
                stream.write_all(responder.reply(&response))?;
            }
            Received::Repeat(answer) => {
                count(&mut device.statistics().repeated);
                stream.write_all(answer)?;
            }
            Received::Refuse(answer) => stream.write_all(answer)?,
            Received::Damaged => count(&mut device.statistics().damaged),
            Received::OutOfOrder => count(&mut device.statistics().out_of_order),
        }
        stream.flush()?;
        if next == Next::Restart {
            return Ok(false);
        }
    }
}

fn count(counter: &mut u32) {
    *counter = counter.wrapping_add(1);
}
