//! All that is wrong with a token shows at once, and nothing that is not.

use std::time::{Duration, UNIX_EPOCH};

use jsonwebtoken::Algorithm as Signing;
use serde_json::json;

use super::super::super::test_support::{SECRET, Signer};
use super::*;
use crate::clock::Clock;
use crate::identity::claims::{Permission, RequiredClaim};
use crate::identity::{KeyLocation, RemoteKeys, RemoteKeysOptions, TokenRules, VerificationKey};

const NOW: u64 = 1_767_225_600;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn verifier() -> TokenVerifier {
    let scp = RequiredClaim {
        name: "scp".into(),
        values: vec!["orders.read".into(), "orders.write".into()],
        matching: Match::Any,
        separator: Some(" ".into()),
    };
    let rules = TokenRules {
        audiences: vec!["api://orders".into()],
        issuers: vec!["https://issuer".into()],
        clock_skew: Duration::from_secs(30),
        required_claims: vec![scp],
        clients: vec!["11111111-1111-1111-1111-111111111111".into()],
        permission: Some(Permission { scopes: vec!["access_as_user".into()], roles: vec!["Orders.Read.All".into()] }),
        ..TokenRules::default()
    };
    let keys = KeySet::new(vec![VerificationKey::from_secret(SECRET).unwrap().with_id("secret")]);
    TokenVerifier::new(rules, keys, Vec::new(), Arc::default()).unwrap()
}

/// A line for each check.
fn lines(explanation: &Explanation) -> String {
    let line = |check: &Check| {
        let mark = match check.standing {
            Standing::Passed => "ok",
            Standing::Failed => "FAILED",
            Standing::Open => "open",
        };
        let claim = check.claim.as_ref().map(|claim| format!(" {claim}")).unwrap_or_default();
        format!("{mark} {}{claim}: {} | {}\n", check.name, check.expected, check.found)
    };
    explanation.checks.iter().map(line).collect()
}

fn signer() -> Signer {
    Signer::secret(SECRET, Signing::HS256)
}

#[test]
fn a_good_token_passes_every_check() {
    let claims = json!({
        "iss": "https://issuer", "aud": ["x", "api://orders"], "exp": NOW + 60, "nbf": NOW,
        "azp": "11111111-1111-1111-1111-111111111111", "scp": "orders.read access_as_user",
    });
    let explanation = verifier().explain(&signer().token(Some("secret"), &claims), now());
    assert!(explanation.result.is_ok());
    let want = "\
ok form: a signed token of three parts | three parts, 321 bytes
ok algorithm: one of `HS256`, `HS384`, `HS512` | `HS256`
ok key: one of `secret` of the configuration | `kid` `secret`
ok signature: made by that key for this content | valid
ok issuer: `https://issuer` | `https://issuer`
ok expiration: after 2026-01-01T00:00:00Z, with 30s of clock skew | 2026-01-01T00:01:00Z
ok not-before: at or before 2026-01-01T00:00:00Z, with 30s of clock skew, if at all | 2026-01-01T00:00:00Z
ok audience: `api://orders` | `x`, `api://orders`
ok claim scp: one of `orders.read`, `orders.write` | `orders.read`, `access_as_user`
ok client: `11111111-1111-1111-1111-111111111111` | `11111111-1111-1111-1111-111111111111`
ok permission: `access_as_user` in `scp`, or `Orders.Read.All` in `roles` | `scp` `orders.read`, `access_as_user`, `roles` (none)
";
    assert_eq!(lines(&explanation), want);
}

