//! The sliding window in a fixed space: counts for the slots of one period instead of the times of requests.

use super::meter::{Carried, Meter, Share, Sliding};
use super::{Count, Decision, Rate};

/// The words before the counts: the number of the newest slot.
const HEAD: usize = 2;

/// Admits at most `calls` in any half-open window `[t, t + period)`. A unit counts until the whole of its slot has left the
/// window: up to one slot longer than its definition, never shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slots {
    calls: u32,
    /// The length of a slot: the period divided, rounded up.
    width: u64,
    slots: u32,
}

/// The number of the newest slot in two words, and a ring of one count more than there are slots in the period.
#[derive(Debug)]
pub(super) struct Counts(Box<[u32]>);

impl Counts {
    fn newest(&self) -> u64 {
        u64::from(self.0[0]) | u64::from(self.0[1]) << 32
    }

    fn set_newest(&mut self, slot: u64) {
        self.0[0] = slot as u32;
        self.0[1] = (slot >> 32) as u32;
    }

    fn at(&mut self, slot: u64) -> &mut u32 {
        let ring = (self.0.len() - HEAD) as u64;
        &mut self.0[HEAD + (slot % ring) as usize]
    }

    fn sum(&self) -> u64 {
        self.0[HEAD..].iter().copied().map(u64::from).sum()
    }

    /// The slots that are held with their counts, oldest first.
    fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, u32)> {
        let ring = (self.0.len() - HEAD) as u64;
        let newest = self.newest();
        let oldest = (newest + 1).saturating_sub(ring);
        (oldest..=newest).map(move |slot| (slot, self.0[HEAD + (slot % ring) as usize]))
    }
}

impl Slots {
    pub(super) fn new(rate: &Rate, slots: u32) -> Self {
        let slots = slots.max(1);
        Self { calls: rate.calls.get(), width: rate.period_nanos().div_ceil(slots.into()), slots }
    }

    /// When all of a slot has left the window.
    fn gone_at(&self, slot: u64) -> u64 {
        slot.saturating_add(1 + u64::from(self.slots)).saturating_mul(self.width)
    }

    /// Moves on to the slot of `now`, forgetting what left the window.
    fn advance(&self, state: &mut Counts, now: u64) -> u64 {
        let slot = now / self.width;
        let newest = state.newest();
        if slot > newest {
            if slot - newest > u64::from(self.slots) {
                state.0[HEAD..].fill(0);
            } else {
                for passed in newest + 1..=slot {
                    *state.at(passed) = 0;
                }
            }
            state.set_newest(slot);
        }
        slot
    }

    /// When the oldest `needed` units will have left the window.
    fn freed_at(&self, state: &Counts, needed: u64) -> u64 {
        let mut freed = 0;
        for (slot, count) in state.iter() {
            freed += u64::from(count);
            if freed >= needed {
                return self.gone_at(slot);
            }
        }
        self.full_at(state)
    }
}

impl Meter for Slots {
    // A state that has memory of its own needs another look there anyway: the smaller entry counts for more.
    type Key = Box<[u8]>;
    type State = Counts;

    fn fresh(&self) -> Counts {
        Counts(vec![0; HEAD + self.slots as usize + 1].into_boxed_slice())
    }

    fn take(&self, state: &mut Counts, cost: u32, count: Count, now: u64) -> Decision {
        let slot = self.advance(state, now);
        let calls = u64::from(self.calls);
        let mut used = state.sum();
        let admitted = cost == 0 || used + u64::from(cost) <= calls;
        let counted = match count {
            Count::Later | Count::Never => 0,
            Count::Admitted if !admitted => 0,
            Count::Admitted => cost,
            Count::All => cost.min(self.calls),
        };
        if counted > 0 {
            let held = state.at(slot);
            let before = *held;
            *held = before.saturating_add(counted);
            used += u64::from(*held - before);
        }
        let sliding = Sliding { calls: self.calls, used, full_at: self.full_at(state) };
        sliding.decided(admitted, cost, now, |needed| self.freed_at(state, needed))
    }

    fn charge(&self, state: &mut Counts, units: u32, now: u64) {
        let slot = self.advance(state, now);
        let held = state.at(slot);
        // All of it is kept, because others in the slot may be given back.
        *held = held.saturating_add(units);
    }

    fn give_back(&self, state: &mut Counts, units: u32, decision: &Decision, now: u64) {
        self.advance(state, now);
        let slot = decision.at.0 / self.width;
        if state.newest() - slot.min(state.newest()) <= u64::from(self.slots) {
            let held = state.at(slot);
            // A count at its end says no more how much there was.
            if *held < u32::MAX {
                *held = held.saturating_sub(units);
            }
        }
    }

    fn full_at(&self, state: &Counts) -> u64 {
        state.iter().rev().find(|(_, count)| *count > 0).map_or(0, |(slot, _)| self.gone_at(slot))
    }

    fn carry_out(&self, mut state: Counts, now: u64) -> Carried {
        self.advance(&mut state, now);
        let share = Share { used: state.sum().min(self.calls.into()), whole: self.calls.into() };
        let held = state.iter().filter(|(_, count)| *count > 0);
        // The latest that they can have been.
        let runs = held.map(|(slot, count)| ((slot.saturating_add(1).saturating_mul(self.width) - 1).min(now), count));
        Carried { runs: Some(runs.collect()), share }
    }

    fn carry_in(&self, carried: Carried, now: u64) -> Counts {
        let share = || vec![(now, u32::try_from(carried.share.of(self.calls.into())).unwrap_or(self.calls))];
        let mut state = self.fresh();
        for (at, count) in carried.runs.unwrap_or_else(share) {
            // All of it is kept, also where the limit is lower now: it may be raised again while it is in the window.
            let slot = self.advance(&mut state, at);
            let held = state.at(slot);
            *held = held.saturating_add(count);
        }
        self.advance(&mut state, now);
        state
    }
}
