//! `apiDefinition.swagger.json`: the head of it, and its operations.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::super::definition::{Generation, Operation};
use super::super::tree::Node;
use super::super::written::one_line;
use super::convert::{self, Converter};
use super::mend;
use super::names::{self, identifier, spaced};
use super::parameters::{self, Template, Told};
use super::responses;
use super::security::Security;
use super::walk::{self, Section};
use super::{Address, Source};
use crate::config::folder::OperationDocument;
use crate::config::spec::{ErrorFormat, ParameterPlace, VersionScheme};

/// The names of the schemas of the gateway's own errors, and of its limits, where the definition has no others of these names.
const ERROR: &str = "GatewayError";
const LIMIT: &str = "GatewayLimit";
/// What the platform takes: operations of one definition, and bytes of its file.
const MAX_OPERATIONS: usize = 256;
const MAX_SIZE: usize = 1 << 20;
const METHODS: [&str; 7] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH"];
const PAGEABLE: &str = "x-ms-pageable";

pub(super) fn definition(
    source: &Source<'_>,
    address: &Address,
    security: &Security,
    notes: &mut Vec<String>,
) -> Value {
    let root = source.definition.map(|definition| definition.root);
    let kept = |name: &str| root.and_then(|root| root.get(name)).map(Node::to_json);
    let mut out = Map::new();
    out.insert("swagger".into(), "2.0".into());
    out.insert("info".into(), info(source, notes));
    called_at(source, address, &mut out, notes);
    out.insert("consumes".into(), kept("consumes").unwrap_or_else(|| json!(["application/json"])));
    out.insert("produces".into(), kept("produces").unwrap_or_else(|| json!(["application/json"])));
    let three = source.definition.filter(|definition| definition.generation == Generation::Three);
    let mut converter = three.map(|definition| Converter::new(definition.root));
    let mut definitions =
        part(source, "definitions", "schemas", converter.as_mut(), |converter, schema| converter.schema(schema));
    let error = free(ERROR, &definitions);
    let format = responses::error_format(source);
    definitions.insert(error.clone(), responses::error_schema(format));
    let mut limit = error.clone();
    if format == ErrorFormat::Connector {
        // The platform answers its own limits in the short form, and so does the gateway.
        limit = free(LIMIT, &definitions);
        definitions.insert(limit.clone(), responses::error_schema(ErrorFormat::Apim));
    }
    let mut work = Work {
        source,
        converter,
        security,
        consumes: kept("consumes"),
        errors: [error, limit],
        ids: BTreeMap::new(),
        taken: BTreeSet::new(),
        told: Told::new(),
        without_schema: Vec::new(),
        collected: Vec::new(),
    };
    let paths = work.paths();
    let mut converter = work.converter.take();
    out.insert("paths".into(), paths);
    out.insert("definitions".into(), definitions.into());
    // A reference to a parameter is written out where it is used.
    let responses =
        part(source, "responses", "responses", converter.as_mut(), |converter, response| converter.response(&response));
    if !responses.is_empty() {
        out.insert("responses".into(), responses.into());
    }
    let moved = converter.as_mut().map(Converter::moved).unwrap_or_default();
    if let Some(definitions) = out.get_mut("definitions").and_then(Value::as_object_mut) {
        definitions.extend(moved);
    }
    if let Some((definitions, needed)) = security.schemes() {
        out.insert("securityDefinitions".into(), definitions);
        out.insert("security".into(), needed);
    }
    for name in ["tags", "x-ms-connector-metadata"] {
        if let Some(value) = kept(name) {
            out.insert(name.into(), value);
        }
    }
    if let Some(capabilities) = kept("x-ms-capabilities") {
        let test = capabilities["testConnection"]["operationId"].as_str();
        if test.is_some_and(|id| work.ids.values().any(|name| name == id)) {
            out.insert("x-ms-capabilities".into(), capabilities);
        }
    }
    work.tell(notes);
    if let Some(mut converter) = converter {
        if root.is_some_and(|root| root.get("webhooks").is_some()) {
            "webhooks".clone_into(&mut converter.place);
            converter.lose("no `webhooks`");
        }
        let servers = root.and_then(|root| root.get("servers")).map_or(0, |servers| servers.items().len());
        if servers > 1 {
            notes.push(format!(
                "the definition has {servers} servers: connectors call the gateway, and the gateway calls the one that the API's backend names"
            ));
        }
        notes.extend(converter.notes());
    }
    let mut out = Value::Object(out);
    let renamed = work.ids.iter().filter(|(id, name)| id != name).map(|(id, name)| (name.as_str(), id.as_str()));
    refer(&mut out, &renamed.collect(), false);
    mend::mend(&mut out, root, notes);
    match work.ids.len() {
        0 => notes
            .push("there is no operation that a connector can call: the platform takes no such definition".to_owned()),
        count if count > MAX_OPERATIONS => {
            notes.push(format!("there are {count} operations, and the platform takes {MAX_OPERATIONS}"));
        }
        _ => {}
    }
    if text(&out).len() > MAX_SIZE {
        notes.push("the definition is larger than 1 MiB, which the platform does not take".to_owned());
    }
    out
}

