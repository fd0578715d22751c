//! AVX-512 VNNI: 64 int8 products an instruction (VPDPBUSD).
//!
//! The instruction multiplies unsigned by signed bytes. A row `b` becomes unsigned as `b + 128`
//! (a flip of the top bit); `(b + 128).q - 128 * sum(q) = b.q`, and `sum(q)` is known once a query.
//!
//! Rows are interleaved in panels of 32, four channels of 16 rows to a register, so that a lane is
//! a row and no sum goes across lanes; a block of queries pays for the interleaving. One query alone
//! (a position-limited search) takes the rows as they lie.

use core::arch::x86_64::*;
use core::mem::MaybeUninit;

use super::super::{QUERY_BLOCK, Search, distance2, keep, squared_norm};
use crate::bank::{MAX_DIMENSION, ValueKind};
use crate::residual::Nearest;

/// Proof that the CPU has AVX-512 F, BW and VNNI, and POPCNT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token(());

/// Bytes of a register.
const LANES: usize = 64;
/// Rows of a register in a panel.
const ROWS: usize = 16;
/// Registers of a panel that share a broadcast query word.
const HALVES: usize = 2;
/// Words of four channels in the longest row.
const MAX_WORDS: usize = MAX_DIMENSION / 4;
/// Stands for the norm of a row that is not there: `norm - 2 * dot` is above that of every row.
const ABSENT: i32 = 1 << 30;

impl Token {
    pub(crate) fn detect() -> Option<Self> {
        (std::arch::is_x86_feature_detected!("popcnt")
            && std::arch::is_x86_feature_detected!("avx512f")
            && std::arch::is_x86_feature_detected!("avx512bw")
            && std::arch::is_x86_feature_detected!("avx512vnni"))
        .then_some(Self(()))
    }

    pub(crate) fn nearest(self, search: &Search, queries: &[i8], best: &mut [Nearest]) {
        if search.norms.is_empty() || search.dimension > MAX_DIMENSION {
            return;
        }
        let block = QUERY_BLOCK * search.dimension;
        for (queries, best) in queries.chunks(block).zip(best.chunks_mut(QUERY_BLOCK)) {
            if queries.len() == search.dimension {
                // SAFETY: a Token exists only where `detect` found AVX-512 F, BW and VNNI.
                unsafe { nearest_of_one(search, queries, best) }
            } else {
                // SAFETY: as above.
                unsafe { nearest_of_block(search, queries, best) }
            }
        }
    }
}

/// A query with what does not change from panel to panel, and its best row in each lane.
#[derive(Clone, Copy)]
struct State {
    /// `norm - 2 * (b + 128).q` of the best rows.
    least: __m512i,
    /// Row numbers within the search.
    row: __m512i,
}

/// 32 interleaved rows: register `HALVES * word + half` holds channels `4 * word..` of 16 rows.
type Panel = [MaybeUninit<__m512i>; HALVES * MAX_WORDS];

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn nearest_of_block(search: &Search, queries: &[i8], best: &mut [Nearest]) {
    let dimension = search.dimension;
    let count = (queries.len() / dimension).min(best.len());
    let mut tails = [0; QUERY_BLOCK];
    for (tail, query) in tails.iter_mut().zip(queries.chunks_exact(dimension)) {
        let mut bytes = [0; 4];
        for (byte, &value) in bytes.iter_mut().zip(query.as_chunks::<4>().1) {
            *byte = value as u8;
        }
        *tail = i32::from_le_bytes(bytes);
    }
    let none = State {
        least: _mm512_set1_epi32(i32::MAX),
        row: _mm512_setzero_si512(),
    };
    let mut states = [none; QUERY_BLOCK];
    let mut panel: Panel = [MaybeUninit::uninit(); HALVES * MAX_WORDS];
    let chunks = search.rows.chunks(HALVES * ROWS * dimension);
    for (number, (rows, row_norms)) in chunks.zip(search.norms.chunks(HALVES * ROWS)).enumerate() {
        interleave(rows, dimension, &mut panel);
        let norms = [norms(row_norms, 0), norms(row_norms, ROWS)];
        let first = (number * HALVES * ROWS) as i32;
        let mut at = 0;
        while at < count {
            let left = count - at;
            let group = (queries, &tails, at);
            let step = if left >= 8 {
                update::<8>(&panel, dimension, &norms, first, group, &mut states);
                8
            } else if left >= 4 {
                update::<4>(&panel, dimension, &norms, first, group, &mut states);
                4
            } else {
                update::<1>(&panel, dimension, &norms, first, group, &mut states);
                1
            };
            at += step;
        }
    }
    for ((best, state), query) in best
        .iter_mut()
        .zip(&states)
        .zip(queries.chunks_exact(dimension))
    {
        let least = _mm512_reduce_min_epi32(state.least);
        let lanes = _mm512_cmpeq_epi32_mask(state.least, _mm512_set1_epi32(least));
        let row = _mm512_mask_reduce_min_epu32(lanes, state.row);
        let offset = 128 * query.iter().map(|&q| i32::from(q)).sum::<i32>();
        let distance2 = (least + 2 * offset) as u32;
        let distance2 = distance2.wrapping_add(squared_norm(query));
        keep(best, search.first_row + row, distance2);
    }
}

