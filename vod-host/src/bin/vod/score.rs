//! `vod score`: images and a bank to verdicts.

use std::fmt::Write;
use std::io::BufRead;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use ndarray::Array2;
use vod_host::bank_file::write_file;
use vod_host::image;
use vod_host::report::heatmap::overlay;
use vod_host::report::verdicts::{RenderedVerdict, VerdictPage, VerdictRenderer};
use vod_host::score::{ImageScorer, ScoreScale, Verdict};
use vod_host::{Error, Result};

use crate::{Outcome, bank, output};

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
    /// Say for each region what it was compared with and which layers, channels and values differ.
    #[arg(long)]
    explain: bool,
    /// Folder for anomaly maps in the size of the images, one file an image.
    #[arg(long, value_name = "DIR")]
    maps: Option<PathBuf>,
    /// Format of the maps: 16-bit PNG (65535 is a score of 1), or NPY (float32).
    #[arg(long, value_enum, default_value_t = MapFormat::Png)]
    map_format: MapFormat,
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
enum MapFormat {
    /// 16-bit grey PNG.
    Png,
    /// NumPy array of float32.
    Npy,
}

impl MapFormat {
    fn extension(self) -> &'static str {
        match self {
            Self::Png => "png",
            Self::Npy => "npy",
        }
    }

    /// A map `[height, width]` on the scale 0 to 1 as a file's bytes.
    fn encode(self, map: &Array2<f32>) -> Result<Vec<u8>> {
        let (height, width) = map.dim();
        match self {
            Self::Npy => {
                // Format 1.0: the header is padded with blanks to a multiple of 64 bytes.
                let text = format!(
                    "{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}), }}"
                );
                let padded = (10 + text.len() + 1).next_multiple_of(64) - 10;
                let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
                bytes.extend((padded as u16).to_le_bytes());
                bytes.extend(format!("{text:<0$}\n", padded - 1).bytes());
                bytes.extend(map.iter().flat_map(|v| v.to_le_bytes()));
                Ok(bytes)
            }
            Self::Png => {
                let units = map.iter().map(|v| (v * 65535.0).round() as u16).collect();
                let wrong = || Error::Data("map without pixels".into());
                let picture: ::image::ImageBuffer<::image::Luma<u16>, Vec<u16>> =
                    ::image::ImageBuffer::from_raw(width as u32, height as u32, units)
                        .ok_or_else(wrong)?;
                let mut bytes = std::io::Cursor::new(Vec::new());
                picture
                    .write_to(&mut bytes, ::image::ImageFormat::Png)
                    .map_err(|e| Error::Data(format!("map can't be encoded: {e}")))?;
                Ok(bytes.into_inner())
            }
        }
    }
}

/// What is written of one image, ready to be written: encoding takes longer than scoring with a fast
/// backbone.
struct Encoded {
    map: Option<Vec<u8>>,
    overlay: Option<Vec<u8>>,
    rendered: Option<RenderedVerdict>,
}

