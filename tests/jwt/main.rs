//! Tokens as a caller of the gateway sees them: over real HTTP, with keys from an issuer on a loopback socket that behaves as
//! badly as it is told.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod entra;
mod issuer;
mod log;
#[path = "../support/mod.rs"]
mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use issuer::{Answer, Issuer, RSA_A, Signer, encode};
use jsonwebtoken::{Algorithm, EncodingKey};
use serde_json::{Value, json};
use support::backend::Backend;
use support::gateway::Gateway;
use support::wire::{Message, PATIENCE};

/// What the clock of the gateway shows first: 2026-01-01T00:00:00Z.
const NOW: u64 = 1_767_225_600;

struct Setup {
    issuer: Arc<Issuer>,
    gateway: Gateway,
    backend: Backend,
}

impl Setup {
    fn new(answer: Answer) -> Self {
        let issuer = Issuer::start(answer);
        Self::of(issuer, "")
    }

    fn of(issuer: Arc<Issuer>, options: &str) -> Self {
        let discovery = format!("openid-config = \"{}/.well-known/openid-configuration\"\n{options}", issuer.name());
        let policy = r#"
            policy    = "validate-jwt"
            issuer    = "idp"
            audiences = ["orders"]
        "#;
        Self::with(issuer, &format!("[issuers.idp]\n{discovery}"), policy, 1)
    }

    /// With an issuer's table and a policy's, and a number of key sets that the gateway fetches as it starts.
    fn with(issuer: Arc<Issuer>, table: &str, policy: &str, sets: usize) -> Self {
        let backend = Backend::start();
        let gateway = format!("[backends.upstream]\nurl = \"http://{}\"\n{table}", backend.address);
        let orders = format!(
            r#"
            [api]
            name    = "orders"
            path    = "/orders"
            backend = "upstream"

            [[inbound]]
            {policy}

            [[on-error]]
            policy = "set-header"
            name   = "x-reason"
            value  = "@{{lastError().reason}}"

            [[operation]]
            name  = "List"
            match = "GET /"
            "#
        );
        let files = [("gateway.toml".to_owned(), gateway), ("orders.toml".to_owned(), orders)].to_vec();
        // The gateway fetches by itself as it starts. A token that came first would use up the one fetch in five minutes
        // that tokens may ask for.
        let (heard, release) = issuer.hold();
        let started = Gateway::start(files, None);
        let gateway = started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics));
        for _ in 0..sets {
            heard.recv_timeout(PATIENCE).unwrap();
            release.send(()).unwrap();
        }
        *issuer.gate.lock().unwrap() = None;
        Self { issuer, gateway, backend }
    }

    fn claims(&self) -> Value {
        json!({ "iss": self.issuer.name(), "aud": "orders", "sub": "ann", "exp": NOW + 7 * 86_400 })
    }

    fn claims_with(&self, name: &str, value: Value) -> Value {
        let mut claims = self.claims();
        claims[name] = value;
        claims
    }

    fn response(&self, token: &str) -> Message {
        let fields = vec![("authorization".to_owned(), format!("Bearer {token}"))];
        let request = Message { first_line: "GET /orders/".to_owned(), fields, body: Vec::new() };
        self.gateway.send(&request).unwrap()
    }

    /// `ok`, or the reason of the refusal.
    #[track_caller]
    fn call(&self, token: &str) -> String {
        let response = self.response(token);
        let reached = !self.backend.take().is_empty();
        match response.first_line.as_str() {
            "HTTP/1.1 200 OK" if reached => "ok".to_owned(),
            "HTTP/1.1 401 Unauthorized" if !reached => response.field("x-reason").unwrap().to_owned(),
            other => panic!("{other}, backend reached: {reached}"),
        }
    }
}

