//! The generalist: a scorer that is trained once, on labelled sets of other objects, and reused for
//! every target unchanged (method, step 7).
//!
//! It is a linear discriminant on the sorted values of residuals, so that a bank holds it as it holds
//! its own discriminant: on a device nothing differs. Targets give normal references only.

mod gaps;
mod normal;
mod train;
mod weights;

pub use gaps::{Comparison, Gap, SetClouds, clouds, gaps};
pub use normal::{NormalStatistics, Scale};
pub use train::{Anomalies, SourceStudy, TrainOptions, pool, study};
pub use weights::{Source, Weights};
