//! What tokens cost: one seen before, one verified, and a whole request with one seen before beside a request without.

mod support;

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, criterion_group, criterion_main};
use http::{Request, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;
use sluicegate::body::Body;
use sluicegate::clock::Clock;
use sluicegate::identity::{KeySet, TokenCache, TokenRules, TokenVerifier, VerificationKey};

macro_rules! fixture {
    ($name:literal) => {
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/keys/", $name))
    };
}

fn verifier(remembered: usize) -> TokenVerifier {
    let rules = TokenRules {
        audiences: vec!["api://orders".into()],
        issuers: vec!["https://issuer.test/v2.0".into()],
        ..TokenRules::default()
    };
    let key = |text: &str, id: &str| VerificationKey::from_pem(text).expect("a fixture").with_id(id);
    let keys = vec![key(fixture!("rsa-a.pub.pem"), "rsa"), key(fixture!("p256.pub.pem"), "p256")];
    TokenVerifier::new(rules, KeySet::new(keys), Vec::new(), Arc::new(TokenCache::new(remembered)))
        .expect("rules and keys that fit")
}

/// The size of an access token of Entra ID: about 1.5 KiB.
fn token(algorithm: Algorithm, kid: &str, key: &EncodingKey) -> String {
    let claims = json!({
        "aud": "api://orders", "iss": "https://issuer.test/v2.0", "exp": 4_102_444_800_u64, "nbf": 1_767_225_000_u64,
        "scp": "access_as_user", "sub": "s".repeat(43), "oid": "0".repeat(36), "tid": "1".repeat(36),
        "roles": ["Orders.Read", "Orders.Write"], "padding": "p".repeat(450),
    });
    let header = Header { kid: Some(kid.to_owned()), ..Header::new(algorithm) };
    encode(&header, &claims, key).expect("a fixture")
}

fn tokens(criterion: &mut Criterion) {
    let now = Clock::manual().wall();
    let rsa = EncodingKey::from_rsa_pem(fixture!("rsa-a.pem").as_bytes()).expect("a fixture");
    let p256 = EncodingKey::from_ec_pem(fixture!("p256.pem").as_bytes()).expect("a fixture");
    let rs256 = token(Algorithm::RS256, "rsa", &rsa);
    let es256 = token(Algorithm::ES256, "p256", &p256);
    let (remembering, forgetful) = (verifier(10_000), verifier(0));
    remembering.verify(&rs256, now).expect("a good token");
    let mut group = criterion.benchmark_group("token");
    group.bench_function("remembered", |b| b.iter(|| remembering.verify(black_box(&rs256), now).is_ok()));
    group.bench_function("RS256", |b| b.iter(|| forgetful.verify(black_box(&rs256), now).is_ok()));
    group.bench_function("ES256", |b| b.iter(|| forgetful.verify(black_box(&es256), now).is_ok()));
    group.finish();
}

/// The bar is 3 µs over no authentication.
fn requests(criterion: &mut Criterion) {
    let rsa = EncodingKey::from_rsa_pem(fixture!("rsa-a.pem").as_bytes()).expect("a fixture");
    let token = format!("Bearer {}", token(Algorithm::RS256, "rsa", &rsa));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let policy = format!(
        "[[inbound]]\npolicy = \"validate-jwt\"\naudiences = [\"api://orders\"]\nkeys = [{{ id = \"rsa\", pem = \"\"\"{}\"\"\" }}]\n",
        fixture!("rsa-a.pub.pem"),
    );
    let more = "claims-to-headers = { x-user = \"oid\", x-scopes = \"scp\" }\nforward-token = false\n";
    let mut group = criterion.benchmark_group("request");
    for (name, policies) in [
        ("without authentication", String::new()),
        ("with a token seen before", policy.clone()),
        ("with a token seen before, its claims to headers", policy + more),
    ] {
        let gateway = support::gateway(&runtime, &policies);
        let pipeline = gateway.operations[0].pipeline.clone();
        let serve = || {
            let exchange = support::exchange(&gateway);
            let request = Request::get("/1").header("authorization", &token).body(Body::Empty).expect("a request");
            runtime.block_on(pipeline.serve(&exchange, Box::new(request)))
        };
        assert_eq!(serve().status(), StatusCode::OK, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(serve())));
    }
    group.finish();
}

criterion_group!(benches, tokens, requests);
criterion_main!(benches);
