//! What the process log says of a refusal: which check, what was expected and what was found, never the token.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::issuer::{Answer, Signer, encode};
use crate::{NOW, Setup};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        String::from_utf8_lossy(&self.0.lock().unwrap()).lines().map(str::to_owned).collect()
    }
}

#[test]
fn the_log_says_which_check_failed() {
    let log = Log::default();
    let writer = log.clone();
    // The gateway logs from its own threads, so this is the log of the whole test program.
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::DEBUG)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();

    let setup = Setup::new(Answer::Keys(vec![Signer::a().jwk()]));
    let issuer = setup.issuer.name();
    let signed = |name: &str, value: Value| Signer::a().sign(&setup.claims_with(name, value));
    let unsigned = format!("{}.{}.", encode(&json!({ "alg": "none" })), encode(&setup.claims()));
    struct Case {
        check: &'static str,
        token: String,
        want: String,
    }
    for Case { check, token, want } in [
        Case {
            check: "audience",
            token: signed("aud", json!("invoices")),
            want: "audience `invoices` is not allowed, expected one of `orders`".to_owned(),
        },
        Case {
            check: "issuer",
            token: signed("iss", json!("https://evil.example")),
            want: format!("issuer `https://evil.example` is not allowed, expected one of `{issuer}`"),
        },
        Case {
            check: "expiration",
            token: signed("exp", json!(NOW - 60)),
            want: "the token expired at 2025-12-31T23:59:00Z, now is 2026-01-01T00:00:00Z (clock skew 0s)".to_owned(),
        },
        Case {
            check: "not-before",
            token: signed("nbf", json!(NOW + 60)),
            want: "the token is valid from 2026-01-01T00:01:00Z, now is 2026-01-01T00:00:00Z (clock skew 0s)"
                .to_owned(),
        },
        Case { check: "key", token: Signer::b().sign(&setup.claims()), want: "no key matches `kid` `b`".to_owned() },
        Case {
            check: "signature",
            token: Signer { kid: "a", ..Signer::b() }.sign(&setup.claims()),
            want: "the signature is not valid for 1 candidate key(s)".to_owned(),
        },
        Case { check: "signed", token: unsigned, want: "the token is not signed (`alg` is `none`)".to_owned() },
        Case {
            check: "encryption",
            token: "a.b.c.d.e".to_owned(),
            want: "the token is encrypted (JWE, five parts)".to_owned(),
        },
    ] {
        assert_ne!(setup.call(&token), "ok", "{check}");
        let name = format!("check=\"{check}\"");
        let lines = log.lines();
        // Tests beside this one refuse tokens too, into the same log.
        let said = |line: &String| line.contains("DEBUG") && line.contains(&name) && line.contains(&want);
        assert!(lines.iter().any(said), "{check}: {lines:#?}");
        let secret = token.rsplit('.').next().unwrap();
        let told = |line: &String| line.contains(&token) || (secret.len() > 20 && line.contains(secret));
        assert!(!lines.iter().any(told), "{check}: the log holds the token");
    }
}
