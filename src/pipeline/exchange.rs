//! One request and its response: the facts that stay the same, and the state that policies change.

use std::cell::OnceCell;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};
use parking_lot::Mutex;
use serde_json::Value as Json;
use smallvec::SmallVec;

use super::cached::Cached;
use super::limits::{Fields, Limited, Standing};
use super::{Fault, Followers};
use crate::backend::ClientIdentity;
use crate::body::{Body, BodyError, coding};
use crate::clock::Nanos;
use crate::credential::Renewal;
use crate::expression::Needs;
use crate::forwarded::{Outside, TraceContext};
use crate::gateway::headers::Correlation;
use crate::gateway::{Api, Backend, Connection, Gateway, Operation, Product};
use crate::identity::certificate::Presented;
use crate::identity::{Subscription, Verified};
use crate::json::Document;
use crate::limit::Admission;
use crate::llm::Meter;
use crate::routing::{Capture, Value as Captured};
use crate::server::authority::Authority;
use crate::telemetry::Finding;
use crate::trace::Recorder;

/// What is known of an exchange from its first byte to the end of its answer. Shared by the pipeline, the body of the
/// answer and the access log, so that a step that is dropped (a time-out) loses nothing.
#[derive(Debug)]
pub struct Exchange {
    /// The configuration that the exchange runs with, from start to end.
    pub gateway: Arc<Gateway>,
    /// The operation that matched.
    pub operation: Option<Arc<Operation>>,
    /// The request id, kept from the request when it was valid.
    pub request_id: HeaderValue,
    /// The client's address, behind trusted proxies.
    pub client_ip: IpAddr,
    /// The address of the connection: the client's, or that of the proxy in front.
    pub connection_ip: IpAddr,
    /// The certificate that the client has shown.
    pub certificate: Presented,
    /// Whether the client's connection is encrypted.
    pub encrypted: bool,
    /// The method as received.
    pub method: Method,
    /// Path and query as received, the path normalised.
    pub target: PathAndQuery,
    /// The length of the API's base path in `target`.
    pub base_len: u32,
    /// How the client reached the trusted proxies in front.
    pub outside: Outside,
    /// The host and port that the client named, when it named a valid one.
    pub authority: Option<Authority>,
    /// Where the values of the variables of the operation's template are in `target`.
    pub captures: SmallVec<[Capture; 4]>,
    /// The trace that the request belongs to.
    pub trace: TraceContext,
    /// The HTTP version that the client spoke.
    pub version: http::Version,
    /// What the client says it is, for the log.
    pub user_agent: Option<HeaderValue>,
    /// The announced length of the request's body.
    pub request_bytes: u64,
    /// When the request arrived, on the calendar.
    pub time: SystemTime,
    /// When the request arrived.
    pub started: Nanos,
    /// What is noted for its trace, where there is one.
    pub recorder: Option<Box<Recorder>>,
    /// What policies change.
    pub state: Mutex<State>,
}

