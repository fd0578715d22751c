//! What a bank keeps of its references for the host beyond their rows: where each row is from, the
//! moments that the discriminant was fitted on, and what the thresholds were calibrated on.
//!
//! Records follow [`crate::bank_file::HostSection`], each a tag, a length and a body
//! (`docs/bank-format.md`). A bank without them is read all the same, and a record of an unknown tag
//! is kept as it is.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

const ORIGINS: u32 = 1;
const MOMENTS: u32 = 2;
const CALIBRATION: u32 = 3;
const NETWORK: u32 = 4;

/// The records of a bank.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Records {
    /// Where each row is from.
    pub origins: Option<RowOrigins>,
    /// What the discriminant was fitted on; `None` for a scorer of plain distance.
    pub moments: Option<ClassMoments>,
    /// What the thresholds were calibrated on.
    pub calibration: Option<CalibrationFrames>,
    /// The network record while it is being read ([`crate::bank_file::HostSection::network`]).
    pub(crate) network: Vec<u8>,
    /// Records of tags that this version does not know.
    pub others: Vec<(u32, Vec<u8>)>,
}

/// Where the rows of a bank are from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RowOrigins {
    /// The reference images, in the order of [`crate::bank_file::HostSection::references`].
    pub frames: Vec<ReferenceFrame>,
    /// One entry a row.
    pub rows: Vec<RowOrigin>,
}

/// Sizes of one reference image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReferenceFrame {
    /// Height and width of its patch grid.
    pub grid: (u16, u16),
    /// Width and height of the upright image, pixels.
    pub size: (u32, u32),
}

/// Where one row is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowOrigin {
    /// Number of the reference image.
    pub reference: u32,
    /// Grid cell in the upright image, `y * width + x`.
    pub cell: u32,
    /// The copy of the image that its feature was taken from.
    pub view: View,
}

/// Copies of a reference that give rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum View {
    /// The image itself.
    Upright,
    /// Left and right exchanged.
    FlippedHorizontally,
    /// Top and bottom exchanged.
    FlippedVertically,
    /// Both.
    Turned180,
    /// One of these at a coarser level; the cell is that of the upright image that the patch's middle
    /// lies in.
    Coarser,
}

impl View {
    /// Those of the input size, in the order in which a fit makes them.
    pub const ALL: [Self; 4] = [
        Self::Upright,
        Self::FlippedHorizontally,
        Self::FlippedVertically,
        Self::Turned180,
    ];

    /// Cell of the upright grid (`height` x `width`) that cell `cell` of this copy shows.
    pub fn upright_cell(self, cell: usize, height: usize, width: usize) -> usize {
        let (y, x) = (cell / width, cell % width);
        let (y, x) = match self {
            Self::Upright | Self::Coarser => (y, x),
            Self::FlippedHorizontally => (y, width - 1 - x),
            Self::FlippedVertically => (height - 1 - y, x),
            Self::Turned180 => (height - 1 - y, width - 1 - x),
        };
        y * width + x
    }
}

/// Moments of value profiles by class, from which the discriminant can be fitted again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassMoments {
    /// Patches of left-out references.
    pub normal: MomentsRecord,
    /// Pasted patches.
    pub synthetic: MomentsRecord,
    /// Patches of real defects, which were added later.
    pub missed: Option<MomentsRecord>,
    /// Standard deviation of the residual's length over normal patches.
    pub length_spread: f64,
    /// Shrinkage of the discriminant.
    pub shrinkage: f64,
    /// Shares of the discriminant that may be tried.
    pub blends: Vec<f64>,
}

/// First and second moments of the value profiles of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MomentsRecord {
    /// Number of profiles.
    pub count: f64,
    /// Mean of each value, smallest value first.
    pub mean: Vec<f32>,
    /// Standard deviation of each value.
    pub deviation: Vec<f32>,
    /// Correlations of values `i > j`, row by row, i16 little-endian in 1/32767.
    pub correlation: Vec<u8>,
}

/// What the thresholds were calibrated on, beside [`crate::bank_file::Calibration::scores`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CalibrationFrames {
    /// Highest smoothed patch score of each frame, in the order of the scores.
    pub peaks: Vec<i32>,
    /// Whether the frames are images from the line (`vod calibrate`), which are no references.
    pub from_line: bool,
    /// Left-out references that can be scored again.
    pub held_back: Vec<HeldBack>,
}

/// The patches of a reference that its image score was the mean of, and the next lower ones: enough to
/// score it again when the bank has changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldBack {
    /// Number of the reference image.
    pub reference: u32,
    /// Its left-out image score when the bank was fitted.
    pub score: i32,
    /// Its highest smoothed patch score when the bank was fitted.
    pub peak: i32,
    /// Patches whose mean is the image score.
    pub top: u32,
    /// Grid cell of each patch.
    pub cells: Vec<u32>,
    /// int8 features, `[cells, D]`.
    pub features: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Record<'r> {
    tag: u32,
    body: &'r [u8],
}

