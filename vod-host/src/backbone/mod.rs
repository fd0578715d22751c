//! Backbones: from an input picture to raw feature maps.

mod manifest;
mod tract;

use ndarray::{Array3, ArrayView3};

pub use manifest::{FeatureSpec, InputSpec, Layout, Manifest, Normalise, OutputSpec};
pub use tract::TractBackbone;
pub(crate) use tract::hex;

use crate::error::Result;

/// A network that turns a picture into feature maps. Runs of several threads at a time are fine.
pub trait Backbone: Send + Sync {
    /// What the network is and how its input and outputs are to be read.
    fn manifest(&self) -> &Manifest;

    /// Feature maps of one picture, in the order of the manifest's `features.outputs`, each
    /// `[height, width, channels]`.
    ///
    /// `input` is `[3, height, width]`, normalised; its sides are multiples of the manifest's.
    ///
    /// # Errors
    /// [`crate::Error::Model`] where the network can't be run at this size or gives outputs of
    /// another shape than the manifest promises.
    fn run(&self, input: ArrayView3<f32>) -> Result<Vec<Array3<f32>>>;
}

/// Opens a backbone by its id (`edge`, `vit`) or by the path of a manifest.
///
/// # Errors
/// Where it is not to be found, or its file is not what the manifest says.
pub fn open(name: &str) -> Result<Box<dyn Backbone>> {
    Ok(Box::new(TractBackbone::open(&Manifest::find(name)?)?))
}
