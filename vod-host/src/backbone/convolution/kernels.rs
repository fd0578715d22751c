//! f32 convolutions on channels-last maps, `[height, width, channels]`.
//!
//! Every output is its bias, then one fused multiply-add a tap in a fixed order: the same bits
//! whatever the register width and the number of threads.

// SIMD registers are loaded and stored by pointer.
#![allow(unsafe_code)]
// One counter runs over registers, weights and pixels at once.
#![allow(clippy::needless_range_loop)]

use rayon::prelude::*;

/// Output channels whose weights lie side by side, see [`pack_dense`].
pub(super) const PANEL: usize = 16;
/// Multiply-adds from which a lone convolution is worth splitting over threads.
const SPLIT_WORK: usize = 1 << 21;

/// Where the taps of a convolution fall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Geometry {
    /// Height and width of the input map.
    pub input: [usize; 2],
    /// Height and width of the output map.
    pub output: [usize; 2],
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Input cells from one output to the next, down and across.
    pub stride: [usize; 2],
    /// Zero rows above and zero columns left of the input.
    pub pad: [usize; 2],
    /// Channels of the input.
    pub channels_in: usize,
    /// Channels of the output.
    pub channels_out: usize,
}

impl Geometry {
    /// Values that one output of a dense convolution is made from.
    pub(super) fn depth(&self) -> usize {
        self.kernel[0] * self.kernel[1] * self.channels_in
    }

    fn output_len(&self) -> usize {
        self.output[0] * self.output[1] * self.channels_out
    }

    /// Whether the input of output `n` is just its own cell, in the same order.
    fn is_pointwise(&self) -> bool {
        self.kernel == [1, 1] && self.stride == [1, 1] && self.input == self.output
    }
}

/// A kernel, in the order that the functions below want it in.
#[derive(Clone, Copy)]
pub(super) struct Weights<'a> {
    /// [`pack_dense`] or `[height, width, channels]` for depthwise convolutions.
    pub kernel: &'a [f32],
    /// One an output channel, filled up to whole panels for dense convolutions.
    pub bias: &'a [f32],
    /// Least and greatest output.
    pub clamp: [f32; 2],
}

/// One SIMD register of f32.
///
/// # Safety
/// All functions need the CPU to have the register's instructions; `load` and `store` need `LANES`
/// values behind the pointer.
trait Register: Copy {
    const LANES: usize;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn splat(value: f32) -> Self;
    /// `self * by + to`, rounded once.
    unsafe fn mul_add(self, by: Self, to: Self) -> Self;
    unsafe fn clamp(self, low: Self, high: Self) -> Self;
    unsafe fn store(self, to: *mut f32);
}

