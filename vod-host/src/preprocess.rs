//! The preprocessing contract: from an upright RGB image to a backbone's input.
//!
//! A bank holds the [`Preprocess`] that it was fitted with, and scoring obeys the bank. In words
//! and with a worked example: `docs/preprocessing.md`.

use std::path::Path;

use fast_image_resize::images::{TypedImage, TypedImageRef};
use fast_image_resize::pixels::U8x3;
use fast_image_resize::{FilterType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use ndarray::Array3;
use serde::{Deserialize, Serialize};
use vod_core::Levels;

use crate::error::{Error, Result};

/// Order in which a model takes the colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Colour {
    /// Red first.
    Rgb,
    /// Blue first.
    Bgr,
}

/// Size of the backbone's input for an image, pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SizeRule {
    /// The aspect ratio is kept.
    ShortSide(ShortSide),
    /// Every image becomes this size.
    Exact(ExactSize),
}

/// The shorter side becomes `side`; the longer keeps the aspect ratio, in steps, up to a largest
/// ratio.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShortSide {
    /// Shorter side of the input.
    pub side: u32,
    /// The longer side is rounded to a multiple of this.
    pub step: u32,
    /// Largest ratio of longer to shorter side; images beyond it are squeezed.
    pub max_ratio: u32,
}

/// One size for every image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExactSize {
    /// Width of the input.
    pub width: u32,
    /// Height of the input.
    pub height: u32,
}

/// Pixels by which the backbone's input is continued beyond each of its edges, mirrored, for the backbone's
/// sake: convolutions would take what lies outside for zeros, and a small picture shows little around its
/// patches. Patches there are cut off again.
///
/// In a manifest `mirror = 16`, alike at all levels, or `mirror = [0, 0, 28]`, the input size first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "InManifest")]
pub struct Mirror([u32; LEVELS]);

/// Levels that there can be.
const LEVELS: usize = Levels::ALL.len();

impl Mirror {
    /// No border.
    pub const NONE: Self = Self([0; LEVELS]);

    /// So many pixels at every level.
    pub const fn alike(pixels: u32) -> Self {
        Self([pixels; LEVELS])
    }

    /// These pixels at each level, the input size first.
    pub const fn each(pixels: [u32; LEVELS]) -> Self {
        Self(pixels)
    }

    /// The border at a level, pixels; 0 is the input size. The last one for all that come after it.
    pub fn at(self, level: usize) -> u32 {
        self.0[level.min(LEVELS - 1)]
    }

    /// The same at these levels; those below, at which nothing is looked at, have the last one's.
    pub fn up_to(self, levels: Levels) -> Self {
        let last = levels.count() - 1;
        Self(std::array::from_fn(|level| self.at(level.min(last))))
    }

    /// The border at every level, pixels, where they are alike.
    pub fn uniform(self) -> Option<u32> {
        let pixels = self.0[0];
        (self == Self::alike(pixels)).then_some(pixels)
    }
}

/// A [`Mirror`] in a manifest.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "a number of pixels, or one for each of three levels"
)]
enum InManifest {
    Alike(u32),
    Each([u32; LEVELS]),
}

impl From<InManifest> for Mirror {
    fn from(mirror: InManifest) -> Self {
        match mirror {
            InManifest::Alike(pixels) => Self::alike(pixels),
            InManifest::Each(pixels) => Self(pixels),
        }
    }
}

/// Everything between an upright RGB image and the backbone's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "Written", into = "Written")]
pub struct Preprocess {
    /// Input size.
    pub size: SizeRule,
    /// Border of the backbone's input.
    pub mirror: Mirror,
    /// Overlapping tiles of this many pixels a side; `None` feeds the whole input at once.
    pub tile: Option<u32>,
    /// Colour order.
    pub colour: Colour,
    /// Subtracted, per colour in the model's order, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Divided by, per colour in the model's order, on the scale 0 to 255.
    pub std: [f32; 3],
}

/// A [`Preprocess`] in a file. Without a mirrored border it is what readers know that know of none; they
/// refuse any other.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename = "Preprocess")]
struct Written {
    size: WrittenSize,
    tile: Option<u32>,
    colour: Colour,
    mean: [f32; 3],
    std: [f32; 3],
}

