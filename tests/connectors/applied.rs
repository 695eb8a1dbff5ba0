//! Every policy of every package is applied on a request through a running gateway, in front of a backend that records.
//!
//! [`super::model`] says from the package's own files what the backend must get and the caller must see, with the policy and without it: a
//! policy is seen to be applied when both are not the same, and the gateway does the one with the package, and the other with the
//! package without the policy.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;
use sluicegate::config::folder::read_folder;
use sluicegate::connector::connection::{Given, GivenValue};
use sluicegate::connector::folder::Folder;
use sluicegate::connector::package;

use super::model::{self, Asked, Expected, Model, Pairs, Sample};
use super::reading::{self, Package, Policy};
use super::sample::{self, Extent, Maker};
use super::support::backend::{Backend, Told};
use super::support::gateway::Gateway;
use super::support::wire::Message;

/// A package as it is served.
struct Served {
    package: Package,
    api: String,
    connection: Pairs,
    /// The operations that can be called.
    operations: BTreeSet<String>,
    /// The APIs of the same package without one of its policies, by its number.
    without: BTreeMap<usize, String>,
}

/// Packages behind one gateway, each with a connection that has everything.
pub(crate) struct Stage {
    served: Vec<Served>,
    gateway: Gateway,
    backend: Backend,
    _folder: tempfile::TempDir,
}

/// What is known of the policies of a stage: by package and number, whether it was seen to be applied.
type Seen = BTreeMap<(String, usize), bool>;

