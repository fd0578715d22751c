//! The firmware on QEMU's boards: self-tests, golden vectors bit for bit over the UART, and a bank
//! update during which QEMU is killed. Left out, in one line, where the target or QEMU is missing.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use vod_core::bank::BankParts;
use vod_core::{Bank, Grid, LevelFeatures};
use vod_host::bank_file::{BankFile, encode_parts};
use vod_host::device::{Patience, host_verdict};
use vod_host::score::Frame;
use vod_protocol::{Client, ClientError, TimedRead};
use vod_tests::boards::{BOARDS, Board, FLASH_LEN, Qemu, build, flash_file, qemu, switch_on};
use vod_tests::{GOLDEN_IMAGES, fixture};

fn golden_bank() -> BankFile {
    BankFile::read(&fixture("golden/bank-v1.vod")).unwrap()
}

fn golden_features(name: &str) -> Vec<i8> {
    let name = format!("golden/{}.i8", name.replace('/', "-").replace(".png", ""));
    let bytes = std::fs::read(fixture(&name)).unwrap();
    bytes.into_iter().map(|byte| byte as i8).collect()
}

fn serves_golden_vectors(board: &Board) {
    let Some(programs) = build(board, false) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let flash = flash_file(board, folder.path(), "flash", &[]);

    let self_test = programs.join(format!("{}-self-test", board.name));
    let mut test = qemu(board, &self_test, &flash, "null", &[]);
    let status = test.0.wait().unwrap();
    let mut said = String::new();
    test.0
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut said)
        .unwrap();
    assert!(status.success(), "{said}");
    assert!(
        said.contains(&format!("the best is {}", board.kernel)),
        "{said}"
    );

    let file = golden_bank();
    let bank = file.bank().unwrap();
    let program = programs.join(board.name);
    let (running, mut device) = switch_on(board, &program, &flash, &[]);
    assert_eq!(device.info().board.as_str(), board.name);
    assert_eq!(device.info().kernel.as_str(), board.kernel);
    assert_eq!(device.bank().unwrap(), None);
    assert!(device.update(&file, |_, _| ()).unwrap());
    let grid = Grid::new(16, 16).unwrap();
    for name in GOLDEN_IMAGES {
        let found = device
            .compare(&bank, &Frame::at_one_level(grid, &golden_features(name)))
            .unwrap();
        assert!(found.equal(), "{name} on {}: {found:?}", board.name);
        assert!(found.device.cycles > 0);
    }
    // One row, one column: smoothing at its borders.
    let dimension = bank.dimension();
    for (height, width) in [(1, 16), (16, 1)] {
        let features = &golden_features(GOLDEN_IMAGES[1])[..16 * dimension];
        let grid = Grid::new(height, width).unwrap();
        assert!(
            device
                .compare(&bank, &Frame::at_one_level(grid, features))
                .unwrap()
                .equal()
        );
    }
    let statistics = device.statistics().unwrap();
    assert_eq!((statistics.frames, statistics.damaged), (5, 0));
    assert!(statistics.stack_bytes > 0);
    drop(device);
    drop(running);

    // The bank outlives the power.
    let (_running, mut device) = switch_on(board, &program, &flash, &[]);
    assert!(device.holds(&file).unwrap());
    assert!(!device.update(&file, |_, _| ()).unwrap());
}

#[test]
fn cortex_m4_gives_the_golden_bits() {
    serves_golden_vectors(&BOARDS[0]);
}

#[test]
fn cortex_m7_gives_the_golden_bits() {
    serves_golden_vectors(&BOARDS[1]);
}

#[test]
fn cortex_m55_gives_the_golden_bits() {
    serves_golden_vectors(&BOARDS[2]);
}

/// The golden bank's first rows, with another threshold.
fn small_bank(rows: usize, threshold: i32) -> Vec<u8> {
    let file = golden_bank();
    let bank = file.bank().unwrap();
    let parts = bank.parts();
    encode_parts(&BankParts {
        row_count: rows as u32,
        norms: &parts.norms[..4 * rows],
        rows: &parts.rows[..rows * bank.dimension()],
        threshold,
        host: &[],
        ..parts.clone()
    })
    .unwrap()
}

