//! What a backend is shown of the gateway's own: put on each request at the last moment, so that no policy, retry or other
//! backend ever sees it.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::uri::{PathAndQuery, Uri};
use http::{HeaderName, HeaderValue, Request};

use super::caller::{Subject, subject_of};
use super::error::CredentialError;
use super::settings::Target;
use super::slot::{Credential, Fetching, Obtained};
use super::source::TokenSource;
use crate::body::Body;
use crate::pipeline::{Exchange, Fault, Origin};
use crate::routing::query;

/// The credentials of a backend.
#[derive(Default)]
pub struct BackendCredentials {
    /// Headers that replace those of their name, an `Authorization` that does not change included.
    pub headers: Vec<(HeaderName, Vec<HeaderValue>)>,
    /// Query parameters that replace those of their name.
    pub query: Vec<(Box<str>, Vec<Box<str>>)>,
    /// A token that is fetched.
    pub token: Option<BackendToken>,
    /// Whether an answer of 401 makes the gateway fetch a new token and send the request again.
    pub refresh_on_401: bool,
}

/// The token that a backend is shown.
pub enum BackendToken {
    /// The gateway's own.
    Own(Credential),
    /// One made of the caller's.
    OfCaller(Arc<TokenSource>, Arc<Target>),
}

impl BackendCredentials {
    /// The token for a request, when there is one among the credentials.
    ///
    /// # Errors
    /// When a token is to be made of the caller's, and the caller's is not there.
    pub fn token(&self, exchange: &Exchange, request: &Request<Body>) -> Result<Option<(Credential, Obtained)>, Fault> {
        self.token.as_ref().map(|token| token.begin(exchange, request)).transpose()
    }

    /// Puts the credentials on a request. `origin` is the step that sends it, for the trace.
    pub fn put(
        &self,
        exchange: &Exchange,
        request: &mut Request<Body>,
        token: Option<&HeaderValue>,
        origin: &Arc<Origin>,
    ) {
        if let Some(recorder) = &exchange.recorder {
            recorder.tell(exchange, origin, self.told(token.is_some()));
        }
        self.put_query(exchange, request);
        for (name, values) in &self.headers {
            if let [value] = &values[..] {
                request.headers_mut().insert(name.clone(), value.clone());
                continue;
            }
            request.headers_mut().remove(name);
            for value in values {
                request.headers_mut().append(name.clone(), value.clone());
            }
        }
        if let Some(token) = token {
            request.headers_mut().insert(AUTHORIZATION, token.clone());
        }
    }

    /// What the trace says of them: names only.
    fn told(&self, has_token: bool) -> String {
        let headers = self.headers.iter().map(|(name, _)| format!("header {name}"));
        let query = self.query.iter().map(|(name, _)| format!("query parameter {name}"));
        let token = has_token.then(|| "a token in authorization".to_owned());
        let all: Vec<String> = headers.chain(query).chain(token).collect();
        format!("puts the backend's own credentials on the request: {}", all.join(", "))
    }

    /// A newer token than the one that the backend refused. Whether there is one, so that sending again makes sense.
    pub async fn renew(
        &self,
        exchange: &Exchange,
        request: &Request<Body>,
        refused: &HeaderValue,
        origin: &Arc<Origin>,
    ) -> bool {
        let Some(token) = &self.token else { return false };
        let Ok((credential, _)) = token.begin(exchange, request) else { return false };
        let subject = match token {
            BackendToken::Own(_) => None,
            BackendToken::OfCaller(..) => {
                let verified = exchange.state.lock().token.clone();
                subject_of(exchange, verified.as_deref(), request.headers()).ok()
            }
        };
        renewed(&credential, refused, subject.as_ref(), (exchange, origin)).await.is_some()
    }

    /// Takes out the caller's subscription key, which is for the gateway, and puts in the query's own parameters.
    fn put_query(&self, exchange: &Exchange, request: &mut Request<Body>) {
        let api = exchange.operation.as_ref().map(|operation| &operation.api);
        if let Some(api) = api {
            request.headers_mut().remove(&api.key_header);
        }
        let key = api.map(|api| &*api.key_query);
        let old = request.uri().query().unwrap_or_default();
        let has_key = key.is_some_and(|name| query::find(old, name).is_some());
        if self.query.is_empty() && !has_key {
            return;
        }
        let mut new = old.to_owned();
        if let Some(name) = key {
            query::remove(&mut new, name);
        }
        for (name, values) in &self.query {
            query::set(&mut new, name, values);
        }
        let separator = if new.is_empty() { "" } else { "?" };
        let target = Bytes::from(format!("{}{separator}{new}", request.uri().path()));
        // Path and query were valid and what was added is encoded.
        if let Ok(target) = PathAndQuery::from_maybe_shared(target) {
            *request.uri_mut() = Uri::from(target);
        }
    }
}

