//! Quotas in a store: the script decides as the ledger in memory does, and three gateways together admit exactly the limit.

use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluicegate::clock::Clock;
use sluicegate::limit::quota::schedule::YEAR_ONE;
use sluicegate::limit::quota::schedule::millis;
use sluicegate::limit::quota::{Allowance, Exceeded, Ledger, RemoteLedger, Schedule, Settings, Ticket, Unit, Verdict};
use sluicegate::limit::{OnStoreError, Overflow, SharedCounters};
use sluicegate::shared_store::{Redis, redis};
use sluicegate::telemetry::Metrics;

use super::gateways::{Shared, admitted, gateway, survive};
use super::server::Server;
use super::sharing::patient;
use super::support::backend::Backend;
use super::support::gateway::Gateway;

#[derive(Clone, Debug)]
enum Operation {
    Wait(u64),
    Take(u64, u64),
    /// Of the verdict so many takes ago: what calls and units turned out to be.
    Settle(usize, u64, u64),
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => (0..3_000_u64).prop_map(Operation::Wait),
        1 => prop_oneof![Just(5_999), Just(6_000), Just(86_400_000)].prop_map(Operation::Wait),
        6 => (0..4_u64, 0..3_u64).prop_map(|(calls, units)| Operation::Take(calls, units)),
        3 => (0..3_usize, 0..4_u64, 0..8_u64).prop_map(|(ago, calls, units)| Operation::Settle(ago, calls, units)),
    ]
}

fn schedule() -> impl Strategy<Value = Schedule> {
    let calendar = |unit| Schedule::Calendar { unit, zone: TimeZone::UTC, first: YEAR_ONE };
    prop_oneof![
        Just(Schedule::Every { period: 6_000, first: 0 }),
        Just(Schedule::FirstCall { period: 6_000 }),
        Just(Schedule::Sliding { period: 6_000 }),
        Just(calendar(Unit::Day)),
        Just(calendar(Unit::Month)),
        Just(Schedule::Never),
    ]
}

fn settings(schedule: Schedule) -> Settings {
    Settings { schedule, max_keys: 1_000, on_overflow: Overflow::Reject, kept: false }
}

fn counters(settings: redis::Settings, on_error: OnStoreError, replicas: u32, clock: &Clock) -> SharedCounters {
    let store = Redis::new(settings, clock.clone(), Metrics::new(clock).shared_store()).unwrap();
    SharedCounters { store: Arc::new(store), on_error, replicas, lease: None }
}

/// A quota of that name in the store, as one gateway sees it.
fn ledger(id: &str, schedule: &Schedule, counters: &SharedCounters, clock: &Clock) -> RemoteLedger {
    let local = Arc::new(Ledger::new(id, settings(schedule.clone()), clock.clone()));
    RemoteLedger::new(schedule.clone(), counters, local, clock.clone())
}

/// The same under the gateway's clock in place of the server's.
fn remote(id: &str, schedule: &Schedule, counters: &SharedCounters, clock: &Clock) -> Arc<RemoteLedger> {
    Arc::new(ledger(id, schedule, counters, clock).with_time(clock.clone()))
}

/// Lets a correction be sent, which nobody waits for: what is sent next on the same connection comes after it.
async fn settle() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}

/// What the two must agree on.
fn facts(verdict: &Verdict) -> impl PartialEq + std::fmt::Debug {
    (verdict.outcome.map(drop), verdict.calls, verdict.units, verdict.wait)
}

