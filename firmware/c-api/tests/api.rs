//! The functions as C calls them: the same results as from Rust, and every mistake a status.

#[path = "../../../vod-core/tests/common/mod.rs"]
mod common;

use std::ptr;

use common::{TestBank, noise};
use vod::vod_status::*;
use vod::*;
use vod_core::{Background, Bank, Grid, LevelFeatures, Levels, Scorer};

const BANK: &[u8] = include_bytes!("../../../tests/fixtures/golden/bank-v1.vod");
const FRAME: &[u8] = include_bytes!("../../../tests/fixtures/golden/good-002.i8");
const SIDE: usize = 16;
const PATCHES: usize = SIDE * SIDE;

fn new_bank() -> Box<vod_bank> {
    Box::new(vod_bank {
        words: [0; VOD_BANK_WORDS],
    })
}

fn new_stream() -> Box<vod_stream> {
    Box::new(vod_stream {
        words: [0; VOD_STREAM_WORDS],
    })
}

fn opened() -> Box<vod_bank> {
    let mut bank = new_bank();
    // SAFETY: all pointers are valid.
    let status = unsafe { vod_bank_open(&mut *bank, BANK.as_ptr(), BANK.len()) };
    assert_eq!(status, VOD_OK);
    bank
}

fn features() -> Vec<i8> {
    FRAME.iter().map(|&b| b as i8).collect()
}

/// Verdict and map from Rust.
fn expected() -> (vod_verdict, Vec<i32>) {
    let bank = Bank::from_bytes(BANK).unwrap();
    let scorer = Scorer::new(&bank);
    let grid = Grid::new(SIDE, SIDE).unwrap();
    let mut map = vec![0; PATCHES];
    let mut scratch = vec![0; scorer.scratch_len_for(grid)];
    let frame = scorer.score_frame(grid, &features(), &mut map, &mut scratch);
    (frame.unwrap().into(), map)
}

fn scratch_for(bank: &vod_bank) -> Vec<i32> {
    let mut words = 0;
    // SAFETY: all pointers are valid.
    let status = unsafe { vod_scratch_words(bank, SIDE, SIDE, &mut words) };
    assert_eq!(status, VOD_OK);
    vec![0; words]
}

#[test]
fn a_frame_at_once_and_by_rows_is_as_from_rust() {
    let bank = opened();
    let mut scratch = scratch_for(&bank);
    let features = features();
    let (wanted, wanted_map) = expected();
    let mut info = vod_bank_info::default();
    let mut verdict = vod_verdict::default();
    let mut map = vec![0; PATCHES];
    // SAFETY: all pointers are valid for their lengths.
    unsafe {
        assert_eq!(vod_bank_describe(&*bank, &mut info), VOD_OK);
        let status = vod_score_frame(
            &*bank,
            SIDE,
            SIDE,
            features.as_ptr(),
            features.len(),
            map.as_mut_ptr(),
            map.len(),
            scratch.as_mut_ptr(),
            scratch.len(),
            &mut verdict,
        );
        assert_eq!(status, VOD_OK);
    }
    assert_eq!((info.rows, info.dimension), (211, 232));
    assert_eq!((verdict, &map), (wanted, &wanted_map));

    let mut stream = new_stream();
    let mut rows = map.chunks_mut(SIDE);
    // SAFETY: all pointers are valid for their lengths.
    unsafe {
        let (words, len) = (scratch.as_mut_ptr(), scratch.len());
        let status = vod_stream_start(&mut *stream, &*bank, SIDE, SIDE, words, len);
        assert_eq!(status, VOD_OK);
        for row in features.chunks(features.len() / SIDE) {
            assert_eq!(
                vod_stream_push(&mut *stream, row.as_ptr(), row.len()),
                VOD_OK
            );
            let mut popped = true;
            let mut row = [0; SIDE];
            while popped {
                let status = vod_stream_pop(&mut *stream, row.as_mut_ptr(), SIDE, &mut popped);
                assert_eq!(status, VOD_OK);
                if popped {
                    rows.next().unwrap().copy_from_slice(&row);
                }
            }
        }
        let mut streamed = vod_verdict::default();
        assert_eq!(vod_stream_finish(&mut *stream, &mut streamed), VOD_OK);
        assert_eq!(streamed, wanted);
        assert_eq!(vod_stream_finish(&mut *stream, &mut streamed), VOD_NOT_OPEN);
    }
    assert_eq!(map, wanted_map);
}

