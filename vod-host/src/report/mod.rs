//! Results for people: overlays and a self-contained HTML page.

pub mod heatmap;
pub mod html;
