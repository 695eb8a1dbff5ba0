//! The one place where an error becomes HTTP, and where on-error runs.

mod body;
mod wrap;

use std::borrow::Cow;
use std::sync::Arc;

use http::Response;
use http::header::{CONTENT_TYPE, HeaderValue};
use serde_json::{Value as Json, json};

pub use self::body::ErrorBody;
pub(super) use self::wrap::{is_wanted, mode, wrap};
use super::exchange::{Context, Exchange, Message};
use super::segment::Segment;
use super::{Blame, Fault, limits};
use crate::body::Body;
use crate::pipeline::step::Flow;

/// Forms of an error body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ErrorFormat {
    /// Azure API Management's bytes.
    #[default]
    Apim,
    /// The Power Platform connector runtime's envelope.
    Connector,
    /// Problem details (RFC 9457).
    Problem,
}

/// What becomes of the backend's error answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BackendErrors {
    /// They are passed on.
    #[default]
    Pass,
    /// Those without a shape that callers can rely on are wrapped.
    WrapUnstructured,
    /// All are wrapped.
    Wrap,
}

/// Answers a fault: makes the error response, then lets on-error change or replace it.
pub async fn rescue(mut fault: Fault, exchange: &Arc<Exchange>, on_error: &Segment) -> Response<Body> {
    log(&fault, exchange);
    note(&fault, exchange);
    exchange.gateway.metrics.policy_error(fault.source, fault.reason);
    let mut response = answer(&mut fault, exchange);
    {
        let mut state = exchange.state.lock();
        if fault.by_limit {
            limits::refused(&mut state.limits);
        }
        state.fault = Some(fault);
        state.forget_json();
        state.last_error = std::cell::OnceCell::new();
    }
    if on_error.is_empty() {
        return response;
    }
    match on_error.run(exchange, Message::Response(&mut response)).await {
        Ok(Flow::Next) => response,
        Ok(Flow::Respond(answer)) => *answer,
        Err(mut second) => {
            log(&second, exchange);
            note(&second, exchange);
            let response = answer(&mut second, exchange);
            exchange.state.lock().fault = Some(second);
            response
        }
    }
}

fn note(fault: &Fault, exchange: &Exchange) {
    if let Some(recorder) = &exchange.recorder {
        recorder.failed(exchange, fault);
    }
}

/// Callers' mistakes are the access log's business; the process log holds what an operator must act on.
fn log(fault: &Fault, exchange: &Exchange) {
    let id = exchange.request_id.to_str().unwrap_or_default();
    let origin = fault.origin.as_deref();
    let place = origin.map(|origin| origin.place.as_str()).filter(|place| !place.is_empty());
    let operation = exchange.operation.as_ref().map_or("", |operation| &operation.name);
    match fault.blame {
        Blame::Client => tracing::debug!(request_id = id, operation, policy = fault.source, place, "{fault}"),
        Blame::Upstream => tracing::warn!(request_id = id, operation, policy = fault.source, place, "{fault}"),
        Blame::Gateway => tracing::error!(request_id = id, operation, policy = fault.source, place, "{fault}"),
    }
}

/// The error response before on-error.
pub fn answer(fault: &mut Fault, exchange: &Exchange) -> Response<Body> {
    let spare = fault.take_spare();
    let message = match &fault.public {
        Some(public) => Cow::Borrowed(&**public),
        None => sentence(&fault.message),
    };
    let format = fault.format.unwrap_or_else(|| format_of(exchange));
    let (request_id, client_request_id) = ids_of(exchange);
    let body = ErrorBody {
        format,
        status: fault.status,
        reason: fault.reason,
        message: &message,
        blame: fault.blame,
        request_id: &request_id,
        client_request_id: &client_request_id,
        host: &exchange.public_authority(),
        inner: None,
    };
    let (body, kind) = body.write();
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = fault.status;
    *response.headers_mut() = spare;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    for (name, value) in &fault.headers {
        response.headers_mut().append(name.clone(), value.clone());
    }
    if let Some(phrase) = fault.phrase {
        response.extensions_mut().insert(hyper::ext::ReasonPhrase::from_static(phrase.as_bytes()));
    }
    response
}

/// A message of the log as the caller reads it: with a capital and a full stop.
fn sentence(message: &str) -> Cow<'_, str> {
    let Some(first) = message.chars().next() else { return Cow::Borrowed(message) };
    if !first.is_lowercase() && message.ends_with('.') {
        return Cow::Borrowed(message);
    }
    let stop = if message.ends_with('.') { "" } else { "." };
    Cow::Owned(format!("{}{}{stop}", first.to_uppercase(), &message[first.len_utf8()..]))
}

/// The form of error bodies for an exchange.
fn format_of(exchange: &Exchange) -> ErrorFormat {
    let operation = exchange.operation.as_ref();
    operation.map_or(exchange.gateway.settings.error_format, |operation| operation.api.error_format)
}

/// The id of the request, and the caller's own for what it does.
fn ids_of(exchange: &Exchange) -> (Cow<'_, str>, Cow<'_, str>) {
    let own = Cow::Borrowed(exchange.request_id.to_str().unwrap_or_default());
    let correlation = exchange.state.lock().correlation.clone();
    let theirs = correlation.and_then(|ids| ids.client_request_id.to_str().ok().map(|id| Cow::Owned(id.to_owned())));
    (own.clone(), theirs.unwrap_or(own))
}

/// `lastError()` as expressions read it, with Azure API Management's names.
pub(super) fn last_error<'a>(cx: &'a Context<'_>) -> Option<&'a Json> {
    cx.state
        .last_error
        .get_or_init(|| {
            let fault = cx.state.fault.as_ref()?;
            let origin = fault.origin.as_deref();
            Some(Box::new(json!({
                "source": fault.source,
                "blame": match fault.blame {
                    Blame::Client => "client",
                    Blame::Gateway => "gateway",
                    Blame::Upstream => "backend",
                },
                "reason": fault.reason,
                "message": fault.message,
                "scope": origin.map(|origin| origin.scope),
                "section": origin.map(|origin| origin.section),
                "path": origin.map(|origin| &origin.path),
                "policyId": origin.and_then(|origin| origin.id.as_deref()),
            })))
        })
        .as_deref()
}
