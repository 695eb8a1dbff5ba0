//! Many connector packages in one folder: copies of those at hand, each with a connection, and requests to all of their operations.

#[path = "packages/answers.rs"]
mod answers;
#[path = "packages/calls.rs"]
mod calls;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value as Json};
use sluicegate::connector::package::{self, Place};
use sluicegate::openapi::Contract;
use tempfile::TempDir;

use super::hosts;

pub(crate) use answers::{Answers, Caller, recording};

/// The packages of the project's own tests, and the folder of real ones that `SLUICEGATE_CONNECTORS` names in their place.
#[allow(clippy::disallowed_methods, reason = "a test has no configuration")]
pub(crate) fn sources() -> Vec<PathBuf> {
    match std::env::var_os("SLUICEGATE_CONNECTORS") {
        Some(folder) => vec![folder.into()],
        None => ["tests/connectors", "tests/fixtures/connectors"].map(PathBuf::from).into(),
    }
}

/// Packages, and the folder that they are imported into.
pub(crate) struct Packages {
    folder: TempDir,
}

impl Packages {
    /// So many copies. No two definitions are the same file: the gateway would read it once and share what it made of it.
    #[track_caller]
    pub(crate) fn repeat(sources: &[PathBuf], count: usize) -> Self {
        let folder = TempDir::new_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
        let places: Vec<Place> = sources.iter().flat_map(|path| package::find(path).unwrap()).collect();
        for (number, place) in places.iter().cycle().take(count).enumerate() {
            let round = number / places.len() + 1;
            let to = folder.path().join(format!("packages/{}-{round}", place.name));
            fs::create_dir_all(&to).unwrap();
            let mut definition = fs::read(&place.definition).unwrap();
            definition.extend(std::iter::repeat_n(b'\n', round));
            // A file by itself gives its name to the API.
            let name = place.definition.file_name().unwrap().to_str().unwrap();
            let end = name.rsplit_once('.').map_or("json", |(_, end)| end);
            let bare = format!("{}-{round}.{end}", place.name);
            let name = if name == package::DEFINITION_FILE { name } else { &bare };
            fs::write(to.join(name), definition).unwrap();
            for beside in [&place.properties, &place.script].into_iter().flatten() {
                fs::copy(beside, to.join(beside.file_name().unwrap())).unwrap();
            }
        }
        Self { folder }
    }

    /// Where the copies are.
    pub(crate) fn packages(&self) -> PathBuf {
        self.folder.path().join("packages")
    }

    /// Where they are imported to.
    pub(crate) fn out(&self) -> PathBuf {
        self.folder.path().join("all")
    }

    /// The imported APIs.
    #[track_caller]
    pub(crate) fn apis(&self) -> Vec<Api> {
        let mut files: Vec<PathBuf> = fs::read_dir(self.out()).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.retain(|path| path.extension().is_some_and(|end| end == "toml") && !path.ends_with("gateway.toml"));
        files.sort();
        files.iter().map(|path| Api::read(path)).collect()
    }

    /// Gives every API that asks for one a connection that has everything.
    #[track_caller]
    pub(crate) fn connect(&self, apis: &[Api]) {
        fs::write(self.out().join("secret"), "hush\n").unwrap();
        let path = self.out().join("gateway.toml");
        let mut text = fs::read_to_string(&path).unwrap();
        text.push_str("\n[named-values.everywhere]\nfile = \"secret\"\n");
        apis.iter().for_each(|api| api.connection(&mut text));
        fs::write(path, text).unwrap();
    }
}

/// An imported API.
pub(crate) struct Api {
    pub(crate) name: String,
    table: toml::Table,
    contract: Contract,
}

impl Api {
    #[track_caller]
    fn read(path: &Path) -> Self {
        let table: toml::Table = fs::read_to_string(path).unwrap().parse().unwrap();
        let api = &table["api"];
        let definition = path.with_file_name(api["definition"].as_str().unwrap());
        let (_, parsed) = package::decode(&definition, &fs::read(&definition).unwrap());
        let (root, _) = parsed.unwrap_or_else(|fault| panic!("{}: {}", definition.display(), fault.message));
        let contract = Contract::read(&root).unwrap_or_else(|fault| panic!("{}", fault.message));
        Self { name: api["name"].as_str().unwrap().to_owned(), table, contract }
    }

