//! Live tests over real connections: against servers with a known flaw, and what is said of the generator itself.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::stand_in::{Manner, StandIn};
use super::{KeyPlace, Target, run};
use crate::clock::Clock;
use crate::loadtest::analysis::{Measured, Report, Setting, analyse};
use crate::loadtest::expect::Expected;
use crate::loadtest::keys;
use crate::loadtest::metric::assertions;
use crate::loadtest::plan::{Bounds, Plan};
use crate::loadtest::probes::{Order, Probe, plan};
use crate::loadtest::record::{Attempt, KeyId, Kind};
use crate::loadtest::tests::flawed::{Flaw, Flawed};
use crate::loadtest::virtual_time::{Look, Subject};
use crate::server::simple::{self, Handle};

const KEY: HeaderName = HeaderName::from_static("x-key");

/// A server whose limiter is flawed.
fn serve(flaw: Flaw, calls: usize, period: Duration) -> (SocketAddr, Handle) {
    let limiter = Arc::new(Mutex::new(Flawed::new(flaw, &[(calls, period.as_nanos() as u64)])));
    let started = Instant::now();
    let asked = Arc::new(std::sync::atomic::AtomicU32::new(0));
    simple::spawn("flawed", (Ipv4Addr::LOCALHOST, 0).into(), move |listener, stopped| async move {
        let handler = move |request: Request<Incoming>| {
            let (limiter, asked) = (limiter.clone(), asked.clone());
            async move {
                let key = request.headers().get(KEY).and_then(|key| key.to_str().ok());
                let kind = match (request.method(), request.headers().contains_key("x-forwarded-for")) {
                    (&Method::OPTIONS, _) => Kind::Preflight,
                    (_, true) => Kind::Forged,
                    _ => Kind::Plain,
                };
                let job = asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let attempt =
                    Attempt { key: KeyId(0), job, phase: 0, number: 1, refusals: 0, kind, intended: 0, began: 0 };
                let answer = {
                    // The clock is read under the lock, so that time does not go back for the limiter.
                    let mut limiter = limiter.lock();
                    limiter.ask(started.elapsed().as_nanos() as u64, key, &attempt)
                };
                let mut response = Response::builder().status(answer.status);
                if let Some(seconds) = answer.retry_after {
                    response = response.header("retry-after", seconds);
                }
                if let (Some(left), Some(time)) = (answer.remaining, answer.reset) {
                    response = response.header("ratelimit", format!("\"test\";r={left};t={time}"));
                }
                Ok(response.body(Full::new(Bytes::from_static(b"{}"))).unwrap())
            }
        };
        simple::serve("flawed", listener, 1_000, stopped.wait(), handler).await
    })
    .unwrap()
}

fn drive(plan: &Plan, address: SocketAddr) -> Report {
    let url = format!("http://{address}/").parse().unwrap();
    let texts: Vec<String> = (0..plan.keys).map(|key| keys::text("k{number}", KeyId(key), plan.seed)).collect();
    let target = Target::new(&url, None, Clock::system()).unwrap().with_keys(KeyPlace::Header(KEY), texts.into());
    let (acts, _listening) = mpsc::unbounded_channel();
    let driven = run(plan, target, Duration::from_secs(30), &acts, &mut |_, _| Look::GoOn).unwrap();
    let measured = Measured { upstream: None, busy: Some(driven.busy), connections: plan.bounds.connections };
    analyse(&driven.session, plan, Setting::default(), &measured, &assertions(&[], true))
}

/// A free port of this machine.
fn anywhere() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn failed(report: &Report) -> Vec<&str> {
    report.verdicts.iter().filter(|verdict| !verdict.holds).map(|verdict| verdict.assertion.as_str()).collect()
}

fn order(limit: &str, probes: &[Probe]) -> Order {
    let bounds = Bounds { requests: 20_000, rate: 1_000.0, connections: 64, duration: 20_000_000_000 };
    let limit = Expected { told: true, ..limit.parse().unwrap() };
    Order {
        limits: vec![limit],
        probes: probes.into(),
        duration: Some(2_000_000_000),
        keys: 3,
        bounds,
        ..Order::default()
    }
}

#[test]
fn flaws_are_caught_over_connections_and_the_control_is_not_accused() {
    // The control comes last: all that is said of it must hold however slow this machine is.
    for (flaw, caught_by) in [
        (Flaw::CountsLater, "simultaneous.excess<="),
        (Flaw::Zero, "retry-after.zero<="),
        (Flaw::NoFields, "ratelimit.missing<="),
        (Flaw::BelievesForgers, "forged.admitted<="),
        (Flaw::None, ""),
    ] {
        let (address, _server) = serve(flaw, 10, Duration::from_secs(1));
        let plan =
            plan(&order("10/1s sliding", &[Probe::Simultaneous, Probe::RetryAfter, Probe::Reset, Probe::Forged]));
        let report = drive(&plan, address);
        let failed = failed(&report);
        if flaw == Flaw::None {
            assert_eq!(failed, [""; 0]);
            assert_eq!(report.totals.errors, 0);
            assert!(report.totals.refused > 0);
        } else {
            assert!(failed.iter().any(|it| it.starts_with(caught_by)), "{flaw:?}: {caught_by} in {failed:?}");
        }
    }
}

#[test]
fn a_target_that_is_too_slow_for_the_rate_is_told_from_a_slow_generator() {
    let backend =
        StandIn::start(anywhere(), Manner { latency: Duration::from_millis(50), ..Manner::default() }).unwrap();
    let bounds = Bounds { requests: 1_000, rate: 1_000.0, connections: 2, duration: 5_000_000_000 };
    let plan =
        plan(&Order { rate: Some(100.0), duration: Some(1_000_000_000), keyed: false, bounds, ..Order::default() });
    let report = drive(&plan, backend.address);
    let bottleneck = report.generator.bottleneck.unwrap();
    assert!(bottleneck.contains("all 2 connections were in use"), "{bottleneck}");
    assert_eq!(report.totals.admitted, 100, "all were sent all the same");
    assert_eq!(backend.upstream().requests, 100);
}

#[test]
fn requests_without_an_answer_are_errors_and_not_refusals() {
    // A port that nobody listens on any more.
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let plan = plan(&Order { probes: Vec::new(), ..order("10/1s sliding", &[]) });
    let report = drive(&plan, address);
    assert_eq!((report.totals.errors, report.totals.refused), (report.totals.requests, 0));
    assert!(failed(&report).contains(&"errors<=0.1%"));
}

#[test]
fn a_changing_request_that_comes_twice_is_a_duplicate() {
    let backend = StandIn::start(anywhere(), Manner::default()).unwrap();
    for (method, attempt) in [("POST", "1-1"), ("POST", "1-2"), ("GET", "1-1"), ("GET", "1-1"), ("POST", "1-1")] {
        let mut stream = TcpStream::connect(backend.address).unwrap();
        let request = format!(
            "{method} / HTTP/1.1\r\nhost: a\r\nx-sluicegate-loadtest: {attempt}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let seen = backend.upstream();
    assert_eq!((seen.requests, seen.duplicates), (5, Some(1)));
}
