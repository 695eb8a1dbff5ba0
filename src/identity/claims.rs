//! What a token claims, checked: lifetime, issuer, audience, and the claims that configuration requires.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use super::entra::{Membership, Tenants};
use super::token_error::TokenError;

/// How many of a required claim's values the token must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Match {
    /// Every one.
    #[default]
    All,
    /// At least one.
    Any,
}

/// A claim that a token must hold.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RequiredClaim {
    /// The name of the claim.
    pub name: Arc<str>,
    /// The values to find; with none, the claim need only be present.
    pub values: Vec<Arc<str>>,
    /// How many of them.
    pub matching: Match,
    /// Splits the claim's text into values (`scp` is separated by spaces).
    pub separator: Option<Arc<str>>,
}

impl RequiredClaim {
    /// The scopes that it asks for, when it is about scopes, as a challenge names them (RFC 6750 §3).
    fn scope(&self) -> Option<Arc<str>> {
        (matches!(&*self.name, "scp" | "scope")).then(|| scope_list(&self.values)).flatten()
    }
}

/// What a token must be allowed to do: as an application for a person (`scp`, delegated) or by itself (`roles`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Permission {
    /// One of these in the space-separated `scp`, or
    pub scopes: Vec<Arc<str>>,
    /// one of these in `roles`.
    pub roles: Vec<Arc<str>>,
}

/// Scopes as RFC 6750 §3 writes them, when all of them can stand there.
fn scope_list(scopes: &[Arc<str>]) -> Option<Arc<str>> {
    let plain = |scope: &Arc<str>| {
        !scope.is_empty() && scope.bytes().all(|byte| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e))
    };
    (!scopes.is_empty() && scopes.iter().all(plain)).then(|| scopes.join(" ").into())
}

/// `exp` and `nbf`, as far as the token has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    pub(super) expires: Option<SystemTime>,
    pub(super) starts: Option<SystemTime>,
}

impl Lifetime {
    pub(super) fn read(claims: &Value) -> Result<Self, TokenError> {
        Ok(Self { expires: numeric_date(claims, "exp")?, starts: numeric_date(claims, "nbf")? })
    }

    /// RFC 7519 §4.1.4: the time must be *before* `exp`; §4.1.5: at or after `nbf`.
    pub(super) fn check(self, now: SystemTime, skew: Duration) -> Result<(), TokenError> {
        if let Some(expires) = self.expires
            && expires.checked_add(skew).is_some_and(|end| now >= end)
        {
            return Err(TokenError::Expired { expired: expires, now, skew });
        }
        if let Some(from) = self.starts
            && now.checked_add(skew).is_some_and(|now| now < from)
        {
            return Err(TokenError::NotYetValid { from, now, skew });
        }
        Ok(())
    }
}

/// RFC 7519 §2: seconds since 1970, not necessarily whole.
fn numeric_date(claims: &Value, claim: &'static str) -> Result<Option<SystemTime>, TokenError> {
    let Some(value) = claims.get(claim) else { return Ok(None) };
    value
        .as_f64()
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .and_then(|since| UNIX_EPOCH.checked_add(since))
        .map(Some)
        .ok_or(TokenError::ClaimMalformed { claim, expected: "a number of seconds since 1970" })
}

/// Whom a key may speak for, besides the issuers that the rules list.
#[derive(Clone, Copy, Debug)]
pub(super) enum Speaker<'a> {
    /// Anyone, when the rules list nobody.
    Unbound,
    /// One issuer.
    Issuer(&'a str),
    /// Tenants of Entra ID: those of the source, and of the key when it is one tenant's.
    Tenants { issuer: &'a str, tenants: &'a Tenants, of_key: Option<&'a str> },
}

impl<'a> Speaker<'a> {
    pub(super) fn of(issuer: Option<&'a Arc<str>>) -> Self {
        issuer.map_or(Self::Unbound, |issuer| Self::Issuer(issuer))
    }

    /// The issuer for a message.
    pub(super) fn issuer(self) -> Option<&'a str> {
        match self {
            Self::Unbound => None,
            Self::Issuer(issuer) | Self::Tenants { issuer, .. } => Some(issuer),
        }
    }
}

pub(super) fn check_issuer(claims: &Value, configured: &[Arc<str>], speaker: Speaker<'_>) -> Result<(), TokenError> {
    let issuer = match claims.get("iss") {
        None => None,
        Some(Value::String(issuer)) => Some(issuer.as_str()),
        Some(_) => return Err(TokenError::ClaimMalformed { claim: "iss", expected: "a string" }),
    };
    if issuer.is_some_and(|issuer| configured.iter().any(|name| **name == *issuer)) {
        return Ok(());
    }
    match speaker {
        Speaker::Unbound if configured.is_empty() => return Ok(()),
        Speaker::Issuer(name) if issuer == Some(name) => return Ok(()),
        Speaker::Tenants { issuer, tenants, of_key } => {
            let tenant = claims.get("tid").and_then(Value::as_str);
            let foreign = of_key.is_some_and(|own| tenant.is_none_or(|tenant| !tenant.eq_ignore_ascii_case(own)));
            match tenants.membership(issuer, claims) {
                Membership::Allowed if !foreign => return Ok(()),
                Membership::OtherIssuer => {}
                Membership::Allowed | Membership::OtherTenant => {
                    let names = tenants.names().iter().map(|name| &**name);
                    let expected = of_key.filter(|_| foreign).map_or_else(|| list(names), |own| list([own]));
                    return Err(TokenError::TenantNotAllowed { expected, found: list(tenant) });
                }
            }
        }
        Speaker::Unbound | Speaker::Issuer(_) => {}
    }
    Err(issuer_not_allowed(claims, configured.iter().map(|issuer| &**issuer).chain(speaker.issuer())))
}

