//! Results for people: overlays and self-contained HTML pages.

pub mod drift;
pub mod evaluation;
pub mod gaps;
pub mod heatmap;
pub mod html;
