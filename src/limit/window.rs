//! The exact sliding window: the times of the requests admitted within one period.

use std::collections::VecDeque;

use super::key::Key;
use super::meter::{Carried, Meter, Share, Sliding};
use super::{Count, Decision, Rate};

/// Smaller rings are kept as they are when they empty.
const SHRINK_ABOVE: usize = 16;

/// Admits at most `calls` in any half-open window `[t, t + period)`, and everything that this allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    calls: u32,
    period: u64,
}

/// What was admitted at one instant. Packed, because there may be very many.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Run {
    at: u64,
    count: u32,
}

/// What one key had admitted. Most keys of a large population are seen once, and then this is all of it.
#[derive(Debug)]
pub(super) enum Runs {
    /// One instant; a count of zero is nothing at all.
    One(Run),
    /// More, oldest first. It grows as requests come and is cut when most of it has left the window.
    Many(Box<Ring>),
}

#[derive(Debug, Default)]
pub(super) struct Ring {
    runs: VecDeque<Run>,
    /// The sum of all counts. It may be above `calls` after a charge, or after a reload that lowered the limit.
    count: u64,
    /// The largest `calls` that it was counted under, where rates vary.
    most: u32,
}

impl Runs {
    fn count(&self) -> u64 {
        match self {
            Self::One(run) => run.count.into(),
            Self::Many(ring) => ring.count,
        }
    }

    fn iter(&self) -> impl Iterator<Item = Run> {
        let (one, many) = match self {
            Self::One(run) => ((run.count > 0).then_some(*run), None),
            Self::Many(ring) => (None, Some(&ring.runs)),
        };
        one.into_iter().chain(many.into_iter().flatten().copied())
    }

    fn last(&self) -> Option<Run> {
        match self {
            Self::One(run) => (run.count > 0).then_some(*run),
            Self::Many(ring) => ring.runs.back().copied(),
        }
    }
}

impl Window {
    pub(super) fn new(rate: &Rate) -> Self {
        Self { calls: rate.calls.get(), period: rate.period_nanos() }
    }

    fn is_gone(&self, run: Run, now: u64) -> bool {
        now.saturating_sub(run.at) >= self.period
    }

    /// Forgets what left the window.
    fn expire(&self, state: &mut Runs, now: u64) {
        let ring = match state {
            Runs::One(run) => {
                if self.is_gone(*run, now) {
                    run.count = 0;
                }
                return;
            }
            Runs::Many(ring) => ring,
        };
        let mut expired = false;
        while let Some(run) = ring.runs.front().copied()
            && self.is_gone(run, now)
        {
            ring.count -= u64::from(run.count);
            ring.runs.pop_front();
            expired = true;
        }
        if !expired {
            return;
        }
        let capacity = ring.runs.capacity();
        if ring.runs.is_empty() {
            *state = self.fresh();
        } else if capacity > SHRINK_ABOVE && ring.runs.len() < capacity / 8 {
            ring.runs.shrink_to(capacity / 4);
        }
    }

    /// Notes units at `at`, which is not before what has been noted.
    fn note(&self, state: &mut Runs, at: u64, count: u32) {
        let ring = match state {
            Runs::One(run) if run.count == 0 => {
                *run = Run { at, count };
                return;
            }
            Runs::One(run) if run.at >= at => {
                run.count = run.count.saturating_add(count);
                return;
            }
            Runs::One(run) => {
                let mut runs = VecDeque::with_capacity((self.calls as usize).clamp(2, 4));
                runs.push_back(*run);
                let count = run.count.into();
                *state = Runs::Many(Box::new(Ring { runs, count, most: self.calls }));
                let Runs::Many(ring) = state else { return };
                ring
            }
            Runs::Many(ring) => ring,
        };
        match ring.runs.back_mut() {
            Some(run) if run.at >= at => {
                let before = run.count;
                run.count = before.saturating_add(count);
                ring.count += u64::from(run.count - before);
            }
            _ => {
                if ring.runs.len() == ring.runs.capacity() {
                    // Doubling ends at `calls`, the most that there can be.
                    let room = (self.calls as usize).saturating_sub(ring.runs.len()).max(1);
                    ring.runs.reserve_exact(ring.runs.len().min(room).max(1));
                }
                ring.runs.push_back(Run { at, count });
                ring.count += u64::from(count);
            }
        }
        // The newest `calls` units decide everything, so that times charged beyond them need not be told apart, which keeps memory
        // bounded too. The units are kept, because some of the newest may be given back.
        ring.most = ring.most.max(self.calls);
        while ring.runs.len() > ring.most as usize
            && let Some(oldest) = ring.runs.pop_front()
        {
            let Some(next) = ring.runs.front_mut() else { return };
            let before = u64::from(oldest.count) + u64::from(next.count);
            next.count = next.count.saturating_add(oldest.count);
            ring.count -= before - u64::from(next.count);
        }
    }

