//! An issuer that rotates, stalls, lies, floods and goes away, and what tokens see of it.

use std::sync::atomic::Ordering;

use jsonwebtoken::Algorithm as Signing;
use serde_json::json;

use super::super::test_support::{Answer, Issuer, Signer};

use super::*;
use crate::identity::{
    Outcome, RemoteKeyRegistry, RemoteSource, TokenError, TokenRules, TokenVerifier, Verified, VerifierError,
};

fn minutes(count: u64) -> Duration {
    Duration::from_secs(60 * count)
}

fn source(location: KeyLocation, clock: &Clock) -> Arc<RemoteKeys> {
    with_options(location, RemoteKeysOptions::default(), clock)
}

fn with_options(location: KeyLocation, options: RemoteKeysOptions, clock: &Clock) -> Arc<RemoteKeys> {
    RemoteKeys::new(location, options, clock.clone(), Handle::current()).unwrap()
}

fn jwks(issuer: &Issuer, clock: &Clock) -> Arc<RemoteKeys> {
    source(KeyLocation::Jwks(issuer.url("/keys")), clock)
}

fn verifier(remotes: Vec<Arc<RemoteKeys>>) -> TokenVerifier {
    let rules = TokenRules { audiences: vec!["api".into()], require_expiration: false, ..TokenRules::default() };
    TokenVerifier::new(rules, KeySet::default(), remotes.into_iter().map(RemoteSource::from).collect(), Arc::default())
        .unwrap()
}

fn a() -> Signer {
    Signer::rsa_a(Signing::RS256)
}

fn b() -> Signer {
    Signer::rsa_b(Signing::RS256)
}

fn reason(result: Result<Arc<Verified>, TokenError>) -> &'static str {
    result.map_or_else(|error| error.reason(), |_| "ok")
}

