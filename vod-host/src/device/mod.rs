//! Devices that run the firmware: how they are reached, and whether they give the host's bits.
//!
//! What is said is in [`vod_protocol`], what runs there in `firmware/`.

mod port;

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;

use image::RgbImage;
use sha2::{Digest, Sha256};
use vod_core::bank::checksum;
use vod_core::conv::Network;
use vod_core::{Bank, FrameError, regions};
pub use vod_protocol::{BankInfo, DeviceInfo, NetworkRun, Patience, Statistics, Verdict};
use vod_protocol::{Client, ClientError, LevelPixels};

use crate::backbone::{hex, int8};
use crate::bank_file::BankFile;
use crate::error::{Error, Result};
use crate::score::{Frame, score_levels};
pub use port::{Connection, Port};

/// A session with a device.
pub struct Device {
    port: Port,
    client: Client<Connection>,
}

/// What the device and the host found in one frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// The device's verdict.
    pub device: Verdict,
    /// The host's, without cycles.
    pub host: Verdict,
    /// Patches whose smoothed scores differ.
    pub differing_patches: usize,
}

impl Comparison {
    /// Whether every bit is the same.
    pub fn equal(&self) -> bool {
        let mut host = Verdict {
            cycles: self.device.cycles,
            ..self.host.clone()
        };
        if let (Some(host), Some(device)) = (&mut host.network, &self.device.network) {
            host.cycles = device.cycles;
        }
        self.differing_patches == 0 && self.device == host
    }
}

impl Device {
    /// Opens a session. `baud` counts for serial lines.
    ///
    /// # Errors
    /// [`Error::Device`] where nothing answers that speaks this version of the protocol.
    pub fn connect(port: Port, baud: u32, patience: Patience) -> Result<Self> {
        let failed = |reason: String| Error::Device {
            port: port.to_string(),
            reason,
        };
        let connection =
            Connection::open(&port, baud, patience.first).map_err(|e| failed(e.to_string()))?;
        // A hasher's keys are random: no two sessions with a device get the same number.
        let session = RandomState::new().build_hasher().finish() as u32;
        let client =
            Client::connect(connection, session, patience).map_err(|e| failed(message(&e)))?;
        Ok(Self { port, client })
    }

    /// The device and its limits.
    pub fn info(&self) -> &DeviceInfo {
        self.client.device()
    }

    /// How often requests had to be sent again.
    pub fn resent(&self) -> u32 {
        self.client.resent()
    }

