//! One request from its head to the end of its answer: admitted, routed, identified, run, logged.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use smallvec::SmallVec;

use super::headers::Correlation;
use super::{Api, Gateway, Operation, caller};
use crate::body::{Body, BodyError, End, Finish};
use crate::forwarded::{Peer, RequestId, Scheme, TraceContext};
use crate::pipeline::limits::Limited;
use crate::pipeline::rescue::ErrorFormat;
use crate::pipeline::{Exchange, Fault, State, follow};
use crate::routing::{Match, Miss, normalise};
use crate::server::admission::admit;
use crate::server::authority::Authority;
use crate::server::{Connection, Handler};
use crate::telemetry::access_log::{Failure, Line, Upstream};
use crate::telemetry::metrics::Record;
use crate::trace::Recorder;

/// Answers requests with the configuration in force. A request keeps the one that it began with.
#[derive(Debug)]
pub struct Entry {
    current: ArcSwap<Gateway>,
}

impl Entry {
    /// Serves this configuration, until another one is [put in force](Entry::swap).
    pub fn new(gateway: Arc<Gateway>) -> Self {
        Self { current: ArcSwap::new(gateway) }
    }

    /// The configuration in force.
    pub fn current(&self) -> Arc<Gateway> {
        self.current.load_full()
    }

    /// Puts another configuration in force: for requests that begin from now on.
    pub fn swap(&self, gateway: Arc<Gateway>) {
        self.current.store(gateway);
    }
}

impl Handler for Entry {
    async fn handle(&self, request: Box<Request<Body>>, connection: &Connection) -> Response<Body> {
        let gateway = self.current.load_full();
        let (exchange, entered) = enter(gateway, request, connection);
        let mut pending = Pending { exchange, answered: false };
        let exchange = &pending.exchange;
        let mut response = match entered {
            Ok(Entered::Run(request)) => {
                let product = exchange.state.lock().product.clone();
                match &exchange.operation {
                    Some(operation) => operation.pipeline(product.as_deref()).serve(exchange, request).await,
                    None => exchange.gateway.unmatched.serve(exchange, request).await,
                }
            }
            Ok(Entered::Answered(response)) => *response,
            Err(fault) => refuse(exchange, fault).await,
        };
        let id = exchange.gateway.settings.request_id_header.clone();
        response.headers_mut().insert(id, exchange.request_id.clone());
        {
            let mut state = exchange.state.lock();
            state.status = response.status();
            let api = exchange.operation.as_ref().map(|own| &own.api).or(state.missed.as_ref());
            if let Some(rules) = api.and_then(|api| api.headers.as_deref()) {
                rules.answer(response.headers_mut(), &exchange.request_id, state.correlation.as_deref());
            }
        }
        if let Some(recorder) = &exchange.recorder {
            traced(exchange, recorder, &mut response);
        }
        let finish: Arc<dyn Finish> = exchange.clone();
        pending.answered = true;
        response.map(|body| body.observe(finish))
    }

    fn tick(&self) {
        if let Some(log) = &self.current.load().access_log {
            log.flush();
        }
    }
}

/// Tells a caller who asks, as Azure API Management does, which trace is its own; and where it is, when both the caller and the admin
/// listener are this machine's. Nobody else learns where that listener is.
fn traced(exchange: &Exchange, recorder: &Recorder, response: &mut Response<Body>) {
    if recorder.is_asked_for() {
        let headers = response.headers_mut();
        headers.insert(HeaderName::from_static("apim-trace-id"), exchange.request_id.clone());
        let is_here = exchange.client_ip.is_loopback() && exchange.connection_ip.is_loopback();
        let url = is_here.then(|| recorder.local_url(exchange.request_id.to_str().unwrap_or_default())).flatten();
        if let Some(url) = url.and_then(|url| HeaderValue::from_str(&url).ok()) {
            headers.insert(HeaderName::from_static("ocp-apim-trace-location"), url);
        }
    }
    recorder.answered(response);
}

/// An exchange without an answer yet. Its client may leave before there is one, and that is logged and counted too.
struct Pending {
    exchange: Arc<Exchange>,
    answered: bool,
}

