//! Exported connectors, judged by others: npm's swagger-parser checks each definition against OpenAPI 2.0, and Microsoft's paconn reads
//! each package as it does to create a connector. What is imported again has the same operations.
//!
//! Exported are the packages of tests/connectors, the APIs of policies/, and real packages where `SLUICEGATE_CONNECTORS` names a folder
//! of them. `tests/run` installs both tools; packages.py says how far paconn goes without its service.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod callers;
mod command;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use sluicegate::config::diagnostic::Severity;
use sluicegate::config::source::Sources;
use sluicegate::config::{Diagnostics, render};
use sluicegate::connector::connection::Given;
use sluicegate::connector::export::{Address, Exported, export};
use sluicegate::connector::folder::Folder;
use sluicegate::connector::lint::lint;
use sluicegate::connector::package::{self, DEFINITION_FILE, PROPERTIES_FILE};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Real packages, where they are at hand.
fn corpus() -> Option<PathBuf> {
    let named = std::env::var_os("SLUICEGATE_CONNECTORS").map(PathBuf::from);
    named.or_else(|| Some(Path::new(ROOT).join("../shared/corpus/connectors")).filter(|path| path.is_dir()))
}

fn import(paths: &[PathBuf]) -> (TempDir, Vec<String>) {
    let out = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(out.path()).unwrap();
    let places = paths.iter().flat_map(|path| package::find(path).unwrap());
    let names = places.map(|place| folder.import(&place, &Given::default()).unwrap().report.api).collect();
    folder.finish().unwrap();
    (out, names)
}

/// What is exported: a folder, and the names of its APIs.
fn sources() -> Vec<(TempDir, PathBuf, Vec<String>)> {
    let mut paths = vec![Path::new(ROOT).join("tests/connectors")];
    paths.extend(corpus());
    let (out, names) = import(&paths);
    assert!(names.len() >= 4, "{names:?}");
    let folder = out.path().to_owned();
    let policies = Path::new(ROOT).join("policies");
    let own = std::fs::read_dir(&policies).unwrap().filter_map(|entry| api_name(&entry.unwrap().path())).collect();
    vec![(out, folder, names), (tempfile::tempdir().unwrap(), policies, own)]
}

fn api_name(path: &Path) -> Option<String> {
    let text = path.extension().filter(|ending| *ending == "toml").map(|_| std::fs::read_to_string(path).unwrap())?;
    let table: toml::Table = text.parse().unwrap();
    table.get("api")?.get("name")?.as_str().map(str::to_owned)
}

fn gateway() -> Address {
    Address::parse("gateway.contoso.com").unwrap()
}

/// Exports everything into folders of its own.
fn packages() -> (TempDir, Vec<(PathBuf, Exported)>) {
    let out = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (number, (_keep, folder, names)) in sources().iter().enumerate() {
        for name in names {
            let exported = export(folder, name, &gateway()).unwrap_or_else(|why| panic!("{name}: {why}"));
            let place = out.path().join(format!("{number}-{name}"));
            std::fs::create_dir(&place).unwrap();
            for (file, value) in [(DEFINITION_FILE, &exported.definition), (PROPERTIES_FILE, &exported.properties)] {
                std::fs::write(place.join(file), format!("{value:#}\n")).unwrap();
            }
            all.push((place, exported));
        }
    }
    (out, all)
}

