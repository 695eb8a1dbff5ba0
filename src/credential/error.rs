//! Why there is no token, and what the caller is told.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use http::header::{HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use crate::gateway::caller;
use crate::pipeline::{Blame, Exchange, Fault};

/// Why a token or a secret could not be had. For the log and on-error: it names URLs, and never holds a secret.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// No answer: the connection failed, broke or took too long.
    #[error("`{url}` did not answer: {problem}")]
    Transport {
        /// What was asked.
        url: String,
        /// What happened.
        problem: String,
    },
    /// A redirect, which is refused: a secret goes where the configuration says, nowhere else.
    #[error("`{url}` answered with a redirect ({status}), which is refused")]
    Redirect {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
    },
    /// It is overloaded or broken.
    #[error("`{url}` answered with status {status}")]
    Unavailable {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// When it wants to be asked again.
        retry_after: Option<Duration>,
    },
    /// The answer is too long.
    #[error("the answer of `{url}` is longer than {limit} bytes")]
    TooLarge {
        /// What was asked.
        url: String,
        /// The longest that is read.
        limit: usize,
    },
    /// The answer is not what it should be.
    #[error("the answer of `{url}` cannot be used: {problem}")]
    Answer {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The endpoint says no (RFC 6749 §5.2).
    #[error("`{url}` refused with status {status}: {error}{}", described(.description))]
    Refused {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The code.
        error: String,
        /// More about it; empty when there is none.
        description: String,
        /// Whether the caller must agree to something first.
        consent: bool,
        /// What the caller must bring next time: Entra's claims challenge, a JSON text.
        claims: Option<String>,
    },
    /// The caller's token is at its end, and with it whatever could be made of it.
    #[error("the caller's token has expired")]
    Lapsed,
    /// The client's assertion could not be signed or read.
    #[error("the client assertion cannot be had: {0}")]
    Assertion(String),
    /// Too many fetches are waiting.
    #[error("{0} fetches are waiting already")]
    Busy(usize),
    /// The fetch ended without a result, because the process is about to stop.
    #[error("the fetch was interrupted")]
    Interrupted,
}

fn described(description: &str) -> String {
    if description.is_empty() { String::new() } else { format!(" ({description})") }
}

impl CredentialError {
    /// Whether it is about this request alone, and says nothing of the next one's chances.
    pub(super) fn is_refusal(&self) -> bool {
        matches!(self, Self::Refused { .. })
    }

    /// The least time before the next attempt that the endpoint asks for.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Unavailable { retry_after, .. } => *retry_after,
            _ => None,
        }
    }

    /// What an exchange that needs the token ends with. `for_caller` when the token was to be had for the caller's own.
    #[cold]
    pub fn fault(&self, source: &str, for_caller: bool, exchange: &Exchange) -> Fault {
        let message = format!("no token from source `{source}`: {self}");
        match self {
            Self::Refused { error, consent, claims, .. } if for_caller => {
                caller_refused(message, error, *consent, claims.as_deref(), exchange)
            }
            Self::Lapsed => caller_refused(message, "invalid_grant", false, None, exchange),
            Self::Refused { .. } | Self::Assertion(_) => Fault::internal("BackendTokenRefused", message),
            Self::Busy(_) => {
                unavailable(StatusCode::SERVICE_UNAVAILABLE, message).header(RETRY_AFTER, HeaderValue::from_static("1"))
            }
            _ => unavailable(StatusCode::BAD_GATEWAY, message),
        }
    }
}

fn unavailable(status: StatusCode, message: String) -> Fault {
    Fault::new(status, Blame::Upstream, "", "BackendTokenUnavailable", message)
        .public("The gateway could not obtain a credential for the backend.")
}

/// Codes that are about the caller's token; any other is about the gateway's own request (RFC 6749 §5.2, OpenID Connect Core
/// §3.1.2.6, RFC 8693 §2.2.2).
const ABOUT_CALLER: [&str; 7] = [
    "invalid_grant",
    "interaction_required",
    "login_required",
    "consent_required",
    "mfa_required",
    "access_denied",
    "invalid_token",
];

/// Entra's claims challenge goes back to the client in a `WWW-Authenticate`, as
/// <https://learn.microsoft.com/entra/identity-platform/claims-challenge> describes it.
fn caller_refused(message: String, error: &str, consent: bool, claims: Option<&str>, exchange: &Exchange) -> Fault {
    if !ABOUT_CALLER.contains(&error) && claims.is_none() {
        // The endpoint refuses what the configuration says, whoever calls.
        return Fault::internal("BackendTokenRefused", message);
    }
    let (status, reason, code, public) = if claims.is_some() {
        let public = "The token does not hold the claims that the backend requires.";
        (StatusCode::UNAUTHORIZED, "InteractionRequired", "insufficient_claims", public)
    } else if consent || matches!(error, "consent_required" | "access_denied") {
        let public = "The backend requires consent that has not been given.";
        (StatusCode::FORBIDDEN, "ConsentRequired", "insufficient_scope", public)
    } else if matches!(error, "interaction_required" | "login_required" | "mfa_required") {
        let public = "The backend requires the caller to sign in again.";
        (StatusCode::UNAUTHORIZED, "InteractionRequired", "interaction_required", public)
    } else {
        let public = "The token cannot be used for the backend.";
        (StatusCode::UNAUTHORIZED, "SubjectTokenRefused", "invalid_token", public)
    };
    exchange.gateway.metrics.auth_failure(reason);
    let mut challenge = bearer_challenge(exchange);
    challenge.push_str(&format!(r#", error="{code}", error_description="{public}""#));
    if let Some(claims) = claims {
        challenge.push_str(&format!(r#", claims="{}""#, STANDARD.encode(claims)));
    }
    challenged(Fault::client(status, reason, message).public(public), &challenge)
}

/// The start of a challenge of RFC 6750 §3.
pub(super) fn bearer_challenge(exchange: &Exchange) -> String {
    let api = exchange.operation.as_ref().map(|operation| &operation.api);
    format!(r#"Bearer realm="{}""#, api.map(|api| caller::realm(exchange, api)).unwrap_or_default())
}

pub(super) fn challenged(fault: Fault, challenge: &str) -> Fault {
    match HeaderValue::from_str(challenge) {
        Ok(challenge) => fault.header(WWW_AUTHENTICATE, challenge),
        Err(_) => fault,
    }
}
