//! Made-up values for a package: its connection, and for each operation a request and an answer in which its policies find what they
//! are about.

use std::cell::Cell;

use serde_json::{Map, Value as Json};

use super::bodies::{self, HOLE, HOLE_IN_TRIGGER, Key, Path, Root};
use super::model::{self, Model, Pairs, Sample};
use super::reading::{Operation, Package, Policy, follow};
use super::support::hosts::{self, label};

/// Values for everything that a connection may say.
pub(crate) fn connection(package: &Package) -> Pairs {
    let (_, parameters) = package.connection();
    parameters.iter().map(|(name, parameter)| (name.clone(), parameter_value(package, name, parameter))).collect()
}

fn parameter_value(package: &Package, name: &str, parameter: &Json) -> String {
    let allowed = parameter["uiDefinition"]["constraints"]["allowedValues"].as_array().into_iter().flatten();
    let mut allowed = allowed.filter_map(|item| item.get("value").unwrap_or(item).as_str());
    // The first is often what the definition has anyway.
    match (allowed.next_back(), parameter["type"].as_str().unwrap_or_default()) {
        (Some(value), _) => value.to_owned(),
        (None, "int") => "7".to_owned(),
        (None, "bool") => "true".to_owned(),
        _ => in_host(package.policies.iter(), "connectionparameters", name)
            .unwrap_or_else(|| format!("value-of-{}", label(name))),
    }
}

/// What a call has to give for the URL of a host template that it is in to be one.
fn in_host<'a>(mut policies: impl Iterator<Item = &'a Policy>, function: &str, name: &str) -> Option<String> {
    policies.find_map(|policy| hosts::part(policy.text("urlTemplate"), function, name, None))
}

/// An operation with its policies, and what is made up for it.
pub(crate) struct Maker<'a> {
    model: &'a Model<'a>,
    policies: Vec<&'a Policy>,
    /// What each text of a request, and of an answer, has in it for the policies that look for something in it.
    in_text: [String; 2],
    count: Cell<usize>,
}

/// How much of what it may have a request has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Extent {
    /// Everything.
    All,
    /// What the definition asks for, and nothing that policies would find there already.
    Least,
}

impl<'a> Maker<'a> {
    pub(crate) fn new(model: &'a Model<'a>) -> Self {
        let policies = model.package.policies_of(model.operation);
        let in_text = ["Request", "Response"].map(|section| {
            let mut text = String::new();
            for policy in policies.iter().filter(|policy| policy.section() == section) {
                text.push_str(policy.text("sourceString"));
                if policy.id == "encodepropertyvalue" {
                    text.push_str(" @");
                }
            }
            let list = policies.iter().find(|policy| policy.id == "stringtoarray" && policy.section() == section);
            let delimiter = list.and_then(|policy| policy.text("delimiterList").get(..1)).unwrap_or_default();
            if delimiter.is_empty() { text } else { format!("{text}{delimiter}other{text}") }
        });
        Self { model, policies, in_text, count: Cell::new(0) }
    }