    /// The bank that the device scores with.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn bank(&mut self) -> Result<Option<BankInfo>> {
        let bank = self.client.bank();
        self.checked(bank)
    }

    /// Counters since the device's start.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn statistics(&mut self) -> Result<Statistics> {
        let statistics = self.client.statistics();
        self.checked(statistics)
    }

    /// Whether the device makes the features of pixels itself, with the network of `file`.
    pub fn takes_pixels(&self, file: &BankFile) -> bool {
        let host = file.host();
        self.info().pixels && !host.network.is_empty() && host.preprocess.tile.is_none()
    }

    /// The device's part of `file`: the bank without its host section, and the network behind it where
    /// the device runs networks.
    fn content(&self, file: &BankFile) -> Result<Vec<u8>> {
        let mut bytes = file.device_bytes()?;
        if self.info().pixels {
            bytes.extend(&file.host().network);
        }
        Ok(bytes)
    }

    /// Replaces the device's bank by the device's part of `file` where it is another one; says whether
    /// it was. `progress` is told the bytes that the device has, and how many there are.
    ///
    /// # Errors
    /// [`Error::Device`]; the old bank stays in use.
    pub fn update(
        &mut self,
        file: &BankFile,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<bool> {
        if self.holds(file)? {
            return Ok(false);
        }
        let bytes = self.content(file)?;
        let updated = self
            .client
            .update(&bytes, |done| progress(done, bytes.len()));
        self.checked(updated)?;
        if !self.holds(file)? {
            let reason = "it says that it was updated, but holds another bank".to_string();
            return Err(self.error(reason));
        }
        Ok(true)
    }

    /// Whether the device's bank is the device's part of `file`.
    ///
    /// # Errors
    /// [`Error::Device`].
    pub fn holds(&mut self, file: &BankFile) -> Result<bool> {
        let sha256: [u8; 32] = Sha256::digest(self.content(file)?).into();
        Ok(self.bank()?.is_some_and(|bank| bank.sha256 == sha256))
    }

    /// Has the device score a frame, reads its map and compares both with the host's own result.
    /// `bank` is the one that the device holds.
    ///
    /// # Errors
    /// [`Error::Device`]; [`Error::Frame`] where the features do not fit the bank.
    pub fn compare(&mut self, bank: &Bank, frame: &Frame) -> Result<Comparison> {
        let expected = host_verdict(bank, frame)?;
        // It has all levels, or the host would have refused it.
        let levels = frame.at_levels(bank.parts().image_score.levels);
        let verdict = self.client.score(&levels.unwrap_or_default());
        self.compare_with(expected, verdict)
    }

    /// As [`Self::compare`], for a device that runs the network itself: it gets the pixels of the frame
    /// at all levels of the bank, the input size first (grey where all three colours are equal).
    /// `network` is the one that the device holds.
    ///
    /// # Errors
    /// [`Error::Device`]; [`Error::Frame`] where the frame does not fit network and bank.
    pub fn compare_pixels(
        &mut self,
        bank: &Bank,
        network: &Network,
        pictures: &[RgbImage],
    ) -> Result<Comparison> {
        let frame = network_frame(network, pictures)?;
        let coarser = frame.coarser.iter().map(|(_, features)| features);
        let all: Vec<i8> = std::iter::once(&frame.features)
            .chain(coarser)
            .flatten()
            .copied()
            .collect();
        let (mut host, map) = host_verdict(bank, &frame)?;
        host.network = Some(NetworkRun {
            cycles: 0,
            features: checksum(bytemuck::cast_slice(&all)),
        });
        let grey: Option<Vec<Vec<u8>>> = pictures.iter().map(grey).collect();
        let sent = pictures
            .iter()
            .enumerate()
            .map(|(number, picture)| LevelPixels {
                // Sides that a network takes are at most 4096.
                height: picture.height() as u16,
                width: picture.width() as u16,
                pixels: match &grey {
                    Some(grey) => &grey[number],
                    None => picture.as_raw(),
                },
            });
        let sent: Vec<LevelPixels> = sent.collect();
        let verdict = self.client.score_pixels(&sent);
        self.compare_with((host, map), verdict)
    }

    fn compare_with(
        &mut self,
        (host, map): (Verdict, Vec<i32>),
        verdict: std::result::Result<Verdict, ClientError<io::Error>>,
    ) -> Result<Comparison> {
        let device = self.checked(verdict)?;
        let mut found = vec![0; map.len()];
        let read = self.client.read_map(&mut found);
        self.checked(read)?;
        Ok(Comparison {
            device,
            host,
            differing_patches: map.iter().zip(&found).filter(|(a, b)| a != b).count(),
        })
    }

    fn checked<T>(&self, result: std::result::Result<T, ClientError<io::Error>>) -> Result<T> {
        result.map_err(|e| self.error(message(&e)))
    }

    fn error(&self, reason: String) -> Error {
        Error::Device {
            port: self.port.to_string(),
            reason,
        }
    }
}

/// What a network makes of the pictures of a frame, one for each level, the input size first.
///
/// # Errors
/// [`Error::Frame`] where there is no picture, or the network does not take its size.
pub fn network_frame(network: &Network, pictures: &[RgbImage]) -> Result<Frame> {
    let levels = pictures.iter().map(|picture| {
        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let grid = network.grid(height, width).ok_or(FrameError::Grid)?;
        let features = int8::features(network, picture.as_raw(), height, width)?;
        Ok((grid, features))
    });
    let mut levels = levels.collect::<Result<Vec<_>>>()?.into_iter();
    let (grid, features) = levels.next().ok_or(FrameError::Grid)?;
    Ok(Frame {
        grid,
        features,
        coarser: levels.collect(),
    })
}

/// One byte a pixel, where all three colours of all pixels are equal.
fn grey(picture: &RgbImage) -> Option<Vec<u8>> {
    let colours = picture.as_raw().as_chunks::<3>().0;
    let pixels = colours
        .iter()
        .map(|&[r, g, b]| (r == g && g == b).then_some(r));
    pixels.collect()
}

/// What a device has to answer to a frame, but for its cycles, and the map, `[height, width]`.
///
/// # Errors
/// [`Error::Frame`] where the features do not fit the bank.
pub fn host_verdict(bank: &Bank, frame: &Frame) -> Result<(Verdict, Vec<i32>)> {
    let (score, map) = score_levels(bank, frame)?;
    let map = map.into_raw_vec_and_offset().0;
    let mut labels = vec![0; map.len()];
    let verdict = Verdict {
        score: score.score,
        threshold: score.threshold,
        anomalous: score.anomalous(),
        map_max: score.map_max,
        cycles: 0,
        regions: regions(&map, frame.grid, bank.parts().map_threshold, &mut labels)?,
        network: None,
    };
    Ok((verdict, map))
}

/// The SHA-256 of a bank, lower-case hexadecimal.
pub fn bank_hash(bank: &BankInfo) -> String {
    hex(&bank.sha256)
}

/// What is said of an error.
fn message(error: &ClientError<io::Error>) -> String {
    match error {
        ClientError::NoAnswer { attempts } => format!(
            "no answer, asked {attempts} times; is the firmware running, and is the baud rate right?"
        ),
        other => other.to_string(),
    }
}
