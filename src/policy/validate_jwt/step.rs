//! How a token is found in a request, checked, and refused.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::uri::PathAndQuery;
use http::{HeaderName, HeaderValue, StatusCode, Uri};
use serde_json::{Value as Json, json};

use crate::clock::Clock;
use crate::gateway::caller;
use crate::identity::{Begun, KeyRefresh, Outcome, TokenError, TokenVerifier, VerificationPool, Verified};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Message};
use crate::policy::value::{StatusValue, TextValue};
use crate::routing::query;

/// Headers, and the claims that they carry.
pub(super) type ClaimHeaders = Box<[(HeaderName, Arc<str>)]>;

/// The check of one policy.
pub(super) struct Validation {
    pub(super) place: Place,
    /// The scheme of the challenge.
    pub(super) scheme: String,
    pub(super) verifier: Arc<TokenVerifier>,
    /// Where signatures by public keys are verified.
    pub(super) pool: Arc<VerificationPool>,
    pub(super) status: StatusValue,
    pub(super) message: Option<TextValue>,
    /// The variable for the token that passed.
    pub(super) output: Option<Arc<str>>,
    /// Headers for the backend, and the claims that they get.
    pub(super) headers: ClaimHeaders,
    /// Whether the backend does not see the token.
    pub(super) strip: bool,
}

/// Where the token is.
pub(super) enum Place {
    Header { name: HeaderName, scheme: Option<String> },
    Query(String),
    Value(TextValue),
}

/// With shared secrets only, which take no time.
pub(super) struct Immediate(pub(super) Validation);

impl Apply for Immediate {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let result = match self.0.place.token(cx)? {
            Ok(token) => self.0.verifier.verify(&token, cx.exchange.gateway.clock.wall()),
            Err(error) => Err(error),
        };
        self.0.end(cx, result)
    }
}

/// With public keys, or keys that are fetched.
pub(super) struct Waiting(pub(super) Validation);

/// How far a token came without waiting.
enum Start {
    Ended(Result<Flow, Fault>),
    Waits(String, Wait),
}

/// What a token waits for.
enum Wait {
    Keys(KeyRefresh),
    Arithmetic,
}

impl ApplyAsync for Waiting {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        match call.with(|cx| self.0.start(cx)) {
            Start::Ended(flow) => Box::pin(std::future::ready(flow)),
            Start::Waits(token, wait) => Box::pin(async move {
                let result = self.0.go_on(&token, wait, &call.exchange.gateway.clock).await;
                call.with(|cx| self.0.end(cx, result))
            }),
        }
    }
}

impl Validation {
    fn start(&self, cx: &mut Context<'_>) -> Start {
        let result = match self.place.token(cx) {
            Err(fault) => return Start::Ended(Err(fault)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(token)) => match self.verifier.begin(&token, cx.exchange.gateway.clock.wall()) {
                Begun::Done(result) => result,
                Begun::Wait(refresh) => return Start::Waits(token.into_owned(), Wait::Keys(refresh)),
                Begun::Costly => return Start::Waits(token.into_owned(), Wait::Arithmetic),
            },
        };
        Start::Ended(self.end(cx, result))
    }

    async fn go_on(&self, token: &str, wait: Wait, clock: &Clock) -> Result<Arc<Verified>, TokenError> {
        let refresh = match wait {
            Wait::Keys(refresh) => refresh,
            Wait::Arithmetic => match self.pool.verify(&self.verifier, token, clock.wall(), false).await {
                Outcome::Done(result) => return result,
                Outcome::Wait(refresh) => refresh,
            },
        };
        refresh.done().await;
        match self.pool.verify(&self.verifier, token, clock.wall(), true).await {
            Outcome::Done(result) => result,
            // It is not asked for twice.
            Outcome::Wait(_) => Err(TokenError::KeysUnavailable { cause: None }),
        }
    }

