//! One quota's keys: a sharded, bounded table of what each has used.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use aws_lc_rs::digest;
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use parking_lot::Mutex;

use super::super::key::Key;
use super::schedule::{Millis, NEVER, Schedule, millis};
use super::verdict::{Allowance, Exceeded, Left, Ticket, Verdict};
use super::{Digest, Usage};
use crate::clock::Clock;
use crate::limit::Overflow;

/// A power of two, well above the number of cores.
const SHARDS: usize = 64;

/// Longer keys are kept as a digest, so that a key's memory is bounded.
const LONGEST_KEY: usize = 256;

/// How many shards are searched for keys that can be forgotten, each time that changes are collected.
const SWEPT: usize = 4;

/// A full table is searched for room at most this often.
const SEARCH_PAUSE: Millis = 1_000;

/// How a ledger counts; a reload may change it.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// When counts come back.
    pub schedule: Schedule,
    /// How many keys are held at most.
    pub max_keys: usize,
    /// What happens to a new key when no more can be held.
    pub on_overflow: Overflow,
    /// Whether counts are kept in the store.
    pub kept: bool,
}

/// The keys of one quota, shared by all workers.
pub struct Ledger {
    id: Arc<str>,
    clock: Clock,
    settings: ArcSwap<Settings>,
    shards: Box<[Shard]>,
    hasher: RandomState,
    held: AtomicUsize,
    /// How many policies of the configuration in force count here.
    users: AtomicU32,
    /// What the store holds of keys that have not called since the start.
    stored: Mutex<HashMap<Digest, Usage>>,
    stored_len: AtomicUsize,
    sweep_from: AtomicUsize,
    search_at: Mutex<Millis>,
    /// Keys that were forgotten between two collections: their rows are to be deleted.
    gone: Mutex<Vec<Digest>>,
}

// Whole cache lines, so that neighbouring shards do not slow each other down.
#[repr(align(64))]
#[derive(Default)]
struct Shard(Mutex<Table>);

#[derive(Default)]
struct Table {
    entries: HashTable<Entry>,
    /// The hashes of keys that changed since they were last collected.
    changed: Vec<u64>,
    /// The calendar's period that was looked up last, and the settings it was looked up for.
    period: Option<(Arc<Settings>, Millis, Millis)>,
}

struct Entry {
    key: Key,
    usage: Usage,
    changed: bool,
}

impl std::fmt::Debug for Ledger {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.debug_struct("Ledger").field("id", &self.id).field("held", &self.len()).finish_non_exhaustive()
    }
}

impl Ledger {
    /// A ledger without keys.
    pub fn new(id: &str, settings: Settings, clock: Clock) -> Self {
        Self {
            id: id.into(),
            clock,
            settings: ArcSwap::from_pointee(settings),
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            hasher: RandomState::default(),
            held: AtomicUsize::new(0),
            users: AtomicU32::new(1),
            stored: Mutex::default(),
            stored_len: AtomicUsize::new(0),
            sweep_from: AtomicUsize::new(0),
            search_at: Mutex::new(Millis::MIN),
            gone: Mutex::default(),
        }
    }