#[test]
fn regions_are_cut_to_the_room_there_is() {
    let map = [9, 0, 8, 0, 0, 0, 7, 0, 0];
    let mut labels = [0; 9];
    let mut found = [vod_region::default(); 2];
    let mut count = 0;
    // SAFETY: all pointers are valid for their lengths.
    unsafe {
        let (labels, found) = (labels.as_mut_ptr(), found.as_mut_ptr());
        let status = vod_regions(map.as_ptr(), 3, 3, 5, labels, 9, found, 2, &mut count);
        assert_eq!(status, VOD_OK);
        let status = vod_regions(map.as_ptr(), 3, 3, 5, labels, 8, found, 2, &mut count);
        assert_eq!(status, VOD_SCRATCH);
    }
    assert_eq!((count, found[0].peak, found[1].peak), (2, 9, 8));
    assert_eq!((found[1].top, found[1].left, found[1].area), (0, 2, 1));
}

/// At once and row by row, with the verdict and the map of Rust; never with the functions for one level.
#[test]
fn frames_at_several_levels_are_as_from_rust() {
    let mut test = TestBank::new(4, noise(1, 40));
    test.image_score.margin = 16384;
    test.image_score.background = Background {
        share: 100,
        usual: 500,
    };
    let sides = [(8, 12), (4, 6), (2, 3)];
    let frames = [2, 3, 4].map(|seed| noise(seed, 8 * 12 * 4));
    for levels in Levels::ALL {
        test.image_score.levels = levels;
        let count = levels.count();
        let bytes = test.bytes();
        let mut bank = new_bank();
        let given: Vec<vod_level_features> = std::iter::zip(sides, &frames)
            .take(count)
            .map(|((height, width), features)| vod_level_features {
                height,
                width,
                features: features.as_ptr(),
                length: height * width * 4,
            })
            .collect();
        let rust: Vec<LevelFeatures> = std::iter::zip(sides, &frames)
            .take(count)
            .map(|((height, width), features)| LevelFeatures {
                grid: Grid::new(height, width).unwrap(),
                features: &features[..height * width * 4],
            })
            .collect();
        let patches: usize = rust.iter().map(|level| level.grid.len()).sum();
        let in_rust = Bank::from_bytes(&bytes).unwrap();
        let scorer = Scorer::new(&in_rust);
        let mut scratch = vec![0; scorer.scratch_len_for(rust[0].grid)];
        let mut wanted_map = vec![0; patches];
        let wanted = scorer.score_levels(&rust, &mut wanted_map, &mut scratch);
        let wanted = vod_verdict::from(wanted.unwrap());

        let mut map = vec![0; patches];
        let mut verdict = vod_verdict::default();
        let mut info = vod_bank_info::default();
        let (words, len) = (scratch.as_mut_ptr(), scratch.len());
        // SAFETY: all pointers are valid for their lengths.
        unsafe {
            let status = vod_bank_open(&mut *bank, bytes.as_ptr(), bytes.len());
            assert_eq!(status, VOD_OK);
            assert_eq!(vod_bank_describe(&*bank, &mut info), VOD_OK);
            assert_eq!(info.levels as usize, count);
            let mut score = |given: &[vod_level_features], patches| {
                let (given, count) = (given.as_ptr(), given.len());
                let map = map.as_mut_ptr();
                vod_score_levels(&*bank, given, count, map, patches, words, len, &mut verdict)
            };
            assert_eq!(score(&given[1..], patches), VOD_LEVELS);
            assert_eq!(score(&[given[0]; 4], patches), VOD_LEVELS);
            assert_eq!(score(&given, patches - 1), VOD_MAP_LENGTH);
            assert_eq!(score(&given, patches), VOD_OK);
        }
        assert_eq!((verdict, &map), (wanted, &wanted_map), "{levels:?}");

        let mut by_rows = Vec::new();
        let mut scored = Vec::new();
        let mut stream = new_stream();
        for (number, level) in rust.iter().enumerate() {
            let (height, width) = (level.grid.height(), level.grid.width());
            let mut row = vec![0; width];
            let mut score = 0;
            // SAFETY: all pointers are valid for their lengths.
            unsafe {
                let status = vod_stream_start(&mut *stream, &*bank, height, width, words, len);
                assert_eq!(status, VOD_OK);
                for features in level.features.chunks(width * 4) {
                    let status = vod_stream_push(&mut *stream, features.as_ptr(), features.len());
                    assert_eq!(status, VOD_OK);
                    if number > 0 {
                        let row_start = row.as_mut_ptr();
                        let short = vod_stream_scores(&mut *stream, row_start, width - 1);
                        assert_eq!(short, VOD_MAP_LENGTH);
                        let status = vod_stream_scores(&mut *stream, row_start, width);
                        assert_eq!(status, VOD_OK);
                        by_rows.extend_from_slice(&row);
                        continue;
                    }
                    let mut popped = true;
                    while popped {
                        let row_start = row.as_mut_ptr();
                        let status = vod_stream_pop(&mut *stream, row_start, width, &mut popped);
                        assert_eq!(status, VOD_OK);
                        if popped {
                            by_rows.extend_from_slice(&row);
                        }
                    }
                }
                assert_eq!(vod_stream_finish_level(&mut *stream, &mut score), VOD_OK);
            }
            scored.push(vod_level {
                height,
                width,
                score,
            });
        }
        let mut merged = vod_verdict::default();
        let mut merge = |scored: &[vod_level], patches| {
            let (levels, count) = (scored.as_ptr(), scored.len());
            let map = by_rows.as_mut_ptr();
            // SAFETY: all pointers are valid for their lengths.
            unsafe { vod_merge_levels(&*bank, levels, count, map, patches, &mut merged) }
        };
        assert_eq!(merge(&scored[1..], patches), VOD_LEVELS);
        assert_eq!(merge(&scored, patches - 1), VOD_MAP_LENGTH);
        assert_eq!(merge(&scored, patches), VOD_OK);
        assert_eq!(merged, wanted, "{levels:?}");
        let first = rust[0].grid.len();
        assert_eq!(by_rows[..first], wanted_map[..first], "{levels:?}");

        // What a program for one level would do is refused, not scored by half.
        let one = if count == 1 { VOD_OK } else { VOD_LEVELS };
        let (height, width) = sides[0];
        // SAFETY: all pointers are valid for their lengths.
        unsafe {
            let status = vod_score_frame(
                &*bank,
                height,
                width,
                frames[0].as_ptr(),
                height * width * 4,
                map.as_mut_ptr(),
                height * width,
                words,
                len,
                &mut verdict,
            );
            assert_eq!(status, one);
            let status = vod_stream_start(&mut *stream, &*bank, 1, 1, words, len);
            assert_eq!(status, VOD_OK);
            let status = vod_stream_push(&mut *stream, frames[0].as_ptr(), 4);
            assert_eq!(status, VOD_OK);
            let status = vod_stream_scores(&mut *stream, map.as_mut_ptr(), 1);
            assert_eq!(status, VOD_OK);
            assert_eq!(vod_stream_finish(&mut *stream, &mut verdict), one);
            assert_eq!(vod_stream_finish(&mut *stream, &mut verdict), VOD_NOT_OPEN);
        }
    }
}

