//! `vod completions`: what a shell needs to complete commands and options.

use clap::{Args, CommandFactory};
use clap_complete::Shell;
use vod_host::Result;

use crate::{Outcome, output};

/// Print a completion script for a shell.
#[derive(Args)]
#[command(
    after_help = "Example:\n  vod completions bash > ~/.local/share/bash-completion/completions/vod"
)]
pub struct Arguments {
    /// Shell that the script is for.
    shell: Shell,
}

pub fn run(arguments: &Arguments) -> Result<Outcome> {
    let mut script = Vec::new();
    let mut command = crate::Arguments::command();
    clap_complete::generate(arguments.shell, &mut command, "vod", &mut script);
    output::print(&String::from_utf8_lossy(&script))?;
    Ok(Outcome::Done)
}
