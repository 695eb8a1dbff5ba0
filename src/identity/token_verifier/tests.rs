//! What is accepted and what is refused, check by check, and what is remembered.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm as Signing;
use serde_json::json;

use super::super::test_support::{SECRET, Signer, fixture};
use super::*;
use crate::identity::VerificationKey;

mod claims_table;

const NOW: u64 = 1_767_225_600;

fn at(seconds: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(seconds)
}

fn pem(text: &str) -> VerificationKey {
    VerificationKey::from_pem(text).unwrap()
}

fn keys() -> KeySet {
    KeySet::new(vec![
        pem(fixture!("rsa-a.pub.pem")).with_id("rsa"),
        pem(fixture!("p256.pub.pem")).with_id("p256"),
        pem(fixture!("p384.pub.pem")).with_id("p384"),
        pem(fixture!("ed25519.pub.pem")).with_id("ed"),
        VerificationKey::from_secret(SECRET).unwrap().with_id("secret"),
    ])
}

fn rules() -> TokenRules {
    TokenRules { audiences: vec!["api".into()], issuers: vec!["https://issuer".into()], ..TokenRules::default() }
}

fn verifier(rules: TokenRules) -> TokenVerifier {
    remembering(rules, &Arc::default())
}

fn remembering(rules: TokenRules, cache: &Arc<TokenCache>) -> TokenVerifier {
    TokenVerifier::new(rules, keys(), Vec::new(), cache.clone()).unwrap()
}

fn claims() -> Value {
    json!({ "iss": "https://issuer", "aud": "api", "exp": NOW + 60, "sub": "someone" })
}

fn claims_with(changes: &Value) -> Value {
    let mut claims = claims();
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => claims.as_object_mut().unwrap().shift_remove(name),
            value => claims.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    claims
}

/// Verifies, and sees that the explanation says the same.
#[track_caller]
fn judged(verifier: &TokenVerifier, token: &str, now: SystemTime) -> Result<Arc<Verified>, TokenError> {
    let result = verifier.verify(token, now);
    let Explanation { result: explained, checks } = verifier.explain(token, now);
    assert_eq!(explained.as_ref().err().map(TokenError::to_string), result.as_ref().err().map(TokenError::to_string));
    let passed = checks.iter().all(|check| check.standing == Standing::Passed);
    assert_eq!(passed, result.is_ok(), "{result:?}: {checks:#?}");
    let failed = checks.iter().any(|check| check.standing == Standing::Failed);
    let no_keys = matches!(result, Err(TokenError::KeysUnavailable { .. }));
    assert!(failed || no_keys || passed, "what is refused failed a check: {checks:#?}");
    result
}

#[test]
fn every_algorithm_verifies_with_its_key_and_with_no_other() {
    let signers = [
        ("rsa", Signer::rsa_a(Signing::RS256)),
        ("rsa", Signer::rsa_a(Signing::RS384)),
        ("rsa", Signer::rsa_a(Signing::RS512)),
        ("rsa", Signer::rsa_a(Signing::PS256)),
        ("rsa", Signer::rsa_a(Signing::PS384)),
        ("rsa", Signer::rsa_a(Signing::PS512)),
        ("p256", Signer::p256()),
        ("p384", Signer::p384()),
        ("ed", Signer::ed25519()),
        ("secret", Signer::secret(SECRET, Signing::HS256)),
        ("secret", Signer::secret(SECRET, Signing::HS384)),
        ("secret", Signer::secret(SECRET, Signing::HS512)),
    ];
    let verifier = verifier(rules());
    for (kid, signer) in &signers {
        let named = verifier.verify(&signer.token(Some(kid), &claims()), at(NOW)).unwrap();
        assert_eq!(named.key_id.as_deref(), Some(*kid));
        assert_eq!(named.claim("sub"), Some(&json!("someone")));
        assert_eq!(named.expires, Some(at(NOW + 60)));
        let unnamed = verifier.verify(&signer.token(None, &claims()), at(NOW)).unwrap();
        assert_eq!(unnamed.algorithm, named.algorithm, "{kid}");

        let other = if *kid == "rsa" { "p256" } else { "rsa" };
        let error = verifier.verify(&signer.token(Some(other), &claims()), at(NOW)).unwrap_err();
        assert!(matches!(error, TokenError::KeyMismatch { .. }), "{kid}: {error}");

        let token = signer.token(Some(kid), &claims());
        let start = token.rfind('.').unwrap() + 1;
        let flipped = if token.as_bytes()[start] == b'A' { "B" } else { "A" };
        let forged = [&token[..start], flipped, &token[start + 1..]].concat();
        let error = verifier.verify(&forged, at(NOW)).unwrap_err();
        assert!(matches!(error, TokenError::SignatureInvalid { tried: 1 }), "{kid}: {error}");
    }
}

