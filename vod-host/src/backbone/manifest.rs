//! `models/*.toml`: what a backbone file is, what it takes, what it gives.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vod_core::Levels;

use super::{Pool, hex};
use crate::error::{Error, Result};
use crate::preprocess::{Colour, Mirror};

/// A backbone's manifest. Formats: `models/README.md`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Short name, written into banks.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Model file, relative to the manifest.
    pub file: PathBuf,
    /// SHA-256 of the model file, 64 hexadecimal digits.
    pub sha256: String,
    /// Licence of the weights (SPDX expression).
    pub licence: String,
    /// Where the weights are from.
    pub provenance: String,
    /// The input.
    pub input: InputSpec,
    /// Outputs of the model file that may be used.
    pub outputs: Vec<OutputSpec>,
    /// How a patch feature is put together.
    pub features: FeatureSpec,
    /// What the network is computed in.
    #[serde(default)]
    pub arithmetic: Arithmetic,
    /// Most bytes that a bank's reference rows take unless the user asks for another number.
    #[serde(default = "default_row_bytes")]
    pub row_bytes: usize,
    /// Bytes of rows for each reference, within `row_bytes`; fewer than four count as
    /// four. `row_bytes` for any number of them if `None`.
    pub row_bytes_per_reference: Option<usize>,
}

/// Longest mirrored border, pixels.
const MAX_MIRROR: u32 = 1024;
/// References that get a bank of the same size as fewer do.
const FEW_REFERENCES: usize = 4;

fn default_row_bytes() -> usize {
    1 << 20
}

/// What a network is computed in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Arithmetic {
    /// As the model file is, by an inference runtime.
    #[default]
    Float,
    /// In int8 by `vod_core::conv`, calibrated on the references; features are pooled there.
    Int8,
}

/// What a convolution sees beyond the edges of its input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Padding {
    /// What the model file says: zeros, as a rule.
    #[default]
    Model,
    /// The outermost values again, for [`Arithmetic::Int8`]: zeros look like a defect at the edge.
    Replicate,
}

/// A model's input, `[1, 3, height, width]`.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputSpec {
    /// Name in the graph.
    pub name: String,
    /// Height and width are multiples of this, pixels.
    pub multiple: u32,
    /// Colour order.
    pub colour: Colour,
    /// Subtracted, per colour, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Divided by, per colour, on the scale 0 to 255.
    pub std: [f32; 3],
    /// Shorter side that is used unless the user asks for another, pixels.
    pub default_size: u32,
    /// Border by which an input is continued beyond its edges.
    #[serde(default)]
    pub mirror: Mirror,
    /// What convolutions see beyond the edges of their inputs.
    #[serde(default)]
    pub padding: Padding,
    /// Sizes at which banks look at frames, each half of the one before, unless the user asks for
    /// another number of levels.
    #[serde(default = "one")]
    pub levels: usize,
}

fn one() -> usize {
    1
}

impl InputSpec {
    /// The levels that banks look at.
    pub fn levels(&self) -> Levels {
        Levels::from_count(self.levels).unwrap_or(Levels::One)
    }
}

/// One output of a model.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputSpec {
    /// Name in the graph.
    pub name: String,
    /// Input pixels from one patch to the next.
    pub stride: u32,
    /// Channels.
    pub channels: usize,
    /// Order of the axes.
    pub layout: Layout,
    /// Tokens before the first patch (class token, registers), for [`Layout::Tokens`].
    #[serde(default)]
    pub prefix_tokens: usize,
}

/// Order of an output's axes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// `[1, channels, height, width]`.
    Grid,
    /// `[1, prefix_tokens + height * width, channels]`.
    Tokens,
}

/// How the outputs become one patch feature; written into banks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSpec {
    /// Input pixels from one patch to the next.
    pub stride: u32,
    /// Outputs that are concatenated, in this order.
    pub outputs: Vec<String>,
    /// How each output is averaged over neighbours.
    pub pool: Pool,
    /// How outputs and patches are brought to one scale.
    pub normalise: Normalise,
}