#[tokio::test]
async fn bad_answers_are_errors_that_say_what_came() {
    let issuer = Issuer::start().await;
    let base = issuer.url("");
    let short = RemoteKeysOptions { timeout: Duration::from_millis(300), ..RemoteKeysOptions::default() };
    struct Case {
        name: &'static str,
        answer: Answer,
        want: &'static str,
    }
    let document = |value: serde_json::Value| Answer::Json(value);
    let raw = |field: &str, body: &[u8]| {
        [format!("HTTP/1.1 200 OK\r\n{field}\r\ncontent-length: {}\r\n\r\n", body.len()).as_bytes(), body].concat()
    };
    let mut encrypting = a().jwk(Some("a"));
    encrypting["use"] = json!("enc");
    for Case { name, answer, want } in [
        Case { name: "error", answer: Answer::Status(503), want: "`{}/x` answered with status 503, expected 200" },
        Case {
            name: "other success",
            answer: Answer::Status(206),
            want: "`{}/x` answered with status 206, expected 200",
        },
        Case {
            name: "redirect",
            answer: Answer::Redirect("/keys".to_owned()),
            want: "`{}/x` answered with a redirect (302), which is refused",
        },
        Case {
            name: "announced",
            answer: Answer::Announce(1 << 40),
            want: "the answer of `{}/x` is longer than 1048576 bytes",
        },
        Case { name: "endless", answer: Answer::Endless, want: "the answer of `{}/x` is longer than 1048576 bytes" },
        Case {
            name: "HTML",
            answer: Answer::Bytes(b"<html>".to_vec()),
            want: "the key set of `{}/x` cannot be used: not JSON: expected value at line 1 column 1",
        },
        Case {
            name: "too many keys",
            answer: document(json!({ "keys": vec![json!({}); 65] })),
            want: "the key set of `{}/x` cannot be used: the key set has 65 keys, at most 64 are allowed",
        },
        Case {
            name: "a secret",
            answer: document(json!({ "keys": [{ "kty": "oct", "k": "c2VjcmV0" }] })),
            want: "the key set of `{}/x` cannot be used: none of the 1 keys in the set can verify signatures (the first: a \
                   symmetric key (`oct`) in a key set is refused: whoever can read the set could sign tokens)",
        },
        Case {
            name: "a login page",
            answer: Answer::Raw(raw("content-type: text/html; charset=utf-8", b"<html>")),
            want: "the key set of `{}/x` cannot be used: not JSON: expected value at line 1 column 1 (its content type is \
                   `text/html; charset=utf-8`)",
        },
        Case {
            name: "compressed",
            answer: Answer::Raw(raw("content-encoding: gzip", &[0x1f, 0x8b, 8, 0])),
            want: "the answer of `{}/x` has the content encoding `gzip`, which was not asked for",
        },
        Case { name: "drips", answer: Answer::Drip, want: "`{}/x` took longer than 300ms" },
        Case {
            name: "no keys",
            answer: document(json!({ "keys": [] })),
            want: "the key set of `{}/x` cannot be used: none of the 0 keys in the set can verify signatures",
        },
        Case {
            name: "keys for something else",
            answer: document(json!({ "keys": [encrypting] })),
            want: "the key set of `{}/x` cannot be used: none of the 1 keys in the set can verify signatures (the first: the \
                   key is not for verifying signatures (`use` is `enc`))",
        },
        Case { name: "stalls", answer: Answer::Stall, want: "`{}/x` took longer than 300ms" },
        Case { name: "hangs up", answer: Answer::Close, want: "`{}/x` did not answer: " },
    ] {
        issuer.answer("/x", answer);
        let keys = with_options(KeyLocation::Jwks(issuer.url("/x")), short.clone(), &Clock::manual());
        keys.refresh().done().await;
        let error = keys.last_error().unwrap().to_string();
        let want = want.replace("{}", &base);
        assert!(if want.ends_with(": ") { error.starts_with(&want) } else { error == want }, "{name}: {error}");
        assert!(keys.current().is_none(), "{name}");
    }

    let at = |path: &str| issuer.url(path);
    for Case { name, answer, want } in [
        Case {
            name: "no document",
            answer: document(json!({ "issuer": "i" })),
            want: "`{}/d` is not an OpenID Connect discovery document: missing field `jwks_uri` at line 1 column 14",
        },
        Case {
            name: "keys from an unprotected place",
            answer: document(json!({ "issuer": "i", "jwks_uri": "http://elsewhere.test/keys" })),
            want: "the `jwks_uri` of `{}/d` cannot be used: expected an `https` URL, found `http://elsewhere.test/keys`: \
                   keys that come unprotected can be replaced on the way",
        },
        Case {
            name: "keys from a file",
            answer: document(json!({ "issuer": "i", "jwks_uri": "file:///keys" })),
            want: "the `jwks_uri` of `{}/d` cannot be used: `file:///keys` is not a URL",
        },
        Case {
            name: "another issuer",
            answer: document(json!({ "issuer": "https://evil.example", "jwks_uri": at("/keys") })),
            want: "the discovery document `{}/d/.well-known/openid-configuration` names the issuer `https://evil.example`, \
                   expected `{}/d` (OpenID Connect Discovery 1.0 §4.3); give `issuer` if that is the one",
        },
        Case {
            name: "keys by redirect",
            answer: document(json!({ "issuer": "i", "jwks_uri": at("/r") })),
            want: "`{}/r` answered with a redirect (302), which is refused",
        },
    ] {
        let path = if name == "another issuer" { "/d/.well-known/openid-configuration" } else { "/d" };
        issuer.answer(path, answer);
        issuer.answer("/r", Answer::Redirect(at("/keys")));
        let keys = source(KeyLocation::Discovery(at(path)), &Clock::manual());
        keys.refresh().done().await;
        assert_eq!(keys.last_error().unwrap().to_string(), want.replace("{}", &base), "{name}");
    }
}

#[tokio::test]
async fn many_callers_share_one_fetch() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let held = issuer.gate.acquire_many(1_000).await.unwrap();
    let clock = Clock::manual();
    let verifier = Arc::new(verifier(vec![jwks(&issuer, &clock)]));
    let token = a().token(Some("a"), &json!({ "aud": "api" }));
    let callers: Vec<_> = (0..50)
        .map(|_| {
            let (verifier, token, clock) = (Arc::clone(&verifier), token.clone(), clock.clone());
            tokio::spawn(async move { verifier.verify_or_wait(&token, &clock).await })
        })
        .collect();
    issuer.asked.acquire().await.unwrap().forget();
    tokio::task::yield_now().await;
    drop(held);
    for caller in callers {
        assert_eq!(reason(caller.await.unwrap()), "ok");
    }
    assert_eq!(issuer.hits(), 1);
}

