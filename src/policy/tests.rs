//! What holds for every policy of the catalogue.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use super::{KINDS, Kind};
use crate::clock::Clock;
use crate::compile::{self, Shared};
use crate::config::render;

/// What the examples may name.
const WORLD: &str = r#"
[named-values]
erp-host = "erp.contoso.internal"
erp-key  = "a key"
secret   = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3JldA=="

[backends.erp]
url = "https://erp.contoso.internal/v1"

[backends.crm]
url = "https://crm.contoso.internal"

[issuers.entra]
openid-config = "https://login.microsoftonline.com/common/v2.0/.well-known/openid-configuration"

[issuers.contoso]
issuer   = "https://login.contoso.com"
jwks-url = "https://login.contoso.com/keys"

[[fragments.hide-server.policies]]
policy = "set-header"
name   = "server"
action = "delete"
"#;

const API: &str = r#"
[api]
name    = "example"
path    = "/example"
backend = "erp"

[[operation]]
name  = "Example"
match = "GET /{id}"
"#;

fn schema(kind: &Kind) -> Value {
    let settings =
        schemars::generate::SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    (kind.schema)(&mut settings.into_generator()).to_value()
}

/// The TOML examples of a doc comment.
fn examples(schema: &Value) -> Vec<String> {
    let text = schema["description"].as_str().unwrap_or_default();
    let blocks = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(str::to_owned).collect()
}

#[test]
fn names_are_sorted_and_unique() {
    assert!(KINDS.is_sorted_by(|a, b| a.name < b.name), "sorted, none twice");
    assert!(KINDS.iter().all(|kind| kind.name != "base"), "`base` is no policy");
}

#[test]
fn every_policy_has_a_file_and_a_section() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/policy");
    let mut listed: BTreeSet<String> = BTreeSet::new();
    for kind in KINDS {
        let file = folder.join(format!("{}.rs", kind.name.replace('-', "_")));
        assert!(file.is_file(), "`{}` stands in a file of its name", kind.name);
        assert!(kind.sections.iter().next().is_some(), "`{}` can stand somewhere", kind.name);
        listed.insert(kind.name.to_owned());
    }
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "rs") || path.ends_with("tests.rs") {
            continue;
        }
        if std::fs::read_to_string(&path).unwrap().contains("impl Policy for") {
            let name = path.file_stem().unwrap().to_str().unwrap().replace('_', "-");
            assert!(listed.contains(&name), "`{name}` is not in KINDS");
        }
    }
}

#[test]
fn examples_compile() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
    let shared = Arc::new(shared);
    for kind in KINDS {
        let examples = examples(&schema(kind));
        assert!(!examples.is_empty(), "`{}` has no example", kind.name);
        for example in examples {
            // What an example defines for itself belongs to gateway.toml; its policies stand in an operation.
            let (own, policies): (Vec<&str>, Vec<&str>) = split_tables(&example).into_iter().partition(|table| {
                [
                    "[named-values",
                    "[backends",
                    "[issuers",
                    "[[fragments",
                    "[products",
                    "[subscriptions",
                    "[token-sources",
                ]
                .iter()
                .any(|start| table.trim_start().starts_with(start))
            });
            let world = if own.is_empty() { WORLD.to_owned() } else { own.concat() };
            let world = if world.contains("[backends.erp]") {
                world
            } else {
                format!("{world}\n[backends.erp]\nurl = 'https://erp'\n")
            };
            let policies: String = policies.concat();
            assert!(policies.contains(&format!("\"{}\"", kind.name)), "the example of `{}` uses it", kind.name);
            let policies = if policies.contains("[[operation]]") || policies.contains("[[operation.") {
                policies
            } else {
                ["inbound", "backend", "outbound", "on-error"].iter().fold(policies, |text, section| {
                    text.replace(&format!("[[{section}"), &format!("[[operation.{section}"))
                        .replace(&format!("\n[{section}."), &format!("\n[operation.{section}."))
                })
            };
            let definition = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/connectors/orders/orders.yaml");
            let api = API.replacen("[api]", &format!("[api]\ndefinition = '{definition}'"), 1);
            let files =
                vec![("example.toml".to_owned(), format!("{api}{policies}")), ("gateway.toml".to_owned(), world)];
            let loaded = compile::compile(files, None, &shared);
            let report = render::text(&loaded.diagnostics, &loaded.sources);
            assert_eq!(loaded.diagnostics.errors(), 0, "the example of `{}`:\n{report}", kind.name);
        }
    }
}

/// A text cut before each table header, comments above it included in the table before.
fn split_tables(text: &str) -> Vec<&str> {
    let starts = text.match_indices('\n').map(|(at, _)| at + 1).filter(|at| text[*at..].starts_with('['));
    let mut starts: Vec<usize> = starts.chain([0, text.len()]).collect();
    starts.sort_unstable();
    starts.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

#[test]
fn every_field_is_documented_and_kebab_case() {
    fn look(schema: &Value, path: &str) {
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(property["description"].as_str().is_some_and(|text| !text.is_empty()), "{path} is not documented");
            let kebab = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            assert!(name.chars().all(kebab), "{path} is not in kebab-case");
            look(property, &path);
            look(&property["items"], &path);
        }
    }
    for kind in KINDS {
        let schema = schema(kind);
        look(&schema, kind.name);
        assert_eq!(schema["additionalProperties"], false, "`{}` refuses unknown keys", kind.name);
        assert!(schema["description"].as_str().is_some_and(|text| !text.is_empty()), "`{}` is documented", kind.name);
    }
}

/// Every word that a policy might complain about, in a table that cannot be right.
#[test]
fn errors_never_name_the_policy() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let shared = Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) };
    let shared = Arc::new(shared);
    for kind in KINDS {
        for section in kind.sections.iter() {
            let section = section.as_str();
            let text = format!("{API}\n[[operation.{section}]]\npolicy = \"{}\"\nno-such-key = 1\n", kind.name);
            let files = vec![("example.toml".to_owned(), text), ("gateway.toml".to_owned(), WORLD.to_owned())];
            let loaded = compile::compile(files, None, &shared);
            assert!(loaded.diagnostics.errors() > 0, "`{}` refuses unknown keys", kind.name);
            for one in &loaded.diagnostics.0 {
                let named = format!("`{}`", kind.name);
                assert!(!one.message.contains(&named), "`{}` names itself: {}", kind.name, one.message);
            }
        }
    }
}
