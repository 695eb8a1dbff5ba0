//! The seam between tower and the pipeline: everything that comes after a layer, as one cloneable service.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use tower::ServiceExt as _;
use tower_service::Service;

use super::exchange::Exchange;
use super::step::BoxFuture;
use super::{Blame, Fault};
use crate::body::Body;

/// Something that answers a request. Called through an [`Arc`], so that nothing is cloned for a request but a pointer.
pub trait Serve: Send + Sync {
    /// Answers a request.
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>>;
}

/// Everything that comes after a layer.
#[derive(Clone)]
pub struct Next(Arc<dyn Serve>);

impl Next {
    /// Wraps something that answers requests.
    pub fn new(serve: impl Serve + 'static) -> Self {
        Self(Arc::new(serve))
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
