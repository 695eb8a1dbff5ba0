//! What becomes of a token: policy by policy, and all in all.

use std::sync::Arc;
use std::time::SystemTime;

use http::StatusCode;
use serde_json::Value;

use super::Way;
use crate::cli::token::decode::Decoded;
use crate::identity::{Check, Explanation, Standing, TokenError};
use crate::pipeline::{Grants, Origin, TokenCheck, TokenDemand};

/// What can be said of a token all in all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It passes, whatever the request.
    Accepted,
    /// A policy that runs only for some requests refuses it.
    Depends,
    /// Keys are missing, and nothing else is wrong.
    Unknown,
    /// A policy that always runs refuses it.
    Refused,
}

impl Verdict {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Depends => "depends",
            Self::Unknown => "unknown",
            Self::Refused => "refused",
        }
    }

    fn worst(verdicts: impl Iterator<Item = Self>) -> Self {
        verdicts.max_by_key(|verdict| *verdict as u8).unwrap_or(Self::Accepted)
    }

    pub(super) fn of_all(judged: &[Judged]) -> Self {
        Self::worst(judged.iter().map(|one| one.verdict))
    }
}

/// Operations that put a token to the same checks, and what becomes of it.
pub(super) struct Judged {
    pub(super) api: Arc<str>,
    pub(super) operations: Vec<Arc<str>>,
    pub(super) product: Option<Arc<str>>,
    pub(super) policies: Vec<Policy>,
    pub(super) verdict: Verdict,
}

/// One policy.
pub(super) struct Policy {
    pub(super) origin: Arc<Origin>,
    /// Whether it runs only for some requests.
    pub(super) conditional: bool,
    /// Where it looks for the token.
    pub(super) place: Option<Arc<str>>,
    pub(super) checks: Vec<Check>,
    /// What it answers, when it does not let the token pass.
    pub(super) refusal: Option<Refusal>,
}

/// A policy's answer.
pub(super) struct Refusal {
    /// None when it depends on the request.
    pub(super) status: Option<StatusCode>,
    /// None when it cannot be known, for want of keys.
    pub(super) reason: Option<&'static str>,
    /// Why.
    pub(super) cause: String,
    /// Whether only keys are missing, so that another gateway, or this one at another time, may say otherwise.
    pub(super) open: bool,
}

impl Policy {
    pub(super) fn verdict(&self) -> Verdict {
        match &self.refusal {
            None => Verdict::Accepted,
            Some(_) if self.conditional => Verdict::Depends,
            Some(refusal) if refusal.open => Verdict::Unknown,
            Some(_) => Verdict::Refused,
        }
    }
}

/// Puts a token to all checks of a way.
pub(super) fn judge(way: &Way, token: &str, decoded: Option<&Decoded>, now: SystemTime) -> Judged {
    // What a token grants is looked at even when nobody vouches for it, so that all mistakes show at once.
    let claims = decoded.and_then(|decoded| decoded.claims.clone()).map_or(Value::Null, Value::Object);
    let mut verified = false;
    let policies: Vec<Policy> =
        way.checks.iter().map(|check| policy(check, token, &claims, now, &mut verified)).collect();
    let verdict = Verdict::worst(policies.iter().map(Policy::verdict));
    let (api, operations, product) = (way.api.clone(), way.operations.clone(), way.product.clone());
    Judged { api, operations, product, policies, verdict }
}

/// `verified`: whether a policy before this one verifies the token.
fn policy(check: &TokenCheck, token: &str, claims: &Value, now: SystemTime, verified: &mut bool) -> Policy {
    let (checks, refusal, place) = match &check.demand {
        TokenDemand::Valid { verifier, status, place } => {
            let Explanation { result, checks } = verifier.explain(token, now);
            let refusal = result.err().map(|error| {
                let failed = checks.iter().find(|check| check.standing == Standing::Failed);
                match (&error, failed) {
                    // With keys or without, this one fails.
                    (TokenError::KeysUnavailable { .. }, Some(Check { name, found, expected, .. })) => {
                        let cause = format!("{name} is {found}, expected {expected}");
                        Refusal { status: *status, reason: None, cause, open: false }
                    }
                    _ => Refusal {
                        status: *status,
                        reason: Some(error.reason()),
                        cause: error.to_string(),
                        open: matches!(error, TokenError::KeysUnavailable { .. }),
                    },
                }
            });
            *verified = true;
            (checks, refusal, Some(place.clone()))
        }
        TokenDemand::Rules => {
            let (expected, found) =
                ("a rule that allows the request".to_owned(), "no request to try them with".to_owned());
            (vec![Check { name: "rules", claim: None, standing: Standing::Open, expected, found }], None, None)
        }
        TokenDemand::Grants(_) if !*verified => {
            let (expected, found) = ("by a policy before this one".to_owned(), "by none".to_owned());
            let check = Check { name: "verified", claim: None, standing: Standing::Failed, expected, found };
            let refusal = Refusal {
                status: Some(StatusCode::UNAUTHORIZED),
                reason: Some(TokenError::NotPresent.reason()),
                cause: "no policy before this one verifies the token".to_owned(),
                open: false,
            };
            (vec![check], Some(refusal), None)
        }
        TokenDemand::Grants(grants) => {
            let (check, refusal) = granted(&**grants, claims);
            (vec![check], refusal, None)
        }
    };
    let origin = check.origin.clone();
    // Of the policies with policies inside, `choose` is the one that does not run all of them.
    let conditional = origin.path.split('/').any(|part| part.starts_with("when[") || part.starts_with("otherwise"));
    Policy { origin, conditional, place, checks, refusal }
}

fn granted(grants: &dyn Grants, claims: &Value) -> (Check, Option<Refusal>) {
    let (expected, found) = grants.describe(claims);
    let refusal = grants.check(claims).err().map(|fault| Refusal {
        status: Some(fault.status),
        reason: Some(fault.reason),
        cause: fault.message.trim_end_matches('.').to_owned(),
        open: false,
    });
    let standing = if refusal.is_some() { Standing::Failed } else { Standing::Passed };
    (Check { name: "granted", claim: None, standing, expected, found }, refusal)
}
