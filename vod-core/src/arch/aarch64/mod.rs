//! aarch64 kernels: NEON is part of the target, dot products are chosen at run time with `std`,
//! otherwise at compile time.
#![allow(unsafe_code)]

pub(crate) mod dotprod;
pub(crate) mod neon;

use core::arch::aarch64::*;

/// Values in a vector.
const LANES: usize = 16;

/// The last `len % 16` values, then zeros.
fn tail(vector: &[i8], len: usize) -> [i8; LANES] {
    let mut padded = [0; LANES];
    let rest = vector.get(len - len % LANES..len).unwrap_or_default();
    for (slot, &value) in padded.iter_mut().zip(rest) {
        *slot = value;
    }
    padded
}

#[target_feature(enable = "neon")]
fn load(vector: &[i8; LANES]) -> int8x16_t {
    // SAFETY: 16 bytes are readable; the load asks for no alignment.
    unsafe { vld1q_s8(vector.as_ptr()) }
}

/// The sums of four vectors.
#[target_feature(enable = "neon")]
fn sums(vectors: [int32x4_t; 4]) -> [i32; 4] {
    let [a, b, c, d] = vectors;
    let all = vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d));
    let mut out = [0; 4];
    // SAFETY: `out` has room for four values.
    unsafe { vst1q_s32(out.as_mut_ptr(), all) };
    out
}
