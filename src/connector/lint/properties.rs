//! What apiProperties.json says beside policies and connections: who makes the connector, what it can do, its colour.

use super::super::tree::{Member, Node, Value};
use super::{Hint as _, Linter, head};
use crate::config::Diagnostic;
use crate::config::diagnostic::{closest, one_of};

/// What the [file](https://learn.microsoft.com/connectors/custom-connectors/paconn-cli) can hold.
const NAMES: [&str; 8] = [
    "capabilities",
    "connectionParameterSets",
    "connectionParameters",
    "iconBrandColor",
    "policyTemplateInstances",
    "publisher",
    "scriptOperations",
    "stackOwner",
];
/// What connectors can do.
const CAPABILITIES: [&str; 7] = ["actions", "blob", "cloud", "composite", "gateway", "tabular", "triggers"];

impl Linter<'_, '_> {
    pub(super) fn about(&mut self, root: &Node) {
        let file = self.properties_file();
        for Member { name, at, .. } in root.members() {
            if NAMES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                continue;
            }
            if let Some(other) = closest(name, NAMES) {
                let text = format!("apiProperties.json has no property `{name}`");
                let found = Diagnostic::warning("unknown-property", file, at.clone(), text);
                self.push(found.hint(format!("did you mean `{other}`?")));
            }
        }
        self.capabilities(root);
        self.colour(root);
        let is_missing =
            |name: &&str| root.get_any_case(name).and_then(Node::text).is_none_or(|text| text.trim().is_empty());
        let missing: Vec<&str> = ["publisher", "stackOwner"].into_iter().filter(is_missing).collect();
        if let [first, ..] = missing[..] {
            let span = root.get_any_case(first).map_or(head(root), |node| node.span.clone());
            let text = format!("apiProperties.json does not say {}", one_of(missing));
            self.push(Diagnostic::warning("bad-metadata", file, span, text))
                .with("certification asks who makes the connector and whose the API is");
        }
    }

    fn capabilities(&mut self, root: &Node) {
        let file = self.properties_file();
        let Some(list) = root.get_any_case("capabilities") else { return };
        if !matches!(list.value, Value::Array(_)) {
            self.push(Diagnostic::error("unknown-capability", file, head(list), "`capabilities` is a list"))
                .with("`[\"actions\"]`");
            return;
        }
        for one in list.items() {
            let name = one.scalar().unwrap_or_default();
            if !CAPABILITIES.iter().any(|known| known.eq_ignore_ascii_case(name)) {
                let text = format!("no capability is called `{name}`");
                let hint = closest(name, CAPABILITIES).map(|other| format!("did you mean `{other}`?"));
                let hint = hint.unwrap_or_else(|| "connectors have `actions` and `triggers`".to_owned());
                self.push(Diagnostic::warning("unknown-capability", file, one.span.clone(), text)).with(hint);
            }
        }
    }

    fn colour(&mut self, root: &Node) {
        let file = self.properties_file();
        let Some(node) = root.get("iconBrandColor") else {
            let text = "`iconBrandColor` is missing";
            self.push(Diagnostic::error("icon-colour", file, root.span.start..root.span.start + 1, text))
                .with("`\"#da3b01\"`");
            return;
        };
        let colour = node.text().unwrap_or_default().to_ascii_lowercase();
        let is_hex = colour
            .strip_prefix('#')
            .is_some_and(|hex| matches!(hex.len(), 3 | 6) && hex.bytes().all(|b| b.is_ascii_hexdigit()));
        if !is_hex {
            self.push(Diagnostic::error("icon-colour", file, node.span.clone(), format!("`{colour}` is no colour")))
                .with("`\"#da3b01\"`");
        } else if matches!(colour.as_str(), "#ffffff" | "#fff" | "#007ee5") {
            let text = format!("certification refuses `{colour}`: white and the default colour say nothing");
            self.push(Diagnostic::warning("icon-colour", file, node.span.clone(), text));
        }
    }
}
