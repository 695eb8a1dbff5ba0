//! Mistakes of the definition that validators of OpenAPI 2.0 refuse the whole package for, put right.
//!
//! A definition may have been in service for years with them: gateways and clients do not look. What is changed is told.

use serde_json::{Map, Value, json};

use super::super::tree::Node;
use super::places::Places;

/// What stands in a schema as a value, and may look like a reference without being one.
const VALUES: [&str; 4] = ["example", "examples", "default", "enum"];

/// A variable that the platform refuses, and what it is called instead.
const RESERVED: &str = "{connectionId}";
const FREE: &str = "{connection_id}";

/// Puts right what can be, in a definition that is written but for this.
pub(super) fn mend(definition: &mut Value, root: Option<&Node>, notes: &mut Vec<String>) {
    let mut mender = Mender { root, place: String::new(), done: Places::default() };
    for (name, schema) in members(definition, "definitions") {
        name.clone_into(&mut mender.place);
        mender.schema(schema);
    }
    for (name, response) in members(definition, "responses") {
        name.clone_into(&mut mender.place);
        mender.response(response);
    }
    mender.variables(definition);
    for (path, item) in members(definition, "paths") {
        path.clone_into(&mut mender.place);
        for (_, operation) in item.as_object_mut().into_iter().flatten() {
            if let Some(id) = operation["operationId"].as_str() {
                id.clone_into(&mut mender.place);
            }
            for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten() {
                match parameter.get_mut("schema") {
                    Some(schema) => mender.schema(schema),
                    None => mender.value(parameter),
                }
            }
            for (_, response) in members(operation, "responses") {
                mender.response(response);
            }
        }
    }
    mender.extensions(definition);
    notes.extend(mender.done.told().map(|(what, places)| format!("{what}: put right in {places}")));
}

/// What the object of this name holds.
fn members<'v>(value: &'v mut Value, name: &str) -> impl Iterator<Item = (&'v String, &'v mut Value)> {
    value.get_mut(name).and_then(Value::as_object_mut).into_iter().flatten()
}

struct Mender<'n> {
    /// The definition that the references of examples lead into.
    root: Option<&'n Node>,
    /// The operation or the schema that is looked at.
    place: String,
    /// What was changed, and where.
    done: Places,
}