#[test]
fn all_that_is_wrong_shows_at_once() {
    let claims = json!({ "iss": 7, "aud": "api://invoices", "exp": NOW - 30, "nbf": "soon", "appid": "nobody" });
    let forged = signer().sign(r#"{"alg":"HS256"}"#, "[1]");
    let changed = format!("{}=", &signer().token(Some("old"), &claims));
    for (token, want) in [
        (
            signer().token(Some("secret"), &claims),
            "\
ok form: a signed token of three parts | three parts, 207 bytes
ok algorithm: one of `HS256`, `HS384`, `HS512` | `HS256`
ok key: one of `secret` of the configuration | `kid` `secret`
ok signature: made by that key for this content | valid
FAILED issuer: `https://issuer` | claim `iss` is not a string
FAILED expiration: after 2026-01-01T00:00:00Z, with 30s of clock skew | 2025-12-31T23:59:30Z
FAILED not-before: at or before 2026-01-01T00:00:00Z, with 30s of clock skew, if at all | claim `nbf` is not a number of seconds since 1970
FAILED audience: `api://orders` | `api://invoices`
FAILED claim scp: one of `orders.read`, `orders.write` | (none)
FAILED client: `11111111-1111-1111-1111-111111111111` | `nobody`
FAILED permission: `access_as_user` in `scp`, or `Orders.Read.All` in `roles` | `scp` (none), `roles` (none)
",
        ),
        (
            forged,
            "FAILED form: a signed token: three parts in base64url, at most 16384 bytes | the token is malformed: the payload is \
             not a JSON object\n",
        ),
        (
            changed,
            "FAILED form: a signed token: three parts in base64url, at most 16384 bytes | the token is malformed: the signature \
             is not base64url\n",
        ),
        (
            "a.b.c.d.e".to_owned(),
            "FAILED form: a signed token: three parts in base64url, at most 16384 bytes | the token is encrypted (JWE, five \
             parts); only signed tokens (three parts) are supported\n",
        ),
    ] {
        let explanation = verifier().explain(&token, now());
        assert!(explanation.result.is_err(), "{token}");
        assert_eq!(lines(&explanation), want, "{token}");
    }
}

#[test]
fn keys_and_signatures_are_told_apart() {
    let claims = json!({ "iss": "https://issuer", "aud": "api://orders", "exp": NOW + 60 });
    let good = signer().token(Some("secret"), &claims);
    let (signed, _) = good.rsplit_once('.').unwrap();
    for (name, token, want) in [
        ("another key", format!("{signed}.AAAA"), "ok key|FAILED signature"),
        ("an unknown key", signer().token(Some("new"), &claims), "FAILED key|open signature"),
        ("another algorithm", Signer::p256().token(None, &claims), "FAILED algorithm|open key|open signature"),
        ("unsigned", signer().sign(r#"{"alg":"none"}"#, "{}"), "FAILED algorithm|open key|open signature"),
        (
            "an extension",
            signer().sign(r#"{"alg":"HS256","crit":["x"]}"#, "{}"),
            "FAILED critical-header|ok key|ok signature",
        ),
    ] {
        let explanation = verifier().explain(&token, now());
        let text = lines(&explanation);
        let of_keys = ["algorithm", "critical-header", "key", "signature"];
        let found: Vec<&str> = text
            .lines()
            .map(|line| line.split_once(':').map_or(line, |(check, _)| check))
            .filter(|check| of_keys.iter().any(|name| check.ends_with(&format!(" {name}"))) && *check != "ok algorithm")
            .collect();
        assert_eq!(found.join("|"), want, "{name}: {text}");
    }
}

#[test]
fn without_fetched_keys_nothing_is_said_of_the_signature() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let location = KeyLocation::Discovery("https://issuer.test/.well-known/openid-configuration".to_owned());
    let remote =
        RemoteKeys::new(location, RemoteKeysOptions::default(), Clock::manual(), runtime.handle().clone()).unwrap();
    let rules = TokenRules { audiences: vec!["api".into()], ..TokenRules::default() };
    let verifier = TokenVerifier::new(rules, KeySet::default(), vec![remote.into()], Arc::default()).unwrap();
    let claims = json!({ "iss": "https://issuer.test", "aud": "api", "exp": NOW + 60 });
    let explanation = verifier.explain(&Signer::rsa_a(Signing::RS256).token(Some("a"), &claims), now());
    assert!(matches!(explanation.result, Err(TokenError::KeysUnavailable { cause: None })));
    let standing = |name: &str| explanation.checks.iter().find(|check| check.name == name).unwrap().standing;
    assert_eq!(["key", "signature", "issuer"].map(standing), [Standing::Open; 3]);
    assert_eq!(["form", "algorithm", "expiration", "audience"].map(standing), [Standing::Passed; 4]);
}
