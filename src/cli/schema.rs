//! `schema`: prints the JSON Schema of a configuration's files.

use clap::Args;

use super::{exit, output};
use crate::reference::{self, File};

/// Print the JSON Schema of a folder's files, for editors.
///
/// Editors that check TOML (Even Better TOML, taplo) use the schema that a file names in its first line:
/// `#:schema ./schema.json`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate schema > policies/schema.json
  sluicegate schema --file api > api.schema.json")]
pub struct Schema {
    /// Which files it is for.
    #[arg(long, value_enum, default_value_t)]
    file: File,
}

impl Schema {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        output::print(&reference::text(self.file));
        exit::OK
    }
}
