//! Schemas of OpenAPI 3.0 and 3.1 as 2.0 has them.

use serde_json::{Map, Value, json};

use super::{Converter, MAX_REFERENCES};

/// How deep alternatives are joined whose properties have alternatives.
const MAX_JOINING: usize = 2;
/// How deep parts of parts are joined.
const MAX_PARTS: usize = 8;
/// Words of schemas that are made of others.
const PARTS_OF_SCHEMAS: [&str; 7] =
    ["properties", "items", "additionalProperties", "allOf", "oneOf", "anyOf", "prefixItems"];
/// Words that mean the same in 2.0.
const SAME: [&str; 22] = [
    "title",
    "description",
    "format",
    "default",
    "example",
    "multipleOf",
    "maximum",
    "minimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
    "maxProperties",
    "minProperties",
    "readOnly",
    "xml",
    "externalDocs",
    "type",
    "exclusiveMaximum",
    "exclusiveMinimum",
];
/// Words that 2.0 lacks and that change what a value may be.
const LOST: [&str; 16] = [
    "not",
    "if",
    "then",
    "else",
    "patternProperties",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "propertyNames",
    "unevaluatedProperties",
    "unevaluatedItems",
    "dependentSchemas",
    "dependentRequired",
    "$dynamicRef",
    "contentSchema",
];

