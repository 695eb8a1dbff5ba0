//! The token bucket, as the generic cell rate algorithm: one time for each key, and no rounding but that of the interval.

use std::time::Duration;

use super::key::Key;
use super::meter::{Carried, Meter, Share};
use super::{Count, Decision, Rate};
use crate::clock::Nanos;

/// Admits at most `burst + t / interval` in any time `t`. The interval is `period / calls` rounded up to a nanosecond, so that
/// the bucket never refills too fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bucket {
    interval: u64,
    burst: u32,
}

/// One key's bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Level {
    /// When it will be full again: the algorithm's "theoretical arrival time".
    full_at: u64,
    /// Since when it has not been full.
    since: u64,
    /// What was given back since then, as time.
    given_back: u64,
}

impl Level {
    /// Takes what takes that long to come back.
    fn take(&mut self, time: u64, now: u64) {
        if self.full_at <= now {
            *self = Self { full_at: now, since: now, given_back: 0 };
        }
        self.full_at = self.full_at.saturating_add(time);
    }
}

impl Bucket {
    pub(super) fn new(rate: &Rate) -> Self {
        let interval = rate.period_nanos().div_ceil(u64::from(rate.calls.get())).max(1);
        // A bucket that takes longer than centuries to fill is cut: times are added in 64 bits.
        let most = u32::try_from((u64::MAX / 4) / interval).unwrap_or(u32::MAX);
        Self { interval, burst: rate.burst.get().min(most).max(1) }
    }

    /// The time an empty bucket takes to fill.
    fn whole(&self) -> u64 {
        self.interval * u64::from(self.burst)
    }

    /// What so many units are worth in time.
    fn price(&self, units: u32) -> u64 {
        self.interval.saturating_mul(units.into())
    }
}

impl Meter for Bucket {
    type Key = Key;
    type State = Level;

    fn fresh(&self) -> Level {
        Level::default()
    }

    fn take(&self, level: &mut Level, cost: u32, count: Count, now: u64) -> Decision {
        let mut missing = level.full_at.saturating_sub(now);
        let wanted = missing.saturating_add(self.price(cost));
        let admitted = cost == 0 || wanted <= self.whole();
        if count == Count::All || count == Count::Admitted && admitted {
            // What is counted of a refused request leaves the bucket empty, and no emptier.
            let more = wanted.min(self.whole()).saturating_sub(missing);
            level.take(more, now);
            missing += more;
        }
        let retry_after = if admitted {
            Duration::ZERO
        } else if cost > self.burst {
            Duration::MAX
        } else {
            Duration::from_nanos(missing.saturating_add(self.price(cost)).saturating_sub(self.whole()))
        };
        let remaining = self.whole().saturating_sub(missing) / self.interval;
        let more = match missing {
            0 => 0,
            // Below zero, after a charge: the first token is a whole one.
            _ if missing >= self.whole() => missing - self.whole() + self.interval,
            _ => (missing - 1) % self.interval + 1,
        };
        Decision {
            admitted,
            limit: self.burst,
            remaining: u32::try_from(remaining).unwrap_or(self.burst),
            retry_after,
            more: Duration::from_nanos(more),
            reset: Duration::from_nanos(missing),
            at: Nanos(now),
            overflowed: false,
        }
    }

    fn charge(&self, level: &mut Level, units: u32, now: u64) {
        level.take(self.price(units), now);
    }

    fn give_back(&self, level: &mut Level, units: u32, decision: &Decision, now: u64) {
        // Without the units, and without all that was given back before them, the bucket would have been full so much earlier, and
        // what flows into a full bucket is lost: that part does not come back. Nothing does once it has been full.
        if level.full_at > now && decision.at.0 >= level.since {
            let room = (decision.at + decision.reset).0.saturating_sub(now).saturating_sub(level.given_back);
            let back = self.price(units).min(room);
            level.full_at = level.full_at.saturating_sub(back);
            level.given_back = level.given_back.saturating_add(back);
        }
    }

    fn full_at(&self, level: &Level) -> u64 {
        level.full_at
    }

    fn carry_out(&self, level: Level, now: u64) -> Carried {
        let share = Share { used: level.full_at.saturating_sub(now).min(self.whole()), whole: self.whole() };
        Carried { runs: None, share }
    }

    fn carry_in(&self, carried: Carried, now: u64) -> Level {
        Level { full_at: now.saturating_add(carried.share.of(self.whole())), since: now, given_back: 0 }
    }
}
