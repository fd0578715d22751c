//! Patch features of an image: backbone outputs, pooled, on one grid, concatenated.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use image::RgbImage;
use ndarray::{Array3, ArrayView3, Axis, Zip, s};
use sha2::{Digest, Sha256};
use vod_core::Levels;

use crate::backbone::{self, Backbone, FeatureSpec, Pool, hex};
use crate::bank_file::{BankFile, write_file};
use crate::error::{Error, Result};
use crate::preprocess::{ExactSize, Mirror, Preprocess, ShortSide, SizeRule, resize};

/// Longest image, in shorter sides, that keeps its aspect ratio.
const MAX_RATIO: u32 = 4;
/// The longer side of the input is rounded to this many patches: fewer distinct network sizes.
const LONG_SIDE_PATCHES: u32 = 4;

/// Patch features on a grid, `[height, width, channels]`, as the backbone gives them.
pub type FeatureGrid = Array3<f32>;

/// Patch features of one image at the levels that a bank looks at.
#[derive(Clone, Debug)]
pub struct Pyramid {
    /// At the input size.
    pub fine: FeatureGrid,
    /// At half of it and at a quarter, where there are so many levels.
    pub coarser: Vec<FeatureGrid>,
}

/// Turns images into patch features, always in the same way.
#[derive(Clone)]
pub struct Extractor<'b> {
    backbone: Held<'b>,
    preprocess: Preprocess,
    features: FeatureSpec,
    levels: Levels,
    cache: Option<FeatureCache>,
}

/// A backbone of the caller's, or one that a fit or a bank brought.
#[derive(Clone)]
enum Held<'b> {
    Borrowed(&'b dyn Backbone),
    Own(Arc<dyn Backbone>),
}

impl<'b> Extractor<'b> {
    /// An extractor that obeys `preprocess` (of a bank).
    ///
    /// # Errors
    /// [`Error::Data`] where an exact size or a tile is no multiple of what the backbone takes.
    pub fn new(backbone: &'b dyn Backbone, preprocess: Preprocess) -> Result<Self> {
        Self::holding(Held::Borrowed(backbone), preprocess)
    }

    /// An extractor for a bank, with the bank's own network where it carries one.
    ///
    /// # Errors
    /// [`Error::BankBackbone`] for another backbone than the bank's, and those of [`Self::new`].
    pub fn for_bank(file: &BankFile, backbone: &'b dyn Backbone) -> Result<Self> {
        let held = match backbone::of_bank(file, backbone)? {
            Some(own) => Held::Own(own),
            None => Held::Borrowed(backbone),
        };
        let extractor = Self::holding(held, file.host().preprocess.clone())?;
        let extractor = extractor.with_levels(file.levels());
        Ok(extractor.with_pool(file.host().features.pool))
    }

    /// The same at other levels than the manifest says.
    pub fn with_levels(mut self, levels: Levels) -> Self {
        self.levels = levels;
        self
    }

    /// The same with outputs averaged over other neighbours than the manifest says.
    pub fn with_pool(mut self, pool: Pool) -> Self {
        self.features.pool = pool;
        let folder = self.cache.take().map(|cache| cache.folder);
        self.with_cache(folder.as_deref())
    }

    /// The same with another backbone.
    pub(crate) fn with_backbone(&self, backbone: Arc<dyn Backbone>) -> Result<Self> {
        let extractor = Self::holding(Held::Own(backbone), self.preprocess.clone())?;
        let folder = self.cache.as_ref().map(|cache| cache.folder.as_path());
        let extractor = extractor.with_levels(self.levels);
        Ok(extractor.with_pool(self.features.pool).with_cache(folder))
    }

    fn holding(backbone: Held<'b>, preprocess: Preprocess) -> Result<Self> {
        let manifest = backbone.get().manifest();
        let multiple = manifest.input.multiple;
        let sides = match preprocess.size {
            SizeRule::ShortSide(ShortSide { side, step, .. }) => [side, step],
            SizeRule::Exact(ExactSize { width, height }) => [width, height],
        };
        let tile = preprocess.tile.unwrap_or(multiple);
        manifest
            .check_mirror(preprocess.mirror)
            .map_err(|reason| Error::Data(format!("backbone `{}`: {reason}", manifest.id)))?;
        if let Some(side) = sides
            .into_iter()
            .chain([tile])
            .find(|side| *side == 0 || !side.is_multiple_of(multiple))
        {
            return Err(Error::Data(format!(
                "size {side} is no multiple of {multiple}, which backbone `{}` takes",
                manifest.id
            )));
        }
        Ok(Self {
            features: manifest.features.clone(),
            levels: manifest.input.levels(),
            backbone,
            preprocess,
            cache: None,
        })
    }