macro_rules! register {
    ($type:ty, $lanes:literal, $load:path, $splat:path, $store:path,
     |$a:ident, $b:ident, $c:ident| $mul_add:expr, |$v:ident, $low:ident, $high:ident| $clamp:expr) => {
        impl Register for $type {
            const LANES: usize = $lanes;
            #[inline(always)]
            unsafe fn load(from: *const f32) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $load(from) }
            }
            #[inline(always)]
            unsafe fn splat(value: f32) -> Self {
                // SAFETY: the caller's promise.
                unsafe { $splat(value) }
            }
            #[inline(always)]
            unsafe fn mul_add(self, $b: Self, $c: Self) -> Self {
                let $a = self;
                // SAFETY: the caller's promise.
                unsafe { $mul_add }
            }
            #[inline(always)]
            unsafe fn clamp(self, $low: Self, $high: Self) -> Self {
                let $v = self;
                // SAFETY: the caller's promise.
                unsafe { $clamp }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut f32) {
                // SAFETY: the caller's promise.
                unsafe { $store(to, self) }
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::*;

    register!(
        __m512,
        16,
        _mm512_loadu_ps,
        _mm512_set1_ps,
        _mm512_storeu_ps,
        |a, b, c| _mm512_fmadd_ps(a, b, c),
        |v, low, high| _mm512_min_ps(_mm512_max_ps(v, low), high)
    );
    register!(
        __m256,
        8,
        _mm256_loadu_ps,
        _mm256_set1_ps,
        _mm256_storeu_ps,
        |a, b, c| _mm256_fmadd_ps(a, b, c),
        |v, low, high| _mm256_min_ps(_mm256_max_ps(v, low), high)
    );

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn dense_avx512(rows: &Rows, panels: Panels) {
        // SAFETY: the caller's promise.
        unsafe { dense_rows::<__m512, 8, 1, 2>(rows, panels) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn dense_fma(rows: &Rows, panels: Panels) {
        // SAFETY: the caller's promise.
        unsafe { dense_rows::<__m256, 6, 2, 2>(rows, panels) }
    }

    #[target_feature(enable = "avx512f")]
    pub(super) unsafe fn depthwise_avx512(row: &DepthwiseRow) {
        // SAFETY: the caller's promise.
        unsafe { depthwise_row::<__m512>(row) }
    }

    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn depthwise_fma(row: &DepthwiseRow) {
        // SAFETY: the caller's promise.
        unsafe { depthwise_row::<__m256>(row) }
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use super::*;

    register!(
        float32x4_t,
        4,
        vld1q_f32,
        vdupq_n_f32,
        vst1q_f32,
        |a, b, c| vfmaq_f32(c, a, b),
        |v, low, high| vminq_f32(vmaxq_f32(v, low), high)
    );

    pub(super) unsafe fn dense_neon(rows: &Rows, panels: Panels) {
        // SAFETY: the caller's promise.
        unsafe { dense_rows::<float32x4_t, 6, 4, 4>(rows, panels) }
    }

    pub(super) unsafe fn depthwise_neon(row: &DepthwiseRow) {
        // SAFETY: the caller's promise.
        unsafe { depthwise_row::<float32x4_t>(row) }
    }
}

/// The kernels for this CPU.
#[derive(Clone, Copy)]
pub(super) struct Kernels {
    dense: unsafe fn(&Rows, Panels),
    depthwise: unsafe fn(&DepthwiseRow),
    /// Least channels of a depthwise convolution.
    pub(super) lanes: usize,
}

impl Kernels {
    /// The widest ones; `None` where the CPU has no fused multiply-add.
    pub(super) fn detect() -> Option<Self> {
        Self::available().next()
    }

    /// All that the CPU has, the widest first.
    fn available() -> impl Iterator<Item = Self> {
        #[cfg(target_arch = "x86_64")]
        let found = [
            is_x86_feature_detected!("avx512f").then_some(Self {
                dense: x86::dense_avx512,
                depthwise: x86::depthwise_avx512,
                lanes: 16,
            }),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self {
                dense: x86::dense_fma,
                depthwise: x86::depthwise_fma,
                lanes: 8,
            }),
        ];
        #[cfg(target_arch = "aarch64")]
        let found = [Some(Self {
            dense: arm::dense_neon,
            depthwise: arm::depthwise_neon,
            lanes: 4,
        })];
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let found = [None];
        found.into_iter().flatten()
    }

    /// Convolution of all input channels into each output channel.
    ///
    /// Writes all of `output`.
    pub(super) fn dense(self, g: &Geometry, input: &[f32], weights: Weights, output: &mut [f32]) {
        let depth = g.depth();
        assert_eq!(input.len(), g.input[0] * g.input[1] * g.channels_in);
        assert_eq!(output.len(), g.output_len());
        let panels = g.channels_out.div_ceil(PANEL);
        assert_eq!(weights.kernel.len(), panels * depth * PANEL);
        assert_eq!(weights.bias.len(), panels * PANEL);
        let panels = Panels {
            weights,
            depth,
            columns: g.channels_out,
        };
        // SAFETY: `detect` chose kernels that the CPU has; the lengths were checked.
        let run = |rows: &Rows| unsafe { (self.dense)(rows, panels) };
        let work = output.len() * depth;
        let cells = g.output[0] * g.output[1];
        split(work, cells, g.channels_out, output, |first, output| {
            let count = output.len() / g.channels_out;
            if g.is_pointwise() {
                let input = &input[first * depth..(first + count) * depth];
                run(&Rows {
                    input,
                    count,
                    output: output.as_mut_ptr(),
                });
                return;
            }
            let mut patches = vec![0.0; GATHERED * depth];
            for start in (0..count).step_by(GATHERED) {
                let count = GATHERED.min(count - start);
                for (n, patch) in patches.chunks_exact_mut(depth).take(count).enumerate() {
                    gather(g, input, first + start + n, patch);
                }
                let output = &mut output[start * g.channels_out..][..count * g.channels_out];
                run(&Rows {
                    input: &patches[..count * depth],
                    count,
                    output: output.as_mut_ptr(),
                });
            }
        });
    }

    /// Product of `[rows, depth]` and `[depth, columns]`.
    ///
    /// Writes all of `output`, `[rows, columns]`.
    pub(super) fn product(self, left: &[f32], right: &[f32], depth: usize, output: &mut [f32]) {
        let columns = right.len() / depth;
        let rows = left.len() / depth;
        let geometry = Geometry {
            input: [1, rows],
            output: [1, rows],
            kernel: [1, 1],
            stride: [1, 1],
            pad: [0, 0],
            channels_in: depth,
            channels_out: columns,
        };
        let weights = Weights {
            kernel: &pack_columns(right, depth),
            bias: &vec![0.0; columns.next_multiple_of(PANEL)],
            clamp: [f32::NEG_INFINITY, f32::INFINITY],
        };
        self.dense(&geometry, left, weights, output);
    }

    /// Convolution of each channel by itself; at least [`Self::lanes`] channels.
    ///
    /// Writes all of `output`.
    pub(super) fn depthwise(
        self,
        g: &Geometry,
        input: &[f32],
        weights: Weights,
        output: &mut [f32],
    ) {
        let channels = g.channels_out;
        assert!(channels == g.channels_in && channels >= self.lanes);
        assert_eq!(input.len(), g.input[0] * g.input[1] * channels);
        assert_eq!(output.len(), g.output_len());
        assert_eq!(weights.kernel.len(), g.kernel[0] * g.kernel[1] * channels);
        assert_eq!(weights.bias.len(), channels);
        // Stands in for the rows above and below the input.
        let zeros = vec![0.0; g.input[1] * channels];
        let row_len = g.output[1] * channels;
        let work = output.len() * g.kernel[0] * g.kernel[1];
        split(work, g.output[0], row_len, output, |first, output| {
            let mut rows = Vec::with_capacity(g.kernel[0]);
            for (n, output) in output.chunks_exact_mut(row_len).enumerate() {
                rows.clear();
                rows.extend((0..g.kernel[0]).map(|ky| {
                    let y = ((first + n) * g.stride[0] + ky).wrapping_sub(g.pad[0]);
                    if y < g.input[0] {
                        &input[y * zeros.len()..][..zeros.len()]
                    } else {
                        zeros.as_slice()
                    }
                }));
                let row = DepthwiseRow {
                    geometry: g,
                    rows: &rows,
                    weights,
                    output: output.as_mut_ptr(),
                };
                // SAFETY: `detect` chose kernels that the CPU has; the lengths were checked.
                unsafe { (self.depthwise)(&row) };
            }
        });
    }
}

/// Hands `output`, `items` of `item_len` values, to `run` with the number of its first item: in
/// pieces on all threads where that pays. Within a rayon task it stays whole, there the
/// parallelism is over images.
fn split(
    work: usize,
    items: usize,
    item_len: usize,
    output: &mut [f32],
    run: impl Fn(usize, &mut [f32]) + Sync,
) {
    let threads = rayon::current_num_threads();
    if threads == 1 || work < SPLIT_WORK || rayon::current_thread_index().is_some() {
        return run(0, output);
    }
    let pieces = threads * 4;
    let size = items.div_ceil(pieces).max(1);
    output
        .par_chunks_mut(size * item_len)
        .enumerate()
        .for_each(|(n, part)| run(n * size, part));
}

/// Outputs whose inputs are gathered together, where these are not single cells.
const GATHERED: usize = 24;

/// Values under the kernel at output `cell`, `[height, width, channels]`, 0 outside the input.
fn gather(g: &Geometry, input: &[f32], cell: usize, patch: &mut [f32]) {
    let (y, x) = (cell / g.output[1], cell % g.output[1]);
    let [height, width] = g.input;
    let taps = patch.chunks_exact_mut(g.channels_in);
    for (n, tap) in taps.enumerate() {
        let (ky, kx) = (n / g.kernel[1], n % g.kernel[1]);
        let sy = (y * g.stride[0] + ky).wrapping_sub(g.pad[0]);
        let sx = (x * g.stride[1] + kx).wrapping_sub(g.pad[1]);
        if sy < height && sx < width {
            tap.copy_from_slice(&input[(sy * width + sx) * g.channels_in..][..g.channels_in]);
        } else {
            tap.fill(0.0);
        }
    }
}

/// Packs a kernel `[channels_out][depth]` into panels of [`PANEL`] outputs, `[panel][depth][PANEL]`,
/// the last filled up with zeros.
pub(super) fn pack_dense(kernel: &[f32], depth: usize) -> Vec<f32> {
    let channels = kernel.len() / depth;
    let mut packed = vec![0.0; channels.div_ceil(PANEL) * depth * PANEL];
    for (channel, row) in kernel.chunks_exact(depth).enumerate() {
        let start = channel / PANEL * depth * PANEL + channel % PANEL;
        for (k, value) in row.iter().enumerate() {
            packed[start + k * PANEL] = *value;
        }
    }
    packed
}

/// Packs a matrix `[depth, columns]` as [`pack_dense`] packs its transpose.
pub(super) fn pack_columns(matrix: &[f32], depth: usize) -> Vec<f32> {
    let columns = matrix.len() / depth;
    let mut packed = vec![0.0; columns.div_ceil(PANEL) * depth * PANEL];
    for (number, panel) in packed.chunks_exact_mut(depth * PANEL).enumerate() {
        let column = number * PANEL;
        let width = PANEL.min(columns - column);
        for (row, to) in matrix
            .chunks_exact(columns)
            .zip(panel.chunks_exact_mut(PANEL))
        {
            to[..width].copy_from_slice(&row[column..column + width]);
        }
    }
    packed
}

/// Rows of a matrix, `[count, depth]`, and where their products go, `[count, columns]`.
struct Rows<'a> {
    input: &'a [f32],
    count: usize,
    output: *mut f32,
}

/// The matrix that rows are multiplied with.
#[derive(Clone, Copy)]
struct Panels<'a> {
    weights: Weights<'a>,
    depth: usize,
    columns: usize,
}

/// `R` rows at a time, `P` registers a panel, `W` registers (one or more panels) at a time.
///
/// # Safety
/// The CPU has `V`; `input` holds `count` rows, `output` has place for them; the panels are whole.
#[inline(always)]
unsafe fn dense_rows<V: Register, const R: usize, const P: usize, const W: usize>(
    rows: &Rows,
    panels: Panels,
) {
    let count = panels.columns.div_ceil(PANEL);
    for start in (0..rows.count).step_by(R) {
        let mut panel = 0;
        while panel < count {
            // SAFETY: rows and panels are within bounds, the caller's promise.
            unsafe {
                if panel + W / P <= count {
                    tile::<V, R, P, W>(rows, panels, start, panel);
                    panel += W / P;
                } else {
                    tile::<V, R, P, P>(rows, panels, start, panel);
                    panel += 1;
                }
            }
        }
    }
}

/// Rows `start..start + R` times the panels from `panel`.
///
/// # Safety
/// As [`dense_rows`]; `start` is a row, all `N / P` panels exist.
#[inline(always)]
unsafe fn tile<V: Register, const R: usize, const P: usize, const N: usize>(
    rows: &Rows,
    panels: Panels,
    start: usize,
    panel: usize,
) {
    let depth = panels.depth;
    let column = panel * PANEL;
    // SAFETY: rows past the last are the last once more, with the same results.
    unsafe {
        let number: [usize; R] = std::array::from_fn(|r| (start + r).min(rows.count - 1));
        let from: [*const f32; R] = number.map(|n| rows.input.as_ptr().add(n * depth));
        let bias: [V; N] = std::array::from_fn(|n| {
            V::load(panels.weights.bias.as_ptr().add(column + n * V::LANES))
        });
        let weights = panels.weights.kernel.as_ptr().add(panel * depth * PANEL);
        let mut sums = [bias; R];
        for k in 0..depth {
            let taps: [V; N] = std::array::from_fn(|n| {
                V::load(weights.add((n / P * depth + k) * PANEL + n % P * V::LANES))
            });
            for r in 0..R {
                let value = V::splat(*from[r].add(k));
                for n in 0..N {
                    sums[r][n] = value.mul_add(taps[n], sums[r][n]);
                }
            }
        }
        let [low, high] = panels.weights.clamp.map(|v| V::splat(v));
        let whole = column + N * V::LANES <= panels.columns;
        for r in 0..R {
            let output = rows.output.add(number[r] * panels.columns + column);
            if whole {
                for n in 0..N {
                    sums[r][n].clamp(low, high).store(output.add(n * V::LANES));
                }
            } else {
                let mut filled = [0.0f32; 4 * PANEL];
                for n in 0..N {
                    let sum = sums[r][n].clamp(low, high);
                    sum.store(filled.as_mut_ptr().add(n * V::LANES));
                }
                let rest = panels.columns - column;
                std::ptr::copy_nonoverlapping(filled.as_ptr(), output, rest);
            }
        }
    }
}

/// One output row of a depthwise convolution.
struct DepthwiseRow<'a> {
    geometry: &'a Geometry,
    /// The input row under each row of the kernel.
    rows: &'a [&'a [f32]],
    weights: Weights<'a>,
    output: *mut f32,
}

