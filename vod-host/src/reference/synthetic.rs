//! Cut-and-paste anomalies (method, step 6; after CutPaste, Li et al. 2021).

use image::{Rgb, RgbImage};

use crate::dataset::SplitMix64;

/// A reference image with pieces pasted into it.
#[derive(Clone, Debug)]
pub struct SyntheticAnomaly {
    /// The picture, of the reference's size.
    pub image: RgbImage,
    /// How much of each pixel is pasted, 0 to 255, row by row.
    pub mask: Vec<u8>,
}

impl SyntheticAnomaly {
    /// Share of each patch's area that is pasted, `[height, width]` patches of `stride` pixels.
    pub fn patch_shares(&self, stride: u32) -> Vec<f32> {
        let (width, height) = self.image.dimensions();
        let (columns, rows) = (width / stride, height / stride);
        let mut shares = Vec::with_capacity((columns * rows) as usize);
        for row in 0..rows {
            for column in 0..columns {
                let mut sum = 0u32;
                for y in row * stride..(row + 1) * stride {
                    let start = (y * width + column * stride) as usize;
                    let line = &self.mask[start..start + stride as usize];
                    sum += line.iter().map(|&m| u32::from(m)).sum::<u32>();
                }
                shares.push(sum as f32 / (255 * stride * stride) as f32);
            }
        }
        shares
    }
}

/// Outline of a pasted piece, in coordinates from -1 to 1 across its box.
enum Outline {
    Rectangle,
    Ellipse,
    /// A wavy band along the box.
    Scar {
        bend: f64,
        phase: f64,
    },
    /// A blob whose radius varies with the angle.
    Blob {
        lobes: [(f64, f64); 3],
    },
}

impl Outline {
    fn random(random: &mut SplitMix64) -> Self {
        match random.below(4) {
            0 => Self::Rectangle,
            1 => Self::Ellipse,
            2 => Self::Scar {
                bend: random.between(0.1, 0.5),
                phase: random.between(0.0, std::f64::consts::TAU),
            },
            _ => {
                let mut lobes = [(0.0, 0.0); 3];
                for lobe in &mut lobes {
                    *lobe = (
                        random.between(0.0, 0.3),
                        random.between(0.0, std::f64::consts::TAU),
                    );
                }
                Self::Blob { lobes }
            }
        }
    }

    /// Signed depth inside the outline: positive within, about 1 at the middle.
    fn depth(&self, u: f64, v: f64) -> f64 {
        match self {
            Self::Rectangle => 1.0 - u.abs().max(v.abs()),
            Self::Ellipse => 1.0 - u.hypot(v),
            Self::Scar { bend, phase } => {
                let line = bend * (u * 3.0 + phase).sin();
                (0.6 - (v - line).abs() / 0.8).min((1.0 - u.abs()) * 4.0)
            }
            Self::Blob { lobes } => {
                let angle = v.atan2(u);
                let wobble: f64 = lobes
                    .iter()
                    .zip(2..)
                    .map(|((size, phase), n)| size * (f64::from(n) * angle + phase).sin())
                    .sum();
                0.7 * (1.0 + wobble) - u.hypot(v)
            }
        }
    }
}

