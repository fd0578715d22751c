//! Criterion benches of the scoring path; `cargo bench -p vod-benches`.