/// Norms of rows `from..from + 16` of a panel.
#[target_feature(enable = "avx512f")]
fn norms(row_norms: &[[u8; 4]], from: usize) -> __m512i {
    let mut norms = [ABSENT; ROWS];
    let present = row_norms.get(from..).unwrap_or_default();
    for (norm, bytes) in norms.iter_mut().zip(present) {
        *norm = i32::from_le_bytes(*bytes);
    }
    // SAFETY: 64 bytes are readable; the load asks for no alignment.
    unsafe { _mm512_loadu_si512(norms.as_ptr().cast()) }
}

/// Compares the rows of a panel with `N` queries from number `at` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn update<const N: usize>(
    panel: &Panel,
    dimension: usize,
    norms: &[__m512i; HALVES],
    first: i32,
    (queries, tails, at): (&[i8], &[i32; QUERY_BLOCK], usize),
    states: &mut [State; QUERY_BLOCK],
) {
    let (Some(group), Some(tails), Some(states)) = (
        queries.get(at * dimension..(at + N) * dimension),
        tails.get(at..at + N),
        states.get_mut(at..at + N),
    ) else {
        return;
    };
    let dots = dots::<N>(panel, dimension, group, tails);
    let lane = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    let low_rows = _mm512_add_epi32(lane, _mm512_set1_epi32(first));
    let high_rows = _mm512_add_epi32(low_rows, _mm512_set1_epi32(ROWS as i32));
    for ([low, high], state) in dots.into_iter().zip(states) {
        let low = _mm512_sub_epi32(norms[0], _mm512_add_epi32(low, low));
        let high = _mm512_sub_epi32(norms[1], _mm512_add_epi32(high, high));
        let least = _mm512_min_epi32(low, high);
        let nearer = _mm512_cmplt_epi32_mask(least, state.least);
        if nearer != 0 {
            // Equal halves: the lower row. An equal row of a later panel is not nearer.
            let in_high = _mm512_cmplt_epi32_mask(high, low);
            let row = _mm512_mask_blend_epi32(in_high, low_rows, high_rows);
            state.least = _mm512_mask_blend_epi32(nearer, state.least, least);
            state.row = _mm512_mask_blend_epi32(nearer, state.row, row);
        }
    }
}

/// `(b + 128).q` of the 32 rows with each of `N` queries, `[N, dimension]`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
#[inline]
fn dots<const N: usize>(
    panel: &Panel,
    dimension: usize,
    group: &[i8],
    tails: &[i32],
) -> [[__m512i; HALVES]; N] {
    assert!(group.len() == N * dimension && dimension <= MAX_DIMENSION && tails.len() == N);
    let mut sums = [[_mm512_setzero_si512(); HALVES]; N];
    let words = dimension / 4;
    let register = panel.as_ptr().cast::<__m512i>();
    for word in 0..words {
        // SAFETY: `interleave` has written registers `0..HALVES * dimension.div_ceil(4)`, and
        // `word < dimension / 4 <= MAX_WORDS`; `group` holds `N` queries of `dimension` bytes, of
        // which bytes `4 * word..4 * word + 4` are read.
        unsafe {
            let low = *register.add(HALVES * word);
            let high = *register.add(HALVES * word + 1);
            for (index, sum) in sums.iter_mut().enumerate() {
                let bytes = group.as_ptr().add(index * dimension + 4 * word);
                let query = _mm512_set1_epi32(bytes.cast::<i32>().read_unaligned());
                sum[0] = _mm512_dpbusd_epi32(sum[0], low, query);
                sum[1] = _mm512_dpbusd_epi32(sum[1], high, query);
            }
        }
    }
    if !dimension.is_multiple_of(4) {
        // SAFETY: as above, with `words < dimension.div_ceil(4)`.
        let (low, high) = unsafe {
            (
                *register.add(HALVES * words),
                *register.add(HALVES * words + 1),
            )
        };
        for (sum, &tail) in sums.iter_mut().zip(tails) {
            let query = _mm512_set1_epi32(tail);
            sum[0] = _mm512_dpbusd_epi32(sum[0], low, query);
            sum[1] = _mm512_dpbusd_epi32(sum[1], high, query);
        }
    }
    sums
}

