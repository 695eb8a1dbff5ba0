//! A store that dies, comes back, or hangs.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use sluicegate::clock::Clock;
use sluicegate::limit::{
    Algorithm, Ask, Limiter, OnStoreError, Precision, RemoteLimit, Settings, SharedCounters, SharedLimit,
};
use sluicegate::shared_store::{Redis, StoreError, redis};
use sluicegate::telemetry::Metrics;

use super::server::Server;
use super::sharing::patient;

struct Gate {
    clock: Clock,
    counters: SharedCounters,
    limit: RemoteLimit,
}

/// A gateway with a limit of 4 an hour, whose breaker looks at a clock moved by hand.
fn gate(settings: redis::Settings, on_error: OnStoreError, replicas: u32) -> Gate {
    let clock = Clock::manual();
    let store = Arc::new(Redis::new(settings, clock.clone(), Metrics::new(&clock).shared_store()).unwrap());
    let counters = SharedCounters { store, on_error, replicas, lease: None };
    let four = NonZeroU32::new(4).unwrap();
    let algorithm = Algorithm::SlidingWindow { precision: Precision::Exact };
    let settings = Settings::new(algorithm, four, Duration::from_secs(60 * 60));
    let local = Arc::new(Limiter::new(counters.local(&settings), clock.clone()));
    let limit = RemoteLimit::new("outage", settings, &counters, local, clock.clone());
    Gate { clock, counters, limit }
}

/// How many of six requests are admitted.
async fn admitted(gate: &Gate) -> usize {
    let mut admitted = 0;
    for _ in 0..6 {
        admitted += usize::from(gate.limit.ask(Ask::new("key", 1)).await.admitted);
    }
    admitted
}

#[test]
fn what_decides_while_the_store_is_down() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (on_error, replicas, want) in [
        (OnStoreError::Local, 1, 4),
        // Each of two gateways admits half.
        (OnStoreError::Local, 2, 2),
        (OnStoreError::Allow, 1, 6),
        (OnStoreError::Deny, 1, 0),
    ] {
        let mut server = Server::start(&[]);
        let gate = gate(patient(redis::Settings::new(server.url())), on_error, replicas);
        runtime.block_on(async {
            assert_eq!(admitted(&gate).await, 4, "{on_error:?}: the store counts");
            server.kill();
            assert_eq!(admitted(&gate).await, want, "{on_error:?}, {replicas} gateways: without the store");
            server.restart();
            assert_eq!(gate.limit.ask(Ask::new("other", 0)).await.at, gate.clock.now(), "it rests, so it is not asked");
            // After the pause one request finds that it is back; it has forgotten everything.
            gate.clock.advance(Duration::from_secs(1));
            assert_eq!(admitted(&gate).await, 4, "{on_error:?}: the store counts again");
        });
    }
}

#[test]
fn a_script_that_the_server_forgot_is_sent_again() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let gate = gate(patient(redis::Settings::new(server.url())), OnStoreError::Deny, 1);
    runtime.block_on(async {
        assert!(gate.limit.ask(Ask::new("key", 1)).await.admitted);
        server.command("SCRIPT FLUSH SYNC\r\n").unwrap();
        assert_eq!(gate.limit.ask(Ask::new("key", 1)).await.remaining, 2);
    });
}

#[test]
fn a_store_that_hangs_costs_one_time_out() {
    // Accepts connections and never answers.
    let silent = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("redis://{}/", silent.local_addr().unwrap());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let timeout = Duration::from_millis(40);
    let settings = redis::Settings { timeout, connect_timeout: timeout, ..redis::Settings::new(url) };
    let gate = gate(settings, OnStoreError::Local, 1);
    runtime.block_on(async {
        assert_eq!(admitted(&gate).await, 4);
        let error = gate.counters.store.failing().expect("a failure");
        assert!(matches!(error, StoreError::Timeout(_) | StoreError::Connect(_)), "{error}");
        let asked = gate.counters.store.ask::<()>(&::redis::cmd("PING")).await;
        assert!(matches!(asked, Err(StoreError::Resting)), "{asked:?}");
    });
}
