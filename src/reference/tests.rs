//! The generated files are up to date, and the schema says what the gateway says.

use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};

use super::{File, page, schema, text};
use crate::clock::Clock;
use crate::compile::{self, Shared};
use crate::config::diagnostic::{Diagnostic, Severity};
use crate::config::render;
use crate::identity::certificate::test_support::Everybody;

fn folder(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

#[test]
fn generated_files_are_fresh() {
    for (name, want) in [("README.md", page()), ("schema.json", text(File::Any))] {
        let found = std::fs::read_to_string(folder("policies").join(name)).unwrap_or_default();
        assert!(found == want, "policies/{name} is stale; `cargo run -- docs` writes it");
    }
}

/// The examples of the policies have a test of their own.
#[test]
fn examples_of_the_prose_compile() {
    const GATEWAY: &str = "[backends.erp]\nurl = 'https://erp.contoso.internal'\n";
    const API: &str =
        "[api]\nname = 'a'\npath = '/a'\nbackend = 'erp'\n[[operation]]\nname = 'o'\nmatch = 'GET /{id}'\n";
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Arc::new(Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) });
    // The files that examples name.
    let files = tempfile::tempdir().unwrap();
    let gateway = Everybody::get().client("erp");
    std::fs::write(files.path().join("gateway.pem"), &gateway.pem).unwrap();
    std::fs::write(files.path().join("gateway.key"), &gateway.key_pem).unwrap();
    let blocks = include_str!("readme.md").split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut count = 0;
    for block in blocks {
        count += 1;
        let (gateway, api) = if block.contains("[api]") {
            (GATEWAY.to_owned(), block.to_owned())
        } else if block.starts_with("[[operation.") {
            (GATEWAY.to_owned(), format!("{API}{block}"))
        } else {
            (format!("{GATEWAY}{block}"), API.to_owned())
        };
        let texts = vec![("api.toml".to_owned(), api), ("gateway.toml".to_owned(), gateway)];
        let loaded = compile::compile(texts, Some(files.path()), &shared);
        let report = render::text(&loaded.diagnostics, &loaded.sources);
        // The environment of a test has no secrets.
        let wrong = |one: &&Diagnostic| one.severity == Severity::Error && one.code != "missing-secret";
        assert_eq!(loaded.diagnostics.0.iter().filter(wrong).count(), 0, "{block}\n{report}");
    }
    assert!(count >= 5, "found {count} examples");
}

/// The mistakes of a value against a schema. Knows the keywords that [`schema`] uses and refuses others.
fn mistakes(schema: &Value, value: &Value, root: &Value, at: &str) -> Vec<String> {
    let mut found = Vec::new();
    let Value::Object(keywords) = schema else {
        return if *schema == false { vec![format!("{at}: not allowed")] } else { found };
    };
    let mistakes_of = |choices: &Value| -> Vec<Vec<String>> {
        choices.as_array().unwrap().iter().map(|schema| mistakes(schema, value, root, at)).collect()
    };
    for (keyword, rule) in keywords {
        let right = match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" | "default" | "format" => true,
            "$ref" => {
                let target =
                    root.pointer(&rule.as_str().unwrap()[1..]).unwrap_or_else(|| panic!("{rule} is not defined"));
                found.extend(mistakes(target, value, root, at));
                true
            }
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "type" => {
                let is = |name: &Value| match name.as_str().unwrap() {
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "array" => value.is_array(),
                    "object" => value.is_object(),
                    other => panic!("unknown type {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |names| names.iter().any(is))
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            // Two patterns, for durations and sizes, whose parsers have tests of their own.
            "pattern" => {
                value.as_str().is_none_or(|text| text.contains("{{") || text.starts_with(|c: char| c.is_ascii_digit()))
            }
            "anyOf" | "oneOf" => {
                let choices = mistakes_of(rule);
                let held = choices.iter().filter(|found| found.is_empty()).count();
                if held == 0 {
                    found.extend(nearest(choices));
                }
                held <= 1 || keyword == "anyOf"
            }
            "items" => {
                for (index, item) in value.as_array().into_iter().flatten().enumerate() {
                    found.extend(mistakes(rule, item, root, &format!("{at}[{index}]")));
                }
                true
            }
            "required" => rule
                .as_array()
                .unwrap()
                .iter()
                .all(|name| value.as_object().is_none_or(|table| table.contains_key(name.as_str().unwrap()))),
            "properties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    if let Some(rule) = rule.get(name) {
                        found.extend(mistakes(rule, item, root, &format!("{at}.{name}")));
                    }
                }
                true
            }
            "additionalProperties" => {
                for (name, item) in value.as_object().into_iter().flatten() {
                    if schema["properties"].get(name).is_none() {
                        found.extend(mistakes(rule, item, root, &format!("{at}.{name}")));
                    }
                }
                true
            }
            other => panic!("{at}: the schema uses `{other}`, which no editor was tried with"),
        };
        if !right {
            found.push(format!("{at}: {keyword} {rule}"));
        }
    }
    found
}

/// The mistakes against the choice that was meant: the one that goes wrong deepest, then the one with the fewest mistakes.
fn nearest(choices: Vec<Vec<String>>) -> Vec<String> {
    let depth = |mistake: &String| {
        let place = mistake.split_once(": ").map_or(mistake.as_str(), |(place, _)| place);
        place.matches(['.', '[']).count()
    };
    let nearness = |found: &Vec<String>| (found.iter().map(depth).min(), Reverse(found.len()));
    choices.into_iter().max_by_key(nearness).unwrap_or_default()
}

