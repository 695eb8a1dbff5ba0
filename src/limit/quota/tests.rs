//! Tests of schedules, and of what ledgers admit.

use std::time::{Duration, SystemTime};

use jiff::civil::{DateTime, date};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::schedule::{NEVER, YEAR_ONE, millis};
use super::*;
use crate::clock::Clock;
use crate::limit::Overflow;

const CALLS: u64 = 5;
const PERIOD: Millis = 6_000;

fn settings(schedule: Schedule) -> Settings {
    Settings { schedule, max_keys: 1_000, on_overflow: Overflow::Reject, kept: true }
}

fn ledger(schedule: Schedule) -> (Ledger, Clock) {
    let clock = Clock::manual();
    (Ledger::new("test", settings(schedule), clock.clone()), clock)
}

fn calls(limit: u64) -> Allowance {
    Allowance { calls: Some(limit), units: None }
}

fn at(text: &str) -> Millis {
    millis(SystemTime::from(text.parse::<jiff::Timestamp>().unwrap()))
}

fn wall(clock: &Clock) -> Millis {
    millis(clock.wall())
}

/// Every kind of schedule whose periods have one length.
fn schedules() -> [Schedule; 3] {
    [
        Schedule::Every { period: PERIOD, first: 0 },
        Schedule::FirstCall { period: PERIOD },
        Schedule::Sliding { period: PERIOD },
    ]
}

#[test]
fn periods_of_the_calendar() {
    let zone = |name: &str| TimeZone::get(name).unwrap();
    let month_from = |day: i8| date(2026, 1, day).at(9, 30, 0, 0);
    let cases: [(&str, Unit, TimeZone, DateTime, &str, &str, &str); 13] = [
        (
            "hour",
            Unit::Hour,
            TimeZone::UTC,
            YEAR_ONE,
            "2026-03-01T10:59:59.999Z",
            "2026-03-01T10:00:00Z",
            "2026-03-01T11:00:00Z",
        ),
        (
            "half-hour zone",
            Unit::Hour,
            zone("Asia/Kolkata"),
            YEAR_ONE,
            "2026-03-01T10:10:00Z",
            "2026-03-01T09:30:00Z",
            "2026-03-01T10:30:00Z",
        ),
        (
            "hour from 9:30",
            Unit::Hour,
            TimeZone::UTC,
            month_from(1),
            "2026-03-01T10:29:00Z",
            "2026-03-01T09:30:00Z",
            "2026-03-01T10:30:00Z",
        ),
        (
            "day",
            Unit::Day,
            TimeZone::UTC,
            YEAR_ONE,
            "2026-03-01T00:00:00Z",
            "2026-03-01T00:00:00Z",
            "2026-03-02T00:00:00Z",
        ),
        (
            "day of 23 hours",
            Unit::Day,
            zone("Europe/Berlin"),
            YEAR_ONE,
            "2026-03-29T12:00:00Z",
            "2026-03-28T23:00:00Z",
            "2026-03-29T22:00:00Z",
        ),
        (
            "day of 25 hours",
            Unit::Day,
            zone("Europe/Berlin"),
            YEAR_ONE,
            "2026-10-25T12:00:00Z",
            "2026-10-24T22:00:00Z",
            "2026-10-25T23:00:00Z",
        ),
        (
            "day whose midnight is left out",
            Unit::Day,
            zone("America/Santiago"),
            YEAR_ONE,
            "2026-09-06T12:00:00Z",
            "2026-09-06T04:00:00Z",
            "2026-09-07T03:00:00Z",
        ),
        (
            "week from Monday",
            Unit::Week,
            TimeZone::UTC,
            YEAR_ONE,
            "2026-03-01T23:59:59Z",
            "2026-02-23T00:00:00Z",
            "2026-03-02T00:00:00Z",
        ),
        (
            "February",
            Unit::Month,
            TimeZone::UTC,
            YEAR_ONE,
            "2026-02-28T23:59:59Z",
            "2026-02-01T00:00:00Z",
            "2026-03-01T00:00:00Z",
        ),
        (
            "from the 31st, in a leap year",
            Unit::Month,
            TimeZone::UTC,
            month_from(31),
            "2028-02-29T09:30:00Z",
            "2028-02-29T09:30:00Z",
            "2028-03-31T09:30:00Z",
        ),
        (
            "from the 31st, before the first",
            Unit::Month,
            TimeZone::UTC,
            month_from(31),
            "2025-12-31T09:29:59Z",
            "2025-11-30T09:30:00Z",
            "2025-12-31T09:30:00Z",
        ),
        (
            "year",
            Unit::Year,
            TimeZone::UTC,
            YEAR_ONE,
            "2028-12-31T23:59:59Z",
            "2028-01-01T00:00:00Z",
            "2029-01-01T00:00:00Z",
        ),
        (
            "year from 29 February",
            Unit::Year,
            TimeZone::UTC,
            date(2024, 2, 29).at(0, 0, 0, 0),
            "2026-02-28T00:00:00Z",
            "2026-02-28T00:00:00Z",
            "2027-02-28T00:00:00Z",
        ),
    ];
    for (name, unit, zone, first, now, from, until) in cases {
        let window = Schedule::Calendar { unit, zone, first }.window(at(now), None);
        assert_eq!(window, (at(from), at(until)), "{name}");
    }
    let every = Schedule::Every { period: 7_000, first: 1_000 };
    for (now, first, want) in [
        (1_000, None, (1_000, 8_000)),
        (999, None, (-6_000, 1_000)),
        (8_000, None, (8_000, 15_000)),
        (8_000, Some(5_000), (5_000, 12_000)),
    ] {
        assert_eq!(every.window(now, first), want, "{now} of periods from {first:?}");
    }
    assert_eq!(Schedule::Never.window(0, None).1, NEVER);
}

