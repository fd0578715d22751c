//! Pages in a real browser. Left out, and said so, where no Chromium is installed.

mod browser;

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use browser::Browser;
use image::{Rgb, RgbImage};
use indicatif::ProgressBar;
use ndarray::Array2;
use serde_json::json;
use vod_host::dataset::{Dataset, SplitMix64};
use vod_host::eval::{EvalOptions, Method, evaluate, summarise};
use vod_host::features::{Extractor, preprocess_for};
use vod_host::fit::FitOptions;
use vod_host::report::gallery::Truth;
use vod_host::report::verdicts::VerdictPage;
use vod_host::score::{ScoreScale, Verdict, pixel_regions};
use vod_host::{backbone, report};

const MAP_SCALE: ScoreScale = ScoreScale {
    normal: 0.0,
    threshold: 1000.0,
};

/// A browser, or a line that says that the test is left out.
fn browser() -> Option<Browser> {
    let browser = Browser::start();
    if browser.is_none() {
        // Unlike `eprintln!` seen where tests pass.
        let _ = writeln!(
            std::io::stderr(),
            "left out: no Chromium to open pages with"
        );
    }
    browser
}

/// A page of made-up verdicts: every fourth image has a defect, which is missed in one of four.
fn write_page(target: &Path, count: usize, size: (u32, u32)) {
    let mut page = VerdictPage::create(target, false, count).unwrap();
    let renderer = page.renderer(MAP_SCALE);
    let mut random = SplitMix64::new(7);
    for number in 0..count {
        let is_defective = number % 4 == 0;
        let is_found = is_defective && number % 16 != 0;
        let shade = 90 + random.below(60) as u8;
        let noise: Vec<u8> = (0..64).map(|_| random.below(40) as u8).collect();
        let image = RgbImage::from_fn(size.0, size.1, |x, y| {
            let spot = is_defective && (x / 4).abs_diff(size.0 / 8) + y.abs_diff(size.1 / 2) < 20;
            let grain = noise[((x * 7 + y * 13) % 64) as usize];
            Rgb([if spot { 20 } else { shade + grain }; 3])
        });
        let peak = if is_found { 2500 } else { 600 };
        let map = Array2::from_shape_fn((16, 16), |(y, x)| {
            let distance = (y.abs_diff(8) + x.abs_diff(8)) as i32;
            peak - distance * 250
        });
        let kind = match (is_defective, number % 8) {
            (false, _) => "good",
            (true, 0) => "crack",
            (true, _) => "stain",
        };
        let score = if is_found { 0.6 } else { 0.2 } + 0.1 * random.unit();
        let verdict = Verdict {
            path: PathBuf::from(match number {
                // What a folder may really hold.
                1 => "line/<img src=x onerror=\"document.title='broken'\">.png".to_string(),
                _ => format!("line/{kind}-{number:05}.png"),
            }),
            image_score: score,
            threshold: 0.5,
            anomalous: score >= 0.5,
            map_max: MAP_SCALE.unit(peak),
            seconds: 0.0,
            raw_score: 0,
            raw_threshold: 0,
            regions: pixel_regions(&map, 1000, size, |peak| MAP_SCALE.unit(peak), |_| None)
                .unwrap(),
            explanation: None,
            size,
            map,
        };
        let truth = Truth {
            set: "made up",
            kind,
            mask: None,
        };
        let rendered = renderer.render(&verdict, &image, Some(truth), Vec::new());
        page.push(rendered.unwrap()).unwrap();
    }
    page.finish("Verdicts <of> part.vod", "made-up images")
        .unwrap();
}

fn set_value(browser: &mut Browser, id: &str, value: &str) {
    browser.evaluate(&format!(
        "{{ const field = document.getElementById('{id}'); field.value = '{value}'; \
         field.dispatchEvent(new Event('input', {{bubbles: true}})) }}"
    ));
}

const SHOWN: &str = "document.querySelectorAll('#images>li').length";

