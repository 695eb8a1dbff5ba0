//! Decides whether a request may enter: its framing, its target, its host, its expectations (RFC 9110, 9112, 9113).
//!
//! What hyper cannot refuse is refused here, with an answer that closes the connection when its framing is in doubt.

use http::header::{self, HeaderMap, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, StatusCode, Uri, Version};

use super::authority::Authority;
use super::head::Framing;
use super::{Connection, hop_by_hop};
use crate::body::Body;
use crate::pipeline::Fault;

/// What a request may be at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest request target, in bytes; `414` beyond.
    pub target: usize,
    /// The longest body, in bytes; `413` beyond. `None` is no limit.
    pub body: Option<u64>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { target: 16 * 1024, body: None }
    }
}

/// What a request that may enter is for.
#[derive(Clone, Debug)]
pub struct Admitted {
    /// The one host it is for.
    pub authority: Authority,
}

/// Marks a request as a WebSocket handshake (RFC 6455 §4.1), whose `Connection` and `Upgrade` fields were taken off.
#[derive(Clone, Copy, Debug)]
pub struct WebSocket;

/// Checks a request and brings it into one form: the target in origin form, one `Host`, no hop-by-hop field, one `Cookie`.
///
/// # Errors
/// A fault that blames the client, ready to be answered.
pub fn admit(request: &mut Request<Body>, connection: &Connection) -> Result<Admitted, Fault> {
    let limits = connection.limits();
    if target_length(request.uri()) > limits.target {
        return Err(refuse(request, StatusCode::URI_TOO_LONG, "RequestUriTooLong", "the request target is too long"));
    }
    framing(request, connection).map_err(|message| bad(request, message))?;
    let authority = authority(request, connection).map_err(|message| bad(request, message))?;
    if request.headers().contains_key(header::EXPECT) {
        expectation(request)?;
    }
    if let Some(limit) = limits.body
        && http_body::Body::size_hint(request.body()).lower() > limit
    {
        return Err(too_large(limit).header(header::CONNECTION, HeaderValue::from_static("close")));
    }
    let websocket = is_websocket(request);
    let is_http2 = request.version() == Version::HTTP_2;
    let headers = request.headers_mut();
    hop_by_hop::strip(headers);
    if is_http2 {
        join_cookies(headers);
    }
    if websocket {
        request.extensions_mut().insert(WebSocket);
    }
    Ok(Admitted { authority })
}

/// The fault for a body over `limit`.
pub(crate) fn too_large(limit: u64) -> Fault {
    Fault::client(
        StatusCode::PAYLOAD_TOO_LARGE,
        "RequestBodyTooLarge",
        format!("the request body is longer than {limit} bytes"),
    )
}

fn refuse(request: &Request<Body>, status: StatusCode, reason: &'static str, message: &'static str) -> Fault {
    let fault = Fault::client(status, reason, message);
    // RFC 9112 §6.1: what follows on the connection cannot be trusted. HTTP/2 has no such field (RFC 9113 §8.2.2).
    if request.version() == Version::HTTP_2 {
        fault
    } else {
        fault.header(header::CONNECTION, HeaderValue::from_static("close"))
    }
}

fn bad(request: &Request<Body>, message: &'static str) -> Fault {
    refuse(request, StatusCode::BAD_REQUEST, "BadRequest", message)
}

fn target_length(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |it| it.as_str().len()) + uri.authority().map_or(0, |it| it.as_str().len())
}

