//! What policies read of requests, and the parameters that they have.

use super::super::definition::Operation;
use super::super::template::{Instance, known_parameters};
use super::super::tree::Node;
use super::{Hint as _, Linter};
use crate::config::Diagnostic;
use crate::config::diagnostic::closest;

/// Headers that requests have without a definition: of HTTP itself, and of the platform.
const USUAL_HEADERS: [&str; 8] =
    ["authorization", "accept", "accept-language", "content-type", "content-length", "host", "origin", "user-agent"];

/// What a policy reads of a request.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Input {
    Header,
    Query,
}

impl<'n> Linter<'_, 'n> {
    /// The operations that a policy is for.
    fn operations_of(&self, instance: &Instance<'_>) -> Vec<&'_ Operation<'n>> {
        let names: Vec<&str> = instance.operations.iter().filter_map(|node| node.text()).collect();
        let is_for = |one: &&Operation<'_>| names.is_empty() || names.contains(&one.id.as_str());
        self.definition.operations.iter().filter(is_for).collect()
    }

    /// A header or a query parameter that a policy reads: declared by an operation, or set by another policy.
    pub(super) fn input(&mut self, instance: &Instance<'_>, node: &Node, input: Input, name: &str) {
        let section = instance.policy_section().and_then(Node::text).unwrap_or_default();
        let is_request = section.is_empty() || section.eq_ignore_ascii_case("request");
        let lower = name.to_ascii_lowercase();
        if name.is_empty() || !is_request || instance.id == "updatenextlink" {
            return;
        }
        let (place, what, setter) = match input {
            Input::Header => ("header", "header", "setheader"),
            Input::Query => ("query", "query parameter", "setqueryparameter"),
        };
        if input == Input::Header && (USUAL_HEADERS.contains(&lower.as_str()) || lower.starts_with("x-ms-")) {
            return;
        }
        let own = |one: &Instance<'_>| {
            one.id == setter
                && one.parameter("name").and_then(Node::text).is_some_and(|it| it.eq_ignore_ascii_case(name))
                || one.id == "setvaluefromurl"
                    && one.parameter("parameterTemplate").and_then(Node::text).is_some_and(|it| it.contains(name))
        };
        // A policy that sets what it reads says what happens without it.
        if self.properties.policies.iter().any(own) {
            return;
        }
        let operations = self.operations_of(instance);
        let declared = |one: &&Operation<'_>| {
            one.parameters.iter().any(|it| it.place == place && it.name.eq_ignore_ascii_case(name))
        };
        if operations.is_empty() || operations.iter().any(|one| declared(&one)) {
            return;
        }
        let names = operations.iter().flat_map(|one| &one.parameters).filter(|one| one.place == place);
        let hint = match closest(name, names.map(|one| one.name)) {
            Some(other) => format!("did you mean `{other}`?"),
            None => "flows send what the definition declares, so that this is always empty".to_owned(),
        };
        let text = format!("no operation that the policy is for has the {what} `{name}`");
        let file = self.properties_file();
        self.push(Diagnostic::warning("undeclared-input", file, node.span.clone(), text)).with(hint);
    }

    /// The variables of a path that a policy makes.
    pub(super) fn path_variables(&mut self, instance: &Instance<'_>) {
        for parameter in ["newPath", "parameterValueUrl"] {
            let Some(node) = instance.parameter(parameter) else { continue };
            let text = node.text().unwrap_or_default();
            for name in names(text) {
                let operations = self.operations_of(instance);
                let has = |one: &&&Operation<'_>| one.path.contains(&format!("{{{name}}}"));
                let Some(without) = operations.iter().find(|one| !has(one)) else { continue };
                let message = format!("the path of `{}` has no variable `{{{name}}}`", without.id);
                let known: Vec<&str> = names(without.path).collect();
                let hint = match closest(name, known.iter().copied()) {
                    Some(other) => Some(format!("did you mean `{{{other}}}`?")),
                    None => Some(format!("its path is `{}`", without.path)),
                };
                let file = self.properties_file();
                self.push(Diagnostic::warning("undeclared-input", file, node.span.clone(), message)).hint = hint;
            }
        }
    }

    /// Parameters that the template does not have: what is set there has no effect.
    pub(super) fn template_parameters(&mut self, instance: &Instance<'_>) {
        let Some(known) = known_parameters(&instance.id) else { return };
        let file = self.properties_file();
        for (name, at) in instance.own_parameters() {
            if !known.iter().any(|one| one.eq_ignore_ascii_case(name)) {
                let text = format!("`{}` has no parameter `{name}`", instance.id);
                let hint = closest(name, known.iter().copied()).map(|other| format!("did you mean `{other}`?"));
                self.push(Diagnostic::warning("unknown-property", file, at, text)).hint = hint;
            }
        }
    }
}

/// The variables of a path, `{id}`; what begins with `@` is an expression.
fn names(path: &str) -> impl Iterator<Item = &str> {
    let tail = |(at, _): (usize, &str)| Some(&path[at + 1..]).filter(|_| !path[..at].ends_with('@'));
    let inner = path.match_indices('{').filter_map(tail).filter_map(|rest| rest.split_once('}'));
    inner
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.$".contains(&b)))
}