impl Encoded {
    fn new(
        verdict: &Verdict,
        arguments: &Arguments,
        map_scale: ScoreScale,
        renderer: Option<VerdictRenderer>,
    ) -> Result<Self> {
        let map = arguments.maps.as_ref().map(|_| {
            let format = arguments.map_format;
            format.encode(&verdict.pixel_map(map_scale))
        });
        let map = map.transpose()?;
        if arguments.heatmaps.is_none() && renderer.is_none() {
            return Ok(Self {
                map,
                overlay: None,
                rendered: None,
            });
        }
        image::load_and(&verdict.path, |picture| {
            let overlay = arguments.heatmaps.as_ref().map(|_| {
                let drawn = overlay(&picture, verdict, map_scale);
                encode_png(&verdict.path, &drawn)
            });
            let rendered = renderer.map(|renderer| {
                let explanations = verdict.explanations();
                let notes = explanations.flat_map(|e| e.sentences()).collect();
                renderer.render(verdict, &picture, None, notes)
            });
            Ok(Self {
                map,
                overlay: overlay.transpose()?,
                rendered: rendered.transpose()?,
            })
        })
    }
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    Table,
    Json,
    Csv,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let (file, backbone) = bank::open(&arguments.bank, arguments.backbone.as_deref())?;
    let mut scorer = ImageScorer::new(&file, &*backbone)?;
    if arguments.explain {
        scorer = scorer.with_explanations();
    }
    output::check_json(arguments.json.as_deref(), arguments.force)?;
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
    let map_scale = scorer.map_scale()?;
    let renderer = page.as_ref().map(|page| page.renderer(map_scale));
    let encode = |verdict: &Verdict| Encoded::new(verdict, arguments, map_scale, renderer);
    scorer.score_all_then(paths.iter().cloned(), encode, |_, result| {
        bar.inc(1);
        let (verdict, encoded) = match result {
            Ok(scored) => scored,
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
        let encoded = encoded?;
        if let (Some(folder), Some(bytes)) = (&arguments.maps, encoded.map) {
            let ending = arguments.map_format.extension();
            let target = target_path(folder, &base, &verdict.path, ending);
            write_making_folders(&target, &bytes, arguments.force)?;
        }
        if let (Some(folder), Some(bytes)) = (&arguments.heatmaps, encoded.overlay) {
            let target = target_path(folder, &base, &verdict.path, "png");
            write_making_folders(&target, &bytes, arguments.force)?;
        }
        if let (Some(page), Some(rendered)) = (&mut page, encoded.rendered) {
            page.push(rendered)?;
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

/// A path from the bytes of a line.
fn path_of(line: &[u8]) -> PathBuf {
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        PathBuf::from(std::ffi::OsStr::from_bytes(line))
    }
    #[cfg(not(unix))]
    {
        PathBuf::from(String::from_utf8_lossy(line).into_owned())
    }
}

/// Folders become the images below them; what can't be listed is reported and counted.
pub fn expand(arguments: &[PathBuf]) -> (Vec<PathBuf>, usize) {
    let mut paths = Vec::new();
    let mut failed = 0;
    for path in arguments {
        if path.as_os_str() == "-" {
            // A name may be of any bytes but a line's end.
            let lines = std::io::stdin().lock().split(b'\n');
            for line in lines.map_while(|line| line.ok()) {
                let line = line.strip_suffix(b"\r").unwrap_or(&line);
                if !line.is_empty() {
                    paths.push(path_of(line));
                }
            }
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
            let mut text = format!("{:.3}  {word:<9}  {path}\n", verdict.image_score);
            for explanation in verdict.explanations() {
                for sentence in explanation.sentences() {
                    // Writing to a String can't fail.
                    let _ = writeln!(text, "       {sentence}");
                }
            }
            text
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

/// Where a file that belongs to an image goes: its place below the common folder, one ending more.
pub fn target_path(folder: &Path, base: &Path, image: &Path, extension: &str) -> PathBuf {
    let below = image.strip_prefix(base).unwrap_or(image);
    let mut target = folder.to_path_buf();
    // Only plain names: no way out of the folder.
    target.extend(below.components().filter_map(|c| match c {
        std::path::Component::Normal(name) => Some(name),
        _ => None,
    }));
    let mut name = target.file_name().unwrap_or_default().to_os_string();
    name.push(".");
    name.push(extension);
    target.with_file_name(name)
}

/// Writes a PNG, making folders on the way.
pub fn write_png(path: &Path, picture: &::image::RgbImage, force: bool) -> Result<()> {
    write_making_folders(path, &encode_png(path, picture)?, force)
}

/// A picture as a PNG; `path` is what an error names.
fn encode_png(path: &Path, picture: &::image::RgbImage) -> Result<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    picture
        .write_to(&mut bytes, ::image::ImageFormat::Png)
        .map_err(|e| Error::Data(format!("{}: {e}", path.display())))?;
    Ok(bytes.into_inner())
}

/// Writes a file, making the folders on the way.
fn write_making_folders(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    }
    write_file(path, bytes, force)
}
