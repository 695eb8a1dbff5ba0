//! A token endpoint that is asked by many, stalls, lies, floods and goes away, and what requests see of it.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderValue, StatusCode};
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;
use tokio::sync::Barrier;

use super::*;
use crate::clock::Clock;
use crate::identity::test_support::{Answer, Issuer};
use crate::telemetry::Metrics;

mod callers;
mod requests;

/// Long enough that only a hang meets it.
const PATIENCE: Duration = Duration::from_secs(20);

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn settings(url: String, grant: Grant) -> Settings {
    Settings {
        url: url.into(),
        grant,
        client_id: Some("gateway".into()),
        authentication: ClientAuthentication::Post("hush-secret".into()),
        parameters: Vec::new(),
        refresh_before: seconds(300),
        timeout: PATIENCE,
        capacity: 10_000,
    }
}

fn source_of(settings: Settings, clock: &Clock) -> Arc<TokenSource> {
    let http = Http::new(&settings.url, false, settings.timeout, None).unwrap();
    let metrics = Metrics::new(clock).token_source("erp");
    Arc::new(TokenSource::new("erp", settings, http, clock.clone(), Handle::current(), metrics))
}

fn source(issuer: &Issuer, grant: Grant, clock: &Clock) -> Arc<TokenSource> {
    source_of(settings(issuer.url("/token"), grant), clock)
}

fn issue(issuer: &Issuer, token: &str, expires_in: u64) {
    let answer = json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in });
    issuer.answer("/token", Answer::Json(answer));
}

fn exchange() -> Grant {
    Grant::TokenExchange { subject_type: "urn:ietf:params:oauth:token-type:access_token".into(), requested_type: None }
}

/// A token whose `exp` is so many seconds after the clock's start.
fn subject(name: &str, ends: u64) -> String {
    let payload = json!({ "sub": name, "exp": 1_767_225_600 + ends }).to_string();
    format!("e30.{}.{name}", URL_SAFE_NO_PAD.encode(payload))
}

fn of(token: &str) -> Subject<'_> {
    Subject { token, expires: None }
}

/// What a request gets, after it has waited where it must.
async fn get(obtained: Obtained) -> Result<String, String> {
    let show = |token: HeaderValue| token.to_str().unwrap().trim_start_matches("Bearer ").to_owned();
    match obtained {
        Obtained::Token(token) => Ok(show(token)),
        Obtained::Failed(error) => Err(error.to_string()),
        Obtained::Wait(fetching) => {
            let done = tokio::time::timeout(PATIENCE, fetching.done()).await.expect("the fetch ends");
            done.map(show).map_err(|error| error.to_string())
        }
    }
}

/// Looks until the token is this one, as it is soon when a fetch in the background is over.
async fn becomes(credential: &Credential, want: &str) {
    let looks = async {
        while get(credential.token(None)).await.as_deref() != Ok(want) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, looks).await.unwrap_or_else(|_| panic!("waited in vain for {want}"));
}

