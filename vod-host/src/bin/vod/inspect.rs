//! `vod inspect`: what is in a bank.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;
use vod_core::conv::{LayerParts, Network, Operation};
use vod_core::{Grid, Levels, ScoreStage, Scorer, bank};
use vod_host::bank_file::{BankFile, Calibration};
use vod_host::preprocess::{ExactSize, Preprocess, ShortSide, SizeRule};
use vod_host::{Error, Result};

use crate::{Outcome, output};

/// Show what is in a bank.
#[derive(Args)]
#[command(after_help = "Example:\n  vod inspect part.vod --json -")]
pub struct Arguments {
    /// Bank file.
    bank: PathBuf,
    /// Write as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

#[derive(Serialize)]
struct Inspection<'b> {
    format_version: u16,
    vod_version: &'b str,
    bank_bytes: usize,
    /// Bank and network as a device keeps them.
    device_bytes: usize,
    rows: usize,
    dimension: usize,
    basis: &'static str,
    values: String,
    /// `raw`, `smoothed` or `both`: map that the image score is taken from.
    image_score: String,
    /// Margin along the frame's edges that the image score leaves out, share of the shorter side.
    image_score_margin: f64,
    /// Share of a frame's background, the map's mean in that margin, that is taken off the map, as far as it
    /// is not the usual one.
    map_background: f64,
    /// Sizes at which a frame is looked at.
    levels: usize,
    discriminant_share: f64,
    aligned: bool,
    grid: Option<[usize; 2]>,
    backbone: &'b str,
    backbone_sha256: &'b str,
    preprocess: &'b Preprocess,
    references: &'b [String],
    seed: u64,
    calibration: &'b Calibration,
    /// RAM for scores of one frame, bytes, beside a row of features; `null` where frames differ.
    scratch_bytes: Option<usize>,
    /// Bytes of one row of int8 features; `null` where frames differ.
    feature_row_bytes: Option<usize>,
    /// int8 multiply-accumulates of a frame's search at the input size; `null` where frames differ.
    macs_per_frame: Option<u64>,
    /// The int8 network that a device runs on pixels; `null` where the bank brings none.
    network: Option<NetworkInspection>,
}

#[derive(Serialize)]
struct NetworkInspection {
    bytes: usize,
    /// Pixels from one patch to the next.
    stride: usize,
    /// Whether layers see their outermost inputs again beyond the edges.
    replicates: bool,
    layers: Vec<LayerInspection>,
    /// Height and width of a frame, pixels; of a square one where frames differ in size.
    frame: [usize; 2],
    /// int8 multiply-accumulates of such a frame, padding included.
    macs_per_frame: u64,
    /// RAM for the rows between the layers, bytes; it grows with the width alone.
    rows_bytes: usize,
}

#[derive(Serialize)]
struct LayerInspection {
    operation: &'static str,
    kernel: usize,
    stride: usize,
    inputs: usize,
    outputs: usize,
    weight_bytes: usize,
    macs_per_frame: u64,
    /// How many layers before lies the one whose input is added to the outputs.
    skip: Option<u8>,
}

impl NetworkInspection {
    /// What is in the network of a bank; `None` without one.
    fn new(file: &BankFile, grid: Option<Grid>) -> Option<Self> {
        let host = file.host();
        let network = Network::from_bytes(&host.network).ok()?;
        let stride = network.stride();
        let (height, width) = match (grid, &host.preprocess.size) {
            (Some(grid), _) => (grid.height() * stride, grid.width() * stride),
            (None, SizeRule::ShortSide(ShortSide { side, .. })) => (*side as usize, *side as usize),
            (None, SizeRule::Exact(ExactSize { width, height })) => {
                (*height as usize, *width as usize)
            }
        };
        // Refuses sides that no frame has.
        let rows_bytes = network.scratch_len(height, width)?;
        let (mut rows, mut columns) = (height, width);
        let layers = network.layers().iter().map(|layer| {
            rows /= layer.stride().max(1);
            columns /= layer.stride().max(1);
            LayerInspection {
                operation: match layer.operation {
                    Operation::Convolution => "convolution",
                    Operation::Depthwise => "depthwise",
                    Operation::Pointwise => "pointwise",
                },
                kernel: layer.kernel(),
                stride: layer.stride(),
                inputs: layer.inputs(),
                outputs: layer.outputs(),
                weight_bytes: layer.weights.len(),
                macs_per_frame: (rows * columns * layer.weights.len()) as u64,
                skip: layer.skip.map(|skip| skip.layers),
            }
        });
        Some(Self {
            bytes: host.network.len(),
            stride,
            replicates: network.layers().iter().any(LayerParts::replicates),
            layers: layers.collect(),
            frame: [height, width],
            macs_per_frame: network.macs(height, width),
            rows_bytes,
        })
    }

