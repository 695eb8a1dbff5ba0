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

mod explain;
mod parts;
mod search;

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use serde_json::Value;

use super::algorithm::{Algorithm, AlgorithmSet};
use super::claims::{self, Lifetime, Speaker};
use super::entra::Tenants;
use super::key_set::{KeySet, clip};
use super::remote_keys::{KeyLocation, Refresh, RemoteKeys, Snapshot};
use super::subscription::KeyDigest;
use super::token_cache::{Cached, KeyOrigin, TokenCache, VerifierId};
use super::token_error::TokenError;
use super::token_rules::{TokenRules, VerifierError};
use crate::clock::Clock;
pub use explain::{Check, Explanation, Standing};
use parts::{Header, Parts, decode};
use search::{Signed, Trial};

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

/// What [`TokenVerifier::begin`] gives.
#[derive(Debug)]
pub enum Begun {
    /// The answer.
    Done(Result<Arc<Verified>, TokenError>),
    /// The answer depends on keys being fetched.
    Wait(KeyRefresh),
    /// A public-key signature is to be verified, which is more work than a thread that serves others should do.
    Costly,
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
    /// The tenants that they may speak for, when they are Entra ID's.
    pub tenants: Option<Arc<Tenants>>,
}

impl From<Arc<RemoteKeys>> for RemoteSource {
    fn from(keys: Arc<RemoteKeys>) -> Self {
        Self { keys, issuer: None, tenants: None }
    }
}

impl RemoteSource {
    fn has_issuer(&self) -> bool {
        self.issuer.is_some() || matches!(self.keys.location(), KeyLocation::Discovery(_))
    }

    /// Whom a key of a fetched set may speak for.
    fn speaker<'a>(&'a self, snapshot: &'a Snapshot, of_key: Option<&'a str>) -> Speaker<'a> {
        match (self.issuer.as_ref().or(snapshot.issuer.as_ref()), &self.tenants) {
            (Some(issuer), Some(tenants)) => Speaker::Tenants { issuer, tenants, of_key },
            (issuer, _) => Speaker::of(issuer),
        }
    }
}

