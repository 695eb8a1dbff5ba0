//! A provider in trouble: what becomes of the gateway's callers.
//!
//! | the provider | without keys (as the gateway starts) | with keys |
//! |---|---|---|
//! | is gone, or closes the connection | 401 `TokenSignatureKeyNotFound`, and no `error` in the challenge: the token may be good | known keys go on for `stale-max`; tokens of unknown keys are refused |
//! | answers with an error status | the same | the same |
//! | redirects | the same: a redirect is never followed | the same |
//! | answers with a page, other JSON, or a set without keys | the same | the same: what is wrong never takes the place of what was right |
//! | answers without end | the same: no more than 1 MiB is read | the same |
//! | is slow | the caller waits for it, for 10 s at most, then the same | known keys do not wait; tokens of unknown keys do |
//!
//! When it is well again, the gateway asks after a pause that callers cannot shorten: 1 s, 2 s, 4 s … while it has no keys,
//! `min-refetch` (5 minutes) when it has.
//!
//! The 10 s are in `identity::remote_keys`' own tests, with a shorter time; that callers wait for one fetch together is in
//! `tests/jwt`.

use std::time::Duration;

use serde_json::json;

use super::provider::{Provider, Wanted};
use super::{Found, Setup, clock};

/// Longer than any pause of the gateway.
const PAUSE: Duration = Duration::from_secs(300);

struct Case {
    name: &'static str,
    endpoint: &'static str,
    kind: &'static str,
    /// What a caller gets whose token needs keys that are not there yet.
    want: &'static str,
}

const fn case(name: &'static str, endpoint: &'static str, kind: &'static str) -> Case {
    Case { name, endpoint, kind, want: "TokenSignatureKeyNotFound" }
}

const CASES: &[Case] = &[
    case("down", "all", "down"),
    case("no discovery document", "discovery", "down"),
    case("no keys", "keys", "down"),
    case("an error for discovery", "discovery", "status"),
    case("an error for keys", "keys", "status"),
    case("a redirect of discovery", "discovery", "redirect"),
    case("a redirect to the keys", "keys", "redirect"),
    case("a page for discovery", "discovery", "html"),
    case("a page for keys", "keys", "html"),
    case("another document", "discovery", "wrong"),
    case("other JSON", "keys", "wrong"),
    case("an empty set", "keys", "empty"),
    case("discovery without end", "discovery", "huge"),
    case("keys without end", "keys", "huge"),
    Case { name: "slow discovery", endpoint: "discovery", kind: "slow", want: "ok" },
    Case { name: "slow keys", endpoint: "keys", kind: "slow", want: "ok" },
];

fn begin(provider: &Provider, case: &Case) {
    let fault = json!({ "endpoint": case.endpoint, "kind": case.kind, "seconds": 0.2 });
    provider.send("POST", "/-/faults", &[], fault.to_string().as_bytes());
}

fn end(provider: &Provider) {
    provider.send("DELETE", "/-/faults", &[], b"");
}

#[test]
fn as_the_gateway_starts() {
    for case in CASES {
        let (name, clock) = (case.name, clock());
        let provider = Provider::local(clock.clone());
        let token = provider.token(Wanted::Good);
        begin(&provider, case);
        let setup = Setup::new(provider, clock);
        let found = setup.ask("/", vec![("authorization".to_owned(), format!("Bearer {token}"))]);
        if case.want == "ok" {
            assert_eq!(found.status, 200, "{name}: {found:?}");
        } else {
            let (challenge, message) = (String::new(), "Invalid JWT.".to_owned());
            assert_eq!(found, Found { status: 401, reason: case.want.to_owned(), challenge, message }, "{name}");
        }
        end(&setup.provider);
        setup.gateway.clock.advance(PAUSE);
        assert_eq!(setup.call(&token), "ok", "{name}: it is well again");
    }
}

#[test]
fn while_the_gateway_has_keys() {
    let clock = clock();
    let setup = Setup::new(Provider::local(clock.clone()), clock);
    let mut known = setup.provider.token(Wanted::Good);
    assert_eq!(setup.call(&known), "ok");
    for case in CASES {
        let name = case.name;
        setup.provider.send("POST", "/-/rotate?overlap=1d", &[], b"");
        let new = setup.provider.token(Wanted::Good);
        begin(&setup.provider, case);
        setup.gateway.clock.advance(PAUSE);
        assert_eq!(setup.call(&known), "ok", "{name}: a known key goes on");
        assert_eq!(setup.call(&new), case.want, "{name}: a key that must be fetched");
        assert_eq!(setup.call(&known), "ok", "{name}: what came did not take the place of what was there");
        end(&setup.provider);
        setup.gateway.clock.advance(PAUSE);
        assert_eq!(setup.call(&new), "ok", "{name}: it is well again");
        known = setup.provider.token(Wanted::Good);
        assert_eq!(setup.call(&known), "ok", "{name}");
    }
}

#[test]
fn a_provider_that_is_gone() {
    let mut setup = Setup::new(Provider::node(), clock());
    let token = setup.provider.token(Wanted::Good);
    let another = setup.provider.token(Wanted::Good);
    assert_eq!(setup.call(&token), "ok");
    setup.provider.stop();
    setup.gateway.clock.advance(Duration::from_secs(3000));
    assert_eq!([setup.call(&token), setup.call(&another)], ["ok", "ok"], "the keys go on");
    setup.gateway.clock.advance(Duration::from_secs(24 * 3600));
    let late = setup.provider.key.sign(&setup.provider.claims(u64::MAX / 4));
    assert_eq!(setup.call(&late), "TokenSignatureKeyNotFound", "but not for ever");
}
