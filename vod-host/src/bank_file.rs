//! Bank files: written whole or not at all, read with their host section.

use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vod_core::bank::{BankParts, HEADER_LEN, MAGIC, TRAILER_LEN, VERSION, checksum};
use vod_core::{Bank, BankError, Grid, Levels};

use crate::backbone::{Backbone, FeatureSpec};
use crate::bank_records::Records;
use crate::error::{Error, Result};
use crate::fit::Transform;
use crate::preprocess::Preprocess;

/// What a bank holds for the host alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HostSection {
    /// Version of the program that wrote the bank.
    pub vod_version: String,
    /// Id of the backbone.
    pub backbone_id: String,
    /// SHA-256 of the backbone's file, lower-case hexadecimal.
    pub backbone_sha256: String,
    /// From image to the backbone's input.
    pub preprocess: Preprocess,
    /// From the backbone's outputs to patch features.
    pub features: FeatureSpec,
    /// From patch features to int8 channels.
    pub transform: Transform,
    /// Where the thresholds are from.
    pub calibration: Calibration,
    /// Names of the reference images.
    pub references: Vec<String>,
    /// Seed of the fit.
    pub seed: u64,
    /// Share of the discriminant in the patch score; the rest is plain distance.
    pub blend: f64,
    /// Network file (`docs/network-format.md`) where the backbone was calibrated on the references,
    /// otherwise empty. A record of its own.
    #[serde(skip)]
    pub network: Vec<u8>,
}

/// Thresholds in score units, and what they were made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Image score from which a frame is anomalous.
    pub threshold: i32,
    /// Median image score of left-out normal frames.
    pub normal_score: i32,
    /// Smoothed patch score from which a patch belongs to a region.
    pub map_threshold: i32,
    /// False-positive rate that was aimed at.
    pub fpr: f64,
    /// Image scores of the left-out normal frames.
    pub scores: Vec<i32>,
    /// Whether there was a single reference, whose re-lit copies stood in for other frames.
    pub is_guess: bool,
    /// How well the bank tells synthetic anomalies from left-out normal frames.
    pub synthetic: SyntheticFigures,
}

/// Figures on the cut-and-paste anomalies of the fit, against left-out normal references; what
/// recipes are compared by, since they need no defect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SyntheticFigures {
    /// AUROC over whole pictures.
    pub image_auroc: Option<f64>,
    /// AUROC of the smoothed map over patches.
    pub patch_auroc: Option<f64>,
    /// Average precision of the smoothed map over patches.
    pub patch_ap: Option<f64>,
}

impl Calibration {
    /// A placeholder for banks that are not yet calibrated: nothing is anomalous.
    pub(crate) fn open() -> Self {
        Self {
            threshold: i32::MAX,
            normal_score: 0,
            map_threshold: i32::MAX,
            fpr: 0.0,
            scores: Vec::new(),
            is_guess: true,
            synthetic: SyntheticFigures::default(),
        }
    }
}

/// A bank file in memory, checked, with its host section decoded.
#[derive(Clone, Debug)]
pub struct BankFile {
    bytes: Vec<u8>,
    host: HostSection,
    records: Records,
}

