//! An int8 convolutional network from camera pixels to patch features, row by row.
//!
//! [`Network`] is a checked view of a network file (`docs/network-format.md`), as [`crate::Bank`] is
//! of a bank; [`FeatureStream`] takes the camera's pixel rows and gives rows of int8 patch features
//! that [`crate::Stream::push_row`] takes. Between two layers lie only the rows that the next one
//! reaches. All arithmetic is in integers and the same on every target:
//!
//! - `sum = bias[c] + sum_k weight[c][k] * input[k]` in i32. Inputs beyond the edges are the input's
//!   zero point, or the outermost inputs again ([`REPLICATE`]).
//! - `output = clamp((high(sum * multiplier[c]) + skip + (zero << shift) + (1 << shift) / 2) >> shift)`
//!   to -128..=127, `high` being the upper 32 bits of the 64-bit product, and `skip` 0 or
//!   `high(((earlier - earlier_zero) << 22) * skip_multiplier)` for a value that goes around layers.
//! - `feature = clamp((sum of (value - centre[c]) over the 3 x 3 values inside the map) * g)` with
//!   `g = gain / number of these values`, in 1/65536, rounded.

mod kernels;
mod layer;
mod stream;

use core::fmt;

use heapless::Vec;
use serde::{Deserialize, Serialize};

use crate::container;
use crate::error::BankError;

pub use crate::container::{HEADER_LEN, TRAILER_LEN, checksum};
pub use layer::{LayerParts, Operation, REPLICATE, Skip};
pub use stream::{FeatureStream, PausedFeatures};

/// First bytes of every network file.
pub const MAGIC: [u8; 4] = *b"VODN";
/// Format version that this library writes and reads.
pub const VERSION: u16 = 1;
/// Most layers of a network.
pub const MAX_LAYERS: usize = 16;
/// Most channels of a layer; all but the first layer's inputs are multiples of 4.
pub const MAX_CHANNELS: usize = 1024;
/// Most weights that an output channel of a [`Operation::Convolution`] has, padding included.
pub const MAX_PATCH: usize = 64;
/// Colours of a pixel.
pub const COLOURS: usize = 3;
/// Neighbours along one side that are averaged into a feature.
pub const POOL: usize = 3;
/// Fraction bits of [`NetworkParts::gain`].
pub const GAIN_BITS: u32 = 16;
/// Largest [`NetworkParts::gain`]: what keeps its products within i32.
pub const MAX_GAIN: u32 = 1 << 19;
/// Left shift of a value that goes around layers, before its multiplication.
pub const SKIP_BITS: u32 = 22;
/// Largest width and height of a frame, pixels.
pub const MAX_SIDE: usize = 4096;

/// What the body of a network file begins with (postcard); [`Self::layers`] layers follow, each a
/// [`LayerParts`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkParts<'a> {
    /// Pixel less 128 that stands for 0.
    pub input_zero: i8,
    /// int8 units of a feature for one unit of the last layer, in 1/65536.
    pub gain: u32,
    /// What is subtracted from the last layer's channels (i8).
    #[serde(borrow)]
    pub centres: &'a [u8],
    /// Number of layers.
    pub layers: u8,
}

/// Why bytes were refused as a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum NetworkError {
    /// Fewer bytes than the fixed part of the format, or another number than the header promises.
    Length {
        /// Bytes that the header promises, or the least there can be.
        expected: usize,
        /// Bytes that were given.
        found: usize,
    },
    /// The first four bytes are not `VODN`.
    Magic,
    /// The format version is one that this library does not read.
    Version {
        /// The version in the header.
        found: u16,
    },
    /// The checksum over everything before it differs: the bytes are damaged.
    Checksum,
    /// The body is not the postcard encoding that the version prescribes.
    Encoding,
    /// A field has a value or a length that the format does not allow.
    Field {
        /// Name of the field in [`NetworkParts`] or [`LayerParts`].
        name: &'static str,
        /// Layer that it belongs to.
        layer: Option<u8>,
    },
}

impl From<BankError> for NetworkError {
    fn from(error: BankError) -> Self {
        match error {
            BankError::Length { expected, found } => Self::Length { expected, found },
            BankError::Magic => Self::Magic,
            BankError::Version { found } => Self::Version { found },
            BankError::Checksum => Self::Checksum,
            BankError::Encoding => Self::Encoding,
            BankError::Field { name } => Self::Field { name, layer: None },
        }
    }
}

