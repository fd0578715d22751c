//! `vod device`: frames to a device, its verdicts beside the host's.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use image::RgbImage;
use serde::Serialize;
use vod_core::conv::Network;
use vod_host::backbone;
use vod_host::bank_file::BankFile;
use vod_host::device::{Device, Patience, Port, bank_hash};
use vod_host::score::{ImageScorer, Verdict};
use vod_host::{Error, Result};

use crate::score::expand;
use crate::{Outcome, output};

/// Have a device score images, and compare with this machine.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod device --port tcp:localhost:5555 --bank part.vod --update line/today\n\nEvery patch of the device's map is compared; exit status 1 where a bit differs."
)]
pub struct Arguments {
    /// tcp:HOST:PORT, or the path of a serial port.
    #[arg(long, value_name = "PORT")]
    port: Port,
    /// Bank file.
    #[arg(long, value_name = "FILE")]
    bank: PathBuf,
    /// Images or folders (with all below them); - reads image paths from stdin; none only compares
    /// the banks.
    paths: Vec<PathBuf>,
    /// Send the bank to the device where it holds another one.
    #[arg(long)]
    update: bool,
    /// What is sent of an image: pixels, of which the device makes the features itself, or features.
    /// Without this, pixels where the firmware and the bank (backbone edge-int8) make that possible.
    #[arg(long, value_name = "WHAT")]
    send: Option<Content>,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Speed of a serial port.
    #[arg(long, value_name = "N", default_value_t = 115_200)]
    baud: u32,
    /// Seconds until a request without an answer is sent again; it is given up after six times.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = seconds)]
    timeout: f64,
    /// Write everything as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

/// What is sent of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Content {
    /// int8 patch features.
    Features,
    /// Pixels at the size that the bank asks for.
    Pixels,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    match text.parse::<f64>() {
        Ok(value) if (0.01..=3600.0).contains(&value) => Ok(value),
        _ => Err("expected a number of seconds from 0.01 to 3600".into()),
    }
}

#[derive(Serialize)]
struct Report {
    device: DeviceReport,
    bank: BankReport,
    /// What was sent of each image.
    sent: Content,
    images: Vec<ImageReport>,
    statistics: StatisticsReport,
    /// Whether every bit of every image is the same.
    equal: bool,
}

#[derive(Serialize)]
struct DeviceReport {
    board: String,
    firmware: String,
    kernel: String,
    clock_hz: u32,
    /// Whether it runs networks.
    pixels: bool,
}

#[derive(Serialize)]
struct BankReport {
    slot: u8,
    generation: u32,
    bytes: u32,
    id: String,
    sha256: String,
    rows: u32,
    dimension: u16,
    threshold: i32,
    updated: bool,
}

#[derive(Serialize)]
struct ImageReport {
    /// The host's verdict.
    #[serde(flatten)]
    host: Verdict,
    device_score: i32,
    device_threshold: i32,
    device_anomalous: bool,
    device_map_max: i32,
    device_regions: usize,
    /// Cycles that scoring took the device, without transfer and network.
    cycles: u64,
    /// int8 multiply-accumulates of a search that looks at every row, at all levels.
    macs: u64,
    /// Cycles that the network took the device; `null` where features were sent.
    network_cycles: Option<u64>,
    /// int8 multiply-accumulates of the network; `null` where features were sent.
    network_macs: Option<u64>,
    patches: usize,
    differing_patches: usize,
    equal: bool,
}

