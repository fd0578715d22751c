//! AVX-512 VNNI: 64 int8 products an instruction (VPDPBUSD), eight queries a row load.
//!
//! The instruction multiplies unsigned by signed bytes. A row `b` becomes unsigned as `b + 128`
//! (a flip of the top bit); `(b + 128).q - 128 * sum(q) = b.q`, and `sum(q)` is known once a query.

use core::arch::x86_64::*;

use super::super::{QUERY_BLOCK, Search, distance2, keep, squared_norm};
use crate::residual::Nearest;

/// Proof that the CPU has AVX-512 F, BW and VNNI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

const LANES: usize = 64;

impl Token {
    pub(crate) fn detect() -> Option<Self> {
        (std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vnni"))
        .then_some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        let block = QUERY_BLOCK * search.dimension;
        for (queries, best) in queries.chunks(block).zip(best.chunks_mut(QUERY_BLOCK)) {
            // One query against many rows (a position-limited search) would waste seven eighths.
            if queries.len() == search.dimension {
                // SAFETY: a Token exists only where `detect` found AVX-512 F, BW and VNNI.
                unsafe { nearest_block::<1>(search, queries, best) }
            } else {
                // SAFETY: as above.
                unsafe { nearest_block::<QUERY_BLOCK>(search, queries, best) }
            }
        }
    }
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn nearest_block<const N: usize>(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    let dimension = search.dimension;
    let mut group: [&[i8]; N] = [queries.get(..dimension).unwrap_or_default(); N];
    for (slot, query) in group.iter_mut().zip(queries.chunks_exact(dimension)) {
        *slot = query;
    }
    let norms = group.map(squared_norm);
    let offsets = group.map(|query| 128 * query.iter().map(|&q| i32::from(q)).sum::<i32>());
    let whole = dimension / LANES * LANES;
    let tail_mask = (1u64 << (dimension - whole)) - 1;
    let flip = _mm512_set1_epi8(i8::MIN);
    for (number, row_norm, row) in search.iter() {
        let mut sums = [_mm512_setzero_si512(); N];
        let mut at = 0;
        while at < whole {
            // SAFETY: `at + 64 <= whole <= dimension`, the length of `row` and of each query
            // (both come from `chunks_exact(dimension)`).
            unsafe {
                let unsigned =
                    _mm512_xor_si512(_mm512_loadu_si512(row.as_ptr().add(at).cast()), flip);
                for (sum, query) in sums.iter_mut().zip(&group) {
                    let signed = _mm512_loadu_si512(query.as_ptr().add(at).cast());
                    *sum = _mm512_dpbusd_epi32(*sum, unsigned, signed);
                }
            }
            at += LANES;
        }
        if tail_mask != 0 {
            // SAFETY: the mask lets only bytes `whole..dimension` be read.
            unsafe {
                let bytes = _mm512_maskz_loadu_epi8(tail_mask, row.as_ptr().add(at));
                let unsigned = _mm512_xor_si512(bytes, flip);
                for (sum, query) in sums.iter_mut().zip(&group) {
                    let signed = _mm512_maskz_loadu_epi8(tail_mask, query.as_ptr().add(at));
                    *sum = _mm512_dpbusd_epi32(*sum, unsigned, signed);
                }
            }
        }
        for index in 0..N {
            if let Some(best) = best.get_mut(index) {
                let dot = _mm512_reduce_add_epi32(sums[index]) - offsets[index];
                keep(best, number, distance2(norms[index], row_norm, dot));
            }
        }
    }
}
