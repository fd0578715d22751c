//! The images of a page with their maps, sorted by score; written to disk as they come.
//!
//! The page holds one JSON index of all images (name, score, verdict, truth), which the script filters
//! and orders, and a block of JSON an image with its pictures and paragraphs, which is read when the
//! image is shown. Few images are in the document at a time, however many there are.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Cursor, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};
use ndarray::{Array2, ArrayView2};
use serde::Serialize;

use super::heatmap::{map_layer, mask_layer};
use super::html::{escape, foot, head, json_block};
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
    /// Why it is judged so: further paragraphs, plain text, which open at a click.
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

/// An entry ready to be put into its [`Gallery`].
#[derive(Clone, Debug)]
pub struct Rendered {
    score: f64,
    /// What the page is filtered and ordered by, JSON.
    index: String,
    /// Its pictures and paragraphs, JSON.
    content: String,
    /// Its row in the table for readers without scripts, HTML.
    row: String,
}

/// An entry of the page's index.
#[derive(Serialize)]
struct Indexed<'a> {
    name: &'a str,
    score: f64,
    verdict: &'static str,
    /// Pixels of the image.
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    set: Option<&'a str>,
}

/// What is read when an image is shown; pictures are in base64.
#[derive(Serialize)]
struct Content<'a> {
    /// JPEG.
    photo: String,
    /// PNG, laid over the photo.
    map: String,
    /// PNG with the outline of the marked defect.
    #[serde(skip_serializing_if = "Option::is_none")]
    truth: Option<String>,
    /// x, y, width and height in pixels of the image.
    regions: Vec<[u32; 4]>,
    /// The regions in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    words: Option<String>,
    notes: &'a [String],
}

/// Renders entries of one page, on any thread.
#[derive(Clone, Copy, Debug)]
pub struct Renderer {
    /// Longer side of a picture, pixels, at most.
    side: u32,
}

impl Renderer {
    /// Renders an entry.
    ///
    /// # Errors
    /// [`Error::Data`] where a picture can't be encoded.
    pub fn render(self, entry: &Entry) -> Result<Rendered> {
        rendered(entry, self.side)
    }
}

/// A page with images in the making. Holds a few hundred bytes an image; the pictures wait in an
/// unnamed file beside the page.
#[derive(Debug)]
pub struct Gallery {
    target: PathBuf,
    force: bool,
    renderer: Renderer,
    spool: BufWriter<File>,
    places: Vec<Place>,
    end: u64,
}