    fn operation(&self) -> &'a Operation {
        self.model.operation
    }

    fn schema(&self, node: &'a Json) -> &'a Json {
        follow(&self.model.package.definition, node)
    }

    fn text(&self, side: usize) -> String {
        self.count.set(self.count.get() + 1);
        format!("v{}{}", self.count.get(), self.in_text[side])
    }

    /// A request and the answer to it.
    pub(crate) fn exchange(&self, extent: Extent) -> (Sample, Json) {
        let mut sample = self.request(extent);
        self.plant_in_request(&mut sample);
        let mut answer = match self.of_schema(&self.operation().answer, 1, 0) {
            answer @ (Json::Object(_) | Json::Array(_)) => answer,
            _ => Json::Object(Map::new()),
        };
        for policy in self.policies.iter().filter(|policy| policy.id == "setvaluefromurl") {
            let path = Path::parse(policy.text("parameterValuePathTemplate"));
            bodies::put(&mut answer, &path.keys, format!("fetched-{}", policy.number).into());
        }
        for policy in self.policies.iter().filter(|policy| policy.id == "pollingtrigger") {
            self.plant_news(policy, &mut answer);
        }
        self.plant_in_answer(&sample, &mut answer);
        (sample, answer)
    }

    fn request(&self, extent: Extent) -> Sample {
        let mut sample = Sample::default();
        let mut form = Vec::new();
        for parameter in &self.operation().parameters {
            let name = parameter["name"].as_str().unwrap_or_default();
            let (place, required) = (parameter["in"].as_str().unwrap_or_default(), parameter["required"] == true);
            let hidden = parameter["x-ms-visibility"] == "internal" && !parameter["default"].is_null();
            let wanted = extent == Extent::All || required || hidden;
            let value = || match self.of_schema(self.schema(parameter), 0, 0) {
                Json::String(text) if place != "formData" && text.contains(['/', ' ']) && !hidden => {
                    format!("v{}", label(&text))
                }
                value => value.as_str().map_or_else(|| value.to_string(), str::to_owned),
            };
            let lower = name.to_ascii_lowercase();
            match place {
                "path" => sample.variables.push((name.to_owned(), value())),
                "query" if wanted => sample.query.push((name.to_owned(), value())),
                "header" if wanted && !is_kept_away(&lower) => sample.headers.push((lower, value())),
                "body" => sample.body = Some(self.of_schema(self.schema(&parameter["schema"]), 0, 0)),
                "formData" => form.push((name.to_owned(), value())),
                _ => {}
            }
        }
        if sample.body.as_ref().is_some_and(Json::is_string) && self.policies.iter().any(|it| edits_body(it)) {
            // What is in it is known only to the service.
            sample.body = Some(Json::Object(Map::new()));
        }
        self.plant_parameters(&mut sample);
        if extent == Extent::Least {
            let hidden = |name: &str| {
                let mut parameters = self.operation().parameters.iter();
                parameters.any(|it| {
                    it["x-ms-visibility"] == "internal"
                        && it["name"].as_str().is_some_and(|it| it.eq_ignore_ascii_case(name))
                })
            };
            let skipped = |it: &Policy, name: &str| {
                it.text("existsAction") == "skip" && it.text("name").eq_ignore_ascii_case(name)
            };
            let kept = |name: &str| !hidden(name) && self.policies.iter().any(|it| skipped(it, name));
            sample.query.retain(|(name, _)| !kept(name));
            sample.headers.retain(|(name, _)| !kept(name));
        }
        if sample.body.is_some() && !sample.headers.iter().any(|(name, _)| name == "content-type") {
            sample.headers.push(("content-type".to_owned(), "application/json".to_owned()));
        }
        sample
    }

    /// What the templates read from the request is in it.
    fn plant_parameters(&self, sample: &mut Sample) {
        let names = ["value", "urlTemplate", "newPath", "parameterValueUrl", "propertyValuePathTemplate"];
        let texts = self.policies.iter().flat_map(|policy| names.map(|name| policy.text(name)));
        for found in texts.flat_map(model::calls) {
            let value = in_host(self.policies.iter().copied(), &found.function, &found.name);
            let (list, name) = match found.function.as_str() {
                "queryparameters" => (&mut sample.query, found.name.clone()),
                "connectionparameters" => continue,
                _ => (&mut sample.headers, found.name.to_ascii_lowercase()),
            };
            // What a policy before writes, and what the gateway itself does.
            let written = self.policies.iter().any(|it| {
                it.text("name").eq_ignore_ascii_case(&name)
                    || it.text("parameterTemplate").contains(&format!("'{}'", found.name))
            });
            let there = list.iter().position(|(known, _)| *known == name);
            match (there, value) {
                (Some(place), Some(value)) => list[place].1 = value,
                (None, value) if !written && name != "authorization" => {
                    list.push((name, value.unwrap_or_else(|| format!("given-{}", label(&found.name)))));
                }
                _ => {}
            }
        }
    }

    fn plant_in_request(&self, sample: &mut Sample) {
        for (place, policy) in self.policies.iter().enumerate() {
            if policy.section() != "Request" || !edits_body(policy) || sample.body.is_none() {
                continue;
            }
            let before = self.model.run(&self.policies[..place], sample, &self.all_answers());
            let Some(now) = before.ok().and_then(|it| it.asked.last().and_then(|asked| asked.body.clone())) else {
                continue;
            };
            self.plant(policy, 0, &now, sample.body.as_mut().unwrap());
        }
    }

    /// An answer from which every side call gets something.
    fn all_answers(&self) -> Json {
        let mut answer = Json::Object(Map::new());
        for policy in self.policies.iter().filter(|policy| policy.id == "setvaluefromurl") {
            bodies::put(&mut answer, &Path::parse(policy.text("parameterValuePathTemplate")).keys, "fetched".into());
        }
        answer
    }

    fn plant_in_answer(&self, sample: &Sample, answer: &mut Json) {
        for (place, policy) in self.policies.iter().enumerate().filter(|(_, policy)| policy.section() == "Response") {
            let Ok(before) = self.model.run(&self.policies, sample, answer) else { return };
            if policy.id == "updatenextlink" {
                let mut keys = Path::parse(policy.text("nextLinkParentPropertyPath")).keys;
                keys.push(Key::Name(policy.text("nextLinkPropertyName").to_owned()));
                let asked = before.asked.last().unwrap();
                let path = self.path_of_link(&before.base, &asked.path);
                bodies::put(answer, &keys, format!("{}{path}?page=2", before.base).into());
            } else if edits_body(policy) {
                let mut so_far: Vec<&Policy> = self.policies[..place].to_vec();
                so_far.extend(self.policies[place..].iter().filter(|policy| policy.section() == "Request"));
                let Ok(now) = self.model.run(&so_far, sample, answer) else { return };
                self.plant(policy, 1, &now.answer, answer);
            }
        }
    }

    /// The path that the backend was asked for, below its base.
    fn path_of_link(&self, base: &str, path: &str) -> String {
        let rest = base.split_once("://").map_or("", |(_, rest)| rest);
        let own = rest.find('/').map_or("", |at| &rest[at..]);
        let below = path.strip_prefix(own).unwrap_or(path);
        below
            .split('/')
            .map(model::encoded)
            .collect::<Vec<_>>()
            .join("/")
            .replace("%28", "(")
            .replace("%29", ")")
            .replace("%27", "'")
            .replace("%24", "$")
    }

    /// Puts what a policy is about where it looks for it, unless it is there. `now` is the body as the policies before leave it.
    fn plant(&self, policy: &Policy, side: usize, now: &Json, body: &mut Json) {
        let (parent, property) = bodies::source(policy);
        let keys = [parent.keys.clone(), property.keys.clone()].concat();
        let found =
            bodies::get(now, &keys).or_else(|| bodies::get(bodies::get(now, &parent.keys)?.get(0)?, &property.keys));
        let fits = match policy.id.as_str() {
            "setproperty" => found.is_some_and(|it| it.is_array() || it.is_object()),
            "convertarraytoobject" => found.is_some_and(Json::is_array),
            "convertobjecttoarray" | "moveproperties" => found.is_some_and(Json::is_object),
            _ => found.is_some_and(|it| it.is_string()),
        };
        if !fits {
            let table = |names: &[String]| {
                Json::Object(names.iter().map(|name| (name.clone(), self.text(side).into())).collect())
            };
            let value = match policy.id.as_str() {
                "setproperty" => Json::Object(Map::new()),
                "convertarraytoobject" => {
                    let key = policy.text("keyWithinCollectionPath").to_owned();
                    (0..2).map(|_| table(&[key.clone(), "other".to_owned()])).collect()
                }
                "convertobjecttoarray" => {
                    let item = || (self.text(side), table(&["inner".to_owned()]));
                    Json::Object([item(), item()].into_iter().collect())
                }
                "moveproperties" => table(&["one".to_owned(), "two".to_owned()]),
                _ => self.text(side).into(),
            };
            self.put_in_each(body, &parent.keys, &property.keys, value);
        }
        // And what a value reads.
        for hole in HOLE.captures_iter(policy.text("propertyValuePathTemplate")) {
            let path = Path::parse(&hole["path"]);
            let root = if path.root == Root::Item { &parent.keys[..] } else { &[] };
            let whole = [root, &path.keys].concat();
            let items = bodies::get(now, root).and_then(Json::as_array).and_then(|items| items.first());
            if bodies::get(now, &whole).or_else(|| bodies::get(items?, &path.keys)).is_none() {
                self.put_in_each(body, root, &path.keys, self.text(side).into());
            }
        }
    }

    /// Puts a value into an object, or into each item of an array.
    fn put_in_each(&self, body: &mut Json, parent: &[Key], keys: &[Key], value: Json) {
        match bodies::get(body, parent).and_then(Json::as_array).map(Vec::len) {
            None => bodies::put(body, &[parent, keys].concat(), value),
            Some(0) => bodies::put(body, parent, Json::Array(vec![nested(keys, value)])),
            Some(length) => {
                for index in 0..length {
                    bodies::put(body, &[parent, &[Key::Index(index)], keys].concat(), value.clone());
                }
            }
        }
    }

    /// Two new things for a trigger, with what its next poll is made of.
    fn plant_news(&self, policy: &Policy, answer: &mut Json) {
        let data = Path::parse(policy.text("triggerDataPath"));
        let old = bodies::get(answer, &data.keys).and_then(Json::as_array).cloned().unwrap_or_default();
        let item = old.into_iter().find(Json::is_object).unwrap_or(Json::Object(Map::new()));
        bodies::put(answer, &data.keys, Json::Array(vec![item.clone(), item]));
        let values = policy.parameter("triggerConfig").as_object().into_iter().flatten();
        for text in values.filter_map(|(_, value)| value.as_str()) {
            for hole in HOLE_IN_TRIGGER.captures_iter(text) {
                bodies::put(answer, &Path::parse(&hole["path"]).keys, "2026-11-26".into());
            }
        }
    }

    /// A value of a schema. `side` is 0 in requests and 1 in answers.
    fn of_schema(&self, schema: &'a Json, side: usize, depth: usize) -> Json {
        let schema = self.schema(schema);
        for known in [&schema["default"], &schema["enum"][0]] {
            if !known.is_null() {
                return known.clone();
            }
        }
        let parts = schema["allOf"].as_array().into_iter().flatten().map(|part| self.schema(part));
        let properties = parts.chain([schema]).filter_map(|part| part["properties"].as_object()).flatten();
        let properties: Vec<(&String, &Json)> = properties.collect();
        match schema["type"].as_str().unwrap_or_default() {
            _ if depth > 6 => Json::Null,
            "array" => {
                let count = if depth < 3 { 2 } else { 1 };
                (0..count).map(|_| self.of_schema(&schema["items"], side, depth + 1)).collect()
            }
            "integer" | "number" => 7.into(),
            "boolean" => true.into(),
            "" | "object" if !properties.is_empty() || schema["type"] == "object" => {
                let value =
                    |(name, schema): (&String, &'a Json)| (name.clone(), self.of_schema(schema, side, depth + 1));
                Json::Object(properties.into_iter().map(value).collect())
            }
            _ => self.text(side).into(),
        }
    }
}

fn edits_body(policy: &Policy) -> bool {
    !["setheader", "setqueryparameter", "dynamichosturl", "dynamicsubdomain", "routerequesttoendpoint"]
        .contains(&policy.id.as_str())
        && !["setvaluefromurl", "pollingtrigger", "updatenextlink", "setconnectionstatustounauthenticated"]
            .contains(&policy.id.as_str())
}

fn nested(keys: &[Key], value: Json) -> Json {
    let mut made = Json::Null;
    bodies::put(&mut made, keys, value);
    made
}

/// Headers that belong to the connection, or that would make the body another one.
fn is_kept_away(name: &str) -> bool {
    ["host", "connection", "content-length", "transfer-encoding", "expect", "content-type", "accept-encoding"]
        .contains(&name)
}
