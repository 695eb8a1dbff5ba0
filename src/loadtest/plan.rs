//! What a test does: its limits, its phases, and the bounds that it keeps.

use serde::Serialize;

use super::arrivals::Arrivals;
use super::expect::{Expected, Scope};
use super::keys::Keys;
use super::record::Kind;
use super::strategy::Strategy;

/// What a phase is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The traffic that was asked for.
    Traffic,
    /// More than the limit at one instant.
    Simultaneous,
    /// Bursts at rest: as soon as the limit is rested, and long after.
    Refill,
    /// Bursts close to each other around the end of any window.
    Boundary,
    /// 1×, 1.5×, 2× and 4× the limit on one key.
    Ladder,
    /// A drained key that is asked again after many others were seen.
    Churn,
    /// The many others.
    ChurnOthers,
    /// Requests without a key.
    MissingKey,
    /// A drained key with forging of the client's address.
    Forged,
    /// A caller that comes from many addresses of one IPv6 network.
    Ipv6,
    /// Preflights, then as many requests as the limit allows.
    Preflight,
    /// A drained key over a reload.
    Reload,
    /// The first requests that the target ever sees.
    ColdStart,
    /// Overload while the shared store is cut off, and after.
    Outage,
    /// Clients that wait exactly as long as `Retry-After` says.
    RetryAfter,
    /// Clients that wait exactly as long as `RateLimit` says.
    Reset,
    /// Well-behaved clients beside a noisy one.
    Victims,
    /// The noisy one.
    Neighbour,
    /// Clients of one strategy.
    Strategy,
}

/// Something that happens around the target while requests come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Act {
    /// The configuration is loaded anew, unchanged.
    Reload,
    /// The store that gateways share is cut off.
    StoreDown,
    /// The store can be reached again.
    StoreUp,
}

/// Traffic with one purpose.
#[derive(Clone, Debug)]
pub struct Phase {
    /// What it is for.
    pub role: Role,
    /// When it starts.
    pub start: u64,
    /// When its requests are meant to be sent, from its start.
    pub arrivals: Arrivals,
    /// The keys that it asks with.
    pub keys: Keys,
    /// What its clients do when they are refused.
    pub strategy: Strategy,
    /// The kind of its requests.
    pub kind: Kind,
}

impl Phase {
    /// Clients that ask once, at these moments.
    pub fn script(role: Role, keys: Keys, moments: Vec<(u64, u64)>) -> Self {
        let count = |count| u32::try_from(count).unwrap_or(u32::MAX);
        let moments = moments.into_iter().map(|(at, many)| (at, count(many))).collect();
        Self { role, start: 0, arrivals: Arrivals::Moments(moments), keys, strategy: Strategy::Once, kind: Kind::Plain }
    }
}

/// Bounds that every test keeps.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Requests in all.
    pub requests: u64,
    /// Requests each second that are meant to be sent.
    pub rate: f64,
    /// Connections at one time.
    pub connections: usize,
    /// The time in all.
    pub duration: u64,
}

/// What may have been counted before the test began, by somebody else or by the test before. A limit that refuses because of that is
/// right, so that nobody is accused of what this can explain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Used {
    /// Of the keys of the test.
    pub keys: bool,
    /// Of requests without a key.
    pub missing: bool,
}

/// A test.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What chance is drawn from.
    pub seed: u64,
    /// What is expected of the limits.
    pub limits: Vec<Expected>,
    /// The limit that probes aim at, by its place in `limits`.
    pub aim: Option<usize>,
    /// What is done.
    pub phases: Vec<Phase>,
    /// What happens around the target, and when.
    pub acts: Vec<(u64, Act)>,
    /// When the last request may be sent.
    pub end: u64,
    /// The bounds.
    pub bounds: Bounds,
    /// How many keys there are.
    pub keys: u32,
    /// Whether there are limits on the way that are not in `limits`: then a refusal is never known to be wrong.
    pub others: bool,
    /// What may have been counted before.
    pub used: Used,
    /// What is left out, and why.
    pub notes: Vec<String>,
}

impl Plan {
    /// The statuses with which limits refuse.
    pub fn refusals(&self) -> Vec<u16> {
        let mut statuses: Vec<u16> = self.limits.iter().map(|limit| limit.status).collect();
        statuses.push(429);
        statuses.sort_unstable();
        statuses.dedup();
        statuses
    }

    /// The limit that probes aim at.
    pub fn aimed(&self) -> Option<&Expected> {
        self.limits.get(self.aim?)
    }

    /// Until when what was counted before the test may be why a request is refused.
    pub fn clouded_until(&self) -> u64 {
        if self.used.keys { rest(&self.limits) } else { 0 }
    }

    /// How long something that happens around the target may take: until its probe asks what came of it.
    pub fn room_after(&self, act: Act) -> Option<u64> {
        let at = |act: Act| self.acts.iter().find(|(_, one)| *one == act).map(|(at, _)| *at);
        let asks = match act {
            Act::Reload => {
                let phase = self.phases.iter().find(|phase| phase.role == Role::Reload)?;
                phase.start + phase.arrivals.length()
            }
            Act::StoreDown => at(Act::StoreUp)?,
            Act::StoreUp => return None,
        };
        asks.checked_sub(at(act)?)
    }

    /// How many requests its phases have, without those that are sent again.
    pub fn count(&self) -> u64 {
        self.phases.iter().map(|phase| phase.arrivals.count()).sum()
    }
}

/// The limit that is tested first: the one that a caller meets soonest.
pub fn aim(limits: &[Expected]) -> Option<usize> {
    let key = |limit: &Expected| (limit.scope == Scope::Shared, !limit.terms.is_rate(), limit.terms.refill());
    (0..limits.len()).min_by_key(|index| key(&limits[*index]))
}

/// What one key can have admitted for ever, in requests each second, under all of the limits.
pub fn rate(limits: &[Expected]) -> Option<f64> {
    let rates = limits.iter().filter(|limit| limit.terms.is_rate()).map(|limit| limit.terms.rate());
    rates.min_by(f64::total_cmp)
}

/// How many requests the limits admit at most at once from rest.
pub fn capacity(limits: &[Expected]) -> Option<u64> {
    limits.iter().map(|limit| limit.terms.capacity()).min()
}

/// How many requests the limits admit at most from rest, one after the other.
pub fn allowance(limits: &[Expected]) -> Option<u64> {
    let rates = limits.iter().filter(|limit| limit.terms.is_rate());
    rates.map(|limit| limit.terms.capacity()).min()
}

/// How long a key takes to be rested under all of the limits.
pub fn rest(limits: &[Expected]) -> u64 {
    limits.iter().map(|limit| limit.terms.refill()).max().unwrap_or(0)
}

/// Whether keys keep phases apart: no limit counts the requests of all keys together.
pub fn keys_are_apart(limits: &[Expected]) -> bool {
    limits.iter().all(|limit| limit.scope == Scope::PerKey)
}
