//! A fast backend that stands in for the real ones while a load test runs, and counts what reaches it.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;

use super::request::ATTEMPT_HEADER;
use crate::loadtest::analysis::Upstream;
use crate::loadtest::stated::Usage;
use crate::server::simple::{self, Handle};

/// How the backend answers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// How long each answer takes.
    pub latency: Duration,
    /// How many of a hundred requests are answered with 503.
    pub failures: f64,
    /// What decides which of them: the n-th request fares alike in each test.
    pub seed: u64,
    /// How many tokens of a language model each of the others reports.
    pub usage: Usage,
}

/// What the backend counts.
#[derive(Debug, Default)]
pub struct Counts {
    requests: AtomicU64,
    duplicates: AtomicU64,
    /// The changing requests that were seen: as many as the test makes at most.
    seen: Mutex<HashSet<Box<[u8]>>>,
}

/// A backend that runs; it stops when this is dropped.
#[derive(Debug)]
pub struct StandIn {
    /// Where it is.
    pub address: SocketAddr,
    counts: Arc<Counts>,
    _handle: Handle,
}

impl StandIn {
    /// Starts it at an address, on a thread of its own; port 0 takes a free port.
    ///
    /// # Errors
    /// When the port or a thread cannot be had.
    pub fn start(address: SocketAddr, manner: Manner) -> io::Result<Self> {
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        let body = manner.body();
        let (address, handle) = simple::spawn("stand-in", address, move |listener, stopped| async move {
            let handler = move |request: Request<Incoming>| {
                let (shared, body) = (shared.clone(), body.clone());
                async move {
                    let number = shared.count(&request);
                    if !manner.latency.is_zero() {
                        tokio::time::sleep(manner.latency).await;
                    }
                    let fails = manner.fails(number);
                    let body = if fails { Bytes::from_static(b"{\"stand-in\":true}") } else { body };
                    let mut response = Response::new(Full::new(body));
                    if fails {
                        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
                    }
                    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
                    Ok(response)
                }
            };
            simple::serve("stand-in", listener, 8_192, stopped.wait(), handler).await
        })?;
        Ok(Self { address, counts, _handle: handle })
    }

    /// What has reached it.
    pub fn upstream(&self) -> Upstream {
        Upstream {
            requests: self.counts.requests.load(Ordering::Relaxed),
            duplicates: Some(self.counts.duplicates.load(Ordering::Relaxed)),
        }
    }
}

impl Manner {
    /// What it answers, with the tokens as OpenAI's API reports them.
    fn body(&self) -> Bytes {
        let Usage { answer: Some(total), prompt } = self.usage else {
            return Bytes::from_static(b"{\"stand-in\":true}");
        };
        let completion = u64::from(total).saturating_sub(prompt);
        let prompt = u64::from(total) - completion;
        format!(
            "{{\"stand-in\":true,\"usage\":{{\"prompt_tokens\":{prompt},\"completion_tokens\":{completion},\"total_tokens\":{total}}}}}"
        )
        .into()
    }

    fn fails(&self, number: u64) -> bool {
        self.failures > 0.0 && fastrand::Rng::with_seed(self.seed ^ number).f64() * 100.0 < self.failures
    }
}

impl Counts {
    /// Counts a request, and says how many came before it.
    fn count(&self, request: &Request<Incoming>) -> u64 {
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        if let Some(attempt) = request.headers().get(ATTEMPT_HEADER).filter(|_| changes)
            && !self.seen.lock().insert(attempt.as_bytes().into())
        {
            self.duplicates.fetch_add(1, Ordering::Relaxed);
        }
        self.requests.fetch_add(1, Ordering::Relaxed)
    }
}
