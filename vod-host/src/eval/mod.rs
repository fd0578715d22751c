//! Evaluation on data sets: metrics, baselines, the few-shot protocol.

pub mod metrics;
mod patchcore;
mod protocol;

pub use patchcore::PatchCore;
pub use protocol::{
    DatasetResult, EvalOptions, Evaluation, Example, Mean, Method, Role, Run, evaluate, summarise,
};
