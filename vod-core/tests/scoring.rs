//! Every kernel gives the bits of the definition; every form of scoring gives the same bits.

mod common;

use common::{TestBank, noise};
use proptest::prelude::*;
use vod_core::{
    Background, Bank, FrameError, FrameScore, Grid, ImageScore, Kernel, Level, LevelFeatures,
    Levels, Nearest, ScoreStage, Scorer, ValueKind, decompose, merge_levels, regions, residual,
    take_off_background, weighted_values,
};

/// The definition, in plain words.
fn nearest_by_hand(bank: &Bank, query: &[i8]) -> Nearest {
    let distance2 = |row: usize| -> u32 {
        let pairs = query.iter().zip(bank.row(row));
        pairs
            .map(|(&q, &b)| (i32::from(q) - i32::from(b)).pow(2) as u32)
            .sum()
    };
    let row = (0..bank.row_count())
        .min_by_key(|&row| (distance2(row), row))
        .unwrap();
    Nearest {
        row: row as u32,
        distance2: distance2(row),
    }
}

fn check_search(dimension: usize, rows: Vec<i8>, queries: &[i8]) {
    let bytes = TestBank::new(dimension, rows).bytes();
    let bank = Bank::from_bytes(&bytes).unwrap();
    let expected: Vec<Nearest> = queries
        .chunks_exact(dimension)
        .map(|query| nearest_by_hand(&bank, query))
        .collect();
    for kernel in Kernel::available() {
        let scorer = Scorer::with_kernel(&bank, kernel);
        let mut found = vec![
            Nearest {
                row: 0,
                distance2: 0
            };
            expected.len()
        ];
        scorer.nearest_of_all(queries, &mut found);
        assert_eq!(
            found,
            expected,
            "{} of dimension {dimension}",
            kernel.name()
        );
        let stats = scorer.nearest_of_all_pruned(queries, &mut found);
        assert_eq!(found, expected, "pruned, of dimension {dimension}");
        assert!(stats.macs <= stats.brute_force_macs);
        let pruned = scorer.clone().pruned(true);
        pruned.nearest_of_all(queries, &mut found);
        assert_eq!(found, expected, "{}, pruned", kernel.name());
        for (query, expected) in queries.chunks_exact(dimension).zip(&expected) {
            assert_eq!(scorer.nearest(query), Some(*expected), "{}", kernel.name());
        }
    }
}

#[test]
fn searches_agree_on_extremes() {
    for dimension in [1, 2, 15, 16, 17, 31, 33, 63, 64, 65, 96, 127, 128, 232, 384] {
        let extremes = [i8::MIN, i8::MAX, 0, -1, 1];
        for a in extremes {
            for b in extremes {
                check_search(dimension, vec![a; dimension], &vec![b; dimension * 3]);
                let mut ties = vec![a; dimension * 4];
                ties[dimension] = b;
                check_search(dimension, ties, &vec![b; dimension]);
            }
        }
    }
}

/// The kernels that this machine should have are among those that are tested here.
#[test]
fn the_machines_kernels_are_available() {
    let names: Vec<_> = Kernel::available().map(Kernel::name).collect();
    assert_eq!(names[0], "scalar");
    assert_eq!(Kernel::best().name(), *names.last().unwrap());
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    {
        use std::arch::is_x86_feature_detected;
        assert_eq!(names.contains(&"avx2"), is_x86_feature_detected!("avx2"));
        assert_eq!(
            names.contains(&"avx512vnni"),
            is_x86_feature_detected!("avx512vnni")
        );
    }
    #[cfg(all(target_arch = "aarch64", feature = "std"))]
    {
        assert!(names.contains(&"neon"));
        assert_eq!(
            names.contains(&"dotprod"),
            std::arch::is_aarch64_feature_detected!("dotprod")
        );
    }
    println!("{names:?}");
}

