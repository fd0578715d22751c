//! Armv7E-M DSP extension (Cortex-M4, M7): SMLAD over two pixels by two output channels, SMLABB and
//! SMLATT over four channels of a depthwise layer.

use super::super::layer::{Around, LayerParts, Scaling};
use super::portable;
use crate::arch::dsp::{add_row_products, dots_of_widened, sxtb16, sxtb16_odd, word};

/// Pixels, and output channels, of a tile.
const TILE: usize = 2;
/// Most input and most output channels that have room on the stack.
const CHANNELS: usize = 256;

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
    if inputs > CHANNELS || outputs > CHANNELS || !inputs.is_multiple_of(4) {
        portable::pointwise(input, weights, inputs, scaling, around, out);
        return;
    }
    let mut widened = [[0; 4]; CHANNELS / 4];
    let mut sums = [[[0; TILE]; TILE]; CHANNELS / TILE];
    let widened = widened.get_mut(..inputs / 4).unwrap_or_default();
    let sums = sums.get_mut(..outputs / TILE).unwrap_or_default();
    let pixels = input.chunks(TILE * inputs);
    for (pair, (pixels, out)) in pixels.zip(out.chunks_mut(TILE * outputs)).enumerate() {
        // The last pair may be one pixel, which is then taken twice.
        let (first, rest) = pixels.split_at_checked(inputs).unwrap_or_default();
        let second = if rest.is_empty() { first } else { rest };
        let (first, second) = (first.as_chunks::<4>().0, second.as_chunks::<4>().0);
        for (slot, (first, second)) in widened.iter_mut().zip(first.iter().zip(second)) {
            let (first, second) = (word(first), word(second));
            *slot = [
                sxtb16(first),
                sxtb16_odd(first),
                sxtb16(second),
                sxtb16_odd(second),
            ];
        }
        for (sums, weights) in sums.iter_mut().zip(weights.chunks_exact(TILE * inputs)) {
            *sums = dots_of_widened(weights, widened);
        }
        let done = pair * TILE * outputs;
        for (pixel, out) in out.chunks_exact_mut(outputs).enumerate() {
            match around {
                None => scale::<false>(sums, pixel, scaling, |_| 0, out),
                Some(around) => {
                    let start = done + pixel * outputs;
                    scale::<true>(sums, pixel, scaling, |c| around.added(start + c), out);
                }
            }
        }
    }
}

/// Outputs of one pixel of the pair.
#[inline(always)]
fn scale<const AROUND: bool>(
    sums: &[[[i32; TILE]; TILE]],
    pixel: usize,
    scaling: Scaling,
    added: impl Fn(usize) -> i32,
    out: &mut [i8],
) {
    let (out, _) = out.as_chunks_mut::<TILE>();
    let numbers = scaling.numbers::<TILE>();
    for (tile, ((out, sums), numbers)) in out.iter_mut().zip(sums).zip(numbers).enumerate() {
        let sums = if pixel == 0 { sums[0] } else { sums[1] };
        for index in 0..TILE {
            let added = if AROUND {
                added(tile * TILE + index)
            } else {
                0
            };
            let (bias, multiplier) = numbers[index];
            out[index] = scaling.scale(bias + sums[index], multiplier, added);
        }
    }
}

/// As [`portable::depthwise`].
pub(crate) fn depthwise(rows: &[&[i8]], layer: &LayerParts, scaling: Scaling, out: &mut [i8]) {
    match rows {
        [a, b, c] => depthwise_of([a, b, c], layer, scaling, out),
        [a, b, c, d, e] => depthwise_of([a, b, c, d, e], layer, scaling, out),
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
    let mut sums = [0; CHANNELS];
    let Some(sums) = sums.get_mut(..channels) else {
        portable::depthwise(&rows, layer, scaling, out);
        return;
    };
    for (x, out) in out.chunks_exact_mut(channels).enumerate() {
        sums.fill(0);
        let mut weights = layer.weights();
        for row in rows {
            let values = row.get(x * step..).unwrap_or_default();
            add_row_products::<K>(sums, values, weights);
            weights = weights.get(K * channels..).unwrap_or_default();
        }
        // Channels are a multiple of 4.
        let (out, sums) = (out.as_chunks_mut::<4>().0, sums.as_chunks::<4>().0);
        for ((out, sums), numbers) in out.iter_mut().zip(sums).zip(scaling.numbers::<4>()) {
            for index in 0..4 {
                let (bias, multiplier) = numbers[index];
                out[index] = scaling.scale(bias + sums[index], multiplier, 0);
            }
        }
    }
}
