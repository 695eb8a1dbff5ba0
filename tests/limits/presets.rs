//! The shipped files that simulate somebody else's throttle or bad days: `policies/simulated-*.toml`.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::start;
use super::support::backend::Backend;
use super::support::gateway::Gateway;
use super::support::wire::{Message, PATIENCE};

/// The shipped files that simulate somebody else's throttle, in front of the test's own backend.
fn files(backend: SocketAddr) -> Vec<(String, String)> {
    let mut files = vec![("gateway.toml".to_owned(), format!("[backends.sample]\nurl = \"http://{backend}\"\n"))];
    for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/policies")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("simulated-") {
            files.push((name, std::fs::read_to_string(&path).unwrap()));
        }
    }
    files
}

#[test]
fn presets_throttle_as_what_they_stand_for() {
    struct Case {
        path: &'static str,
        calls: usize,
        /// After the first request: what a header tells of it.
        told: Option<(&'static str, &'static str)>,
        /// Of the first one too many.
        retry_after: u64,
        body: &'static str,
    }
    let backend = Backend::start();
    let gateway = start(files(backend.address));
    let send = |path: &str| {
        let first_line = format!("GET /simulated/{path}");
        gateway.send(&Message { first_line, fields: Vec::new(), body: Vec::new() }).expect("an answer")
    };
    for Case { path, calls, told, retry_after, body } in [
        Case {
            path: "connector",
            calls: 500,
            told: None,
            retry_after: 60,
            body: r#"{ "statusCode": 429, "message": "Rate limit is exceeded. Try again in 60 seconds." }"#,
        },
        Case {
            path: "dataverse",
            calls: 6_000,
            told: Some(("x-ms-ratelimit-burst-remaining-xrm-requests", "5999")),
            retry_after: 305,
            body: r#"{"error":{"code":"0x80072322","message":"Number of requests exceeded the limit of 6000 over time window of 300 seconds."}}"#,
        },
        Case {
            path: "graph",
            calls: 10_000,
            told: None,
            retry_after: 610,
            body: r#"{"error":{"code":"TooManyRequests","innerError":{"code":"429","date":"2026-01-01T"#,
        },
        Case { path: "plain", calls: 10, told: None, retry_after: 10, body: "" },
    ] {
        // The time stands still, so that all come at one instant.
        for call in 0..calls {
            let response = send(path);
            assert!(response.first_line.contains(" 200 "), "{path}: {} of {call}", response.first_line);
            if let (0, Some((name, value))) = (call, told) {
                assert_eq!(response.field(name), Some(value), "{path}");
            }
        }
        let refused = send(path);
        assert!(refused.first_line.contains(" 429 "), "{path}: {}", refused.first_line);
        assert!(String::from_utf8_lossy(&refused.body).starts_with(body), "{path}: {:?}", refused.body);
        let wait = refused.field("retry-after").unwrap().parse().unwrap();
        // Slots begin with the clock, and the time has been moved on by the cases before.
        assert!(wait <= retry_after && wait + 10 >= retry_after, "{path}: {wait}");
        gateway.clock.advance(Duration::from_secs(wait));
        assert!(send(path).first_line.contains(" 200 "), "{path}: the client waited as long as it was told");
        backend.take();
    }
}

fn get(gateway: &Gateway, path: &str) -> Message {
    let first_line = format!("GET /simulated/{path}");
    gateway.send(&Message { first_line, ..Message::default() }).expect("an answer")
}

#[test]
fn presets_admit_as_many_at_once_as_what_they_stand_for() {
    struct Case {
        path: &'static str,
        at_once: usize,
        retry_after: &'static str,
        body: &'static str,
    }
    for Case { path, at_once, retry_after, body } in [
        Case {
            path: "dataverse",
            at_once: 52,
            retry_after: "5",
            body: r#"{"error":{"code":"0x80072326","message":"Number of concurrent requests exceeded the limit of 52."}}"#,
        },
        Case {
            path: "graph",
            at_once: 4,
            retry_after: "10",
            body: r#"{"error":{"code":"ApplicationThrottled","message":"Application is over its MailboxConcurrency limit."}}"#,
        },
    ] {
        let backend = Backend::start();
        let gateway = start(files(backend.address));
        let request = format!("GET /simulated/{path} HTTP/1.1\r\nhost: gateway.test\r\nx-test-hang: 99\r\n\r\n");
        let hanging: Vec<TcpStream> = (0..at_once)
            .map(|_| {
                let mut stream = TcpStream::connect(gateway.address).unwrap();
                stream.write_all(request.as_bytes()).unwrap();
                stream
            })
            .collect();
        let (began, mut arrived) = (Instant::now(), 0);
        while arrived < at_once {
            arrived += backend.take().len();
            assert!(began.elapsed() < PATIENCE, "{path}: {arrived} arrive");
            std::thread::yield_now();
        }
        let refused = get(&gateway, path);
        assert!(refused.first_line.contains(" 429 "), "{path}: {}", refused.first_line);
        assert_eq!(refused.field("retry-after"), Some(retry_after), "{path}");
        assert!(String::from_utf8_lossy(&refused.body).starts_with(body), "{path}: {:?}", refused.body);
        drop(hanging);
        while get(&gateway, path).first_line.contains(" 429 ") {
            assert!(began.elapsed() < PATIENCE, "{path}: the places are not given back");
        }
    }
}

