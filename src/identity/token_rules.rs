//! What a token must satisfy, as the configuration says.

use std::sync::Arc;
use std::time::Duration;

use super::algorithm::AlgorithmSet;
use super::claims::{Permission, RequiredClaim};

/// What a token must satisfy.
#[derive(Clone, Debug)]
pub struct TokenRules {
    /// The accepted values of `aud`. At least one is required: without it a token for any other API would do
    /// (RFC 8725 §3.9).
    pub audiences: Vec<Arc<str>>,
    /// The accepted values of `iss`, besides the issuer that the verifying key belongs to. With neither, `iss` is not
    /// checked.
    pub issuers: Vec<Arc<str>>,
    /// The accepted algorithms, as far as the keys can serve them. Default: all.
    pub algorithms: AlgorithmSet,
    /// The allowance for clocks that differ, in `exp` and `nbf`. Default: none.
    pub clock_skew: Duration,
    /// Whether `exp` must be present. Default: yes.
    pub require_expiration: bool,
    /// Claims that must be present or hold certain values.
    pub required_claims: Vec<RequiredClaim>,
    /// The applications whose tokens are accepted (`azp` or `appid`); with none, any.
    pub clients: Vec<Arc<str>>,
    /// What the token must be allowed to do.
    pub permission: Option<Permission>,
}

impl Default for TokenRules {
    fn default() -> Self {
        Self {
            audiences: Vec::new(),
            issuers: Vec::new(),
            algorithms: AlgorithmSet::ALL,
            clock_skew: Duration::ZERO,
            require_expiration: true,
            required_claims: Vec::new(),
            clients: Vec::new(),
            permission: None,
        }
    }
}

/// Rules and keys that together could accept a token they should not, or no token at all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifierError {
    /// No audience.
    #[error("at least one audience is required: without it a token issued for any other API would be accepted")]
    NoAudience,
    /// No key.
    #[error("at least one key, key set URL or discovery URL is required")]
    NoKey,
    /// No algorithm in common.
    #[error("none of the allowed algorithms ({allowed}) can be verified with the configured keys ({possible})")]
    NoAlgorithm {
        /// What the rules allow.
        allowed: AlgorithmSet,
        /// What the keys can do.
        possible: AlgorithmSet,
    },
    /// Beside keys that belong to an issuer, one that belongs to none would verify that issuer's tokens too.
    #[error("the accepted issuers must be listed when only some of the keys belong to an issuer")]
    NoIssuer,
}
