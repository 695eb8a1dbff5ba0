//! The backend's side: pooling, replays, odd answers, time-outs, WebSocket.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc;
use std::time::Duration;

use sluicegate::backend::{Deadlines, EndpointSettings};
use sluicegate::server::Settings;

use crate::support::{Backend, Client, GET, Gateway, OK, Options, PATIENCE};

/// Answers one request and drops the connection at the second; later connections answer all.
fn closes_at_the_second_request() -> Backend {
    Backend::new(|client, number| {
        let mut answered = 0;
        while client.message().is_some() {
            if number == 0 && answered == 1 {
                return;
            }
            answered += 1;
            client.send(OK);
        }
    })
}

#[test]
fn a_dead_pooled_connection_is_replaced_where_that_is_safe() {
    let head = "/ HTTP/1.1\r\nHost: a.example\r\n";
    for (name, request, want, replayed) in [
        ("GET", format!("GET {head}\r\n"), 200, 1),
        ("DELETE", format!("DELETE {head}\r\n"), 200, 1),
        ("POST", format!("POST {head}Content-Length: 1\r\n\r\nx"), 502, 0),
        ("POST without a body", format!("POST {head}Content-Length: 0\r\n\r\n"), 502, 0),
        ("PATCH", format!("PATCH {head}\r\n"), 502, 0),
        ("PUT with a body that was streamed", format!("PUT {head}Content-Length: 1\r\n\r\nx"), 502, 0),
    ] {
        let backend = closes_at_the_second_request();
        let gateway = Gateway::new(backend.address);
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 200, "{name}");
        client.send(&request);
        assert_eq!(client.message().unwrap().status(), want, "{name}");
        let totals = gateway.totals();
        assert_eq!(totals.replayed, replayed, "{name}: {totals:?}");
        assert_eq!(backend.connections() as u64, 1 + replayed, "{name}");
    }
}

