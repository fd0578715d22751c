//! What lies all over a frame, taken off its map.

use std::path::Path;

use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::score::{ImageScorer, Verdict};

use crate::*;

/// Verdict on a sample image of a bank with these flags, and the bank's usual background.
fn scored(flags: &[&str]) -> (Verdict, i32) {
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", flags);
    let file = BankFile::read(Path::new(&bank)).unwrap();
    let backbone = backbone::open("edge").unwrap();
    let scorer = ImageScorer::new(&file, &*backbone).unwrap();
    let verdict = scorer
        .score(Path::new(&sample("test/defective/000.png")))
        .unwrap();
    let usual = file.bank().unwrap().parts().image_score.background.usual;
    (verdict, usual)
}

#[test]
fn a_quarter_of_what_is_unusual_is_taken_off_the_map_alone() {
    for levels in ["1", "3"] {
        let flags = ["--levels", levels, "--background", "0"];
        let (before, none) = scored(&flags);
        let (after, usual) = scored(&flags[..2]);
        assert_eq!(none, 0);
        assert!(usual > 0);
        let (height, width) = before.map.dim();
        let outside = |(y, x): (usize, usize)| y % (height - 1) == 0 || x % (width - 1) == 0;
        let edges: Vec<i64> = before
            .map
            .indexed_iter()
            .filter(|(place, _)| outside(*place))
            .map(|(_, &score)| score.into())
            .collect();
        let mean = (edges.iter().sum::<i64>() as f64 / edges.len() as f64 + 0.5).floor();
        let off = ((mean - f64::from(usual)) / 4.0 + 0.5).floor() as i32;
        assert_ne!(off, 0);
        assert_eq!(after.map, before.map.mapv(|score| score - off), "{levels}");
        assert_eq!(after.raw_score, before.raw_score);
        assert_eq!(after.raw_threshold, before.raw_threshold);
    }
}

#[test]
fn without_a_margin_the_map_stays() {
    for flag in ["--margin=0", "--aligned"] {
        let folder = tempfile::tempdir().unwrap();
        let bank = fitted(folder.path(), 2, "128", &[flag]);
        let found = json(&vod(&["inspect", &bank, "--json", "-"]));
        assert_eq!(found["map_background"], 0.0, "{flag}");
    }
    let folder = tempfile::tempdir().unwrap();
    let bank = fitted(folder.path(), 2, "128", &[]);
    let found = json(&vod(&["inspect", &bank, "--json", "-"]));
    assert_eq!(found["map_background"], 0.25);
    assert!(
        text(&vod(&["inspect", &bank]).stdout)
            .contains("less 25 % of what its mean along the edges is above the usual one")
    );
}
