//! Regions of reference images that say nothing about normal parts (a label, a speck of dust, a
//! defect that a reference happens to have), from COCO or LabelMe annotations.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::dataset::file_name;
use crate::error::{Error, Result};
use crate::image::MAX_PIXELS;

/// Points along each side of a patch that are looked at.
const SAMPLES: usize = 8;

/// Annotated regions by the file name of the image.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct IgnoreRegions {
    images: BTreeMap<String, Vec<Region>>,
}

/// One region; `size` is the image's width and height that its coordinates refer to, where stated.
#[derive(Clone, Debug, PartialEq)]
struct Region {
    size: Option<(f64, f64)>,
    shape: Shape,
}

#[derive(Clone, Debug, PartialEq)]
enum Shape {
    /// Corners `(x, y)`, pixels.
    Polygon(Vec<(f64, f64)>),
    Circle {
        centre: (f64, f64),
        radius: f64,
    },
    /// Lengths of alternating runs outside and inside, column by column (COCO's RLE), as the ends of
    /// the runs.
    Runs {
        height: usize,
        width: usize,
        ends: Vec<usize>,
    },
}

impl Shape {
    fn holds(&self, x: f64, y: f64) -> bool {
        match self {
            Self::Polygon(corners) => {
                // Crossing number of a ray to the right.
                let mut inside = false;
                let mut last = corners.last().copied().unwrap_or_default();
                for &corner in corners {
                    let (a, b) = (last, corner);
                    if (a.1 > y) != (b.1 > y) && x < (b.0 - a.0) * (y - a.1) / (b.1 - a.1) + a.0 {
                        inside = !inside;
                    }
                    last = corner;
                }
                inside
            }
            Self::Circle { centre, radius } => (x - centre.0).hypot(y - centre.1) <= *radius,
            Self::Runs {
                height,
                width,
                ends,
            } => {
                if x < 0.0 || y < 0.0 || x >= *width as f64 || y >= *height as f64 {
                    return false;
                }
                let place = x as usize * height + y as usize;
                ends.partition_point(|&end| end <= place) % 2 == 1
            }
        }
    }

    /// Points on the outline, at most `step` apart in x and in y: for shapes thinner than a patch.
    fn outline(&self, step: (f64, f64)) -> Vec<(f64, f64)> {
        let Self::Polygon(corners) = self else {
            return Vec::new();
        };
        let mut points = Vec::new();
        let mut last = corners.last().copied().unwrap_or_default();
        for &corner in corners {
            let across = ((corner.0 - last.0) / step.0)
                .abs()
                .max(((corner.1 - last.1) / step.1).abs());
            // A bound for coordinates far outside any image.
            let pieces = across.ceil().clamp(1.0, 65_536.0) as usize;
            points.extend((0..pieces).map(|i| {
                let t = i as f64 / pieces as f64;
                (
                    last.0 + (corner.0 - last.0) * t,
                    last.1 + (corner.1 - last.1) * t,
                )
            }));
            last = corner;
        }
        points
    }
}

impl IgnoreRegions {
    /// Reads annotation files; of a folder all `.json` files in it.
    ///
    /// # Errors
    /// [`Error::Io`], and [`Error::Annotation`] where a file is neither COCO nor LabelMe or holds a
    /// shape that can't be understood.
    pub fn read(paths: &[PathBuf]) -> Result<Self> {
        let mut regions = Self::default();
        for path in paths {
            if path.is_dir() {
                let mut files = Vec::new();
                for entry in std::fs::read_dir(path).map_err(Error::io(path))? {
                    let file = entry.map_err(Error::io(path))?.path();
                    if file.extension().is_some_and(|e| e == "json") {
                        files.push(file);
                    }
                }
                files.sort();
                for file in files {
                    regions.add_file(&file)?;
                }
            } else {
                regions.add_file(path)?;
            }
        }
        Ok(regions)
    }

