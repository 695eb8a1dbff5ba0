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
use super::remote_keys::{KeyLocation, Refresh, RemoteKeys};
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

/// Fetched keys, and whose they are.
#[derive(Clone, Debug)]
pub struct RemoteSource {
    /// The keys; started.
    pub keys: Arc<RemoteKeys>,
    /// The issuer they belong to; without, what discovery says.
    pub issuer: Option<Arc<str>>,
}

impl From<Arc<RemoteKeys>> for RemoteSource {
    fn from(keys: Arc<RemoteKeys>) -> Self {
        Self { keys, issuer: None }
    }
}

impl RemoteSource {
    fn has_issuer(&self) -> bool {
        self.issuer.is_some() || matches!(self.keys.location(), KeyLocation::Discovery(_))
    }
}

/// Rules, keys, and a memory of tokens that passed.
pub struct TokenVerifier {
    rules: TokenRules,
    /// The allowed algorithms that some key can serve.
    accepted: AlgorithmSet,
    keys: KeySet,
    remotes: Vec<RemoteSource>,
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
    pub fn new(rules: TokenRules, keys: KeySet, remotes: Vec<RemoteSource>) -> Result<Self, VerifierError> {
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
        let some_have = remotes.iter().any(RemoteSource::has_issuer) || keys.has_issuer();
        let all_have = remotes.iter().all(RemoteSource::has_issuer) && keys.has_issuers();
        if rules.issuers.is_empty() && some_have && !all_have {
            return Err(VerifierError::NoIssuer);
        }
        let cache = TokenCache::new(rules.cache_entries);
        Ok(Self { rules, accepted, keys, remotes, cache })
    }

    /// Verifies with the keys at hand, or says what to wait for.
    pub fn try_verify(&self, token: &str, now: SystemTime) -> Outcome {
        let fetches = || self.remotes.iter().map(|remote| remote.keys.fetches()).sum::<u64>();
        let before = fetches();
        match self.attempt(token, now) {
            Ok(verified) => Outcome::Done(Ok(verified)),
            Err(Failure { error, wants_keys: false }) => Outcome::Done(Err(error)),
            Err(Failure { error, wants_keys: true }) => {
                let refreshes: Vec<Refresh> = self.remotes.iter().filter_map(|remote| remote.keys.demand()).collect();
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

    /// Whether keys are fetched, so that a caller may have to wait.
    pub fn fetches_keys(&self) -> bool {
        !self.remotes.is_empty()
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
            && origin.is_none_or(|(source, generation)| self.remotes[source].keys.is_current(generation))
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
        let message = parts.signed.as_bytes();
        let trial = Trial { algorithm, kid, message, signature: &signature, tried: 0, named: false, mismatch: None };
        let (origin, claims) = self.check_signature(trial, parts.payload)?;
        let lifetime = self.check_claims(&claims, now)?;
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

    /// Finds the key that made the signature and may speak for the token's issuer: where it came from, and what it
    /// vouches for.
    fn check_signature(&self, mut trial: Trial<'_>, payload: &str) -> Result<(KeyOrigin, Value), Failure> {
        let symmetric = trial.algorithm.is_symmetric();
        let mut signed = Signed { payload, rules: &self.rules, claims: None, issuers: Vec::new() };
        for key in self.keys.candidates(trial.kid) {
            if trial.passes(key)
                && let Some(claims) = signed.by(key.issuer())?
            {
                return Ok((None, claims));
            }
        }
        let mut without_keys = None;
        for (index, remote) in self.remotes.iter().enumerate().filter(|_| !symmetric) {
            let Some(snapshot) = remote.keys.current() else {
                without_keys = Some(&remote.keys);
                continue;
            };
            let issuer = remote.issuer.as_ref().or(snapshot.issuer.as_ref());
            if snapshot.keys.candidates(trial.kid).any(|key| trial.passes(key))
                && let Some(claims) = signed.by(issuer)?
            {
                return Ok((Some((index, snapshot.generation)), claims));
            }
        }
        if let Some(error) = signed.refusal() {
            let error = without_keys.map_or(error, |remote| TokenError::KeysUnavailable { cause: remote.last_error() });
            return Err(Failure { error, wants_keys: without_keys.is_some() });
        }
        // Fetching helps unless the very key that the token names is at hand and says no.
        let wants_keys = !trial.named && !symmetric && !self.remotes.is_empty();
        let error = match (trial.mismatch, without_keys) {
            (Some((key, expected)), _) if trial.tried == 0 => {
                TokenError::KeyMismatch { key, expected, found: trial.algorithm.name() }
            }
            (_, Some(remote)) if !trial.named => TokenError::KeysUnavailable { cause: remote.last_error() },
            _ if trial.tried == 0 => TokenError::KeyNotFound { found: trial.kid.map(clip) },
            _ => TokenError::SignatureInvalid { tried: trial.tried },
        };
        Err(Failure { error, wants_keys })
    }

    /// Everything but the issuer, which goes with the key.
    fn check_claims(&self, claims: &Value, now: SystemTime) -> Result<Lifetime, TokenError> {
        let rules = &self.rules;
        let lifetime = Lifetime::read(claims)?;
        if rules.require_expiration && lifetime.expires.is_none() {
            return Err(TokenError::ExpirationMissing);
        }
        lifetime.check(now, rules.clock_skew)?;
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
    fn passes(&mut self, key: &VerificationKey) -> bool {
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
struct Signed<'a> {
    payload: &'a str,
    rules: &'a TokenRules,
    claims: Option<Value>,
    /// The issuers whose key made the signature, and that are not the token's.
    issuers: Vec<Arc<str>>,
}

impl Signed<'_> {
    /// The claims, when a key of this issuer may make them.
    fn by(&mut self, issuer: Option<&Arc<str>>) -> Result<Option<Value>, TokenError> {
        let claims = match self.claims.take() {
            Some(claims) => claims,
            None => {
                let json = decode(self.payload, "the payload is not base64url")?;
                let claims: Option<Value> = serde_json::from_slice(&json).ok().filter(Value::is_object);
                claims.ok_or(TokenError::Malformed { what: "the payload is not a JSON object" })?
            }
        };
        match claims::check_issuer(&claims, &self.rules.issuers, issuer.map(|issuer| &**issuer)) {
            Ok(()) => Ok(Some(claims)),
            Err(TokenError::IssuerNotAllowed { .. }) => {
                self.claims = Some(claims);
                self.issuers.extend(issuer.cloned());
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Why nobody whose key made the signature may speak for the token's issuer; nothing when no signature was good.
    fn refusal(&self) -> Option<TokenError> {
        let allowed: Vec<Arc<str>> = self.rules.issuers.iter().chain(&self.issuers).cloned().collect();
        claims::check_issuer(self.claims.as_ref()?, &allowed, None).err()
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
