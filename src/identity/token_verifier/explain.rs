//! Every check of a token by itself, for somebody who wants to know all that is wrong with it.

use std::sync::Arc;
use std::time::SystemTime;

use serde_json::{Map, Value};

use super::parts::{Header, Parts, decode};
use super::search::Trial;
use super::{MAX_TOKEN_BYTES, RemoteSource, TokenVerifier, Verified};
use crate::identity::algorithm::Algorithm;
use crate::identity::claims::{self, Lifetime, Match, Speaker};
use crate::identity::key_set::{KeySet, clip};
use crate::identity::remote_keys::Snapshot;
use crate::identity::token_error::{TokenError, date, length};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// The token is as it must be.
    Passed,
    /// It is not.
    Failed,
    /// It cannot be said, because a check before it failed, or because there are no keys.
    Open,
}

/// One check.
#[derive(Clone, Debug)]
pub struct Check {
    /// Its name: `audience`.
    pub name: &'static str,
    /// The claim that is required, of the checks of required claims.
    pub claim: Option<Arc<str>>,
    /// What became of it.
    pub standing: Standing,
    /// What must be there.
    pub expected: String,
    /// What is there.
    pub found: String,
}

/// What becomes of a token, and of each check by itself.
#[derive(Debug)]
pub struct Explanation {
    /// What a caller with this token would meet.
    pub result: Result<Arc<Verified>, TokenError>,
    /// The checks. Those that come after the one that decides are made all the same, so that all mistakes show at once.
    pub checks: Vec<Check>,
}

#[derive(Default)]
struct Checks(Vec<Check>);

impl Checks {
    fn add(&mut self, name: &'static str, standing: Standing, expected: impl Into<String>, found: impl Into<String>) {
        let (expected, found) = (expected.into(), found.into());
        self.0.push(Check { name, claim: None, standing, expected, found });
    }

    /// A check of which the outcome is at hand.
    fn judge<T>(&mut self, name: &'static str, result: &Result<T, TokenError>, expected: String, found: String) {
        let standing = if result.is_ok() { Standing::Passed } else { Standing::Failed };
        // A claim of a wrong type has no value that could be shown beside the expected ones.
        let found = match result {
            Err(error @ TokenError::ClaimMalformed { .. }) => error.to_string(),
            _ => found,
        };
        self.add(name, standing, expected, found);
    }
}

impl TokenVerifier {
    /// Verifies a token with the keys at hand, and makes every check by itself besides.
    pub fn explain(&self, token: &str, now: SystemTime) -> Explanation {
        let mut checks = Checks::default();
        if let Err(error) = self.explain_into(&mut checks, token, now) {
            let expected = format!("a signed token: three parts in base64url, at most {MAX_TOKEN_BYTES} bytes");
            checks.add("form", Standing::Failed, expected, error.to_string());
        }
        Explanation { result: self.verify(token, now), checks: checks.0 }
    }

    /// An error is one of the token's form, behind which nothing can be read.
    fn explain_into(&self, checks: &mut Checks, token: &str, now: SystemTime) -> Result<(), TokenError> {
        let found = token.len();
        if found > MAX_TOKEN_BYTES {
            return Err(TokenError::TooLarge { found, limit: MAX_TOKEN_BYTES });
        }
        let parts = Parts::split(token)?;
        let header_json = decode(parts.header, "the header is not base64url")?;
        let header = Header::read(&header_json)?;
        let signature = decode(parts.signature, "the signature is not base64url")?;
        let json = decode(parts.payload, "the payload is not base64url")?;
        let claims: Option<Value> = serde_json::from_slice(&json).ok().filter(Value::is_object);
        let claims = claims.ok_or(TokenError::Malformed { what: "the payload is not a JSON object" })?;
        checks.add("form", Standing::Passed, "a signed token of three parts", format!("three parts, {found} bytes"));

        let algorithm = self.accept_algorithm(&header.alg);
        let expected = format!("one of {}", self.accepted);
        checks.judge("algorithm", &algorithm, expected, format!("`{}`", clip(&header.alg)));
        if header.crit {
            checks.add("critical-header", Standing::Failed, "no `crit` in the header", "`crit`");
        }
        let kid = header.kid.as_deref();
        let signed = algorithm.ok().map(|algorithm| {
            let message = parts.signed.as_bytes();
            let trial =
                Trial { algorithm, kid, message, signature: &signature, tried: 0, named: false, mismatch: None };
            (algorithm, self.check_signature(trial, parts.payload).map(|_| ()).map_err(|failure| failure.error))
        });
        self.explain_key(checks, kid, signed.as_ref());
        self.explain_issuer(checks, &claims, signed.and_then(|(_, result)| result.err()));
        self.explain_claims(checks, &claims, now);
        Ok(())
    }

