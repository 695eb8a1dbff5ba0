//! Verifies JSON Web Tokens: algorithm, key, signature, then every claim, each check with its own error.
//!
//! The protocol for a caller that can wait:
//!
//! ```text
//! match verifier.try_verify(token, now) {
//!     Outcome::Done(result)  => result,
//!     Outcome::Wait(refresh) => { refresh.done().await; verifier.verify(token, now) }
//! }
//! ```
//!
//! [`TokenVerifier::verify`] never waits, so a token is looked at twice at most. The algorithm must be configured *and* be
//! one of the key's own: a key never verifies by an algorithm that only the token names (RFC 8725 §3.1).

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny};
use serde_json::Value;

use super::algorithm::{Algorithm, AlgorithmSet};
use super::claims::{self, Lifetime};
use super::key_set::{KeySet, VerificationKey, clip};
use super::remote_keys::{Refresh, RemoteKeys};
use super::subscription::KeyDigest;
use super::token_cache::{Cached, KeyOrigin, TokenCache};
use super::token_error::TokenError;
use super::token_rules::{TokenRules, VerifierError};
use crate::clock::Clock;

/// The longest token that is looked at.
pub const MAX_TOKEN_BYTES: usize = 16 * 1024;

/// A token whose every check passed.
#[derive(Debug)]
pub struct Verified {
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its `kid`.
    pub key_id: Option<Box<str>>,
    /// Its claims: a JSON object. Of a claim given twice, the last counts (RFC 7519 §4).
    pub claims: Value,
    /// Its `exp`.
    pub expires: Option<SystemTime>,
    lifetime: Lifetime,
}

impl Verified {
    /// One claim.
    pub fn claim(&self, name: &str) -> Option<&Value> {
        self.claims.get(name)
    }
}

/// What [`TokenVerifier::try_verify`] gives.
#[derive(Debug)]
pub enum Outcome {
    /// The answer.
    Done(Result<Arc<Verified>, TokenError>),
    /// The answer depends on keys being fetched: wait, then call [`TokenVerifier::verify`].
    Wait(KeyRefresh),
}

/// Fetches under way that may bring the missing key.
#[derive(Debug)]
pub struct KeyRefresh(Vec<Refresh>);

impl KeyRefresh {
    /// Waits until all of them are over; each is bounded by its own time limit.
    pub async fn done(self) {
        for refresh in self.0 {
            refresh.done().await;
        }
    }
}

/// Rules, keys, and a memory of tokens that passed.
pub struct TokenVerifier {
    rules: TokenRules,
    /// The allowed algorithms that some key can serve.
    accepted: AlgorithmSet,
    keys: KeySet,
    remotes: Vec<Arc<RemoteKeys>>,
    cache: TokenCache,
}

/// The members of a header that are looked at. A member given twice is an error (RFC 7515 §4).
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default)]
    kid: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    crit: bool,
}

/// Whether a member is there, whatever it holds.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    IgnoredAny::deserialize(deserializer).map(|_| true)
}

/// A refusal, and whether other keys might change it.
struct Failure {
    error: TokenError,
    wants_keys: bool,
}

impl From<TokenError> for Failure {
    fn from(error: TokenError) -> Self {
        Self { error, wants_keys: false }
    }
}

impl TokenVerifier {
    /// A verifier with keys from configuration and from `remotes`, which must be started.
    pub fn new(rules: TokenRules, keys: KeySet, remotes: Vec<Arc<RemoteKeys>>) -> Result<Self, VerifierError> {
        use super::remote_keys::KeyLocation::Discovery;

        if rules.audiences.is_empty() {
            return Err(VerifierError::NoAudience);
        }
        if keys.is_empty() && remotes.is_empty() {
            return Err(VerifierError::NoKey);
        }
        // A published set holds no secret, so HMAC is only ever for keys of the configuration.
        let published = if remotes.is_empty() { AlgorithmSet::EMPTY } else { AlgorithmSet::ASYMMETRIC };
        let possible = keys.algorithms().union(published);
        let accepted = rules.algorithms.intersection(possible);
        if accepted.is_empty() {
            return Err(VerifierError::NoAlgorithm { allowed: rules.algorithms, possible });
        }
        let discovered = remotes.iter().filter(|remote| matches!(remote.location(), Discovery(_))).count();
        let only_discovered = keys.is_empty() && discovered == remotes.len();
        if rules.issuers.is_empty() && discovered > 0 && !only_discovered {
            return Err(VerifierError::NoIssuer);
        }
        let cache = TokenCache::new(rules.cache_entries);
        Ok(Self { rules, accepted, keys, remotes, cache })
    }

