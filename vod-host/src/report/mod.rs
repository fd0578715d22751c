//! Results for people: overlays and self-contained HTML pages.

pub mod evaluation;
pub mod heatmap;
pub mod html;
