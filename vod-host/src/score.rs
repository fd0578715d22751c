//! Images to verdicts, on the integer path that a device runs.

use std::path::{Path, PathBuf};
use std::time::Instant;

use nalgebra::{Point2, Scale2};
use ndarray::{Array2, Axis};
use serde::Serialize;
use vod_core::{Bank, FrameError, FrameScore, Grid, LevelFeatures, Levels, Scorer, regions};

use crate::backbone::Backbone;
use crate::bank_file::BankFile;
use crate::error::{Error, Result};
use crate::explain::{Explainer, Explanation};
use crate::features::{Extractor, Pyramid, resize_bilinear};
use crate::pipeline::in_order;

/// Verdict on one image.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The image; in JSON, bytes that are no UTF-8 are replaced.
    #[serde(serialize_with = "lossy")]
    pub path: PathBuf,
    /// Image score, 0 to 1; 0.5 is the threshold, 0.25 a typical normal image.
    pub image_score: f64,
    /// Always 0.5, the score from which an image is anomalous.
    pub threshold: f64,
    /// Whether the image score reaches the threshold.
    pub anomalous: bool,
    /// Highest score in the map, on the scale of `image_score`.
    pub map_max: f64,
    /// Seconds from file to verdict on one thread.
    pub seconds: f64,
    /// Image score in the bank's integer units.
    pub raw_score: i32,
    /// Threshold in the bank's integer units.
    pub raw_threshold: i32,
    /// Where the map is high, highest peak first.
    pub regions: Vec<PixelRegion>,
    /// The highest patch, where it was asked for and there is no region.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
    /// Width and height of the upright image, pixels.
    #[serde(skip)]
    pub size: (u32, u32),
    /// Anomaly map in the bank's integer units, `[height, width]` patches.
    #[serde(skip)]
    pub map: Array2<i32>,
}

/// A region in pixels of the upright input image.
#[derive(Clone, Debug, Serialize)]
pub struct PixelRegion {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width of its box.
    pub width: u32,
    /// Height of its box.
    pub height: u32,
    /// Highest score in it, on the scale of the image score.
    pub score: f64,
    /// Pixels that its patches cover.
    pub area: u64,
    /// Its highest patch, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub explanation: Option<Explanation>,
}

impl Verdict {
    /// What explains the verdict: one for each region, or that of the highest patch where there is no
    /// region; none unless the scorer was asked for them.
    pub fn explanations(&self) -> impl Iterator<Item = &Explanation> {
        let regions = self.regions.iter();
        let regions = regions.filter_map(|region| region.explanation.as_ref());
        regions.chain(&self.explanation)
    }

    /// The smoothed map in the size of the image, `[height, width]`, on the scale 0 to 1 of `map_scale`.
    pub fn pixel_map(&self, map_scale: ScoreScale) -> Array2<f32> {
        let units = self.map.mapv(|score| map_scale.unit(score) as f32);
        let (height, width) = (self.size.1 as usize, self.size.0 as usize);
        resize_bilinear(units.insert_axis(Axis(2)).view(), height, width).remove_axis(Axis(2))
    }
}

/// A path as text for JSON.
pub fn lossy<S: serde::Serializer>(
    path: &Path,
    serializer: S,
) -> std::result::Result<S::Ok, S::Error> {
    serializer.serialize_str(&path.to_string_lossy())
}

/// The scale of scores: 0.25 at the normal median, 0.5 at the threshold, below 1 always.
///
/// `0.5 + 0.5 x / (1 + |x|)` with `x = (score - threshold) / (threshold - normal)`: strictly
/// monotone, so that ranks (and AUROC) are those of the raw scores.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoreScale {
    /// Score of a typical normal frame.
    pub normal: f64,
    /// Threshold.
    pub threshold: f64,
}

impl ScoreScale {
    /// A score on the scale 0 to 1.
    pub fn unit(self, score: impl Into<f64>) -> f64 {
        let span = (self.threshold - self.normal).max(1e-9);
        let x = (score.into() - self.threshold) / span;
        0.5 + 0.5 * x / (1.0 + x.abs())
    }
}

/// Scores images against a bank.
pub struct ImageScorer<'b> {
    file: &'b BankFile,
    bank: Bank<'b>,
    extractor: Extractor<'b>,
    explainer: Option<Explainer<'b>>,
}

impl<'b> ImageScorer<'b> {
    /// Pairs a bank with the backbone that it was fitted with.
    ///
    /// # Errors
    /// [`Error::BankBackbone`] for another backbone.
    pub fn new(file: &'b BankFile, backbone: &'b dyn Backbone) -> Result<Self> {
        let extractor = Extractor::for_bank(file, backbone)?;
        // Once: the check reads all of the bank.
        let bank = file.bank().map_err(|source| Error::Bank {
            path: PathBuf::from("bank"),
            source,
        })?;
        Ok(Self {
            file,
            bank,
            extractor,
            explainer: None,
        })
    }