    /// The key and its signature.
    fn explain_key(
        &self,
        checks: &mut Checks,
        kid: Option<&str>,
        signed: Option<&(Algorithm, Result<(), TokenError>)>,
    ) {
        let named = kid.map_or_else(|| "no `kid`".to_owned(), |kid| format!("`kid` `{}`", clip(kid)));
        let symmetric = signed.is_some_and(|(algorithm, _)| algorithm.is_symmetric());
        let known = self.describe_keys(symmetric);
        let made = "made by that key for this content";
        match signed {
            None => {
                checks.add("key", Standing::Open, known, named);
                checks.add("signature", Standing::Open, made, "not verified: the algorithm is not allowed");
            }
            Some((_, Err(error @ (TokenError::KeyNotFound { .. } | TokenError::KeysUnavailable { .. })))) => {
                let found = match error {
                    TokenError::KeysUnavailable { .. } => format!("{named}; {error}"),
                    _ => named,
                };
                // Keys that could not be fetched say nothing of the token.
                let standing = match error {
                    TokenError::KeysUnavailable { .. } => Standing::Open,
                    _ => Standing::Failed,
                };
                checks.add("key", standing, known, found);
                checks.add("signature", Standing::Open, made, "not verified: there is no key");
            }
            Some((algorithm, Err(error @ TokenError::KeyMismatch { .. }))) => {
                checks.add("key", Standing::Failed, format!("a key for `{algorithm}`"), error.to_string());
                checks.add("signature", Standing::Open, made, "not verified: the key is for another algorithm");
            }
            Some((_, Err(error @ TokenError::SignatureInvalid { .. }))) => {
                checks.add("key", Standing::Passed, known, named);
                checks.add("signature", Standing::Failed, made, error.to_string());
            }
            Some((_, Ok(()) | Err(_))) => {
                checks.add("key", Standing::Passed, known, named);
                checks.add("signature", Standing::Passed, made, "valid");
            }
        }
    }

    /// The keys at hand, by their ids.
    fn describe_keys(&self, symmetric: bool) -> String {
        let ids = |keys: &KeySet| {
            let ids: Vec<&str> = keys.candidates(None).map(|key| key.id().unwrap_or("(no id)")).collect();
            claims::list(ids)
        };
        let mut known = Vec::new();
        if !self.keys.is_empty() {
            known.push(format!("{} of the configuration", ids(&self.keys)));
        }
        for remote in self.remotes.iter().filter(|_| !symmetric) {
            let url = remote.keys.location().url();
            known.push(match remote.keys.current() {
                Some(snapshot) => format!("{} of {url}", ids(&snapshot.keys)),
                None => format!("those of {url}, which are not at hand"),
            });
        }
        format!("one of {}", known.join("; "))
    }

    fn explain_issuer(&self, checks: &mut Checks, claims: &Value, error: Option<TokenError>) {
        let found = claims.get("iss").map_or_else(|| "(none)".to_owned(), shown);
        let snapshots: Vec<(&RemoteSource, Option<Arc<Snapshot>>)> =
            self.remotes.iter().map(|remote| (remote, remote.keys.current())).collect();
        let of_remotes = snapshots.iter().filter_map(|(remote, snapshot)| match (snapshot, &remote.issuer) {
            (Some(snapshot), _) => Some(remote.speaker(snapshot, None)),
            (None, issuer) => issuer.as_ref().filter(|_| remote.tenants.is_none()).map(|name| Speaker::Issuer(name)),
        });
        let of_keys = self.keys.candidates(None).map(|key| Speaker::of(key.issuer()));
        let speakers: Vec<Speaker<'_>> = of_keys.chain(of_remotes).collect();
        let unknown = snapshots.iter().any(|(remote, snapshot)| {
            snapshot.is_none() && remote.has_issuer() && (remote.issuer.is_none() || remote.tenants.is_some())
        });
        let mut names: Vec<&str> = self.rules.issuers.iter().map(|issuer| &**issuer).collect();
        for name in speakers.iter().filter_map(|speaker| speaker.issuer()) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        let mut expected = match names.is_empty() {
            true if unknown => "what discovery says".to_owned(),
            true => "any: no key belongs to an issuer, and `accepted-issuers` lists none".to_owned(),
            false => one_of(names.iter().copied()),
        };
        let mut tenants: Vec<&str> = Vec::new();
        for name in self.remotes.iter().filter_map(|remote| remote.tenants.as_ref()).flat_map(|it| it.names()) {
            if !tenants.contains(&&**name) {
                tenants.push(name);
            }
        }
        if !tenants.is_empty() {
            expected.push_str(&format!(", of the tenants {}", claims::list(tenants)));
        }
        match error {
            // With a good signature it is known whose key made it.
            Some(
                error @ (TokenError::IssuerNotAllowed { .. }
                | TokenError::TenantNotAllowed { .. }
                | TokenError::ClaimMalformed { claim: "iss", .. }),
            ) => {
                let found = match &error {
                    TokenError::TenantNotAllowed { found: tenant, .. } => format!("{found}, tenant {tenant}"),
                    _ => found,
                };
                checks.judge("issuer", &Err::<(), _>(error), expected, found);
            }
            None if speakers.is_empty() => checks.add("issuer", Standing::Open, expected, found),
            _ => {
                let allowed =
                    speakers.iter().any(|speaker| claims::check_issuer(claims, &self.rules.issuers, *speaker).is_ok());
                let standing = match (allowed, unknown) {
                    (true, _) => Standing::Passed,
                    (false, true) => Standing::Open,
                    (false, false) => Standing::Failed,
                };
                checks.add("issuer", standing, expected, found);
            }
        }
    }

