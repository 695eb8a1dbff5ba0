//! What fills lists, trees and forms while a flow is written:
//! [`x-ms-dynamic-…`](https://learn.microsoft.com/connectors/custom-connectors/openapi-extensions).

use std::collections::HashSet;

use super::super::definition::{Definition, Operation};
use super::super::tree::{Member, Node, Value};
use super::{Hint as _, Linter};
use crate::config::diagnostic::closest;

const CODE: &str = "dynamic-values";
/// How an extension calls the path to its list, and those to what stands in each item of it.
const PATHS: [(&str, &[&str], &[&str]); 4] = [
    ("x-ms-dynamic-values", &["value-collection"], &["value-path", "value-title"]),
    ("x-ms-dynamic-list", &["itemsPath"], &["itemValuePath", "itemTitlePath"]),
    ("x-ms-dynamic-schema", &["value-path"], &[]),
    ("x-ms-dynamic-properties", &["itemValuePath"], &[]),
];
/// How deep values are looked into.
const DEEP: usize = 64;

impl<'n> Linter<'_, 'n> {
    /// Looks at all of them. One in `definitions` may be used by several operations.
    pub(super) fn dynamic(&mut self) {
        let definition = self.definition;
        let mut seen = HashSet::new();
        for operation in &definition.operations {
            for parameter in operation.parameters.iter().filter(|one| seen.insert(one.node.span.start)) {
                self.dynamic_in(parameter.node, Some(operation), 0);
            }
            for name in ["responses", "requestBody"] {
                if let Some(node) = operation.node.get(name) {
                    self.dynamic_in(node, Some(operation), 0);
                }
            }
        }
        for name in ["definitions", "components"] {
            if let Some(node) = definition.root.get(name) {
                self.dynamic_in(node, None, 0);
            }
        }
    }

    fn dynamic_in(&mut self, node: &'n Node, holder: Option<&Operation<'n>>, depth: usize) {
        match &node.value {
            Value::Array(items) if depth < DEEP => {
                items.iter().for_each(|item| self.dynamic_in(item, holder, depth + 1));
            }
            Value::Object(members) if depth < DEEP => {
                for member in members {
                    match &*member.name {
                        "x-ms-dynamic-tree" => {
                            for name in ["open", "browse"] {
                                if let Some(part) = member.value.get(name) {
                                    self.filled(member, part, holder);
                                }
                            }
                        }
                        name if name.starts_with("x-ms-dynamic-") => self.filled(member, &member.value, holder),
                        _ => self.dynamic_in(&member.value, holder, depth + 1),
                    }
                }
            }
            _ => {}
        }
    }

    /// One call. What calls no operation is told of here; an operation that is not there, where operations are.
    fn filled(&mut self, Member { name, at, .. }: &Member, part: &'n Node, holder: Option<&Operation<'n>>) {
        let Some(id) = part.get("operationId") else {
            // Files and the like are the platform's own.
            if part.get("capability").is_none() && part.get("builtInOperation").is_none() {
                self.warning(CODE, at, format!("`{name}` names no operation")).with("`operationId`");
            }
            return;
        };
        let definition = self.definition;
        let Some(called) = definition.operations.iter().find(|one| Some(&*one.id) == id.text()) else { return };
        let given = part.get("parameters").map(Node::members).unwrap_or_default();
        for one in given {
            self.given(one, called, holder);
        }
        for parameter in &called.parameters {
            let is_given = given.iter().any(|one| is_called(&one.name, parameter.name));
            let has_default = parameter.schema.get("default").or_else(|| parameter.node.get("default")).is_some();
            if parameter.required && parameter.place != "body" && !is_given && !has_default {
                let text = format!("`{}` needs `{}`, which is not given here", called.id, parameter.name);
                self.warning(CODE, &id.span, text).with(format!(
                    "`\"parameters\": {{ \"{}\": … }}` beside it; without it the list stays empty",
                    parameter.name
                ));
            }
        }
        self.found_at(name, part, called);
    }

    /// A parameter of the call: one of the operation that is called, with a value from the one in which it stands.
    fn given(&mut self, given: &Member, called: &Operation<'n>, holder: Option<&Operation<'n>>) {
        if !takes(self.definition, called, &given.name) {
            let names = called.parameters.iter().map(|one| one.name);
            let hint = closest(&given.name, names).map(|other| format!("did you mean `{other}`?"));
            self.warning(CODE, &given.at, format!("`{}` has no parameter `{}`", called.id, given.name)).hint = hint;
        }
        let source = ["parameter", "parameterReference"].into_iter().find_map(|name| given.value.get(name));
        let (Some(source), Some(holder)) = (source, holder) else { return };
        let wanted = source.text().unwrap_or_default();
        if !takes(self.definition, holder, wanted) {
            let names = holder.parameters.iter().map(|one| one.name);
            let hint = closest(wanted, names).map(|other| format!("did you mean `{other}`?"));
            self.warning(CODE, &source.span, format!("`{}` has no parameter `{wanted}`", holder.id)).hint = hint;
        }
    }

    /// The paths into the answer of the operation that is called.
    fn found_at(&mut self, name: &str, part: &'n Node, called: &Operation<'n>) {
        let (lists, items) = match PATHS.iter().find(|(known, ..)| *known == name) {
            Some((_, lists, items)) => (*lists, *items),
            None => (&["itemsPath"][..], &["itemValuePath", "itemTitlePath", "itemFullTitlePath", "itemIsParent"][..]),
        };
        let Some(mut schema) = answer(self.definition, called) else { return };
        for path in lists.iter().filter_map(|name| part.get(name)) {
            match follow(self.definition, schema, path.text().unwrap_or_default()) {
                Followed::To(found) => schema = found,
                Followed::Anywhere => return,
                // Operations that describe others seldom describe themselves: only what is nearly there is told.
                Followed::Nowhere(_, None) if items.is_empty() => return,
                Followed::Nowhere(missing, hint) => return self.nowhere(called, path, &missing, hint),
            }
        }
        let schema = self.definition.follow(schema);
        let Some(item) = schema.get("items").filter(|_| !items.is_empty()) else { return };
        for path in items.iter().filter_map(|name| part.get(name)) {
            if let Followed::Nowhere(missing, hint) = follow(self.definition, item, path.text().unwrap_or_default()) {
                self.nowhere(called, path, &missing, hint);
            }
        }
    }

    fn nowhere(&mut self, called: &Operation<'_>, path: &Node, missing: &str, hint: Option<String>) {
        let text = format!("the answer of `{}` has no `{missing}` there", called.id);
        self.warning(CODE, &path.span, text).hint = hint.map(|other| format!("did you mean `{other}`?"));
    }
}

