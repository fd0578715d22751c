//! Reference images: thinning of their patches, and synthetic anomalies made from them.

mod coreset;
mod synthetic;

pub use coreset::k_centre;
pub use synthetic::{SyntheticAnomaly, paste_anomaly, shifted_copy};
