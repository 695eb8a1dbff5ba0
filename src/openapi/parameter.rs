//! Parameters: where they stand in a request, how lists are written there, and what JSON their text stands for.

use std::borrow::Cow;
use std::collections::HashSet;

use http::HeaderName;

use super::read::{Dialect, Reader, json};
use super::schema::{Property, Rest, SchemaId, Schemas, Types};
use crate::connector::definition;
use crate::connector::tree::{Node, Value};
use crate::json::{Index, Kind};

/// How deep parts of parts are looked into for properties.
const MAX_PARTS: usize = 8;

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A variable of the path.
    Path,
    /// The query.
    Query,
    /// A header.
    Header,
    /// A field of a form.
    Form,
}

/// How a value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// Text with this between the items of a list.
    Separated(char),
    /// A list as several parameters of one name.
    Multi,
    /// An object as parameters of its properties' names.
    Properties,
    /// An object as `name[property]=value`.
    Deep,
    /// JSON.
    Json,
    /// In a way that is not read.
    Unread,
}

/// A parameter.
#[derive(Debug)]
pub struct Parameter {
    /// Its name.
    pub name: Box<str>,
    /// The same as that of a header.
    pub header: Option<HeaderName>,
    /// Where it stands.
    pub place: Place,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may be there without a value.
    pub allow_empty: bool,
    /// How it is written.
    pub style: Style,
    /// What it must be.
    pub schema: SchemaId,
    /// Whether callers do not see it.
    pub internal: bool,
    /// What is sent when it is not there, as text.
    pub default: Option<Box<str>>,
}

impl Parameter {
    /// Reads a parameter; none when it is a body or a cookie.
    pub fn read<'n>(parameter: &definition::Parameter<'n>, reader: &mut Reader<'n>, dialect: Dialect) -> Option<Self> {
        let place = match parameter.place {
            "path" => Place::Path,
            "query" => Place::Query,
            "header" => Place::Header,
            "formData" => Place::Form,
            _ => return None,
        };
        let node = parameter.node;
        let content = node.get("content").and_then(|content| content.members().first());
        let schema = content.and_then(|media| media.value.get("schema")).unwrap_or(parameter.schema);
        let style = match content {
            Some(media) if media.name.contains("json") => Style::Json,
            Some(_) => Style::Unread,
            None if dialect == Dialect::Two => style_of_two(node, schema),
            None => style_of_three(node, is_object(schema, reader, MAX_PARTS), place),
        };
        let default = node.get("default").or_else(|| schema.get("default"));
        Some(Self {
            name: parameter.name.into(),
            header: HeaderName::from_bytes(parameter.name.as_bytes()).ok().filter(|_| place == Place::Header),
            place,
            required: parameter.required,
            allow_empty: node.get("allowEmptyValue").is_some_and(Node::is_true),
            style,
            schema: reader.schema(schema),
            internal: parameter.visibility() == Some("internal"),
            default: default.and_then(|default| default_text(default, style)),
        })
    }

    /// The types that its value may have.
    pub fn types(&self, schemas: &Schemas) -> Types {
        types(schemas, self.schema)
    }

    /// Its text as the JSON that it stands for.
    ///
    /// # Errors
    /// Why it stands for none.
    pub fn json(&self, schemas: &Schemas, values: &[Cow<'_, str>]) -> Result<String, String> {
        let mut out = String::new();
        let types = self.types(schemas);
        let is_list = types.any(Types::ARRAY) && !types.any(Types::STRING);
        match self.style {
            Style::Json => {
                let text = values.first().map(|value| &**value).unwrap_or_default();
                Index::parse(text.as_bytes()).map_err(|error| format!("It is not JSON: {error}."))?;
                out.push_str(text);
            }
            Style::Separated(separator) if is_list => {
                let text = values.join(&*separator.to_string());
                // Nothing written is a list of nothing.
                let items = text.split(separator).map(Cow::Borrowed).filter(|_| !text.is_empty());
                list(schemas, self.schema, items, &mut out)?;
            }
            Style::Multi if is_list => list(schemas, self.schema, values.iter().cloned(), &mut out)?,
            _ => {
                let text = values.first().map(|value| &**value).unwrap_or_default();
                scalar(types, text, &mut out)?;
            }
        }
        Ok(out)
    }

    /// Whether several values of one name make sense.
    pub fn takes_several(&self, schemas: &Schemas) -> bool {
        let types = self.types(schemas);
        // The lines of a header are one list (RFC 9110 §5.3).
        let is_list = types.any(Types::ARRAY) && !types.any(Types::STRING);
        is_list && (self.style == Style::Multi || self.place == Place::Header) || self.style == Style::Unread
    }
}

