//! The JSON Schema (draft 2020-12) of a configuration's files, for editors.
//!
//! Everything is closed: a key that the gateway would refuse is refused by the schema too. Types are written out where they are
//! used, so that every object states all of its own keys; editors that do not know `unevaluatedProperties` understand that.

use std::ops::ControlFlow;

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use crate::config::connections::ConnectionSpec;
use crate::config::credentials::{CertificateSpec, KeyVaultSpec, ManagedIdentitySpec, TokenSourceSpec};
use crate::config::named::NamedValueSpec;
use crate::config::spec::{
    ApiSpec, BackendSpec, CacheSpec, ConsumerSpec, ErrorsSpec, IssuerSpec, KeysSpec, OperationSpec, ProductSpec,
    ServerSpec, ShownLimitsSpec, StoreSpec, SubscriptionSpec, TelemetrySpec,
};
use crate::policy::{KINDS, Kind, Section};

/// Which files a schema is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum File {
    /// Every file of a folder.
    #[default]
    Any,
    /// gateway.toml.
    Gateway,
    /// The file of an API.
    Api,
}

/// What stands in a schema where the policies of the enclosing section go.
const POLICIES_OF_SECTION: &str = "#/$defs/policy";

/// The generator that specs and policies are described with.
pub(super) fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true).into_generator()
}

/// A type's own description, without the `null` that TOML does not have.
pub(super) fn describe<T: JsonSchema>(generator: &mut SchemaGenerator) -> Value {
    tidy(T::json_schema(generator).to_value())
}

/// A policy's description, with the keys that every policy has.
pub(super) fn describe_policy(kind: &Kind, generator: &mut SchemaGenerator) -> Value {
    let mut schema = tidy((kind.schema)(generator).to_value());
    let own = schema["properties"].take();
    let mut properties = Map::new();
    properties.insert("policy".into(), json!({ "const": kind.name }));
    properties.extend(own.as_object().cloned().unwrap_or_default());
    properties.entry("id").or_insert_with(|| {
        json!({ "type": "string", "description": "A name for the policy, shown in on-error, in traces and in metrics." })
    });
    properties.entry("operations").or_insert_with(|| {
        json!({
            "type": "array",
            "items": { "type": "string" },
            "description": "The operations that the policy is for, by name; at the top of a section of an API. Default: all."
        })
    });
    schema["properties"] = properties.into();
    let mut required = vec![json!("policy")];
    required.extend(schema["required"].as_array().cloned().unwrap_or_default());
    schema["required"] = required.into();
    schema["additionalProperties"] = false.into();
    schema
}

/// Takes out what says nothing about TOML: `null`, and Rust's names for the sizes of numbers.
fn tidy(mut schema: Value) -> Value {
    walk(&mut schema, &mut |value| {
        let Some(object) = value.as_object_mut() else { return };
        object.remove("$schema");
        // A table's own key may have this name too; its value is a schema.
        if object.get("format").is_some_and(Value::is_string) {
            object.remove("format");
        }
        if object.get("default").is_some_and(|default| {
            default.is_null()
                || default.as_object().is_some_and(|inner| inner.values().any(Value::is_null) || inner.is_empty())
        }) {
            object.remove("default");
        }
        if let Some(Value::Array(types)) = object.get_mut("type") {
            types.retain(|name| name != "null");
            if let [only] = &types[..] {
                let only = only.clone();
                object.insert("type".into(), only);
            }
        }
        for key in ["anyOf", "oneOf"] {
            let Some(Value::Array(choices)) = object.get_mut(key) else { continue };
            choices.retain(|choice| choice["type"] != "null");
            if let [only] = &choices[..] {
                let Value::Object(only) = only.clone() else { continue };
                object.remove(key);
                for (name, inner) in only {
                    object.entry(name).or_insert(inner);
                }
            }
        }
        if let Some(Value::Array(values)) = object.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
    });
    schema
}

/// Visits every value of a tree, the innermost first.
fn walk(value: &mut Value, visit: &mut impl FnMut(&mut Value)) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| walk(item, visit)),
        Value::Object(object) => object.values_mut().for_each(|item| walk(item, visit)),
        _ => {}
    }
    visit(value);
}

fn holds_policies(schema: &Value) -> bool {
    fn search(value: &Value) -> ControlFlow<()> {
        match value {
            Value::String(text) if text == POLICIES_OF_SECTION => ControlFlow::Break(()),
            Value::Array(list) => list.iter().try_for_each(search),
            Value::Object(object) => object.values().try_for_each(search),
            _ => ControlFlow::Continue(()),
        }
    }
    search(schema).is_break()
}

