//! The definitions of APIs, read when a policy works with them.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use http::Method;

use super::world::Shared;
use crate::config::folder::{ApiDocument, Document, RawPolicy, ScopeDocument};
use crate::config::source::{FileId, Sources};
use crate::config::spec::OperationSpec;
use crate::config::{At, Diagnostic, Diagnostics};
use crate::connector::package;
use crate::openapi::{Contract, Fault, Operation, Parameter, Place};
use crate::routing::Template;

/// The policies that work with a definition.
const USERS: [&str; 8] = [
    "convert-dates",
    "convert-numbers",
    "mock-response",
    "set-defaults",
    "validate-content",
    "validate-headers",
    "validate-parameters",
    "validate-status-code",
];

/// The largest file that is read.
const MAX_SIZE: u64 = 32 << 20;

/// The definitions of a configuration.
#[derive(Default)]
pub struct Definitions {
    /// By the name of the API.
    contracts: HashMap<String, Arc<Contract>>,
    /// Files in which something is not checked, with their texts.
    faulty: Vec<(String, Arc<str>, Vec<Fault>)>,
}

impl Definitions {
    /// Reads those that a policy works with. One that cannot be read is an error; what is wrong inside of one is told by
    /// [`Definitions::tell`] and is not checked.
    pub fn read(
        document: &Document<'_>,
        folder: Option<&Path>,
        shared: &Shared,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let mut definitions = Self::default();
        let everywhere = scope_uses(&document.scope)
            || document.fragments.iter().any(|entry| uses(&entry.spec))
            || document.products.iter().any(|entry| scope_uses(&entry.spec.scope));
        let mut known: HashMap<PathBuf, Option<Arc<Contract>>> = HashMap::new();
        for api in &document.apis {
            let Some(path) = api.spec.definition.as_ref().filter(|_| everywhere || api_uses(api)) else { continue };
            let full = folder.map_or_else(|| PathBuf::from(&path.value), |folder| folder.join(&path.value));
            let contract = known.entry(full.clone()).or_insert_with(|| {
                definitions.file(path, &full, shared).unwrap_or_else(|problem| {
                    let diagnostic = Diagnostic::error("bad-file", api.file, path.span.clone(), problem);
                    diagnostics.push(diagnostic.hint("an OpenAPI 2.0 or 3 file in JSON or YAML"));
                    None
                })
            });
            if let Some(contract) = contract {
                definitions.contracts.insert(api.spec.name.value.clone(), contract.clone());
            }
        }
        definitions
    }

    /// Reads a file, unless a configuration in force has it as it is.
    fn file(&mut self, path: &At<String>, full: &Path, shared: &Shared) -> Result<Option<Arc<Contract>>, String> {
        let unreadable = |error: &dyn std::fmt::Display| format!("`{}` cannot be read: {error}", path.value);
        if std::fs::metadata(full).is_ok_and(|metadata| metadata.len() > MAX_SIZE) {
            return Err(unreadable(&"it is larger than 32 MiB"));
        }
        let bytes = std::fs::read(full).map_err(|error| unreadable(&error))?;
        let mut key = String::from(if package::is_yaml(full, &bytes) { "yaml " } else { "json " });
        digest(&SHA256, &bytes).as_ref().iter().for_each(|byte| key.push_str(&format!("{byte:02x}")));
        let contract = match shared.contracts.known(&key) {
            Some(contract) => contract,
            None => {
                let (text, parsed) = package::decode(full, &bytes);
                let at = |fault: &Fault| {
                    let line = text[..fault.span.start.min(text.len())].matches('\n').count() + 1;
                    format!("`{}`, line {line}: {}", path.value, fault.message)
                };
                let syntax = |fault: crate::connector::json::Fault| Fault { span: fault.span, message: fault.message };
                let (root, faults) = parsed.map_err(|fault| at(&syntax(fault)))?;
                let mut contract = Contract::read(&root).map_err(|fault| at(&fault))?;
                contract.faults.splice(0..0, faults.into_iter().map(syntax));
                shared.contracts.get(key, || contract)
            }
        };
        if !contract.faults.is_empty() {
            let (text, _) = package::decode(full, &bytes);
            self.faulty.push((path.value.clone(), text, contract.faults.clone()));
        }
        Ok(Some(contract))
    }

    /// The definition of an API.
    pub fn of(&self, api: &str) -> Option<&Arc<Contract>> {
        self.contracts.get(api)
    }

    /// Tells what is not checked, each at its place in its file.
    pub fn tell(self, sources: &mut Sources, diagnostics: &mut Diagnostics) {
        for (name, text, faults) in self.faulty {
            let file = sources.add(name, text);
            for fault in faults {
                diagnostics.push(Diagnostic::warning("faulty-definition", file, fault.span, fault.message));
            }
        }
    }
}

/// What a definition says of an operation; tells what of it is not there.
pub fn operation(
    contract: &Contract,
    spec: &OperationSpec,
    method: Option<&Method>,
    template: &Template,
    file: FileId,
    diagnostics: &mut Diagnostics,
) -> Option<Arc<Operation>> {
    let Some(found) = contract.find(&spec.name, method, template.as_str()) else {
        let text = format!("the API's definition has no operation `{}`", spec.name.value);
        diagnostics.push(
            Diagnostic::warning("not-in-definition", file, spec.name.span.clone(), text)
                .hint("one of this name as `operationId`, or with this method and path"),
        );
        return None;
    };
    let variables = found.parameters.iter().filter(|parameter| parameter.place == Place::Path);
    for Parameter { name, .. } in variables.filter(|one| !template.names().contains(&one.name)) {
        let text = format!("the definition's variable `{name}` is not in this path, so that it is not checked");
        diagnostics.push(
            Diagnostic::warning("unchecked-variable", file, spec.matches.span.clone(), text)
                .hint("write the path with the definition's names of its variables"),
        );
    }
    Some(found.clone())
}

fn uses(list: &[RawPolicy<'_>]) -> bool {
    let here = |raw: &RawPolicy<'_>| USERS.contains(&raw.name.get_ref().as_str());
    list.iter().any(|raw| here(raw) || raw.nested.iter().any(|inner| uses(inner)))
}

fn scope_uses(scope: &ScopeDocument<'_>) -> bool {
    [&scope.inbound, &scope.backend, &scope.outbound, &scope.on_error].into_iter().any(|list| uses(list))
}

fn api_uses(api: &ApiDocument<'_>) -> bool {
    scope_uses(&api.scope) || api.operations.iter().any(|operation| scope_uses(&operation.scope))
}
