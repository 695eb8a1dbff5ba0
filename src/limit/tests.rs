//! Tests of the limits: against brute-force references, from many threads, at their bounds and across reloads.

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::*;
use crate::clock::Clock;

mod concurrency;
mod line;
mod properties;

const EXACT: Algorithm = Algorithm::SlidingWindow { precision: Precision::Exact };

fn settings(algorithm: Algorithm, calls: u32, period: Duration) -> Settings {
    let max_keys = NonZeroUsize::new(1000).unwrap();
    Settings { max_keys, ..Settings::new(algorithm, NonZeroU32::new(calls).unwrap(), period) }
}

fn window(calls: u32, seconds: u64) -> Settings {
    settings(EXACT, calls, Duration::from_secs(seconds))
}

fn bucket(calls: u32, seconds: u64, burst: u32) -> Settings {
    let burst = NonZeroU32::new(burst).unwrap();
    settings(Algorithm::TokenBucket { burst }, calls, Duration::from_secs(seconds))
}

fn slots(calls: u32, seconds: u64, count: u32) -> Settings {
    let precision = Precision::Slots(NonZeroU32::new(count).unwrap());
    settings(Algorithm::SlidingWindow { precision }, calls, Duration::from_secs(seconds))
}

fn fixed(calls: u32, seconds: u64, start: WindowStart) -> Settings {
    settings(Algorithm::FixedWindow { start }, calls, Duration::from_secs(seconds))
}

fn admitted(limiter: &Limiter, key: &str, tries: usize) -> usize {
    (0..tries).filter(|_| limiter.decide(key, 1).admitted).count()
}

#[test]
fn a_client_that_waits_retry_after_is_admitted() {
    for (name, settings, offset_millis) in [
        ("window", window(3, 60), 300),
        ("window at a whole second", window(3, 60), 1000),
        ("slots", slots(3, 60, 7), 300),
        ("fixed window", fixed(3, 60, WindowStart::Clock), 300),
        ("fixed window from the first call", fixed(3, 60, WindowStart::FirstCall), 300),
        ("bucket", bucket(7, 60, 3), 300),
        ("sub-second", bucket(100, 1, 1), 0),
    ] {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings, clock.clone());
        for round in 0..50 {
            while limiter.decide("k", 1).admitted {
                clock.advance(Duration::from_millis(offset_millis));
            }
            let decision = limiter.decide("k", 1);
            let seconds = decision.retry_after_seconds().expect("a wait");
            assert!(seconds >= 1, "{name}: never 0");
            assert!(Duration::from_secs(seconds - 1) < decision.retry_after, "{name}: no longer than needed");
            clock.advance(Duration::from_secs(seconds));
            assert!(limiter.decide("k", 1).admitted, "{name}, round {round}");
        }
    }
}

#[test]
fn retry_after_seconds_is_the_ceiling() {
    for (millis, want) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (59_999, 60)] {
        let wait = Duration::from_millis(millis);
        let decision = Decision {
            admitted: false,
            retry_after: wait,
            ..Limiter::new(window(1, 1), Clock::manual()).decide("k", 1)
        };
        assert_eq!(decision.retry_after_seconds(), Some(want), "{millis} ms");
    }
}

#[test]
fn many_threads_at_one_instant_admit_exactly_the_limit() {
    let varying = |settings| Settings { varying: true, ..settings };
    for settings in [
        window(1000, 60),
        slots(1000, 60, 16),
        fixed(1000, 60, WindowStart::Clock),
        fixed(1000, 60, WindowStart::FirstCall),
        bucket(60, 60, 1000),
        varying(window(1000, 60)),
        varying(bucket(60, 60, 1000)),
    ] {
        let limiter = Limiter::new(settings, Clock::manual());
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..64 {
                scope.spawn(|| total.fetch_add(admitted(&limiter, "k", 100), Ordering::Relaxed));
            }
        });
        assert_eq!(total.into_inner(), 1000, "{:?}", limiter.settings().algorithm);
    }
}

#[test]
fn rejected_requests_are_not_counted() {
    let clock = Clock::manual();
    let limiter = Limiter::new(window(1, 10), clock.clone());
    assert!(limiter.decide("k", 1).admitted);
    for _ in 0..9 {
        clock.advance(Duration::from_secs(1));
        assert!(!limiter.decide("k", 1).admitted, "still in the window");
    }
    clock.advance(Duration::from_secs(1));
    assert!(limiter.decide("k", 1).admitted, "steady overload does not starve the key");
}

