//! The pages of the admin listener.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value as Json, json};

use super::{State, traces};
use crate::process::status::{Current, timestamp};
use crate::server::Totals;
use crate::telemetry::metrics::{self, KeySource};
use crate::telemetry::redact::Redactor;

pub(super) const TEXT: &str = "text/plain; charset=utf-8";
pub(super) const JSON: &str = "application/json";

const INDEX: &str = "\
/healthz  200 while the process answers
/readyz   200 when requests should be sent here, 503 when not; details as JSON
/metrics  Prometheus text format
/config   the configuration in force, secrets masked, with file and line; ?format=text for reading
/traces   the last requests, and at /traces/ID what each policy did to one; .json and .txt for programs and terminals
";

/// Answers a request.
pub(super) async fn answer<B>(request: &Request<B>, state: &State) -> Response<Bytes> {
    let path = request.uri().path();
    let is_trace = path == "/traces" || path.starts_with("/traces/") || path.starts_with("/traces.");
    if !is_trace && !matches!(path, "/" | "/healthz" | "/readyz" | "/metrics" | "/config") {
        return not_found();
    }
    // hyper leaves the body out of an answer to HEAD.
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET and HEAD\n");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match path {
        "/healthz" => page(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" => ready(state),
        "/metrics" => scrape(state).await,
        _ if is_trace => traces::answer(request, &state.0.shared.traces, state.is_traced()),
        "/config" => state.0.status.with_current(|current| config(request, current)).unwrap_or_else(unavailable),
        _ => page(StatusCode::OK, TEXT, INDEX),
    }
}

fn not_found() -> Response<Bytes> {
    page(StatusCode::NOT_FOUND, TEXT, "there is no such page; `/` lists those there are\n")
}

pub(super) fn page(status: StatusCode, kind: &'static str, body: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn unavailable() -> Response<Bytes> {
    page(StatusCode::SERVICE_UNAVAILABLE, TEXT, "not yet\n")
}

fn sources(state: &State) -> Vec<(KeySource, Option<String>)> {
    let redactor = Redactor::default();
    let mut sources: Vec<_> = state
        .0
        .shared
        .remote_keys
        .all()
        .iter()
        .map(|keys| {
            let status = keys.status();
            let source = KeySource {
                source: redactor.url(keys.location().url()).into_owned(),
                keys: status.keys,
                age: status.age,
                failures: status.failures,
            };
            (source, status.error.map(|error| error.to_string()))
        })
        .collect();
    sources.sort_by(|(a, _), (b, _)| a.source.cmp(&b.source));
    sources
}

/// Where tokens for backends come from. The names are the configuration's, and the errors hold no secret.
fn token_sources(state: &State) -> Json {
    let mut sources: Vec<_> = state.0.shared.token_sources.all().iter().map(|source| source.status()).collect();
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
        .iter()
        .map(|source| {
            json!({
                "source": &*source.name,
                "url": source.url,
                "cached_for_callers": source.cached,
                "failures": source.failures,
                "last_error": source.error,
            })
        })
        .collect()
}

/// The stores that gateways share. One that does not answer is told of here, and takes no gateway out of service: limits go on
/// without it.
fn shared_stores(state: &State) -> Json {
    let redactor = Redactor::default();
    let stores = state.0.shared.stores.all();
    stores
        .iter()
        .map(|store| {
            let urls: Vec<_> = store.settings().urls.iter().map(|url| redactor.url(url)).collect();
            let failing = store.failing().map(|error| error.to_string());
            json!({ "urls": urls, "failing": failing.is_some(), "last_error": failing })
        })
        .collect()
}

/// What is cached in memory: the figures of the configuration in force, and of one that requests still run with.
fn caches(state: &State) -> Json {
    let memories = state.0.shared.memories.all();
    memories.iter().map(|memory| json!({ "entries": memory.len(), "bytes": memory.bytes() })).collect()
}

/// Where secrets come from. The names and URLs are the configuration's, and the errors hold no secret.
fn vault_secrets(state: &State) -> Json {
    let mut secrets: Vec<_> = state.0.shared.vault.all().iter().map(|secret| secret.status()).collect();
    secrets.sort_by(|a, b| a.name.cmp(&b.name));
    secrets
        .iter()
        .map(|secret| {
            json!({
                "named_value": &*secret.name,
                "url": secret.url,
                "fetched_at": secret.fetched.map(timestamp),
                "failures": secret.failures,
                "last_error": secret.error,
            })
        })
        .collect()
}

fn ready(state: &State) -> Response<Bytes> {
    let mut detail = state.0.status.detail();
    detail["key_sources"] = sources(state)
        .into_iter()
        .map(|(source, error)| {
            json!({
                "source": source.source,
                "keys": source.keys,
                "age_seconds": source.age.map(|age| age.as_secs()),
                "failures": source.failures,
                "last_error": error,
            })
        })
        .collect();
    detail["token_sources"] = token_sources(state);
    detail["stores"] = shared_stores(state);
    detail["caches"] = caches(state);
    detail["vault_secrets"] = vault_secrets(state);
    let status = if detail["ready"] == true { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    page(status, JSON, format!("{detail:#}\n"))
}

async fn scrape(state: &State) -> Response<Bytes> {
    let _turn = state.0.rendering.lock().await;
    let own = state.clone();
    // With many operations this takes long enough to delay a health check.
    let rendered = tokio::task::spawn_blocking(move || {
        let keys: Vec<KeySource> = sources(&own).into_iter().map(|(source, _)| source).collect();
        let metrics = &own.0.shared.metrics;
        metrics.observe(&Totals::of(&own.0.counters), &keys);
        metrics.render()
    });
    match rendered.await {
        Ok(text) => page(StatusCode::OK, metrics::CONTENT_TYPE, text),
        Err(_) => unavailable(),
    }
}

fn config<B>(request: &Request<B>, current: &Current) -> Response<Bytes> {
    let query = request.uri().query().unwrap_or_default();
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let format = query.split('&').find_map(|pair| pair.strip_prefix("format="));
    match format {
        Some("text") => page(StatusCode::OK, TEXT, config_text(current)),
        Some("json") => page(StatusCode::OK, JSON, config_json(current)),
        Some(_) => page(StatusCode::BAD_REQUEST, TEXT, "`format` is `text` or `json`\n"),
        None if accept.contains("text/plain") && !accept.contains(JSON) => {
            page(StatusCode::OK, TEXT, config_text(current))
        }
        None => page(StatusCode::OK, JSON, config_json(current)),
    }
}

fn config_json(current: &Current) -> String {
    let settings: Vec<Json> = current
        .view
        .iter()
        .map(|(key, value, place)| {
            let (file, line) = place.rsplit_once(':').unwrap_or((place, ""));
            json!({ "key": key, "value": value, "file": file, "line": line.parse::<u32>().ok() })
        })
        .collect();
    let whole = json!({
        "generation": current.generation,
        "loaded_at": timestamp(current.loaded_at),
        "digest": current.digest,
        "settings": settings,
    });
    format!("{whole:#}\n")
}

fn config_text(current: &Current) -> String {
    let mut text =
        format!("# generation {}, loaded {}, {}\n", current.generation, timestamp(current.loaded_at), current.digest);
    let width = current.view.iter().map(|(key, ..)| key.chars().count()).max().unwrap_or_default().min(48);
    for (key, value, place) in &current.view {
        let _ = writeln!(text, "{key:width$} = {}  # {place}", Json::from(value.as_str()));
    }
    text
}
