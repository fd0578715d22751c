//! The firmware's boards in QEMU: building them, switching them on, talking to them.

use std::fs::File;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use vod_host::device::{Device, Patience, Port};

use crate::cross;

/// A board, as QEMU knows it.
pub struct Board {
    /// Its name, and its program's.
    pub name: &'static str,
    /// What it is built for.
    pub target: &'static str,
    /// Bytes of the memory that stands in for flash; a sparse file.
    pub memory: u64,
    /// The kernel that it says it uses.
    pub kernel: &'static str,
}

/// Cortex-M4, M7 and M55.
pub const BOARDS: [Board; 3] = [
    Board {
        name: "mps2-an386",
        target: "thumbv7em-none-eabihf",
        memory: 16 << 20,
        kernel: "dsp",
    },
    Board {
        name: "mps2-an500",
        target: "thumbv7em-none-eabihf",
        memory: 16 << 20,
        kernel: "dsp",
    },
    Board {
        name: "mps3-an547",
        target: "thumbv8m.main-none-eabihf",
        memory: 2 << 30,
        kernel: "helium",
    },
];

/// Most bytes of flash for application, kernels and protocol.
pub const PROGRAM_LIMIT: usize = 64 << 10;

/// Bytes of flash that the firmware uses for banks.
pub const FLASH_LEN: u64 = 4 << 20;

/// Builds a board's programs, with the feature `pixels` or without, and gives their folder; `None`, with
/// a line of why, where that can't be tried.
///
/// # Panics
/// Where they can't be built.
pub fn build(board: &Board, pixels: bool) -> Option<PathBuf> {
    let leave_out = |why: &str| {
        cross::leave_out(&format!("{} in QEMU", board.name), why);
        None
    };
    if !cross::has("qemu-system-arm") {
        return leave_out("no qemu-system-arm");
    }
    let Some(toolchain) = cross::toolchain(board.target) else {
        return leave_out(&format!(
            "no target {}, see firmware/README.md",
            board.target
        ));
    };
    let test = std::env::current_exe().expect("a running test");
    // target/release/deps/qemu-...
    let target_dir = test.ancestors().nth(3).expect("a target folder");
    // Programs of one name: folders of their own, so that neither is built again and again.
    let target_dir = target_dir.join(if pixels {
        "firmware-pixels"
    } else {
        "firmware"
    });
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../firmware")
        .join(board.name);
    let mut cargo = cross::cargo(&toolchain);
    cargo
        .args(["build", "--release", "--locked", "--quiet", "--target-dir"])
        .arg(&target_dir)
        .args(pixels.then_some(["--features", "pixels"]).iter().flatten())
        .current_dir(folder);
    cross::output(&mut cargo);
    Some(target_dir.join(board.target).join("release"))
}

/// Bytes of flash that a board's program takes: vectors, code, constants and initial values.
///
/// # Panics
/// Where `program` is no 32-bit ELF file.
pub fn program_len(program: &Path) -> usize {
    let elf = std::fs::read(program).expect("a program");
    assert!(elf.starts_with(b"\x7fELF\x01\x01"), "no 32-bit ELF file");
    let half = |at: usize| usize::from(u16::from_le_bytes([elf[at], elf[at + 1]]));
    let word = |at: usize| half(at) | (half(at + 2) << 16);
    // Program headers: where, bytes of each, how many; those of type 1 are loaded.
    let (first, size, count) = (word(28), half(42), half(44));
    let headers = (0..count).map(|number| first + number * size);
    let loaded = headers.filter(|&header| word(header) == 1);
    loaded.map(|header| word(header + 16)).sum()
}

/// QEMU; killed when this goes.
pub struct Qemu(pub Child);

impl Drop for Qemu {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts a board's program. `flash` is the file of its flash, `serial` what its UART is connected to;
/// `more` are further arguments.
///
/// # Panics
/// Where QEMU can't be started.
pub fn qemu(board: &Board, program: &Path, flash: &Path, serial: &str, more: &[&str]) -> Qemu {
    let memory = format!(
        "memory-backend-file,id=flash,size={},mem-path={},share=on",
        board.memory,
        flash.display()
    );
    let child = Command::new("qemu-system-arm")
        .args(["-machine", &format!("{},memory-backend=flash", board.name)])
        .args(["-object", &memory, "-display", "none", "-monitor", "none"])
        .args(["-semihosting-config", "enable=on,target=native"])
        .args(more)
        .args(["-serial", serial, "-kernel"])
        .arg(program)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("QEMU starts");
    Qemu(child)
}

/// A file for a board's flash, with the content of another.
///
/// # Panics
/// Where it can't be written.
pub fn flash_file(board: &Board, folder: &Path, name: &str, content: &[u8]) -> PathBuf {
    let path = folder.join(name);
    let mut file = File::create(&path).expect("a new file");
    file.write_all(content).expect("room for the flash");
    file.set_len(board.memory).expect("a sparse file");
    path
}

/// A session with a board that is switched on now; QEMU ends when the board goes.
///
/// # Panics
/// Where it does not answer within a minute.
pub fn switch_on(board: &Board, program: &Path, flash: &Path, more: &[&str]) -> (Qemu, Device) {
    let port = free_port();
    let serial = format!("tcp:127.0.0.1:{port},server=on,wait=off");
    let running = qemu(board, program, flash, &serial, more);
    (running, connect(port))
}

/// A socket that nobody listens on.
fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    listener.local_addr().expect("a bound port").port()
}

/// Connects as soon as QEMU listens.
fn connect(port: u16) -> Device {
    let address = Port::Tcp(format!("127.0.0.1:{port}"));
    let start = Instant::now();
    loop {
        match Device::connect(address.clone(), 0, Patience::default()) {
            Ok(device) => return device,
            Err(error) if start.elapsed() > Duration::from_secs(60) => panic!("{error}"),
            Err(_) => std::thread::sleep(Duration::from_millis(50)),
        }
    }
}
