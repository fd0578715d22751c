//! From floating point to int8: ranges of the values between layers, weights, multipliers.

use std::io::Cursor;

use image::RgbImage;
use rayon::prelude::*;
use tract_onnx::prelude::*;
use vod_core::conv::{
    GAIN_BITS, LayerParts, MAGIC, MAX_GAIN, Network, NetworkError, NetworkParts, Operation,
    REPLICATE, SKIP_BITS, Skip, VERSION,
};

use super::float::{FloatLayer, FloatNetwork};
use super::{Manifest, features};
use crate::backbone::Padding;
use crate::bank_file::wrap;
use crate::error::{Error, Result};
use crate::fit::range_limit;
use crate::preprocess::{Colour, Preprocess};

/// Largest size of an int8 weight.
const WEIGHT_LIMIT: f64 = 127.0;
/// Steps of an activation.
const STEPS: f64 = 255.0;
/// Upper limit of the activation function.
const RELU6: f32 = 6.0;
/// Largest bias that is aimed at; the format takes a little more.
const BIAS_LIMIT: f64 = (1u64 << 29) as f64;
/// Gain with which features are looked at before theirs is known: no value is clipped.
const TRIAL_GAIN: u32 = 1 << (GAIN_BITS - 1);

/// Scale and zero point of the values between two layers: `value = (q - zero) * scale`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Quantisation {
    scale: f64,
    zero: i8,
}

impl Quantisation {
    /// The whole of `-128..=127` for the values from `low` to `high`, and exactly 0 among them.
    fn of_range(low: f32, high: f32) -> Self {
        let (low, high) = (f64::from(low.min(0.0)), f64::from(high.max(0.0)));
        let scale = ((high - low) / STEPS).max(1e-9);
        let zero = (-128.0 - low / scale).round().clamp(-128.0, 127.0);
        Self {
            scale,
            zero: zero as i8,
        }
    }
}

/// Makes the network file of a model for pictures like `pictures`.
///
/// # Errors
/// [`Error::Data`] without pictures, [`Error::Model`] where the model can't be run or its numbers
/// leave the format's range.
pub(crate) fn calibrate(
    manifest: &Manifest,
    model: &[u8],
    network: &FloatNetwork,
    preprocess: &Preprocess,
    pictures: &[RgbImage],
) -> Result<Vec<u8>> {
    if pictures.is_empty() {
        return Err(Error::Data(
            "no picture to calibrate the backbone on".into(),
        ));
    }
    let wrong = |reason: String| Error::Model {
        path: manifest.file.clone(),
        reason,
    };
    let ranges = ranges(model, network, preprocess, pictures)
        .map_err(|e| wrong(format!("calibration: {e:#}").replace('\n', " ")))?;
    let spec = &manifest.input;
    let (mean, std) = (spec.mean[0], spec.std[0]);
    let plain = spec.mean == [mean; 3] && spec.std == [std; 3] && mean.fract() == 0.0;
    if !plain || spec.colour != Colour::Rgb {
        return Err(wrong(
            "int8 needs RGB, and one whole mean and one std for all colours".into(),
        ));
    }
    let input = Quantisation {
        scale: 1.0 / f64::from(std),
        zero: (mean - 128.0) as i8,
    };
    let mut quantisations = vec![input];
    let mut layers = Vec::new();
    for (number, (layer, (low, high))) in network.layers.iter().zip(ranges).enumerate() {
        let output = if layer.relu6 {
            Quantisation::of_range(0.0, high.min(RELU6))
        } else {
            Quantisation::of_range(low, high)
        };
        let around = layer.skip.map(|back| quantisations[number - back]);
        let quantised = quantise(layer, quantisations[number], output, around);
        layers.push(quantised.map_err(|reason| wrong(format!("`{}`: {reason}", layer.output)))?);
        quantisations.push(output);
    }
    let channels = network.layers.last().map_or(0, |layer| layer.outputs);
    let padding = spec.padding;
    let encode = |gain, centres: &[i8]| encode(input.zero, gain, centres, &layers, padding);

    // Centres and gain from the features of the pictures themselves.
    let trial = all_features(&encode(TRIAL_GAIN, &vec![0; channels])?, pictures)?;
    let centres: Vec<i8> = (0..channels)
        .map(|channel| {
            let values = trial.iter().skip(channel).step_by(channels);
            let sum: i64 = values.map(|&v| i64::from(v)).sum();
            let mean = sum as f64 / (trial.len() / channels).max(1) as f64;
            // Two units of the last layer are one of the trial.
            (mean * 2.0).round().clamp(-128.0, 127.0) as i8
        })
        .collect();
    let trial = all_features(&encode(TRIAL_GAIN, &centres)?, pictures)?;
    let limit = range_limit(trial.iter().map(|&v| f32::from(v)));
    let gain = f64::from(TRIAL_GAIN) * 127.0 / f64::from(limit.max(1.0));
    encode(gain.round().min(f64::from(MAX_GAIN)) as u32, &centres)
}

