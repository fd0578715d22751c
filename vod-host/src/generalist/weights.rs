//! Weights files (`.vodw`): magic, version, length, postcard body, CRC-32 (`docs/weights-format.md`).

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::normal::{NormalStatistics, Scale};
use crate::backbone::{Backbone, FeatureSpec};
use crate::bank_file::{unwrap_body, wrap, write_file};
use crate::error::{Error, Result};
use crate::fit::Space;
use crate::preprocess::{ExactSize, Preprocess, ShortSide, SizeRule};

const MAGIC: [u8; 4] = *b"VODW";
const VERSION: u16 = 1;

/// A trained generalist, and everything that its targets must have in common with its sources.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Weights {
    /// Version of the program that trained it.
    pub vod_version: String,
    /// Id of the backbone.
    pub backbone_id: String,
    /// SHA-256 of the backbone's file, lower-case hexadecimal.
    pub backbone_sha256: String,
    /// From image to the backbone's input.
    pub preprocess: Preprocess,
    /// From the backbone's outputs to patch features.
    pub features: FeatureSpec,
    /// What is weighed: sorted values, or for comparison residuals as they are.
    pub space: Space,
    /// What they are divided by.
    pub scale: Scale,
    /// Weight of each divided value, the smallest value first, `[D]`.
    pub weights: Vec<f32>,
    /// What it was trained on.
    pub sources: Vec<Source>,
    /// What may be done with it, for people.
    pub licence: String,
}

/// One set that a generalist was trained on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Source {
    /// Name of its folder.
    pub name: String,
    /// Banks that were fitted on it.
    pub targets: u32,
    /// Patches of pasted anomalies.
    pub synthetic: u64,
    /// Patches of real anomalies.
    pub real: u64,
}

impl Weights {
    /// Reads and checks a weights file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Weights`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(&bytes, path)
    }

    /// Checks a weights file in memory; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Weights`].
    pub fn from_bytes(bytes: &[u8], path: &Path) -> Result<Self> {
        let bad = |reason: String| Error::Weights {
            path: path.to_path_buf(),
            reason,
        };
        let body = unwrap_body(bytes, MAGIC, VERSION).map_err(bad)?;
        let weights: Self = match postcard::take_from_bytes(body) {
            Ok((weights, [])) => weights,
            Ok(_) => return Err(bad("its body has bytes left over".into())),
            Err(e) => return Err(bad(format!("its body can't be decoded ({e})"))),
        };
        if weights.weights.is_empty() || weights.weights.iter().any(|w| !w.is_finite()) {
            return Err(bad("its weights are missing or no numbers".into()));
        }
        Ok(weights)
    }

    /// The file's bytes.
    ///
    /// # Errors
    /// [`Error::Fit`] where they can't be encoded.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let body = postcard::to_stdvec(self).map_err(|e| Error::Fit(e.to_string()))?;
        wrap(MAGIC, VERSION, &body)
    }

    /// Writes the file; an existing one is replaced only with `force`, and only by a whole one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        write_file(path, &self.to_bytes()?, force)
    }

    /// Where the weights of a backbone are that come with the program: beside its model.
    pub fn default_path(backbone: &dyn Backbone) -> Option<PathBuf> {
        let manifest = backbone.manifest();
        let path = manifest
            .file
            .with_file_name(format!("generalist-{}.vodw", manifest.id));
        path.is_file().then_some(path)
    }

    /// Refuses a backbone or a preprocessing that the weights were not trained with.
    ///
    /// # Errors
    /// [`Error::WeightsBackbone`], [`Error::WeightsPreprocess`].
    pub fn check(&self, backbone: &dyn Backbone, preprocess: &Preprocess) -> Result<()> {
        let manifest = backbone.manifest();
        let same_model = self.backbone_sha256.eq_ignore_ascii_case(&manifest.sha256);
        if !same_model || self.features != manifest.features {
            return Err(Error::WeightsBackbone {
                expected_id: self.backbone_id.clone(),
                expected: self.backbone_sha256.clone(),
                found_id: manifest.id.clone(),
                found: manifest.sha256.clone(),
            });
        }
        let (trained, found) = (describe(&self.preprocess), describe(preprocess));
        if trained == found {
            return Ok(());
        }
        Err(Error::WeightsPreprocess {
            expected: trained,
            found,
        })
    }

    /// Refuses another kind or number of values.
    ///
    /// # Errors
    /// [`Error::Data`].
    pub(crate) fn check_space(&self, space: Space, dimension: usize) -> Result<()> {
        if self.space == space && self.weights.len() == dimension {
            return Ok(());
        }
        Err(Error::Data(format!(
            "the weights are for {} x {:?}, {dimension} x {space:?} is wanted",
            self.weights.len(),
            self.space
        )))
    }

    /// Weights of a target's values in int8 units, `[D]`.
    pub(crate) fn for_target(&self, normal: &NormalStatistics) -> Vec<f64> {
        let units = normal.units(self.scale);
        let weights = self.weights.iter().zip(units);
        weights.map(|(w, unit)| f64::from(*w) / unit).collect()
    }
}

