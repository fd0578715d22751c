//! Pixel rows in, feature rows out: between two layers lies a ring of the rows that the next reaches.

use heapless::Vec;

use super::layer::{Around, LayerParts, Operation};
use super::{COLOURS, GAIN_BITS, MAX_LAYERS, MAX_SIDE, Network, POOL, kernels};
use crate::error::FrameError;
use crate::grid::Grid;

/// One for the inputs of each layer, one for the inputs of the pooling.
const MAX_STAGES: usize = MAX_LAYERS + 1;

/// The input rows of a layer or of the pooling.
#[derive(Clone, Copy, Debug)]
struct Stage {
    /// Height and width of the input, without padding.
    height: usize,
    width: usize,
    channels: usize,
    /// Padding on either side, and rows above; below as much as the kernel asks for.
    before: usize,
    after: usize,
    kernel: usize,
    stride: usize,
    /// What padding holds where it does not replicate the outermost values.
    fill: i8,
    replicate: bool,
    /// Rows in the ring.
    rows: usize,
    /// First byte in the scratch.
    start: usize,
    /// Rows that came in so far, padding included.
    pushed: usize,
    /// Rows that went out so far.
    produced: usize,
}

impl Stage {
    fn row_len(&self) -> usize {
        (self.before + self.width + self.after) * self.channels
    }

    fn len(&self) -> usize {
        self.rows * self.row_len()
    }

    fn output_height(&self) -> usize {
        self.height / self.stride.max(1)
    }

    fn output_width(&self) -> usize {
        self.width / self.stride.max(1)
    }

    /// Where row `y` (padding counts) lies in the ring's bytes.
    fn row_start(&self, y: usize) -> usize {
        (y % self.rows.max(1)) * self.row_len()
    }

    /// Row `y` within the ring's bytes.
    fn row<'r>(&self, ring: &'r [i8], y: usize) -> &'r [i8] {
        let start = self.row_start(y);
        ring.get(start..start + self.row_len()).unwrap_or_default()
    }

    /// Where the next row goes, padding at its ends left out.
    fn next_row<'r>(&self, ring: &'r mut [i8]) -> &'r mut [i8] {
        let first = self.row_start(self.pushed) + self.before * self.channels;
        ring.get_mut(first..first + self.width * self.channels)
            .unwrap_or_default()
    }

    /// Completes the row that was written to [`Self::next_row`].
    fn complete_row(&mut self, ring: &mut [i8]) {
        if self.replicate {
            let row = self.row_start(self.pushed);
            let at = |place: usize| row + place * self.channels;
            for place in 0..self.before {
                copy(ring, at(self.before), at(place), self.channels);
            }
            let end = self.before + self.width;
            for place in end..end + self.after {
                copy(ring, at(end - 1), at(place), self.channels);
            }
            if self.pushed == self.before {
                for above in 0..self.before {
                    copy(ring, row, self.row_start(above), self.row_len());
                }
            }
        }
        self.pushed += 1;
    }

    /// Whether the next output row has all its input rows; rows below the input are added as they
    /// are asked for.
    fn is_ready(&mut self, ring: &mut [i8]) -> bool {
        if self.produced == self.output_height() {
            return false;
        }
        let needed = self.produced * self.stride + self.kernel;
        while self.pushed < needed && self.pushed >= self.before + self.height {
            if self.replicate {
                let (last, next) = (self.pushed - 1, self.pushed);
                copy(
                    ring,
                    self.row_start(last),
                    self.row_start(next),
                    self.row_len(),
                );
            } else {
                self.next_row(ring).fill(self.fill);
            }
            self.pushed += 1;
        }
        self.pushed >= needed
    }

    /// The input rows of the next output row; as many as `rows` is long.
    fn window<'r>(&self, ring: &'r [i8], rows: &mut [&'r [i8]]) {
        let first = self.produced * self.stride;
        for (y, slot) in (first..).zip(rows) {
            *slot = self.row(ring, y);
        }
    }
}

