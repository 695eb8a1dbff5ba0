//! The client's side: framing, hosts, hop-by-hop fields, limits, time-outs, HTTP/2.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use sluicegate::server::Settings;
use sluicegate::server::admission::Limits;

use crate::support::{Backend, GET, Gateway, OK, Options};

const HEAD: &str = "POST / HTTP/1.1\r\nHost: a.example\r\n";

#[test]
fn refuses_ambiguous_framing() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    for (name, fields) in [
        ("both, length first", "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("both, length last", "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n"),
        ("both, odd case", "tRANSFER-eNCODING: Chunked\r\nX: y\r\ncONTENT-lENGTH: 3\r\n\r\n0\r\n\r\n"),
        ("two lengths", "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabc"),
        ("a list of lengths", "Content-Length: 3, 4\r\n\r\nabc"),
        ("a signed length", "Content-Length: +3\r\n\r\nabc"),
        ("an empty length", "Content-Length: \r\n\r\nabc"),
        ("a length too large", "Content-Length: 99999999999999999999\r\n\r\nabc"),
        ("a folded line", "X: a\r\n b\r\nContent-Length: 0\r\n\r\n"),
        ("a folded length", "Content-Length:\r\n 3\r\n\r\nabc"),
        ("a space before the colon", "Content-Length : 3\r\n\r\nabc"),
        ("a coding behind chunked", "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n"),
        ("a coding before chunked", "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        ("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("nearly chunked", "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        ("chunked with a vertical tab", "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n"),
    ] {
        let answer = gateway.raw(&format!("{HEAD}{fields}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}: {answer}");
    }
    for empty in ["\r\n", "\r\n\r\n", "\n\r\n", "\r\n\n\r\n"] {
        let both = "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
        let answer = gateway.raw(&format!("{empty}{HEAD}{both}"));
        assert!(answer.starts_with("HTTP/1.1 400 "), "behind {empty:?}: {answer}");
    }
    assert_eq!(backend.connections(), 0);
    let old = gateway.raw("POST / HTTP/1.0\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    assert!(old.contains(" 400 "), "{old}");
}

#[test]
fn refuses_both_lengths_however_the_head_arrives() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    let both = format!("{HEAD}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    // Behind another request in the same segment, whole and in part.
    for cut in [0, 10, HEAD.len() + 19, HEAD.len() + 30, both.len()] {
        let (first, second) = both.split_at(cut);
        let mut client = gateway.connect();
        client.send(&format!("{GET}{first}"));
        assert_eq!(client.message().unwrap().status(), 200, "{cut}");
        client.send(second);
        let answer = client.rest();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{cut}: {answer}");
    }
}

#[test]
fn a_connection_takes_chunked_requests_one_after_another() {
    let backend = Backend::echo();
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    for round in 0..3 {
        client.send(&format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"));
        client.send("2\r\nde\r\n0\r\n\r\n");
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), 200, "{round}");
        assert!(answer.text().ends_with("\n\nabcde"), "{round}: {}", answer.text());
        client.send(&format!("{HEAD}Content-Length: 3\r\n\r\nxyz"));
        assert!(client.message().unwrap().text().ends_with("\n\nxyz"), "{round}");
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_broken_chunk_is_the_clients_fault() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    for (name, chunk) in [("no number", "zz\r\n"), ("overflow", "fffffffffffffffff\r\n"), ("no line end", "1\r\nab")] {
        let answer = gateway.raw(&format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{chunk}"));
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.is_empty(), "{name}: {answer}");
    }
}

#[test]
fn one_host_or_none_at_all() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    for (request, want) in [
        ("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n", "200"),
        ("GET http://a.example/ HTTP/1.1\r\nHost: A.example:80\r\nConnection: close\r\n\r\n", "200"),
        ("GET / HTTP/1.1\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
        ("GET http://b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", "400"),
        ("CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "400"),
        ("GET a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n", "400"),
    ] {
        let answer = gateway.raw(request);
        assert_eq!(answer.get(9..12), Some(want), "{request}: {answer}");
    }
}

#[test]
fn hop_by_hop_fields_stay_on_their_hop() {
    let backend = Backend::new(|client, _| {
        while let Some(message) = client.message() {
            for gone in ["connection", "keep-alive", "x-secret", "te", "upgrade", "proxy-authorization", "expect"] {
                assert_eq!(message.field(gone), None, "{gone}");
            }
            assert_eq!(message.field("x-kept"), Some("1"));
            client.send(concat!(
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive, X-Inner\r\nX-Inner: 1\r\n",
                "Keep-Alive: timeout=5\r\nX-Outer: 1\r\n\r\nok"
            ));
        }
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    for _ in 0..2 {
        client.send(concat!(
            "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: keep-alive, X-Secret\r\nX-Secret: 1\r\nKeep-Alive: 1\r\n",
            "TE: trailers\r\nUpgrade: h2c\r\nProxy-Authorization: x\r\nX-Kept: 1\r\n\r\n"
        ));
        let answer = client.message().unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.field("x-outer"), Some("1"));
        for gone in ["x-inner", "keep-alive", "connection"] {
            assert_eq!(answer.field(gone), None, "{gone}");
        }
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn heads_and_targets_have_a_limit() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    let get = |target: &str, fields: &str| {
        gateway.raw(&format!("GET /{target} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{fields}\r\n"))
    };
    let fields = |count: usize| (0..count).map(|at| format!("X-{at}: 1\r\n")).collect::<String>();
    for (name, target, fields, want) in [
        ("a long target", "x".repeat(16 * 1024 - 1), String::new(), "200"),
        ("a longer target", "x".repeat(16 * 1024), String::new(), "414"),
        ("a large head", String::new(), format!("X: {}\r\n", "x".repeat(31 * 1024)), "200"),
        ("a larger head", String::new(), format!("X: {}\r\n", "x".repeat(33 * 1024)), "431"),
        ("many fields", String::new(), fields(98), "200"),
        ("more fields", String::new(), fields(99), "431"),
    ] {
        let answer = get(&target, &fields);
        assert_eq!(answer.get(9..12), Some(want), "{name}: {}", answer.get(..80).unwrap_or(&answer));
    }
    // The client sees the end of the connection a moment before the worker counts it.
    while gateway.totals().bad_requests < 2 {
        std::thread::yield_now();
    }
}

#[test]
fn bodies_have_a_limit() {
    let backend = Backend::echo();
    let settings = Settings { limits: Limits { body: Some(4), ..Limits::default() }, ..Settings::default() };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    for (name, body, want) in [
        ("announced, at the limit", "Content-Length: 4\r\n\r\nabcd", "200"),
        ("announced, over it", "Content-Length: 5\r\n\r\nabcde", "413"),
        ("chunked, at the limit", "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n0\r\n\r\n", "200"),
        ("chunked, over it", "Transfer-Encoding: chunked\r\n\r\n4\r\nabcd\r\n1\r\ne\r\n0\r\n\r\n", "413"),
    ] {
        let mut client = gateway.connect();
        client.send(&format!("{HEAD}{body}"));
        let answer = client.message().unwrap();
        assert_eq!(answer.status().to_string(), want, "{name}");
        if want == "413" {
            assert!(client.is_closed(), "{name}");
        }
    }
}

#[test]
fn continue_is_sent_when_the_body_is_wanted() {
    let backend = Backend::echo();
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(&format!("{HEAD}Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
    assert_eq!(client.head().unwrap().status(), 100);
    client.send("abc");
    let answer = client.message().unwrap();
    assert!(answer.text().ends_with("\n\nabc"), "{}", answer.text());
}

#[test]
fn slow_heads_and_idle_connections_are_closed() {
    let backend = Backend::answering(OK);
    let settings = Settings {
        head_timeout: Duration::from_millis(150),
        keep_alive: Duration::from_millis(150),
        ..Settings::default()
    };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    for (name, bytes) in [("half a head", "GET / HTTP/1.1\r\nHost:"), ("half a preface", "PRI * HTTP/2")] {
        let answer = gateway.raw(bytes);
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{name}: {answer}");
    }
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 200);
    client.send("GET / HTT");
    assert!(client.rest().starts_with("HTTP/1.1 408 "));
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 200);
    assert!(client.is_closed());
    assert!(gateway.connect().is_closed(), "a client that says nothing");
    let totals = gateway.totals();
    assert_eq!((totals.closed_slow_head, totals.closed_idle), (3, 2), "{totals:?}");
}

#[test]
fn a_stalled_upload_is_given_up() {
    let backend = Backend::answering(OK);
    let settings = Settings { body_timeout: Duration::from_millis(150), ..Settings::default() };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    let mut client = gateway.connect();
    client.send(&format!("{HEAD}Content-Length: 3\r\n\r\na"));
    assert_eq!(client.message().unwrap().status(), 408);
    assert!(client.is_closed());
}

#[test]
fn a_full_worker_closes_what_comes() {
    let backend = Backend::answering(OK);
    let settings = Settings { max_connections: 1, ..Settings::default() };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    let mut first = gateway.connect();
    first.send(GET);
    assert_eq!(first.message().unwrap().status(), 200);
    assert!(gateway.connect().is_closed());
    first.send(GET);
    assert_eq!(first.message().unwrap().status(), 200);
    assert_eq!(gateway.totals().refused, 1);
}

/// An HTTP/2 client, and a task that ends with its connection.
async fn http2(gateway: &Gateway) -> (SendRequest<Full<Bytes>>, tokio::task::JoinHandle<hyper::Result<()>>) {
    let stream = tokio::net::TcpStream::connect(gateway.address).await.unwrap();
    let (sender, connection) = hyper::client::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(4096)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(connection))
}

async fn read(mut body: Incoming) -> Result<String, hyper::Error> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        bytes.extend_from_slice(&frame?.into_data().unwrap_or_default());
    }
    Ok(String::from_utf8(bytes).unwrap())
}

#[tokio::test]
async fn cleartext_http2_on_the_same_port() {
    let backend = Backend::echo();
    let gateway = Gateway::new(backend.address);
    let (mut sender, ended) = http2(&gateway).await;
    for body in ["", "abc"] {
        let request = http::Request::post("http://a.example/x?y")
            .header("cookie", "a=1")
            .header("cookie", "b=2")
            .body(Full::new(Bytes::from_static(body.as_bytes())))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let text = read(response.into_body()).await.unwrap();
        assert!(text.starts_with("POST /x?y HTTP/1.1\n"), "{text}");
        assert!(text.contains("\ncookie: a=1; b=2\n"), "{text}");
        assert!(text.ends_with(&format!("\n\n{body}")), "{text}");
        assert_eq!(text.matches("\nhost: ").count(), 1, "{text}");
    }
    let many =
        (0..50).map(|_| sender.send_request(http::Request::get("http://a.example/").body(Full::default()).unwrap()));
    for response in many.collect::<Vec<_>>() {
        assert_eq!(response.await.unwrap().status(), 200);
    }
    gateway.begin_drain(crate::support::PATIENCE);
    ended.await.unwrap().unwrap();
    let summary = tokio::task::spawn_blocking(|| gateway.wait()).await.unwrap();
    assert_eq!((summary.drained, summary.aborted), (1, 0));
}

#[tokio::test]
async fn a_truncated_answer_resets_the_http2_stream_alone() {
    let backend = Backend::new(|client, number| {
        client.message();
        client.send(if number == 0 { "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc" } else { OK });
    });
    let gateway = Gateway::new(backend.address);
    let (mut sender, _ended) = http2(&gateway).await;
    for complete in [false, true] {
        let request = http::Request::get("http://a.example/").body(Full::default()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(read(response.into_body()).await.is_ok(), complete);
    }
}

#[tokio::test]
async fn an_http2_client_that_leaves_no_window_is_given_up() {
    let backend = Backend::new(|client, _| {
        client.message();
        client.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n{}", "x".repeat(1_000_000)));
    });
    let settings = Settings { send_timeout: Duration::from_millis(150), ..Settings::default() };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    let (mut sender, ended) = http2(&gateway).await;
    let request = http::Request::get("http://a.example/").body(Full::default()).unwrap();
    let response = sender.send_request(request).await.unwrap();
    let _ = ended.await.unwrap();
    assert!(read(response.into_body()).await.is_err());
    assert_eq!(gateway.totals().closed_stalled, 1);
}
