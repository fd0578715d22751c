//! The page of an evaluation: figures, then for each data set its kinds of defect, histogram and
//! curves, then all test images of one run.

use std::fmt::Write;
use std::path::Path;

use ndarray::Array2;
use rayon::prelude::*;

use super::chart::{curves, histogram};
use super::gallery::{Entry, Gallery, Rendered, Renderer, Truth};
use super::html::escape;
use crate::dataset::{GOOD, file_name, load_mask};
use crate::error::Result;
use crate::eval::{DatasetResult, Evaluation, ImageResult, Mean, Run};
use crate::image::load;
use crate::score::pixel_regions;

/// Images that are read and rendered together.
const CHUNK: usize = 32;
/// Units of a map score of 1, for the search of regions.
const MAP_ONE: f32 = 65_536.0;

/// Writes the page of an evaluation.
///
/// # Errors
/// [`crate::Error::Exists`], [`crate::Error::Io`]; those of reading the test images again.
pub fn write(evaluation: &Evaluation, target: &Path, force: bool) -> Result<()> {
    let count = |set: &DatasetResult| shown_run(set).map_or(0, |run| run.images.len());
    let expected = evaluation.datasets.iter().map(count).sum();
    let mut gallery = Gallery::create(target, force, expected)?;
    let renderer = gallery.renderer();
    let mut lead = String::from("<h2>Figures</h2>\n");
    figures(&mut lead, evaluation);
    for set in &evaluation.datasets {
        dataset(&mut lead, set);
        let Some(run) = shown_run(set) else { continue };
        for chunk in run.images.chunks(CHUNK) {
            let rendered: Vec<Rendered> = chunk
                .par_iter()
                .map(|image| render(renderer, &set.name, image))
                .collect::<Result<_>>()?;
            for item in rendered {
                gallery.push(item)?;
            }
        }
    }
    let title = format!("{} with {}", evaluation.method, evaluation.backbone);
    gallery.finish(&title, &lead)
}

/// The run whose images are shown.
fn shown_run(set: &DatasetResult) -> Option<&Run> {
    set.runs.iter().find(|run| !run.images.is_empty())
}

fn render(renderer: Renderer, set: &str, result: &ImageResult) -> Result<Rendered> {
    let image = load(&result.path)?;
    let mask = result.mask.as_deref().map(load_mask).transpose()?;
    let units: Array2<i32> = result.map.mapv(|v| (v * MAP_ONE) as i32);
    let unit = |v: i32| f64::from(v as f32 / MAP_ONE);
    let threshold = (MAP_ONE / 2.0) as i32;
    let regions = pixel_regions(&units, threshold, image.dimensions(), unit, |_| None)?;
    renderer.render(&Entry {
        name: format!("{set}/{}/{}", result.kind, file_name(&result.path)),
        score: result.score,
        anomalous: result.anomalous,
        image: &image,
        map: result.map.view(),
        regions: &regions,
        truth: Some(Truth {
            set,
            kind: &result.kind,
            mask: mask.as_ref(),
        }),
        notes: Vec::new(),
    })
}

fn cell(value: Option<f64>) -> String {
    value.map_or("&ndash;".into(), |v| format!("{v:.3}"))
}

/// A table: heads, then rows of a head, cells (HTML) and whether it sums up the others.
fn table(out: &mut String, heads: &[&str], rows: &[(String, Vec<String>, bool)]) {
    out.push_str(
        "<div class=\"wide\" tabindex=\"0\" role=\"group\" aria-label=\"Table\"><table><thead><tr>",
    );
    for head in heads {
        // Writing to a String can't fail, here and below.
        let _ = write!(out, "<th scope=\"col\">{head}</th>");
    }
    out.push_str("</tr></thead><tbody>\n");
    for (head, cells, is_total) in rows {
        let class = if *is_total { " class=\"total\"" } else { "" };
        let _ = write!(out, "<tr{class}><th scope=\"row\">{}</th>", escape(head));
        for cell in cells {
            let _ = write!(out, "<td>{cell}</td>");
        }
        out.push_str("</tr>\n");
    }
    out.push_str("</tbody></table></div>\n");
}