#[test]
fn p521_verifies_too() {
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair};

    let body: String = fixture!("p521.pem").lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::engine::general_purpose::STANDARD.decode(body).unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P521_SHA512_FIXED_SIGNING, &der).unwrap();
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let signed = format!("{}.{}", encode("{\"alg\":\"ES512\"}"), encode(&claims().to_string()));
    let signature = pair.sign(&SystemRandom::new(), signed.as_bytes()).unwrap();
    let token = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(signature));
    let keys = KeySet::new(vec![pem(fixture!("p521.pub.pem"))]);
    let verifier = TokenVerifier::new(rules(), keys, Vec::new(), Arc::default()).unwrap();
    assert_eq!(verifier.verify(&token, at(NOW)).unwrap().algorithm, Algorithm::Es512);
}

#[test]
fn a_token_that_cheats_is_refused() {
    let rsa = Signer::rsa_a(Signing::RS256);
    let good = rsa.token(Some("rsa"), &claims());
    let body = claims().to_string();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let unsigned = |alg: &str| {
        let header = URL_SAFE_NO_PAD.encode(format!("{{\"alg\":\"{alg}\"}}"));
        format!("{header}.{}.", URL_SAFE_NO_PAD.encode(&body))
    };
    // The public key as an HMAC secret: what a verifier falls for that takes the algorithm from the token (CVE-2015-9235).
    let confused = Signer::secret(fixture!("rsa-a.pub.pem").as_bytes(), Signing::HS256);
    struct Case {
        name: &'static str,
        token: String,
        reason: &'static str,
        want: &'static str,
    }
    let malformed = "the token is malformed: it does not have three parts separated by dots";
    let header = "the token is malformed: the header is not a JSON object with one text `alg`";
    for Case { name, token, reason, want } in [
        Case { name: "empty", token: String::new(), reason: "JwtInvalid", want: malformed },
        Case { name: "one part", token: "secret".into(), reason: "JwtInvalid", want: malformed },
        Case { name: "two parts", token: signed.into(), reason: "JwtInvalid", want: malformed },
        Case { name: "four parts", token: format!("{good}.x"), reason: "JwtInvalid", want: malformed },
        Case {
            name: "encrypted",
            token: "a.b.c.d.e".into(),
            reason: "JwtInvalid",
            want: "the token is encrypted (JWE, five parts); only signed tokens (three parts) are supported",
        },
        Case {
            name: "header not base64url",
            token: "a+b=.e30.e30".into(),
            reason: "JwtInvalid",
            want: "the token is malformed: the header is not base64url",
        },
        Case {
            name: "padded signature",
            token: format!("{signed}.{signature}=="),
            reason: "JwtInvalid",
            want: "the token is malformed: the signature is not base64url",
        },
        Case { name: "header not JSON", token: rsa.sign("alg", &body), reason: "JwtInvalid", want: header },
        Case { name: "no alg", token: rsa.sign("{}", &body), reason: "JwtInvalid", want: header },
        Case {
            name: "alg no text",
            token: rsa.sign("{\"alg\":[\"RS256\"]}", &body),
            reason: "JwtInvalid",
            want: header,
        },
        Case {
            name: "alg twice",
            token: rsa.sign("{\"alg\":\"RS256\",\"alg\":\"none\"}", &body),
            reason: "JwtInvalid",
            want: header,
        },
        Case {
            name: "none",
            token: unsigned("none"),
            reason: "TokenSignatureInvalid",
            want: "the token is not signed (`alg` is `none`)",
        },
        Case {
            name: "None",
            token: unsigned("NoNe"),
            reason: "TokenSignatureInvalid",
            want: "the token is not signed (`alg` is `none`)",
        },
        Case {
            name: "no signature",
            token: unsigned("RS256"),
            reason: "TokenSignatureInvalid",
            want: "the signature is not valid for 1 candidate key(s)",
        },
        Case {
            name: "unknown algorithm",
            token: unsigned("RS257\\n"),
            reason: "TokenSignatureInvalid",
            want: "signature algorithm `RS257\\n` is not allowed, expected one of `HS256`, `RS256`",
        },
        Case {
            name: "an algorithm that is not configured",
            token: Signer::rsa_a(Signing::RS512).token(Some("rsa"), &claims()),
            reason: "TokenSignatureInvalid",
            want: "signature algorithm `RS512` is not allowed, expected one of `HS256`, `RS256`",
        },
        Case {
            name: "public key as secret",
            token: confused.token(None, &claims()),
            reason: "TokenSignatureInvalid",
            want: "the signature is not valid for 1 candidate key(s)",
        },
        Case {
            name: "public key as secret, named",
            token: confused.token(Some("rsa"), &claims()),
            reason: "TokenSignatureInvalid",
            want: "the key with `kid` `rsa` is for `RS256`, `RS384`, `RS512`, `PS256`, `PS384`, `PS512`, the token's \
                   `alg` is `HS256`",
        },
        Case {
            name: "another key",
            token: Signer::rsa_b(Signing::RS256).token(Some("rsa"), &claims()),
            reason: "TokenSignatureInvalid",
            want: "the signature is not valid for 1 candidate key(s)",
        },
        Case {
            name: "unknown kid",
            token: rsa.token(Some("new"), &claims()),
            reason: "TokenSignatureKeyNotFound",
            want: "no key matches `kid` `new`",
        },
        Case {
            name: "critical extension",
            token: rsa.sign("{\"alg\":\"RS256\",\"crit\":[\"exp\"]}", &body),
            reason: "JwtInvalid",
            want: "the token's header has `crit`, and no critical extension is supported",
        },
        Case {
            name: "critical null",
            token: rsa.sign("{\"alg\":\"RS256\",\"crit\":null}", &body),
            reason: "JwtInvalid",
            want: "the token's header has `crit`, and no critical extension is supported",
        },
        Case {
            name: "payload no object",
            token: rsa.sign("{\"alg\":\"RS256\"}", "[1]"),
            reason: "JwtInvalid",
            want: "the token is malformed: the payload is not a JSON object",
        },
        Case {
            name: "payload changed",
            token: format!("{}.{}.{signature}", good.split('.').next().unwrap(), URL_SAFE_NO_PAD.encode("{}")),
            reason: "TokenSignatureInvalid",
            want: "the signature is not valid for 1 candidate key(s)",
        },
        Case {
            name: "too long",
            token: "a".repeat(MAX_TOKEN_BYTES + 1),
            reason: "JwtInvalid",
            want: "the token has 16385 bytes, at most 16384 are allowed",
        },
    ] {
        let algorithms = AlgorithmSet::from_iter([Algorithm::Rs256, Algorithm::Hs256]);
        let keys = KeySet::new(vec![
            pem(fixture!("rsa-a.pub.pem")).with_id("rsa"),
            VerificationKey::from_secret(SECRET).unwrap().with_id("secret"),
        ]);
        let (rules, cache) = (TokenRules { algorithms, ..rules() }, Arc::<TokenCache>::default());
        let verifier = TokenVerifier::new(rules, keys, Vec::new(), cache.clone()).unwrap();
        assert!(verifier.verify(&good, at(NOW)).is_ok());
        let error = judged(&verifier, &token, at(NOW)).unwrap_err();
        assert_eq!(error.to_string(), want, "{name}");
        assert_eq!(error.reason(), reason, "{name}");
        assert_eq!(cache.len(), 1, "{name}: a refusal is not remembered");
    }
}

