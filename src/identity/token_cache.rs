//! Tokens that were verified before, so that a repeated one costs a hash and not a signature.
//!
//! One memory serves every policy of a process, so that its bound does not grow with the configuration. What one verifier
//! accepted is nothing to another: their rules differ.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::subscription::KeyDigest;
use super::token_verifier::Verified;

const SHARDS: usize = 16;

/// How many tokens a process remembers.
const ENTRIES: usize = 20_000;

/// How much token text each entry allows for on average: long tokens leave room for fewer, so that the memory is bounded
/// in bytes as well.
const BYTES_FOR_ENTRY: usize = 2 * 1024;

/// Which fetched key set verified a token: the source's place in the verifier, and the generation of its keys.
pub(super) type KeyOrigin = Option<(usize, u64)>;

#[derive(Clone)]
pub(super) struct Cached {
    pub(super) verified: Arc<Verified>,
    pub(super) origin: KeyOrigin,
    /// The length of the token.
    pub(super) bytes: usize,
}

/// A token of one verifier.
type Key = (KeyDigest, VerifierId);

/// Whose memory an entry is. None is given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct VerifierId(u64);

#[derive(Default)]
struct Shard {
    entries: HashMap<Key, Cached, foldhash::fast::RandomState>,
    /// The order of arrival: the oldest makes room. A hit changes nothing, so that readers never exclude each other.
    order: VecDeque<Key>,
    /// The length of all tokens together.
    bytes: usize,
}

/// Bounded, and grown only as tokens come. Entries are not trusted by themselves: whoever reads one checks its lifetime
/// and that the keys of its origin are still in force.
pub struct TokenCache {
    shards: [RwLock<Shard>; SHARDS],
    capacity_of_shard: usize,
    verifiers: AtomicU64,
}

impl Default for TokenCache {
    /// For 20,000 tokens.
    fn default() -> Self {
        Self::new(ENTRIES)
    }
}

impl TokenCache {
    /// A memory for so many tokens, with 2 KiB of token text for each on average; 0 for none.
    pub fn new(capacity: usize) -> Self {
        Self {
            shards: Default::default(),
            capacity_of_shard: capacity.div_ceil(SHARDS),
            verifiers: AtomicU64::default(),
        }
    }

    /// An id for one more verifier.
    pub(super) fn verifier(&self) -> VerifierId {
        VerifierId(self.verifiers.fetch_add(1, Ordering::Relaxed))
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.capacity_of_shard > 0
    }

    fn shard(&self, token: &KeyDigest) -> &RwLock<Shard> {
        &self.shards[usize::from(token.first_byte()) % SHARDS]
    }

    pub(super) fn get(&self, token: KeyDigest, verifier: VerifierId) -> Option<Cached> {
        self.shard(&token).read().entries.get(&(token, verifier)).cloned()
    }

    pub(super) fn insert(&self, token: KeyDigest, verifier: VerifierId, cached: Cached) {
        let mut shard = self.shard(&token).write();
        let shard = &mut *shard;
        let bytes = cached.bytes;
        if shard.entries.insert((token, verifier), cached).is_some() {
            return;
        }
        shard.order.push_back((token, verifier));
        shard.bytes += bytes;
        let limit = self.capacity_of_shard * BYTES_FOR_ENTRY;
        while shard.order.len() > self.capacity_of_shard || (shard.bytes > limit && shard.order.len() > 1) {
            let Some(oldest) = shard.order.pop_front() else { break };
            shard.bytes -= shard.entries.remove(&oldest).map_or(0, |oldest| oldest.bytes);
        }
    }

    /// How many tokens are remembered.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().entries.len()).sum()
    }

    /// Whether no token is.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl std::fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenCache({} tokens)", self.len())
    }
}
