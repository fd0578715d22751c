//! A device in a thread: flash in memory whose power can be cut, a cable that knows when nobody
//! will say anything any more.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use embedded_io::{ErrorKind, ErrorType, Read, Write};
use embedded_storage::nor_flash::{
    self, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use vod_firmware::{Board, Buffers, Slot, run};
use vod_protocol::faults::{Fault, Faulty};
use vod_protocol::{
    Client, ClientError, FRAME_OVERHEAD, Header, Inbox, Patience, Request, Responder, TimedRead,
    decode, encode,
};

/// Longest row of features, and most patches, of the simulated device.
pub const MAX_ROW: usize = 1536;
pub const MAX_PATCHES: usize = 256;
/// Bytes of data in one of its requests, and of each buffer of its protocol.
pub const MAX_DATA: usize = 576;
pub const BUFFER: usize = MAX_DATA + FRAME_OVERHEAD;
/// Bytes that an erasing or writing device changes until its power fails.
const UNLIMITED: usize = usize::MAX;
const PAGE: usize = 256;

/// Flash that loses power after so many changed bytes.
#[derive(Clone, Debug)]
pub struct Flash {
    bytes: Vec<u8>,
    power: Arc<Mutex<usize>>,
}

struct PowerCut;

impl Flash {
    fn spend(&self) {
        let mut left = self.power.lock().unwrap();
        if *left == 0 {
            drop(left);
            resume_unwind(Box::new(PowerCut));
        }
        if *left != UNLIMITED {
            *left -= 1;
        }
    }
}

impl nor_flash::ErrorType for Flash {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 8;
    const ERASE_SIZE: usize = PAGE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        for index in from as usize..to as usize {
            self.spend();
            self.bytes[index] = 0xff;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        for (index, byte) in (offset as usize..).zip(bytes) {
            assert_eq!(self.bytes[index], 0xff, "written twice at {index}");
            self.spend();
            self.bytes[index] = *byte;
        }
        Ok(())
    }
}

impl Slot for Flash {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Two slots of a device that is switched off.
#[derive(Clone, Debug)]
pub struct Flashes {
    slots: [Flash; 2],
    power: Arc<Mutex<usize>>,
}

impl Flashes {
    pub fn new(slot_len: usize) -> Self {
        let power = Arc::new(Mutex::new(UNLIMITED));
        let slot = Flash {
            // Neither erased nor a record.
            bytes: vec![0x5a; slot_len.next_multiple_of(PAGE)],
            power: power.clone(),
        };
        let slots = [slot.clone(), slot];
        Self { slots, power }
    }

    /// A device with copies of these slots that loses power after `changes` changed bytes.
    pub fn with_power(&self, changes: usize) -> Self {
        let power = Arc::new(Mutex::new(changes));
        let slots = self.slots.clone().map(|slot| Flash {
            power: power.clone(),
            ..slot
        });
        Self { slots, power }
    }

    pub fn slot_mut(&mut self, number: usize) -> &mut Vec<u8> {
        &mut self.slots[number].bytes
    }

    /// Has a device carry out requests that are known beforehand; gives its answers, fewer where
    /// its power was cut.
    pub fn answers(&mut self, requests: &[Request]) -> Vec<Vec<u8>> {
        let mut script = Script::default();
        for (request, sequence) in requests.iter().zip(0..) {
            let header = Header {
                session: 1,
                sequence,
            };
            let mut buffer = [0; BUFFER];
            script
                .requests
                .extend(encode(header, request, &mut buffer).unwrap());
        }
        self.operate(&mut script);
        *self.power.lock().unwrap() = UNLIMITED;
        let mut inbox = Inbox::<BUFFER>::new();
        let answers = script.answers.iter().filter_map(|&byte| {
            let (_, message) = decode(inbox.push(byte)?.unwrap()).unwrap();
            Some(message.to_vec())
        });
        answers.collect()
    }

    /// Runs a device until its stream ends or its power is cut; only the flash outlives that.
    fn operate(&mut self, stream: &mut (impl Read<Error = ErrorKind> + Write)) {
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let mut buffers = Box::new(Buffers::<MAX_ROW, MAX_PATCHES>::new());
            run(
                &mut Clock::default(),
                &mut self.slots,
                stream,
                &mut buffers.memory(),
                &mut Responder::<BUFFER>::new(),
            )
        }));
        match outcome {
            Ok(ended) => ended.unwrap(),
            Err(cause) if cause.is::<PowerCut>() => {}
            Err(cause) => resume_unwind(cause),
        }
    }

    /// Switches the device on, at the far end of a cable.
    pub fn start(self, answers: Vec<Fault>) -> (Cable, Running) {
        let wire = Arc::new(Wire::default());
        let end = DeviceEnd(wire.clone());
        let thread = std::thread::spawn(move || {
            let mut flashes = self;
            let closes = CloseOnDrop(end.0.clone());
            flashes.operate(&mut Faulty::new(end, answers.into_iter()));
            drop(closes);
            *flashes.power.lock().unwrap() = UNLIMITED;
            flashes
        });
        (Cable(wire), Running(thread))
    }
}

