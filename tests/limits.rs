//! Limits, breakers and retries over real connections: what goldens cannot show, because it happens at once, half-way, or
//! over a reload.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "limits/memory.rs"]
mod memory;
#[path = "limits/presets.rs"]
mod presets;
mod support;
#[path = "limits/tokens.rs"]
mod tokens;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Instant;

use support::backend::Backend;
use support::gateway::Gateway;
use support::wire::{Message, PATIENCE};

/// A configuration with one API, `/`, of one operation; `policies` and `breaker` are its TOML.
fn files(backend: SocketAddr, breaker: &str, policies: &str) -> Vec<(String, String)> {
    let gateway = format!("[backends.upstream]\nurl = \"http://{backend}\"\n{breaker}");
    let api = format!(
        "[api]\nname = \"all\"\npath = \"/\"\nbackend = \"upstream\"\n{policies}\n[[operation]]\nname = \"All\"\nmatch = \"* /*\"\n"
    );
    vec![("gateway.toml".to_owned(), gateway), ("all.toml".to_owned(), api)]
}

#[track_caller]
fn start(files: Vec<(String, String)>) -> Gateway {
    let started = Gateway::start(files, None);
    started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics))
}

#[track_caller]
fn status(gateway: &Gateway, fields: &[(&str, &str)]) -> u16 {
    let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let request = Message { first_line: "GET /".to_owned(), fields, body: Vec::new() };
    let response = gateway.send(&request).expect("an answer");
    response.first_line.split(' ').nth(1).unwrap().parse().unwrap()
}

/// A connection with a request on it, whose answer is yet to come.
fn begin(gateway: &Gateway, fields: &str) -> TcpStream {
    let mut stream = TcpStream::connect(gateway.address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET / HTTP/1.1\r\nhost: gateway.test\r\n{fields}\r\n").unwrap();
    stream
}

/// Asks until the answer is another one than `not_yet`.
#[track_caller]
fn eventually(gateway: &Gateway, not_yet: u16) -> u16 {
    let began = Instant::now();
    loop {
        let status = status(gateway, &[]);
        if status != not_yet {
            return status;
        }
        assert!(began.elapsed() < PATIENCE, "it stays {not_yet}");
    }
}

fn rate(calls: u32, more: &str) -> String {
    format!("[[inbound]]\npolicy = \"rate-limit\"\ncalls = {calls}\nperiod = \"1m\"\n{more}")
}

#[test]
fn simultaneous_requests_admit_exactly_the_limit() {
    for (algorithm, more) in
        [("sliding-window", ""), ("sliding-window", "slots = 10\n"), ("token-bucket", ""), ("fixed-window", "")]
    {
        let backend = Backend::start();
        let policy = rate(50, &format!("algorithm = \"{algorithm}\"\n{more}"));
        let gateway = start(files(backend.address, "", &policy));
        let statuses: Vec<u16> = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..64).map(|_| scope.spawn(|| [(); 2].map(|()| status(&gateway, &[])))).collect();
            clients.into_iter().flat_map(|client| client.join().unwrap()).collect()
        });
        let count = |status| statuses.iter().filter(|it| **it == status).count();
        assert_eq!((count(200), count(429)), (50, 64 * 2 - 50), "{algorithm}");
        assert_eq!(backend.take().len(), 50, "{algorithm}");
        let line = |decision, count| {
            format!(
                r#"sluicegate_limit_decisions_total{{decision="{decision}",policy="api:all/inbound/rate-limit[1]"}} {count}"#
            )
        };
        assert!(gateway.has_metric(&line("admitted", 50)) && gateway.has_metric(&line("refused", 78)), "{algorithm}");
    }
}

