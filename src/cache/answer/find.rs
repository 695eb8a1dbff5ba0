//! How an answer is found: in its place, as one of several variants, or with another request that is fetching it.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName};

use super::key::Key;
use super::stored::{self, Read, Stored};
use crate::cache::{Cache, Held, Joined, Kind, Lead, Outcome, Place, memory_key};
use crate::telemetry::metrics::{CacheResult, CacheStore};

/// How long an answer that cannot be kept is not waited for.
const PASSING: Duration = Duration::from_secs(10);

/// The most turns of a request that waits: others may fetch in vain, or fetch another variant.
const MOST_TURNS: usize = 16;

/// What the one who leads has found out for all who wait.
#[derive(Clone, Debug)]
pub enum Fetched {
    /// The answer, and the key that it is kept under.
    Answer(Arc<Stored>, Box<Key>),
    /// By what the answers at this place differ, as the shared store says: each goes on to its own.
    Varies(Arc<[HeaderName]>),
}

/// What came of a look.
#[derive(Debug)]
pub enum Found {
    /// The answer.
    Answer(Arc<Stored>, How),
    /// It has to be fetched.
    Missing {
        /// With the lead: for all who ask at the same time.
        lead: Option<Lead<Fetched>>,
        /// The key that was looked at last: that of the variant, where it is known by what answers vary.
        at: Box<Key>,
    },
    /// It has to be fetched, and cannot be kept.
    Passing,
}

/// Where an answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It was kept.
    Kept,
    /// Another request fetched it meanwhile.
    Shared,
}

/// What stands at one place.
enum Look {
    Answer(Arc<Stored>),
    Variants(Arc<[HeaderName]>),
    Pass,
    Nothing,
}

impl Cache {
    /// Finds the answer for a key and for what a request says. One that `fetches` what it does not find waits when another request is
    /// fetching it. Answers in memory are at hand, and nothing is awaited for them.
    pub async fn find(&self, place: Place, primary: &Key, request: &HeaderMap, fetches: bool) -> Found {
        let found = self.find_uncounted(place, primary, request, fetches).await;
        self.looked(
            Kind::Answer,
            match &found {
                Found::Answer(_, How::Kept) => CacheResult::Hit,
                Found::Answer(_, How::Shared) => CacheResult::Shared,
                Found::Missing { .. } => CacheResult::Miss,
                Found::Passing => CacheResult::Pass,
            },
        );
        found
    }

    async fn find_uncounted(&self, place: Place, primary: &Key, request: &HeaderMap, fetches: bool) -> Found {
        let until = self.patience();
        let mut key = primary.clone();
        for _ in 0..MOST_TURNS {
            match self.at_hand(place, &key) {
                Look::Answer(stored) => return Found::Answer(stored, How::Kept),
                Look::Variants(names) if key == *primary => {
                    key = primary.variant(&names, request);
                    continue;
                }
                Look::Pass => return Found::Passing,
                Look::Variants(_) | Look::Nothing => {}
            }
            let lead = if fetches && self.waits() {
                match self.answers.join(key.as_bytes()) {
                    Joined::Leads(lead) => Some(lead),
                    Joined::Alone => None,
                    Joined::Waits(waiting) => {
                        match waiting.outcome(until, &self.clock).await {
                            Some(Outcome::Got(Fetched::Answer(stored, fetched))) => {
                                key = primary.variant(&stored.varies(), request);
                                if key == *fetched {
                                    return Found::Answer(stored, How::Shared);
                                }
                            }
                            Some(Outcome::Got(Fetched::Varies(names))) => key = primary.variant(&names, request),
                            Some(Outcome::Private) => return Found::Passing,
                            Some(Outcome::Again) => {}
                            None => return Found::Missing { lead: None, at: Box::new(key) },
                        }
                        continue;
                    }
                }
            } else {
                None
            };
            // Somebody else's fetch may have ended since the first look; and the shared store is only asked by the one who leads.
            match self.look(place, &key).await {
                Look::Answer(stored) => {
                    land(lead, Fetched::Answer(stored.clone(), Box::new(key)));
                    return Found::Answer(stored, How::Kept);
                }
                Look::Variants(names) if key == *primary => {
                    key = primary.variant(&names, request);
                    land(lead, Fetched::Varies(names));
                }
                Look::Pass => return Found::Passing,
                Look::Variants(_) | Look::Nothing => return Found::Missing { lead, at: Box::new(key) },
            }
        }
        Found::Missing { lead: None, at: Box::new(key) }
    }

