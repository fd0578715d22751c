//! Every change is held against golden vectors: image -> features -> int8 -> scores -> verdict.

use vod_core::{Bank, Grid, Kernel, Scorer};
use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::features::Extractor;
use vod_host::score::ImageScorer;
use vod_tests::{GOLDEN_IMAGES, Golden, fixture, sample};

fn bank() -> BankFile {
    BankFile::read(&fixture("golden/bank-v1.vod")).expect("version 1 loads for ever")
}

fn golden(name: &str) -> Golden {
    Golden::read(&fixture("golden").join(name.replace('/', "-")))
}

/// Floating point may differ by the CPU's instructions; by no more than this.
#[test]
fn features_are_those_of_before() {
    let file = bank();
    let backbone = backbone::open(&file.host().backbone_id).unwrap();
    let extractor = Extractor::for_bank(&file, &*backbone).unwrap();
    for name in GOLDEN_IMAGES {
        let golden = golden(name);
        let (features, _) = extractor.load(&sample().join("test").join(name)).unwrap();
        let (height, width, channels) = features.dim();
        assert_eq!([height, width, channels], golden.scores.grid);
        let pairs = features.iter().zip(&golden.features);
        let worst = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst < 1e-3, "{name}: max abs difference {worst}");
        let quantised = file.host().transform.quantise(&features);
        let pairs = quantised.iter().zip(&golden.quantised);
        let worst = pairs.map(|(a, b)| a.abs_diff(*b)).max();
        assert!(
            worst <= Some(1),
            "{name}: int8 features differ by {worst:?}"
        );
    }
}

/// Integers do not: the same int8 features give the same bits, with every kernel.
#[test]
fn scores_are_those_of_before_to_the_bit() {
    let file = bank();
    let bank: Bank = file.bank().unwrap();
    for name in GOLDEN_IMAGES {
        let golden = golden(name);
        let expected = &golden.scores;
        let grid = Grid::new(expected.grid[0], expected.grid[1]).unwrap();
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let patches = golden.quantised.chunks_exact(bank.dimension());
            for (place, patch) in patches.enumerate() {
                let found = scorer.score_patch(patch).unwrap();
                assert_eq!(found.score, expected.patch_scores[place], "{name} {place}");
                assert_eq!(found.nearest.row, expected.nearest[place], "{name} {place}");
            }
            let mut map = vec![0; grid.len()];
            let mut scratch = vec![0; scorer.scratch_len_for(grid)];
            let frame = scorer
                .score_frame(grid, &golden.quantised, &mut map, &mut scratch)
                .unwrap();
            assert_eq!(map, expected.map, "{name}");
            assert_eq!(frame.score, expected.image_score, "{name}");
            assert_eq!(frame.anomalous(), expected.anomalous, "{name}");
        }
    }
}

#[test]
fn verdicts_are_those_of_before() {
    let file = bank();
    let backbone = backbone::open("edge").unwrap();
    let scorer = ImageScorer::new(&file, &*backbone).unwrap();
    let scale = scorer.scale().unwrap();
    for name in GOLDEN_IMAGES {
        let expected = golden(name).scores;
        let verdict = scorer.score(&sample().join("test").join(name)).unwrap();
        assert_eq!(verdict.anomalous, expected.anomalous, "{name}");
        let difference = (verdict.image_score - scale.unit(expected.image_score)).abs();
        assert!(
            difference < 0.01,
            "{name}: image score differs by {difference}"
        );
    }
}
