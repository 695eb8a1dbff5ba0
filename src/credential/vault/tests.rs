//! A vault whose secrets change, that refuses, lies and goes away, and what serves meanwhile.

use percent_encoding::{percent_decode_str, utf8_percent_encode};
use serde_json::json;

use super::*;
use crate::credential::request::FORM;
use crate::credential::{ClientAuthentication, Grant, IdentityEndpoint, Settings, Target};
use crate::identity::test_support::{Answer, Issuer};
use crate::telemetry::Metrics;

const HOUR: Duration = Duration::from_secs(3600);

fn vault(clock: &Clock) -> Vault {
    Vault::new(Metrics::new(clock).vault())
}

fn access(issuer: &Issuer) -> Arc<VaultAccess> {
    let purpose = Purpose::Said(Target { scope: Some("vault".into()), ..Target::default() });
    access_for(issuer, Grant::ClientCredentials, purpose)
}

fn access_for(issuer: &Issuer, grant: Grant, purpose: Purpose) -> Arc<VaultAccess> {
    let settings = Settings {
        url: issuer.url("/token").into(),
        grant,
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
    Arc::new(VaultAccess::new(settings, purpose, http))
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
async fn whoever_knows_that_a_secret_changed_need_not_wait() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let vault = Arc::new(vault(&clock));
    let secret = secret(&vault, &issuer, &access(&issuer), "a");
    give(&issuer, "a", "first");
    fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
    give(&issuer, "a", "second");
    assert!(!vault.refresh(&clock).await, "not due");
    let changed = Arc::new(Notify::new());
    let keeper = {
        let (vault, clock, changed) = (vault.clone(), clock.clone(), changed.clone());
        tokio::spawn(async move { vault.keep_fresh(&clock, || changed.notify_one()).await })
    };
    vault.ask_again(&clock);
    tokio::time::timeout(Duration::from_secs(20), changed.notified()).await.expect("a change");
    keeper.abort();
    assert_eq!(&*secret.value().unwrap(), "second");
    assert!(!vault.refresh(&clock).await, "it was asked for once");
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
    let asked = || issuer.requests.lock().iter().filter(|request| request.starts_with("GET /secrets/a?")).count();
    for (failures, pause) in (1..).zip([15, 30, 60, 120, 240, 480, 600, 600]) {
        let before = asked();
        assert!(!vault.refresh(&clock).await);
        assert_eq!(asked(), before + 1);
        let status = secret.status();
        assert_eq!((status.failures, status.fetched), (failures, fetched));
        assert_eq!(status.error, Some(format!("`{}` answered with status 503", issuer.url("/secrets/a"))));
        assert_eq!(secret.value().as_deref(), Some("first"));
        clock.advance(Duration::from_secs(pause) - Duration::from_millis(1));
        assert!(!vault.refresh(&clock).await);
        assert_eq!(asked(), before + 1, "the pause of {pause} s");
        clock.advance(Duration::from_millis(1));
    }
    // Not even a token, when the last one has served for half its life.
    clock.advance(Duration::from_secs(1800));
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
        Case {
            name: "announced",
            answer: Answer::Announce(1 << 40),
            want: "the answer of `{}` is longer than 65536 bytes",
        },
        Case { name: "stalls", answer: Answer::Stall, want: "`{}` did not answer: " },
        Case { name: "drips", answer: Answer::Drip, want: "`{}` did not answer: " },
        Case { name: "hangs up", answer: Answer::Close, want: "`{}` did not answer: " },
    ] {
        // Once in place of the first value, and once in place of the next.
        for before in [None, Some("hush-before")] {
            let vault = Arc::new(vault(&clock));
            let secret = secret(&vault, &issuer, &access, "a");
            if let Some(value) = before {
                give(&issuer, "a", value);
                fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
                clock.advance(4 * HOUR);
            }
            issuer.answer("/secrets/a?api-version=7.4", answer.clone());
            match before {
                None => fetch_now(&vault, std::slice::from_ref(&secret), &clock).await,
                Some(_) => assert!(!vault.refresh(&clock).await, "{name}"),
            }
            assert_eq!(secret.value().as_deref(), before, "{name}");
            let error = secret.status().error.unwrap();
            let want = want.replace("{}", &issuer.url("/secrets/a"));
            assert!(if want.ends_with(": ") { error.starts_with(&want) } else { error == want }, "{name}: {error}");
            let shown = format!("{vault:?} {secret:?} {access:?} {:?} {error}", secret.status());
            assert!(!shown.contains("hush"), "{name}: {shown}");
        }
    }
    assert!(!issuer.requests.lock().iter().any(|request| request.contains("/other")), "no redirect is followed");
}

/// A vault as Azure's: `401` and a challenge for whoever has not this token.
fn guard(issuer: &Issuer, challenge: &str) {
    let body = r#"{"error":{"code":"Unauthorized","message":"AKV10022: Invalid audience."}}"#;
    let head = format!("HTTP/1.1 401 No\r\nwww-authenticate: {challenge}\r\ncontent-length: {}\r\n", body.len());
    let answer = Answer::Raw(format!("{head}connection: close\r\n\r\n{body}").into());
    issuer.answer("/secrets/a?api-version=7.4", answer);
}