    /// The name that it has in the store.
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// How many keys are held.
    pub fn len(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Whether no key is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether its counts are kept in the store.
    pub fn is_kept(&self) -> bool {
        self.settings.load().kept
    }

    /// Whether several policies count here, so that one request may come by twice.
    pub fn is_shared(&self) -> bool {
        self.users.load(Ordering::Relaxed) > 1
    }

    pub(super) fn set(&self, settings: &Settings, users: u32) {
        self.users.store(users, Ordering::Relaxed);
        if **self.settings.load() == *settings {
            return;
        }
        self.settings.store(Arc::new(settings.clone()));
        // A year's count must not outlive a change to a day.
        let now = millis(self.clock.wall());
        let until = settings.schedule.horizon(now);
        for shard in &self.shards {
            let table = &mut *shard.0.lock();
            for entry in &mut table.entries {
                entry.usage.cap(until);
            }
        }
    }

    /// Decides on a request of `key`, and counts `calls` and `units` when it is admitted: one atomic step. Without calls and units
    /// nothing is counted and the answer shows what is left. `first` is where the key's own periods begin.
    pub fn take(&self, key: &str, first: Option<Millis>, allowance: &Allowance, calls: u64, units: u64) -> Verdict {
        with_key(key, |key| self.take_bytes(key, first, allowance, calls, units))
    }

    fn take_bytes(&self, key: &[u8], first: Option<Millis>, allowance: &Allowance, calls: u64, units: u64) -> Verdict {
        let hash = self.hasher.hash_one(key);
        let settings = self.settings.load();
        let mut reserved = false;
        loop {
            let mut guard = self.shard(hash).0.lock();
            let table = &mut *guard;
            // Read under the lock, so that the times of one key do not go back.
            let now = millis(self.clock.wall());
            let (_, until) = table.period(&settings, now, first);
            if let Some(entry) = table.entries.find_mut(hash, |entry| *entry.key == *key) {
                if reserved {
                    self.release(1);
                }
                entry.usage.expire(now);
                let until = first_call(&settings, &entry.usage, until);
                let verdict = decide(&mut entry.usage, now, until, allowance, calls, units);
                if verdict.outcome.is_ok() && (calls > 0 || units > 0) && !entry.changed && settings.kept {
                    entry.changed = true;
                    table.changed.push(hash);
                }
                return verdict;
            }
            let mut usage = self.recall(key).unwrap_or_default();
            usage.expire(now);
            let known = !usage.is_free(now);
            let until = first_call(&settings, &usage, until);
            if known {
                // It was held among the stored ones, and is still.
                let verdict = decide(&mut usage, now, until, allowance, calls, units);
                table.insert(&self.hasher, hash, key, usage, settings.kept);
                return verdict;
            }
            let counts = calls > 0 || units > 0;
            if !counts || reserved || self.reserve(settings.max_keys) {
                let verdict = decide(&mut usage, now, until, allowance, calls, units);
                if verdict.outcome.is_ok() && counts {
                    table.insert(&self.hasher, hash, key, usage, settings.kept);
                } else if counts {
                    self.release(1);
                }
                return verdict;
            }
            // The search locks other shards, so this one is let go first; the key may have come in meanwhile.
            drop(guard);
            match self.make_room(now, settings.max_keys) {
                Ok(()) => reserved = true,
                Err(at) => return overflow(&settings, allowance, now, at),
            }
        }
    }

    /// Corrects what a ticket counted to what it turned out to be. What comes on top is counted now when the ticket's period is
    /// over, and whatever the limit is: it has been used.
    pub fn settle(&self, key: &str, first: Option<Millis>, ticket: Ticket, calls: (u64, u64), units: (u64, u64)) {
        // What was admitted uncounted, because there was no room for the key, stays uncounted.
        if ticket.until == Millis::MIN || (calls.0 == calls.1 && units.0 == units.1) {
            return;
        }
        with_key(key, |key| {
            let hash = self.hasher.hash_one(key);
            let settings = self.settings.load();
            let table = &mut *self.shard(hash).0.lock();
            let now = millis(self.clock.wall());
            let (_, until) = table.period(&settings, now, first);
            let more = (calls.1.saturating_sub(calls.0), units.1.saturating_sub(units.0));
            let less = (calls.0.saturating_sub(calls.1), units.0.saturating_sub(units.1));
            if let Some(entry) = table.entries.find_mut(hash, |entry| *entry.key == *key) {
                entry.usage.expire(now);
                entry.usage.give_back(ticket.until, less.0, less.1);
                if more != (0, 0) {
                    // What was counted while another configuration was in force may end later than its periods do.
                    let until =
                        if ticket.until > now { ticket.until } else { first_call(&settings, &entry.usage, until) };
                    entry.usage.add(until, more.0, more.1);
                }
                if !entry.changed && settings.kept {
                    entry.changed = true;
                    table.changed.push(hash);
                }
            } else if more != (0, 0) {
                // It was forgotten because its period ended. The bound does not apply: it has been used.
                let mut usage = self.recall(key).unwrap_or_default();
                if usage.is_free(now) {
                    self.held.fetch_add(1, Ordering::Relaxed);
                }
                usage.expire(now);
                usage.add(first_call(&settings, &usage, until), more.0, more.1);
                table.insert(&self.hasher, hash, key, usage, settings.kept);
            }
        });
    }

    fn shard(&self, hash: u64) -> &Shard {
        // hashbrown takes its bucket from the lowest bits and its tag from the seven highest.
        &self.shards[(hash >> 48) as usize & (SHARDS - 1)]
    }

    fn reserve(&self, bound: usize) -> bool {
        let more = |held| (held < bound).then_some(held + 1);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    fn release(&self, count: usize) {
        self.held.fetch_sub(count, Ordering::Relaxed);
    }

    /// Takes what the store held of a key. An entry that is free again is given up here.
    fn recall(&self, key: &[u8]) -> Option<Usage> {
        if self.stored_len.load(Ordering::Acquire) == 0 {
            return None;
        }
        let usage = self.stored.lock().remove(&digest_of(key))?;
        self.stored_len.fetch_sub(1, Ordering::AcqRel);
        if usage.is_free(millis(self.clock.wall())) {
            self.gone.lock().push(digest_of(key));
            self.release(1);
            return None;
        }
        Some(usage)
    }

    /// Forgets keys that are free until there is room for one more, and reserves it; else says when to look again.
    fn make_room(&self, now: Millis, bound: usize) -> Result<(), Millis> {
        let mut search_at = self.search_at.lock();
        if *search_at <= now {
            let mut next = NEVER;
            let kept = self.is_kept();
            let mut gone = Vec::new();
            for shard in &self.shards {
                let table = &mut *shard.0.lock();
                let before = table.entries.len();
                table.entries.retain(|entry| {
                    let free = entry.usage.is_free(now);
                    if free && kept {
                        gone.push(digest_of(&entry.key));
                    }
                    !free
                });
                next =
                    table.entries.iter().filter_map(|entry| entry.usage.last_until()).min().unwrap_or(NEVER).min(next);
                self.release(before - table.entries.len());
            }
            self.gone.lock().append(&mut gone);
            next = self.forget_stored(now).min(next);
            *search_at = next.max(now.saturating_add(SEARCH_PAUSE));
        }
        let at = *search_at;
        drop(search_at);
        if self.reserve(bound) { Ok(()) } else { Err(at) }
    }

    /// Forgets stored keys that are free; says when the next one is.
    fn forget_stored(&self, now: Millis) -> Millis {
        let mut stored = self.stored.lock();
        let before = stored.len();
        let mut forgotten = Vec::new();
        stored.retain(|digest, usage| {
            let free = usage.is_free(now);
            if free {
                forgotten.push(*digest);
            }
            !free
        });
        self.gone.lock().append(&mut forgotten);
        let gone = before - stored.len();
        self.stored_len.fetch_sub(gone, Ordering::AcqRel);
        self.release(gone);
        stored.values().filter_map(Usage::last_until).min().unwrap_or(NEVER)
    }

    /// Takes in what the store holds; for keys that have called already, on top of what they have used since.
    pub(super) fn restore(&self, rows: Vec<(Digest, Usage)>) {
        let mut rows: HashMap<Digest, Usage> = rows.into_iter().collect();
        let now = millis(self.clock.wall());
        let until = self.settings.load().schedule.horizon(now);
        for shard in &self.shards {
            if rows.is_empty() {
                break;
            }
            let table = &mut *shard.0.lock();
            for entry in &mut table.entries {
                if let Some(mut usage) = rows.remove(&digest_of(&entry.key)) {
                    usage.cap(until);
                    entry.usage.merge(&usage);
                }
            }
        }
        let mut stored = self.stored.lock();
        for (digest, mut usage) in rows {
            usage.expire(now);
            usage.cap(until);
            if !usage.is_free(now) && stored.insert(digest, usage).is_none() {
                self.held.fetch_add(1, Ordering::Relaxed);
                self.stored_len.fetch_add(1, Ordering::AcqRel);
            }
        }
    }

    /// Every change since the last time: what a key has used now, or nothing when it can be forgotten. `all` collects keys that have
    /// not changed, too.
    pub(super) fn collect(&self, all: bool, mut change: impl FnMut(Digest, Option<Vec<u8>>)) {
        if !self.is_kept() {
            return self.sweep(|_| {});
        }
        let now = millis(self.clock.wall());
        let mut found: Vec<(Key, Usage)> = Vec::new();
        for shard in &self.shards {
            let table = &mut *shard.0.lock();
            let changed = std::mem::take(&mut table.changed);
            if all {
                for entry in &mut table.entries {
                    entry.changed = false;
                    found.push((entry.key.clone(), entry.usage.clone()));
                }
                continue;
            }
            for hash in changed {
                for entry in table.entries.iter_hash_mut(hash).filter(|entry| entry.changed) {
                    entry.changed = false;
                    found.push((entry.key.clone(), entry.usage.clone()));
                }
            }
        }
        // Taken after the shards were looked at and written before them: a key that came back since has changed again, and one that
        // is still there is written behind.
        for digest in std::mem::take(&mut *self.gone.lock()) {
            change(digest, None);
        }
        // Hashing takes longer than copying, and nobody waits for it here.
        for (key, usage) in found {
            change(digest_of(&key), (!usage.is_free(now)).then(|| usage.encode()));
        }
        if all {
            for (digest, usage) in &*self.stored.lock() {
                change(*digest, Some(usage.encode()));
            }
        }
        self.sweep(|key| change(digest_of(key), None));
    }

    /// Forgets keys that are free, in a few shards each time.
    fn sweep(&self, mut forgotten: impl FnMut(&[u8])) {
        let now = millis(self.clock.wall());
        let from = self.sweep_from.fetch_add(SWEPT, Ordering::Relaxed);
        for at in from..from + SWEPT {
            let table = &mut *self.shards[at % SHARDS].0.lock();
            let before = table.entries.len();
            table.entries.retain(|entry| {
                let free = entry.usage.is_free(now);
                if free {
                    forgotten(&entry.key);
                }
                !free
            });
            self.release(before - table.entries.len());
        }
        if from.is_multiple_of(SHARDS) && self.stored_len.load(Ordering::Relaxed) > 0 {
            self.forget_stored(now);
        }
    }
}

impl Table {
    /// The period that holds `now`.
    fn period(&mut self, settings: &Arc<Settings>, now: Millis, first: Option<Millis>) -> (Millis, Millis) {
        if !settings.schedule.is_calendar() {
            return settings.schedule.window(now, first);
        }
        match &self.period {
            Some((known, from, until)) if Arc::ptr_eq(known, settings) && (*from..*until).contains(&now) => {
                (*from, *until)
            }
            _ => {
                let (from, until) = settings.schedule.window(now, first);
                self.period = Some((settings.clone(), from, until));
                (from, until)
            }
        }
    }

    fn insert(&mut self, hasher: &RandomState, hash: u64, key: &[u8], usage: Usage, kept: bool) {
        if kept {
            self.changed.push(hash);
        }
        let entry = Entry { key: key.into(), usage, changed: kept };
        self.entries.insert_unique(hash, entry, |entry| hasher.hash_one(&*entry.key));
    }
}

/// Where a count of now ends: with the period of the key's first call, where that begins it.
fn first_call(settings: &Settings, usage: &Usage, until: Millis) -> Millis {
    if settings.schedule.is_first_call() { usage.last_until().unwrap_or(until) } else { until }
}

fn decide(usage: &mut Usage, now: Millis, until: Millis, allowance: &Allowance, calls: u64, units: u64) -> Verdict {
    let (used_calls, used_units) = usage.used();
    let over_calls = allowance.calls.is_some_and(|limit| used_calls.saturating_add(calls) > limit);
    // Units that are known beforehand must fit; others are known when the exchange has ended, and one must be left.
    let wanted = units.max(1);
    let over_units =
        allowance.units.is_some_and(|limit| used_units.saturating_add(wanted) > limit) && (calls > 0 || units > 0);
    let mut wait = Some(Duration::ZERO);
    let outcome = if over_calls || over_units {
        let room = |limit: Option<u64>, wanted: u64| limit.map_or(Some(u64::MAX), |limit| limit.checked_sub(wanted));
        wait = match (room(allowance.calls, calls), room(allowance.units, wanted)) {
            (Some(calls), Some(units)) => wait_until(usage.free_at(calls, units), now),
            // More than the whole limit.
            _ => None,
        };
        Err(if over_calls { Exceeded::Calls } else { Exceeded::Units })
    } else {
        if calls > 0 || units > 0 {
            usage.add(until, calls, units);
        }
        Ok(Ticket::here(until))
    };
    let (used_calls, used_units) = usage.used();
    let left = |limit: u64, used: u64, free_at: &dyn Fn(u64) -> Millis| {
        let more = used.min(limit).checked_sub(1).map_or(Some(Duration::ZERO), |fewer| wait_until(free_at(fewer), now));
        Left { limit, left: limit.saturating_sub(used), more }
    };
    Verdict {
        outcome,
        calls: allowance.calls.map(|limit| left(limit, used_calls, &|fewer| usage.free_at(fewer, u64::MAX))),
        units: allowance.units.map(|limit| left(limit, used_units, &|fewer| usage.free_at(u64::MAX, fewer))),
        wait,
        overflowed: false,
    }
}

/// How long it is until then; none when it never comes.
fn wait_until(at: Millis, now: Millis) -> Option<Duration> {
    (at != NEVER).then(|| Duration::from_millis(u64::try_from(at.saturating_sub(now)).unwrap_or(0)))
}

#[cold]
fn overflow(settings: &Settings, allowance: &Allowance, now: Millis, at: Millis) -> Verdict {
    let admitted = settings.on_overflow == Overflow::Admit;
    let wait = wait_until(at, now);
    Verdict {
        outcome: if admitted { Ok(Ticket::uncounted()) } else { Err(Exceeded::Keys) },
        calls: allowance.calls.map(|limit| Left { limit, left: 0, more: wait }),
        units: allowance.units.map(|limit| Left { limit, left: 0, more: wait }),
        wait,
        overflowed: true,
    }
}

/// The key as it is held.
fn with_key<T>(key: &str, look: impl FnOnce(&[u8]) -> T) -> T {
    if key.len() <= LONGEST_KEY {
        return look(key.as_bytes());
    }
    // 0xFF occurs in no UTF-8 text, so that a digest is never taken for a key.
    let mut digested = [0xFF; 1 + digest::SHA256_OUTPUT_LEN];
    digested[1..].copy_from_slice(&digest_of(key.as_bytes()));
    look(&digested)
}

pub(super) fn digest_of(key: &[u8]) -> Digest {
    let mut out = [0; 32];
    out.copy_from_slice(digest::digest(&digest::SHA256, key).as_ref());
    out
}
