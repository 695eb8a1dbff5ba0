//! The configuration folder that packages are imported into.
//!
//! `NAME.toml` is the API. `imported/NAME/` holds what it came from: the package's files as they were, `NAME.toml` as it was written,
//! and the report. A further import finds there what was changed by hand and what by the maker.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use super::connection::{self, Given, Offer};
use super::definition::Definition;
use super::generate::{self, Generated, Wanted};
use super::merge::{Conflict, merge};
use super::package::{self, File, Package, Place};
use super::properties::Properties;
use super::report::Report;
use super::service::Validation;
use super::template::Grade;
use super::trial::Trial;
use super::written::text;
use crate::config::folder::GATEWAY_FILE;
use crate::config::source::Sources;
use crate::config::{Diagnostic, Diagnostics};

/// Where the packages' own files are kept.
pub const IMPORTED: &str = "imported";

/// The beginning of a `gateway.toml` that is not there yet.
const GATEWAY: &str = "\
#:schema schema.json
# The process: where it listens, and the backends of the imported APIs. Run it with `sluicegate run`.

[server]
listen = \"127.0.0.1:8080\"
admin  = \"127.0.0.1:9090\"

[errors]
format = \"connector\"              # the envelope of the connector runtime
";

/// A folder while packages are imported into it.
pub struct Folder {
    path: PathBuf,
    gateway: String,
    /// The backends, with their URLs as written.
    backends: HashMap<String, Option<String>>,
    /// The connections, with the APIs they are for.
    connections: HashMap<String, String>,
    used: HashSet<String>,
    changed: bool,
    trial: Trial,
    /// Whether a package was imported.
    filled: bool,
    /// What is written for validation.
    pub validation: Validation,
    /// How many requests a minute each connection may make.
    pub limit: Option<NonZeroU32>,
}

/// Why an import ends. Each says it for people.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// What is said of a connection cannot be.
    #[error("{0}")]
    Connection(String),
    /// A file cannot be written.
    #[error("{0} cannot be written: {1}")]
    Unwritten(String, std::io::Error),
}

/// What became of one package.
pub struct Outcome {
    /// The report.
    pub report: Report,
    /// What was wrong with its files.
    pub diagnostics: Diagnostics,
    /// The files.
    pub sources: Sources,
    /// Whether something of it was written.
    pub written: bool,
}

impl Folder {
    /// Opens a folder. One that is not there is made with the first package.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn open(path: &Path) -> Result<Self, String> {
        if path.is_file() {
            return Err(format!("{} is a file, and packages are imported into a folder", path.display()));
        }
        let file = path.join(GATEWAY_FILE);
        let (gateway, changed) = match std::fs::read_to_string(&file) {
            Ok(text) => (text, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (GATEWAY.to_owned(), true),
            Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
        };
        let table: toml::Table = gateway.parse().map_err(|error| format!("{} is not TOML: {error}", file.display()))?;
        let backends = table.get("backends").and_then(|list| list.as_table());
        let url = |table: &toml::Value| table.get("url").and_then(|url| url.as_str()).map(str::to_owned);
        let backends = backends.map(|list| list.iter().map(|(name, table)| (name.clone(), url(table))).collect());
        let backends = backends.unwrap_or_default();
        let connections = table.get("connections").and_then(|list| list.as_table()).into_iter().flatten();
        let api = |table: &toml::Value| table.get("api").and_then(|api| api.as_str()).unwrap_or_default().to_owned();
        let connections = connections.map(|(name, table)| (name.clone(), api(table))).collect();
        Ok(Self {
            path: path.to_owned(),
            gateway,
            backends,
            connections,
            used: HashSet::new(),
            changed,
            trial: Trial::new().map_err(|error| format!("policies cannot be tried: {error}"))?,
            filled: false,
            validation: Validation::default(),
            limit: None,
        })
    }

