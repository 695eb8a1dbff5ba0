//! One exchange with a backend: the request made fit for it, sent, sent again where that is safe, and the answer checked.

use std::error::Error as StdError;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;

use super::answer::{Answer, Returning};
use super::connect::{ConnectError, connect};
use super::pool::{Checkout, Lease, checkout};
use super::tls_failure::TlsFailure;
use super::{Endpoint, tunnel};
use crate::body::{Body, BodyError, Progress};
use crate::pipeline::{Blame, Fault};
use crate::server::admission::{WebSocket, too_large};
use crate::server::counters::count;
use crate::server::deadline::{Deadline, coarse_now, within};
use crate::server::hop_by_hop;

/// How long a backend may take. All but the first are precise to about 50 ms, and never cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// To be connected to, TLS included.
    pub connect: Duration,
    /// To begin its answer, once it has the request. The time starts again while the request's body makes progress.
    pub first_byte: Duration,
    /// Between two pieces of its answer, and between two messages of a WebSocket.
    pub idle: Duration,
    /// For everything, to the last byte of the answer.
    pub exchange: Option<Duration>,
}

impl Default for Deadlines {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            idle: Duration::from_secs(60),
            exchange: None,
        }
    }
}

/// The `Host` for the backend, in a request's extensions: it takes the place of the endpoint's own.
#[derive(Clone, Debug)]
pub struct HostOverride(pub HeaderValue);

/// Wants to know what goes out to a backend.
pub trait Watch: Send + Sync {
    /// A request is about to be written to a connection, as it will be but for its framing. Called again when that connection turned out
    /// to be dead.
    fn sent(&self, request: &Request<Body>);
}

/// The most times that a request is sent.
const ATTEMPTS: usize = 3;

/// Sends a request to an endpoint. The request's target is in origin form and its hop-by-hop fields have been removed
/// ([`crate::server::admission::admit`] does both); the answer's have been as well.
///
/// When the client leaves, dropping the future closes the connection to the backend. A pooled connection that turns out
/// to be dead is replaced: for any request that provably was not sent, and once for an idempotent one whose body is in
/// memory, when the backend had not begun to answer (RFC 9110 §9.2.2).
///
/// # Errors
/// A fault that blames the backend (`502`, `503`, `504`), or the client for a body that is too long, stalled or broken.
pub async fn forward(
    endpoint: &Arc<Endpoint>,
    mut request: Box<Request<Body>>,
    deadlines: &Deadlines,
    watch: Option<&dyn Watch>,
) -> Result<Response<Body>, Fault> {
    let websocket = request.extensions_mut().remove::<WebSocket>().is_some();
    let upgrade = if websocket { request.extensions_mut().remove::<hyper::upgrade::OnUpgrade>() } else { None };
    prepare(endpoint, &mut request, upgrade.is_some())?;

    let deadline = Deadline::after(deadlines.exchange.unwrap_or(deadlines.first_byte));
    let limit = if deadlines.exchange.is_some() { deadline.due() } else { u64::MAX };
    let progress = request.body().progress();
    let replayable = progress.is_none() && request.method().is_idempotent() && request.body().bytes().is_some();
    let mut replayed = false;
    let mut attempt = 1;
    let (response, lease) = loop {
        let mut lease = lease(endpoint, attempt > 1, deadlines).await?;
        deadline.reset_within(deadlines.first_byte, limit);
        if lease.reused && !ready(&mut lease, &deadline).await {
            // Dead or not done with its last request. Nothing of this one is lost.
            attempt += 1;
            if attempt > ATTEMPTS {
                return Err(unreachable_backend("no usable connection to the backend"));
            }
            continue;
        }
        lease.wire.begin(replayable && lease.reused && !replayed);
        if let Some(watch) = watch {
            watch.sent(&request);
        }
        let sending = Sending {
            answer: lease.sender.try_send_request(*request),
            progress: progress.as_deref(),
            deadline: &deadline,
            first_byte: deadlines.first_byte,
            limit,
        };
        match sending.await {
            Ok(response) => break (response, lease),
            Err(SendError::TimedOut) => return Err(timed_out("the backend did not answer in time")),
            Err(SendError::Failed { error, unsent: Some(unsent) }) => {
                if attempt >= ATTEMPTS {
                    return Err(unreachable_backend("the connection to the backend broke").cause(error));
                }
                request = unsent;
            }
            Err(SendError::Failed { error, unsent: None }) => match lease.wire.rebuild() {
                Some(again) if lease.reused && !replayed && !lease.wire.heard() => {
                    replayed = true;
                    *request = again;
                }
                _ => return Err(broken(endpoint, error)),
            },
        }
        attempt += 1;
        count(|counters| counters.replayed.add());
    };
    finish(endpoint, response, lease, upgrade, progress, deadline, deadlines, limit)
}