impl Mender<'_> {
    fn done(&mut self, what: &'static str) {
        self.done.add(what, &self.place);
    }

    /// Variables of paths that are called as the platform calls a parameter of its own. The gateway does not see what they are called.
    fn variables(&mut self, definition: &mut Value) {
        let Some(paths) = definition.get_mut("paths").and_then(Value::as_object_mut) else { return };
        for (path, mut item) in std::mem::take(paths) {
            let renamed = path.replace(RESERVED, FREE);
            if renamed != path {
                self.place.clone_from(&renamed);
                self.done("variables of paths called `connectionId`, which the platform keeps for itself");
                for (_, operation) in item.as_object_mut().into_iter().flatten() {
                    for parameter in operation.get_mut("parameters").and_then(Value::as_array_mut).into_iter().flatten()
                    {
                        if parameter["in"] == "path" && parameter["name"] == RESERVED.trim_matches(['{', '}']) {
                            parameter["name"] = FREE.trim_matches(['{', '}']).into();
                        }
                    }
                }
            }
            paths.insert(renamed, item);
        }
    }

    /// Extensions that refer to what is not there: readers follow references wherever they stand.
    fn extensions(&mut self, definition: &mut Value) {
        let mut lost = Vec::new();
        unresolved(definition, definition, "", &mut lost);
        for (holder, name) in lost {
            if let Some(holder) = definition.pointer_mut(&holder).and_then(Value::as_object_mut) {
                holder.remove(&name);
                self.place = name;
                self.done("extensions that refer to what is not there");
            }
        }
    }

    fn response(&mut self, response: &mut Value) {
        if let Some(schema) = response.get_mut("schema") {
            self.schema(schema);
        }
        for (_, header) in members(response, "headers") {
            self.value(header);
        }
        if let Some(examples) = response.get_mut("examples")
            && !self.resolved(examples)
        {
            response.as_object_mut().map(|response| response.remove("examples"));
        }
    }

    /// A schema with all that it is made of.
    fn schema(&mut self, schema: &mut Value) {
        self.value(schema);
        for (_, inner) in members(schema, "properties") {
            self.schema(inner);
        }
        let Some(object) = schema.as_object_mut() else { return };
        self.required(object);
        for name in ["items", "additionalProperties"] {
            if let Some(inner) = object.get_mut(name) {
                self.schema(inner);
            }
        }
        for part in object.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
            self.schema(part);
        }
    }

    /// A property that is required and not described may be anything.
    fn required(&mut self, schema: &mut Map<String, Value>) {
        let is_object = schema.get("type").is_none_or(|kind| kind == "object");
        let Some(list) = schema.get_mut("required").and_then(Value::as_array_mut) else { return };
        let mut names: Vec<String> = Vec::new();
        for name in list.iter().filter_map(Value::as_str).filter(|_| is_object) {
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        if names.len() < list.len() {
            self.done("names in `required` that stand there twice, or of what is no object");
        }
        if names.is_empty() {
            schema.remove("required");
            return;
        }
        schema.insert("required".to_owned(), json!(names));
        if schema.contains_key("allOf") {
            return;
        }
        let Some(properties) = schema.entry("properties").or_insert_with(|| json!({})).as_object_mut() else { return };
        for name in names {
            if !properties.contains_key(&name) {
                properties.insert(name, json!({}));
                self.done("names in `required` without a property");
            }
        }
    }

    /// What parameters, headers and schemas say of their value alike.
    fn value(&mut self, holder: &mut Value) {
        let kind = holder["type"].as_str().map(str::to_owned);
        let Some(object) = holder.as_object_mut() else { return };
        if let (Some(kind), Some(list)) = (&kind, object.get_mut("enum").and_then(Value::as_array_mut)) {
            let mut fitting: Vec<Value> = Vec::with_capacity(list.len());
            for value in list.iter().filter_map(|value| fit(value, kind)) {
                if !fitting.contains(&value) {
                    fitting.push(value);
                }
            }
            if fitting != *list {
                self.done("values of `enum` that are not of their type, or stand there twice");
                *list = fitting;
            }
            if list.is_empty() {
                object.remove("enum");
            }
        }
        if let (Some(kind), Some(default)) = (&kind, object.get_mut("default")) {
            let fitting = fit(default, kind);
            if fitting.as_ref() != Some(default) {
                self.done("defaults that are not of their type");
                match fitting {
                    Some(fitting) => *default = fitting,
                    None => drop(object.remove("default")),
                }
            }
        }
        if object.get("pattern").is_some_and(|pattern| !pattern.is_string()) {
            object.remove("pattern");
            self.done("patterns that are no text");
        }
        for name in VALUES {
            if let Some(value) = object.get_mut(name)
                && !self.resolved(value)
            {
                object.remove(name);
            }
        }
    }

    /// Writes out the references in a value, which readers follow as they do in schemas. Whether all lead somewhere.
    fn resolved(&mut self, value: &mut Value) -> bool {
        let reference = value.get("$ref").and_then(Value::as_str);
        if let Some(reference) = reference {
            let found = self.root.and_then(|root| root.resolve(reference)).map(Node::to_json);
            // One that leads to others could lead back to itself.
            let found = found.filter(|found| !has_reference(found));
            self.done("references inside of examples and defaults");
            return found.map(|found| *value = found).is_some();
        }
        match value {
            Value::Array(items) => items.iter_mut().all(|item| self.resolved(item)),
            Value::Object(members) => members.values_mut().all(|member| self.resolved(member)),
            _ => true,
        }
    }
}

