//! The end of every pipeline: the backend is chosen, called, and its answer noted.

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT_ENCODING, HeaderValue};
use http::{Request, Response, StatusCode};

use super::chain::Tail;
use super::exchange::{Exchange, ForwardOptions};
use super::redirect::Original;
use super::segment::place;
use super::{Blame, Fault, Origin};
use crate::backend;
use crate::body::Body;
use crate::gateway::Backend;
use crate::gateway::backend::Target;
use crate::telemetry::metrics::Outcome;

/// Sends the request to the backend: the one that a policy chose, else the operation's.
#[derive(Clone, Debug)]
pub struct Forward {
    /// Whether outbound or on-error read the request.
    pub keep_head: bool,
    /// Whether outbound reads the body of the answer, and so must not be given a compressed one.
    pub wants_plain: bool,
    /// Where on-error is told that a call failed: at the `forward-request` that was written, or at the unwritten one.
    pub origin: Arc<Origin>,
}

/// The policy that says how the backend is called.
pub const POLICY: &str = "forward-request";

/// The place of the `forward-request` that nobody wrote.
pub fn unwritten() -> Arc<Origin> {
    static UNWRITTEN: LazyLock<Arc<Origin>> = LazyLock::new(|| {
        let path = format!("{POLICY}[1]");
        Arc::new(Origin { policy: POLICY, section: "backend", scope: "global", path, ..Origin::default() })
    });
    UNWRITTEN.clone()
}

impl Tail for Forward {
    async fn run(&self, exchange: &Arc<Exchange>, request: Request<Body>) -> Result<Response<Body>, Fault> {
        self.call(exchange, request).await.map_err(|fault| place(fault, &self.origin))
    }
}

impl Forward {
    async fn call(&self, exchange: &Arc<Exchange>, mut request: Request<Body>) -> Result<Response<Body>, Fault> {
        let (backend, options) = {
            let mut state = exchange.state.lock();
            if self.keep_head {
                state.save_head(&request);
            }
            let chosen = state.backend.clone();
            let backend =
                chosen.or_else(|| exchange.operation.as_ref().and_then(|operation| operation.backend.clone()));
            (backend, state.forward.clone())
        };
        let Some(backend) = backend else {
            return Err(Fault::internal(
                "BackendNotConfigured",
                "the operation has no backend and no policy chose one",
            ));
        };
        if self.wants_plain {
            // Without the field any coding would be acceptable (RFC 9110 §12.5.3).
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let Some(target) = backend.pick() else {
            return Err(Fault::internal("BackendNotConfigured", format!("backend `{}` has no endpoint", backend.name)));
        };
        let original = options.follow_redirects.then(|| Box::new(Original::of(&request)));
        let mut response = send(exchange, &backend, target, request, &options).await?;
        if let Some(original) = original
            && response.status().is_redirection()
        {
            // Boxed: redirections are rare, and would make the future of every request larger.
            response = Box::pin(follow(exchange, &backend, target, *original, response, &options)).await?;
        }
        if options.fail_on_error_status && response.status().as_u16() >= 400 {
            let status = response.status();
            let message = format!("the backend answered {status}, and forward-request takes that for an error");
            return Err(
                Fault::upstream(status, "BackendErrorStatus", message).public("The backend answered with an error.")
            );
        }
        Ok(response)
    }
}

/// The most redirections that are followed; the last answer is passed on then.
const MAX_REDIRECTIONS: usize = 10;

/// Goes where the backend redirects to, as long as that is the same endpoint.
async fn follow(
    exchange: &Arc<Exchange>,
    backend: &Arc<Backend>,
    target: &Target,
    mut original: Original,
    mut response: Response<Body>,
    options: &ForwardOptions,
) -> Result<Response<Body>, Fault> {
    for _ in 0..MAX_REDIRECTIONS {
        let Some(request) = original.redirected(&target.endpoint, &response) else { break };
        response = send(exchange, backend, target, request, options).await?;
    }
    Ok(response)
}

/// One call of a backend, with its time and outcome noted.
async fn send(
    exchange: &Arc<Exchange>,
    backend: &Arc<Backend>,
    target: &Target,
    request: Request<Body>,
    options: &ForwardOptions,
) -> Result<Response<Body>, Fault> {
    exchange.state.lock().upstream.attempts += 1;
    let clock = &exchange.gateway.clock;
    let started = clock.now();
    let mut deadlines = backend.deadlines;
    if let Some(timeout) = options.timeout {
        deadlines.first_byte = timeout;
    }
    let result = backend::forward(&target.endpoint, request, &deadlines).await;
    let duration = clock.now().since(started);
    let outcome = match &result {
        Ok(response) => Some(Outcome::Answered(response.status())),
        Err(fault) if fault.blame != Blame::Upstream => None,
        Err(fault) if fault.status == StatusCode::GATEWAY_TIMEOUT => Some(Outcome::Timeout),
        Err(fault) if fault.unsent => Some(Outcome::ConnectError),
        Err(_) => Some(Outcome::Reset),
    };
    if let Some(outcome) = outcome {
        backend.metrics.attempt(outcome, duration);
    }
    let mut state = exchange.state.lock();
    state.upstream.backend = Some(backend.clone());
    state.upstream.endpoint = Some(target.label.clone());
    state.upstream.status = result.as_ref().ok().map(Response::status);
    state.upstream.duration = duration;
    drop(state);
    result
}
