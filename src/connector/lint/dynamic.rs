//! Lists, forms and trees that other operations fill: whether these operations, their parameters and what they answer are there.
//!
//! The [extensions](https://learn.microsoft.com/connectors/custom-connectors/openapi-extensions), by the
//! [rules](https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules) of the platform's validator.

use std::collections::HashSet;

use super::super::definition::Operation;
use super::super::tree::{Member, Node, Value};
use super::{Hint as _, Linter};
use crate::config::diagnostic::{closest, one_of};

/// What an extension says of the answer that it reads.
struct Paths {
    /// Where the list is.
    list: &'static str,
    /// What is read of each item, or of the answer where there is no list.
    items: &'static [&'static str],
    /// Whether there has to be a list.
    is_list: bool,
}

fn paths(extension: &str) -> Option<Paths> {
    Some(match extension {
        "x-ms-dynamic-values" => {
            Paths { list: "value-collection", items: &["value-path", "value-title"], is_list: true }
        }
        "x-ms-dynamic-list" => Paths { list: "itemsPath", items: &["itemValuePath", "itemTitlePath"], is_list: true },
        "x-ms-dynamic-schema" => Paths { list: "", items: &["value-path"], is_list: false },
        "x-ms-dynamic-properties" => Paths { list: "", items: &["itemValuePath"], is_list: false },
        "x-ms-dynamic-tree" => Paths { list: "itemsPath", items: &["itemValuePath", "itemTitlePath"], is_list: true },
        _ => return None,
    })
}

