//! Banks and networks as firmware takes them: without the host section, as raw bytes, Rust or C
//! source.

use std::fmt::Write;

use vod_core::Levels;
use vod_core::conv::Network;

use crate::bank_file::BankFile;
use crate::error::{Error, Result};

/// Alignment of exported arrays, bytes: no kernel loads more at once.
pub const ALIGNMENT: usize = 16;
/// Bytes in a line of source.
const BYTES_PER_LINE: usize = 16;

/// How an exported array is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// A Rust `static`, aligned.
    Rust,
    /// A C (C11) or C++ (C++11) header with an aligned array and a macro for its size.
    CHeader,
    /// The bytes themselves.
    Bin,
}

/// Bytes for firmware, and what is said about them in source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artefact {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// What they are, one line each.
    pub description: Vec<String>,
}

impl Artefact {
    /// The bank without its host section: all that a device reads.
    ///
    /// # Errors
    /// As [`BankFile::device_bytes`].
    pub fn bank(file: &BankFile) -> Result<Self> {
        let view = file.bank().map_err(|e| Error::Fit(e.to_string()))?;
        let bytes = file.device_bytes()?;
        let host = file.host();
        let grid = view.grid().map_or_else(
            || "frames of any size".to_string(),
            |grid| format!("frames of {} x {} patches", grid.height(), grid.width()),
        );
        let levels = match file.levels() {
            Levels::One => String::new(),
            several => format!(", at {} levels", several.count()),
        };
        let description = vec![
            format!(
                "Reference bank of VOD, format version {}: {} rows of {} channels, {grid}{levels}.",
                vod_core::bank::VERSION,
                view.row_count(),
                view.dimension()
            ),
            format!(
                "Backbone `{}`, SHA-256 {}.",
                plain(&host.backbone_id),
                plain(&host.backbone_sha256)
            ),
            format!(
                "A frame is anomalous from an image score of {}.",
                view.parts().threshold
            ),
        ];
        Ok(Self { bytes, description })
    }

    /// The int8 network that a bank carries.
    ///
    /// # Errors
    /// [`Error::Data`] where the bank's backbone is no network of its own.
    pub fn network(file: &BankFile) -> Result<Self> {
        let host = file.host();
        let network = Network::from_bytes(&host.network).map_err(|_| {
            Error::Data(format!(
                "the bank carries no network: it was fitted with backbone `{}`, which no microcontroller runs",
                host.backbone_id
            ))
        })?;
        let description = vec![
            format!(
                "Network of VOD, format version {}: {} layers, {} channels at stride {}.",
                vod_core::conv::VERSION,
                network.layers().len(),
                network.dimension(),
                network.stride()
            ),
            format!("Calibrated backbone `{}`.", plain(&host.backbone_id)),
        ];
        Ok(Self {
            bytes: host.network.clone(),
            description,
        })
    }

    /// The file's contents in `format`; `name` is the array's, in small letters.
    ///
    /// # Errors
    /// [`Error::Data`] where `name` is no identifier of small letters, digits and `_`.
    pub fn render(&self, format: Format, name: &str) -> Result<Vec<u8>> {
        let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(letters) {
            return Err(Error::Data(format!(
                "array name `{name}`: expected small letters, digits and _, a letter first"
            )));
        }
        Ok(match format {
            Format::Rust => self.rust(name).into_bytes(),
            Format::CHeader => self.c_header(name).into_bytes(),
            Format::Bin => self.bytes.clone(),
        })
    }

    fn rust(&self, name: &str) -> String {
        let upper = name.to_uppercase();
        let length = self.bytes.len();
        let mut text = String::from("// Written by `vod export`.\n\n");
        let _ = write!(
            text,
            "#[repr(C, align({ALIGNMENT}))]\nstruct Aligned([u8; {length}]);\n\n"
        );
        for line in &self.description {
            let _ = writeln!(text, "/// {line}");
        }
        let _ = write!(
            text,
            "pub static {upper}: &[u8; {length}] = &{upper}_BYTES.0;\n\n\
             #[rustfmt::skip]\nstatic {upper}_BYTES: Aligned = Aligned([\n"
        );
        self.numbers(&mut text);
        text.push_str("]);\n");
        text
    }

    fn c_header(&self, name: &str) -> String {
        let upper = name.to_uppercase();
        let mut text = String::from("/* Written by `vod export`.\n *\n");
        for line in &self.description {
            let _ = writeln!(text, " * {line}");
        }
        let _ = write!(
            text,
            " */\n#ifndef {upper}_H\n#define {upper}_H\n\n#include <stdint.h>\n\n\
             #define {upper}_SIZE {length}u\n\n\
             #ifdef __cplusplus\nalignas({ALIGNMENT})\n#else\n_Alignas({ALIGNMENT})\n#endif\n\
             static const uint8_t {name}[{upper}_SIZE] = {{\n",
            length = self.bytes.len()
        );
        self.numbers(&mut text);
        let _ = write!(text, "}};\n\n#endif /* {upper}_H */\n");
        text
    }

    fn numbers(&self, text: &mut String) {
        for line in self.bytes.chunks(BYTES_PER_LINE) {
            text.push_str("   ");
            for byte in line {
                let _ = write!(text, " {byte},");
            }
            text.push('\n');
        }
    }
}

/// Text of a bank that may stand in a comment: whoever wrote the bank can't end it.
fn plain(text: &str) -> String {
    let keep = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
    text.chars()
        .map(|c| if keep(c) { c } else { '?' })
        .collect()
}
