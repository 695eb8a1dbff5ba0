//! OpenAPI 3 into 2.0: parameters, bodies and responses. What 2.0 has no words for is left out and told.

use serde_json::{Map, Value, json};

use super::super::definition::VALUE_WORDS;
use super::super::tree::Node;
use super::places::Places;

use self::moved::Moved;

mod moved;
mod schema;
#[cfg(test)]
mod tests;

/// The key of the parameters that one of OpenAPI 3 becomes, until it is known that it stays.
pub(super) const PARTS: &str = "x-parts";
/// How many references may follow one another.
const MAX_REFERENCES: usize = 16;

/// Brings the parts of one definition into 2.0.
pub(super) struct Converter<'n> {
    root: &'n Node,
    /// The operation or the schema whose part is being converted, for what is told.
    pub(super) place: String,
    /// What was left out, with the places.
    lost: Places,
    /// How deep alternatives are being joined, each of which may have alternatives again.
    joining: usize,
    /// What is referred to and stands nowhere that 2.0 has.
    moved: Moved,
}

impl<'n> Converter<'n> {
    pub(super) fn new(root: &'n Node) -> Self {
        Self { root, place: String::new(), lost: Places::default(), joining: 0, moved: Moved::new(root) }
    }

    /// Notes something that 2.0 has no words for.
    pub(super) fn lose(&mut self, what: &'static str) {
        self.lost.add(what, &self.place);
    }

    /// What was left out, for people.
    pub(super) fn notes(self) -> impl Iterator<Item = String> {
        self.lost.told().map(|(what, places)| format!("OpenAPI 2.0 has {what}: left out in {places}"))
    }

    /// A part of the definition with the references followed that it begins with.
    fn follow(&self, value: &Value) -> Value {
        let mut found = value.clone();
        for _ in 0..MAX_REFERENCES {
            let next = found.get("$ref").and_then(Value::as_str).and_then(|reference| self.root.resolve(reference));
            match next {
                Some(next) => found = next.to_json(),
                None => break,
            }
        }
        found
    }

    /// A parameter with the parts of its schema beside it.
    pub(super) fn parameter(&mut self, value: &Value) -> Value {
        let value = self.follow(value);
        let place = value["in"].as_str().unwrap_or("header").to_owned();
        let mut out = Map::new();
        for (name, part) in value.as_object().into_iter().flatten() {
            let is_kept = match name.as_str() {
                "name" | "in" | "description" | "required" => true,
                "allowEmptyValue" => place == "query",
                name => name.starts_with("x-"),
            };
            if is_kept {
                out.insert(name.clone(), part.clone());
            }
        }
        // What stands in `content` is JSON, which is text to 2.0.
        let schema = value.get("schema").cloned().unwrap_or_else(|| json!({ "type": "string" }));
        if let Some(parts) = self.parts(&value, &schema) {
            out.insert("type".to_owned(), "string".into());
            out.insert(PARTS.to_owned(), parts.into());
            return Value::Object(out);
        }
        self.plain(&schema, &mut out, 0);
        if out["type"] == "array" {
            let usual = if place == "query" { "form" } else { "simple" };
            let style = value["style"].as_str().unwrap_or(usual);
            let explode = value["explode"].as_bool().unwrap_or(style == "form");
            let format = match style {
                "form" if explode => "multi",
                "spaceDelimited" => "ssv",
                "pipeDelimited" => "pipes",
                _ => "csv",
            };
            out.insert("collectionFormat".to_owned(), format.into());
        }
        Value::Object(out)
    }