/// Scaling of patch features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Each output is divided by the square root of its total variance over the references.
    LayerVariance,
    /// Each patch feature is divided by its L2 norm.
    Unit,
    /// Features are int8 numbers already.
    Int8,
}

impl Manifest {
    /// Reads the manifest at `path`; its file becomes relative to the working folder.
    ///
    /// # Errors
    /// [`Error::Io`], or [`Error::Manifest`] with what is wrong.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).map_err(Error::io(path))?;
        let wrong = |reason: String| Error::Manifest {
            path: path.to_path_buf(),
            reason: reason.replace('\n', " "),
        };
        let mut manifest: Self = toml::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        manifest.check().map_err(wrong)?;
        if let Some(folder) = path.parent() {
            manifest.file = folder.join(&manifest.file);
        }
        Ok(manifest)
    }

    fn check(&self) -> std::result::Result<(), String> {
        let need = |holds: bool, what: &str| holds.then_some(()).ok_or_else(|| what.to_string());
        need(self.input.multiple > 0, "input.multiple must be positive")?;
        need(
            self.input.std.iter().all(|s| *s > 0.0),
            "input.std must be positive",
        )?;
        need(
            self.input.default_size > 0
                && self.input.default_size.is_multiple_of(self.input.multiple),
            "input.default_size must be a multiple of input.multiple",
        )?;
        need(
            Levels::from_count(self.input.levels).is_some(),
            "input.levels must be 1, 2 or 3",
        )?;
        need(
            self.row_bytes > 0 && self.row_bytes_per_reference != Some(0),
            "row_bytes and row_bytes_per_reference must be positive",
        )?;
        self.features.pool.check()?;
        need(
            self.features.stride > 0 && self.input.multiple.is_multiple_of(self.features.stride),
            "input.multiple must be a multiple of features.stride",
        )?;
        self.check_mirror(self.input.mirror)?;
        need(
            !self.features.outputs.is_empty(),
            "features.outputs is empty",
        )?;
        let int8 = self.arithmetic == Arithmetic::Int8;
        need(
            int8 == (self.features.normalise == Normalise::Int8)
                && (!int8 || !self.features.pool.looks_around()),
            "arithmetic `int8` goes with features.normalise `int8` and features.pool 1",
        )?;
        need(
            int8 || self.input.padding == Padding::Model,
            "input.padding `replicate` goes with arithmetic `int8`",
        )?;
        for name in &self.features.outputs {
            self.output(name)
                .ok_or_else(|| format!("features.outputs names `{name}`, which is no output"))?;
        }
        Ok(())
    }

    /// What is wrong with a border, if something is: with it the input's sides must be what the model takes,
    /// and without it whole patches must remain.
    pub(crate) fn check_mirror(&self, mirror: Mirror) -> std::result::Result<(), String> {
        let InputSpec { multiple, .. } = self.input;
        let fits = |pixels: u32| {
            pixels.is_multiple_of(self.features.stride)
                && pixels
                    .checked_mul(2)
                    .is_some_and(|both| both.is_multiple_of(multiple))
                && pixels <= MAX_MIRROR
        };
        let each = Levels::ALL.map(|levels| mirror.at(levels.count() - 1));
        if let Some(pixels) = each.into_iter().find(|pixels| !fits(*pixels)) {
            return Err(format!(
                "input.mirror {pixels} must be a multiple of features.stride, twice it one of \
                 input.multiple, and at most {MAX_MIRROR}"
            ));
        }
        if mirror != Mirror::NONE && self.arithmetic == Arithmetic::Int8 {
            return Err("input.mirror does not go with arithmetic `int8`".into());
        }
        Ok(())
    }

    /// The model file's bytes.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::ModelHash`] for another file.
    pub fn read_model(&self) -> Result<Vec<u8>> {
        let bytes = std::fs::read(&self.file).map_err(Error::io(&self.file))?;
        let found = hex(&Sha256::digest(&bytes));
        if found.eq_ignore_ascii_case(&self.sha256) {
            return Ok(bytes);
        }
        Err(Error::ModelHash {
            path: self.file.clone(),
            expected: self.sha256.clone(),
            found,
        })
    }

    /// Bytes that the rows of a bank from so many references take unless the user asks for another
    /// number.
    pub fn row_bytes_for(&self, references: usize) -> usize {
        let each = self.row_bytes_per_reference.unwrap_or(self.row_bytes);
        let all = each.saturating_mul(references.max(FEW_REFERENCES));
        all.min(self.row_bytes)
    }

    /// The output of this name.
    pub fn output(&self, name: &str) -> Option<&OutputSpec> {
        self.outputs.iter().find(|o| o.name == name)
    }

    /// Channels of each output that goes into a patch feature, in its order.
    pub fn feature_channels(&self) -> Vec<usize> {
        let outputs = self.features.outputs.iter();
        outputs
            .filter_map(|name| self.output(name))
            .map(|output| output.channels)
            .collect()
    }

    /// Finds a backbone: a built-in id in the models folders, or the path of a manifest.
    ///
    /// # Errors
    /// [`Error::UnknownBackbone`] with the folders that were looked in, and those of [`Self::read`].
    pub fn find(name: &str) -> Result<Self> {
        let path = Path::new(name);
        if path.extension().is_some_and(|e| e == "toml") {
            return Self::read(path);
        }
        if path.extension().is_some_and(|e| e == "onnx") {
            return Self::read(&path.with_extension("toml"));
        }
        let folders = model_folders();
        for folder in &folders {
            let path = folder.join(name).with_extension("toml");
            if path.is_file() {
                return Self::read(&path);
            }
        }
        let searched: Vec<_> = folders.iter().map(|f| f.display().to_string()).collect();
        Err(Error::UnknownBackbone {
            name: name.to_string(),
            searched: searched.join(", "),
        })
    }
}

