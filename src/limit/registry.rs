//! The limits of the running configuration, so that a reload finds the state of those it keeps.

use std::num::NonZeroU32;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{ConcurrencyLimit, Limit, Limiter, RemoteConcurrency, RemoteLimit, Settings, SharedCounters, quota};
use crate::clock::Clock;

/// All limits in force. Clones share them.
#[derive(Clone, Debug)]
pub struct Registry {
    clock: Clock,
    quotas: quota::Registry,
    current: Arc<Mutex<Limits>>,
}

/// A limit is known by its policy's place in the configuration and by what it says.
#[derive(Clone, Debug, Default)]
struct Limits {
    rates: HashMap<(String, Settings), Arc<Limiter>>,
    concurrency: HashMap<(String, NonZeroU32), ConcurrencyLimit>,
    shared: HashMap<(String, Settings), (SharedCounters, Arc<RemoteLimit>)>,
    shared_concurrency: HashMap<(String, NonZeroU32), (SharedCounters, RemoteConcurrency)>,
}

/// The limits of a configuration that is being built. Nothing in force changes until [`Plan::commit`]; a plan that is
/// dropped leaves no trace.
#[derive(Debug)]
pub struct Plan {
    registry: Registry,
    /// The quotas of the configuration.
    pub quotas: quota::Plan,
    old: Limits,
    new: Mutex<Limits>,
    /// Where rate limits are counted, when not in memory.
    counters: Option<SharedCounters>,
}

impl Registry {
    /// A registry without limits.
    pub fn new(clock: Clock) -> Self {
        Self { quotas: quota::Registry::new(clock.clone()), clock, current: Arc::default() }
    }

    /// Begins the limits of a new configuration.
    pub fn plan(&self) -> Plan {
        Plan {
            registry: self.clone(),
            quotas: self.quotas.plan(),
            old: self.current.lock().clone(),
            new: Mutex::default(),
            counters: None,
        }
    }

    /// The quotas in force.
    pub fn quotas(&self) -> &quota::Registry {
        &self.quotas
    }

    /// How many rate limits are in force.
    pub fn len(&self) -> usize {
        self.current.lock().rates.len()
    }

    /// Whether no rate limit is in force.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Plan {
    /// The same plan, its rate limits counted where several gateways count together.
    #[must_use]
    pub fn counted_in(self, counters: Option<SharedCounters>) -> Self {
        Self { counters, ..self }
    }

    /// Where a quota counts: the ledger of that name, or a store that takes its place.
    pub fn book(&self, id: &str, settings: quota::Settings) -> quota::Book {
        let schedule = settings.schedule.clone();
        let ledger = self.quotas.ledger(id, settings);
        match &self.counters {
            None => quota::Book::Memory(ledger),
            Some(counters) => {
                let clock = self.registry.clock.clone();
                quota::Book::Store(Arc::new(quota::RemoteLedger::new(schedule, counters, ledger, clock)))
            }
        }
    }

    /// Whether limits are counted where several gateways count together.
    pub fn is_shared(&self) -> bool {
        self.counters.is_some()
    }

    /// The limit of the policy `id`, wherever it is counted.
    pub fn limit(&self, id: &str, settings: Settings) -> Limit {
        let Some(counters) = &self.counters else { return Limit::Local(self.limiter(id, settings)) };
        let name = (id.to_owned(), settings);
        if let Some((_, limit)) = self.new.lock().shared.get(&name) {
            return Limit::Shared(limit.clone());
        }
        let local = self.limiter(id, counters.local(&name.1));
        let limit = match self.old.shared.get(&name) {
            Some((known, limit)) if known == counters => limit.clone(),
            _ => Arc::new(RemoteLimit::new(id, name.1.clone(), counters, local, self.registry.clock.clone())),
        };
        self.new.lock().shared.insert(name, (counters.clone(), limit.clone()));
        Limit::Shared(limit)
    }

    /// The limit of the policy `id` in memory: the one in force when it says the same, else a new one that takes over the state of
    /// the one in force on [`Plan::commit`]. The `id` must stay the same from one load to the next.
    pub fn limiter(&self, id: &str, settings: Settings) -> Arc<Limiter> {
        let name = (id.to_owned(), settings);
        let mut new = self.new.lock();
        if let Some(limiter) = new.rates.get(&name) {
            return Arc::clone(limiter);
        }
        let limiter = match self.old.rates.get(&name) {
            Some(limiter) => Arc::clone(limiter),
            None => Arc::new(Limiter::new(name.1.clone(), self.registry.clock.clone())),
        };
        new.rates.insert(name, Arc::clone(&limiter));
        limiter
    }

    /// The concurrency limit of the policy `id`. Requests that run already count against a changed maximum too.
    pub fn concurrency(&self, id: &str, max: NonZeroU32) -> ConcurrencyLimit {
        let name = (id.to_owned(), max);
        let mut new = self.new.lock();
        if let Some(limit) = new.concurrency.get(&name) {
            return limit.clone();
        }
        let in_force = self.old.concurrency.iter().find(|((known, _), _)| known == id);
        let limit = in_force.map_or_else(|| ConcurrencyLimit::new(max), |(_, limit)| limit.with_max(max));
        new.concurrency.insert(name, limit.clone());
        limit
    }

    /// The concurrency limit of the policy `id` where gateways count together; none where each counts for itself.
    pub fn shared_concurrency(&self, id: &str, max: NonZeroU32) -> Option<RemoteConcurrency> {
        let counters = self.counters.as_ref()?;
        let name = (id.to_owned(), max);
        if let Some((_, limit)) = self.new.lock().shared_concurrency.get(&name) {
            return Some(limit.clone());
        }
        let local = self.concurrency(id, counters.part(max));
        let limit = match self.old.shared_concurrency.get(&name) {
            Some((known, limit)) if known == counters => limit.clone(),
            _ => RemoteConcurrency::new(id, max, counters, local, self.registry.clock.clone()),
        };
        self.new.lock().shared_concurrency.insert(name, (counters.clone(), limit.clone()));
        Some(limit)
    }

    /// Puts the plan in force: to be called just before the new configuration is swapped in. State moves to the limits
    /// that changed, and limits that no policy has any more are forgotten.
    pub fn commit(self) {
        self.quotas.commit();
        let new = self.new.into_inner();
        let mut current = self.registry.current.lock();
        let old = std::mem::replace(&mut *current, new);
        for (name, limiter) in &current.rates {
            if old.rates.contains_key(name) {
                continue;
            }
            let changed = |(known, settings): &&(String, Settings)| {
                *known == name.0 && !current.rates.contains_key(&(known.clone(), settings.clone()))
            };
            if let Some(replaced) = old.rates.keys().find(changed) {
                old.rates[replaced].hand_over(limiter);
            }
        }
    }
}
