//! Values: the types, formats, lists and limits that parameters, headers and schemas have alike.
//!
//! By the [rules](https://learn.microsoft.com/connectors/custom-connectors/certification-swagger-validator-rules) of the platform's validator.

use super::super::tree::{Node, Value};
use super::{Hint as _, Linter, head};
use crate::config::diagnostic::closest;

const TYPES: [&str; 7] = ["string", "number", "integer", "boolean", "array", "object", "file"];
/// Formats that the designer knows, by type.
const FORMATS: [(&str, &[&str]); 3] = [
    (
        "string",
        &[
            "binary",
            "byte",
            "char",
            "date",
            "date-no-tz",
            "date-time",
            "duration",
            "email",
            "file",
            "guid",
            "hostname",
            "html",
            "ipv4",
            "ipv6",
            "password",
            "time",
            "uri",
            "url",
            "uuid",
        ],
    ),
    ("number", &["float", "double", "decimal"]),
    ("integer", &["int8", "int16", "int32", "int64", "unixtime", "uint8", "uint16", "uint32", "uint64"]),
];

impl Linter<'_, '_> {
    /// What a parameter and a schema have alike: the type and the values that it takes.
    pub(super) fn described(&mut self, node: &Node) {
        let kind = node.text_of("type");
        if let Some(written) = node.get("type") {
            match kind {
                None => {
                    self.error("bad-schema", &written.span, "`type` is one word")
                        .with("OpenAPI 2.0 has no lists of types, and no `null`");
                }
                Some(kind) if !TYPES.contains(&kind) => {
                    let found = self.error("bad-schema", &written.span, format!("no type is called `{kind}`"));
                    let other = match kind {
                        "int" | "long" => Some("integer"),
                        "float" | "double" | "decimal" => Some("number"),
                        "bool" => Some("boolean"),
                        "date" | "datetime" | "date-time" | "uuid" | "guid" | "text" | "str" => Some("string"),
                        "list" => Some("array"),
                        "any" | "dict" | "map" => Some("object"),
                        _ => closest(kind, TYPES),
                    };
                    found.hint = other.map(|other| format!("did you mean `{other}`?"));
                }
                Some(kind) => self.format(node, kind),
            }
        }
        let kind = kind.filter(|kind| TYPES.contains(kind));
        if let (Some(default), Some(kind)) = (node.get("default"), kind)
            && !fits(default, kind)
        {
            self.error(
                "bad-default",
                &default.span,
                format!("the default is {}, and the type `{kind}`", kind_of(default)),
            )
            .hint = unquoted(default, kind);
        }
        self.choices(node, kind);
        self.limits(node);
        self.pattern(node);
        if let Some(visibility) = node.get("x-ms-visibility")
            && !matches!(visibility.text(), Some("important" | "advanced" | "internal" | "none" | ""))
        {
            self.error(
                "bad-visibility",
                &visibility.span,
                "`x-ms-visibility` is `important`, `advanced` or `internal`",
            );
        }
        if let Some((node, text)) = node.get("x-ms-summary").and_then(|node| Some((node, node.text()?)))
            && text.chars().count() > 80
        {
            let length = text.chars().count();
            self.warning("long-summary", &node.span, format!("the summary has {length} characters"))
                .with("certification asks for 80 at most");
        }
    }

    fn format(&mut self, node: &Node, kind: &str) {
        let Some(format) = node.get("format") else { return };
        let known = FORMATS.iter().find(|(name, _)| *name == kind).map(|(_, known)| *known).unwrap_or_default();
        let name = format.text().unwrap_or_default();
        if !known.contains(&name) && !name.is_empty() {
            let text = format!("`{name}` is no format of the type `{kind}`");
            let belongs = FORMATS.iter().find(|(_, list)| list.contains(&name)).map(|(kind, _)| *kind);
            let found = self.warning("unknown-format", &format.span, text);
            if let Some(kind) = belongs {
                found.with(format!("it is one of `{kind}`"));
            } else if let Some(other) = closest(name, known.iter().copied()) {
                found.with(format!("did you mean `{other}`?"));
            }
        }
    }

