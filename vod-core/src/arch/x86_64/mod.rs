//! x86-64 kernels, chosen at run time.
#![allow(unsafe_code)]

pub(crate) mod avx2;
pub(crate) mod avx512vnni;
