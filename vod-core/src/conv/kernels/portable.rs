//! Plain loops: the definition. The compiler vectorises them over channels.

use super::super::layer::{Around, LayerParts, Scaling};

/// Channels whose sums are kept at a time.
const BLOCK: usize = 16;

/// `input` is `[n, inputs]`, `weights` `[outputs, inputs]`, `out` `[n, outputs]`.
pub(crate) fn pointwise(
    input: &[i8],
    weights: &[i8],
    inputs: usize,
    scaling: Scaling,
    around: Option<Around>,
    out: &mut [i8],
) {
    let inputs = inputs.max(1);
    let mut index = 0;
    let outputs = (weights.len() / inputs).max(1);
    for (values, out) in input
        .chunks_exact(inputs)
        .zip(out.chunks_exact_mut(outputs))
    {
        for ((channel, weights), out) in weights.chunks_exact(inputs).enumerate().zip(out) {
            let products = weights.iter().zip(values);
            let sum: i32 = products.map(|(&w, &x)| i32::from(w) * i32::from(x)).sum();
            let added = around.map_or(0, |around| around.added(index));
            *out = scaling.output(channel, scaling.bias(channel) + sum, added);
            index += 1;
        }
    }
}

/// `rows` are the kernel's input rows with their padding, `out` is `[n, channels]`.
pub(crate) fn depthwise(rows: &[&[i8]], layer: &LayerParts, scaling: Scaling, out: &mut [i8]) {
    let channels = layer.outputs().max(1);
    let step = layer.stride() * channels;
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        let places = Places {
            rows,
            weights: layer.weights(),
            channels,
        };
        let mut first = 0;
        for out in blocks {
            *out = scaling.outputs(first, places.sums(x * step, first));
            first += BLOCK;
        }
        for out in rest {
            let [output] = scaling.outputs(first, places.sums(x * step, first));
            *out = output;
            first += 1;
        }
    }
}

/// What a depthwise output is made of.
struct Places<'r> {
    rows: &'r [&'r [i8]],
    weights: &'r [i8],
    channels: usize,
}

impl Places<'_> {
    /// Sums of products of channels `first..first + N`; the first place is at `start` of each row.
    #[inline(always)]
    fn sums<const N: usize>(&self, start: usize, first: usize) -> [i32; N] {
        let mut sums = [0; N];
        let mut weights = self.weights.get(first..).unwrap_or_default();
        for row in self.rows {
            let mut values = row.get(start + first..).unwrap_or_default();
            for _ in 0..self.rows.len() {
                if let Some((values, weights)) = values.first_chunk().zip(weights.first_chunk()) {
                    sums = add_products(sums, values, weights);
                }
                values = values.get(self.channels..).unwrap_or_default();
                weights = weights.get(self.channels..).unwrap_or_default();
            }
        }
        sums
    }
}

#[inline(always)]
fn add_products<const N: usize>(sums: [i32; N], values: &[i8; N], weights: &[i8; N]) -> [i32; N] {
    core::array::from_fn(|i| sums[i] + i32::from(values[i]) * i32::from(weights[i]))
}
