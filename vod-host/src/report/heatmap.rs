//! Overlays: the image with its anomaly map, the regions outlined, a colour bar and the verdict.

use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array3, Axis};

use crate::features::resize_bilinear;
use crate::score::{ScoreScale, Verdict};

/// Map score, on the scale 0 to 1, below which the image shows through unchanged.
const CLEAR: f64 = 0.35;
/// Strongest tint, 0 to 1.
const OPACITY: f64 = 0.6;
/// Images with a shorter side get the small font, pixels.
const SMALL_SIDE: u32 = 360;

/// Draws the overlay of a verdict on its (upright) image; same size as the image.
///
/// Colours are those of one scale for all images of a bank: clear below 0.35, yellow at 0.5 (the
/// threshold of the map), red from 0.75. `map_scale` is the bank's map scale.
pub fn overlay(image: &RgbImage, verdict: &Verdict, map_scale: ScoreScale) -> RgbImage {
    let (width, height) = image.dimensions();
    let units = verdict.map.mapv(|score| map_scale.unit(score) as f32);
    let mut out = tinted(image, units);
    let mut canvas = Canvas(&mut out);
    let line = (width.min(height) / 200).max(1);
    for region in &verdict.regions {
        let outline = Rectangle::new(
            Point::new(region.x as i32, region.y as i32),
            Size::new(region.width, region.height),
        );
        let style = PrimitiveStyle::with_stroke(Rgb888::new(255, 255, 255), line);
        // Drawing on a picture can't fail.
        let _ = outline.into_styled(style).draw(&mut canvas);
    }
    legend(&mut canvas, verdict);
    out
}

/// The image under its map `[height, width]` on the scale 0 to 1, in the colours of [`overlay`].
pub fn tinted(image: &RgbImage, units: Array2<f32>) -> RgbImage {
    let (width, height) = image.dimensions();
    let units = units.insert_axis(Axis(2));
    let map: Array3<f32> = resize_bilinear(units.view(), height as usize, width as usize);
    let mut out = image.clone();
    for (x, y, pixel) in out.enumerate_pixels_mut() {
        let (colour, alpha) = tint(f64::from(map[[y as usize, x as usize, 0]]));
        *pixel = mix(*pixel, colour, alpha);
    }
    out
}

/// Verdict and score above, colour bar with the threshold below.
fn legend(canvas: &mut Canvas, verdict: &Verdict) {
    let size = canvas.size();
    let small = size.width.min(size.height) < SMALL_SIDE;
    let font = if small { &FONT_6X10 } else { &FONT_10X20 };
    let (word, colour) = if verdict.anomalous {
        ("ANOMALOUS", Rgb888::new(255, 70, 50))
    } else {
        ("normal", Rgb888::new(90, 230, 120))
    };
    let text = format!("{word} {:.2}", verdict.image_score);
    write(canvas, &text, Point::zero(), font, colour);

    let glyph = font.character_size;
    let bar_height = glyph.height / 2;
    let top = size.height.saturating_sub(bar_height);
    let bar_width = (size.width / 2).clamp(1, 240).min(size.width);
    for x in 0..bar_width {
        let score = f64::from(x) / f64::from(bar_width.max(2) - 1);
        let (colour, alpha) = tint(score);
        for y in top..size.height {
            let pixel = canvas.0.get_pixel_mut(x, y);
            *pixel = mix(Rgb([40, 40, 40]), colour, alpha / OPACITY);
        }
    }
    for y in top..size.height {
        canvas.0.put_pixel(bar_width / 2, y, Rgb([255, 255, 255]));
    }
    let label = if small { "0.5" } else { "threshold 0.5" };
    let label_width = glyph.width * label.len() as u32;
    let at = Point::new(
        (bar_width / 2).saturating_sub(label_width / 2) as i32,
        top.saturating_sub(glyph.height) as i32,
    );
    write(canvas, label, at, font, Rgb888::new(255, 255, 255));
}

/// Text on a dark ground.
fn write(canvas: &mut Canvas, text: &str, at: Point, font: &MonoFont, colour: Rgb888) {
    let size = Size::new(
        font.character_size.width * text.len() as u32,
        font.character_size.height,
    );
    let ground = PrimitiveStyle::with_fill(Rgb888::new(20, 20, 20));
    let style = MonoTextStyle::new(font, colour);
    // Drawing on a picture can't fail.
    let _ = Rectangle::new(at, size).into_styled(ground).draw(canvas);
    let _ = Text::with_baseline(text, at, style, Baseline::Top).draw(canvas);
}

/// Colour and strength of a map score.
fn tint(score: f64) -> (Rgb<u8>, f64) {
    let alpha = ((score - CLEAR) / (0.5 - CLEAR)).clamp(0.0, 1.0) * OPACITY;
    let green = ((0.75 - score) / 0.25).clamp(0.0, 1.0) * 220.0;
    (Rgb([255, green as u8, 0]), alpha)
}

fn mix(under: Rgb<u8>, over: Rgb<u8>, alpha: f64) -> Rgb<u8> {
    let mut out = under;
    for (a, b) in out.0.iter_mut().zip(over.0) {
        *a = (f64::from(*a) * (1.0 - alpha) + f64::from(b) * alpha).round() as u8;
    }
    out
}

/// An RGB image as a target for text and boxes.
struct Canvas<'i>(&'i mut RgbImage);

impl OriginDimensions for Canvas<'_> {
    fn size(&self) -> Size {
        Size::new(self.0.width(), self.0.height())
    }
}

impl DrawTarget for Canvas<'_> {
    type Color = Rgb888;
    type Error = core::convert::Infallible;

    fn draw_iter<I: IntoIterator<Item = Pixel<Rgb888>>>(
        &mut self,
        pixels: I,
    ) -> Result<(), Self::Error> {
        for Pixel(point, colour) in pixels {
            let (Ok(x), Ok(y)) = (u32::try_from(point.x), u32::try_from(point.y)) else {
                continue;
            };
            if let Some(pixel) = self.0.get_pixel_mut_checked(x, y) {
                *pixel = Rgb([colour.r(), colour.g(), colour.b()]);
            }
        }
        Ok(())
    }
}
