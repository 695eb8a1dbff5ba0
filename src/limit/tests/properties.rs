//! The bound of each algorithm, against its definition: every unit with its time, none forgotten, nothing clever.

use proptest::prelude::*;

use super::*;

/// The period of all windows here, in nanoseconds.
const PERIOD: u64 = 1000;

/// What was counted: when, and how much.
#[derive(Default)]
struct History(Vec<(u64, u64)>);

impl History {
    /// The units within the last `period`, that is in the half-open window that `now` is the last instant of.
    fn within(&self, period: u64, now: u64) -> u64 {
        self.0.iter().filter(|(at, _)| now - at < period).map(|(_, units)| units).sum()
    }

    /// The units for which a property of their time holds.
    fn sum(&self, holds: impl Fn(u64) -> bool) -> u64 {
        self.0.iter().filter(|(at, _)| holds(*at)).map(|(_, units)| units).sum()
    }

    /// What is missing from a bucket that gets a token back in each interval, as the time until it is full.
    fn missing(&self, interval: u64, now: u64) -> u64 {
        let full_at = self.0.iter().fold(0, |full_at: u64, (at, units)| full_at.max(*at) + units * interval);
        full_at.saturating_sub(now)
    }

    /// The most units in any half-open window of `period`: one that is fullest begins with a unit.
    fn fullest(&self, period: u64) -> u64 {
        let windows = self.0.iter().map(|(from, _)| self.sum(|at| (*from..from + period).contains(&at)));
        windows.max().unwrap_or(0)
    }
}

/// The token bucket by definition, in units of a token divided by the interval, so that nothing is rounded.
struct BucketReference {
    level: u128,
    then: u64,
}

impl BucketReference {
    fn admit(&mut self, interval: u64, burst: u64, cost: u64, now: u64) -> bool {
        let full = u128::from(burst) * u128::from(interval);
        self.level = (self.level + u128::from(now - self.then)).min(full);
        self.then = now;
        let price = u128::from(cost) * u128::from(interval);
        let fits = price <= self.level;
        if fits {
            self.level -= price;
        }
        fits
    }
}

/// Steps of time that often hit the same instant and the edge of a period exactly, and what a request costs.
fn steps() -> impl Strategy<Value = Vec<(u64, u32)>> {
    let step = prop_oneof![3 => Just(0), 3 => 1..400_u64, 1 => Just(PERIOD), 1 => Just(PERIOD - 1), 1 => 0..3000_u64];
    prop::collection::vec((step, prop_oneof![4 => Just(1_u32), 1 => 0..5_u32]), 1..200)
}

/// Every algorithm, small enough to be full often.
fn any_settings() -> impl Strategy<Value = Settings> {
    let algorithm = prop_oneof![
        Just(EXACT),
        (1..12_u32).prop_map(|count| slots(1, 1, count).algorithm),
        Just(Algorithm::FixedWindow { start: WindowStart::Clock }),
        Just(Algorithm::FixedWindow { start: WindowStart::FirstCall }),
        (1..8_u32).prop_map(|burst| bucket(1, 1, burst).algorithm),
    ];
    (algorithm, 1..8_u32, any::<bool>()).prop_map(|(algorithm, calls, varying)| Settings {
        varying,
        ..settings(algorithm, calls, Duration::from_nanos(PERIOD))
    })
}

fn nanos(count: u64) -> Duration {
    Duration::from_nanos(count)
}

