//! Writes `tests/fixtures/golden`: a bank fitted on the sample, and for three images everything
//! from the features to the verdict. Run it only when a change of the numbers is meant.

use std::path::Path;

use vod_host::dataset::choose_references;
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::{FitOptions, fit};
use vod_host::score::ImageScorer;
use vod_host::{Result, backbone, image};
use vod_tests::{GOLDEN_IMAGES, GOLDEN_SIZE, Golden, fixture, sample};

fn main() -> Result<()> {
    let backbone = backbone::open("edge")?;
    let preprocess = preprocess_for(&*backbone, Some(GOLDEN_SIZE), None);
    let extractor = Extractor::new(&*backbone, preprocess)?;
    let references = choose_references(&image::list(&sample().join("train/good"))?, Some(3), 0);
    let mut options = FitOptions::standard();
    options.row_bytes = Some(48 * 1024);
    let hidden = indicatif::ProgressBar::hidden();
    let fitted = fit(&extractor, &references, &options, &hidden)?;
    let folder = fixture("golden");
    std::fs::create_dir_all(&folder).expect("fixtures can be written");
    fitted.bank.write(&folder.join("bank-v1.vod"), true)?;
    let scorer = ImageScorer::new(&fitted.bank, &*backbone)?;
    for name in GOLDEN_IMAGES {
        let path = sample().join("test").join(name);
        let (features, _) = extractor.load(&path)?;
        let golden = Golden::new(&fitted.bank, &features, &scorer.score(&path)?);
        golden.write(&folder.join(Path::new(&name.replace('/', "-"))));
    }
    Ok(())
}