#[test]
fn a_remembered_token_still_expires() {
    let verifier = verifier(rules());
    let token = Signer::rsa_a(Signing::RS256).token(Some("rsa"), &claims());
    let first = verifier.verify(&token, at(NOW)).unwrap();
    let again = verifier.verify(&token, at(NOW + 59)).unwrap();
    assert!(Arc::ptr_eq(&first, &again), "the second time it comes from memory");
    assert_eq!(verifier.verify(&token, at(NOW + 60)).unwrap_err().reason(), "TokenExpired");

    let early = Signer::rsa_a(Signing::RS256).token(Some("rsa"), &claims_with(&json!({ "nbf": NOW })));
    assert!(verifier.verify(&early, at(NOW)).is_ok());
    assert_eq!(verifier.verify(&early, at(NOW - 1)).unwrap_err().reason(), "JwtInvalid");
}

#[test]
fn memory_is_bounded_and_can_be_off() {
    let signer = Signer::secret(SECRET, Signing::HS256);
    let token = |number: u32| signer.token(None, &claims_with(&json!({ "jti": number })));
    let cache = Arc::new(TokenCache::new(32));
    let bounded = remembering(rules(), &cache);
    for number in 0..500 {
        bounded.verify(&token(number), at(NOW)).unwrap();
        assert!(cache.len() <= 32, "{number}");
    }
    assert!(cache.len() >= 24, "it does fill: {}", cache.len());

    let off = Arc::new(TokenCache::new(0));
    remembering(rules(), &off).verify(&token(0), at(NOW)).unwrap();
    assert!(off.is_empty());

    // 16 shards of 64 KiB: ten kilobytes of token leave room for six in each.
    let cache = Arc::new(TokenCache::new(512));
    let wide = remembering(rules(), &cache);
    for number in 0..300 {
        let long = signer.token(None, &claims_with(&json!({ "x": "x".repeat(7_500), "jti": number })));
        wide.verify(&long, at(NOW)).unwrap();
    }
    assert!((80..=96).contains(&cache.len()), "long tokens count for more: {}", cache.len());
}

