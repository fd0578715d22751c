//! Image files to upright 8-bit RGB, within limits.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use image::{DynamicImage, ImageDecoder, ImageReader, Limits, RgbImage};

use crate::error::{Error, Result};

/// Longest side that is decoded, pixels.
pub const MAX_SIDE: u32 = 32_768;
/// Pixels of the largest image that is decoded: 768 MiB as RGB.
pub const MAX_PIXELS: u64 = 1 << 28;
/// Memory that decoding one image may take, bytes.
pub const MAX_DECODE_BYTES: u64 = 2 << 30;
/// Images with more pixels than this are decoded one at a time, whatever the number of threads.
const LARGE_PIXELS: u64 = 1 << 25;
static LARGE: Mutex<()> = Mutex::new(());

const EXTENSIONS: [&str; 7] = ["jpg", "jpeg", "png", "bmp", "tif", "tiff", "webp"];

/// Decodes the image at `path`: turned upright as its EXIF orientation says, grey replicated to
/// three channels, 16 bits scaled to 8, alpha dropped.
///
/// # Errors
/// [`Error::Io`] where the file can't be read, [`Error::Image`] where it is no image, is damaged
/// or exceeds [`MAX_SIDE`], [`MAX_PIXELS`] or [`MAX_DECODE_BYTES`].
pub fn load(path: &Path) -> Result<RgbImage> {
    load_and(path, Ok)
}

/// Decodes an image as [`load`] does and hands it to `use_it`; large images are in memory one at a
/// time.
///
/// # Errors
/// As [`load`], and those of `use_it`.
pub fn load_and<T>(path: &Path, use_it: impl FnOnce(RgbImage) -> Result<T>) -> Result<T> {
    let file = File::open(path).map_err(Error::io(path))?;
    let wrong = |reason: String| Error::Image {
        path: path.to_path_buf(),
        reason,
    };
    let decoder = decoder(ImageReader::new(BufReader::new(file))).map_err(wrong)?;
    let _turn = (pixels(&decoder) > LARGE_PIXELS)
        .then(|| LARGE.lock().unwrap_or_else(PoisonError::into_inner));
    use_it(decode(decoder).map_err(wrong)?)
}

/// Decodes an image in memory, as [`load`].
///
/// # Errors
/// What is wrong with the bytes, in words.
pub fn from_bytes(bytes: &[u8]) -> std::result::Result<RgbImage, String> {
    decode(decoder(ImageReader::new(Cursor::new(bytes)))?)
}

fn pixels(decoder: &impl ImageDecoder) -> u64 {
    let (width, height) = decoder.dimensions();
    u64::from(width) * u64::from(height)
}

fn text(error: image::ImageError) -> String {
    error.to_string().replace('\n', " ")
}

/// Reads the header and holds it against the limits; no pixel is decoded yet.
fn decoder<'r, R: std::io::BufRead + std::io::Seek + 'r>(
    reader: ImageReader<R>,
) -> std::result::Result<impl ImageDecoder + 'r, String> {
    let mut reader = reader.with_guessed_format().map_err(|e| e.to_string())?;
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_DECODE_BYTES);
    reader.limits(limits);
    let decoder = reader.into_decoder().map_err(text)?;
    if pixels(&decoder) > MAX_PIXELS {
        let (width, height) = decoder.dimensions();
        return Err(format!(
            "{width} x {height} pixels are more than the {} million that are decoded; \
             scale it down or cut it",
            MAX_PIXELS / 1_000_000
        ));
    }
    Ok(decoder)
}

fn decode(mut decoder: impl ImageDecoder) -> std::result::Result<RgbImage, String> {
    let orientation = decoder.orientation().map_err(text)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(text)?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Whether the name ends like an image's.
pub fn is_image(path: &Path) -> bool {
    path.extension()
        .and_then(|e| e.to_str())
        .is_some_and(|e| EXTENSIONS.iter().any(|x| e.eq_ignore_ascii_case(x)))
}

/// The images directly in `folder`, sorted by name.
///
/// # Errors
/// [`Error::Io`] where the folder can't be read, [`Error::NoImages`] where it holds none.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if is_image(&path) && path.is_file() {
            paths.push(path);
        }
    }
    sorted(paths, folder)
}

/// The images in `folder` and everything below it, sorted by path.
///
/// # Errors
/// As [`list`].
pub fn list_recursive(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).map_err(Error::io(&folder))? {
            let entry = entry.map_err(Error::io(&folder))?;
            let kind = entry.file_type().map_err(Error::io(entry.path()))?;
            let path = entry.path();
            if kind.is_dir() {
                folders.push(path);
            } else if is_image(&path) {
                paths.push(path);
            }
        }
    }
    sorted(paths, folder)
}

fn sorted(mut paths: Vec<PathBuf>, folder: &Path) -> Result<Vec<PathBuf>> {
    if paths.is_empty() {
        return Err(Error::NoImages {
            path: folder.to_path_buf(),
        });
    }
    paths.sort();
    Ok(paths)
}