impl Stage {
    /// Serves packages; with `variants` each one also without each of its policies.
    #[track_caller]
    pub(crate) fn new(folders: &[PathBuf], variants: bool) -> Self {
        let (out, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut folder = Folder::open(out.path()).unwrap();
        let mut served: Vec<Served> = folders.iter().map(|path| import(path, &mut folder, out.path())).collect();
        for (path, served) in folders.iter().zip(&mut served).filter(|_| variants) {
            for number in 1..=served.package.policies.len() {
                let copy = without(path, number, copies.path());
                let api = import(&copy, &mut folder, out.path()).api;
                // The hosts that callers choose are those of the whole package.
                served.without.insert(number, api);
            }
        }
        folder.finish().unwrap();
        Self::serve(served, out)
    }

    /// Serves one package with this connection, and lets callers choose these hosts.
    #[track_caller]
    pub(crate) fn with(path: &Path, connection: &[(&str, &str)], hosts: &[&str]) -> Self {
        let out = tempfile::tempdir().unwrap();
        let mut folder = Folder::open(out.path()).unwrap();
        let [place] = &package::find(path).unwrap()[..] else { panic!("{}: one package", path.display()) };
        let values =
            connection.iter().map(|(name, value)| ((*name).into(), GivenValue::Text((*value).into()))).collect();
        let outcome = folder.import(place, &Given { set: None, values }).unwrap();
        folder.finish().unwrap();
        let file = out.path().join(format!("{}.toml", outcome.report.api));
        let text = std::fs::read_to_string(&file).unwrap();
        let hosts: Vec<String> = hosts.iter().map(|host| format!("{host:?}")).collect();
        std::fs::write(&file, with_hosts(&text, &hosts)).unwrap();
        Self::serve(Vec::new(), out)
    }

    fn serve(served: Vec<Served>, out: tempfile::TempDir) -> Self {
        let backend = Backend::start();
        let started = Gateway::start_before(backend.address, read_folder(out.path()).unwrap(), Some(out.path()));
        let gateway = started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics));
        Self { served, gateway, backend, _folder: out }
    }

    /// A request with a body in JSON; the backend answers with `answer`.
    #[track_caller]
    pub(crate) fn ask(&self, line: &str, body: Option<&Json>, answer: &Json) -> (Vec<Message>, Message) {
        let fields = body.map(|_| ("content-type".to_owned(), "application/json".to_owned()));
        let body = body.map(|body| body.to_string().into_bytes()).unwrap_or_default();
        self.send(&Message { first_line: line.to_owned(), fields: fields.into_iter().collect(), body }, answer)
    }

    /// A request that the backend answers with `answer`: what the backend got, and what the caller.
    #[track_caller]
    pub(crate) fn send(&self, request: &Message, answer: &Json) -> (Vec<Message>, Message) {
        self.backend.take();
        self.backend.tell(json(200, answer));
        let response = self.gateway.send(request).expect("an answer");
        (self.backend.take(), response)
    }

    /// Calls every operation that has policies, and holds what happens against the model.
    pub(crate) fn run(&self) -> (Seen, Vec<String>) {
        let (mut seen, mut wrong) = (Seen::new(), Vec::new());
        for served in &self.served {
            for policy in &served.package.policies {
                seen.insert((served.api.clone(), policy.number), false);
            }
            for operation in &served.package.operations {
                if served.package.policies_of(operation).is_empty() || !served.operations.contains(&operation.id) {
                    continue;
                }
                let model =
                    Model { package: &served.package, operation, connection: &served.connection, api: &served.api };
                let maker = Maker::new(&model);
                for extent in [Extent::All, Extent::Least] {
                    let (sample, answer) = maker.exchange(extent);
                    match self.exchange(&model, &served.without, &sample, &answer) {
                        Ok(effective) => effective.into_iter().for_each(|number| {
                            seen.insert((served.api.clone(), number), true);
                        }),
                        Err(why) => wrong.push(format!("{} {} ({extent:?}): {why}", served.api, operation.id)),
                    }
                }
            }
        }
        (seen, wrong)
    }

    /// One call, and the numbers of the policies that are seen to be applied on it.
    fn exchange(
        &self,
        model: &Model<'_>,
        without: &BTreeMap<usize, String>,
        sample: &Sample,
        answer: &Json,
    ) -> Result<Vec<usize>, String> {
        let policies = &model.package.policies_of(model.operation)[..];
        let (got, response) = self.once(model, sample, answer).ok_or("no answer")?;
        let want = match model.run(policies, sample, answer) {
            Ok(want) => want,
            Err(why) if got.is_empty() && !response.first_line.contains(" 2") => {
                return Err(format!("not tried: {why}"));
            }
            Err(why) => return Err(format!("{why}, and yet {}", response.first_line)),
        };
        compare(&want, &got, &response)?;
        if let Some(next) = &want.poll {
            self.poll(next, &response, answer)?;
        }
        if let Some(status) = want.refusal {
            self.refuse(model, sample, status)?;
        }
        if !want.failure_headers.is_empty() {
            self.fail(model, sample, &want)?;
        }
        let mut effective = Vec::new();
        for policy in policies {
            let others: Vec<&Policy> = policies.iter().copied().filter(|it| it.number != policy.number).collect();
            let other = model.run(&others, sample, answer);
            if other.as_ref() == Ok(&want) {
                continue;
            }
            effective.push(policy.number);
            if let Some(api) = without.get(&policy.number) {
                // The gateway tells the two apart as well.
                let model = Model { api, ..*model };
                let other = model.run(&others, sample, answer);
                let done = self.once(&model, sample, answer);
                match (other, done) {
                    (Ok(other), Some((got, response))) => compare(&other, &got, &response),
                    (Err(_), Some((_, response))) if !response.first_line.contains(" 2") => Ok(()),
                    (other, done) => Err(format!("{other:?}, and yet {done:?}")),
                }
                .map_err(|why| format!("without policy {}: {why}", policy.number))?;
            }
        }
        Ok(effective)
    }

    /// What the backend gets of a request, and what it is answered with.
    fn once(&self, model: &Model<'_>, sample: &Sample, answer: &Json) -> Option<(Vec<Message>, Message)> {
        self.backend.take();
        self.backend.tell(json(200, answer));
        let response = self.gateway.send(&request(model, sample))?;
        Some((self.backend.take(), response))
    }

    /// The backend does not answer.
    fn fail(&self, model: &Model<'_>, sample: &Sample, want: &Expected) -> Result<(), String> {
        self.backend.tell(Told::default());
        let response = self.gateway.send(&request(model, sample)).ok_or("no answer")?;
        self.backend.take();
        let lost = want.failure_headers.iter().find(|(name, value)| response.field(name) != Some(value));
        match lost {
            None if response.first_line.contains(" 5") => Ok(()),
            _ => Err(format!("a failure gives {response:?}")),
        }
    }

    /// The rest of a trigger's cycle.
    fn poll(&self, next: &[(String, String)], first: &Message, answer: &Json) -> Result<(), String> {
        let location = first.field("location").ok_or("no Location")?.to_owned();
        let path = location.strip_prefix("http://gateway.test").ok_or_else(|| format!("leads to {location}"))?;
        let get = Message { first_line: format!("GET {path}"), ..Message::default() };
        let second = self.gateway.send(&get).ok_or("no answer")?;
        let asked = self.backend.take();
        let [asked] = &asked[..] else { return Err(format!("{} requests for a poll", asked.len())) };
        let query = asked.first_line.split(['?', ' ']).nth(2).unwrap_or_default();
        let query = model::pairs(query);
        if let Some(lost) = next.iter().find(|pair| !query.contains(pair)) {
            return Err(format!("the next poll lacks {lost:?}: {query:?}"));
        }
        let is_right = second.first_line.contains(" 200 ") && second.field("retry-after").is_some();
        if !is_right || second.field("location").is_none() || parsed(&second.body).as_ref() != Some(answer) {
            return Err(format!("the next poll gives {second:?}"));
        }
        // Nothing new.
        self.backend.tell(json(200, &Json::Object(serde_json::Map::new())));
        let third = self.gateway.send(&get).ok_or("no answer")?;
        self.backend.take();
        if !third.first_line.contains(" 202 ") || third.field("location") != Some(&location) {
            return Err(format!("a poll without news gives {third:?}"));
        }
        Ok(())
    }

    /// The connection is known not to work when the backend says so, and to work again.
    fn refuse(&self, model: &Model<'_>, sample: &Sample, status: u64) -> Result<(), String> {
        for (status, value) in [(u16::try_from(status).unwrap(), 1), (200, 0)] {
            self.backend.tell(json(status, &Json::Null));
            self.gateway.send(&request(model, sample)).ok_or("no answer")?;
            self.backend.take();
            let line = format!("sluicegate_connection_unauthenticated{{connection=\"{}\"}} {value}", model.api);
            if !self.gateway.has_metric(&line) {
                return Err(format!("after {status} there is no `{line}`"));
            }
        }
        Ok(())
    }
}

