//! The token bucket: governor's generic cell rate algorithm over the gateway's own key store and clock.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::Clock;
use governor::middleware::NoOpMiddleware;
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::{Quota, RateLimiter};

use super::keys::Meter;
use super::{Decision, Missing};

/// Admits at most `burst + t / interval` in any time `t`. The interval is `period / calls` rounded up to a nanosecond,
/// where governor's own constructors round down and so refill a little too fast.
#[derive(Debug)]
pub(super) struct Bucket {
    limiter: RateLimiter<Level, InPlace, ByHand, NoOpMiddleware<Nanos>>,
    interval: u64,
    burst: u32,
}

/// One key's bucket: governor's "theoretical arrival time", when it will be full again. Already found in the key store
/// and under the lock of its shard when governor sees it, so that governor needs neither a map nor a copy of the key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Level(Cell<u64>);

impl Hash for Level {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.get().hash(state);
    }
}

/// The governor store whose key is the bucket itself.
#[derive(Debug)]
struct InPlace;

impl StateStore for InPlace {
    type Key = Level;

    fn measure_and_replace<T, F, E>(&self, level: &Level, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (value, full_at) = decide(Some(level.0.get().into()))?;
        level.0.set(full_at.into());
        Ok(value)
    }
}

/// The governor clock that shows the one reading taken for a decision.
#[derive(Debug, Default)]
struct ByHand(Cell<u64>);

impl Clock for ByHand {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        self.0.get().into()
    }
}

impl Bucket {
    pub(super) fn new(calls: NonZeroU32, period: u64, burst: NonZeroU32) -> Self {
        let interval = period.div_ceil(u64::from(calls.get())).max(1);
        // A bucket that takes longer than a century to fill is cut: governor adds these times in 64 bits.
        let most = u32::try_from((u64::MAX / 4) / interval).unwrap_or(u32::MAX);
        let burst = NonZeroU32::new(burst.get().min(most)).unwrap_or(NonZeroU32::MIN);
        let quota = Quota::with_period(Duration::from_nanos(interval))
            .unwrap_or_else(|| Quota::per_second(NonZeroU32::MIN))
            .allow_burst(burst);
        Self { limiter: RateLimiter::new(quota, InPlace, ByHand::default()), interval, burst: burst.get() }
    }

    /// The time an empty bucket takes to fill.
    fn whole(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// How much of the bucket is missing.
    pub(super) fn missing(&self, level: &Level, now: u64) -> Missing {
        Missing { used: level.0.get().saturating_sub(now).min(self.whole()), whole: self.whole() }
    }

    /// A bucket with that share missing.
    pub(super) fn with_missing(&self, missing: Missing, now: u64) -> Level {
        Level(Cell::new(now.saturating_add(missing.of(self.whole()))))
    }
}

impl Meter for Bucket {
    type State = Level;

    fn fresh(&self) -> Level {
        Level::default()
    }

    fn take(&self, level: &mut Level, cost: u32, now: u64) -> Decision {
        let mut admitted = true;
        let mut retry_after = Duration::ZERO;
        if cost > self.burst {
            // Asked here, because governor multiplies the cost by the interval before it compares, and may overflow.
            admitted = false;
            retry_after = Duration::MAX;
        } else if let Some(cost) = NonZeroU32::new(cost) {
            self.limiter.clock().0.set(now);
            if let Ok(Err(refused)) = self.limiter.check_key_n(level, cost) {
                admitted = false;
                retry_after = Duration::from_nanos(refused.earliest_possible().as_u64().saturating_sub(now));
            }
        }
        let reset = level.0.get().saturating_sub(now);
        let remaining = self.whole().saturating_sub(reset) / self.interval;
        Decision {
            admitted,
            limit: self.burst,
            remaining: u32::try_from(remaining).unwrap_or(self.burst),
            retry_after,
            reset: Duration::from_nanos(reset),
            overflowed: false,
        }
    }

    fn full_at(&self, level: &Level) -> u64 {
        level.0.get()
    }
}