    /// Keeps features in `folder` and takes them from there again.
    pub fn with_cache(mut self, folder: Option<&Path>) -> Self {
        let manifest = self.backbone().manifest();
        let network = self.backbone().network();
        let network = network.map(|bytes| hex(&Sha256::digest(bytes)));
        self.cache = folder.map(|folder| FeatureCache {
            folder: folder.to_path_buf(),
            key: format!(
                "{} {:?} {:?} {}",
                manifest.sha256,
                self.features,
                Preprocess {
                    mirror: Mirror::NONE,
                    ..self.preprocess.clone()
                },
                network.unwrap_or_default()
            ),
        });
        self
    }

    /// How the backbone's outputs become patch features.
    pub fn feature_spec(&self) -> &FeatureSpec {
        &self.features
    }

    /// The levels that a bank looks at.
    pub fn levels(&self) -> Levels {
        self.levels
    }

    /// The preprocessing that is obeyed.
    pub fn preprocess(&self) -> &Preprocess {
        &self.preprocess
    }

    /// The backbone.
    pub fn backbone(&self) -> &dyn Backbone {
        self.backbone.get()
    }

    /// Reads an image file; gives its features at the input size, and its width and height in pixels.
    ///
    /// # Errors
    /// As [`crate::image::load`] and [`Self::features`].
    pub fn load(&self, path: &Path) -> Result<(FeatureGrid, (u32, u32))> {
        let (input, size) = self.preprocess.load(path)?;
        Ok((self.features_of_input(&input)?, size))
    }

    /// Reads an image file; gives its features at all levels, and its width and height in pixels.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_pyramid(&self, path: &Path) -> Result<(Pyramid, (u32, u32))> {
        let (input, size) = self.preprocess.load(path)?;
        Ok((self.pyramid_of_input(&input)?, size))
    }

    /// Patch features at all levels of an image that has the input size already.
    ///
    /// # Errors
    /// [`Error::Model`] where the backbone fails.
    pub fn pyramid_of_input(&self, input: &RgbImage) -> Result<Pyramid> {
        let coarser = (1..self.levels.count())
            .map(|level| self.features_at(&self.coarser_picture(input, level)?, level));
        Ok(Pyramid {
            fine: self.features_of_input(input)?,
            coarser: coarser.collect::<Result<_>>()?,
        })
    }

    /// The pictures of an image file that the backbone looks at, one for each level, the input size
    /// first; without what the backbone is given beyond their edges.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn pictures(&self, path: &Path) -> Result<Vec<RgbImage>> {
        let (input, _) = self.preprocess.load(path)?;
        let coarser = (1..self.levels.count()).map(|level| self.coarser_picture(&input, level));
        let coarser: Vec<_> = coarser.collect::<Result<_>>()?;
        Ok(std::iter::once(input).chain(coarser).collect())
    }

    /// What an input is at a level: its sides halved as often, up to what the backbone takes.
    fn coarser_picture(&self, input: &RgbImage, level: usize) -> Result<RgbImage> {
        let multiple = self.backbone().manifest().input.multiple;
        let (width, height) = input.dimensions();
        let side = |side: u32| side.div_ceil(1 << level).div_ceil(multiple) * multiple;
        resize(input, side(width), side(height))
    }

    /// Patch features of an upright RGB image.
    ///
    /// # Errors
    /// [`Error::Model`] where the backbone fails.
    pub fn features(&self, image: &RgbImage) -> Result<FeatureGrid> {
        self.features_of_input(&self.preprocess.resize(image)?)
    }

    /// Patch features of an image that has the input size already.
    ///
    /// # Errors
    /// [`Error::Model`] where the backbone fails.
    pub fn features_of_input(&self, input: &RgbImage) -> Result<FeatureGrid> {
        self.features_at(input, 0)
    }

    /// Patch features of the picture that an input is at a level.
    fn features_at(&self, picture: &RgbImage, level: usize) -> Result<FeatureGrid> {
        let Some(cache) = &self.cache else {
            return self.run(picture, level);
        };
        let entry = cache.entry(picture, self.preprocess.mirror.at(level));
        if let Some(found) = cache.get(&entry) {
            return Ok(found);
        }
        let features = self.run(picture, level)?;
        cache.put(&entry, &features)?;
        Ok(features)
    }

    fn run(&self, picture: &RgbImage, level: usize) -> Result<FeatureGrid> {
        let planes = self.preprocess.planes(picture, level);
        let spec = &self.features;
        let grid = match self.preprocess.tile {
            None => assemble(&self.backbone().run(planes.view())?, spec, planes.dim()),
            Some(tile) => self.tiled(planes.view(), tile as usize, spec),
        }?;
        let border = (self.preprocess.mirror.at(level) / spec.stride) as usize;
        if border == 0 {
            return Ok(grid);
        }
        let (height, width, _) = grid.dim();
        let inner = s![border..height - border, border..width - border, ..];
        Ok(grid.slice(inner).as_standard_layout().into_owned())
    }

    /// Features of overlapping tiles, blended: each tile weighs most in its middle.
    fn tiled(
        &self,
        planes: ArrayView3<f32>,
        tile: usize,
        spec: &FeatureSpec,
    ) -> Result<FeatureGrid> {
        let (_, height, width) = planes.dim();
        let stride = spec.stride as usize;
        let multiple = self.backbone().manifest().input.multiple as usize;
        let mut sum: Option<FeatureGrid> = None;
        let mut weight = ndarray::Array2::<f32>::zeros((height / stride, width / stride));
        for top in tile_starts(height, tile, multiple) {
            for left in tile_starts(width, tile, multiple) {
                let (bottom, right) = ((top + tile).min(height), (left + tile).min(width));
                let view = planes.slice(s![.., top..bottom, left..right]);
                let part = assemble(&self.backbone().run(view)?, spec, view.dim())?;
                let (rows, columns, channels) = part.dim();
                let sum = sum.get_or_insert_with(|| {
                    Array3::zeros((height / stride, width / stride, channels))
                });
                for y in 0..rows {
                    for x in 0..columns {
                        let w = hat(y, rows) * hat(x, columns);
                        let (gy, gx) = (top / stride + y, left / stride + x);
                        weight[[gy, gx]] += w;
                        sum.slice_mut(s![gy, gx, ..])
                            .scaled_add(w, &part.slice(s![y, x, ..]));
                    }
                }
            }
        }
        let mut sum = sum.ok_or_else(|| Error::Data("image without tiles".into()))?;
        Zip::from(sum.lanes_mut(Axis(2)))
            .and(&weight)
            .for_each(|mut feature, w| feature /= *w);
        Ok(sum)
    }
}