    /// The parameters that an object in the query is sent as, one for each property.
    fn parts(&mut self, parameter: &Value, schema: &Value) -> Option<Vec<Value>> {
        let style = parameter["style"].as_str().unwrap_or("form");
        let is_deep = style == "deepObject";
        let is_exploded = is_deep || style == "form" && parameter["explode"] != false;
        let flat = self.flat(schema, 0);
        let properties = flat["properties"].as_object().filter(|properties| !properties.is_empty())?;
        if parameter["in"] != "query" || !is_exploded || flat["type"].as_str().is_some_and(|kind| kind != "object") {
            return None;
        }
        let needed = flat["required"].as_array().map(Vec::as_slice).unwrap_or_default();
        let parts = properties.iter().map(|(name, field)| {
            let full = if is_deep { format!("{}[{name}]", parameter["name"].as_str()?) } else { name.clone() };
            let is_needed = parameter["required"] == true && needed.iter().any(|one| one == name.as_str());
            let mut out = Map::new();
            for (name, value) in [("name", json!(full)), ("in", "query".into()), ("required", is_needed.into())] {
                out.insert(name.to_owned(), value);
            }
            self.plain(field, &mut out, 0);
            if out["type"] == "array" {
                out.insert("collectionFormat".to_owned(), "multi".into());
            }
            Some(Value::Object(out))
        });
        parts.collect()
    }

    /// Adds what 2.0 lets a parameter, a header or an item of one say of its value.
    fn plain(&mut self, schema: &Value, out: &mut Map<String, Value>, depth: usize) {
        let flat = self.flat(schema, 0);
        let items = flat["items"].clone();
        let mut flat = self.schema(flat);
        let kind = match flat["type"].as_str() {
            Some("object") => {
                self.lose("no parameters that are objects");
                "string"
            }
            Some(kind) if kind != "array" || depth < 4 => kind,
            _ => "string",
        };
        out.insert("type".to_owned(), kind.into());
        if kind == "array" {
            let mut of = Map::new();
            self.plain(&items, &mut of, depth + 1);
            out.insert("items".to_owned(), of.into());
        }
        if depth == 0 && !out.contains_key("description") && flat["description"].is_string() {
            out.insert("description".to_owned(), flat["description"].take());
        }
        for (name, part) in flat.as_object_mut().into_iter().flatten() {
            let is_kept = VALUE_WORDS.contains(&name.as_str()) || name.starts_with("x-ms-");
            if is_kept && !out.contains_key(name) {
                out.insert(name.clone(), part.take());
            }
        }
    }