fn framing(request: &Request<Body>, connection: &Connection) -> Result<(), &'static str> {
    if request.method() == Method::CONNECT {
        return Err("CONNECT is not supported");
    }
    let headers = request.headers();
    if request.version() == Version::HTTP_2 {
        // RFC 9113 §8.2.2: connection-specific fields make a message malformed; `TE` may only say `trailers`.
        let te = headers.get_all(header::TE).iter().any(|value| value.as_bytes() != b"trailers");
        let forbidden = headers.keys().any(|name| {
            *name == header::CONNECTION || (*name != header::TE && hop_by_hop::is_forbidden_in_http2(name))
        });
        if te || forbidden {
            return Err("a connection-specific field in an HTTP/2 request");
        }
        // h2 lets equal ones pass, and HTTP/1.1 must not have two (RFC 9110 §8.6); hyper has joined those of HTTP/1.1.
        let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
        return if lengths.nth(1).is_some() { Err("more than one `Content-Length`") } else { Ok(()) };
    }
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("a `Transfer-Encoding` other than `chunked`");
    }
    if headers.contains_key(header::CONTENT_LENGTH) {
        return Err("both `Transfer-Encoding` and `Content-Length`");
    }
    match connection.framing() {
        Framing::Clear => Ok(()),
        Framing::Ambiguous => Err("both `Transfer-Encoding` and `Content-Length`"),
        // hyper has dropped a `Content-Length` by now if there was one, so a head nobody looked at may be ambiguous.
        Framing::Unseen => Err("a chunked request pipelined behind another"),
    }
}

fn authority(request: &mut Request<Body>, connection: &Connection) -> Result<Authority, &'static str> {
    let default_port = if connection.is_tls() { 443 } else { 80 };
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (_, Some(_)) => return Err("more than one `Host`"),
        (Some(host), None) => Some(Authority::parse(host).ok_or("an invalid `Host`")?),
        (None, None) => None,
    };
    let uri = request.uri();
    let Some(target) = uri.authority() else {
        if uri.path_and_query().is_none() {
            return Err("a request target that is no path");
        }
        return host.ok_or("no `Host`");
    };
    let Some(scheme) = uri.scheme() else { return Err("a request target that is no path") };
    if *scheme != http::uri::Scheme::HTTP && *scheme != http::uri::Scheme::HTTPS {
        return Err("a request target with another scheme");
    }
    let target = HeaderValue::from_str(target.as_str()).ok().as_ref().and_then(Authority::parse);
    let target = target.ok_or("an invalid host in the request target")?;
    if host.is_some_and(|host| !host.agrees_with(&target, default_port)) {
        return Err("a `Host` that contradicts the request target");
    }
    // From here on the target is in origin form, whatever the version, and `Host` is there for policies to read.
    let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from(path);
    request.headers_mut().insert(header::HOST, target.value().clone());
    Ok(target)
}

/// RFC 9110 §10.1.1: the only expectation there is. hyper sends `100 Continue` when the body is first read, and the field
/// is taken off, since this gateway does the waiting.
fn expectation(request: &mut Request<Body>) -> Result<(), Fault> {
    let known = request
        .headers()
        .get_all(header::EXPECT)
        .iter()
        .all(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"));
    if !known {
        return Err(refuse(request, StatusCode::EXPECTATION_FAILED, "ExpectationFailed", "an unknown expectation"));
    }
    request.headers_mut().remove(header::EXPECT);
    Ok(())
}

/// An `Upgrade` to anything else is ignored, as RFC 9110 §7.8 allows: it goes with the other hop-by-hop fields.
fn is_websocket(request: &Request<Body>) -> bool {
    let headers = request.headers();
    headers.contains_key(header::UPGRADE)
        && request.version() == Version::HTTP_11
        && request.method() == Method::GET
        && headers.get_all(header::UPGRADE).iter().count() == 1
        && headers.get(header::UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"websocket"))
        && headers.contains_key(header::SEC_WEBSOCKET_KEY)
        && hop_by_hop::connection_has(headers, "upgrade")
}

/// RFC 9113 §8.2.3: HTTP/2 may split `Cookie`, HTTP/1.1 may not.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(header::COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let mut joined = Vec::new();
    for crumb in headers.get_all(header::COOKIE) {
        if !joined.is_empty() {
            joined.extend_from_slice(b"; ");
        }
        joined.extend_from_slice(crumb.as_bytes());
    }
    if let Ok(value) = HeaderValue::from_maybe_shared(bytes::Bytes::from(joined)) {
        headers.insert(header::COOKIE, value);
    }
}

#[cfg(test)]
mod tests;
