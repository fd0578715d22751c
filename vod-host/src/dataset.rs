//! Data sets: MVTec AD's layout, VisA's split files, plain folders of good and bad images.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ndarray::Array2;

use crate::error::{Error, Result};
use crate::image::list;

/// One test image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TestImage {
    /// The file.
    pub path: PathBuf,
    /// Name of the folder that it lies in: `good` or a kind of defect.
    pub kind: String,
    /// Mask of the defect, where there is one; see [`load_mask`].
    pub mask: Option<PathBuf>,
}

impl TestImage {
    /// Whether the image shows a defect.
    pub fn is_defective(&self) -> bool {
        self.kind != GOOD
    }
}

/// Name of the folders of normal images.
pub const GOOD: &str = "good";

/// A data set: normal images to take references from, and test images.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// Name of its folder, or of its object in a split file.
    pub name: String,
    /// Normal images that references are taken from, sorted by name.
    pub references: Vec<PathBuf>,
    /// Test images, by kind, then by name.
    pub tests: Vec<TestImage>,
}

/// Where VisA keeps the split of one-class detection, below its root.
const VISA_SPLIT: &str = "split_csv/1cls.csv";
/// Folders of masks, beside those of the images.
const MASKS: &str = "ground_truth";

impl Dataset {
    /// Lists the data set in a folder, or of a split file with a single object; images are not
    /// opened. See [`Self::open_all`].
    ///
    /// # Errors
    /// As [`Self::open_all`]; [`Error::Data`] where there are several.
    pub fn open(path: &Path) -> Result<Self> {
        let mut all = Self::open_all(path)?;
        match (all.pop(), all.len()) {
            (Some(set), 0) => Ok(set),
            (_, others) => Err(Error::Data(format!(
                "{}: holds {} data sets, one is expected; give the folder of one",
                path.display(),
                others + 1
            ))),
        }
    }

    /// Lists the data sets at `path`; images are not opened. By what is there:
    ///
    /// - MVTec AD: `train/good`, `test/<kind>`, `ground_truth/<kind>/<stem>_mask.png`;
    /// - a split file with the columns `object,split,label,image,mask` in any order, as VisA's
    ///   `split_csv/1cls.csv` has them, paths from the folder above the file's: one set an object;
    /// - the root of VisA, or the folder of one of its objects;
    /// - a folder with `good` and at least one other folder of images, each a kind of defect,
    ///   masks as in MVTec AD. The first half of `good` by name is for references, the second
    ///   half is tested: pictures taken one after another stay together.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::NoImages`] where a folder is missing or empty, [`Error::Data`]
    /// where a split file can't be understood.
    pub fn open_all(path: &Path) -> Result<Vec<Self>> {
        if path.is_file() {
            return from_split(path, None);
        }
        let train = path.join("train").join(GOOD);
        if train.is_dir() {
            let tests = list_kinds(&path.join("test"), path)?;
            return Ok(vec![Self {
                name: folder_name(path),
                references: list(&train)?,
                tests,
            }]);
        }
        if path.join(GOOD).is_dir() {
            return Ok(vec![from_good_and_bad(path)?]);
        }
        if path.join(VISA_SPLIT).is_file() {
            return from_split(&path.join(VISA_SPLIT), None);
        }
        let split = path.join("..").join(VISA_SPLIT);
        if split.is_file() {
            return from_split(&split, Some(&folder_name(path)));
        }
        let known = std::fs::read_dir(path).map_err(Error::io(path)).map(|_| {
            Error::Data(format!(
                "{}: no data set with images: expected train/good and test in it (MVTec AD), good and a \
                 folder a kind of defect, or {VISA_SPLIT} (VisA); none of these is there",
                path.display()
            ))
        });
        Err(known.unwrap_or_else(|error| error))
    }
}

