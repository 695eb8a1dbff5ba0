//! How exchanges end early: clients that leave, backends that break off, drains.

use std::io::{Read, Write};
use std::sync::mpsc;
use std::time::Duration;

use sluicegate::backend::Deadlines;

use crate::support::{Backend, GET, Gateway, OK, Options, PATIENCE};

#[test]
fn a_client_that_leaves_cancels_the_request_to_the_backend() {
    let (seen, sees) = mpsc::channel();
    let backend = Backend::new(move |client, _| {
        client.message();
        seen.send("request").unwrap();
        client.rest();
        seen.send("closed").unwrap();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(GET);
    assert_eq!(sees.recv_timeout(PATIENCE), Ok("request"));
    drop(client);
    assert_eq!(sees.recv_timeout(PATIENCE), Ok("closed"));
}

#[test]
fn a_client_that_leaves_while_it_is_answered_stops_the_backend() {
    let (seen, sees) = mpsc::channel();
    let backend = Backend::new(move |client, _| {
        client.message();
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("1000\r\n{}\r\n", "x".repeat(0x1000));
        while client.0.get_mut().write_all(chunk.as_bytes()).is_ok() {}
        seen.send(()).unwrap();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(GET);
    client.head().unwrap();
    drop(client);
    sees.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_truncated_answer_is_never_completed() {
    for (name, answer, reset) in [
        ("a length", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", false),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", false),
        ("a broken chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcXX", false),
        ("a length, reset", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true),
    ] {
        let backend = Backend::new(move |client, _| {
            client.message();
            client.send(answer);
            if reset {
                socket2::SockRef::from(client.0.get_ref()).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let gateway = Gateway::new(backend.address);
        let mut client = gateway.connect();
        client.send(GET);
        let got = client.rest();
        assert!(!got.contains("\r\n0\r\n") && !got.contains("abc\r\n0"), "{name}: {got}");
        if got.contains("content-length") {
            assert!(
                got.contains("content-length: 10") && got.len() < got.find("\r\n\r\n").unwrap() + 14,
                "{name}: {got}"
            );
        }
        assert_eq!(got.matches("HTTP/1.1").count(), 1, "{name}: {got}");
    }
}

#[test]
fn a_truncated_answer_to_http_1_0_ends_in_a_reset() {
    let (go, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::new(move |client, _| {
        client.message();
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
        wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send("GET / HTTP/1.0\r\nHost: a\r\n\r\n");
    assert_eq!(client.head().unwrap().status(), 200);
    go.send(()).unwrap();
    let error = client.0.read_to_end(&mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn an_answer_that_stalls_is_cut() {
    let backend = Backend::new(|client, _| {
        client.message();
        client.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
        client.rest();
    });
    let millis = Duration::from_millis(100);
    for deadlines in [
        Deadlines { idle: millis, ..Deadlines::default() },
        Deadlines { exchange: Some(millis), ..Deadlines::default() },
    ] {
        let gateway = Gateway::with(backend.address, Options { deadlines, ..Options::default() });
        let mut client = gateway.connect();
        client.send(GET);
        assert!(client.rest().ends_with("\r\n\r\nabc"), "{deadlines:?}");
    }
}

#[test]
fn a_drain_lets_requests_finish_and_closes_the_rest() {
    let (arrived, arrival) = mpsc::channel();
    let (release, wait) = mpsc::channel::<()>();
    let wait = std::sync::Mutex::new(wait);
    let backend = Backend::new(move |client, _| {
        while let Some(request) = client.message() {
            if request.first_line.contains("/slow") {
                arrived.send(()).unwrap();
                wait.lock().unwrap().recv_timeout(PATIENCE).unwrap();
            }
            client.send(OK);
        }
    });
    let gateway = Gateway::new(backend.address);
    let mut idle = gateway.connect();
    idle.send(GET);
    assert_eq!(idle.message().unwrap().status(), 200);
    let mut silent = gateway.connect();
    let mut busy = gateway.connect();
    busy.send("GET /slow HTTP/1.1\r\nHost: a\r\n\r\n");
    arrival.recv_timeout(PATIENCE).unwrap();
    gateway.begin_drain(PATIENCE);
    assert!(idle.is_closed());
    assert!(silent.is_closed());
    assert!(std::net::TcpStream::connect(gateway.address).is_err(), "a port that is given up");
    release.send(()).unwrap();
    let answer = busy.message().unwrap();
    assert_eq!((answer.status(), answer.field("connection")), (200, Some("close")));
    assert!(busy.is_closed());
    let summary = gateway.wait();
    assert_eq!((summary.drained, summary.aborted), (3, 0));
}

#[test]
fn a_drain_does_not_wait_for_ever() {
    let (arrived, arrival) = mpsc::channel();
    let backend = Backend::new(move |client, _| {
        client.message();
        arrived.send(()).unwrap();
        client.rest();
    });
    let gateway = Gateway::new(backend.address);
    let mut client = gateway.connect();
    client.send(GET);
    arrival.recv_timeout(PATIENCE).unwrap();
    gateway.begin_drain(Duration::from_millis(50));
    assert!(client.is_closed());
    let summary = gateway.wait();
    assert_eq!((summary.drained, summary.aborted), (0, 1));
}

#[test]
fn a_client_that_does_not_read_is_given_up() {
    let backend = Backend::new(|client, _| {
        client.message();
        client.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
        while client.0.get_mut().write_all(chunk.as_bytes()).is_ok() {}
    });
    let settings = sluicegate::server::Settings { send_timeout: Duration::from_millis(150), ..Default::default() };
    let gateway = Gateway::with(backend.address, Options { settings, ..Options::default() });
    let mut client = gateway.connect();
    client.send(GET);
    while gateway.totals().closed_stalled == 0 || gateway.totals().open > 0 {
        std::thread::yield_now();
    }
}