/// The map of two levels, place by place in floating point; scores are means, halves up.
#[test]
fn two_levels_are_averaged() {
    let frame = |score, map_max| FrameScore {
        score,
        threshold: 9,
        map_max,
    };
    for (height, width, rows, columns) in [
        (6, 8, 3, 4),
        (5, 9, 3, 4),
        (4, 4, 4, 4),
        (7, 3, 1, 1),
        (32, 92, 16, 46),
    ] {
        let (grid, below) = (
            Grid::new(height, width).unwrap(),
            Grid::new(rows, columns).unwrap(),
        );
        let fine: Vec<i32> = (0..grid.len() as i32)
            .map(|i| i * 7919 % 100_003 - 50_000)
            .collect();
        let coarse: Vec<i32> = (0..below.len() as i32)
            .map(|i| i * 6007 % 90_001 - 45_000)
            .collect();
        let mut map = fine.clone();
        let level = Level {
            frame: frame(7, 0),
            grid: below,
            map: &coarse,
        };
        let merged = merge_levels(frame(4, 0), grid, &mut map, &[level]).unwrap();
        assert_eq!((merged.score, merged.threshold), (6, 9));
        assert_eq!(Some(merged.map_max), map.iter().copied().max());
        let place = |i: usize, from: usize, to: usize| {
            ((i as f64 + 0.5) * to as f64 / from as f64 - 0.5).clamp(0.0, (to - 1) as f64)
        };
        for (i, (&found, &fine)) in map.iter().zip(&fine).enumerate() {
            let (y, x) = (
                place(i / width, height, rows),
                place(i % width, width, columns),
            );
            let at = |y: f64, x: f64| f64::from(coarse[y as usize * columns + x as usize]);
            let along = |y: f64| at(y, x.floor()) * (1.0 - x.fract()) + at(y, x.ceil()) * x.fract();
            let coarse = along(y.floor()) * (1.0 - y.fract()) + along(y.ceil()) * y.fract();
            // A place is rounded down to 1/256 of a patch.
            let near = if width % columns == 0 && height % rows == 0 {
                1.0
            } else {
                400.0
            };
            assert!((f64::from(found) - (f64::from(fine) + coarse) / 2.0).abs() <= near);
        }
        let short = Level {
            frame: frame(0, 0),
            grid: below,
            map: &coarse[1..],
        };
        let wrong = FrameError::MapLength {
            expected: below.len(),
            found: below.len() - 1,
        };
        assert_eq!(
            merge_levels(frame(0, 0), grid, &mut map, &[short]),
            Err(wrong)
        );
    }
    let whole = Grid::new(1, 1).unwrap();
    let high = Level {
        frame: frame(i32::MAX / 2, 0),
        grid: whole,
        map: &[i32::MAX / 2],
    };
    let mut map = [i32::MAX / 2];
    assert_eq!(
        merge_levels(high.frame, whole, &mut map, &[high])
            .unwrap()
            .score,
        i32::MAX / 2
    );
    assert_eq!(map, [i32::MAX / 2]);
}

