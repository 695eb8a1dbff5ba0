//! Schemas, parameters and responses: their parts, and the size of bodies.
//!
//! By the [rules](https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules) of the platform's validator,
//! and its [limits](https://learn.microsoft.com/connectors/custom-connectors/faq).

use super::super::definition::Generation;
use super::super::tree::{Member, Node, Value};
use super::shape::{BODY, OPERATION, PARAMETER, PATH, RESPONSE, SCHEMA};
use super::{Hint as _, Linter, head};
use crate::config::diagnostic::closest;

/// How many schemas a body may have: `BodySchemaCountExceedsMaxAllowed`.
const MAX_SCHEMAS: usize = 512;
/// How deep references are followed to count.
const DEEP: usize = 64;

const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];

/// Where a schema stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Position {
    /// It is a whole body.
    Body,
    /// It is part of one, or declared for several.
    Part,
}

impl<'n> Linter<'_, 'n> {
    /// What OpenAPI 2.0 says of schemas; another generation is refused as a whole.
    pub(super) fn schemas(&mut self) {
        if self.definition.generation != Generation::Two {
            return;
        }
        let root = self.definition.root;
        let list = |name: &str| root.get(name).map(Node::members).unwrap_or_default();
        list("definitions").iter().for_each(|one| self.schema(&one.value, Position::Part));
        list("parameters").iter().for_each(|one| self.declared(&one.value));
        list("responses").iter().for_each(|one| self.response(&one.value));
        for Member { value: item, .. } in list("paths").iter().filter(|path| !path.name.starts_with("x-")) {
            self.shape(item, &PATH);
            self.parameter_list(item);
            self.sent(item);
            for member in item.members().iter().filter(|one| METHODS.contains(&&*one.name)) {
                self.shape(&member.value, &OPERATION);
                self.parameter_list(&member.value);
                for one in member.value.get("responses").map(Node::members).unwrap_or_default() {
                    self.status(one);
                    self.response(&one.value);
                }
                self.sent(&member.value);
            }
        }
    }

    /// What a webhook sends.
    fn sent(&mut self, node: &'n Node) {
        if let Some(schema) = node.get("x-ms-notification-content").and_then(|content| content.get("schema")) {
            self.schema(schema, Position::Body);
        }
    }

    /// `OperationParametersContainDuplicateParameter`
    fn parameter_list(&mut self, node: &'n Node) {
        let list = node.get("parameters").map(Node::items).unwrap_or_default();
        list.iter().for_each(|one| self.declared(one));
        let key = |node: &'n Node| {
            let node = self.definition.follow(node);
            Some((node.text_of("name")?, node.text_of("in")?))
        };
        let keys: Vec<_> = list.iter().map(key).collect();
        for (at, one) in list.iter().enumerate() {
            if let Some((name, place)) = keys[at].filter(|_| keys[..at].contains(&keys[at])) {
                self.error("bad-parameter", &head(one), format!("`{name}` stands in the {place} twice"));
            }
        }
    }

    /// A parameter where it is declared.
    fn declared(&mut self, node: &'n Node) {
        if let Some(reference) = node.get("$ref") {
            return self.reference(reference, "#/parameters/", "parameter");
        }
        let span = node.get("name").map_or(head(node), |name| name.span.clone());
        let Some(name) = node.text_of("name") else {
            self.error("bad-parameter", &span, "a parameter has no `name`");
            return;
        };
        let place = node.text_of("in").unwrap_or_default();
        if !["path", "query", "header", "body", "formData"].contains(&place) {
            let at = node.get("in").map_or(span, |node| node.span.clone());
            self.error("bad-parameter", &at, format!("`{name}` has no place: `{place}`"))
                .with("`in` is `path`, `query`, `header`, `formData` or `body`");
            return;
        }
        if place == "body" {
            self.shape(node, &BODY);
            match node.get("schema") {
                Some(schema) => self.schema(schema, Position::Body),
                None => {
                    self.error("bad-parameter", &span, format!("the body `{name}` has no `schema`"))
                        .with("`type` and all that describes it stand in there");
                }
            }
            return;
        }
        self.shape(node, &PARAMETER);
        self.described(node);
        let mut refuse = |text: String, hint: &str| self.error("bad-parameter", &span, text).with(hint);
        if let (true, None) = (node.get("schema").is_some(), node.get("type")) {
            refuse(format!("`{name}` has a `schema`"), "only a body has one: write `type` beside `in`");
        } else if node.get("type").is_none() {
            refuse(format!("`{name}` has no `type`"), "`string`, `integer`, `number`, `boolean` or `array`");
        }
        if place == "path" && !node.get("required").is_some_and(|it| it.value == Value::Bool(true)) {
            refuse(format!("`{name}` stands in the path and is not required"), "`\"required\": true`");
        }
        match node.text_of("type") {
            Some("file") if place != "formData" => {
                refuse(format!("`{name}` is a file"), "files stand in `formData`");
            }
            Some("object") => refuse(format!("`{name}` is an object"), "objects stand in the body"),
            Some("array") if node.get("items").is_none() => {
                refuse(format!("the array `{name}` has no `items`"), "they say what it holds");
            }
            _ => {}
        }
        if place == "formData" && !name.is_ascii() {
            refuse(format!("`{name}` holds characters that are not ASCII"), "the name of a field of a form has none");
        }
        if node.get("allowEmptyValue").is_some_and(Node::is_true) && !matches!(place, "query" | "formData") {
            refuse(format!("`allowEmptyValue` of `{name}`"), "only parameters in `query` and `formData` have it");
        }
        let several: &[&str] = &["csv", "ssv", "tsv", "pipes", "multi"];
        let format = node.get("collectionFormat").map(|it| it.text().unwrap_or_default());
        if format.is_some_and(|it| !several.contains(&it) || it == "multi" && !matches!(place, "query" | "formData")) {
            refuse(
                format!("`collectionFormat` of `{name}`"),
                "`csv`, `ssv`, `tsv` or `pipes`; `multi` in `query` and `formData`",
            );
        }
        if let Some(encoding) = node.get("x-ms-url-encoding") {
            if place != "path" {
                self.warning("url-encoding", &encoding.span, format!("`{name}` stands in the {place}"))
                    .with("`x-ms-url-encoding` is for variables of the path; queries are always encoded once");
            } else if !matches!(encoding.text(), Some("single" | "double")) {
                self.warning("url-encoding", &encoding.span, "`x-ms-url-encoding` is `single` or `double`");
            }
        } else if place == "path" && is_delicate(name, node.text_of("format")) {
            self.warning("url-encoding", &span, format!("`{name}` does not say how it is encoded"))
                .with("`double` where values hold `/` and the like, `single` (as without it) where they do not");
        }
    }

    /// The name of a response.
    fn status(&mut self, Member { name, at, .. }: &Member) {
        let is_status = name.len() == 3 && name.parse::<u16>().is_ok_and(|status| (100..600).contains(&status));
        if !is_status && &**name != "default" && !name.starts_with("x-") {
            self.error("bad-response", at, format!("`{name}` is no status of a response"))
                .with("three digits, or `default`");
        }
    }

    fn response(&mut self, node: &'n Node) {
        if let Some(reference) = node.get("$ref") {
            return self.reference(reference, "#/responses/", "response");
        }
        self.shape(node, &RESPONSE);
        if node.get("description").is_none() {
            self.error("bad-response", &head(node), "a response has no `description`");
        }
        if let Some(schema) = node.get("schema") {
            self.schema(schema, Position::Body);
        }
        for Member { name, at, value } in node.get("headers").map(Node::members).unwrap_or_default() {
            match value.get("type") {
                Some(_) => self.described(value),
                None => {
                    self.error("bad-response", at, format!("the header `{name}` has no `type`"));
                }
            }
        }
    }

    /// Tells of a reference to another kind of thing. One that leads nowhere is told of elsewhere.
    fn reference(&mut self, node: &Node, start: &str, what: &str) {
        let reference = node.text().unwrap_or_default();
        if !reference.starts_with(start) && self.definition.root.resolve(reference).is_some() {
            self.error("broken-reference", &node.span, format!("`{reference}` is no reference to a {what}"))
                .with(format!("it begins with `{start}`"));
        }
    }

    fn schema(&mut self, node: &'n Node, position: Position) {
        if position == Position::Body {
            let mut left = MAX_SCHEMAS + 1;
            self.count(node, &mut Vec::new(), &mut left);
            if left == 0 {
                self.error("too-large", &head(node), format!("the body has more than {MAX_SCHEMAS} schemas"))
                    .with("each property and each list counts, also those that references lead to");
            }
        }
        if !matches!(node.value, Value::Object(_)) {
            self.error("bad-schema", &head(node), "a schema is an object");
            return;
        }
        if let Some(reference) = node.get("$ref") {
            let beside = node.members().iter().find(|one| &*one.name != "$ref");
            if let Some(Member { name, at, .. }) = beside {
                self.warning("beside-reference", at, format!("`{name}` beside `$ref` says nothing"))
                    .with("the schema that it leads to says all");
            }
            return self.reference(reference, "#/definitions/", "schema");
        }
        self.shape(node, &SCHEMA);
        self.described(node);
        let kind = node.text_of("type");
        match (kind, position) {
            (Some("array"), _) if node.get("items").is_none() => {
                self.error("bad-schema", &head(node), "an array has no `items`").with("they say what it holds");
            }
            (Some("file"), Position::Part) => {
                self.error("bad-schema", &head(node), "only a whole body is a file");
            }
            (Some("string"), Position::Part) if node.text_of("format") == Some("binary") => {
                self.warning(
                    "bad-schema",
                    &head(node),
                    "only a whole body, or a field of a form, is `string` and `binary`",
                )
                .with("`byte` is Base64 within JSON");
            }
            _ => {}
        }
        self.required(node, kind);
        for Member { value, .. } in node.get("properties").map(Node::members).unwrap_or_default() {
            self.schema(value, Position::Part);
        }
        if let Some(items) = node.get("items") {
            self.schema(items, Position::Part);
        }
        node.get("allOf").map(Node::items).unwrap_or_default().iter().for_each(|one| self.schema(one, Position::Part));
        if let Some(more) = node.get("additionalProperties").filter(|it| !matches!(it.value, Value::Bool(_))) {
            self.schema(more, Position::Part);
        }
    }

    fn required(&mut self, node: &Node, kind: Option<&str>) {
        let properties = node.get("properties");
        for Member { name, at, value } in properties.map(Node::members).unwrap_or_default() {
            let is_required = node.get("required").map(Node::items).unwrap_or_default().iter();
            let is_required = is_required.clone().any(|one| one.text() == Some(name));
            let is_internal = value.text_of("x-ms-visibility") == Some("internal");
            let is_callback = value.get("x-ms-notification-url").is_some_and(Node::is_true);
            let has_parts = value.get("properties").is_some() || value.get("$ref").is_some();
            match value.get("default") {
                None if is_internal && is_required && !is_callback && !has_parts => {
                    self.warning(
                        "internal-without-default",
                        at,
                        format!("`{name}` is required and internal, and has no default"),
                    )
                    .with("nobody can fill it in: give it a `default`");
                }
                Some(_) if is_internal && !is_required => self.internal_optional(at, name),
                _ => {}
            }
        }
        let Some(required) = node.get("required") else { return };
        if !matches!(required.value, Value::Array(_)) {
            self.error("bad-schema", &required.span, "`required` of a schema is a list of its properties");
            return;
        }
        if required.items().is_empty() {
            self.error("bad-schema", &required.span, "`required` is empty").with("leave it out");
        } else if kind.is_some_and(|kind| kind != "object") {
            self.error("bad-schema", &head(required), "only an object has `required`");
        }
        let known: Vec<&str> = properties.map(Node::members).unwrap_or_default().iter().map(|one| &*one.name).collect();
        for (at, one) in required.items().iter().enumerate() {
            let name = one.text().unwrap_or_default();
            if required.items()[..at].contains(one) {
                self.error("bad-schema", &one.span, format!("`{name}` is required twice"));
            } else if !known.contains(&name) && node.get("allOf").is_none() {
                let found = self.error("bad-schema", &one.span, format!("`{name}` is required, and no property"));
                if let Some(other) = closest(name, known.iter().copied()) {
                    found.with(format!("did you mean `{other}`?"));
                }
            }
        }
    }

    pub(super) fn internal_optional(&mut self, at: &std::ops::Range<usize>, name: &str) {
        self.warning(
            "internal-optional",
            at,
            format!("`{name}` is internal and optional, so that its default is never sent"),
        )
        .with("make it required");
    }

    /// Counts the schemas of a body, until there are none left to count.
    fn count(&self, node: &'n Node, above: &mut Vec<&'n str>, left: &mut usize) {
        if let Some(reference) = node.text_of("$ref") {
            if above.contains(&reference) || above.len() > DEEP {
                *left = left.saturating_sub(1);
            } else if let Some(next) = self.definition.root.resolve(reference) {
                above.push(reference);
                self.count(next, above, left);
                above.pop();
            }
            return;
        }
        *left = left.saturating_sub(1);
        let properties = node.get("properties").map(Node::members).unwrap_or_default().iter().map(|one| &one.value);
        let more = [node.get("items"), node.get("additionalProperties").filter(|it| !it.members().is_empty())];
        let all = node.get("allOf").map(Node::items).unwrap_or_default().iter();
        for one in properties.chain(more.into_iter().flatten()).chain(all) {
            if *left == 0 {
                return;
            }
            self.count(one, above, left);
        }
    }
}

/// Whether the values of a variable of a path probably hold characters that mean something in a path. Certification asks each one for its
/// encoding (`PathParameterMissingEncoding`); for numbers and plain identifiers, which are a third of all published ones, it says nothing.
fn is_delicate(name: &str, format: Option<&str>) -> bool {
    const WORDS: [&str; 12] =
        ["path", "url", "uri", "file", "filename", "folder", "email", "mail", "address", "blob", "upn", "href"];
    // `driveItemPath`, `file_name` and `folderId` are words too.
    let mut words = Vec::new();
    let mut word = String::new();
    for character in name.chars() {
        if (character.is_uppercase() || !character.is_alphanumeric()) && word.chars().any(char::is_lowercase) {
            words.push(std::mem::take(&mut word));
        }
        if character.is_alphanumeric() {
            word.push(character.to_ascii_lowercase());
        }
    }
    words.push(word);
    matches!(format, Some("email" | "uri" | "url" | "uri-reference"))
        // The key of an object in a store is a path; `key-name` is none.
        || words.last().is_some_and(|word| word == "key")
        || words.iter().any(|word| WORDS.contains(&word.as_str()))
}
