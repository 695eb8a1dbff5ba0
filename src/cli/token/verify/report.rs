//! How a person and a script read what becomes of a token.

use std::fmt::Write as _;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::judge::{Judged, Policy, Refusal, Verdict};
use crate::cli::token::decode::{clean, date};
use crate::config::render::Style;
use crate::identity::{Check, Standing};

const RED: &str = "1;31";
const GREEN: &str = "1;32";
const YELLOW: &str = "1;33";
const BOLD: &str = "1";

pub(super) fn text(judged: &[Judged], warnings: &[String], style: Style) -> String {
    let mut out = String::new();
    for one in judged {
        let _ = writeln!(out, "{}", style.paint(BOLD, &title(one)));
        if one.policies.is_empty() {
            out.push_str("  no policy looks at tokens\n");
        }
        for policy in &one.policies {
            write_policy(&mut out, policy, style);
        }
        out.push('\n');
    }
    for hint in hints(judged).iter().chain(warnings) {
        let _ = writeln!(out, "{} {}", style.paint(YELLOW, "note:"), clean(hint));
    }
    let several = judged.len() > 1;
    for one in judged {
        let (colour, words) = summary(one);
        let whom = if several { format!("{}: ", title(one)) } else { String::new() };
        let _ = writeln!(out, "{whom}{}{}", style.paint(colour, one.verdict.word()), clean(&words));
    }
    out
}

/// `orders: List, Get, with partners`.
fn title(judged: &Judged) -> String {
    let product = judged.product.as_ref().map(|product| format!(", with product {product}")).unwrap_or_default();
    format!("{}: {}{product}", judged.api, judged.operations.join(", "))
}

fn write_policy(out: &mut String, policy: &Policy, style: Style) {
    let origin = &policy.origin;
    let _ = write!(out, "\n  {}", style.paint(BOLD, origin.policy));
    if let Some(id) = &origin.id {
        let _ = write!(out, " `{id}`");
    }
    let _ = write!(out, " at {} ({})", origin.place, origin.scope);
    if let Some(place) = &policy.place {
        let _ = write!(out, ", token from {place}");
    }
    if policy.conditional {
        let _ = write!(out, ", only for some requests ({})", origin.path);
    }
    out.push('\n');
    let names: Vec<String> = policy.checks.iter().map(name).collect();
    let width = names.iter().map(String::len).max().unwrap_or_default();
    for (check, name) in policy.checks.iter().zip(&names) {
        let (colour, word) = match check.standing {
            Standing::Passed => (GREEN, "ok    "),
            Standing::Failed => (RED, "FAILED"),
            Standing::Open => (YELLOW, "open  "),
        };
        let word = style.paint(colour, word);
        let (found, expected) = (clean(&check.found), clean(&check.expected));
        let _ = writeln!(out, "    {word}  {name:width$}  found     {found}");
        let _ = writeln!(out, "            {:width$}  expected  {expected}", "");
    }
    if let Some(refusal) = &policy.refusal {
        let _ = writeln!(out, "    {} {}: {}", style.paint(RED, "answer"), answer(refusal), clean(&refusal.cause));
    }
}

/// `claim scp`.
fn name(check: &Check) -> String {
    let claim = check.claim.as_ref().map(|claim| format!(" {}", clean(claim))).unwrap_or_default();
    format!("{}{claim}", check.name)
}

/// `401 TokenExpired`.
fn answer(refusal: &Refusal) -> String {
    let status = refusal.status.map(|status| status.as_u16().to_string());
    let words: Vec<&str> = status.as_deref().into_iter().chain(refusal.reason).collect();
    if words.is_empty() { "a status of the request".to_owned() } else { words.join(" ") }
}

