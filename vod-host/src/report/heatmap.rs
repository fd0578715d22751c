//! Overlays: the image with its anomaly map, the regions outlined, a colour bar and the verdict.

use embedded_graphics::mono_font::ascii::{FONT_6X10, FONT_10X20};
use embedded_graphics::mono_font::{MonoFont, MonoTextStyle};
use embedded_graphics::pixelcolor::Rgb888;
use embedded_graphics::prelude::*;
use embedded_graphics::primitives::{PrimitiveStyle, Rectangle};
use embedded_graphics::text::{Baseline, Text};
use image::{Rgb, RgbImage};
use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::error::{Error, Result};
use crate::features::resize_bilinear;
use crate::score::{ScoreScale, Verdict};

/// Map score, on the scale 0 to 1, below which the image shows through unchanged.
const CLEAR: f64 = 0.35;
/// Map score from which the tint is red.
const RED: f64 = 0.75;
/// Strongest tint, 0 to 1.
const OPACITY: f64 = 0.6;
/// Images with a shorter side get the small font, pixels.
const SMALL_SIDE: u32 = 360;
/// Longer side of the layers that lie over an image in a page, at most, and pixels of a patch.
const LAYER_SIDE: usize = 256;
const LAYER_PIXELS: usize = 4;
/// Colours of a map layer.
const LEVELS: usize = 48;
/// Outline of a marked defect.
const OUTLINE: [u8; 4] = [40, 160, 255, 255];

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

/// The image under its map `[height, width]` on the scale 0 to 1.
fn tinted(image: &RgbImage, units: Array2<f32>) -> RgbImage {
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

/// The map alone as a PNG to lay over its image, in the colours of [`overlay`], clear where the
/// image shows through. `units` is on the scale 0 to 1.
///
/// A few pixels a patch: the viewer's own smoothing does the rest.
///
/// # Errors
/// [`Error::Data`] where it can't be encoded.
pub(super) fn map_layer(units: ArrayView2<f32>) -> Result<Vec<u8>> {
    let (height, width) = units.dim();
    let factor = (LAYER_SIDE / height.max(width).max(1)).clamp(1, LAYER_PIXELS);
    let units = units.insert_axis(Axis(2));
    let fine = resize_bilinear(units, height * factor, width * factor);
    let level = |score: f32| {
        let share = (f64::from(score) - CLEAR) / (RED - CLEAR);
        (share * (LEVELS - 1) as f64)
            .round()
            .clamp(0.0, (LEVELS - 1) as f64) as u8
    };
    let pixels: Vec<u8> = fine.iter().map(|&score| level(score)).collect();
    let palette: Vec<[u8; 4]> = (0..LEVELS)
        .map(|n| {
            let score = CLEAR + n as f64 / (LEVELS - 1) as f64 * (RED - CLEAR);
            let (Rgb([r, g, b]), alpha) = tint(score);
            [r, g, b, (alpha * 255.0).round() as u8]
        })
        .collect();
    indexed_png(width * factor, height * factor, &palette, &pixels)
}

/// The outline of a mask as a PNG to lay over its image.
///
/// # Errors
/// [`Error::Data`] where it can't be encoded.
pub(super) fn mask_layer(mask: &Array2<bool>) -> Result<Vec<u8>> {
    let (mask_height, mask_width) = mask.dim();
    let longest = mask_width.max(mask_height).max(1);
    let scaled = |n: usize| (n * LAYER_SIDE.min(longest) / longest).max(1);
    let (width, height) = (scaled(mask_width), scaled(mask_height));
    // A cell is marked where any of its pixels is, so that no thin scratch is lost.
    let mut marked = Array2::from_elem((height, width), false);
    for ((y, x), _) in mask.indexed_iter().filter(|(_, here)| **here) {
        marked[[y * height / mask_height, x * width / mask_width]] = true;
    }
    let inside = |y: Option<usize>, x: Option<usize>| matches!((y, x), (Some(y), Some(x)) if marked.get([y, x]).copied().unwrap_or(false));
    let pixels: Vec<u8> = marked
        .indexed_iter()
        .map(|((y, x), &here)| {
            let surrounded = inside(y.checked_sub(1), Some(x))
                && inside(Some(y + 1), Some(x))
                && inside(Some(y), x.checked_sub(1))
                && inside(Some(y), Some(x + 1));
            u8::from(here && !surrounded)
        })
        .collect();
    indexed_png(width, height, &[[0, 0, 0, 0], OUTLINE], &pixels)
}

/// A PNG of palette indices; the palette is RGBA.
fn indexed_png(width: usize, height: usize, palette: &[[u8; 4]], pixels: &[u8]) -> Result<Vec<u8>> {
    let wrong = |e: png::EncodingError| Error::Data(format!("map can't be encoded: {e}"));
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width as u32, height as u32);
    encoder.set_color(png::ColorType::Indexed);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.set_palette(
        palette
            .iter()
            .flat_map(|c| [c[0], c[1], c[2]])
            .collect::<Vec<u8>>(),
    );
    encoder.set_trns(palette.iter().map(|c| c[3]).collect::<Vec<u8>>());
    let mut writer = encoder.write_header().map_err(wrong)?;
    writer.write_image_data(pixels).map_err(wrong)?;
    writer.finish().map_err(wrong)?;
    Ok(bytes)
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
    let green = ((RED - score) / (RED - 0.5)).clamp(0.0, 1.0) * 220.0;
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
    ) -> std::result::Result<(), Self::Error> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(bytes: &[u8]) -> image::RgbaImage {
        image::load_from_memory(bytes).unwrap().into_rgba8()
    }

    #[test]
    fn the_map_layer_has_the_colours_of_the_overlay() {
        let units = Array2::from_shape_vec((1, 3), vec![0.2, 0.5, 0.9]).unwrap();
        let layer = decoded(&map_layer(units.view()).unwrap());
        assert_eq!(layer.dimensions(), (12, 4));
        assert_eq!(layer.get_pixel(0, 0)[3], 0, "clear where normal");
        let last = layer.get_pixel(11, 3);
        assert_eq!(last.0, [255, 0, 0, (OPACITY * 255.0).round() as u8]);
        let grey = RgbImage::from_pixel(12, 4, Rgb([100; 3]));
        let drawn = tinted(&grey, units);
        for (x, y, pixel) in layer.enumerate_pixels() {
            let alpha = f64::from(pixel[3]) / 255.0;
            let laid = mix(Rgb([100; 3]), Rgb([pixel[0], pixel[1], pixel[2]]), alpha);
            for (a, b) in laid.0.iter().zip(drawn.get_pixel(x, y).0) {
                assert!(a.abs_diff(b) < 12, "{laid:?} at {x}, {y}");
            }
        }
    }

    #[test]
    fn the_mask_layer_is_an_outline_and_keeps_thin_defects() {
        let mask = Array2::from_shape_fn((500, 1000), |(y, x)| {
            let line = y == 3 && (100..900).contains(&x);
            line || ((200..400).contains(&y) && (300..600).contains(&x))
        });
        let layer = decoded(&mask_layer(&mask).unwrap());
        assert_eq!(layer.dimensions(), (256, 128));
        let opaque = |x: u32, y: u32| layer.get_pixel(x, y)[3] == 255;
        assert!(opaque(128, 0), "a line of one pixel stays");
        assert!(opaque(76, 76), "left edge of the box");
        assert!(!opaque(115, 76), "inside of the box");
        assert!(!opaque(10, 120), "outside");
    }
}