/// Finds the extensions in which a reference leads nowhere, as the pointer to what holds them and their name.
fn unresolved(root: &Value, value: &Value, pointer: &str, out: &mut Vec<(String, String)>) {
    match value {
        Value::Array(items) => {
            for (at, item) in items.iter().enumerate() {
                unresolved(root, item, &format!("{pointer}/{at}"), out);
            }
        }
        Value::Object(members) => {
            for (name, member) in members {
                if name.starts_with("x-") && !leads_somewhere(root, member) {
                    out.push((pointer.to_owned(), name.clone()));
                } else {
                    let step = name.replace('~', "~0").replace('/', "~1");
                    unresolved(root, member, &format!("{pointer}/{step}"), out);
                }
            }
        }
        _ => {}
    }
}

/// Whether all references in a value lead into the definition.
fn leads_somewhere(root: &Value, value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().all(|item| leads_somewhere(root, item)),
        Value::Object(members) => members.iter().all(|(name, member)| match member {
            Value::String(reference) if name == "$ref" => {
                let pointer = percent_encoding::percent_decode_str(reference).decode_utf8_lossy();
                pointer.strip_prefix('#').is_some_and(|pointer| root.pointer(pointer).is_some())
            }
            member => leads_somewhere(root, member),
        }),
        _ => true,
    }
}

fn has_reference(value: &Value) -> bool {
    match value {
        Value::Array(items) => items.iter().any(has_reference),
        Value::Object(members) => {
            members.get("$ref").is_some_and(Value::is_string) || members.values().any(has_reference)
        }
        _ => false,
    }
}

/// A value as one of a type: as it is where it is one, else what it reads as.
fn fit(value: &Value, kind: &str) -> Option<Value> {
    let is_whole = |text: &str| text.parse::<f64>().is_ok_and(|number| number.fract() == 0.0);
    match (value, kind) {
        (Value::String(_), "string") | (Value::Bool(_), "boolean") | (Value::Number(_), "number") => {
            Some(value.clone())
        }
        (Value::Number(number), "integer") => is_whole(&number.to_string()).then(|| value.clone()),
        (Value::Array(_), "array") | (Value::Object(_), "object") => Some(value.clone()),
        (Value::Number(_) | Value::Bool(_), "string") => Some(value.to_string().into()),
        (Value::String(text), "integer") if is_whole(text) => serde_json::from_str(text).ok(),
        (Value::String(text), "number") => serde_json::from_str(text).ok().filter(Value::is_number),
        (Value::String(text), "boolean") => text.to_ascii_lowercase().parse::<bool>().ok().map(Value::Bool),
        // A type that 2.0 does not have is told elsewhere.
        (_, kind) => (!TYPES.contains(&kind)).then(|| value.clone()),
    }
}

/// The types of OpenAPI 2.0 whose values can be told from others.
const TYPES: [&str; 6] = ["string", "boolean", "number", "integer", "array", "object"];

#[cfg(test)]
mod tests {
    use super::*;

    fn mended(schema: &Value) -> (Value, Vec<String>) {
        let mut definition =
            json!({ "definitions": { "Order": schema }, "paths": { "/a": { "x-list": [], "get": {} } } });
        let mut notes = Vec::new();
        mend(&mut definition, None, &mut notes);
        let schema = definition["definitions"]["Order"].take();
        assert_eq!(
            definition,
            json!({ "definitions": { "Order": null }, "paths": { "/a": { "x-list": [], "get": {} } } })
        );
        (schema, notes)
    }