#[test]
fn tokens_are_accepted_and_refused() {
    let (a, b, ec) = (Signer::a(), Signer::b(), Signer::p256());
    let setup = Setup::new(Answer::Keys(vec![a.jwk(), ec.jwk()]));
    let claims = setup.claims();
    let public = include_bytes!("../fixtures/keys/rsa-a.pub.pem");
    let confused = Signer { key: EncodingKey::from_secret(public), algorithm: Algorithm::HS256, kid: "a" };
    let forged = Signer { kid: "a", ..Signer::b() };
    let unsigned = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&claims));
    let tampered = {
        let token = a.sign(&claims);
        let mut parts = token.split('.');
        let (header, _, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
        format!("{header}.{}.{signature}", encode(&setup.claims_with("sub", json!("eve"))))
    };
    struct Case {
        name: &'static str,
        token: String,
        want: &'static str,
    }
    for Case { name, token, want } in [
        Case { name: "RS256", token: a.sign(&claims), want: "ok" },
        Case { name: "PS512", token: Signer::rsa(RSA_A, Algorithm::PS512, "a").sign(&claims), want: "ok" },
        Case { name: "ES256", token: ec.sign(&claims), want: "ok" },
        Case { name: "an unknown key", token: b.sign(&claims), want: "TokenSignatureKeyNotFound" },
        Case { name: "another key under a known id", token: forged.sign(&claims), want: "TokenSignatureInvalid" },
        Case { name: "the public key as a secret", token: confused.sign(&claims), want: "TokenSignatureInvalid" },
        Case { name: "unsigned", token: unsigned, want: "TokenSignatureInvalid" },
        Case { name: "changed", token: tampered, want: "TokenSignatureInvalid" },
        Case {
            name: "one second before its end",
            token: a.sign(&setup.claims_with("exp", json!(NOW + 1))),
            want: "ok",
        },
        Case { name: "at its end", token: a.sign(&setup.claims_with("exp", json!(NOW))), want: "TokenExpired" },
        Case {
            name: "another issuer",
            token: a.sign(&setup.claims_with("iss", json!("https://evil.example"))),
            want: "TokenIssuerNotAllowed",
        },
        Case {
            name: "another audience",
            token: a.sign(&setup.claims_with("aud", json!(["invoices"]))),
            want: "TokenAudienceNotAllowed",
        },
        Case {
            name: "too long",
            token: a.sign(&setup.claims_with("x", json!("x".repeat(16_384)))),
            want: "JwtInvalid",
        },
        Case { name: "no token", token: "abc".to_owned(), want: "JwtInvalid" },
        Case { name: "nothing", token: String::new(), want: "TokenNotPresent" },
    ] {
        assert_eq!(setup.call(&token), want, "{name}");
    }
}

#[test]
fn a_token_that_passed_is_remembered_until_it_ends() {
    let setup = Setup::new(Answer::Keys(vec![Signer::a().jwk()]));
    let token = Signer::a().sign(&setup.claims_with("exp", json!(NOW + 60)));
    assert_eq!([setup.call(&token), setup.call(&token)], ["ok", "ok"]);
    setup.gateway.clock.advance(Duration::from_secs(59));
    assert_eq!(setup.call(&token), "ok");
    setup.gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(setup.call(&token), "TokenExpired");
    assert_eq!(setup.issuer.hits(), 1);
}

#[test]
fn new_keys_are_found_when_a_token_names_them() {
    let setup = Setup::new(Answer::Keys(vec![Signer::a().jwk()]));
    let (old, new) = (Signer::a().sign(&setup.claims()), Signer::b().sign(&setup.claims()));
    assert_eq!(setup.call(&old), "ok");
    setup.issuer.set(Answer::Keys(vec![Signer::b().jwk()]));
    assert_eq!(setup.call(&new), "ok");
    assert_eq!(setup.issuer.hits(), 2);
    assert_eq!(setup.call(&old), "TokenSignatureKeyNotFound", "though it passed before");

    // A token of an unknown key makes the gateway ask once in five minutes, however many there are.
    setup.issuer.set(Answer::Keys(vec![Signer::a().jwk(), Signer::b().jwk()]));
    setup.gateway.clock.advance(Duration::from_secs(299));
    assert_eq!(setup.call(&old), "TokenSignatureKeyNotFound");
    assert_eq!(setup.issuer.hits(), 2);
    setup.gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(setup.call(&old), "ok");
    assert_eq!(setup.issuer.hits(), 3);
}

