//! Answers of the local issuer.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use serde_json::{Value, json};

/// The longest body that is read.
pub(super) const MAX_BODY: usize = 64 * 1024;

/// An answer on its way out.
#[derive(Debug)]
pub(super) struct Reply {
    status: StatusCode,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: Content,
    /// What is wrong, for the log.
    why: Option<String>,
}

impl Reply {
    pub(super) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = vec![(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Self { status, headers, body: Content::Full(body.into()), why: None }
    }

    pub(super) fn json(status: u16, value: &Value) -> Self {
        Self::new(status, "application/json", value.to_string())
    }

    pub(super) fn ok(value: &Value) -> Self {
        Self::json(200, value)
    }

    /// An answer that holds tokens (RFC 6749 §5.1).
    pub(super) fn tokens(value: &Value) -> Self {
        Self::ok(value).header(header::CACHE_CONTROL, "no-store")
    }

    /// An error as RFC 6749 §5.2 has it.
    pub(super) fn error(status: u16, code: &str, description: &str) -> Self {
        let reply = Self::json(status, &json!({ "error": code, "error_description": description }));
        Self { why: Some(format!("{code}: {description}")), ..reply }
    }

    /// What is wrong, of an error.
    pub(super) fn why(&self) -> Option<&str> {
        self.why.as_deref()
    }

    pub(super) fn redirect(location: &str) -> Self {
        Self::new(302, "text/plain", "").header(header::LOCATION, location)
    }

    pub(super) fn not_allowed(allowed: &str) -> Self {
        Self::error(405, "invalid_request", &format!("only {allowed} is allowed here")).header(header::ALLOW, allowed)
    }

    /// A body without end.
    pub(super) fn endless() -> Self {
        Self { body: Content::Endless, ..Self::new(200, "application/json", "") }
    }

    #[must_use]
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.push((name, value));
        }
        self
    }

    pub(super) fn into_response(self) -> Response<Content> {
        let mut response = Response::new(self.body);
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.headers);
        let (mark, text) = super::MARK;
        response.headers_mut().insert(HeaderName::from_static(mark), HeaderValue::from_static(text));
        response
    }
}

/// A body.
#[derive(Debug)]
pub(super) enum Content {
    /// All in memory.
    Full(Bytes),
    /// Spaces until the client has enough.
    Endless,
}

static SPACES: [u8; 64 * 1024] = [b' '; 64 * 1024];

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = match self.get_mut() {
            Self::Full(bytes) => std::mem::take(bytes),
            Self::Endless => Bytes::from_static(&SPACES),
        };
        Poll::Ready((!data.is_empty()).then(|| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Full(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Full(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Endless => SizeHint::default(),
        }
    }
}

/// The whole of a request's body, up to [`MAX_BODY`].
pub(super) async fn read(mut body: Incoming) -> Result<Vec<u8>, Reply> {
    let mut bytes = Vec::new();
    loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return Ok(bytes),
            Some(Err(_)) => return Err(Reply::error(400, "invalid_request", "the body broke off")),
            Some(Ok(frame)) => {
                let Ok(data) = frame.into_data() else { continue };
                if bytes.len() + data.len() > MAX_BODY {
                    return Err(Reply::error(413, "invalid_request", "the body is longer than 64 KiB"));
                }
                bytes.extend_from_slice(&data);
            }
        }
    }
}