/// What policies change during an exchange.
#[derive(Debug, Default)]
pub struct State {
    /// The values of `set-variable`.
    pub variables: Vec<(Arc<str>, Json)>,
    /// Who calls, when a key was presented and found good.
    pub subscription: Option<Arc<Subscription>>,
    /// Who calls, when another policy than that of keys found out: a user, a certificate's owner.
    pub consumer: Option<Arc<str>>,
    /// The product that the call is made under.
    pub product: Option<Arc<Product>>,
    /// The token that `validate-jwt` accepted.
    pub token: Option<Arc<Verified>>,
    /// The backend in place of the operation's.
    pub backend: Option<Arc<Backend>>,
    /// What `forward-request` asks for.
    pub forward: ForwardOptions,
    /// The token that a policy put into the request, when a backend that refuses it makes the gateway fetch another.
    pub renewal: Option<Arc<Renewal>>,
    /// The certificate that the backend is shown, unless it has one of its own.
    pub identity: Option<Arc<ClientIdentity>>,
    /// The request as it was last known, for sections that no longer hold it.
    pub head: Option<Box<RequestHead>>,
    /// The limits that have been asked, in that order.
    pub limits: Vec<Limited>,
    /// Headers for the answer, whatever it will be: those of cors and of limits.
    pub response_headers: Vec<(HeaderName, HeaderValue)>,
    /// What steps of inbound left behind, to be told how the exchange goes on.
    pub followers: Followers,
    /// What it consumes of a language model's tokens, where a limit counts them.
    pub tokens: Option<Arc<Meter>>,
    /// What a cache of answers has to do with it.
    pub cached: Option<Arc<Cached>>,
    /// The caller's own ids for the request, where errors have the connector's form or messages carry them.
    pub correlation: Option<Box<Correlation>>,
    /// The API that a request was for which none of its operations takes.
    pub missed: Option<Arc<Api>>,
    /// The error that on-error handles.
    pub fault: Option<Fault>,
    /// What was found that is not as the API's definition says.
    pub findings: Vec<Finding>,
    /// What the backend did.
    pub upstream: UpstreamFacts,
    /// The status that the client gets.
    pub status: StatusCode,
    /// The body of the current message as JSON, parsed once.
    pub(super) json: OnceCell<Box<Result<Json, String>>>,
    /// `lastError()` as JSON, made when first read.
    pub(super) last_error: OnceCell<Option<Box<Json>>>,
}

/// The head of a request.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The method.
    pub method: Method,
    /// The target.
    pub uri: Uri,
    /// The headers, where something reads them.
    pub headers: Option<HeaderMap>,
}

/// What is kept of a request for the sections that come after it is gone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kept {
    /// Nothing: none of them reads it.
    #[default]
    Nothing,
    /// Method and target.
    Target,
    /// The headers too, of which a copy is dear.
    Head,
}

impl Kept {
    /// Whether there is something to keep.
    pub fn any(self) -> bool {
        self != Self::Nothing
    }

    /// What a step with these needs has kept for it.
    pub fn of(needs: Needs) -> Self {
        match needs {
            _ if needs.contains(Needs::REQUEST_HEAD) => Self::Head,
            _ if needs.contains(Needs::TARGET) => Self::Target,
            _ => Self::Nothing,
        }
    }
}

/// What `forward-request` asks for.
#[derive(Debug, Default, Clone)]
pub struct ForwardOptions {
    /// To the first byte of the answer, in place of the backend's.
    pub timeout: Option<Duration>,
    /// Follows redirections within the backend.
    pub follow_redirects: bool,
    /// Sends answers of 400 and above to on-error.
    pub fail_on_error_status: bool,
    /// The certificate that a policy wants shown.
    pub identity: Option<Arc<ClientIdentity>>,
}

/// What the backend did, for the log and the metrics.
#[derive(Debug, Default, Clone)]
pub struct UpstreamFacts {
    /// The backend that was called.
    pub backend: Option<Arc<Backend>>,
    /// Host and port of the endpoint.
    pub endpoint: Option<Arc<str>>,
    /// The status of its last answer.
    pub status: Option<StatusCode>,
    /// Time to the first byte of its last answer.
    pub duration: Duration,
    /// How often it was called.
    pub attempts: u32,
}

