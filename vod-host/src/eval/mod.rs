//! Evaluation on data sets: metrics, baselines, the few-shot protocol.

pub mod metrics;
mod patchcore;
mod protocol;
mod raw_residual;

pub use patchcore::PatchCore;
pub use protocol::{
    DatasetResult, EvalOptions, Evaluation, ImageResult, Mean, Method, Run, evaluate, summarise,
};
pub use raw_residual::RawResidual;
