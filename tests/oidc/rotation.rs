//! Keys that rotate at the provider, as a caller of the gateway meets it.

use std::time::Duration;

use super::provider::{Provider, Signer, Wanted};
use super::{Setup, clock};

/// How often tokens with unknown keys make the gateway ask.
const MIN_REFETCH: Duration = Duration::from_secs(300);

/// `rotate` puts a new key in front of the old one, and `drop_old` takes the old one away, at the latest when the time in
/// between is over.
fn run(setup: &Setup, rotate: impl Fn(&Provider), drop_old: impl Fn(&Provider)) {
    let provider = &setup.provider;
    let old = provider.token(Wanted::Good);
    assert_eq!(setup.call(&old), "ok");

    rotate(provider);
    let new = provider.token(Wanted::Good);
    setup.gateway.clock.advance(MIN_REFETCH);
    assert_eq!(setup.call(&new), "ok", "the new key is fetched because a token names it");
    assert_eq!(setup.call(&old), "ok", "both keys are published");

    drop_old(provider);
    assert_eq!(setup.call(&old), "ok", "the gateway has not looked yet");
    setup.gateway.clock.advance(MIN_REFETCH);
    let unknown = Signer::rsa("rsa-b.pem", "never-seen").sign(&provider.claims(u64::MAX / 4));
    assert_eq!(setup.call(&unknown), "TokenSignatureKeyNotFound", "and looks because of this one");
    assert_eq!(setup.call(&old), "TokenSignatureKeyNotFound", "though it passed before");
    assert_eq!(setup.call(&new), "ok");
}

#[test]
fn of_a_certified_provider() {
    let setup = Setup::new(Provider::node(), clock());
    run(&setup, |provider| provider.publish("b,a,ec"), |provider| provider.publish("b,ec"));
}

#[test]
fn of_the_local_issuer() {
    let clock = clock();
    let setup = Setup::new(Provider::local(clock.clone()), clock);
    let rotate = |provider: &Provider| drop(provider.send("POST", "/-/rotate?overlap=10m", &[], b""));
    run(&setup, rotate, |_| setup.gateway.clock.advance(MIN_REFETCH));
}
