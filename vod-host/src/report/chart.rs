//! Charts as inline SVG.

use std::fmt::Write;

use super::html::escape;

/// Bins of a histogram over the scores from 0 to 1.
const BINS: usize = 50;
/// Histogram: width of the axis, height of one row, room around, in SVG units.
const WIDTH: f64 = 500.0;
const ROW: f64 = 64.0;
const LEFT: f64 = 16.0;
const TOP: f64 = 26.0;
/// Curves: side of the unit square, and the room around it.
const SIDE: f64 = 240.0;
const MARGIN: f64 = 46.0;
/// Colours and dashes of curves: told apart without colour too.
const STROKES: [(&str, &str); 4] = [
    ("#3d7fd9", ""),
    ("#d9822b", "8 4"),
    ("#2f9e63", "2 4"),
    ("#a45bc4", "10 4 2 4"),
];

/// Histogram of scores from 0 to 1, one row of bars a group, with the threshold at 0.5. Each row
/// has a scale of its own, whose top is written beside it.
///
/// Groups are (name, scores); nothing comes of no groups. Returns HTML.
pub fn histogram(groups: &[(String, Vec<f64>)]) -> String {
    let mut out = String::new();
    if groups.is_empty() {
        return out;
    }
    let height = TOP + groups.len() as f64 * ROW + 40.0;
    let total = WIDTH + 2.0 * LEFT;
    let mut label = String::from("Histogram of scores.");
    for (name, scores) in groups {
        let over = scores.iter().filter(|s| **s >= 0.5).count();
        // Writing to a String can't fail, here and below.
        let _ = write!(
            label,
            " {name}: {} images, {over} at or above the threshold of 0.5.",
            scores.len()
        );
    }
    let _ = write!(
        out,
        "<figure><svg class=\"chart scaled\" viewBox=\"0 0 {total} {height}\" width=\"{total}\" \
         height=\"{height}\" role=\"img\" aria-label=\"{}\">",
        escape(&label)
    );
    for (number, (name, scores)) in groups.iter().enumerate() {
        let base = TOP + (number + 1) as f64 * ROW;
        histogram_row(&mut out, name, scores, base);
    }
    let middle = LEFT + WIDTH / 2.0;
    let bottom = TOP + groups.len() as f64 * ROW;
    let _ = write!(
        out,
        "<line class=\"threshold\" x1=\"{middle}\" y1=\"18\" x2=\"{middle}\" y2=\"{bottom}\"/>\
         <text x=\"{middle}\" y=\"13\" text-anchor=\"middle\">threshold</text>"
    );
    for (at, text) in [
        (0.0, "0"),
        (0.25, "0.25"),
        (0.5, "0.5"),
        (0.75, "0.75"),
        (1.0, "1"),
    ] {
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{text}</text>",
            LEFT + at * WIDTH,
            bottom + 17.0
        );
    }
    let _ = writeln!(
        out,
        "<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">image score</text></svg></figure>",
        bottom + 34.0
    );
    out
}

fn histogram_row(out: &mut String, name: &str, scores: &[f64], base: f64) {
    let mut bins = [0usize; BINS];
    for score in scores {
        bins[((score * BINS as f64) as usize).min(BINS - 1)] += 1;
    }
    let highest = bins.iter().copied().max().unwrap_or(0).max(1);
    let step = WIDTH / BINS as f64;
    for (number, &count) in bins.iter().enumerate().filter(|(_, count)| **count > 0) {
        let bar = (count as f64 / highest as f64 * (ROW - 20.0)).max(1.0);
        let class = if number * 2 >= BINS { "over" } else { "bar" };
        let low = number as f64 / BINS as f64;
        let _ = write!(
            out,
            "<rect class=\"{class}\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{bar:.1}\">\
             <title>{count} from {low:.2} to {:.2}</title></rect>",
            LEFT + number as f64 * step,
            base - bar,
            step - 1.0,
            low + 1.0 / BINS as f64
        );
    }
    let _ = write!(
        out,
        "<line class=\"axis\" x1=\"{LEFT}\" y1=\"{base}\" x2=\"{0}\" y2=\"{base}\"/>\
         <text x=\"{LEFT}\" y=\"{1}\">{2} ({3})</text>\
         <text x=\"{0}\" y=\"{1}\" text-anchor=\"end\">highest bar: {highest}</text>",
        LEFT + WIDTH,
        base - ROW + 16.0,
        escape(name),
        scores.len()
    );
}

