//! Evaluation on data sets: metrics, baselines, the few-shot protocol.

pub mod metrics;
