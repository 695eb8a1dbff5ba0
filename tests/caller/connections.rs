//! Many connections of one API: whoever calls, and however many at once, the backend gets what the caller's own connection holds.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};

use sluicegate::identity::subscription::digest_of;

use crate::scripted::{Act, Heard, Scripted, gateway, status};
use crate::support::gateway::Gateway;
use crate::support::wire::Message;

const API: &str = r#"
[api]
name                  = "tasks"
path                  = "/tasks"
backend               = "tasks"
subscription-required = false

[api.connection.parameters.api_key]
type = "securestring"

[api.connection.parameters.token]
type = "oauth-setting"

[[operation]]
name  = "Keyed"
match = "GET /keyed/{who}"

[[operation.inbound]]
policy = "authentication-connection"
scheme = "api-key"
name   = "x-key"

[[operation.inbound]]
policy = "set-query-parameter"
name   = "seen"
value  = "@connectionParameters('api_key')"

[[operation]]
name  = "Token"
match = "GET /token/{who}"

[[operation.inbound]]
policy         = "authentication-connection"
scheme         = "oauth2"
refresh-on-401 = true
"#;

const CALLERS: usize = 8;

/// A gateway with a connection for each caller, each with a key and a token source of its own.
fn start(backend: &Scripted) -> Gateway {
    let mut files = "[backends.tasks]\nurl = \"{{backend}}\"\n".to_owned();
    for number in 0..CALLERS {
        let digest = digest_of(format!("key-of-{number}").as_bytes());
        files.push_str(&format!(
            "[subscriptions.c{number}]\nkeys = [\"{digest}\"]\n\
             [token-sources.c{number}]\ntoken-url = \"{{{{backend}}}}/issue/{number}\"\n\
             client-id = \"gateway\"\nclient-secret = \"hush-{number}\"\n\
             [connections.c{number}]\napi = \"tasks\"\nsubscriptions = [\"c{number}\"]\n\
             parameters = {{ api_key = \"secret-{number}\" }}\ntoken-source = \"c{number}\"\n"
        ));
    }
    gateway(backend, &[("gateway.toml", &files), ("tasks.toml", API)])
}

fn ask(gateway: &Gateway, what: &str, number: usize) -> Message {
    let fields = vec![("ocp-apim-subscription-key".to_owned(), format!("key-of-{number}"))];
    let request = Message { first_line: format!("GET /tasks/{what}/{number}"), fields, ..Message::default() };
    gateway.send(&request).unwrap()
}

fn target(message: &Message) -> &str {
    message.first_line.split(' ').nth(1).unwrap()
}

#[test]
fn connections_are_never_mixed() {
    const EACH: usize = 25;
    let backend = Scripted::start(|_, _| Act::Answer("{}".to_owned()));
    let gateway = start(&backend);
    let all_at_once = Barrier::new(CALLERS);
    std::thread::scope(|scope| {
        for number in 0..CALLERS {
            let (gateway, all_at_once) = (&gateway, &all_at_once);
            scope.spawn(move || {
                all_at_once.wait();
                for _ in 0..EACH {
                    assert_eq!(status(&ask(gateway, "keyed", number)), "200");
                }
            });
        }
    });
    let asked = backend.rest();
    assert_eq!(asked.len(), CALLERS * EACH);
    for request in asked {
        let (path, query) = target(&request).split_once('?').unwrap();
        let number = path.strip_prefix("/keyed/").unwrap();
        assert_eq!(query, format!("seen=secret-{number}"));
        assert_eq!(request.field("x-key"), Some(&*format!("secret-{number}")));
    }
}

#[test]
fn a_slow_token_endpoint_is_asked_once_for_each_connection_and_keeps_no_other_waiting() {
    let (release, released) = mpsc::channel::<()>();
    let (released, issued) = (Mutex::new(released), Arc::new(AtomicUsize::new(0)));
    let count = issued.clone();
    let backend = Scripted::start(move |target, _| match target.strip_prefix("/issue/") {
        Some(number) => {
            if number == "0" {
                count.fetch_add(1, Ordering::SeqCst);
                released.lock().unwrap().recv().unwrap();
            }
            Act::Answer(format!(r#"{{"access_token":"token-{number}","expires_in":3600}}"#))
        }
        None => Act::Answer("{}".to_owned()),
    });
    let gateway = start(&backend);
    std::thread::scope(|scope| {
        let waiting: Vec<_> = (0..6).map(|_| scope.spawn(|| ask(&gateway, "token", 0))).collect();
        // Its endpoint has not answered, and those of others have.
        for number in 1..CALLERS {
            assert_eq!(status(&ask(&gateway, "token", number)), "200");
        }
        release.send(()).unwrap();
        for one in waiting {
            assert_eq!(status(&one.join().unwrap()), "200");
        }
    });
    assert_eq!(issued.load(Ordering::SeqCst), 1, "those who come while a token is fetched wait for it");
    for request in backend.rest() {
        if let Some(number) = target(&request).strip_prefix("/token/") {
            assert_eq!(request.field("authorization"), Some(&*format!("Bearer token-{number}")));
        }
    }
}

#[test]
fn a_token_that_the_backend_refuses_is_fetched_anew_once() {
    let issued = AtomicUsize::new(0);
    let calls = AtomicUsize::new(0);
    let backend = Scripted::start(move |target, _| match target.strip_prefix("/issue/") {
        Some(_) => {
            let token = issued.fetch_add(1, Ordering::SeqCst);
            Act::Answer(format!(r#"{{"access_token":"token-{token}","expires_in":3600}}"#))
        }
        // The first token works once and is revoked then; from the fourth call on nothing is good enough.
        None => match calls.fetch_add(1, Ordering::SeqCst) {
            0 | 2 => Act::Answer("{}".to_owned()),
            _ => Act::Status("401 Unauthorized"),
        },
    });
    let gateway = start(&backend);
    let tokens = |wanted: usize| -> Vec<String> {
        let mut seen = Vec::new();
        while seen.len() < wanted {
            let Heard::Request(request) = backend.next() else { continue };
            if target(&request).starts_with("/token/") {
                seen.push(request.field("authorization").unwrap().to_owned());
            }
        }
        seen
    };
    assert_eq!(status(&ask(&gateway, "token", 0)), "200");
    assert_eq!(tokens(1), ["Bearer token-0"]);
    assert_eq!(status(&ask(&gateway, "token", 0)), "200", "sent again with a new token");
    assert_eq!(tokens(2), ["Bearer token-0", "Bearer token-1"]);
    assert_eq!(status(&ask(&gateway, "token", 0)), "401", "and not again and again");
    let last = tokens(1);
    assert_eq!(last, ["Bearer token-1"]);
    let rest: Vec<_> = backend.rest().into_iter().filter(|it| target(it).starts_with("/token/")).collect();
    assert!(rest.len() <= 1, "{rest:?}");
}