proptest! {
    /// A ledger of one key, against all that was ever admitted.
    #[test]
    fn a_ledger_admits_what_its_schedule_says(
        which in 0..3_usize,
        steps in prop::collection::vec((prop_oneof![3 => Just(0_u64), 3 => 1..900_u64, 1 => Just(6_000), 1 => Just(5_999)], 0..4_u64), 1..120),
    ) {
        let schedule = schedules()[which].clone();
        let (ledger, clock) = ledger(schedule.clone());
        // Times and units of what was admitted, and where the first-call period began.
        let mut admitted: Vec<(Millis, u64)> = Vec::new();
        let mut began = Millis::MIN;
        for (step, units) in steps {
            clock.advance(Duration::from_millis(step));
            let now = wall(&clock);
            let verdict = ledger.take("key", None, &calls(CALLS), units, 0);
            let sum = |holds: &dyn Fn(Millis) -> bool| {
                admitted.iter().filter(|(at, _)| holds(*at)).map(|(_, units)| units).sum::<u64>()
            };
            let used = match &schedule {
                Schedule::Every { period, .. } => sum(&|at| at.div_euclid(*period) == now.div_euclid(*period)),
                Schedule::FirstCall { period } => {
                    if now >= began.saturating_add(*period) { 0 } else { sum(&|at| at >= began) }
                }
                // What was counted in a slot comes back a period after the slot's end.
                Schedule::Sliding { period } => {
                    let slot = schedule::slot(*period);
                    sum(&|at| (at.div_euclid(slot) + 1) * slot + period > now)
                }
                Schedule::Calendar { .. } | Schedule::Never => unreachable!("not among them"),
            };
            prop_assert_eq!(verdict.outcome.is_ok(), used + units <= CALLS, "{} used, {} more at {}", used, units, now);
            if verdict.outcome.is_ok() {
                prop_assert_eq!(verdict.calls_left(), Some(CALLS - used - units));
                if units > 0 {
                    if now >= began.saturating_add(PERIOD) {
                        began = now;
                    }
                    admitted.push((now, units));
                }
            } else {
                // Waiting as long as it says is enough, and less is not.
                let wait = verdict.wait.unwrap();
                prop_assert!(wait >= Duration::from_millis(1));
                clock.advance(wait - Duration::from_millis(1));
                prop_assert!(ledger.take("key", None, &calls(CALLS), units, 0).outcome.is_err());
                clock.advance(Duration::from_millis(1));
                prop_assert!(ledger.take("key", None, &calls(CALLS), units, 0).outcome.is_ok());
                let now = wall(&clock);
                if now >= began.saturating_add(PERIOD) {
                    began = now;
                }
                admitted.push((now, units));
            }
            if matches!(schedule, Schedule::Sliding { .. }) {
                for (from, _) in &admitted {
                    let window = admitted.iter().filter(|(at, _)| (*from..from + PERIOD).contains(at));
                    prop_assert!(window.map(|(_, units)| units).sum::<u64>() <= CALLS);
                }
            }
        }
    }

    /// What is used by keys is the same before and after a restart.
    #[test]
    fn a_restart_gives_nothing_back(
        which in 0..3_usize,
        steps in prop::collection::vec((0..2_000_u64, 0..4_usize, 0..3_u64, 0..1_000_u64, any::<bool>()), 1..60),
    ) {
        let schedule = schedules()[which].clone();
        let (before, clock) = ledger(schedule.clone());
        let allowance = Allowance { calls: Some(10), units: Some(3_000) };
        let keys = ["one", "two", "three", "four"];
        let mut file: std::collections::HashMap<Digest, Vec<u8>> = std::collections::HashMap::new();
        let mut write = |ledger: &Ledger| ledger.collect(false, |digest, bytes| match bytes {
            Some(bytes) => drop(file.insert(digest, bytes)),
            None => drop(file.remove(&digest)),
        });
        for (step, key, calls, units, sync) in steps {
            clock.advance(Duration::from_millis(step));
            if let Ok(ticket) = before.take(keys[key], None, &allowance, calls, 0).outcome {
                before.settle(keys[key], None, ticket, (0, 0), (0, units));
            }
            if sync {
                write(&before);
            }
        }
        write(&before);
        let after = Ledger::new("test", settings(schedule), clock);
        after.restore(file.into_iter().map(|(digest, bytes)| (digest, Usage::decode(&bytes).unwrap())).collect());
        for key in keys {
            let left = |ledger: &Ledger| {
                let verdict = ledger.take(key, None, &allowance, 0, 0);
                (verdict.calls_left(), verdict.units_left())
            };
            prop_assert_eq!(left(&after), left(&before), "{}", key);
        }
    }
}

