//! Connector packages: what is written for them, that the gateway takes it, and that requests go where the package says.
//!
//! Each folder beside this file holds a package and what is to come of it: `want.toml`, the API, and `want.md`, the report.
//! `UPDATE_GOLDEN=1 cargo test --test connectors` rewrites them. Real packages are tested where `SLUICEGATE_CONNECTORS` names a folder of them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that cannot go on fails")]

#[path = "../support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};

use sluicegate::config::folder::read_folder;
use sluicegate::connector::folder::{Folder, Outcome};
use sluicegate::connector::package;
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
    let outcomes = places.map(|place| folder.import(&place).unwrap()).collect();
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

fn get(path: &str) -> Message {
    Message { first_line: format!("GET {path}"), fields: Vec::new(), body: Vec::new() }
}

#[test]
fn a_request_reaches_the_backend_as_the_package_says() {
    let out = tempfile::tempdir().unwrap();
    import(&fixtures(), out.path());
    let backend = Backend::start();
    let gateway = serve(out.path(), &backend);
    gateway.send(&get("/tasks/v2/lists/7/tasks?state=done")).expect("an answer");
    let [request] = &backend.take()[..] else { panic!("one request") };
    assert_eq!(request.first_line, "GET /tasks/v2/lists/7/tasks?state=done&$top=@queryParamters('top') HTTP/1.1");
    assert_eq!(request.field("x-region"), Some("eu/mail@contoso.com"));
    assert_eq!(request.field("x-last"), Some("{{last}}"));
    gateway.send(&get("/orders/orders?page=2")).expect("an answer");
    assert_eq!(backend.take()[0].first_line, "GET /v1/orders?page=2 HTTP/1.1");
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
    for outcome in &outcomes {
        let api = std::fs::read_to_string(out.path().join(format!("{}.toml", outcome.report.api))).unwrap();
        let table: toml::Table = api.parse().unwrap();
        let operations = table["operation"].as_array().unwrap();
        let name = &outcome.report.api;
        let Some(path) = operations.iter().find_map(|one| one["match"].as_str()?.strip_prefix("GET ")) else {
            continue;
        };
        let response = gateway.send(&get(&format!("/{name}{}", filled(path)))).expect("an answer");
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