/// The schema of a folder's files.
pub fn schema(file: File) -> Value {
    let mut generator = generator();
    let mut defs = Map::new();
    for kind in KINDS {
        let schema = describe_policy(kind, &mut generator);
        if !holds_policies(&schema) {
            defs.insert(format!("{}-policy", kind.name), schema);
            continue;
        }
        for (title, _) in places().filter(|(_, section)| section.is_none_or(|section| kind.sections.contains(section)))
        {
            let mut schema = schema.clone();
            let inner: Value = format!("#/$defs/{title}-step").into();
            walk(&mut schema, &mut |value| {
                if value == POLICIES_OF_SECTION {
                    *value = inner.clone();
                }
            });
            defs.insert(format!("{}-policy-in-{title}", kind.name), schema);
        }
    }
    for (title, section) in places() {
        let fitting = KINDS.iter().filter(|kind| section.is_none_or(|section| kind.sections.contains(section)));
        let choices: Vec<Value> = fitting
            .map(|kind| {
                let shared = format!("{}-policy", kind.name);
                let name = if defs.contains_key(&shared) { shared } else { format!("{shared}-in-{title}") };
                reference(&name)
            })
            .collect();
        defs.insert(format!("{title}-step"), json!({ "type": "object", "required": ["policy"], "oneOf": choices }));
    }
    defs.insert(
        "base-policy".into(),
        json!({
            "description": "Where the policies of the broader scopes run.",
            "type": "object",
            "properties": { "policy": { "const": "base" } },
            "required": ["policy"],
            "additionalProperties": false,
        }),
    );
    for section in Section::ALL {
        let title = section.as_str();
        let choice = json!({ "anyOf": [reference("base-policy"), reference(&format!("{title}-step"))] });
        defs.insert(title.to_owned(), list(&choice));
        defs.insert(format!("global-{title}"), list(&reference(&format!("{title}-step"))));
    }
    defs.insert("gateway-file".into(), gateway_file(&mut generator));
    defs.insert("api-file".into(), api_file(&mut generator));
    let mut root = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Sluicegate configuration",
    });
    match file {
        File::Any => root["oneOf"] = json!([reference("api-file"), reference("gateway-file")]),
        File::Gateway => root["$ref"] = "#/$defs/gateway-file".into(),
        File::Api => root["$ref"] = "#/$defs/api-file".into(),
    }
    root["$defs"] = defs.into();
    root
}

/// The schema as a file.
pub fn text(file: File) -> String {
    format!("{:#}\n", schema(file))
}

/// Where a policy can stand: a section, or a fragment, which any section may include.
fn places() -> impl Iterator<Item = (&'static str, Option<Section>)> {
    Section::ALL.into_iter().map(|section| (section.as_str(), Some(section))).chain([("fragment", None)])
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn list(item: &Value) -> Value {
    json!({ "type": "array", "items": item })
}

fn closed(properties: &Map<String, Value>, required: &[&str]) -> Value {
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// A table of tables with names of the author's choice.
fn named(description: &str, item: &Value) -> Value {
    json!({ "description": description, "type": "object", "additionalProperties": item })
}

/// Adds the four sections to the keys of a scope.
fn with_sections(mut schema: Value, prefix: &str) -> Value {
    for section in Section::ALL {
        schema["properties"][section.as_str()] = reference(&format!("{prefix}{}", section.as_str()));
    }
    schema
}

fn gateway_file(generator: &mut SchemaGenerator) -> Value {
    let mut properties = Map::new();
    let mut add = |name: &str, schema: Value| drop(properties.insert(name.into(), schema));
    add("server", describe::<ServerSpec>(generator));
    add("store", describe::<StoreSpec>(generator));
    add("cache", describe::<CacheSpec>(generator));
    add("limits", describe::<ShownLimitsSpec>(generator));
    add("errors", describe::<ErrorsSpec>(generator));
    add("telemetry", describe::<TelemetrySpec>(generator));
    let value = json!({ "anyOf": [{ "type": "string" }, describe::<NamedValueSpec>(generator)] });
    add("named-values", named("Values that `{{name}}` stands for in any text of the folder.", &value));
    add("backends", named("Named targets.", &describe::<BackendSpec>(generator)));
    add("issuers", named("Where the keys of token issuers come from.", &describe::<IssuerSpec>(generator)));
    let certificates = describe::<CertificateSpec>(generator);
    add("certificates", named("Certificates of the gateway's own, to show to backends.", &certificates));
    let sources = describe::<TokenSourceSpec>(generator);
    add("token-sources", named("Where access tokens for backends come from.", &sources));
    add("connections", named("What callers of an API bring to its backend.", &describe::<ConnectionSpec>(generator)));
    add("managed-identity", describe::<ManagedIdentitySpec>(generator));
    add("key-vault", describe::<KeyVaultSpec>(generator));
    let product = with_sections(describe::<ProductSpec>(generator), "");
    add("products", named("APIs that are granted together.", &product));
    add("consumers", named("Who calls.", &describe::<ConsumerSpec>(generator)));
    add("keys", describe::<KeysSpec>(generator));
    add("subscriptions", named("Grants, and the keys they are used with.", &describe::<SubscriptionSpec>(generator)));
    let fragment = Map::from_iter([("policies".to_owned(), list(&reference("fragment-step")))]);
    add("fragments", named("Lists of policies to include by name.", &closed(&fragment, &[])));
    with_sections(closed(&properties, &[]), "global-")
}

fn api_file(generator: &mut SchemaGenerator) -> Value {
    let operation = with_sections(describe::<OperationSpec>(generator), "");
    let properties = Map::from_iter([
        ("api".to_owned(), describe::<ApiSpec>(generator)),
        ("operation".to_owned(), list(&operation)),
    ]);
    with_sections(closed(&properties, &["api"]), "")
}
