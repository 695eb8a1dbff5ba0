//! The tokens of callers, by a digest of what they were made of: bounded in number and in bytes, the oldest makes room.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::RwLock;

use super::slot::Slot;
use crate::clock::Nanos;
use crate::identity::KeyDigest;

const SHARDS: usize = 16;
/// How many bytes of token each entry allows for on average: long tokens leave room for fewer.
const BYTES_FOR_ENTRY: usize = 4 * 1024;

#[derive(Default)]
struct Shard {
    entries: HashMap<KeyDigest, (Arc<Slot>, usize), foldhash::fast::RandomState>,
    /// The order of arrival. A hit changes nothing, so that readers never exclude each other.
    order: VecDeque<KeyDigest>,
    bytes: usize,
}

/// A bounded set of slots.
pub(super) struct SlotCache {
    shards: [RwLock<Shard>; SHARDS],
    capacity_of_shard: usize,
}

impl SlotCache {
    pub(super) fn new(capacity: usize) -> Self {
        Self { shards: Default::default(), capacity_of_shard: capacity.div_ceil(SHARDS).max(1) }
    }

    fn shard(&self, place: &KeyDigest) -> &RwLock<Shard> {
        &self.shards[usize::from(place.first_byte()) % SHARDS]
    }

    /// The slot at a place, made when there is none.
    pub(super) fn get(&self, place: KeyDigest, now: Nanos, make: impl FnOnce() -> Arc<Slot>) -> Arc<Slot> {
        if let Some((slot, _)) = self.shard(&place).read().entries.get(&place) {
            return slot.clone();
        }
        let mut shard = self.shard(&place).write();
        let shard = &mut *shard;
        if let Some((slot, _)) = shard.entries.get(&place) {
            return slot.clone();
        }
        let slot = make();
        shard.entries.insert(place, (slot.clone(), 0));
        shard.order.push_back(place);
        // What is of no more use goes first, two for each that comes.
        for _ in 0..2 {
            let oldest = shard.order.front().and_then(|place| shard.entries.get(place));
            if shard.order.len() > 2 && oldest.is_some_and(|(slot, _)| slot.is_spent(now)) {
                shard.drop_oldest();
            }
        }
        shard.fit(self.capacity_of_shard);
        slot
    }

    /// Notes how long the token of a slot is.
    pub(super) fn account(&self, place: &KeyDigest, bytes: usize) {
        let mut shard = self.shard(place).write();
        let shard = &mut *shard;
        if let Some((_, known)) = shard.entries.get_mut(place) {
            shard.bytes = shard.bytes - *known + bytes;
            *known = bytes;
            shard.fit(self.capacity_of_shard);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().entries.len()).sum()
    }
}

impl Shard {
    fn fit(&mut self, capacity: usize) {
        while self.order.len() > capacity || (self.bytes > capacity * BYTES_FOR_ENTRY && self.order.len() > 1) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.bytes -= self.entries.remove(&oldest).map_or(0, |(_, bytes)| bytes);
        }
    }
}
