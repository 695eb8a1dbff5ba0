//! The commands: arguments, and one file for each.

mod key;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Exit codes, the same for every command.
pub mod exit {
    /// It did what was asked.
    pub const OK: u8 = 0;
    /// It failed while it ran.
    pub const FAILED: u8 = 1;
    /// The arguments are wrong.
    pub const USAGE: u8 = 2;
    /// The configuration is wrong.
    pub const CONFIGURATION: u8 = 3;
    /// An assertion did not hold.
    pub const ASSERTION: u8 = 4;
}

/// An API gateway: policies in TOML in front of backend APIs.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, about, disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Work with subscription keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Serve a configuration folder.
    Run {
        /// The folder; `policies` when it is there, else the example that is part of the program.
        folder: Option<PathBuf>,
    },
}

/// Runs the command line; the answer is the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match arguments.command {
        None => run::run(None),
        Some(Command::Key(command)) => key::run(&command),
        Some(Command::Run { folder }) => run::run(folder.as_deref()),
    };
    ExitCode::from(code)
}
