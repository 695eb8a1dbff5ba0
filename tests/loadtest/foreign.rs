//! Gateways of others, of which only `--expect` says what they promise: here a server with a token bucket for each key.

use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use super::support::wire::Connection;
use super::{folder, report, run};

/// Twenty tokens, and twenty more in two seconds.
const BURST: f64 = 20.0;
const RATE: f64 = 10.0;

/// The tokens of each key, and when they were counted.
type Buckets = Mutex<HashMap<String, (f64, Instant)>>;

/// Starts the server. It ends with the test.
fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let buckets = Arc::<Buckets>::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let buckets = buckets.clone();
            std::thread::spawn(move || {
                let mut connection = Connection::on(stream);
                while let Some(request) = connection.request() {
                    connection.send(answer(&buckets, request.field("apikey")).as_bytes());
                }
            });
        }
    });
    address
}

fn answer(buckets: &Buckets, key: Option<&str>) -> String {
    let Some(key) = key else { return "HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n".to_owned() };
    let mut buckets = buckets.lock().unwrap();
    let now = Instant::now();
    let (tokens, counted) = buckets.entry(key.to_owned()).or_insert((BURST, now));
    *tokens = (*tokens + now.duration_since(*counted).as_secs_f64() * RATE).min(BURST);
    *counted = now;
    let (status, more) = if *tokens >= 1.0 {
        *tokens -= 1.0;
        ("200 OK", format!("x-ratelimit-remaining: {}", tokens.floor()))
    } else {
        ("429 Too Many Requests", format!("retry-after: {}", ((1.0 - *tokens) / RATE).ceil().max(1.0)))
    };
    format!("HTTP/1.1 {status}\r\n{more}\r\ncontent-length: 2\r\n\r\n{{}}")
}

#[test]
fn what_somebody_elses_gateway_promises_is_proven_or_refuted() {
    let nothing = tempfile::tempdir().unwrap();
    let url = format!("http://{}/anything", serve());
    struct Case {
        expect: &'static str,
        code: i32,
        /// What is proven not to hold.
        broken: &'static [&'static str],
    }
    let cases = [
        Case { expect: "20/2s token-bucket", code: 0, broken: &[] },
        // A bucket lets through twenty at once and more within the window.
        Case { expect: "20/2s sliding", code: 4, broken: &["excess"] },
        Case { expect: "20/2s token-bucket burst=10", code: 4, broken: &["excess", "simultaneous.excess"] },
        Case { expect: "40/2s token-bucket burst=40", code: 4, broken: &["false-rejections"] },
    ];
    let test = |Case { expect, code, broken }: Case, number: usize| {
        // Keys of its own for each.
        let template = format!("{number}-{{number}}");
        let found = report(
            nothing.path(),
            &[
                "--url",
                &url,
                "--key",
                "header=apikey",
                "--key-template",
                &template,
                "--expect",
                expect,
                "--keys",
                "3",
                "--duration",
                "6s",
                "--probes",
                "simultaneous,refill,boundary,retry-after,forged-address,missing-key,churn",
            ],
        );
        assert_eq!(found.code, Some(code), "{expect}: {found}");
        let failed: Vec<&str> = found.report["verdicts"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|verdict| verdict["holds"] == false)
            .map(|verdict| verdict["figure"].as_str().unwrap())
            .collect();
        for figure in broken {
            assert!(failed.contains(figure), "{expect}: {figure} in {failed:?}: {found}");
        }
        assert!(found.count("/totals/refused") > 0 && found.count("/totals/admitted") > 0, "{expect}: {found}");
    };
    std::thread::scope(|scope| {
        for (number, case) in cases.into_iter().enumerate() {
            let test = &test;
            scope.spawn(move || test(case, number));
        }
    });
}

#[test]
fn a_gateway_that_answers_something_else_proves_nothing() {
    let nothing = tempfile::tempdir().unwrap();
    // Without the key that it wants.
    let url = format!("http://{}/", serve());
    let found =
        report(nothing.path(), &["--url", &url, "--expect", "20/2s sliding", "--duration", "1s", "--probes", "none"]);
    assert_eq!(found.code, Some(4), "{found}");
    assert_eq!(found.figure("judged"), 0.0, "{found}");
    assert!(
        found.report["setting"]["notes"].to_string().contains("have the status 401"),
        "{:#}",
        found.report["setting"]
    );
    // And where nobody is, even if it is one of several, before anything is asked.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = format!("http://{address}/");
    for urls in [&["--url", &nobody][..], &["--url", &url, "--url", &nobody]] {
        let output = run(nothing.path(), &[urls, &["--expect", "20/2s sliding"]].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.starts_with(&format!("error: cannot connect to {address}: ")), "{said}");
    }
}

/// Five thousand requests in five milliseconds: no machine sends them.
#[test]
fn it_says_when_it_was_itself_the_bottleneck() {
    let folder = folder(super::SLIDING);
    let hard = ["--rate", "1000000", "--max-rate", "1000000", "--duration", "5ms", "--probes", "none"];
    let output = run(folder.path(), &[&["."], &hard[..]].concat());
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(text.matches("bottleneck: ").count(), 2, "at the top and beside the latency: {text}");
    let found = report(folder.path(), &[&["."], &hard[..]].concat());
    let bottleneck = found.report["generator"]["bottleneck"].as_str().unwrap_or_else(|| panic!("{found}"));
    assert!(bottleneck.contains("could not keep up") || bottleneck.contains("connections were in use"), "{bottleneck}");
    // What is proven is proven all the same.
    found.assert_exact("overloaded");
    assert_eq!(found.count("/totals/requests"), 5_000, "{found}");
}