/// Writes up to 32 rows into a panel, as unsigned bytes; rows that are not there hold anything.
#[target_feature(enable = "avx512f,avx512bw")]
fn interleave(rows: &[i8], dimension: usize, panel: &mut Panel) {
    for half in 0..HALVES {
        let rows = rows.get(half * ROWS * dimension..).unwrap_or_default();
        let mut at = 0;
        while at < dimension {
            let block = interleave_block(rows, dimension, at);
            let words = (dimension - at).div_ceil(4);
            let slots = panel.iter_mut().skip(HALVES * (at / 4) + half);
            for (slot, register) in slots.step_by(HALVES).zip(block).take(words) {
                slot.write(register);
            }
            at += LANES;
        }
    }
}

/// Channels `at..at + 64` of up to 16 rows: register `w` holds channels `at + 4 * w..` of each.
#[target_feature(enable = "avx512f,avx512bw")]
#[inline]
fn interleave_block(rows: &[i8], dimension: usize, at: usize) -> [__m512i; ROWS] {
    let present = (dimension - at).min(LANES);
    let mask = u64::MAX >> (LANES - present);
    let flip = _mm512_set1_epi8(i8::MIN);
    let mut r = [flip; ROWS];
    for (register, row) in r.iter_mut().zip(rows.chunks_exact(dimension)) {
        // SAFETY: the mask lets only bytes `at..at + present` of the row be read, and
        // `at + present <= dimension`.
        let bytes = unsafe { _mm512_maskz_loadu_epi8(mask, row.as_ptr().add(at)) };
        *register = _mm512_xor_si512(bytes, flip);
    }
    // A transposition of 16 x 16 words in four rounds: pairs of rows, fours, then 128-bit lanes.
    let mut pairs = r;
    for i in 0..ROWS / 2 {
        pairs[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        pairs[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    let mut fours = pairs;
    for i in 0..ROWS / 4 {
        let [a, b, c, d] = [
            pairs[4 * i],
            pairs[4 * i + 1],
            pairs[4 * i + 2],
            pairs[4 * i + 3],
        ];
        fours[4 * i] = _mm512_unpacklo_epi64(a, c);
        fours[4 * i + 1] = _mm512_unpackhi_epi64(a, c);
        fours[4 * i + 2] = _mm512_unpacklo_epi64(b, d);
        fours[4 * i + 3] = _mm512_unpackhi_epi64(b, d);
    }
    let mut words = fours;
    for k in 0..ROWS / 4 {
        let even_low = _mm512_shuffle_i32x4::<0x88>(fours[k], fours[k + 4]);
        let even_high = _mm512_shuffle_i32x4::<0x88>(fours[k + 8], fours[k + 12]);
        let odd_low = _mm512_shuffle_i32x4::<0xdd>(fours[k], fours[k + 4]);
        let odd_high = _mm512_shuffle_i32x4::<0xdd>(fours[k + 8], fours[k + 12]);
        words[k] = _mm512_shuffle_i32x4::<0x88>(even_low, even_high);
        words[k + 4] = _mm512_shuffle_i32x4::<0x88>(odd_low, odd_high);
        words[k + 8] = _mm512_shuffle_i32x4::<0xdd>(even_low, even_high);
        words[k + 12] = _mm512_shuffle_i32x4::<0xdd>(odd_low, odd_high);
    }
    words
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn nearest_of_one(search: &Search, query: &[i8], best: &mut [Nearest]) {
    let Some(best) = best.first_mut() else {
        return;
    };
    let dimension = search.dimension;
    let norm = squared_norm(query);
    let offset = 128 * query.iter().map(|&q| i32::from(q)).sum::<i32>();
    let flip = _mm512_set1_epi8(i8::MIN);
    for (number, row_norm, row) in search.iter() {
        let mut sum = _mm512_setzero_si512();
        let mut at = 0;
        while at < dimension {
            let mask = u64::MAX >> (LANES - (dimension - at).min(LANES));
            // SAFETY: the mask lets only bytes below `dimension` be read, the length of both.
            let (row, query) = unsafe {
                (
                    _mm512_maskz_loadu_epi8(mask, row.as_ptr().add(at)),
                    _mm512_maskz_loadu_epi8(mask, query.as_ptr().add(at)),
                )
            };
            sum = _mm512_dpbusd_epi32(sum, _mm512_xor_si512(row, flip), query);
            at += LANES;
        }
        let dot = _mm512_reduce_add_epi32(sum) - offset;
        keep(best, number, distance2(norm, row_norm, dot));
    }
}

impl Token {
    /// The weighted sum over the sorted values of `query - row`, where `sums[k]` is the sum of the
    /// first `k` weights. `None` for more channels than four registers hold, where a histogram is
    /// faster.
    pub(crate) fn weighted_values(
        self,
        query: &[i8],
        row: &[i8],
        kind: ValueKind,
        sums: &[i32],
    ) -> Option<i64> {
        let dimension = query.len();
        if row.len() != dimension || sums.len() != dimension + 1 {
            return None;
        }
        // SAFETY: a Token exists only where `detect` found AVX-512 F, BW and VNNI, and POPCNT.
        unsafe {
            match dimension.div_ceil(LANES) {
                1 => Some(weighted_values::<1>(query, row, kind, sums)),
                2 => Some(weighted_values::<2>(query, row, kind, sums)),
                3 => Some(weighted_values::<3>(query, row, kind, sums)),
                4 => Some(weighted_values::<4>(query, row, kind, sums)),
                _ => None,
            }
        }
    }
}

/// Summation by parts as in `value_order`, but the number of values up to `x` is a population count
/// over the channels, and there is no histogram.
///
/// With `c(x)` that number, `W(k)` the sum of the first `k` of `n` weights, and a value being the
/// number of `x >= 0` below it less the number of `x < 0` from it on:
/// `sum over x >= 0 of (W(n) - W(c(x))) - sum over x < 0 of W(c(x))`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,popcnt")]
fn weighted_values<const N: usize>(query: &[i8], row: &[i8], kind: ValueKind, sums: &[i32]) -> i64 {
    let dimension = query.len().min(row.len());
    // Positive and negative parts; zeros where there is no channel.
    let mut above = [_mm512_setzero_si512(); N];
    let mut below = [_mm512_setzero_si512(); N];
    for (index, (above, below)) in above.iter_mut().zip(&mut below).enumerate() {
        let at = index * LANES;
        let Some(present @ 1..) = dimension.checked_sub(at) else {
            break;
        };
        let mask = u64::MAX >> (LANES - present.min(LANES));
        // SAFETY: the mask lets only bytes below `dimension` be read, the length of both at least.
        let (query, row) = unsafe {
            (
                _mm512_maskz_loadu_epi8(mask, query.as_ptr().add(at)),
                _mm512_maskz_loadu_epi8(mask, row.as_ptr().add(at)),
            )
        };
        *above = _mm512_sub_epi8(_mm512_max_epi8(query, row), row);
        *below = _mm512_sub_epi8(_mm512_max_epi8(query, row), query);
        if kind == ValueKind::Magnitude {
            *above = _mm512_or_si512(*above, *below);
            *below = _mm512_setzero_si512();
        }
    }
    let sum_of = |count: usize| sums.get(count).copied().map_or(0, i64::from);
    let all = sum_of(dimension);
    let mut sum = 0;
    for x in 0..=u8::MAX {
        let greater = count_above(&above, x);
        if greater == 0 {
            break;
        }
        sum += all - sum_of(dimension.wrapping_sub(greater));
    }
    for x in 0..=u8::MAX {
        let less = count_above(&below, x);
        if less == 0 {
            break;
        }
        sum -= sum_of(less);
    }
    sum
}

/// Bytes above `x`.
#[target_feature(enable = "avx512f,avx512bw,popcnt")]
fn count_above<const N: usize>(bytes: &[__m512i; N], x: u8) -> usize {
    let x = _mm512_set1_epi8(x as i8);
    let counts = bytes.map(|bytes| _mm512_cmpgt_epu8_mask(bytes, x).count_ones());
    counts.iter().sum::<u32>() as usize
}