/// A socket to QEMU that kills it after so many bytes.
struct Cut {
    socket: TcpStream,
    deadline: Instant,
    left: usize,
    qemu: Option<Qemu>,
}

impl Cut {
    /// Starts a board that connects to us.
    fn start(program: &Path, flash: &Path, left: usize) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let serial = format!("tcp:{}", listener.local_addr().unwrap());
        let qemu = qemu(&BOARDS[0], program, flash, &serial, &[]);
        let (socket, _) = listener.accept().unwrap();
        socket.set_nodelay(true).unwrap();
        Self {
            socket,
            deadline: Instant::now(),
            left,
            qemu: Some(qemu),
        }
    }
}

impl embedded_io::ErrorType for Cut {
    type Error = std::io::Error;
}

impl embedded_io::Read for Cut {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        self.socket
            .set_read_timeout(Some(left.max(Duration::from_millis(1))))?;
        self.socket.read(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::WouldBlock => std::io::ErrorKind::TimedOut.into(),
            _ => error,
        })
    }
}

impl embedded_io::Write for Cut {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = bytes.len().min(self.left);
        self.socket.write_all(&bytes[..count])?;
        self.left -= count;
        if self.left == 0 {
            self.qemu = None;
            return Err(std::io::ErrorKind::BrokenPipe.into());
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl TimedRead for Cut {
    fn start_waiting(&mut self, limit: Duration) {
        self.deadline = Instant::now() + limit;
    }
}

type Session = Client<Cut>;

fn session(
    program: &Path,
    flash: &Path,
    left: usize,
) -> Result<Session, ClientError<std::io::Error>> {
    Client::connect(Cut::start(program, flash, left), 1, Patience::default())
}

#[test]
fn a_kill_at_any_byte_of_an_update_leaves_a_working_bank() {
    const CUTS: usize = 50;
    let board = &BOARDS[0];
    let Some(programs) = build(board, false) else {
        return;
    };
    let program = programs.join(board.name);
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (small_bank(12, 9_000_000), small_bank(20, 8_000_000));
    let grid = Grid::new(2, 3).unwrap();
    let features = golden_features(GOLDEN_IMAGES[1]);
    let features = &features[..grid.len() * 232];

    // A device with the old bank, and the bytes that an update to the new one sends it.
    let flash = flash_file(board, folder.path(), "flash", &[]);
    let mut device = session(&program, &flash, usize::MAX).unwrap();
    device.update(&old, |_| ()).unwrap();
    drop(device);
    let mut before = vec![0; FLASH_LEN as usize];
    File::open(&flash).unwrap().read_exact(&mut before).unwrap();
    let sent = new.len() + 9 * 60;

    let (mut kept, mut updated) = (0, 0);
    for cut in 0..CUTS {
        let flash = flash_file(board, folder.path(), "flash", &before);
        let bytes = 1 + cut * sent / (CUTS - 1);
        let outcome = session(&program, &flash, bytes).and_then(|mut d| d.update(&new, |_| ()));
        let mut device = session(&program, &flash, usize::MAX).unwrap();
        let generation = device.bank().unwrap().map(|bank| bank.generation);
        let bank = match generation {
            Some(1) => &old,
            Some(2) => &new,
            other => panic!("after {bytes} bytes: generation {other:?}"),
        };
        // Told that it is done, it is done.
        assert!(outcome.is_err() || generation == Some(2));
        kept += usize::from(generation == Some(1));
        updated += usize::from(generation == Some(2));
        let level = LevelFeatures { grid, features };
        let verdict = device.score(&[level]).unwrap();
        let view = Bank::from_bytes(bank).unwrap();
        let (wanted, map) = host_verdict(&view, &Frame::at_one_level(grid, features)).unwrap();
        assert_eq!(
            (verdict.score, verdict.threshold),
            (wanted.score, wanted.threshold)
        );
        let mut found = vec![0; grid.len()];
        device.read_map(&mut found).unwrap();
        assert_eq!(found, map, "after {bytes} bytes");
    }
    // The cuts lie within the update, and beyond its end.
    assert!(
        kept >= CUTS - 5 && updated >= 1,
        "{kept} kept, {updated} updated"
    );
}