#[test]
fn counts_survive_a_reload_and_a_changed_limit_takes_them_over() {
    let backend = Backend::start();
    let gateway = start(files(backend.address, "", &rate(2, "")));
    let calls = |count: usize| -> Vec<u16> { (0..count).map(|_| status(&gateway, &[])).collect() };
    assert_eq!(calls(3), [200, 200, 429]);
    let other = "[[outbound]]\npolicy = \"set-header\"\nname = \"x-new\"\nvalue = \"1\"\n";
    gateway.reload(files(backend.address, "", &(rate(2, "") + other)));
    assert_eq!(calls(1), [429], "the limit did not change");
    gateway.reload(files(backend.address, "", &rate(3, "")));
    assert_eq!(calls(2), [200, 429], "two of three are used");
    gateway.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(calls(4), [200, 200, 200, 429]);
}

const ONE_AT_ONCE: &str = "[[inbound]]\npolicy = \"limit-concurrency\"\nmax-count = 1\n";

#[test]
fn a_limit_on_requests_at_once_is_told_of_and_can_be_tried_without_refusing() {
    let backend = Backend::start();
    let gateway = start(files(backend.address, "", ONE_AT_ONCE));
    let _hanging = begin(&gateway, "x-test-hang: 9\r\n");
    let began = Instant::now();
    while backend.take().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the request does not arrive");
        std::thread::yield_now();
    }
    let get = || gateway.send(&Message { first_line: "GET /".to_owned(), ..Message::default() }).expect("an answer");
    let answer = get();
    assert!(answer.first_line.contains(" 429 "), "{answer:?}");
    assert_eq!(answer.field("ratelimit"), Some("\"api-concurrency\";r=0"));
    assert_eq!(answer.field("ratelimit-policy"), Some("\"api-concurrency\";q=1;qu=\"concurrent-requests\""));
    gateway.reload(files(backend.address, "", &format!("{ONE_AT_ONCE}mode = \"shadow\"\n")));
    let answer = get();
    assert!(answer.first_line.contains(" 200 ") && answer.field("ratelimit").is_none(), "{answer:?}");
    let line = r#"sluicegate_limit_shadow_refused_total{policy="api:all/inbound/limit-concurrency[1]"} 1"#;
    assert!(gateway.has_metric(line), "{line}");
}

/// Answers with half of a body, and with the rest when told to.
fn half_way() -> (SocketAddr, mpsc::Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (go, wait) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                if stream.read(&mut byte).unwrap_or(0) == 0 {
                    break;
                }
                head.push(byte[0]);
            }
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nha");
            wait.recv().unwrap();
            let _ = stream.write_all(b"lf");
        }
    });
    (address, go)
}

fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    while !text.ends_with(end) {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        text.push(char::from(byte[0]));
    }
    text
}

#[test]
fn a_place_is_taken_until_the_body_has_ended() {
    let (backend, go) = half_way();
    let gateway = start(files(backend, "", ONE_AT_ONCE));
    let mut first = begin(&gateway, "");
    assert!(read_until(&mut first, "\r\n\r\nha").starts_with("HTTP/1.1 200"));
    let refused = gateway.send(&Message { first_line: "GET /".to_owned(), ..Message::default() }).unwrap();
    assert_eq!(refused.first_line, "HTTP/1.1 429 Too Many Requests");
    assert_eq!(refused.field("retry-after"), None, "nobody knows when");
    let body = r#"{ "statusCode": 429, "message": "Too many requests are in progress. Try again later." }"#;
    assert_eq!(String::from_utf8(refused.body).unwrap(), body);
    go.send(()).unwrap();
    read_until(&mut first, "lf");
    go.send(()).unwrap();
    assert_eq!(status(&gateway, &[]), 200, "the place was given back before the last byte was");
}

#[test]
fn a_client_that_leaves_gives_its_place_back_and_is_no_failure_of_the_backend() {
    let backend = Backend::start();
    let breaker = "[backends.upstream.circuit-breaker]\nfailures = 1\n";
    let gateway = start(files(backend.address, breaker, ONE_AT_ONCE));
    let hanging = begin(&gateway, "x-test-hang: 1\r\n");
    let began = Instant::now();
    while backend.take().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the request does not arrive");
        std::thread::yield_now();
    }
    assert_eq!(status(&gateway, &[]), 429);
    drop(hanging);
    assert_eq!(eventually(&gateway, 429), 200);
}