/// A connection for one request.
async fn lease(endpoint: &Arc<Endpoint>, fresh: bool, deadlines: &Deadlines) -> Result<Lease, Fault> {
    let connect_within = deadlines.exchange.map_or(deadlines.connect, |exchange| exchange.min(deadlines.connect));
    loop {
        let wait = match checkout(endpoint, fresh) {
            Checkout::Pooled(lease) => {
                count(|counters| counters.upstream_reused.add());
                return Ok(lease);
            }
            // Boxed: connecting is rare, and its state would make the future of every request larger.
            Checkout::Connect(permit) => {
                return Box::pin(connect(endpoint, permit, connect_within))
                    .await
                    .map_err(|error| not_connected(endpoint, error));
            }
            Checkout::Wait(wait) => wait,
            Checkout::Full => return Err(busy()),
        };
        match within(connect_within, wait).await {
            Ok(Ok(Some(lease))) => {
                count(|counters| counters.upstream_reused.add());
                return Ok(lease);
            }
            Ok(Ok(None) | Err(_)) => {}
            Err(_) => return Err(busy()),
        }
    }
}

/// Whether hyper is done with the last request of a pooled connection and the backend has kept it open.
async fn ready(lease: &mut Lease, deadline: &Deadline) -> bool {
    if lease.sender.is_ready() {
        return true;
    }
    poll_fn(|cx| match lease.sender.poll_ready(cx) {
        Poll::Ready(ready) => Poll::Ready(ready.is_ok()),
        Poll::Pending if deadline.poll_expired(cx) => Poll::Ready(false),
        Poll::Pending => Poll::Pending,
    })
    .await
}

enum SendError {
    TimedOut,
    Failed {
        error: hyper::Error,
        /// The request, when no byte of it was written.
        unsent: Option<Box<Request<Body>>>,
    },
}

pin_project_lite::pin_project! {
    /// A request on its way. Written out, because an `async fn` would keep room for the request twice.
    struct Sending<'a, F> {
        #[pin]
        answer: F,
        progress: Option<&'a Progress>,
        deadline: &'a Deadline,
        first_byte: Duration,
        limit: u64,
    }
}

impl<F> Future for Sending<'_, F>
where
    F: Future<Output = Result<Response<Incoming>, TrySendError<Request<Body>>>>,
{
    type Output = Result<Response<Incoming>, SendError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        if let Poll::Ready(result) = this.answer.poll(cx) {
            return Poll::Ready(result.map_err(|mut error| {
                let unsent = error.take_message().map(Box::new);
                SendError::Failed { error: error.into_error(), unsent }
            }));
        }
        while this.deadline.poll_expired(cx) {
            // A long upload is not a slow answer: the time runs from the last piece of the request.
            let spent = coarse_now().saturating_sub(this.progress.map_or(0, Progress::last));
            let left = this.first_byte.saturating_sub(Duration::from_millis(spent));
            if left.is_zero() || this.deadline.due() >= *this.limit {
                return Poll::Ready(Err(SendError::TimedOut));
            }
            this.deadline.reset_within(left, *this.limit);
        }
        Poll::Pending
    }
}

// === the request ===

