//! The `vod` command: arguments and printing around the `vod_host` library.

mod bank;
mod calibrate;
mod completions;
mod demo;
mod device;
mod drift;
mod eval;
mod export;
mod fit;
mod gaps;
mod inspect;
mod man;
mod output;
mod recipe;
mod score;
mod synthesise;
mod train;
mod update;
mod watch;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Visual anomaly detection from a handful of good parts.
#[derive(Parser)]
#[command(name = "vod", version, about, max_term_width = 100)]
struct Arguments {
    /// No progress bars.
    #[arg(long, global = true)]
    quiet: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Arguments),
    Device(device::Arguments),
    Fit(fit::Arguments),
    Score(score::Arguments),
    Inspect(inspect::Arguments),
    Eval(eval::Arguments),
    Export(export::Arguments),
    Synthesise(synthesise::Arguments),
    Train(train::Arguments),
    Gaps(gaps::Arguments),
    Completions(completions::Arguments),
    Man(man::Arguments),
    Calibrate(calibrate::Arguments),
    Update(update::Arguments),
    Drift(drift::Arguments),
    Watch(watch::Arguments),
}

/// How a command ended, where it did not fail altogether.
pub enum Outcome {
    /// Everything was done.
    Done,
    /// Something was left out and reported.
    Incomplete,
    /// An image is anomalous and the caller wanted to know by the exit status.
    Anomalous,
}

/// Exit status after Ctrl-C: 128 and the signal's number, as shells have it.
const INTERRUPTED: i32 = 130;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let quiet = arguments.quiet;
    // A file is written whole or not at all, whenever Ctrl-C is pressed. Without a handler, Ctrl-C
    // still ends the program.
    let watching = matches!(arguments.command, Command::Watch(_));
    if !watching {
        let _ = ctrlc::set_handler(|| {
            let _no_write_begins = vod_host::bank_file::wait_for_writes();
            std::process::exit(INTERRUPTED);
        });
    }
    let result = match arguments.command {
        Command::Demo(arguments) => demo::run(&arguments, quiet),
        Command::Device(arguments) => device::run(&arguments, quiet),
        Command::Fit(arguments) => fit::run(&arguments, quiet),
        Command::Score(arguments) => score::run(&arguments, quiet),
        Command::Inspect(arguments) => inspect::run(&arguments),
        Command::Eval(arguments) => eval::run(&arguments, quiet),
        Command::Export(arguments) => export::run(&arguments),
        Command::Synthesise(arguments) => synthesise::run(&arguments, quiet),
        Command::Train(arguments) => train::run(&arguments, quiet),
        Command::Gaps(arguments) => gaps::run(&arguments, quiet),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Man(arguments) => man::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments, quiet),
        Command::Update(arguments) => update::run(&arguments, quiet),
        Command::Drift(arguments) => drift::run(&arguments, quiet),
        Command::Watch(arguments) => watch::run(&arguments, quiet),
    };
    match result {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::from(1),
        Ok(Outcome::Anomalous) => ExitCode::from(3),
        Err(error) => {
            output::report(&error);
            ExitCode::from(1)
        }
    }
}
