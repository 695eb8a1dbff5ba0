//! At most so many requests of one key inside at once; the rest are refused immediately.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::limit::{ConcurrencyLimit, Permit};

/// What a [`ConcurrencyLayer`] asks about a request and does with its answer.
pub trait Gate<B, R, E>: Clone {
    /// The body of an answer that holds its permit.
    type Held;
    /// Takes the permit for a request, or makes the error that refuses it. [`ConcurrencyLimit::try_acquire`] with the
    /// request's key, usually.
    fn admit(&self, request: &mut Request<B>) -> Result<Permit, E>;
    /// Ties the permit to the body, to be dropped when the body ends or is dropped: [`PermitBody::new`], or a body type
    /// of the caller's own that can hold it.
    fn hold(&self, body: R, permit: Permit) -> Self::Held;
}

/// A [`Gate`] from a limit, the key of a request and the error when it is full. Bodies become [`PermitBody`].
#[derive(Clone, Debug)]
pub struct KeyedGate<K, F> {
    limit: ConcurrencyLimit,
    key: K,
    full: F,
}

impl<K, F> KeyedGate<K, F> {
    /// A gate; `key` reads the key of a request, `full` makes the error from the maximum.
    pub fn new(limit: ConcurrencyLimit, key: K, full: F) -> Self {
        Self { limit, key, full }
    }
}

impl<B, R, E, K, F> Gate<B, R, E> for KeyedGate<K, F>
where
    R: Body,
    K: for<'a> Fn(&'a Request<B>) -> &'a str + Clone,
    F: Fn(u32) -> E + Clone,
{
    type Held = PermitBody<R>;

    fn admit(&self, request: &mut Request<B>) -> Result<Permit, E> {
        self.limit.try_acquire((self.key)(request)).ok_or_else(|| (self.full)(self.limit.max()))
    }

    fn hold(&self, body: R, permit: Permit) -> PermitBody<R> {
        PermitBody::new(body, permit)
    }
}

/// Refuses requests above a keyed concurrency limit. The place is held until the response body ends or is dropped, and
/// given back when the caller goes away.
#[derive(Clone, Debug)]
pub struct ConcurrencyLayer<G> {
    gate: G,
}

impl<G> ConcurrencyLayer<G> {
    /// A layer in front of which `gate` stands.
    pub fn new(gate: G) -> Self {
        Self { gate }
    }
}

impl<S, G: Clone> Layer<S> for ConcurrencyLayer<G> {
    type Service = Concurrency<S, G>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency { inner, gate: self.gate.clone() }
    }
}

/// The service of a [`ConcurrencyLayer`].
#[derive(Clone, Debug)]
pub struct Concurrency<S, G> {
    inner: S,
    gate: G,
}

impl<S, G, B, R> Service<Request<B>> for Concurrency<S, G>
where
    S: Service<Request<B>, Response = Response<R>>,
    G: Gate<B, R, S::Error>,
{
    type Response = Response<G::Held>;
    type Error = S::Error;
    type Future = ConcurrencyFuture<S::Future, S::Error, G, B>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let state = match self.gate.admit(&mut request) {
            Ok(permit) => State::Admitted { inner: self.inner.call(request), permit: Some(permit) },
            Err(error) => State::Refused { error: Some(error) },
        };
        ConcurrencyFuture { state, gate: self.gate.clone(), request: std::marker::PhantomData }
    }
}

pin_project! {
    /// The response of a [`Concurrency`].
    pub struct ConcurrencyFuture<T, E, G, B> {
        #[pin]
        state: State<T, E>,
        gate: G,
        request: std::marker::PhantomData<fn(B)>,
    }
}

