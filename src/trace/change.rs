//! The difference that a step made: the message and the state of its exchange before and after.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, Method, StatusCode, Uri};
use serde_json::Value as Json;

use super::body::{Known, Shown};
use super::mask::Learned;
use super::model::Visit;
use super::places::{Places, learn_all};
use crate::gateway::Backend;
use crate::pipeline::{Context, Message};
use crate::telemetry::Redactor;

/// What a step made of a message. Before comes first.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Change {
    /// The method.
    pub method: Option<(String, String)>,
    /// The URL of the request, as it would be sent.
    pub url: Option<(String, String)>,
    /// The status.
    pub status: Option<(u16, u16)>,
    /// The headers that differ; no values are none of that name.
    pub headers: Vec<Difference>,
    /// The body.
    pub body: Option<Box<BodyChange>>,
    /// The variables, as JSON.
    pub variables: Vec<Difference>,
    /// What else is known of the exchange: who calls, which backend, how limits stand.
    pub facts: Vec<Difference>,
}

/// How a body differs.
#[derive(Debug, PartialEq, Eq)]
pub enum BodyChange {
    /// Both, as far as they are known.
    Whole(Shown, Shown),
    /// The places in which two JSON bodies differ.
    Places(Places),
}

impl BodyChange {
    fn between(before: &Snapshot, after: &Snapshot, redactor: &Redactor, learned: &mut Learned) -> Option<Self> {
        match (&before.body, &after.body) {
            (Known::Bytes(a), Known::Bytes(b)) if a == b => return None,
            (Known::Stream, Known::Stream) => return None,
            (Known::Bytes(a), Known::Bytes(b)) => {
                let found = Places::between((a, &before.headers), (b, &after.headers), redactor, learned);
                if let Some(places) = found {
                    return Some(Self::Places(places));
                }
            }
            _ => {}
        }
        let mut shown = |now: &Snapshot| shown(&now.body, &now.headers, redactor, learned);
        Some(Self::Whole(shown(before), shown(after)))
    }
}

/// Something with a name that differs.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: String,
    /// Its value before; empty when it was not there.
    pub before: Vec<String>,
    /// Its value after; empty when it is gone.
    pub after: Vec<String>,
}

impl Change {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn texts(&mut self, visit: Visit<'_>) {
        for (before, after) in self.method.iter_mut().chain(&mut self.url) {
            visit(before);
            visit(after);
        }
        for one in self.headers.iter_mut().chain(&mut self.variables).chain(&mut self.facts) {
            visit(&mut one.name);
            one.before.iter_mut().chain(&mut one.after).for_each(&mut *visit);
        }
        match self.body.as_deref_mut() {
            Some(BodyChange::Whole(before, after)) => {
                before.text_mut().into_iter().chain(after.text_mut()).for_each(visit);
            }
            Some(BodyChange::Places(places)) => places.texts(visit),
            None => {}
        }
    }

    /// Cuts bodies to what is shown, now that the secrets are taken out. `longest` is the length of the longest of them.
    pub(super) fn finish(&mut self, longest: usize) {
        match self.body.as_deref_mut() {
            Some(BodyChange::Whole(before, after)) => {
                before.finish(longest);
                after.finish(longest);
            }
            Some(BodyChange::Places(places)) => places.finish(longest),
            None => {}
        }
    }

    /// About the memory that its texts take.
    pub(super) fn weight(&self) -> usize {
        let urls: usize = self.url.iter().map(|(before, after)| before.len() + after.len()).sum();
        let all = self.headers.iter().chain(&self.variables).chain(&self.facts);
        let values = all.map(|one| {
            one.name.len()
                + one.before.iter().chain(&one.after).map(|text| text.len() + size_of::<String>()).sum::<usize>()
        });
        let body = match self.body.as_deref() {
            Some(BodyChange::Whole(before, after)) => before.weight() + after.weight(),
            Some(BodyChange::Places(places)) => places.weight(),
            None => 0,
        };
        urls + values.sum::<usize>() + body
    }
}

/// A message and the state of its exchange at one moment.
#[derive(Debug)]
pub(super) struct Snapshot {
    method: Option<Method>,
    uri: Option<Uri>,
    backend: Option<Arc<Backend>>,
    status: Option<StatusCode>,
    headers: HeaderMap,
    body: Known,
    variables: Vec<(Arc<str>, Json)>,
    facts: BTreeMap<String, String>,
    /// Headers that the answer will have, whatever it will be.
    later: HeaderMap,
}

impl Snapshot {
    pub(super) fn of(cx: &Context<'_>) -> Self {
        let operation = cx.exchange.operation.as_ref();
        let backend = || operation.and_then(|operation| operation.backend.clone());
        let (method, uri, status) = match &cx.message {
            Message::Request(request) => (Some(request.method().clone()), Some(request.uri().clone()), None),
            Message::Response(response) => (None, None, Some(response.status())),
        };
        Self {
            method,
            uri,
            backend: cx.state.backend.clone().or_else(backend),
            status,
            headers: cx.message.headers().clone(),
            body: Known::of(cx.message.body()),
            variables: cx.state.variables.clone(),
            facts: facts(cx),
            later: cx.state.response_headers.iter().cloned().collect(),
        }
    }

    fn url(&self, redactor: &Redactor, learned: &mut Learned) -> Option<String> {
        let uri = self.uri.as_ref()?;
        let base = self.backend.as_ref().and_then(|backend| backend.endpoints().first());
        let base = base.map(|target| target.endpoint.url()).unwrap_or_default();
        Some(learned.url(redactor, &format!("{base}{uri}")))
    }

