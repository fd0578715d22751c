//! Helium (Cortex-M55, M85): a row of weights is loaded once for four pixels, sums become outputs
//! four at a time, 16 channels of a depthwise layer are taken together.

use super::super::layer::{Around, LayerParts, Scaling};
use super::portable;
use crate::arch::helium::{add_row_products, dots_of_four};

const PIXELS: usize = 4;
/// Most output channels that have room on the stack.
const CHANNELS: usize = 256;
/// Channels of a depthwise layer that are taken at a time.
const BLOCK: usize = 16;

/// As [`portable::pointwise`].
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
    if outputs > CHANNELS || around.is_some() {
        portable::pointwise(input, weights, inputs, scaling, around, out);
        return;
    }
    let mut sums = [[0; CHANNELS]; PIXELS];
    let pixels = input.chunks(PIXELS * inputs);
    for (pixels, out) in pixels.zip(out.chunks_mut(PIXELS * outputs)) {
        // The first pixel again where there are fewer.
        let mut values = [pixels.get(..inputs).unwrap_or_default(); PIXELS];
        for (slot, pixel) in values.iter_mut().zip(pixels.chunks_exact(inputs)) {
            *slot = pixel;
        }
        let [s0, s1, s2, s3] = &mut sums;
        let slots = s0.iter_mut().zip(s1).zip(s2).zip(s3);
        for (weights, (((s0, s1), s2), s3)) in weights.chunks_exact(inputs).zip(slots) {
            [[*s0], [*s1], [*s2], [*s3]] = dots_of_four(weights, values);
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(outputs)) {
            scaling.scale_all(0, sums, out);
        }
    }
}

/// As [`portable::depthwise`].
pub(crate) fn depthwise(rows: &[&[i8]], layer: &LayerParts, scaling: Scaling, out: &mut [i8]) {
    match rows {
        [a, b, c] if layer.outputs().is_multiple_of(BLOCK) => {
            depthwise_of([a, b, c], layer, scaling, out);
        }
        [a, b, c, d, e] if layer.outputs().is_multiple_of(BLOCK) => {
            depthwise_of([a, b, c, d, e], layer, scaling, out);
        }
        _ => portable::depthwise(rows, layer, scaling, out),
    }
}

fn depthwise_of<const K: usize>(
    rows: [&[i8]; K],
    layer: &LayerParts,
    scaling: Scaling,
    out: &mut [i8],
) {
    let channels = layer.outputs().max(1);
    let step = layer.stride() * channels;
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        for (block, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
            let first = block * BLOCK;
            let mut sums = [0; BLOCK];
            let mut weights = layer.weights().get(first..).unwrap_or_default();
            for row in rows {
                let values = row.get(x * step + first..).unwrap_or_default();
                add_row_products::<K>(&mut sums, values, weights, channels);
                weights = weights.get(K * channels..).unwrap_or_default();
            }
            scaling.scale_all(first, &sums, out);
        }
    }
}
