//! What every algorithm can do with the state of one key.

use std::ops::Deref;
use std::time::Duration;

use super::{Count, Decision};
use crate::clock::Nanos;

/// One algorithm with its parameters, used under the lock of a key's shard. Small, and made anew where rates vary.
pub(super) trait Meter: Copy + Send + Sync + 'static {
    /// How the key's text is kept.
    type Key: for<'k> From<&'k [u8]> + Deref<Target = [u8]> + Send;
    /// What is kept for each key.
    type State: Send;
    /// The state of a key that has made no request.
    fn fresh(&self) -> Self::State;
    /// Decides, and counts what `count` says.
    fn take(&self, state: &mut Self::State, cost: u32, count: Count, now: u64) -> Decision;
    /// Counts, whether or not there is room for it.
    fn charge(&self, state: &mut Self::State, units: u32, now: u64);
    /// Takes back what [`take`](Self::take) counted for a decision, as far as that can be done without admitting more than the
    /// bound says.
    fn give_back(&self, state: &mut Self::State, units: u32, decision: &Decision, now: u64);
    /// When the key is as good as [`fresh`](Self::fresh) if nothing more is counted.
    fn full_at(&self, state: &Self::State) -> u64;
    /// What another algorithm, or this one with other parameters, has to know to go on.
    fn carry_out(&self, state: Self::State, now: u64) -> Carried;
    /// The state of a key that was counted otherwise until now.
    fn carry_in(&self, carried: Carried, now: u64) -> Self::State;
}

/// How a sliding window stands after a decision.
pub(super) struct Sliding {
    pub(super) calls: u32,
    /// How many units are in the window.
    pub(super) used: u64,
    /// When all of them have left it.
    pub(super) full_at: u64,
}

impl Sliding {
    /// The decision on a request of that cost. `freed_at` says when the oldest so many units will have left the window.
    pub(super) fn decided(&self, admitted: bool, cost: u32, now: u64, freed_at: impl Fn(u64) -> u64) -> Decision {
        let (calls, used) = (u64::from(self.calls), self.used);
        let until = |at: u64| Duration::from_nanos(at.saturating_sub(now));
        let retry_after = if admitted {
            Duration::ZERO
        } else if cost > self.calls {
            Duration::MAX
        } else {
            until(freed_at(used + u64::from(cost) - calls))
        };
        let more = if used == 0 { now } else { freed_at((used + 1).saturating_sub(calls).max(1)) };
        Decision {
            admitted,
            limit: self.calls,
            remaining: u32::try_from(calls.saturating_sub(used)).unwrap_or(self.calls),
            retry_after,
            more: until(more),
            reset: until(self.full_at),
            at: Nanos(now),
            overflowed: false,
        }
    }
}

/// What a key has used, on its way from one limit to another.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// When, and how much: everything that may still be in a window, oldest first. None where times are not known.
    pub(super) runs: Option<Vec<(u64, u32)>>,
    /// How much of the allowance.
    pub(super) share: Share,
}

/// How much of an allowance is used: `used` parts of `whole`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Share {
    pub(super) used: u64,
    pub(super) whole: u64,
}

impl Share {
    /// The same share of another whole, rounded up so that nothing is refilled.
    pub(super) fn of(self, whole: u64) -> u64 {
        let share = (u128::from(self.used) * u128::from(whole)).div_ceil(u128::from(self.whole.max(1)));
        u64::try_from(share).unwrap_or(u64::MAX).min(whole)
    }
}

/// An algorithm whose rate varies from request to request: each key remembers the one that it was counted under.
#[derive(Clone, Copy, Debug)]
pub(super) struct Varying<M>(pub(super) M);

impl<M: Meter + PartialEq> Varying<M> {
    /// The state under this request's rate.
    fn settle(&self, state: &mut (M, M::State), now: u64) {
        if state.0 != self.0 {
            let old = std::mem::replace(&mut state.1, self.0.fresh());
            state.1 = self.0.carry_in(state.0.carry_out(old, now), now);
            state.0 = self.0;
        }
    }
}

impl<M: Meter + PartialEq> Meter for Varying<M> {
    type Key = M::Key;
    type State = (M, M::State);

    fn fresh(&self) -> Self::State {
        (self.0, self.0.fresh())
    }

    fn take(&self, state: &mut Self::State, cost: u32, count: Count, now: u64) -> Decision {
        self.settle(state, now);
        self.0.take(&mut state.1, cost, count, now)
    }

    fn charge(&self, state: &mut Self::State, units: u32, now: u64) {
        self.settle(state, now);
        self.0.charge(&mut state.1, units, now);
    }

    fn give_back(&self, state: &mut Self::State, units: u32, decision: &Decision, now: u64) {
        // Units of another rate are worth something else; they are let go with time.
        if state.0 == self.0 {
            self.0.give_back(&mut state.1, units, decision, now);
        }
    }

    fn full_at(&self, state: &Self::State) -> u64 {
        state.0.full_at(&state.1)
    }

    fn carry_out(&self, state: Self::State, now: u64) -> Carried {
        state.0.carry_out(state.1, now)
    }

    fn carry_in(&self, carried: Carried, now: u64) -> Self::State {
        (self.0, self.0.carry_in(carried, now))
    }
}