/// The first two are those of [`SizeRule`].
#[derive(Clone, Serialize, Deserialize)]
enum WrittenSize {
    ShortSide(ShortSide),
    Exact(ExactSize),
    Mirrored {
        pixels: u32,
        size: SizeRule,
    },
    MirroredLevels {
        mirror: [u32; LEVELS],
        size: SizeRule,
    },
}

impl From<Preprocess> for Written {
    fn from(preprocess: Preprocess) -> Self {
        let size = match (preprocess.mirror.uniform(), preprocess.size) {
            (Some(0), SizeRule::ShortSide(size)) => WrittenSize::ShortSide(size),
            (Some(0), SizeRule::Exact(size)) => WrittenSize::Exact(size),
            (Some(pixels), size) => WrittenSize::Mirrored { pixels, size },
            (None, size) => WrittenSize::MirroredLevels {
                mirror: preprocess.mirror.0,
                size,
            },
        };
        Self {
            size,
            tile: preprocess.tile,
            colour: preprocess.colour,
            mean: preprocess.mean,
            std: preprocess.std,
        }
    }
}

impl From<Written> for Preprocess {
    fn from(written: Written) -> Self {
        let (mirror, size) = match written.size {
            WrittenSize::ShortSide(size) => (Mirror::NONE, SizeRule::ShortSide(size)),
            WrittenSize::Exact(size) => (Mirror::NONE, SizeRule::Exact(size)),
            WrittenSize::Mirrored { pixels, size } => (Mirror::alike(pixels), size),
            WrittenSize::MirroredLevels { mirror, size } => (Mirror::each(mirror), size),
        };
        Self {
            size,
            mirror,
            tile: written.tile,
            colour: written.colour,
            mean: written.mean,
            std: written.std,
        }
    }
}

impl Preprocess {
    /// Width and height of the backbone's input for an image of this size, without the mirrored border.
    pub fn input_size(&self, width: u32, height: u32) -> (u32, u32) {
        match self.size {
            SizeRule::Exact(ExactSize { width, height }) => (width, height),
            SizeRule::ShortSide(ShortSide {
                side,
                step,
                max_ratio,
            }) => {
                let (short, long) = (width.min(height).max(1), width.max(height));
                let long = f64::from(long) / f64::from(short) * f64::from(side);
                let steps = (long / f64::from(step)).round() as u32;
                let long = (steps * step).clamp(side, side * max_ratio / step * step);
                if width <= height {
                    (side, long)
                } else {
                    (long, side)
                }
            }
        }
    }

    /// The same with every frame at the size that `image` gets: for parts that always lie the same
    /// way.
    pub fn with_exact_size(mut self, image: &RgbImage) -> Self {
        let (width, height) = self.input_size(image.width(), image.height());
        self.size = SizeRule::Exact(ExactSize { width, height });
        self
    }

    /// Resizes to the input size. Bilinear, widened to an antialiasing filter where it shrinks;
    /// 8-bit fixed point, the same bits on every CPU.
    ///
    /// # Errors
    /// [`Error::Data`] for an image without pixels.
    pub fn resize(&self, image: &RgbImage) -> Result<RgbImage> {
        let (width, height) = self.input_size(image.width(), image.height());
        resize(image, width, height)
    }

    /// Reads an image file; gives it resized to the input size, and the width and height of the upright
    /// image, pixels.
    ///
    /// # Errors
    /// As [`crate::image::load`].
    pub fn load(&self, path: &Path) -> Result<(RgbImage, (u32, u32))> {
        crate::image::load_and(path, |image| Ok((self.resize(&image)?, image.dimensions())))
    }

    /// Normalises the pixels of an image of the input size, or of what it is at a coarser level, into the
    /// model's planes, `[3, height, width]`; both are longer than the image by two borders of that level.
    pub fn planes(&self, image: &RgbImage, level: usize) -> Array3<f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let border = self.mirror.at(level) as usize;
        let pixels = image.as_raw();
        let planes = (3, height + 2 * border, width + 2 * border);
        Array3::from_shape_fn(planes, |(plane, y, x)| {
            let channel = match self.colour {
                Colour::Rgb => plane,
                Colour::Bgr => 2 - plane,
            };
            let (y, x) = (mirrored(y, border, height), mirrored(x, border, width));
            let value = f32::from(pixels[(y * width + x) * 3 + channel]);
            (value - self.mean[plane]) / self.std[plane]
        })
    }
}

