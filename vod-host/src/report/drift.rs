//! Page of a drift test: the two distributions of scores, one above the other.

use std::fmt::Write;

use super::html::{document, escape};

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 300.0;
const BINS: usize = 40;

/// The page; `summary` is plain text, one paragraph a line, scores are on the scale 0 to 1.
pub fn page(summary: &str, bank: &[f64], line: &[f64]) -> String {
    let mut body = String::new();
    // Writing to a String can't fail.
    for paragraph in summary.lines() {
        let _ = writeln!(body, "<p>{}</p>", escape(paragraph));
    }
    body.push_str(&plot(bank, line));
    document("vod drift", &body)
}

/// Share of the scores in each bin.
fn shares(scores: &[f64]) -> [f64; BINS] {
    let mut bins = [0.0; BINS];
    for score in scores {
        let bin = ((score * BINS as f64) as usize).min(BINS - 1);
        bins[bin] += 1.0 / scores.len().max(1) as f64;
    }
    bins
}

/// Histograms as inline SVG: the calibration upwards, the line downwards, the threshold between.
fn plot(bank: &[f64], line: &[f64]) -> String {
    let sides = [shares(bank), shares(line)];
    let highest = sides
        .iter()
        .flatten()
        .fold(0.0f64, |m, v| m.max(*v))
        .max(1e-9);
    let middle = HEIGHT / 2.0;
    let unit = (middle - 30.0) / highest;
    let bin_width = WIDTH / BINS as f64;
    let mut svg = format!(
        "<figure class=\"wide\"><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" \
         aria-label=\"Histograms of image scores: calibration above, line below\">\n"
    );
    for (side, colour, direction) in [(0, "#2a78b8", -1.0), (1, "#d9822b", 1.0)] {
        for (bin, share) in sides[side].iter().enumerate() {
            if *share == 0.0 {
                continue;
            }
            let height = share * unit;
            let top = if direction < 0.0 {
                middle - height
            } else {
                middle
            };
            let _ = writeln!(
                svg,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{height:.1}\" fill=\"{colour}\"/>",
                bin as f64 * bin_width + 0.5,
                bin_width - 1.0
            );
        }
    }
    let half = WIDTH / 2.0;
    let _ = writeln!(
        svg,
        "<path class=\"axis\" d=\"M0 {middle}H{WIDTH}\"/>\
         <path class=\"axis\" stroke-dasharray=\"5 4\" d=\"M{half} 0V{HEIGHT}\"/>\
         <text x=\"4\" y=\"16\">calibration ({})</text><text x=\"4\" y=\"{:.0}\">line ({})</text>\
         <text x=\"{:.0}\" y=\"16\">threshold 0.5</text></svg></figure>",
        bank.len(),
        HEIGHT - 6.0,
        line.len(),
        half + 6.0
    );
    svg
}

#[cfg(test)]
mod tests {
    #[test]
    fn every_score_is_in_the_plot() {
        let page = super::page("drift: no <b>\n", &[0.2, 0.25, 0.21], &[0.0, 1.0]);
        assert!(page.contains("calibration (3)") && page.contains("line (2)"));
        assert!(page.contains("&lt;b&gt;") && !page.contains("<b>"));
        assert_eq!(page.matches("<rect").count(), 4);
    }
}
