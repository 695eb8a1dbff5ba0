//! Plans a test: the main traffic and the probes, each with keys of its own, or one after the other where all keys count
//! together.

use std::fmt;
use std::str::FromStr;

use super::arrivals::{Arrivals, LADDER, Shape, Stretch};
use super::expect::{Expected, Scope, Terms, short};
use super::keys::{Distribution, Keys};
use super::plan::{self, Act, Bounds, Phase, Plan, Role};
use super::record::Kind;
use super::strategy::{STRATEGIES, Strategy};
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

/// The probes with their names.
pub const PROBES: [(&str, Probe); 15] = [
    ("cold-start", Probe::ColdStart),
    ("simultaneous", Probe::Simultaneous),
    ("refill", Probe::Refill),
    ("boundary", Probe::Boundary),
    ("ladder", Probe::Ladder),
    ("churn", Probe::Churn),
    ("missing-key", Probe::MissingKey),
    ("forged-address", Probe::Forged),
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
            let hint = suggest(text, names).unwrap_or_else(|| format!("`all`, `none` or some of {}", names.join(", ")));
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
    /// Whether requests can carry different keys.
    pub keyed: bool,
    /// Whether requests without a key get as far as the limits.
    pub omits_key: bool,
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
            keyed: true,
            omits_key: true,
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

struct Planner<'o> {
    order: &'o Order,
    phases: Vec<Phase>,
    acts: Vec<(u64, Act)>,
    notes: Vec<String>,
    next_key: u32,
    /// Whether keys keep phases apart.
    apart: bool,
    /// When the next phase can start where they do not.
    cursor: u64,
    stagger: u64,
    /// When all is over.
    end: u64,
    requests: u64,
    rest: u64,
}

/// Makes the plan. Probes that do not fit the bounds are left out, and the plan says so.
pub fn plan(order: &Order) -> Plan {
    let order = &order.as_they_count();
    let rest = plan::rest(&order.limits);
    let mut planner = Planner {
        order,
        phases: Vec::new(),
        acts: Vec::new(),
        notes: Vec::new(),
        next_key: 0,
        apart: order.keyed && plan::keys_are_apart(&order.limits),
        cursor: 0,
        stagger: 0,
        end: 0,
        requests: 0,
        rest,
    };
    let aim = plan::aim(&order.limits);
    if let Some(aim) = aim.filter(|_| order.probes.contains(&Probe::ColdStart)) {
        planner.cold_start(&order.limits[aim].terms);
    }
    planner.traffic();
    if let Some(terms) = aim.map(|aim| order.limits[aim].terms) {
        for probe in &order.probes {
            planner.probe(*probe, &terms, &order.limits);
        }
        if order.probes.contains(&Probe::Churn) {
            // Last, because it may fill the table of keys.
            planner.churn(&terms, &order.limits);
        }
    } else if !order.probes.is_empty() {
        planner.notes.push("no probes: they need a limit to aim at".to_owned());
    }
    let Planner { phases, acts, notes, next_key, end, .. } = planner;
    Plan {
        seed: order.seed,
        limits: order.limits.clone(),
        aim,
        phases,
        acts,
        end: end.min(order.bounds.duration),
        bounds: order.bounds,
        keys: next_key,
        others: order.others,
        notes,
    }
}