#[test]
fn what_one_verifier_accepted_is_nothing_to_another() {
    let cache = Arc::default();
    let token = Signer::secret(SECRET, Signing::HS256).token(None, &claims());
    let stricter = TokenRules { audiences: vec!["another".into()], ..rules() };
    let (one, other) = (remembering(rules(), &cache), remembering(stricter, &cache));
    assert!(one.verify(&token, at(NOW)).is_ok());
    assert_eq!(other.verify(&token, at(NOW)).unwrap_err().reason(), "TokenAudienceNotAllowed");
    assert_eq!(cache.len(), 1, "what is refused is not remembered");
    assert!(one.verify(&token, at(NOW)).is_ok());
}

#[test]
fn no_error_or_debug_output_holds_the_token_or_a_key() {
    let token = Signer::rsa_b(Signing::RS256).token(Some("rsa"), &claims());
    let verifier = verifier(rules());
    let error = verifier.verify(&token, at(NOW)).unwrap_err();
    for part in token.split('.') {
        for text in [error.to_string(), format!("{error:?}"), error.message(), format!("{verifier:?}")] {
            assert!(!text.contains(part), "{text}");
        }
    }
    assert!(!format!("{verifier:?}").contains("0123456789abcdef"));
}

#[test]
fn a_key_speaks_for_its_own_issuer_only() {
    let of = |name: &str| Some(Arc::from(name));
    let keys = || {
        vec![
            pem(fixture!("rsa-a.pub.pem")).with_issuer(of("one")),
            pem(fixture!("p256.pub.pem")).with_issuer(of("two")),
            pem(fixture!("rsa-a.pub.pem")).with_issuer(of("three")),
        ]
    };
    let rules = |issuers: &[&str]| TokenRules { issuers: issuers.iter().map(|it| (*it).into()).collect(), ..rules() };
    let verifier = |rules| TokenVerifier::new(rules, KeySet::new(keys()), Vec::new(), Arc::default()).unwrap();
    let (rsa, ec) = (Signer::rsa_a(Signing::RS256), Signer::p256());
    for (signer, iss, listed, want) in [
        (&rsa, "one", &[][..], "ok"),
        (&rsa, "three", &[], "ok"),
        (&ec, "two", &[], "ok"),
        (&rsa, "two", &[], "issuer `two` is not allowed, expected one of `one`, `three`"),
        (&ec, "one", &[], "issuer `one` is not allowed, expected one of `two`"),
        (&ec, "four", &["four"], "ok"),
        (&ec, "five", &["four"], "issuer `five` is not allowed, expected one of `four`, `two`"),
    ] {
        let token = signer.token(None, &claims_with(&json!({ "iss": iss })));
        let result = judged(&verifier(rules(listed)), &token, at(NOW));
        assert_eq!(result.map_or_else(|error| error.to_string(), |_| "ok".to_owned()), want, "{iss}, {listed:?}");
    }
    let mixed = keys().into_iter().chain([pem(fixture!("p384.pub.pem"))]).collect();
    let error = TokenVerifier::new(rules(&[]), KeySet::new(mixed), Vec::new(), Arc::default()).unwrap_err();
    assert_eq!(error, VerifierError::NoIssuer);
}

#[test]
fn rules_that_would_let_anything_in_are_refused() {
    let none = || TokenRules { audiences: Vec::new(), ..rules() };
    let new = |rules, keys| TokenVerifier::new(rules, keys, Vec::new(), Arc::default()).map(|_| ());
    assert_eq!(new(none(), keys()), Err(VerifierError::NoAudience));
    assert_eq!(new(rules(), KeySet::default()), Err(VerifierError::NoKey));
    let only_rsa = || KeySet::new(vec![pem(fixture!("rsa-a.pub.pem"))]);
    let hmac = AlgorithmSet::from_iter([Algorithm::Hs256]);
    let error = new(TokenRules { algorithms: hmac, ..rules() }, only_rsa()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "none of the allowed algorithms (`HS256`) can be verified with the configured keys (`RS256`, `RS384`, `RS512`, \
         `PS256`, `PS384`, `PS512`)"
    );
}

proptest::proptest! {
    #[test]
    fn nothing_made_up_is_accepted_or_panics(token in "[A-Za-z0-9_.=-]{0,200}", header in "\\PC{0,80}", payload in "\\PC{0,80}") {
        let verifier = verifier(rules());
        proptest::prop_assert!(judged(&verifier, &token, at(NOW)).is_err());
        let signed = Signer::secret(SECRET, Signing::HS256).sign(&header, &payload);
        proptest::prop_assert!(judged(&verifier, &signed, at(NOW)).is_err());
    }
}
