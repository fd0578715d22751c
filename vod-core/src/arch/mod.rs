//! Search kernels, one module a target behind one safe function. All give the same bits.

#[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
mod aarch64;
#[cfg(any(vod_dsp, vod_helium))]
mod arm;
mod scalar;
#[allow(dead_code)] // not every target has a kernel in tiles
mod tile;
#[cfg(all(target_arch = "x86_64", feature = "std"))]
mod x86_64;

#[cfg(all(vod_dsp, feature = "conv"))]
pub(crate) use arm::dsp;
#[cfg(vod_dsp)]
pub(crate) use arm::dsp::squared_distance;
#[cfg(all(vod_helium, feature = "conv"))]
pub(crate) use arm::helium;

use core::ops::Range;

use crate::bank::Bank;
#[cfg(feature = "std")]
use crate::bank::ValueKind;
use crate::residual::Nearest;

/// Queries that a kernel takes against one pass over the rows. More of them pay better for what a
/// kernel does once a pass; a microcontroller's stack has room for few.
pub(crate) const QUERY_BLOCK: usize = if cfg!(feature = "std") { 128 } else { 8 };

/// Implementation of the nearest-row search.
///
/// A value exists only where its instructions do: [`Kernel::available`] lists what this machine
/// runs. On bare metal the target decides: the DSP kernel on Armv7E-M, the Helium one on Armv8.1-M
/// with `-C target-cpu=cortex-m55`, NEON on aarch64 (dot products if the target has them), otherwise
/// the scalar one. With the `std` feature the CPU is asked at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Isa);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Isa {
    Scalar,
    #[cfg(vod_dsp)]
    Dsp(arm::dsp::Token),
    #[cfg(vod_helium)]
    Helium(arm::helium::Token),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Neon(aarch64::neon::Token),
    #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
    Dotprod(aarch64::dotprod::Token),
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Avx2(x86_64::avx2::Token),
    #[cfg(all(target_arch = "x86_64", feature = "std"))]
    Avx512Vnni(x86_64::avx512vnni::Token),
}

impl Kernel {
    /// The portable kernel that defines the result.
    pub const SCALAR: Self = Self(Isa::Scalar);

    /// Every kernel that this machine runs, the slowest first.
    pub fn available() -> impl Iterator<Item = Self> {
        let scalar = core::iter::once(Self::SCALAR);
        #[cfg(all(target_arch = "x86_64", feature = "std"))]
        let scalar = scalar
            .chain(x86_64::avx2::Token::detect().map(|t| Self(Isa::Avx2(t))))
            .chain(x86_64::avx512vnni::Token::detect().map(|t| Self(Isa::Avx512Vnni(t))));
        #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
        let scalar = scalar
            .chain(aarch64::neon::Token::detect().map(|t| Self(Isa::Neon(t))))
            .chain(aarch64::dotprod::Token::detect().map(|t| Self(Isa::Dotprod(t))));
        #[cfg(vod_dsp)]
        let scalar = scalar.chain(arm::dsp::Token::detect().map(|t| Self(Isa::Dsp(t))));
        #[cfg(vod_helium)]
        let scalar = scalar.chain(arm::helium::Token::detect().map(|t| Self(Isa::Helium(t))));
        scalar
    }

