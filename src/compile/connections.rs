//! `[connections]` into what runs, checked against what the APIs ask of them.

use std::collections::HashMap;
use std::sync::Arc;

use super::credentials;
use super::world::World;
use crate::config::connections::{ConnectionParametersSpec, ConnectionSpec, ParameterSpec, ParameterType};
use crate::config::diagnostic::{one_of, suggest};
use crate::config::folder::{ApiDocument, Document, Entry};
use crate::config::source::{FileId, Sources};
use crate::config::{At, Diagnostic, Diagnostics};
use crate::gateway::{Connection, Connections};

/// Reports connections of APIs that there are not.
pub fn check_apis(document: &Document<'_>, diagnostics: &mut Diagnostics) {
    let Some(file) = document.gateway else { return };
    for entry in document.connections.iter().filter(|entry| entry.clean) {
        super::world::known_apis(std::slice::from_ref(&entry.spec.api), document, file, diagnostics);
    }
}

/// Tells of APIs that ask for a connection and have none.
pub fn check_asked(document: &Document<'_>, diagnostics: &mut Diagnostics) {
    for api in &document.apis {
        let Some(asked) = &api.spec.connection else { continue };
        let is_needed =
            |one: &ParameterSpec| one.required && one.default.is_none() && one.kind != ParameterType::GatewaySetting;
        let name = &api.spec.name;
        let needed: Vec<&str> =
            asked.parameters.iter().filter(|(_, one)| is_needed(one)).map(|(name, _)| name.as_str()).collect();
        let asks = !needed.is_empty() || !asked.sets.is_empty();
        if !asks || document.connections.iter().any(|entry| *entry.spec.api == *name.value) {
            continue;
        }
        let what = match needed.as_slice() {
            [] => format!("the parameter set {}", one_of(asked.sets.keys().map(String::as_str))),
            needed => format!("the parameters `{}`", needed.join("`, `")),
        };
        let text = format!("API `{}` asks its connections for {what}, and has none", name.value);
        diagnostics.push(Diagnostic::warning("no-connection", api.file, name.span.clone(), text).hint(
            "`[connections.NAME]` in gateway.toml, where an import leaves one in comments; without it, what its policies need is not there",
        ));
    }
}

/// The connections of an API.
pub fn connections(
    api: &ApiDocument<'_>,
    document: &Document<'_>,
    world: &World,
    sources: &Sources,
    diagnostics: &mut Diagnostics,
) -> Connections {
    let Some(file) = document.gateway else { return Connections::default() };
    let mut found = Connections::default();
    let mut used: HashMap<&str, &str> = HashMap::new();
    let mut report = Report { file, sources, diagnostics };
    for entry in document.connections.iter().filter(|entry| *entry.spec.api == *api.spec.name.value) {
        let connection = Arc::new(connection(entry, api.spec.connection.as_ref(), world, &mut report));
        let spec = &entry.spec;
        for subscription in &spec.subscriptions {
            if let Some(other) = used.insert(subscription, entry.name.get_ref()) {
                let text = format!(
                    "subscription `{}` has two connections of API `{}`: `{other}` and this one",
                    subscription.value, api.spec.name.value
                );
                report.error("two-connections", subscription, text, "a call uses one of them");
            }
            report.known_subscription(subscription, document);
            found.by_subscription.insert(subscription.as_str().into(), connection.clone());
        }
        if spec.subscriptions.is_empty()
            && let Some(other) = found.otherwise.replace(connection)
        {
            let text = format!(
                "API `{}` has two connections for every call: `{}` and this one",
                api.spec.name.value, other.name
            );
            report.error("two-connections", &spec.api, text, "`subscriptions` says whose calls each is for");
        }
    }
    found
}