/// The message that a section works on.
#[derive(Debug)]
pub enum Message<'a> {
    /// In inbound and backend.
    Request(&'a mut Request<Body>),
    /// In outbound and on-error.
    Response(&'a mut Response<Body>),
}

impl Message<'_> {
    /// The headers of the message.
    pub fn headers(&self) -> &HeaderMap {
        match self {
            Self::Request(request) => request.headers(),
            Self::Response(response) => response.headers(),
        }
    }

    /// The headers of the message, to be changed.
    pub fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Request(request) => request.headers_mut(),
            Self::Response(response) => response.headers_mut(),
        }
    }

    /// The body of the message.
    pub fn body(&self) -> &Body {
        match self {
            Self::Request(request) => request.body(),
            Self::Response(response) => response.body(),
        }
    }

    /// The body of the message, to be changed.
    pub fn body_mut(&mut self) -> &mut Body {
        match self {
            Self::Request(request) => request.body_mut(),
            Self::Response(response) => response.body_mut(),
        }
    }

    /// Whether the body is in memory and has no compression that could be taken off. A body of no bytes has none, whatever its head says.
    pub fn is_plain(&self) -> bool {
        self.body().bytes().is_some_and(|bytes| bytes.is_empty() || !coding::is_readable(self.headers()))
    }

    /// Takes the compression off a body in memory, where there is one that is known.
    ///
    /// # Errors
    /// When it becomes longer than `limit`, or is not in its coding.
    pub fn decode(&mut self, limit: u64) -> Result<(), BodyError> {
        let Some(bytes) = self.body().bytes().filter(|_| !self.is_plain()) else { return Ok(()) };
        let bytes = coding::decode(self.headers(), bytes, limit)?;
        let headers = self.headers_mut();
        for name in [CONTENT_ENCODING, CONTENT_LENGTH, TRANSFER_ENCODING] {
            headers.remove(name);
        }
        *self.body_mut() = Body::from(bytes);
        Ok(())
    }

    /// The same message for a shorter time.
    pub fn reborrow(&mut self) -> Message<'_> {
        match self {
            Self::Request(request) => Message::Request(request),
            Self::Response(response) => Message::Response(response),
        }
    }
}

/// What a step sees and may change.
#[derive(Debug)]
pub struct Context<'a> {
    /// The facts of the exchange.
    pub exchange: &'a Exchange,
    /// Its state.
    pub state: &'a mut State,
    /// The message of the section.
    pub message: Message<'a>,
}

impl Context<'_> {
    /// Replaces the body of the message. The length headers are left to the connection, and the parsed form is forgotten.
    pub fn set_body(&mut self, bytes: Bytes) {
        let headers = self.message.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        headers.remove(CONTENT_ENCODING);
        *self.message.body_mut() = Body::from(bytes);
        self.state.json = OnceCell::new();
    }

    /// A body in a coding that the gateway does not know: what a policy is to do with it cannot be done.
    ///
    /// # Errors
    /// The caller can send a request in another one. An answer goes on as it is: the backend was asked for a plain one.
    #[cold]
    fn unreadable(&self) -> Result<(), Fault> {
        let coding = self.message.headers().get(CONTENT_ENCODING);
        if matches!(self.message, Message::Response(_)) {
            tracing::warn!(
                ?coding,
                "the answer is compressed in a way that the gateway does not read, and stays as it is"
            );
            return Ok(());
        }
        let message = format!("Content-Encoding of the request is none of {}.", coding::READABLE);
        let accepted = HeaderValue::from_static(coding::READABLE);
        // RFC 9110 §15.5.16.
        Err(Fault::client(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UnsupportedContentEncoding", message)
            .header(http::header::ACCEPT_ENCODING, accepted))
    }

    /// Edits the JSON of the message's body. Nothing is edited where there is no body, and in a response whose body is not JSON:
    /// an error page is passed on as it is.
    ///
    /// # Errors
    /// A request whose body is not JSON is the caller's mistake. A body that becomes larger than the gateway holds is refused.
    pub fn edit_json(&mut self, edit: impl FnOnce(&mut Document)) -> Result<(), Fault> {
        let is_request = matches!(self.message, Message::Request(_));
        if coding::is_coded(self.message.headers())
            && self.message.body().bytes().is_some_and(|bytes| !bytes.is_empty())
        {
            return self.unreadable();
        }
        let document = match self.message.body_mut().edit_json() {
            Ok(Some(document)) => document,
            Ok(None) => return Ok(()),
            Err(_) if !is_request => return Ok(()),
            Err(error) => {
                return Err(Fault::client(
                    StatusCode::BAD_REQUEST,
                    "RequestBodyNotJson",
                    format!("Request body is not JSON: {error}."),
                ));
            }
        };
        edit(document);
        let (length, limit) = (document.root.length() as u64, self.exchange.gateway.settings.buffer_size);
        if length > limit {
            return Err(self.body_too_large());
        }
        let headers = self.message.headers_mut();
        headers.remove(CONTENT_LENGTH);
        headers.remove(TRANSFER_ENCODING);
        self.state.json = OnceCell::new();
        Ok(())
    }

    /// The connection of the call: that of the subscription it was made with, else the API's for all others.
    pub fn connection(&self) -> Option<&Arc<Connection>> {
        let api = &self.exchange.operation.as_ref()?.api;
        api.connections.of(self.state.subscription.as_ref().map(|subscription| &*subscription.id))
    }

    /// The fault of a body that grew beyond what the gateway holds.
    pub fn body_too_large(&self) -> Fault {
        let error = BodyError::TooLarge { limit: self.exchange.gateway.settings.buffer_size };
        match self.message {
            Message::Request(_) => client_body(error),
            Message::Response(_) => upstream_body(error),
        }
    }

    /// The request's method, wherever the request now is.
    pub fn method(&self) -> &Method {
        match (&self.message, &self.state.head) {
            (Message::Request(request), _) => request.method(),
            (_, Some(head)) => &head.method,
            _ => &self.exchange.method,
        }
    }

    /// The request's target, wherever the request now is.
    pub fn uri(&self) -> Option<&Uri> {
        match (&self.message, &self.state.head) {
            (Message::Request(request), _) => Some(request.uri()),
            (_, Some(head)) => Some(&head.uri),
            _ => None,
        }
    }

    /// The request's headers, wherever the request now is.
    pub fn request_headers(&self) -> Option<&HeaderMap> {
        match (&self.message, &self.state.head) {
            (Message::Request(request), _) => Some(request.headers()),
            (_, Some(head)) => head.headers.as_ref(),
            _ => None,
        }
    }

    /// The response, in the sections that have one.
    pub fn response(&self) -> Option<&Response<Body>> {
        match &self.message {
            Message::Response(response) => Some(response),
            Message::Request(_) => None,
        }
    }

    /// A variable that was set.
    pub fn variable(&self, name: &str) -> Option<&Json> {
        self.state.variables.iter().find(|(key, _)| &**key == name).map(|(_, value)| value)
    }
}

