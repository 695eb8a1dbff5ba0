//! What a line says, what it hides, and what becomes of lines that cannot be written.

use std::io::{self, Read, Write};
use std::net::Ipv4Addr;
use std::sync::mpsc;

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::clock::Clock;

fn dropped() -> IntCounter {
    IntCounter::new("dropped", "dropped").unwrap()
}

/// A request with nothing special about it.
fn plain() -> Line<'static> {
    Line {
        time: Clock::manual().wall(),
        request_id: "7f1c",
        trace_id: None,
        client_request_id: None,
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        protocol: Version::HTTP_11,
        method: &Method::GET,
        host: None,
        path: "/orders/1",
        query: None,
        api: None,
        operation: None,
        status: StatusCode::OK,
        bytes_in: 0,
        bytes_out: 1_024,
        duration: Duration::from_micros(12_034),
        upstream: None,
        cache: None,
        subscription: None,
        consumer: None,
        error: None,
        validation: &[],
        user_agent: None,
        aborted: false,
        truncated: false,
    }
}

/// A request with everything.
fn full() -> Line<'static> {
    Line {
        trace_id: Some("4bf92f3577b34da6a3ce929d0e0e4736"),
        client_request_id: Some("c-1"),
        protocol: Version::HTTP_2,
        host: Some("api.example"),
        query: Some("page=1&subscription-key=s3cret"),
        api: Some("orders"),
        operation: Some("GetOrder"),
        status: StatusCode::BAD_GATEWAY,
        bytes_in: 5,
        upstream: Some(Upstream {
            backend: "erp",
            endpoint: "10.0.0.1:80",
            status: Some(StatusCode::SERVICE_UNAVAILABLE),
            duration: Duration::from_millis(11),
            attempts: 3,
        }),
        cache: Some("miss"),
        subscription: Some("sub-1"),
        consumer: Some("contoso"),
        error: Some(Failure {
            source: "forward-request",
            reason: "BackendConnectionFailure",
            policy: "retry",
            section: "backend",
            scope: "api",
            message: "gave up",
            cause: Some(&Broken),
        }),
        validation: &[],
        user_agent: Some(b"curl/8"),
        aborted: true,
        truncated: true,
        ..plain()
    }
}

#[derive(Debug, thiserror::Error)]
#[error("the connection broke: \"reset\"")]
struct Broken;

/// Everything a log wrote, on a thread of its own so that no other test's buffer is in the way.
fn written(options: Options, lines: &[Line<'_>]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::new(Options { target: Target::File(path.clone()), ..options }, dropped()).unwrap();
    for line in lines {
        log.write(line);
    }
    assert!(log.finish(Duration::from_secs(5)));
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn json_leaves_out_what_is_absent() {
    assert_eq!(
        written(Options::default(), &[plain()]),
        concat!(
            r#"{"time":"2026-01-01T00:00:00.000Z","request_id":"7f1c","client":"192.0.2.7","protocol":"HTTP/1.1","#,
            r#""method":"GET","path":"/orders/1","status":200,"bytes_in":0,"bytes_out":1024,"duration_ms":12.034}"#,
            "\n",
        )
    );
}

#[test]
fn json_holds_every_fact() {
    let text = written(Options::default(), &[full()]);
    let want = serde_json::json!({
        "time": "2026-01-01T00:00:00.000Z",
        "request_id": "7f1c",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "client_request_id": "c-1",
        "client": "192.0.2.7",
        "protocol": "HTTP/2",
        "method": "GET",
        "host": "api.example",
        "path": "/orders/1",
        "query": "page=1&subscription-key=***",
        "api": "orders",
        "operation": "GetOrder",
        "status": 502,
        "bytes_in": 5,
        "bytes_out": 1024,
        "duration_ms": 12.034,
        "upstream": {
            "backend": "erp", "endpoint": "10.0.0.1:80", "status": 503, "duration_ms": 11.0, "attempts": 3,
        },
        "cache": "miss",
        "subscription": "sub-1",
        "consumer": "contoso",
        "error": {
            "source": "forward-request", "reason": "BackendConnectionFailure", "policy": "retry",
            "section": "backend", "scope": "api", "message": "gave up",
            "cause": "the connection broke: \"reset\"",
        },
        "user_agent": "curl/8",
        "aborted": true,
        "truncated": true,
    });
    assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), want);
}

