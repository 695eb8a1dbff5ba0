//! Bodies that are compressed, though the gateway asks for plain ones: policies read what is in them, and nothing becomes larger than the gateway
//! holds.

use std::io::Write as _;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use serde_json::{Value as Json, json};

use crate::support::backend::{Backend, Told, gzip};
use crate::support::gateway::Gateway;
use crate::support::wire::Message;

const GATEWAY: &str = r#"
[backends.erp]
url = "{{backend}}"

[server.limits]
buffer-size = "64KiB"
"#;

const API: &str = r#"
[api]
name    = "api"
path    = "/api"
backend = "erp"

[[operation]]
name  = "Edited"
match = "POST /edited"

[[operation.inbound]]
policy = "set-property"
name   = "in"
value  = "yes"

[[operation.outbound]]
policy = "set-property"
name   = "out"
value  = "yes"

[[operation]]
name  = "Replaced"
match = "GET /replaced"

[[operation.outbound]]
policy = "find-and-replace"
from   = "left"
to     = "right"

[[operation]]
name  = "Valued"
match = "GET /valued"

[[operation.inbound]]
policy = "set-value-from-url"
target = "@headers('if-match')"
url    = "/side"
value  = "@body().side"

[[operation]]
name  = "Polled"
match = "GET /polled"

[[operation.inbound]]
policy = "polling-trigger"
data   = "@triggerBody().value"
query  = { since = "@{triggerBody().value[0].id}" }

[[operation]]
name  = "Paged"
match = "GET /paged"

[[operation.backend]]
policy    = "collect-pages"
items     = "@body().value"
next-link = "next"

[[operation]]
name  = "Passed"
match = "* /passed"
"#;

fn start() -> (Backend, Gateway) {
    let backend = Backend::start();
    let url = format!("http://{}", backend.address);
    let files = [("gateway.toml", GATEWAY), ("api.toml", API)];
    let files = files.map(|(name, text)| (name.to_owned(), text.replace("{{backend}}", &url)));
    let started = Gateway::start(files.into(), None);
    (backend, started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics)))
}

