//! AVX2: 16 products of sign-extended int8 an instruction (VPMADDWD), two queries a row load.

use core::arch::x86_64::*;

use super::super::{QUERY_BLOCK, Search, distance2, keep, squared_norm};
use crate::residual::Nearest;

/// Proof that the CPU has AVX2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const LANES: usize = 16;
/// Queries whose sums are held in registers at a time.
const GROUP: usize = 4;

impl Token {
    pub(crate) fn detect() -> Option<Self> {
        std::arch::is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        let group = GROUP * search.dimension;
        for (queries, best) in queries.chunks(group).zip(best.chunks_mut(GROUP)) {
            // SAFETY: a Token exists only where `detect` found AVX2.
            unsafe { nearest_group(search, queries, best) }
        }
    }
}

const _: () = assert!(QUERY_BLOCK.is_multiple_of(GROUP));

#[target_feature(enable = "avx2")]
fn nearest_group(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    let dimension = search.dimension;
    let mut group: [&[i8]; GROUP] = [queries.get(..dimension).unwrap_or_default(); GROUP];
    for (slot, query) in group.iter_mut().zip(queries.chunks_exact(dimension)) {
        *slot = query;
    }
    let norms = group.map(squared_norm);
    for (number, row_norm, row) in search.iter() {
        let dots = dot_group(row, &group);
        for ((best, dot), query_norm) in best.iter_mut().zip(dots).zip(norms) {
            keep(best, number, distance2(query_norm, row_norm, dot));
        }
    }
}

/// Dot products of `row` with each query.
#[target_feature(enable = "avx2")]
fn dot_group(row: &[i8], group: &[&[i8]; GROUP]) -> [i32; GROUP] {
    let (row_blocks, row_tail) = row.as_chunks::<LANES>();
    let split = group.map(|query| query.as_chunks::<LANES>());
    let mut sums = [_mm256_setzero_si256(); GROUP];
    for (index, block) in row_blocks.iter().enumerate() {
        let wide = widen(block);
        for (sum, (query_blocks, _)) in sums.iter_mut().zip(&split) {
            if let Some(query) = query_blocks.get(index) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(wide, widen(query)));
            }
        }
    }
    let mut dots = sums.map(|sum| horizontal_sum(sum));
    for (dot, (_, tail)) in dots.iter_mut().zip(&split) {
        *dot += row_tail
            .iter()
            .zip(*tail)
            .map(|(&b, &q)| i32::from(b) * i32::from(q))
            .sum::<i32>();
    }
    dots
}

#[target_feature(enable = "avx2")]
fn widen(block: &[i8; LANES]) -> __m256i {
    // SAFETY: `block` is 16 readable bytes; the load asks for no alignment.
    let bytes = unsafe { _mm_loadu_si128(block.as_ptr().cast()) };
    _mm256_cvtepi8_epi16(bytes)
}

#[target_feature(enable = "avx2")]
fn horizontal_sum(sum: __m256i) -> i32 {
    let half = _mm_add_epi32(
        _mm256_castsi256_si128(sum),
        _mm256_extracti128_si256::<1>(sum),
    );
    let quarter = _mm_add_epi32(half, _mm_shuffle_epi32::<0b00_00_11_10>(half));
    let eighth = _mm_add_epi32(quarter, _mm_shuffle_epi32::<0b00_00_00_01>(quarter));
    _mm_cvtsi128_si32(eighth)
}
