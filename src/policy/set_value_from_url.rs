//! Sets a header or a query parameter of the request to a value that another request to the backend gives.

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest::{self, SHA256};
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Uri};
use schemars::JsonSchema;
use serde::Deserialize;

use super::body_property::path;
use super::cached::{self, CachingType};
use super::route_template::RouteTemplate;
use super::{Policy, Sections};
use crate::body::Body;
use crate::cache::{Cache, Joined, Kind as CacheKind, Lead, Outcome, Place};
use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Period, Text};
use crate::expression::Needs;
use crate::json::{Document, Key, Kind, Root};
use crate::layer::Deadline;
use crate::pipeline::chain::Tail as _;
use crate::pipeline::{ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Forward, Kept, Message, Origin, Step};
use crate::routing::query;
use crate::trace::look_at;

/// Sets a header or a query parameter of the request to a value from the answer to another request, which is a copy of this one with another
/// URL and method: the connector template
/// [setvaluefromurl](https://learn.microsoft.com/connectors/custom-connectors/policy-templates/setvaluefromurl/setvaluefromurl).
///
/// The copy goes to the backend that is chosen so far, with the headers that it has so far; with POST and PUT the body goes too. When the
/// backend answers it with an error, or the value is not there, the request ends: with the backend's status, or with 502
/// (`ValueFromUrlFailed`). The platform does not say what it does then.
///
/// ```toml
/// [[inbound]]
/// policy = "set-value-from-url"
/// target = "@headers('If-Match')"
/// url    = "/tasks/current"
/// value  = "@body()['@odata.etag']"
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SetValueFromUrl {
    /// What is set: `@headers('name')` or `@queryParameters('name')`, also as `@{…}`. What is there is replaced.
    target: At<String>,
    /// The path and query of the other request, below the base URL of the backend. `{name}` stands for a variable of the operation's template,
    /// expressions are percent-encoded as in `route-request`, and missing values answered as there. The request's own query is not sent.
    /// Evaluated when the step runs; a failure goes to on-error.
    url: Text,
    /// Where the value stands in the answer, which is JSON: `@body().items[0].id`. Text is taken as it is, all else as JSON.
    value: At<String>,
    /// The method of the other request: `GET`, `POST` or `PUT`. Default `GET`.
    method: Option<At<SideMethod>>,
    /// How long a value serves again, for requests with the same URL, method, body, accepted token and headers but for those that differ in
    /// every request (tracing, `User-Agent`, `X-Forwarded-For`, the run of a flow). Requests that ask for the same at the same time cause one call. Default: every request asks.
    cache: Option<At<Period>>,
    /// Where values are kept. They are often secrets, and each gateway can fetch its own: default `internal`. Only with `cache`.
    caching_type: Option<At<CachingType>>,
    /// Whether the request ends when there is no value. With `false` it goes on as it is. Default `true`.
    required: Option<bool>,
}

/// Methods of the other request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
enum SideMethod {
    /// Without a body.
    #[default]
    #[serde(rename = "GET")]
    Get,
    /// With the request's body.
    #[serde(rename = "POST")]
    Post,
    /// With the request's body.
    #[serde(rename = "PUT")]
    Put,
}

impl Policy for SetValueFromUrl {
    const NAME: &'static str = "set-value-from-url";
    const SECTIONS: Sections = Sections::INBOUND;

    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        let target = Target::parse(&self.target, cx);
        let target = cx.note(target);
        let value = path(&self.value, cx).and_then(|path| match path.root {
            Root::Item => Err(CompileError::at(&self.value, "there is no item here").hint("begin with `@body()`")),
            Root::Body | Root::Here => Ok(path.keys),
        });
        let value = cx.note(value);
        let keeps = self.keeps(cx);
        let keeps = cx.note(keeps);
        if self.url.contains("://") {
            return Err(CompileError::at(&self.url, "the other request goes to the same backend")
                .hint("a path, for example `/oauth2/token`; `dynamic-host-url` before it chooses another host"));
        }
        let url = RouteTemplate::compile(&self.url, cx)?;
        let method = match self.method.map(|method| method.value).unwrap_or_default() {
            SideMethod::Get => Method::GET,
            SideMethod::Post => Method::POST,
            SideMethod::Put => Method::PUT,
        };
        if method != Method::GET {
            cx.needs |= Needs::BODY;
        }
        Ok(Step::asynchronous(Compiled {
            target: target?,
            url,
            value: value?,
            method,
            keeps: keeps?,
            required: self.required.unwrap_or(true),
            origin: cx.origin.clone(),
        }))
    }
}

