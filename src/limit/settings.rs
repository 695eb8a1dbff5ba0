//! What a limit is: plain data that the local counters, a shared store and a load test read alike.

use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;

/// The longest period that is told apart; it keeps all sums of times within 64 bits.
pub(super) const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// How requests are counted. Each bound holds at every instant and for any number of simultaneous requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// At most `calls` in any half-open window of `period`: Azure API Management's classic tiers.
    SlidingWindow {
        /// How much is remembered of the times of requests.
        precision: Precision,
    },
    /// A bucket of `burst` that refills evenly at `calls` for each `period`: at most `burst + calls × t / period` in any time
    /// `t`. Azure API Management's v2 tiers.
    TokenBucket {
        /// How many requests a full bucket admits at once.
        burst: NonZeroU32,
    },
    /// At most `calls` in each window, so that two windows side by side may have `2 × calls` within one period.
    FixedWindow {
        /// When windows begin.
        start: WindowStart,
    },
}

/// What a sliding window remembers of the times of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Precision {
    /// The time of each: nothing is refused that the definition admits. Up to 12 bytes for each of `calls`.
    #[default]
    Exact,
    /// Counts for so many slots of the period: `4 × (slots + 3)` bytes, whatever `calls` is. A request counts until the whole
    /// of its slot has left the window, so that the bound holds as stated and a request may be refused up to
    /// `period / slots` longer than by the definition.
    Slots(NonZeroU32),
}

/// When a fixed window begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum WindowStart {
    /// At whole multiples of the period since 1970-01-01T00:00:00Z: the same on every replica.
    #[default]
    Clock,
    /// At the key's first request, and again at the first after it has ended.
    FirstCall,
}

/// What happens to a request with a new key when `max_keys` keys are held and none of them is back to full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Overflow {
    /// It is rejected.
    #[default]
    Reject,
    /// It is admitted uncounted.
    Admit,
}

/// How much is admitted in which time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many requests are admitted for each period.
    pub calls: NonZeroU32,
    /// The length of the window, or the time in which a bucket refills by `calls`.
    pub period: Duration,
    /// How many requests a full token bucket admits at once; the windows do not read it.
    pub burst: NonZeroU32,
}

impl Rate {
    /// The period in nanoseconds, never zero.
    pub fn period_nanos(&self) -> u64 {
        u64::try_from(self.period.min(LONGEST_PERIOD).as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// One limit, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// How many requests are admitted for each period.
    pub calls: NonZeroU32,
    /// The length of the window, or the time in which a bucket refills by `calls`.
    pub period: Duration,
    /// Whether each request may bring a rate of its own ([`Ask::rate`](super::Ask::rate)). A key then remembers the rate that
    /// it was counted under (24 bytes more), and what it has used is scaled when it comes with another one.
    pub varying: bool,
    /// How many keys are held at most.
    pub max_keys: NonZeroUsize,
    /// What happens to a new key when no more can be held.
    pub on_overflow: Overflow,
}

impl Settings {
    /// `calls` in each `period`, with at most 100,000 keys; a new key beyond them is rejected.
    pub fn new(algorithm: Algorithm, calls: NonZeroU32, period: Duration) -> Self {
        let max_keys = NonZeroUsize::MIN.saturating_add(99_999);
        Self { algorithm, calls, period, varying: false, max_keys, on_overflow: Overflow::Reject }
    }

    /// The rate of requests that bring none.
    pub fn rate(&self) -> Rate {
        let burst = match self.algorithm {
            Algorithm::TokenBucket { burst } => burst,
            Algorithm::SlidingWindow { .. } | Algorithm::FixedWindow { .. } => self.calls,
        };
        Rate { calls: self.calls, period: self.period, burst }
    }

    /// The most that one key can have admitted at once under a rate.
    pub fn capacity(&self, rate: &Rate) -> u32 {
        match self.algorithm {
            Algorithm::SlidingWindow { .. } | Algorithm::FixedWindow { .. } => rate.calls.get(),
            Algorithm::TokenBucket { .. } => rate.burst.get(),
        }
    }

    /// The time in which something of what is used now comes back at the latest.
    pub fn soonest(&self, rate: &Rate) -> Duration {
        match self.algorithm {
            Algorithm::TokenBucket { .. } => {
                Duration::from_nanos(rate.period_nanos().div_ceil(rate.calls.get().into()))
            }
            Algorithm::FixedWindow { .. } | Algorithm::SlidingWindow { .. } => self.refill(rate),
        }
    }

    /// The time in which a key that has used everything is back to full at the latest.
    pub fn refill(&self, rate: &Rate) -> Duration {
        let period = rate.period_nanos();
        let nanos = match self.algorithm {
            Algorithm::TokenBucket { .. } => {
                period.div_ceil(rate.calls.get().into()).saturating_mul(rate.burst.get().into())
            }
            Algorithm::FixedWindow { .. } | Algorithm::SlidingWindow { precision: Precision::Exact } => period,
            Algorithm::SlidingWindow { precision: Precision::Slots(slots) } => {
                period.saturating_add(period.div_ceil(slots.get().into()))
            }
        };
        Duration::from_nanos(nanos)
    }
}
