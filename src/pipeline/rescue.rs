//! The one place where an error becomes HTTP, and where on-error runs.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use serde_json::{Value as Json, json};

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

/// Answers a fault: makes the error response, then lets on-error change or replace it.
pub async fn rescue(mut fault: Fault, exchange: &Arc<Exchange>, on_error: &Segment) -> Response<Body> {
    log(&fault, exchange);
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
            let response = answer(&mut second, exchange);
            exchange.state.lock().fault = Some(second);
            response
        }
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
    let id = exchange.request_id.to_str().unwrap_or_default();
    let host = exchange.authority();
    let (body, kind) =
        error_body(exchange.gateway.settings.error_format, fault.status, fault.reason, &message, id, host);
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

/// The bytes of an error in one of the forms, and their content type.
///
/// Azure API Management writes `{ "statusCode": 429, "message": "…" }` with spaces inside the braces, and adds an
/// `activityId` to a 500.
pub fn error_body(
    format: ErrorFormat,
    status: StatusCode,
    reason: &str,
    message: &str,
    request_id: &str,
    host: &str,
) -> (Bytes, &'static str) {
    match format {
        ErrorFormat::Apim => {
            let mut out = String::with_capacity(64 + message.len());
            out.push_str("{ \"statusCode\": ");
            out.push_str(status.as_str());
            out.push_str(", \"message\": ");
            if message.bytes().all(|byte| byte >= b' ' && byte != b'"' && byte != b'\\') {
                out.push('"');
                out.push_str(message);
                out.push('"');
            } else {
                let _ = write!(out, "{}", Json::from(message));
            }
            if status == StatusCode::INTERNAL_SERVER_ERROR {
                let _ = write!(out, ", \"activityId\": {}", Json::from(request_id));
            }
            out.push_str(" }");
            (out.into(), "application/json")
        }
        ErrorFormat::Connector => {
            let body = json!({ "error": {
                "code": status.as_u16(), "source": host, "clientRequestId": request_id, "message": message,
                "innerError": { "status": status.as_u16(), "message": message, "source": host },
            }});
            (body.to_string().into(), "application/json")
        }
        ErrorFormat::Problem => {
            let body = json!({
                "type": "about:blank", "title": status.canonical_reason().unwrap_or("Error"), "status": status.as_u16(),
                "detail": message, "code": reason, "instance": format!("urn:request:{request_id}"),
            });
            (body.to_string().into(), "application/problem+json")
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_those_of_api_management() {
        let body = |status: u16, message: &str| {
            let status = StatusCode::from_u16(status).expect("a status");
            error_body(ErrorFormat::Apim, status, "", message, "0191", "h").0
        };
        // The lengths that public captures show in Content-Length: 152 for the missing key, 84 for a two-digit wait.
        let missing = "Access denied due to missing subscription key. Make sure to include subscription key when making requests to an API.";
        assert_eq!(body(401, missing).len(), 152);
        assert_eq!(body(429, "Rate limit is exceeded. Try again in 12 seconds.").len(), 84);
        assert_eq!(body(404, "Resource not found"), r#"{ "statusCode": 404, "message": "Resource not found" }"#);
        assert_eq!(
            body(500, "Internal server error"),
            r#"{ "statusCode": 500, "message": "Internal server error", "activityId": "0191" }"#
        );
    }
}
