//! A package into the TOML of one API, and what the process must know of it.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::num::NonZeroU32;

use http::Method;

use super::caller;
use super::connection::{Asked, Kind};
use super::decision;
use super::definition::{Definition, Operation, Parameter};
use super::package::Package;
use super::properties::Properties;
use super::report::Report;
use super::security;
use super::service::{self, Validation};
use super::template::{Converted, Grade, Instance, Section};
use super::tree::Value;
use super::trial::{Trial, Tried};
use super::written::{Block, holds_named_value, one_line, text};
use crate::routing::{BasePath, Build, Conflict, Router, Template};

/// What is written for a package.
pub struct Generated {
    /// The API's file.
    pub api: String,
    /// The URL of its backend.
    pub url: String,
    /// Why the URL is not the maker's.
    pub placeholder: Option<String>,
    /// What it asks of connections.
    pub asked: Asked,
    /// What became of it.
    pub report: Report,
}

/// How many characters of a description are written; the whole of it is in the definition.
const MAX_DESCRIPTION: usize = 300;

/// What is written beside what the package says, and how it is tried.
#[derive(Clone, Copy)]
pub struct Wanted<'a> {
    /// What is written for validation.
    pub validation: Validation,
    /// How many requests a minute each connection may make.
    pub limit: Option<NonZeroU32>,
    /// Where policies are tried before they are written.
    pub trial: &'a Trial,
}

/// Writes the API `name` of a package. `definition` is the path of its OpenAPI file in the folder.
pub fn generate(
    name: &str,
    definition_path: &str,
    definition: &Definition<'_>,
    properties: &Properties<'_>,
    package: &Package,
    wanted: Wanted<'_>,
) -> Generated {
    let Wanted { validation, limit, trial } = wanted;
    let mut writer = Writer {
        definition,
        properties,
        trial,
        report: Report { api: name.to_owned(), operations: definition.operations.len(), ..Report::default() },
        out: String::new(),
        told: HashSet::new(),
    };
    writer.head(name, definition_path, package.has_script);
    caller::errors().write("[api.errors]", &mut writer.out);
    let headers = writer.decided(caller::headers(), &[decision::HEADERS]);
    headers.write("[api.headers]", &mut writer.out);
    let asked = Asked::of(definition, properties);
    asked.write(&mut writer.out);
    let (shared, lists, scoped) = writer.policies();
    let names = service::names(&definition.operations);
    let refused = refused_operations(&definition.operations);
    caller::deadline().write("[[inbound]]", &mut writer.out);
    if let Some(calls) = limit {
        let limit = writer.decided(caller::limit(calls), &[decision::LIMIT]);
        limit.write("[[inbound]]", &mut writer.out);
    }
    if let Some(block) = service::defaults(definition, &names, &refused) {
        block.write("[[inbound]]", &mut writer.out);
    }
    for (header, block) in service::requests(validation) {
        block.write(header, &mut writer.out);
    }
    for block in security::policies(definition, &asked, &mut writer.report) {
        block.write("[[inbound]]", &mut writer.out);
    }
    writer.on_premises(&asked);
    for policy in &shared {
        let block = writer.decided(policy.block.clone(), &policy.decisions);
        block.write(&format!("[[{}]]", policy.section.as_str()), &mut writer.out);
    }
    caller::answers().write("[[outbound]]", &mut writer.out);
    for (header, block) in service::answers(validation, &names, &refused, &lists, &scoped) {
        block.write(header, &mut writer.out);
    }
    writer.operations(&names, &refused, &lists, &scoped);
    if package.has_script {
        writer.script();
    }
    let base = &definition.base;
    Generated {
        api: writer.out,
        url: base.url.clone(),
        placeholder: base.placeholder.clone(),
        asked,
        report: writer.report,
    }
}

struct Writer<'a, 'n> {
    definition: &'a Definition<'n>,
    properties: &'a Properties<'n>,
    trial: &'a Trial,
    report: Report,
    out: String,
    /// The decisions that the file tells of.
    told: HashSet<&'static str>,
}