#[test]
fn simultaneous_requests_use_exactly_the_limit() {
    for schedule in schedules() {
        let (ledger, _clock) = ledger(schedule.clone());
        let admitted = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..64)
                .map(|_| {
                    scope.spawn(|| {
                        let takes = (0..50).map(|_| ledger.take("key", None, &calls(100), 1, 0));
                        takes.filter(|verdict| verdict.outcome.is_ok()).count()
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(admitted, 100, "{schedule:?}");
    }
}

#[test]
fn units_count_when_they_are_known() {
    let (ledger, clock) = ledger(Schedule::Every { period: PERIOD, first: 0 });
    let allowance = Allowance { calls: None, units: Some(1_000) };
    let first = ledger.take("key", None, &allowance, 1, 0).outcome.unwrap();
    let second = ledger.take("key", None, &allowance, 1, 0).outcome.unwrap();
    ledger.settle("key", None, first, (0, 0), (0, 999));
    // One is left, so the next is admitted, whatever it will use.
    assert_eq!(ledger.take("key", None, &allowance, 1, 0).units_left(), Some(1));
    ledger.settle("key", None, second, (0, 0), (0, 5_000));
    let refused = ledger.take("key", None, &allowance, 1, 0);
    assert_eq!((refused.outcome, refused.units_left()), (Err(Exceeded::Units), Some(0)));
    clock.advance(refused.wait.unwrap());
    assert!(ledger.take("key", None, &allowance, 1, 0).outcome.is_ok());
}

#[test]
fn what_is_given_back_is_given_back_to_its_period() {
    let (ledger, clock) = ledger(Schedule::Every { period: PERIOD, first: 0 });
    let ticket = ledger.take("key", None, &calls(2), 2, 0).outcome.unwrap();
    clock.advance(Duration::from_millis(6_000));
    assert_eq!(ledger.take("key", None, &calls(2), 1, 0).calls_left(), Some(1));
    ledger.settle("key", None, ticket, (2, 0), (0, 0));
    assert_eq!(ledger.take("key", None, &calls(2), 0, 0).calls_left(), Some(1), "nothing of a new period");
}

#[test]
fn keys_are_bounded() {
    for (on_overflow, want) in [(Overflow::Reject, Err(Exceeded::Keys)), (Overflow::Admit, Ok(()))] {
        let clock = Clock::manual();
        let schedule = Schedule::FirstCall { period: PERIOD };
        let settings = Settings { max_keys: 3, on_overflow, ..settings(schedule) };
        let ledger = Ledger::new("test", settings, clock.clone());
        for key in ["one", "two", "three"] {
            assert!(ledger.take(key, None, &calls(1), 1, 0).outcome.is_ok());
        }
        let fourth = ledger.take("four", None, &calls(1), 1, 0);
        assert_eq!((fourth.outcome.map(drop), fourth.overflowed), (want, true));
        assert_eq!(ledger.len(), 3);
        clock.advance(Duration::from_millis(6_000));
        assert_eq!(ledger.take("four", None, &calls(1), 1, 0).calls_left(), Some(0), "the others are free by now");
        assert_eq!(ledger.len(), 1);
    }
}

#[test]
fn a_shorter_period_ends_what_was_counted_for_a_longer_one() {
    let (ledger, clock) = ledger(Schedule::FirstCall { period: 365 * 86_400_000 });
    assert!(ledger.take("key", None, &calls(1), 1, 0).outcome.is_ok());
    ledger.set(&settings(Schedule::FirstCall { period: PERIOD }), 1);
    let refused = ledger.take("key", None, &calls(1), 1, 0);
    assert_eq!(refused.wait, Some(Duration::from_millis(6_000)));
    clock.advance(Duration::from_millis(6_000));
    assert!(ledger.take("key", None, &calls(1), 1, 0).outcome.is_ok());
}