    /// The fastest kernel that this machine runs.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::SCALAR)
    }

    /// Whether stopping early beats its own brute force.
    pub(crate) const fn gains_by_pruning(self) -> bool {
        match self.0 {
            Isa::Scalar => cfg!(not(feature = "std")),
            #[cfg(vod_dsp)]
            Isa::Dsp(_) => true,
            #[allow(unreachable_patterns)] // not every target has another
            _ => false,
        }
    }

    /// Name of its instructions.
    pub fn name(self) -> &'static str {
        match self.0 {
            Isa::Scalar => "scalar",
            #[cfg(vod_dsp)]
            Isa::Dsp(_) => "dsp",
            #[cfg(vod_helium)]
            Isa::Helium(_) => "helium",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(_) => "neon",
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Dotprod(_) => "dotprod",
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx2(_) => "avx2",
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx512Vnni(_) => "avx512vnni",
        }
    }

    /// Improves `best[i]` by the bank rows `range` for query `i`; `queries` is
    /// `[n, dimension]`, `n <= best.len()`. Of rows at one distance the lowest wins, also against
    /// what `best` held before (ranges are searched in ascending order).
    pub(crate) fn nearest(
        self,
        bank: &Bank,
        range: Range<usize>,
        queries: &[i8],
        best: &mut [Nearest],
    ) {
        let dimension = bank.dimension();
        let rows = bank
            .rows()
            .get(range.start * dimension..range.end * dimension)
            .unwrap_or_default();
        let norms = bank
            .parts()
            .norms
            .as_chunks::<4>()
            .0
            .get(range.clone())
            .unwrap_or_default();
        let search = Search {
            dimension,
            first_row: range.start as u32,
            rows,
            norms,
        };
        match self.0 {
            Isa::Scalar => scalar::nearest(&search, queries, best),
            #[cfg(vod_dsp)]
            Isa::Dsp(token) => token.nearest(&search, queries, best),
            #[cfg(vod_helium)]
            Isa::Helium(token) => token.nearest(&search, queries, best),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Neon(token) => token.nearest(&search, queries, best),
            #[cfg(all(target_arch = "aarch64", target_feature = "neon"))]
            Isa::Dotprod(token) => token.nearest(&search, queries, best),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx2(token) => token.nearest(&search, queries, best),
            #[cfg(all(target_arch = "x86_64", feature = "std"))]
            Isa::Avx512Vnni(token) => token.nearest(&search, queries, best),
        }
    }

    /// The weighted sum over the sorted values of `query - row`, `sums[k]` being the sum of the first
    /// `k` weights; `None` where the kernel has nothing faster than a histogram.
    #[cfg(feature = "std")]
    pub(crate) fn weighted_values(
        self,
        query: &[i8],
        row: &[i8],
        kind: ValueKind,
        sums: &[i32],
    ) -> Option<i64> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Vnni(token) => token.weighted_values(query, row, kind, sums),
            _ => {
                let _ = (query, row, kind, sums);
                None
            }
        }
    }
}

/// Rows to search, with their squared norms (u32, little-endian).
pub(crate) struct Search<'a> {
    pub dimension: usize,
    /// Number in the bank of `rows`' first row.
    pub first_row: u32,
    /// `[norms.len(), dimension]`.
    pub rows: &'a [i8],
    pub norms: &'a [[u8; 4]],
}

impl Search<'_> {
    /// Row number, squared norm and values of each row.
    fn iter(&self) -> impl Iterator<Item = (u32, u32, &[i8])> {
        let norms = self.norms.iter().map(|b| u32::from_le_bytes(*b));
        (self.first_row..)
            .zip(norms)
            .zip(self.rows.chunks_exact(self.dimension.max(1)))
            .map(|((number, norm), row)| (number, norm, row))
    }
}

/// Squared length of a vector.
fn squared_norm(query: &[i8]) -> u32 {
    query
        .iter()
        .map(|&x| i32::from(x).unsigned_abs().pow(2))
        .sum()
}

/// `|q|^2 + |b|^2 - 2 q.b`, with u32 wrap-around on the way; the result fits.
fn distance2(query_norm: u32, row_norm: u32, dot: i32) -> u32 {
    query_norm
        .wrapping_add(row_norm)
        .wrapping_sub((dot as u32).wrapping_mul(2))
}

/// Keeps the nearer of `best` and a later row.
fn keep(best: &mut Nearest, row: u32, distance2: u32) {
    if distance2 < best.distance2 {
        *best = Nearest { row, distance2 };
    }
}