    /// Lines for people.
    fn lines(&self) -> String {
        let [height, width] = self.frame;
        let mut text = format!(
            "network     int8, {:.1} KB, {} layers, a patch every {} pixels, {} beyond the edges\n\
             pixels      {width} x {height}: {:.1} M int8 MACs, {:.1} KB of RAM between the layers\n",
            self.bytes as f64 / 1024.0,
            self.layers.len(),
            self.stride,
            if self.replicates {
                "the outermost values again"
            } else {
                "zeros"
            },
            self.macs_per_frame as f64 / 1e6,
            self.rows_bytes as f64 / 1024.0,
        );
        for (layer, number) in self.layers.iter().zip(1..) {
            let around = layer.skip.map_or(String::new(), |skip| {
                format!(", adds the input of layer {}", number - i32::from(skip))
            });
            let LayerInspection {
                operation,
                kernel,
                stride,
                inputs,
                outputs,
                weight_bytes,
                ..
            } = layer;
            let macs = layer.macs_per_frame as f64 / 1e6;
            text += &format!(
                "  layer {number:<2}  {operation:<11} {kernel} x {kernel}, stride {stride}, {inputs:>3} to {outputs:>3} channels, \
                 {weight_bytes:>6} weights, {macs:>5.1} M MACs{around}\n",
            );
        }
        text
    }
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = BankFile::read(&arguments.bank)?;
    let view = file.bank().map_err(|source| Error::Bank {
        path: arguments.bank.clone(),
        source,
    })?;
    let host = file.host();
    let parts = view.parts();
    let grid = view.grid();
    let scorer = Scorer::new(&view);
    let inspection = Inspection {
        format_version: bank::VERSION,
        vod_version: &host.vod_version,
        bank_bytes: file.bytes().len(),
        device_bytes: file.bytes().len() - parts.host.len() + host.network.len(),
        rows: view.row_count(),
        dimension: view.dimension(),
        basis: if host.transform.basis.is_empty() {
            "plain"
        } else {
            "whitened residuals"
        },
        values: format!("{:?}", parts.values).to_lowercase(),
        image_score: format!("{:?}", parts.image_score.stage).to_lowercase(),
        image_score_margin: f64::from(parts.image_score.margin) / 65536.0,
        map_background: f64::from(parts.image_score.background.share) / 256.0,
        levels: parts.image_score.levels.count(),
        discriminant_share: host.blend,
        aligned: view.is_aligned(),
        grid: grid.map(|g| [g.height(), g.width()]),
        backbone: &host.backbone_id,
        backbone_sha256: &host.backbone_sha256,
        preprocess: &host.preprocess,
        references: &host.references,
        seed: host.seed,
        calibration: &host.calibration,
        scratch_bytes: grid.map(|g| scorer.scratch_len_for(g) * size_of::<i32>()),
        feature_row_bytes: grid.map(|g| g.width() * view.dimension()),
        macs_per_frame: grid.map(|g| (g.len() * view.row_count() * view.dimension()) as u64),
        network: NetworkInspection::new(&file, grid),
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &inspection, arguments.force)?;
        return Ok(Outcome::Done);
    }
    let calibration = inspection.calibration;
    let threshold = if calibration.is_guess {
        "a guess (one reference: no left-out images to calibrate on)".to_string()
    } else {
        format!(
            "for a false-positive rate of {} from {} left-out references",
            calibration.fpr,
            calibration.scores.len()
        )
    };
    let size = match host.preprocess.size {
        SizeRule::ShortSide(ShortSide { side, .. }) => {
            format!("shorter side {side} px, aspect ratio kept")
        }
        SizeRule::Exact(ExactSize { width, height }) => format!("{width} x {height} px"),
    };
    let half = match parts.image_score.levels {
        Levels::One => "",
        Levels::Two => ", and half of it",
        Levels::Three => ", half and a quarter of it",
    };
    let borders = (0..inspection.levels).map(|level| host.preprocess.mirror.at(level));
    let mut borders: Vec<_> = borders.map(|pixels| pixels.to_string()).collect();
    let each = borders.join(", ");
    borders.dedup();
    let border = match borders.as_slice() {
        [pixels] if pixels == "0" => String::new(),
        [pixels] => format!(", mirrored {pixels} px beyond its edges"),
        _ => format!(", mirrored {each} px beyond their edges"),
    };
    let tile = host
        .preprocess
        .tile
        .map_or(String::new(), |t| format!(", tiles of {t} px"));
    let frame = match (inspection.macs_per_frame, inspection.scratch_bytes, grid) {
        (Some(macs), Some(scratch), Some(grid)) => format!(
            "{} x {} patches, {:.1} M int8 MACs{}, {:.1} KB scratch RAM",
            grid.height(),
            grid.width(),
            macs as f64 / 1e6,
            match parts.image_score.levels {
                Levels::One => "",
                Levels::Two | Levels::Three => " at the input size",
            },
            scratch as f64 / 1024.0
        ),
        _ => "grid differs from image to image".into(),
    };
    output::print(&format!(
        "{path}: bank format {format}, written by vod {version}\n\
         backbone    {backbone} (sha256 {hash:.12}...)\n\
         input       {size}{half}{border}{tile}\n\
         bank        {rows} rows of {dimension}, {kb:.1} KB ({device:.1} KB on a device)\n\
         basis       {basis}\n\
         scorer      {share:.0} % discriminant on {values} values, {rest:.0} % distance{aligned}\n\
         image score {image_score}{margin}\n\
         map         {background}\n\
         frame       {frame}\n\
         {network}threshold   {raw} (normal median {normal}), {threshold}\n\
         references  {references}\n",
        path = arguments.bank.display(),
        format = inspection.format_version,
        version = inspection.vod_version,
        backbone = inspection.backbone,
        hash = inspection.backbone_sha256,
        rows = inspection.rows,
        dimension = inspection.dimension,
        kb = inspection.bank_bytes as f64 / 1024.0,
        device = inspection.device_bytes as f64 / 1024.0,
        basis = inspection.basis,
        share = inspection.discriminant_share * 100.0,
        values = inspection.values,
        image_score = match parts.image_score.stage {
            ScoreStage::Raw => "highest patch scores",
            ScoreStage::Smoothed => "highest patches of the smoothed map",
            ScoreStage::Both =>
                "highest patch scores and highest patches of the smoothed map, in equal parts",
        },
        background = match inspection.map_background {
            0.0 => "as it is".into(),
            share => format!(
                "less {} % of what its mean along the edges is above the usual one",
                (share * 1e4).round() / 1e2
            ),
        },
        margin = match inspection.image_score_margin {
            0.0 => String::new(),
            share => format!(
                ", without {} % along each edge",
                (share * 1e4).round() / 1e2
            ),
        },
        rest = 100.0 - inspection.discriminant_share * 100.0,
        aligned = if inspection.aligned {
            ", nearby places only"
        } else {
            ""
        },
        network = inspection
            .network
            .as_ref()
            .map_or(String::new(), NetworkInspection::lines),
        raw = parts.threshold,
        normal = parts.normal_score,
        references = inspection.references.join(", "),
    ))?;
    Ok(Outcome::Done)
}
