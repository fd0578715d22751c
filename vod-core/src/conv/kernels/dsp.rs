//! Armv7E-M DSP extension (Cortex-M4, M7): SMLAD over two pixels by two output channels; SMLABB and
//! SMLATT, which the compiler makes of halves, over four channels of a depthwise layer.

use super::super::layer::{Around, LayerParts, Scaling};
use crate::arch::dsp::{dots, sxtb16, sxtb16_odd, word};

/// Pixels and output channels of a tile.
const TILE: usize = 2;

/// As [`super::portable::pointwise`].
pub(crate) fn pointwise(
    input: &[i8],
    weights: &[i8],
    inputs: usize,
    scaling: Scaling,
    around: Option<Around>,
    out: &mut [i8],
) {
    let inputs = inputs.max(1);
    let outputs = (weights.len() / inputs).max(1);
    let pixels = input.chunks(TILE * inputs);
    let mut done = 0;
    for (pixels, out) in pixels.zip(out.chunks_mut(TILE * outputs)) {
        for (tile, weights) in weights.chunks_exact(TILE * inputs).enumerate() {
            let sums = dots(weights, pixels, inputs);
            for (pixel, sums) in sums.into_iter().enumerate() {
                for (channel, sum) in (tile * TILE..).zip(sums) {
                    let index = pixel * outputs + channel;
                    let added = around.map_or(0, |around| around.added(done + index));
                    // A tile may have one pixel.
                    if let Some(out) = out.get_mut(index) {
                        *out = scaling.output(channel, scaling.bias(channel) + sum, added);
                    }
                }
            }
        }
        done += TILE * outputs;
    }
}

/// As [`super::portable::depthwise`].
pub(crate) fn depthwise(rows: &[&[i8]], layer: &LayerParts, scaling: Scaling, out: &mut [i8]) {
    match rows {
        [a, b, c] => depthwise_of([a, b, c], layer, scaling, out),
        [a, b, c, d, e] => depthwise_of([a, b, c, d, e], layer, scaling, out),
        _ => super::portable::depthwise(rows, layer, scaling, out),
    }
}

fn depthwise_of<const K: usize>(
    rows: [&[i8]; K],
    layer: &LayerParts,
    scaling: Scaling,
    out: &mut [i8],
) {
    // Channels are multiples of 4, so that all rows are whole words.
    let channels = (layer.outputs() / 4).max(1);
    let step = layer.stride() * channels;
    let rows = rows.map(|row| row.as_chunks::<4>().0);
    let (weights, _) = layer.weights().as_chunks::<4>();
    let (out, _) = out.as_chunks_mut::<4>();
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        let rows = rows.map(|row| row.get(x * step..).unwrap_or_default());
        for (group, out) in out.iter_mut().enumerate() {
            let first = group * 4;
            let mut sums = [first, first + 1, first + 2, first + 3].map(|c| scaling.bias(c));
            let mut weights = weights
                .get(group..)
                .unwrap_or_default()
                .iter()
                .step_by(channels);
            for row in rows {
                let values = row
                    .get(group..)
                    .unwrap_or_default()
                    .iter()
                    .step_by(channels);
                for (value, weight) in values.zip(weights.by_ref().take(K)) {
                    add_products(&mut sums, word(value), word(weight));
                }
            }
            for (index, (out, sum)) in out.iter_mut().zip(sums).enumerate() {
                *out = scaling.output(first + index, sum, 0);
            }
        }
    }
}

/// Adds the products of four bytes each.
#[inline(always)]
fn add_products(sums: &mut [i32; 4], values: u32, weights: u32) {
    let (even, odd) = (sxtb16(values), sxtb16_odd(values));
    let (even_weights, odd_weights) = (sxtb16(weights), sxtb16_odd(weights));
    let low = |a: u32, b: u32| i32::from(a as i16) * i32::from(b as i16);
    let top = |a: u32, b: u32| (a as i32 >> 16) * (b as i32 >> 16);
    let [s0, s1, s2, s3] = sums;
    *s0 += low(even, even_weights);
    *s1 += low(odd, odd_weights);
    *s2 += top(even, even_weights);
    *s3 += top(odd, odd_weights);
}
