//! Times a backbone on made-up pixels of one size: `time_backbone BACKBONE SIDE RUNS` prints the
//! wall time of each run in milliseconds, one a line. `benches/runtime/runtime.py` holds them
//! against onnxruntime's.

use std::time::Instant;

use ndarray::Array3;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, side, runs] = &arguments[..] else {
        eprintln!("usage: time_backbone BACKBONE SIDE RUNS");
        std::process::exit(2);
    };
    let number = |text: &str| text.parse::<usize>().expect("SIDE and RUNS are numbers");
    let (side, runs) = (number(side), number(runs));
    let backbone = vod_host::backbone::open(name).expect("a backbone");
    let input = Array3::from_shape_fn((3, side, side), |(c, y, x)| {
        ((c * 31 + y * 7 + x * 13) % 255) as f32 / 127.5 - 1.0
    });
    // The network is optimised for its size at its first run.
    backbone.run(input.view()).expect("features");
    for _ in 0..runs {
        let start = Instant::now();
        backbone.run(input.view()).expect("features");
        println!("{:.3}", start.elapsed().as_secs_f64() * 1e3);
    }
}
