//! Limits on requests at once: a counter for each key, held only while one of its requests runs.

use std::hash::BuildHasher;
use std::num::NonZeroU32;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// A power of two, well above the number of cores.
const SHARDS: usize = 64;

/// At most so many requests of one key at once. A key takes memory only while it is held, so that the number of keys is
/// bounded by the number of requests in flight.
#[derive(Clone, Debug)]
pub struct ConcurrencyLimit {
    max: u32,
    counts: Arc<Counts>,
}

#[derive(Debug)]
struct Counts {
    shards: Box<[Mutex<HashTable<Count>>]>,
    hasher: RandomState,
}

struct Count {
    key: Arc<str>,
    running: u32,
}

impl std::fmt::Debug for Count {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.debug_struct("Count").field("running", &self.running).finish_non_exhaustive()
    }
}

/// The right to run, given back on drop.
#[derive(Debug)]
pub struct Permit(pub(super) Held);

/// What came of asking for a place.
#[derive(Debug)]
pub struct Admission {
    /// The right to run; none when the maximum is running.
    pub permit: Option<Permit>,
    /// The most at once, by whoever decided: a part of the limit while a shared store does not answer.
    pub max: u32,
    /// How many of them others leave: the place that was taken is free again when its request has ended.
    pub left: u32,
}

/// What a permit holds.
#[derive(Debug)]
pub(super) enum Held {
    /// A place in memory.
    Local(Place),
    /// A place in a store.
    Shared(super::remote::Place),
    /// Nothing: admitted without being counted.
    Uncounted,
}

/// A place that is held in memory.
#[derive(Debug)]
pub(super) struct Place {
    counts: Arc<Counts>,
    key: Arc<str>,
    hash: u64,
}

impl ConcurrencyLimit {
    /// A limit of `max` at once for each key.
    pub fn new(max: NonZeroU32) -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { max: max.get(), counts: Arc::new(Counts { shards, hasher: RandomState::default() }) }
    }

    /// Another maximum over the same running requests, for a reload.
    #[must_use]
    pub fn with_max(&self, max: NonZeroU32) -> Self {
        Self { max: max.get(), counts: Arc::clone(&self.counts) }
    }

    /// The most requests of one key at once.
    pub fn max(&self) -> u32 {
        self.max
    }

    /// Takes a place, or nothing when `max` requests of `key` are running.
    pub fn try_acquire(&self, key: &str) -> Option<Permit> {
        self.enter(key).permit
    }

    /// The same, and how many are left.
    pub fn enter(&self, key: &str) -> Admission {
        let counts = &self.counts;
        let hash = counts.hasher.hash_one(key);
        let mut table = counts.shard(hash).lock();
        let (key, before) = match table.find_mut(hash, |count| *count.key == *key) {
            Some(count) if count.running >= self.max => return Admission { permit: None, max: self.max, left: 0 },
            Some(count) => {
                count.running += 1;
                (Arc::clone(&count.key), count.running - 1)
            }
            None => {
                let key: Arc<str> = key.into();
                let count = Count { key: Arc::clone(&key), running: 1 };
                table.insert_unique(hash, count, |count| counts.hasher.hash_one(&*count.key));
                (key, 0)
            }
        };
        drop(table);
        let permit = Permit(Held::Local(Place { counts: Arc::clone(counts), key, hash }));
        Admission { permit: Some(permit), max: self.max, left: self.max - before }
    }

    /// How many keys have requests running.
    pub fn keys(&self) -> usize {
        self.counts.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl Counts {
    fn shard(&self, hash: u64) -> &Mutex<HashTable<Count>> {
        // hashbrown takes its bucket from the lowest bits and its tag from the seven highest.
        &self.shards[(hash >> 48) as usize & (SHARDS - 1)]
    }
}

impl Permit {
    /// The right to run without being counted.
    pub fn uncounted() -> Self {
        Self(Held::Uncounted)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        match &self.0 {
            Held::Local(place) => place.give_back(),
            Held::Shared(place) => place.give_back(),
            Held::Uncounted => {}
        }
    }
}

impl Place {
    fn give_back(&self) {
        let mut table = self.counts.shard(self.hash).lock();
        if let Ok(mut entry) = table.find_entry(self.hash, |count| Arc::ptr_eq(&count.key, &self.key)) {
            entry.get_mut().running -= 1;
            if entry.get().running == 0 {
                entry.remove();
            }
        }
    }
}