    /// When the oldest `needed` units will have left the window.
    fn freed_at(&self, state: &Runs, needed: u64) -> u64 {
        let mut freed = 0;
        for run in state.iter() {
            freed += u64::from(run.count);
            if freed >= needed {
                return run.at.saturating_add(self.period);
            }
        }
        self.full_at(state)
    }
}

impl Meter for Window {
    type Key = Key;
    type State = Runs;

    fn fresh(&self) -> Runs {
        Runs::One(Run { at: 0, count: 0 })
    }

    fn take(&self, state: &mut Runs, cost: u32, count: Count, now: u64) -> Decision {
        self.expire(state, now);
        let calls = u64::from(self.calls);
        let admitted = cost == 0 || state.count() + u64::from(cost) <= calls;
        let counted = match count {
            Count::Later | Count::Never => 0,
            Count::Admitted if !admitted => 0,
            Count::Admitted | Count::All => cost.min(self.calls),
        };
        if counted > 0 {
            self.note(state, now, counted);
        }
        let used = state.count();
        let sliding = Sliding { calls: self.calls, used, full_at: self.full_at(state) };
        sliding.decided(admitted, cost, now, |needed| self.freed_at(state, needed))
    }

    fn charge(&self, state: &mut Runs, units: u32, now: u64) {
        self.expire(state, now);
        if units > 0 {
            self.note(state, now, units);
        }
    }

    fn give_back(&self, state: &mut Runs, units: u32, decision: &Decision, _: u64) {
        let take = |run: &mut Run| {
            // A count at its end says no more how much there was.
            let less = if run.at == decision.at.0 && run.count < u32::MAX { units.min(run.count) } else { 0 };
            run.count -= less;
            (less, run.count)
        };
        match state {
            Runs::One(run) => drop(take(run)),
            Runs::Many(ring) => {
                let found = ring.runs.partition_point(|run| run.at < decision.at.0);
                if let Some((less, left)) = ring.runs.get_mut(found).map(take) {
                    ring.count -= u64::from(less);
                    if left == 0 && less > 0 {
                        ring.runs.remove(found);
                    }
                }
                if ring.runs.is_empty() {
                    *state = self.fresh();
                }
            }
        }
    }

    fn full_at(&self, state: &Runs) -> u64 {
        state.last().map_or(0, |run| run.at.saturating_add(self.period))
    }

    fn carry_out(&self, mut state: Runs, now: u64) -> Carried {
        self.expire(&mut state, now);
        let share = Share { used: state.count().min(self.calls.into()), whole: self.calls.into() };
        Carried { runs: Some(state.iter().map(|run| (run.at, run.count)).collect()), share }
    }

    fn carry_in(&self, carried: Carried, now: u64) -> Runs {
        // Without times all of it was just now: the latest it can have been.
        let share = || vec![(now, u32::try_from(carried.share.of(self.calls.into())).unwrap_or(self.calls))];
        let runs = carried.runs.unwrap_or_else(share);
        // All of it is kept, also where the limit is lower now: it may be raised again while it is in the window.
        let whole = runs.iter().fold(0_u32, |sum, (_, count)| sum.saturating_add(*count));
        let roomy = Self { calls: self.calls.max(whole), ..*self };
        let mut state = self.fresh();
        for (at, count) in runs {
            if count > 0 {
                roomy.note(&mut state, at, count);
            }
        }
        self.expire(&mut state, now);
        state
    }
}