#[test]
fn dataverse_limits_the_time_that_requests_take_together() {
    let backend = Backend::start();
    let mut files = files(backend.address);
    let (_, dataverse) = files.iter_mut().find(|(name, _)| name == "simulated-dataverse.toml").unwrap();
    let late = "[[backend]]\npolicy = \"timeout\"\nduration = \"4m\"\nuntil = \"end\"\n\n[[operation]]";
    *dataverse = dataverse.replacen("[[operation]]", late, 1);
    let gateway = start(files);
    let slow = || {
        let first_line = "GET /simulated/dataverse".to_owned();
        let fields = vec![("x-test-hang".to_owned(), "99".to_owned())];
        gateway.send(&Message { first_line, fields, ..Message::default() }).expect("an answer")
    };
    let left = |answer: &Message| answer.field("x-ms-ratelimit-time-remaining-xrm-requests").map(str::to_owned);
    assert_eq!(left(&get(&gateway, "dataverse")).as_deref(), Some("1,200.00"));
    backend.take();
    // Five would be enough; the sixth is admitted beside them, because none has been counted yet.
    std::thread::scope(|scope| {
        let asked: Vec<_> = (0..6).map(|_| scope.spawn(slow)).collect();
        let (began, mut arrived) = (Instant::now(), 0);
        while arrived < asked.len() {
            arrived += backend.take().len();
            assert!(began.elapsed() < PATIENCE, "{arrived} arrive");
            std::thread::yield_now();
        }
        gateway.clock.advance(Duration::from_secs(240));
        for one in asked {
            let answer = one.join().unwrap();
            assert!(answer.first_line.contains(" 504 "), "{}", answer.first_line);
        }
    });
    let refused = get(&gateway, "dataverse");
    assert!(refused.first_line.contains(" 429 "), "{}", refused.first_line);
    let body = String::from_utf8_lossy(&refused.body);
    assert!(body.starts_with(r#"{"error":{"code":"0x80072321","message":"Combined execution time"#), "{body}");
    let wait: u64 = refused.field("retry-after").unwrap().parse().unwrap();
    assert!((295..=305).contains(&wait), "{wait}");
    gateway.clock.advance(Duration::from_secs(wait));
    let again = get(&gateway, "dataverse");
    assert!(again.first_line.contains(" 200 "), "the client waited as long as it was told: {}", again.first_line);
}

/// The answers of an unreliable API, while time goes on as it is asked for.
fn unreliable(paths: impl Iterator<Item = String>) -> Vec<Message> {
    let backend = Backend::start();
    let gateway = start(files(backend.address));
    let (done, began) = (AtomicBool::new(false), gateway.clock.now());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                gateway.clock.advance(Duration::from_millis(1));
                std::thread::yield_now();
            }
        });
        let answers: Vec<Message> = paths.map(|path| get(&gateway, &format!("unreliable{path}"))).collect();
        done.store(true, Ordering::Relaxed);
        // 20 ms for each, and what chance adds.
        assert!(gateway.clock.now() >= began + Duration::from_millis(20) * answers.len() as u32);
        answers
    })
}

#[test]
fn an_unreliable_api_fails_alike_after_each_start() {
    let statuses = |answers: &[Message]| -> Vec<String> {
        answers.iter().map(|answer| answer.first_line.split(' ').nth(1).unwrap().to_owned()).collect()
    };
    let any = |count: usize| std::iter::repeat_n(String::new(), count);
    let answers = unreliable(any(100));
    assert_eq!(statuses(&answers), statuses(&unreliable(any(100))), "the seed decides");
    let failed: Vec<&Message> = answers.iter().filter(|answer| !answer.first_line.contains(" 200 ")).collect();
    assert!((10..=30).contains(&failed.len()), "one in five fails, about: {}", failed.len());
    for answer in &failed {
        let status = &statuses(std::slice::from_ref(*answer))[0];
        assert!(["500", "502", "503", "504"].contains(&status.as_str()), "{status}");
        assert_eq!(answer.field("retry-after"), Some("1"), "{status}");
        assert_eq!(answer.body, br#"{"error":{"code":"Unreliable","message":"Try again."}}"#, "{status}");
    }
    // With a key a request's fate is its own, in whatever order requests come.
    let by_key = |order: Vec<u32>| statuses(&unreliable(order.into_iter().map(|id| format!("/by-key?id={id}"))));
    let forth = by_key((0..30).collect());
    let mut back = by_key((0..30).rev().collect());
    back.reverse();
    assert_eq!(forth, back);
    assert!(forth.contains(&"500".to_owned()) && forth.contains(&"200".to_owned()), "{forth:?}");
}
