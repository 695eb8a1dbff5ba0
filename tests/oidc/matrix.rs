//! What is accepted and what is refused, with which answer: one table for both providers.

use std::time::Duration;

use serde_json::{Value, json};

use super::provider::{Provider, Signer, Wanted, encode};
use super::{Found, Setup, clock};

/// One request.
struct Case {
    name: &'static str,
    path: &'static str,
    /// The values of `Authorization`, one for each field.
    authorization: Vec<String>,
    /// How far the clock goes before it.
    later: Duration,
    want: Found,
}

fn accepted() -> Found {
    Found { status: 200, reason: String::new(), challenge: String::new(), message: String::new() }
}

fn refused(reason: &str, description: &str) -> Found {
    Found {
        status: 401,
        reason: reason.to_owned(),
        challenge: format!("error=\"invalid_token\", error_description=\"{description}\""),
        message: "Invalid JWT.".to_owned(),
    }
}

/// No token came, so the challenge has no error (RFC 6750 §3.1).
fn absent() -> Found {
    let challenge = String::new();
    Found { status: 401, reason: "TokenNotPresent".to_owned(), challenge, message: "JWT not present.".to_owned() }
}

/// The token is good, and more must be consented to (RFC 6750 §3.1).
fn insufficient(reason: &str, scope: &str) -> Found {
    let description = "A required scope is missing";
    let challenge = format!("error=\"insufficient_scope\", error_description=\"{description}\", scope=\"{scope}\"");
    Found { challenge, ..refused(reason, description) }
}