fn figures(out: &mut String, evaluation: &Evaluation) {
    let row = |name: &str, shots: usize, mean: &Mean, is_total: bool| {
        let figures = [
            mean.image_auroc,
            mean.image_ap,
            mean.image_f1_max,
            mean.pixel_auroc,
            mean.pixel_ap,
            mean.pixel_aupro,
            mean.false_positive_rate,
        ];
        let mut cells = vec![shots.to_string()];
        cells.extend(figures.map(cell));
        (name.to_string(), cells, is_total)
    };
    let mut rows = Vec::new();
    for set in &evaluation.datasets {
        for (shots, mean) in &set.mean {
            rows.push(row(&set.name, *shots, mean, false));
        }
    }
    if evaluation.datasets.len() > 1 {
        for (shots, mean) in &evaluation.mean {
            rows.push(row("mean", *shots, mean, true));
        }
    }
    table(
        out,
        &[
            "data set",
            "shots",
            "image AUROC",
            "image AP",
            "image F1-max",
            "pixel AUROC",
            "pixel AP",
            "pixel AUPRO",
            "false-positive rate",
        ],
        &rows,
    );
    out.push_str(
        "<p class=\"note\">Means over seeds. The false-positive rate is the share of good test images \
         that the fitted threshold calls anomalous; F1-max takes the best threshold instead.</p>\n",
    );
}

fn dataset(out: &mut String, set: &DatasetResult) {
    let _ = writeln!(out, "<h2>{}</h2>", escape(&set.name));
    let Some(run) = shown_run(set) else { return };
    let of_kind = |kind: &str| {
        let images = run.images.iter().filter(|image| image.kind == kind);
        images.collect::<Vec<_>>()
    };
    let mut kinds: Vec<&str> = run.kinds.keys().map(String::as_str).collect();
    if run.images.iter().any(|image| image.kind == GOOD) {
        kinds.insert(0, GOOD);
    }
    let rows: Vec<_> = kinds
        .iter()
        .map(|&kind| {
            let images = of_kind(kind);
            let called = images.iter().filter(|image| image.anomalous).count();
            let mut scores: Vec<f64> = images.iter().map(|image| image.score).collect();
            scores.sort_by(f64::total_cmp);
            let at = |place: usize| cell(scores.get(place).copied());
            let cells = vec![
                images.len().to_string(),
                called.to_string(),
                cell(kind_auroc(set, run.shots, kind)),
                at(0),
                at(scores.len() / 2),
                at(scores.len().saturating_sub(1)),
            ];
            (kind.to_string(), cells, false)
        })
        .collect();
    table(
        out,
        &[
            "kind",
            "images",
            "called anomalous",
            "image AUROC",
            "lowest score",
            "median",
            "highest",
        ],
        &rows,
    );
    let word = if run.shots == 1 { "shot" } else { "shots" };
    let _ = writeln!(
        out,
        "<p class=\"note\">AUROC of each kind against the good images, mean over seeds; all else, and \
         the images below, of the run with {} {word} and seed 0.</p>\n<div class=\"charts\">",
        run.shots
    );
    let groups: Vec<(String, Vec<f64>)> = kinds
        .iter()
        .map(|&kind| {
            let scores = of_kind(kind).iter().map(|image| image.score).collect();
            (kind.to_string(), scores)
        })
        .collect();
    out.push_str(&histogram(&groups));
    let first: Vec<&Run> = set.runs.iter().filter(|run| run.seed == 0).collect();
    let name = |run: &Run| {
        let word = if run.shots == 1 { "shot" } else { "shots" };
        format!("{} {word}", run.shots)
    };
    let of = |points: fn(&Run) -> &[(f64, f64)]| {
        let lines = first.iter().map(|run| (name(run), points(run)));
        lines.collect::<Vec<_>>()
    };
    let roc = of(|run| &run.roc);
    let precision = of(|run| &run.precision_recall);
    // The two stay side by side where the histogram leaves room for one only.
    out.push_str("<div class=\"curves\">");
    out.push_str(&curves(
        "ROC",
        "false-positive rate",
        "true-positive rate",
        &roc,
    ));
    out.push_str(&curves(
        "Precision and recall",
        "recall",
        "precision",
        &precision,
    ));
    out.push_str("</div></div>\n");
}

/// Mean over seeds of one kind's image AUROC; `None` for good images.
fn kind_auroc(set: &DatasetResult, shots: usize, kind: &str) -> Option<f64> {
    let runs = set.runs.iter().filter(|run| run.shots == shots);
    let values: Vec<f64> = runs.filter_map(|run| *run.kinds.get(kind)?).collect();
    (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
}
