//! What a token endpoint answers: a token and its life, or why there is none.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderValue;
use serde::Deserialize;

use super::error::CredentialError;

/// The longest token that is taken: more would not fit into a request.
const MAX_TOKEN: usize = 16 * 1024;
/// How long a token serves when the endpoint does not say (RFC 6749 §5.1 leaves it open).
const UNSAID: Duration = Duration::from_secs(300);
/// The longest life that is believed.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

/// A token as it was issued.
pub(super) struct Issued {
    /// `Bearer` and the token.
    pub(super) header: HeaderValue,
    /// How long it serves.
    pub(super) lifetime: Duration,
    /// After which time the issuer would like it to be replaced.
    pub(super) refresh_in: Option<Duration>,
}

/// RFC 6749 §5.1, and what Azure's identity endpoints make of it: numbers as text, and `expires_on` on the calendar.
#[derive(Deserialize)]
struct Answer {
    access_token: Option<String>,
    token_type: Option<String>,
    expires_in: Option<Number>,
    expires_on: Option<Number>,
    refresh_in: Option<Number>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Number(f64),
    Text(String),
}

impl Number {
    fn seconds(&self) -> Option<f64> {
        match self {
            Self::Number(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
        }
        .filter(|number| number.is_finite())
    }
}

/// RFC 6749 §5.2, and what Entra adds.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Refusal {
    error: Option<String>,
    error_description: Option<String>,
    suberror: Option<String>,
    error_codes: Vec<u64>,
    claims: Option<String>,
    /// App Service's identity endpoint.
    message: Option<String>,
}

/// Entra's numbers for a consent that is missing: <https://learn.microsoft.com/entra/identity-platform/reference-error-codes>.
const CONSENT_CODES: [u64; 3] = [65_001, 65_004, 90_094];

/// Reads a token from an answer.
pub(super) fn token(
    url: &str,
    status: u16,
    body: &[u8],
    wall: SystemTime,
    secrets: &[&str],
) -> Result<Issued, CredentialError> {
    let unusable = |problem: String| CredentialError::Answer { url: url.to_owned(), problem };
    if status != 200 {
        return Err(refused(url, status, body, secrets));
    }
    // The message of a parser would quote the answer, and the answer holds a token.
    let answer: Answer = serde_json::from_slice(body).map_err(|_| unusable("it is not a token in JSON".to_owned()))?;
    let token = answer.access_token.filter(|token| !token.is_empty());
    let token = token.ok_or_else(|| unusable("it has no `access_token`".to_owned()))?;
    // RFC 8693 §2.2.1 has `N_A` for what is not an access token: an id token, or a JWT that was asked for by its form.
    let sendable = |kind: &str| kind.eq_ignore_ascii_case("bearer") || kind.eq_ignore_ascii_case("n_a");
    if let Some(kind) = answer.token_type.filter(|kind| !sendable(kind)) {
        return Err(unusable(format!("tokens of type `{}` are not supported", plain(&kind, 40))));
    }
    if token.len() > MAX_TOKEN {
        return Err(unusable(format!("the token is longer than {MAX_TOKEN} bytes")));
    }
    let mut header = HeaderValue::try_from(format!("Bearer {token}"))
        .map_err(|_| unusable("the token cannot stand in a header".to_owned()))?;
    header.set_sensitive(true);
    let until = |time: f64| {
        let now = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        time - now.as_secs_f64()
    };
    let said = answer.expires_in.as_ref().and_then(Number::seconds);
    let said = said.or_else(|| answer.expires_on.as_ref().and_then(Number::seconds).map(until));
    let lifetime = match said {
        None => UNSAID,
        Some(seconds) if seconds < 1.0 => return Err(unusable("the token has expired".to_owned())),
        Some(seconds) => Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST).min(LONGEST),
    };
    let refresh_in = answer.refresh_in.as_ref().and_then(Number::seconds);
    let refresh_in = refresh_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    Ok(Issued { header, lifetime, refresh_in })
}

/// Why an endpoint said no, without what must not be shown.
pub(super) fn refused(url: &str, status: u16, body: &[u8], secrets: &[&str]) -> CredentialError {
    let refusal: Refusal = serde_json::from_slice(body).unwrap_or_default();
    let clean = |text: &str, most: usize| {
        let text = secrets.iter().filter(|secret| !secret.is_empty()).fold(text.to_owned(), |text, secret| {
            if text.contains(secret) { text.replace(secret, "***") } else { text }
        });
        plain(&text, most)
    };
    let description = refusal.error_description.or(refusal.message).unwrap_or_default();
    // Entra's description goes on with trace ids on further lines.
    let description = description.lines().next().unwrap_or_default();
    CredentialError::Refused {
        url: url.to_owned(),
        status,
        error: clean(refusal.error.as_deref().unwrap_or("no reason given"), 60),
        description: clean(description, 300),
        consent: refusal.suberror.as_deref() == Some("consent_required")
            || refusal.error_codes.iter().any(|code| CONSENT_CODES.contains(code)),
        claims: refusal.claims.filter(|claims| claims.len() <= 4096),
    }
}

/// A text of somebody else's as it may stand in a log: one line, not long.
pub(super) fn plain(text: &str, most: usize) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(most).collect()
}