/// Runs a tool with lines for its standard input, and returns those of its standard output.
fn ask(command: &mut Command, lines: &[String]) -> Vec<String> {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a tool that `tests/run` installs");
    let mut input = child.stdin.take().unwrap();
    let text = lines.join("\n") + "\n";
    let writer = std::thread::spawn(move || drop(input.write_all(text.as_bytes())));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

fn swagger_parser(definitions: &[String]) -> Vec<String> {
    let folder = Path::new(ROOT).join("tests/export");
    assert!(
        folder.join("node_modules/@apidevtools/swagger-parser").is_dir(),
        "swagger-parser is not installed: `tests/run` does it, or `npm ci --prefix tests/export`"
    );
    ask(Command::new("node").arg(folder.join("definitions.mjs")), definitions)
}

fn paconn(folders: &[String]) -> Vec<Value> {
    let python = Path::new(ROOT).join("target/tools/paconn/bin/python");
    assert!(python.is_file(), "paconn is not installed: `tests/run` does it");
    let lines = ask(Command::new(python).arg(Path::new(ROOT).join("tests/export/packages.py")), folders);
    lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

#[test]
fn definitions_are_valid_for_swagger_parser() {
    let (_out, packages) = packages();
    let paths: Vec<String> = packages.iter().map(|(place, _)| text(&place.join(DEFINITION_FILE))).collect();
    let said = swagger_parser(&paths);
    assert_eq!(said.len(), paths.len());
    let wrong: Vec<&String> = said.iter().filter(|line| !line.starts_with("ok ")).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// That the judge refuses what is wrong.
#[test]
fn swagger_parser_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.json");
    std::fs::write(&path, r#"{"swagger":"2.0","info":{"title":"t"},"paths":{}}"#).unwrap();
    let said = swagger_parser(&[text(&path)]);
    assert!(said[0].starts_with("wrong ") && said[0].contains("version"), "{said:?}");
    let said = paconn(&[text(folder.path())]);
    assert!(said[0]["error"].is_string(), "{said:?}");
}

/// What we refuse makers for, we do not make ourselves. What stays is no error of the export's: an API that is nothing but wildcards
/// has no operation that a connector could call, which is told.
#[test]
fn our_own_lint_finds_no_error() {
    let (_out, packages) = packages();
    let mut looked_at = 0;
    for (folder, exported) in &packages {
        let is_empty = exported.definition["paths"].as_object().unwrap().is_empty();
        let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
        for place in package::find(folder).unwrap() {
            lint(&place, &mut sources, &mut diagnostics);
            looked_at += 1;
        }
        diagnostics.0.retain(|one| one.severity == Severity::Error && !(is_empty && one.code == "no-operations"));
        assert!(diagnostics.0.is_empty(), "{}: {}", folder.display(), render::text(&diagnostics, &sources));
        let told =
            exported.notes.iter().any(|note| note.starts_with("there is no operation that a connector can call"));
        assert_eq!(told, is_empty, "{}: {:?}", folder.display(), exported.notes);
    }
    assert_eq!(looked_at, packages.len());
}

#[test]
fn paconn_reads_packages_and_would_send_what_is_meant() {
    let (_out, packages) = packages();
    let folders: Vec<String> = packages.iter().map(|(place, _)| text(place)).collect();
    let said = paconn(&folders);
    assert_eq!(said.len(), folders.len());
    for ((place, exported), sent) in packages.iter().zip(&said) {
        let at = place.display();
        assert!(sent["error"].is_null(), "{at}: {}", sent["error"]);
        assert_eq!(sent["openApiDefinition"], exported.definition, "{at}");
        let url = format!("https://gateway.contoso.com{}", exported.definition["basePath"].as_str().unwrap());
        assert_eq!(sent["backendService"]["serviceUrl"], url, "{at}");
        let title = sent["displayName"].as_str().unwrap();
        assert!((1..=30).contains(&title.chars().count()), "{at}: {title}");
        for key in ["connectionParameters", "iconBrandColor", "capabilities"] {
            assert_eq!(sent[key], properties_without_secret(&exported.properties)[key], "{at}: {key}");
        }
    }
}

/// paconn puts the secret of the app registration into the settings of OAuth.
fn properties_without_secret(properties: &Value) -> Value {
    let mut properties = properties["properties"].clone();
    if let Some(settings) = properties.pointer_mut("/connectionParameters/token/oAuthSettings") {
        settings["clientSecret"] = "secret".into();
    }
    properties
}

#[test]
fn each_operation_tells_of_limits_and_of_errors() {
    let (_out, packages) = packages();
    let mut count = 0;
    for (place, exported) in &packages {
        for (path, item) in exported.definition["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap().iter().filter(|(name, _)| !name.starts_with("x-")) {
                let at = format!("{}: {method} {path}", place.display());
                let responses = &operation["responses"];
                let limited = &responses["429"];
                assert_eq!(limited["headers"]["Retry-After"]["type"], "integer", "{at}");
                let reference = limited["schema"]["$ref"].as_str().unwrap();
                let schema = exported.definition.pointer(reference.strip_prefix('#').unwrap()).unwrap();
                assert!(
                    schema["properties"]["statusCode"].is_object() || schema["properties"]["error"].is_object(),
                    "{at}: {schema}"
                );
                assert!(responses["default"].is_object(), "{at}");
                count += 1;
            }
        }
    }
    assert!(count > 20, "{count}");
}

/// Name, method and template of each operation, without what 2.0 has no words for.
fn operations(folder: &Path, name: &str) -> Vec<(String, String)> {
    let file = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let file = file.into_iter().find(|path| api_name(path).as_deref() == Some(name)).unwrap();
    let table: toml::Table = std::fs::read_to_string(file).unwrap().parse().unwrap();
    let list = table.get("operation").and_then(|list| list.as_array()).cloned().unwrap_or_default();
    let text = |one: &toml::Value, key: &str| one[key].as_str().unwrap().to_owned();
    let plain = |name: String| name.replace(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c), "_");
    let mut found: Vec<_> = list.iter().map(|one| (plain(text(one, "name")), text(one, "match"))).collect();
    found.retain(|(_, template)| !template.contains('*') && !template.contains('?'));
    found.sort();
    found
}

#[test]
fn what_is_exported_and_imported_again_has_the_same_operations() {
    for (_keep, folder, names) in &sources() {
        for name in names {
            let exported = export(folder, name, &gateway()).unwrap();
            let before = operations(folder, name);
            if before.is_empty() {
                continue;
            }
            let package = tempfile::tempdir().unwrap();
            let place = package.path().join(name);
            std::fs::create_dir(&place).unwrap();
            std::fs::write(place.join(DEFINITION_FILE), exported.definition.to_string()).unwrap();
            std::fs::write(place.join(PROPERTIES_FILE), exported.properties.to_string()).unwrap();
            let (again, names) = import(&[place]);
            let mut after = operations(again.path(), &names[0]);
            after.retain(|one| before.contains(one));
            assert_eq!(after, before, "{name}: {:?}", exported.notes);
        }
    }
}
