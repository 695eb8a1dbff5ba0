//! `[server] traces` into what traces requests, and the secrets that no trace shows.

use std::borrow::Cow;
use std::sync::Arc;

use http::HeaderName;

use super::world::{Shared, World};
use crate::config::Diagnostics;
use crate::config::connections::{ParameterSpec, ParameterType};
use crate::config::diagnostic::Diagnostic;
use crate::config::folder::Document;
use crate::gateway::Api;
use crate::telemetry::Redactor;
use crate::telemetry::redact::MASK;
use crate::trace::{MOST_KEPT, Secrets, Tracing};

/// How many traces are kept.
pub fn kept(document: &Document<'_>, shared: &Shared) -> usize {
    let asked = document.server.traces.as_ref().map_or(0, |traces| traces.value as usize);
    shared.traces.wanted(asked.min(MOST_KEPT))
}

/// How requests are traced, when they are.
pub fn tracing(
    document: &Document<'_>,
    world: &World,
    apis: &[Arc<Api>],
    diagnostics: &mut Diagnostics,
) -> Option<Arc<Tracing>> {
    if let (Some(traces), Some(file)) = (&document.server.traces, document.gateway)
        && traces.value as usize > MOST_KEPT
    {
        let text = format!("`{}` traces are more than can be kept", traces.value);
        diagnostics
            .push(Diagnostic::error("bad-value", file, traces.span.clone(), text).hint(format!("at most {MOST_KEPT}")));
    }
    let keep = kept(document, &world.shared);
    if keep == 0 {
        return None;
    }
    let parameters = world.secret_parameters.lock();
    let headers = world.secret_headers.lock();
    let named = headers.iter().filter_map(|name| name.parse::<HeaderName>().ok());
    let redactor = Redactor::default()
        .with_parameters(parameters.iter().map(String::as_str))
        .with_headers(named.chain(apis.iter().map(|api| api.key_header.clone())))
        .with_headers(credential_headers(world));
    let secrets = Secrets::new(secrets(document, world, &redactor));
    Some(Arc::new(Tracing::new(world.shared.traces.clone(), keep, redactor, secrets)))
}

/// The headers in which backends are shown credentials.
fn credential_headers(world: &World) -> impl Iterator<Item = HeaderName> {
    let credentials = world.backends.values().filter_map(|backend| backend.credentials.as_ref());
    credentials.flat_map(|own| own.headers.iter().map(|(name, _)| name.clone()))
}

/// The secrets of the configuration, each with what is shown in its place.
fn secrets<'a>(
    document: &'a Document<'_>,
    world: &'a World,
    redactor: &'a Redactor,
) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
    // The same value may have several names; the first that is found is shown.
    let named = document.named.iter().filter(|(_, value)| value.secret && !value.broken);
    let named = named.map(|(name, value)| (value.value.as_str(), Cow::Owned(format!("{{{{{name}}}}}"))));
    let connections = document.connections.iter().flat_map(move |entry| {
        let asked = document.apis.iter().find(|api| *api.spec.name.value == *entry.spec.api.value);
        let asked = asked.and_then(|api| api.spec.connection.as_ref());
        entry.spec.parameters.iter().filter_map(move |(name, value)| {
            let declared = asked.and_then(|asked| {
                let of_sets = asked.sets.values().flat_map(|set| &set.parameters);
                let mut all = asked.parameters.iter().chain(of_sets);
                all.find(|(known, one)| known.eq_ignore_ascii_case(name) && is_secret(one))
            });
            let hidden = declared.is_some() || redactor.is_secret_parameter(name);
            hidden.then_some((value.value.as_str(), Cow::Borrowed(MASK)))
        })
    });
    let credentials = world.backends.values().filter_map(|backend| backend.credentials.as_deref());
    let credentials = credentials.flat_map(|own| {
        let headers = own.headers.iter().flat_map(|(_, values)| values).filter_map(|value| value.to_str().ok());
        let headers = headers.flat_map(|text| [Some(text), text.split_once(' ').map(|(_, credential)| credential)]);
        let headers = headers.flatten();
        headers.chain(own.query.iter().flat_map(|(_, values)| values).map(|value| &**value))
    });
    named.chain(connections).chain(credentials.map(|secret| (secret, Cow::Borrowed(MASK))))
}

fn is_secret(parameter: &ParameterSpec) -> bool {
    matches!(parameter.kind, ParameterType::Securestring | ParameterType::OauthSetting)
}
