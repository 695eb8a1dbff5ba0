//! Why a token is refused: which check failed, what was expected and what was found, never the token.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::algorithm::AlgorithmSet;
use super::fetch::FetchError;
use crate::pipeline::Blame;

/// Why a token is refused. The text is for the log; [`TokenError::message`] is Azure API Management's for on-error.
///
/// Values that come from the token are shortened and escaped where they are taken from it before its signature was
/// verified.
#[derive(Clone, Debug, thiserror::Error)]
pub enum TokenError {
    /// No token came with the request.
    #[error("JWT not present")]
    NotPresent,
    /// Not a token.
    #[error("the token is malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// Longer than a token may be.
    #[error("the token has {found} bytes, at most {limit} are allowed")]
    TooLarge {
        /// Its length.
        found: usize,
        /// The longest allowed.
        limit: usize,
    },
    /// Five parts (RFC 7516).
    #[error("the token is encrypted (JWE, five parts); only signed tokens (three parts) are supported")]
    Encrypted,
    /// `alg` is `none`.
    #[error("the token is not signed (`alg` is `none`)")]
    Unsigned,
    /// `alg` is not one that is configured, or that the keys can serve.
    #[error("signature algorithm `{found}` is not allowed, expected one of {expected}")]
    AlgorithmNotAllowed {
        /// What is allowed.
        expected: AlgorithmSet,
        /// The token's `alg`.
        found: String,
    },
    /// `crit` demands an extension; none is understood (RFC 7515 §4.1.11).
    #[error("the token's header has `crit`, and no critical extension is supported")]
    CriticalHeader,
    /// No key has the token's `kid`.
    #[error("no key matches {}", kid(.found))]
    KeyNotFound {
        /// The token's `kid`.
        found: Option<String>,
    },
    /// The key with that `kid` is not for that algorithm.
    #[error("the key with `kid` `{key}` is for {expected}, the token's `alg` is `{found}`")]
    KeyMismatch {
        /// The key.
        key: String,
        /// What it is for.
        expected: AlgorithmSet,
        /// The token's `alg`.
        found: &'static str,
    },
    /// No keys could be fetched, or the last ones are too old.
    #[error("no verification keys are available{}", reason_of(.cause))]
    KeysUnavailable {
        /// Why the last attempt failed.
        cause: Option<Arc<FetchError>>,
    },
    /// The signature does not belong to the content.
    #[error("the signature is not valid for {tried} candidate key(s)")]
    SignatureInvalid {
        /// How many keys were tried.
        tried: usize,
    },
    /// There is no `exp`.
    #[error("the token has no `exp`, which is required")]
    ExpirationMissing,
    /// `exp` is over.
    #[error("the token expired at {}, now is {} (clock skew {})", date(.expired), date(.now), length(*.skew))]
    Expired {
        /// Its `exp`.
        expired: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// The allowance that was made.
        skew: Duration,
    },
    /// `nbf` has not come.
    #[error("the token is valid from {}, now is {} (clock skew {})", date(.from), date(.now), length(*.skew))]
    NotYetValid {
        /// Its `nbf`.
        from: SystemTime,
        /// The time of the check.
        now: SystemTime,
        /// The allowance that was made.
        skew: Duration,
    },
    /// A registered claim has the wrong type.
    #[error("claim `{claim}` is not {expected}")]
    ClaimMalformed {
        /// The claim.
        claim: &'static str,
        /// The type it must have.
        expected: &'static str,
    },
    /// `iss` is none of the allowed.
    #[error("issuer {found} is not allowed, expected one of {expected}")]
    IssuerNotAllowed {
        /// The allowed ones.
        expected: String,
        /// The token's.
        found: String,
    },
    /// The token's tenant of Entra ID is none of the allowed.
    #[error("tenant {found} is not allowed, expected one of {expected}")]
    TenantNotAllowed {
        /// The allowed ones.
        expected: String,
        /// The token's.
        found: String,
    },
    /// `aud` is none of the allowed.
    #[error("audience {found} is not allowed, expected one of {expected}")]
    AudienceNotAllowed {
        /// The allowed ones.
        expected: String,
        /// The token's.
        found: String,
    },
    /// Required claims are absent.
    #[error("JWT token is missing the following claims: {names}")]
    ClaimNotFound {
        /// Their names.
        names: String,
        /// The scopes that would do, when it is about scopes.
        scope: Option<Arc<str>>,
    },
    /// A required claim has another value.
    #[error("claim `{claim}` is {found}, expected {expected}")]
    ClaimValueNotAllowed {
        /// The claim.
        claim: Arc<str>,
        /// What it must hold.
        expected: String,
        /// What it holds.
        found: String,
        /// The scopes that would do, when it is about scopes.
        scope: Option<Arc<str>>,
    },
    /// Neither a delegated nor an application permission that suffices.
    #[error("no sufficient permission: {what}")]
    PermissionMissing {
        /// What was looked for, and what is there.
        what: String,
        /// The scopes that would do.
        scope: Option<Arc<str>>,
    },
    /// More signatures wait to be verified than may.
    #[error("too many tokens are waiting to be verified")]
    Overloaded,
}

