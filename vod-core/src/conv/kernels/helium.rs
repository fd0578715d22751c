//! Helium (Cortex-M55, M85): a row of weights is loaded once for four pixels; the compiler makes
//! vectors of sums and outputs.

use super::super::layer::{Around, Scaling};
use super::portable;
use crate::arch::helium_dots_of_four;

const PIXELS: usize = 4;
/// Most output channels that have room on the stack.
const CHANNELS: usize = 256;
/// Outputs that are scaled at a time.
const BLOCK: usize = 8;

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
            [[*s0], [*s1], [*s2], [*s3]] = helium_dots_of_four(weights, values);
        }
        for (sums, out) in sums.iter().zip(out.chunks_exact_mut(outputs)) {
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            let mut first = 0;
            for (out, sums) in blocks.iter_mut().zip(sums.as_chunks::<BLOCK>().0) {
                *out = scaling.outputs(first, *sums);
                first += BLOCK;
            }
            for (out, sum) in rest.iter_mut().zip(sums.iter().skip(first)) {
                let [output] = scaling.outputs(first, [*sum]);
                *out = output;
                first += 1;
            }
        }
    }
}
