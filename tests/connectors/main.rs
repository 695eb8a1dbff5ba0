//! Connector packages: what is written for them, that the gateway takes it, and that requests go where the package says.
//!
//! Each folder beside this file holds a package and what is to come of it: `want.toml`, the API, and `want.md`, the report.
//! `UPDATE_GOLDEN=1 cargo test --test connectors` rewrites them. Real packages are tested where `SLUICEGATE_CONNECTORS` names a folder of them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

mod applied;
mod bodies;
mod broken;
mod chains;
mod model;
mod mutated;
mod reading;
mod sample;
#[path = "../support/mod.rs"]
mod support;
mod vectors;

use std::path::{Path, PathBuf};

use sluicegate::config::folder::read_folder;
use sluicegate::config::source::Sources;
use sluicegate::config::{Diagnostics, render};
use sluicegate::connector::connection::{Given, GivenValue};
use sluicegate::connector::export::{Address, export};
use sluicegate::connector::folder::{Folder, Outcome};
use sluicegate::connector::lint::lint;
use sluicegate::connector::package;
use sluicegate::connector::service::Validation;
use support::backend::Backend;
use support::gateway::Gateway;
use support::wire::Message;

fn fixtures() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("tests/connectors").unwrap().map(|entry| entry.unwrap().path());
    let mut folders: Vec<PathBuf> = entries.filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn import(paths: &[PathBuf], out: &Path) -> Vec<Outcome> {
    let mut folder = Folder::open(out).unwrap();
    let places = paths.iter().flat_map(|path| package::find(path).unwrap());
    let outcomes = places.map(|place| folder.import(&place, &Given::default()).unwrap()).collect();
    folder.finish().unwrap();
    outcomes
}

/// Serves a folder whose backends are all the recording one.
#[track_caller]
fn serve(out: &Path, backend: &Backend) -> Gateway {
    let mut files = read_folder(out).unwrap();
    let gateway = &mut files.iter_mut().find(|(name, _)| name == "gateway.toml").unwrap().1;
    let mut table: toml::Table = gateway.parse().unwrap();
    for (_, target) in table["backends"].as_table_mut().unwrap() {
        let url = target["url"].as_str().unwrap();
        let path = url.splitn(4, '/').nth(3).map(|path| format!("/{path}")).unwrap_or_default();
        target["url"] = format!("http://{}{path}", backend.address).into();
    }
    *gateway = table.to_string();
    let started = Gateway::start(files, Some(out));
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

#[test]
fn packages_become_what_is_expected() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    for fixture in fixtures() {
        let out = tempfile::tempdir().unwrap();
        let outcomes = import(std::slice::from_ref(&fixture), out.path());
        let [outcome] = &outcomes[..] else { panic!("{}: one package", fixture.display()) };
        let api = std::fs::read_to_string(out.path().join(format!("{}.toml", outcome.report.api))).unwrap();
        for (name, found) in [("want.toml", api), ("want.md", outcome.report.text())] {
            let path = fixture.join(name);
            if update {
                std::fs::write(&path, &found).unwrap();
            }
            let want = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(found == want, "{}: UPDATE_GOLDEN=1 rewrites it\n{found}", path.display());
        }
        serve(out.path(), &Backend::start());
    }
}

/// Copies a package, so that its maker can change it.
fn copy(fixture: &str, to: &Path) -> PathBuf {
    let folder = to.join(fixture);
    std::fs::create_dir_all(&folder).unwrap();
    for entry in std::fs::read_dir(format!("tests/connectors/{fixture}")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
    }
    folder
}

fn edit(path: &Path, edits: &[(&str, &str)]) {
    let mut text = std::fs::read_to_string(path).unwrap();
    for (from, to) in edits {
        assert!(text.contains(from), "`{from}` is not in {}", path.display());
        text = text.replace(from, to);
    }
    std::fs::write(path, text).unwrap();
}

