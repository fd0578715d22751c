//! Backbones in int8 that a microcontroller runs: `vod_core::conv`, calibrated on the references.
//!
//! The model file gives weights in floating point; a fit takes the reference pictures through it,
//! sees which values occur between layers, and makes a network file of int8 weights and activations
//! (`calibrate.rs`). The bank carries that file. What scores on the host is the very code that the
//! device runs.

mod calibrate;
mod float;

use std::path::PathBuf;
use std::sync::Arc;

use image::RgbImage;
use ndarray::{Array3, ArrayView3};
use vod_core::conv::{COLOURS, Network};

use super::{Backbone, Manifest};
use crate::error::{Error, Result};
use crate::preprocess::Preprocess;
use float::FloatNetwork;

use calibrate::calibrate;

/// A model whose weights are in floating point until a fit calibrates them.
pub struct UncalibratedBackbone {
    manifest: Manifest,
    model: Vec<u8>,
    network: FloatNetwork,
}

impl UncalibratedBackbone {
    /// Reads the model file of a manifest.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ModelHash`] for another file, [`Error::Model`] where it has layers
    /// that `vod_core::conv` has not.
    pub fn open(manifest: &Manifest) -> Result<Self> {
        let model = manifest.read_model()?;
        let wrong = |reason| Error::Model {
            path: manifest.file.clone(),
            reason,
        };
        let network = FloatNetwork::read(manifest, &model).map_err(wrong)?;
        Ok(Self {
            manifest: manifest.clone(),
            model,
            network,
        })
    }
}

impl Backbone for UncalibratedBackbone {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn run(&self, _: ArrayView3<f32>) -> Result<Vec<Array3<f32>>> {
        Err(Error::Model {
            path: self.manifest.file.clone(),
            reason: format!(
                "backbone `{}` is calibrated by a fit, and scores with the bank that came of it",
                self.manifest.id
            ),
        })
    }

    fn needs_calibration(&self) -> bool {
        true
    }

    fn calibrate(
        &self,
        preprocess: &Preprocess,
        pictures: &[RgbImage],
    ) -> Result<Option<Arc<dyn Backbone>>> {
        let bytes = calibrate(
            &self.manifest,
            &self.model,
            &self.network,
            preprocess,
            pictures,
        )?;
        Ok(Some(Arc::new(Int8Backbone::new(&self.manifest, bytes)?)))
    }
}

/// A calibrated int8 network.
pub struct Int8Backbone {
    manifest: Manifest,
    bytes: Vec<u8>,
}

impl Int8Backbone {
    /// A backbone from a network file's bytes (of a bank).
    ///
    /// # Errors
    /// [`Error::Model`] where they are no network, or one that the manifest does not describe.
    pub fn new(manifest: &Manifest, bytes: Vec<u8>) -> Result<Self> {
        let wrong = |reason: String| Error::Model {
            path: PathBuf::from("int8 network of the bank"),
            reason,
        };
        let (dimension, stride) = Network::from_bytes(&bytes)
            .map(|network| (network.dimension(), network.stride()))
            .map_err(|e| wrong(e.to_string()))?;
        let output = match manifest.features.outputs.as_slice() {
            [name] => manifest.output(name),
            _ => None,
        };
        let spec = output.ok_or_else(|| wrong("the manifest has several outputs".into()))?;
        if dimension != spec.channels || stride != spec.stride as usize {
            return Err(wrong(format!(
                "it gives {dimension} channels at stride {stride}, the manifest expects {} at {}",
                spec.channels, spec.stride
            )));
        }
        Ok(Self {
            manifest: manifest.clone(),
            bytes,
        })
    }

    fn wrong(&self, reason: impl ToString) -> Error {
        Error::Model {
            path: self.manifest.file.clone(),
            reason: reason.to_string(),
        }
    }
}

/// Takes a whole frame of `[height, width, 3]` pixels through a network; `[height, width, channels]`
/// int8 features.
///
/// # Errors
/// [`Error::Frame`] where the network does not take the size.
pub fn features(network: &Network, pixels: &[u8], height: usize, width: usize) -> Result<Vec<i8>> {
    let grid = network.grid(height, width);
    let needed = network.scratch_len(height, width);
    let (grid, needed) = grid.zip(needed).ok_or(vod_core::FrameError::Grid)?;
    let mut scratch = vec![0; needed];
    let mut stream = network.stream(height, width, &mut scratch)?;
    let mut features = Vec::with_capacity(grid.len() * network.dimension());
    for row in pixels.chunks_exact(width * COLOURS) {
        stream.push_row(row)?;
        while let Some(row) = stream.next_row() {
            features.extend_from_slice(row);
        }
    }
    Ok(features)
}

impl Backbone for Int8Backbone {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn run(&self, input: ArrayView3<f32>) -> Result<Vec<Array3<f32>>> {
        let (_, height, width) = input.dim();
        let spec = &self.manifest.input;
        let mut pixels = Vec::with_capacity(height * width * COLOURS);
        for y in 0..height {
            for x in 0..width {
                for c in 0..COLOURS {
                    let value = input[[c, y, x]] * spec.std[c] + spec.mean[c];
                    pixels.push(value.round().clamp(0.0, 255.0) as u8);
                }
            }
        }
        let network = Network::from_bytes(&self.bytes).map_err(|e| self.wrong(e))?;
        let features = features(&network, &pixels, height, width)?;
        let stride = network.stride();
        let shape = (height / stride, width / stride, network.dimension());
        let values = features.into_iter().map(f32::from).collect();
        let map = Array3::from_shape_vec(shape, values).map_err(|e| self.wrong(e))?;
        Ok(vec![map])
    }

    fn network(&self) -> Option<&[u8]> {
        Some(&self.bytes)
    }
}
