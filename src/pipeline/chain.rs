//! The shape of a pipeline: segments and layers folded from last to first, so that the order written is the order called.

use std::future::Future;
use std::sync::Arc;

use http::header::CONTENT_LENGTH;
use http::{Method, Request, Response};
use tower_service::Service as _;

use super::exchange::{Exchange, Kept, Message};
use super::next::{Next, Serve, exchange_of};
use super::segment::Segment;
use super::step::{BoxFuture, Flow, Placed, Step};
use super::{Fault, follow};
use crate::body::Body;

/// What stands at the end of a chain.
pub trait Tail: Send + Sync + 'static {
    /// Answers a request. It is boxed: a request is large, and each future on its way would hold a copy of it.
    fn run(
        &self,
        exchange: &Arc<Exchange>,
        request: Box<Request<Body>>,
    ) -> impl Future<Output = Result<Response<Body>, Fault>> + Send;

    /// What happens to the backend's answer on its way back from here, when anything does.
    fn back(&self) -> Option<Arc<Back>> {
        None
    }
}

/// One section's steps in front of a tail.
#[derive(Debug)]
pub struct Chain<T> {
    segment: Segment,
    rest: Rest<T>,
    /// What outbound and on-error read of the request.
    kept: Kept,
    /// The way back from its end.
    back: Option<Arc<Back>>,
}

enum Rest<T> {
    Layered(Next),
    Tail(T),
}

impl<T: std::fmt::Debug> std::fmt::Debug for Rest<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Layered(_) => f.write_str("Layered"),
            Self::Tail(tail) => tail.fmt(f),
        }
    }
}

/// Marks an answer that no backend gave, so that outbound leaves it alone.
#[derive(Clone, Copy, Debug)]
pub struct AnsweredEarly;

impl<T: Tail> Chain<T> {
    /// Folds steps over a tail: `[a, b, retry, c]` becomes `segment(a, b) → retry → segment(c) → tail`.
    /// So much of the request is `kept` for on-error when a step fails.
    pub fn new(steps: Vec<Placed>, tail: T, kept: Kept) -> Self {
        let mut steps = steps;
        let back = tail.back();
        let mut rest = Rest::Tail(tail);
        while let Some(at) = steps.iter().rposition(|placed| matches!(placed.step, Step::Layer(_))) {
            let after = steps.split_off(at + 1);
            let Some(Placed { step: Step::Layer(layer), .. }) = steps.pop() else { break };
            let inner = Self { segment: Segment::new(after), rest, kept, back: back.clone() };
            rest = Rest::Layered(layer(Next::new(inner)));
        }
        Self { segment: Segment::new(steps), rest, kept, back }
    }

    /// Runs the steps and what comes after them.
    pub async fn run(
        &self,
        exchange: &Arc<Exchange>,
        mut request: Box<Request<Body>>,
    ) -> Result<Response<Body>, Fault> {
        if !self.segment.is_empty() {
            match self.segment.run(exchange, Message::Request(&mut request)).await {
                Ok(Flow::Next) => {}
                Ok(Flow::Respond(mut response)) => {
                    response.extensions_mut().insert(AnsweredEarly);
                    return Ok(*response);
                }
                Err(mut fault) => {
                    if self.kept.any() {
                        exchange.state.lock().keep(&request, self.kept);
                    }
                    fault.reuse(request.headers_mut());
                    return Err(fault);
                }
            }
        }
        match &self.rest {
            Rest::Tail(tail) => tail.run(exchange, request).await,
            Rest::Layered(next) => {
                if request.extensions().get::<Arc<Exchange>>().is_none() {
                    request.extensions_mut().insert(exchange.clone());
                }
                next.clone().call(*request).await
            }
        }
    }
}

impl<T: Tail> Serve for Chain<T> {
    fn serve(self: Arc<Self>, request: Request<Body>) -> BoxFuture<'static, Result<Response<Body>, Fault>> {
        Box::pin(async move {
            let exchange = exchange_of(&request)?;
            self.run(&exchange, Box::new(request)).await
        })
    }

    fn back(&self) -> Option<Arc<Back>> {
        self.back.clone()
    }
}