pub(super) fn issuer_not_allowed<'a>(claims: &Value, expected: impl IntoIterator<Item = &'a str>) -> TokenError {
    TokenError::IssuerNotAllowed { expected: list(expected), found: list(claims.get("iss").and_then(Value::as_str)) }
}

pub(super) fn check_audience(claims: &Value, allowed: &[Arc<str>]) -> Result<(), TokenError> {
    let malformed = TokenError::ClaimMalformed { claim: "aud", expected: "a string or an array of strings" };
    let found: Vec<&str> = match claims.get("aud") {
        None => Vec::new(),
        Some(Value::String(audience)) => vec![audience],
        Some(Value::Array(audiences)) => audiences.iter().map(Value::as_str).collect::<Option<_>>().ok_or(malformed)?,
        Some(_) => return Err(malformed),
    };
    if found.iter().any(|audience| allowed.iter().any(|name| **name == **audience)) {
        return Ok(());
    }
    Err(TokenError::AudienceNotAllowed { expected: list(allowed.iter().map(|name| &**name)), found: list(found) })
}

pub(super) fn check_required(claims: &Value, required: &[RequiredClaim]) -> Result<(), TokenError> {
    let value_of = |claim: &RequiredClaim| claims.get(&*claim.name).filter(|value| !value.is_null());
    let missing: Vec<&str> =
        required.iter().filter(|claim| value_of(claim).is_none()).map(|claim| &*claim.name).collect();
    if !missing.is_empty() {
        let scope = required.iter().filter(|claim| value_of(claim).is_none()).find_map(RequiredClaim::scope);
        return Err(TokenError::ClaimNotFound { names: missing.join(", "), scope });
    }
    for claim in required {
        let found = value_of(claim).map(|value| values(value, claim.separator.as_deref())).unwrap_or_default();
        let mut wanted = claim.values.iter().map(|value| found.iter().any(|found| **found == **value));
        let satisfied = match claim.matching {
            _ if claim.values.is_empty() => true,
            Match::All => wanted.all(|held| held),
            Match::Any => wanted.any(|held| held),
        };
        if !satisfied {
            let quantity = if claim.matching == Match::All { "all" } else { "one" };
            return Err(TokenError::ClaimValueNotAllowed {
                claim: Arc::clone(&claim.name),
                expected: format!("{quantity} of {}", list(claim.values.iter().map(|value| &**value))),
                found: list(found.iter().map(|found| &**found)),
                scope: claim.scope(),
            });
        }
    }
    Ok(())
}

/// The application that asked for the token: `azp` in version 2 of Entra ID's tokens, `appid` in version 1.
pub(super) fn check_client(claims: &Value, allowed: &[Arc<str>]) -> Result<(), TokenError> {
    let Some((claim, found)) = ["azp", "appid"].iter().find_map(|name| Some((*name, claims.get(*name)?))) else {
        return Err(TokenError::ClaimNotFound { names: "azp".to_owned(), scope: None });
    };
    let known = |found: &str| allowed.iter().any(|name| name.eq_ignore_ascii_case(found));
    if found.as_str().is_some_and(known) {
        return Ok(());
    }
    Err(TokenError::ClaimValueNotAllowed {
        claim: claim.into(),
        expected: format!("one of {}", list(allowed.iter().map(|name| &**name))),
        found: list([&*text(found)]),
        scope: None,
    })
}

pub(super) fn check_permission(claims: &Value, permission: &Permission) -> Result<(), TokenError> {
    let Permission { scopes, roles } = permission;
    let held = |name: &str, separator| claims.get(name).map(|claim| values(claim, separator)).unwrap_or_default();
    let (scp, own) = (held("scp", Some(" ")), held("roles", None));
    let any = |wanted: &[Arc<str>], found: &[Cow<'_, str>]| {
        wanted.iter().any(|wanted| found.iter().any(|found| **found == **wanted))
    };
    if any(scopes, &scp) || any(roles, &own) {
        return Ok(());
    }
    let show = |found: &[Cow<'_, str>]| list(found.iter().map(|found| &**found));
    let want = |wanted: &[Arc<str>]| list(wanted.iter().map(|wanted| &**wanted));
    let mut missing = Vec::new();
    if !scopes.is_empty() {
        missing.push(format!("`scp` is {}, expected one of {}", show(&scp), want(scopes)));
    }
    if !roles.is_empty() {
        missing.push(format!("`roles` is {}, expected one of {}", show(&own), want(roles)));
    }
    Err(TokenError::PermissionMissing { what: missing.join(", and "), scope: scope_list(scopes) })
}

/// The values of a claim: the elements of an array, the parts of a separated text, or the one value.
pub(super) fn values<'a>(claim: &'a Value, separator: Option<&str>) -> Vec<Cow<'a, str>> {
    match claim {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::String(joined) => match separator.filter(|separator| !separator.is_empty()) {
            Some(separator) => joined.split(separator).filter(|part| !part.is_empty()).map(Cow::Borrowed).collect(),
            None => vec![Cow::Borrowed(joined)],
        },
        other => vec![text(other)],
    }
}

fn text(value: &Value) -> Cow<'_, str> {
    match value {
        Value::String(text) => Cow::Borrowed(text),
        other => Cow::Owned(other.to_string()),
    }
}

/// Names in a message: at most eight of them, none longer than 200 characters.
pub(super) fn list<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let mut shown: Vec<String> = names
        .by_ref()
        .take(8)
        .map(|name| {
            let short: String = name.chars().take(200).flat_map(char::escape_debug).collect();
            format!("`{short}`")
        })
        .collect();
    match names.count() {
        0 if shown.is_empty() => return "(none)".to_owned(),
        0 => {}
        more => shown.push(format!("and {more} more")),
    }
    shown.join(", ")
}