    fn end(&self, cx: &mut Context<'_>, result: Result<Arc<Verified>, TokenError>) -> Result<Flow, Fault> {
        let verified = result.map_err(|error| self.refuse(cx, &error))?;
        if let Some(name) = &self.output {
            cx.state.set_variable(name, describe(&verified));
        }
        if self.strip {
            self.place.strip(cx)?;
        }
        for (name, claim) in &self.headers {
            let value = verified.claim(claim).and_then(header_value);
            let headers = cx.message.headers_mut();
            headers.remove(name);
            if let Some(value) = value {
                headers.insert(name.clone(), value);
            }
        }
        cx.state.token = Some(verified);
        Ok(Flow::Next)
    }

    #[cold]
    fn refuse(&self, cx: &Context<'_>, error: &TokenError) -> Fault {
        cx.exchange.gateway.metrics.auth_failure(error.reason());
        let id = cx.exchange.request_id.to_str().unwrap_or_default();
        tracing::debug!(request_id = id, check = error.check(), "the token is refused: {error}");
        if let TokenError::Overloaded = error {
            let fault = Fault::client(StatusCode::SERVICE_UNAVAILABLE, error.reason(), error.message());
            return fault
                .public(error.public_message())
                .header(RETRY_AFTER, HeaderValue::from_static("1"))
                .retryable(true);
        }
        let fault = || {
            let public = match &self.message {
                Some(text) => Cow::Owned(text.text(cx)?.into_owned()),
                None => Cow::Borrowed(error.public_message()),
            };
            let message = error.message();
            let complete = message.contains(&error.to_string());
            let mut fault = Fault::client(self.status.status(cx)?, error.reason(), message).public(public);
            fault.blame = error.blame();
            // Where Azure API Management's text leaves out what was expected.
            Ok(if complete { fault } else { fault.cause(error.to_string()) })
        };
        let fault = fault().unwrap_or_else(|failed: Fault| failed);
        match HeaderValue::from_str(&self.challenge(cx, error)) {
            Ok(challenge) => fault.header(WWW_AUTHENTICATE, challenge),
            Err(_) => fault,
        }
    }

    /// RFC 6750 §3: no error code for a request without a token.
    fn challenge(&self, cx: &Context<'_>, error: &TokenError) -> String {
        let api = cx.exchange.operation.as_ref().map(|operation| &operation.api);
        let realm = api.map(|api| caller::realm(cx.exchange, api)).unwrap_or_default();
        let mut challenge = format!(r#"{} realm="{realm}""#, self.scheme);
        if let (Some(description), Some(scope)) = (error.description(), error.missing_scope()) {
            challenge.push_str(&format!(
                r#", error="insufficient_scope", error_description="{description}", scope="{scope}""#
            ));
        } else if let Some(description) = error.description() {
            challenge.push_str(&format!(r#", error="invalid_token", error_description="{description}""#));
        }
        challenge
    }
}

impl Place {
    /// In words, for a person who has a token and no request.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Header { name, scheme: Some(scheme) } => format!("header `{name}` after `{scheme}`"),
            Self::Header { name, scheme: None } => format!("header `{name}`"),
            Self::Query(name) => format!("query parameter `{name}`"),
            Self::Value(_) => "an expression".to_owned(),
        }
    }

    /// The token of a request. One that came twice is refused: the backend might read the other one.
    fn token<'a>(&'a self, cx: &'a Context<'_>) -> Result<Result<Cow<'a, str>, TokenError>, Fault> {
        let twice = TokenError::Malformed { what: "there is more than one" };
        let found = match self {
            Self::Value(text) => Ok(text.text(cx)?),
            Self::Query(name) => {
                let mut values = query::get_all(cx.uri().and_then(http::Uri::query).unwrap_or_default(), name);
                let first = values.next().unwrap_or_default();
                if values.next().is_some() { Err(twice) } else { Ok(first) }
            }
            Self::Header { name, scheme } => {
                let mut values = cx.message.headers().get_all(name).iter();
                let first = values.next();
                match first.map(|value| value.to_str()).transpose() {
                    _ if values.next().is_some() => Err(twice),
                    Ok(value) => Ok(Cow::Borrowed(without_scheme(value.unwrap_or_default().trim(), scheme.as_deref()))),
                    Err(_) => Err(TokenError::Malformed { what: "it is not text" }),
                }
            }
        };
        Ok(found.and_then(|token| if token.is_empty() { Err(TokenError::NotPresent) } else { Ok(token) }))
    }
}