/// A chain in front of everything that comes after: how a branch of `choose` goes on when it holds layers.
impl Tail for Next {
    async fn run(&self, exchange: &Arc<Exchange>, mut request: Box<Request<Body>>) -> Result<Response<Body>, Fault> {
        if request.extensions().get::<Arc<Exchange>>().is_none() {
            request.extensions_mut().insert(exchange.clone());
        }
        self.clone().call(*request).await
    }

    fn back(&self) -> Option<Arc<Back>> {
        Next::back(self)
    }
}

/// The way back: outbound, and what it needs.
#[derive(Debug)]
pub struct Back {
    outbound: Segment,
    /// What outbound and on-error read of the request.
    kept: Kept,
    /// Whether outbound reads the body of the answer.
    reads_body: bool,
}

impl Back {
    /// Runs outbound on an answer that takes the place of the backend's: one from a cache.
    pub async fn answer(
        &self,
        exchange: &Arc<Exchange>,
        request: &Request<Body>,
        mut response: Response<Body>,
    ) -> Result<Response<Body>, Fault> {
        {
            let mut state = exchange.state.lock();
            state.keep(request, self.kept);
            state.forget_json();
        }
        if self.outbound.is_empty() {
            return Ok(response);
        }
        let flow = self.outbound.run(exchange, Message::Response(&mut response)).await?;
        Ok(self.end(exchange, flow, response))
    }

    /// The answer after outbound.
    fn end(&self, exchange: &Exchange, flow: Flow, mut response: Response<Body>) -> Response<Body> {
        match flow {
            Flow::Next => {
                if self.reads_body && exchange.method == Method::HEAD {
                    // There was no body to work on, so nobody knows the length that a GET would get (RFC 9110 §9.3.2).
                    response.headers_mut().remove(CONTENT_LENGTH);
                    *response.body_mut() = Body::Empty;
                }
                response
            }
            Flow::Respond(answer) => *answer,
        }
    }
}

/// What stands after inbound: outbound on the way back, around the backend section.
#[derive(Debug)]
pub struct Middle<F> {
    backend: Chain<F>,
    back: Arc<Back>,
    /// Whether a step of inbound left something behind that looks at the backend's answer.
    followed: bool,
}

impl<F: Tail> Middle<F> {
    /// Puts outbound around the backend section.
    pub fn new(backend: Chain<F>, outbound: Segment, kept: Kept, reads_body: bool) -> Self {
        Self { backend, back: Arc::new(Back { outbound, kept, reads_body }), followed: false }
    }

    /// Shows the backend's answer to what steps of inbound left behind, before outbound runs.
    #[must_use]
    pub fn followed(mut self, followed: bool) -> Self {
        self.followed = followed;
        self
    }
}

impl<F: Tail> Tail for Middle<F> {
    async fn run(&self, exchange: &Arc<Exchange>, request: Box<Request<Body>>) -> Result<Response<Body>, Fault> {
        if self.back.kept.any() {
            exchange.state.lock().keep(&request, self.back.kept);
        }
        let mut response = if self.followed {
            // Boxed: few operations have it, and it would make the future of every request larger.
            Box::pin(self.shown(exchange, request)).await?
        } else {
            self.backend.run(exchange, request).await?
        };
        if self.back.outbound.is_empty() || response.extensions().get::<AnsweredEarly>().is_some() {
            return Ok(response);
        }
        {
            let mut state = exchange.state.lock();
            state.forget_json();
            if let Some(cached) = &state.cached {
                cached.see(&mut response);
            }
        }
        let flow = self.back.outbound.run(exchange, Message::Response(&mut response)).await?;
        Ok(self.back.end(exchange, flow, response))
    }

    fn back(&self) -> Option<Arc<Back>> {
        Some(self.back.clone())
    }
}

impl<F: Tail> Middle<F> {
    /// The backend's answer, after those that follow the exchange have seen it.
    async fn shown(&self, exchange: &Arc<Exchange>, request: Box<Request<Body>>) -> Result<Response<Body>, Fault> {
        let mut response = self.backend.run(exchange, request).await?;
        follow::responded(exchange, &mut response).await?;
        Ok(response)
    }
}