impl SetValueFromUrl {
    /// Where and for how long values are kept, when they are.
    fn keeps(&self, cx: &CompileCx<'_, '_>) -> Result<Option<Keeps>, CompileError> {
        let Some(time) = &self.cache else {
            return match &self.caching_type {
                None => Ok(None),
                Some(kind) => {
                    Err(CompileError::at(kind, "nothing is kept").hint("`cache = \"1m\"` keeps values for a minute"))
                }
            };
        };
        if time.0.is_zero() {
            return Err(CompileError::at(time, "a time of zero keeps nothing").hint("for example `1m`"));
        }
        let place = match &self.caching_type {
            None => Place::Memory,
            kind => cached::place(kind.as_ref(), cx)?,
        };
        Ok(Some(Keeps { cache: cx.world.cache.clone(), place, time: time.0, path: self.value.value.clone() }))
    }
}

/// What is set.
enum Target {
    Header(HeaderName),
    Query(String),
}

impl Target {
    fn parse(text: &At<String>, cx: &CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let unknown = || {
            CompileError::at(text, format!("`{}` is nothing that can be set", text.value))
                .hint("`@headers('name')` or `@queryParameters('name')`")
        };
        let inner = text.trim().trim_start_matches('@');
        let inner = inner.strip_prefix('{').and_then(|inner| inner.strip_suffix('}')).unwrap_or(inner);
        let inner = inner.trim().strip_suffix(')').ok_or_else(unknown)?;
        let (function, name) = inner.split_once('(').ok_or_else(unknown)?;
        let name = name.trim().strip_prefix('\'').and_then(|name| name.strip_suffix('\'')).ok_or_else(unknown)?;
        match function.to_ascii_lowercase().as_str() {
            "header" | "headers" => {
                let name = cx.header_name(&At { value: name.to_owned(), span: text.span.clone() })?;
                if super::is_framing(&name) {
                    return Err(CompileError::at(
                        text,
                        format!("`{name}` belongs to the connection and cannot be changed"),
                    ));
                }
                Ok(Self::Header(name))
            }
            "queryparameters" if !name.is_empty() => Ok(Self::Query(name.to_owned())),
            _ => Err(unknown()),
        }
    }

    fn set(&self, cx: &mut Context<'_>, value: &str) -> Result<(), Fault> {
        let unfit = || failed(BAD_GATEWAY, "the value cannot stand where it belongs".to_owned());
        match (self, &mut cx.message) {
            (Self::Header(name), message) => {
                let mut value = HeaderValue::from_str(value).map_err(|_| unfit())?;
                value.set_sensitive(true);
                message.headers_mut().insert(name.clone(), value);
            }
            (Self::Query(name), Message::Request(request)) => {
                cx.exchange.hide(value.as_bytes());
                let mut new = request.uri().query().unwrap_or_default().to_owned();
                query::set(&mut new, name, [value]);
                let target = format!("{}?{new}", request.uri().path());
                *request.uri_mut() = Uri::from(PathAndQuery::try_from(target).map_err(|_| unfit())?);
            }
            (Self::Query(_), Message::Response(_)) => {}
        }
        Ok(())
    }
}

// === impl Apply ===

struct Compiled {
    target: Target,
    url: RouteTemplate,
    value: Box<[Key]>,
    method: Method,
    keeps: Option<Keeps>,
    required: bool,
    origin: Arc<Origin>,
}

/// Where and for how long values are kept.
struct Keeps {
    cache: Arc<Cache>,
    place: Place,
    time: Duration,
    /// Where the value stands in the answer, as written: another one finds another value in the same answer.
    path: String,
}

/// Where a value may be at hand.
enum Look {
    Found(Bytes),
    /// With the lead: for all who ask at the same time.
    Ask(Option<Lead<Bytes>>),
}

