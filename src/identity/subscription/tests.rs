//! Which keys are known, and what they open.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

fn subscription(id: &str, keys: &[&str], scope: Scope) -> Subscription {
    let keys = keys
        .iter()
        .map(|key| SubscriptionKey { digest: KeyDigest::of(key.as_bytes()), last_four: Some("….".into()) })
        .collect();
    Subscription { id: id.into(), consumer: None, scope, state: State::Active, expires: None, start: None, keys }
}

#[test]
fn a_digest_reads_back_and_mistakes_are_named() {
    // The digest of "abc" in FIPS 180-4's examples.
    let abc = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(digest_of(b"abc"), abc);
    assert_eq!(parse_digest(abc), Ok(KeyDigest::of(b"abc")));
    assert_eq!(parse_digest(&abc.to_uppercase().replace("SHA256", "sha256")), Ok(KeyDigest::of(b"abc")));

    struct Case {
        text: String,
        want: DigestError,
    }
    for Case { text, want } in [
        Case { text: "my-secret-key".into(), want: DigestError::Prefix },
        Case { text: abc.replace("sha256", "md5"), want: DigestError::Prefix },
        Case { text: abc[..70].into(), want: DigestError::Length { found: 63 } },
        Case { text: format!("{abc}0"), want: DigestError::Length { found: 65 } },
        Case { text: abc.replace(":ba", ":bg"), want: DigestError::Digit { position: 2 } },
        Case { text: abc.replace(":ba", ":b+"), want: DigestError::Digit { position: 2 } },
        Case { text: abc.replace("ad", "é"), want: DigestError::Length { found: 63 } },
    ] {
        let error = parse_digest(&text).unwrap_err();
        assert_eq!(error, want, "{text}");
        assert!(!error.to_string().contains("my-secret-key"), "{error}");
    }
}

#[test]
fn each_key_of_a_subscription_finds_it() {
    let ring = KeyRing::new([
        subscription("a", &["primary", "secondary"], Scope::All),
        subscription("b", &["other"], Scope::All),
    ])
    .unwrap();
    for (key, want) in [
        ("primary", Some("a")),
        ("secondary", Some("a")),
        ("other", Some("b")),
        ("Primary", None),
        ("primary ", None),
        ("", None),
    ] {
        assert_eq!(ring.lookup(key.as_bytes()).map(|found| &*found.id), want, "{key:?}");
    }
    // Nothing that is configured can be presented: the digest is not the key.
    assert!(ring.lookup(digest_of(b"primary").as_bytes()).is_none());
    assert_eq!(format!("{ring:?}"), "KeyRing(3 keys)");
}

#[test]
fn a_key_belongs_to_one_subscription() {
    let error =
        KeyRing::new([subscription("a", &["same"], Scope::All), subscription("b", &["own", "same"], Scope::All)])
            .unwrap_err();
    assert_eq!(error.to_string(), "subscription `b` has a key that subscription `a` already has");
}

#[test]
fn state_expiry_and_scope_decide() {
    struct Case {
        name: &'static str,
        state: State,
        expires: Option<u64>,
        scope: Scope,
        want: Option<&'static str>,
    }
    let orders = || Scope::Apis(Box::new(["orders".into()]));
    let invoices = || Scope::Apis(Box::new(["invoices".into(), "order".into()]));
    let active = State::Active;
    for Case { name, state, expires, scope, want } in [
        Case { name: "all APIs", state: active, expires: None, scope: Scope::All, want: None },
        Case { name: "its API", state: active, expires: None, scope: orders(), want: None },
        Case {
            name: "other APIs",
            state: active,
            expires: None,
            scope: invoices(),
            want: Some("subscription `s` does not cover API `orders`"),
        },
        Case {
            name: "product with the API",
            state: active,
            expires: None,
            scope: Scope::Product("gold".into()),
            want: None,
        },
        Case {
            name: "product without the API",
            state: active,
            expires: None,
            scope: Scope::Product("silver".into()),
            want: Some("subscription `s` does not cover API `orders`"),
        },
        Case {
            name: "a product named like the API",
            state: active,
            expires: None,
            scope: Scope::Product("orders".into()),
            want: Some("subscription `s` does not cover API `orders`"),
        },
        Case { name: "a second before the end", state: active, expires: Some(101), scope: Scope::All, want: None },
        Case {
            name: "at the end",
            state: active,
            expires: Some(100),
            scope: Scope::All,
            want: Some("subscription `s` has expired"),
        },
        Case {
            name: "suspended",
            state: State::Suspended,
            expires: None,
            scope: Scope::All,
            want: Some("subscription `s` is suspended"),
        },
        Case {
            name: "submitted",
            state: State::Submitted,
            expires: None,
            scope: Scope::All,
            want: Some("subscription `s` is submitted"),
        },
        Case {
            name: "expired by state",
            state: State::Expired,
            expires: Some(1_000),
            scope: Scope::All,
            want: Some("subscription `s` is expired"),
        },
    ] {
        let mut subscription = subscription("s", &["k"], scope);
        subscription.state = state;
        subscription.expires = expires.map(|seconds| UNIX_EPOCH + Duration::from_secs(seconds));
        let now = UNIX_EPOCH + Duration::from_secs(100);
        let got = subscription.authorize("orders", &["gold".into()], now).map_err(|refusal| {
            assert_eq!(refusal.reason(), "SubscriptionKeyInvalid", "{name}");
            refusal.to_string()
        });
        assert_eq!(got.err().as_deref(), want, "{name}");
    }
}

#[test]
fn debug_output_shows_no_digest() {
    let subscription = subscription("s", &["k"], Scope::All);
    let digest = digest_of(b"k");
    assert!(!format!("{subscription:?}").contains(&digest["sha256:".len()..][..16]));
}
