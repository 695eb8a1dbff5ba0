//! A vault whose secrets change, that refuses, lies and goes away, and what serves meanwhile.

use serde_json::json;

use super::*;
use crate::credential::{ClientAuthentication, Grant};
use crate::identity::test_support::{Answer, Issuer};
use crate::telemetry::Metrics;

const HOUR: Duration = Duration::from_secs(3600);

fn vault(clock: &Clock) -> Vault {
    Vault::new(Metrics::new(clock).vault())
}

fn access(issuer: &Issuer) -> Arc<VaultAccess> {
    let settings = Settings {
        url: issuer.url("/token").into(),
        grant: Grant::ClientCredentials,
        client_id: Some("gateway".into()),
        authentication: ClientAuthentication::Post("hush-client".into()),
        parameters: Vec::new(),
        refresh_before: HOUR,
        timeout: Duration::from_secs(20),
        capacity: 1,
    };
    let http = Http::new(&settings.url, false, settings.timeout, None).unwrap();
    let answer = json!({ "access_token": "hush-token", "expires_in": 3600 });
    issuer.answer("/token", Answer::Json(answer));
    Arc::new(VaultAccess::new(settings, Target { scope: Some("vault".into()), ..Target::default() }, http))
}

fn secret(vault: &Vault, issuer: &Issuer, access: &Arc<VaultAccess>, name: &str) -> Arc<VaultSecret> {
    let url = issuer.url(&format!("/secrets/{name}"));
    let make = || VaultSecret::new(name, &url, access.clone(), 4 * HOUR, Duration::from_millis(500), None).unwrap();
    vault.get(name.as_bytes(), make)
}

fn give(issuer: &Issuer, name: &str, value: &str) {
    let answer =
        json!({ "value": value, "id": format!("https://vault/secrets/{name}/1"), "attributes": { "enabled": true } });
    issuer.answer(&format!("/secrets/{name}?api-version=7.4"), Answer::Json(answer));
}

/// A fetch as the first reading of a configuration makes it: on a thread that has no runtime.
async fn fetch_now(vault: &Arc<Vault>, secrets: &[Arc<VaultSecret>], clock: &Clock) {
    let (vault, secrets, clock) = (vault.clone(), secrets.to_vec(), clock.clone());
    tokio::task::spawn_blocking(move || vault.fetch_now(&secrets, &clock)).await.unwrap();
}

#[tokio::test]
async fn a_secret_that_changes_is_noticed_when_it_is_due() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let vault = Arc::new(vault(&clock));
    let access = access(&issuer);
    let secrets = ["a", "b", "c"].map(|name| secret(&vault, &issuer, &access, name));
    for name in ["a", "b", "c"] {
        give(&issuer, name, &format!("first {name}"));
    }
    fetch_now(&vault, &secrets, &clock).await;
    let values = || secrets.iter().map(|secret| secret.value().unwrap().to_string()).collect::<Vec<_>>();
    assert_eq!(values(), ["first a", "first b", "first c"]);
    assert_eq!(issuer.hits(), 4, "one token for all of them");
    let asked =
        issuer.requests.lock().iter().filter(|request| request.contains("authorization: Bearer hush-token")).count();
    assert_eq!(asked, 3);
    // Another configuration with the same secrets asks nobody.
    fetch_now(&vault, &secrets, &clock).await;
    assert_eq!((issuer.hits(), vault.changes()), (4, 0));
    give(&issuer, "b", "second b");
    clock.advance(4 * HOUR - 4 * HOUR / 10 - Duration::from_millis(1));
    assert!(!vault.refresh(&clock).await);
    assert_eq!(issuer.hits(), 4, "nothing is due, up to a tenth early");
    clock.advance(4 * HOUR / 10 + Duration::from_millis(1));
    assert!(vault.refresh(&clock).await, "one has changed");
    assert_eq!(values(), ["first a", "second b", "first c"]);
    assert_eq!(vault.changes(), 1, "all that changed at once is one change");
    assert!(!vault.refresh(&clock).await);
    clock.advance(4 * HOUR);
    assert!(!vault.refresh(&clock).await, "fetched, and the same");
    assert_eq!((issuer.hits(), vault.changes()), (12, 1));
    // What no configuration holds any more is not asked for.
    drop(secrets);
    clock.advance(4 * HOUR);
    assert!(!vault.refresh(&clock).await);
    assert_eq!(issuer.hits(), 12);
}

