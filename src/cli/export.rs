//! `export`: makes of a folder what others take.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{exit, output};
use crate::connector::export::{self, Address};
use crate::connector::package::{DEFINITION_FILE, PROPERTIES_FILE};

/// What is made.
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

/// Write a Power Platform connector that calls an API through the gateway.
///
/// Writes apiDefinition.swagger.json (OpenAPI 2.0) and apiProperties.json, which the custom connector wizard and paconn import. What the
/// gateway asks callers for becomes the connection's parameters, and each operation describes the gateway's 429 and its errors.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate export connector policies --api orders --host gateway.contoso.com
  sluicegate export connector policies --api orders --host gateway.contoso.com --out orders-connector")]
pub struct Connector {
    /// The folder that holds gateway.toml.
    #[arg(default_value = "policies")]
    folder: PathBuf,
    /// The name of the API.
    #[arg(long)]
    api: String,
    /// Where the platform calls the gateway: a host, or a URL with what stands before the API's path.
    #[arg(long, value_name = "GATEWAY", value_parser = Address::parse)]
    host: Address,
    /// Where the two files go. Default: a folder with the name of the API.
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
}

impl Connector {
    fn run(&self) -> u8 {
        let exported = match export::export(&self.folder, &self.api, &self.host) {
            Ok(exported) => exported,
            Err(error) => {
                output::complain(&format!("error: {error}\n"));
                return exit::CONFIGURATION;
            }
        };
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(&self.api));
        let write = || -> std::io::Result<()> {
            std::fs::create_dir_all(&out)?;
            for (name, value) in [(DEFINITION_FILE, &exported.definition), (PROPERTIES_FILE, &exported.properties)] {
                std::fs::write(out.join(name), format!("{value:#}\n"))?;
            }
            Ok(())
        };
        if let Err(error) = write() {
            output::complain(&format!("error: {} cannot be written: {error}\n", out.display()));
            return exit::FAILED;
        }
        for note in &exported.notes {
            output::complain(&format!("note: {note}\n"));
        }
        let out = out.display();
        output::print(&format!(
            "{out}/{DEFINITION_FILE}\n{out}/{PROPERTIES_FILE}\nnext: sluicegate lint connector {out}\n"
        ));
        exit::OK
    }
}