impl Held<'_> {
    fn get(&self) -> &dyn Backbone {
        match self {
            Self::Borrowed(backbone) => *backbone,
            Self::Own(backbone) => &**backbone,
        }
    }
}

/// Features on disk, by the input picture and everything else that they depend on: for repeated
/// evaluations of the same data.
#[derive(Clone)]
struct FeatureCache {
    folder: PathBuf,
    key: String,
}

impl FeatureCache {
    fn entry(&self, picture: &RgbImage, border: u32) -> PathBuf {
        let mut hash = Sha256::new();
        hash.update(self.key.as_bytes());
        hash.update(border.to_le_bytes());
        hash.update(picture.width().to_le_bytes());
        hash.update(picture.as_raw());
        self.folder.join(hex(&hash.finalize()))
    }

    /// A damaged or missing entry is none.
    fn get(&self, entry: &Path) -> Option<FeatureGrid> {
        let bytes = std::fs::read(entry).ok()?;
        let (words, _) = bytes.as_chunks::<4>();
        let (head, values) = words.split_at_checked(3)?;
        let side = |i: usize| u32::from_le_bytes(head[i]) as usize;
        let values = values.iter().map(|b| f32::from_le_bytes(*b)).collect();
        Array3::from_shape_vec((side(0), side(1), side(2)), values).ok()
    }

    fn put(&self, entry: &Path, features: &FeatureGrid) -> Result<()> {
        std::fs::create_dir_all(&self.folder).map_err(Error::io(&self.folder))?;
        let (height, width, channels) = features.dim();
        let head = [height, width, channels].map(|side| side as u32);
        let mut bytes: Vec<u8> = head.into_iter().flat_map(u32::to_le_bytes).collect();
        bytes.extend(features.iter().flat_map(|v| v.to_le_bytes()));
        write_file(entry, &bytes, true)
    }
}