impl Drop for Pending {
    fn drop(&mut self) {
        if !self.answered {
            {
                let mut state = self.exchange.state.lock();
                state.status = client_left();
                state.limits.iter_mut().for_each(Limited::abandon);
            }
            self.exchange.finish(End { bytes: 0, complete: false, error: None });
        }
    }
}

/// Nobody receives it: 499 is what nginx logs when the client is gone before the answer.
fn client_left() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST)
}

/// What became of a request's head.
enum Entered {
    /// It goes into its operation's pipeline.
    Run(Box<Request<Body>>),
    /// It was a preflight, and cors has answered it.
    Answered(Box<Response<Body>>),
}

/// A request that is not let in: the operation's on-error sees a missing key, the global one an unknown operation.
async fn refuse(exchange: &Arc<Exchange>, fault: Fault) -> Response<Body> {
    match &exchange.operation {
        Some(operation) => operation.pipeline.refuse(exchange, fault).await,
        None => exchange.gateway.unmatched.refuse(exchange, fault).await,
    }
}

/// The part of the work that never awaits: admission, routing, identity, and the headers that the gateway adds.
fn enter(
    gateway: Arc<Gateway>,
    mut request: Box<Request<Body>>,
    connection: &Connection,
) -> (Arc<Exchange>, Result<Entered, Fault>) {
    let mut random = fastrand::Rng::new();
    let started = gateway.clock.now();
    let time = gateway.clock.wall();
    let id = RequestId::from_headers(request.headers(), &gateway.settings.request_id_header, time, &mut random);
    let forwarding = &gateway.settings.forwarding;
    let scheme = if connection.is_tls() { Scheme::Https } else { Scheme::Http };
    let fresh;
    // A connection outlives reloads; what was worked out for another configuration is worked out again.
    let peer = match connection.cached(|| (gateway.generation, forwarding.peer(connection.peer(), scheme))) {
        Some((generation, peer)) if *generation == gateway.generation => peer,
        _ => {
            fresh = forwarding.peer(connection.peer(), scheme);
            &fresh
        }
    };
    let client_ip = forwarding.client(peer, request.headers());
    let outside = forwarding.outside(peer, request.headers());
    let shown = connection.tls().and_then(|tls| tls.certificate.as_ref());
    let certificate = gateway.settings.client_certificates.presented(peer.is_trusted(), shown, request.headers());
    let connection_ip = peer.address();
    let recorder = gateway.tracing.as_ref().map(|tracing| Recorder::begin_exchange(tracing, &mut request));
    let admitted = admit(&mut request, connection);
    let mut exchange = Exchange {
        operation: None,
        request_id: id.to_header_value(),
        client_ip,
        connection_ip,
        certificate,
        encrypted: connection.is_tls(),
        method: request.method().clone(),
        target: request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")),
        base_len: 0,
        outside,
        authority: None,
        captures: SmallVec::new(),
        trace: TraceContext::from_headers(request.headers(), false, &mut random),
        version: request.version(),
        user_agent: request.headers().get(header::USER_AGENT).cloned(),
        request_bytes: http_body::Body::size_hint(request.body()).lower(),
        started,
        time,
        recorder,
        state: Mutex::new(State::default()),
        gateway,
    };
    let placed = admitted.and_then(|admitted| place(&mut exchange, &request, admitted.authority));
    let entered = match placed {
        Ok(Place::Preflight(operation)) => Ok(preflight(&mut exchange, operation, *request)),
        Ok(Place::Operation(found)) => match prepare(&mut exchange, found, &mut request, peer, &id) {
            Ok(()) => Ok(Entered::Run(request)),
            Err(fault) => Err((fault, request)),
        },
        Err(fault) => Err((fault, request)),
    };
    let entered = entered.map_err(|(mut fault, mut request)| {
        // There is no pipeline to do it, and its on-error may read the request.
        let unmatched = &exchange.gateway.unmatched;
        let kept = exchange.operation.as_ref().map_or(unmatched, |operation| &*operation.pipeline).kept;
        exchange.state.lock().keep(&request, kept);
        fault.reuse(request.headers_mut());
        fault
    });
    (Arc::new(exchange), entered)
}

