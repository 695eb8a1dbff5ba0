//! Many connector packages in one folder: copies of those at hand, each with a connection, and requests to all of their operations.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value as Json;
use sluicegate::connector::package::{self, Place};
use sluicegate::openapi::sample::sample;
use sluicegate::openapi::{Contract, Operation, Parameter, Place as At, SchemaId};
use tempfile::TempDir;

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

/// A request, and whether its API's definition takes it.
pub(crate) struct Call {
    pub(crate) text: String,
    pub(crate) is_right: bool,
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
                _ => "contoso",
            };
            let _ = writeln!(out, "{name:?} = {value:?}");
        }
    }

    /// How many operations can be called.
    pub(crate) fn operations(&self) -> usize {
        self.table.get("operation").and_then(toml::Value::as_array).map_or(0, Vec::len)
    }

    /// A request to each operation, and one that is wrong to each that can tell by its body or by what must be there.
    pub(crate) fn calls(&self) -> Vec<Call> {
        let mut calls = Vec::new();
        for one in self.table.get("operation").and_then(toml::Value::as_array).into_iter().flatten() {
            let (method, template) = one["match"].as_str().unwrap().split_once(' ').unwrap();
            let found = self.contract.find(one["name"].as_str().unwrap(), method.parse().ok().as_ref(), template);
            let Some(operation) = found else { continue };
            let target = format!("{}{}", self.table["api"]["path"].as_str().unwrap(), filled(template, operation));
            calls.push(request(method, &target, operation, None, false));
            let hidden = |parameter: &&Parameter| !parameter.internal && parameter.required;
            let needed = operation.parameters.iter().filter(hidden).find(|one| one.place == At::Query);
            match needed {
                Some(parameter) => calls.push(request(method, &target, operation, Some(&parameter.name), false)),
                None if json_body(operation).is_some() => calls.push(request(method, &target, operation, None, true)),
                None => {}
            }
        }
        calls
    }
}

/// A template with a value for each variable.
fn filled(template: &str, operation: &Operation) -> String {
    let template = template.split('?').next().unwrap();
    let mut out = String::new();
    let mut rest = template;
    while let Some((before, tail)) = rest.split_once('{') {
        let (name, after) = tail.split_once('}').unwrap();
        let parameter = operation.parameters.iter().find(|one| one.place == At::Path && *one.name == *name);
        let value = parameter.map(|parameter| text(operation, parameter)).filter(|value| !value.is_empty());
        let _ = write!(out, "{before}{}", encoded(&value.unwrap_or_else(|| "7".to_owned())));
        rest = after;
    }
    out + rest
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

/// A value of a parameter.
fn text(operation: &Operation, parameter: &Parameter) -> String {
    let scalar = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Null => "7".to_owned(),
        other => other.to_string(),
    };
    match sample(&operation.schemas, parameter.schema) {
        Json::Array(items) => items.iter().map(scalar).collect::<Vec<_>>().join(","),
        other => scalar(&other),
    }
}

/// The schema of the JSON that an operation takes.
fn json_body(operation: &Operation) -> Option<SchemaId> {
    let contents = &operation.body.as_ref()?.contents;
    contents.iter().find(|one| one.media.is_json())?.schema
}

