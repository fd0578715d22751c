//! The streamed network against a naive one over whole maps, and damaged files.
#![cfg(feature = "conv")]

use proptest::prelude::*;
use vod_core::FrameError;
use vod_core::conv::{
    LayerParts, MAGIC, Network, NetworkError, NetworkParts, Operation, REPLICATE, Skip, VERSION,
    checksum,
};

/// A layer that owns its numbers.
#[derive(Clone, Debug)]
struct Layer {
    operation: Operation,
    kernel: usize,
    stride: usize,
    pad: usize,
    replicate: bool,
    inputs: usize,
    outputs: usize,
    output_zero: i8,
    shift: u8,
    skip: Option<Skip>,
    weights: Vec<i8>,
    multipliers: Vec<i32>,
    biases: Vec<i32>,
}

#[derive(Clone, Debug)]
struct TestNetwork {
    input_zero: i8,
    gain: u32,
    centres: Vec<i8>,
    layers: Vec<Layer>,
}

/// Noise that is the same everywhere.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.0 >> 33
    }

    fn below(&mut self, n: u64) -> i64 {
        (self.next() % n) as i64
    }

    fn bytes(&mut self, len: usize) -> Vec<i8> {
        (0..len).map(|_| (self.next() >> 7) as i8).collect()
    }
}