    #[test]
    fn what_validators_refuse_is_put_right() {
        struct Case {
            name: &'static str,
            schema: Value,
            want: Value,
            told: &'static str,
        }
        for Case { name, schema, want, told } in [
            Case {
                name: "a required name without a property",
                schema: json!({ "required": ["id", "at", "id"], "properties": { "id": { "type": "string" } } }),
                want: json!({ "required": ["id", "at"], "properties": { "id": { "type": "string" }, "at": {} } }),
                told: "names in `required`",
            },
            Case {
                name: "one whose property may stand in a part",
                schema: json!({ "allOf": [{ "type": "object" }], "required": ["id"] }),
                want: json!({ "allOf": [{ "type": "object" }], "required": ["id"] }),
                told: "",
            },
            Case {
                name: "required of what is no object",
                schema: json!({ "type": "array", "items": { "required": [] }, "required": ["id"] }),
                want: json!({ "type": "array", "items": {} }),
                told: "no object",
            },
            Case {
                name: "choices",
                schema: json!({ "type": "string", "enum": [1, "2", true, 1, null] }),
                want: json!({ "type": "string", "enum": ["1", "2", "true"] }),
                told: "values of `enum`",
            },
            Case {
                name: "whole numbers in quotes",
                schema: json!({ "type": "integer", "enum": ["1", 2, 3.0, 4.5], "default": "2" }),
                want: json!({ "type": "integer", "enum": [1, 2, 3.0], "default": 2 }),
                told: "defaults",
            },
            Case {
                name: "defaults that fit nothing",
                schema: json!({ "properties": { "a": { "type": "boolean", "default": 3 }, "b": { "type": "object", "default": null } } }),
                want: json!({ "properties": { "a": { "type": "boolean" }, "b": { "type": "object" } } }),
                told: "defaults",
            },
            Case {
                name: "a default in quotes",
                schema: json!({ "type": "boolean", "default": "True" }),
                want: json!({ "type": "boolean", "default": true }),
                told: "defaults",
            },
            Case {
                name: "a reference in an example that leads nowhere",
                schema: json!({ "type": "object", "example": { "order": [{ "$ref": "#/components/schemas/Order" }] } }),
                want: json!({ "type": "object" }),
                told: "references inside",
            },
            Case {
                name: "nothing",
                schema: json!({ "type": "number", "enum": [1.50, 2], "default": 2, "example": "x" }),
                want: json!({ "type": "number", "enum": [1.50, 2], "default": 2, "example": "x" }),
                told: "",
            },
        ] {
            let (found, notes) = mended(&schema);
            assert_eq!(found, want, "{name}");
            assert_eq!(notes.is_empty(), told.is_empty(), "{name}: {notes:?}");
            assert!(notes.concat().contains(told), "{name}: {notes:?}");
        }
    }

    #[test]
    fn names_of_the_platform_and_references_of_extensions() {
        let parameters = |name: &str| json!([{ "name": name, "in": "path" }, { "name": "x", "in": "query" }]);
        let mut definition = json!({
            "tags": [{ "name": "a", "x-model": { "$ref": "#/components/schemas/A" }, "x-kept": { "$ref": "#/definitions/A" } }],
            "paths": { "/a/{connectionId}": { "get": { "parameters": parameters("connectionId") } }, "/b": {} },
            "definitions": { "A": { "pattern": 0 } },
        });
        let mut notes = Vec::new();
        mend(&mut definition, None, &mut notes);
        let want = json!({
            "tags": [{ "name": "a", "x-kept": { "$ref": "#/definitions/A" } }],
            "paths": { "/a/{connection_id}": { "get": { "parameters": parameters("connection_id") } }, "/b": {} },
            "definitions": { "A": {} },
        });
        assert_eq!(definition, want);
        assert_eq!(notes.len(), 3, "{notes:?}");
    }

    #[test]
    fn examples_are_written_out() {
        let (root, _) = super::super::super::json::parse(r#"{ "examples": { "one": { "id": 7 } } }"#).unwrap();
        let mut definition = json!({ "paths": { "/a": { "get": { "operationId": "GetA", "responses": { "200": {
            "examples": { "application/json": { "$ref": "#/examples/one" } } } } } } } });
        let mut notes = Vec::new();
        mend(&mut definition, Some(&root), &mut notes);
        let examples = &definition["paths"]["/a"]["get"]["responses"]["200"]["examples"];
        assert_eq!(*examples, json!({ "application/json": { "id": 7 } }));
        assert_eq!(notes, ["references inside of examples and defaults: put right in `GetA`"]);
    }
}