    /// Imports a package, with what the person says of its connection.
    ///
    /// # Errors
    /// What cannot be written, or said of the connection.
    pub fn import(&mut self, place: &Place, given: &Given) -> Result<Outcome, ImportError> {
        let mut name = place.name.clone();
        for number in 2.. {
            if self.used.insert(name.clone()) {
                break;
            }
            name = format!("{}-{number}", place.name);
        }
        let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
        let generated = package::read(place, &mut sources, &mut diagnostics)
            .and_then(|package| Some((self.generate(&name, place, &package, &mut diagnostics)?, package)));
        diagnostics.sort();
        let mut outcome =
            Outcome { report: Report { api: name.clone(), ..Report::default() }, written: false, diagnostics, sources };
        if let Some((generated, package)) = generated {
            outcome.report = generated.report.clone();
            outcome.report.source = place.definition.display().to_string();
            outcome.report.warnings = outcome.diagnostics.0.iter().map(|one| line(one, &outcome.sources)).collect();
            // Before anything is written.
            let offer = connection::offer(&name, &generated.asked, given)
                .map_err(|why| ImportError::Connection(format!("{name}: {why}")))?;
            self.write(&name, place, &package, &generated, &mut outcome.report)
                .and_then(|()| self.connection(&name, &offer, &generated, given, &mut outcome.report))
                .map_err(|error| self.unwritten(error))?;
            outcome.written = true;
            self.filled = true;
        }
        Ok(outcome)
    }

    fn generate(
        &self,
        name: &str,
        place: &Place,
        package: &Package,
        diagnostics: &mut Diagnostics,
    ) -> Option<Generated> {
        let definition = match Definition::read(&package.definition.root) {
            Ok(definition) => definition,
            Err((span, why)) => {
                diagnostics.push(Diagnostic::error("bad-definition", package.definition.id, span, why));
                return None;
            }
        };
        let properties = package.properties.as_ref().map(|file| Properties::read(&file.root)).unwrap_or_default();
        let path = format!("{IMPORTED}/{name}/{}", definition_name(place));
        let wanted = Wanted { validation: self.validation, limit: self.limit, trial: &self.trial };
        Some(generate::generate(name, &path, &definition, &properties, package, wanted))
    }

    fn write(
        &mut self,
        name: &str,
        place: &Place,
        package: &Package,
        generated: &Generated,
        report: &mut Report,
    ) -> std::io::Result<()> {
        let kept = self.path.join(IMPORTED).join(name);
        let file = format!("{name}.toml");
        let (api, base) = (self.path.join(&file), kept.join(&file));
        std::fs::create_dir_all(&kept)?;
        let old_url = old_url(&kept, place);
        let text = match (read_text(&api)?, read_text(&base)?) {
            (None, _) => generated.api.clone(),
            (Some(mine), base) => self.merge(&file, &mine, base.as_deref(), &generated.api, report),
        };
        write_changed(&api, text.as_bytes())?;
        write_changed(&base, generated.api.as_bytes())?;
        write_changed(&kept.join(definition_name(place)), &package.definition.bytes)?;
        if let Some(File { bytes, .. }) = &package.properties {
            write_changed(&kept.join(package::PROPERTIES_FILE), bytes)?;
        }
        self.backend(name, old_url.as_deref(), &generated.url, report);
        Ok(())
    }

    /// The API's file with the changes of the person and of the maker.
    fn merge(&self, file: &str, mine: &str, base: Option<&str>, theirs: &str, report: &mut Report) -> String {
        let Some(base) = base else {
            if mine != theirs {
                report.conflicts.push(format!(
                    "{file} was not written by an import and is left as it is; `--name` gives the import another name"
                ));
            }
            return mine.to_owned();
        };
        let (text, conflicts) = merge(base, mine, theirs);
        // Lines can fit together and still not make sense: a table twice, a text without its end.
        if let Err(error) = text.parse::<toml::Table>() {
            let why = error.message().to_owned();
            report
                .conflicts
                .push(format!("{file} is left as it is: with the maker's changes it would not be TOML ({why})"));
            return mine.to_owned();
        }
        for Conflict { line, mine, theirs } in conflicts {
            let quote = |lines: &[String]| match lines {
                [] => "nothing".to_owned(),
                lines => format!("`{}`", lines.join(" ⏎ ")),
            };
            report.conflicts.push(format!(
                "{file}:{line}: yours stays, {}; the maker's would be {}",
                quote(&mine),
                quote(&theirs)
            ));
        }
        text
    }

