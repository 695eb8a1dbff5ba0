//! A bounded memory: so many entries and so many bytes, each until its time is over.
//!
//! The oldest entry makes room, unless it was read since it was last looked at (the CLOCK algorithm): a flood of keys that are
//! asked for once does not wash out those that are asked for again and again. A read takes a shared lock and changes one flag.

use std::collections::VecDeque;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::RwLock;

use crate::clock::Nanos;
use crate::telemetry::metrics::MemoryMetrics;

/// The most shards; a power of two.
const SHARDS: usize = 16;
/// A shard is not made smaller than this many entries, so that chance spreads them evenly enough.
const LEAST_ENTRIES: usize = 64;
/// What an entry takes besides its key and its value.
const OVERHEAD: usize = 128;
/// How many of the oldest entries are looked at whenever one is added, so that what is over makes room by itself.
const CHECKED_PER_INSERT: usize = 2;

/// What can be kept.
pub trait Weight: Clone {
    /// How many bytes it takes.
    fn bytes(&self) -> usize;
}

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Entries; at least one.
    pub entries: usize,
    /// Bytes of keys and values, and what it takes to keep them.
    pub bytes: usize,
    /// The longest value that is put in.
    pub largest: usize,
}

/// A bounded memory; see the module.
pub struct Memory<V> {
    shards: Box<[Shard<V>]>,
    hasher: RandomState,
    metrics: MemoryMetrics,
}

// Whole cache lines, so that neighbouring shards do not slow each other down.
#[repr(align(64))]
struct Shard<V>(RwLock<Table<V>>);

struct Table<V> {
    entries: HashTable<Entry<V>>,
    /// The keys in the order in which they make room. Those of entries that are gone are passed over.
    order: VecDeque<Arc<[u8]>>,
    bytes: usize,
    most_entries: usize,
    most_bytes: usize,
}

struct Entry<V> {
    key: Arc<[u8]>,
    value: V,
    until: Nanos,
    weight: usize,
    /// Whether it was read since it was last looked at.
    read: AtomicBool,
}

/// Why an entry went that nobody removed.
#[derive(Clone, Copy)]
enum Gone {
    Over,
    MadeRoom,
}

impl<V: Weight> Memory<V> {
    /// An empty memory.
    pub fn new(bounds: Bounds, metrics: MemoryMetrics) -> Self {
        let fits = |shards: &usize| {
            bounds.entries / shards >= LEAST_ENTRIES && bounds.bytes / shards >= bounds.largest.saturating_mul(4)
        };
        let shards = std::iter::successors(Some(SHARDS), |shards| Some(shards / 2));
        let shards = shards.take_while(|shards| *shards > 1).find(fits).unwrap_or(1);
        let table = || Table {
            entries: HashTable::new(),
            order: VecDeque::new(),
            bytes: 0,
            most_entries: (bounds.entries / shards).max(1),
            most_bytes: bounds.bytes / shards,
        };
        Self {
            shards: (0..shards).map(|_| Shard(RwLock::new(table()))).collect(),
            hasher: RandomState::default(),
            metrics,
        }
    }

    /// The value of a key, unless its time is over.
    pub fn get(&self, key: &[u8], now: Nanos) -> Option<V> {
        let hash = self.hasher.hash_one(key);
        let table = self.shard(hash).read();
        let entry = table.entries.find(hash, |entry| *entry.key == *key).filter(|entry| now < entry.until)?;
        // A flag that is set already need not be taken from the other cores again.
        if !entry.read.load(Ordering::Relaxed) {
            entry.read.store(true, Ordering::Relaxed);
        }
        Some(entry.value.clone())
    }

    /// Keeps a value until then, in place of the one that is there. Whether it is kept: one that is larger than all the room is not.
    pub fn put(&self, key: &[u8], value: V, until: Nanos, now: Nanos) -> bool {
        let hash = self.hasher.hash_one(key);
        let weight = key.len() + value.bytes() + OVERHEAD;
        let mut table = self.shard(hash).write();
        let table = &mut *table;
        self.forget(table.take(hash, key));
        if weight > table.most_bytes {
            return false;
        }
        self.drop_spent(table, now);
        while table.entries.len() >= table.most_entries || table.bytes + weight > table.most_bytes {
            if !self.make_room(table, now) {
                break;
            }
        }
        let key: Arc<[u8]> = key.into();
        table.order.push_back(key.clone());
        table.bytes += weight;
        let entry = Entry { key, value, until, weight, read: AtomicBool::new(false) };
        table.entries.insert_unique(hash, entry, |entry| self.hasher.hash_one(&*entry.key));
        self.metrics.added(weight);
        table.tidy(&self.hasher);
        true
    }

