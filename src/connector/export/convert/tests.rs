//! Pieces of OpenAPI 3 and what becomes of them.

use serde_json::json;

use super::super::super::json;
use super::super::super::tree::Node;
use super::{Converter, status};

const DEFINITION: &str = r##"{
  "openapi": "3.0.3",
  "paths": { "/a": { "get": { "responses": { "200": { "content": { "application/json": { "schema": { "type": "integer" } } } } } } } },
  "components": {
    "parameters": { "Page": { "name": "page", "in": "query", "schema": { "$ref": "#/components/schemas/Number" } } },
    "headers": { "Left": { "description": "Left.", "schema": { "$ref": "#/components/schemas/Number" } } },
    "responses": { "Gone": { "description": "Gone." } },
    "examples": { "One": { "value": { "id": 1 } } },
    "schemas": {
      "A": { "type": "object", "required": ["kind", "x"], "properties": { "kind": { "type": "string", "enum": ["a"] }, "x": { "type": "integer" } } },
      "B": { "type": "object", "required": ["kind"], "properties": { "kind": { "type": "string", "enum": ["b"] }, "x": { "type": "string" }, "next": { "$ref": "#/components/schemas/B" } } },
      "Number": { "type": "integer", "minimum": 1, "description": "A number.", "nullable": true, "title": "N" },
      "Loop": { "allOf": [{ "$ref": "#/components/schemas/Loop" }] }
    }
  }
}"##;

fn root() -> Node {
    json::parse(DEFINITION).unwrap().0
}

#[test]
fn schemas() {
    let root = root();
    let a = "#/components/schemas/A";
    for (three, two, lost) in [
        (json!({ "$ref": a }), json!({ "$ref": "#/definitions/A" }), 0),
        (
            json!({ "$ref": "#/paths/~1a/get/responses/200/content/application~1json/schema" }),
            json!({ "type": "integer" }),
            0,
        ),
        (json!({ "$ref": "#/components/schemas/A/properties/x" }), json!({ "type": "integer" }), 0),
        (json!({ "$ref": "other.json#/x" }), json!({}), 1),
        (json!({ "$ref": "#/components/schemas/None" }), json!({}), 1),
        (json!({ "type": "string", "nullable": true }), json!({ "type": "string", "x-nullable": true }), 0),
        (json!({ "type": ["null", "integer"] }), json!({ "type": "integer", "x-nullable": true }), 0),
        (json!({ "type": ["string", "integer"] }), json!({}), 1),
        (json!({ "type": "null" }), json!({ "x-nullable": true }), 0),
        (json!({ "const": 1 }), json!({ "enum": [1] }), 0),
        (json!({ "exclusiveMinimum": 3 }), json!({ "minimum": 3, "exclusiveMinimum": true }), 0),
        (json!({ "exclusiveMaximum": true }), json!({}), 0),
        (json!({ "required": [], "enum": [], "deprecated": true }), json!({}), 0),
        (json!({ "type": "string", "contentEncoding": "base64" }), json!({ "type": "string", "format": "byte" }), 0),
        (json!({ "properties": { "any": true } }), json!({ "properties": { "any": {} } }), 0),
        (json!({ "not": {}, "type": "string" }), json!({ "type": "string" }), 1),
        (json!({ "oneOf": [{ "type": "string" }, { "type": "string" }] }), json!({ "type": "string" }), 1),
        (json!({ "anyOf": [{ "type": "string" }, { "type": "object" }] }), json!({}), 1),
        (
            json!({ "anyOf": [{ "type": "string", "maxLength": 3 }, { "type": "null" }] }),
            json!({ "type": "string", "maxLength": 3, "x-nullable": true }),
            0,
        ),
        (
            json!({ "oneOf": [{ "$ref": a }, { "type": "null" }] }),
            json!({ "allOf": [{ "$ref": "#/definitions/A" }], "x-nullable": true }),
            0,
        ),
        (
            json!({ "oneOf": [{ "$ref": a }, { "$ref": "#/components/schemas/B" }], "discriminator": { "propertyName": "kind" } }),
            json!({
                "discriminator": "kind",
                "type": "object",
                "properties": { "kind": { "type": "string" }, "x": {}, "next": { "$ref": "#/definitions/B" } },
                "required": ["kind"],
            }),
            1,
        ),
        (
            json!({ "properties": { "nullable": { "type": "array" } } }),
            json!({ "properties": { "nullable": { "type": "array", "items": {} } } }),
            0,
        ),
    ] {
        let mut converter = Converter::new(&root);
        assert_eq!(converter.schema(three.clone()), two, "{three}");
        assert_eq!(converter.notes().count(), lost, "{three}");
    }
}

