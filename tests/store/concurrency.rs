//! Limits on requests at once that gateways share: never more than the maximum, for as long as requests run and no longer.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use sluicegate::clock::Clock;
use sluicegate::limit::{ConcurrencyLimit, OnStoreError, Permit, RemoteConcurrency, SharedCounters};
use sluicegate::shared_store::redis;
use tokio::runtime::Runtime;

use super::gateways::{Client, Finally, LONG, gateway};
use super::server::Server;
use super::sharing::{counters, patient};
use super::support::backend::Backend;
use super::support::wire::{Connection, PATIENCE};

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

#[test]
fn places_are_counted_again_by_a_server_that_has_forgotten_them() {
    const LEASE: Duration = Duration::from_secs(3);
    let mut server = Server::start(&[]);
    let settings = redis::Settings { pause: Duration::from_millis(50), ..patient(redis::Settings::new(server.url())) };
    runtime().block_on(async {
        let [one, other] = [(); 2].map(|()| limit(2, &counters(settings.clone(), None)).with_lease(LEASE));
        let held = [one.acquire("key").await.unwrap(), one.acquire("key").await.unwrap()];
        server.restart();
        let began = Instant::now();
        while server.command("ZCARD sluicegate:concurrency:test:key\r\n").as_deref() != Some(":2\r\n") {
            assert!(began.elapsed() < PATIENCE, "the places are not renewed");
            tokio::task::yield_now().await;
        }
        assert!(other.acquire("key").await.is_none(), "both are taken, as they were");
        drop(held);
        let places = [eventually(&other).await, eventually(&other).await];
        assert!(other.acquire("key").await.is_none());
        drop(places);
    });
}

/// A backend that knows how many requests are with it at once. It keeps those with `x-key: held` until they are released.
#[derive(Default)]
struct Counting {
    running: AtomicUsize,
    most: AtomicUsize,
    released: AtomicBool,
}

impl Counting {
    fn start() -> (SocketAddr, Arc<Self>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let counting: Arc<Self> = Arc::default();
        let shared = counting.clone();
        // They end with the process; a test has nothing to wait for in them.
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(Connection::on(stream)));
            }
        });
        (address, counting)
    }

    fn serve(&self, mut connection: Connection) {
        while let Some(request) = connection.request() {
            self.most.fetch_max(self.running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            let is_held = request.field("x-key").is_some_and(|key| key.starts_with("held"));
            let mut turns = 0;
            while turns < 100 || (is_held && !self.released.load(Ordering::SeqCst)) {
                turns += 1;
                std::thread::yield_now();
            }
            self.running.fetch_sub(1, Ordering::SeqCst);
            connection.send(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        }
    }
}

#[test]
fn a_server_that_dies_under_load_loses_no_place_and_gives_none_twice() {
    const MAX: usize = 6;
    let mut server = Server::start(&[]);
    let (backend, counting) = Counting::start();
    let store = format!(
        "url = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\npause = \"200ms\"\non-error = \"local\"\nreplicas = 3",
        server.url()
    );
    let policy = format!("policy = \"limit-concurrency\"\nmax-count = {MAX}\nkey = \"@headers('x-key')\"");
    let gateways: Vec<_> = (0..3).map(|_| gateway(backend, &store, &policy)).collect();
    // The gateways' clocks say when they look whether the server is back.
    let pause = || gateways.iter().for_each(|gateway| gateway.clock.advance(Duration::from_millis(200)));
    let (admitted, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..12)
            .map(|client| {
                let (address, admitted, done) = (gateways[client % 3].address, &admitted, &done);
                scope.spawn(move || {
                    let mut connection = Client::connect(address);
                    while !done.load(Ordering::Relaxed) {
                        match connection.call("load") {
                            200 => drop(admitted.fetch_add(1, Ordering::Relaxed)),
                            status => assert_eq!(status, 429, "whatever happens to the store"),
                        }
                    }
                })
            })
            .collect();
        // A check that fails ends the clients too.
        let _end = Finally(&done);
        let began = Instant::now();
        let more = |requests: usize| {
            let goal = admitted.load(Ordering::Relaxed) + requests;
            while admitted.load(Ordering::Relaxed) < goal && clients.iter().all(|client| !client.is_finished()) {
                assert!(began.elapsed() < LONG, "requests are not admitted");
                std::thread::yield_now();
            }
        };
        more(100);
        let before = counting.most.load(Ordering::SeqCst);
        server.kill();
        for _ in 0..3 {
            more(100);
            pause();
        }
        server.restart();
        for _ in 0..3 {
            more(100);
            pause();
        }
        let during = counting.most.load(Ordering::SeqCst);
        assert!(before <= MAX, "{before} at once");
        // Each gateway's part, beside what began before; and what began in the outage, beside what the store admits after it.
        assert!(during <= 2 * MAX, "{during} at once");
    });
    let began = Instant::now();
    while server.command("KEYS *\r\n").is_none_or(|keys| keys.contains("load")) {
        assert!(began.elapsed() < LONG, "places are lost");
        std::thread::yield_now();
    }
    // All places are one gateway's now, which it has only in the store: without that it has a third.
    let mut attempt = 0;
    loop {
        attempt += 1;
        assert!(began.elapsed() < LONG, "the gateways count each for itself");
        let key = format!("held-{attempt}");
        counting.released.store(false, Ordering::SeqCst);
        let all = std::thread::scope(|scope| {
            let _end = Finally(&counting.released);
            let holding: Vec<_> =
                (0..MAX).map(|_| scope.spawn(|| Client::connect(gateways[0].address).call(&key))).collect();
            while counting.running.load(Ordering::SeqCst) < MAX {
                if holding.iter().any(|client| client.is_finished()) {
                    return false;
                }
                assert!(began.elapsed() < LONG, "requests do not arrive");
                std::thread::yield_now();
            }
            let refused = Client::connect(gateways[1].address).call(&key);
            assert_eq!(refused, 429, "no more than all");
            true
        });
        if all {
            break;
        }
        pause();
    }
}
