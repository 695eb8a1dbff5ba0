//! A limit on requests at once that several gateways count together, in a Redis or Valkey server.
//!
//! A place in it is a lease: the gateway that holds it renews it while its request runs, and gives it back at the end. So the places of
//! a gateway that died are free again after [`LEASE`]. While the store answers, all gateways together run at most the maximum. When
//! it comes back after an outage, requests that began meanwhile are not counted, and those that began before it are, once renewed.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;

use super::super::concurrency::{Admission, ConcurrencyLimit, Held, Permit};
use super::{OnStoreError, SharedCounters, store_key};
use crate::clock::{Clock, Nanos};
use crate::shared_store::redis::Script;
use crate::shared_store::{Redis, StoreError};

static SCRIPT: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("concurrency.lua")));

/// How long the store keeps a place that is not renewed.
const LEASE: Duration = Duration::from_secs(30);

/// A limit on requests at once in a store.
#[derive(Clone, Debug)]
pub struct RemoteConcurrency(Arc<Shared>);

struct Shared {
    /// What its keys begin with in the store.
    name: String,
    max: u32,
    store: Arc<Redis>,
    on_error: OnStoreError,
    /// Counts while the store does not answer.
    local: ConcurrencyLimit,
    lease: Duration,
    clock: Clock,
    /// Unlike any other gateway's.
    gateway: u64,
    next: AtomicU64,
    running: Mutex<HashMap<Arc<[u8]>, Vec<Running>, RandomState>>,
    renewing: AtomicBool,
}

#[derive(Clone, Copy, Debug)]
struct Running {
    number: u64,
    since: Nanos,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.debug_struct("Shared").field("max", &self.max).field("store", &self.store).finish_non_exhaustive()
    }
}

/// A place that is held in the store.
#[derive(Debug)]
pub(in crate::limit) struct Place {
    shared: Arc<Shared>,
    key: Arc<[u8]>,
    number: u64,
}

impl RemoteConcurrency {
    /// The limit of the policy `id`. `local` decides while the store does not answer, where that is asked for.
    pub fn new(id: &str, max: NonZeroU32, counters: &SharedCounters, local: ConcurrencyLimit, clock: Clock) -> Self {
        let store = Arc::clone(&counters.store);
        let name = format!("{}concurrency:{id}:", store.settings().prefix);
        Self(Arc::new(Shared {
            name,
            max: max.get(),
            store,
            on_error: counters.on_error,
            local,
            lease: LEASE,
            clock,
            gateway: fastrand::u64(..),
            next: AtomicU64::new(0),
            running: Mutex::default(),
            renewing: AtomicBool::new(false),
        }))
    }

    /// The same with other leases, for tests.
    #[must_use]
    pub fn with_lease(self, lease: Duration) -> Self {
        let mut shared = self.0;
        // Nobody else has it yet.
        if let Some(shared) = Arc::get_mut(&mut shared) {
            shared.lease = lease;
        }
        Self(shared)
    }

    /// Takes a place, in one round trip, or nothing when the maximum of `key` is running.
    pub async fn acquire(&self, key: &str) -> Option<Permit> {
        self.enter(key).await.permit
    }

    /// The same, and how many are left.
    pub async fn enter(&self, key: &str) -> Admission {
        let shared = &self.0;
        let number = shared.next.fetch_add(1, Ordering::Relaxed);
        let stored: Arc<[u8]> = store_key(&shared.name, key).into();
        // Whoever leaves before there is an answer gives back what the store may have given.
        let mut permit = Permit(Held::Shared(Place { shared: Arc::clone(shared), key: Arc::clone(&stored), number }));
        let max = shared.max;
        match shared.run("take", &stored, &[number]).await {
            Ok((1, held)) => {
                shared.begin(&stored, number);
                let held = u32::try_from(held).unwrap_or(u32::MAX);
                Admission { permit: Some(permit), max, left: max.saturating_sub(held).saturating_add(1) }
            }
            Ok(_) => {
                permit.0 = Held::Uncounted;
                Admission { permit: None, max, left: 0 }
            }
            Err(error) => {
                if matches!(error, StoreError::Resting) {
                    // It was not asked.
                    permit.0 = Held::Uncounted;
                }
                match shared.on_error {
                    OnStoreError::Local => shared.local.enter(key),
                    OnStoreError::Allow => Admission { permit: Some(Permit::uncounted()), max, left: 0 },
                    OnStoreError::Deny => Admission { permit: None, max, left: 0 },
                }
            }
        }
    }