impl Records {
    /// Appends the records, and the network's, to a host section's bytes.
    ///
    /// # Errors
    /// [`Error::Fit`] where they can't be encoded.
    pub(crate) fn append_to(&self, network: &[u8], host: &mut Vec<u8>) -> Result<()> {
        let wrong = |e: postcard::Error| Error::Fit(format!("records of the bank: {e}"));
        let mut put = |tag: u32, body: Vec<u8>| -> Result<()> {
            let record = Record { tag, body: &body };
            host.extend(postcard::to_stdvec(&record).map_err(wrong)?);
            Ok(())
        };
        if let Some(origins) = &self.origins {
            put(ORIGINS, postcard::to_stdvec(origins).map_err(wrong)?)?;
        }
        if let Some(moments) = &self.moments {
            put(MOMENTS, postcard::to_stdvec(moments).map_err(wrong)?)?;
        }
        if let Some(calibration) = &self.calibration {
            put(
                CALIBRATION,
                postcard::to_stdvec(calibration).map_err(wrong)?,
            )?;
        }
        if !network.is_empty() {
            put(NETWORK, network.to_vec())?;
        }
        for (tag, body) in &self.others {
            put(*tag, body.clone())?;
        }
        Ok(())
    }

    /// Reads what follows the host section; `rows`, `dimension` and `references` are the bank's.
    ///
    /// # Errors
    /// What does not hold, in words.
    pub(crate) fn read(
        mut bytes: &[u8],
        rows: usize,
        dimension: usize,
        references: usize,
    ) -> std::result::Result<Self, String> {
        let mut records = Self::default();
        let wrong = |e: postcard::Error| e.to_string();
        while !bytes.is_empty() {
            let (record, rest): (Record, &[u8]) =
                postcard::take_from_bytes(bytes).map_err(wrong)?;
            bytes = rest;
            match record.tag {
                ORIGINS => {
                    records.origins = Some(postcard::from_bytes(record.body).map_err(wrong)?);
                }
                MOMENTS => {
                    records.moments = Some(postcard::from_bytes(record.body).map_err(wrong)?);
                }
                CALIBRATION => {
                    records.calibration = Some(postcard::from_bytes(record.body).map_err(wrong)?);
                }
                NETWORK => records.network = record.body.to_vec(),
                tag => records.others.push((tag, record.body.to_vec())),
            }
        }
        let need = |holds: bool, what: &str| holds.then_some(()).ok_or_else(|| what.to_string());
        if let Some(origins) = &records.origins {
            need(
                origins.rows.len() == rows && origins.frames.len() == references,
                "origins are not as many as rows or references",
            )?;
            let known = |row: &RowOrigin| {
                origins.frames.get(row.reference as usize).is_some_and(|f| {
                    u64::from(row.cell) < u64::from(f.grid.0) * u64::from(f.grid.1)
                })
            };
            need(
                origins.rows.iter().all(known),
                "the origin of a row is outside its image",
            )?;
        }
        if let Some(moments) = &records.moments {
            let fits = |m: &MomentsRecord| {
                m.mean.len() == dimension
                    && m.deviation.len() == dimension
                    && m.correlation.len() == dimension * (dimension - 1)
            };
            need(
                fits(&moments.normal)
                    && fits(&moments.synthetic)
                    && moments.missed.as_ref().is_none_or(fits),
                "moments of another dimension than the rows",
            )?;
        }
        if let Some(calibration) = &records.calibration {
            let fits = |h: &HeldBack| {
                (h.reference as usize) < references
                    && h.features.len() == h.cells.len() * dimension
                    && (h.top as usize) <= h.cells.len()
                    && h.top > 0
            };
            need(
                calibration.held_back.iter().all(fits),
                "held-back patches do not fit the bank",
            )?;
        }
        Ok(records)
    }
}

#[cfg(test)]
mod tests {
    use super::{Records, RowOrigins, View};

    #[test]
    fn unknown_records_are_kept_and_cut_ones_refused() {
        let records = Records {
            origins: Some(RowOrigins::default()),
            others: vec![(77, vec![1, 2, 3])],
            ..Records::default()
        };
        let mut bytes = Vec::new();
        records.append_to(&[], &mut bytes).unwrap();
        assert_eq!(Records::read(&bytes, 0, 1, 0).unwrap(), records);
        assert_eq!(Records::read(&[], 5, 1, 2).unwrap(), Records::default());
        assert!(Records::read(&bytes[..bytes.len() - 1], 0, 1, 0).is_err());
        assert!(Records::read(&bytes, 1, 1, 0).is_err(), "a row too few");
    }

    #[test]
    fn mirrored_cells_lead_back_to_the_upright_image() {
        let at = |view: View| view.upright_cell(1, 3, 4);
        assert_eq!(View::ALL.map(at), [1, 2, 9, 10]);
    }
}
