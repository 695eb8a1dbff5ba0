//! Schemas that OpenAPI 3 refers to wherever they stand, and 2.0 needs under `definitions`.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::connector::tree::Node;

/// Steps of a reference that say nothing of what stands there.
const USUAL: [&str; 9] =
    ["components", "schemas", "properties", "paths", "responses", "requestBody", "content", "schema", "parameters"];
/// The longest name that is made up.
const MAX_NAME: usize = 80;

/// The schemas that get a place, and the names of those that have one.
pub(super) struct Moved {
    taken: BTreeSet<String>,
    /// References, with the names that they got.
    found: Vec<(String, String)>,
    /// How many of them were written.
    written: usize,
}

impl Moved {
    pub(super) fn new(root: &Node) -> Self {
        let schemas = root.get("components").and_then(|all| all.get("schemas"));
        let taken = schemas.map(Node::members).unwrap_or_default().iter().map(|one| one.name.to_string());
        Self { taken: taken.collect(), found: Vec::new(), written: 0 }
    }

    /// The name of the place of what a reference leads to.
    pub(super) fn name(&mut self, reference: &str) -> String {
        if let Some((_, name)) = self.found.iter().find(|(known, _)| known == reference) {
            return name.clone();
        }
        let steps = reference.trim_start_matches("#/").split('/').filter(|step| !USUAL.contains(step));
        let plain = |step: &str| step.replace("~1", "_").replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
        let steps: Vec<String> = steps.map(|step| plain(step).trim_matches('_').to_owned()).collect();
        let mut base = steps.join("_");
        base.truncate(MAX_NAME);
        if base.is_empty() {
            base.push_str("Schema");
        }
        let mut name = base.clone();
        let mut number = 1;
        while !self.taken.insert(name.clone()) {
            number += 1;
            name = format!("{base}_{number}");
        }
        self.found.push((reference.to_owned(), name.clone()));
        name
    }

    /// The next one that was not written yet.
    pub(super) fn next(&mut self, root: &Node) -> Option<(String, Value)> {
        let (reference, name) = self.found.get(self.written)?;
        self.written += 1;
        Some((name.clone(), root.resolve(reference).map(Node::to_json).unwrap_or_default()))
    }
}