impl ApplyAsync for Compiled {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            let request = call.with(|cx| self.request(cx))?;
            let value = match &self.keeps {
                None => self.ask(&call, request).await,
                Some(keeps) => {
                    let key = call.with(|cx| key(cx, &request, &keeps.path));
                    match keeps.look(&key).await {
                        Look::Found(value) => {
                            if let Some(recorder) = &call.exchange.recorder {
                                recorder.tell(call.exchange, &self.origin, "the value was kept from a call before");
                            }
                            Ok(value)
                        }
                        Look::Ask(lead) => {
                            let value = self.ask(&call, request).await;
                            if let Ok(value) = &value {
                                keeps.keep(&key, value, lead).await;
                            }
                            value
                        }
                    }
                }
            };
            match value {
                Ok(value) => {
                    let value = std::str::from_utf8(&value).unwrap_or_default();
                    call.with(|cx| self.target.set(cx, value))?;
                    Ok(Flow::Next)
                }
                Err(_) if !self.required => Ok(Flow::Next),
                Err(fault) => Err(fault),
            }
        })
    }
}

/// The most turns of a request that waits for others, who may ask in vain.
const MOST_TURNS: usize = 16;

impl Keeps {
    /// The value, when it is kept or another request is asking for it.
    async fn look(&self, key: &[u8]) -> Look {
        let cache = &self.cache;
        let until = cache.patience();
        if let Some(value) = cache.value_in(self.place, CacheKind::Call, key).await {
            return Look::Found(value);
        }
        for _ in 0..MOST_TURNS {
            match cache.calls().join(key) {
                _ if !cache.waits() => return Look::Ask(None),
                Joined::Alone => return Look::Ask(None),
                Joined::Leads(lead) => {
                    // Somebody else's call may have ended since the look.
                    return match cache.known(self.place, CacheKind::Call, key) {
                        Some(value) => Look::Found(value),
                        None => Look::Ask(Some(lead)),
                    };
                }
                Joined::Waits(waiting) => match cache.outcome(waiting, until).await {
                    Some(Outcome::Got(value)) => return Look::Found(value),
                    Some(Outcome::Again) => {}
                    Some(Outcome::Private) | None => return Look::Ask(None),
                },
            }
        }
        Look::Ask(None)
    }

    async fn keep(&self, key: &[u8], value: &Bytes, lead: Option<Lead<Bytes>>) {
        self.cache.keep_in(self.place, CacheKind::Call, key, value.clone(), self.time).await;
        if let Some(lead) = lead {
            lead.land(Outcome::Got(value.clone()));
        }
    }
}

impl Compiled {
    /// The other request: a copy of this one.
    fn request(&self, cx: &Context<'_>) -> Result<Box<Request<Body>>, Fault> {
        let target = self.url.target(cx, false)?;
        let body = match self.method {
            Method::GET => Body::Empty,
            _ => cx.message.body().try_clone().unwrap_or_default(),
        };
        let mut request = Box::new(Request::new(body));
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = Uri::from(target);
        *request.headers_mut() = cx.message.headers().clone();
        let headers = request.headers_mut();
        // Of no use to the copy, which asks for a whole answer, or false for its body.
        for name in [
            header::CONTENT_LENGTH,
            header::TRANSFER_ENCODING,
            header::EXPECT,
            header::IF_MATCH,
            header::IF_NONE_MATCH,
            header::IF_MODIFIED_SINCE,
            header::IF_UNMODIFIED_SINCE,
            header::IF_RANGE,
            header::RANGE,
        ] {
            headers.remove(name);
        }
        if self.method == Method::GET {
            headers.remove(header::CONTENT_TYPE);
            headers.remove(header::CONTENT_ENCODING);
        }
        if let Message::Request(original) = &cx.message
            && let Some(deadline) = original.extensions().get::<Deadline>()
        {
            request.extensions_mut().insert(*deadline);
        }
        Ok(request)
    }