/// Rules, keys, and a share in a memory of tokens that passed.
pub struct TokenVerifier {
    rules: TokenRules,
    /// The allowed algorithms that some key can serve.
    accepted: AlgorithmSet,
    keys: KeySet,
    remotes: Vec<RemoteSource>,
    cache: Arc<TokenCache>,
    id: VerifierId,
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
    /// A verifier with keys from configuration and from `remotes`, which must be started. Tokens that pass are remembered in
    /// `cache`, which others may share.
    pub fn new(
        rules: TokenRules,
        keys: KeySet,
        remotes: Vec<RemoteSource>,
        cache: Arc<TokenCache>,
    ) -> Result<Self, VerifierError> {
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
        let id = cache.verifier();
        Ok(Self { rules, accepted, keys, remotes, cache, id })
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

    /// Asks for all published keys now, whatever is at hand: for a command, never for a caller.
    pub fn fetch_keys(&self) -> KeyRefresh {
        KeyRefresh(self.remotes.iter().map(|remote| remote.keys.refresh()).collect())
    }

    /// What can be said at once: all about a token seen before, one that is wrong in form, one signed with a shared secret, and
    /// one whose key is not at hand.
    pub fn begin(&self, token: &str, now: SystemTime) -> Begun {
        let digest = self.digest(token);
        if let Some(result) = digest.and_then(|digest| self.recall(digest, now)) {
            return Begun::Done(result);
        }
        if self.is_costly(token) {
            return Begun::Costly;
        }
        match self.try_verify(token, now) {
            Outcome::Done(result) => Begun::Done(result),
            Outcome::Wait(refresh) => Begun::Wait(refresh),
        }
    }

    /// Whether no token ever takes long: all signatures are made with shared secrets, and nothing is fetched.
    pub fn is_immediate(&self) -> bool {
        self.remotes.is_empty() && self.accepted.iter().all(Algorithm::is_symmetric)
    }

    /// Whether a key is at hand that would be tried, and takes its time.
    fn is_costly(&self, token: &str) -> bool {
        let costly = || {
            let json = decode(Parts::split(token).ok()?.header, "").ok()?;
            let header = Header::read(&json).ok().filter(|header| !header.crit)?;
            let algorithm = self.accept_algorithm(&header.alg).ok().filter(|algorithm| !algorithm.is_symmetric())?;
            let tried =
                |keys: &KeySet| keys.candidates(header.kid.as_deref()).any(|key| key.algorithms().contains(algorithm));
            let fetched = |remote: &RemoteSource| remote.keys.current().is_some_and(|snapshot| tried(&snapshot.keys));
            Some(tried(&self.keys) || self.remotes.iter().any(fetched))
        };
        token.len() <= MAX_TOKEN_BYTES && costly().unwrap_or(false)
    }

    /// What a token is remembered by.
    fn digest(&self, token: &str) -> Option<KeyDigest> {
        let remembered = self.cache.is_enabled() && token.len() <= MAX_TOKEN_BYTES;
        remembered.then(|| KeyDigest::of(token.as_bytes()))
    }

    /// A token that passed before: as long as its keys are in force, only its lifetime can have changed.
    fn recall(&self, digest: KeyDigest, now: SystemTime) -> Option<Result<Arc<Verified>, TokenError>> {
        let Cached { verified, origin, .. } = self.cache.get(digest, self.id)?;
        let in_force = origin.is_none_or(|(source, generation)| self.remotes[source].keys.is_current(generation));
        in_force.then(|| verified.lifetime.check(now, self.rules.clock_skew).map(|()| verified))
    }

    fn attempt(&self, token: &str, now: SystemTime) -> Result<Arc<Verified>, Failure> {
        let found = token.len();
        if found > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge { found, limit: MAX_TOKEN_BYTES }.into());
        }
        let digest = self.digest(token);
        if let Some(result) = digest.and_then(|digest| self.recall(digest, now)) {
            return result.map_err(Failure::from);
        }
        let (verified, origin) = self.examine(token, now)?;
        if let Some(digest) = digest {
            self.cache.insert(digest, self.id, Cached { verified: Arc::clone(&verified), origin, bytes: found });
        }
        Ok(verified)
    }

    fn examine(&self, token: &str, now: SystemTime) -> Result<(Arc<Verified>, KeyOrigin), Failure> {
        let parts = Parts::split(token)?;
        let header_json = decode(parts.header, "the header is not base64url")?;
        let header = Header::read(&header_json)?;
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
        let mut signed = Signed::read(payload, &self.rules.issuers);
        for key in self.keys.candidates(trial.kid) {
            if trial.passes(key) && signed.by(Speaker::of(key.issuer()))? {
                return Ok((None, signed.into_claims()?));
            }
        }
        let mut without_keys = None;
        let mut sets = Vec::with_capacity(self.remotes.len());
        for (index, remote) in self.remotes.iter().enumerate().filter(|_| !symmetric) {
            match remote.keys.current() {
                Some(snapshot) => sets.push((signed.is_likely(remote.speaker(&snapshot, None)), index, snapshot)),
                None => without_keys = Some(&remote.keys),
            }
        }
        sets.sort_by_key(|(likely, ..)| !likely);
        for (_, index, snapshot) in &sets {
            let remote = &self.remotes[*index];
            for key in snapshot.keys.candidates(trial.kid) {
                if trial.passes(key) && signed.by(remote.speaker(snapshot, key.tenant()))? {
                    return Ok((Some((*index, snapshot.generation)), signed.into_claims()?));
                }
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
        if !rules.clients.is_empty() {
            claims::check_client(claims, &rules.clients)?;
        }
        if let Some(permission) = &rules.permission {
            claims::check_permission(claims, permission)?;
        }
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

#[cfg(test)]
mod tests;
