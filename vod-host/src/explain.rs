//! Why a place is anomalous: what it was compared with, which channels carry the residual (the order
//! that is not scored), and how its value profile compares with normal ones.

use std::fmt::Write;

use serde::Serialize;
use vod_core::{
    Bank, LENGTH_BITS, Nearest, Scorer, ValueKind, decompose, residual, weighted_values,
};

use crate::bank_file::BankFile;
use crate::bank_records::{MomentsRecord, View};

/// Channels that are named, those with the largest residuals.
const NAMED_CHANNELS: usize = 8;
/// Ranks at which a value profile is shown.
const SHOWN_RANKS: usize = 16;
/// Standard deviation of a value below which it is taken as this, int8 units.
const LEAST_DEVIATION: f64 = 0.25;

/// Explanation of one patch.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The patch in the image: the highest of its region.
    pub patch: PixelBox,
    /// Its score before smoothing, in the bank's integer units.
    pub raw_score: i32,
    /// The part of the score that is from the values.
    pub from_values: f64,
    /// The part of the score that is plain distance.
    pub from_distance: f64,
    /// Euclidean distance to the nearest reference patch, int8 units.
    pub distance: f64,
    /// Number of the nearest row in the bank.
    pub row: u32,
    /// Where that row is from; `None` in a bank that does not say.
    pub nearest: Option<ReferencePatch>,
    /// Share of each layer in the squared residual; empty where channels are mixed by a basis.
    pub layers: Vec<LayerShare>,
    /// The channels with the largest residuals, largest first.
    pub channels: Vec<ChannelResidual>,
    /// The sorted residual beside those of normal patches.
    pub profile: ValueProfile,
}

/// A box in pixels of an upright image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct PixelBox {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width.
    pub width: u32,
    /// Height.
    pub height: u32,
}

impl PixelBox {
    /// The box of cell `(y, x)` of a `(height, width)` grid over an image of `size` (width, height).
    pub fn of_cell((y, x): (usize, usize), grid: (usize, usize), size: (u32, u32)) -> Self {
        let edge = |i: usize, cells: usize, pixels: u32| {
            (i as f64 * f64::from(pixels) / cells.max(1) as f64).round() as u32
        };
        let (left, top) = (edge(x, grid.1, size.0), edge(y, grid.0, size.1));
        Self {
            x: left,
            y: top,
            width: edge(x + 1, grid.1, size.0) - left,
            height: edge(y + 1, grid.0, size.1) - top,
        }
    }
}

/// The reference patch that a bank row is from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ReferencePatch {
    /// Name of the reference image.
    pub image: String,
    /// Place in it.
    #[serde(flatten)]
    pub place: PixelBox,
    /// The copy of the image that the feature was taken from.
    pub view: View,
}

/// One layer's part in a residual.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LayerShare {
    /// Output of the backbone.
    pub layer: String,
    /// Its share of the squared residual, 0 to 1.
    pub share: f64,
    /// Its share of the channels, 0 to 1.
    pub channel_share: f64,
}

/// One channel's residual.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ChannelResidual {
    /// Channel of the patch feature.
    pub channel: u16,
    /// Output of the backbone and channel in it; `None` where channels are mixed by a basis.
    pub layer: Option<String>,
    /// Channel within that output.
    pub layer_channel: Option<usize>,
    /// Patch minus reference, int8 units.
    pub residual: i16,
}

/// A sorted residual at some of its ranks, beside left-out normal patches of the fit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ValueProfile {
    /// What is sorted: `signed` residuals or their `magnitude`.
    pub kind: &'static str,
    /// The ranks that are shown, of `0..D`.
    pub ranks: Vec<usize>,
    /// The patch's values at these ranks, int8 units.
    pub values: Vec<i16>,
    /// Mean over normal patches; empty in a bank that does not keep it.
    pub normal_mean: Vec<f32>,
    /// Standard deviation over normal patches; empty in a bank that does not keep it.
    pub normal_deviation: Vec<f32>,
    /// Mean over all ranks of the distance to the normal mean in standard deviations; `None` in a bank
    /// that does not keep it.
    pub mean_deviations: Option<f64>,
}

