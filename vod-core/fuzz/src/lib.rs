//! What the fuzz targets do with their input. `vod-core/tests/corpus.rs` does the same with the
//! committed inputs, on a stable compiler.

use vod_core::bank::{HEADER_LEN, MAGIC, VERSION, checksum};
use vod_core::{
    Bank, BankParts, FrameScore, Grid, Kernel, Level, LevelFeatures, Nearest, Scorer, merge_levels,
    regions, take_off_background,
};

/// Longest side of a frame.
const MAX_SIDE: u8 = 12;

/// `data` as a bank file, then as the body of one whose header and checksum hold.
///
/// # Panics
/// Where `vod-core` panics: that is the finding.
pub fn bank_bytes(data: &[u8]) {
    let _ = Bank::from_bytes(data).map(|bank| look(&bank));
    let mut bytes = Vec::with_capacity(HEADER_LEN + data.len() + 4);
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend((data.len() as u32).to_le_bytes());
    bytes.extend(data);
    bytes.extend(checksum(&bytes).to_le_bytes());
    let _ = Bank::from_bytes(&bytes).map(|bank| look(&bank));
}

/// Every accessor of a bank that was accepted.
fn look(bank: &Bank) {
    assert_eq!(bank.rows().len(), bank.row_count() * bank.dimension());
    assert_eq!(bank.weights().count(), bank.dimension());
    assert_eq!(bank.row(bank.row_count() - 1).len(), bank.dimension());
    assert!(bank.row(usize::MAX).is_empty());
    assert!(bank.grid().is_some() || !bank.is_aligned());
}

/// `data` is the height and the width of a frame, the body of a bank, then features, repeated or cut
/// to the frame. Row norms are set right, as hardly any change of a row would pass otherwise.
///
/// Every kernel, the pruned search and the streaming form must agree with the scalar kernel.
///
/// # Panics
/// Where they do not, or where `vod-core` panics: that is the finding.
pub fn bank_and_frame(data: &[u8]) {
    let Some((&[height, width], body)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Ok((mut parts, features)) = postcard::take_from_bytes::<BankParts>(body) else {
        return;
    };
    let norms: Vec<u8> = parts
        .rows
        .chunks(usize::from(parts.dimension).max(1))
        .map(|row| {
            let squares = row.iter().map(|&v| i32::from(v as i8).pow(2) as u32);
            squares.sum::<u32>()
        })
        .flat_map(u32::to_le_bytes)
        .collect();
    parts.norms = &norms;
    let Ok(bank) = Bank::from_parts(parts) else {
        return;
    };
    let side = |byte: u8| usize::from(byte % MAX_SIDE + 1);
    let aligned = bank.is_aligned().then(|| bank.grid()).flatten();
    let grid = aligned.or_else(|| Grid::new(side(height), side(width)));
    let grid = grid.expect("sides from 1 on");
    let features: Vec<i8> = features
        .iter()
        .chain(core::iter::once(&0))
        .cycle()
        .take(grid.len() * bank.dimension())
        .map(|&v| v as i8)
        .collect();
    score(&bank, grid, &features);
}

fn score(bank: &Bank, grid: Grid, features: &[i8]) {
    let definition = Scorer::with_kernel(bank, Kernel::SCALAR);
    let levels: Vec<LevelFeatures> = (0..bank.parts().image_score.levels.count())
        .map(|level| {
            let side = |side: usize| side.div_ceil(1 << level);
            let grid = Grid::new(side(grid.height()), side(grid.width())).expect("smaller sides");
            let features = &features[..grid.len() * bank.dimension()];
            LevelFeatures { grid, features }
        })
        .collect();
    let patches = levels.iter().map(|level| level.grid.len()).sum();
    let mut expected_map = vec![0; patches];
    let mut scratch = vec![0; definition.scratch_len_for(grid)];
    let expected = definition
        .score_levels(&levels, &mut expected_map, &mut scratch)
        .expect("the buffers fit");
    let none = Nearest {
        row: 0,
        distance2: 0,
    };
    let mut expected_nearest = vec![none; grid.len()];
    definition.nearest_of_all(features, &mut expected_nearest);

    let mut map = expected_map.clone();
    let mut nearest = expected_nearest.clone();
    for kernel in Kernel::available() {
        for pruned in [false, true] {
            let scorer = Scorer::with_kernel(bank, kernel).pruned(pruned);
            let frame = scorer.score_levels(&levels, &mut map, &mut scratch);
            assert_eq!(frame, Ok(expected), "{} {pruned}", kernel.name());
            assert_eq!(map, expected_map, "{} {pruned}", kernel.name());
            scorer.nearest_of_all(features, &mut nearest);
            assert_eq!(nearest, expected_nearest, "{} {pruned}", kernel.name());
        }
        let scorer = Scorer::with_kernel(bank, kernel);
        let streamed: Vec<_> = levels
            .iter()
            .map(|level| by_rows(&scorer, level, &mut scratch))
            .collect();
        let (fine, coarser) = streamed.split_first().expect("one level or more");
        let coarser: Vec<Level> = coarser
            .iter()
            .zip(&levels[1..])
            .map(|((frame, sharp, _), level)| Level {
                frame: *frame,
                grid: level.grid,
                map: sharp,
            })
            .collect();
        let mut merged_map = fine.2.clone();
        let merged = merge_levels(fine.0, grid, &mut merged_map, &coarser).expect("they fit");
        let finished = take_off_background(bank, merged, grid, &mut merged_map);
        assert_eq!(finished, Ok(expected), "{}", kernel.name());
        assert_eq!(merged_map, map[..grid.len()], "{}", kernel.name());
    }

    let patch = features.get(..bank.dimension()).unwrap_or_default();
    let (mut values, mut order) = (vec![0; patch.len()], vec![0; patch.len()]);
    let parts = definition
        .decompose(patch, &mut values, &mut order)
        .expect("a patch of the bank");
    assert!(parts.values.is_sorted());
    let mut labels = vec![0; grid.len()];
    let found = regions(
        &map[..grid.len()],
        grid,
        bank.parts().map_threshold,
        &mut labels,
    )
    .expect("it fits");
    assert!(found.iter().all(|r| r.peak >= bank.parts().map_threshold));
}

/// One level, row by row: its score, its patch scores and its smoothed map.
fn by_rows(
    scorer: &Scorer,
    level: &LevelFeatures,
    scratch: &mut [i32],
) -> (FrameScore, Vec<i32>, Vec<i32>) {
    let width = level.grid.width();
    let (mut sharp, mut smoothed) = (Vec::new(), Vec::new());
    let mut out = vec![0; width];
    let mut stream = scorer.stream(level.grid, scratch).expect("it fits");
    for row in level
        .features
        .chunks_exact(width * scorer.bank().dimension())
    {
        stream.push_row(row).expect("in turn");
        sharp.extend_from_slice(stream.patch_scores());
        while stream.pop_row(&mut out) {
            smoothed.extend_from_slice(&out);
        }
    }
    (stream.finish().expect("all rows"), sharp, smoothed)
}
