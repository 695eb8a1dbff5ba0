//! `import`: turns what others have written into a configuration folder.

use std::num::NonZeroU32;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::form::{Format, Run};
use super::{exit, output};
use crate::connector::caller::PLATFORM_LIMIT;
use crate::connector::connection::{Given, GivenValue};
use crate::connector::folder::{self, Folder, IMPORTED, ImportError};
use crate::connector::package::{self, Place};
use crate::connector::report::Report;
use crate::connector::service::Validation;
use crate::connector::template::Grade;

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

impl Run for Connector {
    fn run(&self) -> u8 {
        self.places().and_then(|places| self.import(&places)).unwrap_or_else(|(code, why)| {
            output::complain(&format!("error: {why}\n"));
            code
        })
    }
}

impl Connector {
    /// What is imported, or how the command ends and why.
    fn places(&self) -> Result<Vec<Place>, (u8, String)> {
        let mut found = Vec::new();
        for path in &self.paths {
            match package::find(path) {
                Ok(places) => found.extend(places),
                Err(why) => {
                    let number = path.to_str().filter(|text| self.limit.is_some() && text.parse::<u32>().is_ok());
                    let hint = number.map(|number| format!("; did you mean `--limit={number}`?")).unwrap_or_default();
                    return Err((exit::FAILED, why + &hint));
                }
            }
        }
        match (&self.name, found.as_mut_slice()) {
            (Some(name), [place]) => place.name = package::slug(name),
            (Some(_), _) => {
                return Err((exit::USAGE, format!("`--name` is for one package, and there are {}", found.len())));
            }
            (None, _) => {}
        }
        if (self.set.is_some() || !self.parameters.is_empty()) && found.len() > 1 {
            let why = format!("`--parameter` and `--set` are for one package, and there are {}", found.len());
            return Err((exit::USAGE, why));
        }
        Ok(found)
    }

    fn import(&self, places: &[Place]) -> Result<u8, (u8, String)> {
        let ended = |error: ImportError| match error {
            ImportError::Connection(_) => (exit::USAGE, error.to_string()),
            ImportError::Unwritten(..) => (exit::FAILED, error.to_string()),
        };
        let mut folder = Folder::open(&self.out).map_err(|why| (exit::FAILED, why))?;
        let given = Given { set: self.set.clone(), values: self.parameters.clone() };
        folder.validation = match self.validate {
            None => Validation::Suggested,
            Some(Validate::Report) => Validation::Report,
            Some(Validate::Refuse) => Validation::Refuse,
        };
        folder.limit = self.limit;
        let mut reports = Vec::new();
        let mut failed = Vec::new();
        for place in places {
            let outcome = folder.import(place, &given).map_err(ended)?;
            for diagnostic in &outcome.diagnostics.0 {
                output::complain(&format!("{}\n", folder::line(diagnostic, &outcome.sources)));
            }
            // The report of one package is shown whole.
            if places.len() > 1 || self.format == Format::Json {
                for conflict in &outcome.report.conflicts {
                    output::complain(&format!("conflict: {conflict}\n"));
                }
            }
            if outcome.written {
                reports.push(outcome.report);
            } else {
                failed.push(place.definition.display().to_string());
            }
        }
        folder.finish().map_err(ended)?;
        self.tell(&reports, &failed);
        let conflicts = reports.iter().any(|report| !report.conflicts.is_empty());
        Ok(match (failed.as_slice(), conflicts) {
            ([_, ..], _) => exit::CONFIGURATION,
            ([], true) => exit::ASSERTION,
            ([], false) => exit::OK,
        })
    }

    fn tell(&self, reports: &[Report], failed: &[String]) {
        if self.format == Format::Json {
            let list: Vec<_> = reports.iter().map(Report::json).collect();
            let report = serde_json::json!({ "packages": list, "failed": failed.len(), "unreadable": failed });
            output::print(&format!("{report}\n"));
            return;
        }
        if !failed.is_empty() {
            let left_out = failed.iter().map(|path| format!("not imported: {path}\n")).collect::<String>();
            output::complain(&left_out);
        }
        let folder = self.out.display();
        let written = match reports {
            [] => return,
            [one] => {
                output::print(&one.text());
                let api = &one.api;
                format!("API: {folder}/{api}.toml\nreport: {folder}/{IMPORTED}/{api}/report.md")
            }
            several => {
                several.iter().for_each(|report| output::print(&format!("{}\n", report.line())));
                let [exact, near, not] =
                    [Grade::Exact, Grade::Approximated, Grade::Unsupported].map(|grade| folder::total(several, grade));
                let decisions: usize = several.iter().map(|report| report.decisions.len()).sum();
                format!(
                    "{} packages imported: {exact} exact, {near} approximated, {not} unsupported; \
                     {decisions} decisions where the platform does not say what it does\n\
                     reports: {folder}/{IMPORTED}/NAME/report.md",
                    several.len()
                )
            }
        };
        output::print(&format!("\n{written}\nnext: sluicegate check {folder}\n"));
    }
}