/// All levels at once are the levels one by one, row by row, and then merged.
#[test]
fn a_frame_at_its_levels_is_their_merger() {
    let grids = [(9, 7), (5, 4), (3, 2)].map(|(height, width)| Grid::new(height, width).unwrap());
    let frames = [1, 2, 3].map(|seed| noise(seed, 9 * 7 * 4));
    let mut test = TestBank::new(4, noise(9, 40));
    for (stage, levels) in [ScoreStage::Raw, ScoreStage::Smoothed, ScoreStage::Both]
        .into_iter()
        .flat_map(|stage| Levels::ALL.map(|levels| (stage, levels)))
    {
        test.image_score = ImageScore {
            stage,
            margin: 8000,
            levels,
            background: Background {
                share: 64,
                usual: 300,
            },
        };
        let bytes = test.bytes();
        let bank = Bank::from_bytes(&bytes).unwrap();
        let scorer = Scorer::new(&bank);
        let given: Vec<LevelFeatures> = std::iter::zip(grids, &frames)
            .map(|(grid, features)| LevelFeatures {
                grid,
                features: &features[..grid.len() * 4],
            })
            .collect();
        let mut scratch = vec![0; scorer.scratch_len_for(grids[0])];
        let streamed: Vec<(FrameScore, Vec<i32>, Vec<i32>)> = given
            .iter()
            .map(|level| {
                let width = level.grid.width();
                let mut stream = scorer.stream(level.grid, &mut scratch).unwrap();
                let (mut sharp, mut smoothed) = (Vec::new(), Vec::new());
                for row in level.features.chunks(width * 4) {
                    stream.push_row(row).unwrap();
                    sharp.extend_from_slice(stream.patch_scores());
                    let mut out = vec![0; width];
                    while stream.pop_row(&mut out) {
                        smoothed.extend_from_slice(&out);
                    }
                }
                (stream.finish().unwrap(), sharp, smoothed)
            })
            .collect();
        let count = levels.count();
        let coarser: Vec<Level> = (1..count)
            .map(|i| Level {
                frame: streamed[i].0,
                grid: grids[i],
                map: &streamed[i].1,
            })
            .collect();
        let mut expected_map = streamed[0].2.clone();
        let merged = merge_levels(streamed[0].0, grids[0], &mut expected_map, &coarser).unwrap();
        let expected = take_off_background(&bank, merged, grids[0], &mut expected_map).unwrap();

        let patches: usize = grids[..count].iter().map(|grid| grid.len()).sum();
        let mut map = vec![0; patches];
        let found = scorer.score_levels(&given[..count], &mut map, &mut scratch);
        assert_eq!(found, Ok(expected), "{stage:?} {levels:?}");
        assert_eq!(map[..grids[0].len()], expected_map, "{stage:?} {levels:?}");

        let short = scorer.score_levels(&given[..count], &mut map[1..], &mut scratch);
        let wrong = FrameError::MapLength {
            expected: patches,
            found: patches - 1,
        };
        assert_eq!(short, Err(wrong));
        let mut one = vec![0; grids[0].len()];
        let alone = scorer.score_frame(grids[0], given[0].features, &mut one, &mut scratch);
        let several = FrameError::Levels {
            expected: count,
            found: 1,
        };
        assert_eq!(alone.err(), (count > 1).then_some(several));
        let none = scorer.score_levels(&[], &mut [], &mut scratch);
        let none_given = FrameError::Levels {
            expected: count,
            found: 0,
        };
        assert_eq!(none, Err(none_given));
    }
}

