//! The end of every pipeline: the backend is chosen, called, and its answer noted.

use std::sync::{Arc, LazyLock};

use http::header::{ACCEPT_ENCODING, AUTHORIZATION, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use tokio::time::Instant;

use super::chain::Tail;
use super::exchange::{Exchange, ForwardOptions, Kept};
use super::redirect::Original;
use super::rescue::{self, BackendErrors};
use super::{Blame, Fault, Origin};
use crate::backend::{self, ClientIdentity, Deadlines, Endpoint};
use crate::body::Body;
use crate::clock::Nanos;
use crate::credential::{self, Credential, Obtained, Renewal};
use crate::gateway::Backend;
use crate::gateway::backend::{Picked, Target, Unavailable};
use crate::gateway::breaker::{Admission, CallEnd};
use crate::layer::Deadline;
use crate::layer::retry::retry_after;
use crate::telemetry::metrics::Outcome;
use crate::trace::{Calling, look_at};

/// Sends the request to the backend: the one that a policy chose, else the operation's.
#[derive(Clone, Debug)]
pub struct Forward {
    /// What outbound and on-error read of the request.
    pub kept: Kept,
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
        let (backend, options, renewal) = {
            let mut state = exchange.state.lock();
            state.keep(&request, self.kept);
            let chosen = state.backend.clone();
            let backend =
                chosen.or_else(|| exchange.operation.as_ref().and_then(|operation| operation.backend.clone()));
            let options = ForwardOptions { identity: state.identity.clone(), ..state.forward.clone() };
            (backend, options, state.renewal.clone())
        };
        let Some(backend) = backend else {
            return Err(Fault::internal(
                "BackendNotConfigured",
                "the operation has no backend and no policy chose one",
            ));
        };
        if self.wants_plain || rescue::mode(exchange) != BackendErrors::Pass {
            // Without the field any coding would be acceptable (RFC 9110 §12.5.3).
            request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        let renews = renewal.is_some() || backend.credentials.as_ref().is_some_and(|own| own.refresh_on_401);
        let mut again = (options.follow_redirects || renews)
            .then(|| Box::new(Again { original: Original::of(&request), renews, shown: None, renewal }));
        let shown = match authorize(exchange, &backend, &mut request, &self.origin)? {
            Authorized::Done(shown) => shown,
            Authorized::Waits(waits) => {
                Some(Box::pin(authorize_later(exchange, &backend, &mut request, *waits, &self.origin)).await?)
            }
        };
        if let Some(again) = &mut again {
            again.shown = shown;
        }
        let now = exchange.gateway.clock.now();
        let picked = backend.pick(now).map_err(|reason| unavailable(&backend, reason))?;
        let target = picked.target;
        // A block, so that the answer and what comes behind it share their place in the future.
        let (status, given_up) = {
            let mut response = send(self, exchange, &backend, picked, now, request, &options).await?;
            if let Some(again) = again
                && again.wanted(&response, &options)
            {
                // Boxed: rare, and would make the future of every request larger.
                response = Box::pin(once_more(self, exchange, &backend, target, again, response, &options)).await?;
            }
            if let Some(rules) = exchange.operation.as_ref().and_then(|own| own.api.headers.as_deref()) {
                rules.backend_answer(response.headers_mut());
            }
            let status = response.status();
            if !options.fail_on_error_status || status.as_u16() < 400 {
                return Ok(response);
            }
            (status, exchange.recorder.as_ref().map(|_| Box::pin(give_up(response))))
        };
        if let Some(given_up) = given_up {
            given_up.await;
        }
        let message = format!("the backend answered {status}, and forward-request takes that for an error");
        Err(Fault::upstream(status, "BackendErrorStatus", message).public("The backend answered with an error."))
    }
}

/// What it takes to send a request again.
struct Again {
    original: Original,
    /// Whether a token that is refused is replaced.
    renews: bool,
    /// The token that the backend was shown of its own credentials.
    shown: Option<HeaderValue>,
    /// How the token is replaced that a policy put into the request.
    renewal: Option<Arc<Renewal>>,
}

impl Again {
    fn wanted(&self, response: &Response<Body>, options: &ForwardOptions) -> bool {
        let status = response.status();
        self.renews && status == StatusCode::UNAUTHORIZED || options.follow_redirects && status.is_redirection()
    }
}

/// Sends a request again with a newer token than the one that was refused, and goes where the backend redirects to.
async fn once_more(
    forward: &Forward,
    exchange: &Arc<Exchange>,
    backend: &Arc<Backend>,
    mut target: &Target,
    mut again: Box<Again>,
    mut response: Response<Body>,
    options: &ForwardOptions,
) -> Result<Response<Body>, Fault> {
    if again.renews
        && response.status() == StatusCode::UNAUTHORIZED
        && let Some(request) = renewed(exchange, backend, &mut again, &forward.origin).await?
    {
        let now = exchange.gateway.clock.now();
        let picked = backend.pick(now).map_err(|reason| unavailable(backend, reason))?;
        target = picked.target;
        discard(exchange, &mut response).await;
        response = send(forward, exchange, backend, picked, now, request, options).await?;
    }
    if options.follow_redirects && response.status().is_redirection() {
        response = follow(forward, exchange, backend, target, again.original, response, options).await?;
    }
    Ok(response)
}

/// An answer goes no further; a trace shows what it was.
async fn discard(exchange: &Exchange, response: &mut Response<Body>) {
    if exchange.recorder.is_some() {
        look_at(response.body_mut()).await;
    }
}

/// The same for one that an error takes the place of.
async fn give_up(mut response: Response<Body>) {
    look_at(response.body_mut()).await;
}

/// The most redirections that are followed; the last answer is passed on then.
const MAX_REDIRECTIONS: usize = 10;

/// Goes where the backend redirects to, as long as that is the same endpoint.
async fn follow(
    forward: &Forward,
    exchange: &Arc<Exchange>,
    backend: &Arc<Backend>,
    target: &Target,
    mut original: Original,
    mut response: Response<Body>,
    options: &ForwardOptions,
) -> Result<Response<Body>, Fault> {
    for _ in 0..MAX_REDIRECTIONS {
        let Some(mut request) = original.redirected(&target.endpoint, &response) else { break };
        if let Authorized::Waits(waits) = authorize(exchange, backend, &mut request, &forward.origin)? {
            authorize_later(exchange, backend, &mut request, *waits, &forward.origin).await?;
        }
        let now = exchange.gateway.clock.now();
        let picked = target.admit(now).map_err(|wait| unavailable(backend, Unavailable::CircuitOpen { wait }))?;
        discard(exchange, &mut response).await;
        response = send(forward, exchange, backend, picked, now, request, options).await?;
    }
    Ok(response)
}

/// How far the credentials of a backend came without waiting.
enum Authorized {
    /// They are on the request, with this token among them.
    Done(Option<HeaderValue>),
    /// Their token is not at hand.
    Waits(Box<(Credential, Obtained)>),
}

/// Puts the backend's credentials on a request: last of all, so that nothing else ever holds them.
fn authorize(
    exchange: &Exchange,
    backend: &Backend,
    request: &mut Request<Body>,
    origin: &Arc<Origin>,
) -> Result<Authorized, Fault> {
    let Some(credentials) = &backend.credentials else { return Ok(Authorized::Done(None)) };
    let token = match credentials.token(exchange, request)? {
        None => None,
        Some((credential, Obtained::Token(token))) => {
            credential::ahead(exchange, &credential, origin);
            Some(token)
        }
        Some(waits) => return Ok(Authorized::Waits(Box::new(waits))),
    };
    credentials.put(exchange, request, token.as_ref(), origin);
    Ok(Authorized::Done(token))
}

/// The same once the token is there.
async fn authorize_later(
    exchange: &Exchange,
    backend: &Backend,
    request: &mut Request<Body>,
    (credential, obtained): (Credential, Obtained),
    origin: &Arc<Origin>,
) -> Result<HeaderValue, Fault> {
    let token = credential::settle(exchange, &credential, obtained, origin).await?;
    if let Some(credentials) = &backend.credentials {
        credentials.put(exchange, request, Some(&token), origin);
    }
    Ok(token)
}

/// The request once more with a newer token than the one that the backend refused; none when there is no newer one, or the
/// body is gone.
async fn renewed(
    exchange: &Exchange,
    backend: &Backend,
    again: &mut Again,
    origin: &Arc<Origin>,
) -> Result<Option<Box<Request<Body>>>, Fault> {
    let Some(mut request) = again.original.again() else { return Ok(None) };
    match (&backend.credentials, &again.shown, &again.renewal) {
        // What the backend was shown is its own, whatever a policy had put there before.
        (Some(credentials), Some(refused), _) => {
            if !credentials.refresh_on_401 || !credentials.renew(exchange, &request, refused, origin).await {
                return Ok(None);
            }
        }
        (_, None, Some(renewal)) => {
            let Some(refused) = request.headers().get(AUTHORIZATION) else { return Ok(None) };
            let Some(token) = renewal.token(exchange, refused, origin).await else { return Ok(None) };
            again.original.replace(AUTHORIZATION, &token);
            request.headers_mut().insert(AUTHORIZATION, token);
        }
        _ => return Ok(None),
    }
    if let Authorized::Waits(waits) = authorize(exchange, backend, &mut request, origin)? {
        authorize_later(exchange, backend, &mut request, *waits, origin).await?;
    }
    Ok(Some(request))
}

/// The endpoint with connections that show the certificate of a policy.
fn showing(endpoint: &Endpoint, identity: &Arc<ClientIdentity>) -> Result<Arc<Endpoint>, Fault> {
    let shown = endpoint.showing(identity).map_err(|error| {
        Fault::internal("BackendCertificateUnusable", "the certificate cannot be shown to the backend").cause(error)
    })?;
    shown.ok_or_else(|| {
        Fault::internal("BackendNotEncrypted", "a backend that is not called over TLS cannot be shown a certificate")
    })
}

/// One call of a backend, its time and outcome noted whatever becomes of it.
async fn send(
    forward: &Forward,
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
    let shown;
    let endpoint = match &options.identity {
        Some(identity) if picked.target.endpoint.settings().shows_that_of_policies() => {
            match showing(&picked.target.endpoint, identity) {
                Ok(endpoint) => shown = endpoint,
                Err(fault) => {
                    let failed = Err(fault);
                    attempt.end(&failed);
                    return failed;
                }
            }
            &shown
        }
        _ => &picked.target.endpoint,
    };
    // Boxed: two pieces of half the size are cheaper than one, which malloc would have to look for in its heap.
    let result = match &exchange.recorder {
        None => Box::pin(backend::forward(endpoint, request, &deadlines, None)).await,
        Some(recorder) => {
            let calling = recorder.call(exchange, &forward.origin, &backend.name, endpoint);
            Box::pin(watched(calling, endpoint, request, &deadlines)).await
        }
    };
    attempt.end(&result);
    result
}

/// The same for an exchange that is traced.
async fn watched(
    calling: Calling<'_>,
    endpoint: &Arc<Endpoint>,
    request: Box<Request<Body>>,
    deadlines: &Deadlines,
) -> Result<Response<Body>, Fault> {
    let mut result = backend::forward(endpoint, request, deadlines, Some(&calling)).await;
    calling.end(&mut result);
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
