//! The cache: whole answers and single values, kept for a while in bounded memory or in the store that gateways share.
//!
//! * Everything in memory shares one bound on entries and one on bytes; see [`Memory`]. It outlives a reload that does not change
//!   them.
//! * In the shared store an entry is one key that the server drops by itself. A store that does not answer is a miss, never a failed
//!   request. Where the store's `on-error` is `local`, memory takes its place for the outage: what was kept there in one outage is not
//!   found in the next, because nobody could tell it when the value changed in between.
//! * What is fetched because it was not there is fetched once for all who ask at the same time; see [`Flights`].

pub mod answer;
mod flight;
mod memory;

use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::HeaderName;
use smallvec::SmallVec;

pub use flight::{Flights, Joined, Lead, Outcome, Waiting};
pub use memory::{Bounds, Memory, Weight};

use self::answer::{Fetched, Stored};
use crate::clock::{Clock, Nanos};
use crate::shared_store::{Redis, StoreError};
use crate::telemetry::metrics::{CacheMetrics, CacheResult, CacheStore, KindMetrics};

/// Longer keys stand in the shared store as a digest.
const LONGEST_KEY: usize = 256;

/// The longest time that anything is kept: ten years.
pub const LONGEST: Duration = Duration::from_secs(3_650 * 86_400);

/// What kind of thing a key is of: each kind has keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A whole answer.
    Answer,
    /// A value that a policy keeps under a key of the author's.
    Value,
    /// What a side call brought.
    Call,
}

/// Where something is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the memory of this gateway: at hand.
    Memory,
    /// In the shared store: awaited.
    Store {
        /// Whether memory takes its place while it does not answer.
        falls_back: bool,
    },
}

/// What memory keeps.
#[derive(Clone, Debug)]
pub enum Held {
    /// A value, as JSON.
    Value(Bytes),
    /// An answer.
    Answer(Arc<Stored>),
    /// The request headers that tell apart the answers at this place.
    Variants(Arc<[HeaderName]>),
    /// That the answer cannot be kept, so that nobody waits for it.
    Pass,
}

impl Weight for Held {
    fn bytes(&self) -> usize {
        match self {
            Self::Value(value) => value.len(),
            Self::Answer(stored) => stored.bytes(),
            Self::Variants(names) => names.iter().map(|name| name.as_str().len() + 32).sum(),
            Self::Pass => 0,
        }
    }
}

/// What is kept, and for how long somebody waits who could be served by another's fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The longest body or value that is kept.
    pub largest: usize,
    /// How long a request waits for another one that fetches the same.
    pub wait: Duration,
}

/// The store that gateways share, as the cache uses it.
#[derive(Clone, Debug)]
pub struct External {
    /// The store.
    pub store: Arc<Redis>,
    /// Whether memory may take its place while it does not answer.
    pub falls_back: bool,
}

/// The cache of one configuration.
#[derive(Debug)]
pub struct Cache {
    memory: Arc<Memory<Held>>,
    external: Option<External>,
    settings: Settings,
    answers: Flights<Fetched>,
    calls: Flights<Bytes>,
    clock: Clock,
    metrics: CacheMetrics,
}

/// A key as memory has it.
type MemoryKey = SmallVec<[u8; 256]>;

impl Cache {
    /// A cache over a memory that may be older than itself.
    pub fn new(
        memory: Arc<Memory<Held>>,
        external: Option<External>,
        settings: Settings,
        clock: Clock,
        metrics: CacheMetrics,
    ) -> Self {
        Self { memory, external, settings, answers: Flights::default(), calls: Flights::default(), clock, metrics }
    }

    /// The store that gateways share, when there is one.
    pub fn external(&self) -> Option<&External> {
        self.external.as_ref()
    }

    /// What is fetched by side calls right now.
    pub fn calls(&self) -> &Flights<Bytes> {
        &self.calls
    }

    /// The longest that anybody waits for another's fetch that begins now.
    pub fn patience(&self) -> Nanos {
        self.clock.now() + self.settings.wait
    }

    /// How another's fetch ended; nothing when it takes longer than that.
    pub async fn outcome<T: Clone>(&self, waiting: Waiting<T>, until: Nanos) -> Option<Outcome<T>> {
        waiting.outcome(until, &self.clock).await
    }

    /// Whether requests wait for each other at all.
    pub fn waits(&self) -> bool {
        !self.settings.wait.is_zero()
    }

    fn counts(&self, kind: Kind) -> &KindMetrics {
        match kind {
            Kind::Answer => self.metrics.responses(),
            Kind::Value => self.metrics.values(),
            Kind::Call => self.metrics.side_calls(),
        }
    }

    /// Counts what came of a look.
    pub fn looked(&self, kind: Kind, result: CacheResult) {
        self.counts(kind).looked(result);
    }

    /// Counts an answer that is too large to be kept.
    fn too_large(&self) {
        self.metrics.responses().stored(CacheStore::TooLarge);
    }

    // === values ===

    /// The value of a key in memory.
    pub fn value(&self, kind: Kind, key: &[u8]) -> Option<Bytes> {
        let value = self.value_at(&memory_key(kind, key, None));
        self.looked(kind, if value.is_some() { CacheResult::Hit } else { CacheResult::Miss });
        value
    }