    fn connection(&self, out: &mut String) {
        let Some(asked) = self.table["api"].get("connection").and_then(toml::Value::as_table) else { return };
        // An import gives those one that ask for nothing.
        if out.contains(&format!("\n[connections.{}]\n", self.name)) {
            return;
        }
        let of = |table: &toml::Value| table.get("parameters").and_then(toml::Value::as_table).cloned();
        let mut parameters = asked.get("parameters").and_then(toml::Value::as_table).cloned().unwrap_or_default();
        let _ = write!(out, "\n[connections.{0}]\napi = {0:?}\n", self.name);
        if let Some((set, table)) = asked.get("sets").and_then(|sets| sets.as_table()?.iter().next()) {
            let _ = writeln!(out, "set = {set:?}");
            for (name, one) in of(table).unwrap_or_default() {
                parameters.retain(|known, _| !known.eq_ignore_ascii_case(&name));
                parameters.insert(name, one);
            }
        }
        let _ = writeln!(out, "[connections.{}.parameters]", self.name);
        for (name, parameter) in &parameters {
            let first = parameter.get("allowed").and_then(|list| list.as_array()?.first()?.as_str());
            let value = match (parameter.get("type").and_then(toml::Value::as_str), first) {
                (Some("gateway-setting"), _) => continue,
                (Some("securestring" | "oauth-setting"), _) => "{{everywhere}}",
                (_, Some(first)) => first,
                (Some("int"), _) => "7",
                (Some("bool"), _) => "true",
                _ => &self.in_host("connectionparameters", name).unwrap_or_else(|| "contoso".to_owned()),
            };
            let _ = writeln!(out, "{name:?} = {value:?}");
        }
    }

    /// What a call has to say for the URL of a host template that it is in to be one that is let through.
    fn in_host(&self, function: &str, name: &str) -> Option<String> {
        ["dynamic-host-url", "dynamic-subdomain"].into_iter().flat_map(|policy| self.policies(policy)).find_map(
            |policy| {
                let host = policy.get("allowed-hosts").and_then(|hosts| hosts.as_array()?.first()?.as_str());
                hosts::part(policy["url"].as_str()?, function, name, host)
            },
        )
    }

    /// The policies of this name, wherever they stand.
    fn policies<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a toml::Table> {
        let scopes = std::iter::once(&self.table).chain(self.written());
        scopes.flat_map(move |scope| policies_of(scope, name))
    }

    /// The operations as they are written.
    fn written(&self) -> impl Iterator<Item = &toml::Table> {
        let operations = self.table.get("operation").and_then(toml::Value::as_array);
        operations.into_iter().flatten().filter_map(toml::Value::as_table)
    }

    /// How many operations can be called.
    pub(crate) fn operations(&self) -> usize {
        self.written().count()
    }

    /// Adds to an answer what `set-value-from-url` takes from it.
    pub(crate) fn looks_for(&self, answer: &mut Map<String, Json>) {
        for policy in self.policies("set-value-from-url") {
            let path = policy["value"].as_str().unwrap().trim_start_matches("@body()");
            // `.a.b`, or `['a']`, in which dots are no ends.
            let between: &[char] = if path.starts_with('[') { &['[', ']', '\''] } else { &['.'] };
            let names: Vec<&str> = path.split(between).filter(|name| !name.is_empty()).collect();
            let mut value = Json::from("looked-for");
            for name in names.iter().skip(1).rev() {
                value = Json::Object(Map::from_iter([((*name).to_owned(), value)]));
            }
            answer.insert(names[0].to_owned(), value);
        }
    }
}

/// The policies of this name in the sections of a scope.
fn policies_of<'a>(scope: &'a toml::Table, name: &'a str) -> impl Iterator<Item = &'a toml::Table> {
    let sections = ["inbound", "backend", "outbound"].into_iter().filter_map(|section| scope.get(section)?.as_array());
    let policies = sections.flatten().filter_map(toml::Value::as_table);
    policies.filter(move |policy| policy.get("policy").and_then(toml::Value::as_str) == Some(name))
}

/// Kilobytes of memory that a process holds, and the most that it has held (proc(5), `status`).
pub(crate) fn memory(process: u32) -> (u64, u64) {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or_default()
    };
    (of("VmRSS:"), of("VmHWM:"))
}