/// A device that is switched on.
pub struct Running(JoinHandle<Flashes>);

impl Running {
    /// Its flash, once it was switched off: its cable is pulled or its power was cut.
    pub fn stopped(self) -> Flashes {
        self.0.join().unwrap()
    }
}

#[derive(Default)]
struct Clock(u64);

impl Board for Clock {
    fn name(&self) -> &str {
        "simulated"
    }

    fn clock_hz(&self) -> u32 {
        1
    }

    fn start_cycles(&mut self) {
        self.0 = 0;
    }

    fn elapsed_cycles(&mut self) -> u64 {
        self.0 += 1;
        self.0
    }
}

/// A stream of bytes that are known beforehand.
#[derive(Default)]
struct Script {
    requests: VecDeque<u8>,
    answers: Vec<u8>,
}

impl ErrorType for Script {
    type Error = ErrorKind;
}

impl Read for Script {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        match self.requests.pop_front() {
            Some(byte) => {
                bytes[0] = byte;
                Ok(1)
            }
            None => Ok(0),
        }
    }
}

impl Write for Script {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.answers.extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

#[derive(Default)]
struct Wire {
    state: Mutex<WireState>,
    changed: Condvar,
}

#[derive(Default)]
struct WireState {
    to_device: VecDeque<u8>,
    to_host: VecDeque<u8>,
    /// The device waits for bytes: unless some are sent, nothing more will come from it.
    device_waits: bool,
    host_gone: bool,
    device_gone: bool,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, WireState> {
        self.state.lock().unwrap()
    }
}

struct CloseOnDrop(Arc<Wire>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.lock().device_gone = true;
        self.0.changed.notify_all();
    }
}

struct DeviceEnd(Arc<Wire>);

impl ErrorType for DeviceEnd {
    type Error = ErrorKind;
}

impl Read for DeviceEnd {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut state = self.0.lock();
        loop {
            if let Some(byte) = state.to_device.pop_front() {
                bytes[0] = byte;
                state.device_waits = false;
                return Ok(1);
            }
            if state.host_gone {
                return Ok(0);
            }
            state.device_waits = true;
            self.0.changed.notify_all();
            state = self.0.changed.wait(state).unwrap();
        }
    }
}

impl Write for DeviceEnd {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        self.0.lock().to_host.extend(bytes);
        self.0.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// The host's end; a wait is over as soon as the device has nothing more to say.
pub struct Cable(Arc<Wire>);

impl Drop for Cable {
    fn drop(&mut self) {
        self.0.lock().host_gone = true;
        self.0.changed.notify_all();
    }
}

impl ErrorType for Cable {
    type Error = ErrorKind;
}

impl Read for Cable {
    fn read(&mut self, bytes: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut state = self.0.lock();
        loop {
            if !state.to_host.is_empty() {
                let count = bytes.len().min(state.to_host.len());
                for (slot, byte) in bytes.iter_mut().zip(state.to_host.drain(..count)) {
                    *slot = byte;
                }
                return Ok(count);
            }
            if state.device_gone {
                return Ok(0);
            }
            if state.device_waits && state.to_device.is_empty() {
                return Err(ErrorKind::TimedOut);
            }
            state = self.0.changed.wait(state).unwrap();
        }
    }
}

impl Write for Cable {
    fn write(&mut self, bytes: &[u8]) -> Result<usize, ErrorKind> {
        let mut state = self.0.lock();
        if state.device_gone {
            return Err(ErrorKind::BrokenPipe);
        }
        state.to_device.extend(bytes);
        self.0.changed.notify_all();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

impl TimedRead for Cable {
    fn start_waiting(&mut self, _: Duration) {}
}

/// A session over a cable with faults on the way to the device.
pub type Session = Client<Faulty<Cable, std::vec::IntoIter<Fault>>>;

pub fn connect(
    cable: Cable,
    requests: Vec<Fault>,
    attempts: u32,
) -> Result<Session, ClientError<ErrorKind>> {
    let patience = Patience {
        attempts,
        ..Patience::default()
    };
    Client::connect(Faulty::new(cable, requests.into_iter()), 7, patience)
}