#[test]
fn a_report_filters_orders_and_enlarges() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("report.html");
    write_page(&target, 48, (320, 240));
    browser.window(1280, 800, false);
    browser.open(&target);
    assert_eq!(browser.evaluate("document.title"), "Verdicts <of> part.vod");
    assert_eq!(browser.evaluate(SHOWN), 48);
    let count = "document.getElementById('count').textContent";
    assert_eq!(browser.evaluate(count), "48 of 48 images, 9 anomalous");
    browser.wait_for(
        "Array.from(document.querySelectorAll('#images>li:first-child img'))\
         .every(image => image.naturalWidth > 0)",
    );
    let scores =
        "Array.from(document.querySelectorAll('#images .score'), node => +node.textContent)";
    let is_falling = format!("{scores}.every((s, i, all) => i === 0 || all[i - 1] >= s)");
    assert_eq!(browser.evaluate(&is_falling), true);

    // The filter.
    for (id, value, expected) in [
        ("name", "CRACK line", 6),
        ("verdict", "anomalous", 9),
        ("verdict", "=missed", 3),
        ("kind", "stain", 6),
        ("from", "0.5", 9),
        ("to", "0.5", 39),
    ] {
        set_value(&mut browser, id, value);
        assert_eq!(browser.evaluate(SHOWN), expected, "{id} = {value}");
        browser.evaluate("document.querySelector('[type=reset]').click()");
        browser.wait_for(&format!("{SHOWN} === 48"));
    }
    set_value(&mut browser, "order", "low");
    assert_eq!(browser.evaluate(&is_falling), false);
    let is_rising = format!("{scores}.every((s, i, all) => i === 0 || all[i - 1] <= s)");
    assert_eq!(browser.evaluate(&is_rising), true);
    set_value(&mut browser, "order", "high");

    // The enlarged view, by keyboard alone.
    let title = "document.getElementById('title').textContent";
    let is_open = "document.getElementById('viewer').open";
    let zoom = "document.getElementById('zoom').textContent";
    let width = "document.getElementById('picture').getBoundingClientRect().width";
    set_value(&mut browser, "verdict", "anomalous");
    browser.evaluate("document.getElementById('order').focus()");
    while browser.evaluate("document.activeElement.className") != json!("pair") {
        browser.press("Tab");
    }
    browser.press("Enter");
    browser.wait_for(is_open);
    let first = browser.evaluate(title);
    let fitted = browser.evaluate(width).as_f64().unwrap();
    assert!(fitted > 600.0, "the picture fills the window: {fitted}");
    browser.press("+");
    browser.press("+");
    assert_eq!(browser.evaluate(zoom), "225 %");
    let enlarged = browser.evaluate(width).as_f64().unwrap();
    assert!((enlarged / fitted - 2.25).abs() < 0.01, "{enlarged}");
    browser.press("h");
    assert_eq!(
        browser.evaluate("getComputedStyle(document.querySelector('#picture .map')).visibility"),
        "hidden"
    );
    browser.press("0");
    assert_eq!(browser.evaluate(zoom), "100 %");
    browser.press("ArrowRight");
    assert_ne!(browser.evaluate(title), first, "the next of those shown");
    browser.press("ArrowLeft");
    assert_eq!(browser.evaluate(title), first);
    browser.press("Escape");
    browser.wait_for(&format!("!{is_open}"));
    assert_eq!(
        browser.evaluate("document.activeElement.className"),
        "pair",
        "back where it was opened"
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Milliseconds that a statement takes with the layout that follows from it.
fn time(browser: &mut Browser, statement: &str) -> f64 {
    let timed = format!(
        "(() => {{ const start = performance.now(); {statement}; \
         document.body.getBoundingClientRect(); return performance.now() - start }})()"
    );
    browser.evaluate(&timed).as_f64().unwrap()
}

#[test]
fn a_report_of_5000_images_holds_few_pictures_at_a_time() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let target = folder.path().join("report.html");
    write_page(&target, 5_000, (240, 240));
    let size = std::fs::metadata(&target).unwrap().len();
    assert!(size < 80_000_000, "{size} bytes are too many for a phone");
    browser.window(390, 844, false);
    let ready = browser.open(&target);
    let count = "document.getElementById('count').textContent";
    assert_eq!(
        browser.evaluate(count),
        "5000 of 5000 images, 937 anomalous; page 1 of 105"
    );
    assert_eq!(browser.evaluate(SHOWN), 48);
    let pictures = "document.querySelectorAll('img').length";
    assert!(browser.evaluate(pictures).as_u64().unwrap() <= 3 * 48);
    let is_shown =
        "Array.from(document.querySelectorAll('#images .photo')).every(i => i.naturalWidth > 0)";
    browser.wait_for(is_shown);
    let nodes = browser.evaluate("document.querySelectorAll('*').length");
    assert!(nodes.as_u64().unwrap() < 8_000, "{nodes} elements");

    // To the last page and back.
    let field = "const f = document.getElementById('page'); f.value = 104; \
                 f.dispatchEvent(new Event('input', {bubbles: true}))";
    let turn = time(&mut browser, field);
    assert_eq!(browser.evaluate(SHOWN), 5_000 - 104 * 48);
    assert_eq!(browser.evaluate("document.activeElement.id"), "count");
    let numbers = "document.getElementById('images').start";
    assert_eq!(browser.evaluate(numbers), 104 * 48 + 1);
    let is_disabled = "document.querySelector('[data-by=\"1\"]').disabled";
    assert_eq!(browser.evaluate(is_disabled), true);
    browser.evaluate("document.querySelector('[data-by=\"-1\"]').click()");
    assert_eq!(browser.evaluate(numbers), 103 * 48 + 1);

    // The enlarged view goes on over the end of a page, and closes on the page of its image.
    browser.evaluate("document.querySelector('#images>li:last-child .pair').click()");
    let title = "document.getElementById('title').textContent";
    let last = browser.evaluate(title);
    browser.press("ArrowRight");
    assert_ne!(browser.evaluate(title), last);
    browser.press("Escape");
    browser.wait_for(&format!("{numbers} === {}", 104 * 48 + 1));
    assert_eq!(browser.evaluate("document.activeElement.className"), "pair");

    set_value(&mut browser, "name", "stain-04900");
    assert_eq!(browser.evaluate(SHOWN), 1);
    let typed = "const f = document.getElementById('name'); f.value = 'crack'; \
                 f.dispatchEvent(new Event('input', {bubbles: true}))";
    let filter = time(&mut browser, typed);
    assert_eq!(browser.evaluate(SHOWN), 48);
    let chosen = "const f = document.getElementById('order'); f.value = 'name'; \
                  f.dispatchEvent(new Event('input', {bubbles: true}))";
    let order = time(&mut browser, chosen);
    let enlarge = time(&mut browser, "document.querySelector('.pair').click()");
    let zoom = time(
        &mut browser,
        "document.querySelector('[data-act=in]').click()",
    );
    let _ = writeln!(
        std::io::stderr(),
        "5,000 images: {} MB; milliseconds: DOM ready {ready:.0}, filter {filter:.0}, order {order:.0}, \
         page {turn:.0}, enlarge {enlarge:.0}, zoom {zoom:.0}",
        size / 1_000_000
    );
    assert_eq!(browser.complaints(), [""; 0]);
}

