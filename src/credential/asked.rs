//! A request for a token as it was sent, and what came back: for the traces of who waited for it.
//!
//! It holds secrets as they are, so that a trace can look for them. Nothing else may show it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, header};

use super::fetch::USER_AGENT;
use crate::clock::Nanos;

/// One request for a token, and what came of it.
pub struct Asked {
    /// The source that was asked.
    pub source: Arc<str>,
    /// When that began.
    pub began: Nanos,
    /// How long it took.
    pub took: Duration,
    /// What went over the wire.
    pub watched: Watched,
    /// Why there is no token.
    pub error: Option<String>,
}

/// A request and its answer on the wire.
#[derive(Default)]
pub struct Watched {
    /// The method.
    pub method: Method,
    /// The whole URL; empty when nothing was sent.
    pub url: String,
    /// The headers, those of the connection among them.
    pub headers: HeaderMap,
    /// The form.
    pub body: Bytes,
    /// The answer, as far as it was read.
    pub answer: Option<Response<Bytes>>,
}

impl Watched {
    /// A request is about to be sent.
    pub(super) fn sent(&mut self, request: &reqwest::Request) {
        self.method = request.method().clone();
        self.url = request.url().as_str().to_owned();
        self.headers = request.headers().clone();
        let bytes = request.body().and_then(reqwest::Body::as_bytes).unwrap_or_default();
        self.body = Bytes::copy_from_slice(bytes);
        // What the client adds when it sends.
        self.headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        if let Ok(host) = HeaderValue::from_str(request.url().authority()) {
            self.headers.insert(header::HOST, host);
        }
        if !bytes.is_empty() {
            self.headers.insert(header::CONTENT_LENGTH, bytes.len().into());
        }
    }

    /// An answer has begun.
    pub(super) fn answered(&mut self, response: &reqwest::Response) {
        let mut answer = Response::new(Bytes::new());
        *answer.status_mut() = response.status();
        *answer.headers_mut() = response.headers().clone();
        self.answer = Some(answer);
    }

    /// The body of the answer has been read.
    pub(super) fn read(&mut self, body: &[u8]) {
        if let Some(answer) = &mut self.answer {
            *answer.body_mut() = Bytes::copy_from_slice(body);
        }
    }
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Asked({})", self.source)
    }
}
