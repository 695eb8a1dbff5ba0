//! All subscription keys, by digest: one hash of the key and one probe, however many there are.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::SystemTime;

use hashbrown::HashTable;

use super::subscription::{KeyDigest, Refusal, Subscription};

/// The last four characters of a key, by which people recognise it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct LastFour([u8; 4]);

impl LastFour {
    /// Four visible ASCII characters.
    pub fn new(text: &str) -> Option<Self> {
        let four: [u8; 4] = text.as_bytes().try_into().ok()?;
        four.iter().all(u8::is_ascii_graphic).then_some(Self(four))
    }
}

impl fmt::Display for LastFour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(std::str::from_utf8(&self.0).unwrap_or_default())
    }
}

impl fmt::Debug for LastFour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "…{self}")
    }
}

/// One key of a subscription, as it is written down.
#[derive(Clone, Debug)]
pub struct SubscriptionKey {
    /// The digest of the key.
    pub digest: KeyDigest,
    /// The key's last four characters.
    pub last_four: Option<LastFour>,
    /// From when on it is refused, whatever its subscription says.
    pub expires: Option<SystemTime>,
    /// Whether it was revoked.
    pub revoked: bool,
}

impl From<KeyDigest> for SubscriptionKey {
    fn from(digest: KeyDigest) -> Self {
        Self { digest, last_four: None, expires: None, revoked: false }
    }
}

/// A key and whose it is.
#[derive(Clone, Debug)]
pub struct Key {
    key: SubscriptionKey,
    /// The subscription that it opens.
    pub subscription: Arc<Subscription>,
}

impl Key {
    /// Whether a call with it to `api`, which the `products` contain, is granted at the time `now`.
    pub fn authorize(&self, api: &str, products: &[Arc<str>], now: SystemTime) -> Result<(), Refusal> {
        let refusal = |ended| {
            let subscription = Arc::clone(&self.subscription.id);
            Err(Refusal::KeyEnded { subscription, last_four: self.key.last_four, ended })
        };
        if self.key.revoked {
            return refusal("was revoked");
        }
        if self.key.expires.is_some_and(|expires| now >= expires) {
            return refusal("has expired");
        }
        self.subscription.authorize(api, products, now)
    }
}

/// Two subscriptions hold the same key, or one holds it twice.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("subscription `{second}` has a key that subscription `{first}` already has")]
pub struct DuplicateKey {
    /// The subscription that had the key first.
    pub first: Arc<str>,
    /// The subscription that repeats it.
    pub second: Arc<str>,
    /// The key's digest.
    pub digest: KeyDigest,
}

/// The keys of one place, by digest.
#[derive(Clone, Default)]
pub struct KeyRing {
    /// Places in `keys`: a table of small numbers wastes less than one of keys, of which up to half the room is free.
    table: HashTable<u32>,
    keys: Vec<Key>,
    hasher: foldhash::fast::RandomState,
}

impl KeyRing {
    /// The ring of all keys of `subscriptions`.
    ///
    /// # Errors
    /// When a key is there twice.
    pub fn new(
        subscriptions: impl IntoIterator<Item = (Subscription, Vec<SubscriptionKey>)>,
    ) -> Result<Self, DuplicateKey> {
        let mut ring = Self::default();
        for (subscription, keys) in subscriptions {
            ring.add(subscription, keys)?;
        }
        ring.shrink();
        Ok(ring)
    }

    /// Adds a subscription with its keys.
    ///
    /// # Errors
    /// When a key is there already.
    pub fn add(
        &mut self,
        subscription: Subscription,
        keys: impl IntoIterator<Item = SubscriptionKey>,
    ) -> Result<(), DuplicateKey> {
        let subscription = Arc::new(subscription);
        for key in keys {
            if let Some(known) = self.find(&key.digest) {
                return Err(DuplicateKey {
                    first: Arc::clone(&known.subscription.id),
                    second: Arc::clone(&subscription.id),
                    digest: key.digest,
                });
            }
            let Self { table, keys, hasher } = self;
            let hash = |key: &Key| hasher.hash_one(key.key.digest);
            // Two times four thousand million keys do not fit into memory.
            let place = u32::try_from(keys.len()).unwrap_or(u32::MAX);
            keys.push(Key { key, subscription: Arc::clone(&subscription) });
            table.insert_unique(hash(&keys[place as usize]), place, |at| hash(&keys[*at as usize]));
        }
        Ok(())
    }

    /// Gives back the room that was kept for growing.
    pub fn shrink(&mut self) {
        self.keys.shrink_to_fit();
        let Self { table, keys, hasher } = self;
        table.shrink_to_fit(|at| hasher.hash_one(keys[*at as usize].key.digest));
    }

    /// The key with this digest.
    pub fn find(&self, digest: &KeyDigest) -> Option<&Key> {
        let hash = self.hasher.hash_one(digest);
        let place = self.table.find(hash, |at| self.keys[*at as usize].key.digest == *digest)?;
        Some(&self.keys[*place as usize])
    }

    /// The key that was presented.
    pub fn lookup(&self, presented: &[u8]) -> Option<&Key> {
        self.find(&KeyDigest::of(presented))
    }

    /// Every key's digest and subscription.
    pub fn iter(&self) -> impl Iterator<Item = (&KeyDigest, &Arc<Subscription>)> {
        self.keys.iter().map(|key| (&key.key.digest, &key.subscription))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}

impl fmt::Debug for KeyRing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRing({} keys)", self.len())
    }
}

/// The keys of a configuration: those written into it, and those of its key file, which is kept while it does not change.
#[derive(Clone, Debug, Default)]
pub struct Keys {
    /// Of gateway.toml.
    pub written: Arc<KeyRing>,
    /// Of the key file.
    pub filed: Arc<KeyRing>,
}

impl Keys {
    /// The key that was presented.
    pub fn lookup(&self, presented: &[u8]) -> Option<&Key> {
        let digest = KeyDigest::of(presented);
        [&self.written, &self.filed].into_iter().find_map(|ring| ring.find(&digest))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.written.len() + self.filed.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