    /// The backend's URL in gateway.toml: added, or changed with the maker unless it was changed by hand.
    fn backend(&mut self, name: &str, old: Option<&str>, url: &str, report: &mut Report) {
        let Some(current) = self.backends.get(name).cloned() else {
            let _ = write!(self.gateway, "\n[backends.{name}]\nurl = {}\n", text(url));
            self.backends.insert(name.to_owned(), Some(url.to_owned()));
            self.changed = true;
            return;
        };
        let Some(old) = old.filter(|old| *old != url && current.as_deref() != Some(url)) else { return };
        if current.as_deref() == Some(old)
            && let Ok(mut document) = self.gateway.parse::<toml_edit::DocumentMut>()
            && let Some(item) = document.get_mut("backends").and_then(|list| list.get_mut(name))
        {
            item["url"] = toml_edit::value(url);
            self.gateway = document.to_string();
            self.backends.insert(name.to_owned(), Some(url.to_owned()));
            self.changed = true;
        } else {
            let yours = current.as_deref().unwrap_or("another one");
            report.conflicts.push(format!(
                "gateway.toml: yours stays, `{yours}` as the URL of backend `{name}`; the maker's would be `{url}`"
            ));
        }
    }

    /// The API's connection in gateway.toml, where there is none yet, and the report.
    fn connection(
        &mut self,
        name: &str,
        offer: &Offer,
        generated: &Generated,
        given: &Given,
        report: &mut Report,
    ) -> std::io::Result<()> {
        let kept = self.path.join(IMPORTED).join(name).join("report.md");
        // A connection that the person took out stays out, unless it is asked for.
        let is_new = !kept.is_file();
        let is_there = self.connections.contains_key(name) || self.connections.values().any(|api| api == name);
        if is_there && !given.is_empty() {
            report.conflicts.push(format!(
                "gateway.toml: `{name}` has a connection, which stays as it is; what was said of it is not written"
            ));
        } else if !is_there && !generated.asked.is_empty() && (is_new || !given.is_empty()) {
            let with = format!("{}{}", self.gateway, offer.tables);
            // Comments break nothing, and reading the file for each of a thousand packages takes long.
            let is_live = offer.missing.is_empty();
            match is_live.then(|| with.parse::<toml::Table>()).transpose() {
                Ok(_) => {
                    self.gateway = with;
                    self.changed = true;
                    if is_live {
                        self.connections.insert(name.to_owned(), name.to_owned());
                    }
                }
                Err(error) => report.conflicts.push(format!(
                    "gateway.toml is left as it is: with the connection of `{name}` it would not be TOML ({})",
                    error.message()
                )),
            }
        }
        if !is_there && !offer.missing.is_empty() && given.is_empty() {
            report.to_do = Some(format!("give its connection in gateway.toml {}", offer.missing));
        }
        write_changed(&kept, report.text().as_bytes())
    }

    /// Writes what all packages share, when one was imported.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn finish(&self) -> Result<(), ImportError> {
        if self.changed && self.filled {
            let written = write_changed(&self.path.join(GATEWAY_FILE), self.gateway.as_bytes());
            return written.map_err(|error| self.unwritten(error));
        }
        Ok(())
    }

    fn unwritten(&self, error: std::io::Error) -> ImportError {
        ImportError::Unwritten(self.path.display().to_string(), error)
    }
}

/// The URL of the backend by the definition of the import before.
fn old_url(kept: &Path, place: &Place) -> Option<String> {
    let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
    let path = kept.join(definition_name(place));
    let file = if path.is_file() { package::read_file(&path, &mut sources, &mut diagnostics)? } else { return None };
    Definition::read(&file.root).ok().map(|definition| definition.base.url)
}

/// The text of a file; none when it is not there.
fn read_text(path: &Path) -> std::io::Result<Option<String>> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a file whose content is another one, all at once: a gateway may be serving the folder.
fn write_changed(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if std::fs::read(path).is_ok_and(|there| there == bytes) {
        return Ok(());
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    std::fs::write(&beside, bytes)?;
    std::fs::rename(&beside, path)
}

fn definition_name(place: &Place) -> String {
    place.definition.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `file:line:column: warning: text`, as compilers write it.
pub fn line(diagnostic: &Diagnostic, sources: &Sources) -> String {
    let at = diagnostic.location.as_ref().map(|location| {
        let file = sources.file(location.file);
        let (line, column) = file.position(location.span.start);
        format!("{}:{line}:{column}: ", file.name)
    });
    format!("{}{}: {}", at.unwrap_or_default(), diagnostic.severity.as_str(), diagnostic.message)
}

/// The count of each grade in several reports.
pub fn total(reports: &[Report], grade: Grade) -> usize {
    reports.iter().map(|report| report.count(grade)).sum()
}