    /// Verifies with the keys at hand, or says what to wait for.
    pub fn try_verify(&self, token: &str, now: SystemTime) -> Outcome {
        let fetches = || self.remotes.iter().map(|remote| remote.fetches()).sum::<u64>();
        let before = fetches();
        match self.attempt(token, now) {
            Ok(verified) => Outcome::Done(Ok(verified)),
            Err(Failure { error, wants_keys: false }) => Outcome::Done(Err(error)),
            Err(Failure { error, wants_keys: true }) => {
                let refreshes: Vec<Refresh> = self.remotes.iter().filter_map(RemoteKeys::demand).collect();
                if !refreshes.is_empty() {
                    return Outcome::Wait(KeyRefresh(refreshes));
                }
                // The fetch that others waited for may have ended between our look at the keys and our asking.
                let changed = fetches() != before;
                Outcome::Done(if changed { self.verify(token, now) } else { Err(error) })
            }
        }
    }

    /// Verifies with the keys at hand; never waits and never asks for a fetch.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, TokenError> {
        self.attempt(token, now).map_err(|failure| failure.error)
    }

    /// Verifies, waiting for keys once when that may help.
    pub async fn verify_or_wait(&self, token: &str, clock: &Clock) -> Result<Arc<Verified>, TokenError> {
        match self.try_verify(token, clock.wall()) {
            Outcome::Done(result) => result,
            Outcome::Wait(refresh) => {
                refresh.done().await;
                self.verify(token, clock.wall())
            }
        }
    }

    /// How many verified tokens are remembered.
    pub fn cached(&self) -> usize {
        self.cache.len()
    }

    fn attempt(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, Failure> {
        let found = token.len();
        if found > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge { found, limit: MAX_TOKEN_BYTES }.into());
        }
        if !self.cache.is_enabled() {
            return self.examine(token, now).map(|(verified, _)| verified);
        }
        let digest = KeyDigest::of(token.as_bytes());
        if let Some(Cached { verified, origin, .. }) = self.cache.get(&digest)
            && origin.is_none_or(|(source, generation)| self.remotes[source].is_current(generation))
        {
            // Everything else about a token that passed once stays true.
            verified.lifetime.check(now, self.rules.clock_skew)?;
            return Ok(verified);
        }
        let (verified, origin) = self.examine(token, now)?;
        self.cache.insert(digest, Cached { verified: Arc::clone(&verified), origin, bytes: found });
        Ok(verified)
    }

    fn examine(&self, token: &str, now: SystemTime) -> Result<(Arc<Verified>, KeyOrigin), Failure> {
        let parts = Parts::split(token)?;
        let header_json = decode(parts.header, "the header is not base64url")?;
        let header: Header<'_> = serde_json::from_slice(&header_json)
            .map_err(|_| TokenError::Malformed { what: "the header is not a JSON object with one text `alg`" })?;
        let algorithm = self.accept_algorithm(&header.alg)?;
        if header.crit {
            return Err(TokenError::CriticalHeader.into());
        }
        let kid = header.kid.as_deref();
        let signature = decode(parts.signature, "the signature is not base64url")?;
        let (origin, issuer) = self.check_signature(algorithm, kid, parts.signed.as_bytes(), &signature)?;

        let payload = decode(parts.payload, "the payload is not base64url")?;
        let claims: Value = serde_json::from_slice(&payload)
            .ok()
            .filter(Value::is_object)
            .ok_or(TokenError::Malformed { what: "the payload is not a JSON object" })?;
        let lifetime = self.check_claims(&claims, issuer.as_deref(), now)?;
        let key_id = kid.map(Into::into);
        let verified = Verified { algorithm, key_id, claims, expires: lifetime.expires, lifetime };
        Ok((Arc::new(verified), origin))
    }

    fn accept_algorithm(&self, name: &str) -> Result<Algorithm, TokenError> {
        if name.eq_ignore_ascii_case("none") {
            return Err(TokenError::Unsigned);
        }
        name.parse()
            .ok()
            .filter(|algorithm| self.accepted.contains(*algorithm))
            .ok_or_else(|| TokenError::AlgorithmNotAllowed { expected: self.accepted, found: clip(name) })
    }

    /// Finds the key that made the signature: where it came from, and the issuer that its source speaks for.
    fn check_signature(
        &self,
        algorithm: Algorithm,
        kid: Option<&str>,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(KeyOrigin, Option<Arc<str>>), Failure> {
        let mut trial = Trial { algorithm, kid, message, signature, tried: 0, named: false, mismatch: None };
        if trial.passes(&self.keys) {
            return Ok((None, None));
        }
        let mut without_keys = None;
        if !algorithm.is_symmetric() {
            for (index, remote) in self.remotes.iter().enumerate() {
                match remote.current() {
                    Some(snapshot) if trial.passes(&snapshot.keys) => {
                        return Ok((Some((index, snapshot.generation)), snapshot.issuer.clone()));
                    }
                    Some(_) => {}
                    None => without_keys = Some(remote),
                }
            }
        }
        // Fetching helps unless the very key that the token names is at hand and says no.
        let wants_keys = !trial.named && !algorithm.is_symmetric() && !self.remotes.is_empty();
        let error = match (trial.mismatch, without_keys) {
            (Some((key, expected)), _) if trial.tried == 0 => {
                TokenError::KeyMismatch { key, expected, found: algorithm.name() }
            }
            (_, Some(remote)) if !trial.named => TokenError::KeysUnavailable { cause: remote.last_error() },
            _ if trial.tried == 0 => TokenError::KeyNotFound { found: kid.map(clip) },
            _ => TokenError::SignatureInvalid { tried: trial.tried },
        };
        Err(Failure { error, wants_keys })
    }

    fn check_claims(&self, claims: &Value, issuer: Option<&str>, now: SystemTime) -> Result<Lifetime, TokenError> {
        let rules = &self.rules;
        let lifetime = Lifetime::read(claims)?;
        if rules.require_expiration && lifetime.expires.is_none() {
            return Err(TokenError::ExpirationMissing);
        }
        lifetime.check(now, rules.clock_skew)?;
        claims::check_issuer(claims, &rules.issuers, issuer)?;
        claims::check_audience(claims, &rules.audiences)?;
        claims::check_required(claims, &rules.required_claims)?;
        Ok(lifetime)
    }
}