/// Copies `len` values from one place to another.
fn copy(values: &mut [i8], from: usize, to: usize, len: usize) {
    for i in 0..len {
        let value = values.get(from + i).copied().unwrap_or_default();
        if let Some(slot) = values.get_mut(to + i) {
            *slot = value;
        }
    }
}

/// The stages of a frame, and the bytes that all of them take.
fn stages(
    network: &Network,
    height: usize,
    width: usize,
) -> Option<(Vec<Stage, MAX_STAGES>, usize)> {
    let stride = network.stride().max(1);
    let side = |pixels: usize| pixels > 0 && pixels <= MAX_SIDE && pixels.is_multiple_of(stride);
    if !side(height) || !side(width) {
        return None;
    }
    let mut stages: Vec<Stage, MAX_STAGES> = Vec::new();
    let mut next = (height, width, 0);
    for (number, layer) in network.layers().iter().enumerate() {
        let (height, width, start) = next;
        let stage = Stage {
            height,
            width,
            channels: layer.inputs(),
            before: layer.pad_before(),
            after: layer.pad_after(),
            kernel: layer.kernel(),
            stride: layer.stride(),
            fill: network.input_zero(number),
            replicate: layer.replicates(),
            rows: layer.kernel().max(rows_around(network.layers(), number)),
            start,
            pushed: 0,
            produced: 0,
        };
        next = (
            stage.output_height(),
            stage.output_width(),
            start + stage.len(),
        );
        stages.push(stage).ok()?;
    }
    let (height, width, start) = next;
    let pooling = Stage {
        height,
        width,
        channels: network.dimension(),
        before: POOL / 2,
        after: POOL / 2,
        kernel: POOL,
        stride: 1,
        // Sums are taken over the values inside alone.
        fill: 0,
        replicate: false,
        rows: POOL,
        start,
        pushed: 0,
        produced: 0,
    };
    stages.push(pooling).ok()?;
    Some((stages, start + pooling.len() + width * network.dimension()))
}

/// Input rows of layer `first` that a value going around layers keeps alive: the last layer it goes
/// around is behind by what the kernels on the way reach down.
fn rows_around(layers: &[LayerParts], first: usize) -> usize {
    let mut rows = 1;
    for (number, layer) in layers.iter().enumerate().skip(first) {
        let goes_to =
            |skip: super::Skip| number.checked_sub(usize::from(skip.layers)) == Some(first);
        if layer.skip.is_some_and(goes_to) {
            let way = layers.get(first..number).unwrap_or_default();
            let behind: usize = way.iter().map(LayerParts::pad_after).sum();
            rows = rows.max(1 + behind);
        }
    }
    rows
}

impl<'n> Network<'n> {
    /// Patches of a frame of `height x width` pixels; `None` where a side is no multiple of
    /// [`Self::stride`] or too long.
    pub fn grid(&self, height: usize, width: usize) -> Option<Grid> {
        stages(self, height, width)?;
        let stride = self.stride().max(1);
        Grid::new(height / stride, width / stride)
    }

    /// Bytes of scratch that a frame of `height x width` pixels needs; it grows with the width alone.
    /// `None` as for [`Self::grid`].
    pub fn scratch_len(&self, height: usize, width: usize) -> Option<usize> {
        stages(self, height, width).map(|(_, len)| len)
    }