/// The images in each folder below `folder`, with their masks below `root`.
fn list_kinds(folder: &Path, root: &Path) -> Result<Vec<TestImage>> {
    let mut kinds = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(Error::io(folder))? {
        let path = entry.map_err(Error::io(folder))?.path();
        if path.is_dir() && file_name(&path) != MASKS {
            kinds.push(path);
        }
    }
    kinds.sort();
    let mut tests = Vec::new();
    for kind_folder in kinds {
        let kind = file_name(&kind_folder);
        let masks = root.join(MASKS).join(&kind);
        for path in list(&kind_folder)? {
            let mask = path.file_stem().and_then(|stem| {
                let stem = stem.to_string_lossy();
                let names = [format!("{stem}_mask.png"), format!("{stem}.png")];
                names
                    .map(|name| masks.join(name))
                    .into_iter()
                    .find(|mask| mask.is_file())
            });
            tests.push(TestImage {
                path,
                kind: kind.clone(),
                mask,
            });
        }
    }
    if tests.is_empty() {
        return Err(Error::NoImages {
            path: folder.to_path_buf(),
        });
    }
    Ok(tests)
}

fn from_good_and_bad(folder: &Path) -> Result<Dataset> {
    let mut references = list(&folder.join(GOOD))?;
    let tested = references.split_off(references.len().div_ceil(2));
    let mut tests = list_kinds(folder, folder)?;
    tests.retain(|test| test.is_defective() || tested.contains(&test.path));
    if !tests.iter().any(TestImage::is_defective) {
        return Err(Error::Data(format!(
            "{}: no defective images; beside `{GOOD}`, each kind of defect needs a folder of its own",
            folder.display()
        )));
    }
    Ok(Dataset {
        name: folder_name(folder),
        references,
        tests,
    })
}

/// One row of a split file, as VisA's.
#[derive(serde::Deserialize)]
struct SplitRow {
    object: String,
    split: String,
    label: String,
    image: PathBuf,
    mask: Option<PathBuf>,
}

/// The sets of a split file, by name; of one object where it is given.
fn from_split(path: &Path, object: Option<&str>) -> Result<Vec<Dataset>> {
    let wrong = |what: String| Error::Data(format!("{}: {what}", path.display()));
    let unreadable = |e: csv::Error| {
        let reason = e.to_string();
        wrong(format!(
            "not a split file (object,split,label,image,mask): {reason}"
        ))
    };
    let folder = path.parent().unwrap_or(Path::new(""));
    let root = folder.join("..");
    let mut sets: BTreeMap<String, Dataset> = BTreeMap::new();
    let mut reader = csv::ReaderBuilder::new()
        .trim(csv::Trim::All)
        .from_path(path)
        .map_err(unreadable)?;
    for row in reader.deserialize() {
        let row: SplitRow = row.map_err(unreadable)?;
        if object.is_some_and(|name| name != row.object) {
            continue;
        }
        let set = sets.entry(row.object.clone()).or_insert_with(|| Dataset {
            name: row.object.clone(),
            references: Vec::new(),
            tests: Vec::new(),
        });
        let is_normal = match row.label.as_str() {
            "normal" => true,
            "anomaly" => false,
            other => {
                return Err(wrong(format!(
                    "label `{other}`, expected `normal` or `anomaly`"
                )));
            }
        };
        let image = root.join(row.image);
        match (row.split.as_str(), is_normal) {
            ("train", true) => set.references.push(image),
            // Splits for two classes train on defects as well; a bank is of normal images.
            ("train", false) => {}
            ("test", _) => set.tests.push(TestImage {
                path: image,
                kind: if is_normal { GOOD.into() } else { row.label },
                mask: row.mask.map(|mask| root.join(mask)),
            }),
            (other, _) => {
                return Err(wrong(format!(
                    "split `{other}`, expected `train` or `test`"
                )));
            }
        }
    }
    if sets.is_empty() {
        return Err(wrong(match object {
            Some(name) => format!("no images of `{name}`"),
            None => "no images".into(),
        }));
    }
    for set in sets.values_mut() {
        set.references.sort();
        set.tests
            .sort_by(|a, b| (&a.kind, &a.path).cmp(&(&b.kind, &b.path)));
        if set.references.is_empty() || set.tests.is_empty() {
            return Err(wrong(format!(
                "`{}` needs normal images for training and images for testing",
                set.name
            )));
        }
    }
    Ok(sets.into_values().collect())
}