    fn at_hand(&self, place: Place, key: &Key) -> Look {
        let held = self.memory.get(&memory_key(Kind::Answer, key.as_bytes(), None), self.clock.now());
        match (held, place) {
            (Some(Held::Pass), _) => Look::Pass,
            (Some(Held::Answer(stored)), Place::Memory) => Look::Answer(stored),
            (Some(Held::Variants(names)), Place::Memory) => Look::Variants(names),
            _ => Look::Nothing,
        }
    }

    async fn look(&self, place: Place, key: &Key) -> Look {
        let (Place::Store { falls_back }, Some(external)) = (place, &self.external) else {
            return self.at_hand(place, key);
        };
        match external.get(Kind::Answer, key.as_bytes()).await {
            Ok(bytes) => match bytes.and_then(|bytes| stored::read(bytes, &self.clock)) {
                Some(Read::Answer(stored)) => Look::Answer(Arc::new(stored)),
                Some(Read::Variants(names)) => Look::Variants(names.into()),
                None => Look::Nothing,
            },
            Err(_) => {
                self.looked(Kind::Answer, CacheResult::Error);
                let outage = Some(external.store.outage());
                let own = || self.memory.get(&memory_key(Kind::Answer, key.as_bytes(), outage), self.clock.now());
                match falls_back.then(own).flatten() {
                    Some(Held::Answer(stored)) => Look::Answer(stored),
                    Some(Held::Variants(names)) => Look::Variants(names),
                    _ => Look::Nothing,
                }
            }
        }
    }

    /// Keeps an answer, and tells those who wait for it. In the shared store that takes a while, and nobody waits for it.
    pub(super) fn keep_answer(
        self: &Arc<Self>,
        place: Place,
        primary: &Key,
        request: &HeaderMap,
        stored: Stored,
        lead: Option<Lead<Fetched>>,
    ) {
        let names = stored.varies();
        let key = primary.variant(&names, request);
        let stored = Arc::new(stored);
        let variants: Option<(Key, Arc<[HeaderName]>)> = (!names.is_empty()).then(|| (primary.clone(), names.into()));
        let (Place::Store { falls_back }, Some(external)) = (place, self.external.clone()) else {
            let kept = self.remember(&key, &stored, variants.as_ref(), None);
            self.counts(Kind::Answer).stored(kept);
            return land(lead, Fetched::Answer(stored, Box::new(key)));
        };
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return land(lead, Fetched::Answer(stored, Box::new(key)));
        };
        let cache = self.clone();
        runtime.spawn(async move {
            let left = stored.until().since(cache.clock.now());
            let answer = stored.write(&cache.clock);
            let mut put = external.put(Kind::Answer, key.as_bytes(), &answer, left).await;
            if let (Ok(()), Some((primary, names))) = (&put, &variants) {
                let names = stored::write_variants(names);
                put = external.put(Kind::Answer, primary.as_bytes(), &names, left).await;
            }
            let kept = if put.is_ok() { CacheStore::Stored } else { CacheStore::Error };
            if put.is_err() && falls_back {
                cache.remember(&key, &stored, variants.as_ref(), Some(external.store.outage()));
            }
            cache.counts(Kind::Answer).stored(kept);
            land(lead, Fetched::Answer(stored, Box::new(key)));
        });
    }

    fn remember(
        &self,
        key: &Key,
        stored: &Arc<Stored>,
        variants: Option<&(Key, Arc<[HeaderName]>)>,
        outage: Option<u64>,
    ) -> CacheStore {
        let (now, until) = (self.clock.now(), stored.until());
        let place = |key: &Key| memory_key(Kind::Answer, key.as_bytes(), outage);
        let mut kept = self.memory.put(&place(key), Held::Answer(stored.clone()), until, now);
        if let Some((primary, names)) = variants {
            kept &= self.memory.put(&place(primary), Held::Variants(names.clone()), until, now);
        }
        if kept { CacheStore::Stored } else { CacheStore::TooLarge }
    }

    /// Notes that an answer cannot be kept, so that for a while nobody waits for it. What others have kept meanwhile stays.
    pub(super) fn pass(&self, key: &Key) {
        let (now, place) = (self.clock.now(), memory_key(Kind::Answer, key.as_bytes(), None));
        if self.memory.get(&place, now).is_none() {
            self.memory.put(&place, Held::Pass, now + PASSING, now);
        }
    }
}

fn land(lead: Option<Lead<Fetched>>, fetched: Fetched) {
    if let Some(lead) = lead {
        lead.land(Outcome::Got(fetched));
    }
}
