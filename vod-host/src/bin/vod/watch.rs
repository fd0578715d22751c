//! `vod watch`: images scored as they arrive.

use std::collections::HashMap;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime};

use clap::Args;
use notify::{Config, PollWatcher, RecommendedWatcher, RecursiveMode, Watcher};
use vod_host::report::heatmap::overlay;
use vod_host::score::{ImageScorer, Verdict};
use vod_host::{Error, Result, image};

use crate::score::{target_path, write_png};
use crate::{Outcome, bank, output};

/// How often files that may still be written are looked at.
const TICK: Duration = Duration::from_millis(100);
/// A file that can't be read is tried again for this long after its last change.
const PATIENCE: Duration = Duration::from_secs(5);

/// Score images as they arrive in a folder; one JSON object a line, until Ctrl-C.
///
/// A file is scored when it has not changed for --settle milliseconds and can be decoded; one that
/// still can't be decoded 5 seconds after its last change is reported on stderr and left alone until
/// it changes. Ctrl-C ends with status 0.
#[derive(Args)]
#[command(after_help = "Example:\n  vod watch line/camera1 --bank part.vod --heatmaps maps")]
pub struct Arguments {
    /// Folder that images arrive in (with all below).
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// Bank file.
    #[arg(long, value_name = "FILE")]
    bank: PathBuf,
    /// Score the images that are there already, too.
    #[arg(long)]
    existing: bool,
    /// Folder for overlays, one PNG an image; must not lie in the watched one.
    #[arg(long, value_name = "DIR")]
    heatmaps: Option<PathBuf>,
    /// Milliseconds without a change after which a file is taken as whole.
    #[arg(long, value_name = "MS", default_value_t = 300)]
    settle: u64,
    /// Look at the folder every N milliseconds, for network drives that give no notice.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(10..))]
    poll: Option<u64>,
    /// Backbone, where it is not one of the built-in ones: the path of its manifest.
    #[arg(long, value_name = "PATH")]
    backbone: Option<String>,
    /// Write the lines to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE", default_value = "-")]
    json: String,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

/// Size and time of modification: what tells one state of a file from another.
type State = (u64, Option<SystemTime>);

struct Pending {
    state: Option<State>,
    since: Instant,
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let (file, backbone) = bank::open(&arguments.bank, arguments.backbone.as_deref())?;
    let scorer = ImageScorer::new(&file, &*backbone)?;
    let folder = arguments
        .folder
        .canonicalize()
        .map_err(Error::io(&arguments.folder))?;
    let failed =
        |e: notify::Error| Error::Data(format!("{}: can't be watched: {e}", folder.display()));
    if let Some(heatmaps) = &arguments.heatmaps {
        std::fs::create_dir_all(heatmaps).map_err(Error::io(heatmaps))?;
        let heatmaps = heatmaps.canonicalize().map_err(Error::io(heatmaps))?;
        if heatmaps.starts_with(&folder) {
            return Err(Error::Data(format!(
                "{}: overlays in the watched folder would be scored themselves",
                heatmaps.display()
            )));
        }
    }
    let mut lines = Lines::open(&arguments.json, arguments.force)?;
    let stop = Arc::new(AtomicBool::new(false));
    let handler = stop.clone();
    ctrlc::set_handler(move || handler.store(true, Ordering::Relaxed))
        .map_err(|e| Error::Data(format!("Ctrl-C can't be handled: {e}")))?;