    /// Starts a frame of `height x width` pixels that arrives row by row.
    ///
    /// # Errors
    /// [`FrameError::Grid`] as for [`Self::grid`], [`FrameError::Scratch`] where `scratch` is shorter
    /// than [`Self::scratch_len`].
    pub fn stream<'s>(
        &'s self,
        height: usize,
        width: usize,
        scratch: &'s mut [i8],
    ) -> Result<FeatureStream<'s, 'n>, FrameError> {
        let (mut stages, needed) = stages(self, height, width).ok_or(FrameError::Grid)?;
        let short = FrameError::Scratch {
            expected: needed,
            found: scratch.len(),
        };
        let scratch = scratch.get_mut(..needed).ok_or(short)?;
        for stage in &mut stages {
            let ring = scratch
                .get_mut(stage.start..stage.start + stage.len())
                .ok_or(short)?;
            // Padding at the ends of rows stays; rows above the frame are there from the start.
            ring.fill(stage.fill);
            stage.pushed = stage.before;
        }
        Ok(FeatureStream {
            network: self,
            stages,
            scratch,
        })
    }

    /// Goes on with a frame that was paused. `scratch` holds what it held then; other contents give
    /// other features.
    ///
    /// # Errors
    /// [`FrameError::Grid`] where the frame was started with a network of other layers,
    /// [`FrameError::Scratch`] as for [`Self::stream`].
    pub fn resume<'s>(
        &'s self,
        paused: PausedFeatures,
        scratch: &'s mut [i8],
    ) -> Result<FeatureStream<'s, 'n>, FrameError> {
        let PausedFeatures { stages, needed } = paused;
        let layers = self.layers().iter();
        let fits = |(stage, layer): (&Stage, &LayerParts)| stage.channels == layer.inputs();
        if stages.len() != self.layers().len() + 1 || !stages.iter().zip(layers).all(fits) {
            return Err(FrameError::Grid);
        }
        let found = scratch.len();
        let scratch = scratch.get_mut(..needed).ok_or(FrameError::Scratch {
            expected: needed,
            found,
        })?;
        Ok(FeatureStream {
            network: self,
            stages,
            scratch,
        })
    }
}

/// Where a paused frame is; what lies between the layers is in the scratch.
#[derive(Clone, Debug)]
pub struct PausedFeatures {
    stages: Vec<Stage, MAX_STAGES>,
    /// Bytes of the scratch.
    needed: usize,
}

/// A frame in the making: pixel rows in, rows of int8 patch features out.
#[derive(Debug)]
pub struct FeatureStream<'s, 'n> {
    network: &'s Network<'n>,
    stages: Vec<Stage, MAX_STAGES>,
    scratch: &'s mut [i8],
}

impl FeatureStream<'_, '_> {
    /// Gives the scratch back; [`Network::resume`] goes on.
    pub fn pause(self) -> PausedFeatures {
        PausedFeatures {
            stages: self.stages,
            needed: self.scratch.len(),
        }
    }

    /// Takes the next pixel row: `[width, 3]` RGB or `[width]` grey, 8 bits. All feature rows that
    /// are ready are taken by [`Self::next_row`] before.
    ///
    /// # Errors
    /// [`FrameError::FeatureLength`] for another number of values, [`FrameError::RowCount`] for a
    /// row too many or while rows wait.
    pub fn push_row(&mut self, pixels: &[u8]) -> Result<(), FrameError> {
        let stage = self.stages.first_mut().ok_or(FrameError::RowCount)?;
        let (colour, grey) = (stage.width * COLOURS, stage.width);
        if pixels.len() != colour && pixels.len() != grey {
            return Err(FrameError::FeatureLength {
                expected: colour,
                found: pixels.len(),
            });
        }
        if stage.pushed >= stage.before + stage.height {
            return Err(FrameError::RowCount);
        }
        let ring = self.scratch.get_mut(..stage.len()).unwrap_or_default();
        if stage.is_ready(ring) {
            return Err(FrameError::RowCount);
        }
        let row = stage.next_row(ring);
        // A pixel less 128.
        let signed = |pixel: u8| (pixel ^ 0x80) as i8;
        if pixels.len() == colour {
            for (value, &pixel) in row.iter_mut().zip(pixels) {
                *value = signed(pixel);
            }
        } else {
            let (colours, _) = row.as_chunks_mut::<COLOURS>();
            for (value, &pixel) in colours.iter_mut().zip(pixels) {
                *value = [signed(pixel); COLOURS];
            }
        }
        stage.complete_row(ring);
        Ok(())
    }

    /// The next row of patch features, `[width, dimension]`, where it is ready. Several rows may be
    /// after one pixel row; call until there is none.
    pub fn next_row(&mut self) -> Option<&[i8]> {
        let last = self.stages.len().checked_sub(1)?;
        let mut number = last;
        // From the back, so that no ring gets a row before its last one was used.
        loop {
            if !self.is_ready(number)? {
                number = number.checked_sub(1)?;
            } else if number == last {
                return self.pool();
            } else {
                self.advance(number)?;
                number += 1;
            }
        }
    }