    /// Explains the regions of each verdict, or its highest patch.
    pub fn with_explanations(mut self) -> Self {
        let channels = self.extractor.backbone().manifest().feature_channels();
        self.explainer = Some(Explainer::new(self.file, &channels));
        self
    }

    /// What turns images into patch features.
    pub fn extractor(&self) -> &Extractor<'b> {
        &self.extractor
    }

    /// The bank.
    pub fn file(&self) -> &'b BankFile {
        self.file
    }

    /// Scale of the image score.
    ///
    /// # Errors
    /// None in practice, see [`BankFile::bank`].
    pub fn scale(&self) -> Result<ScoreScale> {
        Ok(scale(&self.bank))
    }

    /// Scale of the map, whose 0.5 is the threshold of regions.
    ///
    /// # Errors
    /// As [`Self::scale`].
    pub fn map_scale(&self) -> Result<ScoreScale> {
        Ok(map_scale(&self.bank))
    }

    /// Patch features of an image file, and its width and height in pixels.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`], [`Error::Model`].
    pub fn load(&self, path: &Path) -> Result<(Pyramid, (u32, u32))> {
        self.extractor.load_pyramid(path)
    }

    /// Scores one image file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Image`], [`Error::Model`].
    pub fn score(&self, path: &Path) -> Result<Verdict> {
        let start = Instant::now();
        let (features, size) = self.load(path)?;
        self.verdict(path, &features, size, start)
    }

    /// Scores patch features that were extracted before.
    ///
    /// # Errors
    /// [`Error::Frame`] where they do not fit the bank.
    pub fn verdict(
        &self,
        path: &Path,
        features: &Pyramid,
        size: (u32, u32),
        start: Instant,
    ) -> Result<Verdict> {
        let bank = &self.bank;
        let levels = self
            .file
            .host()
            .transform
            .quantise_levels(&features.fine, &features.coarser)?;
        let (height, width) = (levels.grid.height(), levels.grid.width());
        let (frame, map) = score_levels(bank, &levels)?;
        let scale = scale(bank);
        let map_scale = map_scale(bank);
        let map_threshold = bank.parts().map_threshold;
        let explain = |cell: usize| {
            let place = (cell / width, cell % width);
            let explainer = self.explainer.as_ref()?;
            explainer.explain(bank, &levels.features, (height, width), place, size)
        };
        let unit = |peak| map_scale.unit(peak);
        let regions = pixel_regions(&map, map_threshold, size, unit, explain)?;
        let flat_map = map.as_slice().unwrap_or_default();
        let highest =
            (0..flat_map.len()).max_by_key(|&cell| (flat_map[cell], std::cmp::Reverse(cell)));
        let explanation = highest.filter(|_| regions.is_empty()).and_then(explain);
        Ok(Verdict {
            path: path.to_path_buf(),
            image_score: scale.unit(frame.score),
            threshold: 0.5,
            anomalous: frame.anomalous(),
            map_max: map_scale.unit(frame.map_max),
            seconds: start.elapsed().as_secs_f64(),
            raw_score: frame.score,
            raw_threshold: frame.threshold,
            regions,
            explanation,
            size,
            map,
        })
    }

    /// Scores many images in parallel; `sink` gets each result in the order of `paths`.
    ///
    /// A bounded number of images is in memory at a time.
    ///
    /// # Errors
    /// Those of `sink`; an image's own error is handed to `sink`.
    pub fn score_all(
        &self,
        paths: impl Iterator<Item = PathBuf>,
        sink: impl FnMut(PathBuf, Result<Verdict>) -> Result<()>,
    ) -> Result<()> {
        in_order(paths, |path| self.score(path), sink)
    }

    /// As [`Self::score_all`]; what `then` makes of a verdict is made in parallel too, and handed to
    /// `sink` with it.
    ///
    /// # Errors
    /// As [`Self::score_all`].
    pub fn score_all_then<T: Send>(
        &self,
        paths: impl Iterator<Item = PathBuf>,
        then: impl Fn(&Verdict) -> T + Sync,
        sink: impl FnMut(PathBuf, Result<(Verdict, T)>) -> Result<()>,
    ) -> Result<()> {
        let work = |path: &PathBuf| {
            let verdict = self.score(path)?;
            let made = then(&verdict);
            Ok((verdict, made))
        };
        in_order(paths, work, sink)
    }
}

/// Scale of a bank's image scores.
pub fn scale(bank: &Bank) -> ScoreScale {
    ScoreScale {
        normal: bank.parts().normal_score.into(),
        threshold: bank.parts().threshold.into(),
    }
}

/// Scale of a bank's maps.
pub fn map_scale(bank: &Bank) -> ScoreScale {
    ScoreScale {
        normal: bank.parts().normal_score.into(),
        threshold: bank.parts().map_threshold.into(),
    }
}