#[test]
fn workers_wait_on_their_own_runtimes() {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (send, receive) = std::sync::mpsc::channel();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let control = std::thread::spawn(move || {
        runtime().block_on(async move {
            let issuer = Issuer::start().await;
            issuer.publish(&[a().jwk(Some("a"))]);
            send.send((jwks(&issuer, &Clock::manual()), issuer)).unwrap();
            let _ = stopped.await;
        });
    });
    let (keys, issuer) = receive.recv().unwrap();
    let verifier = Arc::new(verifier(vec![keys]));
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let verifier = Arc::clone(&verifier);
            std::thread::spawn(move || {
                let token = a().token(Some("a"), &json!({ "aud": "api" }));
                runtime().block_on(verifier.verify_or_wait(&token, &Clock::manual())).is_ok()
            })
        })
        .collect();
    assert!(workers.into_iter().all(|worker| worker.join().unwrap()));
    assert_eq!(issuer.hits(), 1);
    stop.send(()).unwrap();
    control.join().unwrap();
}

#[tokio::test]
async fn an_unknown_key_is_looked_for_but_not_too_often() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    keys.refresh().done().await;
    let verifier = verifier(vec![Arc::clone(&keys)]);
    let old = a().token(Some("a"), &json!({ "aud": "api" }));
    let new = b().token(Some("b"), &json!({ "aud": "api" }));
    let made_up = b().token(Some("c"), &json!({ "aud": "api" }));
    let forged = b().token(Some("a"), &json!({ "aud": "api" }));
    assert_eq!(reason(verifier.verify_or_wait(&old, &clock).await), "ok");

    assert_eq!(reason(verifier.verify_or_wait(&forged, &clock).await), "TokenSignatureInvalid");
    assert_eq!(issuer.hits(), 1, "the named key is at hand: another fetch cannot help");

    issuer.publish(&[b().jwk(Some("b"))]);
    assert_eq!(reason(verifier.verify_or_wait(&new, &clock).await), "ok");
    assert_eq!(issuer.hits(), 2);

    clock.advance(minutes(5) - Duration::from_nanos(1));
    for _ in 0..20 {
        assert_eq!(reason(verifier.verify_or_wait(&made_up, &clock).await), "TokenSignatureKeyNotFound");
    }
    assert_eq!(issuer.hits(), 2);
    clock.advance(Duration::from_nanos(1));
    for _ in 0..20 {
        assert_eq!(reason(verifier.verify_or_wait(&made_up, &clock).await), "TokenSignatureKeyNotFound");
    }
    assert_eq!(issuer.hits(), 3);
}

#[tokio::test]
async fn keys_without_ids_rotate_too() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(None)]);
    let clock = Clock::manual();
    let verifier = verifier(vec![jwks(&issuer, &clock)]);
    assert_eq!(reason(verifier.verify_or_wait(&a().token(Some("x"), &json!({ "aud": "api" })), &clock).await), "ok");
    issuer.publish(&[b().jwk(None)]);
    clock.advance(minutes(5));
    assert_eq!(reason(verifier.verify_or_wait(&b().token(None, &json!({ "aud": "api" })), &clock).await), "ok");
    assert_eq!(issuer.hits(), 2);
}

#[tokio::test]
async fn a_rotation_ends_remembered_tokens_and_an_unchanged_set_does_not() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    keys.refresh().done().await;
    let verifier = verifier(vec![Arc::clone(&keys)]);
    let token = a().token(Some("a"), &json!({ "aud": "api" }));
    let first = verifier.verify(&token, clock.wall()).unwrap();
    keys.refresh().done().await;
    assert!(Arc::ptr_eq(&first, &verifier.verify(&token, clock.wall()).unwrap()), "the same keys");

    issuer.publish(&[a().jwk(Some("a")), b().jwk(Some("b"))]);
    keys.refresh().done().await;
    let second = verifier.verify(&token, clock.wall()).unwrap();
    assert!(!Arc::ptr_eq(&first, &second), "verified again");

    issuer.publish(&[b().jwk(Some("b"))]);
    keys.refresh().done().await;
    assert_eq!(reason(verifier.verify(&token, clock.wall())), "TokenSignatureKeyNotFound");
}

