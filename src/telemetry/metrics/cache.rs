//! The series of the cache.

use prometheus::{IntCounter, IntCounterVec, IntGauge};

use super::Families;

/// What kinds of thing are cached.
const KINDS: [&str; 3] = ["response", "value", "side_call"];
const RESULTS: [&str; 5] = ["hit", "miss", "shared", "pass", "error"];
const STORES: [&str; 3] = ["stored", "too_large", "error"];

/// What is counted of the cache. Clones count together.
#[derive(Clone)]
pub struct CacheMetrics {
    /// Of the memory.
    pub memory: MemoryMetrics,
    kinds: [KindMetrics; KINDS.len()],
}

/// What is counted of one kind of thing: answers, values, side calls.
#[derive(Clone)]
pub struct KindMetrics {
    lookups: [IntCounter; RESULTS.len()],
    stores: [IntCounter; STORES.len()],
}

/// What came of a look into the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheResult {
    /// It was there.
    Hit,
    /// It was not.
    Miss,
    /// Another request was fetching it.
    Shared,
    /// It is known that it cannot be kept.
    Pass,
    /// The store that gateways share did not answer.
    Error,
}

/// What became of something to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStore {
    /// It is kept.
    Stored,
    /// It is too large.
    TooLarge,
    /// The store that gateways share did not take it.
    Error,
}

/// What is counted of the memory.
#[derive(Clone)]
pub struct MemoryMetrics {
    entries: IntGauge,
    bytes: IntGauge,
    /// Entries whose time was over.
    pub over: IntCounter,
    /// Entries that made room for others.
    pub made_room: IntCounter,
}

impl CacheMetrics {
    pub(super) fn new(families: &mut Families) -> Self {
        let lookups = families.counters(
            "cache_lookups_total",
            "Looks into the cache for a response, value or side_call, by result: hit, miss, shared (another request was fetching it), pass (known not to be cacheable), and besides these error, when the shared store did not answer.",
            &["kind", "result"],
        );
        let stores = families.counters(
            "cache_stores_total",
            "What was to be cached, by result: stored, too_large, or error (the shared store did not take it).",
            &["kind", "result"],
        );
        let evictions = families.counters(
            "cache_evictions_total",
            "Entries of the memory cache that went: expired, or made_room for others.",
            &["reason"],
        );
        Self {
            memory: MemoryMetrics {
                entries: families.gauge("cache_entries", "Entries of the memory cache."),
                bytes: families.gauge("cache_bytes", "Bytes that the entries of the memory cache take."),
                over: evictions.with_label_values(&["expired"]),
                made_room: evictions.with_label_values(&["made_room"]),
            },
            kinds: KINDS.map(|kind| {
                let all = |family: &IntCounterVec, result: &str| family.with_label_values(&[kind, result]);
                KindMetrics {
                    lookups: RESULTS.map(|result| all(&lookups, result)),
                    stores: STORES.map(|result| all(&stores, result)),
                }
            }),
        }
    }

    /// Of whole answers.
    pub fn responses(&self) -> &KindMetrics {
        &self.kinds[0]
    }

    /// Of values.
    pub fn values(&self) -> &KindMetrics {
        &self.kinds[1]
    }

    /// Of what side calls brought.
    pub fn side_calls(&self) -> &KindMetrics {
        &self.kinds[2]
    }
}

impl KindMetrics {
    /// Counts a look.
    pub fn looked(&self, result: CacheResult) {
        self.lookups[result as usize].inc();
    }

    /// Counts something to be kept.
    pub fn stored(&self, result: CacheStore) {
        self.stores[result as usize].inc();
    }
}

impl MemoryMetrics {
    /// An entry came.
    pub fn added(&self, bytes: usize) {
        self.entries.inc();
        self.bytes.add(signed(bytes));
    }

    /// An entry went.
    pub fn removed(&self, bytes: usize) {
        self.entries.dec();
        self.bytes.sub(signed(bytes));
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl std::fmt::Debug for CacheMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("CacheMetrics")
    }
}
