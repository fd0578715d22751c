//! Greedy k-centre coreset (Gonzalez 1985; as PatchCore thins its memory bank).

use rayon::prelude::*;

/// Numbers of `count` rows that cover all of `rows` (`[n, dimension]`), in ascending order.
///
/// Starts at row 0 and takes the row that is farthest from those taken, ties to the lower number.
/// Integer distances: the same choice on every machine and thread count. All rows where there are
/// no more than `count`.
pub fn k_centre(rows: &[i8], dimension: usize, count: usize) -> Vec<usize> {
    let total = rows.len() / dimension;
    if total <= count {
        return (0..total).collect();
    }
    let mut distance = vec![u32::MAX; total];
    let mut taken = Vec::with_capacity(count);
    let mut next = 0;
    while taken.len() < count {
        taken.push(next);
        let centre = &rows[next * dimension..(next + 1) * dimension];
        let farthest = distance
            .par_chunks_mut(1024)
            .zip(rows.par_chunks(1024 * dimension))
            .enumerate()
            .map(|(chunk, (distance, rows))| {
                let mut farthest = (0, usize::MAX);
                for (i, (d, row)) in distance
                    .iter_mut()
                    .zip(rows.chunks_exact(dimension))
                    .enumerate()
                {
                    *d = (*d).min(squared_distance(row, centre));
                    let index = chunk * 1024 + i;
                    if *d > farthest.0 || farthest.1 == usize::MAX {
                        farthest = (*d, index);
                    }
                }
                farthest
            })
            .reduce(
                || (0, usize::MAX),
                |a, b| {
                    let b_wins = (b.0, std::cmp::Reverse(b.1)) > (a.0, std::cmp::Reverse(a.1));
                    if b_wins { b } else { a }
                },
            );
        if farthest.0 == 0 {
            break; // only copies of rows that were taken are left
        }
        next = farthest.1;
    }
    taken.sort_unstable();
    taken
}

fn squared_distance(a: &[i8], b: &[i8]) -> u32 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| {
            let d = i16::from(a) - i16::from(b);
            (i32::from(d) * i32::from(d)) as u32
        })
        .sum()
}
