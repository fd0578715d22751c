//! The images of a page with their maps, sorted by score; written to disk as they come.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use ndarray::{Array2, ArrayView2};

use super::heatmap::{map_layer, mask_layer};
use super::html::{data_url, escape, foot, head};
use crate::bank_file::{folder_of, refuse_existing, write_file_with};
use crate::dataset::GOOD;
use crate::error::{Error, Result};
use crate::preprocess::resize;
use crate::score::PixelRegion;

/// Bytes that the pictures of a page may take, all together; more images, smaller pictures.
const PICTURE_BYTES: f64 = 48e6;
/// Bytes in the page that a pixel takes: JPEG of this quality, in base64.
const BYTES_PER_PIXEL: f64 = 0.25;
const QUALITY: u8 = 82;
/// Limits of the longer side of a picture, pixels.
const SMALLEST_SIDE: f64 = 160.0;
const LARGEST_SIDE: f64 = 800.0;
/// Regions that are told in words; the picture shows all.
const REGIONS_IN_WORDS: usize = 4;

/// One image of a gallery.
#[derive(Clone, Debug)]
pub struct Entry<'a> {
    /// What it is called in the page.
    pub name: String,
    /// Image score, 0 to 1; 0.5 is the threshold.
    pub score: f64,
    /// Whether it is called anomalous.
    pub anomalous: bool,
    /// The upright image.
    pub image: &'a RgbImage,
    /// Anomaly map on the scale 0 to 1, `[height, width]` in patches; 0.5 is the threshold.
    pub map: ArrayView2<'a, f32>,
    /// Regions above the threshold, in pixels of the image.
    pub regions: &'a [PixelRegion],
    /// What the image really shows, where that is known.
    pub truth: Option<Truth<'a>>,
    /// Further paragraphs, plain text.
    pub notes: Vec<String>,
}

/// What an image really shows.
#[derive(Clone, Copy, Debug)]
pub struct Truth<'a> {
    /// Its data set.
    pub set: &'a str,
    /// `good` or its kind of defect.
    pub kind: &'a str,
    /// Mask of the defect, `[height, width]` in pixels.
    pub mask: Option<&'a Array2<bool>>,
}

/// An entry as HTML, ready to be put into its [`Gallery`].
#[derive(Clone, Debug)]
pub struct Rendered {
    score: f64,
    html: String,
}

/// A page with images in the making. Holds a few numbers an image; what is rendered waits in an
/// unnamed file beside the page.
#[derive(Debug)]
pub struct Gallery {
    target: PathBuf,
    force: bool,
    side: u32,
    spool: BufWriter<File>,
    /// Score, start and length of each entry in the spool.
    places: Vec<(f64, u64, u64)>,
    end: u64,
}

impl Gallery {
    /// Starts a page for about `expected` images: the more, the smaller each picture.
    ///
    /// # Errors
    /// [`Error::Exists`] where the page is there already and `force` is not set; [`Error::Io`]
    /// where its folder can't be written to.
    pub fn create(target: &Path, force: bool, expected: usize) -> Result<Self> {
        refuse_existing(target, force)?;
        let spool = tempfile::tempfile_in(folder_of(target)).map_err(Error::io(target))?;
        Ok(Self {
            target: target.to_path_buf(),
            force,
            side: picture_side(expected),
            spool: BufWriter::new(spool),
            places: Vec::new(),
            end: 0,
        })
    }

    /// Renders an entry; may be done on several threads.
    ///
    /// # Errors
    /// [`Error::Data`] where a picture can't be encoded.
    pub fn render(&self, entry: &Entry) -> Result<Rendered> {
        Ok(Rendered {
            score: entry.score,
            html: item(entry, self.side)?,
        })
    }

    /// Puts a rendered entry into the page.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full.
    pub fn push(&mut self, rendered: &Rendered) -> Result<()> {
        let bytes = rendered.html.as_bytes();
        self.spool
            .write_all(bytes)
            .map_err(Error::io(&self.target))?;
        let length = bytes.len() as u64;
        self.places.push((rendered.score, self.end, length));
        self.end += length;
        Ok(())
    }

    /// Writes the page: title, `lead` (HTML), then the images, highest score first, those of
    /// equal scores in the order in which they came.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn finish(mut self, title: &str, lead: &str) -> Result<()> {
        self.places.sort_by(|a, b| b.0.total_cmp(&a.0));
        self.spool.flush().map_err(Error::io(&self.target))?;
        let mut spool = self.spool.get_ref();
        write_file_with(&self.target, self.force, |out| {
            out.write_all(head(title).as_bytes())?;
            out.write_all(lead.as_bytes())?;
            if !self.places.is_empty() {
                out.write_all(CONTROLS.as_bytes())?;
                out.write_all(b"<ol id=\"images\">\n")?;
                for &(_, start, length) in &self.places {
                    spool.seek(SeekFrom::Start(start))?;
                    std::io::copy(&mut spool.take(length), out)?;
                }
                out.write_all(b"</ol>\n")?;
                out.write_all(VIEWER.as_bytes())?;
            }
            out.write_all(foot().as_bytes())
        })
    }
}