impl Converter<'_> {
    /// A schema. References are changed to where their targets go.
    pub(in super::super) fn schema(&mut self, value: Value) -> Value {
        // A truth value takes everything or nothing.
        let Value::Object(object) = value else { return json!({}) };
        if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
            return self.reference(reference);
        }
        let mut out = Map::new();
        let mut nullable = object.get("nullable") == Some(&Value::Bool(true));
        for (name, value) in &object {
            match name.as_str() {
                "type" => match value {
                    Value::Array(names) => {
                        nullable |= names.iter().any(|name| name == "null");
                        let mut others = names.iter().filter(|name| *name != "null");
                        match (others.next(), others.next()) {
                            (Some(only), None) => drop(out.insert(name.clone(), only.clone())),
                            (Some(_), Some(_)) => self.lose("one type for a value"),
                            (None, _) => {}
                        }
                    }
                    Value::String(kind) if kind == "null" => nullable = true,
                    _ => drop(out.insert(name.clone(), value.clone())),
                },
                "properties" => {
                    let properties = value.as_object().into_iter().flatten();
                    let properties: Map<_, _> =
                        properties.map(|(name, schema)| (name.clone(), self.schema(schema.clone()))).collect();
                    out.insert(name.clone(), properties.into());
                }
                "additionalProperties" if value.is_boolean() => drop(out.insert(name.clone(), value.clone())),
                "items" | "additionalProperties" => drop(out.insert(name.clone(), self.schema(value.clone()))),
                "allOf" => {
                    let parts: Vec<Value> =
                        value.as_array().into_iter().flatten().map(|part| self.schema(part.clone())).collect();
                    if !parts.is_empty() {
                        out.insert(name.clone(), parts.into());
                    }
                }
                "required" | "enum" if value.as_array().is_some_and(|list| !list.is_empty()) => {
                    out.insert(name.clone(), value.clone());
                }
                "const" => drop(out.insert("enum".to_owned(), json!([value]))),
                "examples" => {
                    let first = value.as_array().and_then(|list| list.first());
                    out.extend(first.map(|first| ("example".to_owned(), first.clone())));
                }
                "discriminator" => {
                    if value.get("mapping").is_some() {
                        self.lose("no `mapping` of a discriminator");
                    }
                    out.extend(value.get("propertyName").map(|property| (name.clone(), property.clone())));
                }
                "contentEncoding" if value == "base64" => drop(out.insert("format".to_owned(), "byte".into())),
                "exclusiveMinimum" | "exclusiveMaximum" if value.is_number() => {}
                same if SAME.contains(&same) || same.starts_with("x-") => {
                    out.insert(name.clone(), value.clone());
                }
                "writeOnly" if value == true => self.lose("no `writeOnly`"),
                lost if LOST.contains(&lost) => {
                    self.lose("fewer words for schemas (`not`, `if`, `patternProperties` and the like)");
                }
                _ => {}
            }
        }
        for (bound, exclusive) in [("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")] {
            // A number of its own since 3.1, a truth value beside the bound before.
            if let Some(value) = object.get(exclusive).filter(|value| value.is_number()) {
                out.insert(bound.to_owned(), value.clone());
                out.insert(exclusive.to_owned(), true.into());
            } else if !out.contains_key(bound) {
                out.remove(exclusive);
            }
        }
        for name in ["oneOf", "anyOf"] {
            let list = object.get(name).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
            nullable |= self.alternatives(list, &mut out);
        }
        if out.get("type").is_some_and(|kind| kind == "array") && !out.contains_key("items") {
            out.insert("items".to_owned(), json!({}));
        }
        if let Some(Value::Array(list)) = out.get_mut("enum")
            && list.len() > 1
        {
            // Its place is beside them, or flows offer it as a text.
            nullable |= list.iter().any(Value::is_null);
            list.retain(|value| !value.is_null());
        }
        if nullable {
            out.insert("x-nullable".to_owned(), true.into());
        }
        // 2.0 asks for one that is required; values without it are of no other schema.
        let needed = out.get("required").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        if out.get("discriminator").is_some_and(|name| !needed.contains(name)) {
            out.remove("discriminator");
        }
        Value::Object(out)
    }

    /// A reference to a schema. What stands elsewhere than in `components` is written out where it has no parts, and gets
    /// a place of its own where it has: it may lead back to itself.
    fn reference(&mut self, reference: &str) -> Value {
        let mut reference = reference;
        for _ in 0..MAX_REFERENCES {
            let Some(target) = self.root.resolve(reference) else { break };
            let name = reference.strip_prefix("#/components/schemas/").filter(|name| !name.contains('/'));
            if let Some(name) = name {
                return json!({ "$ref": format!("#/definitions/{name}") });
            }
            if let Some(next) = target.text_of("$ref") {
                reference = next;
            } else if PARTS_OF_SCHEMAS.iter().any(|part| target.get(part).is_some()) {
                return json!({ "$ref": format!("#/definitions/{}", self.moved.name(reference)) });
            } else {
                return self.schema(target.to_json());
            }
        }
        self.lose("no schemas of other files, and none that are not there");
        json!({})
    }

    /// The schemas that got a place of their own, and those which they refer to.
    pub(in super::super) fn moved(&mut self) -> Vec<(String, Value)> {
        let mut out = Vec::new();
        while let Some((name, target)) = self.moved.next(self.root) {
            name.clone_into(&mut self.place);
            let schema = self.schema(target);
            out.push((name, schema));
        }
        out
    }

    /// Adds what all alternatives have in common, and whether null is one of them. Of objects, the properties of all of them.
    fn alternatives(&mut self, list: &[Value], out: &mut Map<String, Value>) -> bool {
        let is_null = |one: &Value| one["type"] == "null" || one["enum"] == json!([null]);
        let some: Vec<&Value> = list.iter().filter(|one| !is_null(one)).collect();
        let nullable = some.len() < list.len();
        if let [only] = some[..] {
            let only = self.schema(only.clone());
            if only.get("$ref").is_some() {
                let parts = out.entry("allOf").or_insert_with(|| json!([]));
                parts.as_array_mut().into_iter().for_each(|parts| parts.push(only.clone()));
            } else {
                for (name, value) in only.as_object().into_iter().flatten() {
                    out.entry(name.clone()).or_insert_with(|| value.clone());
                }
            }
            return nullable;
        }
        if some.is_empty() {
            return nullable;
        }
        self.lose("no alternatives (`oneOf`, `anyOf`); what they have in common is written");
        let flat: Vec<Value> = some.iter().map(|one| self.flat(one, 0)).collect();
        let kind = |one: &Value| match one["type"].as_str() {
            None if one["properties"].is_object() => Some("object".to_owned()),
            kind => kind.map(str::to_owned),
        };
        let Some(first) = kind(&flat[0]).filter(|first| flat.iter().all(|one| kind(one).as_ref() == Some(first)))
        else {
            return nullable;
        };
        out.entry("type").or_insert_with(|| first.as_str().into());
        if first == "object" && self.joining < MAX_JOINING {
            self.joining += 1;
            self.join(&flat, out);
            self.joining -= 1;
        }
        nullable
    }

    /// The properties of several objects. One that means different things in them may be anything.
    fn join(&mut self, objects: &[Value], out: &mut Map<String, Value>) {
        let mut joined = Map::new();
        for (name, schema) in objects.iter().filter_map(|one| one["properties"].as_object()).flatten() {
            let schema = self.schema(schema.clone());
            let known = joined.entry(name.clone()).or_insert_with(|| schema.clone());
            if *known != schema {
                let same = known["type"] == schema["type"] && known["type"].is_string();
                *known = match schema["type"].as_str().filter(|_| same) {
                    Some("array") => json!({ "type": "array", "items": {} }),
                    Some(kind) => json!({ "type": kind }),
                    None => json!({}),
                };
            }
        }
        if let Some(own) = out.entry("properties").or_insert_with(|| json!({})).as_object_mut() {
            for (name, schema) in joined {
                own.entry(name).or_insert(schema);
            }
        }
        let needs = |one: &Value, name: &Value| one["required"].as_array().is_some_and(|list| list.contains(name));
        let needed: Vec<Value> = objects[0]["required"].as_array().into_iter().flatten().cloned().collect();
        let needed: Vec<Value> = needed.into_iter().filter(|name| objects.iter().all(|one| needs(one, name))).collect();
        if !needed.is_empty() {
            out.entry("required").or_insert_with(|| needed.into());
        }
    }

    /// A schema of OpenAPI 3 without references and parts: what a parameter, which has room for neither, can say.
    pub(super) fn flat(&self, value: &Value, depth: usize) -> Value {
        let mut found = self.follow(value);
        if depth >= MAX_PARTS {
            return found;
        }
        let mut parts: Vec<Value> = found["allOf"].as_array().cloned().unwrap_or_default();
        for name in ["oneOf", "anyOf"] {
            let list = found[name].as_array().into_iter().flatten();
            let list: Vec<&Value> = list.filter(|one| one["type"] != "null").collect();
            if let [only] = list[..] {
                parts.push(only.clone());
            }
        }
        for part in parts {
            let part = self.flat(&part, depth + 1);
            let (Some(object), Value::Object(part)) = (found.as_object_mut(), part) else { continue };
            for (name, value) in part {
                match (object.get_mut(&name), value) {
                    (Some(Value::Object(known)), Value::Object(more)) if name == "properties" => {
                        for (name, schema) in more {
                            known.entry(name).or_insert(schema);
                        }
                    }
                    (Some(Value::Array(known)), Value::Array(more)) if name == "required" => known.extend(more),
                    (Some(_), _) => {}
                    (None, value) => drop(object.insert(name, value)),
                }
            }
        }
        found
    }
}