impl fmt::Display for NetworkError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { expected, found } => {
                write!(f, "network is {found} bytes long, {expected} were expected")
            }
            Self::Magic => f.write_str("not a network: it does not start with VODN"),
            Self::Version { found } => write!(
                f,
                "network format version {found} is not known here, this library reads version {VERSION}"
            ),
            Self::Checksum => f.write_str("network is damaged: its checksum differs"),
            Self::Encoding => f.write_str("network body can't be decoded"),
            Self::Field { name, layer: None } => {
                write!(f, "network field `{name}` is out of range or inconsistent")
            }
            Self::Field {
                name,
                layer: Some(layer),
            } => write!(
                f,
                "field `{name}` of network layer {layer} is out of range or inconsistent"
            ),
        }
    }
}

impl core::error::Error for NetworkError {}

/// A checked network that borrows everything from the bytes it was made from.
#[derive(Clone, Debug)]
pub struct Network<'a> {
    parts: NetworkParts<'a>,
    layers: Vec<LayerParts<'a>, MAX_LAYERS>,
}

impl<'a> Network<'a> {
    /// Checks `bytes` (a whole network file) and borrows a network from them.
    ///
    /// # Errors
    /// [`NetworkError`] says which part of the format does not hold. Any bytes may be given.
    pub fn from_bytes(bytes: &'a [u8]) -> Result<Self, NetworkError> {
        let body = container::body(bytes, MAGIC, VERSION)?;
        let (parts, mut rest) = postcard::take_from_bytes::<NetworkParts<'a>>(body)
            .map_err(|_| NetworkError::Encoding)?;
        let mut layers = Vec::new();
        for _ in 0..parts.layers {
            let (layer, left) = postcard::take_from_bytes::<LayerParts<'a>>(rest)
                .map_err(|_| NetworkError::Encoding)?;
            layers.push(layer).map_err(|_| NetworkError::Field {
                name: "layers",
                layer: None,
            })?;
            rest = left;
        }
        if !rest.is_empty() {
            return Err(NetworkError::Encoding);
        }
        Self::from_parts(parts, layers)
    }

    /// Checks parts that are already decoded.
    ///
    /// # Errors
    /// [`NetworkError::Field`] with the name of the first field that does not hold.
    pub fn from_parts(
        parts: NetworkParts<'a>,
        layers: Vec<LayerParts<'a>, MAX_LAYERS>,
    ) -> Result<Self, NetworkError> {
        let field = |name| Err(NetworkError::Field { name, layer: None });
        if usize::from(parts.layers) != layers.len() || layers.is_empty() {
            return field("layers");
        }
        let mut inputs = COLOURS;
        for (number, layer) in layers.iter().enumerate() {
            let before = layers.get(..number).unwrap_or_default();
            layer
                .check(inputs, before)
                .map_err(|name| NetworkError::Field {
                    name,
                    layer: Some(number as u8),
                })?;
            inputs = layer.outputs();
        }
        if parts.centres.len() != inputs {
            return field("centres");
        }
        if parts.gain == 0 || parts.gain > MAX_GAIN {
            return field("gain");
        }
        Ok(Self { parts, layers })
    }

    /// Channels of a patch feature.
    pub fn dimension(&self) -> usize {
        self.parts.centres.len()
    }

    /// Pixels from one patch to the next; widths and heights of frames are multiples of it.
    pub fn stride(&self) -> usize {
        self.layers.iter().map(LayerParts::stride).product()
    }

    /// What the file begins with.
    pub fn parts(&self) -> &NetworkParts<'a> {
        &self.parts
    }

    /// The layers.
    pub fn layers(&self) -> &[LayerParts<'a>] {
        &self.layers
    }

    /// Multiplications of a frame of `height x width` pixels, padding included.
    pub fn macs(&self, height: usize, width: usize) -> u64 {
        let mut pixels = (height * width) as u64;
        let mut macs = 0;
        for layer in &self.layers {
            let stride = layer.stride().max(1) as u64;
            pixels /= stride * stride;
            macs += pixels * layer.weights.len() as u64;
        }
        macs
    }

    /// Input zero point of layer `number`: the output zero point of the one before.
    pub(crate) fn input_zero(&self, number: usize) -> i8 {
        number
            .checked_sub(1)
            .and_then(|before| self.layers.get(before))
            .map_or(self.parts.input_zero, |layer| layer.output_zero)
    }
}