#[test]
fn human_lines_read_from_left_to_right() {
    let options = Options { format: Format::Human, ..Options::default() };
    assert_eq!(
        written(options, &[plain(), full(), Line { consumer: Some("Contoso Ltd"), ..plain() }]),
        concat!(
            "2026-01-01T00:00:00.000Z 200 GET /orders/1 12.034ms 0B/1024B 192.0.2.7 HTTP/1.1 id=7f1c\n",
            "2026-01-01T00:00:00.000Z 502 GET api.example/orders/1?page=1&subscription-key=*** 12.034ms 5B/1024B ",
            "192.0.2.7 HTTP/2 orders/GetOrder -> erp 10.0.0.1:80 503 11.000ms x3 cache=miss subscription=sub-1 consumer=contoso ",
            "trace=4bf92f3577b34da6a3ce929d0e0e4736 client-id=c-1 id=7f1c error=forward-request/BackendConnectionFailure ",
            "at api/backend/retry: \"gave up\" cause=\"the connection broke: \\\"reset\\\"\" \"curl/8\" aborted truncated\n",
            "2026-01-01T00:00:00.000Z 200 GET /orders/1 12.034ms 0B/1024B 192.0.2.7 HTTP/1.1 consumer=\"Contoso Ltd\" ",
            "id=7f1c\n",
        )
    );
}

#[test]
fn a_request_cannot_forge_a_line() {
    let line = Line { path: "/a\r\n2026 200 GET /forged\u{1b}[2J", user_agent: Some(b"x\"}\n"), ..plain() };
    for format in [Format::Json, Format::Human] {
        let text = written(Options { format, ..Options::default() }, &[line]);
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.contains(r"/a\r\n2026 200 GET /forged\u001b[2J"), "{text}");
    }
}

#[test]
fn the_query_can_be_dropped_whole() {
    for format in [Format::Json, Format::Human] {
        let text = written(Options { format, query: Query::Dropped, ..Options::default() }, &[full()]);
        assert!(!text.contains("page"), "{text}");
    }
}

#[test]
fn long_values_are_cut_between_characters() {
    let path = format!("/{}", "ä".repeat(40_000));
    let text = written(Options::default(), &[Line { path: &path, ..plain() }]);
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    let logged = value["path"].as_str().unwrap();
    assert!(logged.ends_with("ä…") && logged.len() < 4_200, "{} bytes", logged.len());
}