#[test]
fn importing_again_keeps_what_was_changed_by_hand() {
    let (out, maker) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let package = copy("tasks", maker.path());
    import(std::slice::from_ref(&package), out.path());
    let (api, gateway) = (out.path().join("tasks.toml"), out.path().join("gateway.toml"));
    edit(&api, &[("path        = \"/tasks\"", "path        = \"/work\""), ("\"Get a task\"", "\"Read a task\"")]);
    edit(
        &api,
        &[("# Few at once\n", "[[operation.inbound]]\npolicy = \"timeout\"\nduration = \"5s\"\n\n# Few at once\n")],
    );
    let definition = package.join("apiDefinition.swagger.json");
    edit(&definition, &[("\"Create a task\"", "\"Make a task\""), ("api.contoso.com", "api2.contoso.com")]);
    let outcomes = import(std::slice::from_ref(&package), out.path());
    assert_eq!(outcomes[0].report.conflicts, [""; 0]);
    let text = std::fs::read_to_string(&api).unwrap();
    for (name, part) in [
        ("the person's path", "\"/work\""),
        ("the person's summary", "\"Read a task\""),
        ("the person's policy", "policy = \"timeout\""),
        ("the maker's summary", "\"Make a task\""),
    ] {
        assert!(text.contains(part), "{name}: {text}");
    }
    assert!(std::fs::read_to_string(&gateway).unwrap().contains("https://api2.contoso.com/tasks"));
    edit(&definition, &[("\"Get a task\"", "\"Fetch a task\""), ("api2.contoso.com", "api3.contoso.com")]);
    edit(&gateway, &[("api2.contoso.com", "localhost")]);
    let outcomes = import(std::slice::from_ref(&package), out.path());
    let [summary, url] = &outcomes[0].report.conflicts[..] else { panic!("{:?}", outcomes[0].report.conflicts) };
    assert!(
        summary.starts_with("tasks.toml:") && summary.contains("Read a task") && summary.contains("Fetch a task"),
        "{summary}"
    );
    assert!(url.contains("https://localhost/tasks") && url.contains("https://api3.contoso.com/tasks"), "{url}");
    assert!(std::fs::read_to_string(&api).unwrap().contains("\"Read a task\""));
    serve(out.path(), &Backend::start());
    let outcomes = import(&[package], out.path());
    assert_eq!(outcomes[0].report.conflicts, [""; 0], "told once");
}

#[test]
fn what_an_import_did_not_write_is_left_alone() {
    let out = tempfile::tempdir().unwrap();
    let own = "[api]\nname = \"tasks\"\npath = \"/own\"\n";
    std::fs::write(out.path().join("tasks.toml"), own).unwrap();
    let outcomes = import(&[PathBuf::from("tests/connectors/tasks")], out.path());
    assert_eq!(outcomes[0].report.conflicts.len(), 1);
    assert_eq!(std::fs::read_to_string(out.path().join("tasks.toml")).unwrap(), own);
}

#[test]
fn an_exported_api_is_a_package_without_mistakes() {
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let out = tempfile::tempdir().unwrap();
    import(&fixtures(), out.path());
    edit(&out.path().join("orders.toml"), &[("[api]", "[[inbound]]\npolicy = \"api-key\"\n\n[api]")]);
    let address = Address::parse("gateway.contoso.com").unwrap();
    for fixture in fixtures() {
        let name = fixture.file_name().unwrap().to_str().unwrap();
        let exported = export(out.path(), name, &address).unwrap();
        let folder = tempfile::tempdir().unwrap();
        for (file, golden, value) in [
            (package::DEFINITION_FILE, "want.definition.txt", &exported.definition),
            (package::PROPERTIES_FILE, "want.properties.txt", &exported.properties),
        ] {
            let text = format!("{value:#}\n");
            std::fs::write(folder.path().join(file), &text).unwrap();
            if update {
                std::fs::write(fixture.join(golden), &text).unwrap();
            }
            let want = std::fs::read_to_string(fixture.join(golden)).unwrap_or_default();
            assert!(text == want, "{name}/{golden}: UPDATE_GOLDEN=1 rewrites it\n{text}");
        }
        let (mut sources, mut diagnostics) = (Sources::default(), Diagnostics::default());
        package::find(folder.path()).unwrap().iter().for_each(|place| lint(place, &mut sources, &mut diagnostics));
        assert_eq!(diagnostics.errors(), 0, "{name}\n{}", render::text(&diagnostics, &sources));
    }
}

fn get(path: &str) -> Message {
    Message { first_line: format!("GET {path}"), fields: Vec::new(), body: Vec::new() }
}

#[test]
fn a_request_reaches_the_backend_as_the_package_says() {
    let out = tempfile::tempdir().unwrap();
    std::fs::write(out.path().join("key"), "hush\n").unwrap();
    let mut folder = Folder::open(out.path()).unwrap();
    for (fixture, name, value) in
        [("tasks", "api_key", GivenValue::File("key".into())), ("orders", "token", GivenValue::PassThrough)]
    {
        let [place] = &package::find(Path::new("tests/connectors").join(fixture).as_path()).unwrap()[..] else {
            panic!("one package")
        };
        folder.import(place, &Given { set: None, values: vec![(name.into(), value)] }).unwrap();
    }
    folder.finish().unwrap();
    let backend = Backend::start();
    let gateway = serve(out.path(), &backend);
    gateway.send(&get("/tasks/v2/lists/7/tasks?state=done")).expect("an answer");
    let [request] = &backend.take()[..] else { panic!("one request") };
    assert_eq!(
        request.first_line,
        "GET /tasks/v2/lists/7/tasks?state=done&top=50&$top=@queryParamters('top') HTTP/1.1"
    );
    assert_eq!(request.field("x-api-key"), Some("hush"), "what the connection holds, once");
    assert_eq!(request.fields_of("x-api-key").count(), 1);
    assert_eq!(request.field("x-region"), Some("eu/mail@contoso.com"));
    assert_eq!(request.field("x-last"), Some("{{last}}"));
    let own = Message { fields: vec![("authorization".into(), "Bearer mine".into())], ..get("/orders/orders?page=2") };
    gateway.send(&own).expect("an answer");
    let [request] = &backend.take()[..] else { panic!("one request") };
    assert_eq!(request.first_line, "GET /v1/orders?page=2 HTTP/1.1");
    assert_eq!(request.field("authorization"), Some("Bearer mine"));
}

