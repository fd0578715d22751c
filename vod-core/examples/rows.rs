//! Scores a frame whose features arrive row by row, as on a device that can't hold them all.
//!
//! ```sh
//! cargo run --release -p vod-core --example rows -- part.vod features.i8 HEIGHT WIDTH
//! ```
//!
//! `features.i8` holds int8 patch features `[HEIGHT, WIDTH, D]`, row by row, as the bank's
//! transform made them.

use std::error::Error;

use vod_core::{Bank, Grid, Scorer};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [bank, features, height, width] = arguments.as_slice() else {
        return Err("usage: rows BANK FEATURES HEIGHT WIDTH".into());
    };
    let bank = std::fs::read(bank)?;
    let bank = Bank::from_bytes(&bank)?;
    let features: Vec<i8> = std::fs::read(features)?
        .into_iter()
        .map(|b| b as i8)
        .collect();
    let grid =
        Grid::new(height.parse()?, width.parse()?).ok_or("a grid of 1 to 4096 patches a side")?;
    let row_len = grid.width() * bank.dimension();
    if features.len() != grid.height() * row_len {
        return Err(format!("expected {} bytes of features", grid.height() * row_len).into());
    }

    let scorer = Scorer::new(&bank);
    let mut scratch = vec![0; scorer.scratch_len_for(grid)];
    let mut stream = scorer.stream(grid, &mut scratch)?;
    let mut smoothed = vec![0; grid.width()];
    for row in features.chunks_exact(row_len) {
        stream.push_row(row)?;
        // Rows of the map come a few rows later, as smoothing looks ahead.
        while stream.pop_row(&mut smoothed) {
            println!("{smoothed:?}");
        }
    }
    let verdict = stream.finish()?;
    let word = if verdict.anomalous() {
        "anomalous"
    } else {
        "normal"
    };
    println!(
        "{word}: {} (threshold {})",
        verdict.score, verdict.threshold
    );
    Ok(())
}
