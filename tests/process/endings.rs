//! Traces of requests that end otherwise than with the backend's answer: each is whole, and says what happened.

use std::io::{Read, Write as _};
use std::net::SocketAddr;
use std::sync::mpsc::{Sender, channel};

use crate::support::{Client, Folder, Gateway, PATIENCE, backend, eventually, read_head};

const API: &str = r#"
[api]
name    = "api"
path    = "/api"
backend = "own"

[[operation]]
name  = "Kept"
match = "GET /kept"

[[operation.inbound]]
policy = "cache-lookup"

[[operation.outbound]]
policy   = "cache-store"
duration = "60s"

[[operation]]
name  = "Pages"
match = "GET /pages"

[[operation.backend]]
policy    = "collect-pages"
items     = "@body().value"
next-link = "nextLink"

[[operation]]
name  = "Late"
match = "GET /late"

[[operation.inbound]]
policy   = "timeout"
duration = "100ms"

[[operation]]
name  = "Never"
match = "GET /never"

[[operation]]
name  = "Socket"
match = "GET /socket"
"#;

const UPGRADE: &str = "connection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

/// Answers all but `/late` and `/never`: it tells of them, and waits until the gateway has gone.
fn platform(tell: Sender<()>) -> SocketAddr {
    backend(move |stream| {
        let head = read_head(stream);
        let target = head.split(' ').nth(1).unwrap_or_default().to_owned();
        let host = head.lines().find_map(|line| line.strip_prefix("host: ")).unwrap_or_default().to_owned();
        let answer = match target.as_str() {
            "/late" | "/never" => {
                let _ = tell.send(());
                let _ = stream.read(&mut [0; 1]);
                return;
            }
            "/socket" => {
                "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n".to_owned()
            }
            target => {
                let body = match target {
                    "/pages" => format!(r#"{{"value":[1],"nextLink":"http://{host}/pages?page=2"}}"#),
                    _ => r#"{"value":[2]}"#.to_owned(),
                };
                let length = body.len();
                format!(
                    "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
                )
            }
        };
        let _ = stream.get_mut().write_all(answer.as_bytes());
    })
}

/// Parts that stand in a text one behind the other.
#[track_caller]
fn assert_tells(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("`{part}` does not come next in\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn what_ends_otherwise_is_told_whole() {
    let (tell, heard) = channel();
    let config = format!("[server]\ntraces = 10\n\n[cache]\n\n[backends.own]\nurl = \"http://{}\"\n", platform(tell));
    let folder = Folder::new(&[("gateway.toml", &config), ("api.toml", API)]);
    let gateway = Gateway::run(folder.path());
    let ask = |path: &str, id: &str, more: &str| {
        let fields = format!("x-request-id: {id}\r\n{more}");
        Client::new(gateway.address).request("GET", path, &fields).unwrap().status
    };
    let trace = |id: &str| {
        eventually(id, || {
            let answer = gateway.admin(&format!("/traces/{id}"));
            (answer.status == 200).then(|| answer.text().to_owned())
        })
    };
    assert_eq!((ask("/api/kept", "first", ""), ask("/api/kept", "second", "")), (200, 200));
    assert_tells(&trace("first"), &["cache-lookup[1]", "forward-request", "call 1 of backend `own`", "cache-store[1]"]);
    let kept = trace("second");
    assert_tells(&kept, &["cache-lookup[1]", "answers the request itself: 200 OK", r#"{"value":[2]}"#]);
    assert!(!kept.contains("forward-request"), "{kept}");

    assert_eq!(ask("/api/pages", "pages", ""), 200);
    assert_tells(
        &trace("pages"),
        &[
            "collect-pages[1]",
            r#"{"value":[1,2]}"#,
            "call 1 of backend `own`",
            "/pages\n",
            "lets the request pass again",
            "call 2 of backend `own`",
            "/pages?page=2\n",
            "the answer to the caller",
            r#"{"value":[1,2]}"#,
        ],
    );

    assert_eq!(ask("/api/late", "late", ""), 504);
    heard.recv_timeout(PATIENCE).unwrap();
    assert_tells(
        &trace("late"),
        &[
            "-> 504",
            "timeout[1]",
            "error Timeout (504)",
            "forward-request",
            "cut off",
            "> GET",
            "on-error",
            "504 Gateway Timeout",
        ],
    );

    let mut client = Client::new(gateway.address);
    client.0.get_mut().write_all(b"GET /api/never HTTP/1.1\r\nhost: a\r\nx-request-id: gone\r\n\r\n").unwrap();
    heard.recv_timeout(PATIENCE).unwrap();
    drop(client);
    assert_tells(&trace("gone"), &["the client left", "forward-request", "cut off", "call 1 of backend `own`"]);

    assert_eq!(ask("/api/socket", "socket", UPGRADE), 101);
    assert_tells(
        &trace("socket"),
        &["-> 101", "> upgrade: websocket", "< 101 Switching Protocols", "the answer to the caller"],
    );
}