/// Whether a name of a call means a parameter: `id`, or `query/id`, or a property of the body.
fn is_called(name: &str, parameter: &str) -> bool {
    name == parameter || name.split_once('/').is_some_and(|(_, rest)| rest == parameter)
}

/// Whether an operation has a parameter of this name, or a body with such a property.
fn takes(definition: &Definition<'_>, operation: &Operation<'_>, name: &str) -> bool {
    let last = name.rsplit(['/', '.']).next().unwrap_or(name);
    operation
        .parameters
        .iter()
        .any(|one| is_called(name, one.name) || one.place == "body" && has_property(definition, one.schema, last, 0))
}

/// Whether a schema has a property of this name somewhere, or leaves open what it has.
fn has_property(definition: &Definition<'_>, schema: &Node, name: &str, depth: usize) -> bool {
    const DEEP: usize = 8;
    let schema = definition.follow(schema);
    if depth == DEEP || is_open(schema) && schema.get("items").is_none() {
        return true;
    }
    let properties = schema.get("properties").map(Node::members).unwrap_or_default();
    properties.iter().any(|one| &*one.name == name)
        || schema.get("items").is_some_and(|items| has_property(definition, items, name, depth + 1))
        || properties.iter().any(|one| {
            let inner = definition.follow(&one.value);
            (inner.get("properties").is_some() || inner.get("items").is_some())
                && has_property(definition, inner, name, depth + 1)
        })
}

/// Whether a schema does not say all that its values have.
fn is_open(schema: &Node) -> bool {
    let closed = schema.get("properties").is_some_and(|list| !list.members().is_empty());
    let more = ["allOf", "additionalProperties", "x-ms-dynamic-schema", "x-ms-dynamic-properties"];
    !closed || more.iter().any(|name| schema.get(name).is_some_and(|node| node.value != Value::Bool(false)))
}

/// The schema of the answer to a call that succeeded.
fn answer<'n>(definition: &Definition<'n>, operation: &Operation<'n>) -> Option<&'n Node> {
    let responses = operation.node.get("responses")?;
    let response = ["200", "201", "default"].into_iter().find_map(|name| responses.get(name))?;
    definition.follow(response).get("schema").map(|schema| definition.follow(schema))
}

/// Where a path leads.
enum Followed<'n> {
    /// To a schema.
    To(&'n Node),
    /// The schema does not say.
    Anywhere,
    /// To nothing: the step that is not there, and one that is called alike.
    Nowhere(String, Option<String>),
}

fn follow<'n>(definition: &Definition<'n>, schema: &'n Node, path: &str) -> Followed<'n> {
    let mut schema = definition.follow(schema);
    for step in path.split('/').filter(|step| !step.is_empty()) {
        if schema.get("properties").is_none()
            && let Some(items) = schema.get("items")
        {
            schema = definition.follow(items);
        }
        match schema.get("properties").and_then(|properties| properties.get(step)) {
            Some(found) => schema = definition.follow(found),
            // A name may hold what separates names elsewhere.
            None if is_open(schema) || step.contains(['.', '(', '@', '[']) => return Followed::Anywhere,
            None => {
                let names = schema.get("properties").map(Node::members).unwrap_or_default();
                let hint = closest(step, names.iter().map(|one| &*one.name)).map(str::to_owned);
                return Followed::Nowhere(step.to_owned(), hint);
            }
        }
    }
    Followed::To(schema)
}