impl Writer<'_, '_> {
    fn head(&mut self, name: &str, definition_path: &str, has_script: bool) {
        let title = if self.definition.title.is_empty() { name } else { self.definition.title };
        let _ = writeln!(self.out, "#:schema schema.json\n# {}", one_line(title));
        let _ = writeln!(
            self.out,
            "# Written by `sluicegate import connector`; edit it freely, a further import keeps what you change."
        );
        let mut block = Block::default()
            .text("name", name)
            .text("path", &format!("/{name}"))
            .text("backend", name)
            .text("definition", definition_path);
        if !self.definition.description.is_empty() {
            block = block.text("description", &shorten(self.definition.description));
        }
        if let Some(written) = &self.definition.base.placeholder {
            let (is, why) = match written.as_str() {
                "none" => ("The definition names no host".to_owned(), "the definition names none".to_owned()),
                written => {
                    let written = one_line(written);
                    (
                        format!("The definition's host is `{written}`, which cannot be called"),
                        format!("`{written}` is no host"),
                    )
                }
            };
            block = block.comment(format!("{is}: a policy sets it, or set the URL in gateway.toml."));
            let why = format!("{why}; the backend's URL is {}", self.definition.base.url);
            self.report.add(Grade::Approximated, "host", why);
        }
        if has_script {
            block = block.comment(format!("Unsupported: script.csx, code in C#; it is for {}.", self.scripted()));
        }
        if self.definition.operations.is_empty() {
            self.report.add(Grade::Unsupported, "operations", "the definition has none, so nothing can be called");
        }
        block.write("[api]", &mut self.out);
    }

