//! The page of `vod score` and `vod demo`: a summary, the histogram of scores, all verdicts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use image::RgbImage;

use super::chart::histogram;
use super::gallery::{Entry, Gallery, Truth};
use super::html::escape;
use crate::dataset::GOOD;
use crate::error::Result;
use crate::score::{ScoreScale, Verdict};

/// A page of verdicts in the making.
#[derive(Debug)]
pub struct VerdictPage {
    gallery: Gallery,
    /// Scores by what the images really show; all under one name where that is not known.
    groups: BTreeMap<String, Vec<f64>>,
}

impl VerdictPage {
    /// Starts a page for about `expected` images.
    ///
    /// # Errors
    /// As [`Gallery::create`].
    pub fn create(target: &Path, force: bool, expected: usize) -> Result<Self> {
        Ok(Self {
            gallery: Gallery::create(target, force, expected)?,
            groups: BTreeMap::new(),
        })
    }

    /// Adds a verdict with its upright image; `map_scale` is the bank's, `truth` what the image
    /// really shows, where that is known, `notes` are further paragraphs in plain text.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where a picture can't be encoded, [`crate::Error::Io`].
    pub fn add(
        &mut self,
        verdict: &Verdict,
        image: &RgbImage,
        map_scale: ScoreScale,
        truth: Option<Truth>,
        notes: Vec<String>,
    ) -> Result<()> {
        let map = verdict.map.mapv(|score| map_scale.unit(score) as f32);
        let rendered = self.gallery.render(&Entry {
            name: verdict.path.display().to_string(),
            score: verdict.image_score,
            anomalous: verdict.anomalous,
            image,
            map: map.view(),
            regions: &verdict.regions,
            truth,
            notes,
        })?;
        let group = truth.map_or("images", |t| t.kind).to_string();
        self.groups
            .entry(group)
            .or_default()
            .push(verdict.image_score);
        self.gallery.push(rendered)
    }

    /// Writes the page. `summary` is plain text, one paragraph a line.
    ///
    /// # Errors
    /// As [`Gallery::finish`].
    pub fn finish(self, title: &str, summary: &str) -> Result<()> {
        let mut lead = String::new();
        for line in summary.lines() {
            // Writing to a String can't fail.
            let _ = writeln!(lead, "<p class=\"lead\">{}</p>", escape(line));
        }
        lead.push_str(
            "<p class=\"note\">Scores run from 0 to 1. 0.5 is the threshold, 0.25 a typical normal \
             image.</p>\n",
        );
        // Good images first, then the kinds of defect by name.
        let mut groups: Vec<_> = self.groups.into_iter().collect();
        groups.sort_by_key(|(name, _)| name != GOOD);
        lead.push_str(&histogram(&groups));
        self.gallery.finish(title, &lead)
    }
}