impl State {
    /// The name of the consumer: what a policy found out, else the subscription's.
    pub fn consumer(&self) -> Option<&str> {
        let subscribed = || self.subscription.as_ref()?.consumer.as_deref();
        self.consumer.as_deref().or_else(subscribed)
    }

    /// Notes how a limit on requests at once stands, for the answer. A retry around it asks anew.
    pub fn tell(&mut self, fields: &Arc<Fields>, admission: &Admission) {
        let standing =
            Standing { limit: admission.max.into(), remaining: admission.left.into(), ..Standing::default() };
        let limited = Limited::told(fields, standing, admission.permit.is_none());
        let is_same = |known: &&mut Limited| known.fields.as_ref().is_some_and(|it| Arc::ptr_eq(it, fields));
        match self.limits.iter_mut().find(is_same) {
            Some(known) => *known = limited,
            None => self.limits.push(limited),
        }
    }

    /// Sets a variable.
    pub fn set_variable(&mut self, name: &Arc<str>, value: Json) {
        match self.variables.iter_mut().find(|(key, _)| key == name) {
            Some((_, old)) => *old = value,
            None => self.variables.push((name.clone(), value)),
        }
    }

    /// Keeps the head of the request for the sections that come after it is gone.
    pub fn save_head(&mut self, request: &Request<Body>) {
        self.keep(request, Kept::Head);
    }

    /// Keeps so much of it. What was kept already is for a step that reads so much, and is kept up with.
    pub fn keep(&mut self, request: &Request<Body>, kept: Kept) {
        if kept == Kept::Nothing {
            return;
        }
        let with_headers = kept == Kept::Head || self.head.as_ref().is_some_and(|head| head.headers.is_some());
        self.head = Some(Box::new(RequestHead {
            method: request.method().clone(),
            uri: request.uri().clone(),
            headers: with_headers.then(|| request.headers().clone()),
        }));
    }