#[tokio::test]
async fn an_outage_is_survived_for_as_long_as_allowed() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    keys.refresh().done().await;
    let verifier = verifier(vec![Arc::clone(&keys)]);
    let token = a().token(Some("a"), &json!({ "aud": "api" }));
    assert_eq!(reason(verifier.verify(&token, clock.wall())), "ok");

    issuer.answer("/keys", Answer::Status(500));
    clock.advance(minutes(24 * 60) - Duration::from_nanos(1));
    keys.refresh().done().await;
    assert_eq!(reason(verifier.verify(&token, clock.wall())), "ok", "stale keys serve");
    assert_eq!((keys.status().keys, keys.status().failures), (1, 1));

    clock.advance(Duration::from_nanos(1));
    let error = verifier.verify(&token, clock.wall()).unwrap_err();
    assert_eq!(error.reason(), "TokenSignatureKeyNotFound", "a remembered token ends with its keys");
    assert_eq!(
        error.to_string(),
        format!("no verification keys are available: `{}` answered with status 500, expected 200", issuer.url("/keys"))
    );
    assert_eq!(error.blame(), crate::pipeline::Blame::Upstream);

    issuer.publish(&[a().jwk(Some("a"))]);
    clock.advance(minutes(5));
    assert_eq!(reason(verifier.verify_or_wait(&token, &clock).await), "ok", "and it comes back");
}

#[tokio::test]
async fn a_set_that_loses_all_its_keys_is_a_failure_and_the_last_ones_serve_on() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    keys.refresh().done().await;
    let verifier = verifier(vec![Arc::clone(&keys)]);
    let token = |number: u32| a().token(Some("a"), &json!({ "aud": "api", "n": number }));
    issuer.publish(&[]);
    keys.refresh().done().await;
    assert_eq!(reason(verifier.verify(&token(1), clock.wall())), "ok");
    assert_eq!((keys.status().keys, keys.status().failures), (1, 1));
    clock.advance(minutes(24 * 60));
    assert_eq!(reason(verifier.verify(&token(1), clock.wall())), "TokenSignatureKeyNotFound");
}