#[tokio::test]
async fn the_last_value_serves_while_the_vault_is_away() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let vault = Arc::new(vault(&clock));
    let secret = secret(&vault, &issuer, &access(&issuer), "a");
    give(&issuer, "a", "first");
    fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
    let fetched = secret.status().fetched;
    issuer.answer("/secrets/a?api-version=7.4", Answer::Status(503));
    clock.advance(4 * HOUR);
    let mut hits = issuer.hits();
    for (failures, pause) in (1..).zip([15, 30, 60, 120, 240, 480, 600, 600]) {
        assert!(!vault.refresh(&clock).await);
        hits += 2;
        let status = secret.status();
        assert_eq!((status.failures, status.fetched), (failures, fetched));
        assert_eq!(status.error, Some(format!("`{}` answered with status 503", issuer.url("/secrets/a"))));
        assert_eq!(secret.value().as_deref(), Some("first"));
        clock.advance(Duration::from_secs(pause) - Duration::from_millis(1));
        assert!(!vault.refresh(&clock).await);
        assert_eq!(issuer.hits(), hits, "the pause of {pause} s");
        clock.advance(Duration::from_millis(1));
    }
    // Not even a token.
    issuer.answer("/token", Answer::Close);
    assert!(!vault.refresh(&clock).await);
    assert!(secret.status().error.unwrap().contains("/token` did not answer: "));
    access(&issuer);
    give(&issuer, "a", "second");
    clock.advance(Duration::from_secs(600));
    assert!(vault.refresh(&clock).await);
    assert_eq!(secret.value().as_deref(), Some("second"));
    assert_eq!((secret.status().failures, secret.status().error), (0, None));
}

#[tokio::test]
async fn bad_answers_are_errors_that_show_no_secret() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let access = access(&issuer);
    let raw = |status: &str, body: &str| {
        Answer::Raw(
            format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).into(),
        )
    };
    let forbidden = r#"{"error":{"code":"Forbidden","message":"No get permission.\r\nCaller: x","innererror":{}}}"#;
    struct Case {
        name: &'static str,
        answer: Answer,
        want: &'static str,
    }
    for Case { name, answer, want } in [
        Case {
            name: "forbidden",
            answer: raw("403 No", forbidden),
            want: "`{}` refused with status 403: Forbidden (No get permission.)",
        },
        Case {
            name: "a page",
            answer: raw("404 No", "<html>hush"),
            want: "`{}` refused with status 404: no reason given",
        },
        Case {
            name: "redirect",
            answer: Answer::Redirect(issuer.url("/other")),
            want: "`{}` answered with a redirect (302), which is refused",
        },
        Case {
            name: "nonsense",
            answer: raw("200 OK", "hush"),
            want: "the answer of `{}` cannot be used: it is not a secret in JSON",
        },
        Case {
            name: "no value",
            answer: raw("200 OK", "{}"),
            want: "the answer of `{}` cannot be used: it has no `value`",
        },
        Case {
            name: "empty",
            answer: raw("200 OK", r#"{"value":""}"#),
            want: "the answer of `{}` cannot be used: the value is empty",
        },
        Case {
            name: "long",
            answer: raw("200 OK", &json!({ "value": "h".repeat(30_000) }).to_string()),
            want: "the answer of `{}` cannot be used: the value is longer than 25 KiB",
        },
        Case { name: "endless", answer: Answer::Endless, want: "the answer of `{}` is longer than 65536 bytes" },
        Case { name: "stalls", answer: Answer::Stall, want: "`{}` did not answer: " },
        Case { name: "hangs up", answer: Answer::Close, want: "`{}` did not answer: " },
    ] {
        issuer.answer("/secrets/a?api-version=7.4", answer);
        let vault = Arc::new(vault(&clock));
        let secret = secret(&vault, &issuer, &access, "a");
        fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
        assert_eq!(secret.value(), None, "{name}");
        let error = secret.status().error.unwrap();
        let want = want.replace("{}", &issuer.url("/secrets/a"));
        assert!(if want.ends_with(": ") { error.starts_with(&want) } else { error == want }, "{name}: {error}");
        let shown = format!("{vault:?} {secret:?} {:?} {error}", secret.status());
        assert!(!shown.contains("hush"), "{name}: {shown}");
    }
    assert!(!issuer.requests.lock().iter().any(|request| request.contains("/other")), "no redirect is followed");
}