/// The parameters of a place.
pub trait Pairs<'v> {
    /// The values of a name.
    fn of(&self, name: &str) -> Vec<Cow<'v, str>>;

    /// All of them.
    fn all(&self) -> Vec<(Cow<'v, str>, Cow<'v, str>)>;
}

/// An object whose properties are parameters of their own; none when none of them is there.
///
/// # Errors
/// Why one of them stands for no JSON.
pub fn object_json<'v>(
    schemas: &Schemas,
    parameter: &Parameter,
    pairs: &dyn Pairs<'v>,
) -> Option<Result<String, String>> {
    if parameter.style != Style::Deep {
        // What else is there are other parameters.
        return Object { schemas, schema: parameter.schema }.json(&|name| pairs.of(name), Vec::new());
    }
    let values = |name: &str| pairs.of(&format!("{}[{name}]", parameter.name));
    let inner = |name: &str| {
        let name = name.strip_prefix(&*parameter.name)?.strip_prefix('[')?.strip_suffix(']')?;
        Some(name.to_owned())
    };
    let all = pairs.all().into_iter().filter_map(|(name, value)| Some((inner(&name)?.into(), value))).collect();
    Object { schemas, schema: parameter.schema }.json(&values, all)
}

/// The fields of a form as the JSON that a schema describes; none when there are none.
///
/// # Errors
/// Why one of them stands for no JSON.
pub fn fields_json<'v>(schemas: &Schemas, schema: SchemaId, pairs: &dyn Pairs<'v>) -> Option<Result<String, String>> {
    Object { schemas, schema }.json(&|name| pairs.of(name), pairs.all())
}

/// The properties of a schema, those of what it is taken together with included.
pub fn properties(schemas: &Schemas, schema: SchemaId) -> Vec<&Property> {
    let mut found: Vec<&Property> = Vec::new();
    let mut waiting = vec![(schema, MAX_PARTS)];
    while let Some((id, deep)) = waiting.pop() {
        let schema = schemas.get(id);
        for property in schema.object.iter().flat_map(|rules| rules.in_order()) {
            if !found.iter().any(|known| known.name == property.name) {
                found.push(property);
            }
        }
        if let (Some(logic), Some(deep)) = (&schema.logic, deep.checked_sub(1)) {
            waiting.extend(logic.all.iter().rev().map(|id| (*id, deep)));
        }
    }
    found
}

/// An object that comes in pieces.
struct Object<'s> {
    schemas: &'s Schemas,
    schema: SchemaId,
}

impl Object<'_> {
    /// Its JSON. `all` is what may hold members that the schema does not name: it says whether there may be any.
    fn json<'v>(
        &self,
        values: &dyn Fn(&str) -> Vec<Cow<'v, str>>,
        all: Vec<(Cow<'v, str>, Cow<'v, str>)>,
    ) -> Option<Result<String, String>> {
        let mut out = String::new();
        let properties = properties(self.schemas, self.schema);
        for property in &properties {
            let found = values(&property.name);
            let Some(first) = found.first() else { continue };
            key(&property.name, &mut out);
            let types = types(self.schemas, property.schema);
            let written = if types.any(Types::ARRAY) && !types.any(Types::STRING) {
                list(self.schemas, property.schema, found.into_iter(), &mut out)
            } else {
                scalar(types, first, &mut out)
            };
            if let Err(why) = written {
                return Some(Err(format!("{}: {why}", property.name)));
            }
        }
        let of_rest = match self.schemas.get(self.schema).object.as_ref().map(|rules| rules.rest) {
            Some(Rest::Schema(rest)) => types(self.schemas, rest),
            _ => Types::STRING,
        };
        let mut known: HashSet<Cow<'_, str>> = properties.iter().map(|property| (&*property.name).into()).collect();
        for (name, value) in all {
            if known.contains(&name) {
                continue;
            }
            key(&name, &mut out);
            if let Err(why) = scalar(of_rest, &value, &mut out) {
                return Some(Err(format!("{name}: {why}")));
            }
            known.insert(name);
        }
        if out.is_empty() {
            return None;
        }
        out.push('}');
        Some(Ok(out))
    }
}

/// The name of the next member of an object.
fn key(name: &str, out: &mut String) {
    out.push(if out.is_empty() { '{' } else { ',' });
    out.push_str(&serde_json::Value::from(name).to_string());
    out.push(':');
}

/// A list of values as JSON.
fn list<'v>(
    schemas: &Schemas,
    schema: SchemaId,
    items: impl Iterator<Item = Cow<'v, str>>,
    out: &mut String,
) -> Result<(), String> {
    let of = match schemas.get(schema).array.as_ref().map(|rules| rules.rest) {
        Some(Rest::Schema(item)) => types(schemas, item),
        _ => Types::STRING,
    };
    out.push('[');
    for (place, item) in items.enumerate() {
        out.push_str(if place > 0 { "," } else { "" });
        scalar(of, item.trim(), out)?;
    }
    out.push(']');
    Ok(())
}