/// # Safety
/// The CPU has `V`; the slices are as long as the geometry says, `output` has place for a row, and
/// there are at least `V::LANES` channels.
#[inline(always)]
unsafe fn depthwise_row<V: Register>(row: &DepthwiseRow) {
    // SAFETY: the caller's promise.
    unsafe {
        match row.geometry.kernel {
            [3, 3] => depthwise_square::<V, 3>(row),
            [5, 5] => depthwise_square::<V, 5>(row),
            _ => depthwise_columns::<V>(row, 0, row.geometry.output[1]),
        }
    }
}

/// The columns whose taps are all inside the input, with the kernel held in registers.
///
/// # Safety
/// As [`depthwise_row`], the kernel is `K x K`.
#[inline(always)]
unsafe fn depthwise_square<V: Register, const K: usize>(row: &DepthwiseRow) {
    let g = row.geometry;
    let channels = g.channels_out;
    let stride = g.stride[1];
    let first = g.pad[1].div_ceil(stride).min(g.output[1]);
    let end = (g.input[1] + g.pad[1])
        .checked_sub(K)
        .map_or(0, |last| last / stride + 1)
        .clamp(first, g.output[1]);
    // SAFETY: `first..end` are columns whose taps are inside the rows.
    unsafe {
        depthwise_columns::<V>(row, 0, first);
        depthwise_columns::<V>(row, end, g.output[1]);
        let [low, high] = row.weights.clamp.map(|v| V::splat(v));
        for channel in blocks(channels, V::LANES) {
            let bias = V::load(row.weights.bias.as_ptr().add(channel));
            let kernel = row.weights.kernel.as_ptr().add(channel);
            let taps: [[V; K]; K] = std::array::from_fn(|ky| {
                std::array::from_fn(|kx| V::load(kernel.add((ky * K + kx) * channels)))
            });
            let from: [*const f32; K] =
                std::array::from_fn(|ky| row.rows.get_unchecked(ky).as_ptr().add(channel));
            for x in first..end {
                let offset = (x * stride - g.pad[1]) * channels;
                let mut sum = bias;
                for ky in 0..K {
                    for kx in 0..K {
                        let value = V::load(from[ky].add(offset + kx * channels));
                        sum = value.mul_add(taps[ky][kx], sum);
                    }
                }
                let output = row.output.add(x * channels + channel);
                sum.clamp(low, high).store(output);
            }
        }
    }
}