fn cases(provider: &Provider, now: u64) -> Vec<Case> {
    let bearer = |token: String| vec![format!("Bearer {token}")];
    let good = || provider.token(Wanted::Good);
    let at = |name, path, token: String, want| Case {
        name,
        path,
        authorization: bearer(token),
        later: Duration::ZERO,
        want,
    };
    let case = |name, token: String, want| at(name, "/", token, want);
    let with = |name: &str, value: Value| {
        let mut claims = provider.claims(now);
        claims[name] = value;
        provider.key.sign(&claims)
    };
    let claims = provider.claims(now);
    let raw =
        |name, authorization: Vec<String>, want| Case { name, path: "/", authorization, later: Duration::ZERO, want };
    let foreign = Signer::rsa("rsa-b.pem", "unknown").sign(&claims);
    let forged = Signer::rsa("rsa-b.pem", &provider.key.kid).sign(&claims);
    let tampered = {
        let token = good();
        let parts: Vec<&str> = token.split('.').collect();
        let mut claims = claims.clone();
        claims["sub"] = json!("eve");
        format!("{}.{}.{}", parts[0], encode(&claims), parts[2])
    };
    let unsigned = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&claims));
    let mut cases = vec![
        case("client credentials", good(), accepted()),
        case("authorization code with PKCE", provider.token(Wanted::SignedIn), accepted()),
        case("made by hand with the provider's key", provider.key.sign(&claims), accepted()),
        case(
            "wrong audience",
            provider.token(Wanted::OtherAudience),
            refused("TokenAudienceNotAllowed", "The audience is not allowed"),
        ),
        case("no audience", with("aud", Value::Null), refused("JwtInvalid", "The token is malformed")),
        case(
            "wrong issuer",
            with("iss", json!("https://evil.example")),
            refused("TokenIssuerNotAllowed", "The issuer is not allowed"),
        ),
        case(
            "issuer with a slash more",
            with("iss", json!(format!("{}/", provider.issuer))),
            refused("TokenIssuerNotAllowed", "The issuer is not allowed"),
        ),
        case("at its end", with("exp", json!(now)), refused("TokenExpired", "The token expired")),
        case("a second before its end", with("exp", json!(now + 1)), accepted()),
        case("no end", with("exp", Value::Null), refused("JwtInvalid", "The token is malformed")),
        case("not yet valid", with("nbf", json!(now + 1)), refused("JwtInvalid", "The token is not valid yet")),
        case("valid from now on", with("nbf", json!(now)), accepted()),
        case("changed", tampered, refused("TokenSignatureInvalid", "The signature is not valid")),
        case(
            "another key under the provider's id",
            forged,
            refused("TokenSignatureInvalid", "The signature is not valid"),
        ),
        case("unknown key", foreign, refused("TokenSignatureKeyNotFound", "The signature key was not found")),
        case(
            "another algorithm of the provider",
            provider.token(Wanted::OtherAlgorithm),
            refused("TokenSignatureInvalid", "The signature algorithm is not allowed"),
        ),
        case("unsigned", unsigned, refused("TokenSignatureInvalid", "The token is not signed")),
        case(
            "HMAC with the public key",
            Signer::confused(&provider.key.kid).sign(&claims),
            refused("TokenSignatureInvalid", "The signature algorithm is not allowed"),
        ),
        case("encrypted", provider.token(Wanted::Encrypted), refused("JwtInvalid", "The token is encrypted")),
        case("oversized", with("x", json!("x".repeat(16 * 1024))), refused("JwtInvalid", "The token is malformed")),
        case("no token at all", "abc".to_owned(), refused("JwtInvalid", "The token is malformed")),
        raw("missing", vec![], absent()),
        raw("empty", vec![String::new()], absent()),
        raw("a scheme and nothing", vec!["Bearer".to_owned()], absent()),
        raw("another scheme", vec![format!("Basic {}", good())], absent()),
        raw("no scheme", vec![good()], absent()),
        raw("a scheme in another case", vec![format!("bEARER {}", good())], accepted()),
        raw(
            "twice",
            vec![format!("Bearer {}", good()), format!("Bearer {}", good())],
            refused("JwtInvalid", "The token is malformed"),
        ),
        at("the scope", "/scope", good(), accepted()),
        at(
            "no scope",
            "/scope",
            provider.token(Wanted::NoScope),
            insufficient("TokenClaimNotFound", "orders.read orders.admin"),
        ),
        at(
            "another scope",
            "/scope",
            with("scope", json!("orders.reader")),
            insufficient("TokenClaimValueNotAllowed", "orders.read orders.admin"),
        ),
        at("all roles", "/all", good(), accepted()),
        at(
            "all but one role",
            "/all-and-more",
            good(),
            refused("TokenClaimValueNotAllowed", "A required claim has a value that is not allowed"),
        ),
        at("one of the roles", "/any", good(), accepted()),
        at(
            "none of the roles",
            "/none",
            good(),
            refused("TokenClaimValueNotAllowed", "A required claim has a value that is not allowed"),
        ),
        at("values with a separator, and a number", "/separated", good(), accepted()),
        at(
            "values without the separator",
            "/not-separated",
            good(),
            refused("TokenClaimValueNotAllowed", "A required claim has a value that is not allowed"),
        ),
        at(
            "a claim that is not there",
            "/absent",
            good(),
            refused("TokenClaimNotFound", "A required claim is missing"),
        ),
    ];
    // Last, because time does not go back.
    let expired = provider.token(Wanted::Short);
    cases.push(Case { later: Duration::from_secs(55), ..case("just before it is over", expired.clone(), accepted()) });
    let want = refused("TokenExpired", "The token expired");
    cases.push(Case { later: Duration::from_secs(10), ..case("when it is over", expired, want) });
    cases
}

fn run(setup: &Setup, now: u64) {
    let cases = cases(&setup.provider, now);
    for Case { name, path, authorization, later, want } in cases {
        setup.gateway.clock.advance(later);
        let fields = authorization.into_iter().map(|value| ("authorization".to_owned(), value)).collect();
        assert_eq!(setup.ask(path, fields), want, "{name}");
    }
}

fn seconds(clock: &sluicegate::clock::Clock) -> u64 {
    clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn of_a_certified_provider() {
    let clock = clock();
    run(&Setup::new(Provider::node(), clock.clone()), seconds(&clock));
}

#[test]
fn of_the_local_issuer() {
    let clock = clock();
    run(&Setup::new(Provider::local(clock.clone()), clock.clone()), seconds(&clock));
}
