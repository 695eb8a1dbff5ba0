//! What makers of connectors are refused for, and what works otherwise than they expect.
//!
//! Errors are what the platform's validator, the custom connector wizard or `paconn` refuses. Warnings are what
//! [certification](https://learn.microsoft.com/connectors/custom-connectors/certification-submission) asks for, what goes wrong later in flows, and
//! rules that published connectors are known to break.

mod answers;
mod connection;
mod definition;
mod dynamic;
mod families;
mod operations;
mod patterns;
mod policies;
mod properties;
mod reads;
mod schemas;
mod script;
mod shape;
mod values;
mod webhooks;

use std::collections::HashSet;
use std::ops::Range;

use super::definition::Definition;
use super::package::{self, Package, Place};
use super::properties::Properties;
use super::tree::Node;
use crate::config::diagnostic::closest;
use crate::config::source::{FileId, Sources};
use crate::config::{Diagnostic, Diagnostics};

/// Looks at a package.
pub fn lint(place: &Place, sources: &mut Sources, diagnostics: &mut Diagnostics) {
    let Some(package) = package::read(place, sources, diagnostics) else { return };
    let definition = match Definition::read(&package.definition.root) {
        Ok(definition) => definition,
        Err((span, why)) => {
            return diagnostics.push(Diagnostic::error("bad-definition", package.definition.id, span, why));
        }
    };
    let properties = package.properties.as_ref().map(|file| Properties::read(&file.root)).unwrap_or_default();
    let mut linter = Linter {
        place,
        package: &package,
        definition: &definition,
        properties: &properties,
        diagnostics,
        seen: HashSet::new(),
    };
    linter.definition();
    linter.schemas();
    linter.operations();
    linter.policies();
    linter.connections();
    if let Some(path) = &place.script {
        linter.script(path, sources);
    }
}

/// Whether connections go through an on-premises gateway.
fn has_gateway(properties: &Properties<'_>) -> bool {
    properties.all().any(|one| one.kind.eq_ignore_ascii_case("gatewaySetting"))
}

/// The first character of a value: a long one is not underlined whole.
fn head(node: &Node) -> Range<usize> {
    node.span.start..node.span.start + 1
}

struct Linter<'a, 'n> {
    place: &'a Place,
    package: &'n Package,
    definition: &'a Definition<'n>,
    properties: &'a Properties<'n>,
    diagnostics: &'a mut Diagnostics,
    /// Where the parameters, media types and extensions stand that were looked at.
    seen: HashSet<usize>,
}

/// What is found, to be completed with a hint.
type Found<'d> = &'d mut Diagnostic;

impl Linter<'_, '_> {
    fn error(&mut self, code: &'static str, span: &Range<usize>, text: impl Into<String>) -> Found<'_> {
        let file = self.package.definition.id;
        self.push(Diagnostic::error(code, file, span.clone(), text))
    }

    fn warning(&mut self, code: &'static str, span: &Range<usize>, text: impl Into<String>) -> Found<'_> {
        let file = self.package.definition.id;
        self.push(Diagnostic::warning(code, file, span.clone(), text))
    }

    /// The file of the properties; only asked for where there are some.
    fn properties_file(&self) -> FileId {
        self.package.properties.as_ref().map_or(self.package.definition.id, |file| file.id)
    }

    fn push(&mut self, diagnostic: Diagnostic) -> Found<'_> {
        self.diagnostics.0.push(diagnostic);
        let last = self.diagnostics.0.len() - 1;
        &mut self.diagnostics.0[last]
    }

    /// Tells of a name of an operation that none has.
    fn check_operation(&mut self, file: FileId, span: &Range<usize>, name: &str) {
        let ids: Vec<&str> = self.definition.operations.iter().map(|operation| operation.id.as_str()).collect();
        if ids.contains(&name) {
            return;
        }
        let text = format!("no operation is called `{name}`");
        let mut found = Diagnostic::warning("unknown-operation", file, span.clone(), text);
        if let Some(other) = ids.iter().find(|id| id.eq_ignore_ascii_case(name)) {
            found = found.hint(format!("names compare with their case: `{other}`"));
        } else if let Some(other) = closest(name, ids.iter().copied()) {
            found = found.hint(format!("did you mean `{other}`?"));
        }
        self.push(found);
    }
}

trait Hint {
    fn with(self, hint: impl Into<String>);
}

impl Hint for Found<'_> {
    fn with(self, hint: impl Into<String>) {
        self.hint = Some(hint.into());
    }
}

#[cfg(test)]
mod tests;
