//! How a token is found in a request, checked, and refused.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::WWW_AUTHENTICATE;
use http::{HeaderName, HeaderValue};
use serde_json::{Value as Json, json};

use crate::gateway::caller;
use crate::identity::{KeyRefresh, Outcome, TokenError, TokenVerifier, Verified};
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow};
use crate::policy::value::{StatusValue, TextValue};
use crate::routing::query;

/// The check of one policy.
pub(super) struct Validation {
    pub(super) place: Place,
    /// The scheme of the challenge.
    pub(super) scheme: String,
    pub(super) verifier: TokenVerifier,
    pub(super) status: StatusValue,
    pub(super) message: Option<TextValue>,
    /// The variable for the token that passed.
    pub(super) output: Option<Arc<str>>,
}

/// Where the token is.
pub(super) enum Place {
    Header { name: HeaderName, scheme: Option<String> },
    Query(String),
    Value(TextValue),
}

/// With every key at hand.
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

/// With keys that are fetched.
pub(super) struct Waiting(pub(super) Validation);

/// How far a token came without waiting.
enum Begun {
    Ended(Result<Flow, Fault>),
    Waits(String, KeyRefresh),
}

impl ApplyAsync for Waiting {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        match call.with(|cx| self.0.begin(cx)) {
            Begun::Ended(flow) => Box::pin(std::future::ready(flow)),
            Begun::Waits(token, refresh) => Box::pin(async move {
                refresh.done().await;
                let result = self.0.verifier.verify(&token, call.exchange.gateway.clock.wall());
                call.with(|cx| self.0.end(cx, result))
            }),
        }
    }
}

impl Validation {
    fn begin(&self, cx: &mut Context<'_>) -> Begun {
        let result = match self.place.token(cx) {
            Err(fault) => return Begun::Ended(Err(fault)),
            Ok(Err(error)) => Err(error),
            Ok(Ok(token)) => match self.verifier.try_verify(&token, cx.exchange.gateway.clock.wall()) {
                Outcome::Done(result) => result,
                Outcome::Wait(refresh) => return Begun::Waits(token.into_owned(), refresh),
            },
        };
        Begun::Ended(self.end(cx, result))
    }

    fn end(&self, cx: &mut Context<'_>, result: Result<Arc<Verified>, TokenError>) -> Result<Flow, Fault> {
        let verified = result.map_err(|error| self.refuse(cx, &error))?;
        if let Some(name) = &self.output {
            cx.state.set_variable(name, describe(&verified));
        }
        cx.state.token = Some(verified);
        Ok(Flow::Next)
    }

    #[cold]
    fn refuse(&self, cx: &Context<'_>, error: &TokenError) -> Fault {
        cx.exchange.gateway.metrics.auth_failure(error.reason());
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
        if let Some(description) = error.description() {
            challenge.push_str(&format!(r#", error="invalid_token", error_description="{description}""#));
        }
        challenge
    }
}

impl Place {
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
