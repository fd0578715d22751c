//! The page of `vod score` and `vod demo`: a summary, the histogram of scores, all verdicts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use image::RgbImage;

use super::chart::histogram;
use super::gallery::{Entry, Gallery, Rendered, Renderer, Truth};
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

/// Renders verdicts for a page, on any thread.
#[derive(Clone, Copy, Debug)]
pub struct VerdictRenderer {
    renderer: Renderer,
    scale: ScoreScale,
}

/// A verdict ready to be put into its [`VerdictPage`].
#[derive(Clone, Debug)]
pub struct RenderedVerdict {
    group: String,
    score: f64,
    rendered: Rendered,
}

impl VerdictRenderer {
    /// Renders a verdict with its upright image; `truth` is what the image really shows, where that
    /// is known, `notes` are further paragraphs in plain text.
    ///
    /// # Errors
    /// [`crate::Error::Data`] where a picture can't be encoded.
    pub fn render(
        self,
        verdict: &Verdict,
        image: &RgbImage,
        truth: Option<Truth>,
        notes: Vec<String>,
    ) -> Result<RenderedVerdict> {
        let map = verdict.map.mapv(|score| self.scale.unit(score) as f32);
        let rendered = self.renderer.render(&Entry {
            name: verdict.path.display().to_string(),
            score: verdict.image_score,
            anomalous: verdict.anomalous,
            image,
            map: map.view(),
            regions: &verdict.regions,
            truth,
            notes,
        })?;
        Ok(RenderedVerdict {
            group: truth.map_or("images", |t| t.kind).to_string(),
            score: verdict.image_score,
            rendered,
        })
    }
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

    /// What renders verdicts for this page; for maps, `scale` is the bank's.
    pub fn renderer(&self, scale: ScoreScale) -> VerdictRenderer {
        VerdictRenderer {
            renderer: self.gallery.renderer(),
            scale,
        }
    }

    /// Puts a rendered verdict into the page.
    ///
    /// # Errors
    /// As [`Gallery::push`].
    pub fn push(&mut self, verdict: RenderedVerdict) -> Result<()> {
        let group = self.groups.entry(verdict.group).or_default();
        group.push(verdict.score);
        self.gallery.push(verdict.rendered)
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
