//! Operations and their parameters.

use std::collections::HashMap;

use super::super::clash::{Clash, clashes};
use super::super::definition::{Operation, Parameter};
use super::super::tree::{Member, Node};
use super::webhooks::is_callback;
use super::{Hint as _, Linter};
use crate::config::diagnostic::closest;

impl<'n> Linter<'_, 'n> {
    pub(super) fn operations(&mut self) {
        let definition = self.definition;
        let mut ids: HashMap<String, String> = HashMap::new();
        for operation in &definition.operations {
            self.identity(operation, &mut ids);
            self.summary(operation);
            self.parameters(operation);
            self.responses(operation);
            self.media(operation);
            self.pages(operation);
            self.trigger(operation);
        }
        self.families();
        self.dynamics();
        self.paths();
        self.templates();
    }

    fn identity(&mut self, operation: &Operation<'_>, ids: &mut HashMap<String, String>) {
        let Some(node) = operation.node.get("operationId").filter(|_| operation.has_id) else {
            let text = format!("`{}` has no `operationId`", operation.title());
            self.error("missing-operation-id", &operation.at, text);
            return;
        };
        if let Some(other) = ids.insert(operation.id.to_ascii_lowercase(), operation.title()) {
            self.error("duplicate-operation", &node.span, format!("two operations are called `{}`", operation.id))
                .with(format!("the other one is `{other}`; names compare without case here"));
        }
        if !operation.id.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
            self.error(
                "bad-operation-id",
                &node.span,
                format!("`{}` holds characters that an `operationId` cannot", operation.id),
            )
            .with("letters, digits, `-`, `_` and `.`");
        } else if let Some(other) = styled(&operation.id) {
            self.warning("operation-id-style", &node.span, format!("`{}` is no name in PascalCase", operation.id))
                .with(format!(
                    "`{other}`; flows know the operation by its name, so change it before the first one uses it"
                ));
        }
    }

    fn summary(&mut self, operation: &Operation<'_>) {
        let internal = operation.node.text_of("x-ms-visibility") == Some("internal");
        match operation.node.get("summary").and_then(|node| Some((node, node.text()?.trim()))) {
            Some((node, text)) if !text.is_empty() => {
                let length = text.chars().count();
                if length > 80 {
                    self.warning("long-summary", &node.span, format!("the summary has {length} characters"))
                        .with("certification asks for 80 at most");
                }
                if text.contains('/') {
                    self.warning("summary-punctuation", &node.span, "a summary has no `/`");
                } else if text.ends_with(['.', '!', '?', ',', ';', ':']) {
                    self.warning(
                        "summary-punctuation",
                        &node.span,
                        "a summary is a phrase, without punctuation at its end",
                    );
                }
            }
            _ if internal => {}
            _ => {
                self.error("missing-summary", &operation.at, format!("`{}` has no `summary`", operation.id));
            }
        }
        if !internal && operation.node.text_of("description").is_none_or(|text| text.trim().is_empty()) {
            self.warning("missing-description", &operation.at, format!("`{}` has no `description`", operation.id));
        }
    }

    fn parameters(&mut self, operation: &Operation<'n>) {
        let names = variables(operation.path);
        for name in &names {
            if !operation.parameters.iter().any(|one| one.place == "path" && one.name == *name) {
                self.error(
                    "path-parameter",
                    &operation.at,
                    format!("`{{{name}}}` of `{}` is not declared", operation.path),
                )
                .with("a parameter with `in: path`");
            }
        }
        let mut bodies = operation.parameters.iter().filter(|one| one.place == "body");
        if let (Some(first), true) = (bodies.next(), matches!(operation.method.as_str(), "GET" | "HEAD")) {
            self.error("bad-body", &first.node.span, format!("a {} has no body", operation.method));
        }
        if let Some(second) = bodies.next() {
            self.error("bad-body", &second.node.span, "an operation has one body");
        }
        let has_form = operation.parameters.iter().any(|one| one.place == "formData");
        if let (true, Some(body)) = (has_form, operation.parameters.iter().find(|one| one.place == "body")) {
            self.error("bad-body", &body.node.span, "an operation has a body or a form, not both");
        }
        for parameter in &operation.parameters {
            self.parameter(operation, parameter, &names);
        }
    }

    fn parameter(&mut self, operation: &Operation<'n>, parameter: &Parameter<'n>, names: &[&str]) {
        let span = parameter.node.get("name").map_or(parameter.node.span.clone(), |name| name.span.clone());
        let name = parameter.name;
        if parameter.place == "path" && !names.contains(&name) {
            self.error("path-parameter", &span, format!("`{name}` is not in the path `{}`", operation.path));
        }
        // One that is declared for several operations is told of once.
        if !self.seen.insert(parameter.node.span.start) {
            return;
        }
        if parameter.place == "header" && name.eq_ignore_ascii_case("authorization") {
            self.error("reserved-parameter", &span, "a header parameter cannot be called `Authorization`")
                .with("use a security definition; a policy `setheader` copies another header to it");
        }
        if name.eq_ignore_ascii_case("connectionId") {
            self.error("reserved-parameter", &span, "`connectionId` is a name of the platform");
        }
        if parameter.place == "cookie" {
            self.error("reserved-parameter", &span, "connectors have no cookie parameters");
        }
        let default = parameter.schema.get("default").or_else(|| parameter.node.get("default"));
        let is_internal = parameter.visibility() == Some("internal");
        if is_internal
            && parameter.required
            && default.is_none()
            && parameter.place != "body"
            && !is_callback(parameter.node)
        {
            self.error(
                "internal-without-default",
                &span,
                format!("`{name}` is required and internal, and has no default"),
            )
            .with("nobody can fill it in: give it a `default`");
        }
        if is_internal && !parameter.required && default.is_some() && parameter.place != "body" {
            self.internal_optional(&span, name);
        }
        let is_nameless = parameter.node.text_of("x-ms-summary").is_none_or(|text| text.trim().is_empty());
        if is_nameless && !is_internal && !matches!(parameter.place, "body") {
            self.warning(
                "missing-summary",
                &span,
                format!("parameter `{name}` of `{}` has no `x-ms-summary`", operation.id),
            );
        }
    }

    fn pages(&mut self, operation: &Operation<'n>) {
        let Some(pageable) = operation.node.get("x-ms-pageable") else { return };
        let Some(link) = pageable.get("nextLinkName") else { return };
        let is_for = |names: &[&Node]| names.is_empty() || names.iter().any(|name| name.text() == Some(&operation.id));
        let schema = operation.node.get("responses").and_then(|responses| responses.get("200"));
        let schema = schema.and_then(|response| self.definition.follow(response).get("schema"));
        let schema = schema.map(|schema| self.definition.follow(schema));
        let named = link.text().unwrap_or_default();
        if !named.is_empty()
            && let Some(known) = schema.and_then(|schema| schema.get("properties"))
            && known.get(named).is_none()
        {
            let text = format!("the answer of `{}` has no `{named}`", operation.id);
            let hint = closest(named, known.members().iter().map(|one| &*one.name));
            self.warning("no-next-link", &link.span, text).hint = hint.map(|other| format!("did you mean `{other}`?"));
        }
        let mut policies = self.properties.policies.iter().filter(|policy| policy.id == "updatenextlink");
        match policies.find(|policy| is_for(&policy.operations)) {
            None => self
                .warning("no-next-link", &link.span, format!("`{}` has pages, and no policy `updatenextlink` makes their links lead through the platform", operation.id))
                .with("without it the second page is asked for without authentication, and usually answered with 401 or 404"),
            Some(policy) => {
                let (own, named) = (link.text(), policy.parameter("nextLinkPropertyName").and_then(Node::text));
                if own != named {
                    self.warning("no-next-link", &link.span, format!("`updatenextlink` changes `{}`, and the pages of `{}` follow this", named.unwrap_or_default(), operation.id));
                }
            }
        }
    }

    /// Paths that the platform does not take, by the rules of its [validator](
    /// https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules).
    fn templates(&mut self) {
        let mut known: HashMap<String, &str> = HashMap::new();
        for Member { name: path, at, value } in self.definition.root.get("paths").map(Node::members).unwrap_or_default()
        {
            if path.starts_with("x-") {
                continue;
            }
            let why = if !path.starts_with('/') {
                Some("a path begins with `/`".to_owned())
            } else if path.contains(['?', '#', '*']) {
                Some("a path holds no `?`, `#` or `*`: `%3F`, `%23` and `%2A` stand for them".to_owned())
            } else if path.split('/').any(|segment| !is_balanced(segment)) {
                Some("each `{name}` of a path stands whole in one segment".to_owned())
            } else if value.get("$ref").is_some() {
                Some("the platform does not follow a `$ref` of a path".to_owned())
            } else {
                known.get(&path.to_ascii_lowercase()).map(|other| format!("`{other}` differs from it in case only"))
            };
            known.entry(path.to_ascii_lowercase()).or_insert(path);
            if let Some(why) = why {
                self.error("bad-path", at, format!("`{path}` is refused")).with(why);
            }
        }
    }

    /// Paths that one request fits.
    fn paths(&mut self) {
        let operations = &self.definition.operations;
        for Clash { first, second, same } in clashes(operations) {
            let (one, two) = (&operations[first], &operations[second]);
            if same {
                self.error(
                    "ambiguous-paths",
                    &two.at,
                    format!("`{}` and `{}` match the same requests", two.title(), one.title()),
                )
                .with(
                    "let their literal text differ; a policy `routerequesttoendpoint` gives both the path of the API",
                );
            } else {
                self.warning(
                    "ambiguous-paths",
                    &two.at,
                    format!("`{}` and `{}` match some requests alike", two.title(), one.title()),
                )
                .with("a value that is the literal text of the other one is routed there");
            }
        }
    }
}

/// The name as the platform's guidelines want it, without what the validator takes out (`OperationIdSanitized`); none where it is so.
fn styled(id: &str) -> Option<String> {
    // What versions of an operation end with: `ListTasks_V2`.
    let (id, _version) = id
        .rsplit_once("_V")
        .filter(|(_, version)| version.bytes().all(|byte| byte.is_ascii_digit()))
        .unwrap_or((id, ""));
    let words = id.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    let capital = |word: &str| word[..1].to_ascii_uppercase() + &word[1..];
    let other: String = words.map(capital).collect();
    (other != id && !other.is_empty()).then_some(other)
}

/// Whether the braces of a segment hold one variable each.
fn is_balanced(segment: &str) -> bool {
    let mut open = None;
    for (at, character) in segment.char_indices() {
        match (character, open) {
            ('{', None) => open = Some(at),
            ('}', Some(start)) if at > start + 1 => open = None,
            ('{' | '}', _) => return false,
            _ => {}
        }
    }
    open.is_none()
}

/// The variables of a path.
fn variables(path: &str) -> Vec<&str> {
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name)).collect()
}