    /// The rest, in the order that [`TokenVerifier::verify`] has.
    fn explain_claims(&self, checks: &mut Checks, claims: &Value, now: SystemTime) {
        let rules = &self.rules;
        let skew = match rules.clock_skew {
            none if none.is_zero() => String::new(),
            skew => format!(", with {} of clock skew", length(skew)),
        };
        for (name, claim, side) in [("expiration", "exp", "after"), ("not-before", "nbf", "at or before")] {
            let own = claims.get(claim).cloned();
            let own: Map<String, Value> = own.map(|value| (claim.to_owned(), value)).into_iter().collect();
            let lifetime = Lifetime::read(&Value::Object(own));
            let time = lifetime.as_ref().ok().and_then(|lifetime| lifetime.expires.or(lifetime.starts));
            let result = lifetime.and_then(|lifetime| match claim {
                "exp" if rules.require_expiration && time.is_none() => Err(TokenError::ExpirationMissing),
                _ => lifetime.check(now, rules.clock_skew),
            });
            let optional = if claim == "nbf" || !rules.require_expiration { ", if at all" } else { "" };
            let expected = format!("{side} {}{skew}{optional}", date(&now));
            checks.judge(name, &result, expected, time.as_ref().map_or_else(|| "(none)".to_owned(), date));
        }
        let result = claims::check_audience(claims, &rules.audiences);
        checks.judge(
            "audience",
            &result,
            one_of(texts(&rules.audiences)),
            claims.get("aud").map_or_else(|| "(none)".to_owned(), shown),
        );
        for required in &rules.required_claims {
            let result = claims::check_required(claims, std::slice::from_ref(required));
            let expected = match (required.matching, &*required.values) {
                (_, []) => "any value".to_owned(),
                (Match::All, [_, _, ..]) => format!("all of {}", claims::list(texts(&required.values))),
                _ => one_of(texts(&required.values)),
            };
            let found = claims.get(&*required.name).filter(|value| !value.is_null());
            let found = found.map(|value| claims::values(value, required.separator.as_deref()));
            let found = found.map_or_else(|| "(none)".to_owned(), |all| claims::list(all.iter().map(|value| &**value)));
            checks.judge("claim", &result, expected, found);
            if let Some(check) = checks.0.last_mut() {
                check.claim = Some(Arc::clone(&required.name));
            }
        }
        if !rules.clients.is_empty() {
            let result = claims::check_client(claims, &rules.clients);
            let expected = one_of(texts(&rules.clients));
            let found = ["azp", "appid"].iter().find_map(|name| claims.get(*name));
            checks.judge("client", &result, expected, found.map_or_else(|| "(none)".to_owned(), shown));
        }
        if let Some(permission) = &rules.permission {
            let result = claims::check_permission(claims, permission);
            let (mut expected, mut found) = (Vec::new(), Vec::new());
            for (claim, wanted, separator) in
                [("scp", &permission.scopes, Some(" ")), ("roles", &permission.roles, None)]
            {
                if !wanted.is_empty() {
                    expected.push(format!("{} in `{claim}`", one_of(texts(wanted))));
                }
                let held = claims.get(claim).map(|value| claims::values(value, separator)).unwrap_or_default();
                found.push(format!("`{claim}` {}", claims::list(held.iter().map(|value| &**value))));
            }
            checks.judge("permission", &result, expected.join(", or "), found.join(", "));
        }
    }
}

fn texts(names: &[Arc<str>]) -> impl Iterator<Item = &str> + Clone {
    names.iter().map(|name| &**name)
}

/// `one of` several names, or the only one.
fn one_of<'a>(names: impl Iterator<Item = &'a str> + Clone) -> String {
    let several = names.clone().nth(1).is_some();
    format!("{}{}", if several { "one of " } else { "" }, claims::list(names))
}

/// A claim that is text or a list of texts.
fn shown(value: &Value) -> String {
    let values = claims::values(value, None);
    claims::list(values.iter().map(|value| &**value))
}

#[cfg(test)]
mod tests;
