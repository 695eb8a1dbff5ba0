//! Limits: how many requests a key may make in a time, and how many at once, counted in memory for all workers.
//!
//! A [`Limiter`] is one configured limit. Each decision checks and counts in one step under the lock of the key's
//! shard, so that simultaneous requests admit exactly the limit. A rejected request is not counted. A key is forgotten
//! only when it is back to full, so that forgetting it cannot be noticed.
//!
//! | algorithm | admits at most | memory for each key |
//! |---|---|---|
//! | sliding window | `calls` in any half-open window of `period` | 16 bytes for each admitted request still in the window |
//! | token bucket | `burst + calls × t / period` in any time `t` | 8 bytes |
//!
//! To both comes the key's text (at most 256 bytes; longer keys are kept as a digest) and its place in the table: 65 to
//! 130 bytes for a sliding window, 30 to 60 for a token bucket. A limit without keys takes 8 KiB.

mod bucket;
mod concurrency;
mod keys;
pub mod quota;
mod registry;
mod window;

#[cfg(test)]
mod tests;

use std::num::{NonZeroU32, NonZeroUsize};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

pub use concurrency::{ConcurrencyLimit, Permit};
pub use registry::{Plan, Registry};

use crate::clock::Clock;
use bucket::Bucket;
use keys::{Keys, Outcome};
use window::Window;

/// The longest period that is told apart; it keeps all sums of times within 64 bits.
const LONGEST_PERIOD: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// What `Retry-After` says when the request can never be admitted.
const NEVER_SECONDS: u64 = 365 * 24 * 60 * 60;

/// How requests are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Algorithm {
    /// At most `calls` in any window of `period`: Azure API Management's classic tiers.
    SlidingWindow,
    /// A bucket that refills evenly at `calls` for each `period`: Azure API Management's v2 tiers.
    TokenBucket {
        /// How many requests a full bucket admits at once.
        burst: NonZeroU32,
    },
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

/// One limit, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Settings {
    /// How requests are counted.
    pub algorithm: Algorithm,
    /// How many requests are admitted for each period.
    pub calls: NonZeroU32,
    /// The length of the window, or the time in which a bucket refills by `calls`.
    pub period: Duration,
    /// How many keys are held at most.
    pub max_keys: NonZeroUsize,
    /// What happens to a new key when no more can be held.
    pub on_overflow: Overflow,
}

impl Settings {
    /// The most that one key can have admitted at once.
    fn capacity(&self) -> u32 {
        match self.algorithm {
            Algorithm::SlidingWindow => self.calls.get(),
            Algorithm::TokenBucket { burst } => burst.get(),
        }
    }

    /// The period in nanoseconds, never zero.
    fn period_nanos(&self) -> u64 {
        u64::try_from(self.period.min(LONGEST_PERIOD).as_nanos()).unwrap_or(u64::MAX).max(1)
    }
}

/// What a limit says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Whether the request may go on.
    pub admitted: bool,
    /// The most that the key can have admitted at once: `calls`, or the bucket's `burst`.
    pub limit: u32,
    /// What the key has left after this decision.
    pub remaining: u32,
    /// How long until the same request would be admitted: zero when it was, [`Duration::MAX`] when its cost is above
    /// the limit, so that it never can be.
    pub retry_after: Duration,
    /// How long until the key is back to full, if it makes no more requests.
    pub reset: Duration,
    /// Whether the key could not be counted because `max_keys` others are held.
    pub overflowed: bool,
}

impl Decision {
    /// The value of `Retry-After` (RFC 9110 §10.2.3): the wait rounded up, so that a client which waits exactly that
    /// long is admitted; never 0 on a rejected request.
    pub fn retry_after_seconds(&self) -> u64 {
        if self.admitted {
            return 0;
        }
        ceil_seconds(self.retry_after).clamp(1, NEVER_SECONDS)
    }

    /// The whole seconds until the key is back to full, rounded up: the `t` parameter of the IETF `RateLimit` field.
    pub fn reset_seconds(&self) -> u64 {
        ceil_seconds(self.reset)
    }
}

fn ceil_seconds(wait: Duration) -> u64 {
    wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0))
}

