//! One layer: its encoding, its checks, and how sums become outputs.

use serde::{Deserialize, Serialize};

use super::{MAX_CHANNELS, MAX_PATCH, SKIP_BITS};

/// What a layer does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Every output channel sees every input channel of `kernel x kernel` values.
    Convolution,
    /// Every output channel sees its own input channel of `kernel x kernel` values.
    Depthwise,
    /// Every output channel sees every input channel of one value.
    Pointwise,
}

/// A value that goes around layers and is added to a layer's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skip {
    /// It is the input of the layer that lies this many before.
    pub layers: u8,
    /// Its multiplier.
    pub multiplier: i32,
}

/// A layer as it is encoded (postcard). Numbers in byte slices are little-endian and need no
/// alignment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerParts<'a> {
    /// What it does.
    pub operation: Operation,
    /// Values along one side of the kernel; 1 for [`Operation::Pointwise`].
    pub kernel: u8,
    /// Inputs from one output to the next, 1 or 2.
    pub stride: u8,
    /// Inputs that the first output's kernel lies before the edge; `kernel - stride - pad` lie
    /// behind the other. With [`REPLICATE`] added, what lies there is the outermost input; otherwise
    /// it is the input's zero point.
    pub pad: u8,
    /// Input channels.
    pub inputs: u16,
    /// Output channels.
    pub outputs: u16,
    /// Output that stands for 0.
    pub output_zero: i8,
    /// Right shift with rounding, 1 to 20.
    pub shift: u8,
    /// What is added to the outputs, for [`Operation::Pointwise`].
    pub skip: Option<Skip>,
    /// int8 weights: `[outputs, inputs]` (pointwise), `[kernel, kernel, outputs]` (depthwise),
    /// `[outputs, kernel * kernel * inputs]` with each output's padded by zeros to a multiple of 4
    /// (convolution; row, column, input channel).
    #[serde(borrow)]
    pub weights: &'a [u8],
    /// `[outputs]` i32.
    pub multipliers: &'a [u8],
    /// `[outputs]` i32, from which the products of the input's zero point are subtracted.
    pub biases: &'a [u8],
}

/// Added to [`LayerParts::pad`] of a layer that sees its outermost inputs again beyond the edges: zeros
/// there look like a defect to what compares patches at the edge with others.
pub const REPLICATE: u8 = 1 << 7;
/// Largest bias: sums stay within i32.
const MAX_BIAS: u32 = 1 << 30;
/// Largest shift.
const MAX_SHIFT: u8 = 20;

impl<'a> LayerParts<'a> {
    /// Whether the layer holds together and takes `inputs` channels after the layers `before`; the
    /// name of the first field that does not hold.
    pub(super) fn check(&self, inputs: usize, before: &[Self]) -> Result<(), &'static str> {
        let channels = |n: u16| n > 0 && usize::from(n) <= MAX_CHANNELS && n.is_multiple_of(4);
        if usize::from(self.inputs) != inputs {
            return Err("inputs");
        }
        if !channels(self.outputs) {
            return Err("outputs");
        }
        if !matches!(self.stride, 1 | 2) {
            return Err("stride");
        }
        let kernel_fits = match self.operation {
            Operation::Pointwise => self.kernel == 1 && self.stride == 1,
            Operation::Depthwise | Operation::Convolution => matches!(self.kernel, 3 | 5),
        };
        if !kernel_fits {
            return Err("kernel");
        }
        if self.pad_before() > self.kernel() - self.stride() {
            return Err("pad");
        }
        let outputs = self.outputs();
        let weights = match self.operation {
            Operation::Pointwise => outputs * inputs,
            Operation::Depthwise if inputs == outputs => self.window() * outputs,
            Operation::Convolution if self.patch_len() <= MAX_PATCH => outputs * self.patch_len(),
            _ => return Err("inputs"),
        };
        if self.weights.len() != weights {
            return Err("weights");
        }
        if self.multipliers.len() != outputs * 4 {
            return Err("multipliers");
        }
        let mut biases = self.biases.as_chunks::<4>().0.iter();
        if self.biases.len() != outputs * 4
            || biases.any(|b| i32::from_le_bytes(*b).unsigned_abs() > MAX_BIAS)
        {
            return Err("biases");
        }
        if self.shift == 0 || self.shift > MAX_SHIFT {
            return Err("shift");
        }
        if let Some(skip) = self.skip {
            let around = before
                .len()
                .checked_sub(usize::from(skip.layers))
                .and_then(|first| before.get(first..))
                .unwrap_or_default();
            let from = around.first().map(|layer| layer.inputs);
            if self.operation != Operation::Pointwise
                || from != Some(self.outputs)
                || around.iter().any(|layer| layer.stride != 1)
            {
                return Err("skip");
            }
        }
        Ok(())
    }

    /// Input channels.
    pub fn inputs(&self) -> usize {
        usize::from(self.inputs)
    }

    /// Output channels.
    pub fn outputs(&self) -> usize {
        usize::from(self.outputs)
    }

    /// Values along one side of the kernel.
    pub fn kernel(&self) -> usize {
        usize::from(self.kernel)
    }

    /// Inputs from one output to the next.
    pub fn stride(&self) -> usize {
        usize::from(self.stride)
    }

    /// Inputs before the edge.
    pub(super) fn pad_before(&self) -> usize {
        usize::from(self.pad & !REPLICATE)
    }

    /// Whether the outermost inputs are seen again beyond the edges.
    pub fn replicates(&self) -> bool {
        self.pad & REPLICATE != 0
    }

    /// Inputs behind the other edge.
    pub(super) fn pad_after(&self) -> usize {
        let beyond = self.kernel().saturating_sub(self.stride());
        beyond.saturating_sub(self.pad_before())
    }

    /// Values of the kernel.
    fn window(&self) -> usize {
        self.kernel() * self.kernel()
    }

    /// Weights of an output channel of a convolution, padding included.
    pub(super) fn patch_len(&self) -> usize {
        (self.window() * self.inputs()).next_multiple_of(4)
    }

    /// The weights.
    pub fn weights(&self) -> &'a [i8] {
        bytemuck::cast_slice(self.weights)
    }

    /// How this layer's sums become outputs.
    pub(super) fn scaling(&self) -> Scaling<'a> {
        let shift = u32::from(self.shift);
        Scaling {
            multipliers: self.multipliers.as_chunks::<4>().0,
            biases: self.biases.as_chunks::<4>().0,
            shift,
            offset: (i32::from(self.output_zero) << shift) + ((1 << shift) >> 1),
        }
    }
}

