//! A deadline for the response head.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http::{Extensions, Request, Response};
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};
use tower_layer::Layer;
use tower_service::Service;

/// When the request must have its response head, in the request's extensions. The narrowest of nested timeouts; layers
/// inside read it so as not to begin what cannot end in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// Notes a deadline, unless a narrower one is known.
    pub fn narrow(extensions: &mut Extensions, due: Instant) {
        if extensions.get::<Self>().is_none_or(|outer| due < outer.0) {
            extensions.insert(Self(due));
        }
    }
}

/// Answers with an error when the response head takes longer than a duration. The body is not timed: it streams.
#[derive(Clone, Debug)]
pub struct TimeoutLayer<F> {
    duration: Duration,
    error: F,
}

impl<F> TimeoutLayer<F> {
    /// A timeout; `error` makes the error from the duration.
    pub fn new(duration: Duration, error: F) -> Self {
        Self { duration, error }
    }
}

impl<S, F: Clone> Layer<S> for TimeoutLayer<F> {
    type Service = Timeout<S, F>;

    fn layer(&self, inner: S) -> Self::Service {
        Timeout { inner, duration: self.duration, error: self.error.clone() }
    }
}

/// The service of a [`TimeoutLayer`].
#[derive(Clone, Debug)]
pub struct Timeout<S, F> {
    inner: S,
    duration: Duration,
    error: F,
}

impl<S, F, B, R> Service<Request<B>> for Timeout<S, F>
where
    S: Service<Request<B>, Response = Response<R>>,
    F: Fn(Duration) -> S::Error + Clone,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = TimeoutFuture<S::Future, F>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let sleep = tokio::time::sleep(self.duration);
        Deadline::narrow(request.extensions_mut(), sleep.deadline());
        TimeoutFuture { inner: self.inner.call(request), sleep, duration: self.duration, error: self.error.clone() }
    }
}

pin_project! {
    /// The response of a [`Timeout`].
    #[derive(Debug)]
    pub struct TimeoutFuture<T, F> {
        #[pin]
        inner: T,
        #[pin]
        sleep: Sleep,
        duration: Duration,
        error: F,
    }
}

impl<T, F, R, E> Future for TimeoutFuture<T, F>
where
    T: Future<Output = Result<R, E>>,
    F: Fn(Duration) -> E,
{
    type Output = Result<R, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.inner.poll(cx) {
            return Poll::Ready(result);
        }
        ready!(this.sleep.poll(cx));
        Poll::Ready(Err((this.error)(*this.duration)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower::{BoxError, ServiceExt, service_fn};

    /// Answers after `millis` with the deadline that it was shown, in milliseconds from now.
    async fn answer(millis: u64, request: Request<()>) -> Result<Response<u128>, BoxError> {
        let shown = request.extensions().get::<Deadline>().map(|deadline| deadline.0 - Instant::now());
        tokio::time::sleep(Duration::from_millis(millis)).await;
        Ok(Response::new(shown.unwrap_or_default().as_millis()))
    }

    fn late(after: Duration) -> BoxError {
        format!("no answer in {after:?}").into()
    }

    #[tokio::test(start_paused = true)]
    async fn answers_with_the_error_at_the_deadline() {
        for (millis, want) in [(0, Ok(100)), (99, Ok(100)), (101, Err("no answer in 100ms".to_owned()))] {
            let service = service_fn(move |request| answer(millis, request));
            let service = TimeoutLayer::new(Duration::from_millis(100), late).layer(service);
            let began = Instant::now();
            let got = service.oneshot(Request::new(())).await;
            assert_eq!(got.map(Response::into_body).map_err(|e| e.to_string()), want, "{millis} ms");
            assert!(began.elapsed() <= Duration::from_millis(100), "{millis} ms");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn shows_the_narrowest_deadline() {
        for (outer, inner, want) in [(100, 50, 50), (50, 100, 50)] {
            let service = TimeoutLayer::new(Duration::from_millis(inner), late).layer(service_fn(|r| answer(0, r)));
            let service = TimeoutLayer::new(Duration::from_millis(outer), late).layer(service);
            let got = service.oneshot(Request::new(())).await.unwrap();
            assert_eq!(got.into_body(), want, "{outer} around {inner}");
        }
    }
}