/// Columns `first..end`, any kernel, taps left and right of the input left out.
///
/// # Safety
/// As [`depthwise_row`].
#[inline(always)]
unsafe fn depthwise_columns<V: Register>(row: &DepthwiseRow, first: usize, end: usize) {
    let g = row.geometry;
    let channels = g.channels_out;
    for x in first..end {
        let start = x * g.stride[1];
        let kx_first = g.pad[1].saturating_sub(start).min(g.kernel[1]);
        let kx_end = (g.input[1] + g.pad[1])
            .saturating_sub(start)
            .min(g.kernel[1]);
        for channel in blocks(channels, V::LANES) {
            // SAFETY: the taps from `kx_first` to `kx_end` are inside the rows.
            unsafe {
                let mut sum = V::load(row.weights.bias.as_ptr().add(channel));
                for (ky, from) in row.rows.iter().enumerate() {
                    for kx in kx_first..kx_end {
                        let place = (start + kx - g.pad[1]) * channels + channel;
                        let tap = (ky * g.kernel[1] + kx) * channels + channel;
                        let value = V::load(from.as_ptr().add(place));
                        sum = value.mul_add(V::load(row.weights.kernel.as_ptr().add(tap)), sum);
                    }
                }
                let [low, high] = row.weights.clamp.map(|v| V::splat(v));
                let output = row.output.add(x * channels + channel);
                sum.clamp(low, high).store(output);
            }
        }
    }
}