/// Each level counts alike, and the nearest whole number is taken, halves up.
#[test]
fn three_levels_are_averaged() {
    let grids = [(2, 2), (1, 1), (1, 1)].map(|(height, width)| Grid::new(height, width).unwrap());
    let merged = |scores: [i32; 3]| {
        let [fine, half, quarter] = scores.map(|score| FrameScore {
            score,
            threshold: 9,
            map_max: 0,
        });
        let below = [half, quarter].map(|frame| [frame.score]);
        let level = |i: usize, frame| Level {
            frame,
            grid: grids[i + 1],
            map: &below[i],
        };
        let mut map = [fine.score; 4];
        let coarser = [level(0, half), level(1, quarter)];
        let merged = merge_levels(fine, grids[0], &mut map, &coarser).unwrap();
        assert_eq!((map, merged.map_max), ([merged.score; 4], merged.score));
        merged.score
    };
    assert_eq!(merged([4, 7, 9]), 7);
    assert_eq!(merged([-1, -1, -2]), -1);
    assert_eq!(merged([-2, -1, -2]), -2);
    assert_eq!(merged([i32::MAX; 3]), i32::MAX);
    assert_eq!(merged([i32::MIN; 3]), i32::MIN);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn searches_agree(dimension in 1usize..200, row_count in 1usize..70, queries in 1usize..20, seed: u64, narrow: bool) {
        // Narrow values make ties likely.
        let values = |seed, len| -> Vec<i8> {
            noise(seed, len).into_iter().map(|v| if narrow { v % 2 } else { v }).collect()
        };
        check_search(dimension, values(seed, dimension * row_count), &values(!seed, dimension * queries));
    }

    /// Larger banks: rows around some centres, so that few of them can be the nearest, or rows all over
    /// the place; distances from 0 to the largest there are.
    #[test]
    fn searches_of_large_banks_agree(
        dimension in 64usize..260, row_count in 128usize..300, queries in 1usize..70, seed: u64, kind in 0u8..4,
    ) {
        let centres = noise(seed ^ 7, dimension * 9);
        let values = |seed, count: usize| -> Vec<i8> {
            let deviations = noise(seed, dimension * count);
            let centre = |at: usize| centres[at / dimension * 5 % 9 * dimension + at % dimension];
            deviations.into_iter().enumerate().map(|(at, v)| match kind {
                0 => v,
                1 => v % 2,
                2 => centre(at) | 127,
                _ => centre(at).saturating_add(v / 16),
            }).collect()
        };
        check_search(dimension, values(seed, row_count), &values(!seed, queries));
    }

    /// More queries than a kernel takes in one pass.
    #[test]
    fn searches_of_many_agree(dimension in 1usize..24, row_count in 1usize..70, queries in 100usize..300, seed: u64) {
        let narrow = |seed, len| noise(seed, len).into_iter().map(|v| v % 4).collect::<Vec<i8>>();
        check_search(dimension, narrow(seed, dimension * row_count), &narrow(!seed, dimension * queries));
    }

    #[test]
    fn the_histogram_gives_the_sum_over_sorted_values(
        pairs in prop::collection::vec((any::<i8>(), any::<i8>(), any::<i16>()), 1..300),
        signed: bool,
    ) {
        let kind = if signed { ValueKind::Signed } else { ValueKind::Magnitude };
        let query: Vec<i8> = pairs.iter().map(|p| p.0).collect();
        let row: Vec<i8> = pairs.iter().map(|p| p.1).collect();
        let (mut values, mut order) = (vec![0; pairs.len()], vec![0; pairs.len()]);
        let parts = decompose(residual(&query, &row), kind, &mut values, &mut order);
        let sorted: i64 = parts.values.iter().zip(&pairs).map(|(&v, p)| i64::from(v) * i64::from(p.2)).sum();
        let weights = pairs.iter().map(|p| p.2);
        prop_assert_eq!(weighted_values(residual(&query, &row), kind, weights), sorted);
    }

    /// A frame's patch scores are those of single patches, which go by the histogram alone.
    #[test]
    fn patch_scores_agree(
        dimension in 1usize..330, seed: u64, spread in 1i8..=127, signed: bool, extreme: bool, weighted: bool,
    ) {
        let values = |seed, len| -> Vec<i8> {
            noise(seed, len).into_iter().map(|v| if extreme { v | 127 } else { v / spread }).collect()
        };
        let mut test = TestBank::new(dimension, values(seed, dimension * 3));
        test.values = if signed { ValueKind::Signed } else { ValueKind::Magnitude };
        test.taps = [256, 0, 0, 0, 0, 0];
        if !weighted {
            test.weights.fill(0);
        }
        let bytes = test.bytes();
        let bank = Bank::from_bytes(&bytes).unwrap();
        let grid = Grid::new(3, 2).unwrap();
        let features = values(!seed, grid.len() * dimension);
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let mut map = vec![0; grid.len()];
            let mut scratch = vec![0; scorer.scratch_len_for(grid)];
            scorer.score_frame(grid, &features, &mut map, &mut scratch).unwrap();
            for (patch, &score) in features.chunks_exact(dimension).zip(&map) {
                prop_assert_eq!(scorer.score_patch(patch).unwrap().score, score, "{}", kernel.name());
                let nearest = scorer.nearest(patch).unwrap();
                let (mut values, mut order) = (vec![0; dimension], vec![0; dimension]);
                let values = scorer.decompose(patch, &mut values, &mut order).unwrap().values;
                let sum: i64 = values.iter().zip(bank.weights()).map(|(&v, w)| i64::from(v) * i64::from(w)).sum();
                let length = (u64::from(nearest.distance2) << 16).isqrt() as i64;
                prop_assert_eq!(i64::from(score), (sum + 900 * length + 16) >> 5);
            }
        }
    }

    #[test]
    fn values_and_order_are_the_residual(
        pairs in prop::collection::vec((any::<i8>(), any::<i8>()), 1..200),
    ) {
        let query: Vec<i8> = pairs.iter().map(|p| p.0).collect();
        let row: Vec<i8> = pairs.iter().map(|p| p.1).collect();
        let (mut values, mut order) = (vec![0; pairs.len()], vec![0; pairs.len()]);
        let parts = decompose(residual(&query, &row), ValueKind::Signed, &mut values, &mut order);
        prop_assert!(parts.values.is_sorted());
        let ranked: Vec<(i16, u16)> = parts.values.iter().copied().zip(parts.order.iter().copied()).collect();
        prop_assert!(ranked.is_sorted(), "equal values are ordered by channel");
        let mut rebuilt = vec![i16::MIN; pairs.len()];
        for (&value, &channel) in parts.values.iter().zip(parts.order) {
            rebuilt[usize::from(channel)] = value;
        }
        let original: Vec<i16> = residual(&query, &row).collect();
        prop_assert_eq!(rebuilt, original);
    }

    /// A frame at once, a frame by rows, and the definition from single patches.
    #[test]
    fn frames_agree(height in 1usize..9, width in 1usize..30, seed: u64, stage in stages(), margin in 0u16..32768, background: u8, usual in -9000i32..9000, wide: bool) {
        let dimension = 7;
        let mut test = TestBank::new(dimension, noise(seed, dimension * 11));
        let background = Background { share: background, usual };
        test.image_score = ImageScore { margin, background, ..ImageScore::whole(stage) };
        if wide {
            test.taps = [56, 40, 30, 20, 8, 2];
        }
        let bytes = test.bytes();
        let bank = Bank::from_bytes(&bytes).unwrap();
        let grid = Grid::new(height, width).unwrap();
        let features = noise(seed ^ 0xabcd, grid.len() * dimension);
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let mut map = vec![0; grid.len()];
            let mut scratch = vec![i32::MAX; scorer.scratch_len_for(grid)];
            let frame = scorer.score_frame(grid, &features, &mut map, &mut scratch).unwrap();

            let raw: Vec<i32> = features.chunks_exact(dimension).map(|p| scorer.score_patch(p).unwrap().score).collect();
            let expected = smooth_by_hand(&raw, height, width, &test.taps);
            let edge = height.min(width) * usize::from(margin) / 65536;
            let outside: Vec<i64> = (0..grid.len())
                .filter(|i| {
                    let (y, x) = (i / width, i % width);
                    y < edge || x < edge || y + edge >= height || x + edge >= width
                })
                .map(|i| i64::from(expected[i]))
                .collect();
            let off = match outside.len() as i64 {
                0 => 0,
                count => {
                    let mean = (outside.iter().sum::<i64>() + count / 2).div_euclid(count);
                    ((mean - i64::from(usual)) * i64::from(background.share) + 128).div_euclid(256) as i32
                }
            };
            let whole: Vec<i32> = expected.iter().map(|score| score - off).collect();
            prop_assert_eq!(&map, &whole);
            let inner = |scores: &[i32]| -> Vec<i32> {
                let rows = scores.chunks(width).take(height - edge).skip(edge);
                rows.flat_map(|row| &row[edge..width - edge]).copied().collect()
            };
            let (counted, smoothed) = (inner(&raw), inner(&expected));
            let score = match stage {
                ScoreStage::Raw => top_mean(&counted, 6554),
                ScoreStage::Smoothed => top_mean(&smoothed, 6554),
                ScoreStage::Both => (top_mean(&counted, 6554 / 3) + top_mean(&smoothed, 6554) + 1).div_euclid(2),
            };
            prop_assert_eq!(i64::from(frame.score), score);
            prop_assert_eq!(frame.map_max, *whole.iter().max().unwrap());

            let pruned = scorer.clone().pruned(true);
            let mut pruned_map = vec![0; grid.len()];
            let again = pruned.score_frame(grid, &features, &mut pruned_map, &mut scratch);
            prop_assert_eq!(again.unwrap(), frame);
            prop_assert_eq!(&pruned_map, &map);

            let mut streamed = Vec::new();
            let mut stream = scorer.stream(grid, &mut scratch).unwrap();
            let mut out = vec![0; width];
            let rows = features.chunks_exact(width * dimension);
            for (row, expected) in rows.zip(raw.chunks_exact(width)) {
                stream.push_row(row).unwrap();
                prop_assert_eq!(stream.patch_scores(), expected);
                while stream.pop_row(&mut out) {
                    streamed.extend_from_slice(&out);
                }
            }
            let popped = stream.finish().unwrap();
            prop_assert_eq!(&streamed, &expected);
            prop_assert_eq!(popped.map_max, *expected.iter().max().unwrap());
            let finished = take_off_background(&bank, popped, grid, &mut streamed);
            prop_assert_eq!(finished.unwrap(), frame);
            prop_assert_eq!(&streamed, &map);
            let short = take_off_background(&bank, popped, grid, &mut streamed[1..]);
            prop_assert_eq!(short, Err(FrameError::MapLength { expected: grid.len(), found: grid.len() - 1 }));
        }
    }
}

