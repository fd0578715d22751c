//! The scoring path beside the machine's own int8 peak and what else a Rust user has for the same
//! search; throughput in int8 MACs. Ends with a table of ratios from one interleaved run.
//!
//! Made-up features (uniform noise, where nothing can be pruned) unless `VOD_FEATURES` names a
//! folder that `cargo run --release -p vod-tests --example write_features` has filled.

mod data;
mod peak;
mod rivals;
mod summary;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use data::Case;
use vod_core::{Kernel, Scorer};

fn scoring(criterion: &mut Criterion) {
    for case in Case::all() {
        let bank = case.bank();
        let mut group = criterion.benchmark_group(case.name.as_str());
        group
            .throughput(Throughput::Elements(case.macs()))
            .sample_size(20)
            .warm_up_time(std::time::Duration::from_millis(300))
            .measurement_time(std::time::Duration::from_secs(1));
        if let Some(rounds) = peak::rounds(case.macs()) {
            group.bench_function("peak", |b| b.iter(|| peak::run(rounds)));
        }
        let mut nearest = case.room();
        let mut map = vec![0; case.grid.len()];
        for kernel in Kernel::available() {
            let scorer = Scorer::with_kernel(&bank, kernel);
            let mut scratch = vec![0; scorer.scratch_len_for(case.grid)];
            group.bench_function(BenchmarkId::new("search", kernel.name()), |b| {
                b.iter(|| scorer.nearest_of_all(&case.features, &mut nearest));
            });
            group.bench_function(BenchmarkId::new("frame", kernel.name()), |b| {
                b.iter(|| scorer.score_frame(case.grid, &case.features, &mut map, &mut scratch));
            });
        }
        group.finish();
    }
}

fn table(_: &mut Criterion) {
    for case in Case::all() {
        summary::print(&case);
    }
}

criterion_group!(benches, scoring, table);
criterion_main!(benches);
