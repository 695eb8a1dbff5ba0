//! The seam between tower and the pipeline: everything that comes after a layer, as one cloneable service.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use http_body::Body as _;
use tower::ServiceExt as _;
use tower_service::Service;

use super::chain::Back;
use super::exchange::{Exchange, Kept, Message};
use super::step::BoxFuture;
use super::{Blame, Fault};
use crate::body::Body;

/// Something that answers a request. Called through an [`Arc`], so that nothing is cloned for a request but a pointer.
pub trait Serve: Send + Sync {
    /// Answers a request.
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>>;

    /// The way back, for a layer that has the backend's answer from elsewhere.
    fn back(&self) -> Option<Arc<Back>> {
        None
    }
}

/// Everything that comes after a layer.
#[derive(Clone)]
pub struct Next(Arc<dyn Serve>);

impl Next {
    /// Wraps something that answers requests.
    pub fn new(serve: impl Serve + 'static) -> Self {
        Self(Arc::new(serve))
    }

    /// The way back from here: what happens to the backend's answer. A layer is always given one that knows.
    pub fn back(&self) -> Option<Arc<Back>> {
        self.0.back()
    }

    /// Reads the body of a request into memory before it goes on; with a bound, only one whose length is known and within it.
    #[must_use]
    pub fn buffered(self, bound: Option<u64>) -> Self {
        Self::new(Buffered { bound, next: self })
    }

    /// Keeps so much of a request for expressions that read it once there is an answer.
    #[must_use]
    pub fn keeping(self, kept: Kept) -> Self {
        if kept.any() { Self::new(Keeping(self, kept)) } else { self }
    }

    /// Wraps a tower service. It is cloned for each request, so its own state must be small: numbers and pointers.
    pub fn from_service<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>, Error = Fault> + Clone + Send + Sync + 'static,
        S::Future: Send,
    {
        Self::new(Tower(service))
    }
}

impl Service<Request<Body>> for Next {
    type Response = Response<Body>;
    type Error = Fault;
    type Future = BoxFuture<'static, Result<Response<Body>, Fault>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.0.clone().serve(request)
    }
}

struct Tower<S>(S);

impl<S> Serve for Tower<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Fault> + Clone + Send + Sync + 'static,
    S::Future: Send,
{
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(self.0.clone().oneshot(request))
    }
}

struct Buffered {
    bound: Option<u64>,
    next: Next,
}

impl Serve for Buffered {
    fn serve(self: Arc<Self>, mut request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            let fits = |bound: u64| {
                let length = request.body().size_hint().exact();
                length.is_some_and(|length| length <= bound.min(exchange.gateway.settings.buffer_size))
            };
            if self.bound.is_none_or(fits)
                && let Err(fault) = exchange.buffer(&mut Message::Request(&mut request)).await
            {
                exchange.state.lock().save_head(&request);
                return Err(fault);
            }
            self.next.clone().call(request).await
        })
    }
}

struct Keeping(Next, Kept);

impl Serve for Keeping {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        match exchange_of(&request) {
            Ok(exchange) => exchange.state.lock().keep(&request, self.1),
            Err(fault) => return Box::pin(async { Err(fault) }),
        }
        self.0.clone().call(request)
    }
}

/// The exchange that a request belongs to; it travels in the request's extensions where a layer stands between.
pub fn exchange_of(request: &Request<Body>) -> Result<Arc<Exchange>, Fault> {
    request.extensions().get::<Arc<Exchange>>().cloned().ok_or_else(|| {
        Fault::new(
            http::StatusCode::INTERNAL_SERVER_ERROR,
            Blame::Gateway,
            "pipeline",
            "Internal",
            "a layer lost the exchange of its request",
        )
        .public("Internal server error")
    })
}
