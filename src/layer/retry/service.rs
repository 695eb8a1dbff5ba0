//! The attempts of one request.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tokio::time::Instant;
use tower_service::Service;

use super::{Attempts, Replay, Retryable, Shared, Stop, Verdict, repeatable};
use crate::layer::Deadline;

/// The service of a [`super::RetryLayer`].
#[derive(Debug)]
pub struct Retry<S, P> {
    inner: S,
    shared: Arc<Shared<P>>,
}

impl<S, P> Retry<S, P> {
    pub(super) fn new(inner: S, shared: Arc<Shared<P>>) -> Self {
        Self { inner, shared }
    }
}

impl<S: Clone, P> Clone for Retry<S, P> {
    fn clone(&self) -> Self {
        Self { inner: self.inner.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<S, P, B, R> Service<Request<B>> for Retry<S, P>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
    P: Retryable<R, S::Error> + Send + Sync + 'static,
    P::Exchange: Send + Sync,
    B: Replay + Send + 'static,
    R: Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    // Boxed, because the future waits and repeats the inner one.
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        // The service that was polled ready takes the request; the clone stays for the next.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        Box::pin(run(inner, Arc::clone(&self.shared), request))
    }
}

async fn run<S, P, B, R>(mut inner: S, shared: Arc<Shared<P>>, mut request: Request<B>) -> Result<Response<R>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    P: Retryable<R, S::Error>,
    B: Replay,
{
    let Shared { settings, policy } = &*shared;
    let any_failure = settings.any_method || repeatable(request.method(), request.headers());
    let exchange = policy.exchange(request.extensions());
    let deadline = request.extensions().get::<Deadline>().map(|deadline| deadline.0);
    if let Some(budget) = &settings.budget {
        budget.deposit();
    }
    let mut attempt = 1;
    loop {
        let kept = if attempt > settings.retries { None } else { copy(&request) };
        let mut outcome = send(&mut inner, &shared, request).await;
        let verdict = match &mut outcome {
            Ok(response) => policy.response(&exchange, attempt, response)?,
            Err(error) => policy.error(&exchange, attempt, error)?,
        };
        let repeatable = any_failure || outcome.as_ref().is_err_and(|error| policy.unsent(error));
        let (stop, next) = match verdict {
            Verdict::Done => (Stop::Done, None),
            Verdict::Retry { .. } if attempt > settings.retries => (Stop::Exhausted, None),
            Verdict::Retry { .. } if !repeatable => (Stop::Unsafe, None),
            Verdict::Retry { .. } if kept.is_none() => (Stop::Streamed, None),
            Verdict::Retry { after } => {
                let wait = after.unwrap_or_else(|| settings.wait(attempt));
                let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                if wait > settings.longest_wait || left.is_some_and(|left| wait >= left) {
                    (Stop::NoTime, None)
                } else if settings.budget.as_ref().is_some_and(|budget| !budget.withdraw()) {
                    (Stop::NoBudget, None)
                } else {
                    (Stop::Done, Some(wait))
                }
            }
        };
        let (Some(wait), Some(kept)) = (next, kept) else {
            policy.finished(&exchange, attempt, stop);
            return outcome.map(|mut response| {
                if attempt > 1 {
                    response.extensions_mut().insert(Attempts(attempt));
                }
                response
            });
        };
        policy.retrying(&exchange, attempt, wait);
        let due = Instant::now() + wait;
        if let Ok(response) = &mut outcome
            && let Some(looking) = policy.discarding(&exchange, response)
        {
            looking.await;
        }
        // Lets the connection of the discarded response go before the wait.
        drop(outcome);
        if !wait.is_zero() {
            tokio::time::sleep_until(due).await;
        }
        request = kept;
        attempt += 1;
    }
}

/// One attempt, within the per-try timeout.
async fn send<S, P, B, R>(inner: &mut S, shared: &Shared<P>, mut request: Request<B>) -> Result<Response<R>, S::Error>
where
    S: Service<Request<B>, Response = Response<R>>,
    P: Retryable<R, S::Error>,
{
    let due = shared.settings.per_try.map(|limit| (limit, Instant::now() + limit));
    if let Some((_, due)) = due {
        Deadline::narrow(request.extensions_mut(), due);
    }
    let attempt = async {
        poll_fn(|cx| inner.poll_ready(cx)).await?;
        inner.call(request).await
    };
    match due {
        None => attempt.await,
        Some((limit, due)) => match tokio::time::timeout_at(due, attempt).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(shared.policy.timed_out(limit)),
        },
    }
}

fn copy<B: Replay>(request: &Request<B>) -> Option<Request<B>> {
    let mut copy = Request::new(request.body().try_clone()?);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.version_mut() = request.version();
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}
