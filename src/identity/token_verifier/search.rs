//! The search for the key that made a signature and may speak for the token's issuer.

use std::sync::Arc;

use serde_json::Value;

use super::parts::decode;
use crate::identity::algorithm::{Algorithm, AlgorithmSet};
use crate::identity::claims::{self, Speaker};
use crate::identity::key_set::{VerificationKey, clip};
use crate::identity::token_error::TokenError;

/// The search for the key of one signature.
pub(super) struct Trial<'a> {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<&'a str>,
    pub(super) message: &'a [u8],
    pub(super) signature: &'a [u8],
    /// How many keys were tried.
    pub(super) tried: usize,
    /// Whether a key with exactly the token's `kid` was among them.
    pub(super) named: bool,
    /// A key that would be tried but is not for the algorithm.
    pub(super) mismatch: Option<(String, AlgorithmSet)>,
}

impl Trial<'_> {
    pub(super) fn passes(&mut self, key: &VerificationKey) -> bool {
        let named = self.kid.is_some() && key.id() == self.kid;
        self.named |= named;
        match key.verify(self.algorithm, self.message, self.signature) {
            Some(passes) => {
                self.tried += 1;
                passes
            }
            None => {
                if named {
                    self.mismatch = Some((key.id().map(clip).unwrap_or_default(), key.algorithms()));
                }
                false
            }
        }
    }
}

/// What a good signature vouches for, provided that its key may speak for the issuer. Several issuers can publish the same
/// key (every Entra tenant does), so one that is not the token's does not end the search.
pub(super) struct Signed<'a> {
    claims: Result<Value, TokenError>,
    listed: &'a [Arc<str>],
    /// The issuers whose key made the signature, and that are not the token's.
    issuers: Vec<Arc<str>>,
    /// Whether some key made the signature.
    good: bool,
    /// Why a key that made the signature may not speak for the token.
    refused: Option<TokenError>,
}

impl<'a> Signed<'a> {
    pub(super) fn read(payload: &str, listed: &'a [Arc<str>]) -> Self {
        let read = || {
            let json = decode(payload, "the payload is not base64url")?;
            let claims: Option<Value> = serde_json::from_slice(&json).ok().filter(Value::is_object);
            claims.ok_or(TokenError::Malformed { what: "the payload is not a JSON object" })
        };
        Self { claims: read(), listed, issuers: Vec::new(), good: false, refused: None }
    }

    /// Whether a key of this issuer could be the one, judging by what the token says of itself: such keys are tried first, so that
    /// a good token costs one signature however many sources publish its key.
    pub(super) fn is_likely(&self, speaker: Speaker<'_>) -> bool {
        self.claims.as_ref().is_ok_and(|claims| claims::check_issuer(claims, self.listed, speaker).is_ok())
    }

    /// Notes that a key of this issuer made the signature: whether it may.
    pub(super) fn by(&mut self, speaker: Speaker<'_>) -> Result<bool, TokenError> {
        let claims = self.claims.as_ref().map_err(TokenError::clone)?;
        self.good = true;
        match claims::check_issuer(claims, self.listed, speaker) {
            Ok(()) => return Ok(true),
            Err(TokenError::IssuerNotAllowed { .. }) => self.issuers.extend(speaker.issuer().map(Into::into)),
            Err(error @ TokenError::TenantNotAllowed { .. }) => self.refused = Some(error),
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// The claims, once a key may vouch for them.
    pub(super) fn into_claims(self) -> Result<Value, TokenError> {
        self.claims
    }

    /// Why nobody whose key made the signature may speak for the token's issuer; nothing when no signature was good.
    pub(super) fn refusal(&mut self) -> Option<TokenError> {
        if let Some(refused) = self.refused.take() {
            return Some(refused);
        }
        let claims = self.claims.as_ref().ok().filter(|_| self.good)?;
        Some(claims::issuer_not_allowed(claims, self.listed.iter().chain(&self.issuers).map(|issuer| &**issuer)))
    }
}
