//! The ledgers of the running configuration, so that a reload finds what was counted; and the way to the store.

use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

use super::{Digest, Ledger, Settings, Usage};
use crate::clock::Clock;

/// A key's row in the store.
pub type Row = (Digest, Usage);

/// Changes for the store: the ledger, the key, and what to write; nothing to delete the row.
pub type Batch = Vec<(Arc<str>, Digest, Option<Vec<u8>>)>;

/// Where ledgers find what was counted before the process started.
pub trait Keeper: Send + Sync {
    /// The rows of a ledger.
    fn rows(&self, ledger: &str) -> Vec<Row>;
}

/// All ledgers in force. Clones share them.
#[derive(Clone)]
pub struct Registry {
    clock: Clock,
    current: Arc<Mutex<HashMap<Arc<str>, Arc<Ledger>>>>,
    keeper: Arc<Mutex<Option<Arc<dyn Keeper>>>>,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("ledgers", &self.current.lock().len()).finish_non_exhaustive()
    }
}

/// The ledgers of a configuration that is being built. Nothing in force changes until [`Plan::commit`].
#[derive(Debug)]
pub struct Plan {
    registry: Registry,
    planned: Mutex<HashMap<Arc<str>, Planned>>,
}

#[derive(Debug)]
struct Planned {
    ledger: Arc<Ledger>,
    settings: Settings,
    users: u32,
}

impl Registry {
    /// A registry without ledgers.
    pub fn new(clock: Clock) -> Self {
        Self { clock, current: Arc::default(), keeper: Arc::default() }
    }

    /// Begins the ledgers of a new configuration.
    pub fn plan(&self) -> Plan {
        Plan { registry: self.clone(), planned: Mutex::default() }
    }

    /// Where ledgers that come into force from now on look for what was counted before.
    pub fn attach(&self, keeper: Arc<dyn Keeper>) {
        *self.keeper.lock() = Some(keeper);
    }

    /// Whether counts are kept somewhere.
    pub fn has_keeper(&self) -> bool {
        self.keeper.lock().is_some()
    }

    /// Adds what the store held of a ledger to what was counted before it could be read.
    pub fn restore(&self, ledger: &str, rows: Vec<Row>) {
        let ledger = self.current.lock().get(ledger).cloned();
        if let Some(ledger) = ledger {
            ledger.restore(rows);
        }
    }

    /// The changes since the last time; with `all`, everything that is held.
    pub fn collect(&self, all: bool) -> Batch {
        let ledgers: Vec<Arc<Ledger>> = self.current.lock().values().cloned().collect();
        let mut batch = Batch::new();
        for ledger in ledgers {
            ledger.collect(all, |digest, bytes| batch.push((ledger.id().clone(), digest, bytes)));
        }
        batch
    }
}

impl Plan {
    /// The ledger with this name: the one in force, else a new one. Several policies may count in one; the largest of their
    /// `max_keys` holds, and they agree on the schedule.
    pub fn ledger(&self, id: &str, settings: Settings) -> Arc<Ledger> {
        let mut planned = self.planned.lock();
        if let Some(known) = planned.get_mut(id) {
            known.users += 1;
            known.settings.max_keys = known.settings.max_keys.max(settings.max_keys);
            return known.ledger.clone();
        }
        let in_force = self.registry.current.lock().get(id).cloned();
        let ledger =
            in_force.unwrap_or_else(|| Arc::new(Ledger::new(id, settings.clone(), self.registry.clock.clone())));
        planned.insert(ledger.id().clone(), Planned { ledger: ledger.clone(), settings, users: 1 });
        ledger
    }

    /// Puts the plan in force: to be called just before the new configuration is swapped in. Ledgers that no policy has any more
    /// are forgotten; what the store holds of them stays there until its periods end.
    pub fn commit(self) {
        let keeper = self.registry.keeper.lock().clone();
        let mut ledgers = HashMap::new();
        for (id, planned) in self.planned.into_inner() {
            planned.ledger.set(&planned.settings, planned.users);
            let new = !self.registry.current.lock().contains_key(&id);
            if let Some(keeper) = keeper.as_ref().filter(|_| new && planned.settings.kept) {
                planned.ledger.restore(keeper.rows(&id));
            }
            ledgers.insert(id, planned.ledger);
        }
        *self.registry.current.lock() = ledgers;
    }
}
