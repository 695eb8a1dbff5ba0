//! One deadline for all of an exchange, by a clock that the test moves.

use std::time::Duration;

use crate::scripted::{Act, Heard, Scripted, body, gateway, get, status};
use crate::support::gateway::Gateway;
use crate::support::wire::{Connection, Message};

const GATEWAY: &str = "[backends.upstream]\nurl = \"{{backend}}\"\n";

const API: &str = r#"
[api]
name    = "api"
path    = "/api"
backend = "upstream"
errors  = { format = "connector" }

[[inbound]]
policy   = "timeout"
duration = "120s"
until    = "end"

[[backend]]
policy   = "retry"
retries  = 2
backoff  = "fixed"
interval = "1ms"

[[operation]]
name  = "Any"
match = "GET /{*rest}"

[[operation]]
name  = "Held"
match = "GET /held"

[[operation.outbound]]
policy     = "convert-dates"
properties = ["at"]
"#;

fn start(backend: &Scripted) -> Gateway {
    gateway(backend, &[("gateway.toml", GATEWAY), ("api.toml", API)])
}

/// Asks for something while the clock is moved by so much as soon as the backend has said what it says at first.
fn ask(gateway: &Gateway, backend: &Scripted, target: &str, tries: usize, wait: Duration) -> Option<Message> {
    std::thread::scope(|scope| {
        let asked = scope.spawn(|| gateway.send(&get(target)));
        (0..tries).for_each(|_| drop(backend.target()));
        gateway.clock.advance(wait);
        asked.join().unwrap()
    })
}

#[test]
fn a_backend_that_does_not_answer_is_given_up_after_all_of_the_time() {
    let backend = Scripted::start(|_, number| if number == 0 { Act::Status("503 Busy") } else { Act::Begin("") });
    let gateway = start(&backend);
    let answer = std::thread::scope(|scope| {
        let asked = scope.spawn(|| gateway.send(&get("/api/silent")));
        // The second try, which the retry makes, has what is left.
        (0..2).for_each(|_| drop(backend.target()));
        gateway.clock.advance(Duration::from_millis(119_999));
        gateway.clock.advance(Duration::from_millis(1));
        asked.join().unwrap().unwrap()
    });
    assert_eq!(status(&answer), "504");
    let error: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(error["error"]["code"], 504, "{error}");
    assert_eq!(error["error"]["message"], "GatewayTimeout", "{error}");
    assert_eq!(error["error"]["innerError"]["message"], "The backend did not answer in time.", "{error}");
    assert!(matches!(backend.next(), Heard::Closed), "the backend's connection is let go");
}

#[test]
fn an_answer_that_does_not_end_is_cut() {
    let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\npart\r\n";
    let backend = Scripted::start(move |_, _| Act::Begin(head));
    let gateway = start(&backend);
    let mut connection = Connection::open(gateway.address);
    connection.send(b"GET /api/slow HTTP/1.1\r\nhost: gateway.test\r\n\r\n");
    assert_eq!(backend.target(), "/slow");
    let seen = connection.read_until("part");
    assert!(seen.starts_with("HTTP/1.1 200 OK\r\n"), "{seen}");
    gateway.clock.advance(Duration::from_secs(120));
    let rest = connection.rest();
    assert!(!rest.contains("0\r\n\r\n"), "nobody takes it for the end: {rest:?}");
    assert!(matches!(backend.next(), Heard::Closed), "the backend's connection is let go");
}

#[test]
fn an_answer_that_a_policy_waits_for_is_an_error() {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n{";
    let backend = Scripted::start(move |_, _| Act::Begin(head));
    let gateway = start(&backend);
    let answer = ask(&gateway, &backend, "/api/held", 1, Duration::from_secs(120)).unwrap();
    assert_eq!(status(&answer), "504", "{}", body(&answer));
    assert!(matches!(backend.next(), Heard::Closed), "the backend's connection is let go");
}

#[test]
fn an_answer_in_time_is_whole_however_late_it_is_read() {
    let backend = Scripted::start(|_, _| Act::Answer("{}".to_owned()));
    let gateway = start(&backend);
    for wait in [119, 120, 121] {
        let answer = gateway.send(&get("/api/fast")).unwrap();
        assert_eq!((status(&answer), body(&answer)), ("200", "{}"), "{wait}");
        gateway.clock.advance(Duration::from_secs(wait));
    }
}