    fn is_ready(&mut self, number: usize) -> Option<bool> {
        let stage = self.stages.get_mut(number)?;
        let ring = self
            .scratch
            .get_mut(stage.start..stage.start + stage.len())?;
        Some(stage.is_ready(ring))
    }

    /// Lets layer `number` make its next row.
    fn advance(&mut self, number: usize) -> Option<()> {
        let layer = self.network.layers().get(number)?;
        let stage = *self.stages.get(number)?;
        let next = *self.stages.get(number + 1)?;
        let (earlier, later) = self.scratch.split_at_mut_checked(next.start)?;
        let ring = earlier.get(stage.start..)?;
        let out = next.next_row(later.get_mut(..next.len())?);
        let scaling = layer.scaling();
        match layer.operation {
            Operation::Pointwise => {
                let around = match layer.skip {
                    None => None,
                    Some(skip) => {
                        let from = number.checked_sub(usize::from(skip.layers))?;
                        let stage = self.stages.get(from)?;
                        let ring = earlier.get(stage.start..)?;
                        // Rows of the source are numbered with its padding.
                        let row = stage.row(ring, stage.before + self.stages.get(number)?.produced);
                        Some(Around {
                            values: row.get(stage.before * stage.channels..)?,
                            zero: self.network.input_zero(from),
                            multiplier: skip.multiplier,
                        })
                    }
                };
                let row = stage.row(ring, stage.produced);
                kernels::pointwise(row, layer.weights(), layer.inputs(), scaling, around, out);
            }
            Operation::Depthwise => {
                let mut rows: [&[i8]; 5] = [&[]; 5];
                let rows = rows.get_mut(..stage.kernel)?;
                stage.window(ring, rows);
                kernels::depthwise(rows, layer, scaling, out);
            }
            Operation::Convolution => {
                let mut rows: [&[i8]; 5] = [&[]; 5];
                let rows = rows.get_mut(..stage.kernel)?;
                stage.window(ring, rows);
                kernels::convolution(rows, layer, scaling, out);
            }
        }
        self.stages.get_mut(number)?.produced += 1;
        let next = self.stages.get_mut(number + 1)?;
        let ring = self.scratch.get_mut(next.start..next.start + next.len())?;
        next.complete_row(ring);
        Some(())
    }

    /// The mean over `POOL x POOL` values inside the map, as features.
    fn pool(&mut self) -> Option<&[i8]> {
        let parts = self.network.parts();
        let number = self.stages.len().checked_sub(1)?;
        let stage = *self.stages.get(number)?;
        let (rings, out) = self
            .scratch
            .split_at_mut_checked(stage.start + stage.len())?;
        let ring = rings.get(stage.start..)?;
        let mut rows: [&[i8]; POOL] = [&[]; POOL];
        stage.window(ring, &mut rows);
        let (height, width, channels) = (stage.height, stage.width, stage.channels);
        let inside = |place: usize, len: usize| {
            POOL - usize::from(place == 0) - usize::from(place + 1 == len)
        };
        let centres: &[i8] = bytemuck::cast_slice(parts.centres);
        for (x, out) in out.chunks_exact_mut(channels.max(1)).enumerate() {
            let count = (inside(x, width) * inside(stage.produced, height)) as i32;
            let count = count.max(1);
            let gain = (parts.gain as i32 + count / 2) / count;
            let first = x * channels;
            let [above, here, below] = rows.map(|row| {
                let part = row.get(first..).unwrap_or_default();
                part.get(..POOL * channels).unwrap_or_default()
            });
            kernels::pool([above, here, below], centres, count, gain, out);
        }
        self.stages.get_mut(number)?.produced += 1;
        Some(out)
    }
}

/// A feature from the sum of its values, less their centres.
#[inline(always)]
pub(super) fn feature(sum: i32, gain: i32) -> i8 {
    let half = (1 << GAIN_BITS) >> 1;
    ((sum * gain + half) >> GAIN_BITS).clamp(-127, 127) as i8
}