proptest! {
    #[test]
    fn sliding_window_equals_its_definition(calls in 1..8_u32, steps in steps()) {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings(EXACT, calls, nanos(PERIOD)), clock.clone());
        let mut history = History::default();
        for (step, cost) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            let decision = limiter.decide("k", cost);
            let fits = history.within(PERIOD, now) + u64::from(cost) <= calls.into();
            prop_assert_eq!(decision.admitted, cost == 0 || fits, "at {}", now);
            if decision.admitted {
                history.0.push((now, cost.into()));
            }
            prop_assert_eq!(u64::from(decision.remaining), u64::from(calls) - history.within(PERIOD, now));
        }
        prop_assert!(history.fullest(PERIOD) <= calls.into());
    }

    /// The stated price of slots: the bound is that of the exact window, and what is refused would be refused by an exact window
    /// that is one slot longer.
    #[test]
    fn slots_never_admit_more_and_refuse_at_most_one_slot_longer(
        calls in 1..8_u32, count in 1..12_u32, steps in steps(),
    ) {
        let clock = Clock::manual();
        let precision = Precision::Slots(NonZeroU32::new(count).unwrap());
        let limiter = Limiter::new(
            settings(Algorithm::SlidingWindow { precision }, calls, nanos(PERIOD)),
            clock.clone(),
        );
        // Slots are whole nanoseconds, which matters only when a period is as short as here.
        let width = PERIOD.div_ceil(count.into());
        let longest = width * u64::from(count + 1);
        let mut history = History::default();
        for (step, cost) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            let decision = limiter.decide("k", cost);
            if decision.admitted {
                history.0.push((now, cost.into()));
            } else {
                prop_assert!(history.within(longest, now) + u64::from(cost) > calls.into(), "at {}", now);
            }
        }
        prop_assert!(history.fullest(PERIOD) <= calls.into());
    }

    #[test]
    fn fixed_window_equals_its_definition(calls in 1..8_u32, steps in steps(), at_clock in any::<bool>()) {
        let clock = Clock::manual();
        let start = if at_clock { WindowStart::Clock } else { WindowStart::FirstCall };
        let limiter = Limiter::new(settings(Algorithm::FixedWindow { start }, calls, nanos(PERIOD)), clock.clone());
        let epoch = clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        let mut history = History::default();
        let mut began = None;
        for (step, cost) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            let decision = limiter.decide("k", cost);
            let window = |at: u64| (epoch + u128::from(at)) / u128::from(PERIOD);
            let used = if at_clock {
                history.sum(|at| window(at) == window(now))
            } else {
                began = began.filter(|began| now - began < PERIOD);
                began.map_or(0, |began| history.sum(|at| at >= began))
            };
            prop_assert_eq!(decision.admitted, cost == 0 || used + u64::from(cost) <= calls.into(), "at {}", now);
            if decision.admitted && cost > 0 {
                began = began.or(Some(now));
                history.0.push((now, cost.into()));
            }
        }
        prop_assert!(history.fullest(PERIOD) <= 2 * u64::from(calls));
    }

    #[test]
    fn token_bucket_equals_its_definition(calls in 1..8_u32, burst in 1..8_u32, steps in steps()) {
        let clock = Clock::manual();
        let algorithm = Algorithm::TokenBucket { burst: NonZeroU32::new(burst).unwrap() };
        let limiter = Limiter::new(settings(algorithm, calls, nanos(PERIOD)), clock.clone());
        let interval = PERIOD.div_ceil(calls.into());
        let mut reference = BucketReference { level: u128::from(burst) * u128::from(interval), then: 0 };
        let mut taken = History::default();
        for (step, cost) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            let decision = limiter.decide("k", cost);
            prop_assert_eq!(
                decision.admitted, reference.admit(interval, burst.into(), cost.into(), now), "at {}", now
            );
            prop_assert_eq!(u128::from(decision.remaining), reference.level / u128::from(interval));
            if decision.admitted {
                taken.0.push((now, cost.into()));
            }
        }
        // The bound itself: never more than `burst + calls × t / period`, over every pair of requests.
        for (first, (from, _)) in taken.0.iter().enumerate() {
            let mut sum = 0;
            for (at, cost) in &taken.0[first..] {
                sum += cost;
                prop_assert!(sum * PERIOD <= u64::from(burst) * PERIOD + u64::from(calls) * (at - from));
            }
        }
    }

    /// What a decision says of the future comes true to the nanosecond: the wait, when there is more, when all of it is back.
    #[test]
    fn promises_are_kept_to_the_nanosecond(settings in any_settings(), steps in steps()) {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings, clock.clone());
        let peek = |cost| limiter.ask(&Ask { count: Count::Never, ..Ask::new("k", cost) });
        for (step, cost) in steps {
            clock.advance(nanos(step));
            let decision = limiter.decide("k", cost);
            let capacity = decision.limit;
            if decision.admitted {
                prop_assert_eq!(decision.retry_after, Duration::ZERO);
                prop_assert_eq!(decision.retry_after_seconds(), None);
            } else if cost > capacity {
                prop_assert_eq!(decision.retry_after, Duration::MAX);
                prop_assert_eq!(decision.retry_after_seconds(), None);
            } else {
                clock.advance(decision.retry_after - nanos(1));
                prop_assert!(!peek(cost).admitted, "not a nanosecond too long");
                clock.advance(nanos(1));
                prop_assert!(peek(cost).admitted, "and long enough");
                prop_assert!(decision.retry_after_seconds() >= Some(1), "never 0");
            }
            let decision = peek(0);
            prop_assert_eq!(decision.more.is_zero(), decision.reset.is_zero());
            prop_assert_eq!(decision.reset.is_zero(), decision.remaining == capacity);
            if !decision.more.is_zero() {
                clock.advance(decision.more - nanos(1));
                prop_assert_eq!(peek(0).remaining, decision.remaining);
                clock.advance(nanos(1));
                prop_assert!(peek(0).remaining > decision.remaining);
                if decision.reset > decision.more {
                    clock.advance(decision.reset - decision.more - nanos(1));
                    prop_assert!(peek(0).remaining < capacity);
                    clock.advance(nanos(1));
                }
                prop_assert_eq!(peek(0).remaining, capacity);
                prop_assert!(peek(capacity).admitted);
            }
        }
    }

    /// A client that waits exactly the whole seconds of `Retry-After`, and makes no other request, is admitted: always.
    #[test]
    fn a_client_that_waits_retry_after_is_admitted_every_time(
        mut settings in any_settings(), millis in 1..30_000_u64, steps in prop::collection::vec((0..5_000_u64, 1..3_u32), 1..60),
    ) {
        settings.period = Duration::from_millis(millis);
        let clock = Clock::manual();
        let limiter = Limiter::new(settings, clock.clone());
        for (step, cost) in steps {
            clock.advance(Duration::from_millis(step));
            let decision = limiter.decide("k", cost);
            if let Some(seconds) = decision.retry_after_seconds() {
                prop_assert!(seconds >= 1);
                prop_assert!(Duration::from_secs(seconds - 1) < decision.retry_after, "no longer than needed");
                clock.advance(Duration::from_secs(seconds));
                prop_assert!(limiter.decide("k", cost).admitted);
            }
        }
    }

    /// What is taken back is never too much: the bound holds for what stays counted.
    #[test]
    fn what_is_given_back_breaks_no_bound(
        settings in any_settings(),
        steps in prop::collection::vec(
            (prop_oneof![1 => Just(0), 3 => 0..600_u64], 1..4_u32, prop_oneof![2 => Just(0_u32), 1 => 1..12_u32], 0..8_usize),
            1..120,
        ),
    ) {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings.clone(), clock.clone());
        let epoch = clock.wall().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
        // What was counted and has not been taken back; a charge has no decision.
        let mut held: Vec<(Option<Decision>, u64, u32)> = Vec::new();
        for (step, cost, charge, back) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            if charge > 0 {
                limiter.charge(&Ask::new("k", charge));
                held.push((None, now, charge));
            }
            let back = held.len().checked_sub(back + 1);
            if let Some(Some(decision)) = back.map(|back| held[back].0) {
                let (_, _, cost) = held.remove(back.unwrap());
                limiter.give_back(&Ask::new("k", cost), &decision);
            }
            let before = History(held.iter().map(|(_, at, units)| (*at, (*units).into())).collect());
            let decision = limiter.decide("k", cost);
            if !decision.admitted {
                continue;
            }
            held.push((Some(decision), now, cost));
            let (calls, cost) = (u64::from(settings.calls.get()), u64::from(cost));
            // As if the rest had never been.
            let fits = match settings.algorithm {
                Algorithm::SlidingWindow { .. } => before.within(PERIOD, now) + cost <= calls,
                Algorithm::FixedWindow { start: WindowStart::Clock } => {
                    let window = |at: u64| (epoch + u128::from(at)) / u128::from(PERIOD);
                    before.sum(|at| window(at) == window(now)) + cost <= calls
                }
                Algorithm::FixedWindow { start: WindowStart::FirstCall } => {
                    let ends = now + u64::try_from(decision.reset.as_nanos()).unwrap();
                    before.sum(|at| at + PERIOD >= ends) + cost <= calls
                }
                Algorithm::TokenBucket { burst } => {
                    let interval = PERIOD.div_ceil(calls);
                    before.missing(interval, now) + cost * interval <= u64::from(burst.get()) * interval
                }
            };
            prop_assert!(fits, "{:?} at {}", settings.algorithm, now);
        }
    }

    /// What is taken back is not too little either: with charges beyond the limit too the exact window is as if the units had never
    /// been counted, for as many different times as it keeps.
    #[test]
    fn what_is_given_back_to_an_exact_window_is_as_if_it_had_never_been(
        steps in prop::collection::vec((0..200_u64, 1..12_u32, 0..6_u8, 0..4_usize), 1..60),
    ) {
        const CALLS: u32 = 60;
        let clock = Clock::manual();
        let limiter = Limiter::new(settings(EXACT, CALLS, nanos(PERIOD)), clock.clone());
        let mut history = History::default();
        let mut decisions: Vec<(Decision, u64)> = Vec::new();
        for (step, cost, what, back) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            let fits = history.within(PERIOD, now) + u64::from(cost) <= CALLS.into();
            match (what, decisions.len().checked_sub(back + 1)) {
                (0, _) => {
                    limiter.charge(&Ask::new("k", cost * 4));
                    history.0.push((now, u64::from(cost) * 4));
                }
                (1 | 2, Some(back)) => {
                    let (decision, units) = decisions.remove(back);
                    limiter.give_back(&Ask::new("k", u32::try_from(units).unwrap()), &decision);
                    let at = history.0.iter().position(|it| *it == (decision.at.0, units)).unwrap();
                    history.0.remove(at);
                }
                _ => {
                    let decision = limiter.decide("k", cost);
                    prop_assert_eq!(decision.admitted, fits, "at {}", now);
                    if decision.admitted {
                        decisions.push((decision, cost.into()));
                        history.0.push((now, cost.into()));
                    }
                }
            }
        }
    }

    /// What is charged afterwards, and what refused requests count, delays the next admission as the definition says, in a space
    /// that is bounded all the same.
    #[test]
    fn charges_count_in_the_exact_window(
        calls in 1..8_u32, steps in prop::collection::vec((0..600_u64, 0..12_u32, 0..4_u8), 1..150),
    ) {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings(EXACT, calls, nanos(PERIOD)), clock.clone());
        let mut history = History::default();
        for (step, cost, what) in steps {
            clock.advance(nanos(step));
            let now = clock.now().0;
            if what == 0 {
                limiter.charge(&Ask::new("k", cost));
                history.0.push((now, cost.into()));
                continue;
            }
            let count = if what == 1 { Count::All } else { Count::Admitted };
            let decision = limiter.ask(&Ask { count, ..Ask::new("k", cost) });
            let fits = history.within(PERIOD, now) + u64::from(cost) <= calls.into();
            prop_assert_eq!(decision.admitted, cost == 0 || fits, "at {}", now);
            if decision.admitted || count == Count::All {
                history.0.push((now, cost.into()));
            }
            prop_assert_eq!(u64::from(decision.remaining), u64::from(calls).saturating_sub(history.within(PERIOD, now)));
        }
    }

    /// A rate that changes between requests never admits more than the largest of them would.
    #[test]
    fn varying_rates_stay_below_the_largest(
        base in any_settings(), steps in prop::collection::vec((0..400_u64, 1..8_u32), 1..120),
    ) {
        let clock = Clock::manual();
        let limiter = Limiter::new(Settings { varying: true, ..base }, clock.clone());
        let mut history = History::default();
        for (step, calls) in steps {
            clock.advance(nanos(step));
            let calls = NonZeroU32::new(calls).unwrap();
            let rate = Some(Rate { calls, period: nanos(PERIOD), burst: calls });
            let decision = limiter.ask(&Ask { rate, ..Ask::new("k", 1) });
            prop_assert_eq!(decision.limit, calls.get());
            if decision.admitted {
                history.0.push((clock.now().0, 1));
            }
        }
        let most = match base.algorithm {
            Algorithm::SlidingWindow { .. } => 7,
            Algorithm::FixedWindow { .. } | Algorithm::TokenBucket { .. } => 14,
        };
        prop_assert!(history.fullest(PERIOD) <= most);
    }
}
