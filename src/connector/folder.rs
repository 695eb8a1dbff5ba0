//! The configuration folder that packages are imported into.
//!
//! `NAME.toml` is the API. `imported/NAME/` holds what it came from: the package's files as they were, `NAME.toml` as it was written,
//! and the report. A further import finds there what was changed by hand and what by the maker.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::definition::Definition;
use super::generate::{self, Generated};
use super::package::{self, File, Package, Place};
use super::properties::Properties;
use super::report::Report;
use super::template::Grade;
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
    backends: HashSet<String>,
    used: HashSet<String>,
    changed: bool,
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
    /// Opens a folder, or makes it.
    ///
    /// # Errors
    /// What cannot be read or made.
    pub fn open(path: &Path) -> Result<Self, String> {
        std::fs::create_dir_all(path).map_err(|error| format!("{} cannot be made: {error}", path.display()))?;
        let file = path.join(GATEWAY_FILE);
        let (gateway, changed) = match std::fs::read_to_string(&file) {
            Ok(text) => (text, false),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => (GATEWAY.to_owned(), true),
            Err(error) => return Err(format!("{} cannot be read: {error}", file.display())),
        };
        let table: toml::Table = gateway.parse().map_err(|error| format!("{} is not TOML: {error}", file.display()))?;
        let backends = table.get("backends").and_then(|list| list.as_table());
        let backends = backends.map(|list| list.keys().cloned().collect()).unwrap_or_default();
        Ok(Self { path: path.to_owned(), gateway, backends, used: HashSet::new(), changed })
    }

    /// Imports a package.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn import(&mut self, place: &Place) -> std::io::Result<Outcome> {
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
            self.write(&name, place, &package, &generated, &mut outcome.report)?;
            outcome.written = true;
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
        Some(generate::generate(name, &path, &definition, &properties, package))
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
        std::fs::create_dir_all(&kept)?;
        std::fs::write(self.path.join(format!("{name}.toml")), &generated.api)?;
        std::fs::write(kept.join(format!("{name}.toml")), &generated.api)?;
        std::fs::write(kept.join(definition_name(place)), &package.definition.bytes)?;
        if let Some(File { bytes, .. }) = &package.properties {
            std::fs::write(kept.join(package::PROPERTIES_FILE), bytes)?;
        }
        if self.backends.insert(name.to_owned()) {
            let _ = write!(self.gateway, "\n[backends.{name}]\nurl = {}\n", text(&generated.url));
            self.changed = true;
        }
        std::fs::write(kept.join("report.md"), report.text())
    }

    /// Writes what all packages share.
    ///
    /// # Errors
    /// What cannot be written.
    pub fn finish(&self) -> std::io::Result<()> {
        if self.changed { std::fs::write(self.path.join(GATEWAY_FILE), &self.gateway) } else { Ok(()) }
    }
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
