//! Fits a bank on a folder of good images, writes it, and scores other images with a page of the
//! verdicts.
//!
//! ```sh
//! cargo run --release -p vod-host --example fit_and_score -- \
//!     examples/solar-cells/train/good examples/solar-cells/test part.vod report.html
//! ```

use std::error::Error;
use std::path::Path;

use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{FitOptions, fit};
use vod_host::report::verdicts::VerdictPage;
use vod_host::score::ImageScorer;
use vod_host::{ProgressBar, backbone, image};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [good, line, bank, report] = arguments.as_slice() else {
        return Err("usage: fit_and_score GOOD_FOLDER IMAGE_FOLDER BANK REPORT".into());
    };

    let backbone = backbone::open("edge")?;
    let extractor = Extractor::new(&*backbone, preprocess_for(&*backbone, None, None))?;
    let references = image::list(Path::new(good))?;
    let fitted = fit(
        &extractor,
        &references,
        &FitOptions::standard(),
        &ProgressBar::hidden(),
    )?;
    for failure in &fitted.failures {
        eprintln!("left out: {failure}");
    }
    fitted.bank.write(Path::new(bank), false)?;

    let scorer = ImageScorer::new(&fitted.bank, &*backbone)?;
    let images = image::list_recursive(Path::new(line))?;
    let mut page = VerdictPage::create(Path::new(report), false, images.len())?;
    let renderer = page.renderer(scorer.map_scale()?);
    let mut anomalies = 0;
    scorer.score_all(images.iter().cloned(), |path, result| {
        let verdict = result?;
        println!("{:.3} {}", verdict.image_score, path.display());
        anomalies += usize::from(verdict.anomalous);
        let picture = image::load(&path)?;
        page.push(renderer.render(&verdict, &picture, None, Vec::new())?)
    })?;
    let summary = format!("{anomalies} of {} images are anomalous", images.len());
    page.finish("Fit and score", &summary)?;
    Ok(())
}
