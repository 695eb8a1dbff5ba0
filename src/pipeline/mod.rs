//! How an exchange runs: sections, segments, layers, on-error. Knows no TOML.

pub mod cached;
pub mod chain;
pub mod exchange;
mod facts;
pub mod fault;
pub mod follow;
pub mod forward;
pub mod limits;
pub mod next;
pub mod public;
mod redirect;
pub mod rescue;
pub mod segment;
pub mod step;

use std::sync::Arc;

use http::{Request, Response};

pub use cached::{CacheStatus, Cached, Downstream};
pub use chain::{Back, Chain, Middle};
pub use exchange::{Context, Exchange, ForwardOptions, Kept, Message, State};
pub use fault::{Blame, Fault};
pub use follow::{Follow, Followers};
pub use forward::Forward;
pub use next::Next;
pub use segment::Segment;
pub use step::{Apply, ApplyAsync, BoxFuture, CacheRole, Call, Flow, Grants, Placed, Step, TokenCheck, TokenDemand};

use self::limits::Limited;
use crate::body::Body;
use crate::expression::Needs;
use crate::routing::Sent;

/// Where in the configuration a step was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The policy's name (`set-header`).
    pub policy: &'static str,
    /// The section it stands in (`inbound`).
    pub section: &'static str,
    /// The scope it was written at (`global`, `product`, `api`, `operation`).
    pub scope: &'static str,
    /// Its place among the policies of its scope and section (`choose[3]/when[2]/set-header[1]`).
    pub path: String,
    /// The `id` the author gave it.
    pub id: Option<String>,
    /// The file and line it was written at.
    pub place: String,
}

/// Everything that happens to a request of an operation: `rescue(on-error) → inbound → outbound (on the way back) →
/// backend → forward`.
#[derive(Debug)]
pub struct Pipeline {
    inbound: Chain<Middle<Forward>>,
    on_error: Segment,
    /// What outbound and on-error read of the request.
    pub kept: Kept,
    /// The inbound steps that may answer a preflight.
    preflight: Box<[Placed]>,
    /// Where each step was written, section by section in the order of [`Section`](crate::policy::Section).
    pub outline: [Box<[Arc<Origin>]>; 4],
    /// Where requests may be sent, as far as steps tell; branches send them to several places.
    pub sent: Box<[Sent]>,
    /// What inbound asks of the caller's token.
    pub token_checks: Box<[TokenCheck]>,
}

impl Pipeline {
    /// Builds a pipeline from the effective steps of the four sections.
    pub fn new(inbound: Vec<Placed>, backend: Vec<Placed>, outbound: Vec<Placed>, on_error: Vec<Placed>) -> Self {
        let outline = [&inbound, &backend, &outbound, &on_error]
            .map(|steps| steps.iter().map(|placed| placed.origin.clone()).collect());
        let token_checks = inbound.iter().flat_map(|placed| placed.token_checks.iter().cloned()).collect();
        let before = vec![Sent::Same];
        let sent = inbound.iter().chain(&backend).fold(before, |ways, placed| placed.step.sent(ways));
        let preflight = inbound.iter().filter(|placed| placed.origin.policy == "cors").cloned().collect();
        let later = inbound.iter().filter(|placed| placed.needs.contains(Needs::HEAD_LATER)).map(|_| Kept::Head);
        let kept = outbound.iter().chain(&on_error).map(|placed| Kept::of(placed.needs)).chain(later).max();
        let kept = kept.unwrap_or_default();
        let followed = inbound.iter().any(|placed| placed.needs.contains(Needs::ANSWER));
        let reads_body = outbound.iter().any(|placed| placed.needs.reads_body());
        let said = backend.iter().rfind(|placed| placed.origin.policy == forward::POLICY);
        let origin = said.map_or_else(forward::unwritten, |placed| placed.origin.clone());
        let forward = Forward { kept, wants_plain: reads_body || followed, origin };
        let middle = Middle::new(Chain::new(backend, forward, kept), Segment::new(outbound), kept, reads_body)
            .followed(followed);
        Self {
            inbound: Chain::new(inbound, middle, kept),
            on_error: Segment::new(on_error),
            kept,
            preflight,
            outline,
            sent: sent.into(),
            token_checks,
        }
    }

    /// Runs a request through; every failure has become a response.
    pub async fn serve(&self, exchange: &Arc<Exchange>, request: Box<Request<Body>>) -> Response<Body> {
        let mut response = match self.inbound.run(exchange, request).await {
            // Boxed: rare, and would make the future of every request larger.
            Ok(response) if rescue::is_wanted(exchange, &response) => Box::pin(rescue::wrap(exchange, response)).await,
            Ok(response) => response,
            Err(fault) => rescue::rescue(fault, exchange, &self.on_error).await,
        };
        settle(exchange, &mut response);
        finish(exchange, &mut response);
        response
    }

    /// Whether a `cors` stands directly in inbound, so that preflights are answered.
    pub fn answers_preflights(&self) -> bool {
        !self.preflight.is_empty()
    }

    /// Answers a preflight by the first `cors` that does; with an empty 200 when none does, which tells the browser no.
    pub fn preflight(&self, exchange: &mut Exchange, request: &mut Request<Body>) -> Response<Body> {
        let mut state = std::mem::take(exchange.state.get_mut());
        let mut cx = Context { exchange, state: &mut state, message: Message::Request(request) };
        let answer = self.preflight.iter().find_map(|placed| match &placed.step {
            Step::Sync(step) => step.preflight(&mut cx),
            Step::Async(_) | Step::Layer(_) => None,
        });
        *exchange.state.get_mut() = state;
        answer.unwrap_or_default()
    }

    /// Answers a fault that happened before the pipeline could start: no operation, no key.
    pub async fn refuse(&self, exchange: &Arc<Exchange>, fault: Fault) -> Response<Body> {
        let mut response = rescue::rescue(fault, exchange, &self.on_error).await;
        finish(exchange, &mut response);
        response
    }
}

/// Counts what limits left to be counted when the answer is known.
fn settle(exchange: &Exchange, response: &mut Response<Body>) {
    let mut state = exchange.state.lock();
    if !state.limits.iter().any(Limited::is_pending) {
        return;
    }
    let mut limits = std::mem::take(&mut state.limits);
    limits::settle(&mut limits, &Context { exchange, state: &mut state, message: Message::Response(response) });
    state.limits = limits;
}

/// Tells those that follow the exchange, and adds what steps left for the answer, whatever it became.
fn finish(exchange: &Exchange, response: &mut Response<Body>) {
    let mut state = exchange.state.lock();
    follow::answered(exchange, &mut state, response);
    if !state.limits.is_empty() {
        limits::write(&state.limits, response.headers_mut());
    }
    for (name, value) in state.response_headers.drain(..) {
        // `Vary` adds up; everything else is the gateway's own word.
        if name == http::header::VARY {
            response.headers_mut().append(name, value);
        } else {
            response.headers_mut().insert(name, value);
        }
    }
}
