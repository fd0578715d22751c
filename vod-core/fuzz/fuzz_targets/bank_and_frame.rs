#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vod_core_fuzz::bank_and_frame(data));
