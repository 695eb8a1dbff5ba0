//! Plans a test: the main traffic and the probes, each with keys of its own, or one after the other where all keys count
//! together.

mod planner;

use std::fmt;
use std::str::FromStr;

use self::planner::Planner;
use super::arrivals::Shape;
use super::expect::{Expected, Scope};
use super::keys::Distribution;
use super::plan::{self, Bounds, Plan, Used};
use super::strategy::Strategy;
use crate::config::diagnostic::suggest;

const MILLISECOND: u64 = 1_000_000;

/// A question that a test asks of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Probe {
    /// More than the limit at one instant; the first requests after the start.
    Simultaneous,
    /// How much is back after the limit's own time of rest, and whether longer rest gives more.
    Refill,
    /// Bursts around the end of any window.
    Boundary,
    /// The overload ladder.
    Ladder,
    /// Whether a busy key is forgotten when many others come.
    Churn,
    /// Requests without a key.
    MissingKey,
    /// Whether forging the client's address frees a caller.
    Forged,
    /// Whether a caller has an allowance for each address of its IPv6 network.
    Ipv6,
    /// Whether preflights count.
    Preflight,
    /// Whether a reload refills.
    Reload,
    /// The first burst that a target ever sees, before anything is warm.
    ColdStart,
    /// What happens while the store that gateways share is cut off.
    StoreOutage,
    /// Whether waiting as long as `Retry-After` says is enough.
    RetryAfter,
    /// Whether `RateLimit` tells the truth.
    Reset,
    /// Whether a noisy caller disturbs others.
    Fairness,
    /// Client strategies side by side.
    Strategies,
}

impl Probe {
    /// Whether it spoils what others ask: a store that was away has forgotten all counts, and a crowd fills the table of keys.
    fn comes_last(self) -> bool {
        matches!(self, Self::StoreOutage | Self::Churn)
    }
}

/// The probes with their names.
pub const PROBES: [(&str, Probe); 16] = [
    ("cold-start", Probe::ColdStart),
    ("simultaneous", Probe::Simultaneous),
    ("refill", Probe::Refill),
    ("boundary", Probe::Boundary),
    ("ladder", Probe::Ladder),
    ("churn", Probe::Churn),
    ("missing-key", Probe::MissingKey),
    ("forged-address", Probe::Forged),
    ("ipv6-network", Probe::Ipv6),
    ("preflight", Probe::Preflight),
    ("reload", Probe::Reload),
    ("store-outage", Probe::StoreOutage),
    ("retry-after", Probe::RetryAfter),
    ("rate-limit-fields", Probe::Reset),
    ("fairness", Probe::Fairness),
    ("strategies", Probe::Strategies),
];

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PROBES.iter().find(|(_, probe)| probe == self).map_or("", |(name, _)| name))
    }
}

impl FromStr for Probe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = PROBES.map(|(name, _)| name);
        PROBES.iter().find(|(name, _)| *name == text).map(|(_, probe)| *probe).ok_or_else(|| {
            let hint = suggest(text, names)
                .unwrap_or_else(|| format!("expected `all`, `none` or some of {}", names.join(", ")));
            format!("`{text}` is no probe; {hint}")
        })
    }
}

/// What a test is made from.
#[derive(Clone, Debug)]
pub struct Order {
    /// What chance is drawn from.
    pub seed: u64,
    /// What is expected of the limits.
    pub limits: Vec<Expected>,
    /// Whether there are limits on the way that are not in `limits`.
    pub others: bool,
    /// Requests each second of the main traffic; none makes it a multiple of what the limits allow.
    pub rate: Option<f64>,
    /// That multiple.
    pub load: f64,
    /// How the main traffic comes.
    pub shape: Shape,
    /// How long; none makes it a few periods.
    pub duration: Option<u64>,
    /// How many keys it has.
    pub keys: u32,
    /// How it is spread over them.
    pub distribution: Distribution,
    /// What its clients do.
    pub strategy: Strategy,
    /// What is probed.
    pub probes: Vec<Probe>,
    /// The strategies that are compared.
    pub strategies: Vec<Strategy>,
    /// How many clients wait as they are told; none makes it as many as the limit has room for, up to 50.
    pub cohort: Option<u32>,
    /// Whether requests can carry different keys.
    pub keyed: bool,
    /// Whether requests without a key get as far as the limits.
    pub omits_key: bool,
    /// What may have been counted before.
    pub used: Used,
    /// Whether time is virtual.
    pub is_virtual: bool,
    /// The bounds.
    pub bounds: Bounds,
}

impl Default for Order {
    fn default() -> Self {
        Self {
            seed: 1,
            limits: Vec::new(),
            others: false,
            rate: None,
            load: 2.0,
            shape: Shape::Constant,
            duration: None,
            keys: 10,
            distribution: Distribution::Even,
            strategy: Strategy::Once,
            probes: Vec::new(),
            strategies: Vec::new(),
            cohort: None,
            keyed: true,
            omits_key: true,
            used: Used::default(),
            is_virtual: false,
            bounds: Bounds {
                requests: 2_000_000,
                rate: 100_000.0,
                connections: 128,
                duration: 24 * 3_600 * 1_000 * MILLISECOND,
            },
        }
    }
}

impl Order {
    /// Requests without keys of their own are one caller's, so that each limit counts them together.
    fn as_they_count(&self) -> Self {
        let mut order = self.clone();
        if !order.keyed {
            order.limits.iter_mut().for_each(|limit| limit.scope = Scope::Shared);
        }
        order
    }
}

/// Makes the plan. Probes that do not fit the bounds are left out, and the plan says so.
pub fn plan(order: &Order) -> Plan {
    let order = &order.as_they_count();
    let mut planner = Planner::new(order);
    let aim = plan::aim(&order.limits);
    let terms = aim.map(|aim| order.limits[aim].terms);
    if let Some(terms) = terms.filter(|_| order.probes.contains(&Probe::ColdStart)) {
        planner.cold_start(&terms);
    }
    planner.traffic();
    match terms {
        Some(terms) => {
            let (last, others): (Vec<Probe>, Vec<Probe>) = order.probes.iter().partition(|probe| probe.comes_last());
            others.iter().chain(&last).for_each(|probe| planner.probe(*probe, &terms));
        }
        None if order.probes.is_empty() => {}
        None => planner.note("no probes: they need a limit to aim at"),
    }
    planner.finish(aim)
}

/// The probes that make sense when nothing was chosen: `controlled` is whether the test runs the gateway itself, `preflights`
/// whether something answers preflights, `stores` whether the store can be cut off.
pub fn default_probes(controlled: bool, preflights: bool, stores: bool) -> Vec<Probe> {
    let fits = |probe: &Probe| match probe {
        Probe::Reload => controlled,
        Probe::Preflight => preflights,
        Probe::StoreOutage => stores,
        _ => true,
    };
    PROBES.iter().map(|(_, probe)| *probe).filter(fits).collect()
}