/// Where a request belongs.
enum Place {
    Operation(Match<u32, u32>),
    /// The operation whose preflight it is.
    Preflight(Arc<Operation>),
}

/// Normalises the path, once for routing, policies and backend, and finds the operation.
fn place(exchange: &mut Exchange, request: &Request<Body>, authority: Authority) -> Result<Place, Fault> {
    exchange.authority = Some(authority);
    let target = &exchange.target;
    let path = normalise(target.path()).map_err(|error| {
        Fault::client(StatusCode::BAD_REQUEST, "BadRequest", format!("the request target is not valid: {error}"))
    })?;
    if let std::borrow::Cow::Owned(path) = path {
        let whole = match target.query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        exchange.target = PathAndQuery::from_maybe_shared(Bytes::from(whole)).map_err(|error| {
            Fault::client(StatusCode::BAD_REQUEST, "BadRequest", "the request target is not valid").cause(error)
        })?;
    }
    let gateway = &exchange.gateway;
    let find = |method: &Method| {
        let (path, query) = (exchange.target.path(), exchange.target.query());
        gateway.router.route(exchange.authority(), method, path, query, request.headers())
    };
    let found = find(request.method());
    let operation = |number: u32| gateway.operations.get(number as usize);
    // An operation for OPTIONS answers preflights itself; one for any method leaves them to cors.
    let explicit = |found: &Match<u32, u32>| operation(found.operation).is_some_and(|it| it.method.is_some());
    if request.method() == Method::OPTIONS
        && !found.as_ref().is_ok_and(explicit)
        && let Some(method) = asked_for(request)
        && let Ok(wanted) = find(&method)
        && let Some(operation) = operation(wanted.operation)
        && operation.open_pipeline().answers_preflights()
    {
        return Ok(Place::Preflight(operation.clone()));
    }
    let miss = match found {
        Ok(found) => return Ok(Place::Operation(found)),
        Err(miss) => miss,
    };
    if let Some(recorder) = &exchange.recorder {
        recorder.missed(why_missed(&miss, gateway));
    }
    let mut fault = not_found(&miss);
    let api = miss.api().and_then(|number| gateway.apis.get(number as usize)).cloned();
    fault.format = api.as_ref().map(|api| api.error_format);
    let correlation = correlation(api.as_deref(), exchange, request.headers());
    let state = exchange.state.get_mut();
    state.correlation = correlation;
    state.missed = api;
    Err(fault)
}

/// The caller's own ids, where the API's messages carry them or its errors say them.
fn correlation(api: Option<&Api>, exchange: &Exchange, headers: &HeaderMap) -> Option<Box<Correlation>> {
    let rules = api.and_then(|api| api.headers.as_deref());
    let carried = rules.and_then(|rules| rules.correlation(headers, &exchange.request_id));
    let format = api.map_or(exchange.gateway.settings.error_format, |api| api.error_format);
    carried.or_else(|| Correlation::said(headers).filter(|_| format == ErrorFormat::Connector))
}

/// The method that a CORS preflight asks for.
fn asked_for(request: &Request<Body>) -> Option<Method> {
    let headers = request.headers();
    let asked = headers.get(header::ACCESS_CONTROL_REQUEST_METHOD).filter(|_| headers.contains_key(header::ORIGIN))?;
    Method::from_bytes(asked.as_bytes()).ok()
}

/// Azure API Management's answer, whatever the cause: a wrong method is 404 as well. The log says which it was.
fn not_found(miss: &Miss<u32>) -> Fault {
    let cause = match miss {
        Miss::NoApi => "no API has this host and path",
        Miss::NoOperation { .. } => "the API has no operation with this path",
        Miss::WrongMethod { .. } => "the API has no operation with this path and method",
        Miss::UnknownVersion { .. } => "the API has no such version",
    };
    let mut fault =
        Fault::client(StatusCode::NOT_FOUND, "OperationNotFound", "Unable to match incoming request to an operation.")
            .public("Resource not found")
            .phrase("Resource Not Found")
            .cause(cause);
    fault.source = "configuration";
    fault
}