impl BackendToken {
    fn begin(&self, exchange: &Exchange, request: &Request<Body>) -> Result<(Credential, Obtained), Fault> {
        match self {
            Self::Own(credential) => Ok((credential.clone(), credential.token(None))),
            Self::OfCaller(source, target) => {
                let verified = exchange.state.lock().token.clone();
                let subject = subject_of(exchange, verified.as_deref(), request.headers())?;
                let credential = source.credential(target, Some(subject.token));
                let obtained = credential.token(Some(&subject));
                Ok((credential, obtained))
            }
        }
    }
}

/// Waits for a token where there is something to wait for. `origin` is the step that needs it, for the trace.
///
/// # Errors
/// When there is none.
pub async fn settle(
    exchange: &Exchange,
    credential: &Credential,
    obtained: Obtained,
    origin: &Arc<Origin>,
) -> Result<HeaderValue, Fault> {
    let error = match obtained {
        Obtained::Token(token) => return Ok(token),
        Obtained::Failed(error) => error,
        Obtained::Wait(fetching) => match Box::pin(waited(exchange, fetching, origin)).await {
            Ok(token) => return Ok(token),
            Err(error) => error,
        },
    };
    let source = credential.source();
    Err(error.fault(&source.name, source.settings.grant.is_for_caller(), exchange))
}

/// Waits for a token, and tells the trace how long, and what went over the wire.
async fn waited(
    exchange: &Exchange,
    fetching: Fetching,
    origin: &Arc<Origin>,
) -> Result<HeaderValue, Arc<CredentialError>> {
    let began = exchange.gateway.clock.now();
    let (result, asked) = fetching.told().await;
    if let (Some(recorder), Some(asked)) = (&exchange.recorder, asked) {
        recorder.asked(exchange, origin, &asked, Some(exchange.gateway.clock.now().since(began)));
    }
    result
}

/// Tells the trace of a fetch that nobody waited for: the first request with a token of that source does.
pub fn ahead(exchange: &Exchange, credential: &Credential, origin: &Arc<Origin>) {
    if let Some(recorder) = &exchange.recorder
        && let Some(asked) = credential.source().take_ahead()
    {
        recorder.asked(exchange, origin, &asked, None);
    }
}

/// The token that a policy put into a request, and how a newer one is to be had.
pub struct Renewal {
    credential: Credential,
    /// The caller's token that it was made of, and its verified end.
    subject: Option<(Box<str>, Option<SystemTime>)>,
}

impl Renewal {
    /// For a token that was made of the caller's, or of none.
    pub fn new(credential: Credential, subject: Option<&Subject<'_>>) -> Self {
        Self { credential, subject: subject.map(|subject| (subject.token.into(), subject.expires)) }
    }

    /// A newer token than one that a backend refused, when there is one.
    pub async fn token(&self, exchange: &Exchange, refused: &HeaderValue, origin: &Arc<Origin>) -> Option<HeaderValue> {
        let subject = self.subject.as_ref().map(|(token, expires)| Subject { token, expires: *expires });
        renewed(&self.credential, refused, subject.as_ref(), (exchange, origin)).await
    }
}

/// A newer token than one that was refused, when there is one.
async fn renewed(
    credential: &Credential,
    refused: &HeaderValue,
    subject: Option<&Subject<'_>>,
    (exchange, origin): (&Exchange, &Arc<Origin>),
) -> Option<HeaderValue> {
    let token = match credential.renew(refused, subject)? {
        Obtained::Token(token) => token,
        Obtained::Wait(fetching) => waited(exchange, fetching, origin).await.ok()?,
        Obtained::Failed(_) => return None,
    };
    (token != refused).then_some(token)
}

impl std::fmt::Debug for BackendCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let headers: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        let query: Vec<&str> = self.query.iter().map(|(name, _)| &**name).collect();
        f.debug_struct("BackendCredentials").field("headers", &headers).field("query", &query).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Renewal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.credential.fmt(f)
    }
}