/// What residuals at the input size depend on in a preprocessing: the size of a patch on the object, the
/// border, and the colours.
/// Images of one exact size have it by their shorter side.
fn describe(preprocess: &Preprocess) -> String {
    let side = match preprocess.size {
        SizeRule::ShortSide(ShortSide { side, .. }) => side,
        SizeRule::Exact(ExactSize { width, height }) => width.min(height),
    };
    let tile = preprocess
        .tile
        .map_or_else(|| "no tiles".into(), |tile| format!("tiles of {tile} px"));
    let border = match preprocess.mirror.at(0) {
        0 => String::new(),
        pixels => format!("mirrored by {pixels} px, "),
    };
    format!(
        "shorter side {side} px, {border}{tile}, {:?}, mean {:?}, std {:?}",
        preprocess.colour, preprocess.mean, preprocess.std
    )
}

#[cfg(test)]
mod tests {
    use vod_core::ValueKind;

    use super::*;
    use crate::backbone::{Normalise, Pool};
    use crate::preprocess::{Colour, Mirror};

    fn weights() -> Weights {
        Weights {
            vod_version: "1".into(),
            backbone_id: "edge".into(),
            backbone_sha256: "00".repeat(32),
            preprocess: Preprocess {
                size: SizeRule::Exact(ExactSize {
                    width: 64,
                    height: 32,
                }),
                mirror: Mirror::NONE,
                tile: None,
                colour: Colour::Rgb,
                mean: [0.0; 3],
                std: [1.0; 3],
            },
            features: FeatureSpec {
                stride: 8,
                outputs: vec!["s8".into()],
                pool: Pool::Mean(3),
                normalise: Normalise::Unit,
            },
            space: Space::Values(ValueKind::Signed),
            scale: Scale::Length,
            weights: vec![-1.0, 0.5],
            sources: Vec::new(),
            licence: "MIT".into(),
        }
    }

    #[test]
    fn weights_come_back_as_they_were() {
        let bytes = weights().to_bytes().unwrap();
        let read = Weights::from_bytes(&bytes, Path::new("w")).unwrap();
        assert_eq!(read, weights());
    }

    #[test]
    fn every_damaged_byte_and_every_cut_is_refused() {
        let bytes = weights().to_bytes().unwrap();
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert!(
                Weights::from_bytes(&damaged, Path::new("w")).is_err(),
                "{i}"
            );
            assert!(Weights::from_bytes(&bytes[..i], Path::new("w")).is_err());
        }
    }

    #[test]
    fn weights_that_are_no_numbers_are_refused() {
        for bad in [vec![], vec![f32::NAN]] {
            let bytes = Weights {
                weights: bad,
                ..weights()
            };
            let bytes = bytes.to_bytes().unwrap();
            let error = Weights::from_bytes(&bytes, Path::new("w")).unwrap_err();
            assert!(error.to_string().contains("missing or no numbers"));
        }
    }
}
