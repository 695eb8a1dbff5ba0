//! What policies read of a request, and whether the operations that they are for have it.

use super::super::definition::{Operation, SchemeKind};
use super::super::template::{Instance, calls};
use super::super::tree::{Member, Node, Value};
use super::Linter;
use crate::config::Diagnostic;
use crate::config::diagnostic::{closest, one_of};

/// Headers that clients send without being told, folded.
const USUAL: [&str; 10] = [
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "content-length",
    "content-type",
    "host",
    "if-match",
    "if-none-match",
    "user-agent",
];

impl<'n> Linter<'_, 'n> {
    /// What an instance reads that nothing gives.
    pub(super) fn reads(&mut self, instance: &Instance<'n>, before: &[Instance<'n>]) {
        let definition = self.definition;
        let is_for = |one: &&Operation<'_>| {
            instance.operations.is_empty() || instance.operations.iter().any(|name| name.text() == Some(&one.id))
        };
        let scope: Vec<&Operation<'_>> = definition.operations.iter().filter(is_for).collect();
        // That no operation is named is told by itself.
        if scope.is_empty() {
            return;
        }
        self.inputs(instance.node, &scope, before);
        for name in ["newPath", "parameterValueUrl"] {
            if let Some(node) = instance.parameter(name) {
                self.variables(node, &scope, instance.operations.is_empty());
            }
        }
    }

    /// Headers and query parameters.
    fn inputs(&mut self, node: &Node, scope: &[&Operation<'n>], before: &[Instance<'n>]) {
        match &node.value {
            Value::Array(items) => items.iter().for_each(|item| self.inputs(item, scope, before)),
            Value::Object(members) => {
                for Member { name, value, .. } in members {
                    // The target of a value is written, not read.
                    if !matches!(&**name, "title" | "templateId") && !name.ends_with(".parameterTemplate") {
                        self.inputs(value, scope, before);
                    }
                }
            }
            Value::Text(text) => {
                for (function, name) in calls(text) {
                    match function.as_str() {
                        "headers" | "header" => self.input(node, "header", &name, scope, before),
                        "queryparameters" => self.input(node, "query", &name, scope, before),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }

    fn input(&mut self, node: &Node, place: &str, name: &str, scope: &[&Operation<'n>], before: &[Instance<'n>]) {
        let all = scope.iter().flat_map(|one| &one.parameters).filter(|one| one.place == place);
        if all.clone().any(|one| one.name.eq_ignore_ascii_case(name)) || self.is_given(place, name, before) {
            return;
        }
        let what = if place == "header" { "header" } else { "query parameter" };
        let whose = match scope {
            [one] => format!("`{}` does not declare", one.id),
            _ => "no operation that the policy is for declares".to_owned(),
        };
        let close = closest(name, all.map(|one| one.name)).map(|other| format!("did you mean `{other}`?"));
        let found = Diagnostic::warning(
            "undeclared-input",
            self.properties_file(),
            node.span.clone(),
            format!("{whose} the {what} `{name}`, so that no flow sends it"),
        );
        self.push(
            found.hint(close.unwrap_or_else(|| format!("a parameter with `in: {place}`, which may be internal"))),
        );
    }

    /// Whether the connection, a policy before or every client gives it.
    fn is_given(&self, place: &str, name: &str, before: &[Instance<'n>]) -> bool {
        let (template, by_scheme) = match place {
            "header" => ("setheader", USUAL.contains(&name.to_ascii_lowercase().as_str())),
            _ => ("setqueryparameter", false),
        };
        let named =
            |node: Option<&Node>| node.and_then(Node::text).is_some_and(|text| text.trim().eq_ignore_ascii_case(name));
        let lower = name.to_ascii_lowercase();
        by_scheme
            || name.is_empty()
            || lower.starts_with("x-ms-")
            || before.iter().any(|one| one.id == template && named(one.parameter("name")))
            || before
                .iter()
                .filter_map(|one| one.parameter("parameterTemplate")?.text())
                .any(|text| text.contains(name))
            || self.definition.schemes.iter().any(|scheme| match scheme.kind {
                SchemeKind::Header(key) => place == "header" && key.eq_ignore_ascii_case(name),
                SchemeKind::Query(key) => place == "query" && key.eq_ignore_ascii_case(name),
                _ => false,
            })
    }

    /// `{name}` of a new path, which stands for a variable of the operation's own.
    fn variables(&mut self, node: &Node, scope: &[&Operation<'n>], for_all: bool) {
        let text = node.text().unwrap_or_default();
        for name in holes(text) {
            let has = |one: &&&Operation<'_>| one.path.contains(&format!("{{{name}}}"));
            let Some(lacking) = scope.iter().find(|one| !has(one)) else { continue };
            if for_all && scope.iter().any(|one| has(&one)) {
                continue;
            }
            let known: Vec<&str> = holes(lacking.path).collect();
            let text = format!("the path of `{}` has no variable `{name}`", lacking.id);
            let hint = match closest(name, known.iter().copied()) {
                Some(other) => format!("did you mean `{other}`?"),
                None if known.is_empty() => format!("`{}` has none", lacking.path),
                None => one_of(known),
            };
            let found = Diagnostic::warning("unknown-variable", self.properties_file(), node.span.clone(), text);
            self.push(found.hint(hint));
        }
    }
}

/// The names in braces that are no expressions.
fn holes(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices('{').filter_map(|(at, _)| {
        let name = text[at + 1..].split_once('}')?.0;
        let is_name = !name.is_empty() && !name.contains(['@', '{', '(', '\'', '"', ' ', ':']);
        (is_name && !text[..at].ends_with('@')).then_some(name)
    })
}