#[test]
fn retries_do_not_take_a_second_place() {
    let backend = Backend::start();
    let retry = "[[backend]]\npolicy = \"retry\"\nbackoff = \"fixed\"\ninterval = \"1ms\"\n";
    let gateway = start(files(backend.address, "", &format!("{retry}{}", ONE_AT_ONCE.replace("inbound", "backend"))));
    assert_eq!(status(&gateway, &[("x-test-status", "503, 503, 200")]), 200);
    assert_eq!(backend.take().len(), 3);
}

#[test]
fn tries_that_time_out_trip_the_breaker_and_its_state_survives_a_reload() {
    const OPEN: &str = r#"sluicegate_backend_circuit_open{backend="upstream"} 1"#;
    const CLOSED: &str = r#"sluicegate_backend_circuit_open{backend="upstream"} 0"#;
    let backend = Backend::start();
    let breaker = "[backends.upstream.circuit-breaker]\nfailures = 2\n";
    let retry = "[[backend]]\npolicy = \"retry\"\nretries = 5\nbackoff = \"fixed\"\ninterval = \"1ms\"\nper-try-timeout = \"50ms\"\n";
    let gateway = start(files(backend.address, breaker, retry));
    assert!(gateway.has_metric(CLOSED));
    assert_eq!(status(&gateway, &[("x-test-hang", "9")]), 504);
    assert_eq!(backend.take().len(), 2, "no try after the breaker opened");
    assert!(gateway.has_metric(OPEN));
    assert!(gateway.has_metric(r#"sluicegate_upstream_requests_total{backend="upstream",outcome="timeout"} 2"#));
    assert!(gateway.has_metric(r#"sluicegate_retries_total{backend="upstream",reason="attempt"} 1"#));
    gateway.reload(files(backend.address, breaker, ""));
    assert_eq!(status(&gateway, &[]), 503);
    gateway.reload(files(backend.address, &breaker.replace('2', "3"), ""));
    assert_eq!(status(&gateway, &[]), 200, "another breaker");
    assert!(gateway.has_metric(CLOSED), "the old one is gone");
}

#[test]
fn injected_faults_are_counted_and_nothing_else_is() {
    let backend = Backend::start();
    let policies = "[[inbound]]\npolicy = \"inject-latency\"\nduration = \"0s\"\n\
        [[inbound]]\npolicy = \"inject-latency\"\nduration = \"0s\"\npercentage = 0\n\
        [[backend]]\npolicy = \"inject-error\"\nstatuses = [503]\nkey = \"@headers('x-fate')\"\npercentage = 50\n";
    let gateway = start(files(backend.address, "", policies));
    let statuses: Vec<u16> = (0..20).map(|fate| status(&gateway, &[("x-fate", &fate.to_string())])).collect();
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert!(failed > 0 && failed < 20, "{statuses:?}");
    let is_shown = |kind: &str, count: usize| {
        let line = format!(r#"sluicegate_injected_faults_total{{api="all",kind="{kind}"}} {count}"#);
        assert!(gateway.has_metric(&line), "{line}");
    };
    is_shown("latency", 20);
    is_shown("error", failed);
    assert_eq!(backend.take().len(), 20 - failed);
}

#[test]
fn injected_latency_waits_on_the_clock() {
    let backend = Backend::start();
    let gateway = start(files(backend.address, "", "[[backend]]\npolicy = \"inject-latency\"\nduration = \"10s\"\n"));
    let stream = begin(&gateway, "");
    stream.set_nonblocking(true).unwrap();
    let began = Instant::now();
    let mut passed = std::time::Duration::ZERO;
    let mut first = [0; 12];
    loop {
        match (&stream).read(&mut first) {
            Ok(read) => {
                assert!(read == 12 && first.ends_with(b" 200"), "{first:?}");
                break;
            }
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
        }
        assert!(began.elapsed() < PATIENCE, "the request waits for ever");
        gateway.clock.advance(std::time::Duration::from_secs(1));
        passed += std::time::Duration::from_secs(1);
        std::thread::yield_now();
    }
    assert!(passed >= std::time::Duration::from_secs(10), "{passed:?}");
}