    /// Shows a fault to expressions for a moment, as on-error would see it.
    pub fn with_fault<T>(&mut self, fault: &mut Fault, look: impl FnOnce(&mut Self) -> T) -> T {
        self.fault = Some(std::mem::replace(fault, Fault::internal("Internal", "")));
        self.last_error = OnceCell::new();
        let seen = look(self);
        if let Some(shown) = self.fault.take() {
            *fault = shown;
        }
        self.last_error = OnceCell::new();
        seen
    }

    /// Forgets the parsed body, because the message or its body changed.
    pub fn forget_json(&mut self) {
        self.json = OnceCell::new();
    }
}

impl Exchange {
    /// The scheme that the client used.
    pub fn scheme(&self) -> &'static str {
        if self.encrypted { "https" } else { "http" }
    }

    /// Host and port as the client named them; empty when it named none.
    pub fn authority(&self) -> &str {
        self.authority.as_ref().map_or("", Authority::as_str)
    }

    /// Hides a secret that a step has come to know: a trace does not show it, wherever it stands.
    pub fn hide(&self, secret: &[u8]) {
        if let Some(recorder) = &self.recorder {
            recorder.hide(secret);
        }
    }

    /// The value of a variable of the operation's template, as it stands in the request.
    pub fn parameter(&self, name: &str) -> Option<Captured<'_>> {
        let names = self.operation.as_ref()?.template.names();
        let capture = self.captures.get(names.iter().position(|known| **known == *name)?)?;
        Some(capture.value(self.target.path(), self.target.query()))
    }

    /// Reads the body of a message into memory, because a step needs all of it.
    pub async fn buffer(&self, message: &mut Message<'_>) -> Result<(), Fault> {
        let limit = self.gateway.settings.buffer_size;
        let request = matches!(message, Message::Request(_));
        let body = std::mem::take(message.body_mut());
        if body.bytes().is_some() {
            *message.body_mut() = body;
            return Ok(());
        }
        match body.buffer(limit).await {
            Ok(bytes) => {
                *message.body_mut() = Body::from(bytes);
                Ok(())
            }
            Err(error) if request => Err(client_body(error)),
            Err(error) => Err(upstream_body(error)),
        }
    }

    /// Reads the body of a message into memory without its compression, because a step reads what is in it. A coding that the gateway does not
    /// know stays.
    pub async fn read(&self, message: &mut Message<'_>) -> Result<(), Fault> {
        self.buffer(message).await?;
        message.decode(self.gateway.settings.buffer_size).map_err(|error| match message {
            Message::Request(_) => client_body(error),
            Message::Response(_) => upstream_body(error),
        })
    }
}

/// What becomes of an answer whose body cannot be held.
pub fn upstream_body(error: BodyError) -> Fault {
    match error {
        BodyError::TooLarge { limit } => Fault::upstream(
            StatusCode::BAD_GATEWAY,
            "ResponseTooLarge",
            format!("a policy needs the whole response body, and it is longer than {limit} bytes"),
        )
        .public("The backend's response is too large."),
        error @ BodyError::Late => {
            Fault::upstream(StatusCode::GATEWAY_TIMEOUT, "Timeout", "the response body was not at its end in time")
                .public("The backend did not answer in time.")
                .cause(error)
        }
        error => Fault::upstream(StatusCode::BAD_GATEWAY, "BackendConnectionFailure", "the response body broke off")
            .public("Bad gateway")
            .cause(error),
    }
}

/// What the caller is told when the body of its request cannot be read.
pub fn client_body(error: BodyError) -> Fault {
    match error {
        BodyError::TooLarge { limit } => Fault::client(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestBodyTooLarge",
            format!("Request body is longer than {limit} bytes."),
        ),
        BodyError::Stalled | BodyError::Late => Fault::client(
            StatusCode::REQUEST_TIMEOUT,
            "ClientConnectionFailure",
            "Request body did not arrive in time.",
        ),
        error @ BodyError::Broken(_) => {
            Fault::client(StatusCode::BAD_REQUEST, "ClientConnectionFailure", "Request body is broken.").cause(error)
        }
    }
}
