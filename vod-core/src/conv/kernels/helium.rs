//! Helium (Cortex-M55, M85): a row of weights is loaded once for four pixels.

use super::super::layer::{Around, Scaling};
use super::portable;
use crate::arch::helium_dots_of_four;

const PIXELS: usize = 4;

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
    let mut pixels = input.chunks_exact(PIXELS * inputs);
    let mut outs = out.chunks_exact_mut(PIXELS * outputs);
    let mut done = 0;
    for (values, out) in pixels.by_ref().zip(outs.by_ref()) {
        let (first, second) = values.split_at(2 * inputs);
        let (x0, x1) = first.split_at(inputs);
        let (x2, x3) = second.split_at(inputs);
        for (channel, weights) in weights.chunks_exact(inputs).enumerate() {
            let sums = helium_dots_of_four(weights, [x0, x1, x2, x3]);
            let bias = scaling.bias(channel);
            for (pixel, [sum]) in sums.into_iter().enumerate() {
                let index = pixel * outputs + channel;
                let added = around.map_or(0, |around| around.added(done + index));
                if let Some(out) = out.get_mut(index) {
                    *out = scaling.output(channel, bias + sum, added);
                }
            }
        }
        done += PIXELS * outputs;
    }
    let around = around.map(|around| Around {
        values: around.values.get(done..).unwrap_or_default(),
        ..around
    });
    portable::pointwise(
        pixels.remainder(),
        weights,
        inputs,
        scaling,
        around,
        outs.into_remainder(),
    );
}