#[test]
fn a_cost_above_the_limit_is_never_admitted_and_keeps_nothing() {
    for settings in [window(5, 1), slots(5, 1, 4), fixed(5, 1, WindowStart::Clock), bucket(5, 1, 5)] {
        let limiter = Limiter::new(settings, Clock::manual());
        let decision = limiter.decide("k", 6);
        assert!(!decision.admitted);
        assert_eq!((decision.retry_after, decision.retry_after_seconds()), (Duration::MAX, None));
        assert_eq!((limiter.keys(), decision.remaining), (0, 5));
        assert!(limiter.decide("k", 5).admitted);
    }
}

#[test]
fn at_max_keys_a_new_key_overflows_until_one_is_back_to_full() {
    for on_overflow in [Overflow::Reject, Overflow::Admit] {
        for base in [window(1, 10), fixed(1, 10, WindowStart::FirstCall), bucket(1, 10, 1)] {
            let clock = Clock::manual();
            let settings = Settings { max_keys: NonZeroUsize::new(3).unwrap(), on_overflow, ..base };
            let name = format!("{settings:?}");
            let limiter = Limiter::new(settings, clock.clone());
            for key in ["a", "b", "c"] {
                assert!(limiter.decide(key, 1).admitted, "{name}");
                clock.advance(Duration::from_secs(1));
            }
            let decision = limiter.decide("d", 1);
            assert!(decision.overflowed, "{name}");
            assert_eq!(decision.admitted, on_overflow == Overflow::Admit, "{name}");
            let wait = (!decision.admitted).then_some(7);
            assert_eq!(decision.retry_after_seconds(), wait, "{name}: until `a` is back to full");
            assert!(!limiter.decide("a", 1).admitted, "{name}: held keys keep their state");
            clock.advance(Duration::from_secs(7));
            let decision = limiter.decide("d", 1);
            assert_eq!((decision.admitted, decision.overflowed), (true, false), "{name}");
            assert!(!limiter.decide("d", 1).admitted, "{name}: and is counted");
            assert!(!limiter.decide("c", 1).admitted, "{name}: only the full key was dropped");
            assert_eq!(limiter.keys(), 3, "{name}");
        }
    }
}

#[test]
fn what_is_counted_later_needs_room_for_its_key_as_well() {
    for on_overflow in [Overflow::Reject, Overflow::Admit] {
        for base in [window(1, 10), slots(1, 10, 5), fixed(1, 10, WindowStart::FirstCall), bucket(1, 10, 1)] {
            let settings = Settings { max_keys: NonZeroUsize::new(2).unwrap(), on_overflow, ..base };
            let name = format!("{settings:?}");
            let limiter = Limiter::new(settings, Clock::manual());
            let later = |key, count| limiter.ask(&Ask { count, ..Ask::new(key, 1) });
            assert!(limiter.decide("a", 1).admitted, "{name}");
            // Both find the last place free.
            for key in ["b", "c"] {
                let decision = later(key, Count::Later);
                assert_eq!((decision.admitted, decision.overflowed), (true, false), "{name}: {key}");
            }
            for key in ["b", "c"] {
                limiter.charge(&Ask::new(key, 1));
                assert!(!later(key, Count::Later).admitted, "{name}: {key} is counted");
            }
            let decision = later("d", Count::Later);
            let want = (on_overflow == Overflow::Admit, true);
            assert_eq!((decision.admitted, decision.overflowed), want, "{name}: no place is left");
            let decision = later("d", Count::Never);
            assert_eq!(
                (decision.admitted, decision.overflowed),
                (true, false),
                "{name}: what is never counted needs none"
            );
            assert_eq!(limiter.keys(), 3, "{name}");
        }
    }
}

#[test]
fn keys_that_are_back_to_full_are_dropped_as_others_come() {
    let clock = Clock::manual();
    let limiter =
        Limiter::new(Settings { max_keys: NonZeroUsize::new(100_000).unwrap(), ..window(5, 1) }, clock.clone());
    for second in 0..50 {
        for key in 0..1000 {
            assert!(limiter.decide(&format!("{second}/{key}"), 1).admitted);
        }
        clock.advance(Duration::from_secs(1));
    }
    assert!(limiter.keys() < 5000, "{} keys after 50,000", limiter.keys());
}

