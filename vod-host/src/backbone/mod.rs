//! Backbones: from an input picture to raw feature maps.

mod convolution;
pub mod int8;
mod manifest;
mod pool;
mod tract;

use std::sync::Arc;

use image::RgbImage;
use ndarray::{Array3, ArrayView3};

pub use manifest::{
    Arithmetic, FeatureSpec, InputSpec, Layout, Manifest, Normalise, OutputSpec, Padding,
};
pub use pool::Pool;
pub use tract::TractBackbone;
pub(crate) use tract::hex;

use crate::bank_file::BankFile;
use crate::error::Result;
use crate::preprocess::Preprocess;

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

    /// Whether [`Self::calibrate`] makes another backbone.
    fn needs_calibration(&self) -> bool {
        false
    }

    /// The backbone that a fit on these references goes on with, where it depends on them; `None`
    /// where it is the same for all. `pictures` have the input size.
    ///
    /// # Errors
    /// Where the references can't be taken through the network.
    fn calibrate(
        &self,
        preprocess: &Preprocess,
        pictures: &[RgbImage],
    ) -> Result<Option<Arc<dyn Backbone>>> {
        let _ = (preprocess, pictures);
        Ok(None)
    }

    /// The network file that a bank has to carry, where [`Self::calibrate`] made one.
    fn network(&self) -> Option<&[u8]> {
        None
    }
}

/// Opens a backbone by its id (`edge`, `vit`, `edge-s8`, `edge-int8`) or by the path of a manifest.
///
/// # Errors
/// Where it is not to be found, or its file is not what the manifest says.
pub fn open(name: &str) -> Result<Box<dyn Backbone>> {
    let manifest = Manifest::find(name)?;
    Ok(match manifest.arithmetic {
        Arithmetic::Float => Box::new(TractBackbone::open(&manifest)?),
        Arithmetic::Int8 => Box::new(int8::UncalibratedBackbone::open(&manifest)?),
    })
}

/// The backbone of a bank: its own network where it carries one, otherwise `backbone`.
///
/// # Errors
/// [`crate::Error::BankBackbone`] for another backbone than the bank's, [`crate::Error::Model`] for a
/// damaged network.
pub fn of_bank(file: &BankFile, backbone: &dyn Backbone) -> Result<Option<Arc<dyn Backbone>>> {
    file.check_backbone(backbone)?;
    let network = &file.host().network;
    if network.is_empty() {
        return Ok(None);
    }
    let own = int8::Int8Backbone::new(backbone.manifest(), network.clone())?;
    Ok(Some(Arc::new(own)))
}
