//! Units that gateways take in advance cost no more than is said: `replicas × units` in any window, and one round trip for each lease.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use sluicegate::clock::Clock;
use sluicegate::limit::{
    Algorithm, Ask, Lease, Limiter, Precision, RemoteLimit, Settings, SharedCounters, SharedLimit, WindowStart,
};
use sluicegate::shared_store::redis;

use super::server::Server;
use super::sharing::{counters, patient};

const REPLICAS: u32 = 3;
const PERIOD: Duration = Duration::from_secs(60);
const EXACT: Algorithm = Algorithm::SlidingWindow { precision: Precision::Exact };

fn number(value: u32) -> NonZeroU32 {
    NonZeroU32::new(value).unwrap()
}

/// Gateways that count one limit in a store, whose clock is theirs.
struct Gateways {
    clock: Clock,
    limits: Vec<Arc<RemoteLimit>>,
    /// When something was admitted, in ms, and how much.
    admitted: Vec<(u64, u32)>,
}

impl Gateways {
    fn new(id: &str, settings: &Settings, counters: &SharedCounters) -> Self {
        let clock = Clock::manual();
        // After the dates that the server forgets keys by, which are those of the real clock.
        clock.advance(Duration::from_secs(20 * 365 * 86_400));
        let limit = || {
            let local = Arc::new(Limiter::new(settings.clone(), clock.clone()));
            let limit = RemoteLimit::new(id, settings.clone(), counters, local, clock.clone());
            Arc::new(limit.with_time(clock.clone()))
        };
        Self { limits: (0..REPLICAS).map(|_| limit()).collect(), clock, admitted: Vec::new() }
    }

    fn now(&self) -> u64 {
        self.clock.now().0 / 1_000_000
    }

    /// So many requests at once to one gateway; how many of them are admitted.
    async fn ask(&mut self, gateway: usize, requests: usize, cost: u32) -> usize {
        let mut asked = tokio::task::JoinSet::new();
        for _ in 0..requests {
            let limit = self.limits[gateway].clone();
            asked.spawn(async move { limit.ask(Ask::new("key", cost)).await.admitted });
        }
        let admitted = asked.join_all().await.into_iter().filter(|admitted| *admitted).count();
        self.admitted.extend(std::iter::repeat_n((self.now(), cost), admitted));
        admitted
    }

    /// The most that was admitted in any half-open window of that length.
    fn fullest(&self, length: u64) -> u32 {
        let within = |from: u64| {
            let inside = self.admitted.iter().filter(move |(at, _)| (from..from + length).contains(at));
            inside.map(|(_, cost)| *cost).sum()
        };
        self.admitted.iter().map(|(from, _)| within(*from)).max().unwrap_or(0)
    }
}