    /// What is different `after` this moment.
    pub(super) fn until(&self, after: &Self, redactor: &Redactor, learned: &mut Learned) -> Change {
        for now in [self, after] {
            if let Known::Bytes(body) = &now.body {
                learn_all(body, &now.headers, redactor, learned);
            }
        }
        let mut change = Change::default();
        if self.method != after.method {
            change.method =
                self.method.as_ref().zip(after.method.as_ref()).map(|(a, b)| (a.to_string(), b.to_string()));
        }
        let urls = self.url(redactor, learned).zip(after.url(redactor, learned));
        // Compared as they are, shown without secrets: what differs in them alone shows as the same.
        let same = self.uri == after.uri && same_backend(self.backend.as_ref(), after.backend.as_ref());
        change.url = urls.filter(|_| !same);
        if self.status != after.status {
            change.status = self.status.zip(after.status).map(|(a, b)| (a.as_u16(), b.as_u16()));
        }
        change.headers = headers(&self.headers, &after.headers, redactor, learned);
        change.body = BodyChange::between(self, after, redactor, learned).map(Box::new);
        for (name, value) in &after.variables {
            let before = self.variables.iter().find(|(known, _)| known == name).map(|(_, value)| value);
            if before != Some(value) {
                let before = before.map(|value| variable(name, value, redactor, learned));
                let after = variable(name, value, redactor, learned);
                change.variables.push(Difference {
                    name: name.to_string(),
                    before: before.into_iter().collect(),
                    after: vec![after],
                });
            }
        }
        let names = self.facts.keys().chain(after.facts.keys().filter(|name| !self.facts.contains_key(*name)));
        for name in names {
            let (before, now) = (self.facts.get(name), after.facts.get(name));
            if before != now {
                let list = |text: Option<&String>| text.cloned().into_iter().collect();
                change.facts.push(Difference { name: name.clone(), before: list(before), after: list(now) });
            }
        }
        for one in headers(&self.later, &after.later, redactor, learned) {
            change.facts.push(Difference { name: format!("header of the answer {}", one.name), ..one });
        }
        change
    }
}

fn same_backend(one: Option<&Arc<Backend>>, other: Option<&Arc<Backend>>) -> bool {
    match (one, other) {
        (None, None) => true,
        (Some(one), Some(other)) => Arc::ptr_eq(one, other),
        _ => false,
    }
}

fn shown(body: &Known, headers: &HeaderMap, redactor: &Redactor, learned: &mut Learned) -> Shown {
    match body {
        Known::Bytes(bytes) => Shown::of(bytes, headers, redactor, learned),
        Known::Stream => Shown::Hidden { length: None, why: "a stream" },
    }
}

/// A variable's value as JSON. Its name may say that it is a secret.
fn variable(name: &str, value: &Json, redactor: &Redactor, learned: &mut Learned) -> String {
    // As a member of a body, so that its name counts as well as the names inside it.
    let text = format!("{{\"{name}\":{value}}}");
    let shown = learned.body(redactor, false, &text);
    shown.get(name.len() + 4..shown.len() - 1).unwrap_or_default().to_owned()
}

fn headers(before: &HeaderMap, after: &HeaderMap, redactor: &Redactor, learned: &mut Learned) -> Vec<Difference> {
    let mut list = |map: &HeaderMap, name: &HeaderName| -> Vec<String> {
        map.get_all(name).iter().map(|value| learned.header(redactor, name, value)).collect()
    };
    let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
    let differing = names.filter(|name| !before.get_all(*name).iter().eq(after.get_all(*name).iter()));
    differing
        .map(|name| Difference { name: name.to_string(), before: list(before, name), after: list(after, name) })
        .collect()
}

/// What a reader wants to know besides the message. Names only, never keys or tokens.
fn facts(cx: &Context<'_>) -> BTreeMap<String, String> {
    let state = &*cx.state;
    let mut facts = BTreeMap::new();
    let mut add = |name: &str, text: Option<String>| facts.extend(text.map(|text| (name.to_owned(), text)));
    add("backend", state.backend.as_ref().map(|backend| backend.name.to_string()));
    add("cache", state.cached.as_ref().map(|cached| cached.status.as_str().to_owned()));
    add("consumer", state.consumer.as_ref().map(|name| name.to_string()));
    add("product", state.product.as_ref().map(|product| product.name.to_string()));
    add("subscription", state.subscription.as_ref().map(|subscription| subscription.id.to_string()));
    add("token", state.token.as_ref().map(|token| token_of(&token.claims)));
    add("timeout", state.forward.timeout.map(|timeout| format!("{timeout:?}")));
    add("follows redirections", state.forward.follow_redirects.then(|| "yes".to_owned()));
    add("fails on error statuses", state.forward.fail_on_error_status.then(|| "yes".to_owned()));
    let certificate = state.identity.as_ref().or(state.forward.identity.as_ref());
    add("certificate for the backend", certificate.map(|identity| identity.description().to_string()));
    for (number, limited) in state.limits.iter().enumerate() {
        let name = limited.fields.as_ref().map_or("without a name", |fields| fields.name());
        let standing = &limited.standing;
        let text = format!("{} of {} left", standing.remaining, standing.limit);
        add(&format!("limit {} ({name})", number + 1), Some(text));
    }
    for (number, finding) in state.findings.iter().enumerate() {
        add(
            &format!("finding {}", number + 1),
            Some(format!("{} {}: {}", finding.kind, finding.name, finding.details)),
        );
    }
    facts
}

/// Whom a verified token is of, without what it says of them.
fn token_of(claims: &Json) -> String {
    let issuer = claims.get("iss").and_then(Json::as_str).unwrap_or("an unnamed issuer");
    format!("verified, of {issuer}")
}