fn folder_name(folder: &Path) -> String {
    folder
        .canonicalize()
        .map_or_else(|_| file_name(folder), |path| file_name(&path))
}

/// Reads a mask, `[height, width]`, true where the defect is: where the brightest colour is above
/// 127. A mask without any such pixel is a map of labels, as VisA's, and all but 0 is a defect.
///
/// # Errors
/// Those of [`crate::image::load`].
pub fn load_mask(path: &Path) -> Result<Array2<bool>> {
    let image = crate::image::load(path)?;
    let values: Vec<u8> = image
        .pixels()
        .map(|p| p.0.into_iter().max().unwrap_or(0))
        .collect();
    let threshold = if values.iter().any(|&v| v > 127) {
        127
    } else {
        0
    };
    let shape = (image.height() as usize, image.width() as usize);
    Array2::from_shape_vec(shape, values.into_iter().map(|v| v > threshold).collect())
        .map_err(|e| Error::Data(format!("{}: {e}", path.display())))
}

/// Last part of a path, for people.
pub fn file_name(path: &Path) -> String {
    path.file_name()
        .unwrap_or(path.as_os_str())
        .to_string_lossy()
        .into_owned()
}

/// The first `shots` of `paths` in an order that `seed` shuffles (all where `None`).
///
/// Fisher-Yates from the end with SplitMix64 (see `docs/metrics.md`): the same choice on every
/// machine and in every version. `paths` are sorted by name before.
pub fn choose_references(paths: &[PathBuf], shots: Option<usize>, seed: u64) -> Vec<PathBuf> {
    let mut paths = paths.to_vec();
    paths.sort();
    let Some(shots) = shots else { return paths };
    let mut random = SplitMix64::new(seed);
    for i in (1..paths.len()).rev() {
        paths.swap(i, random.below(i + 1));
    }
    paths.truncate(shots);
    paths
}

/// Steele, Lea and Flood's SplitMix64: a fixed generator whose sequence is part of the protocol.
#[derive(Clone, Debug)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    /// Starts the sequence of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from `0..n` (`n > 0`), by multiplication and shift.
    pub fn below(&mut self, n: usize) -> usize {
        ((u128::from(self.next_u64()) * n as u128) >> 64) as usize
    }

    /// A number from `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A number from `[low, high)`.
    pub fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }
}

#[cfg(test)]
mod tests {
    use image::{GrayImage, Luma};

    use super::*;