fn zlib(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn field(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn answer(coding: &str, body: Vec<u8>) -> Told {
    Told {
        status: 200,
        fields: vec![field("content-type", "application/json"), field("content-encoding", coding)],
        body,
    }
}

fn request(line: &str, coding: Option<&str>, body: Vec<u8>) -> Message {
    let mut fields = vec![field("content-type", "application/json")];
    fields.extend(coding.map(|coding| field("content-encoding", coding)));
    Message { first_line: line.to_owned(), fields, body }
}

fn json_of(message: &Message) -> Json {
    serde_json::from_slice(&message.body).unwrap_or_default()
}

#[test]
fn answers_are_edited_whatever_their_coding() {
    let (backend, gateway) = start();
    let given = json!({ "a": 1 });
    let text = given.to_string().into_bytes();
    for (coding, body) in [
        ("identity", text.clone()),
        ("gzip", gzip(&text)),
        ("x-gzip", gzip(&text)),
        ("deflate", zlib(&text)),
        ("deflate, gzip", gzip(&zlib(&text))),
    ] {
        backend.take();
        backend.tell(answer(coding, body));
        let got = gateway.send(&request("POST /api/edited", None, b"{}".to_vec())).unwrap();
        assert_eq!(json_of(&got), json!({ "a": 1, "out": "yes" }), "{coding}: {got:?}");
        assert_eq!(got.field("content-encoding").filter(|it| *it != "identity"), None, "{coding}");
        assert_eq!(backend.take()[0].field("accept-encoding"), Some("identity"), "{coding}");
    }
    backend.tell(answer("gzip", gzip(br#"{"hand":"left"}"#)));
    let got = gateway.send(&request("GET /api/replaced", None, Vec::new())).unwrap();
    assert_eq!(json_of(&got), json!({ "hand": "right" }));
}

#[test]
fn an_answer_that_cannot_be_read_is_told() {
    let (backend, gateway) = start();
    let mut broken = gzip(b"{\"a\":1}");
    broken.truncate(12);
    for (name, told, status) in [
        ("a few bytes for very many", answer("gzip", gzip(&vec![b' '; 1 << 20])), 502),
        ("half of it", answer("gzip", broken), 502),
        ("plain after all", answer("gzip", b"{}".to_vec()), 502),
        ("a coding that nobody here reads", answer("zstd", b"(/\xb5\xfd".to_vec()), 200),
    ] {
        let is_passed = status == 200;
        backend.tell(told.clone());
        let got = gateway.send(&request("POST /api/edited", None, b"{}".to_vec())).unwrap();
        assert_eq!(got.status(), status, "{name}: {got:?}");
        assert_eq!(is_passed, got.body == told.body, "{name}");
        assert_eq!(got.field("content-encoding"), is_passed.then_some("zstd"), "{name}");
    }
}

#[test]
fn requests_are_edited_whatever_their_coding() {
    let (backend, gateway) = start();
    backend.tell(answer("identity", b"{}".to_vec()));
    let text = b"{\"a\":1}";
    for (coding, body) in [("gzip", gzip(text)), ("deflate", zlib(text))] {
        backend.take();
        let got = gateway.send(&request("POST /api/edited", Some(coding), body)).unwrap();
        let [asked] = &backend.take()[..] else { panic!("{coding}: {got:?}") };
        assert_eq!(json_of(asked), json!({ "a": 1, "in": "yes" }), "{coding}");
        let length = asked.body.len().to_string();
        assert_eq!(
            (asked.field("content-encoding"), asked.field("content-length")),
            (None, Some(&*length)),
            "{coding}"
        );
    }
    for (name, coding, body, status) in [
        ("a few bytes for very many", "gzip", gzip(&vec![b' '; 1 << 20]), 413),
        ("plain after all", "gzip", text.to_vec(), 400),
        ("a coding that nobody here reads", "zstd", b"(/\xb5\xfd".to_vec(), 415),
    ] {
        let got = gateway.send(&request("POST /api/edited", Some(coding), body)).unwrap();
        assert_eq!((got.status(), backend.take().len()), (status, 0), "{name}: {got:?}");
        assert_eq!(got.field("accept-encoding"), (status == 415).then_some("gzip, deflate, br"), "{name}");
    }
}

#[test]
fn what_policies_look_for_is_found_in_compressed_answers() {
    let (backend, gateway) = start();
    backend.tell(answer("gzip", gzip(br#"{"side":"E1","value":[{"id":7}]}"#)));
    gateway.send(&request("GET /api/valued", None, Vec::new())).unwrap();
    let [side, main] = &backend.take()[..] else { panic!("two requests") };
    assert_eq!((&*side.first_line, main.field("if-match")), ("GET /side HTTP/1.1", Some("E1")));
    let got = gateway.send(&request("GET /api/polled", None, Vec::new())).unwrap();
    assert_eq!(got.status(), 202);
    assert!(got.field("location").unwrap().contains("since=7"), "{got:?}");
    let got = gateway.send(&request("GET /api/paged", None, Vec::new())).unwrap();
    assert_eq!((got.field("x-collected-pages"), json_of(&got)["value"][0]["id"].as_i64()), (Some("1"), Some(7)));
}

#[test]
fn what_no_policy_reads_stays_as_it_is() {
    let (backend, gateway) = start();
    let (there, back) = (gzip(b"there"), gzip(b"back"));
    backend.tell(answer("gzip", back.clone()));
    let got = gateway.send(&request("POST /api/passed", Some("gzip"), there.clone())).unwrap();
    let [asked] = &backend.take()[..] else { panic!("{got:?}") };
    assert_eq!((&asked.body, asked.field("content-encoding")), (&there, Some("gzip")));
    assert_eq!((&got.body, got.field("content-encoding")), (&back, Some("gzip")));
    // Nothing to decode.
    let got = gateway.send(&request("HEAD /api/passed", None, Vec::new())).unwrap();
    assert_eq!((got.status(), got.field("content-encoding")), (200, Some("gzip")));
}
