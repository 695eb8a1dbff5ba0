//! Units of a shared limit that one gateway took in advance, so that most decisions need no round trip.
//!
//! A unit is counted in the store when it is leased, and used within `time` of that. So in any window the gateways together admit
//! at most the leases that were open when it began more than the limit: `replicas × units`. What is not used within `time` is
//! lost: as many may be refused that the limit would have admitted.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::super::Decision;
use crate::clock::Nanos;

/// How much is leased at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lease {
    /// Which part of `calls`: above 0, at most 1. At least one unit is leased, which is as good as none.
    pub share: f64,
    /// How long a lease lasts.
    pub time: Duration,
}

/// The leases of one limit.
#[derive(Debug)]
pub(super) struct Leases {
    lease: Lease,
    /// The most keys that have a lease; others are asked for one by one.
    max_keys: usize,
    held: Mutex<HashMap<Box<str>, Held, foldhash::fast::RandomState>>,
}

#[derive(Debug)]
struct Held {
    units: u32,
    ends: Nanos,
    taken: Nanos,
    decision: Decision,
}

impl Leases {
    pub(super) fn new(lease: Lease, max_keys: usize) -> Self {
        Self { lease, max_keys, held: Mutex::default() }
    }

    /// How many units are leased of a limit of `calls`.
    pub(super) fn units(&self, calls: u32) -> u32 {
        ((f64::from(calls) * self.lease.share) as u32).max(1)
    }

    /// Uses leased units.
    pub(super) fn spend(&self, key: &str, cost: u32, now: Nanos) -> Option<Decision> {
        let mut all = self.held.lock();
        let held = all.get_mut(key)?;
        if held.ends <= now {
            all.remove(key);
            return None;
        }
        held.units = held.units.checked_sub(cost)?;
        let passed = now.since(held.taken);
        Some(Decision {
            remaining: held.decision.remaining.saturating_add(held.units),
            more: held.decision.more.saturating_sub(passed),
            reset: held.decision.reset.saturating_sub(passed),
            ..held.decision
        })
    }

    /// Keeps what was leased and not yet used.
    pub(super) fn keep(&self, key: &str, units: u32, decision: Decision, now: Nanos) {
        if units == 0 {
            return;
        }
        let mut all = self.held.lock();
        if all.len() >= self.max_keys {
            all.retain(|_, held| held.ends > now && held.units > 0);
            if all.len() >= self.max_keys {
                return;
            }
        }
        let ends = now + self.lease.time;
        match all.get_mut(key) {
            // Somebody else leased at the same time.
            Some(held) if held.ends > now => {
                *held =
                    Held { units: held.units.saturating_add(units), ends: held.ends.min(ends), taken: now, decision }
            }
            _ => drop(all.insert(key.into(), Held { units, ends, taken: now, decision })),
        }
    }
}