    /// A table, with the decisions that were taken for it and that nothing before it tells of.
    fn decided(&mut self, mut block: Block, decisions: &[&'static str]) -> Block {
        for decision in decisions {
            self.report.decide(decision);
            if self.told.insert(decision) {
                block = block.comment(format!("Decided: {decision}."));
            }
        }
        block
    }

    /// The policies of the API, and those of its operations by their place. What is for all operations goes to the API as long as
    /// nothing for some of them came before it in its section; behind that it goes to each operation, so that for each one
    /// the order is the package's.
    fn policies(&mut self) -> (Vec<Converted>, Vec<Vec<usize>>, Vec<Converted>) {
        let operations = &self.definition.operations;
        let (mut shared, mut scoped) = (Vec::new(), Vec::new());
        let host = self.definition.base.host();
        let mut lists = vec![Vec::new(); operations.len()];
        let mut closed: Vec<Section> = Vec::new();
        for (number, (mut converted, targets)) in self.tried(host).into_iter().enumerate() {
            let instance = &self.properties.policies[number];
            let subject = subject(number, instance);
            for name in instance.operations.iter().filter_map(|node| node.text()) {
                if !operations.iter().any(|operation| operation.id == name) {
                    let mut note = format!("no operation is called `{name}`");
                    if let Some(other) = operations.iter().find(|one| one.id.eq_ignore_ascii_case(name)) {
                        let _ = write!(note, "; `{}` is, and names compare with their case", other.id);
                        // Told here: a policy whose names are all others is written nowhere.
                        self.report.decide(decision::OPERATION_CASE);
                    }
                    self.report.add(Grade::Approximated, &subject, note);
                }
            }
            self.report.add(converted.grade, &subject, converted.notes.join("; "));
            for note in &converted.notes {
                converted.block = converted.block.comment(format!("{}: {note}", capital(converted.grade.as_str())));
            }
            let for_all = instance.operations.is_empty();
            // What is written as a comment has no place in the order.
            if for_all && (converted.block.off || !closed.contains(&converted.section)) {
                shared.push(converted);
                continue;
            }
            if !converted.block.off {
                closed.push(converted.section);
            }
            for place in targets {
                lists[place].push(scoped.len());
            }
            scoped.push(converted);
        }
        (shared, lists, scoped)
    }

    /// The policies, each with the operations it is for. What the gateway would refuse is taken out: from all of it, or from the
    /// operations that cannot have it.
    fn tried(&self, host: &str) -> Vec<(Converted, Vec<usize>)> {
        let operations = &self.definition.operations;
        let templates: Vec<String> = operations.iter().map(Operation::template).collect();
        let mut converted: Vec<(Converted, Vec<usize>)> = Vec::new();
        for instance in &self.properties.policies {
            let is_named = |id: &str| instance.operations.iter().any(|node| node.text() == Some(id));
            let for_all = instance.operations.is_empty();
            let targets = (0..operations.len()).filter(|place| for_all || is_named(&operations[*place].id));
            converted.push((instance.convert(host), targets.collect()));
        }
        let mut tried = Vec::new();
        let mut of = Vec::new();
        for (number, (policy, targets)) in converted.iter().enumerate().filter(|(_, (policy, _))| !policy.block.off) {
            let instance = &self.properties.policies[number];
            // For all others an operation is as good as another.
            let places: Vec<Option<usize>> = match targets.as_slice() {
                [_, ..] if !instance.operations.is_empty() && instance.reads_path() => {
                    targets.iter().copied().map(Some).collect()
                }
                _ => vec![None],
            };
            for place in places {
                let template = place.map(|place| templates[place].as_str());
                tried.push(Tried { block: &policy.block, section: policy.section, template });
                of.push((number, place));
            }
        }
        let refusals: Vec<_> = self.trial.refusals(&tried).into_iter().zip(of).collect();
        for (refusal, (number, place)) in refusals {
            let (Some(why), (policy, targets)) = (refusal, &mut converted[number]) else { continue };
            match place {
                Some(place) if targets.len() > 1 => {
                    targets.retain(|other| *other != place);
                    policy
                        .note(format!("not for `{}`, where the gateway would refuse it: {why}", operations[place].id));
                }
                _ => policy.refuse(&why),
            }
        }
        converted
    }

    fn operations(&mut self, names: &[String], refused: &[Option<String>], lists: &[Vec<usize>], scoped: &[Converted]) {
        for (place, operation) in self.definition.operations.iter().enumerate() {
            let name = &names[place];
            let mut block = Block::default()
                .text("name", name)
                .text("match", &format!("{} {}", operation.method, operation.template()));
            if !operation.has_id {
                block = block.comment("The definition gives it no `operationId`.");
                self.report.add(
                    Grade::Approximated,
                    operation.title(),
                    format!("it has no `operationId` and is called `{name}`"),
                );
            }
            let own = |key| operation.node.text_of(key).map(one_line).filter(|text| !text.is_empty());
            if let Some(summary) = own("summary") {
                block = block.text("summary", &summary);
            } else if let Some(description) = own("description") {
                block = block.text("description", &shorten(&description));
            }
            let parameters: Vec<String> = operation.parameters.iter().map(parameter).collect();
            if !parameters.is_empty() {
                block = block.raw("parameters", format!("[\n  {},\n]", parameters.join(",\n  ")));
            }
            if let Some(why) = &refused[place] {
                self.report.add(Grade::Unsupported, format!("operation `{name}`"), why);
                block = Block { off: true, ..block.comment(format!("Never called: {why}.")) };
            }
            block.write("[[operation]]", &mut self.out);
            let own: Vec<&Converted> = lists[place].iter().filter_map(|number| scoped.get(*number)).collect();
            let mut redirect = caller::own_answers(&own).filter(|_| !block.off);
            for (number, policy) in own.iter().enumerate() {
                let off = policy.block.off || block.off;
                let decisions = if off { &[][..] } else { &policy.decisions };
                let table = Block { off, ..self.decided(policy.block.clone(), decisions) };
                table.write(&format!("[[operation.{}]]", policy.section.as_str()), &mut self.out);
                if let Some((_, redirect)) = redirect.take_if(|(last, _)| *last == number) {
                    redirect.write("[[operation.outbound]]", &mut self.out);
                }
            }
        }
    }

    /// The platform's way into networks, which a gateway that stands there does not need.
    fn on_premises(&mut self, asked: &Asked) {
        let has_parameter = asked.parameters.iter().chain(asked.sets.iter().flat_map(|(_, list)| list));
        let is_named = self.properties.capabilities.iter().any(|name| name.eq_ignore_ascii_case("gateway"));
        if is_named || has_parameter.into_iter().any(|one| one.kind == Kind::Gateway) {
            let text = "the platform's on-premises gateway is not used: this gateway calls the backend itself";
            self.report.add(Grade::Unsupported, "gateway", text);
        }
    }

    fn script(&mut self) {
        let which = self.scripted();
        self.report.add(Grade::Unsupported, "script.csx", format!("code in C# does not run here; it is for {which}"));
        if self.properties.policies.iter().any(|policy| policy.section() == Section::Outbound) {
            self.report.decide(decision::SCRIPT);
        }
    }

    /// What the script is for.
    fn scripted(&self) -> String {
        let listed: Vec<String> =
            self.properties.script_operations.iter().filter_map(|node| node.text()).map(one_line).collect();
        if listed.is_empty() { "all operations".to_owned() } else { format!("`{}`", listed.join("`, `")) }
    }
}

/// `policy 3, setheader "Add key"`.
fn subject(number: usize, instance: &Instance<'_>) -> String {
    let title = one_line(instance.title);
    let id = if instance.id.is_empty() { "without templateId" } else { &instance.id };
    format!("policy {}, {id} {title:?}", number + 1)
}

fn capital(word: &str) -> String {
    let mut characters = word.chars();
    characters.next().map_or_else(String::new, |first| first.to_uppercase().chain(characters).collect())
}

/// A parameter as an inline table.
fn parameter(parameter: &Parameter<'_>) -> String {
    let place = if parameter.place == "formData" { "form" } else { parameter.place };
    let mut out = format!("{{ name = {}, in = {}", text(&one_line(parameter.name)), text(place));
    let kind = parameter
        .type_name()
        .filter(|kind| matches!(*kind, "string" | "integer" | "number" | "boolean" | "array" | "object" | "file"));
    if let Some(kind) = kind {
        let _ = write!(out, ", type = {}", text(kind));
    }
    if let Some(format) = parameter.schema.text_of("format").filter(|format| !format.is_empty()) {
        let _ = write!(out, ", format = {}", text(format));
    }
    if parameter.required {
        out.push_str(", required = true");
    }
    match parameter.schema.get("default").or_else(|| parameter.node.get("default")).map(|node| &node.value) {
        // The definition keeps it; here it would be a named value.
        Some(Value::Text(default)) if holds_named_value(default) => {}
        Some(Value::Text(default)) => out.push_str(&format!(", default = {}", text(default))),
        Some(Value::Bool(default)) => out.push_str(&format!(", default = {default}")),
        // TOML's whole numbers have 64 bits.
        Some(Value::Number(default)) if default.parse::<i64>().is_ok() => {
            out.push_str(&format!(", default = {default}"));
        }
        Some(Value::Number(default)) => {
            if let Some(number) = default.parse::<f64>().ok().filter(|number| number.is_finite()) {
                let _ = write!(out, ", default = {number:?}");
            }
        }
        _ => {}
    }
    if let Some(visibility @ ("important" | "advanced" | "internal")) = parameter.visibility() {
        let _ = write!(out, ", visibility = {}", text(visibility));
    }
    out.push_str(" }");
    out
}

/// Why an operation cannot be called, by its place: its path cannot be read, or one before it takes all of its requests.
fn refused_operations(operations: &[Operation<'_>]) -> Vec<Option<String>> {
    let mut why = vec![None; operations.len()];
    let mut builder = Router::builder();
    let Ok(base) = BasePath::parse("/") else { return why };
    let api = builder.api(0_u32, &[], &base, None);
    for (place, operation) in operations.iter().enumerate() {
        match (Method::from_bytes(operation.method.as_bytes()), Template::parse(&operation.template())) {
            (Ok(method), Ok(template)) => builder.operation(api, method, &template, place),
            (_, Err(error)) => why[place] = Some(error.message),
            (Err(_), _) => why[place] = Some("its method is none".to_owned()),
        }
    }
    let Build { conflicts, .. } = builder.build();
    for conflict in conflicts {
        if let Conflict::Duplicate { first, second, .. } | Conflict::Ambiguous { first, second, .. } = conflict {
            why[first.max(second)] =
                Some(format!("its requests are also those of `{}`", operations[first.min(second)].id));
        }
    }
    why
}

fn shorten(description: &str) -> String {
    let line = one_line(description);
    match line.char_indices().nth(MAX_DESCRIPTION) {
        None => line,
        Some((end, _)) => {
            let cut = line[..end].rfind(' ').unwrap_or(end);
            format!("{} …", &line[..cut])
        }
    }
}