/// Mean of the highest scores, a share in 1/65536, at least one.
fn top_mean(scores: &[i32], share: u64) -> i64 {
    let mut ranked = scores.to_vec();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    let count = ((scores.len() as u64 * share + 32768) >> 16).max(1) as usize;
    let sum: i64 = ranked[..count].iter().map(|&v| i64::from(v)).sum();
    (sum + count as i64 / 2).div_euclid(count as i64)
}

fn stages() -> impl Strategy<Value = ScoreStage> {
    prop_oneof![
        Just(ScoreStage::Raw),
        Just(ScoreStage::Smoothed),
        Just(ScoreStage::Both)
    ]
}

fn smooth_by_hand(raw: &[i32], height: usize, width: usize, taps: &[u16; 6]) -> Vec<i32> {
    let blur = |at: &dyn Fn(isize) -> i32| -> i32 {
        let sum: i64 = (-5..=5isize)
            .map(|o| i64::from(taps[o.unsigned_abs()]) * i64::from(at(o)))
            .sum();
        ((sum + 128) >> 8) as i32
    };
    let clamp = |i: usize, o: isize, n: usize| (i as isize + o).clamp(0, n as isize - 1) as usize;
    let mut rows = vec![0; raw.len()];
    for y in 0..height {
        for x in 0..width {
            rows[y * width + x] = blur(&|o| raw[y * width + clamp(x, o, width)]);
        }
    }
    let mut out = vec![0; raw.len()];
    for y in 0..height {
        for x in 0..width {
            out[y * width + x] = blur(&|o| rows[clamp(y, o, height) * width + x]);
        }
    }
    out
}

