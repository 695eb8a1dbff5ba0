//! The key store: a sharded, bounded table from key text to the state of one limit.

use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use aws_lc_rs::digest;
use foldhash::fast::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

use super::meter::{Carried, Meter};
use super::{Ask, Count, Decision};
use crate::clock::Clock;

/// A power of two, well above the number of cores.
const SHARDS: usize = 64;

/// How many held keys are looked at whenever one is added, so that a table with turnover stays small by itself.
const CHECKED_PER_INSERT: usize = 4;

/// Longer keys are kept as a digest, so that a key's memory is bounded.
const LONGEST_KEY: usize = 256;

/// Shards above this size are not searched for room again for a while, so that a flood of new keys cannot make each
/// request read the whole table.
const SEARCH_FREELY_BELOW: usize = 1024;

/// That while, for each key held in the shard.
const SEARCH_PAUSE: Duration = Duration::from_micros(10);

/// What became of a request.
pub(super) enum Outcome {
    /// The key was looked at.
    Decided(Decision),
    /// There is no room for a new key until at least then.
    Overflow {
        /// The time until some key may be back to full.
        wait: Duration,
    },
    /// The keys have moved to another limiter.
    Moved,
}

/// The keys have moved to another limiter.
#[derive(Debug)]
pub(super) struct Moved;

/// The states of all keys of one limit.
#[derive(Debug)]
pub(super) struct Keys<M: Meter> {
    shards: Box<[Shard<M>]>,
    hasher: RandomState,
    held: AtomicUsize,
    bound: usize,
}

// Whole cache lines, so that neighbouring shards do not slow each other down.
#[repr(align(64))]
struct Shard<M: Meter> {
    table: Mutex<Table<M>>,
    /// No key of the shard is known to be back to full before then: a bound for the search for room.
    search_at: AtomicU64,
}

struct Table<M: Meter> {
    entries: HashTable<Entry<M>>,
    /// Where the next look for keys to drop begins.
    cursor: usize,
    moved: bool,
}

struct Entry<M: Meter> {
    key: M::Key,
    state: M::State,
}

impl<M: Meter> std::fmt::Debug for Shard<M> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.debug_struct("Shard").finish_non_exhaustive()
    }
}