/// What explanations need of a bank, looked up once.
pub(crate) struct Explainer<'b> {
    file: &'b BankFile,
    /// Name and channels of each output, empty where a basis mixes them.
    layers: Vec<(String, usize)>,
}

impl<'b> Explainer<'b> {
    /// `channels` are those of the backbone's outputs, in the order of the features.
    pub fn new(file: &'b BankFile, channels: &[usize]) -> Self {
        let host = file.host();
        let layers = if host.transform.basis.is_empty() {
            let names = host.features.outputs.iter().cloned();
            names.zip(channels.iter().copied()).collect()
        } else {
            Vec::new()
        };
        Self { file, layers }
    }

    /// Explains cell `(y, x)` of a frame's int8 features, `[height, width, D]`, or that of its eight
    /// neighbours which scores highest. `None` where the features do not fit the grid.
    pub fn explain(
        &self,
        bank: &Bank,
        queries: &[i8],
        grid: (usize, usize),
        (y, x): (usize, usize),
        size: (u32, u32),
    ) -> Option<Explanation> {
        let scorer = Scorer::new(bank);
        let dimension = bank.dimension();
        let patch = |(y, x): (usize, usize)| {
            let start = (y * grid.1 + x) * dimension;
            queries.get(start..start + dimension)
        };
        let rows = y.saturating_sub(1)..(y + 2).min(grid.0);
        let (cell, score) = rows
            .flat_map(|y| (x.saturating_sub(1)..(x + 2).min(grid.1)).map(move |x| (y, x)))
            .filter_map(|cell| {
                let score = scorer.score_patch_at(cell.0, cell.1, patch(cell)?)?;
                Some((cell, score))
            })
            .max_by_key(|(cell, score)| (score.score, std::cmp::Reverse(*cell)))?;
        let query = patch(cell)?;
        let row = bank.row(score.nearest.row as usize);
        let difference: Vec<i16> = residual(query, row).collect();
        let parts = bank.parts();
        let weighted = weighted_values(difference.iter().copied(), parts.values, bank.weights());
        let distance = f64::from(score.nearest.distance2).sqrt();
        let unit = (f64::from(parts.shift)).exp2();
        let length = distance * f64::from(1u32 << LENGTH_BITS);
        Some(Explanation {
            patch: PixelBox::of_cell(cell, grid, size),
            raw_score: score.score,
            from_values: weighted as f64 / unit,
            from_distance: f64::from(parts.distance_weight) * length / unit,
            distance,
            row: score.nearest.row,
            nearest: self.origin(score.nearest),
            layers: self.layer_shares(&difference),
            channels: self.channels(&difference),
            profile: self.profile(&difference, parts.values),
        })
    }

    fn origin(&self, nearest: Nearest) -> Option<ReferencePatch> {
        let origins = self.file.records().origins.as_ref()?;
        let origin = origins.rows.get(nearest.row as usize)?;
        let frame = origins.frames.get(origin.reference as usize)?;
        let grid = (usize::from(frame.grid.0), usize::from(frame.grid.1));
        let cell = origin.cell as usize;
        Some(ReferencePatch {
            image: self
                .file
                .host()
                .references
                .get(origin.reference as usize)?
                .clone(),
            place: PixelBox::of_cell((cell / grid.1, cell % grid.1), grid, frame.size),
            view: origin.view,
        })
    }

    fn layer_shares(&self, difference: &[i16]) -> Vec<LayerShare> {
        let square = |r: &[i16]| r.iter().map(|&r| f64::from(r).powi(2)).sum::<f64>();
        let total = square(difference).max(1.0);
        let mut start = 0;
        self.layers
            .iter()
            .map(|(layer, channels)| {
                let part = difference.get(start..start + channels).unwrap_or_default();
                start += channels;
                LayerShare {
                    layer: layer.clone(),
                    share: square(part) / total,
                    channel_share: *channels as f64 / difference.len().max(1) as f64,
                }
            })
            .collect()
    }