fn leased(server: &Server, share: f64, time: Duration) -> SharedCounters {
    counters(patient(redis::Settings::new(server.url())), Some(Lease { share, time }))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

#[test]
fn what_is_leased_before_the_edge_of_a_window_comes_on_top_of_it_and_nothing_more() {
    let server = Server::start(&[]);
    let counters = leased(&server, 0.1, Duration::from_secs(10));
    let runtime = runtime();
    // Three leases of ten, of which one was used at once, come on top.
    for (name, algorithm) in [
        ("exact", EXACT),
        ("slots", Algorithm::SlidingWindow { precision: Precision::Slots(number(60)) }),
        ("fixed", Algorithm::FixedWindow { start: WindowStart::Clock }),
        ("bucket", Algorithm::TokenBucket { burst: number(100) }),
    ] {
        let settings = Settings::new(algorithm, number(100), PERIOD);
        let mut gateways = Gateways::new(name, &settings, &counters);
        runtime.block_on(async {
            // Windows on the clock begin in five seconds.
            gateways.clock.advance(Duration::from_secs(55));
            for gateway in 0..3 {
                assert_eq!(gateways.ask(gateway, 1, 1).await, 1, "{name}");
            }
            gateways.admitted.clear();
            gateways.clock.advance(Duration::from_secs(5));
            for second in 0..60 {
                for gateway in [second % 3, (second + 1) % 3, (second + 2) % 3] {
                    // A lease and more.
                    gateways.ask(gateway, 25, 1).await;
                }
                gateways.clock.advance(Duration::from_secs(1));
            }
        });
        let most = match algorithm {
            // What comes back within the window comes on top by itself.
            Algorithm::TokenBucket { .. } => 100 + 100,
            _ => 100,
        };
        let found = gateways.fullest(60_000);
        assert!(found > most - 10 && found <= most + 3 * 10, "{name}: {found}");
        if matches!(algorithm, Algorithm::SlidingWindow { .. } | Algorithm::FixedWindow { .. }) {
            assert_eq!(found, 100 + 3 * 9, "{name}: the bound is reached");
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    Wait(u64),
    /// Which gateway, how many requests at once, and what each costs.
    Ask(usize, usize, u32),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0..400_u64).prop_map(Step::Wait),
        1 => prop_oneof![Just(5_999), Just(6_000), 0..9_000_u64].prop_map(Step::Wait),
        6 => (0..3_usize, 1..9_usize, prop_oneof![4 => Just(1_u32), 1 => 1..5_u32]).prop_map(|(gateway, requests, cost)| Step::Ask(gateway, requests, cost)),
    ];
    proptest::collection::vec(step, 1..40)
}

#[test]
fn leases_of_simultaneous_requests_stay_within_their_bound() {
    const CALLS: u32 = 20;
    const UNITS: u32 = 2;
    const LENGTH: u64 = 6_000;
    let server = Server::start(&[]);
    let runtime = runtime();
    let algorithm = prop_oneof![
        Just(EXACT),
        Just(Algorithm::SlidingWindow { precision: Precision::Slots(number(6)) }),
        Just(Algorithm::FixedWindow { start: WindowStart::Clock }),
        (10..30_u32).prop_map(|burst| Algorithm::TokenBucket { burst: number(burst) }),
    ];
    let number_of_case = std::cell::Cell::new(0);
    // Leases that last less than a window, and longer.
    let times = [1_000, 9_000].map(|millis| leased(&server, 0.1, Duration::from_millis(millis)));
    let mut runner = TestRunner::new(Config { cases: 200, failure_persistence: None, ..Config::default() });
    let outcome = runner.run(&(algorithm, 0..2_usize, steps()), |(algorithm, time, steps)| {
        number_of_case.set(number_of_case.get() + 1);
        let settings = Settings::new(algorithm, number(CALLS), Duration::from_millis(LENGTH));
        let mut gateways = Gateways::new(&format!("case-{}", number_of_case.get()), &settings, &times[time]);
        runtime.block_on(async {
            for step in steps {
                match step {
                    Step::Wait(millis) => gateways.clock.advance(Duration::from_millis(millis)),
                    Step::Ask(gateway, requests, cost) => drop(gateways.ask(gateway, requests, cost).await),
                }
            }
        });
        let extra = REPLICAS * UNITS;
        match algorithm {
            Algorithm::SlidingWindow { .. } => prop_assert!(gateways.fullest(LENGTH) <= CALLS + extra),
            Algorithm::FixedWindow { .. } => {
                // Windows on the clock begin with the zero of this clock, which is a whole day.
                for (at, _) in &gateways.admitted {
                    let window = at / LENGTH;
                    let inside = gateways.admitted.iter().filter(|(at, _)| at / LENGTH == window);
                    prop_assert!(inside.map(|(_, cost)| *cost).sum::<u32>() <= CALLS + extra);
                }
            }
            Algorithm::TokenBucket { burst } => {
                for (first, (from, _)) in gateways.admitted.iter().enumerate() {
                    let mut sum = 0;
                    for (at, cost) in &gateways.admitted[first..] {
                        sum += u64::from(*cost);
                        let most = u64::from(burst.get() + extra) * LENGTH + u64::from(CALLS) * (at - from);
                        prop_assert!(sum * LENGTH <= most, "{sum} from {from} to {at}");
                    }
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}

#[test]
fn a_lease_costs_one_round_trip_however_much_is_left() {
    let server = Server::start(&[]);
    let counters = leased(&server, 0.3, Duration::from_secs(10));
    let settings = Settings::new(EXACT, number(10), PERIOD);
    let mut gateways = Gateways::new("trips", &settings, &counters);
    let trips = || {
        let statistics = server.command("INFO commandstats\r\n").unwrap();
        let calls = statistics.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
        calls.map_or(0, |calls| calls.parse::<usize>().unwrap())
    };
    runtime().block_on(async {
        // The first finds that the server does not know the script yet.
        gateways.limits[2].ask(Ask::new("other", 1)).await;
        let before = trips();
        let mut told = Vec::new();
        for _ in 0..12 {
            let decision = gateways.limits[0].ask(Ask::new("key", 1)).await;
            told.push((decision.admitted, decision.remaining));
        }
        // Three leases of three, one of the last one, and two refusals.
        let want: Vec<(bool, u32)> = (0..10).rev().map(|left| (true, left)).chain([(false, 0), (false, 0)]).collect();
        assert_eq!(told, want);
        assert_eq!(trips() - before, 6);
        // Who finds less than a lease takes what there is.
        gateways.clock.advance(PERIOD);
        assert_eq!(gateways.ask(0, 1, 5).await, 1);
        assert_eq!(gateways.ask(1, 1, 3).await, 1);
        for want in [1, 1, 0] {
            assert_eq!(gateways.ask(1, 1, 1).await, want, "two are left");
        }
    });
}