#[test]
fn mistakes_are_told() {
    let mut bank = new_bank();
    let mut words = 0;
    let mut map = vec![0; PATCHES];
    let mut verdict = vod_verdict::default();
    let features = features();
    let mut damaged = BANK.to_vec();
    damaged[100] ^= 1;
    // SAFETY: pointers are null or valid for their lengths.
    unsafe {
        let (bytes, len) = (BANK.as_ptr(), BANK.len());
        assert_eq!(vod_scratch_words(&*bank, 4, 4, &mut words), VOD_NOT_OPEN);
        assert_eq!(vod_bank_open(ptr::null_mut(), bytes, len), VOD_NULL);
        assert_eq!(vod_bank_open(&mut *bank, ptr::null(), len), VOD_NULL);
        assert_eq!(vod_bank_open(&mut *bank, bytes, len - 1), VOD_FILE_LENGTH);
        assert_eq!(
            vod_bank_open(&mut *bank, damaged.as_ptr(), len),
            VOD_FILE_CHECKSUM
        );
        let mut network = Box::new(vod_network {
            words: [0; VOD_NETWORK_WORDS],
        });
        assert_eq!(vod_network_open(&mut *network, bytes, len), VOD_FILE_MAGIC);
        let mut info = vod_network_info::default();
        let status = vod_network_describe(&*network, 64, 64, &mut info);
        assert_eq!(status, VOD_NOT_OPEN);

        assert_eq!(vod_bank_open(&mut *bank, bytes, len), VOD_OK);
        assert_eq!(vod_scratch_words(&*bank, 0, 4, &mut words), VOD_GRID);
        assert_eq!(vod_scratch_words(&*bank, 4, 4, ptr::null_mut()), VOD_NULL);
        let mut scratch = scratch_for(&bank);
        let mut score = |features_len: usize, map_len: usize, scratch_len: usize| {
            vod_score_frame(
                &*bank,
                SIDE,
                SIDE,
                features.as_ptr(),
                features_len,
                map.as_mut_ptr(),
                map_len,
                scratch.as_mut_ptr(),
                scratch_len,
                &mut verdict,
            )
        };
        let room = scratch_for(&bank).len();
        assert_eq!(score(features.len() - 1, PATCHES, room), VOD_FEATURE_LENGTH);
        assert_eq!(score(features.len(), PATCHES - 1, room), VOD_MAP_LENGTH);
        assert_eq!(score(features.len(), PATCHES, room - 1), VOD_SCRATCH);
        assert_eq!(score(features.len(), PATCHES, room), VOD_OK);

        let mut stream = new_stream();
        let (row, row_len) = (features.as_ptr(), features.len() / SIDE);
        assert_eq!(vod_stream_push(&mut *stream, row, row_len), VOD_NOT_OPEN);
        let mut scratch = scratch_for(&bank);
        let (memory, len) = (scratch.as_mut_ptr(), scratch.len());
        let status = vod_stream_start(&mut *stream, &*bank, SIDE, SIDE, memory, len - 1);
        assert_eq!(status, VOD_SCRATCH);
        assert_eq!(vod_stream_push(&mut *stream, row, row_len), VOD_NOT_OPEN);
        let status = vod_stream_start(&mut *stream, &*bank, SIDE, SIDE, memory, len);
        assert_eq!(status, VOD_OK);
        assert_eq!(vod_stream_push(&mut *stream, row, 3), VOD_FEATURE_LENGTH);
        assert_eq!(vod_stream_push(&mut *stream, row, row_len), VOD_OK);
        assert_eq!(vod_stream_finish(&mut *stream, &mut verdict), VOD_ROW_COUNT);
        for status in -1..20 {
            let text = std::ffi::CStr::from_ptr(vod_status_text(status));
            assert!(!text.to_str().unwrap().is_empty());
        }
    }
}
