//! A circuit breaker: stops calls to an endpoint that keeps failing, and lets one through now and then to see.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntGauge;

use crate::clock::Nanos;

/// Failures are forgotten in steps of this part of the interval: a failure counts for at least nine tenths of it.
const SLOTS: usize = 10;

/// The longest trip that an answer's `Retry-After` can ask for, so that no backend locks itself out for ever.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// When a breaker trips, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BreakerSettings {
    /// Failures within the interval that trip it.
    pub failures: u32,
    /// The time over which failures are counted.
    pub interval: Duration,
    /// How long it stays open.
    pub trip: Duration,
    /// Whether an answer's `Retry-After` takes the place of `trip`.
    pub accept_retry_after: bool,
}

/// How a call that was let through ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallEnd {
    /// The endpoint does its work.
    Success,
    /// It does not; perhaps it said for how long.
    Failure {
        /// Its `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Nobody knows: the client left, or the request was at fault.
    Unknown,
}

/// Whether calls are let through. All of it is atomics: while nothing fails, a call costs one load.
///
/// Open until a time; the first call after that is the probe, which closes the breaker or opens it again. While the
/// probe is under way the others are refused, for at most one more trip, so that a probe that hangs blocks nobody for ever.
#[derive(Debug)]
pub struct Breaker {
    settings: BreakerSettings,
    /// Zero when closed; else when the next probe may go.
    open_until: AtomicU64,
    /// Failures by slot of the interval: the slot's number in the upper half, how many in the lower.
    failures: [AtomicU64; SLOTS],
    /// How many breakers of the backend are open.
    open: IntGauge,
}

/// A call that was let through, to be [ended](Admission::end). When it is dropped, nobody knows how the call ended.
#[derive(Debug)]
#[must_use]
pub struct Admission {
    breaker: Arc<Breaker>,
    /// The time that the probe has reserved; zero when this is no probe.
    probe: u64,
    ended: bool,
}

impl Breaker {
    /// A closed breaker. `open` counts the open ones.
    pub fn new(settings: BreakerSettings, open: IntGauge) -> Self {
        Self { settings, open_until: AtomicU64::new(0), failures: Default::default(), open }
    }

    /// Lets a call through, or says how long none will be.
    ///
    /// # Errors
    /// The time until the next probe, never zero.
    pub fn admit(self: &Arc<Self>, now: Nanos) -> Result<Admission, Duration> {
        let until = self.open_until.load(Ordering::Acquire);
        if until == 0 {
            return Ok(Admission { breaker: self.clone(), probe: 0, ended: false });
        }
        if until > now.0 {
            return Err(Duration::from_nanos(until - now.0));
        }
        let probe = (now + self.settings.trip).0.max(1);
        match self.open_until.compare_exchange(until, probe, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => Ok(Admission { breaker: self.clone(), probe, ended: false }),
            // Another call became the probe, or closed the breaker just now.
            Err(0) => Ok(Admission { breaker: self.clone(), probe: 0, ended: false }),
            Err(until) => Err(Duration::from_nanos(until.saturating_sub(now.0).max(1))),
        }
    }

    /// Whether it is open, or waits for a probe.
    pub fn is_open(&self) -> bool {
        self.open_until.load(Ordering::Acquire) != 0
    }

    /// Whether a call would be refused now.
    pub fn is_open_at(&self, now: Nanos) -> bool {
        self.open_until.load(Ordering::Acquire) > now.0
    }

    fn failed(&self, probe: u64, retry_after: Option<Duration>, now: Nanos) {
        let asked = retry_after.filter(|_| self.settings.accept_retry_after).map(|wait| wait.min(LONGEST_RETRY_AFTER));
        let until = (now + asked.unwrap_or(self.settings.trip)).0.max(now.0 + 1);
        if probe != 0 {
            // Another probe may have gone in the meantime; then its word counts.
            let _ = self.open_until.compare_exchange(probe, until, Ordering::AcqRel, Ordering::Acquire);
        } else if self.open_until.load(Ordering::Acquire) == 0
            && self.count(now) >= u64::from(self.settings.failures)
            && self.open_until.compare_exchange(0, until, Ordering::AcqRel, Ordering::Acquire).is_ok()
        {
            self.open.inc();
        }
    }

