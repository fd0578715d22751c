//! `vod device` where there is no device: one line, a status, and an end.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

fn device(port: &str, more: &[&str]) -> Output {
    let bank = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures/golden/bank-v1.vod");
    Command::new(env!("CARGO_BIN_EXE_vod"))
        .args(["device", "--port", port, "--timeout", "0.02", "--bank"])
        .arg(bank)
        .args(more)
        .output()
        .unwrap()
}

fn check_error(output: &Output, part: &str) {
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains(part), "{message}");
    assert_eq!(message.trim_end().lines().count(), 1, "{message}");
}

/// A socket that answers with `bytes`, again and again, whatever it is asked.
fn answering(bytes: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut asked = [0; 256];
        while socket.read(&mut asked).is_ok_and(|count| count > 0) {
            if socket.write_all(bytes).is_err() {
                break;
            }
        }
    });
    format!("tcp:{address}")
}

#[test]
fn nobody_there() {
    check_error(&device("tcp:127.0.0.1:1", &[]), "tcp:127.0.0.1:1: ");
    check_error(&device("tcp:no-port", &[]), "tcp:no-port: ");
    check_error(&device("/dev/no-such-port", &[]), "/dev/no-such-port: ");
}

#[test]
fn somebody_who_says_nothing_or_nonsense() {
    check_error(&device(&answering(b""), &[]), "no answer, asked 6 times");
    check_error(
        &device(&answering(b"login: \0"), &[]),
        "no answer, asked 6 times",
    );
    let endless = &[b'x'; 5000];
    check_error(
        &device(&answering(endless), &[]),
        "no answer, asked 6 times",
    );
}

#[test]
fn what_is_wrong_in_the_arguments() {
    let output = device("tcp:127.0.0.1:1", &["--timeout", "never"]);
    assert_eq!(output.status.code(), Some(2));
}