fn prepare(endpoint: &Endpoint, request: &mut Request<Body>, websocket: bool) -> Result<(), Fault> {
    *request.version_mut() = Version::HTTP_11;
    let uri = request.uri();
    // `OPTIONS *` asks about the server, not about a path below it (RFC 9110 §9.3.7).
    if !endpoint.base_path.is_empty() && uri.path() != "*" {
        let path = uri.path_and_query().map_or("/", PathAndQuery::as_str);
        let joined = format!("{}{path}", endpoint.base_path);
        let joined = PathAndQuery::try_from(joined).map_err(|error| {
            Fault::internal("InvalidBackendPath", "the path for the backend is not one").cause(error)
        })?;
        *request.uri_mut() = Uri::from(joined);
    } else if uri.authority().is_some() {
        let path = uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
    }
    let host = request.extensions_mut().remove::<HostOverride>().map(|host| host.0);
    let length = match request.body() {
        Body::Empty => Some(0),
        body => body.bytes().map(|bytes| bytes.len()),
    };
    let unknown = length.is_none() && request.body().size_hint().exact().is_none();
    // RFC 9110 §8.6: a request whose method gives a body a meaning says that there is none.
    let says_empty = length == Some(0) && matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    let headers = request.headers_mut();
    if let Some(host) = host {
        headers.insert(header::HOST, host);
    } else if !endpoint.settings.preserve_host || !headers.contains_key(header::HOST) {
        headers.insert(header::HOST, endpoint.host_value.clone());
    }
    // A step may have changed the body; hyper states the length of what is in memory.
    if says_empty {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
    } else if length.is_some() || unknown {
        headers.remove(header::CONTENT_LENGTH);
    }
    if unknown {
        // hyper would send a GET without its body otherwise.
        headers.insert(header::TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
    }
    if websocket {
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    Ok(())
}

// === the answer ===

#[expect(clippy::too_many_arguments, reason = "the state of one exchange, passed on once")]
fn finish(
    endpoint: &Arc<Endpoint>,
    mut response: Response<Incoming>,
    lease: Lease,
    upgrade: Option<hyper::upgrade::OnUpgrade>,
    progress: Option<Arc<Progress>>,
    deadline: Deadline,
    deadlines: &Deadlines,
    limit: u64,
) -> Result<Response<Body>, Fault> {
    check_framing(response.headers_mut()).map_err(bad_answer)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else { return Err(bad_answer("the backend switched protocols unasked")) };
        let protocol = response.headers().get(header::UPGRADE);
        if !protocol.is_some_and(|protocol| protocol.as_bytes().eq_ignore_ascii_case(b"websocket")) {
            return Err(bad_answer("the backend switched to another protocol"));
        }
        tunnel::open(client, hyper::upgrade::on(&mut response), lease, deadlines.idle);
        let headers = response.headers_mut();
        hop_by_hop::strip(headers);
        headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        *response.version_mut() = Version::HTTP_11;
        return Ok(response.map(|_| Body::Empty));
    }
    // An old or a leaving backend closes the connection behind its answer.
    let stays = response.version() == Version::HTTP_11;
    let close = hop_by_hop::strip(response.headers_mut());
    *response.version_mut() = Version::HTTP_11;
    let returning = (stays && !close).then(|| Returning { lease, endpoint: endpoint.clone(), request: progress });
    Ok(response.map(|incoming| {
        if incoming.is_end_stream() {
            if let Some(returning) = returning {
                returning.give_back();
            }
            Body::Empty
        } else {
            Body::Upstream(Box::new(Answer::new(incoming, returning, deadline, deadlines.idle, limit)))
        }
    }))
}

/// RFC 9112 §6.3: an answer whose end is in doubt could smuggle another one behind it.
fn check_framing(headers: &mut HeaderMap) -> Result<(), &'static str> {
    state_one_length(headers)?;
    let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    if codings.next().is_some() || !coding.as_bytes().eq_ignore_ascii_case(b"chunked") {
        return Err("the backend answered with a transfer coding other than chunked");
    }
    if headers.contains_key(HeaderName::from_static("content-length")) {
        return Err("the backend answered with two lengths");
    }
    Ok(())
}

/// RFC 9110 §8.6: a length that is said several times, on one line or on several, is passed on once or not at all. hyper
/// compares them only where a body follows.
fn state_one_length(headers: &mut HeaderMap) -> Result<(), &'static str> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(()) };
    if lengths.next().is_none() && !first.as_bytes().contains(&b',') {
        return Ok(());
    }
    let lengths = headers.get_all(header::CONTENT_LENGTH).iter().flat_map(|line| line.as_bytes().split(|&b| b == b','));
    let mut lengths = lengths.map(<[u8]>::trim_ascii);
    let one = lengths.next().unwrap_or_default();
    if lengths.any(|other| other != one) {
        return Err("the backend answered with two lengths");
    }
    let one = HeaderValue::from_bytes(one).map_err(|_| "the backend answered with an invalid length")?;
    headers.insert(header::CONTENT_LENGTH, one);
    Ok(())
}