/// Waits until the endpoint was asked once more.
async fn asked(issuer: &Issuer) {
    tokio::time::timeout(PATIENCE, issuer.asked.acquire()).await.expect("the endpoint is asked").unwrap().forget();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixty_four_requests_are_one_fetch() {
    let issuer = Issuer::start().await;
    issue(&issuer, "shared", 3600);
    let credential = source(&issuer, Grant::ClientCredentials, &Clock::manual()).fixed(Target::default());
    issuer.gate.forget_permits(1_000);
    let barrier = Arc::new(Barrier::new(65));
    let waiting: Vec<_> = (0..64)
        .map(|_| {
            let (credential, barrier) = (credential.clone(), barrier.clone());
            tokio::spawn(async move {
                let obtained = credential.token(None);
                assert!(matches!(obtained, Obtained::Wait(_)), "there is none yet");
                barrier.wait().await;
                get(obtained).await
            })
        })
        .collect();
    // All of them wait now, and the endpoint has not answered.
    barrier.wait().await;
    issuer.gate.add_permits(1_000);
    for one in waiting {
        assert_eq!(one.await.unwrap().as_deref(), Ok("shared"));
    }
    assert_eq!(issuer.hits(), 1);
    assert!(matches!(credential.token(None), Obtained::Token(_)), "kept");
}

#[tokio::test]
async fn a_fetch_outlives_the_request_that_began_it() {
    let issuer = Issuer::start().await;
    issue(&issuer, "kept", 3600);
    let credential = source(&issuer, Grant::ClientCredentials, &Clock::manual()).fixed(Target::default());
    issuer.gate.forget_permits(1_000);
    drop(credential.token(None));
    let other = credential.token(None);
    asked(&issuer).await;
    issuer.gate.add_permits(1_000);
    assert_eq!(get(other).await.as_deref(), Ok("kept"));
    assert_eq!(issuer.hits(), 1);
}

#[tokio::test]
async fn a_token_is_replaced_before_its_end_while_it_serves() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    issue(&issuer, "first", 3600);
    let credential = source(&issuer, Grant::ClientCredentials, &clock).fixed(Target::default());
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("first"));
    asked(&issuer).await;
    issue(&issuer, "second", 3600);
    // Ten seconds are left unused, and five minutes and up to half as much are for the replacement.
    clock.advance(seconds(3600 - 10 - 451));
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("first"));
    assert_eq!(issuer.hits(), 1, "too early");
    clock.advance(seconds(152));
    issuer.gate.forget_permits(1_000);
    for _ in 0..64 {
        assert!(matches!(credential.token(None), Obtained::Token(_)), "nobody waits");
    }
    asked(&issuer).await;
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("first"), "it serves on");
    issuer.gate.add_permits(1_000);
    becomes(&credential, "second").await;
    assert_eq!(issuer.hits(), 2);
}

#[tokio::test]
async fn what_is_asked_is_told_to_who_waits_and_ahead_of_time_to_who_comes_next() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    issue(&issuer, "first", 3600);
    let source = source(&issuer, Grant::ClientCredentials, &clock);
    let credential = source.fixed(Target::default());
    let Obtained::Wait(fetching) = credential.token(None) else { panic!("there is none yet") };
    assert!(fetching.told().await.1.is_none(), "requests are not traced, and nothing is kept");
    source.watch(true);
    let first = HeaderValue::from_static("Bearer first");
    issue(&issuer, "second", 3600);
    let Some(Obtained::Wait(fetching)) = credential.renew(&first, None) else { panic!("it is asked for anew") };
    let (token, asked) = fetching.told().await;
    assert_eq!(token.unwrap(), "Bearer second");
    let watched = &asked.expect("it is told").watched;
    assert_eq!((watched.method.as_str(), &*watched.url), ("POST", &*issuer.url("/token")));
    assert!(watched.body.ends_with(b"client_secret=hush-secret"), "as it was sent: {:?}", watched.body);
    let answer = watched.answer.as_ref().unwrap();
    assert!(answer.status() == 200 && answer.body().starts_with(b"{"), "{answer:?}");
    assert!(source.take_ahead().is_none(), "somebody waited");
    issue(&issuer, "third", 3600);
    clock.advance(seconds(3600 - 10 - 290));
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("second"));
    becomes(&credential, "third").await;
    assert!(source.take_ahead().is_some_and(|asked| asked.error.is_none()), "nobody waited");
    assert!(source.take_ahead().is_none(), "it is told once");
    issuer.answer("/token", Answer::Status(503));
    clock.advance(seconds(3600));
    let Obtained::Wait(fetching) = credential.token(None) else { panic!("it has ended") };
    let (token, asked) = fetching.told().await;
    let asked = asked.unwrap();
    assert_eq!(
        (token.unwrap_err().to_string(), asked.watched.answer.as_ref().unwrap().status()),
        (asked.error.clone().unwrap(), StatusCode::SERVICE_UNAVAILABLE)
    );
    source.watch(false);
    assert!(!source.is_watched());
}