/// Imports a package with a connection that has everything.
#[track_caller]
fn import(path: &Path, folder: &mut Folder, out: &Path) -> Served {
    let package = Package::read(path);
    let connection = sample::connection(&package);
    let [place] = &package::find(path).unwrap()[..] else { panic!("{}: one package", path.display()) };
    let (set, parameters) = package.connection();
    let mut values = Vec::new();
    for (number, ((name, parameter), (_, value))) in parameters.iter().zip(&connection).enumerate() {
        let kind = parameter["type"].as_str().unwrap_or_default().to_ascii_lowercase();
        let given = match kind.as_str() {
            "gatewaysetting" => continue,
            "securestring" | "oauthsetting" => {
                let file = format!("{}-{number}.secret", place.name);
                std::fs::write(out.join(&file), value).unwrap();
                GivenValue::File(file)
            }
            _ => GivenValue::Text(value.clone()),
        };
        values.push((name.clone(), given));
    }
    let outcome = folder.import(place, &Given { set, values }).unwrap();
    assert!(outcome.written, "{}", path.display());
    let api = outcome.report.api;
    let file = out.join(format!("{api}.toml"));
    let text = std::fs::read_to_string(&file).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let operations = table["operation"].as_array().unwrap().iter().filter_map(|one| one["name"].as_str());
    let operations = operations.map(str::to_owned).collect();
    let served = Served { package, api, connection, operations, without: BTreeMap::new() };
    std::fs::write(&file, allowed(&text, &served)).unwrap();
    served
}