#[tokio::test]
async fn a_vault_says_what_a_token_must_be_for() {
    let own = |issuer: &Issuer| format!("https://{}", issuer.address);
    let usual = || Purpose::Usual("https://vault.azure.net".into());
    let said = || Purpose::Said(Target { resource: Some("https://vault.azure.net".into()), ..Target::default() });
    let machine = || Grant::ManagedIdentity(IdentityEndpoint::Metadata);
    struct Case {
        name: &'static str,
        grant: Grant,
        purpose: Purpose,
        /// What the challenge asks for; `{}` is the vault itself.
        wanted: &'static str,
        /// What tokens were asked for with, in this order.
        want: &'static [&'static str],
    }
    for Case { name, grant, purpose, wanted, want } in [
        Case {
            name: "a vault elsewhere",
            grant: machine(),
            purpose: usual(),
            wanted: "resource=\"{}\"",
            want: &["resource=https://vault.azure.net", "resource={}"],
        },
        Case {
            name: "a vault elsewhere, for a client",
            grant: Grant::ClientCredentials,
            purpose: usual(),
            wanted: "scope=\"{}/.default\"",
            want: &["scope=https://vault.azure.net/.default", "scope={}/.default"],
        },
        Case {
            name: "what is not the vault's own",
            grant: machine(),
            purpose: usual(),
            wanted: "resource=\"https://management.azure.com\"",
            want: &["resource=https://vault.azure.net"],
        },
        Case {
            name: "the configuration has the last word",
            grant: machine(),
            purpose: said(),
            wanted: "resource=\"{}\"",
            want: &["resource=https://vault.azure.net"],
        },
    ] {
        let issuer = Issuer::start().await;
        let clock = Clock::manual();
        let vault = Arc::new(vault(&clock));
        let place = |text: &str| text.replace("{}", &own(&issuer));
        guard(&issuer, &format!("Bearer authorization=\"https://login.example/t\", {}", place(wanted)));
        let access = access_for(&issuer, grant, purpose);
        for text in want.iter().map(|text| place(text)) {
            if let Some(resource) = text.strip_prefix("resource=") {
                let query = format!("api-version=2018-02-01&resource={}", utf8_percent_encode(resource, FORM));
                let answer = json!({ "access_token": "hush-token", "expires_in": 3600 });
                issuer.answer(&format!("/token?{query}&client_id=gateway"), Answer::Json(answer));
            }
        }
        let secret = secret(&vault, &issuer, &access, "a");
        fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
        let error = secret.status().error.unwrap();
        let asked: Vec<String> = (issuer.requests.lock().iter())
            .filter(|request| request.contains("/token"))
            .map(|request| percent_decode_str(request).decode_utf8().unwrap().into_owned())
            .collect();
        assert_eq!(asked.len(), want.len(), "{name}: {asked:#?}\n{error}");
        for (asked, want) in asked.iter().zip(want) {
            assert!(asked.contains(&place(want)), "{name}: {asked}");
        }
        let want = if want.len() > 1 {
            "status 401: Unauthorized (AKV10022: Invalid audience.)".to_owned()
        } else {
            let wanted = place(wanted).replace("resource=", "").replace('"', "");
            format!("status 401: Unauthorized (AKV10022: Invalid audience. It wants a token for `{wanted}`.)")
        };
        assert!(error.ends_with(&want) && !error.contains("hush"), "{name}: {error}");
    }
}

#[tokio::test]
async fn a_token_that_the_vault_refuses_is_replaced_once_in_a_while() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let vault = Arc::new(vault(&clock));
    let access = access(&issuer);
    let secrets = ["a", "b", "c"].map(|name| secret(&vault, &issuer, &access, name));
    for name in ["a", "b", "c"] {
        give(&issuer, name, "first");
    }
    fetch_now(&vault, &secrets, &clock).await;
    let tokens = || issuer.requests.lock().iter().filter(|request| request.contains(" /token ")).count();
    assert_eq!(tokens(), 1);
    guard(&issuer, "Bearer authorization=\"x\"");
    // In time for the token, which serves for half an hour, and too late for the values.
    let short = ["a", "b"].map(|name| {
        let url = issuer.url(&format!("/secrets/{name}"));
        let make = || VaultSecret::new(name, &url, access.clone(), HOUR / 4, HOUR, None).unwrap();
        vault.get(format!("short {name}").as_bytes(), make)
    });
    give(&issuer, "b", "second");
    fetch_now(&vault, &short, &clock).await;
    assert_eq!(tokens(), 1, "a token this young is not the reason");
    clock.advance(HOUR / 4);
    assert!(!vault.refresh(&clock).await);
    assert_eq!(tokens(), 2);
    assert_eq!(short.each_ref().map(|secret| secret.status().failures), [2, 0]);
    assert_eq!(short[1].value().as_deref(), Some("second"));
}

#[tokio::test]
async fn a_secret_that_was_missing_is_asked_for_again_and_is_a_change_when_it_comes() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let vault = Arc::new(vault(&clock));
    let secret = secret(&vault, &issuer, &access(&issuer), "a");
    assert!(!vault.refresh(&clock).await);
    assert_eq!(issuer.hits(), 0, "nobody has asked for it");
    fetch_now(&vault, std::slice::from_ref(&secret), &clock).await;
    assert_eq!((secret.value(), secret.status().failures, vault.changes()), (None, 1, 0));
    give(&issuer, "a", "late");
    clock.advance(FIRST_PAUSE - Duration::from_millis(1));
    assert!(!vault.refresh(&clock).await);
    clock.advance(Duration::from_millis(1));
    assert!(vault.refresh(&clock).await);
    assert_eq!((secret.value().as_deref(), vault.changes()), (Some("late"), 1));
    // Without a configuration that wants it, it is forgotten.
    drop(secret);
    assert!(vault.all().is_empty());
}
