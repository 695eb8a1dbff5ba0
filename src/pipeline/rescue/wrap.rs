//! The backend's error answers in the gateway's form: what it said stands inside.

use std::borrow::Cow;
use std::pin::Pin;

use bytes::Bytes;
use http::header::{
    CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderValue, LAST_MODIFIED, TRANSFER_ENCODING,
};
use http::{Method, Response};
use http_body::Body as _;
use serde_json::Value as Json;

use super::{BackendErrors, ErrorBody, body::status_name, format_of, ids_of};
use crate::body::{Body, coding};
use crate::json::{Document, Kind, Node};
use crate::pipeline::chain::AnsweredEarly;
use crate::pipeline::{Blame, Exchange};

/// The most bytes of a backend's error that are read.
const LONGEST: usize = 64 * 1024;

/// Whether an answer is one of the backend's errors, and they are wrapped.
pub fn is_wanted(exchange: &Exchange, response: &Response<Body>) -> bool {
    response.status().as_u16() >= 400
        && mode(exchange) != BackendErrors::Pass
        && exchange.method != Method::HEAD
        && response.extensions().get::<AnsweredEarly>().is_none()
}

/// What becomes of the backend's error answers.
pub fn mode(exchange: &Exchange) -> BackendErrors {
    exchange.operation.as_ref().map_or(BackendErrors::Pass, |operation| operation.api.backend_errors)
}

/// Wraps an error answer, unless it has a shape already that callers can rely on.
pub async fn wrap(exchange: &Exchange, mut response: Response<Body>) -> Response<Body> {
    if coding::is_coded(response.headers()) && !coding::is_readable(response.headers()) {
        tracing::warn!(
            "an error of the backend is compressed in a way that the gateway does not read, and passed on as it is"
        );
        return response;
    }
    let (mut said, complete) = beginning(std::mem::take(response.body_mut())).await;
    if coding::is_coded(response.headers()) {
        // A part of what is compressed, and what is broken, says nothing.
        let decoded = complete.then(|| coding::decode(response.headers(), &said, LONGEST as u64).ok());
        said = decoded.flatten().unwrap_or_default();
        for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_ENCODING] {
            response.headers_mut().remove(name);
        }
    }
    let mut document = if complete { Document::parse(&said).ok() } else { None };
    if let Some(document) = &mut document
        && passes(&mut document.root, mode(exchange))
    {
        *response.body_mut() = Body::from(said);
        return response;
    }
    let status = response.status();
    let inner = match document {
        // As it came, so that numbers keep their digits.
        Some(document) => String::from_utf8_lossy(&document.write()).into_owned(),
        None => Json::from(text(&said)).to_string(),
    };
    let is_json = inner.starts_with(['{', '[']);
    let message = match is_json || said.is_empty() {
        true => Cow::Owned(status_name(status)),
        false => Cow::Borrowed("The response is not in a JSON format."),
    };
    let format = format_of(exchange);
    let (request_id, client_request_id) = ids_of(exchange);
    let body = ErrorBody {
        format,
        status,
        reason: "BackendError",
        message: &message,
        blame: Blame::Upstream,
        request_id: &request_id,
        client_request_id: &client_request_id,
        host: &exchange.public_authority(),
        inner: Some(&inner),
    };
    let (bytes, kind) = body.write();
    *response.body_mut() = Body::from(bytes);
    let headers = response.headers_mut();
    for name in [CONTENT_LENGTH, TRANSFER_ENCODING, CONTENT_ENCODING, ETAG, LAST_MODIFIED] {
        headers.remove(name);
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// The first bytes of a body, and whether that is all of it. The rest is not read, and what breaks off ends there.
async fn beginning(mut body: Body) -> (Bytes, bool) {
    if let Some(bytes) = body.bytes() {
        let whole = bytes.len() <= LONGEST;
        return (bytes.slice(..bytes.len().min(LONGEST)), whole);
    }
    let mut read = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let Ok(frame) = frame else { return (read.into(), false) };
        let Ok(data) = frame.into_data() else { continue };
        let room = LONGEST - read.len();
        read.extend_from_slice(&data[..data.len().min(room)]);
        if data.len() > room {
            return (read.into(), false);
        }
    }
    (read.into(), true)
}

/// Bytes as text; half a character at the end is left out.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(error) if error.error_len().is_none() => String::from_utf8_lossy(&bytes[..error.valid_up_to()]),
        Err(_) => String::from_utf8_lossy(bytes),
    }
}

/// Members by which callers know what an error says.
const TELLING: [&str; 8] =
    ["error", "errors", "message", "detail", "title", "code", "description", "error_description"];

/// Whether an error of the backend is passed on as it is.
fn passes(root: &mut Node, mode: BackendErrors) -> bool {
    if root.kind() != Kind::Object {
        return false;
    }
    let Some(members) = root.members() else { return false };
    match mode {
        BackendErrors::Pass => true,
        BackendErrors::WrapUnstructured => members.iter().any(|member| {
            let name = member.name();
            member.value.kind() != Kind::Null && TELLING.iter().any(|known| name.eq_ignore_ascii_case(known))
        }),
        // The envelope of a connector runtime, or of a gateway behind this one.
        BackendErrors::Wrap => members.iter_mut().any(|member| {
            let is_error = member.name() == "error";
            let inside = if is_error { member.value.members() } else { None };
            inside.is_some_and(|inside| {
                ["code", "clientRequestId"].iter().all(|name| inside.iter().any(|one| one.name() == *name))
            })
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_with_a_shape_pass() {
        for (body, unstructured, wrap) in [
            (r#"{"error":{"code":"x","message":"y"}}"#, true, false),
            (r#"{"Message":"y"}"#, true, false),
            (r#"{"title":"y","status":400}"#, true, false),
            (r#"{"error":{"code":502,"clientRequestId":"1","message":"BadGateway"}}"#, true, true),
            (r#"{"message":null}"#, false, false),
            (r#"{"ok":false}"#, false, false),
            ("{}", false, false),
            (r#"["no"]"#, false, false),
            (r#""no""#, false, false),
        ] {
            let parsed = || Node::parse(&Bytes::copy_from_slice(body.as_bytes())).unwrap();
            assert_eq!(passes(&mut parsed(), BackendErrors::WrapUnstructured), unstructured, "{body}");
            assert_eq!(passes(&mut parsed(), BackendErrors::Wrap), wrap, "{body}");
        }
    }

    #[tokio::test]
    async fn only_the_beginning_is_read() {
        let long = Bytes::from(vec![b'x'; LONGEST + 1]);
        let (read, complete) = beginning(Body::from(long.clone())).await;
        assert_eq!((read.len(), complete), (LONGEST, false));
        let (read, complete) = beginning(Body::from(long.slice(1..))).await;
        assert_eq!((read.len(), complete), (LONGEST, true));
        assert_eq!(text("é€".as_bytes().get(..3).unwrap()), "é");
    }
}