impl TokenError {
    /// Azure API Management's reason code.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::NotPresent => "TokenNotPresent",
            Self::Unsigned
            | Self::AlgorithmNotAllowed { .. }
            | Self::KeyMismatch { .. }
            | Self::SignatureInvalid { .. } => "TokenSignatureInvalid",
            Self::KeyNotFound { .. } | Self::KeysUnavailable { .. } => "TokenSignatureKeyNotFound",
            Self::Expired { .. } => "TokenExpired",
            Self::IssuerNotAllowed { .. } | Self::TenantNotAllowed { .. } => "TokenIssuerNotAllowed",
            Self::AudienceNotAllowed { .. } => "TokenAudienceNotAllowed",
            Self::ClaimNotFound { .. } => "TokenClaimNotFound",
            Self::ClaimValueNotAllowed { .. } | Self::PermissionMissing { .. } => "TokenClaimValueNotAllowed",
            Self::Overloaded => "TokenVerificationOverloaded",
            Self::Malformed { .. }
            | Self::TooLarge { .. }
            | Self::Encrypted
            | Self::CriticalHeader
            | Self::ExpirationMissing
            | Self::NotYetValid { .. }
            | Self::ClaimMalformed { .. } => "JwtInvalid",
        }
    }

    /// The name of the failed check: one for each kind of refusal, where Azure API Management's reasons put several together.
    pub const fn check(&self) -> &'static str {
        match self {
            Self::NotPresent => "present",
            Self::Malformed { .. } => "form",
            Self::TooLarge { .. } => "size",
            Self::Encrypted => "encryption",
            Self::Unsigned => "signed",
            Self::AlgorithmNotAllowed { .. } => "algorithm",
            Self::CriticalHeader => "critical-header",
            Self::KeyNotFound { .. } => "key",
            Self::KeyMismatch { .. } => "key-algorithm",
            Self::KeysUnavailable { .. } => "keys-available",
            Self::SignatureInvalid { .. } => "signature",
            Self::ExpirationMissing => "expiration-present",
            Self::Expired { .. } => "expiration",
            Self::NotYetValid { .. } => "not-before",
            Self::ClaimMalformed { .. } => "claim-form",
            Self::IssuerNotAllowed { .. } => "issuer",
            Self::TenantNotAllowed { .. } => "tenant",
            Self::AudienceNotAllowed { .. } => "audience",
            Self::ClaimNotFound { .. } => "claim-present",
            Self::ClaimValueNotAllowed { .. } => "claim-value",
            Self::PermissionMissing { .. } => "permission",
            Self::Overloaded => "capacity",
        }
    }

    /// The scopes that a token must have and this one lacks (`insufficient_scope`, RFC 6750 §3.1): the token is good, but the
    /// person or application must consent to more.
    pub fn missing_scope(&self) -> Option<&str> {
        match self {
            Self::ClaimNotFound { scope, .. }
            | Self::ClaimValueNotAllowed { scope, .. }
            | Self::PermissionMissing { scope, .. } => scope.as_deref(),
            _ => None,
        }
    }

    /// Azure API Management's message for on-error. Where the service passes on its token library's text, this gives the
    /// text of the failed check.
    pub fn message(&self) -> String {
        match self {
            Self::NotPresent => "JWT not present.".to_owned(),
            Self::Overloaded => "Too many tokens are waiting to be verified.".to_owned(),
            Self::ClaimNotFound { names, .. } => {
                format!("JWT token is missing the following claims: {names}. Access denied.")
            }
            Self::ClaimValueNotAllowed { claim, found, .. } => {
                format!("Claim {claim} value of {found} is not allowed. Access denied.")
            }
            _ if self.reason() == "JwtInvalid" => self.to_string(),
            _ => format!("{self}. Access denied."),
        }
    }

    /// What the caller reads unless the policy has a text of its own.
    pub const fn public_message(&self) -> &'static str {
        match self {
            Self::NotPresent => "JWT not present.",
            Self::Overloaded => "The gateway is busy. Try again later.",
            _ => "Invalid JWT.",
        }
    }

    /// What the challenge says (`error_description`, RFC 6750 §3): which check failed, and nothing that the caller did not
    /// send. Nothing when the token is not what is wrong.
    pub const fn description(&self) -> Option<&'static str> {
        Some(match self {
            Self::NotPresent | Self::KeysUnavailable { .. } | Self::Overloaded => return None,
            Self::Malformed { .. } | Self::TooLarge { .. } | Self::CriticalHeader | Self::ClaimMalformed { .. } => {
                "The token is malformed"
            }
            Self::Encrypted => "The token is encrypted",
            Self::Unsigned => "The token is not signed",
            Self::AlgorithmNotAllowed { .. } => "The signature algorithm is not allowed",
            Self::KeyMismatch { .. } | Self::SignatureInvalid { .. } => "The signature is not valid",
            Self::KeyNotFound { .. } => "The signature key was not found",
            Self::ExpirationMissing => "The token has no expiration time",
            Self::Expired { .. } => "The token expired",
            Self::NotYetValid { .. } => "The token is not valid yet",
            Self::IssuerNotAllowed { .. } => "The issuer is not allowed",
            Self::TenantNotAllowed { .. } => "The tenant is not allowed",
            Self::AudienceNotAllowed { .. } => "The audience is not allowed",
            Self::PermissionMissing { scope: None, .. } => "A required role is missing",
            Self::ClaimNotFound { scope: Some(_), .. }
            | Self::ClaimValueNotAllowed { scope: Some(_), .. }
            | Self::PermissionMissing { .. } => "A required scope is missing",
            Self::ClaimNotFound { .. } => "A required claim is missing",
            Self::ClaimValueNotAllowed { .. } => "A required claim has a value that is not allowed",
        })
    }

    /// Whose fault it is. Without keys no token can be judged, which is not the caller's.
    pub const fn blame(&self) -> Blame {
        match self {
            Self::KeysUnavailable { .. } => Blame::Upstream,
            _ => Blame::Client,
        }
    }
}

fn kid(found: &Option<String>) -> String {
    found.as_ref().map_or_else(|| "a token without `kid`".to_owned(), |found| format!("`kid` `{found}`"))
}

fn reason_of(cause: &Option<Arc<FetchError>>) -> String {
    cause.as_ref().map(|cause| format!(": {cause}")).unwrap_or_default()
}

pub(super) fn date(time: &SystemTime) -> String {
    // Tokens know whole seconds (RFC 7519 §2).
    let second = |time: jiff::Timestamp| jiff::Timestamp::from_second(time.as_second()).unwrap_or(time);
    jiff::Timestamp::try_from(*time).map_or_else(|_| "a date out of range".to_owned(), |time| second(time).to_string())
}

pub(super) fn length(skew: Duration) -> String {
    if skew.is_zero() { "0s".to_owned() } else { format!("{skew:?}") }
}