#[test]
fn parameters() {
    let root = root();
    let list = json!({ "type": "array", "items": { "$ref": "#/components/schemas/Number" } });
    let items = json!({ "type": "integer", "minimum": 1 });
    for (three, two) in [
        (
            json!({ "$ref": "#/components/parameters/Page" }),
            json!({ "name": "page", "in": "query", "type": "integer", "description": "A number.", "minimum": 1 }),
        ),
        (
            json!({ "name": "ids", "in": "query", "schema": list, "deprecated": true }),
            json!({ "name": "ids", "in": "query", "type": "array", "items": items, "collectionFormat": "multi" }),
        ),
        (
            json!({ "name": "ids", "in": "query", "explode": false, "style": "pipeDelimited", "schema": list }),
            json!({ "name": "ids", "in": "query", "type": "array", "items": items, "collectionFormat": "pipes" }),
        ),
        (
            json!({ "name": "ids", "in": "path", "required": true, "schema": list }),
            json!({ "name": "ids", "in": "path", "required": true, "type": "array", "items": items, "collectionFormat": "csv" }),
        ),
        (
            json!({ "name": "filter", "in": "query", "style": "deepObject", "schema": { "type": "object", "required": ["a"] } }),
            json!({ "name": "filter", "in": "query", "type": "string" }),
        ),
        (
            json!({ "name": "filter", "in": "query", "content": { "application/json": { "schema": { "type": "object" } } } }),
            json!({ "name": "filter", "in": "query", "type": "string" }),
        ),
        (
            json!({ "name": "sort", "in": "query", "schema": { "allOf": [{ "type": "string", "enum": ["up", "down"] }], "default": "up" } }),
            json!({ "name": "sort", "in": "query", "type": "string", "default": "up", "enum": ["up", "down"] }),
        ),
        (
            json!({ "name": "x", "in": "header", "schema": { "$ref": "#/components/schemas/Loop" } }),
            json!({ "name": "x", "in": "header", "type": "string" }),
        ),
    ] {
        assert_eq!(Converter::new(&root).parameter(&three), two, "{three}");
    }
}

#[test]
fn bodies_and_responses() {
    let root = root();
    let form = json!({ "content": { "multipart/form-data": { "schema": {
        "type": "object",
        "required": ["f"],
        "properties": { "f": { "type": "string", "format": "binary" }, "n": { "$ref": "#/components/schemas/Number" } },
    } } } });
    let fields = [
        json!({ "name": "f", "in": "formData", "required": true, "type": "file" }),
        json!({ "name": "n", "in": "formData", "required": false, "type": "integer", "description": "A number.", "minimum": 1 }),
    ];
    assert_eq!(Converter::new(&root).body(&form), fields);
    let answer = json!({
        "description": "OK",
        "headers": { "x-left": { "$ref": "#/components/headers/Left" } },
        "links": { "next": { "operationId": "Next" } },
        "content": { "application/json": { "schema": { "$ref": "#/components/schemas/A" }, "examples": { "one": { "$ref": "#/components/examples/One" } } } },
    });
    let want = json!({
        "description": "OK",
        "schema": { "$ref": "#/definitions/A" },
        "examples": { "application/json": { "id": 1 } },
        "headers": { "x-left": { "description": "Left.", "type": "integer", "minimum": 1 } },
    });
    let mut converter = Converter::new(&root);
    "GetA".clone_into(&mut converter.place);
    assert_eq!(converter.response(&answer), want);
    assert_eq!(converter.notes().collect::<Vec<_>>(), ["OpenAPI 2.0 has no `links`: left out in `GetA`"]);
    let shared = json!({ "$ref": "#/components/responses/Gone" });
    assert_eq!(Converter::new(&root).response(&shared), json!({ "$ref": "#/responses/Gone" }));
}