#[test]
fn addresses_are_canonical() {
    for (address, want) in
        [("203.0.113.200", "203.0.113.200"), ("::ffff:203.0.113.200", "203.0.113.200"), ("2001:db8::1", "2001:db8::1")]
    {
        let text = written(Options::default(), &[Line { client: address.parse().unwrap(), ..plain() }]);
        assert!(text.contains(&format!(r#""client":"{want}""#)), "{text}");
    }
}

proptest! {
    #[test]
    fn any_text_makes_one_line_of_json(path in any::<String>(), agent in any::<Vec<u8>>(), query in any::<String>()) {
        let log = AccessLog { format: Format::Json, query: Query::Redacted, redactor: Redactor::default(),
            sink: Arc::new(Sink::queued(Box::new(io::sink()), dropped()).unwrap()) };
        let mut out = Vec::new();
        let line = Line { path: &path, user_agent: Some(&agent), query: Some(&query), ..plain() };
        encode::json(&mut out, &line, b"2026-01-01T00:00:00.000Z", &log);
        prop_assert_eq!(memchr::memchr(b'\n', &out), Some(out.len() - 1));
        let value: serde_json::Value = serde_json::from_slice(&out).unwrap();
        if path.len() <= 4_096 {
            prop_assert_eq!(value["path"].as_str(), Some(path.as_str()));
        }
    }
}

#[test]
fn many_lines_go_out_in_one_write() {
    #[derive(Clone, Default)]
    struct Writes(Arc<Mutex<Vec<usize>>>);
    impl Write for Writes {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().push(bytes.len());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let writes = Writes::default();
    let log = AccessLog::to_writer(Options::default(), Box::new(writes.clone()), dropped()).unwrap();
    for _ in 0..200 {
        log.write(&plain());
    }
    assert!(log.finish(Duration::from_secs(5)));
    let sizes = writes.0.lock().clone();
    assert_eq!(sizes.len(), 3, "200 lines of some 200 bytes: {sizes:?}");
    assert!(sizes[..2].iter().all(|size| *size >= FLUSH_AT), "{sizes:?}");
}

#[test]
fn a_stalled_sink_costs_lines_but_never_the_worker() {
    /// Waits for a permit before it takes anything.
    struct Stalled(mpsc::Receiver<()>);
    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            // A sender that is gone is a sink that moves again.
            let _ = self.0.recv();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let (permit, stalled) = mpsc::channel();
    let counter = dropped();
    let log = AccessLog::to_writer(Options::default(), Box::new(Stalled(stalled)), counter.clone()).unwrap();
    // The queue holds 128 buffers and the thread one more; the rest has nowhere to go.
    for _ in 0..140 {
        log.write(&plain());
        log.flush();
    }
    let lost = counter.get();
    assert!((11..=12).contains(&lost), "{lost}");
    assert!(!log.finish(Duration::from_millis(1)), "what is stuck is not finished");
    drop(permit);
    assert!(log.finish(Duration::from_secs(5)));
    log.write(&plain());
    assert!(log.finish(Duration::from_secs(5)));
    assert_eq!(counter.get(), lost, "a sink that moves again loses nothing");
}

#[test]
fn lines_for_a_reader_that_is_gone_are_counted() {
    let (mut reader, writer) = io::pipe().unwrap();
    let counter = dropped();
    let log = AccessLog::to_writer(Options::default(), Box::new(writer), counter.clone()).unwrap();
    log.write(&plain());
    assert!(log.finish(Duration::from_secs(5)));
    let mut byte = [0];
    reader.read_exact(&mut byte).unwrap();
    assert_eq!((byte, counter.get()), (*b"{", 0));
    drop(reader);
    log.write(&plain());
    log.write(&plain());
    assert!(log.finish(Duration::from_secs(5)));
    assert_eq!(counter.get(), 2);
}

#[test]
fn a_file_moved_away_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("access.log"), folder.path().join("access.log.1"));
    let options = Options { target: Target::File(path.clone()), ..Options::default() };
    let log = AccessLog::new(options, dropped()).unwrap();
    let write = || {
        log.write(&plain());
        log.flush();
    };
    write();
    std::fs::rename(&path, &moved).unwrap();
    write();
    log.reopen().unwrap();
    write();
    let count = |path: &std::path::Path| std::fs::read_to_string(path).unwrap().lines().count();
    assert_eq!((count(&moved), count(&path)), (2, 1));

    let moved = folder.path().join("access.log.2");
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    assert!(matches!(log.reopen(), Err(SinkError::Kind { .. })));
    write();
    assert_eq!(count(&moved), 2, "the old file stays in use");
}

#[test]
fn a_reload_does_not_mix_the_old_log_with_the_new() {
    let folder = tempfile::tempdir().unwrap();
    let log = |name| {
        let options = Options { target: Target::File(folder.path().join(name)), ..Options::default() };
        AccessLog::new(options, dropped()).unwrap()
    };
    let (old, new) = (log("old"), log("new"));
    old.write(&plain());
    drop(old);
    new.write(&plain());
    new.flush();
    for name in ["old", "new"] {
        assert_eq!(std::fs::read_to_string(folder.path().join(name)).unwrap().lines().count(), 1, "{name}");
    }
}

#[test]
fn a_thread_that_ends_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let options = Options { target: Target::File(path.clone()), ..Options::default() };
    let log = Arc::new(AccessLog::new(options, dropped()).unwrap());
    let own = Arc::clone(&log);
    std::thread::spawn(move || own.write(&plain())).join().unwrap();
    assert_eq!(std::fs::read_to_string(path).unwrap().lines().count(), 1);
}

#[test]
fn what_cannot_be_opened_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    for (path, want) in [
        (folder.path().to_owned(), "is neither a file nor a device"),
        (folder.path().join("missing/access.log"), "cannot be opened"),
    ] {
        let options = Options { target: Target::File(path), ..Options::default() };
        let error = AccessLog::new(options, dropped()).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}
