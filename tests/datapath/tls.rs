//! TLS on both sides: one gateway that speaks it to its clients behind another that speaks it to its backend.

use std::path::PathBuf;
use std::sync::Arc;

use sluicegate::backend::EndpointSettings;
use sluicegate::server::Settings;
use sluicegate::server::tls::ServerTls;

use crate::support::{Backend, GET, Gateway, Options};

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/datapath/tls").join(name)
}

#[test]
fn both_sides() {
    let backend = Backend::echo();
    let tls = ServerTls::from_pem(&file("certificate.pem"), &file("key.pem")).unwrap();
    let settings = Settings { tls: Some(Arc::new(tls)), ..Settings::default() };
    let inner = Gateway::with(backend.address, Options { settings, ..Options::default() });
    for (host, authority, want) in [
        ("localhost", "authority.pem", 200),
        ("127.0.0.1", "authority.pem", 200),
        ("localhost", "certificate.pem", 502),
    ] {
        let endpoint = EndpointSettings { authorities: Some(file(authority)), ..EndpointSettings::default() };
        let url = format!("https://{host}:{}/base", inner.address.port());
        let outer = Gateway::at(&url, Options { endpoint, ..Options::default() });
        let mut client = outer.connect();
        for _ in 0..2 {
            client.send(GET);
            let answer = client.message().unwrap();
            assert_eq!(answer.status(), want, "{host} {authority}: {}", answer.text());
            if want == 200 {
                assert!(answer.text().starts_with("GET /base/ HTTP/1.1\n"), "{}", answer.text());
            }
        }
    }
    assert_eq!(backend.connections(), 1);
    while inner.totals().handshakes_failed < 2 {
        std::thread::yield_now();
    }
}

#[test]
fn a_key_that_does_not_fit_is_refused() {
    assert!(ServerTls::from_pem(&file("authority.pem"), &file("key.pem")).is_err());
    assert!(ServerTls::from_pem(&file("key.pem"), &file("key.pem")).is_err());
    assert!(ServerTls::from_pem(&file("none.pem"), &file("key.pem")).is_err());
}