#[test]
fn keys_of_threads_never_exceed_the_bound() {
    let bound = 50;
    let settings = Settings { max_keys: NonZeroUsize::new(bound).unwrap(), ..bucket(1, 3600, 1) };
    let limiter = Limiter::new(settings, Clock::manual());
    let total = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (limiter, total) = (&limiter, &total);
            scope.spawn(move || {
                let keys = (0..100).filter(|key| limiter.decide(&format!("{}", (key + thread * 50) % 400), 1).admitted);
                total.fetch_add(keys.count(), Ordering::Relaxed);
            });
        }
    });
    assert_eq!((limiter.keys(), total.into_inner()), (bound, bound));
}

#[test]
fn long_keys_are_told_apart() {
    let limiter = Limiter::new(window(1, 60), Clock::manual());
    for length in [255, 256, 257, 100_000] {
        let key = "k".repeat(length);
        assert_eq!(admitted(&limiter, &key, 2), 1, "{length}");
        assert_eq!(admitted(&limiter, &format!("{key}x"), 2), 1, "{length} and a different end");
    }
}

#[test]
fn extreme_settings_hold() {
    let most = u32::MAX;
    let far = Duration::MAX;
    for settings in [
        settings(EXACT, most, far),
        settings(Algorithm::FixedWindow { start: WindowStart::Clock }, most, far),
        settings(Algorithm::FixedWindow { start: WindowStart::FirstCall }, most, far),
        settings(Algorithm::SlidingWindow { precision: Precision::Slots(NonZeroU32::MIN) }, most, far),
        settings(slots(1, 1, 1000).algorithm, 1, Duration::ZERO),
        settings(Algorithm::TokenBucket { burst: NonZeroU32::MAX }, most, far),
        settings(Algorithm::TokenBucket { burst: NonZeroU32::MAX }, 1, far),
        settings(Algorithm::TokenBucket { burst: NonZeroU32::MAX }, most, Duration::ZERO),
    ] {
        let clock = Clock::manual();
        let limiter = Limiter::new(settings, clock.clone());
        assert!(limiter.decide("k", 1).admitted);
        limiter.decide("k", most);
        clock.advance(Duration::from_secs(3600));
        limiter.decide("k", most);
    }
}

#[test]
fn a_reload_keeps_what_did_not_change_and_carries_what_did() {
    struct Case {
        name: &'static str,
        old: Settings,
        new: Settings,
        want: usize,
    }
    let first_call = |calls, seconds| fixed(calls, seconds, WindowStart::FirstCall);
    for Case { name, old, new, want } in [
        Case { name: "same", old: window(10, 60), new: window(10, 60), want: 4 },
        Case { name: "raised", old: window(10, 60), new: window(20, 60), want: 14 },
        Case { name: "lowered", old: window(10, 60), new: window(7, 60), want: 1 },
        Case { name: "lowered below what was admitted", old: window(10, 60), new: window(3, 60), want: 0 },
        Case { name: "a window that they have left", old: window(10, 60), new: window(10, 1), want: 10 },
        Case { name: "a longer window", old: window(10, 60), new: window(10, 600), want: 4 },
        Case { name: "larger bucket", old: bucket(10, 3600, 10), new: bucket(10, 3600, 20), want: 8 },
        Case { name: "smaller bucket", old: bucket(10, 3600, 10), new: bucket(10, 3600, 5), want: 2 },
        Case { name: "window to bucket", old: window(10, 60), new: bucket(10, 3600, 20), want: 8 },
        Case { name: "window to slots", old: window(10, 60), new: slots(10, 60, 6), want: 4 },
        Case { name: "slots raised", old: slots(10, 60, 6), new: slots(20, 60, 4), want: 14 },
        Case { name: "slots to window", old: slots(10, 60, 6), new: window(12, 60), want: 6 },
        Case { name: "fixed raised", old: first_call(10, 60), new: first_call(20, 60), want: 14 },
        Case { name: "window to fixed", old: window(10, 60), new: first_call(10, 60), want: 4 },
        Case { name: "fixed to window", old: first_call(10, 60), new: window(20, 60), want: 14 },
        Case { name: "fixed to bucket", old: first_call(10, 60), new: bucket(10, 3600, 20), want: 8 },
        Case { name: "bucket to window", old: bucket(10, 3600, 10), new: window(20, 60), want: 8 },
    ] {
        let clock = Clock::manual();
        let registry = Registry::new(clock.clone());
        let plan = registry.plan();
        let before = plan.limiter("orders/inbound/0", old.clone());
        plan.commit();
        assert_eq!(admitted(&before, "k", 6), 6, "{name}");
        clock.advance(Duration::from_secs(2));

        let plan = registry.plan();
        let after = plan.limiter("orders/inbound/0", new.clone());
        assert_eq!(Arc::ptr_eq(&before, &after), old == new, "{name}");
        plan.commit();
        assert_eq!(registry.len(), 1, "{name}");
        // Requests still on the old configuration share the state.
        let sum = admitted(&after, "k", want / 2) + admitted(&before, "k", 100) + admitted(&after, "k", 100);
        assert_eq!(sum, want, "{name}");
        assert!(after.decide("other", 1).admitted, "{name}");
    }
}