    fn touch(root: &Path, names: &[&str]) {
        for name in names {
            let path = root.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, b"").unwrap();
        }
    }

    fn names(paths: &[PathBuf]) -> Vec<String> {
        paths.iter().map(|path| file_name(path)).collect()
    }

    fn kinds(set: &Dataset) -> Vec<(String, String, bool)> {
        let of = |t: &TestImage| (t.kind.clone(), file_name(&t.path), t.mask.is_some());
        set.tests.iter().map(of).collect()
    }

    fn test(kind: &str, name: &str, has_mask: bool) -> (String, String, bool) {
        (kind.into(), name.into(), has_mask)
    }

    #[test]
    fn mvtec_layout() {
        let root = tempfile::tempdir().unwrap();
        touch(
            root.path(),
            &[
                "train/good/b.png",
                "train/good/a.png",
                "test/good/0.png",
                "test/crack/0.png",
                "test/crack/1.jpg",
                "ground_truth/crack/1_mask.png",
            ],
        );
        let set = Dataset::open(root.path()).unwrap();
        assert_eq!(set.name, folder_name(root.path()));
        assert_eq!(names(&set.references), ["a.png", "b.png"]);
        assert_eq!(
            kinds(&set),
            [
                test("crack", "0.png", false),
                test("crack", "1.jpg", true),
                test("good", "0.png", false)
            ]
        );
        let missing = Dataset::open(&root.path().join("ground_truth")).unwrap_err();
        assert!(missing.to_string().contains("train/good"), "{missing}");
    }

    #[test]
    fn good_and_bad_folders_share_no_image_between_references_and_tests() {
        let root = tempfile::tempdir().unwrap();
        touch(
            root.path(),
            &[
                "good/1.png",
                "good/2.png",
                "good/3.png",
                "bad/x.png",
                "stain/y.png",
                "ground_truth/stain/y.png",
            ],
        );
        let set = Dataset::open(root.path()).unwrap();
        assert_eq!(names(&set.references), ["1.png", "2.png"]);
        assert_eq!(
            kinds(&set),
            [
                test("bad", "x.png", false),
                test("good", "3.png", false),
                test("stain", "y.png", true)
            ]
        );
        std::fs::remove_dir_all(root.path().join("bad")).unwrap();
        std::fs::remove_dir_all(root.path().join("stain")).unwrap();
        let error = Dataset::open(root.path()).unwrap_err().to_string();
        assert!(error.contains("no defective images"), "{error}");
    }

    const SPLIT: &str = "object,split,label,image,mask\n\
        candle,train,normal,candle/Data/Images/Normal/0001.JPG,\n\
        candle,train,normal,candle/Data/Images/Normal/0000.JPG,\n\
        candle,train,anomaly,candle/Data/Images/Anomaly/009.JPG,candle/Data/Masks/Anomaly/009.png\n\
        candle,test,normal,candle/Data/Images/Normal/0002.JPG,\n\
        candle,test,anomaly,candle/Data/Images/Anomaly/000.JPG,candle/Data/Masks/Anomaly/000.png\n\
        pcb1,train,normal,pcb1/Data/Images/Normal/0000.JPG,\n\
        pcb1,test,anomaly,pcb1/Data/Images/Anomaly/000.JPG,pcb1/Data/Masks/Anomaly/000.png\n";

    #[test]
    fn visa_by_its_split_file_its_root_and_one_object() {
        let root = tempfile::tempdir().unwrap();
        let split = root.path().join(VISA_SPLIT);
        touch(root.path(), &[VISA_SPLIT, "candle/Data/x", "pcb1/Data/x"]);
        std::fs::write(&split, SPLIT).unwrap();
        for path in [&split, root.path()] {
            let sets = Dataset::open_all(path).unwrap();
            let found: Vec<_> = sets.iter().map(|s| s.name.as_str()).collect();
            assert_eq!(found, ["candle", "pcb1"]);
            let error = Dataset::open(path).unwrap_err().to_string();
            assert!(error.contains("2 data sets"), "{error}");
        }
        let set = Dataset::open(&root.path().join("candle")).unwrap();
        assert_eq!(names(&set.references), ["0000.JPG", "0001.JPG"]);
        assert_eq!(
            kinds(&set),
            [
                test("anomaly", "000.JPG", true),
                test("good", "0002.JPG", false)
            ]
        );
        let image = root.path().join("candle/Data/Images/Anomaly/000.JPG");
        touch(root.path(), &["candle/Data/Images/Anomaly/000.JPG"]);
        assert_eq!(
            set.tests[0].path.canonicalize().unwrap(),
            image.canonicalize().unwrap()
        );
        for (from, to, part) in [
            ("candle,test,normal", "candle,test,odd", "label `odd`"),
            ("candle,test,normal", "candle,odd,normal", "split `odd`"),
            ("object,split", "a,b", "not a split file"),
            ("pcb1,train,normal", "pcb1,test,normal", "`pcb1` needs"),
        ] {
            std::fs::write(&split, SPLIT.replace(from, to)).unwrap();
            let error = Dataset::open_all(&split).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    #[test]
    fn masks_are_white_or_labels() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("m.png");
        for (values, expected) in [
            ([0, 100, 200], [false, false, true]),
            ([0, 1, 3], [false, true, true]),
            ([0, 0, 0], [false; 3]),
        ] {
            let mask = GrayImage::from_fn(3, 2, |x, _| Luma([values[x as usize]]));
            mask.save(&path).unwrap();
            let mask = load_mask(&path).unwrap();
            assert_eq!(mask.dim(), (2, 3));
            for row in mask.rows() {
                assert_eq!(row.to_vec(), expected);
            }
        }
    }
}