/// As its user has to: where callers choose the host, an import lets only the definition's own through.
fn allowed(text: &str, served: &Served) -> String {
    let mut hosts = BTreeSet::new();
    for operation in &served.package.operations {
        let model = Model { package: &served.package, operation, connection: &served.connection, api: &served.api };
        let maker = Maker::new(&model);
        for extent in [Extent::All, Extent::Least] {
            let (sample, answer) = maker.exchange(extent);
            let expected = model.run(&served.package.policies_of(operation), &sample, &answer);
            hosts.extend(expected.into_iter().flat_map(|it| it.asked).map(|asked| format!("{:?}", asked.host)));
        }
    }
    with_hosts(text, &hosts.into_iter().collect::<Vec<_>>())
}

fn with_hosts(text: &str, hosts: &[String]) -> String {
    let all = hosts.join(", ");
    let line = |line: &str| match line.split_once("allowed-hosts") {
        Some(("", _)) => format!("allowed-hosts = [{all}]\n"),
        _ => format!("{line}\n"),
    };
    text.lines().map(line).collect()
}

/// A copy of a package without one of its policies.
fn without(path: &Path, number: usize, to: &Path) -> PathBuf {
    let copy = to.join(format!("{}-without-{number}", path.file_name().unwrap().to_string_lossy()));
    std::fs::create_dir(&copy).unwrap();
    std::fs::copy(path.join(package::DEFINITION_FILE), copy.join(package::DEFINITION_FILE)).unwrap();
    let mut properties = reading::read(&path.join(package::PROPERTIES_FILE));
    properties["properties"]["policyTemplateInstances"].as_array_mut().unwrap().remove(number - 1);
    std::fs::write(copy.join(package::PROPERTIES_FILE), properties.to_string()).unwrap();
    copy
}

fn json(status: u16, body: &Json) -> Told {
    let fields = vec![("content-type".to_owned(), "application/json".to_owned())];
    Told { status, fields, body: body.to_string().into_bytes() }
}

fn parsed(body: &[u8]) -> Option<Json> {
    serde_json::from_slice(body).ok()
}

fn request(model: &Model<'_>, sample: &Sample) -> Message {
    let path = model::filled(&model.operation.path, &sample.variables);
    let query = sample.query.iter().map(|(name, value)| format!("{}={}", model::encoded(name), model::encoded(value)));
    let query = query.collect::<Vec<_>>().join("&");
    let mark = if query.is_empty() { "" } else { "?" };
    Message {
        first_line: format!("{} /{}{path}{mark}{query}", model.operation.method, model.api),
        fields: sample.headers.clone(),
        body: sample.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default(),
    }
}

/// Holds what happened against what is to happen.
fn compare(want: &Expected, got: &[Message], response: &Message) -> Result<(), String> {
    if let Some(name) = &want.unset {
        let says = String::from_utf8_lossy(&response.body).contains(&format!("'{name}'"));
        let is_told = got.is_empty() && response.first_line.contains(" 500 ") && says;
        return if is_told { Ok(()) } else { Err(format!("without '{name}', and yet {response:?}")) };
    }
    if got.len() != want.asked.len() {
        let body = String::from_utf8_lossy(&response.body);
        return Err(format!("{} requests, not {}; {} {body}", got.len(), want.asked.len(), response.first_line));
    }
    for (want, got) in want.asked.iter().zip(got) {
        let got = asked(want, got);
        if got != *want {
            return Err(format!("the backend got\n  {got:?}\nnot\n  {want:?}"));
        }
    }
    let status = if want.poll.is_some() { " 202 " } else { " 200 " };
    if !response.first_line.contains(status) {
        return Err(format!("{}: {}", response.first_line, String::from_utf8_lossy(&response.body)));
    }
    if want.poll.is_none() && !response.first_line.is_empty() {
        let got = parsed(&response.body);
        if got.as_ref() != Some(&want.answer) {
            return Err(format!("the caller got\n  {:?}\nnot\n  {:?}", got, want.answer));
        }
    }
    match want.answer_headers.iter().find(|(name, value)| response.field(name) != Some(value)) {
        Some((name, value)) => Err(format!("the answer's `{name}` is {:?}, not `{value}`", response.field(name))),
        None => Ok(()),
    }
}