impl<M: Meter> Keys<M> {
    pub(super) fn new(bound: usize) -> Self {
        let shard = |_| Shard {
            table: Mutex::new(Table { entries: HashTable::new(), cursor: 0, moved: false }),
            search_at: AtomicU64::new(u64::MAX),
        };
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            hasher: RandomState::default(),
            held: AtomicUsize::new(0),
            bound,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Decides on a request.
    pub(super) fn decide(&self, meter: &M, ask: &Ask<'_>, clock: &Clock) -> Outcome {
        with_bytes(ask.key, |key| self.decide_bytes(meter, key, ask, clock))
    }

    fn decide_bytes(&self, meter: &M, key: &[u8], ask: &Ask<'_>, clock: &Clock) -> Outcome {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let mut reserved = false;
        loop {
            let mut guard = shard.table.lock();
            let table = &mut *guard;
            if table.moved {
                self.release(usize::from(reserved));
                return Outcome::Moved;
            }
            // Read under the lock, so that the times of one key never go back.
            let now = clock.now().0;
            if let Some(entry) = table.find(hash, key) {
                self.release(usize::from(reserved));
                return Outcome::Decided(meter.take(&mut entry.state, ask.cost, ask.count, now));
            }
            // What is counted later needs room for its key as well, or it would never be counted.
            let needs_room = ask.cost > 0 && ask.count != Count::Never;
            let mut state = meter.fresh();
            if !needs_room || reserved || self.reserve(self.bound) {
                let decision = meter.take(&mut state, ask.cost, ask.count, now);
                let full_at = meter.full_at(&state);
                if full_at <= now {
                    // Nothing was counted, so there is nothing to keep.
                    self.release(usize::from(needs_room));
                    return Outcome::Decided(decision);
                }
                self.release(table.drop_some(meter, now));
                table.insert(&self.hasher, hash, key.into(), state);
                shard.search_at.fetch_min(full_at, Ordering::Relaxed);
                return Outcome::Decided(decision);
            }
            // The search locks other shards, so this one is let go first; the key may have come in meanwhile.
            drop(guard);
            if !self.make_room(meter, now) {
                return Outcome::Overflow { wait: Duration::from_nanos(self.search_at().saturating_sub(now)) };
            }
            reserved = true;
        }
    }

    /// Counts units of a key, whether or not there is room for them. A new key is held beyond the bound too, up to as many again: there
    /// was room when its request was admitted, and others of that time have taken it.
    pub(super) fn charge(&self, meter: &M, key: &str, units: u32, clock: &Clock) -> Result<(), Moved> {
        if units == 0 {
            return Ok(());
        }
        with_bytes(key, |key| {
            let hash = self.hasher.hash_one(key);
            let shard = self.shard(hash);
            let mut table = shard.table.lock();
            if table.moved {
                return Err(Moved);
            }
            let now = clock.now().0;
            if let Some(entry) = table.find(hash, key) {
                meter.charge(&mut entry.state, units, now);
                return Ok(());
            }
            self.release(table.drop_some(meter, now));
            if self.reserve(self.bound.saturating_mul(2)) {
                let mut state = meter.fresh();
                meter.charge(&mut state, units, now);
                shard.search_at.fetch_min(meter.full_at(&state), Ordering::Relaxed);
                table.insert(&self.hasher, hash, key.into(), state);
            }
            Ok(())
        })
    }

    /// Takes back what was counted for a decision.
    pub(super) fn give_back(
        &self,
        meter: &M,
        key: &str,
        units: u32,
        decision: &Decision,
        clock: &Clock,
    ) -> Result<(), Moved> {
        with_bytes(key, |key| {
            let hash = self.hasher.hash_one(key);
            let mut table = self.shard(hash).table.lock();
            if table.moved {
                return Err(Moved);
            }
            let now = clock.now().0;
            if let Some(entry) = table.find(hash, key) {
                meter.give_back(&mut entry.state, units, decision, now);
            }
            Ok(())
        })
    }

    fn shard(&self, hash: u64) -> &Shard<M> {
        // hashbrown takes its bucket from the lowest bits and its tag from the seven highest.
        &self.shards[(hash >> 48) as usize & (SHARDS - 1)]
    }

    fn reserve(&self, bound: usize) -> bool {
        let more = |held| (held < bound).then_some(held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, count: usize) {
        if count > 0 {
            self.held.fetch_sub(count, Ordering::Relaxed);
        }
    }

    /// Drops keys that are back to full until there is room for one more, and reserves it.
    fn make_room(&self, meter: &M, now: u64) -> bool {
        for shard in &self.shards {
            if shard.search_at.load(Ordering::Relaxed) <= now {
                let mut table = shard.table.lock();
                let (dropped, next) = table.drop_full(meter, now);
                shard.search_at.store(next, Ordering::Relaxed);
                drop(table);
                self.release(dropped);
                if self.reserve(self.bound) {
                    return true;
                }
            }
        }
        self.reserve(self.bound)
    }

    /// The earliest time at which a search may find room.
    fn search_at(&self) -> u64 {
        self.shards.iter().map(|shard| shard.search_at.load(Ordering::Relaxed)).min().unwrap_or(u64::MAX)
    }

    /// Takes every key out, for good: from then on decisions answer [`Outcome::Moved`].
    pub(super) fn drain(&self, meter: &M, now: u64, mut adopt: impl FnMut(&[u8], Carried)) {
        for shard in &self.shards {
            let mut table = shard.table.lock();
            table.moved = true;
            let entries = std::mem::take(&mut table.entries);
            self.release(entries.len());
            for entry in entries {
                adopt(&entry.key, meter.carry_out(entry.state, now));
            }
        }
    }

    /// Takes in a key from another limiter, unless it is back to full. The bound does not apply: to drop such a key
    /// would refill it. It is held again once those keys are back to full.
    pub(super) fn adopt(&self, meter: &M, key: &[u8], now: u64, carried: Carried) {
        let hash = self.hasher.hash_one(key);
        let shard = self.shard(hash);
        let mut table = shard.table.lock();
        let state = meter.carry_in(carried, now);
        let full_at = meter.full_at(&state);
        if full_at > now && table.entries.find(hash, |entry| *entry.key == *key).is_none() {
            table.insert(&self.hasher, hash, key.into(), state);
            self.held.fetch_add(1, Ordering::Relaxed);
            shard.search_at.fetch_min(full_at, Ordering::Relaxed);
        }
    }
}

/// The bytes that a key is kept as.
fn with_bytes<T>(key: &str, then: impl FnOnce(&[u8]) -> T) -> T {
    if key.len() <= LONGEST_KEY {
        return then(key.as_bytes());
    }
    // 0xFF occurs in no UTF-8 text, so that a digest is never taken for a key.
    let mut digested = [0xFF; 1 + digest::SHA256_OUTPUT_LEN];
    digested[1..].copy_from_slice(digest::digest(&digest::SHA256, key.as_bytes()).as_ref());
    then(&digested)
}

impl<M: Meter> Table<M> {
    fn find(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry<M>> {
        self.entries.find_mut(hash, |entry| *entry.key == *key)
    }

    fn insert(&mut self, hasher: &RandomState, hash: u64, key: M::Key, state: M::State) {
        self.entries.insert_unique(hash, Entry { key, state }, |entry| hasher.hash_one(&*entry.key));
    }

    /// Looks at the next few buckets and drops the keys there that are back to full.
    fn drop_some(&mut self, meter: &M, now: u64) -> usize {
        let mut dropped = 0;
        for _ in 0..CHECKED_PER_INSERT.min(self.entries.num_buckets()) {
            self.cursor = (self.cursor + 1) % self.entries.num_buckets();
            if let Some(entry) = self.entries.get_bucket(self.cursor)
                && meter.full_at(&entry.state) <= now
                && let Ok(found) = self.entries.get_bucket_entry(self.cursor)
            {
                found.remove();
                dropped += 1;
            }
        }
        dropped
    }

    /// Drops all keys that are back to full; says how many, and when to look again.
    fn drop_full(&mut self, meter: &M, now: u64) -> (usize, u64) {
        let before = self.entries.len();
        let mut next = u64::MAX;
        self.entries.retain(|entry| {
            let full_at = meter.full_at(&entry.state);
            let keep = full_at > now;
            if keep {
                next = next.min(full_at);
            }
            keep
        });
        let kept = self.entries.len();
        if kept > SEARCH_FREELY_BELOW {
            let pause = SEARCH_PAUSE.as_nanos() as u64 * kept as u64;
            next = next.max(now.saturating_add(pause));
        }
        (before - kept, next)
    }
}