#[derive(Serialize)]
struct StatisticsReport {
    requests: u32,
    resent: u32,
    repeated: u32,
    damaged: u32,
    out_of_order: u32,
    frames: u32,
    anomalous: u32,
    cycles: u64,
    updates: u32,
    updates_refused: u32,
    stack_bytes: u32,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let file = BankFile::read(&arguments.bank)?;
    let patience = Patience {
        first: Duration::from_secs_f64(arguments.timeout),
        ..Patience::default()
    };
    let mut device = Device::connect(arguments.port.clone(), arguments.baud, patience)?;
    let bar = output::progress(quiet);
    let to_stdout = arguments.json.as_deref() == Some("-");
    let print = |text: String| {
        if to_stdout {
            return Ok(());
        }
        bar.suspend(|| output::print(&text))
    };
    let info = DeviceReport {
        board: device.info().board.to_string(),
        firmware: device.info().firmware.to_string(),
        kernel: device.info().kernel.to_string(),
        clock_hz: device.info().clock_hz,
        pixels: device.info().pixels,
    };
    print(format!(
        "{}, firmware {}, kernel {}\n",
        info.board, info.firmware, info.kernel
    ))?;
    bar.set_message("updating");
    let bank = take_bank(arguments, &file, &mut device, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    print(format!(
        "bank {} of {} bytes in slot {}, generation {}{}\n",
        bank.id,
        bank.bytes,
        bank.slot,
        bank.generation,
        if bank.updated { ", updated" } else { "" }
    ))?;
    let sent = content(arguments, &file, &device)?;
    let (images, mut failed) = compare(arguments, &file, sent, &mut device, &bar, print)?;
    bar.finish_and_clear();
    let differing = images.iter().filter(|image| !image.equal).count();
    if !images.is_empty() {
        let patches: usize = images.iter().map(|image| image.patches).sum();
        print(format!(
            "{} images as {}, {patches} patches: {}\n",
            images.len(),
            match sent {
                Content::Features => "features",
                Content::Pixels => "pixels",
            },
            match differing {
                0 => "device and host give the same bits".to_string(),
                n => format!("{n} images DIFFER between device and host"),
            }
        ))?;
    }
    let counters = device.statistics()?;
    let report = Report {
        device: info,
        bank,
        sent,
        images,
        statistics: StatisticsReport {
            requests: counters.requests,
            resent: device.resent(),
            repeated: counters.repeated,
            damaged: counters.damaged,
            out_of_order: counters.out_of_order,
            frames: counters.frames,
            anomalous: counters.anomalous,
            cycles: counters.cycles,
            updates: counters.updates,
            updates_refused: counters.updates_refused,
            stack_bytes: counters.stack_bytes,
        },
        equal: differing == 0,
    };
    if let Some(target) = &arguments.json {
        output::write_json(target, &report, arguments.force)?;
    }
    failed += differing;
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}

/// Sees to it that the device holds the bank.
fn take_bank(
    arguments: &Arguments,
    file: &BankFile,
    device: &mut Device,
    progress: impl FnMut(usize, usize),
) -> Result<BankReport> {
    let other = |what: &str| Error::Device {
        port: arguments.port.to_string(),
        reason: format!("the device holds {what}; give --update to send it this one"),
    };
    let updated = if arguments.update {
        device.update(file, progress)?
    } else {
        match device.bank()? {
            None => return Err(other("no bank")),
            Some(_) if !device.holds(file)? => return Err(other("another bank")),
            Some(_) => false,
        }
    };
    let bank = device.bank()?.ok_or_else(|| other("no bank"))?;
    Ok(BankReport {
        slot: bank.slot,
        generation: bank.generation,
        bytes: bank.length,
        id: format!("{:08x}", bank.id),
        sha256: bank_hash(&bank),
        rows: bank.rows,
        dimension: bank.dimension,
        threshold: bank.threshold,
        updated,
    })
}

/// What is sent of images.
fn content(arguments: &Arguments, file: &BankFile, device: &Device) -> Result<Content> {
    let possible = device.takes_pixels(file);
    match arguments.send {
        Some(Content::Pixels) if !possible => {
            let reason = if !device.info().pixels {
                "its firmware takes features only; build it with the feature `pixels`"
            } else if file.host().network.is_empty() {
                "the bank has no network that it could run; fit it with backbone edge-int8"
            } else {
                "the bank is for tiles, which no device makes; fit it without --tile"
            };
            Err(Error::Device {
                port: arguments.port.to_string(),
                reason: reason.into(),
            })
        }
        Some(content) => Ok(content),
        None if possible => Ok(Content::Pixels),
        None => Ok(Content::Features),
    }
}

/// Has all images scored; says how many could not be.
fn compare(
    arguments: &Arguments,
    file: &BankFile,
    sent: Content,
    device: &mut Device,
    bar: &indicatif::ProgressBar,
    print: impl Fn(String) -> Result<()>,
) -> Result<(Vec<ImageReport>, usize)> {
    let (paths, mut failed) = expand(&arguments.paths);
    let mut images = Vec::new();
    if paths.is_empty() {
        return Ok((images, failed));
    }
    let name = arguments
        .backbone
        .as_deref()
        .unwrap_or(&file.host().backbone_id);
    let backbone = backbone::open(name)?;
    let scorer = ImageScorer::new(file, &*backbone)?;
    let bank = file.bank().map_err(|source| Error::Bank {
        path: arguments.bank.clone(),
        source,
    })?;
    let network = match sent {
        Content::Features => None,
        Content::Pixels => {
            Some(
                Network::from_bytes(&file.host().network).map_err(|e| Error::BankHost {
                    path: arguments.bank.clone(),
                    reason: e.to_string(),
                })?,
            )
        }
    };
    bar.set_length(paths.len() as u64);
    bar.set_position(0);
    bar.set_message("scoring");
    print("    host   device  verdict    bits       cycles  image\n".to_string())?;
    for path in paths {
        let start = Instant::now();
        let (features, size) = match scorer.load(&path) {
            Ok(loaded) => loaded,
            Err(error) => {
                bar.suspend(|| output::report(&error));
                failed += 1;
                continue;
            }
        };
        let host = scorer.verdict(&path, &features, size, start)?;
        let transform = &file.host().transform;
        let levels = transform.quantise_levels(&features.fine, &features.coarser)?;
        let pictures = match &network {
            None => Vec::new(),
            Some(_) => scorer.extractor().pictures(&path)?,
        };
        let found = match &network {
            None => device.compare(&bank, &levels)?,
            Some(network) => device.compare_pixels(&bank, network, &pictures)?,
        };
        let run = found.device.network;
        let equal = found.equal() && found.host.score == host.raw_score;
        print(format!(
            "{:>8} {:>8}  {:<9}  {:<6} {:>10}  {}\n",
            found.host.score,
            found.device.score,
            if found.device.anomalous {
                "ANOMALOUS"
            } else {
                "normal"
            },
            if equal { "equal" } else { "DIFFER" },
            found.device.cycles + run.map_or(0, |run| run.cycles),
            path.display()
        ))?;
        images.push(ImageReport {
            host,
            device_score: found.device.score,
            device_threshold: found.device.threshold,
            device_anomalous: found.device.anomalous,
            device_map_max: found.device.map_max,
            device_regions: found.device.regions.len(),
            cycles: found.device.cycles,
            macs: (levels.patches() * bank.row_count() * bank.dimension()) as u64,
            network_cycles: run.map(|run| run.cycles),
            network_macs: network.as_ref().map(|network| {
                let sides = pictures.iter().map(RgbImage::dimensions);
                sides
                    .map(|(w, h)| network.macs(h as usize, w as usize))
                    .sum()
            }),
            patches: levels.grid.len(),
            differing_patches: found.differing_patches,
            equal,
        });
        bar.inc(1);
    }
    Ok((images, failed))
}