    fn add_file(&mut self, path: &Path) -> Result<()> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        self.add(&bytes).map_err(|reason| Error::Annotation {
            path: path.to_path_buf(),
            reason,
        })
    }

    fn add(&mut self, bytes: &[u8]) -> std::result::Result<(), String> {
        let file: File = serde_json::from_slice(bytes).map_err(|e| {
            format!("neither COCO (images, annotations) nor LabelMe (shapes, imagePath): {e}")
        })?;
        match file {
            File::LabelMe(file) => {
                let size = file.image_width.zip(file.image_height);
                for shape in file.shapes {
                    let shape = shape.parse()?;
                    self.put(&file.image_path, Region { size, shape });
                }
            }
            File::Coco(file) => {
                for annotation in file.annotations {
                    let image = file.images.iter().find(|i| i.id == annotation.image_id);
                    let image = image.ok_or_else(|| {
                        format!(
                            "annotation of image {}, which is not listed",
                            annotation.image_id
                        )
                    })?;
                    let size = image.width.zip(image.height);
                    for shape in annotation.parse()? {
                        self.put(&image.file_name, Region { size, shape });
                    }
                }
            }
        }
        Ok(())
    }

    /// Annotated paths may have been written on another system.
    fn put(&mut self, path: &str, region: Region) {
        let name = file_name(Path::new(&path.replace('\\', "/")));
        self.images.entry(name).or_default().push(region);
    }

    /// File names of the images that have regions.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.images.keys().map(String::as_str)
    }

    /// Cells of a `(height, width)` grid that a region of the image touches; empty where it has none.
    ///
    /// `name` is the image's file name, `size` its width and height, pixels.
    pub fn cells(
        &self,
        name: &str,
        size: (u32, u32),
        (height, width): (usize, usize),
    ) -> Vec<bool> {
        let Some(regions) = self.images.get(name) else {
            return Vec::new();
        };
        let mut cells = vec![false; height * width];
        for region in regions {
            let (full_x, full_y) = region.size.unwrap_or((size.0.into(), size.1.into()));
            let patch = (full_x / width as f64, full_y / height as f64);
            let (points_y, points_x) = (height * SAMPLES, width * SAMPLES);
            for (cell, inside) in cells.iter_mut().enumerate() {
                let (top, left) = (cell / width * SAMPLES, cell % width * SAMPLES);
                *inside |= (0..SAMPLES * SAMPLES).any(|i| {
                    let y = (top + i / SAMPLES) as f64 + 0.5;
                    let x = (left + i % SAMPLES) as f64 + 0.5;
                    region
                        .shape
                        .holds(x / points_x as f64 * full_x, y / points_y as f64 * full_y)
                });
            }
            for (x, y) in region.shape.outline((patch.0 / 2.0, patch.1 / 2.0)) {
                let (x, y) = (x / patch.0, y / patch.1);
                if x >= 0.0 && y >= 0.0 && x < width as f64 && y < height as f64 {
                    cells[y as usize * width + x as usize] = true;
                }
            }
        }
        cells
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum File {
    LabelMe(LabelMe),
    Coco(Coco),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct LabelMe {
    image_path: String,
    image_width: Option<f64>,
    image_height: Option<f64>,
    shapes: Vec<LabelMeShape>,
}

#[derive(Deserialize)]
struct LabelMeShape {
    points: Vec<(f64, f64)>,
    shape_type: Option<String>,
}

impl LabelMeShape {
    fn parse(self) -> std::result::Result<Shape, String> {
        let kind = self.shape_type.as_deref().unwrap_or("polygon");
        match (kind, self.points.as_slice()) {
            ("rectangle", &[a, b]) => Ok(rectangle(a, b)),
            ("circle", &[centre, edge]) => Ok(Shape::Circle {
                centre,
                radius: (edge.0 - centre.0).hypot(edge.1 - centre.1),
            }),
            ("polygon", points) if points.len() >= 3 => Ok(Shape::Polygon(self.points)),
            (kind, points) => Err(format!(
                "a shape `{kind}` with {} points is no region; polygon, rectangle and circle are",
                points.len()
            )),
        }
    }
}

fn rectangle(a: (f64, f64), b: (f64, f64)) -> Shape {
    Shape::Polygon(vec![a, (b.0, a.1), b, (a.0, b.1)])
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoAnnotation>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
    width: Option<f64>,
    height: Option<f64>,
}

#[derive(Deserialize)]
struct CocoAnnotation {
    image_id: u64,
    segmentation: Option<Segmentation>,
    bbox: Option<[f64; 4]>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Segmentation {
    Polygons(Vec<Vec<f64>>),
    Runs { size: [usize; 2], counts: Counts },
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Counts {
    Plain(Vec<usize>),
    Compressed(String),
}

impl CocoAnnotation {
    fn parse(self) -> std::result::Result<Vec<Shape>, String> {
        match (self.segmentation, self.bbox) {
            (Some(Segmentation::Polygons(polygons)), _) if !polygons.is_empty() => polygons
                .into_iter()
                .map(|polygon| {
                    if polygon.len() < 6 || polygon.len() % 2 != 0 {
                        return Err(format!("a polygon of {} numbers", polygon.len()));
                    }
                    let corners = polygon.as_chunks::<2>().0;
                    Ok(Shape::Polygon(
                        corners.iter().map(|&[x, y]| (x, y)).collect(),
                    ))
                })
                .collect(),
            (Some(Segmentation::Runs { size, counts }), _) => {
                let [height, width] = size;
                let pixels = height.saturating_mul(width);
                let counts = match counts {
                    Counts::Plain(counts) => counts,
                    Counts::Compressed(text) => decompress_runs(&text)?,
                };
                let mut ends = Vec::with_capacity(counts.len());
                let mut end = 0usize;
                for count in counts {
                    end = end.saturating_add(count);
                    ends.push(end);
                }
                if pixels as u64 > MAX_PIXELS || end != pixels {
                    return Err(format!(
                        "runs of {end} pixels for a mask of {width}x{height}"
                    ));
                }
                Ok(vec![Shape::Runs {
                    height,
                    width,
                    ends,
                }])
            }
            (_, Some([x, y, width, height])) => {
                Ok(vec![rectangle((x, y), (x + width, y + height))])
            }
            _ => Err("an annotation without segmentation and bbox".into()),
        }
    }
}

/// COCO's compressed run lengths: five bits a character from `0` on, the sixth says that more
/// follow; from the fourth run on, the difference to the run before the last.
fn decompress_runs(text: &str) -> std::result::Result<Vec<usize>, String> {
    let wrong = || "compressed run lengths are damaged".to_string();
    let mut runs: Vec<i64> = Vec::new();
    let mut bytes = text.bytes();
    while let Some(mut byte) = bytes.next() {
        let (mut value, mut bits) = (0i64, 0);
        loop {
            let digit = i64::from(byte.checked_sub(48).filter(|d| *d < 64).ok_or_else(wrong)?);
            if bits > 50 {
                return Err(wrong());
            }
            value |= (digit & 31) << bits;
            bits += 5;
            if digit & 32 == 0 {
                if digit & 16 != 0 {
                    value -= 1 << bits;
                }
                break;
            }
            byte = bytes.next().ok_or_else(wrong)?;
        }
        if runs.len() > 2 {
            value = value.saturating_add(runs[runs.len() - 2]);
        }
        runs.push(value);
    }
    let lengths = runs.into_iter().map(usize::try_from);
    lengths
        .collect::<std::result::Result<_, _>>()
        .map_err(|_| wrong())
}

#[cfg(test)]
mod tests {
    use super::IgnoreRegions;

    fn cells(json: &str) -> Vec<usize> {
        let mut regions = IgnoreRegions::default();
        regions.add(json.as_bytes()).unwrap();
        let cells = regions.cells("a.png", (80, 40), (4, 8));
        (0..cells.len()).filter(|&i| cells[i]).collect()
    }

    fn refused(json: &str) -> String {
        IgnoreRegions::default().add(json.as_bytes()).unwrap_err()
    }

    #[test]
    fn labelme_shapes_become_the_cells_that_they_touch() {
        let file = |shape: &str| {
            format!(
                r#"{{"version":"5.5.0","flags":{{}},"imagePath":"..\\x\\a.png","imageData":null,
                "imageHeight":40,"imageWidth":80,"shapes":[{{"label":"dust","group_id":null,{shape}}}]}}"#
            )
        };
        let rectangle = file(r#""points":[[11,11],[19,29]],"shape_type":"rectangle""#);
        assert_eq!(cells(&rectangle), [9, 17]);
        // Thinner than the points that are looked at.
        let thin = file(r#""points":[[31,5],[59,5.1],[31,5.2]],"shape_type":"polygon""#);
        assert_eq!(cells(&thin), [3, 4, 5]);
        let circle = file(r#""points":[[75,35],[75,39]],"shape_type":"circle""#);
        assert_eq!(cells(&circle), [31]);
        let line = file(r#""points":[[1,1],[2,2]],"shape_type":"line""#);
        assert!(refused(&line).contains("`line`"), "{}", refused(&line));
    }

    #[test]
    fn coco_polygons_boxes_and_runs_become_cells() {
        let file = |annotation: &str| {
            format!(
                r#"{{"info":{{}},"images":[{{"id":7,"file_name":"set/a.png","width":80,"height":40}}],
                "annotations":[{{"id":1,"image_id":7,"category_id":1,"iscrowd":0,{annotation}}}]}}"#
            )
        };
        assert_eq!(
            cells(&file(
                r#""segmentation":[[1,1,9,1,9,9,1,9]],"bbox":[1,1,8,8]"#
            )),
            [0]
        );
        assert_eq!(
            cells(&file(r#""segmentation":[],"bbox":[70.5,0.5,9,9]"#)),
            [7]
        );
        // Columns 10 to 19 of 40 pixels each: the second column of cells.
        let plain = r#""segmentation":{"size":[40,80],"counts":[400,400,2400]}"#;
        assert_eq!(cells(&file(plain)), [1, 9, 17, 25]);
        // The same as pycocotools compresses it.
        let compressed = r#""segmentation":{"size":[40,80],"counts":"`<`<P[2"}"#;
        assert_eq!(cells(&file(compressed)), [1, 9, 17, 25]);
        let long = r#""segmentation":{"size":[40,80],"counts":[4000]}"#;
        assert!(refused(&file(long)).contains("4000 pixels"));
        assert!(refused(&file(r#""bbox":null"#)).contains("without segmentation"));
    }

    #[test]
    fn other_json_is_refused() {
        assert!(refused("{}").contains("neither COCO"));
        assert!(refused("[1,").contains("neither COCO"));
    }
}