/// Why no operation takes a request, with what the API has instead: for the trace.
fn why_missed(miss: &Miss<u32>, gateway: &Gateway) -> String {
    const MOST: usize = 20;
    let Some(api) = miss.api().and_then(|number| gateway.apis.get(number as usize)) else {
        let apis = gateway.apis.iter().take(MOST).map(|api| format!("`{}` at {}", api.name, api.path));
        let more = if gateway.apis.len() > MOST { " and others" } else { "" };
        return format!("no API has this host and path; there are {}{more}", apis.collect::<Vec<_>>().join(", "));
    };
    let name = &api.name;
    match miss {
        Miss::WrongMethod { allowed, .. } => {
            let allowed = allowed.iter().map(Method::as_str).collect::<Vec<_>>().join(", ");
            format!("API `{name}` has this path with another method: {allowed}")
        }
        Miss::UnknownVersion { .. } => format!("API `{name}` has versions, and the request names none of them"),
        Miss::NoApi | Miss::NoOperation { .. } => {
            let mut own = gateway.operations.iter().filter(|operation| Arc::ptr_eq(&operation.api, api));
            let shown = own.by_ref().take(MOST).map(|operation| {
                let method = operation.method.as_ref().map_or("*", Method::as_str);
                format!("{method} {}", operation.template.as_str())
            });
            let shown = shown.collect::<Vec<_>>().join(", ");
            let more = if own.next().is_some() { " and others" } else { "" };
            format!("API `{name}` has no operation with this path; it has {shown}{more}")
        }
    }
}

/// Asks cors, and nothing else, about a preflight: before any key is looked at, because a browser sends none with it.
fn preflight(exchange: &mut Exchange, operation: Arc<Operation>, mut request: Request<Body>) -> Entered {
    let response = operation.open_pipeline().preflight(exchange, &mut request);
    exchange.operation = Some(operation);
    Entered::Answered(Box::new(response))
}

/// Checks the key where the API asks for one, takes off the API's base path, and adds the gateway's own headers.
fn prepare(
    exchange: &mut Exchange,
    found: Match<u32, u32>,
    request: &mut Request<Body>,
    peer: &Peer,
    id: &RequestId,
) -> Result<(), Fault> {
    exchange.operation = exchange.gateway.operations.get(found.operation as usize).cloned();
    exchange.captures = found.captures;
    exchange.base_len = u32::try_from(found.base_len).unwrap_or_default();
    let Some(operation) = &exchange.operation else {
        return Err(not_found(&Miss::NoOperation { api: found.api }));
    };
    let rules = operation.api.headers.as_deref();
    if let Some(correlation) = correlation(Some(&operation.api), exchange, request.headers()) {
        exchange.state.get_mut().correlation = Some(correlation);
    }
    if operation.api.checks_keys {
        let (subscription, product) = caller::identify(exchange, &operation.api, request)?;
        let state = exchange.state.get_mut();
        state.subscription = subscription;
        state.product = product;
    }
    if let Some(rules) = rules {
        rules.request(request.headers_mut(), exchange.state.get_mut().correlation.as_deref());
    }
    let target = &exchange.target;
    let rest = target.as_str().get(found.base_len..).unwrap_or_default();
    if found.base_len > 0 || request.uri().path_and_query() != Some(target) {
        let uri = if rest.starts_with('/') {
            Uri::from_maybe_shared(Bytes::copy_from_slice(rest.as_bytes()))
        } else {
            Uri::from_maybe_shared(Bytes::from(format!("/{rest}")))
        };
        *request.uri_mut() = uri.map_err(|error| {
            Fault::client(StatusCode::BAD_REQUEST, "BadRequest", "the request target is not valid").cause(error)
        })?;
    }
    // Room for what the gateway and a few policies add, in one step.
    request.headers_mut().reserve(10);
    let host = exchange.authority.as_ref().map(Authority::value);
    exchange.gateway.settings.forwarding.apply(peer, host, request.headers_mut());
    let certificates = &exchange.gateway.settings.client_certificates;
    certificates.apply(&exchange.certificate, exchange.time, exchange.started, request.headers_mut());
    exchange.trace.apply(request.headers_mut());
    // Also when the caller sent one: it may have named the field in `Connection`.
    if !request.headers().contains_key(&exchange.gateway.settings.request_id_header) || !id.is_incoming() {
        let value = exchange.request_id.clone();
        request.headers_mut().insert(exchange.gateway.settings.request_id_header.clone(), value);
    }
    Ok(())
}