/// Curves over the unit square, each with its legend; nothing comes of curves without points.
/// Returns HTML.
pub fn curves(title: &str, x: &str, y: &str, curves: &[(String, &[(f64, f64)])]) -> String {
    let mut out = String::new();
    if curves.iter().all(|(_, points)| points.is_empty()) {
        return out;
    }
    let full = SIDE + 2.0 * MARGIN;
    let (middle, bottom) = (MARGIN + SIDE / 2.0, MARGIN + SIDE);
    let _ = write!(
        out,
        "<figure><svg class=\"chart\" viewBox=\"0 0 {full} {full}\" width=\"{full}\" \
         height=\"{full}\" role=\"img\" aria-label=\"{title}: {y} against {x}\">\
         <text x=\"{MARGIN}\" y=\"30\">{title}</text>\
         <rect class=\"axis\" x=\"{MARGIN}\" y=\"{MARGIN}\" width=\"{SIDE}\" height=\"{SIDE}\"/>\
         <text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{x}</text>\
         <text transform=\"translate(14 {middle}) rotate(-90)\" text-anchor=\"middle\">{y}</text>",
        bottom + 36.0
    );
    for (at, label) in [(0.0, "0"), (0.5, "0.5"), (1.0, "1")] {
        let _ = write!(
            out,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"middle\">{label}</text>\
             <text x=\"{}\" y=\"{}\" text-anchor=\"end\">{label}</text>",
            MARGIN + at * SIDE,
            bottom + 18.0,
            MARGIN - 6.0,
            bottom - at * SIDE + 4.0
        );
    }
    for (number, (name, points)) in curves.iter().enumerate() {
        let (colour, dash) = STROKES[number % STROKES.len()];
        let _ = write!(
            out,
            "<polyline class=\"curve\" stroke=\"{colour}\" stroke-dasharray=\"{dash}\" points=\""
        );
        for (px, py) in *points {
            let _ = write!(out, "{:.1},{:.1} ", MARGIN + px * SIDE, bottom - py * SIDE);
        }
        let line = bottom - 14.0 - 18.0 * (curves.len() - 1 - number) as f64;
        let left = MARGIN + SIDE - 96.0;
        let _ = write!(
            out,
            "\"/><line x1=\"{left}\" y1=\"{0}\" x2=\"{1}\" y2=\"{0}\" class=\"curve\" \
             stroke=\"{colour}\" stroke-dasharray=\"{dash}\"/><text x=\"{2}\" y=\"{line}\">{3}</text>",
            line - 4.0,
            left + 34.0,
            left + 40.0,
            escape(name)
        );
    }
    out.push_str("</svg></figure>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_score_is_in_a_bar_on_its_side_of_the_threshold() {
        let scores = vec![0.0, 0.1, 0.499, 0.5, 0.999, 1.0];
        let svg = histogram(&[("<a>".into(), scores), ("b".into(), vec![])]);
        // 0, 0.1 and 0.499 below; 0.5 above, and the two highest share the last bin.
        assert_eq!(svg.matches("class=\"bar\"").count(), 3);
        assert_eq!(svg.matches("class=\"over\"").count(), 2);
        assert!(svg.contains("<title>2 from 0.98 to 1.00</title>"));
        assert!(svg.contains("&lt;a&gt;: 6 images, 3 at or above"));
        assert!(svg.contains("b: 0 images"));
        assert_eq!(histogram(&[]), "");
    }

    #[test]
    fn curves_run_from_corner_to_corner() {
        let points = [(0.0, 0.0), (1.0, 1.0)];
        let svg = curves("ROC", "x", "y", &[("1 shot".into(), &points)]);
        assert!(
            svg.contains("points=\"46.0,286.0 286.0,46.0 \""),
            "the y axis runs upwards: {svg}"
        );
        assert_eq!(curves("ROC", "x", "y", &[("1 shot".into(), &[])]), "");
    }
}