/// The colour of a verdict, and why it is so.
fn summary(judged: &Judged) -> (&'static str, String) {
    let first = |wanted: fn(&Policy) -> bool| judged.policies.iter().find(|policy| wanted(policy));
    let why = |policy: Option<&Policy>| {
        policy.and_then(|policy| Some((policy, policy.refusal.as_ref()?))).map_or_else(
            String::new,
            |(policy, refusal)| {
                let answer = answer(refusal);
                format!(" by {} ({}), {answer}: {}", policy.origin.policy, policy.origin.place, refusal.cause)
            },
        )
    };
    let refused = |policy: &Policy| matches!(policy.verdict(), Verdict::Refused | Verdict::Unknown);
    match judged.verdict {
        Verdict::Accepted if judged.policies.is_empty() => (GREEN, ", because no policy looks at tokens".to_owned()),
        Verdict::Accepted => {
            let open =
                judged.policies.iter().find(|policy| policy.checks.iter().any(|it| it.standing == Standing::Open));
            let but = open.map(|policy| {
                let (name, place) = (policy.origin.policy, &policy.origin.place);
                format!(", as far as {name} ({place}) lets the request pass")
            });
            (GREEN, but.unwrap_or_default())
        }
        Verdict::Refused => (RED, why(first(|policy| policy.verdict() == Verdict::Refused))),
        Verdict::Depends => {
            (YELLOW, format!(" on the request, refused{}", why(first(|policy| policy.refusal.is_some()))))
        }
        Verdict::Unknown => {
            let cause = first(refused).and_then(|policy| policy.refusal.as_ref()).map(|refusal| &*refusal.cause);
            (YELLOW, format!(": {}", cause.unwrap_or_default()))
        }
    }
}

/// What people who see such a refusal for the first time do not know.
fn hints(judged: &[Judged]) -> Vec<String> {
    let mut hints: Vec<String> = Vec::new();
    let checks = judged.iter().flat_map(|one| &one.policies).flat_map(|policy| &policy.checks);
    for check in checks.filter(|check| check.standing == Standing::Failed) {
        let bare = |text: &str| text.replace("api://", "");
        let hint = match check.name {
            "audience" if bare(&check.expected).contains(&bare(&check.found)) => {
                "the audience differs in `api://` alone; list both forms in `audiences`, which are compared to the letter"
            }
            "issuer" if check.found.contains("//sts.windows.net/") && check.expected.contains("/v2.0") => {
                "this is a version 1 token of Entra ID: set `requestedAccessTokenVersion` to 2 in the manifest of the API's \
                 registration, or accept both versions"
            }
            "issuer" if check.found.contains("/v2.0") && check.expected.contains("//sts.windows.net/") => {
                "this is a version 2 token of Entra ID: `requestedAccessTokenVersion` in the manifest of the API's registration \
                 decides, or accept both versions"
            }
            "key" if check.found == "no `kid`" => "the token does not say which key signed it (`kid`)",
            _ => continue,
        };
        if !hints.iter().any(|known| known == hint) {
            hints.push(hint.to_owned());
        }
    }
    hints
}

pub(super) fn json(judged: &[Judged], warnings: &[String], now: SystemTime) -> Value {
    let way = |one: &Judged| {
        json!({
            "api": &*one.api,
            "operations": one.operations.iter().map(|name| &**name).collect::<Vec<_>>(),
            "product": one.product.as_deref(),
            "verdict": one.verdict.word(),
            "policies": one.policies.iter().map(policy_json).collect::<Vec<_>>(),
        })
    };
    json!({
        "verdict": Verdict::of_all(judged).word(),
        "at": date(now),
        "results": judged.iter().map(way).collect::<Vec<_>>(),
        "hints": hints(judged),
        "warnings": warnings,
    })
}

fn policy_json(policy: &Policy) -> Value {
    let check = |check: &Check| {
        let standing = match check.standing {
            Standing::Passed => "passed",
            Standing::Failed => "failed",
            Standing::Open => "open",
        };
        json!({
            "check": check.name,
            "claim": check.claim.as_deref(),
            "standing": standing,
            "expected": check.expected,
            "found": check.found,
        })
    };
    let answer = policy.refusal.as_ref().map(|refusal| {
        json!({
            "status": refusal.status.map(|status| status.as_u16()),
            "reason": refusal.reason,
            "cause": refusal.cause,
            "keysMissing": refusal.open,
        })
    });
    let origin = &policy.origin;
    json!({
        "policy": origin.policy,
        "id": origin.id,
        "place": origin.place,
        "scope": origin.scope,
        "path": origin.path,
        "conditional": policy.conditional,
        "tokenFrom": policy.place.as_deref(),
        "checks": policy.checks.iter().map(check).collect::<Vec<_>>(),
        "answer": answer,
    })
}
