//! `lint`: what is wrong with the files of others, before somebody else finds it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{exit, output};
use crate::config::source::Sources;
use crate::config::{Diagnostics, render};
use crate::connector::{lint, package};

/// What is looked at.
#[derive(Debug, Subcommand)]
pub enum Command {
    Connector(Connector),
}

impl Command {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        match self {
            Self::Connector(connector) => connector.run(),
        }
    }
}

/// Forms of the report.
#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// For people: the line, a caret under the mistake, what would be accepted.
    #[default]
    Text,
    /// For scripts and editors: one object with a list.
    Json,
    /// For code hosts: SARIF 2.1.0.
    Sarif,
}

/// Find what makers of connectors are refused for, and what works otherwise than they expect.
///
/// Errors are what the wizard, paconn or certification refuses; warnings are what goes wrong later, in flows. Everything is offline.
/// Exits with 0 when there are no errors and with 3 when there are.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate lint connector ./MyConnector
  sluicegate lint connector ./MyConnector --strict
  sluicegate lint connector . --format sarif > connectors.sarif")]
pub struct Connector {
    /// A package, a folder of packages, or an OpenAPI file.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
}

impl Connector {
    fn run(&self) -> u8 {
        let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
        let mut packages = 0;
        for path in &self.paths {
            match package::find(path) {
                Ok(places) => {
                    packages += places.len();
                    places.iter().for_each(|place| lint::lint(place, &mut sources, &mut diagnostics));
                }
                Err(error) => {
                    output::complain(&format!("error: {error}\n"));
                    return exit::FAILED;
                }
            }
        }
        diagnostics.sort();
        let (errors, warnings) = (diagnostics.errors(), diagnostics.warnings());
        output::print(&match self.format {
            Format::Text => {
                let text = render::styled(&diagnostics, &sources, output::style());
                let of = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
                let counts = format!("{}, {}", of(errors, "error"), of(warnings, "warning"));
                format!("{text}{}: {counts}\n", of(packages, "package"))
            }
            Format::Json => render::json(&diagnostics, &sources),
            Format::Sarif => render::sarif(&diagnostics, &sources, Path::new("")),
        });
        if errors > 0 || (self.strict && warnings > 0) { exit::CONFIGURATION } else { exit::OK }
    }
}
