//! Limits on requests at once that gateways share: never more than the maximum, for as long as requests run and no longer.

use std::io::Write;
use std::net::TcpStream;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate::clock::Clock;
use sluicegate::limit::{ConcurrencyLimit, OnStoreError, Permit, RemoteConcurrency, SharedCounters};
use sluicegate::shared_store::redis;
use tokio::runtime::Runtime;

use super::gateways::{Client, Finally, gateway};
use super::server::Server;
use super::sharing::{counters, patient};
use super::support::backend::Backend;
use super::support::wire::PATIENCE;

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

fn limit(max: u32, counters: &SharedCounters) -> RemoteConcurrency {
    let max = NonZeroU32::new(max).unwrap();
    let local = ConcurrencyLimit::new(counters.part(max));
    RemoteConcurrency::new("test", max, counters, local, Clock::system())
}

/// Asks until there is a place.
async fn eventually(limit: &RemoteConcurrency) -> Permit {
    let began = Instant::now();
    loop {
        if let Some(permit) = limit.acquire("key").await {
            return permit;
        }
        assert!(began.elapsed() < PATIENCE, "no place is given back");
        tokio::task::yield_now().await;
    }
}

#[test]
fn three_gateways_run_at_most_the_maximum_of_64_clients_at_once() {
    const MAX: usize = 5;
    let server = Server::start(&[]);
    let settings = patient(redis::Settings::new(server.url()));
    let (running, most, admitted) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicUsize::new(0));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // A check that fails ends the gateways too.
        let _end = Finally(&done);
        let (finished, all_finished) = std::sync::mpsc::channel();
        for _ in 0..3 {
            let finished = finished.clone();
            let (settings, running, most, admitted, done) = (&settings, &running, &most, &admitted, &done);
            scope.spawn(move || {
                let runtime = runtime();
                let limit = limit(5, &counters(settings.clone(), None));
                let client = async || {
                    for _ in 0..10 {
                        let Some(permit) = limit.acquire("key").await else { continue };
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        admitted.fetch_add(1, Ordering::SeqCst);
                        for _ in 0..20 {
                            tokio::task::yield_now().await;
                        }
                        running.fetch_sub(1, Ordering::SeqCst);
                        drop(permit);
                    }
                };
                runtime.block_on(async {
                    futures_of(64, client).await;
                    assert_eq!(limit.running(), 0);
                    finished.send(()).unwrap();
                    // A gateway lives on, and gives the last places back meanwhile.
                    while !done.load(Ordering::Relaxed) {
                        tokio::task::yield_now().await;
                    }
                });
            });
        }
        drop(finished);
        assert_eq!(all_finished.iter().take(3).count(), 3);
        every_place_is_free(&settings, MAX);
    });
    assert!(most.load(Ordering::SeqCst) <= MAX, "{most:?} at once");
    assert!(admitted.load(Ordering::SeqCst) >= MAX, "{admitted:?}");
}

/// In the end every place is free again: nothing waits for a lease to run out.
fn every_place_is_free(settings: &redis::Settings, places: usize) {
    runtime().block_on(async {
        let limit = limit(5, &counters(settings.clone(), None)).with_lease(Duration::from_secs(600));
        let mut permits = Vec::new();
        for _ in 0..places {
            permits.push(eventually(&limit).await);
        }
        assert!(limit.acquire("key").await.is_none());
    });
}

/// Runs as many of the same at once on this thread.
async fn futures_of<F: Future<Output = ()>>(count: usize, make: impl Fn() -> F) {
    let mut all: Vec<_> = (0..count).map(|_| Box::pin(make())).collect();
    std::future::poll_fn(|cx| {
        all.retain_mut(|future| future.as_mut().poll(cx).is_pending());
        if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

#[test]
fn places_last_as_long_as_their_requests_and_end_with_their_gateway() {
    const LEASE: Duration = Duration::from_secs(4);
    let server = Server::start(&[]);
    let settings = patient(redis::Settings::new(server.url()));
    let other = runtime();
    let others = limit(1, &counters(settings.clone(), None)).with_lease(LEASE);
    let dying = runtime();
    let held = dying.block_on(async {
        let limit = limit(1, &counters(settings.clone(), None)).with_lease(LEASE);
        let permit = limit.acquire("key").await.unwrap();
        let began = Instant::now();
        // Longer than a lease that nobody renews.
        while began.elapsed() < LEASE * 3 / 2 {
            tokio::task::yield_now().await;
            assert!(limit.acquire("key").await.is_none(), "{:?} after it was taken", began.elapsed());
        }
        permit
    });
    // A gateway that is gone gives nothing back: there is nothing left to send it with.
    drop(dying);
    drop(held);
    other.block_on(async {
        assert!(others.acquire("key").await.is_none(), "it is not noticed at once");
        drop(eventually(&others).await);
        drop(eventually(&others).await);
    });
}

#[test]
fn while_the_store_is_down_each_gateway_admits_its_part() {
    struct Case {
        on_error: OnStoreError,
        want: usize,
    }
    for Case { on_error, want } in [
        Case { on_error: OnStoreError::Local, want: 2 },
        Case { on_error: OnStoreError::Allow, want: 4 },
        Case { on_error: OnStoreError::Deny, want: 0 },
    ] {
        let mut server = Server::start(&[]);
        let settings = redis::Settings { pause: PATIENCE, ..patient(redis::Settings::new(server.url())) };
        let counters = SharedCounters { on_error, replicas: 3, ..counters(settings, None) };
        runtime().block_on(async {
            let limit = limit(6, &counters);
            drop(limit.acquire("key").await.unwrap());
            server.kill();
            let mut permits = Vec::new();
            for _ in 0..4 {
                permits.extend(limit.acquire("key").await);
            }
            assert_eq!(permits.len(), want, "{on_error:?}");
        });
    }
}

#[test]
fn gateways_count_the_requests_in_progress_of_all() {
    let server = Server::start(&[]);
    let backend = Backend::start();
    let store =
        format!("url = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\non-error = \"deny\"", server.url());
    let policy = "policy = \"limit-concurrency\"\nmax-count = 2\nkey = \"@headers('x-key')\"";
    let gateways: Vec<_> = (0..3).map(|_| gateway(backend.address, &store, policy)).collect();
    let hanging: Vec<TcpStream> = gateways[..2]
        .iter()
        .map(|gateway| {
            let mut stream = TcpStream::connect(gateway.address).unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: gateway.test\r\nx-key: a\r\nx-test-hang: 9\r\n\r\n").unwrap();
            stream
        })
        .collect();
    let began = Instant::now();
    let mut arrived = 0;
    while arrived < 2 {
        arrived += backend.take().len();
        assert!(began.elapsed() < PATIENCE, "the requests do not arrive");
        std::thread::yield_now();
    }
    let mut client = Client::connect(gateways[2].address);
    assert_eq!(client.call("a"), 429, "two are in progress elsewhere");
    assert_eq!(client.call("b"), 200, "another key");
    drop(hanging);
    while client.call("a") != 200 {
        assert!(began.elapsed() < PATIENCE, "clients that left keep their places");
    }
}