/// Lowest and highest value of each layer's output over the pictures.
fn ranges(
    model: &[u8],
    network: &FloatNetwork,
    preprocess: &Preprocess,
    pictures: &[RgbImage],
) -> TractResult<Vec<(f32, f32)>> {
    let names: Vec<&str> = network.layers.iter().map(|l| l.output.as_str()).collect();
    let mut graph = tract_onnx::onnx().model_for_read(&mut Cursor::new(model))?;
    graph.select_outputs_by_name(&names)?;
    let mut ranges = vec![(f32::MAX, f32::MIN); names.len()];
    let mut plan = None;
    for picture in pictures {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let shape = [1, 3, height, width];
        let runnable = match &plan {
            Some((known, runnable)) if *known == shape => runnable,
            _ => {
                let model = graph.clone().with_input_fact(0, f32::fact(shape).into())?;
                let runnable = model.into_optimized()?.into_runnable()?;
                &plan.insert((shape, runnable)).1
            }
        };
        let planes = preprocess.planes(picture, 0);
        let values: Vec<f32> = planes.iter().copied().collect();
        let outputs = runnable.run(tvec!(Tensor::from_shape(&shape, &values)?.into()))?;
        for ((low, high), output) in ranges.iter_mut().zip(outputs) {
            for &value in output.to_plain_array_view::<f32>()? {
                *low = low.min(value);
                *high = high.max(value);
            }
        }
    }
    Ok(ranges)
}

/// A layer in int8.
struct QuantisedLayer<'l> {
    layer: &'l FloatLayer,
    output_zero: i8,
    shift: u32,
    skip_multiplier: i32,
    weights: Vec<i8>,
    multipliers: Vec<i32>,
    biases: Vec<i32>,
}

