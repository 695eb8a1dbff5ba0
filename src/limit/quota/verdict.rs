//! What is asked of a quota, and what it answers.

use std::time::Duration;

use super::Millis;
use super::schedule::NEVER;

/// What a key may use in a period; none is without a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allowance {
    /// Calls.
    pub calls: Option<u64>,
    /// Bytes or tokens.
    pub units: Option<u64>,
}

/// Where something was counted, so that it can be taken back or corrected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The end of its period.
    pub(super) until: Millis,
    pub(super) in_store: bool,
}

impl Ticket {
    /// Of something that was counted in memory.
    pub(super) const fn here(until: Millis) -> Self {
        Self { until, in_store: false }
    }

    /// Of something that was counted in a shared store.
    pub(super) const fn shared(until: Millis) -> Self {
        Self { until, in_store: true }
    }

    /// Of something that was admitted without being counted, and stays uncounted.
    pub(super) const fn uncounted() -> Self {
        Self::here(Millis::MIN)
    }

    /// How long it counts at `now`; none when it counts for ever, or was not counted.
    pub fn counts_for(self, now: Millis) -> Option<Duration> {
        let counts = self.until != NEVER && self.until != Millis::MIN;
        counts.then(|| Duration::from_millis(u64::try_from(self.until.saturating_sub(now)).unwrap_or(0)))
    }

    /// The end of its period, where it was counted in a shared store.
    pub(super) fn in_store(self) -> Option<Millis> {
        self.in_store.then_some(self.until)
    }
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exceeded {
    /// The calls are used up.
    Calls,
    /// The units are used up.
    Units,
    /// The key is new, and no more keys can be held.
    Keys,
}

/// What a ledger says about one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Where it was counted, or why it was not.
    pub outcome: Result<Ticket, Exceeded>,
    /// How its calls stand after this decision, where they are limited.
    pub calls: Option<Left>,
    /// How its units stand after this decision, where they are limited.
    pub units: Option<Left>,
    /// How long until the same request is admitted; none when it never is. Zero when it was.
    pub wait: Option<Duration>,
    /// Whether the key could not be counted because the table is full.
    pub overflowed: bool,
}

/// What is left of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The limit that decided: a part of the quota while a shared store does not answer.
    pub limit: u64,
    /// How much of it is left.
    pub left: u64,
    /// How long until more is left, if nothing more is used; zero when nothing is used, none when nothing comes back.
    pub more: Option<Duration>,
}

impl Verdict {
    /// Calls left after this decision.
    pub fn calls_left(&self) -> Option<u64> {
        self.calls.map(|calls| calls.left)
    }

    /// Units left after this decision.
    pub fn units_left(&self) -> Option<u64> {
        self.units.map(|units| units.left)
    }
}