/// The preprocessing of a new bank: the shorter side at `size` pixels (the manifest's default
/// where `None`, rounded to what the backbone takes), the aspect ratio kept.
pub fn preprocess_for(backbone: &dyn Backbone, size: Option<u32>, tile: Option<u32>) -> Preprocess {
    let manifest = backbone.manifest();
    let multiple = manifest.input.multiple;
    let round = |side: u32| ((side + multiple / 2) / multiple).max(1) * multiple;
    let patches = LONG_SIDE_PATCHES * manifest.features.stride;
    Preprocess {
        size: SizeRule::ShortSide(ShortSide {
            side: round(size.unwrap_or(manifest.input.default_size)),
            step: patches.div_ceil(multiple) * multiple,
            max_ratio: MAX_RATIO,
        }),
        mirror: manifest.input.mirror,
        tile: tile.map(round),
        colour: manifest.input.colour,
        mean: manifest.input.mean,
        std: manifest.input.std,
    }
}

/// The preprocessing of comparisons with a part's own template: the template's shorter side, at most
/// twice the backbone's default. A single image is searched there, so that more pixels, which a small
/// difference needs, don't make a bank larger.
pub fn preprocess_for_template(
    backbone: &dyn Backbone,
    template: &RgbImage,
    tile: Option<u32>,
) -> Preprocess {
    let most = 2 * backbone.manifest().input.default_size;
    let side = template.width().min(template.height()).min(most);
    preprocess_for(backbone, Some(side), tile)
}

/// Starts of tiles that cover `length` with at least half of a tile's length in common.
fn tile_starts(length: usize, tile: usize, multiple: usize) -> Vec<usize> {
    if length <= tile {
        return vec![0];
    }
    let free = length - tile;
    let count = free.div_ceil((tile / 2).max(multiple)) + 1;
    (0..count)
        .map(|i| (free * i / (count - 1)) / multiple * multiple)
        .collect()
}

/// Weight of place `i` of `n` in a tile: 1 at the middle, falling to the edges, never 0.
fn hat(i: usize, n: usize) -> f32 {
    let edge = (i + 1).min(n - i) as f32;
    edge / n.div_ceil(2) as f32
}

/// Pools the outputs, brings them to one grid and concatenates them.
///
/// `outputs` are `[height, width, channels]` each, `input` is the planes' `(3, height, width)`.
fn assemble(
    outputs: &[Array3<f32>],
    spec: &FeatureSpec,
    input: (usize, usize, usize),
) -> Result<FeatureGrid> {
    let stride = spec.stride as usize;
    let (height, width) = (input.1 / stride, input.2 / stride);
    let parts: Vec<Array3<f32>> = outputs
        .iter()
        .map(|map| {
            let pooled = spec.pool.apply(map);
            if (pooled.dim().0, pooled.dim().1) == (height, width) {
                pooled
            } else {
                resize_bilinear(pooled.view(), height, width)
            }
        })
        .collect();
    let views: Vec<_> = parts.iter().map(|part| part.view()).collect();
    let grid = ndarray::concatenate(Axis(2), &views);
    grid.map(|grid| grid.as_standard_layout().into_owned())
        .map_err(|e| Error::Data(format!("outputs can't be put together: {e}")))
}

/// Bilinear resize with half-pixel centres and clamped edges.
pub fn resize_bilinear(map: ArrayView3<f32>, height: usize, width: usize) -> Array3<f32> {
    let along = |map: ArrayView3<f32>, axis: Axis, len: usize| {
        let mut shape = map.raw_dim();
        shape[axis.index()] = len;
        let mut out = Array3::<f32>::zeros(shape);
        for i in 0..len {
            let (low, high, t) = linear_taps(i, map.len_of(axis), len);
            let mut target = out.index_axis_mut(axis, i);
            // `a + (b - a) t` keeps equal neighbours equal to the bit.
            Zip::from(&mut target)
                .and(&map.index_axis(axis, low))
                .and(&map.index_axis(axis, high))
                .for_each(|out, &a, &b| *out = a + (b - a) * t);
        }
        out
    };
    let rows = along(map, Axis(0), height);
    along(rows.view(), Axis(1), width)
}

/// The two source places and the weight of the second, for place `i` of `to` in a resize.
pub(crate) fn linear_taps(i: usize, from: usize, to: usize) -> (usize, usize, f32) {
    let centre = ((i as f32 + 0.5) * from as f32 / to as f32 - 0.5).clamp(0.0, (from - 1) as f32);
    let low = centre.floor() as usize;
    (low, (low + 1).min(from - 1), centre - low as f32)
}
