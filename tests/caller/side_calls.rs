//! Values that come from another request: what becomes of the call when that one is slow, fails, or answers something else.

use std::sync::Mutex;
use std::sync::mpsc;

use crate::scripted::{Act, Heard, Scripted, body, gateway, get, status};
use crate::support::gateway::Gateway;
use crate::support::wire::Message;

const CONFIG: &str = r#"
[server.limits]
buffer-size = "64KiB"

[backends.erp]
url = "{{backend}}/v1"

[connections.ann]
api           = "api"
subscriptions = ["ann"]
parameters    = { api_key = "key-of-ann" }

[connections.bob]
api           = "api"
subscriptions = ["bob"]
parameters    = { api_key = "key-of-bob" }

[subscriptions.ann]
keys = ["sha256:21fdbeecb49c56644f6cc4444328f5da14132c8a38fd86aad19b4da9e521a79c"]

[subscriptions.bob]
keys = ["sha256:9b94dc1a51a38769f135edf04033ad7f2f487b6c25929be7a861cfc1ab10cf98"]
"#;

fn api(more: &str) -> String {
    format!(
        r#"
[api]
name                  = "api"
path                  = "/api"
backend               = "erp"
subscription-required = false

[api.connection.parameters.api_key]
type = "securestring"

[[inbound]]
policy = "authentication-connection"
scheme = "api-key"
name   = "x-key"

[[inbound]]
policy = "set-value-from-url"
target = "@headers('If-Match')"
url    = "/current"
value  = "@body().etag"
{more}

[[operation]]
name  = "Any"
match = "* /*"
"#
    )
}

fn start(backend: &Scripted, more: &str) -> Gateway {
    gateway(backend, &[("gateway.toml", CONFIG), ("api.toml", &api(more))])
}

fn ask(gateway: &Gateway, key: &str) -> Message {
    let fields = vec![("ocp-apim-subscription-key".to_owned(), key.to_owned())];
    gateway.send(&Message { fields, ..get("/api/things/7") }).unwrap()
}

/// The targets that the backend was asked for, and the header that is to be set.
fn asked(backend: &Scripted) -> Vec<(String, Option<String>)> {
    let of = |message: Message| {
        let target = message.first_line.split(' ').nth(1).unwrap().to_owned();
        (target, message.field("if-match").map(str::to_owned))
    };
    backend.rest().into_iter().map(of).collect()
}

#[test]
fn a_call_without_its_value_ends_and_says_why() {
    let huge = format!(r#"{{"etag":"{}"}}"#, "x".repeat(100_000));
    let cases = [
        ("the backend's own error", Act::Status("404 Not Found"), "404"),
        ("its failure", Act::Status("500 Internal Server Error"), "500"),
        ("no JSON", Act::Answer("<html>".to_owned()), "502"),
        ("no such value", Act::Answer(r#"{"tag":1}"#.to_owned()), "502"),
        ("a value that no header takes", Act::Answer(r#"{"etag":"a\nb"}"#.to_owned()), "502"),
        ("more than is held", Act::Answer(huge), "502"),
    ];
    for (name, act, want) in cases {
        let act = Mutex::new(Some(act));
        let backend = Scripted::start(move |target, _| match target {
            "/v1/current" => act.lock().unwrap().take().expect("one request for the value"),
            _ => Act::Answer("{}".to_owned()),
        });
        let answer = ask(&start(&backend, ""), "ann-key");
        assert_eq!(status(&answer), want, "{name}: {}", body(&answer));
        let asked = asked(&backend);
        assert!(asked.iter().all(|(target, _)| target == "/v1/current"), "{name}: {asked:?}");
    }
}

#[test]
fn a_value_that_does_not_come_is_given_up_in_time() {
    for (begun, want, config) in [
        ("", "504", CONFIG.replace("/v1\"", "/v1\"\ntimeout = \"50ms\"")),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{}",
            "502",
            CONFIG.replace("/v1\"", "/v1\"\nidle-timeout = \"50ms\""),
        ),
    ] {
        let backend = Scripted::start(move |_, _| Act::Begin(begun));
        let gateway = gateway(&backend, &[("gateway.toml", &config), ("api.toml", &api(""))]);
        let answer = ask(&gateway, "ann-key");
        assert_eq!(status(&answer), want, "{begun}: {answer:?}");
        assert_eq!(backend.target(), "/v1/current");
        assert!(matches!(backend.next(), Heard::Closed), "the connection is not kept for others");
    }
}

#[test]
fn a_call_that_may_do_without_its_value_goes_on() {
    let backend = Scripted::start(|target, _| match target {
        "/v1/current" => Act::Status("404 Not Found"),
        _ => Act::Answer("{}".to_owned()),
    });
    assert_eq!(status(&ask(&start(&backend, "required = false"), "ann-key")), "200");
    assert_eq!(asked(&backend), [("/v1/current".to_owned(), None), ("/v1/things/7".to_owned(), None)]);
}

#[test]
fn a_value_that_is_kept_serves_one_connection_only_and_one_call_fetches_it_for_all_who_wait() {
    let (release, released) = mpsc::channel::<()>();
    let released = Mutex::new(released);
    let backend = Scripted::start(move |target, number| match target {
        "/v1/current" => {
            released.lock().unwrap().recv().unwrap();
            Act::Answer(format!(r#"{{"etag":"of-{number}"}}"#))
        }
        _ => Act::Answer("{}".to_owned()),
    });
    let gateway = start(&backend, "cache = \"1m\"");
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..5).map(|_| scope.spawn(|| ask(&gateway, "ann-key"))).collect();
        release.send(()).unwrap();
        for one in waiting {
            assert_eq!(status(&one.join().unwrap()), "200");
        }
    });
    let first = asked(&backend);
    assert_eq!(first.iter().filter(|(target, _)| target == "/v1/current").count(), 1, "{first:?}");
    let things = first.iter().filter(|(target, _)| target == "/v1/things/7");
    assert!(things.clone().count() == 5 && things.clone().all(|(_, tag)| tag.as_deref() == Some("of-0")), "{first:?}");

    release.send(()).unwrap();
    assert_eq!(status(&ask(&gateway, "bob-key")), "200");
    let other = asked(&backend);
    assert_eq!(other[0].0, "/v1/current", "{other:?}");
    assert_ne!(other[1].1.as_deref(), Some("of-0"), "another connection's value");
    // Both are kept.
    for key in ["ann-key", "bob-key"] {
        assert_eq!(status(&ask(&gateway, key)), "200");
    }
    let kept = asked(&backend);
    assert_eq!(kept.iter().map(|(target, _)| &**target).collect::<Vec<_>>(), ["/v1/things/7"; 2]);
    assert!(kept[0].1.as_deref() == Some("of-0") && kept[1].1 == other[1].1, "{kept:?}");
}