/// Pastes 1 to 3 pieces of `sources` (reference images) into a copy of `target`.
///
/// Pieces are rectangles, ellipses, blobs (0.3 to 6 % of the image's area) and thin scars, flipped
/// and re-lit (x 0.6..1.4, +-40), with soft or hard edges. Where the background is plain, the middle
/// of a piece lands on the object.
pub fn paste_anomaly(
    target: &RgbImage,
    sources: &[&RgbImage],
    random: &mut SplitMix64,
) -> SyntheticAnomaly {
    let (width, height) = target.dimensions();
    let mut image = target.clone();
    let mut mask = vec![0u8; (width * height) as usize];
    let object = object_mask(target);
    for _ in 0..1 + random.below(3) {
        let source = sources[random.below(sources.len())];
        let outline = Outline::random(random);
        let area = f64::from(width * height);
        let (box_width, box_height) = match outline {
            Outline::Scar { .. } => {
                let long = area.sqrt() * random.between(0.08, 0.25);
                let thin = area.sqrt() * random.between(0.012, 0.04);
                if random.below(2) == 0 {
                    (long, thin)
                } else {
                    (thin, long)
                }
            }
            _ => {
                let size = (area * random.between(0.003, 0.06)).sqrt();
                let aspect = random.between(0.5, 2.0).sqrt();
                (size * aspect, size / aspect)
            }
        };
        let standing = matches!(outline, Outline::Scar { .. }) && box_height > box_width;
        let (centre_x, centre_y) = place(&object, width, height, random);
        let from_x = random.between(0.0, f64::from(source.width()));
        let from_y = random.between(0.0, f64::from(source.height()));
        let flip_x = if random.below(2) == 0 { 1.0 } else { -1.0 };
        let flip_y = if random.below(2) == 0 { 1.0 } else { -1.0 };
        let gain = random.between(0.6, 1.4);
        let offset = random.between(-40.0, 40.0);
        let softness = if random.below(2) == 0 {
            0.02
        } else {
            random.between(0.1, 0.4)
        };
        let half = (box_width / 2.0, box_height / 2.0);
        let span = |centre: f64, half: f64, limit: u32| {
            let from = (centre - half).floor().max(0.0) as u32;
            let to = ((centre + half).ceil().max(0.0) as u32).min(limit);
            from.min(limit)..to
        };
        for y in span(centre_y, half.1, height) {
            for x in span(centre_x, half.0, width) {
                let (dx, dy) = (f64::from(x) - centre_x, f64::from(y) - centre_y);
                let (u, v) = (dx / half.0.max(0.5), dy / half.1.max(0.5));
                let depth = if standing {
                    outline.depth(v, u)
                } else {
                    outline.depth(u, v)
                };
                let alpha = (depth / softness).clamp(0.0, 1.0);
                if alpha == 0.0 {
                    continue;
                }
                let sx = (from_x + flip_x * dx).rem_euclid(f64::from(source.width()));
                let sy = (from_y + flip_y * dy).rem_euclid(f64::from(source.height()));
                let piece = source.get_pixel(sx as u32, sy as u32);
                let pixel = image.get_pixel_mut(x, y);
                for (old, new) in pixel.0.iter_mut().zip(piece.0) {
                    let new = f64::from(new) * gain + offset;
                    let mixed = f64::from(*old) * (1.0 - alpha) + new * alpha;
                    *old = mixed.round().clamp(0.0, 255.0) as u8;
                }
                let cell = &mut mask[(y * width + x) as usize];
                *cell = (*cell).max((alpha * 255.0).round() as u8);
            }
        }
    }
    SyntheticAnomaly { image, mask }
}

/// A place for a piece's middle, on the object where there is one.
fn place(object: &[bool], width: u32, height: u32, random: &mut SplitMix64) -> (f64, f64) {
    let mut spot = (0.0, 0.0);
    for _ in 0..64 {
        let x = random.between(0.0, f64::from(width));
        let y = random.between(0.0, f64::from(height));
        spot = (x, y);
        if object[(y as u32 * width + x as u32) as usize] {
            break;
        }
    }
    spot
}

/// Pixels that differ from a plain background; all of them where the background is not plain.
///
/// The background is what the image's border shows: plain where at least 80 % of it lies within 12
/// grey levels of its median.
fn object_mask(image: &RgbImage) -> Vec<bool> {
    const PLAIN: u8 = 12;
    let (width, height) = image.dimensions();
    let grey = |p: &Rgb<u8>| ((u32::from(p[0]) + u32::from(p[1]) + u32::from(p[2])) / 3) as u8;
    let mut border: Vec<u8> = image
        .enumerate_pixels()
        .filter(|(x, y, _)| *x == 0 || *y == 0 || *x == width - 1 || *y == height - 1)
        .map(|(_, _, p)| grey(p))
        .collect();
    border.sort_unstable();
    let median = border[border.len() / 2];
    let plain = border
        .iter()
        .filter(|g| g.abs_diff(median) <= PLAIN)
        .count();
    if plain * 5 < border.len() * 4 {
        return vec![true; (width * height) as usize];
    }
    image
        .pixels()
        .map(|p| grey(p).abs_diff(median) > PLAIN)
        .collect()
}

/// A lightly shifted and re-lit copy: what a single reference is compared with (method, step 3).
pub fn shifted_copy(image: &RgbImage, random: &mut SplitMix64) -> RgbImage {
    let (width, height) = image.dimensions();
    let reach = f64::from(width.min(height)) * 0.02;
    let (dx, dy) = (random.between(-reach, reach), random.between(-reach, reach));
    let (gain, offset) = (random.between(0.95, 1.05), random.between(-6.0, 6.0));
    RgbImage::from_fn(width, height, |x, y| {
        let at = |v: u32, d: f64, len: u32| {
            (f64::from(v) + d).round().clamp(0.0, f64::from(len - 1)) as u32
        };
        let pixel = image.get_pixel(at(x, dx, width), at(y, dy, height));
        Rgb(pixel
            .0
            .map(|v| (f64::from(v) * gain + offset).round().clamp(0.0, 255.0) as u8))
    })
}