pin_project! {
    #[project = StateProjection]
    enum State<T, E> {
        Admitted { #[pin] inner: T, permit: Option<Permit> },
        Refused { error: Option<E> },
    }
}

impl<T, E, G, B, R> Future for ConcurrencyFuture<T, E, G, B>
where
    T: Future<Output = Result<Response<R>, E>>,
    G: Gate<B, R, E>,
{
    type Output = Result<Response<G::Held>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match this.state.project() {
            StateProjection::Admitted { inner, permit } => {
                let result = ready!(inner.poll(cx));
                let permit = permit.take().expect("a future is not polled after it is ready");
                Poll::Ready(result.map(|response| response.map(|body| this.gate.hold(body, permit))))
            }
            StateProjection::Refused { error } => {
                Poll::Ready(Err(error.take().expect("a future is not polled after it is ready")))
            }
        }
    }
}

pin_project! {
    /// A body that gives its permit back when it has ended, failed or been dropped.
    #[derive(Debug)]
    pub struct PermitBody<B> {
        #[pin]
        body: B,
        permit: Option<Permit>,
    }
}

impl<B: Body> PermitBody<B> {
    /// Ties `permit` to `body`. A body without content gives it back at once.
    pub fn new(body: B, permit: Permit) -> Self {
        let permit = (!body.is_end_stream()).then_some(permit);
        Self { body, permit }
    }

    /// The body itself.
    pub fn get_ref(&self) -> &B {
        &self.body
    }

    /// The body itself, to be changed.
    pub fn get_mut(&mut self) -> &mut B {
        &mut self.body
    }
}

impl<B: Body> Body for PermitBody<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        // A server does not poll again once the announced length has been passed on.
        if !matches!(frame, Some(Ok(_))) || this.body.is_end_stream() {
            *this.permit = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::{BodyExt, Full};
    use std::num::NonZeroU32;
    use tokio_test::{assert_pending, assert_ready_err, assert_ready_ok, task};
    use tower_test::mock;

    type Call = Request<()>;
    type Answer = Response<Full<Bytes>>;

    fn path(request: &Call) -> &str {
        request.uri().path()
    }

    fn call(path: &str) -> Call {
        Request::get(path).body(()).unwrap()
    }

    #[tokio::test]
    async fn the_place_is_held_until_the_body_ends_or_anything_is_dropped() {
        let limit = ConcurrencyLimit::new(NonZeroU32::MIN);
        let full = |max| tower::BoxError::from(format!("{max} at once"));
        let gate = KeyedGate::new(limit.clone(), path, full);
        let (mut service, mut handle) = mock::spawn_layer::<Call, Answer, _>(ConcurrencyLayer::new(gate));
        handle.allow(10);
        assert_ready_ok!(service.poll_ready());

        let mut first = task::spawn(service.call(call("/a")));
        assert_pending!(first.poll());
        assert_ready_ok!(service.poll_ready());
        let mut second = task::spawn(service.call(call("/a")));
        assert_eq!(assert_ready_err!(second.poll()).to_string(), "1 at once", "the key is full");
        assert_ready_ok!(service.poll_ready());
        let mut other = task::spawn(service.call(call("/b")));
        assert_pending!(other.poll(), "another key has its own places");
        drop(other);
        assert_eq!(limit.keys(), 1, "a caller that goes away gives its place back");

        let (_, respond) = handle.next_request().await.unwrap();
        respond.send_response(Response::new(Full::from("body")));
        let response = assert_ready_ok!(first.poll());
        assert_eq!(limit.keys(), 1, "the head alone does not end the request");
        let mut body = response.into_body();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "body");
        assert_eq!(limit.keys(), 0, "the end of the body does");
        assert!(body.frame().await.is_none());
    }

    #[test]
    fn an_empty_or_dropped_body_gives_the_place_back() {
        let limit = ConcurrencyLimit::new(NonZeroU32::MIN);
        let empty = PermitBody::new(Full::new(Bytes::new()), limit.try_acquire("k").unwrap());
        assert_eq!(limit.keys(), 0, "nothing to wait for");
        drop(empty);
        let body = PermitBody::new(Full::<Bytes>::from("x"), limit.try_acquire("k").unwrap());
        assert!(limit.try_acquire("k").is_none());
        drop(body);
        assert!(limit.try_acquire("k").is_some());
    }
}
