//! Backends that are dead, silent or break off, from the client's answer to the log and the metrics.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};

use crate::support::{Client, Folder, Gateway, SAMPLE_API, backend, eventually, read_head};

fn in_front_of(address: SocketAddr) -> (Folder, Gateway) {
    let text = format!("[backends.sample]\nurl = \"http://{address}\"\ntimeout = \"200ms\"\n");
    let folder = Folder::new(&[("gateway.toml", &text), ("sample.toml", SAMPLE_API)]);
    let gateway = Gateway::run(folder.path());
    (folder, gateway)
}

fn attempts(outcome: &str) -> String {
    format!("sluicegate_upstream_requests_total{{backend=\"sample\",outcome=\"{outcome}\"}}")
}

#[test]
fn a_dead_backend_is_a_502() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (_folder, gateway) = in_front_of(address);
    let answer = gateway.get("/sample/a");
    assert_eq!(answer.status, 502);
    assert_eq!(answer.json()["statusCode"], 502);
    assert!(!answer.text().contains(&address.port().to_string()), "no address in {}", answer.text());
    let line = gateway.access_log(1).remove(0);
    assert_eq!((&line["status"], &line["upstream"]["backend"]), (&502.into(), &"sample".into()), "{line}");
    assert_eq!(line["upstream"]["endpoint"], address.to_string(), "{line}");
    assert!(line["upstream"]["status"].is_null(), "{line}");
    assert!(!line["error"]["reason"].as_str().unwrap().is_empty(), "{line}");
    assert_eq!(gateway.metric(&attempts("connect_error")), Some(1.0));
}

#[test]
fn a_silent_backend_is_a_504() {
    let address = backend(|stream| {
        // Reads and says nothing until the gateway lets go.
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let (_folder, gateway) = in_front_of(address);
    let answer = gateway.get("/sample/a");
    assert_eq!(answer.status, 504);
    assert_eq!(answer.json()["statusCode"], 504);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["status"], 504, "{line}");
    assert!(line["upstream"]["duration_ms"].as_f64().unwrap() >= 199.0, "{line}");
    assert_eq!(gateway.metric(&attempts("timeout")), Some(1.0));
}

#[test]
fn a_backend_that_breaks_off_breaks_off_the_answer() {
    for (name, head) in [("length", "content-length: 10"), ("chunks", "transfer-encoding: chunked")] {
        let address = backend(move |stream| {
            read_head(stream);
            let piece = if name == "chunks" { "5\r\nhello\r\n" } else { "hello" };
            let answer = format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{piece}");
            stream.get_mut().write_all(answer.as_bytes()).unwrap();
        });
        let (_folder, gateway) = in_front_of(address);
        let mut client = Client::new(gateway.address);
        let answer = client.get("/sample/a").unwrap();
        assert_eq!((answer.status, answer.text(), answer.complete), (200, "hello", false), "{name}");
        let mut rest = Vec::new();
        let _ = client.0.read_to_end(&mut rest);
        assert!(rest.is_empty(), "{name}: the connection is closed, and nothing pretends to be an end");
        let line = gateway.access_log(1).remove(0);
        assert_eq!(
            (&line["status"], &line["truncated"], &line["bytes_out"]),
            (&200.into(), &true.into(), &5.into()),
            "{line}"
        );
        assert!(line["aborted"].is_null() || line["aborted"] == false, "{line}");
        assert_eq!(gateway.metric("sluicegate_upstream_truncated_total"), Some(1.0), "{name}");
        assert_eq!(gateway.metric("sluicegate_client_aborts_total"), Some(0.0), "{name}");
    }
}

#[test]
fn the_answer_to_a_head_request_is_complete() {
    let address = backend(|stream| {
        read_head(stream);
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n").unwrap();
    });
    let (_folder, gateway) = in_front_of(address);
    // The first answer is the gateway's own and has a body that is not sent; the second one is the backend's.
    for (path, status) in [("/nowhere", 404), ("/sample/a", 200)] {
        let mut client = Client::new(gateway.address);
        let head = format!("HEAD {path} HTTP/1.1\r\nHost: gateway.example\r\nConnection: close\r\n\r\n");
        client.0.get_mut().write_all(head.as_bytes()).unwrap();
        let mut answer = String::new();
        client.0.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path}: {answer}");
        assert!(answer.ends_with("\r\n\r\n"), "{path}: {answer}");
    }
    for line in gateway.access_log(2) {
        assert!(line["aborted"].is_null(), "{line}");
    }
    assert_eq!(gateway.metric("sluicegate_client_aborts_total"), Some(0.0));
}

#[test]
fn a_client_that_leaves_is_counted_as_such() {
    let (left, wait) = std::sync::mpsc::channel::<()>();
    let address = backend(move |stream| {
        read_head(stream);
        stream.get_mut().write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhello").unwrap();
        let _ = wait.recv();
    });
    let (_folder, gateway) = in_front_of(address);
    let mut client = Client::new(gateway.address);
    client.0.get_mut().write_all(b"GET /sample/a HTTP/1.1\r\nHost: gateway.example\r\n\r\n").unwrap();
    let mut first = [0];
    client.0.read_exact(&mut first).unwrap();
    drop(client);
    eventually("the end of the exchange", || {
        (gateway.metric("sluicegate_client_aborts_total") == Some(1.0)).then_some(())
    });
    drop(left);
    let line = gateway.access_log(1).remove(0);
    assert_eq!(line["aborted"], true, "{line}");
    assert_eq!(gateway.metric("sluicegate_upstream_truncated_total"), Some(0.0));
}
