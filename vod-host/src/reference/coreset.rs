//! Greedy k-centre coreset (Gonzalez 1985; as PatchCore thins its memory bank).
//!
//! Comparing every row with every new centre takes all its time in reading the rows from memory. The
//! rows that are farthest at the moment are therefore looked at by themselves: as long as one of
//! them stays farther than all others were, it is the next centre, whatever the others' distances
//! have become. The others catch up with all new centres at once, by the bank search's kernels.

use rayon::prelude::*;
use vod_core::{Bank, Nearest, Scorer};

use crate::fit::search_bank;

/// Rows that one task looks at.
const CHUNK: usize = 1024;
/// Least and most rows that are looked at by themselves.
const CANDIDATES: [usize; 2] = [128, 4096];
/// Centres between two times that all rows catch up: fewer waste the kernels, more cost time on
/// the candidates.
const CENTRES: [usize; 2] = [24, 96];

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
    // Squared distance to the nearest row that is taken.
    let mut nearest = vec![u32::MAX; total];
    let mut taken: Vec<usize> = Vec::with_capacity(count);
    if count > 0 {
        taken.push(0);
        catch_up(&mut nearest, rows, row(0), dimension);
    }
    let mut room = CANDIDATES[0];
    while taken.len() < count {
        let mut order: Vec<Far> = (0..total).map(|n| (nearest[n], !n)).collect();
        let rest = match room < total {
            true => {
                let (_, rest, _) = order.select_nth_unstable_by(room, |a, b| b.cmp(a));
                let rest = *rest;
                order.truncate(room);
                Some(rest)
            }
            false => None,
        };
        let candidates: Vec<i8> = order
            .iter()
            .flat_map(|far| row(number(*far)))
            .copied()
            .collect();
        let first_new = taken.len();
        let mut done = false;
        while taken.len() < count {
            let Some(&farthest) = order.iter().max() else {
                break;
            };
            if rest > Some(farthest) {
                break; // one of the others may be farther by now
            }
            if farthest.0 == 0 {
                done = true; // only copies of rows that were taken are left
                break;
            }
            let next = number(farthest);
            taken.push(next);
            let candidates = candidates.chunks_exact(dimension);
            for (far, candidate) in order.iter_mut().zip(candidates) {
                far.0 = far.0.min(squared_distance(candidate, row(next)));
            }
        }
        if done || taken.len() == count {
            break;
        }
        let new = &taken[first_new..];
        let centres: Vec<i8> = new.iter().flat_map(|&n| row(n)).copied().collect();
        catch_up(&mut nearest, rows, &centres, dimension);
        if new.len() < CENTRES[0] {
            room = (room * 2).min(CANDIDATES[1]);
        } else if new.len() > CENTRES[1] {
            room = (room / 2).max(CANDIDATES[0]);
        }
    }
    taken.sort_unstable();
    taken
}

/// A row's squared distance and its number with all bits turned: the greatest is the farthest, of
/// equal ones the one with the lowest number.
type Far = (u32, usize);

fn number(far: Far) -> usize {
    !far.1
}

/// Lowers each row's distance to that of the nearest of `centres`, `[n, dimension]`.
fn catch_up(nearest: &mut [u32], rows: &[i8], centres: &[i8], dimension: usize) {
    // More channels than a bank can have are compared by themselves.
    let bytes = search_bank(dimension, centres).ok();
    let bank = bytes
        .as_deref()
        .and_then(|bytes| Bank::from_bytes(bytes).ok());
    let scorer = bank.as_ref().map(Scorer::new);
    nearest
        .par_chunks_mut(CHUNK)
        .zip(rows.par_chunks(CHUNK * dimension))
        .for_each(|(nearest, rows)| match &scorer {
            Some(scorer) => {
                let none = Nearest {
                    row: 0,
                    distance2: u32::MAX,
                };
                let mut found = vec![none; nearest.len()];
                scorer.nearest_of_all(rows, &mut found);
                for (nearest, found) in nearest.iter_mut().zip(found) {
                    *nearest = found.distance2.min(*nearest);
                }
            }
            None => {
                for (nearest, row) in nearest.iter_mut().zip(rows.chunks_exact(dimension)) {
                    for centre in centres.chunks_exact(dimension) {
                        *nearest = squared_distance(row, centre).min(*nearest);
                    }
                }
            }
        });
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
    use vod_core::bank::MAX_DIMENSION;

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
        // The last has more channels than a bank.
        let cases = [
            (1, 255),
            (3, 7),
            (8, 31),
            (17, 255),
            (MAX_DIMENSION + 1, 255),
        ];
        for (dimension, spread) in cases {
            let values = 400 * dimension;
            let rows: Vec<i8> = (0..values)
                .map(|_| (random.next_u64() % spread) as i8)
                .collect();
            let counts: &[usize] = if dimension < 100 {
                &[1, 2, 40, 150, 399]
            } else {
                &[3]
            };
            for &count in counts {
                let found = k_centre(&rows, dimension, count);
                assert_eq!(found, plain(&rows, dimension, count), "{dimension} {count}");
            }
        }
    }
}
