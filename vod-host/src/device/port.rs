//! A TCP socket or a serial line as one byte stream whose waits end.

use std::convert::Infallible;
use std::fmt;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs};
use std::str::FromStr;
use std::time::{Duration, Instant};

use embedded_io::{ErrorType, Read, Write};
use serial2::SerialPort;
use vod_protocol::TimedRead;

/// What stands before the address of a socket.
const TCP: &str = "tcp:";
/// How long the other end may refuse to take bytes.
const WRITE_LIMIT: Duration = Duration::from_secs(30);

/// Where a device is: `tcp:HOST:PORT`, or the path of a serial port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Port {
    /// Host and port of a socket.
    Tcp(String),
    /// Path of a serial port.
    Serial(String),
}

impl FromStr for Port {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.strip_prefix(TCP) {
            Some(address) => Self::Tcp(address.into()),
            None => Self::Serial(text.into()),
        })
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{TCP}{address}"),
            Self::Serial(path) => f.write_str(path),
        }
    }
}

/// An open port.
pub struct Connection {
    wire: Wire,
    /// When the present wait ends.
    deadline: Instant,
}

enum Wire {
    Tcp(TcpStream),
    Serial(SerialPort),
}

impl Connection {
    /// Opens a port; `limit` is how long a socket may take to connect.
    ///
    /// # Errors
    /// What the operating system said.
    pub fn open(port: &Port, baud: u32, limit: Duration) -> io::Result<Self> {
        let wire = match port {
            Port::Tcp(address) => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "no such host");
                let stream = address.to_socket_addrs()?.find_map(|address| {
                    TcpStream::connect_timeout(&address, limit)
                        .map_err(|e| last = e)
                        .ok()
                });
                let stream = stream.ok_or(last)?;
                stream.set_nodelay(true)?;
                stream.set_write_timeout(Some(WRITE_LIMIT))?;
                Wire::Tcp(stream)
            }
            Port::Serial(path) => {
                let mut port = SerialPort::open(path, baud)?;
                port.set_write_timeout(WRITE_LIMIT)?;
                Wire::Serial(port)
            }
        };
        Ok(Self {
            wire,
            deadline: Instant::now(),
        })
    }
}

impl ErrorType for Connection {
    type Error = io::Error;
}

impl Read for Connection {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        loop {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            let read = match &mut self.wire {
                Wire::Tcp(stream) => stream
                    .set_read_timeout(Some(left))
                    .and_then(|()| stream.read(bytes)),
                Wire::Serial(port) => port.set_read_timeout(left).and_then(|()| port.read(bytes)),
            };
            match read {
                Err(e) if is_pause(&e) => {}
                other => return other,
            }
        }
    }
}

/// Nothing has arrived yet: systems name the end of a timeout differently.
fn is_pause(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.write(bytes),
            Wire::Serial(port) => port.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.wire {
            Wire::Tcp(stream) => stream.flush(),
            // Draining waits for the line without a limit; the answer is waited for anyway.
            Wire::Serial(_) => Ok(()),
        }
    }
}

impl TimedRead for Connection {
    fn start_waiting(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }
}
