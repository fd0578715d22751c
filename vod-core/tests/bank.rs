//! Damaged banks are refused, whatever the damage.

mod common;

use common::{TestBank, noise, wrap};
use proptest::prelude::*;
use vod_core::{
    Background, Bank, BankError, BankParts, Grid, ImageScore, Levels, ScoreStage, Scorer,
};

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

/// Four rows of a bank that was fitted on images, with all else that it holds.
fn small_real() -> Vec<u8> {
    let bytes = include_bytes!("../../tests/fixtures/golden/bank-v1.vod");
    let bank = Bank::from_bytes(bytes).unwrap();
    let (parts, rows) = (bank.parts(), 4);
    let parts = BankParts {
        row_count: rows,
        norms: &parts.norms[..rows as usize * 4],
        rows: &parts.rows[..rows as usize * bank.dimension()],
        ..parts.clone()
    };
    wrap(&postcard::to_stdvec(&parts).unwrap())
}

#[test]
fn every_flipped_bit_is_refused() {
    let mut bytes = small_real();
    assert!(Bank::from_bytes(&bytes).is_ok());
    for bit in 0..bytes.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Bank::from_bytes(&bytes).is_err(), "bit {bit}");
        bytes[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn every_truncation_and_extension_is_refused() {
    let good = small_real();
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
    bank.image_score.levels = Levels::Two;
    assert_eq!(name(&bank), "image_score");
    bank.image_score.levels = Levels::One;
    bank.cells = vec![1, 4, 7];
    assert_eq!(name(&bank), "cells");
}

/// Banks without a margin and of one level keep their bytes; readers that know neither refuse the
/// others.
#[test]
fn margins_and_levels_are_variants_of_their_own() {
    let mut bank = small();
    let plain = bank.body();
    for (number, stage) in [ScoreStage::Raw, ScoreStage::Smoothed, ScoreStage::Both]
        .into_iter()
        .enumerate()
    {
        bank.image_score = ImageScore::whole(stage);
        let whole = bank.body();
        let at = (0..whole.len()).find(|&i| whole[i] != plain[i]);
        bank.image_score.margin = 3277;
        let within = bank.body();
        assert_eq!(within.len(), whole.len() + 2);
        let place = at.unwrap_or_else(|| (0..).find(|&i| within[i] != whole[i]).unwrap());
        assert_eq!(usize::from(whole[place]), number);
        assert_eq!(usize::from(within[place]), number + 3);
        let bytes = bank.bytes();
        let read = Bank::from_bytes(&bytes).unwrap();
        assert_eq!(read.parts().image_score, bank.image_score);
        assert_eq!(read.margin(Grid::new(40, 60).unwrap()), 2);
        assert_eq!(read.margin(Grid::new(60, 32).unwrap()), 1);
        assert_eq!(read.margin(Grid::new(19, 19).unwrap()), 0);
        for (levels, first) in [(Levels::Two, 6), (Levels::Three, 9)] {
            bank.image_score.levels = levels;
            let several = bank.body();
            assert_eq!(several.len(), within.len());
            assert_eq!(usize::from(several[place]), number + first);
            let bytes = bank.bytes();
            let read = Bank::from_bytes(&bytes).unwrap();
            assert_eq!(read.parts().image_score, bank.image_score);
        }
        bank.image_score.levels = Levels::One;
        for (margin, first) in [(0, 12), (3277, 15)] {
            bank.image_score.margin = margin;
            bank.image_score.background = Background::NONE;
            let without = bank.body();
            bank.image_score.background = Background {
                share: 64,
                usual: -5,
            };
            let with = bank.body();
            assert_eq!(with.len(), without.len() + 2);
            assert_eq!(usize::from(with[place]), number + first);
            let bytes = bank.bytes();
            let read = Bank::from_bytes(&bytes).unwrap();
            assert_eq!(read.parts().image_score, bank.image_score);
        }
        bank.image_score.background = Background::NONE;
    }
    let wrong = BankError::Field {
        name: "image_score",
    };
    for usual in [i32::MIN, -(1 << 30), 1 << 30, i32::MAX] {
        bank.image_score.background.usual = usual;
        assert_eq!(Bank::from_bytes(&bank.bytes()).unwrap_err(), wrong);
    }
    bank.image_score.background = Background::NONE;
    bank.image_score.margin = 1 << 15;
    assert_eq!(Bank::from_bytes(&bank.bytes()).unwrap_err(), wrong);
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
    let document = include_str!("../../docs/bank-format.md");
    let dump = document.split("```text").last().unwrap();
    let dump = dump.split("```").next().unwrap();
    let mut bytes = Vec::new();
    for line in dump.lines().filter(|line| !line.is_empty()) {
        let mut columns = line.split("  ");
        let hex = |text: &str| u8::from_str_radix(text, 16).unwrap();
        assert_eq!(
            usize::from(hex(columns.next().unwrap())),
            bytes.len(),
            "{line}"
        );
        bytes.extend(columns.next().unwrap().split(' ').map(hex));
    }
    let bank = Bank::from_bytes(&bytes).unwrap();
    assert_eq!((bank.dimension(), bank.row_count()), (2, 2));
    assert_eq!(bank.rows(), [1, -2, 3, 4]);
    assert_eq!(bank.weights().collect::<Vec<_>>(), [-5, 70]);
    assert_eq!(bank.parts().threshold, 1000);
}
