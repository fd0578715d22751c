//! The layers' loops. `portable` defines the result; a target's own give the same bits.

#[cfg(vod_dsp)]
mod dsp;
#[cfg(vod_helium)]
mod helium;
#[allow(dead_code)] // a target may have all its own
mod portable;

use super::layer::{LayerParts, Scaling};
use super::{MAX_PATCH, POOL};

#[cfg(vod_dsp)]
pub(super) use dsp::{depthwise, pointwise};
#[cfg(vod_helium)]
pub(super) use helium::{depthwise, pointwise};
#[cfg(not(any(vod_dsp, vod_helium)))]
pub(super) use portable::{depthwise, pointwise};

/// Outputs that a convolution makes at a time.
const PATCHES: usize = 4;

/// A row of a convolution: each output's inputs are put side by side, then it is a pointwise layer.
/// `rows` are the input rows with their padding.
pub(super) fn convolution(rows: &[&[i8]], layer: &LayerParts, scaling: Scaling, out: &mut [i8]) {
    let mut patches = [0; PATCHES * MAX_PATCH];
    let patch_len = layer.patch_len().max(1);
    let part_len = layer.kernel() * layer.inputs();
    let step = layer.stride() * layer.inputs();
    let groups = out.chunks_mut(PATCHES * layer.outputs().max(1));
    for (group, out) in groups.enumerate() {
        let count = out.len() / layer.outputs().max(1);
        for (patch, x) in patches
            .chunks_exact_mut(patch_len)
            .zip(group * PATCHES..)
            .take(count)
        {
            for (part, row) in patch.chunks_exact_mut(part_len.max(1)).zip(rows) {
                let values = row.get(x * step..).and_then(|row| row.get(..part_len));
                // A copy that has no panic for slices of two lengths.
                for (to, from) in part.iter_mut().zip(values.unwrap_or_default()) {
                    *to = *from;
                }
            }
        }
        let patches = patches.get(..count * patch_len).unwrap_or_default();
        pointwise(patches, layer.weights(), patch_len, scaling, None, out);
    }
}

/// One place of the pooling: `rows` are `[POOL, channels]` each, 0 beyond the edges; `count` of the
/// places are inside.
pub(super) fn pool(rows: [&[i8]; POOL], centres: &[i8], count: i32, gain: i32, out: &mut [i8]) {
    let channels = centres.len();
    for (channel, (out, &centre)) in out.iter_mut().zip(centres).enumerate() {
        let mut sum = -count * i32::from(centre);
        for row in rows {
            for place in 0..POOL {
                let value = row.get(place * channels + channel);
                sum += value.copied().map_or(0, i32::from);
            }
        }
        *out = super::stream::feature(sum, gain);
    }
}