impl TestNetwork {
    /// First layer, depthwise and pointwise layers, and one value that goes around three of them.
    fn new(seed: u64, kernel: usize, channels: usize) -> Self {
        let mut noise = Noise(seed);
        let wide = channels * 3;
        let layers = vec![
            layer(&mut noise, Operation::Convolution, 3, 2, 3, channels),
            layer(
                &mut noise,
                Operation::Depthwise,
                kernel,
                2,
                channels,
                channels,
            ),
            layer(&mut noise, Operation::Pointwise, 1, 1, channels, 8),
            layer(&mut noise, Operation::Pointwise, 1, 1, 8, wide),
            layer(&mut noise, Operation::Depthwise, kernel, 1, wide, wide),
            Layer {
                skip: Some(Skip {
                    layers: 2,
                    multiplier: 1 << 15,
                }),
                ..layer(&mut noise, Operation::Pointwise, 1, 1, wide, 8)
            },
        ];
        Self {
            input_zero: -1,
            gain: 40_000 + noise.below(60_000) as u32,
            centres: noise.bytes(8).iter().map(|c| c / 8).collect(),
            layers,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let centres: Vec<u8> = self.centres.iter().map(|&c| c as u8).collect();
        let mut body = postcard::to_stdvec(&NetworkParts {
            input_zero: self.input_zero,
            gain: self.gain,
            centres: &centres,
            layers: self.layers.len() as u8,
        })
        .unwrap();
        for layer in &self.layers {
            let words =
                |words: &[i32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
            let weights: Vec<u8> = layer.weights.iter().map(|&w| w as u8).collect();
            let parts = LayerParts {
                operation: layer.operation,
                kernel: layer.kernel as u8,
                stride: layer.stride as u8,
                pad: layer.pad as u8 | if layer.replicate { REPLICATE } else { 0 },
                inputs: layer.inputs as u16,
                outputs: layer.outputs as u16,
                output_zero: layer.output_zero,
                shift: layer.shift,
                skip: layer.skip,
                weights: &weights,
                multipliers: &words(&layer.multipliers),
                biases: &words(&layer.biases),
            };
            body.extend(postcard::to_stdvec(&parts).unwrap());
        }
        wrap(&body)
    }
}

fn wrap(body: &[u8]) -> Vec<u8> {
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend((body.len() as u32).to_le_bytes());
    bytes.extend(body);
    bytes.extend(checksum(&bytes).to_le_bytes());
    bytes
}

fn layer(
    noise: &mut Noise,
    operation: Operation,
    kernel: usize,
    stride: usize,
    inputs: usize,
    outputs: usize,
) -> Layer {
    let weights = match operation {
        Operation::Pointwise => outputs * inputs,
        Operation::Depthwise => kernel * kernel * outputs,
        Operation::Convolution => outputs * (kernel * kernel * inputs).next_multiple_of(4),
    };
    let mut weights = noise.bytes(weights);
    if operation == Operation::Convolution {
        // Padding of each output's weights.
        for row in weights.chunks_mut(28) {
            row[27] = 0;
        }
    }
    // Sums of this many products fill the range of the outputs, and now and then leave it.
    let reach = 30 - (weights.len() / outputs).ilog2() / 2;
    Layer {
        operation,
        kernel,
        stride,
        pad: (kernel - stride) / 2,
        replicate: false,
        inputs,
        outputs,
        output_zero: noise.bytes(1)[0] / 2,
        shift: 5,
        skip: None,
        multipliers: (0..outputs)
            .map(|_| (1 << reach) + noise.below(1 << reach) as i32)
            .collect(),
        biases: (0..outputs)
            .map(|_| noise.below(20_000) as i32 - 10_000)
            .collect(),
        weights,
    }
}

/// A map of int8, channel last.
#[derive(Clone)]
struct Map {
    height: usize,
    width: usize,
    channels: usize,
    values: Vec<i8>,
}

impl Map {
    /// The value at a place; of those beyond the edges `beyond`, or the nearest one inside.
    fn at(&self, y: isize, x: isize, c: usize, beyond: Option<i8>) -> i64 {
        let nearest = |place: isize, len: usize| place.clamp(0, len as isize - 1);
        let (y, x) = match beyond {
            None => (nearest(y, self.height), nearest(x, self.width)),
            Some(_) => (y, x),
        };
        let inside = |place: isize, len: usize| usize::try_from(place).ok().filter(|p| *p < len);
        match (inside(y, self.height), inside(x, self.width)) {
            (Some(y), Some(x)) => self.values[(y * self.width + x) * self.channels + c].into(),
            _ => beyond.unwrap_or_default().into(),
        }
    }
}

fn high(a: i64, b: i64) -> i64 {
    (a * b) >> 32
}

/// The features of a frame, from the definition in the module's documentation.
fn naive(network: &TestNetwork, pixels: &[u8], height: usize, width: usize) -> Vec<i8> {
    let mut maps = vec![Map {
        height,
        width,
        channels: 3,
        values: pixels.iter().map(|&p| (i16::from(p) - 128) as i8).collect(),
    }];
    let mut zeros = vec![network.input_zero];
    for (number, layer) in network.layers.iter().enumerate() {
        let input = maps.last().unwrap();
        let zero = *zeros.last().unwrap();
        let (height, width) = (input.height / layer.stride, input.width / layer.stride);
        let mut values = Vec::new();
        for y in 0..height {
            for x in 0..width {
                for c in 0..layer.outputs {
                    let mut sum = i64::from(layer.biases[c]);
                    for ky in 0..layer.kernel {
                        for kx in 0..layer.kernel {
                            let iy = (y * layer.stride + ky) as isize - layer.pad as isize;
                            let ix = (x * layer.stride + kx) as isize - layer.pad as isize;
                            let tap = ky * layer.kernel + kx;
                            for i in 0..layer.inputs {
                                let weight = match layer.operation {
                                    Operation::Depthwise if i != c => continue,
                                    Operation::Depthwise => tap * layer.outputs + c,
                                    Operation::Pointwise => c * layer.inputs + i,
                                    Operation::Convolution => {
                                        let row = layer.weights.len() / layer.outputs;
                                        c * row + tap * layer.inputs + i
                                    }
                                };
                                let beyond = (!layer.replicate).then_some(zero);
                                sum +=
                                    i64::from(layer.weights[weight]) * input.at(iy, ix, i, beyond);
                            }
                        }
                    }
                    let mut scaled = high(sum, layer.multipliers[c].into());
                    if let Some(skip) = layer.skip {
                        let from = number - usize::from(skip.layers);
                        let value = maps[from].at(y as isize, x as isize, c, Some(0));
                        let difference = value - i64::from(zeros[from]);
                        scaled += high(difference << 22, skip.multiplier.into());
                    }
                    scaled +=
                        (i64::from(layer.output_zero) << layer.shift) + (1 << layer.shift >> 1);
                    values.push((scaled >> layer.shift).clamp(-128, 127) as i8);
                }
            }
        }
        zeros.push(layer.output_zero);
        maps.push(Map {
            height,
            width,
            channels: layer.outputs,
            values,
        });
    }
    let last = maps.last().unwrap();
    let mut features = Vec::new();
    for y in 0..last.height as isize {
        for x in 0..last.width as isize {
            let inside = |place: isize, len: usize| {
                (-1..=1)
                    .filter(|d| (0..len as isize).contains(&(place + d)))
                    .count() as i64
            };
            let count = inside(y, last.height) * inside(x, last.width);
            let gain = (i64::from(network.gain) + count / 2) / count;
            for (c, &centre) in network.centres.iter().enumerate() {
                let mut sum = -count * i64::from(centre);
                for dy in -1..=1 {
                    for dx in -1..=1 {
                        sum += last.at(y + dy, x + dx, c, Some(0));
                    }
                }
                let feature = (sum * gain + (1 << 15)) >> 16;
                features.push(feature.clamp(-127, 127) as i8);
            }
        }
    }
    features
}

fn streamed(bytes: &[u8], pixels: &[u8], height: usize, width: usize) -> Vec<i8> {
    let network = Network::from_bytes(bytes).unwrap();
    let grid = network.grid(height, width).unwrap();
    let mut scratch = vec![55; network.scratch_len(height, width).unwrap()];
    let mut stream = network.stream(height, width, &mut scratch).unwrap();
    let mut features = Vec::new();
    for (y, row) in pixels.chunks(pixels.len() / height).enumerate() {
        if y % 3 == 1 {
            let paused = stream.pause();
            stream = network.resume(paused, &mut scratch).unwrap();
        }
        stream.push_row(row).unwrap();
        while let Some(row) = stream.next_row() {
            assert_eq!(row.len(), grid.width() * network.dimension());
            features.extend_from_slice(row);
        }
    }
    assert_eq!(features.len(), grid.len() * network.dimension());
    assert_eq!(
        stream.push_row(&vec![0; width * 3]),
        Err(FrameError::RowCount)
    );
    features
}

fn frame(seed: u64, len: usize) -> Vec<u8> {
    Noise(seed).bytes(len).iter().map(|&b| b as u8).collect()
}

#[test]
fn a_streamed_frame_equals_the_naive_network() {
    for (kernel, channels) in [(3, 4), (5, 8), (5, 20), (3, 32)] {
        for (height, width) in [(4, 4), (8, 12), (20, 8), (24, 36)] {
            let mut network =
                TestNetwork::new(kernel as u64 * 100 + width as u64, kernel, channels);
            let pixels = frame(7, height * width * 3);
            let features = streamed(&network.bytes(), &pixels, height, width);
            assert!(features == naive(&network, &pixels, height, width));
            // Channel by channel: their centres alone would tell them apart.
            let channels = network.centres.len();
            let differ = |channel: &usize| {
                let mut values = features.iter().skip(*channel).step_by(channels);
                let first = values.next();
                values.any(|value| Some(value) != first)
            };
            let contrast = (0..channels).filter(differ).count();
            assert!(
                height * width == 16 || contrast > channels / 2,
                "{contrast}"
            );
            // All layers, then the first alone.
            for replicating in [network.layers.len(), 1] {
                for (number, layer) in network.layers.iter_mut().enumerate() {
                    layer.replicate = number < replicating;
                }
                let replicated = streamed(&network.bytes(), &pixels, height, width);
                assert!(replicated == naive(&network, &pixels, height, width));
                assert!(replicated != features, "the edges make no difference");
            }
        }
    }
}

#[test]
fn a_grey_frame_is_one_of_three_equal_colours() {
    let network = TestNetwork::new(5, 3, 8);
    let grey = frame(3, 16 * 24);
    let colour: Vec<u8> = grey.iter().flat_map(|&p| [p; 3]).collect();
    let bytes = network.bytes();
    assert_eq!(
        streamed(&bytes, &grey, 16, 24),
        streamed(&bytes, &colour, 16, 24)
    );
}

#[test]
fn frames_that_do_not_fit_are_refused() {
    let bytes = TestNetwork::new(5, 3, 8).bytes();
    let network = Network::from_bytes(&bytes).unwrap();
    assert_eq!(network.stride(), 4);
    for (height, width) in [(0, 4), (4, 0), (6, 4), (4, 6), (4100, 4), (4, 4100)] {
        assert!(network.scratch_len(height, width).is_none());
        let error = network.stream(height, width, &mut []).unwrap_err();
        assert_eq!(error, FrameError::Grid);
    }
    let needed = network.scratch_len(8, 8).unwrap();
    let mut scratch = vec![0; needed];
    let error = network.stream(8, 8, &mut scratch[1..]).unwrap_err();
    assert!(matches!(error, FrameError::Scratch { expected, .. } if expected == needed));
    let mut stream = network.stream(8, 8, &mut scratch).unwrap();
    assert!(matches!(
        stream.push_row(&[0; 23]),
        Err(FrameError::FeatureLength { .. })
    ));
    assert!(stream.next_row().is_none());
    let paused = stream.pause();
    let error = network.resume(paused.clone(), &mut scratch[1..]);
    assert!(matches!(error, Err(FrameError::Scratch { expected, .. }) if expected == needed));
    let other = TestNetwork::new(5, 3, 12).bytes();
    let other = Network::from_bytes(&other).unwrap();
    let error = other.resume(paused, &mut scratch).unwrap_err();
    assert_eq!(error, FrameError::Grid);
    // The scratch does not grow with the height.
    assert_eq!(network.scratch_len(800, 8), Some(needed));
}

#[test]
fn rows_that_wait_are_never_lost_silently() {
    let network = TestNetwork::new(9, 3, 8);
    let bytes = network.bytes();
    let network = Network::from_bytes(&bytes).unwrap();
    let mut scratch = vec![0; network.scratch_len(64, 8).unwrap()];
    let mut stream = network.stream(64, 8, &mut scratch).unwrap();
    let refused = (0..64).find(|_| stream.push_row(&[9; 24]).is_err());
    assert!(
        refused.is_some(),
        "rows are pushed over rows that were not used"
    );
}

#[test]
fn every_flipped_bit_and_truncation_is_refused() {
    let good = TestNetwork::new(1, 3, 4).bytes();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(Network::from_bytes(&bytes).is_err(), "bit {bit}");
    }
    for len in 0..good.len() {
        assert!(Network::from_bytes(&good[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn fields_that_do_not_hold_are_named() {
    let name = |change: &dyn Fn(&mut TestNetwork)| {
        let mut network = TestNetwork::new(1, 3, 4);
        change(&mut network);
        match Network::from_bytes(&network.bytes()) {
            Err(NetworkError::Field { name, layer }) => (name, layer),
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(name(&|n| n.layers.clear()), ("layers", None));
    assert_eq!(name(&|n| n.gain = 0), ("gain", None));
    assert_eq!(name(&|n| n.gain = u32::MAX), ("gain", None));
    assert_eq!(name(&|n| n.centres.truncate(3)), ("centres", None));
    assert_eq!(name(&|n| n.layers[1].inputs = 8), ("inputs", Some(1)));
    assert_eq!(name(&|n| n.layers[2].outputs = 7), ("outputs", Some(2)));
    assert_eq!(name(&|n| n.layers[1].stride = 3), ("stride", Some(1)));
    assert_eq!(name(&|n| n.layers[1].kernel = 0), ("kernel", Some(1)));
    assert_eq!(name(&|n| n.layers[4].pad = 3), ("pad", Some(4)));
    assert_eq!(
        name(&|n| n.layers[0].weights.truncate(3)),
        ("weights", Some(0))
    );
    assert_eq!(name(&|n| n.layers[0].shift = 31), ("shift", Some(0)));
    assert_eq!(
        name(&|n| n.layers[3].biases.truncate(3)),
        ("biases", Some(3))
    );
    assert_eq!(
        name(&|n| n.layers[3].biases[0] = i32::MIN),
        ("biases", Some(3))
    );
    let skip = |layers| {
        Some(Skip {
            layers,
            multiplier: 1,
        })
    };
    assert_eq!(name(&|n| n.layers[5].skip = skip(4)), ("skip", Some(5)));
    assert_eq!(name(&|n| n.layers[5].skip = skip(6)), ("skip", Some(5)));
    assert_eq!(name(&|n| n.layers[5].skip = skip(0)), ("skip", Some(5)));
    assert_eq!(name(&|n| n.layers[4].skip = skip(1)), ("skip", Some(4)));
}

#[test]
fn another_version_or_kind_of_file_is_refused_by_name() {
    let mut bytes = TestNetwork::new(1, 3, 4).bytes();
    bytes[4] = 2;
    let error = Network::from_bytes(&bytes).unwrap_err();
    assert_eq!(error, NetworkError::Version { found: 2 });
    bytes[3] = b'B';
    let error = Network::from_bytes(&bytes).unwrap_err();
    assert!(error.to_string().contains("VODN"), "{error}");
}

proptest! {
    #[test]
    fn any_body_is_survived(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Network::from_bytes(&wrap(&body));
    }

    /// Whatever passes the checks runs without a panic.
    #[test]
    fn a_changed_body_is_survived(
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        front in any::<bool>(),
    ) {
        let whole = TestNetwork::new(2, 3, 4).bytes();
        let mut body = whole[12..whole.len() - 4].to_vec();
        for (place, value) in changes {
            // The numbers in front decide on shapes.
            let place = if front { place.index(24) } else { place.index(body.len()) };
            body[place] = value;
        }
        let bytes = wrap(&body);
        if let Ok(network) = Network::from_bytes(&bytes) {
            let side = network.stride() * 3;
            let mut scratch = vec![0; network.scratch_len(side, side).unwrap()];
            let mut stream = network.stream(side, side, &mut scratch).unwrap();
            for row in frame(1, side * side * 3).chunks(side * 3) {
                stream.push_row(row).unwrap();
                while stream.next_row().is_some() {}
            }
        }
    }
}
