//! Several gateways on one store admit exactly the limit: on one server, in a cluster, behind Sentinels, and over TLS.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::clock::Clock;
use sluicegate::limit::{
    Algorithm, Ask, Lease, Limiter, OnStoreError, Precision, RemoteLimit, Settings, SharedCounters, SharedLimit,
    WindowStart,
};
use sluicegate::shared_store::redis::Topology;
use sluicegate::shared_store::{Redis, redis};
use sluicegate::telemetry::Metrics;

use super::server::{Server, free_port};

/// So patient that only a store that is down counts as failing, however busy the machine is.
pub(crate) fn patient(settings: redis::Settings) -> redis::Settings {
    let patience = Duration::from_secs(10);
    redis::Settings { timeout: patience, connect_timeout: patience, ..settings }
}

/// A gateway's view of the store. Without it everything is refused, so that nothing else can admit.
pub(crate) fn counters(settings: redis::Settings, lease: Option<Lease>) -> SharedCounters {
    let clock = Clock::system();
    let store = Redis::new(settings, clock.clone(), Metrics::new(&clock).shared_store()).unwrap();
    SharedCounters { store: Arc::new(store), on_error: OnStoreError::Deny, replicas: 1, lease }
}

pub(crate) fn limit(id: &str, settings: &Settings, counters: &SharedCounters) -> Arc<RemoteLimit> {
    let clock = Clock::system();
    let local = Arc::new(Limiter::new(counters.local(settings), clock.clone()));
    Arc::new(RemoteLimit::new(id, settings.clone(), counters, local, clock))
}

fn algorithms(calls: NonZeroU32) -> [Algorithm; 5] {
    [
        Algorithm::SlidingWindow { precision: Precision::Exact },
        Algorithm::SlidingWindow { precision: Precision::Slots(NonZeroU32::new(10).unwrap()) },
        Algorithm::TokenBucket { burst: calls },
        Algorithm::FixedWindow { start: WindowStart::Clock },
        Algorithm::FixedWindow { start: WindowStart::FirstCall },
    ]
}

/// How many of 64 clients' requests three gateways admit, each gateway with a thread, connections and memory of its own.
fn admitted(id: &str, settings: &Settings, store: &redis::Settings, lease: Option<Lease>) -> usize {
    let gateways: Vec<_> = (0..3)
        .map(|_| {
            let (id, settings, store) = (id.to_owned(), settings.clone(), store.clone());
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                let limit = limit(&id, &settings, &counters(store, lease));
                runtime.block_on(async {
                    let clients: Vec<_> = (0..64)
                        .map(|_| {
                            let limit = limit.clone();
                            tokio::spawn(async move {
                                let mut admitted = 0;
                                for _ in 0..5 {
                                    admitted += usize::from(limit.ask(Ask::new("key", 1)).await.admitted);
                                }
                                admitted
                            })
                        })
                        .collect();
                    let mut sum = 0;
                    for client in clients {
                        sum += client.await.unwrap();
                    }
                    sum
                })
            })
        })
        .collect();
    gateways.into_iter().map(|gateway| gateway.join().unwrap()).sum()
}

/// 100 in an hour: nothing comes back while the test runs.
fn hundred() -> (NonZeroU32, Duration) {
    (NonZeroU32::new(100).unwrap(), Duration::from_secs(60 * 60))
}

#[track_caller]
fn assert_exact(store: &redis::Settings) {
    let (calls, period) = hundred();
    for algorithm in algorithms(calls) {
        let settings = Settings::new(algorithm, calls, period);
        let id = format!("{algorithm:?}");
        let found = admitted(&id, &settings, store, None);
        // An aligned window may end while the test runs.
        let aligned = matches!(algorithm, Algorithm::FixedWindow { start: WindowStart::Clock });
        assert!(found == 100 || (aligned && found == 200), "{algorithm:?} admitted {found} of 960");
    }
}

#[test]
fn three_gateways_admit_exactly_the_limit() {
    let server = Server::start(&["--requirepass", "a password: with/every?thing"]);
    let settings = redis::Settings {
        password: Some("a password: with/every?thing".to_owned()),
        ..patient(redis::Settings::new(server.url()))
    };
    assert_exact(&settings);
}

#[test]
fn the_servers_clock_decides_where_windows_begin() {
    let server = Server::start(&[]);
    let year = Duration::from_secs(365 * 86_400);
    let (ten, runtime) =
        (NonZeroU32::new(10).unwrap(), tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap());
    for algorithm in algorithms(ten) {
        let settings = Settings::new(algorithm, ten, year);
        // Clocks that are years behind and ahead of the server's.
        let gateways = [0, 1, 60].map(|years| {
            let clock = Clock::manual();
            clock.advance(year * years);
            let counters = counters(patient(redis::Settings::new(server.url())), None);
            let local = Arc::new(Limiter::new(counters.local(&settings), clock.clone()));
            RemoteLimit::new(&format!("{algorithm:?}"), settings.clone(), &counters, local, clock)
        });
        runtime.block_on(async {
            for turn in 0..10 {
                let decision = gateways[turn % 3].ask(Ask::new("key", 1)).await;
                assert_eq!((decision.admitted, decision.remaining as usize), (true, 9 - turn), "{algorithm:?}");
            }
            for gateway in &gateways {
                let decision = gateway.ask(Ask::new("key", 1)).await;
                assert!(!decision.admitted && decision.retry_after <= year + year / 10, "{algorithm:?}: {decision:?}");
            }
        });
    }
}

