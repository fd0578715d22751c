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
    /// The shorter side becomes `side`; the longer keeps the aspect ratio, in steps, up to a
    /// largest ratio.
    ShortSide {
        /// Shorter side of the input.
        side: u32,
        /// The longer side is rounded to a multiple of this.
        step: u32,
        /// Largest ratio of longer to shorter side; images beyond it are squeezed.
        max_ratio: u32,
    },
    /// Every image becomes this size.
    Exact {
        /// Width of the input.
        width: u32,
        /// Height of the input.
        height: u32,
    },
}

/// Everything between an upright RGB image and the backbone's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Preprocess {
    /// Input size.
    pub size: SizeRule,
    /// Overlapping tiles of this many pixels a side; `None` feeds the whole input at once.
    pub tile: Option<u32>,
    /// Colour order.
    pub colour: Colour,
    /// Subtracted, per colour in the model's order, on the scale 0 to 255.
    pub mean: [f32; 3],
    /// Divided by, per colour in the model's order, on the scale 0 to 255.
    pub std: [f32; 3],
}

impl Preprocess {
    /// Width and height of the backbone's input for an image of this size.
    pub fn input_size(&self, width: u32, height: u32) -> (u32, u32) {
        match self.size {
            SizeRule::Exact { width, height } => (width, height),
            SizeRule::ShortSide {
                side,
                step,
                max_ratio,
            } => {
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
        self.size = SizeRule::Exact { width, height };
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

    /// Normalises pixels into the model's planes, `[3, height, width]`.
    pub fn planes(&self, image: &RgbImage) -> Array3<f32> {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let pixels = image.as_raw();
        Array3::from_shape_fn((3, height, width), |(plane, y, x)| {
            let channel = match self.colour {
                Colour::Rgb => plane,
                Colour::Bgr => 2 - plane,
            };
            let value = f32::from(pixels[(y * width + x) * 3 + channel]);
            (value - self.mean[plane]) / self.std[plane]
        })
    }
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