/// A request that is right, or lacks a parameter or the end of its body.
fn request(method: &str, target: &str, operation: &Operation, without: Option<&str>, is_broken: bool) -> Call {
    let (mut query, mut fields, mut form) = (Vec::new(), String::new(), Vec::new());
    let wanted = |one: &&Parameter| one.required && !one.internal && without != Some(&*one.name);
    for parameter in operation.parameters.iter().filter(wanted) {
        let value = text(operation, parameter);
        match parameter.place {
            At::Query => query.push(format!("{}={}", encoded(&parameter.name), encoded(&value))),
            At::Form => form.push(format!("{}={}", encoded(&parameter.name), encoded(&value))),
            // What the body is, it says below.
            At::Header if parameter.name.eq_ignore_ascii_case("content-type") => {}
            At::Header => drop(write!(fields, "{}: {value}\r\n", parameter.name)),
            At::Path => {}
        }
    }
    let body = match (json_body(operation), form.is_empty()) {
        (Some(_), _) if is_broken => Some(("application/json", "{".to_owned())),
        (Some(schema), _) => Some(("application/json", sample(&operation.schemas, schema).to_string())),
        (None, false) => Some(("application/x-www-form-urlencoded", form.join("&"))),
        (None, true) => None,
    };
    let mark = if query.is_empty() { "" } else { "?" };
    if let Some((media, body)) = &body {
        let _ = write!(fields, "content-type: {media}\r\ncontent-length: {}\r\n", body.len());
    } else if method != "GET" {
        fields.push_str("content-length: 0\r\n");
    }
    let body = body.map(|(_, body)| body).unwrap_or_default();
    let query = query.join("&");
    let text = format!("{method} {target}{mark}{query} HTTP/1.1\r\nhost: gateway.example\r\n{fields}\r\n{body}");
    Call { text, is_right: without.is_none() && !is_broken }
}

/// What the calls of an API were answered with: how often each status, to those that are right and to those that are not.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) right: BTreeMap<u16, usize>,
    pub(crate) wrong: BTreeMap<u16, usize>,
    /// The APIs that answered with each.
    pub(crate) passed: BTreeSet<String>,
    pub(crate) refused: BTreeSet<String>,
}

impl Answers {
    /// Calls an API.
    #[track_caller]
    pub(crate) fn of(&mut self, api: &Api, connection: &mut Connection) {
        for call in api.calls() {
            let status = connection.ask(&call.text).unwrap_or_else(|| panic!("no answer to {}", call.text));
            let (counts, names) = match (call.is_right, status) {
                (true, 200) => (&mut self.right, Some(&mut self.passed)),
                (true, _) => (&mut self.right, None),
                (false, 400) => (&mut self.wrong, Some(&mut self.refused)),
                (false, _) => (&mut self.wrong, None),
            };
            *counts.entry(status).or_default() += 1;
            names.map(|names| names.insert(api.name.clone()));
        }
    }
}

/// A connection that is opened again when the gateway has closed it.
pub(crate) struct Connection {
    address: SocketAddr,
    stream: Option<BufReader<TcpStream>>,
}

impl Connection {
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self { address, stream: None }
    }

    /// The status of the answer.
    fn ask(&mut self, request: &str) -> Option<u16> {
        (0..2).find_map(|_| {
            let status = self.once(request);
            if status.is_none() {
                self.stream = None;
            }
            status
        })
    }

    fn once(&mut self, request: &str) -> Option<u16> {
        if self.stream.is_none() {
            let stream = TcpStream::connect(self.address).unwrap();
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            stream.set_nodelay(true).unwrap();
            self.stream = Some(BufReader::new(stream));
        }
        let stream = self.stream.as_mut()?;
        stream.get_mut().write_all(request.as_bytes()).ok()?;
        let mut line = String::new();
        stream.read_line(&mut line).ok()?;
        let status = line.split(' ').nth(1)?.parse().ok()?;
        let (mut length, mut closes) = (None, false);
        loop {
            line.clear();
            stream.read_line(&mut line).ok()?;
            let Some((name, value)) = line.trim_end().split_once(':') else { break };
            match (name.to_ascii_lowercase().as_str(), value.trim()) {
                ("content-length", value) => length = value.parse().ok(),
                ("connection", "close") => closes = true,
                _ => {}
            }
        }
        let has_body = !request.starts_with("HEAD ") && !matches!(status, 204 | 304);
        match length {
            _ if !has_body => {}
            Some(length) => drop(std::io::copy(&mut stream.take(length), &mut std::io::sink()).ok()?),
            // In chunks: nothing more is asked on this connection.
            None => closes = true,
        }
        if closes {
            self.stream = None;
        }
        Some(status)
    }
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