impl BankFile {
    /// Reads and checks a bank file.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::Bank`], [`Error::BankHost`].
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(Error::io(path))?;
        Self::parse(bytes, path)
    }

    /// Checks a bank file in memory.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        Self::parse(bytes, Path::new("bank"))
    }

    fn parse(bytes: Vec<u8>, path: &Path) -> Result<Self> {
        let path = path.to_path_buf();
        let bank = Bank::from_bytes(&bytes).map_err(|source| Error::Bank {
            path: path.clone(),
            source,
        })?;
        let bad = |reason: String| Error::BankHost {
            path: path.clone(),
            reason,
        };
        let (mut host, rest): (HostSection, &[u8]) =
            postcard::take_from_bytes(bank.parts().host).map_err(|e| bad(e.to_string()))?;
        let mut records = Records::read(
            rest,
            bank.row_count(),
            bank.dimension(),
            host.references.len(),
        )
        .map_err(bad)?;
        host.network = std::mem::take(&mut records.network);
        let transform = &host.transform;
        let channels = transform.channel_scale.len();
        if transform.dimension != bank.dimension()
            || transform.basis.len()
                != if transform.basis.is_empty() {
                    0
                } else {
                    channels * transform.dimension
                }
            || (transform.basis.is_empty() && channels != transform.dimension)
        {
            return Err(bad("the transform does not fit the rows".into()));
        }
        Ok(Self {
            bytes,
            host,
            records,
        })
    }

    /// The whole file.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The device's view.
    ///
    /// # Errors
    /// None in practice: the bytes were checked when this was made.
    pub fn bank(&self) -> std::result::Result<Bank<'_>, BankError> {
        Bank::from_bytes(&self.bytes)
    }

    /// The levels that the bank looks at.
    pub fn levels(&self) -> Levels {
        let bank = self.bank();
        bank.map_or(Levels::One, |bank| bank.parts().image_score.levels)
    }

    /// The bank without its host section: all that a device reads.
    ///
    /// # Errors
    /// None in practice, see [`Self::bank`].
    pub fn device_bytes(&self) -> Result<Vec<u8>> {
        let bank = self.bank().map_err(|e| Error::Fit(e.to_string()))?;
        encode_parts(&BankParts {
            host: &[],
            ..bank.parts().clone()
        })
    }

    /// The host's section.
    pub fn host(&self) -> &HostSection {
        &self.host
    }

    /// What the bank keeps of its references beyond their rows.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// The same bank with changed parts, host section and records; `parts.host` is made from the two.
    ///
    /// # Errors
    /// [`Error::Fit`] where they break the format's rules.
    pub fn rebuilt(parts: &BankParts, host: &HostSection, records: &Records) -> Result<Self> {
        Self::from_bytes(encode_parts(&BankParts {
            host: &encode_host(host, records)?,
            ..parts.clone()
        })?)
    }

    /// The same bank with the rows of one template (its int8 features, `[height * width, D]`) and
    /// without a host section: for golden-sample inspection, one template a frame.
    ///
    /// # Errors
    /// [`Error::Fit`] where the template does not fit the bank.
    pub fn with_template(&self, rows: &[i8], grid: Grid) -> Result<Vec<u8>> {
        let bank = self.bank().map_err(|e| Error::Fit(e.to_string()))?;
        let norms = row_norms(rows, bank.dimension());
        let cells: Vec<u8> = if bank.is_aligned() {
            (0..=grid.len() as u32).flat_map(u32::to_le_bytes).collect()
        } else {
            Vec::new()
        };
        encode_parts(&BankParts {
            row_count: (rows.len() / bank.dimension()) as u32,
            grid: (grid.height() as u16, grid.width() as u16),
            norms: &norms,
            cells: &cells,
            rows: bytemuck::cast_slice(rows),
            host: &[],
            ..bank.parts().clone()
        })
    }

    /// Writes the file; an existing one is replaced only with `force`, and only by a whole one.
    ///
    /// # Errors
    /// [`Error::Exists`], [`Error::Io`].
    pub fn write(&self, path: &Path, force: bool) -> Result<()> {
        write_file(path, &self.bytes, force)
    }

    /// Refuses another backbone than the one that the bank was fitted with. How its outputs are averaged
    /// over neighbours is the bank's own affair: the manifest says it for new banks.
    ///
    /// # Errors
    /// [`Error::BankBackbone`].
    pub fn check_backbone(&self, backbone: &dyn Backbone) -> Result<()> {
        let manifest = backbone.manifest();
        let features = FeatureSpec {
            pool: manifest.features.pool,
            ..self.host.features.clone()
        };
        if self
            .host
            .backbone_sha256
            .eq_ignore_ascii_case(&manifest.sha256)
            && features == manifest.features
        {
            return Ok(());
        }
        Err(Error::BankBackbone {
            expected_id: self.host.backbone_id.clone(),
            expected: self.host.backbone_sha256.clone(),
            found_id: manifest.id.clone(),
            found: manifest.sha256.clone(),
        })
    }
}

/// Held while a file is written.
static WRITING: Mutex<()> = Mutex::new(());

/// Waits until no file is being written; none is begun while the guard is held. A program that ends
/// under it leaves no temporary file behind.
pub fn wait_for_writes() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes `bytes` to a temporary file beside `path`, then renames it.
///
/// # Errors
/// As [`write_file_with`].
pub fn write_file(path: &Path, bytes: &[u8], force: bool) -> Result<()> {
    write_file_with(path, force, |file| file.write_all(bytes))
}

/// As [`write_file`], for content that `fill` writes piece by piece.
///
/// # Errors
/// [`Error::Exists`] where the file exists and `force` is not set, [`Error::Io`].
pub fn write_file_with(
    path: &Path,
    force: bool,
    fill: impl FnOnce(&mut BufWriter<&File>) -> std::io::Result<()>,
) -> Result<()> {
    let _writing = wait_for_writes();
    if is_device(path) {
        let device = OpenOptions::new()
            .write(true)
            .open(path)
            .map_err(Error::io(path))?;
        let mut writer = BufWriter::new(&device);
        fill(&mut writer).map_err(Error::io(path))?;
        return writer.flush().map_err(Error::io(path));
    }
    refuse_existing(path, force)?;
    let mut file = tempfile::Builder::new()
        .prefix(".vod-")
        .tempfile_in(folder_of(path))
        .map_err(Error::io(path))?;
    let mut writer = BufWriter::new(file.as_file());
    fill(&mut writer).map_err(Error::io(path))?;
    writer.flush().map_err(Error::io(path))?;
    drop(writer);
    file.as_file_mut().sync_all().map_err(Error::io(path))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o644);
        file.as_file()
            .set_permissions(mode)
            .map_err(Error::io(path))?;
    }
    let persisted = if force {
        file.persist(path).map_err(|e| e.error)
    } else {
        file.persist_noclobber(path).map_err(|e| e.error)
    };
    persisted.map(|_| ()).map_err(Error::io(path))
}

