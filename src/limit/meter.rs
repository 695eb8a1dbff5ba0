//! What every algorithm can do with the state of one key.

use super::{Count, Decision};

/// One algorithm with its parameters, used under the lock of a key's shard. Small, and made anew where rates vary.
pub(super) trait Meter: Copy + Send + Sync + 'static {
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