/// Regions of a map `[height, width]` in pixels of an image of `size`, highest peak first;
/// `unit` brings a map value to the scale 0 to 1, `explain` is asked about the highest patch of each,
/// by its number in the map.
///
/// # Errors
/// [`Error::Frame`] where the map has no patches or too many.
pub fn pixel_regions(
    map: &Array2<i32>,
    threshold: i32,
    size: (u32, u32),
    unit: impl Fn(i32) -> f64,
    explain: impl Fn(usize) -> Option<Explanation>,
) -> Result<Vec<PixelRegion>> {
    let (height, width) = map.dim();
    let grid = Grid::new(height, width).ok_or(FrameError::Grid)?;
    let mut labels = vec![0; grid.len()];
    let to_pixels = Scale2::new(
        f64::from(size.0) / width as f64,
        f64::from(size.1) / height as f64,
    );
    let flat_map = map.as_slice().unwrap_or_default();
    let regions = regions(flat_map, grid, threshold, &mut labels)?
        .iter()
        .map(|region| {
            let inside = |cell: &usize| {
                let (y, x) = (cell / width, cell % width);
                (usize::from(region.top)..=usize::from(region.bottom)).contains(&y)
                    && (usize::from(region.left)..=usize::from(region.right)).contains(&x)
            };
            let peak = (0..flat_map.len())
                .filter(inside)
                .find(|&cell| flat_map[cell] == region.peak);
            let corner = |x: u16, y: u16| {
                let point = to_pixels * Point2::new(f64::from(x), f64::from(y));
                (point.x.round() as u32, point.y.round() as u32)
            };
            let (x, y) = corner(region.left, region.top);
            let (right, bottom) = corner(region.right + 1, region.bottom + 1);
            let pixels = to_pixels.vector.product();
            PixelRegion {
                x,
                y,
                width: right - x,
                height: bottom - y,
                score: unit(region.peak),
                area: (f64::from(region.area) * pixels).round() as u64,
                explanation: peak.and_then(&explain),
            }
        })
        .collect();
    Ok(regions)
}

/// int8 patch features of one image at the levels that a bank looks at.
#[derive(Clone, Debug)]
pub struct Frame {
    /// Patches at the input size.
    pub grid: Grid,
    /// Their features, `[height, width, D]`.
    pub features: Vec<i8>,
    /// The same at each coarser level.
    pub coarser: Vec<(Grid, Vec<i8>)>,
}

impl Frame {
    /// One of `[height, width, D]` features at the input size alone.
    pub fn at_one_level(grid: Grid, features: &[i8]) -> Self {
        Self {
            grid,
            features: features.to_vec(),
            coarser: Vec::new(),
        }
    }

    /// Patches of all levels.
    pub fn patches(&self) -> usize {
        let coarser = self.coarser.iter().map(|(grid, _)| grid.len());
        self.grid.len() + coarser.sum::<usize>()
    }

    /// The frame at so many levels, the input size first; `None` where it has fewer.
    pub fn at_levels(&self, levels: Levels) -> Option<Vec<LevelFeatures<'_>>> {
        let coarser = self.coarser.get(..levels.count() - 1)?;
        let fine = LevelFeatures {
            grid: self.grid,
            features: &self.features,
        };
        let coarser = coarser.iter().map(|(grid, features)| LevelFeatures {
            grid: *grid,
            features,
        });
        Some(std::iter::once(fine).chain(coarser).collect())
    }
}

/// Scores a frame at the bank's levels; gives its score and its map, `[height, width]` of the
/// input size.
///
/// # Errors
/// [`Error::Frame`] where the features do not fit the bank, or a level is missing.
pub fn score_levels(bank: &Bank, frame: &Frame) -> Result<(FrameScore, Array2<i32>)> {
    let levels = bank.parts().image_score.levels;
    let given = frame.at_levels(levels).ok_or_else(|| FrameError::Levels {
        expected: levels.count(),
        found: frame.coarser.len() + 1,
    })?;
    let scorer = Scorer::new(bank);
    let mut map = vec![0; given.iter().map(|level| level.grid.len()).sum()];
    let mut scratch = vec![0; scorer.scratch_len_for(frame.grid)];
    let score = scorer.score_levels(&given, &mut map, &mut scratch)?;
    map.truncate(frame.grid.len());
    let sides = (frame.grid.height(), frame.grid.width());
    let map = Array2::from_shape_vec(sides, map).map_err(|_| FrameError::Grid)?;
    Ok((score, map))
}

/// Scores int8 features `[height, width, D]` against a bank of one level; gives their score and smoothed map.
///
/// # Errors
/// [`Error::Frame`] where they do not fit the bank.
pub fn score_frame(
    bank: &Bank,
    height: usize,
    width: usize,
    features: &[i8],
) -> Result<(FrameScore, Array2<i32>)> {
    let grid = Grid::new(height, width).ok_or(FrameError::Grid)?;
    score_levels(bank, &Frame::at_one_level(grid, features))
}
