//! Images of all kinds become the same upright RGB.

use std::io::Cursor;
use std::path::Path;

use image::{DynamicImage, GrayImage, ImageBuffer, ImageFormat, Luma, Rgb, RgbImage};
use vod_host::{Error, image as host};

fn picture() -> RgbImage {
    RgbImage::from_fn(40, 20, |x, y| Rgb([x as u8 * 6, y as u8 * 12, 77]))
}

fn written(image: &DynamicImage, folder: &Path, name: &str) -> std::path::PathBuf {
    let path = folder.join(name);
    image.save(&path).unwrap();
    path
}

#[test]
fn lossless_formats_give_the_same_pixels() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["a.png", "a.bmp", "a.tiff", "a.webp"] {
        let path = written(&picture().into(), folder.path(), name);
        assert!(host::is_image(&path));
        assert_eq!(host::load(&path).unwrap(), picture(), "{name}");
    }
    let jpeg = host::load(&written(&picture().into(), folder.path(), "a.jpg")).unwrap();
    assert_eq!(jpeg.dimensions(), (40, 20));
}

#[test]
fn grey_and_16_bit_images_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let grey = GrayImage::from_fn(9, 7, |x, y| Luma([(x * 20 + y) as u8]));
    let found = host::load(&written(&grey.clone().into(), folder.path(), "g.png")).unwrap();
    assert!(
        found
            .enumerate_pixels()
            .all(|(x, y, p)| p.0 == [grey.get_pixel(x, y)[0]; 3])
    );
    let deep: ImageBuffer<Luma<u16>, Vec<u16>> =
        ImageBuffer::from_fn(9, 7, |x, y| Luma([(x * 20 + y) as u16 * 257]));
    let found = host::load(&written(&deep.into(), folder.path(), "d.png")).unwrap();
    assert!(
        found
            .enumerate_pixels()
            .all(|(x, y, p)| p.0 == [grey.get_pixel(x, y)[0]; 3])
    );
}

/// A JPEG with an EXIF block that says how the camera was held.
fn with_orientation(orientation: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    picture()
        .write_to(&mut Cursor::new(&mut jpeg), ImageFormat::Jpeg)
        .unwrap();
    let mut exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0, 0]);
    let length = (exif.len() + 2) as u16;
    let mut out = jpeg[..2].to_vec();
    out.extend([0xff, 0xe1]);
    out.extend(length.to_be_bytes());
    out.extend(exif);
    out.extend(&jpeg[2..]);
    out
}

#[test]
fn exif_orientation_is_obeyed() {
    let upright = host::from_bytes(&with_orientation(1)).unwrap();
    let turned = host::from_bytes(&with_orientation(6)).unwrap();
    assert_eq!(upright.dimensions(), (40, 20));
    assert_eq!(turned, image::imageops::rotate90(&upright));
    let half = host::from_bytes(&with_orientation(3)).unwrap();
    assert_eq!(half, image::imageops::rotate180(&upright));
}

#[test]
fn damaged_and_huge_images_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.png");
    std::fs::write(&path, b"no image at all").unwrap();
    assert!(matches!(host::load(&path), Err(Error::Image { .. })));
    // A header that promises 60,000 x 60,000 pixels.
    let mut png = Vec::new();
    picture()
        .write_to(&mut Cursor::new(&mut png), ImageFormat::Png)
        .unwrap();
    png[16..24].copy_from_slice(&[0, 0, 0xea, 0x60, 0, 0, 0xea, 0x60]);
    assert!(host::from_bytes(&png).is_err());
}