#[tokio::test]
async fn an_endpoint_that_is_down_is_left_alone_while_the_old_token_serves_to_its_end() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    issue(&issuer, "old", 3600);
    let source = source(&issuer, Grant::ClientCredentials, &clock);
    let credential = source.fixed(Target::default());
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("old"));
    asked(&issuer).await;
    issuer.answer("/token", Answer::Status(503));
    clock.advance(seconds(3600 - 10 - 290));
    let mut hits = 1;
    // Each pause is over when it is, and no earlier: 1 s, 2 s, 4 s … and never above 30 s.
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        assert_eq!(get(credential.token(None)).await.as_deref(), Ok("old"));
        asked(&issuer).await;
        hits += 1;
        let failed = async {
            while source.status().failures < hits - 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, failed).await.expect("the fetch fails");
        clock.advance(seconds(pause) - Duration::from_millis(1));
        for _ in 0..10 {
            assert_eq!(get(credential.token(None)).await.as_deref(), Ok("old"));
        }
        assert_eq!(issuer.hits(), hits as usize, "the pause of {pause} s");
        clock.advance(Duration::from_millis(1));
    }
    let status = source.status();
    let want = format!("`{}` answered with status 503", issuer.url("/token"));
    assert_eq!(status.error.as_deref(), Some(&*want));
    // The old one's end.
    clock.advance(seconds(300));
    assert_eq!(get(credential.token(None)).await, Err(want.clone()));
    asked(&issuer).await;
    for _ in 0..64 {
        assert_eq!(get(credential.token(None)).await, Err(want.clone()), "at once");
    }
    assert_eq!(issuer.hits(), hits as usize + 1);
    issue(&issuer, "new", 3600);
    clock.advance(seconds(30));
    assert_eq!(get(credential.token(None)).await.as_deref(), Ok("new"));
    assert_eq!((source.status().failures, source.status().error), (0, None));
}

#[tokio::test]
async fn an_endpoint_says_when_it_wants_to_be_asked_again() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    for (field, pause) in [("60", 60), ("0", 1), ("86400", 300), ("tomorrow", 1)] {
        let answer = format!("HTTP/1.1 429 Too Many\r\nretry-after: {field}\r\ncontent-length: 0\r\n\r\n");
        issuer.answer("/token", Answer::Raw(answer.into_bytes()));
        let credential = source(&issuer, Grant::ClientCredentials, &clock).fixed(Target::default());
        let before = issuer.hits();
        assert!(get(credential.token(None)).await.is_err());
        clock.advance(seconds(pause) - Duration::from_millis(1));
        assert!(matches!(credential.token(None), Obtained::Failed(_)), "{field}");
        assert_eq!(issuer.hits(), before + 1, "{field}");
        clock.advance(Duration::from_millis(1));
        assert!(matches!(credential.token(None), Obtained::Wait(_)), "{field}");
    }
}

