//! `vod score`: images and a bank to verdicts.

use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use vod_host::backbone;
use vod_host::bank_file::{BankFile, refuse_existing, write_file};
use vod_host::image;
use vod_host::report::heatmap::overlay;
use vod_host::report::verdicts::VerdictPage;
use vod_host::score::{ImageScorer, Verdict};
use vod_host::{Error, Result};

use crate::{Outcome, output};

/// Score images against a bank.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod score --bank part.vod line/today --heatmaps maps --format json"
)]
pub struct Arguments {
    /// Bank file.
    #[arg(long, value_name = "FILE")]
    bank: PathBuf,
    /// Images or folders (with all below them); - reads image paths from stdin.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Folder for overlays, one PNG an image.
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// HTML page with all verdicts and maps.
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// What is printed.
    #[arg(long, value_enum, default_value_t = Format::Table)]
    format: Format,
    /// Exit with status 3 when any image is anomalous.
    #[arg(long)]
    fail_on_anomaly: bool,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
    /// Write verdicts as JSON lines to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let file = BankFile::read(&arguments.bank)?;
    let name = arguments
        .backbone
        .as_deref()
        .unwrap_or(&file.host().backbone_id);
    let backbone = backbone::open(name)?;
    let scorer = ImageScorer::new(&file, &*backbone)?;
    if let Some(target) = arguments.json.as_deref().filter(|t| *t != "-") {
        refuse_existing(Path::new(target), arguments.force)?;
    }
    if let Some(folder) = &arguments.heatmaps {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let (paths, mut failed) = expand(&arguments.paths);
    let base = common_folder(&paths);

    let bar = output::progress(quiet);
    bar.set_length(paths.len() as u64);
    bar.set_message("scoring");
    let json_to_stdout = arguments.json.as_deref() == Some("-");
    let format = if json_to_stdout {
        Format::Json
    } else {
        arguments.format
    };
    output::print(header(format))?;
    let mut lines = String::new();
    let create = |target: &PathBuf| VerdictPage::create(target, arguments.force, paths.len());
    let mut page = arguments.report.as_ref().map(create).transpose()?;
    let (mut count, mut anomalies) = (0, 0);
    scorer.score_all(paths.iter().cloned(), |_, result| {
        bar.inc(1);
        let verdict = match result {
            Ok(verdict) => verdict,
            Err(error) => {
                bar.suspend(|| output::report(&error));
                failed += 1;
                return Ok(());
            }
        };
        count += 1;
        anomalies += usize::from(verdict.anomalous);
        let text = bar.suspend(|| -> Result<()> { output::print(&line(&verdict, format)?) });
        text?;
        if arguments.json.is_some() && !json_to_stdout {
            lines.push_str(&line(&verdict, Format::Json)?);
        }
        if arguments.heatmaps.is_some() || page.is_some() {
            let picture = image::load(&verdict.path)?;
            let map_scale = scorer.map_scale()?;
            if let Some(folder) = &arguments.heatmaps {
                let tinted = overlay(&picture, &verdict, map_scale);
                let target = heatmap_path(folder, &base, &verdict.path);
                write_png(&target, &tinted, arguments.force)?;
            }
            if let Some(page) = &mut page {
                page.add(&verdict, &picture, map_scale, None, Vec::new())?;
            }
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    if let Some(target) = arguments.json.as_deref().filter(|t| *t != "-") {
        output::write_text(target, &lines, arguments.force)?;
    }
    let summary = format!("{count} images, {anomalies} anomalous, {failed} not readable");
    if let Some(page) = page {
        page.finish(
            &format!("Verdicts of {}", arguments.bank.display()),
            &summary,
        )?;
    }
    if format == Format::Table {
        output::print(&format!("{summary}\n"))?;
    }
    Ok(match (failed, anomalies) {
        (1.., _) => Outcome::Incomplete,
        (_, 1..) if arguments.fail_on_anomaly => Outcome::Anomalous,
        _ => Outcome::Done,
    })
}

/// Folders become the images below them; what can't be listed is reported and counted.
pub fn expand(arguments: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let mut paths = Vec::new();
    let mut failed = 0;
    for path in arguments {
        if path.as_os_str() == "-" {
            let lines = std::io::stdin().lock().lines();
            paths.extend(
                lines
                    .map_while(|l| l.ok())
                    .filter(|l| !l.is_empty())
                    .map(PathBuf::from),
            );
        } else if path.is_dir() {
            match image::list_recursive(path) {
                Ok(found) => paths.extend(found),
                Err(error) => {
                    output::report(&error);
                    failed += 1;
                }
            }
        } else {
            paths.push(path.clone());
        }
    }
    (paths, failed)
}

fn header(format: Format) -> &'static str {
    match format {
        Format::Table => "score  verdict    image\n",
        Format::Json => "",
        Format::Csv => "path,image_score,threshold,anomalous,map_max,seconds,regions\n",
    }
}

fn line(verdict: &Verdict, format: Format) -> Result<String> {
    let path = verdict.path.display();
    Ok(match format {
        Format::Table => {
            let word = if verdict.anomalous {
                "ANOMALOUS"
            } else {
                "normal"
            };
            format!("{:.3}  {word:<9}  {path}\n", verdict.image_score)
        }
        Format::Json => {
            let mut text = serde_json::to_string(verdict)
                .map_err(|e| Error::Data(format!("{path}: verdict can't be written: {e}")))?;
            text.push('\n');
            text
        }
        Format::Csv => {
            let mut text = String::new();
            let quoted = path.to_string().replace('"', "\"\"");
            // Writing to a String can't fail.
            let _ = writeln!(
                text,
                "\"{quoted}\",{},{},{},{},{},{}",
                verdict.image_score,
                verdict.threshold,
                verdict.anomalous,
                verdict.map_max,
                verdict.seconds,
                verdict.regions.len()
            );
            text
        }
    })
}

/// The folder that all paths lie in.
fn common_folder(paths: &[PathBuf]) -> PathBuf {
    let mut base = paths
        .first()
        .and_then(|p| p.parent())
        .unwrap_or(Path::new(""))
        .to_path_buf();
    while !paths.iter().all(|p| p.starts_with(&base)) && base.pop() {}
    base
}

/// Where an image's overlay goes: its place below the common folder, as PNG.
fn heatmap_path(folder: &Path, base: &Path, image: &Path) -> PathBuf {
    let below = image.strip_prefix(base).unwrap_or(image);
    let mut target = folder.to_path_buf();
    // Only plain names: no way out of the folder.
    target.extend(below.components().filter_map(|c| match c {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    }));
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".png");
    target.with_file_name(name)
}

/// Writes a PNG, making folders on the way.
pub fn write_png(path: &Path, picture: &::image::RgbImage, force: bool) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    let mut bytes = Vec::new();
    picture
        .write_to(
            &mut std::io::Cursor::new(&mut bytes),
            ::image::ImageFormat::Png,
        )
        .map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
    write_file(path, &bytes, force)
}