    /// The value of a key, wherever it is kept.
    pub async fn value_in(&self, place: Place, kind: Kind, key: &[u8]) -> Option<Bytes> {
        let (Place::Store { falls_back }, Some(external)) = (place, &self.external) else {
            return self.value(kind, key);
        };
        match external.get(kind, key).await {
            Ok(value) => {
                self.looked(kind, if value.is_some() { CacheResult::Hit } else { CacheResult::Miss });
                value.map(Bytes::from)
            }
            Err(_) => {
                self.looked(kind, CacheResult::Error);
                let outage = Some(external.store.outage());
                let value = falls_back.then(|| self.value_at(&memory_key(kind, key, outage))).flatten();
                self.looked(kind, if value.is_some() { CacheResult::Hit } else { CacheResult::Miss });
                value
            }
        }
    }

    /// The value of a key in memory, for who has looked and been counted already.
    pub fn known(&self, place: Place, kind: Kind, key: &[u8]) -> Option<Bytes> {
        (place == Place::Memory).then(|| self.value_at(&memory_key(kind, key, None))).flatten()
    }

    fn value_at(&self, key: &[u8]) -> Option<Bytes> {
        match self.memory.get(key, self.clock.now())? {
            Held::Value(value) => Some(value),
            Held::Answer(_) | Held::Variants(_) | Held::Pass => None,
        }
    }

    /// Keeps a value in memory, in place of the one that is there.
    pub fn keep(&self, kind: Kind, key: &[u8], value: Bytes, time: Duration) {
        let stored = self.keep_at(&memory_key(kind, key, None), value, time);
        self.counts(kind).stored(stored);
    }

    /// Keeps a value, in place of the one that is there.
    pub async fn keep_in(&self, place: Place, kind: Kind, key: &[u8], value: Bytes, time: Duration) {
        let (Place::Store { falls_back }, Some(external)) = (place, &self.external) else {
            return self.keep(kind, key, value, time);
        };
        let stored = if value.len() > self.settings.largest {
            // What is there is no longer what is asked for.
            let _ = external.remove(kind, key).await;
            CacheStore::TooLarge
        } else {
            match external.put(kind, key, &value, time).await {
                Ok(()) => CacheStore::Stored,
                Err(_) => {
                    if falls_back {
                        self.keep_at(&memory_key(kind, key, Some(external.store.outage())), value, time);
                    }
                    CacheStore::Error
                }
            }
        };
        self.counts(kind).stored(stored);
    }

    fn keep_at(&self, key: &[u8], value: Bytes, time: Duration) -> CacheStore {
        if value.len() > self.settings.largest {
            self.memory.remove(key);
            return CacheStore::TooLarge;
        }
        let now = self.clock.now();
        if self.memory.put(key, Held::Value(value), now + time.min(LONGEST), now) {
            CacheStore::Stored
        } else {
            CacheStore::TooLarge
        }
    }

    /// Forgets a value in memory.
    pub fn remove(&self, kind: Kind, key: &[u8]) {
        self.memory.remove(&memory_key(kind, key, None));
    }

    /// Forgets a value.
    pub async fn remove_in(&self, place: Place, kind: Kind, key: &[u8]) {
        let (Place::Store { .. }, Some(external)) = (place, &self.external) else {
            return self.remove(kind, key);
        };
        if external.remove(kind, key).await.is_err() {
            self.memory.remove(&memory_key(kind, key, Some(external.store.outage())));
        }
    }
}

/// The place of a key in memory. What takes the place of the shared store in an outage is only found in that outage.
fn memory_key(kind: Kind, key: &[u8], outage: Option<u64>) -> MemoryKey {
    let mut place = MemoryKey::new();
    place.push(match kind {
        Kind::Answer => b'a',
        Kind::Value => b'v',
        Kind::Call => b'c',
    });
    match outage {
        None => place.push(0),
        Some(number) => {
            place.push(1);
            place.extend_from_slice(&number.to_le_bytes());
        }
    }
    place.extend_from_slice(key);
    place
}

impl External {
    /// A value's key is readable, so that others who use the server can remove it. All else is a digest: it may hold what callers sent.
    fn name(&self, kind: Kind, key: &[u8]) -> Vec<u8> {
        let prefix = self.store.settings().prefix.as_bytes();
        let mut name = Vec::with_capacity(prefix.len() + 16 + key.len().min(LONGEST_KEY));
        name.extend_from_slice(prefix);
        name.extend_from_slice(match kind {
            Kind::Answer => b"cache:answer:",
            Kind::Value => b"cache:value:",
            Kind::Call => b"cache:call:",
        });
        if kind == Kind::Value && key.len() <= LONGEST_KEY {
            name.extend_from_slice(key);
        } else {
            // No text holds this byte, so that a digest is never taken for a key.
            name.push(0xFF);
            name.extend_from_slice(digest::digest(&digest::SHA256, key).as_ref());
        }
        name
    }

    async fn get(&self, kind: Kind, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.store.ask(redis::cmd("GET").arg(self.name(kind, key))).await
    }

    async fn put(&self, kind: Kind, key: &[u8], value: &[u8], time: Duration) -> Result<(), StoreError> {
        let time = u64::try_from(time.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1);
        self.store.ask(redis::cmd("SET").arg(self.name(kind, key)).arg(value).arg("PX").arg(time)).await
    }

    async fn remove(&self, kind: Kind, key: &[u8]) -> Result<(), StoreError> {
        self.store.ask::<i64>(redis::cmd("DEL").arg(self.name(kind, key))).await.map(drop)
    }
}