/// The text of a file: for people to read, unless only the short form is one that the platform takes.
pub(super) fn text(value: &Value) -> String {
    let long = format!("{value:#}\n");
    if long.len() > MAX_SIZE { format!("{value}\n") } else { long }
}

/// A name that none of the schemas has.
fn free(name: &str, schemas: &Map<String, Value>) -> String {
    let mut free = name.to_owned();
    let mut number = 1;
    while schemas.contains_key(&free) {
        number += 1;
        free = format!("{name}{number}");
    }
    free
}

/// `host`, `basePath` and `schemes`.
fn called_at(source: &Source<'_>, address: &Address, out: &mut Map<String, Value>, notes: &mut Vec<String>) {
    let spec = &source.api.spec;
    let mut base = format!("{}/{}", address.path, spec.path.value.trim_matches('/'));
    let version = spec.version.as_ref().filter(|version| version.scheme == VersionScheme::Path);
    if let Some(value) = version.and_then(|version| version.value.as_ref()) {
        base = format!("{}/{}", base.trim_end_matches('/'), value.value);
    }
    out.insert("host".into(), address.host.as_str().into());
    out.insert("basePath".into(), base.into());
    out.insert("schemes".into(), json!([address.scheme]));
    if address.scheme == "http" {
        notes.push("the platform calls connectors by https only; `http` will do for tests".to_owned());
    }
    let name = address.host.rsplit_once(':').map_or(address.host.as_str(), |(name, _)| name).to_ascii_lowercase();
    let is_own = |host: &str| match host.strip_prefix('*') {
        Some(end) => name.ends_with(&end.to_ascii_lowercase()),
        None => name == host.to_ascii_lowercase(),
    };
    if !spec.hosts.is_empty() && !spec.hosts.iter().any(|host| is_own(&host.value)) {
        let hosts: Vec<String> = spec.hosts.iter().map(|host| format!("`{}`", host.value)).collect();
        notes.push(format!("the API answers on {} only, and not on `{name}`", hosts.join(", ")));
    }
}

