//! The end of every pipeline: the backend is chosen, called, and its answer noted.

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::chain::Tail;
use super::exchange::{Exchange, ForwardOptions};
use super::redirect::Original;
use super::{Blame, Fault, Origin};
use crate::backend;
use crate::body::Body;
use crate::clock::Nanos;
use crate::credential::{self, Obtained, Renewal};
use crate::gateway::Backend;
use crate::gateway::backend::{Picked, Target, Unavailable};
use crate::gateway::breaker::{Admission, CallEnd};
use crate::layer::Deadline;
use crate::layer::retry::retry_after;
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
    async fn run(&self, exchange: &Arc<Exchange>, request: Box<Request<Body>>) -> Result<Response<Body>, Fault> {
        self.call(exchange, request).await.map_err(|fault| fault.at(&self.origin))
    }
}

impl Forward {
    async fn call(&self, exchange: &Arc<Exchange>, mut request: Box<Request<Body>>) -> Result<Response<Body>, Fault> {
        let (backend, options, mut kept) = {
            let mut state = exchange.state.lock();
            if self.keep_head {
                state.save_head(&request);
            }
            let chosen = state.backend.clone();
            let backend =
                chosen.or_else(|| exchange.operation.as_ref().and_then(|operation| operation.backend.clone()));
            let options = state.forward.clone();
            let own = backend.as_ref().and_then(|backend| backend.credentials.as_deref());
            let renews = state.renewal.is_some() || own.is_some_and(|own| own.refresh_on_401);
            let kept = (options.follow_redirects || renews).then(|| {
                Box::new(Kept { original: Original::of(&request), renews, renewal: state.renewal.clone(), shown: None })
            });
            (backend, options, kept)
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
        if backend.credentials.is_some() {
            let shown = authorize(exchange, &backend, &mut request).await?;
            if let Some(kept) = &mut kept {
                kept.shown = shown;
            }
        }
        let now = exchange.gateway.clock.now();
        let picked = backend.pick(now).map_err(|reason| unavailable(&backend, reason))?;
        let target = picked.target;
        let mut response = send(exchange, &backend, picked, now, request, &options).await?;
        if let Some(kept) = kept {
            // Boxed: all of it is rare, and would make the future of every request larger.
            response = Box::pin(kept.again(exchange, &backend, target, response, &options)).await?;
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

/// What a request may have to be sent again with.
struct Kept {
    original: Original,
    /// Whether a backend that refuses a token is asked again with a newer one.
    renews: bool,
    renewal: Option<Arc<Renewal>>,
    /// The token that the backend was shown.
    shown: Option<HeaderValue>,
}

impl Kept {
    /// Sends the request again where the answer asks for it.
    async fn again(
        self: Box<Self>,
        exchange: &Arc<Exchange>,
        backend: &Arc<Backend>,
        target: &Target,
        mut response: Response<Body>,
        options: &ForwardOptions,
    ) -> Result<Response<Body>, Fault> {
        let Self { original, renews, renewal, shown } = *self;
        if renews
            && response.status() == StatusCode::UNAUTHORIZED
            && let Some(request) = renewed(exchange, backend, &original, shown, renewal.as_deref()).await?
        {
            let now = exchange.gateway.clock.now();
            let picked = backend.pick(now).map_err(|reason| unavailable(backend, reason))?;
            response = send(exchange, backend, picked, now, request, options).await?;
        }
        if options.follow_redirects && response.status().is_redirection() {
            response = follow(exchange, backend, target, original, response, options).await?;
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
        let Some(mut request) = original.redirected(&target.endpoint, &response) else { break };
        authorize(exchange, backend, &mut request).await?;
        let now = exchange.gateway.clock.now();
        let picked = target.admit(now).map_err(|wait| unavailable(backend, Unavailable::CircuitOpen { wait }))?;
        response = send(exchange, backend, picked, now, request, options).await?;
    }
    Ok(response)
}

/// Puts the backend's credentials on a request: last of all, so that nothing else ever holds them. Gives the token among them.
async fn authorize(
    exchange: &Arc<Exchange>,
    backend: &Backend,
    request: &mut Request<Body>,
) -> Result<Option<HeaderValue>, Fault> {
    let Some(credentials) = &backend.credentials else { return Ok(None) };
    let token = match credentials.token(exchange, request)? {
        None => None,
        Some((_, Obtained::Token(token))) => Some(token),
        Some((credential, obtained)) => Some(Box::pin(credential::settle(exchange, &credential, obtained)).await?),
    };
    credentials.put(exchange, request, token.as_ref());
    Ok(token)
}

/// The request once more with a newer token than the one that the backend refused; none when there is no newer one, or the
/// body is gone.
async fn renewed(
    exchange: &Arc<Exchange>,
    backend: &Backend,
    original: &Original,
    shown: Option<HeaderValue>,
    renewal: Option<&Renewal>,
) -> Result<Option<Box<Request<Body>>>, Fault> {
    let Some(mut request) = original.again() else { return Ok(None) };
    match (&backend.credentials, shown, renewal) {
        // What the backend was shown is its own, whatever a policy had put there before.
        (Some(credentials), Some(refused), _) => {
            if !credentials.refresh_on_401 || !credentials.renew(exchange, &request, &refused).await {
                return Ok(None);
            }
        }
        (_, None, Some(renewal)) => {
            let Some(refused) = request.headers().get(AUTHORIZATION) else { return Ok(None) };
            let Some(token) = renewal.token(refused).await else { return Ok(None) };
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        _ => return Ok(None),
    }
    authorize(exchange, backend, &mut request).await?;
    Ok(Some(request))
}

/// One call of a backend, its time and outcome noted whatever becomes of it.
async fn send(
    exchange: &Arc<Exchange>,
    backend: &Arc<Backend>,
    picked: Picked<'_>,
    started: Nanos,
    request: Box<Request<Body>>,
    options: &ForwardOptions,
) -> Result<Response<Body>, Fault> {
    let mut deadlines = backend.deadlines;
    if let Some(timeout) = options.timeout {
        deadlines.first_byte = timeout;
    }
    let attempt = Attempt {
        exchange,
        backend,
        target: picked.target,
        admission: picked.admission,
        started,
        due: request.extensions().get::<Deadline>().map(|deadline| deadline.0),
        noted: false,
    };
    // Boxed: two pieces of half the size are cheaper than one, which malloc would have to look for in its heap.
    let result = Box::pin(backend::forward(&picked.target.endpoint, request, &deadlines)).await;
    attempt.end(&result);
    result
}

/// Azure API Management's 503; the body is this gateway's own, because theirs is not documented.
#[cold]
fn unavailable(backend: &Backend, reason: Unavailable) -> Fault {
    match reason {
        Unavailable::NoEndpoint => {
            Fault::internal("BackendNotConfigured", format!("backend `{}` has no endpoint", backend.name))
        }
        Unavailable::CircuitOpen { wait } => {
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            Fault::upstream(
                StatusCode::SERVICE_UNAVAILABLE,
                "BackendCircuitOpen",
                format!("the circuit breaker of backend `{}` is open", backend.name),
            )
            .public("The backend is temporarily unavailable.")
            .header(RETRY_AFTER, HeaderValue::from(seconds.max(1)))
        }
    }
}

/// A call under way. One that is dropped was cut off by a timeout, which is the backend's failure, or by the client.
struct Attempt<'a> {
    exchange: &'a Exchange,
    backend: &'a Arc<Backend>,
    target: &'a Target,
    admission: Option<Admission>,
    started: Nanos,
    /// When a timeout of the pipeline cuts it off.
    due: Option<Instant>,
    noted: bool,
}

impl Attempt<'_> {
    fn end(mut self, result: &Result<Response<Body>, Fault>) {
        let clock = &self.exchange.gateway.clock;
        let (outcome, end) = match result {
            Ok(response) => {
                let end = if self.target.is_failure(response.status()) {
                    CallEnd::Failure { retry_after: retry_after(response.headers(), clock.wall()) }
                } else {
                    CallEnd::Success
                };
                (Some(Outcome::Answered(response.status())), end)
            }
            Err(fault) if fault.blame != Blame::Upstream => (None, CallEnd::Unknown),
            Err(fault) => {
                let outcome = match fault.status {
                    StatusCode::GATEWAY_TIMEOUT => Outcome::Timeout,
                    _ if fault.unsent => Outcome::ConnectError,
                    _ => Outcome::Reset,
                };
                // 503: the gateway's own bound on connections was reached, which says nothing of the backend.
                let known = fault.status != StatusCode::SERVICE_UNAVAILABLE;
                (Some(outcome), if known { CallEnd::Failure { retry_after: None } } else { CallEnd::Unknown })
            }
        };
        self.note(result.as_ref().ok().map(Response::status), outcome, end);
    }

    fn note(&mut self, status: Option<StatusCode>, outcome: Option<Outcome>, end: CallEnd) {
        let now = self.exchange.gateway.clock.now();
        let duration = now.since(self.started);
        if let Some(admission) = self.admission.take() {
            admission.end(end, now);
        }
        if let Some(outcome) = outcome {
            self.backend.metrics.attempt(outcome, duration);
        }
        let mut state = self.exchange.state.lock();
        state.upstream.backend = Some(self.backend.clone());
        state.upstream.endpoint = Some(self.target.label.clone());
        state.upstream.status = status;
        state.upstream.duration = duration;
        state.upstream.attempts += 1;
        self.noted = true;
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        if self.noted {
            return;
        }
        if self.due.is_some_and(|due| due <= Instant::now()) {
            self.note(None, Some(Outcome::Timeout), CallEnd::Failure { retry_after: None });
        } else {
            self.note(None, None, CallEnd::Unknown);
        }
    }
}