#[test]
fn a_mistake_is_named_where_it_is() {
    let schema = schema(File::Any);
    let api = "[api]\nname = 'a'\npath = '/a'\n[[operation]]\nname = 'o'\nmatch = 'GET /'\n";
    for (text, want) in [
        ("[server.limits]\nhead = 1".to_owned(), "file.server.limits.head: not allowed"),
        (
            format!("{api}[[operation.inbound]]\npolicy = 'set-header'\nname = 'a'\nvalu = 'b'"),
            "file.operation[0].inbound[0].valu: not allowed",
        ),
    ] {
        assert_eq!(mistakes(&schema, &json_of(&text), &schema, "file"), [want]);
    }
}

fn json_of(text: &str) -> Value {
    serde_json::to_value(toml::from_str::<toml::Table>(text).unwrap()).unwrap()
}

#[test]
fn the_schema_accepts_what_the_gateway_accepts() {
    for place in ["policies", "deploy/kubernetes/policies"] {
        let files = crate::config::folder::read_folder(&folder(place)).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
        let loaded = compile::compile(files.clone(), Some(&folder(place)), &Arc::new(shared));
        assert_eq!(loaded.diagnostics.errors(), 0, "{place}: {:?}", loaded.diagnostics);
        for (name, text) in files {
            let kind = if name == "gateway.toml" { File::Gateway } else { File::Api };
            for schema in [schema(File::Any), schema(kind)] {
                let found = mistakes(&schema, &json_of(&text), &schema, &name);
                assert!(found.is_empty(), "{place}: {found:#?}");
            }
        }
    }
}

#[test]
fn the_schema_refuses_what_the_gateway_refuses() {
    let api = "[api]\nname = 'a'\npath = '/a'\n";
    let schema = schema(File::Any);
    for (name, text, right) in [
        ("an empty gateway.toml", String::new(), true),
        ("an API", api.to_owned(), true),
        ("a key called as a keyword of JSON Schema", "[errors]\nformat = 'problem'".to_owned(), true),
        ("a form that there is not", "[errors]\nformat = 'xml'".to_owned(), false),
        ("an unknown table", "[servers]".to_owned(), false),
        ("an unknown key", "[server]\nlisten-on = 'x'".to_owned(), false),
        ("an unknown key of an API", format!("{api}nme = 'x'"), false),
        ("a missing key", "[api]\nname = 'a'".to_owned(), false),
        ("a duration as a number", "[backends.a]\ntimeout = 5".to_owned(), false),
        ("a duration from a named value", "[backends.a]\ntimeout = '{{t}}'".to_owned(), true),
        ("the form of errors", "[errors]\nformat = 'problem'".to_owned(), true),
        ("an unknown form of errors", "[errors]\nformat = 'xml'".to_owned(), false),
        ("a policy", format!("{api}[[inbound]]\npolicy = 'set-header'\nname = 'a'\nvalue = 1"), true),
        (
            "a policy with an id",
            format!("{api}[[inbound]]\npolicy = 'set-header'\nid = 'x'\nname = 'a'\nvalue = 'b'"),
            true,
        ),
        ("an unknown policy", format!("{api}[[inbound]]\npolicy = 'set-heder'\nname = 'a'"), false),
        (
            "an unknown key of a policy",
            format!("{api}[[inbound]]\npolicy = 'set-header'\nname = 'a'\nvalu = 'b'"),
            false,
        ),
        ("a policy in its section", format!("{api}[[inbound]]\npolicy = 'rewrite-uri'\ntemplate = '/'"), true),
        ("a policy in a wrong section", format!("{api}[[outbound]]\npolicy = 'rewrite-uri'\ntemplate = '/'"), false),
        ("base", format!("{api}[[inbound]]\npolicy = 'base'"), true),
        ("base in the global scope", "[[inbound]]\npolicy = 'base'".to_owned(), false),
        (
            "a nested policy in a wrong section",
            format!(
                "{api}[[outbound]]\npolicy = 'choose'\nwhen = [{{ condition = true, policies = [{{ policy = 'rewrite-uri', template = '/' }}] }}]"
            ),
            false,
        ),
        (
            "a nested policy in its section",
            format!(
                "{api}[[inbound]]\npolicy = 'choose'\nwhen = [{{ condition = true, policies = [{{ policy = 'rewrite-uri', template = '/' }}] }}]"
            ),
            true,
        ),
        (
            "a backend by name in an operation",
            format!("{api}[[operation]]\nname = 'o'\nmatch = 'GET /'\nbackend = 'b'"),
            false,
        ),
        (
            "a backend by policy in an operation",
            format!(
                "{api}[[operation]]\nname = 'o'\nmatch = 'GET /'\n[[operation.inbound]]\npolicy = 'set-backend-service'\nbackend = 'b'"
            ),
            true,
        ),
        (
            "the backend section of an operation",
            format!("{api}[[operation]]\nname = 'o'\nmatch = 'GET /'\n[[operation.backend]]\npolicy = 'base'"),
            true,
        ),
    ] {
        let found = mistakes(&schema, &json_of(&text), &schema, name);
        assert_eq!(found.is_empty(), right, "{name}: {found:#?}");
    }
    assert_eq!(schema["$schema"], json!("https://json-schema.org/draft/2020-12/schema"));
}

#[test]
fn every_file_says_what_it_is() {
    fn look(folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                assert!(text.starts_with("//! "), "{} does not begin with a `//!` sentence", path.display());
            }
        }
    }
    look(&folder("src"));
}
