//! What a maker's package says, imported and exported again: everything that flows know it by is still there.

use std::path::Path;

use serde_json::{Map, Value, json};
use sluicegate::config::Diagnostics;
use sluicegate::config::source::Sources;
use sluicegate::connector::definition::{Definition, Generation, Operation};
use sluicegate::connector::export::export;
use sluicegate::connector::package;

use super::{gateway, sources};

/// The operations of an exported definition by their names, with what stands beside them.
fn operations(definition: &Value) -> Map<String, Value> {
    let paths = definition["paths"].as_object().unwrap();
    let items =
        paths.values().flat_map(|item| item.as_object().unwrap().iter().map(move |(name, one)| (item, name, one)));
    items
        .filter(|(_, name, _)| !name.starts_with("x-"))
        .map(|(item, _, one)| (one["operationId"].as_str().unwrap().to_owned(), json!({ "own": one, "beside": item })))
        .collect()
}

fn without(value: &Value, names: &[&str]) -> Value {
    let table = value.as_object().unwrap().iter().filter(|(name, _)| !names.contains(&name.as_str()));
    table.map(|(name, value)| (name.clone(), value.clone())).collect::<Map<_, _>>().into()
}

/// Compares one operation, and returns what differs.
fn differences(old: &Operation<'_>, beside: Option<&Value>, new: &Value) -> Vec<String> {
    let mut out = Vec::new();
    let mut same = |what: &str, old: &Value, new: &Value| {
        if old != new {
            out.push(format!("{what}: {old} became {new}"));
        }
    };
    let (json, own) = (old.node.to_json(), &new["own"]);
    for (name, value) in json.as_object().unwrap() {
        match name.as_str() {
            name if name.starts_with("x-") || matches!(name, "tags" | "deprecated" | "produces") => {
                same(name, value, &own[name]);
            }
            "description" if value.as_str().is_some_and(|text| !text.trim().is_empty()) => {
                same("description", value, &own["description"]);
            }
            _ => {}
        }
    }
    for (name, value) in beside.and_then(Value::as_object).into_iter().flatten() {
        // References to parameters are written out.
        if name.starts_with("x-") && !value.to_string().contains("#/parameters/") {
            same(name, value, &new["beside"][name.as_str()]);
        }
    }
    let added = ["x-ms-summary", "x-ms-url-encoding", "required", "x-ms-visibility"];
    for parameter in &old.parameters {
        let list = own["parameters"].as_array().unwrap().iter();
        let mut list = list.filter(|one| one["name"] == *parameter.name && one["in"] == *parameter.place);
        let found = list.next().cloned().unwrap_or_else(|| json!({}));
        let value = parameter.node.to_json();
        same(&format!("parameter {}", parameter.name), &without(&value, &added), &without(&found, &added));
        for name in ["x-ms-summary", "x-ms-url-encoding", "x-ms-visibility"] {
            if value[name].as_str().is_some_and(|text| !text.is_empty()) {
                same(&format!("{name} of {}", parameter.name), &value[name], &found[name]);
            }
        }
    }
    for (status, value) in json["responses"].as_object().into_iter().flatten() {
        let is_own = status == "429" || status == "default" && value.get("schema").is_none();
        if !is_own && !status.starts_with("x-") {
            same(&format!("response {status}"), value, &own["responses"][status.as_str()]);
        }
    }
    out
}

#[test]
fn what_flows_know_a_connector_by_is_kept() {
    let all = sources();
    let mut compared = 0;
    // The shipped configuration has no definitions.
    let (_, imported) = all.split_last().unwrap();
    for (_keep, folder, names) in imported {
        let [name] = &names[..] else { panic!("{names:?}") };
        let made = export(folder, name, &gateway()).unwrap();
        let text = std::fs::read_to_string(folder.join(format!("{name}.toml"))).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let Some(path) = table["api"].get("definition").and_then(|path| path.as_str()) else { continue };
        let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
        let file = package::read_file(&folder.join(Path::new(path)), &mut sources, &mut diagnostics).unwrap();
        let definition = Definition::read(&file.root).unwrap();
        if definition.generation != Generation::Two {
            continue;
        }
        let root = file.root.to_json();
        let new = operations(&made.definition);
        let written: Vec<&str> =
            table["operation"].as_array().unwrap().iter().map(|one| one["name"].as_str().unwrap()).collect();
        for operation in definition.operations.iter().filter(|one| one.has_id && written.contains(&one.id.as_str())) {
            // What is left out is told.
            let Some(found) = new.get(&operation.id) else {
                assert!(made.notes.iter().any(|note| note.contains(&operation.id)), "{name}: {}", operation.id);
                continue;
            };
            let found = differences(operation, root["paths"].get(operation.path), found);
            assert!(found.is_empty(), "{name}: {}: {found:#?}", operation.id);
            compared += 1;
        }
        for (schema, value) in root["definitions"].as_object().into_iter().flatten() {
            assert_eq!(made.definition["definitions"][schema], *value, "{name}: {schema}");
        }
    }
    assert!(compared > 5, "{compared}");
}
