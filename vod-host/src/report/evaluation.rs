//! The page of an evaluation: figures, curves, the best and the worst images with their maps.

use std::fmt::Write;

use super::heatmap::tinted;
use super::html::{document, escape, picture};
use crate::error::Result;
use crate::eval::{DatasetResult, Evaluation, Example, Mean, Role, Run};

/// Side of a chart, and the room around its axes, in SVG units.
const SIDE: f64 = 260.0;
const MARGIN: f64 = 46.0;
/// Colours and dashes of the curves, by number of shots: told apart without colour too.
const STROKES: [(&str, &str); 4] = [
    ("#3d7fd9", ""),
    ("#d9822b", "8 4"),
    ("#2f9e63", "2 4"),
    ("#a45bc4", "10 4 2 4"),
];

/// The page, self-contained: a table of all means, and for each data set its kinds of defect,
/// curves of the first seed, and example images.
///
/// # Errors
/// Those of reading the example images again.
pub fn page(evaluation: &Evaluation) -> Result<String> {
    let title = format!("{} with {}", evaluation.method, evaluation.backbone);
    let mut body =
        String::from("<h2>Figures</h2>\n<div class=\"wide\"><table><tr><th>data set</th>");
    for name in [
        "shots",
        "image AUROC",
        "image AP",
        "image F1-max",
        "pixel AUROC",
        "pixel AP",
        "pixel AUPRO",
        "false alarms",
    ] {
        // Writing to a String can't fail.
        let _ = write!(body, "<th>{name}</th>");
    }
    body.push_str("</tr>\n");
    let all = evaluation
        .datasets
        .iter()
        .map(|set| (set.name.as_str(), &set.mean))
        .chain([("mean", &evaluation.mean)]);
    for (name, means) in all {
        for (shots, mean) in means {
            figure_row(&mut body, name, *shots, mean);
        }
    }
    body.push_str("</table></div>\n");
    for set in &evaluation.datasets {
        dataset(&mut body, set)?;
    }
    Ok(document(&title, &body))
}

fn cell(value: Option<f64>) -> String {
    value.map_or("&ndash;".into(), |v| format!("{v:.3}"))
}

fn figure_row(body: &mut String, name: &str, shots: usize, mean: &Mean) {
    let _ = write!(
        body,
        "<tr><td>{}</td><td class=\"number\">{shots}</td>",
        escape(name)
    );
    for value in [
        mean.image_auroc,
        mean.image_ap,
        mean.image_f1_max,
        mean.pixel_auroc,
        mean.pixel_ap,
        mean.pixel_aupro,
        mean.false_positive_rate,
    ] {
        let _ = write!(body, "<td class=\"number\">{}</td>", cell(value));
    }
    body.push_str("</tr>\n");
}

fn dataset(body: &mut String, set: &DatasetResult) -> Result<()> {
    let _ = writeln!(body, "<h2>{}</h2>", escape(&set.name));
    let first: Vec<&Run> = set.runs.iter().filter(|run| run.seed == 0).collect();
    let Some(last) = first.last() else {
        return Ok(());
    };
    if last.kinds.len() > 1 {
        let _ = write!(
            body,
            "<p>Image AUROC by kind of defect, {} shots, mean over seeds:</p><ul>",
            last.shots
        );
        for kind in last.kinds.keys() {
            let runs = set.runs.iter().filter(|run| run.shots == last.shots);
            let values: Vec<f64> = runs.filter_map(|run| run.kinds[kind]).collect();
            let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
            let value = cell((!values.is_empty()).then_some(mean));
            let _ = write!(body, "<li>{}: {value}</li>", escape(kind));
        }
        body.push_str("</ul>\n");
    }
    let roc: Vec<_> = first.iter().map(|run| (run.shots, &run.roc)).collect();
    let precision: Vec<_> = first
        .iter()
        .map(|run| (run.shots, &run.precision_recall))
        .collect();
    chart(
        body,
        "ROC",
        "false-positive rate",
        "true-positive rate",
        &roc,
    );
    chart(
        body,
        "Precision and recall",
        "recall",
        "precision",
        &precision,
    );
    body.push('\n');
    for (role, heading) in [
        (Role::Found, "Defects with the highest scores"),
        (Role::Missed, "Defects with the lowest scores"),
        (Role::FalseAlarm, "Good images with the highest scores"),
    ] {
        let examples: Vec<&Example> = last.examples.iter().filter(|e| e.role == role).collect();
        if examples.is_empty() {
            continue;
        }
        let _ = writeln!(body, "<h3>{heading}</h3>");
        for example in examples {
            show(body, example)?;
        }
    }
    Ok(())
}

/// One chart as inline SVG; each curve runs over the unit square. Nothing without curves.
fn chart(body: &mut String, title: &str, x: &str, y: &str, curves: &[(usize, &Vec<(f64, f64)>)]) {
    if curves.iter().all(|(_, points)| points.is_empty()) {
        return;
    }
    let (width, height) = (SIDE + 2.0 * MARGIN, SIDE + 2.0 * MARGIN);
    let _ = write!(
        body,
        "<figure><svg viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         aria-label=\"{title}: {y} against {x}\"><text x=\"{MARGIN}\" y=\"20\">{title}</text>\
         <rect class=\"axis\" x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{SIDE}\" height=\"{SIDE}\"/>"
    );
    let middle = MARGIN + SIDE / 2.0;
    let bottom = MARGIN + SIDE;
    let _ = write!(
        body,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\
         <text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
        bottom + 36.0
    );
    for (at, label) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let _ = write!(
            body,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
            MARGIN + at * SIDE,
            bottom + 18.0,
            MARGIN - 6.0,
            bottom - at * SIDE + 4.0
        );
    }
    for (index, (shots, points)) in curves.iter().enumerate() {
        let (colour, dash) = STROKES[index % STROKES.len()];
        let _ = write!(
            body,
            "<polyline class=\"curve\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" points=\""
        );
        for (px, py) in *points {
            let _ = write!(body, "{:.1},{:.1} ", MARGIN + px * SIDE, bottom - py * SIDE);
        }
        let line = bottom - 14.0 - 18.0 * (curves.len() - 1 - index) as f64;
        let left = MARGIN + SIDE - 96.0;
        let word = if *shots == 1 { "shot" } else { "shots" };
        let _ = write!(
            body,
            "\"/><line x1=\"{left}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" class=\"curve\" \
             stroke=\"{colour}\" stroke-dasharray=\"{dash}\"/>\
             <text x=\"{2}\" y=\"{line}\">{shots} {word}</text>",
            line - 4.0,
            left + 34.0,
            left + 40.0
        );
    }
    body.push_str("</svg></figure>");
}

fn show(body: &mut String, example: &Example) -> Result<()> {
    let image = crate::image::load(&example.path)?;
    let overlay = tinted(&image, example.map.clone());
    let file = crate::dataset::file_name(&example.path);
    let name = escape(&format!("{}/{file}", example.kind));
    let _ = writeln!(
        body,
        "<figure><img loading=\"lazy\" alt=\"{name}\" src=\"{}\"></figure>\
         <figure><img loading=\"lazy\" alt=\"anomaly map of {name}\" src=\"{}\">\
         <figcaption>{name}, {:.3}</figcaption></figure>",
        picture(&image)?,
        picture(&overlay)?,
        example.score
    );
    Ok(())
}