/// Starts of blocks of `lanes` channels; the last ends with the last channel and may overlap.
#[inline(always)]
fn blocks(channels: usize, lanes: usize) -> impl Iterator<Item = usize> {
    (0..channels)
        .step_by(lanes)
        .map(move |start| start.min(channels - lanes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::SplitMix64;

    /// Values between -2 and 2 of many magnitudes, so that another order of additions shows.
    fn values(random: &mut SplitMix64, count: usize) -> Vec<f32> {
        let value =
            |bits: u64| (bits as i32 as f32 / 2f32.powi(30)) * 2f32.powi(-((bits >> 60) as i32));
        (0..count).map(|_| value(random.next_u64())).collect()
    }

    /// The definition: bias, then one fused multiply-add a tap, taps outside the input left out.
    /// `weight(tap, channel_in, channel_out)`.
    fn plain(
        g: &Geometry,
        input: &[f32],
        bias: &[f32],
        clamp: [f32; 2],
        depthwise: bool,
        weight: impl Fn(usize, usize, usize) -> f32,
    ) -> Vec<f32> {
        let mut output = Vec::new();
        for cell in 0..g.output[0] * g.output[1] {
            let (y, x) = (cell / g.output[1], cell % g.output[1]);
            for to in 0..g.channels_out {
                let mut sum = bias[to];
                for tap in 0..g.kernel[0] * g.kernel[1] {
                    let sy = (y * g.stride[0] + tap / g.kernel[1]).wrapping_sub(g.pad[0]);
                    let sx = (x * g.stride[1] + tap % g.kernel[1]).wrapping_sub(g.pad[1]);
                    if sy >= g.input[0] || sx >= g.input[1] {
                        continue;
                    }
                    let from = &input[(sy * g.input[1] + sx) * g.channels_in..][..g.channels_in];
                    let channels = if depthwise {
                        to..to + 1
                    } else {
                        0..g.channels_in
                    };
                    for channel in channels {
                        sum = from[channel].mul_add(weight(tap, channel, to), sum);
                    }
                }
                output.push(sum.max(clamp[0]).min(clamp[1]));
            }
        }
        output
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|v| v.to_bits()).collect()
    }

    /// Sizes whose rows, columns and channels leave rests in every width.
    fn geometries() -> Vec<Geometry> {
        let mut all = Vec::new();
        for (kernel, stride, pad) in [(1, 1, 0), (3, 1, 1), (3, 2, 0), (5, 2, 2), (2, 1, 1)] {
            for (input, channels_in, channels_out) in [
                ([1, 1], 1, 1),
                ([5, 7], 3, 16),
                ([6, 5], 17, 33),
                ([9, 13], 24, 40),
                ([4, 31], 32, 71),
            ] {
                let output = input.map(|side: usize| {
                    (side + 2 * pad)
                        .checked_sub(kernel)
                        .map_or(0, |free| free / stride + 1)
                });
                if output.contains(&0) {
                    continue;
                }
                all.push(Geometry {
                    input,
                    output,
                    kernel: [kernel; 2],
                    stride: [stride; 2],
                    pad: [pad; 2],
                    channels_in,
                    channels_out,
                });
            }
        }
        all
    }

    #[test]
    fn every_width_gives_the_bits_of_the_definition() {
        let mut random = SplitMix64::new(3);
        let mut compared = 0;
        for g in geometries() {
            let input = values(&mut random, g.input[0] * g.input[1] * g.channels_in);
            let clamp = [-1.5, 6.0];
            let kernel = values(&mut random, g.channels_out * g.depth());
            let mut bias = values(&mut random, g.channels_out);
            bias.resize(g.channels_out.next_multiple_of(PANEL), 0.0);
            let weight = |tap, from, to| kernel[to * g.depth() + tap * g.channels_in + from];
            let expected = bits(&plain(&g, &input, &bias, clamp, false, weight));
            let packed = pack_dense(&kernel, g.depth());
            for kernels in Kernels::available() {
                let mut output = vec![f32::NAN; expected.len()];
                let weights = Weights {
                    kernel: &packed,
                    bias: &bias,
                    clamp,
                };
                kernels.dense(&g, &input, weights, &mut output);
                assert_eq!(
                    bits(&output),
                    expected,
                    "dense, {} lanes, {g:?}",
                    kernels.lanes
                );
                compared += 1;
            }

            let g = Geometry {
                channels_out: g.channels_in,
                ..g
            };
            let kernel = values(&mut random, g.kernel[0] * g.kernel[1] * g.channels_out);
            let bias = values(&mut random, g.channels_out);
            let weight = |tap, _, to| kernel[tap * g.channels_out + to];
            let expected = bits(&plain(&g, &input, &bias, clamp, true, weight));
            for kernels in Kernels::available().filter(|k| g.channels_out >= k.lanes) {
                let mut output = vec![f32::NAN; expected.len()];
                let weights = Weights {
                    kernel: &kernel,
                    bias: &bias,
                    clamp,
                };
                kernels.depthwise(&g, &input, weights, &mut output);
                assert_eq!(
                    bits(&output),
                    expected,
                    "depthwise, {} lanes, {g:?}",
                    kernels.lanes
                );
                compared += 1;
            }
        }
        // A CPU without fused multiply-add has none of them and uses the runtime's own.
        assert!(compared > 0 || Kernels::detect().is_none());
    }

    #[test]
    fn every_width_gives_the_same_product() {
        let mut random = SplitMix64::new(4);
        for (rows, depth, columns) in [(1, 1, 1), (7, 64, 33), (50, 31, 64), (13, 384, 100)] {
            let left = values(&mut random, rows * depth);
            let right = values(&mut random, depth * columns);
            let mut expected = Vec::new();
            for row in left.chunks_exact(depth) {
                for column in 0..columns {
                    let terms = row.iter().zip(right[column..].iter().step_by(columns));
                    expected.push(terms.fold(0.0f32, |sum, (a, b)| a.mul_add(*b, sum)));
                }
            }
            for kernels in Kernels::available() {
                let mut output = vec![f32::NAN; rows * columns];
                kernels.product(&left, &right, depth, &mut output);
                assert_eq!(bits(&output), bits(&expected), "{} lanes", kernels.lanes);
            }
        }
    }
}