#[tokio::test]
async fn keys_with_the_same_id_are_all_tried() {
    let issuer = Issuer::start().await;
    issuer.publish(&[b().jwk(Some("a")), a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let verifier = verifier(vec![jwks(&issuer, &clock)]);
    for signer in [a(), b()] {
        let token = signer.token(Some("a"), &json!({ "aud": "api" }));
        assert_eq!(reason(verifier.verify_or_wait(&token, &clock).await), "ok");
    }
}

#[tokio::test]
async fn the_timer_knows_when() {
    let issuer = Issuer::start().await;
    issuer.answer("/keys", Answer::Status(500));
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    assert_eq!(keys.due_in(), Duration::ZERO, "at once");
    for seconds in [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300] {
        keys.refresh().done().await;
        assert_eq!(keys.due_in(), Duration::from_secs(seconds), "without keys it backs off up to min_refetch");
    }
    assert!(keys.demand().is_none(), "tokens wait as well");

    issuer.publish(&[a().jwk(Some("a"))]);
    keys.refresh().done().await;
    assert_eq!(keys.due_in(), minutes(60));
    clock.advance(minutes(59));
    assert_eq!(keys.due_in(), minutes(1));
    issuer.answer("/keys", Answer::Status(500));
    keys.refresh().done().await;
    assert_eq!(keys.due_in(), minutes(5), "with keys it waits min_refetch after a failure");
    assert!(keys.demand().is_none());
    clock.advance(minutes(5));
    assert_eq!(keys.due_in(), Duration::ZERO);
    assert!(keys.demand().is_some());
}

#[tokio::test]
async fn the_timer_fetches_by_itself_until_the_source_is_dropped() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let options = RemoteKeysOptions { refresh: Duration::from_secs(1), ..RemoteKeysOptions::default() };
    let keys = with_options(KeyLocation::Jwks(issuer.url("/keys")), options, &Clock::system());
    keys.start();
    keys.start();
    issuer.asked.acquire_many(2).await.unwrap().forget();
    let timer = keys.timer.get().unwrap().clone();
    assert!(!timer.is_finished());
    keys.refresh().done().await;
    let weak = Arc::downgrade(&keys);
    drop(keys);
    while !timer.is_finished() || weak.strong_count() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn discovery_names_the_issuer_and_speaks_for_its_own_keys_only() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    for (name, signer) in [("one", a()), ("two", b())] {
        let keys = issuer.url(&format!("/{name}/keys"));
        issuer.answer(
            &format!("/{name}"),
            Answer::Json(json!({ "issuer": format!("https://{name}"), "jwks_uri": keys })),
        );
        issuer.answer(&format!("/{name}/keys"), Answer::Json(json!({ "keys": [signer.jwk(Some(name))] })));
    }
    let sources = || ["/one", "/two"].map(|path| source(KeyLocation::Discovery(issuer.url(path)), &clock)).to_vec();
    let verifier = verifier(sources());
    let token = |signer: Signer, kid: &str, iss: &str| signer.token(Some(kid), &json!({ "aud": "api", "iss": iss }));
    for (token, want) in [
        (token(a(), "one", "https://one"), "ok"),
        (token(b(), "two", "https://two"), "ok"),
        (token(a(), "one", "https://two"), "TokenIssuerNotAllowed"),
        (token(b(), "two", "https://one"), "TokenIssuerNotAllowed"),
        (token(b(), "two", "https://three"), "TokenIssuerNotAllowed"),
    ] {
        assert_eq!(reason(verifier.verify_or_wait(&token, &clock).await), want);
    }
    assert_eq!(issuer.hits(), 4);

    let plain = source(KeyLocation::Jwks(issuer.url("/one/keys")), &clock);
    let mixed = sources().into_iter().chain([plain]).map(RemoteSource::from).collect();
    let rules = TokenRules { audiences: vec!["api".into()], ..TokenRules::default() };
    let error = TokenVerifier::new(rules, KeySet::default(), mixed, Arc::default()).unwrap_err();
    assert_eq!(error, VerifierError::NoIssuer);
}

#[tokio::test]
async fn issuers_that_publish_the_same_key_speak_for_themselves() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let keys = jwks(&issuer, &clock);
    let of = |name: &str| RemoteSource { keys: Arc::clone(&keys), issuer: Some(name.into()), tenants: None };
    let rules = TokenRules { audiences: vec!["api".into()], require_expiration: false, ..TokenRules::default() };
    let verifier = TokenVerifier::new(rules, KeySet::default(), vec![of("one"), of("two")], Arc::default()).unwrap();
    for (iss, want) in [("one", "ok"), ("two", "ok"), ("three", "TokenIssuerNotAllowed")] {
        let token = a().token(Some("a"), &json!({ "aud": "api", "iss": iss }));
        assert_eq!(reason(verifier.verify_or_wait(&token, &clock).await), want, "{iss}");
    }
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
async fn a_symmetric_token_never_reaches_fetched_keys() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let clock = Clock::manual();
    let verifier = verifier(vec![jwks(&issuer, &clock)]);
    let public = super::super::test_support::fixture!("rsa-a.pub.pem").as_bytes();
    let token = Signer::secret(public, Signing::HS256).token(Some("a"), &json!({ "aud": "api" }));
    let Outcome::Done(result) = verifier.try_verify(&token, clock.wall()) else { panic!("it would wait") };
    assert!(matches!(result, Err(TokenError::AlgorithmNotAllowed { .. })));
    assert_eq!(issuer.hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn one_location_is_one_source_as_long_as_it_is_used() {
    let issuer = Issuer::start().await;
    issuer.publish(&[a().jwk(Some("a"))]);
    let (registry, clock, control) = (RemoteKeyRegistry::default(), Clock::manual(), Handle::current());
    let location = KeyLocation::Jwks(issuer.url("/keys"));
    let get = |options| registry.get(location.clone(), options, &clock, &control).unwrap();
    let first = get(RemoteKeysOptions::default());
    assert!(Arc::ptr_eq(&first, &get(RemoteKeysOptions::default())));
    let other = get(RemoteKeysOptions { min_refetch: minutes(1), ..RemoteKeysOptions::default() });
    assert!(!Arc::ptr_eq(&first, &other));
    assert_eq!(registry.all().len(), 2);
    first.refresh().done().await;
    other.refresh().done().await;
    drop((first, other));
    while !registry.all().is_empty() {
        tokio::task::yield_now().await;
    }
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let check = |url: &str, options: RemoteKeysOptions| {
        RemoteKeys::check(&KeyLocation::Jwks(url.to_owned()), &options).map_err(|error| error.to_string())
    };
    let default = RemoteKeysOptions::default;
    let https = "https://issuer.test/keys";
    assert_eq!(check(https, default()), Ok(()));
    for (url, options, want) in [
        (
            "http://issuer.test/keys",
            default(),
            "expected an `https` URL, found `http://issuer.test/keys`: keys that come unprotected can be replaced on the way",
        ),
        (https, RemoteKeysOptions { refresh: Duration::ZERO, ..default() }, "`refresh` must be at least one second"),
        (
            https,
            RemoteKeysOptions { stale_max: minutes(59), ..default() },
            "`stale-max` (3540s) must not be shorter than `refresh` (3600s)",
        ),
    ] {
        assert_eq!(check(url, options), Err(want.to_owned()), "{url}");
    }
}