#[test]
fn a_fresh_connection_that_breaks_is_not_tried_again() {
    let backend = Backend::new(|client, _| {
        client.message();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 502);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_connection_that_the_backend_closed_in_the_pool_costs_no_request() {
    let (closed, is_closed) = mpsc::channel();
    let backend = Backend::new(move |client, number| {
        client.message();
        client.send(OK);
        if number == 0 {
            client.0.get_ref().shutdown(std::net::Shutdown::Both).unwrap();
            closed.send(()).unwrap();
        }
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    for round in 0..2 {
        client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
        assert_eq!(client.message().unwrap().status(), 200, "{round}");
        if round == 0 {
            is_closed.recv_timeout(PATIENCE).unwrap();
        }
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn nothing_left_over_answers_the_next_request() {
    let backend = Backend::new(|client, number| {
        while client.message().is_some() {
            match number {
                0 => client.send(&format!("{OK}HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")),
                _ => client.send(OK),
            }
        }
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    for round in 0..3 {
        client.send(GET);
        let answer = client.message().unwrap();
        assert_eq!(answer.text(), "ok", "{round}");
    }
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_length_said_several_times_is_passed_on_once() {
    for (method, lengths, want) in [
        ("GET", "Content-Length: 2, 2\r\n", Some("content-length: 2\r\n")),
        ("GET", "Content-Length: 2\r\nContent-Length: 2\r\n", Some("content-length: 2\r\n")),
        ("HEAD", "Content-Length: 5, 5\r\n", Some("content-length: 5\r\n")),
        ("GET", "Content-Length: 2, 3\r\n", None),
        ("HEAD", "Content-Length: 2, 3\r\n", None),
    ] {
        let body = if method == "GET" { "ok" } else { "" };
        let backend = Backend::answering(format!("HTTP/1.1 200 OK\r\n{lengths}\r\n{body}").leak());
        let gateway = Gateway::new(backend.address);
        let answer = gateway.raw(&format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
        match want {
            Some(want) => {
                assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains(want), "{method} {lengths}: {answer}");
                assert_eq!(answer.matches("content-length").count(), 1, "{method} {lengths}: {answer}");
            }
            None => assert!(answer.starts_with("HTTP/1.1 502 "), "{method} {lengths}: {answer}"),
        }
    }
}

#[test]
fn odd_answers() {
    struct Case {
        name: &'static str,
        method: &'static str,
        answer: &'static str,
        want: u16,
        body: &'static str,
    }
    for Case { name, method, answer, want, body } in [
        Case {
            name: "two lengths",
            method: "GET",
            answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            want: 502,
            body: "the backend answered with two lengths",
        },
        Case {
            name: "a coding that is not chunked",
            method: "GET",
            answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            want: 502,
            body: "the backend answered with a transfer coding other than chunked",
        },
        Case {
            name: "no HTTP",
            method: "GET",
            answer: "SSH-2.0-OpenSSH_9.2\r\n\r\n",
            want: 502,
            body: "the backend's answer is not HTTP",
        },
        Case {
            name: "another protocol that nobody asked for",
            method: "GET",
            answer: "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
            want: 502,
            body: "the backend switched protocols unasked",
        },
        Case {
            name: "informational answers first",
            method: "GET",
            answer: concat!(
                "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n",
                "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            ),
            want: 200,
            body: "ok",
        },
        Case {
            name: "HTTP/1.0 without a length",
            method: "GET",
            answer: "HTTP/1.0 200 OK\r\n\r\nold",
            want: 200,
            body: "old",
        },
        Case {
            name: "HTTP/1.1 to the end of the connection",
            method: "GET",
            answer: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nlong",
            want: 200,
            body: "long",
        },
        Case { name: "204", method: "GET", answer: "HTTP/1.1 204 No Content\r\n\r\n", want: 204, body: "" },
        Case {
            name: "304 with a length",
            method: "GET",
            answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
            want: 304,
            body: "",
        },
    ] {
        let backend = Backend::new(move |client, _| {
            client.message();
            client.send(answer);
        });
        let gateway = Gateway::new(backend.address);
        let mut client = gateway.connect();
        client.send(&format!("{method} / HTTP/1.1\r\nHost: a\r\n\r\n"));
        let mut got = client.head().unwrap();
        assert_eq!(got.status(), want, "{name}");
        if !matches!(want, 204 | 304) {
            assert!(got.field("content-length").is_some() || got.field("transfer-encoding").is_some(), "{name}");
            let text = got.fields.iter().map(|(it, value)| format!("{it}: {value}\r\n")).collect::<String>();
            // The same head again, with its body behind it.
            let mut bytes = format!("{}\r\n{text}\r\n", got.first_line).into_bytes();
            bytes.extend_from_slice(&read_body(&mut client, &got));
            got.body = bytes.split_off(bytes.len() - body.len());
        }
        assert_eq!(got.text(), body, "{name}");
    }
}

fn read_body(client: &mut Client, head: &crate::support::Message) -> Vec<u8> {
    if let Some(length) = head.field("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        client.0.read_exact(&mut body).unwrap();
        return body;
    }
    let mut all = Vec::new();
    while !all.ends_with(b"0\r\n\r\n") {
        let mut byte = [0];
        client.0.read_exact(&mut byte).unwrap();
        all.push(byte[0]);
    }
    let text = String::from_utf8(all).unwrap();
    let chunks: Vec<_> = text.split("\r\n").collect();
    chunks.iter().skip(1).step_by(2).copied().collect::<String>().into_bytes()
}

#[test]
fn head_has_a_length_and_no_body() {
    let backend = Backend::echo();
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.head().unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.field("content-length").is_some());
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(backend.connections(), 1);
}

#[test]
fn the_backend_gets_a_length_for_each_body() {
    let backend = Backend::echo();
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    for (request, want) in [
        ("POST / HTTP/1.1\r\nHost: a\r\n\r\n", "content-length: 0"),
        ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx", "content-length: 1"),
        (
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
        ),
        (
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            "transfer-encoding: chunked",
        ),
    ] {
        client.send(request);
        let answer = client.message().unwrap();
        assert_eq!(answer.text().matches("content-length").count() + answer.text().matches("chunked").count(), 1);
        assert!(answer.text().contains(want), "{request}: {}", answer.text());
    }
}

#[test]
fn a_backend_that_is_not_there() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address: SocketAddr = free.local_addr().unwrap();
    drop(free);
    let gateway = Gateway::new(address);
    let mut client = gateway.connect();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx");
    let answer = client.message().unwrap();
    assert_eq!(answer.status(), 502);
    assert_eq!(answer.text(), "the backend did not accept the connection");
    assert_eq!(gateway.totals().upstream_connect_errors, 1);
}

#[test]
fn a_backend_that_says_nothing() {
    let backend = Backend::new(|client, _| {
        client.message();
        client.rest();
    });
    let millis = Duration::from_millis(100);
    for deadlines in [
        Deadlines { first_byte: millis, ..Deadlines::default() },
        Deadlines { exchange: Some(millis), ..Deadlines::default() },
    ] {
        let gateway = Gateway::with(backend.address, Options { deadlines, ..Options::default() });
        let mut client = gateway.connect();
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 504, "{deadlines:?}");
        // The client's connection is none the worse for it.
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 504, "{deadlines:?}");
    }
}

#[test]
fn a_full_pool_makes_requests_wait() {
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let (arrived, arrival) = mpsc::channel();
    let backend = Backend::new(move |client, _| {
        while client.message().is_some() {
            arrived.send(()).unwrap();
            wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            client.send(OK);
        }
    });
    let endpoint = EndpointSettings { max_connections: 1, ..EndpointSettings::default() };
    let deadlines = Deadlines { connect: PATIENCE, ..Deadlines::default() };
    let gateway = Gateway::with(backend.address, Options { endpoint, deadlines, ..Options::default() });
    let mut clients: Vec<_> = (0..2).map(|_| gateway.connect()).collect();
    for client in &mut clients {
        client.send(GET);
    }
    for _ in 0..2 {
        arrival.recv_timeout(PATIENCE).unwrap();
        release.send(()).unwrap();
    }
    for client in &mut clients {
        assert_eq!(client.message().unwrap().status(), 200);
    }
    assert_eq!(backend.connections(), 1);
}

#[test]
fn a_full_pool_says_so_in_the_end() {
    let backend = Backend::new(|client, _| {
        client.message();
        client.rest();
    });
    let endpoint = EndpointSettings { max_connections: 1, ..EndpointSettings::default() };
    let deadlines = Deadlines { connect: Duration::from_millis(50), ..Deadlines::default() };
    let gateway = Gateway::with(backend.address, Options { endpoint, deadlines, ..Options::default() });
    let mut clients: Vec<_> = (0..3).map(|_| gateway.connect()).collect();
    clients[0].send(GET);
    while backend.connections() == 0 {
        std::thread::yield_now();
    }
    for client in &mut clients[1..] {
        client.send(GET);
    }
    for client in &mut clients[1..] {
        assert_eq!(client.message().unwrap().status(), 503);
    }
}

#[test]
fn a_connection_whose_request_was_not_sent_to_its_end_is_not_used_again() {
    let backend = Backend::new(|client, number| {
        if number == 0 {
            client.head();
            client.send(OK);
            client.rest();
        }
        while client.message().is_some() {
            client.send(OK);
        }
    });
    let gateway = Gateway::new(backend.address);
    let mut uploading = gateway.connect();
    uploading.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nabc");
    assert_eq!(uploading.message().unwrap().status(), 200);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 200);
    assert_eq!(backend.connections(), 2);
}

#[test]
fn a_name_is_looked_up_and_each_of_its_addresses_tried() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::at(&format!("http://localhost:{}", backend.address.port()), Options::default());
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().status(), 200);
    let gateway = Gateway::at("http://name.invalid", Options::default());
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(client.message().unwrap().text(), "the backend's name cannot be looked up");
}

#[test]
fn idle_connections_to_a_backend_are_closed() {
    let backend = Backend::answering(OK);
    // The sweep follows the shortest of the server's times.
    let settings = Settings { send_timeout: Duration::from_millis(100), ..Settings::default() };
    let endpoint = EndpointSettings { idle_timeout: Duration::from_millis(100), ..EndpointSettings::default() };
    let gateway = Gateway::with(backend.address, Options { settings, endpoint, ..Options::default() });
    let mut client = gateway.connect();
    for round in 1..=2 {
        client.send(GET);
        assert_eq!(client.message().unwrap().status(), 200);
        while gateway.totals().upstream_open > 0 {
            std::thread::yield_now();
        }
        assert_eq!(gateway.totals().upstream_idle, 0);
        assert_eq!(backend.connections(), round);
    }
}

const HANDSHAKE: &str = concat!(
    "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n",
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
);

#[test]
fn websockets_pass_both_ways_until_one_side_closes() {
    let backend = Backend::new(|client, _| {
        let request = client.message().unwrap();
        assert_eq!(request.field("upgrade"), Some("websocket"));
        assert_eq!(request.field("connection"), Some("upgrade"));
        assert_eq!(request.field("sec-websocket-key"), Some("dGhlIHNhbXBsZSBub25jZQ=="));
        client.send(concat!(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\nfirst"
        ));
        let mut bytes = [0; 4];
        client.0.read_exact(&mut bytes).unwrap();
        client.0.get_mut().write_all(&bytes.map(|byte| byte.to_ascii_uppercase())).unwrap();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    let answer = client.head().unwrap();
    assert_eq!(answer.status(), 101);
    assert_eq!(answer.field("upgrade"), Some("websocket"));
    assert_eq!(answer.field("sec-websocket-accept"), Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
    client.send("ping");
    assert_eq!(client.rest(), "firstPING");
}

#[test]
fn a_refused_or_quiet_websocket() {
    let backend = Backend::answering(OK);
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.message().unwrap().status(), 200);

    let backend = Backend::new(|client, _| {
        client.message();
        client.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
        client.rest();
    });
    let deadlines = Deadlines { idle: Duration::from_millis(100), ..Deadlines::default() };
    let gateway = Gateway::with(backend.address, Options { deadlines, ..Options::default() });
    let mut client = gateway.connect();
    client.send(HANDSHAKE);
    assert_eq!(client.head().unwrap().status(), 101);
    assert!(client.is_closed());
}