    /// Forgets a key.
    pub fn remove(&self, key: &[u8]) {
        let hash = self.hasher.hash_one(key);
        let gone = self.shard(hash).write().take(hash, key);
        self.forget(gone);
    }

    /// How many entries there are, those whose time is over included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().entries.len()).sum()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many bytes they take.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| shard.0.read().bytes).sum()
    }

    fn shard(&self, hash: u64) -> &RwLock<Table<V>> {
        // hashbrown takes its bucket from the lowest bits and its tag from the seven highest.
        let number = usize::try_from(hash >> 40).unwrap_or_default() & (self.shards.len() - 1);
        &self.shards[number].0
    }

    fn forget(&self, entry: Option<Entry<V>>) {
        if let Some(entry) = entry {
            self.metrics.removed(entry.weight);
        }
    }

    /// Drops the oldest entries as long as their time is over, a few at a time.
    fn drop_spent(&self, table: &mut Table<V>, now: Nanos) {
        for _ in 0..CHECKED_PER_INSERT {
            let Some(oldest) = table.order.front() else { return };
            let hash = self.hasher.hash_one(&**oldest);
            match table.entries.find(hash, |entry| Arc::ptr_eq(&entry.key, oldest)) {
                Some(entry) if now < entry.until => return,
                Some(_) => self.drop_oldest(table, Gone::Over),
                None => drop(table.order.pop_front()),
            }
        }
    }

    fn drop_oldest(&self, table: &mut Table<V>, why: Gone) {
        let Some(key) = table.order.pop_front() else { return };
        let gone = table.take(self.hasher.hash_one(&*key), &key);
        if gone.is_some() {
            match why {
                Gone::Over => self.metrics.over.inc(),
                Gone::MadeRoom => self.metrics.made_room.inc(),
            }
        }
        self.forget(gone);
    }

    /// Drops one entry; false when there is none.
    fn make_room(&self, table: &mut Table<V>, now: Nanos) -> bool {
        while let Some(oldest) = table.order.front() {
            let hash = self.hasher.hash_one(&**oldest);
            match table.entries.find(hash, |entry| Arc::ptr_eq(&entry.key, oldest)) {
                None => drop(table.order.pop_front()),
                Some(entry) if entry.until <= now => {
                    self.drop_oldest(table, Gone::Over);
                    return true;
                }
                // Each entry gets one more turn for all its reads, so this ends.
                Some(entry) if entry.read.swap(false, Ordering::Relaxed) => table.order.rotate_left(1),
                Some(_) => {
                    self.drop_oldest(table, Gone::MadeRoom);
                    return true;
                }
            }
        }
        false
    }
}

impl<V> Table<V> {
    fn take(&mut self, hash: u64, key: &[u8]) -> Option<Entry<V>> {
        let (entry, _) = self.entries.find_entry(hash, |entry| *entry.key == *key).ok()?.remove();
        self.bytes -= entry.weight;
        Some(entry)
    }

    /// Keeps the list of keys in proportion, when entries come and are removed again.
    fn tidy(&mut self, hasher: &RandomState) {
        if self.order.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            self.order
                .retain(|key| entries.find(hasher.hash_one(&**key), |entry| Arc::ptr_eq(&entry.key, key)).is_some());
        }
    }
}

impl<V> Drop for Memory<V> {
    fn drop(&mut self) {
        for Shard(table) in &mut self.shards {
            table.get_mut().entries.iter().for_each(|entry| self.metrics.removed(entry.weight));
        }
    }
}

