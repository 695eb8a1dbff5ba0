//! Puts phases into a plan: where keys keep them apart side by side, else one after the other.

use super::{Order, Probe};
use crate::loadtest::arrivals::{Arrivals, LADDER, Shape, Stretch};
use crate::loadtest::expect::{Expected, Terms, short};
use crate::loadtest::keys::{Distribution, Keys};
use crate::loadtest::plan::{self, Act, Phase, Plan, Role};
use crate::loadtest::record::Kind;
use crate::loadtest::report::thousands;
use crate::loadtest::strategy::{STRATEGIES, Strategy};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000 * MILLISECOND;

/// The most calls of one strategy, live and in virtual time.
const MOST_CALLS: u64 = 2_000;
const MOST_VIRTUAL_CALLS: u64 = 50_000;

/// How many clients wait as they are told when nobody says how many.
const COHORT: u64 = 50;

/// A plan in the making.
pub(super) struct Planner<'o> {
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

impl<'o> Planner<'o> {
    pub(super) fn new(order: &'o Order) -> Self {
        Self {
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
            rest: plan::rest(&order.limits),
        }
    }

    pub(super) fn finish(self, aim: Option<usize>) -> Plan {
        let Self { order, phases, acts, notes, next_key, end, .. } = self;
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
            used: order.used,
            notes,
        }
    }

    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    fn limits(&self) -> &'o [Expected] {
        &self.order.limits
    }

    /// How many requests all of the limits admit at once from rest.
    fn capacity(&self) -> u64 {
        plan::capacity(self.limits()).unwrap_or(1)
    }

    /// How many they admit from rest one after the other.
    fn allowance(&self) -> u64 {
        plan::allowance(self.limits()).unwrap_or(1)
    }

    fn new_keys(&mut self, count: u32, distribution: Distribution) -> Keys {
        let first = self.next_key;
        self.next_key += count;
        Keys::new(first, count, distribution)
    }

    fn new_key(&mut self) -> Keys {
        self.new_keys(1, Distribution::Even)
    }

    pub(super) fn traffic(&mut self) {
        let order = self.order;
        let keys = if order.keyed { order.keys.max(1) } else { 1 };
        let counted = if self.apart { f64::from(keys) } else { 1.0 };
        let longest = if order.is_virtual { 3_600 } else { 60 } * SECOND;
        let duration = order.duration.unwrap_or((3 * self.rest).clamp(10 * SECOND, longest));
        if duration == 0 {
            return;
        }
        let phase = Phase {
            role: Role::Traffic,
            start: 0,
            arrivals: order.shape.arrivals(self.traffic_rate(counted, duration), duration),
            keys: self.new_keys(keys, order.distribution),
            strategy: order.strategy,
            kind: Kind::Plain,
        };
        self.place(vec![phase], duration, "traffic");
    }

    /// The rate of the main traffic, within the bounds: what was asked for, else a multiple of what the limits give to all who
    /// are `counted` by themselves.
    fn traffic_rate(&mut self, counted: f64, duration: u64) -> f64 {
        let Order { bounds, load, .. } = *self.order;
        let rate = match (self.order.rate, plan::rate(self.limits())) {
            (Some(rate), _) => rate,
            (None, None) => 100.0,
            (None, Some(limit)) => {
                let wanted = limit * counted * load;
                let fits = bounds.requests as f64 * SECOND as f64 / duration as f64;
                if wanted <= fits {
                    wanted
                } else {
                    // The whole time with fewer requests says more than its beginning with all of them.
                    let more = match self.order.distribution {
                        Distribution::Zipf { .. } => "",
                        _ => ". With --distribution zipf the busiest keys still ask for more than that",
                    };
                    self.note(format!(
                        "the rate is {fits:.1} and not {wanted:.1} requests each second, so that {} hold no more than {} requests: \
                         {:.3} times what the limits admit{more}",
                        short(duration),
                        thousands(bounds.requests),
                        fits / (limit * counted)
                    ));
                    fits
                }
            }
        };
        if rate > bounds.rate {
            self.note(format!("the rate is bounded to {} requests each second", bounds.rate));
        }
        rate.min(bounds.rate)
    }

    /// Puts phases that belong together into the plan. `length` is how long they take.
    fn place(&mut self, phases: Vec<Phase>, length: u64, name: &str) -> Option<u64> {
        let count = phases.iter().map(|phase| phase.arrivals.count()).sum();
        self.place_requests(phases, length, count, name)
    }

    /// The same for clients that ask more than once: `count` requests in all.
    fn place_requests(&mut self, phases: Vec<Phase>, length: u64, count: u64, name: &str) -> Option<u64> {
        let start = if self.apart { self.stagger } else { self.cursor };
        let end = start.saturating_add(length);
        if name != "traffic" && end > self.order.bounds.duration {
            let (takes, most) = (short(length), short(self.order.bounds.duration));
            let after = if start > SECOND { format!(", after {}", short(start)) } else { String::new() };
            self.note(format!("probe {name} left out: it takes {takes}{after}, and the test at most {most}"));
            return None;
        }
        if name != "traffic" && self.requests + count > self.order.bounds.requests {
            let (takes, most) = (thousands(count), thousands(self.order.bounds.requests));
            self.note(format!("probe {name} left out: it takes {takes} requests, and the test at most {most} in all"));
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

    pub(super) fn probe(&mut self, probe: Probe, terms: &Terms) {
        let name = probe.to_string();
        let capacity = self.capacity();
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
                let rate = plan::rate(self.limits()).unwrap_or_else(|| terms.rate());
                // Virtual time is free, so that each step has the longest window twice.
                let rates = self.limits().iter().filter(|limit| limit.terms.is_rate());
                let longest = rates.map(|limit| limit.terms.period()).max().unwrap_or(period);
                let length = if self.order.is_virtual { 2 * longest } else { period }.max(SECOND);
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
            Probe::Ipv6 => {
                let keys = self.new_key();
                let moment = after(0.05, period).clamp(10 * MILLISECOND, 500 * MILLISECOND);
                let moments = vec![(0, capacity + 1), (moment, capacity.min(50))];
                let phase = Phase { kind: Kind::Network, ..Phase::script(Role::Ipv6, keys, moments) };
                self.place(vec![phase], moment + MILLISECOND, &name);
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
                let at = after(0.1, period).clamp(50 * MILLISECOND, 2 * SECOND);
                let again = after(0.3, period).clamp(at + 300 * MILLISECOND, at + 5 * SECOND);
                let phase = Phase::script(Role::Reload, keys, vec![(0, capacity + 1), (again, capacity)]);
                if let Some(start) = self.place(vec![phase], again + 1, &name) {
                    self.acts.push((start + at, Act::Reload));
                }
            }
            Probe::RetryAfter | Probe::Reset => self.cohort(probe, self.allowance(), terms),
            Probe::Fairness => self.fairness(period, &name),
            Probe::Strategies => self.strategies(self.allowance(), period, &name),
            Probe::StoreOutage => self.outage(period, &name),
            Probe::Churn => self.churn(terms),
            Probe::ColdStart => {}
        }
    }

    /// Before everything else, which begins when it is over.
    pub(super) fn cold_start(&mut self, terms: &Terms) {
        let capacity = self.capacity();
        let keys = self.new_key();
        let over = capacity + capacity.clamp(1, 1_000);
        let script = Phase::script(Role::ColdStart, keys, vec![(0, over)]);
        if self.place(vec![script], MILLISECOND, "cold-start").is_some() && terms.is_rate() {
            self.stagger = self.stagger.max(250 * MILLISECOND);
        }
    }

    /// From here on nothing of what came before is under way any more.
    fn when_all_is_over(&mut self) {
        self.stagger = self.end + 1;
        self.cursor = self.cursor.max(self.end + 1);
    }

    /// Twice the limit on one key: for a time with the store, as long without it, and as long again with it.
    fn outage(&mut self, period: u64, name: &str) {
        let Some(rate) = plan::rate(self.limits()).filter(|_| self.apart) else {
            self.note("probe store-outage left out: all requests count together");
            return;
        };
        self.when_all_is_over();
        let each = period.clamp(SECOND, 10 * SECOND);
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
        let clients = match self.order.cohort {
            _ if !self.apart => 1,
            Some(clients) => clients.into(),
            None => (budget / (capacity + 2)).clamp(1, COHORT),
        };
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
        let length = clients * 7_777_777 + 2 * terms.refill().max(terms.period()) + 3 * SECOND;
        self.place_requests(vec![phase], length, clients * (capacity + 2), &probe.to_string());
    }

    fn fairness(&mut self, period: u64, name: &str) {
        let Some(rate) = plan::rate(self.limits()).filter(|_| self.apart) else {
            self.note("probe fairness left out: all requests count together");
            return;
        };
        const VICTIMS: u32 = 5;
        let length = (2 * period).max(2 * SECOND);
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

    fn strategies(&mut self, allowance: u64, period: u64, name: &str) {
        let chosen: Vec<Strategy> = if self.order.strategies.is_empty() {
            STRATEGIES.map(|(_, strategy)| strategy).into_iter().filter(|strategy| strategy.repeats()).collect()
        } else {
            self.order.strategies.clone()
        };
        // Twice the limit within a fifth of a period: half of the calls must come again.
        let jobs = 2 * allowance;
        let most = if self.order.is_virtual { MOST_VIRTUAL_CALLS } else { MOST_CALLS };
        if jobs > most {
            let (jobs, most) = (thousands(jobs), thousands(most));
            self.note(format!("probe {name} left out: each strategy takes {jobs} calls, and {most} are the most"));
            return;
        }
        let moments: Vec<(u64, u64)> = (0..jobs).map(|job| (period / 5 * job / jobs, 1)).collect();
        let length = (3 * period).max(30 * SECOND);
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

    fn churn(&mut self, terms: &Terms) {
        if !self.order.keyed {
            self.note("probe churn left out: requests cannot carry many keys");
            return;
        }
        self.when_all_is_over();
        let (capacity, limits) = (self.capacity(), self.limits());
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
            let others = thousands(others.into());
            self.note(format!("probe churn saw {others} other keys: more do not fit into the limit's period"));
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
        self.place(vec![busy, crowd], again + 1, "churn");
    }
}