/// One limit and the state of its keys, shared by all workers.
#[derive(Debug)]
pub struct Limiter {
    settings: Settings,
    clock: Clock,
    store: Store,
    /// Who counts on when a reload changed this limit; requests still on the old configuration go there too.
    successor: OnceLock<Arc<Self>>,
}

#[derive(Debug)]
enum Store {
    Window(Keys<Window>),
    Bucket(Keys<Bucket>),
}

impl Limiter {
    /// A limit with no keys yet. A `period` of zero counts as one nanosecond.
    pub fn new(settings: Settings, clock: Clock) -> Self {
        let store = match settings.algorithm {
            Algorithm::SlidingWindow => Store::Window(Keys::new(settings.max_keys.get(), || {
                Window::new(settings.calls, settings.period_nanos())
            })),
            Algorithm::TokenBucket { burst } => Store::Bucket(Keys::new(settings.max_keys.get(), || {
                Bucket::new(settings.calls, settings.period_nanos(), burst)
            })),
        };
        Self { settings, clock, store, successor: OnceLock::new() }
    }

    /// The limit as configured.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// How many keys are held.
    pub fn keys(&self) -> usize {
        match &self.store {
            Store::Window(keys) => keys.len(),
            Store::Bucket(keys) => keys.len(),
        }
    }

    /// Decides on a request of `key` that costs `cost`, and counts it when it is admitted: one atomic step. A cost of 0
    /// counts nothing, is always admitted and shows what is left.
    pub fn decide(&self, key: &str, cost: u32) -> Decision {
        let outcome = match &self.store {
            Store::Window(keys) => keys.decide(key, cost, &self.clock),
            Store::Bucket(keys) => keys.decide(key, cost, &self.clock),
        };
        match outcome {
            Outcome::Decided(decision) => decision,
            Outcome::Overflow { wait } => self.overflow(wait),
            Outcome::Moved => match self.successor.get() {
                Some(successor) => successor.decide(key, cost),
                // `hand_over` names the successor before it moves the first key.
                None => self.overflow(Duration::ZERO),
            },
        }
    }

    fn overflow(&self, wait: Duration) -> Decision {
        let admitted = self.settings.on_overflow == Overflow::Admit;
        Decision {
            admitted,
            limit: self.settings.capacity(),
            remaining: 0,
            retry_after: if admitted { Duration::ZERO } else { wait },
            reset: wait,
            overflowed: true,
        }
    }

    /// Moves the state of every key to `successor`, which takes all later decisions too, so that neither a reload nor a
    /// request still running on the old configuration refills a limit.
    fn hand_over(&self, successor: &Arc<Self>) {
        if self.successor.set(Arc::clone(successor)).is_err() {
            return;
        }
        let now = self.clock.now().0;
        match (&self.store, &successor.store) {
            (Store::Window(old), Store::Window(new)) => {
                old.drain(|_, key, runs| new.adopt(key, now, |meter| meter.carry(runs, now)));
            }
            (Store::Bucket(old), Store::Bucket(new)) => {
                old.drain(|from, key, level| {
                    let missing = from.missing(&level, now);
                    new.adopt(key, now, |meter| meter.with_missing(missing, now));
                });
            }
            (Store::Window(old), Store::Bucket(new)) => {
                old.drain(|from, key, runs| {
                    let missing = from.missing(&runs, now);
                    new.adopt(key, now, |meter| meter.with_missing(missing, now));
                });
            }
            (Store::Bucket(old), Store::Window(new)) => {
                old.drain(|from, key, level| {
                    let missing = from.missing(&level, now);
                    new.adopt(key, now, |meter| meter.with_missing(missing, now));
                });
            }
        }
    }
}

/// How much of a key's allowance is used: `used` parts of `whole`. Carries a fill from one limit to another.
#[derive(Clone, Copy, Debug)]
struct Missing {
    used: u64,
    whole: u64,
}

impl Missing {
    /// The same share of another whole, rounded up so that nothing is refilled.
    fn of(self, whole: u64) -> u64 {
        let share = (u128::from(self.used) * u128::from(whole)).div_ceil(u128::from(self.whole.max(1)));
        u64::try_from(share).unwrap_or(u64::MAX).min(whole)
    }
}
