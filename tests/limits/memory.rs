//! What a million keys take, each algorithm in a process of its own.

use std::num::{NonZeroU32, NonZeroUsize};
use std::process::Command;
use std::time::Duration;

use sluicegate::clock::Clock;
use sluicegate::limit::quota::{self, Allowance, Ledger, Schedule};
use sluicegate::limit::{Algorithm, ConcurrencyLimit, Limiter, Overflow, Precision, Settings, WindowStart};

const KEYS: usize = 1_000_000;
/// What a million keys may take.
const MOST: u64 = 200;

/// What is measured.
struct Case {
    name: &'static str,
    fills: fn(),
    /// The most MiB.
    most: u64,
}

const CASES: [Case; 10] = [
    Case { name: "sliding window", fills: || rate(exact(), 1), most: MOST },
    // What its description warns of: every request is remembered.
    Case { name: "sliding window, 10 requests each", fills: || rate(exact(), 10), most: 500 },
    Case { name: "sliding window in 10 slots", fills: || rate(slots(10), 1), most: MOST },
    Case { name: "sliding window in 16 slots, 10 requests each", fills: || rate(slots(16), 10), most: MOST },
    Case { name: "token bucket", fills: || rate(bucket(), 1), most: MOST },
    Case { name: "fixed window", fills: || rate(fixed(WindowStart::Clock), 1), most: MOST },
    Case { name: "fixed window from the first call", fills: || rate(fixed(WindowStart::FirstCall), 1), most: MOST },
    Case { name: "a request in progress each", fills: concurrency, most: MOST },
    Case { name: "quota", fills: || quota(Schedule::Every { period: PERIOD, first: 0 }), most: MOST },
    Case { name: "sliding quota", fills: || quota(Schedule::Sliding { period: PERIOD }), most: MOST },
];

/// An hour.
const PERIOD: i64 = 3_600_000;

fn exact() -> Algorithm {
    Algorithm::SlidingWindow { precision: Precision::Exact }
}

fn slots(number: u32) -> Algorithm {
    Algorithm::SlidingWindow { precision: Precision::Slots(NonZeroU32::new(number).unwrap()) }
}

fn bucket() -> Algorithm {
    Algorithm::TokenBucket { burst: NonZeroU32::new(16).unwrap() }
}

fn fixed(start: WindowStart) -> Algorithm {
    Algorithm::FixedWindow { start }
}

fn key(number: usize) -> String {
    format!("subscription-{number:08}")
}

/// The bytes of memory that the process holds (proc(5), `statm`).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[expect(clippy::print_stdout, reason = "the process that started this one reads it")]
fn taken(before: u64) {
    println!("it takes {} bytes", resident() - before);
}

fn rate(algorithm: Algorithm, requests: u32) {
    let clock = Clock::manual();
    let settings = Settings::new(algorithm, NonZeroU32::new(100).unwrap(), Duration::from_secs(60));
    let before = resident();
    let limiter = Limiter::new(Settings { max_keys: NonZeroUsize::new(KEYS).unwrap(), ..settings }, clock.clone());
    for _ in 0..requests {
        for number in 0..KEYS {
            assert!(limiter.decide(&key(number), 1).admitted);
        }
        clock.advance(Duration::from_secs(5));
    }
    assert_eq!(limiter.keys(), KEYS);
    taken(before);
}

fn concurrency() {
    let limit = ConcurrencyLimit::new(NonZeroU32::new(10).unwrap());
    let mut permits = Vec::with_capacity(KEYS);
    let before = resident();
    permits.extend((0..KEYS).map(|number| limit.try_acquire(&key(number)).unwrap()));
    assert_eq!(limit.keys(), KEYS);
    taken(before);
    drop(permits);
    assert_eq!(limit.keys(), 0, "a key takes nothing when none of its requests runs");
}

fn quota(schedule: Schedule) {
    let clock = Clock::manual();
    let settings = quota::Settings { schedule, max_keys: KEYS, on_overflow: Overflow::Reject, kept: false };
    let allowance = Allowance { calls: Some(100), units: None };
    let before = resident();
    let ledger = Ledger::new("memory", settings, clock);
    for number in 0..KEYS {
        assert!(ledger.take(&key(number), None, &allowance, 1, 0).outcome.is_ok());
    }
    assert_eq!(ledger.len(), KEYS);
    taken(before);
}

/// Names, to a process of this test, what it measures.
const MEASURED: &str = "SLUICEGATE_TEST_MEASURES";

#[test]
#[expect(clippy::disallowed_methods, reason = "so the test tells the processes that it starts what they are for")]
fn a_million_keys_take_no_more_than_is_said() {
    if let Ok(name) = std::env::var(MEASURED) {
        let case = CASES.iter().find(|case| case.name == name).unwrap();
        return (case.fills)();
    }
    for Case { name, most, .. } in CASES {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "memory::a_million_keys_take_no_more_than_is_said", "--nocapture"]);
        let output = child.env(MEASURED, name).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let bytes = text.split("it takes ").nth(1).and_then(|rest| rest.split(' ').next());
        let mib = bytes.unwrap_or_else(|| panic!("{name}: {text}")).parse::<u64>().unwrap() >> 20;
        println!("{name}: {mib} MiB");
        assert!(mib < most, "{name}: {mib} MiB");
    }
}
