//! The reference page: prose from `readme.md`, tables from the types, the catalogue from the policy files.

use std::fmt::Write as _;

use include_dir::{Dir, include_dir};
use schemars::SchemaGenerator;
use serde_json::Value;

use super::schema;
use crate::config::codes::{CODES, CONNECTOR_CODES};
use crate::config::connections::ConnectionSpec;
use crate::config::credentials::{CertificateSpec, KeyVaultSpec, ManagedIdentitySpec, TokenSourceSpec};
use crate::config::named::NamedValueSpec;
use crate::config::spec::{
    ApiSpec, BackendSpec, CacheSpec, ConsumerSpec, ErrorsSpec, IssuerSpec, KeysSpec, OperationSpec, ProductSpec,
    ServerSpec, ShownLimitsSpec, StoreSpec, SubscriptionSpec, TelemetrySpec,
};
use crate::expression;
use crate::policy::{KINDS, Kind, Section};

/// The policies' own files: the first sentence of each is its line in the catalogue.
static POLICY_FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/src/policy");

/// The page as Markdown.
pub fn page() -> String {
    let mut generator = schema::generator();
    let mut out = String::new();
    for line in include_str!("readme.md").lines() {
        match line.strip_prefix("<!-- ").and_then(|rest| rest.strip_suffix(" -->")) {
            Some(name) => out.push_str(&generated(name, &mut generator)),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// What stands in the place of `<!-- name -->`.
fn generated(name: &str, generator: &mut SchemaGenerator) -> String {
    let table = match name {
        "server" => schema::describe::<ServerSpec>(generator),
        "store" => schema::describe::<StoreSpec>(generator),
        "cache" => schema::describe::<CacheSpec>(generator),
        "limits" => schema::describe::<ShownLimitsSpec>(generator),
        "errors" => schema::describe::<ErrorsSpec>(generator),
        "telemetry" => schema::describe::<TelemetrySpec>(generator),
        "named-value" => schema::describe::<NamedValueSpec>(generator),
        "backend" => schema::describe::<BackendSpec>(generator),
        "issuer" => schema::describe::<IssuerSpec>(generator),
        "consumer" => schema::describe::<ConsumerSpec>(generator),
        "keys" => schema::describe::<KeysSpec>(generator),
        "certificate" => schema::describe::<CertificateSpec>(generator),
        "token-source" => schema::describe::<TokenSourceSpec>(generator),
        "connection" => schema::describe::<ConnectionSpec>(generator),
        "key-vault" => schema::describe::<KeyVaultSpec>(generator),
        "managed-identity" => schema::describe::<ManagedIdentitySpec>(generator),
        "product" => schema::describe::<ProductSpec>(generator),
        "subscription" => schema::describe::<SubscriptionSpec>(generator),
        "api" => schema::describe::<ApiSpec>(generator),
        "operation" => schema::describe::<OperationSpec>(generator),
        "catalogue" => return catalogue(),
        "policies" => return KINDS.iter().map(|kind| policy(kind, generator)).collect(),
        "functions" => return functions(),
        "codes" => return codes(),
        other => unreachable!("readme.md asks for `{other}`, and a test makes the page"),
    };
    keys(&table)
}

fn catalogue() -> String {
    let mut out = String::from("| policy | stands in | what it does |\n|---|---|---|\n");
    for kind in KINDS {
        let _ = writeln!(out, "| [`{0}`](#{0}) | {1} | {2} |", kind.name, sections(kind), summary(kind.name));
    }
    out
}

fn sections(kind: &Kind) -> String {
    if Section::ALL.iter().all(|section| kind.sections.contains(*section)) {
        return "every section".to_owned();
    }
    kind.sections.iter().map(Section::as_str).collect::<Vec<_>>().join(", ")
}

/// The `//!` line of a policy's file.
pub(super) fn summary(policy: &str) -> &'static str {
    let file = POLICY_FILES.get_file(format!("{}.rs", policy.replace('-', "_")));
    let text = file.and_then(|file| file.contents_utf8()).unwrap_or_default();
    text.lines().next().and_then(|line| line.strip_prefix("//! ")).unwrap_or_default()
}

fn policy(kind: &Kind, generator: &mut SchemaGenerator) -> String {
    let schema = schema::describe_policy(kind, generator);
    let manual = schema["description"].as_str().unwrap_or_default();
    let (text, example) = manual.split_at(manual.find("```toml").unwrap_or(manual.len()));
    let table = keys(&schema);
    format!("### {}\n\nStands in: {}.\n\n{}\n\n{table}\n{}\n\n", kind.name, sections(kind), text.trim(), example.trim())
}

/// The keys of a table and of the tables in it.
fn keys(schema: &Value) -> String {
    let mut out = String::from("| key | type | what it means |\n|---|---|---|\n");
    rows(&mut out, schema, "");
    out
}

fn rows(out: &mut String, schema: &Value, prefix: &str) {
    let required = |name: &str| schema["required"].as_array().is_some_and(|names| names.iter().any(|one| one == name));
    let properties = schema["properties"].as_object();
    // `policy` and `id` are every policy's and explained once.
    let own = properties.into_iter().flatten().filter(|(name, schema)| {
        !(prefix.is_empty() && (*name == "policy" || (*name == "id" && !required(name))))
            || schema["const"].is_null() && *name != "id"
    });
    for (name, property) in own {
        let mut text = property["description"].as_str().unwrap_or_default().replace('\n', " ");
        if required(name) {
            text.insert_str(0, "**Required.** ");
        }
        for choice in property["oneOf"].as_array().into_iter().flatten() {
            if let (Some(value), Some(meaning)) = (choice["const"].as_str(), choice["description"].as_str()) {
                let _ = write!(text, "<br>`{value}`: {}", meaning.replace('\n', " "));
            }
        }
        let _ = writeln!(out, "| `{prefix}{name}` | {} | {} |", kind_of(property), text.replace('|', "\\|"));
        rows(out, property, &format!("{prefix}{name}."));
        rows(out, &property["items"], &format!("{prefix}{name}[]."));
        rows(out, &property["additionalProperties"], &format!("{prefix}{name}.NAME."));
    }
}

/// The type of a value, in words.
fn kind_of(schema: &Value) -> String {
    let pattern = schema["pattern"].as_str().unwrap_or_default();
    if pattern.contains("ms|s|m") {
        return "duration".to_owned();
    }
    if pattern.contains("KiB") {
        return "size".to_owned();
    }
    if let Some(choices) = schema["oneOf"].as_array().or_else(|| schema["anyOf"].as_array()) {
        if choices.iter().all(|choice| choice["const"].is_string()) {
            return "one of".to_owned();
        }
        let mut words: Vec<String> = choices.iter().map(kind_of).collect();
        words.dedup();
        return words.join(" or ");
    }
    if let Some(only) = schema["const"].as_str() {
        return format!("`\"{only}\"`");
    }
    if schema["enum"].is_array() {
        return "one of".to_owned();
    }
    if let Some(types) = schema["type"].as_array() {
        let text = types.iter().any(|one| one == "string") && types.iter().any(|one| one == "boolean");
        let words = || types.iter().map(|one| kind_of(&serde_json::json!({ "type": one }))).collect::<Vec<_>>();
        return if text { "text or expression".to_owned() } else { words().join(" or ") };
    }
    match schema["type"].as_str() {
        Some("string") => "text".to_owned(),
        Some("integer") => "integer".to_owned(),
        Some("number") => "number".to_owned(),
        Some("boolean") => "`true` or `false`".to_owned(),
        Some("object") => "table".to_owned(),
        Some("array") if schema["items"]["$ref"].is_string() => "policies".to_owned(),
        Some("array") if schema["items"]["type"] == "object" => "list of tables".to_owned(),
        Some("array") => format!("list of {}", kind_of(&schema["items"])),
        _ => "any value".to_owned(),
    }
}

fn functions() -> String {
    let mut out = String::new();
    let mut group = "";
    for function in expression::catalogue() {
        if function.group != group {
            group = function.group;
            let _ =
                write!(out, "\n### {group}\n\n| function | what it gives | example | result |\n|---|---|---|---|\n");
        }
        let cell = |text: &str| text.replace('|', "\\|");
        let _ = writeln!(
            out,
            "| `{}` | {} | `{}` | `{}` |",
            cell(&function.signature),
            cell(function.summary),
            cell(function.example),
            cell(function.result)
        );
    }
    out
}

fn codes() -> String {
    let mut out = String::from("| code | meaning |\n|---|---|\n");
    for (code, meaning) in CODES.iter().chain(CONNECTOR_CODES) {
        let _ = writeln!(out, "| `{code}` | {meaning} |");
    }
    out
}