/// Whether `path` is a device or a pipe, which takes bytes as they come and has nothing to lose.
fn is_device(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|kind| !kind.is_file() && !kind.is_dir())
}

/// Refuses an output that exists already, unless it may be replaced.
///
/// # Errors
/// [`Error::Exists`].
pub fn refuse_existing(path: &Path, force: bool) -> Result<()> {
    if path.exists() && !force && !is_device(path) {
        return Err(Error::Exists {
            path: path.to_path_buf(),
        });
    }
    Ok(())
}

/// Refuses, before the work that makes it, an output that could not be written after it: one that
/// exists already (unless it may be replaced), or in a folder that is missing or takes no files.
///
/// # Errors
/// [`Error::Exists`], [`Error::Io`].
pub fn check_output(path: &Path, force: bool) -> Result<()> {
    refuse_existing(path, force)?;
    if !is_device(path) {
        // Without a name where the system can do that, so that nothing is left however this ends.
        tempfile::tempfile_in(folder_of(path)).map_err(Error::io(path))?;
    }
    Ok(())
}

/// The folder that a file at `path` lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Squared norms of int8 rows, as a bank holds them.
pub(crate) fn row_norms(rows: &[i8], dimension: usize) -> Vec<u8> {
    rows.chunks_exact(dimension)
        .map(|row| {
            row.iter()
                .map(|&v| i32::from(v).unsigned_abs().pow(2))
                .sum::<u32>()
        })
        .flat_map(u32::to_le_bytes)
        .collect()
}

/// Encodes a host section and the records that follow it.
///
/// # Errors
/// [`Error::Fit`] where they can't be encoded.
pub fn encode_host(host: &HostSection, records: &Records) -> Result<Vec<u8>> {
    let mut bytes = postcard::to_stdvec(host).map_err(|e| Error::Fit(e.to_string()))?;
    records.append_to(&host.network, &mut bytes)?;
    Ok(bytes)
}

/// Encodes a bank file: magic, version, length, postcard body, CRC-32 (`docs/bank-format.md`).
///
/// # Errors
/// [`Error::Fit`] where the parts break the format's rules.
pub fn encode_parts(parts: &BankParts) -> Result<Vec<u8>> {
    Bank::from_parts(parts.clone()).map_err(|e| Error::Fit(e.to_string()))?;
    let body = postcard::to_stdvec(parts).map_err(|e| Error::Fit(e.to_string()))?;
    wrap(MAGIC, VERSION, &body)
}

/// A file of the project's layout: magic, version, reserved, body length, body, CRC-32.
///
/// # Errors
/// [`Error::Fit`] for a body of 4 GB and more.
pub(crate) fn wrap(magic: [u8; 4], version: u16, body: &[u8]) -> Result<Vec<u8>> {
    let length = u32::try_from(body.len())
        .map_err(|_| Error::Fit(format!("a file of {} bytes is too large", body.len())))?;
    let mut bytes = Vec::with_capacity(HEADER_LEN + body.len() + TRAILER_LEN);
    bytes.extend(magic);
    bytes.extend(version.to_le_bytes());
    bytes.extend([0, 0]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(body);
    bytes.extend(checksum(&bytes).to_le_bytes());
    Ok(bytes)
}

/// The body of a file that [`wrap`] made; says why where it is none.
pub(crate) fn unwrap_body(
    bytes: &[u8],
    magic: [u8; 4],
    version: u16,
) -> std::result::Result<&[u8], String> {
    if !bytes.starts_with(&magic) {
        let magic = String::from_utf8_lossy(&magic).into_owned();
        return Err(format!("it does not start with `{magic}`"));
    }
    let short = || format!("it was cut off, {} bytes are left", bytes.len());
    let (covered, sum) = bytes.split_last_chunk::<TRAILER_LEN>().ok_or_else(short)?;
    let (header, body) = covered
        .split_first_chunk::<HEADER_LEN>()
        .ok_or_else(short)?;
    let found = u16::from_le_bytes([header[4], header[5]]);
    if found != version {
        return Err(format!(
            "it has format version {found}, this program reads version {version}"
        ));
    }
    let length = u32::from_le_bytes([header[8], header[9], header[10], header[11]]);
    if length as usize != body.len() {
        return Err(format!(
            "it has {} bytes of content, its header promises {length}",
            body.len()
        ));
    }
    if checksum(covered) != u32::from_le_bytes(*sum) {
        return Err("it is damaged, its CRC-32 does not match".into());
    }
    Ok(body)
}
