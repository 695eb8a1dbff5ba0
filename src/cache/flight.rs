//! One fetch for all who ask for the same thing at the same time: the first one fetches, the others wait for what it brings.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::watch;

use crate::clock::{Clock, Nanos};

/// The most keys that are fetched at one time; beyond it everybody fetches alone.
const MOST: usize = 16 * 1024;
/// A power of two.
const SHARDS: usize = 16;

type Landing<T> = watch::Receiver<Option<Outcome<T>>>;
type Flying<T> = HashMap<Arc<[u8]>, Landing<T>, RandomState>;

/// What is being fetched right now.
pub struct Flights<T>(Arc<Shards<T>>);

struct Shards<T> {
    shards: [Mutex<Flying<T>>; SHARDS],
    hasher: RandomState,
}

/// How a fetch ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// With what everybody who waits can use.
    Got(T),
    /// With what only the one who fetched can use: everybody has to fetch alone.
    Private,
    /// With nothing, or with something that may be asked for anew: whoever comes first fetches again.
    Again,
}

/// What somebody is who asks.
pub enum Joined<T> {
    /// The one who fetches.
    Leads(Lead<T>),
    /// One who waits.
    Waits(Waiting<T>),
    /// One more than can be kept account of.
    Alone,
}

/// The duty to fetch. Dropped without a word, it passes to one of those who wait.
pub struct Lead<T> {
    flights: Flights<T>,
    key: Arc<[u8]>,
    landing: watch::Sender<Option<Outcome<T>>>,
}

/// The right to what somebody else fetches.
pub struct Waiting<T>(Landing<T>);

impl<T> Default for Flights<T> {
    fn default() -> Self {
        let hasher = RandomState::default();
        let shards = std::array::from_fn(|_| Mutex::new(HashMap::with_hasher(hasher.clone())));
        Self(Arc::new(Shards { shards, hasher }))
    }
}

impl<T> Clone for Flights<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Flights<T> {
    /// Takes the lead for a key, or a place among those who wait.
    pub fn join(&self, key: &[u8]) -> Joined<T> {
        let mut flying = self.shard(key).lock();
        if let Some(landing) = flying.get(key) {
            return Joined::Waits(Waiting(landing.clone()));
        }
        if flying.len() >= MOST / SHARDS {
            return Joined::Alone;
        }
        let key: Arc<[u8]> = key.into();
        let (sender, landing) = watch::channel(None);
        flying.insert(key.clone(), landing);
        drop(flying);
        Joined::Leads(Lead { flights: self.clone(), key, landing: sender })
    }

    fn shard(&self, key: &[u8]) -> &Mutex<Flying<T>> {
        let hash = self.0.hasher.hash_one(key);
        &self.0.shards[usize::try_from(hash >> 40).unwrap_or_default() % SHARDS]
    }

    #[cfg(test)]
    fn len(&self) -> usize {
        self.0.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

impl<T> Lead<T> {
    /// Tells those who wait. What is kept must be in its place before, so that nobody comes between the two.
    pub fn land(self, outcome: Outcome<T>) {
        self.flights.shard(&self.key).lock().remove(&self.key);
        self.landing.send_replace(Some(outcome));
    }
}

impl<T> Drop for Lead<T> {
    fn drop(&mut self) {
        // Unless it has landed, and somebody else leads by now.
        if self.landing.borrow().is_none() {
            self.flights.shard(&self.key).lock().remove(&self.key);
            self.landing.send_replace(Some(Outcome::Again));
        }
    }
}

impl<T: Clone> Waiting<T> {
    /// How the fetch ended; nothing when it takes longer than that.
    pub async fn outcome(mut self, until: Nanos, clock: &Clock) -> Option<Outcome<T>> {
        let landed = async {
            match self.0.wait_for(Option::is_some).await {
                Ok(outcome) => outcome.clone(),
                Err(_) => Some(Outcome::Again),
            }
        };
        tokio::select! {
            biased;
            outcome = landed => outcome,
            () = clock.sleep_until(until) => None,
        }
    }
}

impl<T> std::fmt::Debug for Flights<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys may be secrets; they are never printed.
        f.write_str("Flights")
    }
}

impl<T> std::fmt::Debug for Lead<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lead")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn lead(flights: &Flights<u32>, key: &[u8]) -> Lead<u32> {
        match flights.join(key) {
            Joined::Leads(lead) => lead,
            _ => panic!("somebody else leads"),
        }
    }

    fn wait(flights: &Flights<u32>, key: &[u8]) -> Waiting<u32> {
        match flights.join(key) {
            Joined::Waits(waiting) => waiting,
            _ => panic!("nobody leads"),
        }
    }

    #[tokio::test]
    async fn all_get_what_the_first_one_fetched() {
        let (flights, clock) = (Flights::default(), Clock::manual());
        let until = clock.now() + Duration::from_secs(5);
        for (name, outcome) in [("got", Outcome::Got(7)), ("private", Outcome::Private), ("again", Outcome::Again)] {
            let leading = lead(&flights, b"a");
            let _other = lead(&flights, b"b");
            let waiting = [wait(&flights, b"a"), wait(&flights, b"a")];
            leading.land(outcome.clone());
            for waiting in waiting {
                assert_eq!(waiting.outcome(until, &clock).await, Some(outcome.clone()), "{name}");
            }
        }
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn a_lead_that_is_dropped_passes_on() {
        let (flights, clock) = (Flights::default(), Clock::manual());
        let first = lead(&flights, b"a");
        let waiting = wait(&flights, b"a");
        drop(first);
        assert_eq!(waiting.outcome(clock.now() + Duration::from_secs(5), &clock).await, Some(Outcome::Again));
        let second = lead(&flights, b"a");
        assert_eq!(flights.len(), 1, "the first one does not end the flight of the second");
        drop(second);
        assert_eq!(flights.len(), 0);
    }

    #[tokio::test]
    async fn nobody_waits_for_ever() {
        let (flights, clock) = (Flights::default(), Clock::manual());
        let _leading = lead(&flights, b"a");
        let waiting = wait(&flights, b"a");
        let until = clock.now() + Duration::from_secs(5);
        let moved = clock.clone();
        let (outcome, ()) = tokio::join!(waiting.outcome(until, &clock), async {
            tokio::task::yield_now().await;
            moved.advance(Duration::from_secs(5));
        });
        assert_eq!(outcome, None);
    }

    #[test]
    fn what_is_fetched_at_one_time_is_bounded() {
        let flights: Flights<u32> = Flights::default();
        let leads: Vec<_> = (0..2 * MOST as u32).map(|key| flights.join(&key.to_le_bytes())).collect();
        assert!(flights.len() <= MOST, "{}", flights.len());
        assert!(leads.iter().any(|joined| matches!(joined, Joined::Alone)));
        drop(leads);
        assert_eq!(flights.len(), 0);
    }
}
