//! Writes the inputs that fuzzing starts from into `corpus/`: small banks of every kind.
//! `cargo run --example seeds`

use std::path::Path;

use vod_core::bank::MAX_TAPS;
use vod_core::{Background, BankParts, ImageScore, Levels, ScoreStage, ValueKind};

fn main() -> std::io::Result<()> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let (bodies, frames) = (corpus.join("bank_bytes"), corpus.join("bank_and_frame"));
    std::fs::create_dir_all(&bodies)?;
    std::fs::create_dir_all(&frames)?;
    let write = |name: String, body: Vec<u8>, sides: [u8; 2], choice| {
        std::fs::write(bodies.join(&name), &body)?;
        let mut frame = sides.to_vec();
        frame.extend(body);
        frame.extend(noise(choice, 40));
        std::fs::write(frames.join(&name), frame)
    };
    for dimension in [1u16, 2, 5, 16, 33, 70] {
        for row_count in [1u32, 3, 20] {
            let choice = u32::from(dimension) + row_count;
            let aligned = choice % 3 == 0;
            let image_score = ImageScore::whole(if aligned {
                ScoreStage::Smoothed
            } else {
                ScoreStage::Raw
            });
            let signed = choice.is_multiple_of(2);
            let body = body(dimension, row_count, signed, aligned, image_score);
            write(
                format!("seed_{row_count}x{dimension}"),
                body,
                [2, 3],
                choice,
            )?;
        }
    }
    for (dimension, levels) in [5u16, 16]
        .into_iter()
        .flat_map(|dimension| [Levels::Two, Levels::Three].map(|levels| (dimension, levels)))
    {
        let image_score = ImageScore {
            stage: ScoreStage::Both,
            margin: 8000,
            levels,
            background: Background {
                share: 64,
                usual: 900,
            },
        };
        let name = format!("seed_20x{dimension}_{}levels", levels.count());
        let body = body(dimension, 20, true, false, image_score);
        write(name, body, [10, 6], u32::from(dimension))?;
    }
    Ok(())
}

/// An encoded body; an aligned one is for a grid of 1 x 2.
fn body(
    dimension: u16,
    row_count: u32,
    signed: bool,
    aligned: bool,
    image_score: ImageScore,
) -> Vec<u8> {
    let rows = noise(1, usize::from(dimension) * row_count as usize);
    let norms: Vec<u8> = rows
        .chunks_exact(usize::from(dimension))
        .map(|row| {
            row.iter()
                .map(|&v| i32::from(v as i8).pow(2) as u32)
                .sum::<u32>()
        })
        .flat_map(u32::to_le_bytes)
        .collect();
    let cells = [0, row_count / 2, row_count].map(u32::to_le_bytes).concat();
    let weights = noise(2, usize::from(dimension) * 2);
    let mut taps = [0; MAX_TAPS];
    taps[..3].copy_from_slice(if signed { &[104, 62, 14] } else { &[256, 0, 0] });
    let parts = BankParts {
        dimension,
        row_count,
        grid: if aligned { (1, 2) } else { (0, 0) },
        values: if signed {
            ValueKind::Signed
        } else {
            ValueKind::Magnitude
        },
        distance_weight: 900,
        shift: 5,
        taps,
        top_share: 6554,
        image_score,
        threshold: 1000,
        normal_score: 10,
        map_threshold: 1200,
        radius: 1,
        weights: &weights,
        norms: &norms,
        cells: if aligned { &cells } else { &[] },
        rows: &rows,
        host: &[],
    };
    let mut room = vec![0; 1 << 16];
    postcard::to_slice(&parts, &mut room)
        .expect("it fits")
        .to_vec()
}

fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut state = seed;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}