/// Where models are looked for: `VOD_MODELS`, beside the executable, the working folder, the
/// source tree that the program was built from.
fn model_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    folders.extend(std::env::var_os("VOD_MODELS").map(PathBuf::from));
    folders.extend(
        std::env::current_exe()
            .ok()
            .and_then(|exe| Some(exe.parent()?.join("models"))),
    );
    folders.push(PathBuf::from("models"));
    folders.push(Path::new(env!("CARGO_MANIFEST_DIR")).join("../models"));
    folders
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Manifest, Mirror, Padding};

    #[test]
    fn rows_grow_with_the_references_within_limits() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let rows = |id: &str, references| {
            let manifest = Manifest::read(&models.join(id).with_extension("toml")).unwrap();
            manifest.row_bytes_for(references)
        };
        assert_eq!(
            [1, 4, 5, 32, 1000].map(|n| rows("edge", n) >> 10),
            [128, 128, 160, 1024, 1024]
        );
        // Neither number is in its manifest.
        assert_eq!([1, 1000].map(|n| rows("vit", n)), [1 << 20; 2]);
    }

    #[test]
    fn replicated_values_go_with_int8() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let int8 = Manifest::read(&models.join("edge-int8.toml")).unwrap();
        assert_eq!(int8.input.padding, Padding::Replicate);
        let text = std::fs::read_to_string(models.join("vit.toml")).unwrap();
        let text = text.replace("mirror = ", "padding = \"replicate\"\nmirror = ");
        let manifest: Manifest = toml::from_str(&text).unwrap();
        let error = manifest.check().unwrap_err();
        assert!(error.contains("goes with arithmetic `int8`"), "{error}");
    }

    #[test]
    fn a_border_is_one_number_or_one_for_each_level() {
        let models = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
        let text = std::fs::read_to_string(models.join("vit.toml")).unwrap();
        let read = |mirror: &str| {
            let line = text.lines().find(|l| l.starts_with("mirror = ")).unwrap();
            toml::from_str::<Manifest>(&text.replace(line, mirror))
        };
        let mirror = |text: &str| read(text).unwrap().input.mirror;
        assert_eq!(mirror(""), Mirror::NONE);
        assert_eq!(mirror("mirror = 14"), Mirror::alike(14));
        assert_eq!(mirror("mirror = [0, 14, 28]"), Mirror::each([0, 14, 28]));
        let error = read("mirror = [14]").unwrap_err().to_string();
        assert!(error.contains("one for each of three levels"), "{error}");
    }
}
