//! The commands: arguments, and one file for each.

mod check;
mod completions;
mod docs;
mod export;
mod form;
mod import;
mod issuer;
mod key;
mod lint;
mod loadtest;
mod oneshot;
mod output;
mod routes;
mod run;
mod schema;
mod token;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::form::{About, Run as _};

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
  sluicegate loadtest policies        put its limits to the test
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
    Run(run::Run),
    Oneshot(oneshot::Oneshot),
    Check(check::Check),
    Routes(routes::Routes),
    Schema(schema::Schema),
    Docs(docs::Docs),
    /// Make, list, replace and end subscription keys.
    #[command(subcommand)]
    Key(key::Command),
    /// Write a connector package for an API.
    #[command(subcommand)]
    Export(About<export::Connector>),
    /// Turn connector packages and OpenAPI files into a configuration.
    #[command(subcommand)]
    Import(About<import::Connector>),
    /// Find mistakes in connector packages.
    #[command(subcommand)]
    Lint(About<lint::Connector>),
    Issuer(Box<issuer::IssuerCommand>),
    Loadtest(Box<loadtest::Loadtest>),
    /// Make and read tokens, and find out why one is refused.
    #[command(subcommand)]
    Token(token::Command),
    Completions(completions::Completions),
}

/// Runs the command line; the answer is the exit code.
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let code = match arguments.command {
        None => run::Run::default().run(),
        Some(Command::Run(run)) => run.run(),
        Some(Command::Oneshot(oneshot)) => oneshot.run(),
        Some(Command::Key(command)) => command.run(),
        Some(Command::Check(check)) => check.run(),
        Some(Command::Routes(routes)) => routes.run(),
        Some(Command::Schema(schema)) => schema.run(),
        Some(Command::Docs(docs)) => docs.run(),
        Some(Command::Export(command)) => command.run(),
        Some(Command::Import(command)) => command.run(),
        Some(Command::Lint(command)) => command.run(),
        Some(Command::Issuer(issuer)) => issuer.run(),
        Some(Command::Loadtest(loadtest)) => loadtest.run(),
        Some(Command::Token(command)) => command.run(),
        Some(Command::Completions(completions)) => completions.run(),
    };
    ExitCode::from(code)
}
