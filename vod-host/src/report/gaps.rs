//! The page of `vod gaps`: means, a chart and a table of all comparisons.

use std::fmt::Write;

use super::html::{document, escape};
use crate::generalist::{Comparison, Gap};

/// Width of a letter, the largest one of a phone, and rooms of the chart, in SVG units. Names stand
/// above their lines, since beside them they leave a phone no room for the plot.
const LETTER: f64 = 9.0;
const PLOT: f64 = 480.0;
const SIDE: f64 = 16.0;
const LINE: f64 = 42.0;
const TOP: f64 = 24.0;
/// Colours of the two spaces; their marks differ in shape too.
const RESIDUAL: &str = "#d9822b";
const VALUES: &str = "#3d7fd9";

/// The page, self-contained.
pub fn page(backbone: &str, gaps: &[Gap]) -> String {
    let mut body = String::from(
        "<p>How well a linear classifier tells two clouds of patches apart, as AUROC on images that \
         it has not seen: 0.5 where they look the same, 1 where they have nothing in common. Circles: \
         residuals as they are; squares: their sorted values alone.</p>\n<h2>Means</h2>\n\
         <div class=\"wide\"><table><thead><tr><th scope=\"col\">comparison</th><th scope=\"col\">pairs</th>\
         <th scope=\"col\">residual</th><th scope=\"col\">values</th></tr></thead><tbody>\n",
    );
    for comparison in [
        Comparison::NormalAbnormal,
        Comparison::Objects,
        Comparison::RealSynthetic,
        Comparison::Domains,
    ] {
        let of = of_comparison(gaps, comparison);
        if let Some([residual, values]) = means(&of) {
            // Writing to a String can't fail.
            let _ = writeln!(
                body,
                "<tr><td>{}</td><td>{}</td><td>{residual:.3}</td>\
                 <td>{values:.3}</td></tr>",
                title(comparison),
                of.len()
            );
        }
    }
    body.push_str("</tbody></table></div>\n");
    for comparison in [
        Comparison::Objects,
        Comparison::RealSynthetic,
        Comparison::Domains,
        Comparison::NormalAbnormal,
    ] {
        let of = of_comparison(gaps, comparison);
        if !of.is_empty() {
            let _ = writeln!(body, "<h2>{}</h2>", title(comparison));
            chart(&mut body, title(comparison), &of);
        }
    }
    document(&format!("Gaps with {backbone}"), &body)
}

/// Mean AUROC on residuals and on values; `None` without any.
pub fn means(gaps: &[&Gap]) -> Option<[f64; 2]> {
    let mean = |figure: fn(&Gap) -> f64| {
        gaps.iter().map(|gap| figure(gap)).sum::<f64>() / gaps.len() as f64
    };
    (!gaps.is_empty()).then(|| [mean(|g| g.residual), mean(|g| g.values)])
}

/// The comparison, for people.
pub fn title(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::NormalAbnormal => "Normal and abnormal (should stay apart)",
        Comparison::Objects => "Objects of one domain",
        Comparison::RealSynthetic => "Real and pasted defects",
        Comparison::Domains => "Domains",
    }
}

/// Those of one comparison.
pub fn of_comparison(gaps: &[Gap], comparison: Comparison) -> Vec<&Gap> {
    gaps.iter().filter(|g| g.comparison == comparison).collect()
}

/// One line a pair, its AUROC in both spaces on one axis.
fn chart(body: &mut String, title: &str, gaps: &[&Gap]) {
    let height = TOP + LINE * gaps.len() as f64 + 12.0;
    let name = |gap: &Gap| format!("{} / {}", gap.first, gap.second);
    let longest = gaps.iter().map(|gap| name(gap).chars().count()).max();
    let names = LETTER * longest.unwrap_or(0) as f64;
    let width = PLOT.max(names) + 2.0 * SIDE;
    let lowest = gaps
        .iter()
        .map(|gap| gap.residual.min(gap.values))
        .fold(0.5, f64::min);
    let low = (lowest * 10.0).floor() / 10.0;
    let at = |auroc: f64| SIDE + (auroc - low) / (1.0 - low) * PLOT;
    let _ = write!(
        body,
        "<div class=\"wide\"><svg class=\"chart scaled\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" role=\"img\" \
         aria-label=\"{title}: AUROC of a classifier between two clouds\">"
    );
    let ticks = ((1.0 - low) * 10.0).round() as usize;
    for tick in 0..=ticks {
        let value = low + tick as f64 / 10.0;
        let x = at(value);
        let _ = write!(
            body,
            "<line class=\"axis\" x1=\"{x:.1}\" y1=\"{TOP}\" x2=\"{x:.1}\" y2=\"{:.1}\"/>\
             <text x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{value:.1}</text>",
            height - 8.0,
            TOP - 8.0
        );
    }
    for (line, gap) in gaps.iter().enumerate() {
        let y = TOP + LINE * (line as f64 + 0.75);
        let (r, v) = (at(gap.residual), at(gap.values));
        let _ = write!(
            body,
            "<text class=\"name\" x=\"{SIDE}\" y=\"{:.1}\">{name}</text>\
             <line class=\"axis\" x1=\"{r:.1}\" y1=\"{y:.1}\" x2=\"{v:.1}\" y2=\"{y:.1}\"/>\
             <circle cx=\"{r:.1}\" cy=\"{y:.1}\" r=\"5\" fill=\"{RESIDUAL}\">\
             <title>residual {residual:.3}</title></circle>\
             <rect x=\"{:.1}\" y=\"{:.1}\" width=\"9\" height=\"9\" fill=\"{VALUES}\">\
             <title>values {values:.3}</title></rect>",
            y - 12.0,
            v - 4.5,
            y - 4.5,
            name = escape(&name(gap)),
            residual = gap.residual,
            values = gap.values
        );
    }
    body.push_str("</svg></div>\n");
}
