//! OpenAPI 3 into 2.0: schemas, parameters, bodies and responses.

use serde_json::{Map, Value, json};

use super::super::definition::Generation;

/// A piece of a definition as OpenAPI 2.0 has it. References are changed to where their targets go.
pub(super) fn schema(value: Value, generation: Generation) -> Value {
    match generation {
        Generation::Two => value,
        Generation::Three => convert(value),
    }
}

fn convert(value: Value) -> Value {
    let object = match value {
        Value::Array(list) => return list.into_iter().map(convert).collect(),
        Value::Object(object) => object,
        other => return other,
    };
    if let Some(reference) = object.get("$ref").and_then(Value::as_str) {
        return json!({ "$ref": moved(reference) });
    }
    let mut out = Map::new();
    for (name, value) in object {
        match name.as_str() {
            // A property may have any of these names.
            "properties" => {
                let properties = value.as_object().cloned().unwrap_or_default();
                out.insert(name, properties.into_iter().map(|(name, schema)| (name, convert(schema))).collect());
            }
            "nullable" => drop(out.insert("x-nullable".to_owned(), value)),
            "const" => drop(out.insert("enum".to_owned(), json!([value]))),
            "enum" | "default" | "example" | "required" => drop(out.insert(name, value)),
            "examples" => {
                if let Some(first) = value.as_array().and_then(|list| list.first()) {
                    out.insert("example".to_owned(), first.clone());
                }
            }
            "type" if value.is_array() => {
                let names: Vec<&str> = value.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
                if let Some(first) = names.iter().find(|name| **name != "null") {
                    out.insert(name, json!(first));
                }
                if names.contains(&"null") {
                    out.insert("x-nullable".to_owned(), true.into());
                }
            }
            "exclusiveMinimum" | "exclusiveMaximum" if value.is_number() => {
                let bound = if name == "exclusiveMinimum" { "minimum" } else { "maximum" };
                out.insert(bound.to_owned(), value);
                out.insert(name, true.into());
            }
            "discriminator" => {
                if let Some(property) = value.get("propertyName") {
                    out.insert(name, property.clone());
                }
            }
            // 2.0 has no alternatives: anything goes, as the type of the first says where all have one.
            "oneOf" | "anyOf" => {
                let list = value.as_array().cloned().unwrap_or_default();
                let kinds: Vec<_> = list.iter().filter_map(|one| one.get("type")).collect();
                if let Some(kind) =
                    kinds.first().filter(|kind| kinds.iter().all(|one| one == *kind) && kinds.len() == list.len())
                {
                    out.entry("type").or_insert((*kind).clone());
                }
            }
            "not"
            | "writeOnly"
            | "deprecated"
            | "if"
            | "then"
            | "else"
            | "patternProperties"
            | "prefixItems"
            | "contains"
            | "propertyNames"
            | "$defs"
            | "$schema"
            | "$id"
            | "$comment"
            | "unevaluatedProperties"
            | "dependentSchemas"
            | "dependentRequired"
            | "contentMediaType"
            | "contentEncoding"
            | "minContains"
            | "maxContains" => {}
            _ => drop(out.insert(name, convert(value))),
        }
    }
    if out.get("type").is_some_and(|kind| kind == "array") && !out.contains_key("items") {
        out.insert("items".to_owned(), json!({}));
    }
    Value::Object(out)
}

fn moved(reference: &str) -> String {
    reference
        .replace("#/components/schemas/", "#/definitions/")
        .replace("#/components/parameters/", "#/parameters/")
        .replace("#/components/responses/", "#/responses/")
}

/// The parts of a parameter of OpenAPI 3 that stand beside its schema in 2.0.
pub(super) fn parameter(value: &Value) -> Value {
    let mut out = Map::new();
    let mut schema = convert(value.get("schema").cloned().unwrap_or_else(|| json!({ "type": "string" })));
    for (name, part) in value.as_object().into_iter().flatten() {
        match name.as_str() {
            "schema" | "content" | "style" | "example" | "examples" | "deprecated" | "allowReserved" => {}
            "explode" => {
                if part == true {
                    out.insert("collectionFormat".to_owned(), "multi".into());
                }
            }
            _ => drop(out.insert(name.clone(), part.clone())),
        }
    }
    // Lists repeat their name in OpenAPI 3, unless they say otherwise.
    let is_list = schema.get("type").is_some_and(|kind| kind == "array");
    let in_query = value.get("in").is_some_and(|place| place == "query");
    match (is_list && in_query, value.get("explode")) {
        (true, None | Some(Value::Bool(true))) => drop(out.insert("collectionFormat".to_owned(), "multi".into())),
        (true, _) => drop(out.insert("collectionFormat".to_owned(), "csv".into())),
        (false, _) => drop(out.remove("collectionFormat")),
    }
    if let Some(schema) = schema.as_object_mut() {
        for name in
            ["description", "title", "example", "x-nullable", "readOnly", "xml", "externalDocs", "properties", "allOf"]
        {
            schema.remove(name);
        }
        // A parameter is no object in 2.0.
        if schema.get("type").is_none_or(|kind| kind == "object") {
            schema.insert("type".to_owned(), "string".into());
        }
        out.extend(std::mem::take(schema));
    }
    Value::Object(out)
}

