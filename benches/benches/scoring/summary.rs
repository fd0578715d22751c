//! Ratios: the contenders take turns, so that a change of clock or load hits all alike; the best
//! turn of each counts.

use std::hint::black_box;
use std::time::{Duration, Instant};

use vod_core::{Kernel, Scorer};

use crate::data::Case;
use crate::{peak, rivals};

const TURNS: usize = 15;

/// A name and what is timed.
type Contender<'c> = (String, Box<dyn FnMut() + 'c>);

/// Prints one line a contender: its time over that of the best kernel's search, the time, and the
/// share of patches whose nearest row it finds.
pub fn print(case: &Case) {
    let bank = case.bank();
    let mut exact = case.room();
    let stats = Scorer::new(&bank).nearest_of_all_pruned(&case.features, &mut exact);
    let recall = |found: &[u32]| {
        let right = found
            .iter()
            .zip(&exact)
            .filter(|(f, e)| **f == e.row)
            .count();
        right as f64 / exact.len() as f64
    };
    let mut gemm = rivals::Gemm::new(case);
    let gemm_recall = recall(&gemm.search());
    let graph = rivals::Graph::new(case);

    let mut contenders: Vec<Contender> = Vec::new();
    if let Some(rounds) = peak::rounds(case.macs()) {
        let work = move || {
            black_box(peak::run(rounds));
        };
        contenders.push(("int8 peak, registers only".into(), Box::new(work)));
    }
    let kernels = Kernel::available().flat_map(|kernel| [(kernel, false), (kernel, true)]);
    for (kernel, pruned) in kernels {
        let scorer = Scorer::with_kernel(&bank, kernel).pruned(pruned);
        let ending = if pruned { ", pruned" } else { "" };
        let mut nearest = case.room();
        let search = scorer.clone();
        contenders.push((
            format!("search, {}{ending}", kernel.name()),
            Box::new(move || search.nearest_of_all(black_box(&case.features), &mut nearest)),
        ));
        let mut map = vec![0; case.grid.len()];
        let mut scratch = vec![0; scorer.scratch_len_for(case.grid)];
        contenders.push((
            format!("frame, {}{ending}", kernel.name()),
            Box::new(move || {
                let _ = black_box(scorer.score_frame(
                    case.grid,
                    black_box(&case.features),
                    &mut map,
                    &mut scratch,
                ));
            }),
        ));
    }
    contenders.push((
        format!("matrixmultiply f32 + argmin, recall {gemm_recall:.3}"),
        Box::new(move || drop(black_box(gemm.search()))),
    ));
    for effort in [16, 64, 256] {
        let graph = &graph;
        let found = recall(&graph.search(effort));
        contenders.push((
            format!("hnsw_rs, ef = {effort}, recall {found:.3}"),
            Box::new(move || drop(black_box(graph.search(effort)))),
        ));
    }

    let mut best = vec![Duration::MAX; contenders.len()];
    for _ in 0..TURNS {
        for ((_, work), best) in contenders.iter_mut().zip(&mut best) {
            let start = Instant::now();
            work();
            *best = start.elapsed().min(*best);
        }
    }
    let unit = format!("search, {}", Kernel::best().name());
    let place = contenders.iter().position(|(name, _)| *name == unit);
    let unit = place.map_or(1.0, |place| best[place].as_secs_f64());
    let share = stats.macs as f64 / stats.brute_force_macs as f64;
    println!(
        "\n{}; early exit makes {:.1} % of the MACs\n  ratio       time  what",
        case.name,
        share * 100.0
    );
    for ((name, _), time) in contenders.iter().zip(&best) {
        let seconds = time.as_secs_f64();
        println!("{:7.2} {:8.3} ms  {name}", seconds / unit, seconds * 1e3);
    }
}