#[test]
fn a_reload_that_fails_changes_nothing() {
    let registry = Registry::new(Clock::manual());
    let plan = registry.plan();
    let limiter = plan.limiter("a", window(2, 60));
    plan.commit();
    assert_eq!(admitted(&limiter, "k", 1), 1);
    let plan = registry.plan();
    plan.limiter("a", window(100, 60));
    drop(plan);
    assert_eq!(admitted(&limiter, "k", 5), 1, "the old limit stays in force with its state");
}

#[test]
fn limits_without_a_policy_are_forgotten() {
    let registry = Registry::new(Clock::manual());
    let plan = registry.plan();
    for id in ["a", "b"] {
        assert_eq!(admitted(&plan.limiter(id, window(1, 60)), "k", 2), 1, "{id} counts for itself");
    }
    assert!(Arc::ptr_eq(&plan.limiter("a", window(1, 60)), &plan.limiter("a", window(1, 60))));
    plan.commit();
    assert_eq!(registry.len(), 2);
    registry.plan().commit();
    assert!(registry.is_empty());
}

#[test]
fn no_request_slips_through_while_a_reload_moves_the_keys() {
    for (old, new) in [(window(1000, 3600), window(1500, 3600)), (bucket(1, 3600, 1000), window(1000, 3600))] {
        let most = new.calls.get() as usize;
        let registry = Registry::new(Clock::manual());
        let plan = registry.plan();
        let before = plan.limiter("a", old);
        plan.commit();
        let total = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| total.fetch_add(admitted(&before, "k", 1000), Ordering::Relaxed));
            }
            let plan = registry.plan();
            let after = plan.limiter("a", new.clone());
            plan.commit();
            total.fetch_add(admitted(&after, "k", 2000), Ordering::Relaxed);
        });
        assert_eq!(total.into_inner(), most);
    }
}

#[test]
fn concurrency_counts_what_runs() {
    let registry = Registry::new(Clock::manual());
    let two = NonZeroU32::new(2).unwrap();
    let plan = registry.plan();
    let limit = plan.concurrency("a", two);
    plan.commit();
    let first = limit.try_acquire("k").expect("one of two");
    let second = limit.try_acquire("k").expect("two of two");
    assert!(limit.try_acquire("k").is_none(), "a third");
    assert!(limit.try_acquire("other").is_some(), "another key");
    assert_eq!(limit.keys(), 1, "a key is kept only while it is held");

    let raised = registry.plan().concurrency("a", NonZeroU32::new(3).unwrap());
    let third = raised.try_acquire("k").expect("three of three after a reload");
    assert!(raised.try_acquire("k").is_none(), "those that run count on");
    drop((first, third));
    assert!(limit.try_acquire("k").is_some());
    drop(second);
    assert_eq!(limit.keys(), 0);
}

#[test]
fn concurrency_holds_from_many_threads() {
    let limit = ConcurrencyLimit::new(NonZeroU32::new(4).unwrap());
    let (running, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..500 {
                    if let Some(_permit) = limit.try_acquire("k") {
                        most.fetch_max(running.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        running.fetch_sub(1, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    assert!(most.into_inner() <= 4);
    assert_eq!(limit.keys(), 0);
}
