//! `vod export`: a bank for firmware.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vod_host::Result;
use vod_host::bank_file::{BankFile, write_file};
use vod_host::export::{Artefact, Format};

use crate::{Outcome, output};

/// Write a bank as firmware takes it, without what only the host needs.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod export part.vod --format c-header --out part.h\n  \
                  vod export part.vod --format bin --out part.bin"
)]
pub struct Arguments {
    /// Bank file.
    bank: PathBuf,
    /// Form of the output.
    #[arg(long, value_enum)]
    format: Name,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// What is written: the bank, or the int8 network that a bank of `edge-int8` carries.
    #[arg(long, value_enum, default_value_t = Part::Bank)]
    part: Part,
    /// Name of the array, in small letters [default: vod_bank or vod_network].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Replace an existing file.
    #[arg(long)]
    force: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Bank,
    Network,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    /// A static array in Rust source.
    Rust,
    /// A const array in a C or C++ header, and a macro for its size.
    CHeader,
    /// The bytes themselves.
    Bin,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let file = BankFile::read(&arguments.bank)?;
    let (artefact, name) = match arguments.part {
        Part::Bank => (Artefact::bank(&file)?, "vod_bank"),
        Part::Network => (Artefact::network(&file)?, "vod_network"),
    };
    let format = match arguments.format {
        Name::Rust => Format::Rust,
        Name::CHeader => Format::CHeader,
        Name::Bin => Format::Bin,
    };
    let contents = artefact.render(format, arguments.name.as_deref().unwrap_or(name))?;
    write_file(&arguments.out, &contents, arguments.force)?;
    output::print(&format!(
        "{}: {} bytes for the device\n",
        arguments.out.display(),
        artefact.bytes.len()
    ))?;
    Ok(Outcome::Done)
}