    /// Counts a failure; the failures of the interval with it.
    fn count(&self, now: Nanos) -> u64 {
        let length = u64::try_from(self.settings.interval.as_nanos() / SLOTS as u128).unwrap_or(u64::MAX).max(1);
        // From 1, so that an unused slot is no slot; the upper half wraps after longer than any interval that matters.
        let number = (now.0 / length + 1) & u64::from(u32::MAX);
        let slot = &self.failures[(number % SLOTS as u64) as usize];
        let add =
            |packed: u64| Some(if packed >> 32 == number { packed.saturating_add(1) } else { (number << 32) | 1 });
        // The closure never refuses, so the update cannot fail.
        let _ = slot.fetch_update(Ordering::AcqRel, Ordering::Acquire, add);
        let recent = |packed: u64| number.wrapping_sub(packed >> 32) < SLOTS as u64;
        let counts = self.failures.iter().map(|slot| slot.load(Ordering::Acquire));
        counts.filter(|packed| recent(*packed)).map(|packed| packed & u64::from(u32::MAX)).sum()
    }

    fn succeeded(&self, probe: u64) {
        if probe == 0 {
            return;
        }
        // Before it closes, so that old failures do not trip it at once.
        for slot in &self.failures {
            slot.store(0, Ordering::Release);
        }
        if self.open_until.compare_exchange(probe, 0, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.open.dec();
        }
    }

    /// The place of a probe that told nothing goes to the next call.
    fn gave_up(&self, probe: u64) {
        if probe != 0 {
            let _ = self.open_until.compare_exchange(probe, 1, Ordering::AcqRel, Ordering::Acquire);
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if self.is_open() {
            self.open.dec();
        }
    }
}

impl Admission {
    /// Whether this is the call that finds out whether the endpoint is back.
    pub fn is_probe(&self) -> bool {
        self.probe != 0
    }