fn picture_side(expected: usize) -> u32 {
    let pixels = PICTURE_BYTES / BYTES_PER_PIXEL / expected.max(1) as f64;
    pixels.sqrt().clamp(SMALLEST_SIDE, LARGEST_SIDE) as u32
}

const CONTROLS: &str = "<h2 id=\"images-heading\">Images</h2>\n\
<form id=\"filter\" role=\"search\" aria-labelledby=\"images-heading\" hidden>\
<label>Name contains <input type=\"search\" id=\"name\" autocomplete=\"off\"></label>\
<label>Verdict <select id=\"verdict\"><option value=\"\">all</option>\
<option value=\"anomalous\">anomalous</option><option value=\"normal\">normal</option>\
<option value=\"=missed\">missed defects</option>\
<option value=\"=false alarm\">false alarms</option></select></label>\
<label>Kind <select id=\"kind\"><option value=\"\">all</option></select></label>\
<label>Data set <select id=\"set\"><option value=\"\">all</option></select></label>\
<label>Score from <input type=\"number\" id=\"from\" min=\"0\" max=\"1\" step=\"any\"></label>\
<label>to <input type=\"number\" id=\"to\" min=\"0\" max=\"1\" step=\"any\"></label>\
<label>Order <select id=\"order\"><option value=\"high\">highest score first</option>\
<option value=\"low\">lowest score first</option><option value=\"name\">by name</option></select>\
</label><button type=\"reset\">Reset</button></form>\n\
<noscript><p>The pictures, the filter and the enlarged view need scripts; they are switched off \
here.</p></noscript>\n\
<p id=\"count\" role=\"status\"></p>\n\
<p class=\"note\">Left the image, right its map: yellow is at the threshold, red far above it; white \
boxes are the regions above it; blue outlines are marked defects. A click or Enter enlarges.</p>\n";

const VIEWER: &str = "<dialog id=\"viewer\" aria-labelledby=\"title\">\
<div class=\"tools\"><h2 id=\"title\"></h2>\
<button type=\"button\" data-act=\"close\">Close</button></div>\
<div class=\"tools\">\
<button type=\"button\" data-act=\"previous\">Previous</button>\
<button type=\"button\" data-act=\"next\">Next</button>\
<button type=\"button\" data-act=\"out\" aria-label=\"Zoom out\">&minus;</button>\
<output id=\"zoom\" aria-label=\"Zoom\">100 %</output>\
<button type=\"button\" data-act=\"in\" aria-label=\"Zoom in\">+</button>\
<button type=\"button\" data-act=\"fit\">Fit</button>\
<label><input type=\"checkbox\" id=\"with-map\" checked> map</label>\
<label><input type=\"checkbox\" id=\"with-regions\" checked> regions</label>\
<label><input type=\"checkbox\" id=\"with-truth\" checked> marked defect</label></div>\
<div id=\"stage\" tabindex=\"0\" role=\"group\" aria-label=\"Picture; + and - zoom, arrow keys go on, \
h hides the map\"><div id=\"picture\" class=\"frame\"></div></div>\
<p id=\"where\"></p></dialog>\n";

fn item(entry: &Entry, side: u32) -> Result<String> {
    let name = escape(&entry.name);
    let word = if entry.anomalous {
        "anomalous"
    } else {
        "normal"
    };
    let (width, height) = entry.image.dimensions();
    let mut attributes = format!("data-score=\"{:.6}\" data-verdict=\"{word}\"", entry.score);
    let mut told = String::new();
    // Writing to a String can't fail, here and below.
    if let Some(truth) = &entry.truth {
        let outcome = match (truth.kind != GOOD, entry.anomalous) {
            (true, true) => "found",
            (true, false) => "missed",
            (false, true) => "false alarm",
            (false, false) => "passed",
        };
        let (set, kind) = (escape(truth.set), escape(truth.kind));
        let _ = write!(
            attributes,
            " data-outcome=\"{outcome}\" data-kind=\"{kind}\" data-set=\"{set}\""
        );
        let wrong = (truth.kind != GOOD) != entry.anomalous;
        let class = if wrong {
            "outcome anomalous"
        } else {
            "outcome"
        };
        let _ = write!(told, "<span class=\"{class}\">{kind}: {outcome}</span>");
    }
    let frame = format!(
        "class=\"frame\" data-width=\"{width}\" data-height=\"{height}\" \
         style=\"aspect-ratio:{width}/{height}\""
    );
    let mut layers = format!(
        "<img class=\"map\" alt=\"\" data-src=\"{}\">",
        data_url("image/png", &map_layer(entry.map)?)
    );
    if let Some(mask) = entry.truth.and_then(|t| t.mask) {
        let _ = write!(
            layers,
            "<img class=\"truth\" alt=\"\" data-src=\"{}\">",
            data_url("image/png", &mask_layer(mask)?)
        );
    }
    if !entry.regions.is_empty() {
        let _ = write!(
            layers,
            "<svg viewBox=\"0 0 {width} {height}\" preserveAspectRatio=\"none\" aria-hidden=\"true\">"
        );
        for class in [" class=\"under\"", ""] {
            for region in entry.regions {
                let _ = write!(
                    layers,
                    "<rect{class} x=\"{}\" y=\"{}\" width=\"{}\" height=\"{}\"/>",
                    region.x, region.y, region.width, region.height
                );
            }
        }
        layers.push_str("</svg>");
    }
    let mut html = format!(
        "<li {attributes}><h3><span class=\"{word}\">{word}</span> \
         <span class=\"score\">{:.3}</span> {told}<bdi>{name}</bdi></h3>\
         <button type=\"button\" class=\"pair\" aria-label=\"Enlarge {name}\">\
         <span {frame}><img class=\"photo\" alt=\"\" data-src=\"{}\"></span>\
         <span {frame}><img alt=\"\">{layers}</span></button>",
        entry.score,
        data_url("image/jpeg", &photo(entry.image, side)?)
    );
    if let Some(words) = regions_in_words(entry.regions) {
        let _ = write!(html, "<p>{words}</p>");
    }
    for note in &entry.notes {
        let _ = write!(html, "<p>{}</p>", escape(note));
    }
    html.push_str("</li>\n");
    Ok(html)
}