    /// `enum`, and the names of its values.
    fn choices(&mut self, node: &Node, kind: Option<&str>) {
        let choices = node.get("enum");
        if let Some(list) = choices {
            if list.items().is_empty() {
                self.error("bad-enum", &list.span, "`enum` has no values");
            }
            for (at, one) in list.items().iter().enumerate() {
                let shown = one.scalar().unwrap_or("null");
                if list.items()[..at].contains(one) {
                    self.error("bad-enum", &one.span, format!("`{shown}` stands in `enum` twice"));
                } else if let Some(kind) = kind.filter(|kind| !fits(one, kind)) {
                    self.error(
                        "bad-enum",
                        &one.span,
                        format!("`{shown}` is {}, and the type `{kind}`", kind_of(one)),
                    )
                    .hint = unquoted(one, kind);
                }
            }
            if let Some(default) = node.get("default").filter(|default| !list.items().contains(default)) {
                let shown = default.scalar().unwrap_or("it");
                self.warning("bad-default", &default.span, format!("the default `{shown}` is none of `enum`"));
            }
        }
        let Some(named) = node.get("x-ms-enum-values") else { return };
        for (at, one) in named.items().iter().enumerate() {
            let value = one.get("value");
            let shown = value.and_then(Node::scalar).unwrap_or_default();
            let span = value.map_or(head(one), |value| value.span.clone());
            if one.get("displayName").is_none() {
                self.error("bad-enum", &span, format!("the value `{shown}` has no `displayName`"));
            }
            if named.items()[..at].iter().any(|other| other.get("value") == value) {
                self.error("bad-enum", &span, format!("`{shown}` stands in `x-ms-enum-values` twice"));
            } else if let (Some(value), Some(list)) = (value, choices)
                && !list.items().contains(value)
            {
                self.error("bad-enum", &span, format!("`{shown}` is none of `enum`"));
            }
        }
    }

    fn limits(&mut self, node: &Node) {
        let number = |name: &str| node.get(name).and_then(|one| one.scalar()?.parse::<f64>().ok());
        for (low, high) in [
            ("minimum", "maximum"),
            ("minLength", "maxLength"),
            ("minItems", "maxItems"),
            ("minProperties", "maxProperties"),
        ] {
            for name in [low, high] {
                let Some(written) = node.get(name) else { continue };
                let is_count = name != "minimum" && name != "maximum";
                let good = match &written.value {
                    Value::Number(text) if is_count => text.parse::<u64>().is_ok(),
                    Value::Number(_) => true,
                    _ => false,
                };
                if !good {
                    let what = if is_count { "a whole number from 0" } else { "a number" };
                    self.error("bad-schema", &written.span, format!("`{name}` is {what}"));
                }
            }
            if let (Some(least), Some(most), Some(at)) = (number(low), number(high), node.get(low))
                && least > most
            {
                self.error("bad-schema", &at.span, format!("`{low}` is more than `{high}`"));
            }
        }
        for (name, other) in [("exclusiveMaximum", "maximum"), ("exclusiveMinimum", "minimum")] {
            if let (Some(written), None) = (node.get(name), node.get(other)) {
                self.error("bad-schema", &written.span, format!("`{name}` goes with `{other}`"))
                    .with("in OpenAPI 2.0 it is `true` or `false`");
            }
        }
        if let Some(step) = node.get("multipleOf").filter(|_| number("multipleOf").is_none_or(|step| step <= 0.0)) {
            self.error("bad-schema", &step.span, "`multipleOf` is more than 0");
        }
    }
}

/// Whether a value is of a type.
fn fits(node: &Node, kind: &str) -> bool {
    match (&node.value, kind) {
        (_, "file") | (Value::Text(_), "string") | (Value::Bool(_), "boolean") | (Value::Number(_), "number") => true,
        (Value::Number(text), "integer") => text.parse::<f64>().is_ok_and(|number| number.fract() == 0.0),
        (Value::Array(_), "array") | (Value::Object(_), "object") => true,
        _ => false,
    }
}

fn kind_of(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::Text(_) => "text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// The value as it should be written, where quotes are too many or too few.
fn unquoted(node: &Node, kind: &str) -> Option<String> {
    match (&node.value, kind) {
        (Value::Text(text), "integer") if text.parse::<i64>().is_ok() => Some(format!("without quotes: `{text}`")),
        (Value::Text(text), "number") if text.parse::<f64>().is_ok() => Some(format!("without quotes: `{text}`")),
        (Value::Text(text), "boolean") if matches!(&**text, "true" | "false") => {
            Some(format!("without quotes: `{text}`"))
        }
        (Value::Number(_) | Value::Bool(_), "string") => node.scalar().map(|text| format!("in quotes: `\"{text}\"`")),
        _ => None,
    }
}