/// Real features: one frame of the golden vectors against the golden bank.
#[test]
fn pruning_real_features_saves_most_products() {
    let bytes = include_bytes!("../../tests/fixtures/golden/bank-v1.vod");
    let bank = Bank::from_bytes(bytes).unwrap();
    let features = include_bytes!("../../tests/fixtures/golden/good-002.i8").map(|v| v as i8);
    let none = Nearest {
        row: 0,
        distance2: 0,
    };
    let mut brute = vec![none; features.len() / bank.dimension()];
    let mut pruned = brute.clone();
    let scorer = Scorer::new(&bank);
    scorer.nearest_of_all(&features, &mut brute);
    let stats = scorer.nearest_of_all_pruned(&features, &mut pruned);
    assert_eq!(brute, pruned);
    let all = (features.len() * bank.row_count()) as u64;
    assert_eq!(stats.brute_force_macs, all);
    assert!(stats.macs * 3 < all, "{stats:?}");
    println!("{stats:?}");
}

#[test]
fn a_position_limited_search_sees_only_nearby_rows() {
    // Two rows a cell on a grid of 3 x 4; the query equals a row of the far corner.
    let dimension = 3;
    let mut test = TestBank::new(dimension, noise(9, dimension * 24));
    test.grid = (3, 4);
    test.cells = (0..=12).map(|c| c * 2).collect();
    let bytes = test.bytes();
    let bank = Bank::from_bytes(&bytes).unwrap();
    let grid = Grid::new(3, 4).unwrap();
    let features: Vec<i8> = bank.row(23).repeat(12);
    for kernel in Kernel::available() {
        let scorer = Scorer::with_kernel(&bank, kernel);
        let mut map = vec![0; 12];
        let mut scratch = vec![0; scorer.scratch_len_for(grid)];
        scorer
            .score_frame(grid, &features, &mut map, &mut scratch)
            .unwrap();
        let other = Grid::new(4, 3).unwrap();
        assert_eq!(
            scorer.score_frame(other, &features, &mut map, &mut scratch),
            Err(FrameError::Grid)
        );
        // By hand: cell (y, x) may use rows of cells within one patch.
        let weights: Vec<i16> = bank.weights().collect();
        let mut raw = Vec::new();
        for cell in 0..12usize {
            let (y, x) = (cell / 4, cell % 4);
            let near = (0..24usize).filter(|row| {
                let (cy, cx) = (row / 2 / 4, row / 2 % 4);
                cy.abs_diff(y) <= 1 && cx.abs_diff(x) <= 1
            });
            let query = &features[cell * 3..cell * 3 + 3];
            let squared = |row: usize| -> i64 {
                residual(query, bank.row(row))
                    .map(|r| i64::from(r).pow(2))
                    .sum()
            };
            let row = near.min_by_key(|&row| (squared(row), row)).unwrap();
            let mut v: Vec<i64> = residual(query, bank.row(row))
                .map(|r| i64::from(r.abs()))
                .collect();
            v.sort_unstable();
            let linear: i64 = v.iter().zip(&weights).map(|(v, &w)| v * i64::from(w)).sum();
            let length = ((squared(row) as u64) << 16).isqrt() as i64;
            raw.push(((linear + 900 * length + 16) >> 5) as i32);
        }
        assert_eq!(
            map,
            smooth_by_hand(&raw, 3, 4, &test.taps),
            "{}",
            kernel.name()
        );
    }
}