/// An entry whose content waits in the spool.
#[derive(Debug)]
struct Place {
    score: f64,
    index: String,
    row: String,
    /// Where its content starts in the spool, and its bytes.
    start: u64,
    length: u64,
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
            renderer: Renderer {
                side: picture_side(expected),
            },
            spool: BufWriter::new(spool),
            places: Vec::new(),
            end: 0,
        })
    }

    /// What renders entries for this page.
    pub fn renderer(&self) -> Renderer {
        self.renderer
    }

    /// Puts a rendered entry into the page.
    ///
    /// # Errors
    /// [`Error::Io`] where the disk is full.
    pub fn push(&mut self, rendered: Rendered) -> Result<()> {
        let bytes = rendered.content.as_bytes();
        self.spool
            .write_all(bytes)
            .map_err(Error::io(&self.target))?;
        let length = bytes.len() as u64;
        self.places.push(Place {
            score: rendered.score,
            index: rendered.index,
            row: rendered.row,
            start: self.end,
            length,
        });
        self.end += length;
        Ok(())
    }

    /// Writes the page: title, `lead` (HTML), then the images, highest score first, those of
    /// equal scores in the order in which they came.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn finish(mut self, title: &str, lead: &str) -> Result<()> {
        self.places.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.spool.flush().map_err(Error::io(&self.target))?;
        let mut spool = self.spool.get_ref();
        write_file_with(&self.target, self.force, |out| {
            out.write_all(head(title).as_bytes())?;
            out.write_all(lead.as_bytes())?;
            if !self.places.is_empty() {
                out.write_all(CONTROLS.as_bytes())?;
                self.write_table(out)?;
                out.write_all(LIST.as_bytes())?;
                self.write_index(out)?;
                out.write_all(b"<div id=\"contents\" hidden>\n")?;
                for place in &self.places {
                    spool.seek(SeekFrom::Start(place.start))?;
                    std::io::copy(&mut spool.take(place.length), out)?;
                }
                out.write_all(b"</div>\n")?;
                out.write_all(VIEWER.as_bytes())?;
            }
            out.write_all(foot().as_bytes())
        })
    }

    /// All verdicts for readers without scripts: mail programs, previews.
    fn write_table(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(
            b"<noscript><p>Pictures, filter and enlarged view need scripts, which are switched off \
              here.</p>\n<table><thead><tr><th scope=\"col\">image</th><th scope=\"col\">score</th>\
              <th scope=\"col\">verdict</th></tr></thead><tbody>\n",
        )?;
        for place in &self.places {
            out.write_all(place.row.as_bytes())?;
        }
        out.write_all(b"</tbody></table></noscript>\n")
    }

    fn write_index(&self, out: &mut dyn Write) -> std::io::Result<()> {
        out.write_all(b"<script type=\"application/json\" id=\"index\">[")?;
        for (number, place) in self.places.iter().enumerate() {
            out.write_all(if number > 0 { b",\n" } else { b"\n" })?;
            out.write_all(place.index.as_bytes())?;
        }
        out.write_all(b"]</script>\n")
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
</label><label>Images a page <select id=\"length\"><option>48</option><option>240</option></select>\
</label><button type=\"reset\">Reset</button></form>\n";

const LIST: &str = "<p id=\"count\" role=\"status\" tabindex=\"-1\"></p>\n\
<p class=\"note\">Left the image, right its map: yellow is at the threshold, red far above it; white \
boxes are the regions above it; blue outlines are marked defects. A click or Enter enlarges.</p>\n\
<ol id=\"images\"></ol>\n\
<nav id=\"pages\" aria-label=\"Pages of images\" hidden>\
<button type=\"button\" data-by=\"-1\">Previous page</button>\
<label>Page <select id=\"page\"></select></label>\
<button type=\"button\" data-by=\"1\">Next page</button></nav>\n\
<template id=\"item\"><li><h3><span class=\"word\"></span> <span class=\"score\"></span> \
<span class=\"outcome\"></span><bdi></bdi></h3>\
<button type=\"button\" class=\"pair\"><span class=\"frame\"><img class=\"photo\" alt=\"\"></span>\
<span class=\"frame\"></span></button></li></template>\n\
<template id=\"boxes\"><svg preserveAspectRatio=\"none\" aria-hidden=\"true\">\
<rect class=\"under\"/><rect/></svg></template>\n";

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
<div id=\"where\"></div></dialog>\n";

fn rendered(entry: &Entry, side: u32) -> Result<Rendered> {
    let verdict = if entry.anomalous {
        "anomalous"
    } else {
        "normal"
    };
    let (width, height) = entry.image.dimensions();
    let outcome = entry
        .truth
        .map(|truth| match (truth.kind != GOOD, entry.anomalous) {
            (true, true) => "found",
            (true, false) => "missed",
            (false, true) => "false alarm",
            (false, false) => "passed",
        });
    let index = Indexed {
        name: &entry.name,
        score: (entry.score * 1e6).round() / 1e6,
        verdict,
        width,
        height,
        outcome,
        kind: entry.truth.map(|t| t.kind),
        set: entry.truth.map(|t| t.set),
    };
    let mask = entry.truth.and_then(|t| t.mask);
    let content = Content {
        photo: STANDARD.encode(photo(entry.image, side)?),
        map: STANDARD.encode(map_layer(entry.map)?),
        truth: mask
            .map(|mask| Ok::<_, Error>(STANDARD.encode(mask_layer(mask)?)))
            .transpose()?,
        regions: entry
            .regions
            .iter()
            .map(|r| [r.x, r.y, r.width, r.height])
            .collect(),
        words: regions_in_words(entry.regions),
        notes: &entry.notes,
    };
    let content = format!(
        "<script type=\"application/json\">{}</script>\n",
        json_block(&content)?
    );
    Ok(Rendered {
        score: entry.score,
        index: json_block(&index)?,
        content,
        row: format!(
            "<tr><td>{}</td><td>{:.3}</td><td>{verdict}</td></tr>\n",
            escape(&entry.name),
            entry.score
        ),
    })
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
        let rendered = gallery.renderer().render(&entry).unwrap();
        gallery.push(rendered).unwrap();
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
        let places: Vec<_> = [
            r#""name":"\u003cscript>alert(1)"#,
            r#""name":"middle""#,
            r#""name":"low""#,
        ]
        .map(|name| page.find(name).unwrap())
        .into();
        assert!(places.is_sorted(), "{places:?}");
        assert!(!page.contains("<script>alert") && !page.contains("<note>"));
        // Once in the index, once in the table for readers without scripts.
        assert!(page.contains("<td>&lt;script&gt;alert(1)") && page.contains("\\u003cnote>"));
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