    /// An answer.
    pub(super) fn response(&mut self, value: &Value) -> Value {
        let reference = value["$ref"].as_str().filter(|reference| self.root.resolve(reference).is_some());
        if let Some(name) = reference.and_then(|text| text.strip_prefix("#/components/responses/"))
            && !name.contains('/')
        {
            return json!({ "$ref": format!("#/responses/{name}") });
        }
        let value = self.follow(value);
        self.one_of_several(&value);
        let mut out = Map::new();
        out.insert("description".to_owned(), value["description"].as_str().unwrap_or_default().into());
        if let Some((_, media)) = preferred(&value)
            && let Some(schema) = media.get("schema")
        {
            out.insert("schema".to_owned(), self.schema(schema.clone()));
        }
        let examples: Map<String, Value> = value["content"]
            .as_object()
            .into_iter()
            .flatten()
            .filter_map(|(name, media)| Some((name.clone(), self.example(media)?)))
            .collect();
        if !examples.is_empty() {
            out.insert("examples".to_owned(), examples.into());
        }
        let mut headers = Map::new();
        for (name, header) in value["headers"].as_object().into_iter().flatten() {
            let mut header = self.parameter(header);
            for name in ["required", "in", "name"] {
                header.as_object_mut().map(|header| header.remove(name));
            }
            headers.insert(name.clone(), header);
        }
        if !headers.is_empty() {
            out.insert("headers".to_owned(), headers.into());
        }
        if value["links"].as_object().is_some_and(|links| !links.is_empty()) {
            self.lose("no `links`");
        }
        out.extend(value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")).map(owned));
        Value::Object(out)
    }

    /// Tells of content types whose schema has no place beside that of the one which is written.
    fn one_of_several(&mut self, value: &Value) {
        let Some((written, media)) = preferred(value) else { return };
        let others = value["content"].as_object().into_iter().flatten().filter(|(name, _)| *name != written);
        let mut others = others.peekable();
        if others.peek().is_some() && others.any(|(_, other)| other.get("schema") != media.get("schema")) {
            self.lose("one schema for all content types of a body; that of JSON is written where there is one");
        }
    }

    /// An extension, which may hold a schema.
    pub(super) fn extension(&mut self, mut value: Value) -> Value {
        if let Some(schema) = value.get_mut("schema") {
            *schema = self.schema(schema.take());
        }
        value
    }

    /// The first example of a content type.
    fn example(&self, media: &Value) -> Option<Value> {
        let listed = || media.get("examples")?.as_object()?.values().next();
        match media.get("example") {
            Some(example) => Some(example.clone()),
            None => self.follow(listed()?).get("value").cloned(),
        }
    }

    /// The body as parameters: the body, or the fields of a form.
    pub(super) fn body(&mut self, value: &Value) -> Vec<Value> {
        let Some((media, content)) = preferred(value) else { return Vec::new() };
        self.one_of_several(value);
        if content["encoding"].as_object().is_some_and(|encoding| !encoding.is_empty()) {
            self.lose("no `encoding` of the fields of a form");
        }
        let schema = content.get("schema").cloned().unwrap_or_else(|| json!({}));
        if is_form(media) {
            let schema = self.flat(&schema, 0);
            let needed = |name: &str| {
                schema["required"].as_array().is_some_and(|list| list.iter().any(|one| one.as_str() == Some(name)))
            };
            let fields = schema["properties"].as_object().into_iter().flatten();
            return fields.map(|(name, field)| self.field(name, needed(name), field)).collect();
        }
        let required = value["required"] == true;
        let mut out = json!({ "name": "body", "in": "body", "required": required, "schema": self.schema(schema) });
        for (name, part) in value.as_object().into_iter().flatten() {
            if name == "description" || name.starts_with("x-ms-") {
                out[name] = part.clone();
            }
        }
        vec![out]
    }

    /// A field of a form.
    fn field(&mut self, name: &str, required: bool, schema: &Value) -> Value {
        let mut out = Map::new();
        for (name, value) in [("name", json!(name)), ("in", "formData".into()), ("required", required.into())] {
            out.insert(name.to_owned(), value);
        }
        let flat = self.flat(schema, 0);
        let is_file = |one: &Value| one["format"] == "binary" || one.get("contentMediaType").is_some();
        if is_file(&flat) || is_file(&self.flat(&flat["items"], 0)) {
            out.insert("type".to_owned(), "file".into());
            out.extend(flat["description"].as_str().map(|text| ("description".to_owned(), text.into())));
        } else {
            self.plain(schema, &mut out, 0);
        }
        Value::Object(out)
    }
}

fn owned((name, part): (&String, &Value)) -> (String, Value) {
    (name.clone(), part.clone())
}

pub(super) fn is_form(media: &str) -> bool {
    matches!(
        media.split(';').next().unwrap_or_default().trim(),
        "application/x-www-form-urlencoded" | "multipart/form-data"
    )
}

/// The content type of a body that 2.0 has room for: JSON where there is some.
fn preferred(body: &Value) -> Option<(&String, &Value)> {
    let content = body.get("content")?.as_object()?;
    content.iter().find(|(name, _)| name.contains("json")).or_else(|| content.iter().next())
}

/// The content types of bodies, unless they are JSON only. A form has fields in place of a body, so that it is none beside others that
/// are bodies.
pub(super) fn media_types<'n>(bodies: impl Iterator<Item = &'n Node>) -> Option<Value> {
    let names = |body: &'n Node| body.get("content").map(Node::members).unwrap_or_default();
    let mut found: Vec<&str> = bodies.flat_map(names).map(|one| &*one.name).filter(|name| name.contains('/')).collect();
    if found.iter().any(|name| name.contains("json")) {
        found.retain(|name| !is_form(name));
    }
    found.sort_unstable();
    found.dedup();
    let says = found.iter().any(|name| *name != "application/json");
    says.then(|| json!(found))
}

/// Where the answers go in 2.0, which has none for a class of statuses.
pub(super) fn status(written: &str, taken: impl Fn(&str) -> bool) -> Option<String> {
    let class = written.strip_suffix("XX").or_else(|| written.strip_suffix("xx"));
    match class {
        None => Some(written.to_owned()),
        Some(class) => Some(format!("{class}00")).filter(|status| !taken(status)),
    }
}
