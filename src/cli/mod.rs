//! The commands: arguments, and one file for each.

mod check;
mod completions;
mod docs;
mod key;
mod oneshot;
mod output;
mod routes;
mod run;
mod schema;

use std::ffi::OsString;
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

/// The end of the help.
const HELP: &str = "Examples:
  sluicegate run policies             serve a folder
  sluicegate check policies           report its mistakes
  sluicegate routes policies          list its operations and their policies
  sluicegate COMMAND --help           more about a command

Exit codes:
  0  it did what was asked
  1  it failed while it ran
  2  the arguments are wrong
  3  the configuration is wrong
  4  an assertion did not hold";

/// An API gateway: policies in TOML in front of backend APIs.
#[derive(Debug, Parser)]
#[command(name = "sluicegate", version, about, disable_help_subcommand = true, after_help = HELP)]
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
    ///
    /// The folder is watched, and a change is live at once; a mistake leaves the configuration before it in force.
    /// SIGTERM and SIGINT let requests finish, SIGHUP reloads and opens the access log again.
    #[command(after_help = "Examples:\n  sluicegate run\n  sluicegate run /etc/sluicegate --listen 0.0.0.0:8080")]
    Run {
        /// The folder; `policies` when it is there, else the example that is part of the program.
        folder: Option<PathBuf>,
        #[command(flatten)]
        listeners: run::Listeners,
    },
    /// Serve a folder while a command runs, and exit with its code.
    ///
    /// The command finds the gateway's address in SLUICEGATE_URL and the admin listener's in SLUICEGATE_ADMIN_URL. The
    /// access log goes to standard error. A command that a signal ends counts as 128 and the signal's number.
    #[command(
        after_help = "Examples:\n  sluicegate oneshot policies --listen 127.0.0.1:0 -- npm test\n  sluicegate oneshot policies -- sh -c 'curl -i $SLUICEGATE_URL/invoices'"
    )]
    Oneshot {
        /// The folder.
        folder: PathBuf,
        #[command(flatten)]
        listeners: run::Listeners,
        /// The command and its arguments.
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<OsString>,
    },
    Check(check::Check),
    Routes(routes::Routes),
    Schema(schema::Schema),
    Docs(docs::Docs),
    Completions(completions::Completions),
}

/// Runs the command line; the answer is the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match arguments.command {
        Some(Command::Key(command)) => key::run(&command),
        None => run::run(None, run::Listeners::default()),
        Some(Command::Run { folder, listeners }) => run::run(folder, listeners),
        Some(Command::Oneshot { folder, listeners, command }) => oneshot::oneshot(folder, listeners, &command),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Routes(routes)) => routes.run(),
        Some(Command::Schema(schema)) => schema.run(),
        Some(Command::Docs(docs)) => docs.run(),
        Some(Command::Completions(completions)) => completions.run(),
    };
    ExitCode::from(code)
}
