//! Units of a shared limit that one gateway took in advance, so that most decisions need no round trip.
//!
//! A unit is counted in the store when it is leased, and used within `time` of that. So in any window the gateways together admit
//! at most the leases that were open when it began more than the limit: `replicas × units`, because a gateway takes one lease of
//! a key at a time. What is not used within `time` is lost: as many may be refused that the limit would have admitted.

use std::time::Duration;

use hashbrown::{HashMap, HashSet};
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
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    held: HashMap<Box<str>, Held, foldhash::fast::RandomState>,
    /// Those that a lease is being taken for.
    taking: HashSet<Box<str>, foldhash::fast::RandomState>,
}

#[derive(Debug)]
struct Held {
    units: u32,
    ends: Nanos,
    taken: Nanos,
    decision: Decision,
}

/// How a request goes on.
pub(super) enum Spent<'a> {
    /// It used leased units.
    Units(Decision),
    /// It takes a lease.
    Nothing(Taking<'a>),
    /// It asks for itself: somebody is taking a lease, or there are as many as may be.
    Alone,
}

/// The right to take a lease of a key, given up when it is dropped.
pub(super) struct Taking<'a> {
    leases: &'a Leases,
    key: &'a str,
}

impl Leases {
    pub(super) fn new(lease: Lease, max_keys: usize) -> Self {
        Self { lease, max_keys, keys: Mutex::default() }
    }

    /// How many units are leased of a limit of `calls`.
    pub(super) fn units(&self, calls: u32) -> u32 {
        ((f64::from(calls) * self.lease.share) as u32).max(1)
    }

    /// Uses leased units, where there are enough.
    pub(super) fn spend<'a>(&'a self, key: &'a str, cost: u32, now: Nanos) -> Spent<'a> {
        let keys = &mut *self.keys.lock();
        if let Some(held) = keys.held.get_mut(key) {
            if held.ends <= now {
                keys.held.remove(key);
            } else if let Some(left) = held.units.checked_sub(cost) {
                held.units = left;
                return Spent::Units(held.decision(now));
            }
        } else if keys.held.len() + keys.taking.len() >= self.max_keys {
            keys.held.retain(|_, held| held.ends > now && held.units > 0);
            if keys.held.len() + keys.taking.len() >= self.max_keys {
                return Spent::Alone;
            }
        }
        if keys.taking.insert(key.into()) { Spent::Nothing(Taking { leases: self, key }) } else { Spent::Alone }
    }
}

impl Taking<'_> {
    /// Keeps what was leased and not yet used.
    pub(super) fn keep(self, units: u32, decision: Decision, now: Nanos) {
        if units == 0 {
            return;
        }
        let ends = now + self.leases.lease.time;
        let mut keys = self.leases.keys.lock();
        match keys.held.get_mut(self.key) {
            // What was too little for this request, too.
            Some(held) if held.ends > now => {
                let units = held.units.saturating_add(units);
                *held = Held { units, ends: held.ends.min(ends), taken: now, decision };
            }
            _ => drop(keys.held.insert(self.key.into(), Held { units, ends, taken: now, decision })),
        }
    }
}

impl Drop for Taking<'_> {
    fn drop(&mut self) {
        self.leases.keys.lock().taking.remove(self.key);
    }
}

impl Held {
    /// The decision on a request that used some of it.
    fn decision(&self, now: Nanos) -> Decision {
        let passed = now.since(self.taken);
        Decision {
            remaining: self.decision.remaining.saturating_add(self.units),
            more: self.decision.more.saturating_sub(passed),
            reset: self.decision.reset.saturating_sub(passed),
            ..self.decision
        }
    }
}
