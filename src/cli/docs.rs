//! `docs`: writes the reference page and the schema beside the configuration that they describe.

use std::path::PathBuf;

use clap::Args;

use super::{exit, output};
use crate::reference::{self, File};

/// Write README.md (the TOML reference) and schema.json into a folder.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate docs
  sluicegate docs --check policies")]
pub struct Docs {
    /// The folder.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    /// Write nothing; fail when a file is not what would be written.
    #[arg(long)]
    check: bool,
}

impl Docs {
    /// Runs the command.
    pub fn run(&self) -> u8 {
        let mut code = exit::OK;
        for (name, text) in [("README.md", reference::page()), ("schema.json", reference::text(File::Any))] {
            let path = self.folder.join(name);
            if self.check {
                // A checkout on Windows may have line ends of its own.
                let current = std::fs::read_to_string(&path).unwrap_or_default().replace("\r\n", "\n");
                if current != text {
                    output::complain(&format!("error: `{}` is stale; `sluicegate docs` writes it\n", path.display()));
                    code = exit::ASSERTION;
                }
            } else if let Err(error) = std::fs::write(&path, text) {
                output::complain(&format!("error: `{}` cannot be written: {error}\n", path.display()));
                code = exit::FAILED;
            }
        }
        code
    }
}