    /// How many requests of this gateway hold a place.
    pub fn running(&self) -> usize {
        self.0.running.lock().values().map(Vec::len).sum()
    }
}

impl Shared {
    /// Runs the script; says how many places were taken, renewed or given back, and how many are held then.
    async fn run(&self, operation: &str, key: &[u8], numbers: &[u64]) -> Result<(u64, u64), StoreError> {
        let lease = u64::try_from(self.lease.as_millis()).unwrap_or(u64::MAX);
        let arguments = |command: &mut redis::Cmd| {
            command.arg(operation).arg(self.max).arg(lease);
            for number in numbers {
                command.arg(format!("{:016x}:{number:x}", self.gateway));
            }
        };
        self.store.run(&SCRIPT, key, arguments).await
    }

    /// Notes that a request runs, and sees to it that its lease is renewed.
    fn begin(self: &Arc<Self>, key: &Arc<[u8]>, number: u64) {
        let running = Running { number, since: self.clock.now() };
        self.running.lock().entry(Arc::clone(key)).or_default().push(running);
        if !self.renewing.swap(true, Ordering::AcqRel) {
            tokio::spawn(Arc::clone(self).renew());
        }
    }

    /// Notes that a request ended.
    fn end(&self, key: &Arc<[u8]>, number: u64) {
        let mut all = self.running.lock();
        if let Some(running) = all.get_mut(key) {
            running.retain(|it| it.number != number);
            if running.is_empty() {
                all.remove(key);
            }
        }
    }

    /// Renews leases for as long as requests run.
    async fn renew(self: Arc<Self>) {
        loop {
            tokio::time::sleep(self.lease / 3).await;
            for (key, numbers) in self.due() {
                // The store has logged why it failed; the next round tries again.
                let _ = self.run("renew", &key, &numbers).await;
                // What was given back on another connection meanwhile may have been taken again by that.
                let ended: Vec<u64> = {
                    let all = self.running.lock();
                    let running = all.get(&key);
                    let ended = |number: &u64| running.is_none_or(|it| it.iter().all(|it| it.number != *number));
                    numbers.into_iter().filter(ended).collect()
                };
                if !ended.is_empty() {
                    let _ = self.run("release", &key, &ended).await;
                }
            }
            let all = self.running.lock();
            if all.is_empty() {
                // Under the lock: what begins from now on begins to renew again.
                self.renewing.store(false, Ordering::Release);
                return;
            }
        }
    }

    /// The places to be renewed: those that are not quite new.
    fn due(&self) -> Vec<(Arc<[u8]>, Vec<u64>)> {
        let now = self.clock.now();
        let is_due = |running: &&Running| now.since(running.since) >= self.lease / 4;
        let all = self.running.lock();
        let due = all.iter().map(|(key, running)| {
            (Arc::clone(key), running.iter().filter(is_due).map(|running| running.number).collect::<Vec<_>>())
        });
        due.filter(|(_, numbers)| !numbers.is_empty()).collect()
    }
}

impl Place {
    /// Gives the place back, without anybody waiting for it. What the store does not take ends with its lease.
    pub(in crate::limit) fn give_back(&self) {
        self.shared.end(&self.key, self.number);
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let (shared, key, number) = (Arc::clone(&self.shared), Arc::clone(&self.key), self.number);
        runtime.spawn(async move {
            // The store has logged why.
            let _ = shared.run("release", &key, &[number]).await;
        });
    }
}
