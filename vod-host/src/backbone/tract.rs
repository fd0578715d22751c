//! The tract runtime: pure Rust, no installation.

use std::collections::VecDeque;
use std::io::Cursor;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use ndarray::{Array3, ArrayView3, Axis, Ix3, Ix4};
use tract_onnx::prelude::*;

use super::convolution::replace_products;
use super::{Backbone, Layout, Manifest, OutputSpec};
use crate::error::{Error, Result};

/// Networks optimised for one input size each that are kept; each holds its own packed weights.
const KEPT_PLANS: usize = 6;

type Plan = Arc<TypedRunnableModel>;

/// A backbone that tract runs, one thread a picture.
pub struct TractBackbone {
    manifest: Manifest,
    graph: InferenceModel,
    /// Most recently used last.
    plans: Mutex<VecDeque<((usize, usize), Plan)>>,
}

impl TractBackbone {
    /// Loads the model file of a manifest.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ModelHash`] for another file, [`Error::Model`] where it is no ONNX
    /// graph or lacks an output of the manifest.
    pub fn open(manifest: &Manifest) -> Result<Self> {
        let path = &manifest.file;
        let bytes = manifest.read_model()?;
        let model = |reason: String| Error::Model {
            path: path.clone(),
            reason,
        };
        let graph = tract_onnx::onnx()
            .model_for_read(&mut Cursor::new(bytes))
            .map_err(|e| model(format!("not an ONNX model that tract reads: {}", line(&e))))?;
        let present: Vec<String> = graph
            .output_outlets()
            .map_err(|e| model(line(&e)))?
            .iter()
            .map(|outlet| output_name(&graph, *outlet))
            .collect();
        for name in &manifest.features.outputs {
            if !present.contains(name) {
                return Err(model(format!(
                    "the manifest expects an output `{name}`, the model has {}",
                    present.join(", ")
                )));
            }
        }
        let wanted: Vec<OutletId> = manifest
            .features
            .outputs
            .iter()
            .filter_map(|name| present.iter().position(|p| p == name))
            .map(|index| graph.outputs[index])
            .collect();
        let mut graph = graph;
        graph
            .select_output_outlets(&wanted)
            .map_err(|e| model(line(&e)))?;
        Ok(Self {
            manifest: manifest.clone(),
            graph,
            plans: Mutex::default(),
        })
    }

    fn wrong(&self, reason: String) -> Error {
        Error::Model {
            path: self.path().clone(),
            reason,
        }
    }

    fn path(&self) -> &PathBuf {
        &self.manifest.file
    }

    /// The network for one input size, optimised at its first use.
    fn plan(&self, height: usize, width: usize) -> Result<Plan> {
        // The lock is held while a plan is made, so that threads that want the same wait for it.
        let mut plans = self
            .plans
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(index) = plans.iter().position(|(size, _)| *size == (height, width)) {
            if let Some(entry) = plans.remove(index) {
                plans.push_back(entry);
            }
        } else {
            let plan = self.optimise(height, width).map_err(|e| {
                self.wrong(format!(
                    "can't run at {width}x{height} pixels: {}",
                    line(&e)
                ))
            })?;
            if plans.len() == KEPT_PLANS {
                plans.pop_front();
            }
            plans.push_back(((height, width), plan));
        }
        plans
            .back()
            .map(|(_, plan)| plan.clone())
            .ok_or_else(|| self.wrong("no plan".into()))
    }

    fn optimise(&self, height: usize, width: usize) -> TractResult<Plan> {
        let mut graph = self
            .graph
            .clone()
            .with_input_fact(0, f32::fact([1, 3, height, width]).into())?
            .into_typed()?;
        replace_products(&mut graph)?;
        graph.into_decluttered()?.into_optimized()?.into_runnable()
    }

    /// One output as `[height, width, channels]`.
    fn feature_map(
        &self,
        spec: &OutputSpec,
        value: &Tensor,
        input: [usize; 2],
    ) -> Result<Array3<f32>> {
        let (height, width) = (
            input[0] / spec.stride as usize,
            input[1] / spec.stride as usize,
        );
        let expected = match spec.layout {
            Layout::Grid => vec![1, spec.channels, height, width],
            Layout::Tokens => vec![1, spec.prefix_tokens + height * width, spec.channels],
        };
        if value.shape() != expected {
            return Err(self.wrong(format!(
                "output `{}` is {:?}, the manifest expects {expected:?}",
                spec.name,
                value.shape()
            )));
        }
        let view = value
            .to_plain_array_view::<f32>()
            .map_err(|e| self.wrong(line(&e)))?;
        let shape = |e: ndarray::ShapeError| self.wrong(e.to_string());
        let map = match spec.layout {
            Layout::Grid => {
                let view = view.into_dimensionality::<Ix4>().map_err(shape)?;
                view.index_axis_move(Axis(0), 0)
                    .permuted_axes([1, 2, 0])
                    .as_standard_layout()
                    .into_owned()
            }
            Layout::Tokens => {
                let view = view.into_dimensionality::<Ix3>().map_err(shape)?;
                let patches = view.index_axis_move(Axis(0), 0);
                let patches = patches.slice_move(ndarray::s![spec.prefix_tokens.., ..]);
                patches
                    .as_standard_layout()
                    .into_owned()
                    .into_shape_with_order((height, width, spec.channels))
                    .map_err(shape)?
            }
        };
        if map.iter().any(|v| !v.is_finite()) {
            return Err(self.wrong(format!("output `{}` holds NaN or infinity", spec.name)));
        }
        Ok(map)
    }
}

impl Backbone for TractBackbone {
    fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    fn run(&self, input: ArrayView3<f32>) -> Result<Vec<Array3<f32>>> {
        let (_, height, width) = input.dim();
        let plan = self.plan(height, width)?;
        let batch = input.insert_axis(Axis(0));
        let batch = batch.as_standard_layout();
        let values = batch
            .as_slice()
            .ok_or_else(|| self.wrong("input layout".into()))?;
        let tensor =
            Tensor::from_shape(&[1, 3, height, width], values).map_err(|e| self.wrong(line(&e)))?;
        let outputs = plan
            .run(tvec!(tensor.into()))
            .map_err(|e| self.wrong(line(&e)))?;
        self.manifest
            .features
            .outputs
            .iter()
            .zip(outputs)
            .map(|(name, value)| {
                let spec = self
                    .manifest
                    .output(name)
                    .ok_or_else(|| self.wrong(format!("no output `{name}`")))?;
                self.feature_map(spec, &value, [height, width])
            })
            .collect()
    }
}

fn output_name(graph: &InferenceModel, outlet: OutletId) -> String {
    graph
        .outlet_label(outlet)
        .map_or_else(|| graph.node(outlet.node).name.clone(), str::to_string)
}

/// An error chain in one line.
fn line(error: &TractError) -> String {
    format!("{error:#}").replace('\n', " ")
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a String can't fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}
