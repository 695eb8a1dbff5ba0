//! `import`: turns what others have written into a configuration folder.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{exit, output};
use crate::connector::caller::PLATFORM_LIMIT;
use crate::connector::connection::{Given, GivenValue};
use crate::connector::folder::{self, Folder};
use crate::connector::package::{self, Place};
use crate::connector::report::Report;
use crate::connector::service::Validation;
use crate::connector::template::Grade;

/// What is imported.
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    #[default]
    Text,
    /// For scripts: one object with a list.
    Json,
}

/// What becomes of messages that are not as the definition says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Validate {
    /// They are passed on, and reported in the access log and in a metric.
    Report,
    /// Requests are refused, answers reported.
    Refuse,
}

/// Turn Power Platform connectors and OpenAPI files into APIs of a folder.
///
/// Takes packages (apiDefinition.swagger.json with apiProperties.json), folders of packages, and OpenAPI 2.0 and 3 files in JSON or
/// YAML. Each becomes an API with its operations, parameters, security and policies, in a file of its own; what could not be carried
/// over exactly is in the report, which is kept as imported/NAME/report.md. A further import brings the maker's changes and keeps those
/// made by hand; where both changed the same lines, yours stay and the report says what the maker's would be. Exits with 3 when a
/// package cannot be read, else with 4 when there are such conflicts.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  sluicegate import connector ./MyConnector --out gateway
  sluicegate import connector ./MyConnector --out gateway --parameter region=eu --parameter api_key=env:MY_KEY
  sluicegate import connector PowerPlatformConnectors/certified-connectors --out gateway
  sluicegate import connector openapi.yaml --out gateway --name orders")]
pub struct Connector {
    /// A package, a folder of packages, or an OpenAPI file.
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// The configuration folder; made when it is not there.
    #[arg(long, value_name = "FOLDER")]
    out: PathBuf,
    /// The name of the API, when there is one package. Default: the name of its folder or file.
    #[arg(long)]
    name: Option<String>,
    /// A parameter of the connection, when there is one package; may be repeated. A secret comes from the environment
    /// (`api_key=env:VARIABLE`) or a file (`api_key=file:PATH`), and a token may be the caller's own (`token=pass-through`).
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    parameters: Vec<(String, GivenValue)>,
    /// The parameter set of the connection, when there is one package.
    #[arg(long, value_name = "NAME")]
    set: Option<String>,
    /// Check messages against the definition. Without it, a comment in the API's file says how.
    #[arg(long, value_enum, value_name = "HOW")]
    validate: Option<Validate>,
    /// Limit each connection to so many requests a minute; without a number to 500, which is the platform's.
    #[arg(long, value_name = "CALLS", num_args = 0..=1, require_equals = true, default_missing_value = PLATFORM_LIMIT)]
    limit: Option<NonZeroU32>,
    /// The form of the report.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// Reads `NAME=VALUE`.
fn parameter(text: &str) -> Result<(String, GivenValue), String> {
    let (name, value) = text.split_once('=').ok_or("expected `NAME=VALUE`")?;
    let value = match value.split_once(':') {
        Some(("env", variable)) => GivenValue::Env(variable.to_owned()),
        Some(("file", path)) => GivenValue::File(path.to_owned()),
        _ if value == "pass-through" => GivenValue::PassThrough,
        _ => GivenValue::Text(value.to_owned()),
    };
    Ok((name.to_owned(), value))
}

impl Connector {
    fn run(&self) -> u8 {
        let places = match self.places() {
            Ok(places) => places,
            Err(error) => {
                output::complain(&format!("error: {error}\n"));
                return exit::FAILED;
            }
        };
        match self.import(&places) {
            Ok(code) => code,
            Err(error) => {
                output::complain(&format!("error: {error}\n"));
                exit::FAILED
            }
        }
    }

    fn places(&self) -> Result<Vec<Place>, String> {
        let found = self.paths.iter().map(|path| package::find(path)).collect::<Result<Vec<_>, _>>()?;
        let mut found: Vec<Place> = found.into_iter().flatten().collect();
        match (&self.name, found.as_mut_slice()) {
            (Some(name), [place]) => place.name = package::slug(name),
            (Some(_), _) => return Err(format!("`--name` is for one package, and there are {}", found.len())),
            (None, _) => {}
        }
        if (self.set.is_some() || !self.parameters.is_empty()) && found.len() > 1 {
            return Err(format!("a connection is said for one package, and there are {}", found.len()));
        }
        Ok(found)
    }

    fn import(&self, places: &[Place]) -> Result<u8, String> {
        let mut folder = Folder::open(&self.out)?;
        let given = Given { set: self.set.clone(), values: self.parameters.clone() };
        folder.validation = match self.validate {
            None => Validation::Suggested,
            Some(Validate::Report) => Validation::Report,
            Some(Validate::Refuse) => Validation::Refuse,
        };
        folder.limit = self.limit;
        let mut reports = Vec::new();
        let mut failed = 0;
        for place in places {
            let outcome = folder.import(place, &given).map_err(|error| format!("{}: {error}", self.out.display()))?;
            for diagnostic in &outcome.diagnostics.0 {
                output::complain(&format!("{}\n", folder::line(diagnostic, &outcome.sources)));
            }
            for conflict in &outcome.report.conflicts {
                output::complain(&format!("conflict: {conflict}\n"));
            }
            if outcome.written {
                reports.push(outcome.report);
            } else {
                failed += 1;
            }
        }
        folder.finish().map_err(|error| format!("{}: {error}", self.out.display()))?;
        self.tell(&reports, failed);
        let conflicts = reports.iter().any(|report| !report.conflicts.is_empty());
        Ok(match (failed, conflicts) {
            (1.., _) => exit::CONFIGURATION,
            (0, true) => exit::ASSERTION,
            (0, false) => exit::OK,
        })
    }

    fn tell(&self, reports: &[Report], failed: usize) {
        if self.format == Format::Json {
            let list: Vec<_> = reports.iter().map(Report::json).collect();
            output::print(&format!("{}\n", serde_json::json!({ "packages": list, "failed": failed })));
            return;
        }
        match reports {
            [one] => output::print(&one.text()),
            several => several.iter().for_each(|report| output::print(&format!("{}\n", report.summary()))),
        }
        let [exact, near, not] =
            [Grade::Exact, Grade::Approximated, Grade::Unsupported].map(|grade| folder::total(reports, grade));
        let folder = self.out.display();
        let failed = if failed > 0 { format!(", {failed} could not be read") } else { String::new() };
        let packages = if reports.len() == 1 { "package" } else { "packages" };
        output::print(&format!(
            "\n{} {packages} imported{failed}: {exact} exact, {near} approximated, {not} unsupported (imported/NAME/report.md says what)\n\
             next: sluicegate check {folder}\n",
            reports.len()
        ));
    }
}