    let (sender, events) = channel();
    let mut watcher: Box<dyn Watcher> = match arguments.poll {
        Some(milliseconds) => {
            let every = Config::default().with_poll_interval(Duration::from_millis(milliseconds));
            Box::new(PollWatcher::new(sender, every).map_err(failed)?)
        }
        None => Box::new(RecommendedWatcher::new(sender, Config::default()).map_err(failed)?),
    };
    // Watched before it is listed, so that nothing falls between.
    watcher
        .watch(&folder, RecursiveMode::Recursive)
        .map_err(failed)?;
    let mut pending: HashMap<PathBuf, Pending> = HashMap::new();
    let mut done: HashMap<PathBuf, State> = HashMap::new();
    for path in image::list_recursive(&folder).unwrap_or_default() {
        if arguments.existing {
            note(&mut pending, path);
        } else if let Some(state) = state(&path) {
            done.insert(path, state);
        }
    }
    let bar = output::progress(quiet);
    bar.set_message(format!("watching {}", arguments.folder.display()));
    let settle = Duration::from_millis(arguments.settle);
    while !stop.load(Ordering::Relaxed) {
        match events.recv_timeout(TICK) {
            Ok(Ok(event)) => {
                for path in event.paths {
                    if path.is_dir() {
                        // A folder that was moved here brings its images without a notice of each.
                        for path in image::list_recursive(&path).unwrap_or_default() {
                            note(&mut pending, path);
                        }
                    } else if image::is_image(&path) {
                        note(&mut pending, path);
                    }
                }
                if !events_waited_long(&pending, settle) {
                    continue;
                }
            }
            Ok(Err(error)) => output::report(&failed(error)),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        let mut paths: Vec<PathBuf> = pending.keys().cloned().collect();
        paths.sort();
        for path in paths {
            if stop.load(Ordering::Relaxed) {
                break;
            }
            let Some(entry) = pending.get_mut(&path) else {
                continue;
            };
            let now = state(&path);
            if now.is_none() || done.get(&path) == now.as_ref() {
                pending.remove(&path);
                continue;
            }
            if now != entry.state {
                *entry = Pending {
                    state: now,
                    since: Instant::now(),
                };
                continue;
            }
            let age = entry.since.elapsed();
            if age < settle {
                continue;
            }
            match scorer.score(&path) {
                // Changed while it was read: what was read may be half of it.
                Ok(_) if state(&path) != now => continue,
                Ok(verdict) => finish(arguments, &scorer, &folder, &verdict, &mut lines)?,
                Err(_) if age < settle.max(PATIENCE) => continue,
                Err(error) => bar.suspend(|| output::report(&error)),
            }
            bar.inc(1);
            pending.remove(&path);
            if let Some(now) = now {
                done.insert(path, now);
            }
        }
    }
    bar.finish_and_clear();
    Ok(Outcome::Done)
}

/// Whether a file has waited so long that it is looked at although notices keep coming.
fn events_waited_long(pending: &HashMap<PathBuf, Pending>, settle: Duration) -> bool {
    pending.values().any(|p| p.since.elapsed() > settle + TICK)
}

fn note(pending: &mut HashMap<PathBuf, Pending>, path: PathBuf) {
    pending.entry(path).or_insert(Pending {
        state: None,
        since: Instant::now(),
    });
}

fn state(path: &Path) -> Option<State> {
    let data = std::fs::metadata(path).ok().filter(|d| d.is_file())?;
    Some((data.len(), data.modified().ok()))
}

/// Prints a verdict and draws its overlay.
fn finish(
    arguments: &Arguments,
    scorer: &ImageScorer,
    folder: &Path,
    verdict: &Verdict,
    lines: &mut Lines,
) -> Result<()> {
    let text = serde_json::to_string(verdict)
        .map_err(|e| Error::Data(format!("verdict can't be written: {e}")))?;
    lines.write(&format!("{text}\n"))?;
    if let Some(target) = &arguments.heatmaps {
        let picture = match image::load(&verdict.path) {
            Ok(picture) => picture,
            Err(error) => {
                output::report(&error);
                return Ok(());
            }
        };
        let tinted = overlay(&picture, verdict, scorer.map_scale()?);
        let target = target_path(target, folder, &verdict.path, "png");
        if let Err(error) = write_png(&target, &tinted, arguments.force) {
            output::report(&error);
        }
    }
    Ok(())
}

/// Where the lines go.
enum Lines {
    Stdout,
    File(File, PathBuf),
}

impl Lines {
    fn open(target: &str, force: bool) -> Result<Self> {
        if target == "-" {
            return Ok(Self::Stdout);
        }
        let path = PathBuf::from(target);
        if path.exists() && !force {
            return Err(Error::Exists { path });
        }
        let file = File::create(&path).map_err(Error::io(&path))?;
        Ok(Self::File(file, path))
    }

    fn write(&mut self, line: &str) -> Result<()> {
        match self {
            Self::Stdout => output::print(line),
            Self::File(file, path) => file.write_all(line.as_bytes()).map_err(Error::io(&*path)),
        }
    }
}