#[test]
fn leases_cost_no_more_than_their_bound() {
    let server = Server::start(&[]);
    let (calls, period) = hundred();
    let settings = Settings::new(Algorithm::SlidingWindow { precision: Precision::Exact }, calls, period);
    let lease = Lease { share: 0.05, time: Duration::from_secs(60) };
    let found = admitted("leases", &settings, &patient(redis::Settings::new(server.url())), Some(lease));
    // Everything happens within the first window, where a leased unit is counted before it is used: never more than the limit,
    // and less by what the three gateways leased and did not come to use.
    assert!((100 - 3 * 5..=100).contains(&found), "{found} of 960");
    let statistics = server.command("INFO commandstats\r\n").unwrap();
    let calls = statistics.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next()).unwrap();
    assert!(calls.parse::<usize>().unwrap() > 0, "{statistics}");
}

#[test]
fn a_cluster_counts_as_one() {
    let servers = Server::cluster();
    let settings = redis::Settings {
        urls: servers.iter().map(Server::url).collect(),
        topology: Topology::Cluster,
        ..patient(redis::Settings::new(""))
    };
    assert_exact(&settings);
    // Keys are spread: each server has some.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (calls, period) = hundred();
    let settings_of_limit = Settings::new(Algorithm::TokenBucket { burst: calls }, calls, period);
    let limit = limit("spread", &settings_of_limit, &counters(settings, None));
    runtime.block_on(async {
        for key in 0..64 {
            assert!(limit.ask(Ask::new(&format!("key-{key}"), 1)).await.admitted);
        }
    });
    for server in &servers {
        assert_ne!(server.command("DBSIZE\r\n").unwrap(), ":0\r\n");
    }
}

#[test]
fn the_master_that_sentinels_name_is_followed() {
    let mut master = Server::start(&[]);
    let port = master.port.to_string();
    let replica = Server::start(&["--replicaof", "127.0.0.1", &port]);
    let began = Instant::now();
    while !replica.command("INFO replication\r\n").is_some_and(|info| info.contains("master_link_status:up")) {
        assert!(began.elapsed() < Duration::from_secs(20), "the replica does not come about");
        std::thread::yield_now();
    }
    let sentinel = Server::sentinel(master.port);
    let settings = redis::Settings {
        urls: vec![sentinel.url()],
        topology: Topology::Sentinel { master: "gate".to_owned() },
        pause: Duration::from_millis(20),
        ..patient(redis::Settings::new(""))
    };
    let (calls, period) = hundred();
    let settings_of_limit = Settings::new(Algorithm::TokenBucket { burst: calls }, calls, period);
    let limit = limit("watched", &settings_of_limit, &counters(settings, None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        assert_eq!(limit.ask(Ask::new("key", 1)).await.remaining, 99);
        // Answered by the replica as well, so that the failover loses nothing.
        let began = Instant::now();
        while replica.command("DBSIZE\r\n").is_none_or(|size| size == ":0\r\n") {
            assert!(began.elapsed() < Duration::from_secs(20), "nothing is replicated");
        }
        master.kill();
        let began = Instant::now();
        loop {
            let decision = limit.ask(Ask::new("key", 1)).await;
            if decision.admitted {
                assert_eq!(decision.remaining, 98, "the replica knew of the first request");
                break;
            }
            assert!(began.elapsed() < Duration::from_secs(30), "nobody follows the new master");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
}

#[test]
fn tls_is_checked_by_the_configured_authority() {
    let key = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (certificate, secret) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    std::fs::write(&certificate, key.cert.pem()).unwrap();
    std::fs::write(&secret, key.signing_key.serialize_pem()).unwrap();
    let port = free_port();
    let _server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        certificate.to_str().unwrap(),
        "--tls-key-file",
        secret.to_str().unwrap(),
        "--tls-auth-clients",
        "no",
    ]);
    let url = format!("rediss://localhost:{port}/");
    let trusting = redis::Settings {
        authorities: Some(key.cert.pem().into_bytes()),
        ..patient(redis::Settings::new(url.clone()))
    };
    assert_exact(&trusting);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let strict = counters(patient(redis::Settings::new(url)), None);
    let refused = runtime.block_on(strict.store.ask::<String>(&::redis::cmd("PING")));
    assert!(refused.is_err(), "a certificate of nobody's");
}