    /// The end of the order: the channels that hold the largest magnitudes.
    fn channels(&self, difference: &[i16]) -> Vec<ChannelResidual> {
        let mut values = vec![0i16; difference.len()];
        let mut order = vec![0u16; difference.len()];
        let residuals = difference.iter().copied();
        let sorted = decompose(residuals, ValueKind::Magnitude, &mut values, &mut order);
        let largest = sorted.order.iter().rev().take(NAMED_CHANNELS);
        largest
            .map(|&channel| {
                let mut within = usize::from(channel);
                let layer = self.layers.iter().find(|(_, channels)| {
                    let found = within < *channels;
                    if !found {
                        within -= channels;
                    }
                    found
                });
                ChannelResidual {
                    channel,
                    layer: layer.map(|(name, _)| name.clone()),
                    layer_channel: layer.map(|_| within),
                    residual: difference[usize::from(channel)],
                }
            })
            .collect()
    }

    fn profile(&self, difference: &[i16], kind: ValueKind) -> ValueProfile {
        let mut values = vec![0i16; difference.len()];
        let mut order = vec![0u16; difference.len()];
        decompose(difference.iter().copied(), kind, &mut values, &mut order);
        let last = values.len().saturating_sub(1);
        let shown = SHOWN_RANKS.min(values.len());
        let ranks: Vec<usize> = (0..shown)
            .map(|i| i * last / shown.saturating_sub(1).max(1))
            .collect();
        let normal: Option<&MomentsRecord> = self
            .file
            .records()
            .moments
            .as_ref()
            .map(|moments| &moments.normal);
        let at = |values: &[f32]| ranks.iter().map(|&rank| values[rank]).collect::<Vec<f32>>();
        let mean_deviations = normal.map(|normal| {
            let pairs = normal.mean.iter().zip(&normal.deviation);
            let sum: f64 = values
                .iter()
                .zip(pairs)
                .map(|(&value, (&mean, &deviation))| {
                    let deviation = f64::from(deviation).max(LEAST_DEVIATION);
                    (f64::from(value) - f64::from(mean)).abs() / deviation
                })
                .sum();
            sum / values.len().max(1) as f64
        });
        ValueProfile {
            kind: match kind {
                ValueKind::Signed => "signed",
                ValueKind::Magnitude => "magnitude",
            },
            values: ranks.iter().map(|&rank| values[rank]).collect(),
            normal_mean: normal.map_or_else(Vec::new, |n| at(&n.mean)),
            normal_deviation: normal.map_or_else(Vec::new, |n| at(&n.deviation)),
            mean_deviations,
            ranks,
        }
    }
}

impl Explanation {
    /// In words, for a table or a page: one clause an item.
    pub fn sentences(&self) -> Vec<String> {
        let mut out = Vec::new();
        let place = |b: &PixelBox| format!("({}, {})", b.x + b.width / 2, b.y + b.height / 2);
        out.push(match &self.nearest {
            Some(nearest) => format!(
                "patch at {} is nearest to {} at {}{}, distance {:.0}",
                place(&self.patch),
                nearest.image,
                place(&nearest.place),
                match nearest.view {
                    View::Upright | View::Coarser => "",
                    _ => " (mirrored)",
                },
                self.distance
            ),
            None => format!(
                "patch at {} is nearest to row {}, distance {:.0}",
                place(&self.patch),
                self.row,
                self.distance
            ),
        });
        if !self.layers.is_empty() {
            let mut text = String::from("residual by layer:");
            for layer in &self.layers {
                // Writing to a String can't fail.
                let _ = write!(
                    text,
                    " {} {:.0} % (of {:.0} % of the channels)",
                    layer.layer,
                    layer.share * 100.0,
                    layer.channel_share * 100.0
                );
            }
            out.push(text);
        }
        let mut text = String::from("largest channels:");
        for channel in &self.channels {
            let _ = match (&channel.layer, channel.layer_channel) {
                (Some(layer), Some(number)) => {
                    write!(text, " {layer}[{number}] {:+}", channel.residual)
                }
                _ => write!(text, " {} {:+}", channel.channel, channel.residual),
            };
        }
        out.push(text);
        if let Some(deviations) = self.profile.mean_deviations {
            out.push(format!(
                "sorted values lie {deviations:.1} standard deviations from those of normal patches, on average"
            ));
        }
        out
    }
}
