//! `vod man`: manual pages, made from the same descriptions as --help.

use std::path::PathBuf;

use clap::{Args, Command, CommandFactory};
use clap_mangen::Man;
use vod_host::bank_file::write_file;
use vod_host::{Error, Result};

use crate::{Outcome, output};

/// Print the manual page, or write one page a command.
#[derive(Args)]
#[command(after_help = "Example:\n  vod man --out ~/.local/share/man/man1")]
pub struct Arguments {
    /// Folder for vod.1, vod-fit.1 and so on, instead of printing vod.1.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace existing files.
    #[arg(long)]
    force: bool,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut command = crate::Arguments::command();
    command.build();
    let Some(folder) = &arguments.out else {
        output::print(&page(command)?)?;
        return Ok(Outcome::Done);
    };
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let mut pages = vec![("vod.1".to_string(), page(command.clone())?)];
    for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
        let name = format!("vod-{}.1", sub.get_name());
        pages.push((name, page(sub.clone())?));
    }
    for (name, text) in pages {
        write_file(&folder.join(name), text.as_bytes(), arguments.force)?;
    }
    Ok(Outcome::Done)
}

fn page(command: Command) -> Result<String> {
    let mut text = Vec::new();
    Man::new(command)
        .render(&mut text)
        .map_err(Error::io("manual page"))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