/// The types that a schema takes, those that it is taken together with included.
fn types(schemas: &Schemas, id: SchemaId) -> Types {
    // Alternatives may be alternatives again, and refer to each other.
    let mut looks = 256;
    types_of(schemas, id, &mut looks)
}

fn types_of(schemas: &Schemas, id: SchemaId, looks: &mut usize) -> Types {
    let schema = schemas.get(id);
    let mut found = schema.types;
    if let Some(logic) = &schema.logic
        && let Some(left) = looks.checked_sub(1)
    {
        *looks = left;
        let mut of = |id: &SchemaId| types_of(schemas, *id, looks);
        found = logic.all.iter().map(&mut of).fold(found, Types::both);
        for list in [&logic.any, &logic.one] {
            if !list.is_empty() {
                found = found.both(list.iter().map(&mut of).fold(Types::NONE, Types::with));
            }
        }
    }
    if schema.nullable { found.with(Types::NULL) } else { found }
}

/// A single value as JSON.
fn scalar(types: Types, text: &str, out: &mut String) -> Result<(), String> {
    if types.any(Types::STRING) {
        out.push_str(&serde_json::Value::from(text).to_string());
        return Ok(());
    }
    if types.any(Types::NULL) && matches!(text, "" | "null") {
        out.push_str("null");
        return Ok(());
    }
    // .NET writes `True`.
    if types.any(Types::BOOLEAN)
        && let Some(word) = ["true", "false"].into_iter().find(|word| text.eq_ignore_ascii_case(word))
    {
        out.push_str(word);
        return Ok(());
    }
    let kind = Index::parse(text.as_bytes()).ok().map(|index| index.root().kind());
    let fits = match kind {
        Some(Kind::Number) => types.any(Types::NUMBER),
        Some(Kind::Object) => types.any(Types::OBJECT),
        Some(Kind::Array) => types.any(Types::ARRAY),
        _ => false,
    };
    if fits {
        out.push_str(text.trim());
        return Ok(());
    }
    Err(format!("It cannot be read as {types}."))
}

fn style_of_two(node: &Node, schema: &Node) -> Style {
    if schema.text_of("type") == Some("object") {
        return Style::Unread;
    }
    match node.text_of("collectionFormat") {
        Some("ssv") => Style::Separated(' '),
        Some("tsv") => Style::Separated('\t'),
        Some("pipes") => Style::Separated('|'),
        Some("multi") => Style::Multi,
        _ => Style::Separated(','),
    }
}

/// Whether a schema of OpenAPI 3 is one of objects, itself or by what it is taken together with.
fn is_object<'n>(schema: &'n Node, reader: &mut Reader<'n>, deep: usize) -> bool {
    let Some(schema) = reader.follow(schema) else { return false };
    let is_own = schema.text_of("type") == Some("object") || schema.get("properties").is_some();
    let mut parts = schema.get("allOf").map(Node::items).unwrap_or_default().iter();
    is_own || deep > 0 && parts.any(|part| is_object(part, reader, deep - 1))
}

fn style_of_three(node: &Node, is_object: bool, place: Place) -> Style {
    let usual = if matches!(place, Place::Query | Place::Form) { "form" } else { "simple" };
    let style = node.text_of("style").unwrap_or(usual);
    let explode = node.get("explode").map_or(style == "form", Node::is_true);
    match (style, is_object, explode) {
        ("deepObject", ..) => Style::Deep,
        ("form", true, true) => Style::Properties,
        (_, true, _) | ("label" | "matrix", ..) => Style::Unread,
        ("form" | "spaceDelimited" | "pipeDelimited", false, true) => Style::Multi,
        ("spaceDelimited", ..) => Style::Separated(' '),
        ("pipeDelimited", ..) => Style::Separated('|'),
        _ => Style::Separated(','),
    }
}

/// A default as it is written into a request; none for one that has no one way.
fn default_text(default: &Node, style: Style) -> Option<Box<str>> {
    match (&default.value, style) {
        (_, Style::Json) => Some(json(default)),
        (Value::Array(items), Style::Separated(separator)) => {
            let items: Option<Vec<&str>> = items.iter().map(Node::scalar).collect();
            items.map(|items| items.join(&*separator.to_string()).into())
        }
        (Value::Array(_) | Value::Object(_) | Value::Null, _) => None,
        _ => default.scalar().map(Into::into),
    }
}