/// A request of the backend's record, with the headers that the model speaks of.
fn asked(want: &Asked, got: &Message) -> Asked {
    let mut words = got.first_line.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut query = model::pairs(query);
    query.sort();
    let header = |name: &String| {
        let all: Vec<&str> = got.fields_of(name).collect();
        (!all.is_empty()).then(|| (name.clone(), all.join(",")))
    };
    Asked {
        method: method.to_owned(),
        // Case says nothing in a host (RFC 9110 §4.2.3).
        host: got.field("host").unwrap_or_default().to_ascii_lowercase(),
        path: percent_encoding::percent_decode_str(path).decode_utf8_lossy().into_owned(),
        query,
        headers: want.headers.keys().filter_map(header).collect(),
        body: (!got.body.is_empty()).then(|| parsed(&got.body).unwrap_or_default()),
    }
}

/// Real packages, where they are at hand.
pub(crate) fn corpus() -> Option<Vec<PathBuf>> {
    let named = std::env::var_os("SLUICEGATE_CONNECTORS").map(PathBuf::from);
    let folder = named.or_else(|| Some(PathBuf::from("../shared/corpus/connectors")).filter(|path| path.is_dir()))?;
    let mut found: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| path.join(package::DEFINITION_FILE).is_file());
    found.sort();
    Some(found)
}

/// Policies of real packages that can change nothing, and why.
const WITHOUT_EFFECT: [(&str, &[usize], &str); 7] = [
    ("3e-events", &[1], "the one host that connections may choose is the definition's own"),
    ("almabase", &[6], "it is for an operation that there is not: its name differs in case"),
    ("almanac", &[2], "a later one chooses the path"),
    (
        "cognitiveservicestextanalytics",
        &[7, 8, 9],
        "they are for operations behind the place where the definition ends",
    ),
    ("pixela", &[1, 2, 3, 4], "a later one chooses the path"),
    ("pixela", &[8], "it chooses the path that the one before it has chosen"),
    ("planner", &[1, 3], "they choose the path that the operation has"),
];

#[test]
fn every_policy_of_every_real_package_is_applied() {
    let Some(folders) = corpus() else { return };
    let (seen, wrong) = Stage::new(&folders, true).run();
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    let unseen: BTreeSet<(String, usize)> =
        seen.iter().filter(|(_, seen)| !**seen).map(|(name, _)| name.clone()).collect();
    let told =
        WITHOUT_EFFECT.iter().flat_map(|(api, numbers, _)| numbers.iter().map(|number| ((*api).to_owned(), *number)));
    // Another corpus than the one that this was written for may lack some of them.
    let told: BTreeSet<(String, usize)> = told.filter(|name| seen.contains_key(name)).collect();
    assert_eq!(unseen, told, "policies that were not seen to be applied, and those that cannot be");
    let packages: BTreeSet<&String> = seen.keys().map(|(api, _)| api).collect();
    println!("{} policies of {} packages: {} have an effect", seen.len(), packages.len(), seen.len() - unseen.len());
}

#[test]
fn every_policy_of_every_fixture_is_applied() {
    let folders =
        ["tests/fixtures/connectors/boards", "tests/fixtures/connectors/readings", "tests/connectors/gallery"];
    let folders = folders.map(PathBuf::from);
    let (seen, wrong) = Stage::new(&folders, true).run();
    assert!(wrong.is_empty(), "{} wrong\n{}", wrong.len(), wrong.join("\n"));
    let unseen: Vec<_> = seen.iter().filter(|(_, seen)| !**seen).map(|(name, _)| name).collect();
    assert!(unseen.is_empty(), "{unseen:?}");
}
