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
        let mut first = 0;
        for out in out.chunks_mut(BLOCK) {
            let mut sums = [0; BLOCK];
            for (channel, sum) in (first..).zip(sums.iter_mut()) {
                *sum = scaling.bias(channel);
            }
            let mut weights = layer.weights().chunks_exact(channels);
            for row in rows {
                let row = row.get(x * step..).unwrap_or_default();
                for (values, weights) in row
                    .chunks_exact(channels)
                    .zip(weights.by_ref().take(rows.len()))
                {
                    let values = values.get(first..).unwrap_or_default();
                    let weights = weights.get(first..).unwrap_or_default();
                    add_products(&mut sums, values, weights);
                }
            }
            for ((channel, out), sum) in (first..).zip(out).zip(sums) {
                *out = scaling.output(channel, sum, 0);
            }
            first += BLOCK;
        }
    }
}

#[inline(always)]
fn add_products(sums: &mut [i32; BLOCK], values: &[i8], weights: &[i8]) {
    match (
        values.first_chunk::<BLOCK>(),
        weights.first_chunk::<BLOCK>(),
    ) {
        (Some(values), Some(weights)) => {
            for ((sum, &value), &weight) in sums.iter_mut().zip(values).zip(weights) {
                *sum += i32::from(value) * i32::from(weight);
            }
        }
        _ => {
            for ((sum, &value), &weight) in sums.iter_mut().zip(values).zip(weights) {
                *sum += i32::from(value) * i32::from(weight);
            }
        }
    }
}
