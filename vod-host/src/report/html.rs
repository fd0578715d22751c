//! Self-contained HTML pages; of verdicts: sorted by score, each image beside its overlay.

use std::fmt::Write;
use std::io::Cursor;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use image::codecs::jpeg::JpegEncoder;
use image::{ExtendedColorType, RgbImage};

use crate::error::{Error, Result};
use crate::preprocess::resize;
use crate::score::Verdict;

/// Longest side of a picture in the page, pixels.
const PICTURE_SIDE: u32 = 360;

const STYLE: &str = "
:root{color-scheme:light dark;font:16px/1.4 system-ui,sans-serif}
body{max-width:60rem;margin:1rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.3rem .5rem;border-bottom:1px solid #8886}
td.number{text-align:right;font-variant-numeric:tabular-nums}
.anomalous{color:#c3341f;font-weight:600}
.normal{color:#1c7c3c}
@media(prefers-color-scheme:dark){.anomalous{color:#ff8672}.normal{color:#7fdc9c}}
figure{display:inline-block;margin:0 1rem 1rem 0;vertical-align:top}
figure img{max-width:100%;height:auto;display:block}
.wide{overflow-x:auto}
svg{max-width:100%;height:auto}
svg text{fill:currentColor;font-size:13px}
.axis{stroke:currentColor;fill:none;opacity:.6}
.curve{fill:none;stroke-width:2.5}
";

/// Page in the making; images are scaled down and written into it as they come.
#[derive(Debug, Default)]
pub struct Page {
    rows: Vec<(f64, String)>,
}

impl Page {
    /// Adds one verdict with its image and overlay.
    ///
    /// # Errors
    /// [`Error::Data`] where a picture can't be encoded.
    pub fn add(&mut self, verdict: &Verdict, image: &RgbImage, overlay: &RgbImage) -> Result<()> {
        let name = escape(&verdict.path.display().to_string());
        let (class, word) = if verdict.anomalous {
            ("anomalous", "anomalous")
        } else {
            ("normal", "normal")
        };
        let row = format!(
            "<section><h2><span class=\"{class}\">{word}</span> {:.3} &ndash; {name}</h2>\
             <figure><img loading=\"lazy\" alt=\"{name}\" src=\"{}\"></figure>\
             <figure><img loading=\"lazy\" alt=\"anomaly map of {name}\" src=\"{}\"></figure></section>\n",
            verdict.image_score,
            picture(image)?,
            picture(overlay)?,
        );
        self.rows.push((verdict.image_score, row));
        Ok(())
    }

    /// The page, highest score first. `summary` is plain text, one paragraph a line.
    pub fn finish(mut self, title: &str, summary: &str) -> String {
        self.rows.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut page = String::new();
        for line in summary.lines() {
            // Writing to a String can't fail.
            let _ = writeln!(page, "<p>{}</p>", escape(line));
        }
        page.push_str(
            "<p>Scores run from 0 to 1; 0.5 is the threshold. In the maps, yellow is the threshold \
             and red is far above it.</p>\n",
        );
        for (_, row) in &self.rows {
            page.push_str(row);
        }
        document(title, &page)
    }
}

/// A whole page; `body` is HTML.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>\n{body}</body></html>\n",
        escape(title)
    )
}

/// A JPEG data URL of the image, scaled down.
pub(super) fn picture(image: &RgbImage) -> Result<String> {
    let (width, height) = image.dimensions();
    let longest = width.max(height).max(1);
    let small = if longest > PICTURE_SIDE {
        let scaled = |side: u32| (side * PICTURE_SIDE / longest).max(1);
        resize(image, scaled(width), scaled(height))?
    } else {
        image.clone()
    };
    let mut bytes = Vec::new();
    JpegEncoder::new_with_quality(Cursor::new(&mut bytes), 85)
        .encode(
            small.as_raw(),
            small.width(),
            small.height(),
            ExtendedColorType::Rgb8,
        )
        .map_err(|e| Error::Data(format!("picture can't be encoded: {e}")))?;
    Ok(format!("data:image/jpeg;base64,{}", STANDARD.encode(bytes)))
}

/// Text for HTML content and attributes.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_can_not_break_out_of_the_page() {
        assert_eq!(
            super::escape("<img src='x' onerror=\"y\">&"),
            "&lt;img src=&#39;x&#39; onerror=&quot;y&quot;&gt;&amp;"
        );
    }
}