/// A table of named parts, which OpenAPI 3 has under `components`.
fn part(
    source: &Source<'_>,
    two: &str,
    three: &str,
    converter: Option<&mut Converter<'_>>,
    convert: fn(&mut Converter<'_>, Value) -> Value,
) -> Map<String, Value> {
    let Some(definition) = source.definition else { return Map::new() };
    let table = match definition.generation {
        Generation::Two => definition.root.get(two),
        Generation::Three => definition.root.get("components").and_then(|all| all.get(three)),
    };
    let members = table.map(Node::members).unwrap_or_default().iter();
    let members = members.map(|one| (one.name.to_string(), one.value.to_json()));
    match converter {
        None => members.collect(),
        Some(converter) => members
            .map(|(name, value)| {
                name.clone_into(&mut converter.place);
                (name, convert(converter, value))
            })
            .collect(),
    }
}

fn info(source: &Source<'_>, notes: &mut Vec<String>) -> Value {
    let spec = &source.api.spec;
    let mut info = source.definition.and_then(|one| one.root.get("info")).map_or_else(|| json!({}), Node::to_json);
    let own = info["title"].as_str().map(str::trim).filter(|title| !title.is_empty());
    let name = spaced(&spec.name.value);
    let mut title = names::title(own.unwrap_or(&name));
    if title.is_empty() {
        // A name that is nothing but a reserved word.
        title = format!("Gateway {}", names::title(&name)).trim_end().to_owned();
    }
    if let Some(own) = own.filter(|own| **own != title) {
        notes.push(format!("the title `{own}` is none that the platform takes: the connector is called `{title}`"));
    }
    info["title"] = title.into();
    if info["version"].as_str().is_none() {
        info["version"] =
            spec.version.as_ref().and_then(|version| version.value.as_ref()).map_or("1.0", |one| &one.value).into();
    }
    if info["description"].as_str().is_none_or(str::is_empty) {
        let text = spec
            .description
            .clone()
            .unwrap_or_else(|| format!("The API {}, called through its gateway", spec.name.value));
        info["description"] = text.into();
    }
    if source.definition.is_some_and(|one| one.generation == Generation::Three)
        && let Some(info) = info.as_object_mut()
    {
        // New in OpenAPI 3.1.
        info.remove("summary");
        info.get_mut("license").and_then(Value::as_object_mut).map(|license| license.remove("identifier"));
    }
    info
}

/// What the operations of a definition are made with, and what is found on the way.
struct Work<'w, 'a> {
    source: &'w Source<'a>,
    converter: Option<Converter<'a>>,
    security: &'w Security,
    /// The media types that all operations take.
    consumes: Option<Value>,
    /// The names of the schemas of the gateway's errors, and of its limits.
    errors: [String; 2],
    /// The ids of operations with their names, and which of them are taken in any case.
    ids: BTreeMap<String, String>,
    taken: BTreeSet<String>,
    told: Told,
    /// The operations whose answers have no schema.
    without_schema: Vec<String>,
    /// The operations that are pages without a link.
    collected: Vec<String>,
}

impl Work<'_, '_> {
    fn paths(&mut self) -> Value {
        let mut paths: Map<String, Value> = Map::new();
        for document in &self.source.api.operations {
            let name = &document.spec.name.value;
            let Some((method, template)) = document.spec.matches.value.trim().split_once(' ') else { continue };
            let template = template.trim();
            let (path, query) = template.split_once('?').unwrap_or((template, ""));
            if path.contains(['*', '#']) || !METHODS.contains(&method) {
                let matches = &document.spec.matches.value;
                self.told.insert(format!("operation `{name}` is left out: a connector has no `{matches}`"));
                continue;
            }
            let known = self.source.known(document);
            let item = paths.entry(path.to_owned()).or_insert_with(|| json!({}));
            if item.get(method.to_ascii_lowercase()).is_some() {
                self.told
                    .insert(format!("operation `{name}` is left out: it differs from another one in its query only"));
                continue;
            }
            // What a webhook calls with stands beside the operations of its path.
            let beside = known.and_then(|known| self.source.definition?.root.get("paths")?.get(known.path));
            for member in beside.map(Node::members).unwrap_or_default().iter().filter(|one| one.name.starts_with("x-"))
            {
                let value = member.value.to_json();
                item[&*member.name] = match &mut self.converter {
                    Some(converter) => converter.extension(value),
                    None => self.source.written_out(value),
                };
            }
            let has_cookie = document.spec.parameters.iter().any(|one| one.place == ParameterPlace::Cookie);
            if has_cookie && self.converter.is_none() {
                self.told.insert(format!(
                    "the cookies of operation `{name}` are left out: OpenAPI 2.0 has none as parameters"
                ));
            }
            item[method.to_ascii_lowercase()] = self.operation(document, known, Template { method, path, query });
        }
        Value::Object(paths)
    }

    fn operation(
        &mut self,
        document: &OperationDocument<'_>,
        known: Option<&Operation<'_>>,
        template: Template<'_>,
    ) -> Value {
        let (source, spec) = (self.source, &document.spec);
        if let Some(converter) = &mut self.converter {
            spec.name.value.clone_into(&mut converter.place);
        }
        let mut out = Map::new();
        let words = |text: &str| if text.trim().is_empty() { spaced(&spec.name.value) } else { one_line(text) };
        let old = |name: &str| known.and_then(|one| one.node.text_of(name)).unwrap_or_default();
        out.insert("operationId".into(), self.id(&spec.name.value).into());
        let summary = words(spec.summary.as_deref().unwrap_or_else(|| old("summary")));
        let description = spec.description.clone().unwrap_or_else(|| old("description").to_owned());
        // What is cut from the one can be read in the other.
        let description = if description.trim().is_empty() { summary.clone() } else { description };
        out.insert("description".into(), description.into());
        out.insert("summary".into(), names::summary(&summary).into());
        if let Some(one) = known {
            for member in one.node.members() {
                let is_kept = member.name.starts_with("x-")
                    || matches!(&*member.name, "tags" | "deprecated")
                    || self.converter.is_none() && matches!(&*member.name, "consumes" | "produces");
                if is_kept {
                    out.insert(member.name.to_string(), member.value.to_json());
                }
            }
            if let Some(converter) = &mut self.converter {
                left_out(one, converter);
                let bodies = one.parameters.iter().filter(|one| one.place == "body").map(|one| one.node);
                let answers = one.node.get("responses").map(Node::members).unwrap_or_default().iter();
                let answers = answers.filter(|one| one.name.starts_with('2'));
                let answers = answers.filter_map(|one| Some(source.definition?.follow(&one.value)));
                let kinds = [("consumes", convert::media_types(bodies)), ("produces", convert::media_types(answers))];
                out.extend(kinds.into_iter().filter_map(|(name, list)| Some((name.to_owned(), list?))));
            }
        }
        let mut list =
            parameters::parameters(source, document, known, self.converter.as_mut(), template, &mut self.told);
        list.retain(|one| !self.security.sends(one));
        let named = out.get("consumes").or(self.consumes.as_ref()).and_then(Value::as_array);
        let named: Vec<&str> = named.into_iter().flatten().filter_map(Value::as_str).collect();
        if let Some(media) = parameters::form(&list, &named) {
            out.insert("consumes".into(), json!([media]));
        }
        out.insert("parameters".into(), list.into());
        let inbound = walk::policies(source, document, Section::Inbound);
        let limits = responses::limits(&inbound);
        let responses = responses::responses(known, self.converter.as_mut(), &self.errors, &limits);
        let is_empty = |one: &Value| one["schema"].is_null() && one["$ref"].is_null();
        let mut good = responses.as_object().into_iter().flatten().filter(|(name, _)| name.starts_with('2'));
        if known.is_none() && good.all(|(name, one)| name != "204" && is_empty(one)) {
            self.without_schema.push(spec.name.value.clone());
        }
        out.insert("responses".into(), responses);
        self.pages(document, &mut out);
        Value::Object(out)
    }

    /// The operations whose pages are told by a policy of the gateway only.
    fn pages(&mut self, document: &OperationDocument<'_>, out: &mut Map<String, Value>) {
        let backend = walk::policies(self.source, document, Section::Backend);
        let collects = backend.iter().any(|one| one.certain && one.name() == "collect-pages");
        if collects && backend.iter().any(|one| one.name() == "collect-pages" && one.text("answer") == Some("array")) {
            self.collected.push(document.spec.name.value.clone());
            out.remove(PAGEABLE);
            return;
        }
        let outbound = walk::policies(self.source, document, Section::Outbound);
        let link = outbound.iter().find(|one| one.certain && one.name() == "update-next-link");
        let Some(link) = link.filter(|_| !out.contains_key(PAGEABLE)) else { return };
        if link.text("parent").is_none_or(|parent| parent == "@body()") {
            let name = link.text("property").unwrap_or("nextLink");
            let bare = name.strip_prefix("['").and_then(|name| name.strip_suffix("']")).unwrap_or(name);
            out.insert(PAGEABLE.to_owned(), json!({ "nextLinkName": bare }));
        }
    }

    /// What of it all the maker has to know.
    fn tell(&mut self, notes: &mut Vec<String>) {
        notes.extend(std::mem::take(&mut self.told));
        if !self.without_schema.is_empty() {
            notes.push(format!(
                "flows see no fields in the answers of {}: no definition says what is in them",
                listed(&self.without_schema)
            ));
        }
        if !self.collected.is_empty() {
            notes.push(format!(
                "`collect-pages` answers {} with an array: the schema of the definition has to say so",
                listed(&self.collected)
            ));
        }
    }

    /// An `operationId` that no other operation has, whatever its case.
    fn id(&mut self, name: &str) -> String {
        let plain = identifier(name);
        let mut id = plain.clone();
        let mut number = 1;
        while !self.taken.insert(id.to_ascii_lowercase()) {
            number += 1;
            id = format!("{plain}_{number}");
        }
        if id != name {
            self.told.insert(format!("operation `{name}` is called `{id}`"));
        }
        self.ids.insert(id.clone(), name.to_owned());
        id
    }
}

/// The first of some names, for people.
fn listed(names: &[String]) -> String {
    const MOST: usize = 5;
    let list: Vec<String> = names.iter().take(MOST).map(|name| format!("`{name}`")).collect();
    let more = names.len().saturating_sub(MOST);
    if more > 0 { format!("{} and {more} more", list.join(", ")) } else { list.join(", ") }
}

/// The names of operations that extensions refer to, where they are called otherwise now.
fn refer(value: &mut Value, renamed: &BTreeMap<&str, &str>, is_extension: bool) {
    match value {
        Value::Array(items) => items.iter_mut().for_each(|item| refer(item, renamed, is_extension)),
        Value::Object(members) => {
            for (name, value) in members.iter_mut() {
                let new =
                    value.as_str().filter(|_| is_extension && name == "operationId").and_then(|id| renamed.get(id));
                match new {
                    Some(new) => *value = (*new).into(),
                    None => refer(value, renamed, is_extension || name.starts_with("x-ms-")),
                }
            }
        }
        _ => {}
    }
}

/// Tells what of an operation has no place in 2.0.
fn left_out(operation: &Operation<'_>, converter: &mut Converter<'_>) {
    let has = |name: &str| {
        operation.node.get(name).is_some_and(|node| !node.members().is_empty() || !node.items().is_empty())
    };
    if has("callbacks") {
        converter.lose("no `callbacks`");
    }
    if has("servers") {
        converter.lose("no `servers` of an operation, and all of them are called through the gateway");
    }
}