#[test]
fn buffers_that_do_not_fit_are_refused() {
    let bytes = TestBank::new(4, noise(1, 40)).bytes();
    let bank = Bank::from_bytes(&bytes).unwrap();
    let scorer = Scorer::new(&bank);
    let grid = Grid::new(2, 3).unwrap();
    let need = scorer.scratch_len_for(grid);
    let (mut map, mut scratch) = (vec![0; 6], vec![0; need]);
    let features = vec![0; 24];
    assert!(matches!(
        scorer.score_frame(grid, &features[1..], &mut map, &mut scratch),
        Err(FrameError::FeatureLength {
            expected: 24,
            found: 23
        })
    ));
    assert!(matches!(
        scorer.score_frame(grid, &features, &mut map[1..], &mut scratch),
        Err(FrameError::MapLength {
            expected: 6,
            found: 5
        })
    ));
    assert!(matches!(
        scorer.score_frame(grid, &features, &mut map, &mut scratch[1..]),
        Err(FrameError::Scratch { .. })
    ));
    let mut stream = scorer.stream(grid, &mut scratch).unwrap();
    stream.push_row(&features[..12]).unwrap();
    assert_eq!(stream.finish(), Err(FrameError::RowCount));
    assert_eq!(scorer.score_patch(&features[..3]), None);
}

#[test]
fn regions_are_the_connected_parts() {
    let grid = Grid::new(4, 5).unwrap();
    #[rustfmt::skip]
    let map = [
        9, 0, 0, 0, 5,
        0, 7, 0, 0, 0,
        0, 0, 0, 0, 0,
        0, 0, 6, 6, 0,
    ];
    let mut labels = [0; 20];
    let found = regions(&map, grid, 5, &mut labels).unwrap();
    let summary: Vec<_> = found
        .iter()
        .map(|r| (r.top, r.left, r.bottom, r.right, r.area, r.peak))
        .collect();
    assert_eq!(
        summary,
        [(0, 0, 1, 1, 2, 9), (3, 2, 3, 3, 2, 6), (0, 4, 0, 4, 1, 5)]
    );
    assert!(regions(&map, grid, 10, &mut labels).unwrap().is_empty());
}

#[test]
fn of_many_regions_the_highest_are_kept() {
    let grid = Grid::new(11, 11).unwrap();
    let map: Vec<i32> = (0..121)
        .map(|i| {
            if (i / 11) % 2 == 0 && (i % 11) % 2 == 0 {
                i + 1
            } else {
                0
            }
        })
        .collect();
    let mut labels = vec![0; 121];
    let peaks: Vec<i32> = regions(&map, grid, 1, &mut labels)
        .unwrap()
        .iter()
        .map(|r| r.peak)
        .collect();
    let mut expected: Vec<i32> = map.into_iter().filter(|&v| v > 0).collect();
    expected.sort_unstable_by(|a, b| b.cmp(a));
    expected.truncate(16);
    assert_eq!(peaks, expected);
}