#[test]
fn a_script_counts_quotas_as_memory_does() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let counters = counters(patient(redis::Settings::new(server.url())), OnStoreError::Deny, 1, &Clock::system());
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 300, failure_persistence: None, ..Config::default() });
    let strategy = (schedule(), proptest::collection::vec(operation(), 1..50));
    let outcome = runner.run(&strategy, |(schedule, operations)| {
        number.set(number.get() + 1);
        let clock = Clock::manual();
        let allowance = Allowance { calls: Some(6), units: Some(20) };
        let local = Ledger::new("memory", settings(schedule.clone()), clock.clone());
        let shared = remote(&format!("case-{}", number.get()), &schedule, &counters, &clock);
        let mut taken: Vec<(Ticket, Ticket, u64, u64)> = Vec::new();
        runtime.block_on(async {
            for operation in operations {
                match operation {
                    Operation::Wait(millis) => clock.advance(Duration::from_millis(millis)),
                    Operation::Take(calls, units) => {
                        let here = local.take("key", None, &allowance, calls, units);
                        let there = shared.take("key", None, &allowance, calls, units).await;
                        prop_assert_eq!(facts(&there), facts(&here), "{} calls, {} units", calls, units);
                        if let (Ok(here), Ok(there)) = (here.outcome, there.outcome)
                            && calls + units > 0
                        {
                            taken.push((here, there, calls, units));
                        }
                    }
                    Operation::Settle(ago, calls, units) => {
                        let Some(at) = taken.len().checked_sub(ago + 1) else { continue };
                        let (here, there, was_calls, was_units) = taken[at];
                        local.settle("key", None, here, (was_calls, calls), (was_units, units));
                        shared.settle("key", None, there, (was_calls, calls), (was_units, units));
                        taken[at] = (here, there, calls, units);
                        settle().await;
                    }
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

#[test]
fn three_gateways_keep_a_quota_to_the_call() {
    let server = Server::start(&[]);
    let backend = Backend::start();
    let store =
        format!("url = \"{}\"\ntimeout = \"10s\"\nconnect-timeout = \"10s\"\non-error = \"deny\"", server.url());
    for period in
        ["period = \"month\"", "period = \"1d\"\nwindow = \"sliding\"", "period = \"1d\"\nwindow = \"first-call\""]
    {
        let policy = format!("policy = \"quota-by-key\"\nkey = \"all\"\ncalls = 100\n{period}");
        let gateways: Vec<Gateway> = (0..3).map(|_| gateway(backend.address, &store, &policy)).collect();
        assert_eq!(admitted(&gateways, "", 64, 6), 100, "{period}: of 384");
        server.command("FLUSHALL\r\n").unwrap();
    }
}

/// Gateways whose clocks are years apart, and how far each is ahead of the server.
fn wrong_clocks() -> [Clock; 3] {
    let years = |years: u64| Duration::from_secs(years * 365 * 86_400);
    let clocks = [(); 3].map(|()| Clock::manual());
    clocks[1].advance(years(1));
    clocks[2].advance(years(60));
    clocks
}

#[test]
fn the_servers_clock_decides_which_period_it_is() {
    const TEN: Allowance = Allowance { calls: Some(10), units: None };
    const YEAR: i64 = 365 * 86_400_000;
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let calendar = |unit| Schedule::Calendar { unit, zone: TimeZone::UTC, first: YEAR_ONE };
    for (name, schedule) in [
        ("month", calendar(Unit::Month)),
        ("year", calendar(Unit::Year)),
        ("aligned", Schedule::Every { period: YEAR, first: 0 }),
        ("first-call", Schedule::FirstCall { period: YEAR }),
        ("sliding", Schedule::Sliding { period: YEAR }),
        ("never", Schedule::Never),
    ] {
        runtime.block_on(async {
            let gateways = wrong_clocks().map(|clock| {
                let store = patient(redis::Settings::new(server.url()));
                let counters = counters(store, OnStoreError::Deny, 3, &clock);
                Arc::new(ledger(name, &schedule, &counters, &clock))
            });
            let mut left = Vec::new();
            let mut tickets = Vec::new();
            for turn in 0..10 {
                let verdict = gateways[turn % 3].take("key", None, &TEN, 1, 0).await;
                tickets.push(verdict.outcome.expect("it is not used up"));
                left.push(verdict.calls_left().unwrap());
            }
            assert_eq!(left, (0..10).rev().collect::<Vec<_>>(), "{name}");
            let wall = || millis(Clock::system().wall());
            let expected = |now: i64| schedule.window(now, None).1.checked_sub(now).filter(|it| *it < 10 * YEAR);
            for gateway in &gateways {
                let before = wall();
                let verdict = gateway.take("key", None, &TEN, 1, 0).await;
                assert_eq!(verdict.outcome.map(drop), Err(Exceeded::Calls), "{name}");
                let wait = verdict.wait.map(|wait| i64::try_from(wait.as_millis()).unwrap());
                let most = expected(before);
                // What was counted a moment ago comes back no later than what would be counted now.
                let is_right = match (wait, most) {
                    (None, None) => true,
                    (Some(wait), Some(most)) => wait <= most && wait > most - 600_000,
                    _ => false,
                };
                assert!(is_right, "{name}: {wait:?}, not {most:?}");
            }
            // A correction finds the period that was counted in, whoever sends it.
            gateways[2].settle("key", None, tickets[0], (1, 0), (0, 0));
            settle().await;
            let verdict = gateways[1].take("key", None, &TEN, 1, 0).await;
            assert!(verdict.outcome.is_ok(), "{name}: one was given back");
            let verdict = gateways[0].take("key", None, &TEN, 1, 0).await;
            assert!(verdict.outcome.is_err(), "{name}: and no more than that");
        });
    }
}

#[test]
fn a_gateway_that_restarts_finds_what_was_used_and_the_store_forgets_what_came_back() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let clock = Clock::manual();
    let schedule = Schedule::Every { period: 6_000, first: 0 };
    let ten = Allowance { calls: Some(10), units: None };
    runtime.block_on(async {
        for left in [9, 8, 7] {
            let store = redis::Settings::new(server.url());
            let counters = counters(patient(store), OnStoreError::Deny, 1, &clock);
            let verdict = remote("daily", &schedule, &counters, &clock).take("secret", None, &ten, 1, 0).await;
            assert_eq!(verdict.calls_left(), Some(left));
        }
    });
    let keys = server.command("KEYS *\r\n").unwrap();
    assert!(keys.contains("sluicegate:quota:daily:") && !keys.contains("secret"), "{keys}");
    let name = "EVAL \"return redis.call('PTTL', redis.call('KEYS', '*')[1])\" 0\r\n";
    let left: u64 = server.command(name).unwrap().trim_start_matches(':').trim().parse().unwrap();
    assert!((1..=66_000).contains(&left), "a period and a minute, not {left} ms");
}

/// Not from midnight, which may come while the test runs.
const QUOTA: &str =
    "policy = \"quota-by-key\"\ncalls = 90\nperiod = \"1d\"\nwindow = \"first-call\"\nkey = \"@headers('x-key')\"";

#[test]
fn a_server_that_dies_under_load_costs_no_quota() {
    let server = Server::start(&[]);
    let store = format!("url = \"{}\"", server.url());
    survive(&mut [server], &Shared { store: &store, policy: QUOTA, refusal: 403 });
}

#[test]
fn a_server_of_a_cluster_that_dies_under_load_costs_no_quota() {
    let mut servers = Server::cluster();
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let store = format!("urls = {urls:?}\ntopology = \"cluster\"");
    survive(&mut servers, &Shared { store: &store, policy: QUOTA, refusal: 403 });
}

#[test]
fn what_decides_on_quotas_while_the_store_is_down() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let schedule = Schedule::FirstCall { period: 3_600_000 };
    let four = Allowance { calls: Some(4), units: None };
    for (on_error, replicas, want) in [
        (OnStoreError::Local, 1, 4),
        // Each of two gateways admits half.
        (OnStoreError::Local, 2, 2),
        (OnStoreError::Allow, 1, 6),
        (OnStoreError::Deny, 1, 0),
    ] {
        let mut server = Server::start(&[]);
        let clock = Clock::manual();
        let counters = counters(patient(redis::Settings::new(server.url())), on_error, replicas, &clock);
        let quota = remote("outage", &schedule, &counters, &clock);
        let admitted = async || {
            let mut admitted = 0;
            for _ in 0..6 {
                admitted += usize::from(quota.take("key", None, &four, 1, 0).await.outcome.is_ok());
            }
            admitted
        };
        runtime.block_on(async {
            assert_eq!(admitted().await, 4, "{on_error:?}: the store counts");
            server.kill();
            assert_eq!(admitted().await, want, "{on_error:?}, {replicas} gateways: without the store");
        });
    }
}
