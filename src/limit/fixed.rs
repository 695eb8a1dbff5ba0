//! The fixed window: one count for each key, from a time on.

use std::time::Duration;

use super::key::Key;
use super::meter::{Carried, Meter, Share};
use super::{Count, Decision, Rate};
use crate::clock::Nanos;

/// Admits at most `calls` in each window of `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fixed {
    calls: u32,
    period: u64,
    /// The calendar time of the clock's zero, where windows follow the calendar.
    epoch: Option<u64>,
}

/// What one key had admitted in its window. A count of zero is nothing at all. Packed, because there may be very many.
#[derive(Clone, Copy, Debug, Default)]
#[repr(Rust, packed(4))]
pub(super) struct Current {
    start: u64,
    count: u32,
}

impl Fixed {
    pub(super) fn new(rate: &Rate, epoch: Option<u64>) -> Self {
        Self { calls: rate.calls.get(), period: rate.period_nanos(), epoch }
    }

    /// When the window that `now` is in ends, if one begins now where the first request begins it.
    fn end_of(&self, now: u64) -> u64 {
        match self.epoch {
            Some(epoch) => now.saturating_add(self.period - now.wrapping_add(epoch) % self.period),
            None => now.saturating_add(self.period),
        }
    }

    fn expire(&self, state: &mut Current, now: u64) {
        if state.count > 0 && now >= self.full_at(state) {
            state.count = 0;
        }
    }

    fn note(&self, state: &mut Current, units: u32, now: u64) {
        if state.count == 0 {
            // The window's end is what matters; with the calendar's its start may be before the clock's zero.
            state.start = self.end_of(now).saturating_sub(self.period);
        }
        state.count = state.count.saturating_add(units);
    }
}

impl Meter for Fixed {
    type Key = Key;
    type State = Current;

    fn fresh(&self) -> Current {
        Current::default()
    }

    fn take(&self, state: &mut Current, cost: u32, count: Count, now: u64) -> Decision {
        self.expire(state, now);
        let admitted = cost == 0 || u64::from(state.count) + u64::from(cost) <= self.calls.into();
        let counted = match count {
            Count::Later | Count::Never => 0,
            Count::Admitted if !admitted => 0,
            Count::Admitted | Count::All => cost.min(self.calls),
        };
        if counted > 0 {
            self.note(state, counted, now);
        }
        let end = self.full_at(state).max(now);
        let retry_after = if admitted {
            Duration::ZERO
        } else if cost > self.calls {
            Duration::MAX
        } else {
            Duration::from_nanos(end - now)
        };
        Decision {
            admitted,
            limit: self.calls,
            remaining: self.calls.saturating_sub(state.count),
            retry_after,
            more: Duration::from_nanos(end - now),
            reset: Duration::from_nanos(end - now),
            at: Nanos(now),
            overflowed: false,
        }
    }

    fn charge(&self, state: &mut Current, units: u32, now: u64) {
        self.expire(state, now);
        if units > 0 {
            self.note(state, units, now);
        }
    }

    fn give_back(&self, state: &mut Current, units: u32, decision: &Decision, _: u64) {
        let same = state.count > 0 && state.start <= decision.at.0 && decision.at.0 < self.full_at(state);
        // A count at its end says no more how much there was.
        if same && state.count < u32::MAX {
            state.count -= units.min(state.count);
        }
    }

    fn full_at(&self, state: &Current) -> u64 {
        if state.count == 0 {
            return 0;
        }
        match self.epoch {
            Some(_) => self.end_of(state.start),
            None => state.start.saturating_add(self.period),
        }
    }

    fn carry_out(&self, mut state: Current, now: u64) -> Carried {
        self.expire(&mut state, now);
        let share = Share { used: state.count.min(self.calls).into(), whole: self.calls.into() };
        // The latest that they can have been.
        let runs = if state.count == 0 { Vec::new() } else { vec![(now, state.count)] };
        Carried { runs: Some(runs), share }
    }

    fn carry_in(&self, carried: Carried, now: u64) -> Current {
        let start = self.end_of(now).saturating_sub(self.period);
        let inside = |runs: Vec<(u64, u32)>| {
            let inside = runs.iter().filter(|(at, _)| self.epoch.is_none() || *at >= start);
            inside.fold(0_u32, |sum, (_, count)| sum.saturating_add(*count))
        };
        let share = u32::try_from(carried.share.of(self.calls.into())).unwrap_or(self.calls);
        let mut state = self.fresh();
        let units = carried.runs.map_or(share, inside);
        if units > 0 {
            self.note(&mut state, units, now);
        }
        state
    }
}