/// A response of OpenAPI 3.
pub(super) fn response(value: &Value) -> Value {
    let mut out = Map::new();
    out.insert("description".to_owned(), value.get("description").cloned().unwrap_or_else(|| "".into()));
    if let Some((_, media)) = preferred(value)
        && let Some(schema) = media.get("schema")
    {
        out.insert("schema".to_owned(), convert(schema.clone()));
    }
    let headers = value.get("headers").and_then(Value::as_object).cloned().unwrap_or_default();
    if !headers.is_empty() {
        let plain = |header: Value| {
            let mut header = parameter(&header);
            if let Some(header) = header.as_object_mut() {
                for name in ["required", "in", "name"] {
                    header.remove(name);
                }
            }
            header
        };
        out.insert("headers".to_owned(), headers.into_iter().map(|(name, header)| (name, plain(header))).collect());
    }
    for (name, part) in value.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with("x-")) {
        out.insert(name.clone(), part.clone());
    }
    Value::Object(out)
}

/// The media type of a body, JSON where there is some.
pub(super) fn preferred(body: &Value) -> Option<(&String, &Value)> {
    let content = body.get("content")?.as_object()?;
    content.iter().find(|(name, _)| name.contains("json")).or_else(|| content.iter().next())
}

/// The body of OpenAPI 3 as parameters: the body, or the fields of a form.
pub(super) fn body(value: &Value) -> Vec<Value> {
    let Some((media, content)) = preferred(value) else { return Vec::new() };
    let schema = convert(content.get("schema").cloned().unwrap_or_else(|| json!({})));
    let required = value.get("required").is_some_and(|required| required == true);
    if media.contains("form") {
        let needed: Vec<String> = schema["required"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|one| one.as_str().map(str::to_owned))
            .collect();
        let fields = schema["properties"].as_object().cloned().unwrap_or_default();
        let field = |(name, schema): (String, Value)| {
            let is_file = schema.get("format").is_some_and(|format| format == "binary");
            let kind = if is_file {
                "file".into()
            } else {
                schema.get("type").cloned().filter(|kind| kind != "object").unwrap_or_else(|| "string".into())
            };
            let mut out = json!({ "name": name, "in": "formData", "type": kind, "required": needed.contains(&name) });
            if kind == "array" {
                out["items"] = json!({ "type": "string" });
            }
            if let Some(text) = schema.get("description") {
                out["description"] = text.clone();
            }
            out
        };
        return fields.into_iter().map(field).collect();
    }
    let mut out = json!({ "name": "body", "in": "body", "required": required, "schema": schema });
    if let Some(text) = value.get("description") {
        out["description"] = text.clone();
    }
    vec![out]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemas_of_openapi_3() {
        for (three, two) in [
            (json!({ "$ref": "#/components/schemas/A" }), json!({ "$ref": "#/definitions/A" })),
            (json!({ "type": "string", "nullable": true }), json!({ "type": "string", "x-nullable": true })),
            (json!({ "type": ["null", "integer"] }), json!({ "type": "integer", "x-nullable": true })),
            (json!({ "const": 1 }), json!({ "enum": [1] })),
            (json!({ "exclusiveMinimum": 3 }), json!({ "minimum": 3, "exclusiveMinimum": true })),
            (json!({ "oneOf": [{ "type": "string" }, { "type": "string" }] }), json!({ "type": "string" })),
            (json!({ "anyOf": [{ "type": "string" }, { "type": "object" }] }), json!({})),
            (
                json!({ "properties": { "nullable": { "type": "array" } } }),
                json!({ "properties": { "nullable": { "type": "array", "items": {} } } }),
            ),
        ] {
            assert_eq!(convert(three.clone()), two, "{three}");
        }
    }

    #[test]
    fn parameters_bodies_and_responses_of_openapi_3() {
        let three =
            json!({ "name": "ids", "in": "query", "schema": { "type": "array", "items": { "type": "string" } } });
        let two = json!({ "name": "ids", "in": "query", "collectionFormat": "multi", "type": "array", "items": { "type": "string" } });
        assert_eq!(parameter(&three), two);
        let form = json!({ "content": { "multipart/form-data": { "schema": { "type": "object", "required": ["f"], "properties": { "f": { "type": "string", "format": "binary" } } } } } });
        assert_eq!(body(&form), [json!({ "name": "f", "in": "formData", "type": "file", "required": true })]);
        let answer = json!({ "description": "OK", "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" } } } });
        assert_eq!(response(&answer), json!({ "description": "OK", "schema": { "$ref": "#/definitions/A" } }));
    }
}