impl Place {
    /// Takes the token off the request.
    fn strip(&self, cx: &mut Context<'_>) -> Result<(), Fault> {
        match self {
            Self::Value(_) => {}
            Self::Header { name, .. } => {
                cx.message.headers_mut().remove(name);
            }
            Self::Query(name) => {
                let Message::Request(request) = &mut cx.message else { return Ok(()) };
                let mut rest = request.uri().query().unwrap_or_default().to_owned();
                query::remove(&mut rest, name);
                let separator = if rest.is_empty() { "" } else { "?" };
                let target = Bytes::from(format!("{}{separator}{rest}", request.uri().path()));
                let target = PathAndQuery::from_maybe_shared(target)
                    .map_err(|error| Fault::internal("Internal", "the new query cannot stand in a URL").cause(error))?;
                *request.uri_mut() = Uri::from(target);
            }
        }
        Ok(())
    }
}

/// A claim as a header's value. What cannot stand in one, or is nothing, gives none: a backend must not read half a claim.
fn header_value(claim: &Json) -> Option<HeaderValue> {
    let scalar = |value: &Json| match value {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    };
    let text = match claim {
        Json::Null => return None,
        Json::Array(items) => {
            let escaped = items.iter().map(|item| scalar(item).replace('%', "%25").replace(',', "%2C"));
            escaped.collect::<Vec<_>>().join(",")
        }
        one => scalar(one),
    };
    HeaderValue::from_str(&text).ok()
}

/// The token after its scheme; empty when another scheme is required.
fn without_scheme<'a>(value: &'a str, required: Option<&str>) -> &'a str {
    match (value.split_once(' '), required) {
        (Some((scheme, token)), Some(required)) if scheme.eq_ignore_ascii_case(required) => token.trim_start(),
        (_, Some(_)) => "",
        (Some((scheme, token)), None) if scheme.eq_ignore_ascii_case("bearer") => token.trim_start(),
        (_, None) => value,
    }
}

/// What the output variable holds: the members of Azure API Management's `Jwt` that are facts.
fn describe(verified: &Verified) -> Json {
    let claim = |name: &str| verified.claim(name).cloned().unwrap_or_default();
    let audiences = match claim("aud") {
        list @ Json::Array(_) => list,
        one => json!([one]),
    };
    json!({
        "algorithm": verified.algorithm.name(),
        "keyId": verified.key_id,
        "id": claim("jti"),
        "issuer": claim("iss"),
        "subject": claim("sub"),
        "audiences": audiences,
        "claims": verified.claims,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_as_headers() {
        for (claim, want) in [
            (json!("ann"), Some("ann")),
            (json!(""), Some("")),
            (json!(7), Some("7")),
            (json!(true), Some("true")),
            (json!(["a", "b"]), Some("a,b")),
            (json!(["a,b", "c%"]), Some("a%2Cb,c%25")),
            (json!([]), Some("")),
            (json!({ "a": [1] }), Some(r#"{"a":[1]}"#)),
            (json!("a\r\nx-admin: yes"), None),
            (Json::Null, None),
        ] {
            let found = header_value(&claim);
            assert_eq!(found.as_ref().map(|value| value.to_str().unwrap()), want, "{claim}");
        }
        assert_eq!(header_value(&json!("Zoë")).unwrap().as_bytes(), "Zoë".as_bytes());
    }

    #[test]
    fn schemes() {
        for (value, required, want) in [
            ("Bearer abc", Some("Bearer"), "abc"),
            ("bearer  abc", Some("Bearer"), "abc"),
            ("abc", Some("Bearer"), ""),
            ("Bearer", Some("Bearer"), ""),
            ("Basic abc", Some("Bearer"), ""),
            ("DPoP abc", Some("dpop"), "abc"),
            ("abc", None, "abc"),
            ("Bearer abc", None, "abc"),
            ("Basic abc", None, "Basic abc"),
            ("", None, ""),
        ] {
            assert_eq!(without_scheme(value, required), want, "{value} for {required:?}");
        }
    }
}