#[test]
fn classes_of_statuses_become_their_first_one() {
    let taken = |status: &str| status == "400";
    for (written, want) in [("200", Some("200")), ("2XX", Some("200")), ("4XX", None), ("default", Some("default"))] {
        assert_eq!(status(written, taken).as_deref(), want, "{written}");
    }
}

/// An object in the query is sent as several parameters, which 2.0 can name.
#[test]
fn objects_in_the_query_become_their_properties() {
    let root = root();
    let object = json!({
        "type": "object",
        "required": ["a"],
        "properties": {
            "a": { "type": "string", "nullable": true, "enum": ["x", null] },
            "list": { "type": "array", "items": { "type": "integer" } },
            "inner": { "type": "object" },
        },
    });
    let inner = json!({ "name": "inner", "in": "query", "required": false, "type": "string" });
    let deep = |name: &str, mut value: serde_json::Value| {
        value["name"] = name.into();
        value
    };
    let a = json!({ "name": "a", "in": "query", "required": true, "type": "string", "enum": ["x"] });
    let list = json!({ "name": "list", "in": "query", "required": false, "type": "array", "items": { "type": "integer" }, "collectionFormat": "multi" });
    for (style, explode, want) in [
        (
            Some("deepObject"),
            None,
            Some([deep("f[a]", a.clone()), deep("f[list]", list.clone()), deep("f[inner]", inner.clone())]),
        ),
        (None, None, Some([a, list, inner])),
        (Some("form"), Some(false), None),
        (Some("pipeDelimited"), None, None),
    ] {
        let mut three = json!({ "name": "f", "in": "query", "required": true, "schema": object });
        three["style"] = style.into();
        three["explode"] = explode.into();
        three.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let mut converter = Converter::new(&root);
        let two = converter.parameter(&three);
        assert_eq!(two["type"], "string", "{style:?}");
        let parts = two.get(super::PARTS).and_then(|parts| parts.as_array());
        assert_eq!(parts.map(Vec::as_slice), want.as_ref().map(|parts| &parts[..]), "{style:?}");
    }
}

#[test]
fn null_is_no_text_of_an_enum_and_a_discriminator_is_required() {
    let root = root();
    for (three, two) in [
        (json!({ "enum": ["a", null] }), json!({ "enum": ["a"], "x-nullable": true })),
        (json!({ "enum": [null] }), json!({ "enum": [null] })),
        (json!({ "discriminator": { "propertyName": "kind" } }), json!({})),
        (
            json!({ "required": ["kind"], "discriminator": { "propertyName": "kind" } }),
            json!({ "required": ["kind"], "discriminator": "kind" }),
        ),
    ] {
        assert_eq!(Converter::new(&root).schema(three.clone()), two, "{three}");
    }
}

/// Azure's definitions do this: parts of schemas that refer to parts of each other, in circles.
#[test]
fn what_is_referred_to_elsewhere_gets_a_place() {
    let text = r##"{
      "openapi": "3.0.0",
      "components": { "schemas": {
        "Gateway": { "properties": { "a": { "items": { "properties": { "b": { "$ref": "#/components/schemas/Gateway/properties/c" } } } },
          "c": { "properties": { "d": { "$ref": "#/components/schemas/Gateway/properties/a/items" }, "e": { "$ref": "#/components/schemas/Gateway/properties/a/items" } } } } },
        "Gateway_c": { "type": "string" }
      } }
    }"##;
    let root = json::parse(text).unwrap().0;
    let mut converter = Converter::new(&root);
    let schema = converter.schema(json!({ "$ref": "#/components/schemas/Gateway/properties/c" }));
    assert_eq!(schema, json!({ "$ref": "#/definitions/Gateway_c_2" }));
    let a = json!({ "$ref": "#/definitions/Gateway_a_items" });
    let want = [
        ("Gateway_c_2".to_owned(), json!({ "properties": { "d": a, "e": a } })),
        ("Gateway_a_items".to_owned(), json!({ "properties": { "b": schema } })),
    ];
    assert_eq!(converter.moved(), want);
    assert_eq!(converter.notes().count(), 0);
}
