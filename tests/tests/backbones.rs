//! The committed models give what onnxruntime gives for them (recorded by
//! `tests/oracle/backbone_outputs.py`), and wrong models are refused with what was expected.

use std::path::Path;

use ndarray::s;
use serde::Deserialize;
use vod_core::Levels;
use vod_host::backbone::{Backbone, Manifest, TractBackbone};
use vod_host::features::{Extractor, preprocess_for, preprocess_for_template};
use vod_host::preprocess::{Mirror, Preprocess};
use vod_host::{Error, backbone, image};
use vod_tests::{fixture, read_f32};

#[derive(Deserialize)]
struct Index {
    outputs: Vec<Recorded>,
}

#[derive(Deserialize)]
struct Recorded {
    file: String,
    model: String,
    model_sha256: String,
    picture: String,
    output: String,
    /// `[channels / channel_step, height, width]`
    shape: [usize; 3],
    channel_step: usize,
}

#[test]
fn features_equal_onnxruntime() {
    let text = std::fs::read_to_string(fixture("backbone/index.json")).unwrap();
    let index: Index = serde_json::from_str(&text).unwrap();
    let mut compared = 0;
    for id in ["edge", "vit"] {
        let backbone = backbone::open(id).unwrap();
        let manifest = backbone.manifest();
        let mut preprocess = preprocess_for(&*backbone, None, None);
        preprocess.mirror = Mirror::NONE;
        for picture in ["a.png", "b.png", "c.png"] {
            let image = image::load(&fixture("backbone").join(picture)).unwrap();
            let maps = backbone.run(preprocess.planes(&image, 0).view()).unwrap();
            for recorded in &index.outputs {
                let of_model = Path::new(&recorded.model).file_stem().unwrap() == id;
                if !of_model || recorded.picture != picture {
                    continue;
                }
                assert_eq!(recorded.model_sha256, manifest.sha256);
                let place = manifest
                    .features
                    .outputs
                    .iter()
                    .position(|n| *n == recorded.output);
                let map = &maps[place.unwrap()];
                let expected = read_f32(&fixture("backbone").join(&recorded.file));
                let [channels, height, width] = recorded.shape;
                assert_eq!(expected.len(), channels * height * width);
                let mut worst = 0.0f32;
                for (i, value) in expected.iter().enumerate() {
                    let (channel, y, x) = (i / (height * width), i / width % height, i % width);
                    let found = map[[y, x, channel * recorded.channel_step]];
                    worst = worst.max((found - value).abs());
                }
                assert!(
                    worst < 1e-3,
                    "{}: max abs difference {worst}",
                    recorded.file
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, index.outputs.len());
}

#[test]
fn templates_are_compared_at_their_own_size_up_to_twice_the_default() {
    let backbone = backbone::open("edge").unwrap();
    let input = |width, height| {
        let template = ::image::RgbImage::new(width, height);
        preprocess_for_template(&*backbone, &template, None).input_size(width, height)
    };
    assert_eq!(input(480, 480), (480, 480));
    assert_eq!(input(160, 160), (160, 160));
    assert_eq!(input(2000, 2000), (640, 640));
}

#[test]
fn a_mirrored_border_is_seen_and_cut_off_again() {
    let backbone = backbone::open("edge").unwrap();
    let mirroring = preprocess_for(&*backbone, Some(64), None);
    let pixels = mirroring.mirror.at(0);
    assert!(pixels > 0);
    let image = image::load(&fixture("backbone").join("a.png")).unwrap();
    let input = mirroring.resize(&image).unwrap();
    let (width, height) = input.dimensions();
    let seen = |i: u32, len: u32| match i.checked_sub(pixels) {
        None => pixels - 1 - i,
        Some(i) if i < len => i,
        Some(i) => 2 * len - 1 - i,
    };
    let (wide, high) = (width + 2 * pixels, height + 2 * pixels);
    let by_hand = ::image::RgbImage::from_fn(wide, high, |x, y| {
        *input.get_pixel(seen(x, width), seen(y, height))
    });

    let features = |mirror: u32, input| {
        let preprocess = Preprocess {
            mirror: Mirror::alike(mirror),
            ..mirroring.clone()
        };
        let extractor = Extractor::new(&*backbone, preprocess).unwrap();
        extractor.features_of_input(input).unwrap()
    };
    let found = features(pixels, &input);
    let whole = features(0, &by_hand);
    let border = pixels as usize / backbone.manifest().features.stride as usize;
    let (rows, columns, _) = whole.dim();
    let inner = s![border..rows - border, border..columns - border, ..];
    assert_eq!(found, whole.slice(inner));
    let bare = features(0, &input);
    assert_eq!(found.dim(), bare.dim());
    assert_ne!(found.slice(s![0, 0, ..]), bare.slice(s![0, 0, ..]));
}

#[test]
fn a_border_may_be_at_one_level_alone() {
    let backbone = backbone::open("edge").unwrap();
    let image = image::load(&fixture("backbone").join("a.png")).unwrap();
    let pyramid = |mirror| {
        let preprocess = Preprocess {
            mirror,
            ..preprocess_for(&*backbone, Some(128), None)
        };
        let input = preprocess.resize(&image).unwrap();
        let extractor = Extractor::new(&*backbone, preprocess).unwrap();
        let extractor = extractor.with_levels(Levels::Three);
        extractor.pyramid_of_input(&input).unwrap()
    };
    let bare = pyramid(Mirror::NONE);
    let everywhere = pyramid(Mirror::alike(16));
    let coarsest = pyramid(Mirror::each([0, 0, 16]));
    assert_eq!(coarsest.fine, bare.fine);
    assert_eq!(coarsest.coarser[0], bare.coarser[0]);
    assert_eq!(coarsest.coarser[1], everywhere.coarser[1]);
    assert_ne!(coarsest.coarser[1], bare.coarser[1]);
}

#[test]
fn a_border_that_the_network_does_not_take_is_refused() {
    let backbone = backbone::open("edge").unwrap();
    for mirror in [8, 17, 1040, u32::MAX] {
        let preprocess = Preprocess {
            mirror: Mirror::each([0, 0, mirror]),
            ..preprocess_for(&*backbone, None, None)
        };
        let error = Extractor::new(&*backbone, preprocess).err().unwrap();
        assert!(error.to_string().contains("input.mirror"), "{error}");
    }
    let int8 = backbone::open("edge-int8").unwrap();
    let preprocess = Preprocess {
        mirror: Mirror::alike(32),
        ..preprocess_for(&*int8, None, None)
    };
    let error = Extractor::new(&*int8, preprocess).err().unwrap();
    assert!(error.to_string().contains("arithmetic `int8`"), "{error}");
}

fn changed(change: impl Fn(&mut Manifest)) -> Result<TractBackbone, Error> {
    let mut manifest = Manifest::find("edge").unwrap();
    change(&mut manifest);
    TractBackbone::open(&manifest)
}

#[test]
fn a_model_of_another_hash_is_refused() {
    let error = changed(|m| m.sha256 = "00".repeat(32)).err().unwrap();
    assert!(matches!(error, Error::ModelHash { .. }), "{error}");
    assert!(
        error.to_string().contains("manifest expects 0000"),
        "{error}"
    );
}

#[test]
fn a_missing_output_is_named_with_those_there_are() {
    let error = changed(|m| m.features.outputs[0] = "s4".into())
        .err()
        .unwrap();
    let text = error.to_string();
    assert!(text.contains("`s4`") && text.contains("s16_mid"), "{text}");
}

#[test]
fn an_output_of_another_shape_is_refused() {
    let backbone = changed(|m| m.outputs[0].channels = 41).unwrap();
    let input = ndarray::Array3::zeros((3, 64, 64));
    let text = backbone.run(input.view()).unwrap_err().to_string();
    assert!(text.contains("expects [1, 41, 8, 8]"), "{text}");
}

#[test]
fn a_file_that_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let manifest =
        std::fs::read_to_string(Manifest::find("edge").unwrap().file.with_extension("toml"))
            .unwrap();
    let path = folder.path().join("edge.toml");
    std::fs::write(&path, &manifest).unwrap();
    assert!(matches!(open_error(&path), Error::Io { .. }));
    std::fs::write(folder.path().join("edge.onnx"), b"not a model").unwrap();
    assert!(matches!(open_error(&path), Error::ModelHash { .. }));
    std::fs::write(&path, manifest.replace("[features]", "[feature]")).unwrap();
    assert!(matches!(open_error(&path), Error::Manifest { .. }));
    let text = backbone::open("no-such-backbone")
        .err()
        .unwrap()
        .to_string();
    assert!(
        text.contains("expected `edge`, `vit`, `edge-int8` or the path"),
        "{text}"
    );
}

fn open_error(path: &Path) -> Error {
    backbone::open(path.to_str().unwrap()).err().unwrap()
}

/// A tiny model with `[1, tokens, C]` output: patches of 8 x 8 averaged, one class token before.
#[test]
fn token_outputs_become_grids() {
    let manifest = fixture("tokens/tokens.toml");
    let backbone = backbone::open(manifest.to_str().unwrap()).unwrap();
    let input = ndarray::Array3::from_shape_fn((3, 16, 24), |(c, y, x)| {
        (c * 100 + (y / 8) * 10 + x / 8) as f32
    });
    let maps = backbone.run(input.view()).unwrap();
    assert_eq!(maps[0].dim(), (2, 3, 3));
    for ((y, x, c), value) in maps[0].indexed_iter() {
        let expected = (c * 100 + y * 10 + x) as f32;
        assert!((value - expected).abs() < 1e-3, "{y} {x} {c}: {value}");
    }
}
