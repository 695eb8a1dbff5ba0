//! What several commands have in common: the forms of what they print, and what they are about.

use clap::{Args, Subcommand, ValueEnum};

/// Forms of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts: JSON.
    Json,
}

/// Forms of a list of mistakes.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
pub(super) enum Findings {
    /// For people: the line, a caret under the mistake, what would be accepted.
    #[default]
    Text,
    /// For scripts and editors: one object with a list.
    Json,
    /// For code hosts: SARIF 2.1.0.
    Sarif,
}

/// A command that has no commands below it.
pub trait Run {
    /// Runs it; the answer is the exit code.
    fn run(&self) -> u8;
}

/// What a command is about: so far, all are about connectors.
#[derive(Debug, Subcommand)]
pub enum About<C: Args + Run> {
    Connector(C),
}

impl<C: Args + Run> Run for About<C> {
    fn run(&self) -> u8 {
        match self {
            Self::Connector(connector) => connector.run(),
        }
    }
}
