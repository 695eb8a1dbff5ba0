//! Sends a request again when its outcome is worth it, the request is safe to repeat, and there are budget and time left.

mod backoff;
mod budget;
mod service;

#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use http::{Extensions, HeaderMap, Method, Response, StatusCode};

pub use backoff::{Backoff, retry_after};
pub use budget::Budget;
pub use service::Retry;

use crate::clock::Clock;

/// What to do about an outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the outcome.
    Done,
    /// It is worth another try.
    Retry {
        /// How long the upstream asked to wait; the backoff decides when it did not.
        after: Option<Duration>,
    },
}

/// Decides which outcomes are worth another try, and is told what the layer does. Whether the request may be repeated at
/// all is decided by the layer.
pub trait Retryable<R, E> {
    /// What the decisions and the hooks need to know about the request: taken from its extensions once, before the first
    /// attempt.
    type Exchange;
    /// Takes it.
    fn exchange(&self, extensions: &Extensions) -> Self::Exchange;
    /// About a response; `attempt` counts from 1. When it cannot be judged, the caller gets that error.
    fn response(&self, exchange: &Self::Exchange, attempt: u32, response: &mut Response<R>) -> Result<Verdict, E>;
    /// About an error; `attempt` counts from 1. When it cannot be judged, the caller gets that error.
    fn error(&self, exchange: &Self::Exchange, attempt: u32, error: &mut E) -> Result<Verdict, E>;
    /// Whether the request provably never reached the upstream, so that any method may be sent again.
    fn unsent(&self, error: &E) -> bool;
    /// The error for an attempt that took longer than the per-try timeout.
    fn timed_out(&self, after: Duration) -> E;
    /// Hook: the `attempt`th attempt failed, and the next comes after `wait`.
    fn retrying(&self, exchange: &Self::Exchange, attempt: u32, wait: Duration) {
        let _ = (exchange, attempt, wait);
    }
    /// Hook: a response is about to be discarded, and may be looked at first. That is part of the wait.
    fn discarding<'r>(&self, exchange: &Self::Exchange, response: &'r mut Response<R>) -> Option<Looking<'r>> {
        let _ = (exchange, response);
        None
    }
    /// Hook: the caller gets the outcome of the last of `attempts` attempts.
    fn finished(&self, exchange: &Self::Exchange, attempts: u32, stop: Stop) {
        let _ = (exchange, attempts, stop);
    }
}

/// A look at a response.
pub type Looking<'r> = Pin<Box<dyn Future<Output = ()> + Send + 'r>>;

/// A body that may be sent more than once.
pub trait Replay: Sized {
    /// The same body again; nothing when it streams, and the request can be sent only once.
    fn try_clone(&self) -> Option<Self>;
}

/// Why no more attempts were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The outcome needed none.
    Done,
    /// All retries were used.
    Exhausted,
    /// The method is not idempotent, and the request may have reached the upstream.
    Unsafe,
    /// The body streams, so that it could not be sent again.
    Streamed,
    /// The wait would have been longer than the deadline or the longest wait allows.
    NoTime,
    /// The budget was spent.
    NoBudget,
}

/// How many attempts were made, in the response's extensions when it was more than one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attempts(pub u32);

/// Where jitter comes from: a number in `[0, 1)`.
pub type Random = Arc<dyn Fn() -> f64 + Send + Sync>;

/// How a [`RetryLayer`] repeats.
#[derive(Clone)]
pub struct Settings {
    /// How many more attempts are made after the first.
    pub retries: u32,
    /// The waits between them.
    pub backoff: Backoff,
    /// Whether the first retry comes at once.
    pub first_fast: bool,
    /// Whether requests are repeated whose method is not idempotent, even when they may have reached the upstream.
    pub any_method: bool,
    /// How long one attempt may take.
    pub per_try: Option<Duration>,
    /// The longest wait; when the upstream asks for more, its response is the outcome.
    pub longest_wait: Duration,
    /// The budget that retries are taken from.
    pub budget: Option<Arc<Budget>>,
    /// Where jitter comes from.
    pub random: Random,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settings")
            .field("retries", &self.retries)
            .field("backoff", &self.backoff)
            .field("first_fast", &self.first_fast)
            .field("any_method", &self.any_method)
            .field("per_try", &self.per_try)
            .field("longest_wait", &self.longest_wait)
            .field("budget", &self.budget)
            .finish_non_exhaustive()
    }
}

impl Default for Settings {
    /// Two retries after a random part of 100 ms, then of 200 ms; no wait above 30 seconds; no budget.
    fn default() -> Self {
        Self {
            retries: 2,
            backoff: Backoff::FullJitter { base: Duration::from_millis(100), max: Duration::from_secs(10) },
            first_fast: false,
            any_method: false,
            per_try: None,
            longest_wait: Duration::from_secs(30),
            budget: None,
            random: Arc::new(fastrand::f64),
        }
    }
}

impl Settings {
    /// The wait before the `retry`th retry, counted from 1.
    fn wait(&self, retry: u32) -> Duration {
        if self.first_fast && retry == 1 {
            return Duration::ZERO;
        }
        self.backoff.wait(retry, (self.random)())
    }
}

/// Repeats requests. Whoever wants an overall deadline puts a [`super::TimeoutLayer`] around it.
#[derive(Clone, Debug)]
pub struct RetryLayer<P> {
    shared: Arc<Shared<P>>,
}

#[derive(Debug)]
struct Shared<P> {
    settings: Settings,
    policy: P,
}

impl<P> RetryLayer<P> {
    /// A layer that repeats what `policy` says is worth it.
    pub fn new(settings: Settings, policy: P) -> Self {
        Self { shared: Arc::new(Shared { settings, policy }) }
    }
}

impl<S, P> tower_layer::Layer<S> for RetryLayer<P> {
    type Service = Retry<S, P>;

    fn layer(&self, inner: S) -> Self::Service {
        Retry::new(inner, Arc::clone(&self.shared))
    }
}

/// The usual verdict about a status: 502, 503 and 504 are worth another try, 429 only with `Retry-After`.
pub fn usual_verdict(status: StatusCode, headers: &HeaderMap, clock: &Clock) -> Verdict {
    match status {
        StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT => {
            Verdict::Retry { after: retry_after(headers, clock.wall()) }
        }
        StatusCode::TOO_MANY_REQUESTS => match retry_after(headers, clock.wall()) {
            Some(after) => Verdict::Retry { after: Some(after) },
            None => Verdict::Done,
        },
        _ => Verdict::Done,
    }
}

/// Whether a request may be repeated without harm: its method is idempotent (RFC 9110 §9.2.2), or the client said so
/// with `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header).
pub fn repeatable(method: &Method, headers: &HeaderMap) -> bool {
    method.is_idempotent() || headers.contains_key("idempotency-key")
}
