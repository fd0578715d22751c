//! What the machine can do at most: the search's own instruction on registers alone.

/// Products of one round of [`run`].
const ROUND: u64 = 16 * 64;

/// Rounds that make `macs` products, `None` where the machine lacks the instruction.
pub fn rounds(macs: u64) -> Option<u64> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512vnni")
    {
        return Some(macs.div_ceil(ROUND));
    }
    let _ = macs;
    None
}

/// 16 independent VPDPBUSD a round.
pub fn run(rounds: u64) -> i32 {
    #[cfg(target_arch = "x86_64")]
    if self::rounds(0).is_some() {
        // SAFETY: the CPU has AVX-512 F and VNNI.
        return unsafe { vnni(rounds) };
    }
    let _ = rounds;
    0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn vnni(rounds: u64) -> i32 {
    use std::arch::x86_64::*;
    use std::hint::black_box;
    let a = black_box(_mm512_set1_epi8(3));
    let b = black_box(_mm512_set1_epi8(-5));
    let mut sums = black_box([_mm512_setzero_si512(); 16]);
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_dpbusd_epi32(*sum, a, b);
        }
    }
    let total = sums
        .into_iter()
        .fold(_mm512_setzero_si512(), |t, s| _mm512_add_epi32(t, s));
    _mm512_reduce_add_epi32(total)
}