    /// Tells the breaker how the call ended.
    pub fn end(mut self, end: CallEnd, now: Nanos) {
        self.ended = true;
        match end {
            CallEnd::Success => self.breaker.succeeded(self.probe),
            CallEnd::Failure { retry_after } => self.breaker.failed(self.probe, retry_after, now),
            CallEnd::Unknown => self.breaker.gave_up(self.probe),
        }
    }
}

impl Drop for Admission {
    fn drop(&mut self) {
        if !self.ended {
            self.breaker.gave_up(self.probe);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    const FAILED: CallEnd = CallEnd::Failure { retry_after: None };

    fn breaker(accept_retry_after: bool) -> (Arc<Breaker>, Clock) {
        let settings = BreakerSettings {
            failures: 3,
            interval: Duration::from_secs(10),
            trip: Duration::from_secs(30),
            accept_retry_after,
        };
        let gauge = IntGauge::new("open", "open").unwrap();
        (Arc::new(Breaker::new(settings, gauge)), Clock::manual())
    }

    #[track_caller]
    fn call(breaker: &Arc<Breaker>, clock: &Clock, end: CallEnd) {
        breaker.admit(clock.now()).expect("let through").end(end, clock.now());
    }

    fn wait(breaker: &Arc<Breaker>, clock: &Clock) -> Option<Duration> {
        breaker.admit(clock.now()).err()
    }

    #[test]
    fn trips_at_the_last_failure_and_not_before() {
        let (breaker, clock) = breaker(false);
        for end in [FAILED, CallEnd::Success, FAILED, CallEnd::Unknown] {
            call(&breaker, &clock, end);
        }
        assert!(!breaker.is_open(), "two of three");
        call(&breaker, &clock, FAILED);
        assert_eq!(wait(&breaker, &clock), Some(Duration::from_secs(30)));
        assert_eq!(breaker.open.get(), 1);
        clock.advance(Duration::from_nanos(29_999_999_999));
        assert_eq!(wait(&breaker, &clock), Some(Duration::from_nanos(1)));
    }

    #[test]
    fn failures_are_forgotten_after_the_interval() {
        for (gap, want) in [(4_400, true), (5_100, false)] {
            let (breaker, clock) = breaker(false);
            for _ in 0..3 {
                call(&breaker, &clock, FAILED);
                clock.advance(Duration::from_millis(gap));
            }
            assert_eq!(breaker.is_open(), want, "one failure each {gap} ms");
        }
    }

    #[test]
    fn one_probe_goes_after_the_trip_and_decides() {
        for (end, want) in [(CallEnd::Success, None), (FAILED, Some(30)), (CallEnd::Unknown, None)] {
            let (breaker, clock) = breaker(false);
            (0..3).for_each(|_| call(&breaker, &clock, FAILED));
            clock.advance(Duration::from_secs(30));
            let probe = breaker.admit(clock.now()).expect("the probe");
            assert_eq!(wait(&breaker, &clock), Some(Duration::from_secs(30)), "only one at a time");
            probe.end(end, clock.now());
            assert_eq!(wait(&breaker, &clock), want.map(Duration::from_secs), "{end:?}");
            assert_eq!(breaker.open.get(), i64::from(end != CallEnd::Success), "{end:?}");
        }
    }

    #[test]
    fn a_closed_breaker_starts_counting_anew() {
        let (breaker, clock) = breaker(false);
        (0..3).for_each(|_| call(&breaker, &clock, FAILED));
        clock.advance(Duration::from_secs(30));
        call(&breaker, &clock, CallEnd::Success);
        (0..2).for_each(|_| call(&breaker, &clock, FAILED));
        assert!(!breaker.is_open());
        call(&breaker, &clock, FAILED);
        assert!(breaker.is_open());
    }

    #[test]
    fn a_probe_that_is_dropped_or_hangs_blocks_nobody_for_ever() {
        let (breaker, clock) = breaker(false);
        (0..3).for_each(|_| call(&breaker, &clock, FAILED));
        clock.advance(Duration::from_secs(30));
        drop(breaker.admit(clock.now()).expect("the first probe"));
        let hanging = breaker.admit(clock.now()).expect("the next one goes at once");
        clock.advance(Duration::from_secs(30));
        call(&breaker, &clock, CallEnd::Success);
        assert!(!breaker.is_open());
        hanging.end(FAILED, clock.now());
        assert!(!breaker.is_open(), "its time was over");
    }

    #[test]
    fn calls_that_were_under_way_do_not_prolong_the_trip() {
        let (breaker, clock) = breaker(false);
        let late = breaker.admit(clock.now()).expect("closed");
        (0..3).for_each(|_| call(&breaker, &clock, FAILED));
        clock.advance(Duration::from_secs(20));
        late.end(FAILED, clock.now());
        assert_eq!(wait(&breaker, &clock), Some(Duration::from_secs(10)));
    }

    #[test]
    fn retry_after_is_the_trip_where_it_is_accepted() {
        let hour = 3_600;
        for (accepts, asked, want) in [(true, 7, 7), (false, 7, 30), (true, 10 * hour, hour)] {
            let (breaker, clock) = breaker(accepts);
            let retry_after = Some(Duration::from_secs(asked));
            (0..3).for_each(|_| call(&breaker, &clock, CallEnd::Failure { retry_after }));
            assert_eq!(wait(&breaker, &clock), Some(Duration::from_secs(want)), "{accepts} {asked}");
        }
    }

    #[test]
    fn an_open_breaker_that_goes_away_is_no_longer_counted() {
        let (breaker, clock) = breaker(false);
        let gauge = breaker.open.clone();
        (0..3).for_each(|_| call(&breaker, &clock, FAILED));
        assert_eq!(gauge.get(), 1);
        drop(breaker);
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn many_threads_trip_once_and_probe_once() {
        let (breaker, clock) = breaker(false);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while let Ok(admission) = breaker.admit(clock.now()) {
                        admission.end(FAILED, clock.now());
                    }
                });
            }
        });
        assert_eq!(breaker.open.get(), 1);
        clock.advance(Duration::from_secs(30));
        let probes: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| breaker.admit(clock.now()).ok())).collect();
            let admitted: Vec<_> = threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect();
            admitted.len()
        });
        assert_eq!(probes, 1);
    }
}
