//! `check`: reports every mistake of a configuration at once, offline.

use std::path::PathBuf;

use clap::Args;

use super::form::Findings;
use super::{exit, output};
use crate::compile::Loaded;
use crate::config::render;

/// Report every mistake of a folder, offline.
///
/// Nothing is fetched and nothing is listened on. Exits with 0 when the folder can be served and with 3 when it cannot.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate check policies
  sluicegate check policies --strict
  sluicegate check policies --format sarif > sluicegate.sarif")]
pub struct Check {
    /// The folder that holds gateway.toml.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Findings,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
}

impl Check {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        let loaded = match output::load_offline(&self.folder) {
            Ok(loaded) => loaded,
            Err(code) => return code,
        };
        let Loaded { diagnostics, sources, .. } = &loaded;
        let refused = diagnostics.errors() > 0 || (self.strict && diagnostics.warnings() > 0);
        output::print(&match self.format {
            Findings::Text => {
                format!("{}{}\n", render::styled(diagnostics, sources, output::style()), summary(&loaded, refused))
            }
            Findings::Json => render::json(diagnostics, sources),
            Findings::Sarif => render::sarif(diagnostics, sources, &self.folder),
        });
        if refused { exit::CONFIGURATION } else { exit::OK }
    }
}

/// `ok: 3 APIs, 14 operations, 2 backends` or `2 errors, 1 warning`.
fn summary(loaded: &Loaded, refused: bool) -> String {
    let (errors, warnings) = (loaded.diagnostics.errors(), loaded.diagnostics.warnings());
    let mut parts = Vec::new();
    if let Some(gateway) = &loaded.gateway {
        parts.push(count(gateway.apis.len(), "API"));
        parts.push(count(gateway.operations.len(), "operation"));
        parts.push(count(gateway.backends.len(), "backend"));
    }
    if errors > 0 {
        parts.push(count(errors, "error"));
    }
    if warnings > 0 {
        parts.push(count(warnings, "warning"));
    }
    let verdict = match (errors, refused) {
        (0, false) => "ok: ",
        (0, true) => "refused: ",
        _ => "",
    };
    format!("{verdict}{}", parts.join(", "))
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