#[tokio::test]
async fn bad_answers_are_errors_that_say_what_came_and_no_more() {
    let issuer = Issuer::start().await;
    let text = |text: &str| Answer::Bytes(text.as_bytes().to_vec());
    let refusal = |body: Json| {
        let body = body.to_string();
        Answer::Raw(format!("HTTP/1.1 401 No\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes())
    };
    let token = |token: &str| json!({ "access_token": token, "token_type": "Bearer" });
    struct Case {
        name: &'static str,
        answer: Answer,
        want: &'static str,
    }
    for Case { name, answer, want } in [
        Case { name: "error", answer: Answer::Status(500), want: "`{}` answered with status 500" },
        Case {
            name: "redirect",
            answer: Answer::Redirect(issuer.url("/elsewhere")),
            want: "`{}` answered with a redirect (302), which is refused",
        },
        Case {
            name: "announced",
            answer: Answer::Announce(1 << 40),
            want: "the answer of `{}` is longer than 65536 bytes",
        },
        Case { name: "endless", answer: Answer::Endless, want: "the answer of `{}` is longer than 65536 bytes" },
        Case { name: "stalls", answer: Answer::Stall, want: "`{}` did not answer: " },
        Case { name: "drips", answer: Answer::Drip, want: "`{}` did not answer: " },
        Case { name: "hangs up", answer: Answer::Close, want: "`{}` did not answer: " },
        Case {
            name: "a page",
            answer: text("<html>hush"),
            want: "the answer of `{}` cannot be used: it is not a token in JSON",
        },
        Case {
            name: "a token of the wrong type",
            answer: text(r#"{"access_token": ["hush"]}"#),
            want: "the answer of `{}` cannot be used: it is not a token in JSON",
        },
        Case {
            name: "no token",
            answer: text(r#"{"id_token":"hush"}"#),
            want: "the answer of `{}` cannot be used: it has no `access_token`",
        },
        Case {
            name: "empty",
            answer: Answer::Json(token("")),
            want: "the answer of `{}` cannot be used: it has no `access_token`",
        },
        Case {
            name: "line break",
            answer: Answer::Json(token("hush\r\nx-admin: yes")),
            want: "the answer of `{}` cannot be used: the token cannot stand in a header",
        },
        Case {
            name: "too long",
            answer: Answer::Json(token(&"h".repeat(20_000))),
            want: "the answer of `{}` cannot be used: the token is longer than 16384 bytes",
        },
        Case {
            name: "another scheme",
            answer: text(r#"{"access_token":"hush","token_type":"DPoP"}"#),
            want: "the answer of `{}` cannot be used: tokens of type `DPoP` are not supported",
        },
        Case {
            name: "expired",
            answer: text(r#"{"access_token":"hush","expires_in":0}"#),
            want: "the answer of `{}` cannot be used: the token has expired",
        },
        Case {
            name: "refused, and it quotes the secret",
            answer: refusal(
                json!({ "error": "invalid_client", "error_description": "hush-secret is wrong\r\nTrace: 1" }),
            ),
            want: "`{}` refused with status 401: invalid_client (*** is wrong)",
        },
        Case {
            name: "refused without a word",
            answer: refusal(json!([])),
            want: "`{}` refused with status 401: no reason given",
        },
    ] {
        issuer.answer("/token", answer);
        let short = Settings {
            timeout: Duration::from_millis(300),
            ..settings(issuer.url("/token"), Grant::ClientCredentials)
        };
        let error = get(source_of(short, &Clock::manual()).fixed(Target::default()).token(None)).await.unwrap_err();
        let want = want.replace("{}", &issuer.url("/token"));
        assert!(if want.ends_with(": ") { error.starts_with(&want) } else { error == want }, "{name}: {error}");
        assert!(!error.contains("hush"), "{name}: {error}");
    }
    assert!(!issuer.requests.lock().iter().any(|request| request.contains("/elsewhere")), "no redirect is followed");
}

#[tokio::test]
async fn lifetimes_are_read_in_every_form_they_are_written_in() {
    let issuer = Issuer::start().await;
    let start = 1_767_225_600;
    for (answer, life) in [
        (json!({ "expires_in": 100 }), 90),
        (json!({ "expires_in": "100" }), 90),
        (json!({ "expires_in": 1000 }), 990),
        // Azure's identity endpoints.
        (json!({ "expires_on": (start + 1000).to_string() }), 990),
        (json!({ "expires_on": start + 1000 }), 990),
        (json!({ "expires_in": 500, "expires_on": start + 1000 }), 490),
        // Unsaid, and beyond belief.
        (json!({}), 290),
        (json!({ "token_type": "bearer" }), 290),
        // What an exchange gives that is not an access token (RFC 8693 §2.2.1).
        (json!({ "token_type": "N_A", "issued_token_type": "urn:ietf:params:oauth:token-type:jwt" }), 290),
        (json!({ "expires_in": 1e30 }), 7 * 24 * 3600 - 10),
    ] {
        let mut body = json!({ "access_token": "a" });
        body.as_object_mut().unwrap().extend(answer.as_object().unwrap().clone());
        issuer.answer("/token", Answer::Json(body));
        let clock = Clock::manual();
        let credential = source(&issuer, Grant::ClientCredentials, &clock).fixed(Target::default());
        assert!(get(credential.token(None)).await.is_ok());
        clock.advance(seconds(life) - Duration::from_millis(1));
        assert!(matches!(credential.token(None), Obtained::Token(_)), "{answer}");
        clock.advance(Duration::from_millis(1));
        assert!(!matches!(credential.token(None), Obtained::Token(_)), "{answer}");
    }
}

#[tokio::test]
async fn a_token_that_a_backend_refuses_is_replaced_once_in_a_while() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    issue(&issuer, "first", 3600);
    let credential = source(&issuer, Grant::ClientCredentials, &clock).fixed(Target::default());
    get(credential.token(None)).await.unwrap();
    let (first, second) = (HeaderValue::from_static("Bearer first"), HeaderValue::from_static("Bearer second"));
    issue(&issuer, "second", 3600);
    let renewals: Vec<Obtained> = (0..64).filter_map(|_| credential.renew(&first, None)).collect();
    assert_eq!(renewals.len(), 64);
    for renewal in renewals {
        assert_eq!(get(renewal).await.as_deref(), Ok("second"));
    }
    assert_eq!(issuer.hits(), 2, "one fetch for all of them");
    assert_eq!(get(credential.renew(&first, None).unwrap()).await.as_deref(), Ok("second"), "there is a newer one");
    assert!(
        credential.renew(&second, None).is_none(),
        "a backend that refuses everything is no reason to ask on and on"
    );
    clock.advance(seconds(30));
    assert!(credential.renew(&second, None).is_some());
}

#[tokio::test]
async fn what_is_made_of_a_callers_token_is_that_callers_and_ends_with_it() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let source = source(&issuer, exchange(), &clock);
    let target = Arc::new(Target::default());
    let (ann, bob) = (subject("ann", 600), subject("bob", 3600));
    let token = |caller: &str| source.credential(&target, Some(caller)).token(Some(&of(caller)));
    issue(&issuer, "for-ann", 3600);
    assert_eq!(get(token(&ann)).await.as_deref(), Ok("for-ann"));
    issue(&issuer, "for-bob", 3600);
    assert_eq!(get(token(&bob)).await.as_deref(), Ok("for-bob"));
    for _ in 0..10 {
        assert_eq!(get(token(&ann)).await.as_deref(), Ok("for-ann"));
        assert_eq!(get(token(&bob)).await.as_deref(), Ok("for-bob"));
    }
    assert_eq!(issuer.hits(), 2);
    let asked: Vec<bool> = issuer.requests.lock().iter().map(|request| request.contains(&ann)).collect();
    assert_eq!(asked, [true, false], "each was asked for with the caller's own");
    // The same caller for another purpose is another token.
    issue(&issuer, "for-ann-elsewhere", 3600);
    let other = Arc::new(Target { scope: Some("other".into()), ..Target::default() });
    let elsewhere = source.credential(&other, Some(&ann)).token(Some(&of(&ann)));
    assert_eq!(get(elsewhere).await.as_deref(), Ok("for-ann-elsewhere"));
    // Ann's own token ends after ten minutes, and what was made of it too.
    clock.advance(seconds(600) - Duration::from_millis(1));
    assert_eq!(get(token(&ann)).await.as_deref(), Ok("for-ann"));
    clock.advance(Duration::from_millis(1));
    assert_eq!(get(token(&ann)).await, Err("the caller's token has expired".to_owned()));
    assert_eq!(get(token(&bob)).await.as_deref(), Ok("for-bob"));
    assert_eq!(issuer.hits(), 3, "nothing is asked for with a token that has ended");
    // A verified end counts for a token that nobody can read.
    issue(&issuer, "for-eve", 3600);
    let verified = Subject { token: "opaque", expires: Some(clock.wall() + seconds(5)) };
    let eve = source.credential(&target, Some("opaque"));
    assert_eq!(get(eve.token(Some(&verified))).await.as_deref(), Ok("for-eve"));
    clock.advance(seconds(5));
    assert!(matches!(eve.token(Some(&verified)), Obtained::Failed(_)));
}

#[tokio::test]
async fn a_caller_who_is_refused_stops_nobody_else() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let source = source(&issuer, exchange(), &clock);
    let target = Arc::new(Target::default());
    let refusal = "HTTP/1.1 400 No\r\ncontent-length: 25\r\nconnection: close\r\n\r\n{\"error\":\"invalid_grant\"}";
    issuer.answer("/token", Answer::Raw(refusal.into()));
    for number in 0..20 {
        let caller = subject(&format!("caller-{number}"), 3600);
        let error = get(source.credential(&target, Some(&caller)).token(Some(&of(&caller)))).await.unwrap_err();
        assert!(error.ends_with("refused with status 400: invalid_grant") && !error.contains(&caller), "{error}");
    }
    assert_eq!(issuer.hits(), 20);
    issue(&issuer, "for-ann", 3600);
    let ann = subject("ann", 3600);
    assert_eq!(get(source.credential(&target, Some(&ann)).token(Some(&of(&ann)))).await.as_deref(), Ok("for-ann"));
    assert_eq!(source.status().failures, 0, "what callers bring is their business");
}

#[tokio::test]
async fn an_endpoint_that_is_broken_is_not_asked_for_each_caller() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let source = source(&issuer, exchange(), &clock);
    let target = Arc::new(Target::default());
    issuer.answer("/token", Answer::Status(500));
    for number in 0..100 {
        let caller = subject(&format!("caller-{number}"), 3600);
        assert!(get(source.credential(&target, Some(&caller)).token(Some(&of(&caller)))).await.is_err());
    }
    assert_eq!(issuer.hits(), 3);
}

#[tokio::test]
async fn tokens_of_callers_are_bounded_in_number_and_in_bytes() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    let small = Settings { capacity: 64, ..settings(issuer.url("/token"), exchange()) };
    let source = source_of(small, &clock);
    let target = Arc::new(Target::default());
    issue(&issuer, &"t".repeat(16_000), 3600);
    for number in 0..200 {
        let caller = subject(&format!("caller-{number}"), 3600);
        assert!(get(source.credential(&target, Some(&caller)).token(Some(&of(&caller)))).await.is_ok());
        assert!(source.status().cached <= 64);
    }
    // 16 shards, each with room for four entries and four times 4 KiB: one token of 16 KiB.
    assert!((1..=16).contains(&source.status().cached), "{}", source.status().cached);
    // Twenty thousand made-up scopes hold no more.
    issuer.answer("/token", Answer::Status(500));
    for number in 0..20_000 {
        let scope = Some(format!("scope-{number}").into());
        source.credential(&Arc::new(Target { scope, ..Target::default() }), Some("a"));
    }
    assert!(source.status().cached <= 64);
}

#[tokio::test]
async fn nothing_shows_a_secret() {
    let issuer = Issuer::start().await;
    let clock = Clock::manual();
    issue(&issuer, "hush-token", 3600);
    let mut settings = settings(issuer.url("/token?sig=hush-query"), Grant::OnBehalfOf);
    settings.parameters = vec![("assertion".into(), "hush-parameter".into())];
    settings.url = issuer.url("/token").into();
    let source = source_of(settings, &clock);
    let caller = format!("{}-hush", subject("hush", 3600));
    let credential = source.credential(&Arc::new(Target::default()), Some(&caller));
    let obtained = credential.token(Some(&of(&caller)));
    assert_eq!(get(obtained).await.as_deref(), Ok("hush-token"));
    let Obtained::Token(token) = credential.token(Some(&of(&caller))) else { panic!("it is kept") };
    let renewal = Renewal::new(credential.clone(), Some(&of(&caller)));
    let credentials = BackendCredentials {
        headers: vec![("x-key".parse().unwrap(), vec![HeaderValue::from_static("hush-header")])],
        query: vec![("code".into(), vec!["hush-query".into()])],
        token: Some(BackendToken::Own(credential.clone())),
        refresh_on_401: true,
    };
    let shown = format!(
        "{token:?} {source:?} {credential:?} {renewal:?} {credentials:?} {:?} {:?} {:?}",
        source.settings,
        source.status(),
        Grant::ManagedIdentity(IdentityEndpoint::AppService { secret: "hush".into() }),
    );
    assert!(!shown.contains("hush"), "{shown}");
    assert!(shown.contains("x-key") && shown.contains("code"), "names are no secrets: {shown}");
}
