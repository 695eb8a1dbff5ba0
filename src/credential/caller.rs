//! The caller's own token, as the subject of an exchange for another one.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::header::AUTHORIZATION;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::error::{bearer_challenge, challenged};
use crate::identity::Verified;
use crate::pipeline::{Exchange, Fault};

/// A caller's token.
pub struct Subject<'a> {
    /// The token, without a scheme.
    pub token: &'a str,
    /// Its end, as far as that was verified.
    pub expires: Option<SystemTime>,
}

/// What is read of a token that somebody else verifies: only ever to make a life shorter.
#[derive(Deserialize)]
struct End {
    exp: Option<f64>,
}

impl Subject<'_> {
    /// When nothing that is made of it may serve any more.
    pub(super) fn ends(&self) -> Option<SystemTime> {
        let payload = self.token.split('.').nth(1).and_then(|part| URL_SAFE_NO_PAD.decode(part).ok());
        let own = payload.and_then(|payload| serde_json::from_slice::<End>(&payload).ok()?.exp);
        let own = own.and_then(|exp| Some(UNIX_EPOCH + Duration::try_from_secs_f64(exp).ok()?));
        match (own, self.expires) {
            (Some(own), Some(verified)) => Some(own.min(verified)),
            (own, verified) => own.or(verified),
        }
    }
}

/// The bearer token of a request whose token was accepted before: unverified ones would let anybody make the gateway ask the
/// token endpoint.
///
/// # Errors
/// `401` with a challenge when there is no token, and the gateway's own fault when nothing has verified one.
pub fn subject_of<'a>(
    exchange: &Exchange,
    verified: Option<&Verified>,
    headers: &'a HeaderMap,
) -> Result<Subject<'a>, Fault> {
    let token = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        Some(token.trim()).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
    });
    match (token, verified) {
        (Some(token), Some(verified)) => Ok(Subject { token, expires: verified.expires }),
        (None, None) => Err(missing(exchange)),
        (Some(_), None) => Err(Fault::internal(
            "SubjectTokenNotVerified",
            "the caller's token is to be exchanged and no policy has verified it",
        )),
        (None, Some(_)) => Err(Fault::internal(
            "SubjectTokenNotKept",
            "the caller's token was verified and is no longer in `Authorization`, so that it cannot be exchanged",
        )),
    }
}

#[cold]
pub(crate) fn missing(exchange: &Exchange) -> Fault {
    exchange.gateway.metrics.auth_failure("SubjectTokenMissing");
    let message = "there is no token of the caller's to call the backend on behalf of";
    let fault = Fault::client(StatusCode::UNAUTHORIZED, "SubjectTokenMissing", message).public("Token not present.");
    // RFC 6750 §3: no error code for a request without a token.
    challenged(fault, &bearer_challenge(exchange))
}