#[test]
fn an_issuer_that_gives_no_keys_lets_nobody_in() {
    struct Case {
        name: &'static str,
        answer: Answer,
    }
    for Case { name, answer } in [
        Case { name: "down", answer: Answer::Down },
        Case { name: "an error", answer: Answer::Status(503) },
        Case { name: "a redirect", answer: Answer::Redirect },
        Case { name: "too much", answer: Answer::Huge },
        Case { name: "no keys", answer: Answer::Keys(Vec::new()) },
    ] {
        let setup = Setup::new(answer);
        let token = Signer::a().sign(&setup.claims());
        let response = setup.response(&token);
        assert_eq!(response.first_line, "HTTP/1.1 401 Unauthorized", "{name}");
        assert_eq!(response.field("x-reason"), Some("TokenSignatureKeyNotFound"), "{name}");
        // The token may be good, so the challenge does not tell the caller to fetch another one.
        let challenge = "Bearer realm=\"http://gateway.test/orders\"";
        assert_eq!(response.field("www-authenticate"), Some(challenge), "{name}");
        let body = "{ \"statusCode\": 401, \"message\": \"Invalid JWT.\" }";
        assert_eq!(std::str::from_utf8(&response.body).unwrap(), body, "{name}");
        assert_eq!(setup.issuer.strayed.load(Ordering::SeqCst), 0, "{name}");

        // It comes back, and is asked again after a pause that callers cannot shorten.
        setup.issuer.set(Answer::Keys(vec![Signer::a().jwk()]));
        assert_eq!(setup.call(&token), "TokenSignatureKeyNotFound", "{name}");
        setup.gateway.clock.advance(Duration::from_secs(1));
        assert_eq!(setup.call(&token), "ok", "{name}");
    }
}

#[test]
fn keys_serve_through_an_outage_for_a_while() {
    let issuer = Issuer::start(Answer::Keys(vec![Signer::a().jwk()]));
    let setup = Setup::of(issuer, "stale-max = \"2h\"");
    let token = Signer::a().sign(&setup.claims());
    let another = Signer::a().sign(&setup.claims_with("sub", json!("ben")));
    assert_eq!(setup.call(&token), "ok");
    setup.issuer.set(Answer::Down);
    setup.gateway.clock.advance(Duration::from_secs(2 * 3_600 - 1));
    assert_eq!([setup.call(&token), setup.call(&another)], ["ok", "ok"]);
    setup.gateway.clock.advance(Duration::from_secs(1));
    assert_eq!(setup.call(&token), "TokenSignatureKeyNotFound", "though it passed before");
}

#[test]
fn callers_wait_for_one_fetch_together_and_others_do_not_wait() {
    let setup = Setup::new(Answer::Keys(vec![Signer::a().jwk()]));
    let (known, new) = (Signer::a().sign(&setup.claims()), Signer::b().sign(&setup.claims()));
    assert_eq!(setup.call(&known), "ok");
    setup.issuer.set(Answer::Keys(vec![Signer::a().jwk(), Signer::b().jwk()]));
    let (heard, release) = setup.issuer.hold();
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| setup.response(&new).first_line)).collect();
        heard.recv_timeout(PATIENCE).unwrap();
        assert_eq!(setup.response(&known).first_line, "HTTP/1.1 200 OK");
        release.send(()).unwrap();
        for one in waiting {
            assert_eq!(one.join().unwrap(), "HTTP/1.1 200 OK");
        }
    });
    assert_eq!(setup.issuer.hits(), 2);
}