fn connection(
    entry: &Entry<ConnectionSpec>,
    asked: Option<&ConnectionParametersSpec>,
    world: &World,
    report: &mut Report<'_>,
) -> Connection {
    let spec = &entry.spec;
    let mut given: Vec<(String, String)> =
        spec.parameters.iter().map(|(name, value)| (name.clone(), value.value.clone())).collect();
    let has_token = spec.token_source.is_some() || spec.pass_through;
    if let Some(asked) = asked {
        let set = spec.set.as_ref().and_then(|name| {
            let set = asked.sets.get(name.as_str());
            if set.is_none() {
                let hint = match asked.sets.is_empty() {
                    true => "the API has no sets".to_owned(),
                    false => format!("one of {}", one_of(asked.sets.keys().map(String::as_str))),
                };
                report.error("unknown-set", name, format!("the API has no set `{}`", name.value), &hint);
            }
            set
        });
        if spec.set.is_none() && asked.parameters.is_empty() && !asked.sets.is_empty() {
            let sets = one_of(asked.sets.keys().map(String::as_str));
            let text = format!("connection `{}` does not say which set its parameters belong to", entry.name.get_ref());
            report.error("missing-key", &spec.api, text, &format!("`set` is one of {sets}"));
        }
        let mut declared: Vec<(&String, &ParameterSpec)> = set.iter().flat_map(|set| &set.parameters).collect();
        // Where both have the same one, that of the set counts.
        let is_own = |name: &String| set.is_some_and(|set| set.parameters.keys().any(|own| same(own, name)));
        declared.extend(asked.parameters.iter().filter(|(name, _)| !is_own(name)));
        for (name, value) in &spec.parameters {
            match declared.iter().find(|(known, _)| same(known, name)) {
                Some((_, parameter)) => report.value(name, value, parameter),
                None => {
                    let names: Vec<&str> = declared.iter().map(|(known, _)| known.as_str()).collect();
                    let hint = suggest(name, names.iter().copied())
                        .unwrap_or_else(|| format!("it asks for {}", one_of(names.iter().copied())));
                    let hint = if names.is_empty() { "it asks for none".to_owned() } else { hint };
                    report.error("unknown-parameter", value, format!("the API asks for no parameter `{name}`"), &hint);
                }
            }
        }
        for (name, parameter) in declared {
            if spec.parameters.keys().any(|known| same(known, name)) {
                continue;
            }
            let token = has_token && parameter.kind == ParameterType::OauthSetting;
            match &parameter.default {
                Some(value) => given.push((name.clone(), value.clone())),
                None if parameter.required && !token && parameter.kind != ParameterType::GatewaySetting => {
                    let text = format!("connection `{}` lacks the parameter `{name}`", entry.name.get_ref());
                    let key = if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                        name.clone()
                    } else {
                        format!("\"{name}\"")
                    };
                    let hint = format!("`{key} = \"…\"` below `[connections.{}.parameters]`", entry.name.get_ref());
                    report.error("missing-parameter", &spec.api, text, &hint);
                }
                None => {}
            }
        }
    }
    if let (Some(source), true) = (&spec.token_source, spec.pass_through) {
        report.error(
            "bad-connection",
            source,
            "both `token-source` and `pass-through` are given".into(),
            "give one of them",
        );
    }
    let token = spec.token_source.as_ref().and_then(|name| match credentials::find(&world.token_sources, name) {
        Ok(found) if found.source.settings.grant.is_for_caller() => {
            let text = format!("source `{}` makes tokens of callers' tokens", name.value);
            report.error("bad-connection", name, text, "a connection needs a source with a token of its own");
            None
        }
        Ok(found) => Some(found.source.fixed(found.target.clone())),
        Err(error) => {
            if !error.is_reported() {
                report.error(error.code, name, error.message, error.hint.as_deref().unwrap_or_default());
            }
            None
        }
    });
    let unauthenticated = world.shared.metrics.connection(entry.name.get_ref());
    let set = spec.set.as_ref().map(|set| set.as_str());
    Connection::new(entry.name.get_ref(), set, given, token, spec.pass_through, unauthenticated)
}

/// Names compare without case.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase()
}

struct Report<'a> {
    file: FileId,
    sources: &'a Sources,
    diagnostics: &'a mut Diagnostics,
}

impl Report<'_> {
    fn error<T>(&mut self, code: &'static str, field: &At<T>, message: String, hint: &str) {
        self.diagnostics.push(Diagnostic::error(code, self.file, field.span.clone(), message).hint(hint));
    }

    /// Checks a value against what is asked for. The value itself is not repeated: it may be secret.
    fn value(&mut self, name: &str, value: &At<String>, parameter: &ParameterSpec) {
        let fits = match parameter.kind {
            ParameterType::Int => value.parse::<i64>().is_ok(),
            ParameterType::Bool => matches!(value.as_str(), "true" | "false"),
            _ => true,
        };
        if !fits {
            let kind = if parameter.kind == ParameterType::Int { "a whole number" } else { "`true` or `false`" };
            self.error("bad-parameter", value, format!("parameter `{name}` is {kind}"), "written as text, in quotes");
        }
        if !parameter.allowed.is_empty() && !parameter.allowed.contains(&value.value) {
            let allowed = one_of(parameter.allowed.iter().map(String::as_str));
            self.error(
                "bad-parameter",
                value,
                format!("parameter `{name}` cannot have this value"),
                &format!("one of {allowed}"),
            );
        }
        let secret = matches!(parameter.kind, ParameterType::Securestring | ParameterType::OauthSetting);
        let written = self.sources.file(self.file).text.get(value.span.clone()).unwrap_or_default();
        if secret && !written.contains("{{") {
            let text = format!("the secret parameter `{name}` stands in the file");
            self.diagnostics.push(Diagnostic::warning("secret-in-file", self.file, value.span.clone(), text).hint(
                "take it from a named value: `\"{{name}}\"`, with `name = { env = \"…\" }` below `[named-values]`",
            ));
        }
    }

    /// Subscriptions of the key file are not listed here.
    fn known_subscription(&mut self, name: &At<String>, document: &Document<'_>) {
        let names = || document.subscriptions.iter().map(|entry| entry.name.get_ref().as_str());
        if document.key_file.is_some() || names().any(|known| known == name.as_str()) {
            return;
        }
        let hint = suggest(name, names()).unwrap_or_else(|| "define it under `[subscriptions]`".to_owned());
        self.error("unknown-subscription", name, format!("unknown subscription `{}`", name.value), &hint);
    }
}
