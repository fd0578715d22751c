//! Search and whole frame on made-up features, one line a kernel; throughput in int8 MACs.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use vod_core::bank::{BankParts, MAX_TAPS};
use vod_core::{Bank, Grid, Kernel, Nearest, ScoreStage, Scorer, ValueKind};

/// Patches, rows and channels of a frame: a camera's, and a workstation's.
const SIZES: [(usize, usize, usize, usize); 2] = [(32, 32, 512, 96), (28, 28, 1024, 232)];

fn noise(seed: u32, len: usize) -> Vec<i8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as i8
        })
        .collect()
}

fn scoring(criterion: &mut Criterion) {
    for (height, width, row_count, dimension) in SIZES {
        let rows = noise(1, row_count * dimension);
        let norms: Vec<u8> = rows
            .chunks_exact(dimension)
            .map(|row| row.iter().map(|&v| i32::from(v).pow(2) as u32).sum::<u32>())
            .flat_map(u32::to_le_bytes)
            .collect();
        let weights: Vec<u8> = (0..dimension as i16).flat_map(i16::to_le_bytes).collect();
        let bytes: Vec<u8> = rows.iter().map(|&v| v as u8).collect();
        let mut taps = [0; MAX_TAPS];
        taps[..3].copy_from_slice(&[104, 62, 14]);
        let bank = Bank::from_parts(BankParts {
            dimension: dimension as u16,
            row_count: row_count as u32,
            grid: (0, 0),
            values: ValueKind::Magnitude,
            distance_weight: 100,
            shift: 8,
            taps,
            top_share: 655,
            stage: ScoreStage::Raw,
            threshold: 1,
            normal_score: 0,
            map_threshold: 1,
            radius: 0,
            weights: &weights,
            norms: &norms,
            cells: &[],
            rows: &bytes,
            host: &[],
        })
        .expect("the parts hold");
        let grid = Grid::new(height, width).expect("a small grid");
        let features = noise(2, grid.len() * dimension);
        let name = format!("{} patches x {row_count} rows x {dimension}", grid.len());
        let macs = (grid.len() * row_count * dimension) as u64;
        let mut group = criterion.benchmark_group(name);
        group.throughput(Throughput::Elements(macs)).sample_size(20);
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let none = Nearest {
                row: 0,
                distance2: 0,
            };
            let mut nearest = vec![none; grid.len()];
            group.bench_function(BenchmarkId::new("search", kernel.name()), |b| {
                b.iter(|| scorer.nearest_of_all(&features, &mut nearest));
            });
            let mut map = vec![0; grid.len()];
            let mut scratch = vec![0; scorer.scratch_len_for(grid)];
            group.bench_function(BenchmarkId::new("frame", kernel.name()), |b| {
                b.iter(|| scorer.score_frame(grid, &features, &mut map, &mut scratch));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, scoring);
criterion_main!(benches);
