//! `vod demo`: the bundled sample, fitted and scored.

use std::path::{Path, PathBuf};

use clap::Args;
use vod_host::backbone;
use vod_host::bank_file::{BankFile, refuse_existing};
use vod_host::dataset::Dataset;
use vod_host::eval::metrics::auroc;
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{self, FitOptions};
use vod_host::image;
use vod_host::report::gallery::Truth;
use vod_host::report::heatmap::overlay;
use vod_host::report::verdicts::VerdictPage;
use vod_host::score::ImageScorer;
use vod_host::{Error, Result};

use crate::score::write_png;
use crate::{Outcome, output};

/// False-positive rate of the demo's threshold: eight references say little about rarer alarms.
const DEMO_FPR: f64 = 0.05;

/// Fit and score the bundled sample: real solar cells, good and defective.
#[derive(Args)]
#[command(after_help = "Example:\n  vod demo --out demo")]
pub struct Arguments {
    /// Folder for the bank, the overlays and the report.
    #[arg(long, value_name = "DIR", default_value = "vod-demo")]
    out: PathBuf,
    /// Data set in MVTec layout [default: the bundled sample].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// edge, vit, or the path of a manifest.
    #[arg(long, default_value = "vit")]
    backbone: String,
    /// Shorter side of the backbone's input, pixels [default: the backbone's].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(14..=8192))]
    size: Option<u32>,
    /// Replace files of these names that no demo has written.
    #[arg(long)]
    force: bool,
    /// Write the table as JSON to FILE, or to stdout for -.
    #[arg(long, value_name = "FILE")]
    json: Option<String>,
}

#[derive(serde::Serialize)]
struct Summary {
    image_auroc: Option<f64>,
    verdicts: Vec<Line>,
}

#[derive(serde::Serialize)]
struct Line {
    path: PathBuf,
    kind: String,
    image_score: f64,
    anomalous: bool,
}

/// The sample: in the working folder, or in the source tree that the program was built from.
fn sample() -> PathBuf {
    let here = Path::new("examples/solar-cells");
    if here.is_dir() {
        return here.to_path_buf();
    }
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(here)
}

pub fn run(arguments: &Arguments, quiet: bool) -> Result<Outcome> {
    let data = Dataset::open(&arguments.data.clone().unwrap_or_else(sample))?;
    std::fs::create_dir_all(&arguments.out).map_err(Error::io(&arguments.out))?;
    let bank_path = arguments.out.join("demo.vod");
    let report = arguments.out.join("report.html");
    let heatmaps = arguments.out.join("heatmaps");
    // What an earlier demo has written, known by its bank, is replaced.
    if BankFile::read(&bank_path).is_err() {
        for path in [&bank_path, &report, &heatmaps] {
            refuse_existing(path, arguments.force)?;
        }
    }
    let backbone = backbone::open(&arguments.backbone)?;
    let preprocess = preprocess_for(&*backbone, arguments.size, None);
    let extractor = Extractor::new(&*backbone, preprocess)?;
    let options = FitOptions {
        fpr: DEMO_FPR,
        ..FitOptions::standard()
    };
    let bar = output::progress(quiet);
    let fitted = fit::fit(&extractor, &data.references, &options, &bar);
    bar.finish_and_clear();
    let fitted = fitted?;
    for failure in &fitted.failures {
        output::report(failure);
    }
    fitted.bank.write(&bank_path, true)?;

    let scorer = ImageScorer::new(&fitted.bank, &*backbone)?;
    let mut page = VerdictPage::create(&report, true, data.tests.len())?;
    let map_scale = scorer.map_scale()?;
    let renderer = page.renderer(map_scale);
    let mut verdicts = Vec::new();
    let mut failed = fitted.failures.len();
    let to_stdout = arguments.json.as_deref() == Some("-");
    let mut table = format!(
        "fitted on {} good images: {} KB in {}, threshold for {:.0} % false alarms\n\nscore  verdict    truth      image\n",
        fitted.bank.host().references.len(),
        fitted.bank.bytes().len() / 1024,
        bank_path.display(),
        DEMO_FPR * 100.0
    );
    let kinds = data.tests.iter().map(|test| test.kind.clone());
    let mut kinds = kinds.collect::<Vec<_>>().into_iter();
    let bar = output::progress(quiet);
    bar.set_length(data.tests.len() as u64);
    bar.set_message("scoring");
    scorer.score_all(data.tests.iter().map(|t| t.path.clone()), |path, result| {
        bar.inc(1);
        let kind = kinds.next().unwrap_or_default();
        let verdict = match result {
            Ok(verdict) => verdict,
            Err(error) => {
                output::report(&error);
                failed += 1;
                return Ok(());
            }
        };
        let picture = image::load(&path)?;
        let tinted = overlay(&picture, &verdict, map_scale);
        let name = format!(
            "{kind}-{}.png",
            path.file_stem().unwrap_or_default().display()
        );
        write_png(&heatmaps.join(name), &tinted, true)?;
        let truth = Truth {
            set: &data.name,
            kind: &kind,
            mask: None,
        };
        page.push(renderer.render(&verdict, &picture, Some(truth), Vec::new())?)?;
        let word = if verdict.anomalous {
            "ANOMALOUS"
        } else {
            "normal"
        };
        table.push_str(&format!(
            "{:.3}  {word:<9}  {kind:<9}  {}\n",
            verdict.image_score,
            path.display()
        ));
        verdicts.push(Line {
            path,
            kind,
            image_score: verdict.image_score,
            anomalous: verdict.anomalous,
        });
        Ok(())
    })?;
    bar.finish_and_clear();
    let scores: Vec<f32> = verdicts.iter().map(|v| v.image_score as f32).collect();
    let labels: Vec<bool> = verdicts
        .iter()
        .map(|v| v.kind != vod_host::dataset::GOOD)
        .collect();
    let image_auroc = auroc(&scores, &labels);
    let figure = image_auroc.map_or("not available".into(), |a| format!("{a:.3}"));
    let summary = format!("image AUROC {figure}");
    page.finish(&format!("vod demo: {}", data.name), &summary)?;
    table.push_str(&format!(
        "\n{summary}\nheatmaps in {}, report in {}\n",
        heatmaps.display(),
        report.display()
    ));
    if !to_stdout {
        output::print(&table)?;
    }
    if let Some(target) = &arguments.json {
        output::write_json(
            target,
            &Summary {
                image_auroc,
                verdicts,
            },
            true,
        )?;
    }
    Ok(if failed == 0 {
        Outcome::Done
    } else {
        Outcome::Incomplete
    })
}
