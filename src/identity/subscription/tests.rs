//! Which keys are known, and what they open.

use std::time::{Duration, UNIX_EPOCH};

use super::*;

use crate::identity::key_ring::{DuplicateKey, KeyRing, SubscriptionKey};

fn subscription(id: &str, scope: Scope) -> Subscription {
    Subscription {
        id: id.into(),
        consumer: None,
        scope,
        state: State::Active,
        expires: None,
        start: None,
        metadata: None,
    }
}

fn keys(keys: &[&str]) -> Vec<SubscriptionKey> {
    keys.iter().map(|key| KeyDigest::of(key.as_bytes()).into()).collect()
}

fn all(id: &str, of: &[&str]) -> (Subscription, Vec<SubscriptionKey>) {
    (subscription(id, Scope::All), keys(of))
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
    let ring = KeyRing::new([all("a", &["primary", "secondary"]), all("b", &["other"])]).unwrap();
    for (key, want) in [
        ("primary", Some("a")),
        ("secondary", Some("a")),
        ("other", Some("b")),
        ("Primary", None),
        ("primary ", None),
        ("", None),
    ] {
        assert_eq!(ring.lookup(key.as_bytes()).map(|found| &*found.subscription.id), want, "{key:?}");
    }
    // Nothing that is configured can be presented: the digest is not the key.
    assert!(ring.lookup(digest_of(b"primary").as_bytes()).is_none());
    assert_eq!(format!("{ring:?}"), "KeyRing(3 keys)");
}

#[test]
fn a_key_belongs_to_one_subscription() {
    let error = KeyRing::new([all("a", &["same"]), all("b", &["own", "same"])]).unwrap_err();
    assert_eq!(error.to_string(), "subscription `b` has a key that subscription `a` already has");
    let twice = KeyRing::new([all("a", &["same", "same"])]).unwrap_err();
    assert_eq!(twice, DuplicateKey { first: "a".into(), second: "a".into(), digest: KeyDigest::of(b"same") });
}

#[test]
fn one_key_ends_and_the_other_goes_on() {
    let now = UNIX_EPOCH + Duration::from_secs(100);
    let ended = SubscriptionKey { expires: Some(now), last_four: LastFour::new("x7Qw"), ..keys(&["ended"]).remove(0) };
    let revoked = SubscriptionKey { revoked: true, ..keys(&["revoked"]).remove(0) };
    let live = SubscriptionKey { expires: Some(now + Duration::from_secs(1)), ..keys(&["live"]).remove(0) };
    let ring = KeyRing::new([(subscription("s", Scope::All), vec![ended, revoked, live])]).unwrap();
    for (key, want) in [
        ("ended", Some("a key that ends in `x7Qw` of subscription `s` has expired")),
        ("revoked", Some("a key of subscription `s` was revoked")),
        ("live", None),
    ] {
        let refusal = ring.lookup(key.as_bytes()).unwrap().authorize("orders", &[], now).err();
        assert_eq!(refusal.map(|refusal| refusal.to_string()).as_deref(), want, "{key}");
    }
}

#[test]
fn the_end_of_a_key_is_four_characters_and_no_more() {
    for (text, want) in [("x7Qw", true), ("x7Q", false), ("x7Qwe", false), ("ü7Q", false), ("a b ", false), ("", false)]
    {
        assert_eq!(LastFour::new(text).is_some(), want, "{text:?}");
    }
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
        let mut subscription = subscription("s", scope);
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
    let ring = KeyRing::new([all("s", &["k"])]).unwrap();
    let (digest, key) = (digest_of(b"k"), ring.lookup(b"k").unwrap());
    for shown in [format!("{key:?}"), format!("{ring:?}")] {
        assert!(!shown.contains(&digest["sha256:".len()..][..16]), "{shown}");
    }
}