/// Why a body was cut off that a `timeout` covers.
const LATE: Failure<'static> = Failure {
    source: "timeout",
    reason: "Timeout",
    policy: "timeout",
    section: "",
    scope: "",
    message: "the body of the answer was not at its end in time",
    cause: None,
};

impl Finish for Exchange {
    fn finish(&self, end: End<'_>) {
        let mut state = self.state.lock();
        follow::ended(self, &mut state, &end);
        if let Some(recorder) = &self.recorder {
            recorder.finish(self, &state, &end);
        }
        let duration = self.gateway.clock.now().since(self.started);
        let metrics = match (&self.operation, &state.fault) {
            (Some(operation), _) => &operation.metrics,
            (None, _) => self.gateway.metrics.unmatched(),
        };
        // The answer to a HEAD has nothing to pass on (RFC 9110 §9.3.2): that its body is dropped says nothing of the client.
        let nothing_to_send = self.method == Method::HEAD && state.status != client_left();
        let aborted = !end.complete && end.error.is_none() && !nothing_to_send;
        let truncated = end.error.is_some();
        metrics.record(&Record {
            method: &self.method,
            status: state.status,
            duration,
            request_bytes: self.request_bytes,
            response_bytes: end.bytes,
            client_aborted: aborted,
            upstream_truncated: truncated,
        });
        let Some(log) = &self.gateway.access_log else { return };
        let upstream = state.upstream.backend.as_ref().map(|backend| Upstream {
            backend: &backend.name,
            endpoint: state.upstream.endpoint.as_deref().unwrap_or_default(),
            status: state.upstream.status,
            duration: state.upstream.duration,
            attempts: state.upstream.attempts,
        });
        let late = matches!(end.error, Some(BodyError::Late)).then_some(LATE);
        let error = state.fault.as_ref().map(|fault| {
            let origin = fault.origin.as_deref();
            Failure {
                source: fault.source,
                reason: fault.reason,
                policy: origin.map_or("", |origin| origin.policy),
                section: origin.map_or("", |origin| origin.section),
                scope: origin.map_or("", |origin| origin.scope),
                message: &fault.message,
                cause: fault.cause.as_deref(),
            }
        });
        let error = error.or(late);
        log.write(&Line {
            time: self.time,
            request_id: self.request_id.to_str().unwrap_or_default(),
            trace_id: Some(self.trace.trace_id()),
            client_request_id: state.correlation.as_ref().and_then(|ids| ids.client_request_id.to_str().ok()),
            client: self.client_ip,
            protocol: self.version,
            method: &self.method,
            host: self.authority.as_ref().map(Authority::as_str),
            path: self.target.path(),
            query: self.target.query(),
            api: self.operation.as_ref().map(|operation| &*operation.api.name),
            operation: self.operation.as_ref().map(|operation| &*operation.name),
            status: state.status,
            bytes_in: self.request_bytes,
            bytes_out: end.bytes,
            duration,
            upstream,
            cache: state.cached.as_ref().map(|cached| cached.status.as_str()),
            subscription: state.subscription.as_ref().map(|subscription| &*subscription.id),
            consumer: state.consumer(),
            error,
            validation: &state.findings,
            user_agent: self.user_agent.as_ref().map(HeaderValue::as_bytes),
            aborted,
            truncated,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The size of what `handle` makes, without making one.
    fn size<'a, F: Future>(_: impl FnOnce(&'a Entry, Box<Request<Body>>, &'a Connection) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_request_is_small() {
        let future = size(|entry, request, connection| entry.handle(request, connection));
        // With what `Dispatch` adds, below the 1,032 bytes up to which glibc's malloc keeps a list for each thread.
        assert!(future <= 984, "the future of a request takes {future} bytes");
        assert!(size_of::<Exchange>() <= 1024, "{}", size_of::<Exchange>());
    }
}