/// Contrast of WCAG 2 between an element's text and the first opaque ground beneath it.
const CONTRAST: &str = "(selector => {
    const rgb = text => text.match(/[\\d.]+/g).map(Number);
    const light = text => rgb(text).slice(0, 3).map(v => v / 255)
        .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const node = document.querySelector(selector);
    let under = node;
    while (under && (rgb(getComputedStyle(under).backgroundColor)[3] ?? 1) === 0) under = under.parentElement;
    const style = getComputedStyle(node);
    const ink = light(node.namespaceURI.endsWith('svg') ? style.fill : style.color);
    const ground = light(getComputedStyle(under).backgroundColor);
    return (Math.max(ink, ground) + 0.05) / (Math.min(ink, ground) + 0.05);
})";

#[test]
fn pages_are_readable_in_light_and_dark_on_wide_and_narrow_screens() {
    let Some(mut browser) = browser() else { return };
    let folder = tempfile::tempdir().unwrap();
    let verdicts = folder.path().join("report.html");
    write_page(&verdicts, 48, (320, 240));

    let set = Dataset::open(&vod_tests::sample()).unwrap();
    let backbone = backbone::open("edge").unwrap();
    let preprocess = preprocess_for(&*backbone, Some(96), None);
    let extractor = Extractor::new(&*backbone, preprocess).unwrap();
    let options = EvalOptions {
        method: Method::Bank,
        shots: vec![1, 2],
        seeds: 1,
        fit: FitOptions::standard(),
    };
    let result = evaluate(&set, &extractor, &options, &ProgressBar::hidden()).unwrap();
    let evaluation = summarise("edge", "vod", vec![result], &options.shots);
    let evaluated = folder.path().join("evaluation.html");
    report::evaluation::write(&evaluation, &evaluated, false).unwrap();

    let mut grounds = BTreeMap::new();
    for page in [&verdicts, &evaluated] {
        for is_dark in [false, true] {
            for width in [390, 1280] {
                browser.window(width, 844, is_dark);
                browser.open(page);
                let overhang =
                    "document.documentElement.scrollWidth - document.documentElement.clientWidth";
                assert_eq!(browser.evaluate(overhang), 0, "wider than {width}");
                for selector in [
                    "h1",
                    "p.note",
                    "#images bdi",
                    ".anomalous",
                    ".normal",
                    "label",
                    "input",
                    ".chart text",
                ] {
                    let contrast = browser.evaluate(&format!("{CONTRAST}('{selector}')"));
                    let contrast = contrast.as_f64().unwrap();
                    assert!(contrast >= 4.5, "{selector}, dark {is_dark}: {contrast}");
                }
            }
            let ground = browser.evaluate("getComputedStyle(document.body).backgroundColor");
            grounds.insert(is_dark, ground);
        }
        // What a screen reader tells of: everything that can be operated or looked at has a name.
        browser.evaluate("document.querySelector('.pair').click()");
        browser.wait_for("document.getElementById('viewer').open");
        let tree = browser.call("Accessibility.getFullAXTree", json!({}));
        let mut seen = BTreeMap::new();
        for node in tree["nodes"].as_array().unwrap() {
            let role = node["role"]["value"]
                .as_str()
                .unwrap_or_default()
                .to_string();
            let is_told = node["ignored"] == json!(false);
            let needs_name = [
                "button",
                "dialog",
                "image",
                "checkbox",
                "combobox",
                "searchbox",
            ];
            if is_told && needs_name.contains(&role.as_str()) {
                let name = node["name"]["value"].as_str().unwrap_or_default();
                assert!(!name.trim().is_empty(), "{node}");
                *seen.entry(role).or_insert(0) += 1;
            }
        }
        for role in ["button", "dialog", "checkbox"] {
            assert!(seen.contains_key(role), "{role} of {seen:?}");
        }
    }
    assert_ne!(grounds[&false], grounds[&true]);
    assert_eq!(browser.complaints(), [""; 0]);
}