impl Planner<'_> {
    fn new_keys(&mut self, count: u32, distribution: Distribution) -> Keys {
        let first = self.next_key;
        self.next_key += count;
        Keys::new(first, count, distribution)
    }

    fn new_key(&mut self) -> Keys {
        self.new_keys(1, Distribution::Even)
    }

    fn traffic(&mut self) {
        let order = self.order;
        let keys = if order.keyed { order.keys.max(1) } else { 1 };
        let counted = if self.apart { f64::from(keys) } else { 1.0 };
        let rate = order.rate.or_else(|| Some(plan::rate(&order.limits)? * counted * order.load)).unwrap_or(100.0);
        if rate > order.bounds.rate {
            self.notes.push(format!("the rate is bounded to {} requests each second", order.bounds.rate));
        }
        let rate = rate.min(order.bounds.rate);
        let longest = if order.is_virtual { 3_600 } else { 60 } * 1_000 * MILLISECOND;
        let duration = order.duration.unwrap_or((3 * self.rest).clamp(10_000 * MILLISECOND, longest));
        if duration == 0 {
            return;
        }
        let phase = Phase {
            role: Role::Traffic,
            start: 0,
            arrivals: order.shape.arrivals(rate, duration),
            keys: self.new_keys(keys, order.distribution),
            strategy: order.strategy,
            kind: Kind::Plain,
        };
        self.place(vec![phase], duration, "traffic");
    }

    /// Puts phases that belong together into the plan. `length` is how long they take.
    fn place(&mut self, phases: Vec<Phase>, length: u64, name: &str) -> Option<u64> {
        let count: u64 = phases.iter().map(|phase| phase.arrivals.count()).sum();
        let start = if self.apart { self.stagger } else { self.cursor };
        let end = start.saturating_add(length);
        if name != "traffic" && end > self.order.bounds.duration {
            let (takes, most) = (short(length), short(self.order.bounds.duration));
            let after = if start > 1_000 * MILLISECOND { format!(", after {}", short(start)) } else { String::new() };
            self.notes.push(format!("probe {name} left out: it takes {takes}{after}, and the test at most {most}"));
            return None;
        }
        if name != "traffic" && self.requests + count > self.order.bounds.requests {
            self.notes.push(format!(
                "probe {name} left out: it takes {count} requests, and the test at most {} in all",
                self.order.bounds.requests
            ));
            return None;
        }
        self.requests += count;
        if !self.apart {
            // What this leaves behind must be gone, with a little for clocks.
            self.cursor = end + self.rest + self.rest / 20 + 50 * MILLISECOND;
        } else {
            // Not all at the very same moment: they would wait for each other.
            self.stagger += 37 * MILLISECOND;
        }
        self.end = self.end.max(end + 1);
        self.phases.extend(phases.into_iter().map(|phase| Phase { start: start + phase.start, ..phase }));
        Some(start)
    }

    fn probe(&mut self, probe: Probe, terms: &Terms, limits: &[Expected]) {
        let name = probe.to_string();
        let capacity = plan::capacity(limits).unwrap_or(1);
        let (period, rest) = (terms.period(), terms.refill().max(MILLISECOND));
        let over = capacity + capacity.clamp(1, 1_000);
        let after = |share: f64, of: u64| (of as f64 * share) as u64;
        if !terms.is_rate() && !matches!(probe, Probe::Simultaneous | Probe::Forged | Probe::MissingKey) {
            return;
        }
        match probe {
            Probe::Simultaneous => {
                let keys = self.new_key();
                self.place(vec![Phase::script(Role::Simultaneous, keys, vec![(0, over)])], MILLISECOND, &name);
            }
            Probe::Refill => {
                let keys = self.new_key();
                let moments = vec![(0, over), (after(1.02, rest) + 50 * MILLISECOND, over), (after(3.2, rest), over)];
                let length = moments[2].0.max(moments[1].0 + 1);
                self.place(vec![Phase::script(Role::Refill, keys, moments)], length, &name);
            }
            Probe::Boundary => {
                let (every, late) = (self.new_key(), self.new_key());
                let bursts = (0..=20).map(|step| (after(0.1 * f64::from(step), period), capacity)).collect();
                let late_moments = vec![(0, 1), (after(0.93, period), capacity), (after(1.04, period), capacity)];
                if self.apart {
                    let both = [
                        Phase::script(Role::Boundary, every, bursts),
                        Phase::script(Role::Boundary, late, late_moments),
                    ];
                    self.place(both.into(), 2 * period, &name);
                } else {
                    self.place(vec![Phase::script(Role::Boundary, every, bursts)], 2 * period, &name);
                    self.place(vec![Phase::script(Role::Boundary, late, late_moments)], after(1.1, period), &name);
                }
            }
            Probe::Ladder => {
                let rate = plan::rate(limits).unwrap_or_else(|| terms.rate());
                let steps = if self.order.is_virtual { 2 } else { 1 };
                let length = (steps * period).max(1_000 * MILLISECOND);
                let stretch = |times: &f64| Stretch { length, from: rate * times, to: rate * times };
                let arrivals = Arrivals::Rates { stretches: LADDER.iter().map(stretch).collect(), random: false };
                let keys = self.new_key();
                let phase = Phase { arrivals, ..Phase::script(Role::Ladder, keys, Vec::new()) };
                self.place(vec![phase], 4 * length, &name);
            }
            Probe::MissingKey => {
                if !self.order.keyed || !self.order.omits_key {
                    return;
                }
                let moments = vec![(0, over)];
                self.place(vec![Phase::script(Role::MissingKey, Keys::missing(), moments)], MILLISECOND, &name);
            }
            Probe::Forged => {
                let keys = self.new_key();
                let drain = Phase::script(Role::Forged, keys.clone(), vec![(0, capacity + 1)]);
                let moment = after(0.05, period).clamp(10 * MILLISECOND, 500 * MILLISECOND);
                let forged = Phase::script(Role::Forged, keys, vec![(moment, capacity.min(50))]);
                let forged = Phase { kind: Kind::Forged, ..forged };
                self.place(vec![drain, forged], moment + MILLISECOND, &name);
            }
            Probe::Preflight => {
                let keys = self.new_key();
                let preflights = Phase::script(Role::Preflight, keys.clone(), vec![(0, capacity)]);
                let preflights = Phase { kind: Kind::Preflight, ..preflights };
                let moment = after(0.02, period).clamp(20 * MILLISECOND, 500 * MILLISECOND);
                let plain = Phase::script(Role::Preflight, keys, vec![(moment, capacity + 1)]);
                self.place(vec![preflights, plain], moment + MILLISECOND, &name);
            }
            Probe::Reload => {
                let keys = self.new_key();
                let at = after(0.1, period).clamp(50 * MILLISECOND, 2_000 * MILLISECOND);
                let again = after(0.3, period).clamp(at + 300 * MILLISECOND, at + 5_000 * MILLISECOND);
                let phase = Phase::script(Role::Reload, keys, vec![(0, capacity + 1), (again, capacity)]);
                if let Some(start) = self.place(vec![phase], again + 1, &name) {
                    self.acts.push((start + at, Act::Reload));
                }
            }
            Probe::RetryAfter | Probe::Reset => self.cohort(probe, capacity, terms),
            Probe::Fairness => self.fairness(limits, period, &name),
            Probe::Strategies => self.strategies(capacity, period, &name),
            Probe::StoreOutage => self.outage(limits, period, &name),
            Probe::Churn | Probe::ColdStart => {}
        }
    }

    /// Before everything else, which begins when it is over.
    fn cold_start(&mut self, terms: &Terms) {
        let capacity = plan::capacity(&self.order.limits).unwrap_or(1);
        let keys = self.new_key();
        let over = capacity + capacity.clamp(1, 1_000);
        let script = Phase::script(Role::ColdStart, keys, vec![(0, over)]);
        if self.place(vec![script], MILLISECOND, "cold-start").is_some() && terms.is_rate() {
            self.stagger = self.stagger.max(250 * MILLISECOND);
        }
    }

    /// Twice the limit on one key: for a time with the store, as long without it, and as long again with it.
    fn outage(&mut self, limits: &[Expected], period: u64, name: &str) {
        let Some(rate) = plan::rate(limits).filter(|_| self.apart) else {
            self.notes.push("probe store-outage left out: all requests count together".to_owned());
            return;
        };
        let each = period.clamp(1_000 * MILLISECOND, 10_000 * MILLISECOND);
        let keys = self.new_key();
        let phase = Phase {
            arrivals: Shape::Constant.arrivals(2.0 * rate.max(2.0), 3 * each),
            ..Phase::script(Role::Outage, keys, Vec::new())
        };
        if let Some(start) = self.place(vec![phase], 3 * each, name) {
            self.acts.push((start + each, Act::StoreDown));
            self.acts.push((start + 2 * each, Act::StoreUp));
        }
    }

    /// Clients that drain their keys, each one by itself, at a pace at which the true wait is not the whole window.
    fn cohort(&mut self, probe: Probe, capacity: u64, terms: &Terms) {
        let budget = if self.order.is_virtual { 100_000 } else { 10_000 };
        let clients = if self.apart { (budget / (capacity + 2)).clamp(1, 50) } else { 1 };
        let at_most = u32::try_from(capacity.saturating_mul(10) + 50).unwrap_or(u32::MAX);
        // A bucket fills while it is drained; the wait does not depend on the pace.
        let gap = match terms {
            Terms::TokenBucket { .. } => MILLISECOND,
            _ => (terms.refill() as f64 * 0.37 / capacity as f64) as u64,
        };
        let (role, strategy) = match probe {
            Probe::Reset => (Role::Reset, Strategy::DrainThenReset { gap, at_most }),
            _ => (Role::RetryAfter, Strategy::DrainThenWait { gap, at_most }),
        };
        let keys = self.new_keys(u32::try_from(clients).unwrap_or(1), Distribution::Even);
        // Odd moments, so that no wait is a whole number of seconds.
        let moments = (0..clients).map(|client| (client * 7_777_777, 1)).collect();
        let phase = Phase { strategy, ..Phase::script(role, keys, moments) };
        let length = clients * 7_777_777 + 2 * terms.refill().max(terms.period()) + 3_000 * MILLISECOND;
        if self.place(vec![phase], length, &probe.to_string()).is_some() {
            self.requests += clients * (capacity + 1);
        }
    }

    fn fairness(&mut self, limits: &[Expected], period: u64, name: &str) {
        let Some(rate) = plan::rate(limits).filter(|_| self.apart) else {
            self.notes.push("probe fairness left out: all requests count together".to_owned());
            return;
        };
        const VICTIMS: u32 = 5;
        let length = (2 * period).clamp(2_000 * MILLISECOND, 20_000 * MILLISECOND.max(2 * period / 3));
        let flat = |rate: f64| Shape::Constant.arrivals(rate, length);
        let victims = self.new_keys(VICTIMS, Distribution::Even);
        let neighbour = self.new_key();
        let phases = vec![
            Phase {
                arrivals: flat(0.5 * rate * f64::from(VICTIMS)),
                ..Phase::script(Role::Victims, victims, Vec::new())
            },
            Phase { arrivals: flat(10.0 * rate), ..Phase::script(Role::Neighbour, neighbour, Vec::new()) },
        ];
        self.place(phases, length, name);
    }

    fn strategies(&mut self, capacity: u64, period: u64, name: &str) {
        let chosen: Vec<Strategy> = if self.order.strategies.is_empty() {
            STRATEGIES.map(|(_, strategy)| strategy).into_iter().filter(|strategy| strategy.repeats()).collect()
        } else {
            self.order.strategies.clone()
        };
        // Twice the limit within a fifth of a period: half of the calls must come again.
        let jobs = (2 * capacity).min(1_000);
        let moments: Vec<(u64, u64)> = (0..jobs).map(|job| (period / 5 * job / jobs, 1)).collect();
        let length = (3 * period).max(30_000 * MILLISECOND);
        let phase = |keys, strategy| Phase { strategy, ..Phase::script(Role::Strategy, keys, moments.clone()) };
        if self.apart {
            let mut phases = Vec::new();
            for strategy in chosen {
                phases.push(phase(self.new_key(), strategy));
            }
            self.place(phases, length, name);
        } else {
            for strategy in chosen {
                let keys = self.new_key();
                self.place(vec![phase(keys, strategy)], length, &format!("{name} ({strategy})"));
            }
        }
    }

    fn churn(&mut self, terms: &Terms, limits: &[Expected]) {
        if !self.order.keyed || !terms.is_rate() {
            self.notes.push("probe churn left out: requests cannot carry many keys".to_owned());
            return;
        }
        let capacity = plan::capacity(limits).unwrap_or(1);
        let budget = if self.order.is_virtual { 200_000 } else { 20_000 };
        let held = limits.iter().filter_map(|limit| limit.max_keys).min();
        let others = held.map_or(budget, |held| (held + held / 10 + 1).min(budget));
        // At a rate that the bounds allow and the period has room for.
        let period = terms.period();
        // Live, no more than a small gateway serves beside everything else.
        let most =
            if self.order.is_virtual { self.order.bounds.rate * 0.5 } else { self.order.bounds.rate.min(2_000.0) };
        let room = (most * (period as f64 * 0.4) / 1e9) as u64;
        let others = u32::try_from(others.min(room.max(1))).unwrap_or(u32::MAX);
        if u64::from(others) < budget && held.is_none_or(|held| u64::from(others) <= held) {
            let note = format!("probe churn saw {others} other keys: more do not fit into the limit's period");
            self.notes.push(note);
        }
        let keys = self.new_key();
        let (from, length) = (period / 20, (period as f64 * 0.4) as u64);
        let again = period / 2;
        let busy = Phase::script(Role::Churn, keys, vec![(0, capacity + 1), (again, capacity)]);
        let rate = f64::from(others) * 1e9 / length as f64;
        let crowd = self.new_keys(others, Distribution::Even);
        let crowd = Phase {
            start: from,
            arrivals: Shape::Constant.arrivals(rate, length),
            ..Phase::script(Role::ChurnOthers, crowd, Vec::new())
        };
        // After everything else: it may fill the table of keys.
        self.stagger = self.end + 1;
        self.cursor = self.cursor.max(self.end + 1);
        self.place(vec![busy, crowd], again + 1, "churn");
    }
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
