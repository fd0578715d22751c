//! Damaged banks are refused, whatever the damage.

mod common;

use common::{TestBank, noise, wrap};
use proptest::prelude::*;
use vod_core::{Bank, BankError, Grid, Scorer};

fn small() -> TestBank {
    TestBank::new(5, noise(3, 5 * 7))
}

#[test]
fn a_bank_gives_back_what_was_written() {
    let bytes = small().bytes();
    let bank = Bank::from_bytes(&bytes).unwrap();
    assert_eq!(bank.dimension(), 5);
    assert_eq!(bank.row_count(), 7);
    assert_eq!(bank.rows(), &noise(3, 35)[..]);
    assert_eq!(bank.row(6), &noise(3, 35)[30..]);
    assert_eq!(bank.row(7), &[] as &[i8]);
    assert_eq!(bank.weights().collect::<Vec<_>>(), small().weights);
    assert_eq!(bank.parts().host, b"host");
}

#[test]
fn every_flipped_bit_is_refused() {
    let good = small().bytes();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Bank::from_bytes(&bytes).is_err(), "bit {bit}");
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let good = small().bytes();
    for len in 0..good.len() {
        assert!(Bank::from_bytes(&good[..len]).is_err(), "{len} bytes");
    }
    let mut long = good;
    long.push(0);
    assert!(matches!(
        Bank::from_bytes(&long),
        Err(BankError::Length { .. })
    ));
}

#[test]
fn fields_that_do_not_hold_are_named() {
    let name = |bank: &TestBank| match Bank::from_bytes(&bank.bytes()) {
        Err(BankError::Field { name }) => name,
        other => panic!("{other:?}"),
    };
    let mut bank = small();
    bank.weights.pop();
    assert_eq!(name(&bank), "weights");
    let mut bank = small();
    bank.taps[0] += 1;
    assert_eq!(name(&bank), "taps");
    let mut bank = small();
    bank.grid = (3, 0);
    assert_eq!(name(&bank), "grid");
    let mut bank = small();
    bank.grid = (1, 2);
    bank.cells = vec![0, 8, 7];
    assert_eq!(name(&bank), "cells");
    bank.cells = vec![0, 4, 7];
    assert!(Bank::from_bytes(&bank.bytes()).is_ok());
    bank.cells = vec![1, 4, 7];
    assert_eq!(name(&bank), "cells");
}

#[test]
fn another_version_is_refused_by_name() {
    let mut bytes = small().bytes();
    bytes[4] = 2;
    assert_eq!(
        Bank::from_bytes(&bytes).unwrap_err(),
        BankError::Version { found: 2 }
    );
}

proptest! {
    /// Bodies of any content behind a valid header: an error or a bank that scores, never a panic.
    #[test]
    fn any_body_is_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Bank::from_bytes(&wrap(&body));
    }

    #[test]
    fn a_changed_body_is_survived(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4)) {
        let mut body = small().body();
        for (place, value) in changes {
            let place = place.index(body.len());
            body[place] = value;
        }
        let bytes = wrap(&body);
        if let Ok(bank) = Bank::from_bytes(&bytes) {
            let scorer = Scorer::new(&bank);
            let grid = bank.grid().unwrap_or(Grid::new(2, 3).unwrap());
            if grid.len() < 1000 {
                let features = vec![i8::MIN; grid.len() * bank.dimension()];
                let mut map = vec![0; grid.len()];
                let mut scratch = vec![0; scorer.scratch_len_for(grid)];
                prop_assert!(scorer.score_frame(grid, &features, &mut map, &mut scratch).is_ok());
            }
        }
    }
}

/// The dump in `docs/bank-format.md`.
#[test]
fn the_documented_bank_is_read() {
    let bytes: Vec<u8> = [
        0x56, 0x4f, 0x44, 0x42, 0x01, 0x00, 0x00, 0x00, 0x2c, 0x00, 0x00, 0x00, 0x02, 0x02, 0x00,
        0x00, 0x01, 0x08, 0x03, 0x68, 0x3e, 0x0e, 0x00, 0x00, 0x00, 0x8f, 0x05, 0x00, 0xd0, 0x0f,
        0xa0, 0x06, 0xe0, 0x12, 0x00, 0x04, 0xfb, 0xff, 0x46, 0x00, 0x08, 0x05, 0x00, 0x00, 0x00,
        0x19, 0x00, 0x00, 0x00, 0x00, 0x04, 0x01, 0xfe, 0x03, 0x04, 0x00, 0xea, 0xfe, 0x5b, 0xa0,
    ]
    .to_vec();
    let bank = Bank::from_bytes(&bytes).unwrap();
    assert_eq!((bank.dimension(), bank.row_count()), (2, 2));
    assert_eq!(bank.rows(), [1, -2, 3, 4]);
    assert_eq!(bank.weights().collect::<Vec<_>>(), [-5, 70]);
    assert_eq!(bank.parts().threshold, 1000);
}