/// The pixel of `len` that is seen at place `i` of them and their borders: the mirror stands at the edge,
/// so that the outermost pixel comes twice, and at the far edge again where the border is longer.
fn mirrored(i: usize, border: usize, len: usize) -> usize {
    let period = 2 * len as i64;
    let place = (i as i64 - border as i64).rem_euclid(period);
    place.min(period - 1 - place) as usize
}

/// Resizes an RGB image, see [`Preprocess::resize`].
///
/// # Errors
/// [`Error::Data`] for an image or a target without pixels.
pub fn resize(image: &RgbImage, width: u32, height: u32) -> Result<RgbImage> {
    if (width, height) == image.dimensions() {
        return Ok(image.clone());
    }
    let wrong = |e: &dyn std::fmt::Display| Error::Data(format!("image can't be resized: {e}"));
    // Views of one pixel type: `Resizer::resize` would compile the filters of all types.
    let source = TypedImageRef::<U8x3>::from_buffer(image.width(), image.height(), image.as_raw())
        .map_err(|e| wrong(&e))?;
    let mut pixels = vec![0; width as usize * height as usize * 3];
    let mut target =
        TypedImage::<U8x3>::from_buffer(width, height, &mut pixels).map_err(|e| wrong(&e))?;
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear));
    Resizer::new()
        .resize_typed(&source, &mut target, &options)
        .map_err(|e| wrong(&e))?;
    RgbImage::from_raw(width, height, pixels).ok_or_else(|| wrong(&"buffer of another size"))
}

#[cfg(test)]
mod tests {
    use image::{Rgb, RgbImage};

    use super::{Colour, ExactSize, Levels, Mirror, Preprocess, SizeRule, mirrored};

    fn preprocess(mirror: Mirror) -> Preprocess {
        Preprocess {
            size: SizeRule::Exact(ExactSize {
                width: 3,
                height: 2,
            }),
            mirror,
            tile: Some(32),
            colour: Colour::Rgb,
            mean: [1.0; 3],
            std: [2.0; 3],
        }
    }

    #[test]
    fn borders_of_levels_that_are_not_looked_at_do_not_count() {
        let vit = Mirror::each([0, 0, 28]);
        assert_eq!(vit.up_to(Levels::One).uniform(), Some(0));
        assert_eq!(vit.up_to(Levels::Two).uniform(), Some(0));
        assert_eq!(vit.up_to(Levels::Three), vit);
        let edge = Mirror::alike(16);
        assert_eq!(edge.up_to(Levels::One), edge);
        let each = Mirror::each([1, 2, 3]).up_to(Levels::Two);
        assert_eq!(each, Mirror::each([1, 2, 2]));
    }

    #[test]
    fn the_border_repeats_the_picture_backwards() {
        let seen: Vec<_> = (0..13).map(|i| mirrored(i, 5, 3)).collect();
        assert_eq!(seen, [1, 2, 2, 1, 0, 0, 1, 2, 2, 1, 0, 0, 1]);

        let image = RgbImage::from_fn(3, 2, |x, y| Rgb([(10 * y + x) as u8, 0, 0]));
        let bare = preprocess(Mirror::NONE).planes(&image, 0);
        let coarsest = preprocess(Mirror::each([0, 0, 2]));
        for planes in [
            preprocess(Mirror::alike(2)).planes(&image, 0),
            coarsest.planes(&image, 2),
        ] {
            assert_eq!(planes.dim(), (3, 6, 7));
            for ((plane, y, x), value) in planes.indexed_iter() {
                let there = [plane, [1, 0, 0, 1, 1, 0][y], [1, 0, 0, 1, 2, 2, 1][x]];
                assert_eq!(*value, bare[there]);
            }
        }
        for level in [0, 1] {
            assert_eq!(coarsest.planes(&image, level), bare);
        }
    }

    #[test]
    fn only_a_border_changes_what_is_written() {
        for (mirror, rule) in [
            (Mirror::NONE, &[1, 3, 2][..]),
            (Mirror::alike(16), &[2, 16, 1, 3, 2]),
            (Mirror::each([0, 0, 28]), &[3, 0, 0, 28, 1, 3, 2]),
        ] {
            let bytes = postcard::to_stdvec(&preprocess(mirror)).unwrap();
            assert!(bytes.starts_with(rule), "{bytes:?}");
            let back: Preprocess = postcard::from_bytes(&bytes).unwrap();
            assert_eq!(back, preprocess(mirror));
        }
    }
}