// === faults ===

const CONNECTION_FAILURE: &str = "BackendConnectionFailure";

fn unreachable_backend(message: &'static str) -> Fault {
    Fault::upstream(StatusCode::BAD_GATEWAY, CONNECTION_FAILURE, message).retryable(true)
}

fn timed_out(message: &'static str) -> Fault {
    Fault::upstream(StatusCode::GATEWAY_TIMEOUT, "Timeout", message).retryable(false)
}

fn bad_answer(message: &'static str) -> Fault {
    Fault::upstream(StatusCode::BAD_GATEWAY, CONNECTION_FAILURE, message)
}

fn busy() -> Fault {
    Fault::upstream(StatusCode::SERVICE_UNAVAILABLE, CONNECTION_FAILURE, "all connections to the backend are in use")
        .retryable(true)
}

fn not_connected(endpoint: &Endpoint, error: ConnectError) -> Fault {
    if let Some(failure) = TlsFailure::find(&error, endpoint.shown()) {
        return tls(failure).retryable(true);
    }
    let message = error.to_string();
    let fault = match &error {
        ConnectError::TimedOut => Fault::upstream(StatusCode::GATEWAY_TIMEOUT, "Timeout", message),
        _ => Fault::upstream(StatusCode::BAD_GATEWAY, CONNECTION_FAILURE, message),
    };
    match error {
        ConnectError::Name(cause) | ConnectError::Refused(cause) | ConnectError::Tls(cause) => fault.cause(cause),
        ConnectError::Http(cause) => fault.cause(cause),
        ConnectError::TimedOut => fault,
    }
    .retryable(true)
}

fn tls(failure: TlsFailure) -> Fault {
    let fault = Fault::upstream(StatusCode::BAD_GATEWAY, CONNECTION_FAILURE, failure.to_string());
    let fault = fault.public("The TLS handshake with the backend failed.");
    match failure {
        TlsFailure::Demanded(detail)
        | TlsFailure::Refused(detail)
        | TlsFailure::Unknown(detail)
        | TlsFailure::Untrusted(detail) => fault.cause(detail),
    }
}

/// The request went out, and something broke: the client's body, or the backend.
fn broken(endpoint: &Endpoint, error: hyper::Error) -> Fault {
    let mut cause: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(inner) = cause {
        if let Some(body) = inner.downcast_ref::<BodyError>() {
            return body_fault(body).header(header::CONNECTION, HeaderValue::from_static("close"));
        }
        cause = inner.source();
    }
    // A server of TLS 1.3 looks at the client's certificate when the client already takes the handshake for done.
    if let Some(failure) = TlsFailure::find(&error, endpoint.shown()) {
        tls(failure).retryable(false)
    } else if error.is_parse() {
        bad_answer("the backend's answer is not HTTP").cause(error)
    } else {
        let message = "the connection to the backend broke before the answer";
        Fault::upstream(StatusCode::BAD_GATEWAY, CONNECTION_FAILURE, message).retryable(false).cause(error)
    }
}

fn body_fault(error: &BodyError) -> Fault {
    match error {
        BodyError::TooLarge { limit } => too_large(*limit),
        BodyError::Stalled | BodyError::Late => {
            Fault::client(StatusCode::REQUEST_TIMEOUT, "ClientConnectionFailure", "the request body stalled")
        }
        BodyError::Broken(_) => {
            Fault::client(StatusCode::BAD_REQUEST, "ClientConnectionFailure", "the request body broke off")
        }
    }
}

impl From<&BodyError> for Fault {
    /// A client's body that could not be read.
    fn from(error: &BodyError) -> Self {
        let fault = body_fault(error);
        debug_assert_eq!(fault.blame, Blame::Client);
        fault
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size<A, B, C, D, F: Future>(_: impl FnOnce(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }

    /// The future is boxed for each request together with those around it.
    #[test]
    fn an_exchange_is_small() {
        let exchange = size(forward);
        assert!(exchange <= 1024, "{exchange}");
        assert!(size_of::<Result<Response<Body>, Fault>>() <= 160);
    }
}