#[test]
fn a_call_without_a_connection_is_refused_and_check_says_why() {
    let out = tempfile::tempdir().unwrap();
    import(&[PathBuf::from("tests/connectors/tasks")], out.path());
    let backend = Backend::start();
    let started = Gateway::start(read_folder(out.path()).unwrap(), Some(out.path()));
    assert!(
        started.diagnostics.contains(
            "warning[no-connection]: API `tasks` asks its connections for the parameters `api_key`, and has none"
        ),
        "{}",
        started.diagnostics
    );
    let response = started.gateway.unwrap().send(&get("/tasks/tasks/7")).expect("an answer");
    assert!(response.first_line.contains(" 403 "), "{}", response.first_line);
    assert_eq!(backend.take().len(), 0);
}

/// A definition of the real world has faults: they are told, and what is around them is checked.
#[test]
fn every_definition_is_served_with_validation() {
    let mut paths = fixtures();
    paths.extend(std::env::var_os("SLUICEGATE_CONNECTORS").map(PathBuf::from));
    let out = tempfile::tempdir().unwrap();
    let mut folder = Folder::open(out.path()).unwrap();
    folder.validation = Validation::Refuse;
    std::fs::write(out.path().join("key"), "hush\n").unwrap();
    for place in paths.iter().flat_map(|path| package::find(path).unwrap()) {
        let mut given = Given::default();
        if place.name == "tasks" {
            given.values.push(("api_key".into(), GivenValue::File("key".into())));
        }
        assert!(folder.import(&place, &given).unwrap().written, "{}", place.name);
    }
    folder.finish().unwrap();
    let backend = Backend::start();
    let gateway = serve(out.path(), &backend);
    let refused = gateway.send(&get("/tasks/v2/lists/7/tasks?top=many")).expect("an answer");
    assert_eq!(refused.first_line, "HTTP/1.1 400 Bad Request");
    assert_eq!(backend.take().len(), 0);
    gateway.send(&get("/tasks/v2/lists/7/tasks?top=7")).expect("an answer");
    assert!(backend.take()[0].first_line.starts_with("GET /tasks/v2/lists/7/tasks?top=7"));
}

/// Real packages, where they are at hand.
#[test]
fn every_real_package_is_imported_and_served() {
    let named = std::env::var_os("SLUICEGATE_CONNECTORS").map(PathBuf::from);
    let Some(corpus) =
        named.or_else(|| Some(PathBuf::from("../shared/corpus/connectors")).filter(|path| path.is_dir()))
    else {
        return;
    };
    let out = tempfile::tempdir().unwrap();
    let outcomes = import(&[corpus], out.path());
    for outcome in &outcomes {
        assert!(outcome.written, "{}", outcome.report.api);
    }
    let backend = Backend::start();
    let gateway = serve(out.path(), &backend);
    let settings: toml::Table = std::fs::read_to_string(out.path().join("gateway.toml")).unwrap().parse().unwrap();
    let connected = settings.get("connections").and_then(|list| list.as_table()).cloned().unwrap_or_default();
    for outcome in &outcomes {
        let api = std::fs::read_to_string(out.path().join(format!("{}.toml", outcome.report.api))).unwrap();
        let table: toml::Table = api.parse().unwrap();
        let operations = table["operation"].as_array().unwrap();
        let name = &outcome.report.api;
        let Some(path) = operations.iter().find_map(|one| one["match"].as_str()?.strip_prefix("GET ")) else {
            continue;
        };
        let response = gateway.send(&get(&format!("/{name}{}", filled(path)))).expect("an answer");
        // Whatever comes from a connection leads nowhere without one.
        if api.contains("\"authentication-connection\"") && !connected.contains_key(name) {
            let status = response.first_line.split(' ').nth(1).unwrap();
            assert_eq!((status, backend.take().len()), ("403", 0), "{name}: no connection, no call: {response:?}");
            continue;
        }
        if api.contains("\"dynamic-host-url\"") || api.contains("\"route-request\"") {
            backend.take();
            continue;
        }
        let status = response.first_line.split(' ').nth(1).unwrap();
        assert_eq!((status, backend.take().len()), ("200", 1), "{name}: {path}: {}", response.first_line);
    }
}

/// A path with a text in place of each variable.
fn filled(template: &str) -> String {
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        out.push_str(before);
        out.push('7');
        rest = tail.split_once('}').unwrap().1;
    }
    out + rest
}
