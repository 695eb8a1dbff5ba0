//! The script decides as the limit in memory does: the same questions at the same times, field by field.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluicegate::clock::Clock;
use sluicegate::limit::{
    Algorithm, Ask, Count, Decision, Limiter, OnStoreError, Precision, RemoteLimit, Settings, SharedCounters,
    SharedLimit, WindowStart,
};
use sluicegate::shared_store::{Redis, redis};
use sluicegate::telemetry::Metrics;

use super::server::Server;

/// After the dates that the server forgets keys by, which are those of the real clock.
const LATER: Duration = Duration::from_secs(20 * 365 * 24 * 60 * 60);

#[derive(Clone, Debug)]
enum Operation {
    Wait(u64),
    Take(u32, Count),
    Charge(u32),
    /// Of the decision so many takes ago.
    GiveBack(usize, u32),
}

fn operation(period: u64) -> impl Strategy<Value = Operation> {
    let count = prop_oneof![4 => Just(Count::Admitted), 1 => Just(Count::All), 1 => Just(Count::Later)];
    prop_oneof![
        3 => (0..period / 2).prop_map(Operation::Wait),
        1 => (0..period * 2).prop_map(Operation::Wait),
        6 => (0..5_u32, count).prop_map(|(cost, count)| Operation::Take(cost, count)),
        1 => (0..3_u32).prop_map(Operation::Charge),
        1 => (0..3_usize, 1..3_u32).prop_map(|(ago, units)| Operation::GiveBack(ago, units)),
    ]
}

#[derive(Clone, Debug)]
struct Case {
    settings: Settings,
    operations: Vec<Operation>,
}

fn case() -> impl Strategy<Value = Case> {
    // In whole microseconds for each call, because the server knows no nanoseconds.
    let rate = (1..6_u32, 1..4_u64).prop_map(|(calls, each)| (calls, u64::from(calls) * each * 1_000_000));
    rate.prop_flat_map(|(calls, micros)| {
        let number = |value: u32| NonZeroU32::new(value).unwrap();
        let algorithm = prop_oneof![
            Just(Algorithm::SlidingWindow { precision: Precision::Exact }),
            // Slots of whole milliseconds begin at the same times on both clocks.
            Just(Algorithm::SlidingWindow { precision: Precision::Slots(number(calls)) }),
            (1..8_u32).prop_map(move |burst| Algorithm::TokenBucket { burst: number(burst) }),
            Just(Algorithm::FixedWindow { start: WindowStart::Clock }),
            Just(Algorithm::FixedWindow { start: WindowStart::FirstCall }),
        ];
        let operations = proptest::collection::vec(operation(micros), 1..60);
        (algorithm, operations).prop_map(move |(algorithm, operations)| {
            let settings = Settings::new(algorithm, number(calls), Duration::from_micros(micros));
            Case { settings, operations }
        })
    })
}

/// What the two must agree on. Their clocks have zeros of their own.
fn facts(decision: &Decision) -> (bool, u32, u32, Duration, Duration, Duration) {
    let Decision { admitted, limit, remaining, retry_after, more, reset, .. } = *decision;
    (admitted, limit, remaining, retry_after, more, reset)
}

#[test]
fn a_script_decides_as_memory_does() {
    let server = Server::start(&[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let system = Clock::system();
    let settings = redis::Settings { timeout: Duration::from_secs(10), ..redis::Settings::new(server.url()) };
    let store = Redis::new(settings, system.clone(), Metrics::new(&system).shared_store()).unwrap();
    let counters = SharedCounters { store: Arc::new(store), on_error: OnStoreError::Deny, replicas: 1, lease: None };
    let number = std::cell::Cell::new(0);
    let mut runner = TestRunner::new(Config { cases: 400, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&case(), |Case { settings, operations }| {
        number.set(number.get() + 1);
        let clock = Clock::manual();
        clock.advance(LATER);
        let local = Arc::new(Limiter::new(settings.clone(), clock.clone()));
        let unused = Arc::new(Limiter::new(settings.clone(), clock.clone()));
        let remote = RemoteLimit::new(&format!("case-{}", number.get()), settings, &counters, unused, system.clone())
            .with_time(clock.clone());
        let mut decisions: Vec<(Decision, Decision, u32)> = Vec::new();
        runtime.block_on(async {
            for operation in operations {
                match operation {
                    Operation::Wait(micros) => clock.advance(Duration::from_micros(micros)),
                    Operation::Take(cost, count) => {
                        let ask = Ask { count, ..Ask::new("key", cost) };
                        let both = (local.ask(&ask), remote.ask(ask).await);
                        prop_assert_eq!(facts(&both.1), facts(&both.0), "cost {}, {:?}", cost, count);
                        let counted = count == Count::Admitted && both.0.admitted;
                        decisions.push((both.0, both.1, if counted { cost } else { 0 }));
                    }
                    Operation::Charge(units) => {
                        local.charge(&Ask::new("key", units));
                        remote.charge(&Ask::new("key", units));
                        settle().await;
                    }
                    Operation::GiveBack(ago, units) => {
                        let Some(at) = decisions.len().checked_sub(ago + 1) else { continue };
                        let (one, other, counted) = &mut decisions[at];
                        // No more than was counted for it.
                        let units = units.min(*counted);
                        *counted -= units;
                        local.give_back(&Ask::new("key", units), one);
                        remote.give_back(&Ask::new("key", units), other);
                        settle().await;
                    }
                }
            }
            Ok(())
        })
    });
    outcome.unwrap();
}

/// Lets a correction be sent, which nobody waits for: what is sent next on the same connection comes after it.
async fn settle() {
    for _ in 0..3 {
        tokio::task::yield_now().await;
    }
}
