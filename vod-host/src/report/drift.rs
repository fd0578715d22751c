//! Page of a drift test: the answer, and the two distributions of scores, one above the other.

use std::fmt::Write;

use super::chart::histogram;
use super::html::{document, escape};

/// The page; `summary` is plain text, the answer in its first line and one paragraph a line after it;
/// scores are on the scale 0 to 1.
pub fn page(summary: &str, bank: &[f64], line: &[f64]) -> String {
    let mut body = String::new();
    for (number, paragraph) in summary.lines().enumerate() {
        let class = if number == 0 { " class=\"answer\"" } else { "" };
        // Writing to a String can't fail.
        let _ = writeln!(body, "<p{class}>{}</p>", escape(paragraph));
    }
    body.push_str(&histogram(&[
        ("calibration".into(), bank.to_vec()),
        ("line".into(), line.to_vec()),
    ]));
    document("vod drift", &body)
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
