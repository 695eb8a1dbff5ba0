//! `export`: makes of a folder what others take.

use std::path::PathBuf;

use clap::Args;

use super::form::{Format, Run};
use super::{exit, output};
use crate::connector::export::{self, Address, WriteError};
use crate::connector::package::{DEFINITION_FILE, PROPERTIES_FILE};

/// Write a Power Platform connector that calls an API through the gateway.
///
/// Writes apiDefinition.swagger.json (OpenAPI 2.0) and apiProperties.json, which the custom connector wizard and paconn import. What the
/// gateway asks callers for becomes the connection's parameters, and each operation describes the gateway's 429 and its errors. An API
/// whose definition is OpenAPI 3 is brought into 2.0; what 2.0 has no words for is left out, and told.
///
/// Nobody is asked for anything: where people sign in is known of Microsoft Entra ID, Auth0, Google, Keycloak and Okta, and of other issuers
/// it is to be filled in.
///
/// An earlier export is updated, and keeps what was filled in since: `clientId`, the URLs and scopes of OAuth, the colour of the icon. Other
/// files of the folder stay. A package that is no export, or that was changed elsewhere, is not overwritten: the command ends with 4.
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
    /// Overwrite what is no earlier export of this API, or was changed since. Other files of the folder stay.
    #[arg(long)]
    force: bool,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

impl Run for Connector {
    fn run(&self) -> u8 {
        let mut exported = match export::export(&self.folder, &self.api, &self.host) {
            Ok(exported) => exported,
            Err(error) => {
                output::complain(&format!("error: {error}\n"));
                return exit::CONFIGURATION;
            }
        };
        let out = self.out.clone().unwrap_or_else(|| PathBuf::from(&self.api));
        if let Err(error) = exported.write(&self.api, &out, self.force) {
            output::complain(&format!("error: {error}\n"));
            return match error {
                WriteError::Theirs { .. } => {
                    let hint =
                        "hint: `--out FOLDER` writes elsewhere; `--force` replaces the two files, whatever they hold";
                    output::complain(&format!("{hint}\n"));
                    exit::ASSERTION
                }
                WriteError::Unwritten { .. } => exit::FAILED,
            };
        }
        exported.notes.extend(exported.to_fill_in());
        let path = |name: &str| out.join(name).display().to_string();
        let (definition, properties) = (path(DEFINITION_FILE), path(PROPERTIES_FILE));
        if self.format == Format::Json {
            let report = serde_json::json!({
                "api": self.api,
                "definition": definition,
                "properties": properties,
                "notes": exported.notes,
            });
            output::print(&format!("{report}\n"));
            return exit::OK;
        }
        for note in &exported.notes {
            output::complain(&format!("note: {note}\n"));
        }
        output::print(&format!("{definition}\n{properties}\nnext: sluicegate lint connector {}\n", out.display()));
        exit::OK
    }
}
