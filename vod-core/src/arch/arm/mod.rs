//! Cortex-M kernels. `build.rs` says which of them the target has.
#![allow(unsafe_code)]

#[cfg(vod_dsp)]
pub(crate) mod dsp;
#[cfg(vod_helium)]
pub(crate) mod helium;
