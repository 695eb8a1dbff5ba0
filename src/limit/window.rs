//! The sliding window: the exact times of the requests admitted within one period.

use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::time::Duration;

use super::keys::Meter;
use super::{Decision, Missing};

/// Smaller rings are kept as they are when they empty.
const SHRINK_ABOVE: usize = 16;

/// Admits at most `calls` in any half-open window `[t, t + period)`.
#[derive(Debug)]
pub(super) struct Window {
    calls: u32,
    period: u64,
}

/// What was admitted at one instant.
#[derive(Clone, Copy, Debug)]
struct Run {
    at: u64,
    count: u32,
}

/// What one key had admitted, oldest first. It grows as requests come and is cut when most of it has left the window.
#[derive(Debug, Default)]
pub(super) struct Runs {
    runs: VecDeque<Run>,
    /// The sum of all counts. It may be above `calls` only after a reload that lowered the limit.
    count: u64,
}

impl Window {
    pub(super) fn new(calls: NonZeroU32, period: u64) -> Self {
        Self { calls: calls.get(), period }
    }

    /// Forgets what left the window.
    fn expire(&self, state: &mut Runs, now: u64) {
        let mut expired = false;
        while let Some(run) = state.runs.front()
            && now.saturating_sub(run.at) >= self.period
        {
            state.count -= u64::from(run.count);
            state.runs.pop_front();
            expired = true;
        }
        let capacity = state.runs.capacity();
        if expired && capacity > SHRINK_ABOVE && state.runs.len() < capacity / 8 {
            state.runs.shrink_to(capacity / 4);
        }
    }

    /// When the oldest `needed` units will have left the window.
    fn freed_at(&self, state: &Runs, needed: u64) -> u64 {
        let mut freed = 0;
        for run in &state.runs {
            freed += u64::from(run.count);
            if freed >= needed {
                return run.at.saturating_add(self.period);
            }
        }
        self.full_at(state)
    }

    /// The key's state under this limit: every admitted request that is still inside this window.
    pub(super) fn carry(&self, mut state: Runs, now: u64) -> Runs {
        self.expire(&mut state, now);
        state
    }

    /// How much of the limit is used.
    pub(super) fn missing(&self, state: &Runs, now: u64) -> Missing {
        let gone = |run: &&Run| now.saturating_sub(run.at) >= self.period;
        let expired: u64 = state.runs.iter().take_while(gone).map(|run| u64::from(run.count)).sum();
        Missing { used: (state.count - expired).min(u64::from(self.calls)), whole: u64::from(self.calls) }
    }

    /// A state with that share used, all of it just now: the latest it can have been.
    pub(super) fn with_missing(&self, missing: Missing, now: u64) -> Runs {
        let count = missing.of(u64::from(self.calls));
        let mut state = Runs::default();
        if count > 0 {
            state.runs.push_back(Run { at: now, count: u32::try_from(count).unwrap_or(self.calls) });
            state.count = count;
        }
        state
    }
}

impl Meter for Window {
    type State = Runs;

    fn fresh(&self) -> Runs {
        Runs::default()
    }

    fn take(&self, state: &mut Runs, cost: u32, now: u64) -> Decision {
        self.expire(state, now);
        let calls = u64::from(self.calls);
        let wanted = state.count + u64::from(cost);
        let admitted = wanted <= calls || cost == 0;
        let mut retry_after = Duration::ZERO;
        if !admitted {
            retry_after = if cost > self.calls {
                Duration::MAX
            } else {
                Duration::from_nanos(self.freed_at(state, wanted - calls).saturating_sub(now))
            };
        } else if cost > 0 {
            match state.runs.back_mut() {
                Some(run) if run.at >= now => run.count += cost,
                _ => {
                    if state.runs.capacity() == 0 {
                        // Most keys of a large population are seen once; the library would start with four.
                        state.runs.reserve_exact(1);
                    }
                    state.runs.push_back(Run { at: now, count: cost });
                }
            }
            state.count = wanted;
        }
        Decision {
            admitted,
            limit: self.calls,
            remaining: u32::try_from(calls.saturating_sub(state.count)).unwrap_or(self.calls),
            retry_after,
            reset: Duration::from_nanos(self.full_at(state).saturating_sub(now)),
            overflowed: false,
        }
    }

    fn full_at(&self, state: &Runs) -> u64 {
        state.runs.back().map_or(0, |run| run.at.saturating_add(self.period))
    }
}