    async fn ask(&self, call: &Call<'_>, request: Box<Request<Body>>) -> Result<Bytes, Fault> {
        let exchange = call.exchange;
        let upstream = exchange.state.lock().upstream.clone();
        let forward = Forward { kept: Kept::Nothing, wants_plain: true, origin: self.origin.clone() };
        let mut response = forward.run(exchange, request).await?;
        let status = response.status();
        if !status.is_success() {
            if exchange.recorder.is_some() {
                look_at(response.body_mut()).await;
            }
            let answer = if status.is_client_error() || status.is_server_error() { status } else { BAD_GATEWAY };
            return Err(failed(answer, format!("the backend answered {status} to the request for a value")));
        }
        exchange.read(&mut Message::Response(&mut response)).await?;
        let bytes = response.body().bytes().cloned().unwrap_or_default();
        let mut document = Document::parse(&bytes).map_err(|error| {
            failed(BAD_GATEWAY, format!("the answer to the request for a value is not JSON: {error}"))
        })?;
        let found = document.root.at(&self.value).filter(|node| node.kind() != Kind::Null);
        let value = found.ok_or_else(|| failed(BAD_GATEWAY, "the value is not in the backend's answer".to_owned()))?;
        let value = Bytes::copy_from_slice(value.to_text().as_bytes());
        // The log tells of the call that the caller asked for.
        exchange.state.lock().upstream = upstream;
        Ok(value)
    }
}

const BAD_GATEWAY: http::StatusCode = http::StatusCode::BAD_GATEWAY;

#[cold]
fn failed(status: http::StatusCode, message: String) -> Fault {
    let mut fault = Fault::upstream(status, "ValueFromUrlFailed", message)
        .public("A value that the request needs could not be fetched.");
    fault.source = "";
    fault
}

// === cache ===

/// What tells one value from another: where it is asked for, and whatever may make its answer another one.
fn key(cx: &Context<'_>, request: &Request<Body>, path: &str) -> [u8; 32] {
    let operation = cx.exchange.operation.as_ref();
    let backend = cx.state.backend.as_ref().or_else(|| operation.and_then(|operation| operation.backend.as_ref()));
    let base = backend.and_then(|backend| backend.base_url()).unwrap_or_default();
    let connection = cx.connection().map(|connection| connection.name.clone());
    let mut digest = digest::Context::new(&SHA256);
    // With its length, so that no two lists of texts look the same.
    let mut add = |part: &[u8]| {
        digest.update(&(part.len() as u64).to_le_bytes());
        digest.update(part);
    };
    add(path.as_bytes());
    add(base.as_bytes());
    add(connection.as_deref().unwrap_or_default().as_bytes());
    add(request.method().as_str().as_bytes());
    add(request.uri().to_string().as_bytes());
    add(request.body().bytes().map_or(&[], |bytes| bytes));
    // The backend may be called with a token made of the caller's.
    add(cx.state.token.as_ref().map(|token| token.claims.to_string()).unwrap_or_default().as_bytes());
    let mut headers: Vec<(&HeaderName, &HeaderValue)> = telling(request.headers(), cx).collect();
    headers.sort_by_key(|(name, _)| name.as_str());
    for (name, value) in headers {
        add(name.as_str().as_bytes());
        add(value.as_bytes());
    }
    let mut key = [0; 32];
    key.copy_from_slice(digest.finish().as_ref());
    key
}

/// Headers that may differ in every request and say nothing about who asks for what: of tracing, of the way that the request took,
/// and of a run of a flow. Others of such names do say something: `X-Forwarded-User`, `X-Ms-Client-Principal-Id`.
const NOT_TELLING: [&str; 22] = [
    "accept-encoding",
    "date",
    "forwarded",
    "traceparent",
    "tracestate",
    "user-agent",
    "x-correlation-id",
    "x-forwarded-for",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-ms-action-tracking-id",
    "x-ms-activity-vector",
    "x-ms-client-request-id",
    "x-ms-client-session-id",
    "x-ms-client-tracking-id",
    "x-ms-correlation-id",
    "x-ms-correlation-request-id",
    "x-ms-request-id",
    "x-ms-tracking-id",
    "x-ms-workflow-run-id",
    "x-ms-workflow-run-tracking-id",
    "x-request-id",
];

/// The headers but for those.
fn telling<'h>(headers: &'h HeaderMap, cx: &'h Context<'_>) -> impl Iterator<Item = (&'h HeaderName, &'h HeaderValue)> {
    let own = &cx.exchange.gateway.settings.request_id_header;
    headers.iter().filter(move |(name, _)| NOT_TELLING.binary_search(&name.as_str()).is_err() && *name != own)
}
