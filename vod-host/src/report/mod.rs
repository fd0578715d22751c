//! What people look at: overlays and self-contained pages.
//!
//! A page is one file without a reference to anything outside it: tables and charts, then a
//! [`gallery`] of images with their maps, sorted by score, that a script filters, orders and
//! enlarges. The page's writer holds figures only; pictures go to disk as they come.

pub mod chart;
pub mod drift;
pub mod evaluation;
pub mod gallery;
pub mod gaps;
pub mod heatmap;
pub mod html;
pub mod verdicts;