/// Where a path leads.
enum Way<'n> {
    /// To this schema.
    There(&'n Node),
    /// Nobody knows: the schema says too little.
    Open,
    /// Nowhere: a schema has other properties.
    Lost(&'n Node),
}

impl<'n> Linter<'_, 'n> {
    pub(super) fn dynamics(&mut self) {
        let definition = self.definition;
        for operation in &definition.operations {
            let mut visited = HashSet::new();
            for parameter in &operation.parameters {
                self.dynamic_of(operation, parameter.node, &mut visited);
            }
            for response in operation.node.get("responses").map(Node::members).unwrap_or_default() {
                self.dynamic_of(operation, &response.value, &mut visited);
            }
        }
    }

    /// The extensions below a node, references followed.
    fn dynamic_of(&mut self, operation: &Operation<'n>, node: &'n Node, visited: &mut HashSet<usize>) {
        let node = self.definition.follow(node);
        // Also what leads back to itself is looked at once.
        if !visited.insert(node.span.start) {
            return;
        }
        match &node.value {
            Value::Array(items) => items.iter().for_each(|item| self.dynamic_of(operation, item, visited)),
            Value::Object(members) => {
                for Member { name, value, .. } in members {
                    match paths(name) {
                        Some(paths) if &**name == "x-ms-dynamic-tree" => {
                            for step in ["open", "browse"].into_iter().filter_map(|step| value.get(step)) {
                                self.dynamic(operation, step, &paths);
                            }
                        }
                        Some(paths) => self.dynamic(operation, value, &paths),
                        None if matches!(&**name, "example" | "examples" | "default" | "enum") => {}
                        None => self.dynamic_of(operation, value, visited),
                    }
                }
            }
            _ => {}
        }
    }

    fn dynamic(&mut self, source: &Operation<'n>, node: &'n Node, paths: &Paths) {
        self.sources(source, node);
        // What several operations have is told of once.
        if !self.seen.insert(node.span.start) {
            return;
        }
        let Some(id) = node.get("operationId") else { return };
        let name = id.text().unwrap_or_default();
        let Some(target) = self.definition.operations.iter().find(|one| one.id == name) else {
            let file = self.package.definition.id;
            return self.check_operation(file, &id.span, name);
        };
        self.targets(target, node, id);
        self.answer(target, node, paths);
    }

    /// Values that come from parameters of the operation itself.
    fn sources(&mut self, source: &Operation<'n>, node: &'n Node) {
        for Member { value, .. } in node.get("parameters").map(Node::members).unwrap_or_default() {
            let Some(reference) = value.get("parameter").or_else(|| value.get("parameterReference")) else { continue };
            let name = reference.text().unwrap_or_default();
            if !self.has_parameter(source, name) && self.seen.insert(reference.span.start) {
                let text = format!("`{}` has no parameter `{name}`", source.id);
                let hint = self.like(source, name);
                self.warning("dynamic-reference", &reference.span, text).hint = hint;
            }
        }
    }

    /// Parameters of the operation that fills the list.
    fn targets(&mut self, target: &Operation<'n>, node: &'n Node, id: &Node) {
        let given = node.get("parameters").map(Node::members).unwrap_or_default();
        for Member { name, at, .. } in given {
            if !self.has_parameter(target, name) {
                let text = format!("`{}` has no parameter `{name}`", target.id);
                let hint = self.like(target, name);
                self.warning("dynamic-reference", at, text).hint = hint;
            }
        }
        let is_given = |name: &str| given.iter().any(|one| *one.name == *name);
        for one in target.parameters.iter().filter(|one| one.required && one.place != "body") {
            if !is_given(one.name) && one.schema.get("default").is_none() && one.node.get("default").is_none() {
                let text = format!("`{}` needs `{}`, and it is not given", target.id, one.name);
                self.warning("dynamic-reference", &id.span, text)
                    .with(format!("`\"parameters\": {{ \"{}\": … }}` beside `operationId`", one.name));
            }
        }
    }

    /// Whether an operation has a parameter of this name, its body a property of it, or the body is open. Paths into the body begin with
    /// its name.
    fn has_parameter(&self, operation: &Operation<'n>, name: &str) -> bool {
        let first = name.split(['/', '.']).next().unwrap_or_default();
        operation.parameters.iter().any(|one| one.name == name || one.name == first)
            || operation
                .parameters
                .iter()
                .filter(|one| one.place == "body")
                .any(|body| first == "body" || !matches!(self.way(body.schema, name), Way::Lost(_)))
    }

    fn like(&self, operation: &Operation<'n>, name: &str) -> Option<String> {
        let names = operation.parameters.iter().map(|one| one.name);
        let close = closest(name, names.clone()).map(|other| format!("did you mean `{other}`?"));
        close.or_else(|| operation.parameters.first().map(|_| one_of(names)))
    }

    /// What is read of the answer.
    fn answer(&mut self, target: &Operation<'n>, node: &'n Node, paths: &Paths) {
        let Some(mut schema) = self.success_schema(target) else { return };
        if let Some(list) = node.get(paths.list).filter(|list| list.text().is_some_and(|path| !path.is_empty())) {
            match self.way(schema, list.text().unwrap_or_default()) {
                Way::There(found) => schema = found,
                Way::Open => return,
                Way::Lost(at) => return self.lost(target, list, at),
            }
        }
        if paths.is_list {
            match (schema.text_of("type"), schema.get("items")) {
                (_, Some(items)) => schema = items,
                (Some("array") | None, None) => return,
                (Some(kind), None) if schema.get("properties").is_some() || kind != "object" => {
                    let at = node.get(paths.list).or_else(|| node.get("operationId")).unwrap_or(node);
                    let text = format!("`{}` answers no list there, but the type `{kind}`", target.id);
                    self.warning("dynamic-reference", &super::head(at), text)
                        .with(format!("`{}` says where the list is", paths.list));
                    return;
                }
                _ => return,
            }
        }
        for path in paths.items.iter().filter_map(|name| node.get(name)) {
            if let Way::Lost(at) = self.way(schema, path.text().unwrap_or_default()) {
                self.lost(target, path, at);
            }
        }
    }

    fn lost(&mut self, target: &Operation<'n>, path: &Node, at: &'n Node) {
        let name = path.text().unwrap_or_default();
        let known: Vec<&str> =
            at.get("properties").map(Node::members).unwrap_or_default().iter().map(|one| &*one.name).collect();
        let last = name.rsplit('/').next().unwrap_or_default();
        let close = closest(last, known.iter().copied()).map(|other| format!("did you mean `{other}`?"));
        let hint = close.unwrap_or_else(|| one_of(known));
        self.warning("dynamic-reference", &path.span, format!("the answer of `{}` has no `{name}`", target.id))
            .with(hint);
    }

    /// The schema of what an operation answers when it succeeds.
    pub(super) fn success_schema(&self, operation: &Operation<'n>) -> Option<&'n Node> {
        let responses = operation.node.get("responses").map(Node::members).unwrap_or_default();
        let good = responses.iter().filter(|one| one.name.starts_with('2'));
        let all = good.chain(responses.iter().filter(|one| &*one.name == "default"));
        let mut schemas = all.filter_map(|one| self.definition.follow(&one.value).get("schema"));
        schemas.next().map(|schema| self.definition.follow(schema))
    }

    /// Follows the names of a path: `/` or `.` stands between them, and also within names.
    fn way(&self, schema: &'n Node, path: &str) -> Way<'n> {
        let schema = self.definition.follow(schema);
        let path = path.trim_matches('/');
        if path.is_empty() {
            return Way::There(schema);
        }
        let known = schema.get("properties").map(Node::members).unwrap_or_default();
        let is_open =
            ["allOf", "additionalProperties", "x-ms-dynamic-schema", "x-ms-dynamic-properties", "discriminator"]
                .iter()
                .any(|name| schema.get(name).is_some());
        if let Some(one) = known.iter().find(|one| *one.name == *path) {
            return Way::There(self.definition.follow(&one.value));
        }
        for (at, separator) in path.match_indices(['/', '.']) {
            if let Some(one) = known.iter().find(|one| *one.name == path[..at]) {
                return self.way(&one.value, &path[at + separator.len()..]);
            }
        }
        if known.is_empty() || is_open { Way::Open } else { Way::Lost(schema) }
    }
}