impl fmt::Debug for TokenVerifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenVerifier")
            .field("rules", &self.rules)
            .field("keys", &self.keys)
            .field("remotes", &self.remotes)
            .finish_non_exhaustive()
    }
}

/// The search for the key of one signature.
struct Trial<'a> {
    algorithm: Algorithm,
    kid: Option<&'a str>,
    message: &'a [u8],
    signature: &'a [u8],
    /// How many keys were tried.
    tried: usize,
    /// Whether a key with exactly the token's `kid` was among them.
    named: bool,
    /// A key that would be tried but is not for the algorithm.
    mismatch: Option<(String, AlgorithmSet)>,
}

impl Trial<'_> {
    fn passes(&mut self, keys: &KeySet) -> bool {
        keys.candidates(self.kid).any(|key| self.passes_key(key))
    }

    fn passes_key(&mut self, key: &VerificationKey) -> bool {
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

/// The compact serialization (RFC 7515 §7.1).
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    /// Header and payload with the dot between them.
    signed: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, TokenError> {
        match token.matches('.').count() {
            2 => {}
            4 => return Err(TokenError::Encrypted),
            _ => return Err(TokenError::Malformed { what: "it does not have three parts separated by dots" }),
        }
        let parts = || {
            let (signed, signature) = token.rsplit_once('.')?;
            let (header, payload) = signed.split_once('.')?;
            Some(Self { header, payload, signature, signed })
        };
        parts().ok_or(TokenError::Malformed { what: "it does not have three parts separated by dots" })
    }
}

fn decode(part: &str, what: &'static str) -> Result<Vec<u8>, TokenError> {
    URL_SAFE_NO_PAD.decode(part).map_err(|_| TokenError::Malformed { what })
}

#[cfg(test)]
mod tests;