fn regions_in_words(regions: &[PixelRegion]) -> Option<String> {
    if regions.is_empty() {
        return None;
    }
    let mut words = match regions.len() {
        1 => "1 region:".to_string(),
        n => format!("{n} regions:"),
    };
    for (number, region) in regions.iter().take(REGIONS_IN_WORDS).enumerate() {
        let _ = write!(
            words,
            "{} {:.2} at {}, {} ({} x {} px)",
            if number > 0 { ";" } else { "" },
            region.score,
            region.x,
            region.y,
            region.width,
            region.height
        );
    }
    if regions.len() > REGIONS_IN_WORDS {
        words.push_str("; ...");
    }
    Some(words)
}

/// A JPEG of the image, scaled down to a longer side of `side`.
fn photo(image: &RgbImage, side: u32) -> Result<Vec<u8>> {
    let (width, height) = image.dimensions();
    let longest = width.max(height);
    let scaled =
        |n: u32| (u64::from(n) * u64::from(side) / u64::from(longest.max(1))).max(1) as u32;
    let small = if longest > side {
        &resize(image, scaled(width), scaled(height))?
    } else {
        image
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(Cursor::new(&mut bytes), QUALITY)
        .encode(
            small.as_raw(),
            small.width(),
            small.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| Error::Data(format!("picture can't be encoded: {e}")))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(gallery: &mut Gallery, name: &str, score: f64) {
        let image = RgbImage::new(40, 30);
        let map = Array2::from_elem((3, 4), score as f32);
        let entry = Entry {
            name: name.into(),
            score,
            anomalous: score >= 0.5,
            image: &image,
            map: map.view(),
            regions: &[],
            truth: None,
            notes: vec!["<note>".into()],
        };
        let rendered = gallery.render(&entry).unwrap();
        gallery.push(&rendered).unwrap();
    }

    #[test]
    fn entries_come_out_by_score_and_escaped() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("page.html");
        let mut gallery = Gallery::create(&target, false, 3).unwrap();
        add(&mut gallery, "low", 0.2);
        add(&mut gallery, "<script>alert(1)</script>", 0.9);
        add(&mut gallery, "middle", 0.5);
        gallery.finish("a & b", "<p>lead</p>").unwrap();
        let page = std::fs::read_to_string(&target).unwrap();
        let places: Vec<_> = ["&lt;script&gt;alert(1)", "middle</bdi>", "low</bdi>"]
            .map(|name| page.find(name).unwrap())
            .into();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!page.contains("<script>alert") && page.contains("<p>&lt;note&gt;</p>"));
        assert!(page.contains("<title>a &amp; b</title>") && page.contains("<p>lead</p>"));
        // Nothing but the page is left in the folder, and it is not written over.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(matches!(
            Gallery::create(&target, false, 1),
            Err(Error::Exists { .. })
        ));
    }

    #[test]
    fn pictures_of_a_large_page_are_small() {
        assert_eq!(picture_side(1), 800);
        assert_eq!(picture_side(1_000_000), 160);
        let side = picture_side(5_000);
        assert!((180..=220).contains(&side), "{side}");
        let wide = RgbImage::new(4_000, 100);
        let bytes = photo(&wide, 400).unwrap();
        let read = crate::image::from_bytes(&bytes).unwrap();
        assert_eq!(read.dimensions(), (400, 10));
    }
}