impl<V> std::fmt::Debug for Memory<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and values may be secrets; they are never printed.
        f.debug_struct("Memory").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::telemetry::Metrics;

    impl Weight for usize {
        fn bytes(&self) -> usize {
            *self
        }
    }

    fn memory(entries: usize, bytes: usize, largest: usize) -> Memory<usize> {
        Memory::new(Bounds { entries, bytes, largest }, Metrics::new(&Clock::manual()).cache().memory)
    }

    fn at(seconds: u64) -> Nanos {
        Nanos::default() + Duration::from_secs(seconds)
    }

    fn held(memory: &Memory<usize>, keys: &[&str]) -> String {
        keys.iter().filter(|key| memory.get(key.as_bytes(), at(0)).is_some()).copied().collect()
    }

    #[test]
    fn an_entry_is_there_until_its_time_is_over() {
        let memory = memory(10, 10_000, 100);
        assert!(memory.put(b"a", 7, at(10), at(0)));
        for (time, want) in [(0, Some(7)), (9, Some(7)), (10, None), (11, None)] {
            assert_eq!(memory.get(b"a", at(time)), want, "after {time} s");
        }
        assert_eq!(memory.get(b"b", at(0)), None);
        memory.put(b"a", 8, at(20), at(11));
        assert_eq!(memory.get(b"a", at(11)), Some(8), "in place of the old one");
        assert_eq!(memory.len(), 1);
        memory.remove(b"a");
        assert_eq!((memory.len(), memory.bytes()), (0, 0));
    }

    #[test]
    fn what_was_read_outlives_what_was_not() {
        let memory = memory(3, 1 << 20, 100);
        for key in ["a", "b", "c"] {
            memory.put(key.as_bytes(), 1, at(100), at(0));
        }
        memory.get(b"a", at(1));
        memory.put(b"d", 1, at(100), at(1));
        assert_eq!(held(&memory, &["a", "b", "c", "d"]), "acd", "the oldest one that nobody read makes room");
        // All were read just now: the oldest of them goes.
        memory.put(b"e", 1, at(100), at(1));
        assert_eq!(memory.len(), 3);
    }

    #[test]
    fn what_is_over_makes_room_first() {
        let memory = memory(3, 1 << 20, 100);
        memory.put(b"a", 1, at(100), at(0));
        memory.put(b"b", 1, at(5), at(0));
        memory.put(b"c", 1, at(100), at(0));
        memory.get(b"a", at(1));
        memory.get(b"b", at(1));
        memory.put(b"d", 1, at(100), at(6));
        assert_eq!(held(&memory, &["a", "b", "c", "d"]), "acd");
    }

    #[test]
    fn bytes_are_bounded() {
        let weight = 1 + 100 + OVERHEAD;
        let memory = memory(1_000, 3 * weight, 100);
        for key in ["a", "b", "c", "d", "e"] {
            assert!(memory.put(key.as_bytes(), 100, at(100), at(0)));
            assert!(memory.bytes() <= 3 * weight, "{}", memory.bytes());
        }
        assert_eq!(held(&memory, &["a", "b", "c", "d", "e"]), "cde");
        memory.put(b"e", 3 * weight, at(100), at(0));
        assert_eq!(
            held(&memory, &["c", "d", "e"]),
            "cd",
            "it is too large, and what it replaces is not what is asked for"
        );
    }

    #[test]
    fn many_threads_and_keys_keep_within_the_bounds() {
        let bounds = Bounds { entries: 2_000, bytes: 600_000, largest: 1_000 };
        let metrics = Metrics::new(&Clock::manual());
        let memory: Memory<usize> = Memory::new(bounds, metrics.cache().memory);
        assert_eq!(memory.shards.len(), 16);
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let memory = &memory;
                scope.spawn(move || {
                    for round in 0..5_000_u64 {
                        let key = ((thread * 7 + round * 13) % 4_096).to_le_bytes();
                        match round % 5 {
                            0 => memory.remove(&key),
                            1 | 2 => drop(memory.get(&key, at(round / 100))),
                            _ => drop(memory.put(&key, (round % 1_000) as usize, at(round / 100 + 9), at(round / 100))),
                        }
                    }
                });
            }
        });
        assert!(memory.len() <= bounds.entries && memory.bytes() <= bounds.bytes);
        let shown = |name: &str, value: usize| {
            let line = format!("sluicegate_cache_{name} {value}");
            assert!(metrics.render().lines().any(|found| found == line), "{line}");
        };
        shown("entries", memory.len());
        shown("bytes", memory.bytes());
        for Shard(table) in &memory.shards {
            let table = table.read();
            assert_eq!(table.bytes, table.entries.iter().map(|entry| entry.weight).sum::<usize>());
            assert!(table.order.len() <= 2 * table.entries.len() + 64);
        }
        drop(memory);
        shown("entries", 0);
        shown("bytes", 0);
    }
}