/// From a layer's sums to its outputs.
#[derive(Clone, Copy)]
pub(super) struct Scaling<'a> {
    multipliers: &'a [[u8; 4]],
    biases: &'a [[u8; 4]],
    shift: u32,
    /// The output's zero point and the rounding, before the shift.
    offset: i32,
}

impl<'a> Scaling<'a> {
    /// Bias and multiplier of all output channels, `N` at a time.
    #[allow(dead_code)] // only some kernels take several at a time
    #[inline(always)]
    pub(super) fn numbers<const N: usize>(
        &self,
    ) -> impl Iterator<Item = [(i32, i32); N]> + use<'a, N> {
        let biases = self.biases.as_chunks::<N>().0.iter();
        let multipliers = self.multipliers.as_chunks::<N>().0.iter();
        biases.zip(multipliers).map(|(biases, multipliers)| {
            core::array::from_fn(|i| {
                (
                    i32::from_le_bytes(biases[i]),
                    i32::from_le_bytes(multipliers[i]),
                )
            })
        })
    }

    /// Bias of an output channel.
    #[inline(always)]
    pub(super) fn bias(&self, channel: usize) -> i32 {
        self.biases
            .get(channel)
            .map_or(0, |b| i32::from_le_bytes(*b))
    }

    /// Outputs of the channels from `first` on from their sums without bias, four at a time.
    #[cfg(vod_helium)]
    #[inline(always)]
    pub(super) fn scale_all(&self, first: usize, sums: &[i32], out: &mut [i8]) {
        let biases = self.biases.get(first..).unwrap_or_default();
        let multipliers = self.multipliers.get(first..).unwrap_or_default();
        crate::arch::helium::scale(sums, biases, multipliers, self.offset, self.shift, out);
    }

    /// Outputs of channels `first..first + N` from their sums without bias.
    #[allow(dead_code)] // only some kernels take several at a time
    #[inline(always)]
    pub(super) fn outputs<const N: usize>(&self, first: usize, sums: [i32; N]) -> [i8; N] {
        let words = |bytes: &[[u8; 4]]| -> [i32; N] {
            let chunk = bytes.get(first..).and_then(|rest| rest.first_chunk::<N>());
            chunk.map_or([0; N], |chunk| chunk.map(i32::from_le_bytes))
        };
        let (biases, multipliers) = (words(self.biases), words(self.multipliers));
        core::array::from_fn(|i| self.scale(biases[i] + sums[i], multipliers[i], 0))
    }

    /// Output of a channel from its sum; `added` is 0 or the value that goes around.
    #[inline(always)]
    pub(super) fn output(&self, channel: usize, sum: i32, added: i32) -> i8 {
        let multiplier = self.multipliers.get(channel);
        let multiplier = multiplier.map_or(0, |b| i32::from_le_bytes(*b));
        self.scale(sum, multiplier, added)
    }

    /// As [`Self::output`], with the channel's multiplier.
    #[inline(always)]
    pub(super) fn scale(&self, sum: i32, multiplier: i32, added: i32) -> i8 {
        // Within i32: |high| < 2^30 twice at most, and the offset is below 2^28.
        let scaled = self.offset + high(sum, multiplier) + added;
        (scaled >> self.shift).clamp(-128, 127) as i8
    }
}

/// A value that goes around layers, ready to be added.
#[derive(Clone, Copy)]
pub(super) struct Around<'r> {
    /// `[n, outputs]`.
    pub values: &'r [i8],
    pub zero: i8,
    pub multiplier: i32,
}

impl Around<'_> {
    /// What is added to output `index` of the row.
    #[inline(always)]
    pub(super) fn added(&self, index: usize) -> i32 {
        let value = self.values.get(index).copied().unwrap_or(self.zero);
        let difference = i32::from(value) - i32::from(self.zero);
        high(difference << SKIP_BITS, self.multiplier)
    }
}

/// Upper half of the product.
#[inline(always)]
fn high(a: i32, b: i32) -> i32 {
    ((i64::from(a) * i64::from(b)) >> 32) as i32
}
