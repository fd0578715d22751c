//! Greedy k-centre coreset (Gonzalez 1985; as PatchCore thins its memory bank).

use rayon::prelude::*;

/// Rows that one task looks at.
const CHUNK: usize = 1024;

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
    let row = |n: usize| &rows[n * dimension..(n + 1) * dimension];
    // Squared distance to the nearest row that is taken, and which of `taken` that is.
    let mut nearest = vec![(u32::MAX, 0u32); total];
    let mut taken: Vec<usize> = Vec::with_capacity(count);
    let mut next = 0;
    while taken.len() < count {
        let centre = row(next);
        // By the triangle inequality a row keeps its nearest where that is at least twice as far
        // from the new centre as from the row.
        let from_taken: Vec<u32> = taken
            .par_iter()
            .with_min_len(CHUNK)
            .map(|&n| squared_distance(row(n), centre))
            .collect();
        let number = taken.len() as u32;
        taken.push(next);
        let farthest = nearest
            .par_chunks_mut(CHUNK)
            .zip(rows.par_chunks(CHUNK * dimension))
            .enumerate()
            .map(|(chunk, (nearest, rows))| {
                let mut farthest = (0, usize::MAX);
                let rows = rows.chunks_exact(dimension);
                for (i, (nearest, row)) in nearest.iter_mut().zip(rows).enumerate() {
                    let reach = from_taken.get(nearest.1 as usize).copied();
                    if reach.is_none_or(|reach| u64::from(reach) < 4 * u64::from(nearest.0)) {
                        let distance = squared_distance(row, centre);
                        if distance < nearest.0 {
                            *nearest = (distance, number);
                        }
                    }
                    if nearest.0 > farthest.0 || farthest.1 == usize::MAX {
                        farthest = (nearest.0, chunk * CHUNK + i);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::SplitMix64;

    /// The definition, all distances anew.
    fn plain(rows: &[i8], dimension: usize, count: usize) -> Vec<usize> {
        let rows: Vec<&[i8]> = rows.chunks_exact(dimension).collect();
        let mut taken = vec![0];
        while taken.len() < count {
            let distance = |n: usize| {
                let to = taken.iter().map(|&t| squared_distance(rows[n], rows[t]));
                to.min().unwrap_or(u32::MAX)
            };
            let farthest = (0..rows.len()).max_by_key(|&n| (distance(n), std::cmp::Reverse(n)));
            match farthest {
                Some(n) if distance(n) > 0 => taken.push(n),
                _ => break,
            }
        }
        taken.sort_unstable();
        taken
    }

    #[test]
    fn the_choice_is_that_of_the_definition() {
        let mut random = SplitMix64::new(7);
        for (dimension, spread) in [(1, 255), (3, 7), (8, 31), (17, 255)] {
            let values = 400 * dimension;
            let rows: Vec<i8> = (0..values)
                .map(|_| (random.next_u64() % spread) as i8)
                .collect();
            for count in [1, 2, 40, 150, 399] {
                let found = k_centre(&rows, dimension, count);
                assert_eq!(found, plain(&rows, dimension, count), "{dimension} {count}");
            }
        }
    }
}