fn quantise(
    layer: &FloatLayer,
    input: Quantisation,
    output: Quantisation,
    around: Option<Quantisation>,
) -> std::result::Result<QuantisedLayer<'_>, String> {
    let mut scales = Vec::new();
    let mut biases = Vec::new();
    let mut rows = Vec::new();
    for (channel, &bias) in layer.biases.iter().enumerate() {
        let weights = layer.weights_of(channel);
        let largest = weights.iter().fold(0.0f32, |max, w| max.max(w.abs()));
        let bias = f64::from(bias);
        // A channel of a large bias and tiny weights is coarser, so that the bias stays in range.
        let scale = (f64::from(largest) / WEIGHT_LIMIT)
            .max(bias.abs() / (input.scale * BIAS_LIMIT))
            .max(1e-12);
        let row: Vec<i8> = weights
            .iter()
            .map(|&w| (f64::from(w) / scale).round() as i8)
            .collect();
        let sum: i64 = row.iter().map(|&w| i64::from(w)).sum();
        let bias = (bias / (input.scale * scale)).round() as i64 - i64::from(input.zero) * sum;
        biases.push(i32::try_from(bias).map_err(|_| "a bias is too large")?);
        scales.push(input.scale * scale / output.scale);
        rows.push(row);
    }
    let weights = match layer.operation {
        Operation::Depthwise => {
            let taps = layer.kernel * layer.kernel;
            (0..taps)
                .flat_map(|tap| rows.iter().map(move |row| row[tap]))
                .collect()
        }
        Operation::Pointwise | Operation::Convolution => rows.concat(),
    };
    let largest = scales.iter().copied().fold(0.0, f64::max);
    let skip = around.map_or(0.0, |around| around.scale / output.scale);
    let fits = |shift: &u32| {
        let factor = 2f64.powi(32 + *shift as i32);
        let limit = f64::from(i32::MAX);
        largest * factor <= limit && skip * factor / f64::from(1 << SKIP_BITS) <= limit
    };
    let shift = (1..=20).rev().find(fits);
    let shift = shift.ok_or("its outputs span too little for its weights")?;
    let factor = 2f64.powi(32 + shift as i32);
    Ok(QuantisedLayer {
        layer,
        output_zero: output.zero,
        shift,
        skip_multiplier: (skip * factor / f64::from(1 << SKIP_BITS)).round() as i32,
        weights,
        multipliers: scales.iter().map(|s| (s * factor).round() as i32).collect(),
        biases,
    })
}

/// The bytes of a network file (`docs/network-format.md`).
fn encode(
    input_zero: i8,
    gain: u32,
    centres: &[i8],
    layers: &[QuantisedLayer],
    padding: Padding,
) -> Result<Vec<u8>> {
    let failed = |e: postcard::Error| Error::Fit(e.to_string());
    let mut body = postcard::to_stdvec(&NetworkParts {
        input_zero,
        gain,
        centres: bytemuck::cast_slice(centres),
        layers: layers.len() as u8,
    })
    .map_err(failed)?;
    for quantised in layers {
        let layer = quantised.layer;
        let words =
            |words: &[i32]| -> Vec<u8> { words.iter().flat_map(|w| w.to_le_bytes()).collect() };
        let parts = LayerParts {
            operation: layer.operation,
            kernel: layer.kernel as u8,
            stride: layer.stride as u8,
            pad: match padding {
                Padding::Replicate if layer.kernel > 1 => layer.pad as u8 | REPLICATE,
                Padding::Replicate | Padding::Model => layer.pad as u8,
            },
            inputs: layer.inputs as u16,
            outputs: layer.outputs as u16,
            output_zero: quantised.output_zero,
            shift: quantised.shift as u8,
            skip: layer.skip.map(|layers| Skip {
                layers: layers as u8,
                multiplier: quantised.skip_multiplier,
            }),
            weights: bytemuck::cast_slice(&quantised.weights),
            multipliers: &words(&quantised.multipliers),
            biases: &words(&quantised.biases),
        };
        body.extend(postcard::to_stdvec(&parts).map_err(failed)?);
    }
    let bytes = wrap(MAGIC, VERSION, &body)?;
    let checked = Network::from_bytes(&bytes).map(|_| ());
    checked.map_err(|e: NetworkError| Error::Fit(e.to_string()))?;
    Ok(bytes)
}

/// Features of all pictures, one after the other.
fn all_features(bytes: &[u8], pictures: &[RgbImage]) -> Result<Vec<i8>> {
    let network = Network::from_bytes(bytes).map_err(|e| Error::Fit(e.to_string()))?;
    let parts: Vec<Vec<i8>> = pictures
        .par_iter()
        .map(|picture| {
            let (width, height) = picture.dimensions();
            features(&network, picture.as_raw(), height as usize, width as usize)
        })
        .collect::<Result<_>>()?;
    Ok(parts.concat())
}
