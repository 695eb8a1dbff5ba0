//! `lint`: what is wrong with the files of others, before somebody else finds it.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use clap::Args;

use super::form::{Findings, Run};
use super::{exit, output};
use crate::config::source::Sources;
use crate::config::{Diagnostic, Diagnostics, render};
use crate::connector::{lint, package};

/// Find what makers of connectors are refused for, and what works otherwise than they expect.
///
/// Errors are what the platform's validator, the wizard or paconn refuses; warnings are what certification asks for, and what goes wrong later, in
/// flows. Everything is offline. Many findings of one kind in one file are summed up.
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
    format: Findings,
    /// Treat warnings as errors.
    #[arg(long)]
    strict: bool,
    /// Show each finding, also where there are many of one kind in one file.
    #[arg(long)]
    all: bool,
}

/// How many findings of one kind in one file are shown, before the others are summed up.
const SHOWN: usize = 3;
/// How many lines of the others are named.
const LINES: usize = 12;

impl Run for Connector {
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
            Findings::Text => {
                let more = if self.all { 0 } else { sum_up(&mut diagnostics, &sources) };
                let text = render::styled(&diagnostics, &sources, output::style());
                let more = if more == 0 {
                    String::new()
                } else {
                    format!(", {more} of them like those above: `--all` shows each")
                };
                let of = |count: usize, thing: &str| format!("{count} {thing}{}", if count == 1 { "" } else { "s" });
                let counts = format!("{}, {}", of(errors, "error"), of(warnings, "warning"));
                format!("{text}{}: {counts}{more}\n", of(packages, "package"))
            }
            Findings::Json => render::json(&diagnostics, &sources),
            Findings::Sarif => render::sarif(&diagnostics, &sources, Path::new("")),
        });
        if errors > 0 || (self.strict && warnings > 0) { exit::CONFIGURATION } else { exit::OK }
    }
}

/// Leaves the first findings of each kind in each file; the last of them names the lines of the others. How many those are.
fn sum_up(diagnostics: &mut Diagnostics, sources: &Sources) -> usize {
    let mut counts: HashMap<_, (usize, Vec<usize>)> = HashMap::new();
    let mut kept: Vec<Diagnostic> = Vec::new();
    let mut last = HashMap::new();
    for one in std::mem::take(&mut diagnostics.0) {
        let Some(at) = one.location.clone() else {
            kept.push(one);
            continue;
        };
        let key = (at.file, one.code, one.severity.as_str());
        let (count, lines) = counts.entry(key).or_default();
        *count += 1;
        if *count > SHOWN {
            lines.push(sources.file(at.file).position(at.span.start).0);
        } else {
            last.insert(key, kept.len());
            kept.push(one);
        }
    }
    let mut hidden = 0;
    for (key, (_, lines)) in counts.into_iter().filter(|(_, (_, lines))| !lines.is_empty()) {
        hidden += lines.len();
        let Some(shown) = last.get(&key).and_then(|at| kept.get_mut(*at)) else { continue };
        let count = lines.len();
        let mut named: Vec<String> = lines.into_iter().map(|line| line.to_string()).collect();
        named.dedup();
        let dots = if named.len() > LINES { "…" } else { "" };
        named.truncate(LINES);
        let word = if named.len() == 1 { "line" } else { "lines" };
        let text = format!("{count} more `{}` in this file, {word} {}{dots}", key.1, named.join(", "));
        shown.hint = Some(shown.hint.take().map_or(text.clone(), |hint| format!("{hint}; {text}")));
    }
    diagnostics.0 = kept;
    hidden
}
