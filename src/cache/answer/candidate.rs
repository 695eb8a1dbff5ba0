//! An answer that may come to be kept: seen as it comes from the backend, decided on in outbound, complete when its body is.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use parking_lot::Mutex;

use super::find::Fetched;
use super::key::Key;
use super::rules::{self, Freshness};
use super::stored::Stored;
use crate::body::{Body, Collect};
use crate::cache::{Cache, LONGEST, Lead, Outcome, Place};
use crate::clock::Nanos;

/// An answer that may come to be kept, for the request that did not find it.
pub struct Candidate {
    cache: Arc<Cache>,
    place: Place,
    key: Key,
    /// The key that was looked at last: it is this one, or that of a variant.
    at: Key,
    /// The headers of the request, for those that the answer depends on.
    request: HeaderMap,
    state: Mutex<State>,
}

/// How long an answer is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// From when it came.
    pub lifetime: Duration,
    /// How old it was then.
    pub age: Duration,
}

#[derive(Default)]
struct State {
    /// The duty to tell those who wait.
    lead: Option<Lead<Fetched>>,
    seen: Option<Seen>,
    /// Which answer of the exchange was seen: a retry around it brings another one.
    round: u32,
}

/// The backend's answer.
struct Seen {
    status: StatusCode,
    headers: HeaderMap,
    received: Nanos,
    freshness: Freshness,
    lifetime: Option<Duration>,
    body: Option<Bytes>,
}

/// Takes the body of one answer.
struct Collector {
    candidate: Arc<Candidate>,
    round: u32,
}

impl Candidate {
    /// What a request may bring that did not find its answer.
    pub fn new(
        cache: Arc<Cache>,
        place: Place,
        key: Key,
        at: Key,
        request: HeaderMap,
        lead: Option<Lead<Fetched>>,
    ) -> Self {
        Self { cache, place, key, at, request, state: Mutex::new(State { lead, ..State::default() }) }
    }

    /// Looks at the backend's answer, and copies its body from now on while it is passed on.
    pub fn see(self: &Arc<Self>, response: &mut Response<Body>) {
        let mut state = self.state.lock();
        state.round += 1;
        state.seen = None;
        if !rules::is_whole(response.status(), response.headers()) {
            // Part of an answer, or nothing new: the next one may be whole.
            let lasts = response.status().is_success() && response.status() != StatusCode::PARTIAL_CONTENT;
            return self.refuse(&mut state, lasts);
        }
        let largest = self.cache.settings.largest;
        let length = response.body().size_hint();
        if length.lower() > largest as u64 {
            self.cache.too_large();
            return self.refuse(&mut state, true);
        }
        let mut seen = Seen {
            status: response.status(),
            headers: response.headers().clone(),
            received: self.cache.clock.now(),
            freshness: rules::freshness(response.headers(), self.cache.clock.wall()),
            lifetime: None,
            body: None,
        };
        match response.body().bytes() {
            Some(bytes) if bytes.len() <= largest => seen.body = Some(bytes.clone()),
            Some(_) => {
                self.cache.too_large();
                return self.refuse(&mut state, true);
            }
            None if length.exact() == Some(0) => seen.body = Some(Bytes::new()),
            None => {
                let into = Arc::new(Collector { candidate: self.clone(), round: state.round });
                let body = std::mem::take(response.body_mut());
                *response.body_mut() = body.collected(into, largest);
            }
        }
        state.seen = Some(seen);
    }

    /// The status of the backend's answer, when that could be kept.
    pub fn status(&self) -> Option<StatusCode> {
        self.state.lock().seen.as_ref().map(|seen| seen.status)
    }

    /// Keeps the answer for so long, once its body is complete; shorter when the backend calls it fresh for a shorter time, and not at all
    /// when it must not be kept, unless that is to be ignored. How long that is; nothing when it is not kept.
    pub fn keep(&self, time: Duration, ignore_freshness: bool) -> Option<Kept> {
        let mut state = self.state.lock();
        let seen = state.seen.as_mut()?;
        let lifetime = match seen.freshness {
            _ if ignore_freshness => time,
            Freshness::Unsaid => time,
            Freshness::For(fresh) => time.min(fresh),
            Freshness::Never => Duration::ZERO,
        };
        if lifetime.is_zero() {
            self.refuse(&mut state, true);
            return None;
        }
        let lifetime = lifetime.min(LONGEST);
        seen.lifetime = Some(lifetime);
        let kept = Kept { lifetime, age: rules::age(&seen.headers) };
        self.complete(&mut state);
        Some(kept)
    }

    /// Does without the answer: it is this request's own.
    pub fn leave(&self) {
        self.refuse(&mut self.state.lock(), false);
    }

    /// There is no answer: whoever comes first tries again.
    pub fn give_up(&self) {
        let mut state = self.state.lock();
        state.seen = None;
        state.lead = None;
    }

    /// Whether the answer is going to be kept, as far as anybody can say.
    fn is_wanted(&self) -> bool {
        self.state.lock().seen.as_ref().is_some_and(|seen| seen.lifetime.is_some())
    }

    /// Ends the wait when nobody decided to keep the answer.
    pub fn settle(&self) {
        if !self.is_wanted() {
            let mut state = self.state.lock();
            // What is kept already has told those who wait.
            if state.lead.is_some() {
                self.refuse(&mut state, false);
            }
        }
    }

    /// Those who wait fetch for themselves; when it will be so for a while, nobody waits for this key.
    fn refuse(&self, state: &mut State, lasts: bool) {
        state.seen = None;
        if lasts {
            self.cache.pass(&self.at);
        }
        if let Some(lead) = state.lead.take() {
            lead.land(Outcome::Private);
        }
    }

    /// Keeps the answer when everything is known.
    fn complete(&self, state: &mut State) {
        if state.seen.as_ref().is_none_or(|seen| seen.lifetime.is_none() || seen.body.is_none()) {
            return;
        }
        let Some(Seen { status, headers, received, lifetime: Some(lifetime), body: Some(body), .. }) =
            state.seen.take()
        else {
            return;
        };
        let stored = Stored::new(status, &headers, &body, received, lifetime);
        self.cache.keep_answer(self.place, &self.key, &self.request, stored, state.lead.take());
    }
}

impl Collector {
    /// Changes the state, unless another answer has been seen since.
    fn with(&self, change: impl FnOnce(&Candidate, &mut State)) {
        let mut state = self.candidate.state.lock();
        if state.round == self.round {
            change(&self.candidate, &mut state);
        }
    }
}

impl Collect for Collector {
    fn wants(&self) -> bool {
        let state = self.candidate.state.lock();
        state.round == self.round && state.seen.is_some()
    }

    fn complete(&self, body: Bytes) {
        self.with(|candidate, state| {
            if let Some(seen) = &mut state.seen {
                seen.body = Some(body);
            }
            candidate.complete(state);
        });
    }

    fn too_long(&self) {
        self.with(|candidate, state| {
            candidate.cache.too_large();
            candidate.refuse(state, true);
        });
    }

    fn broken(&self) {
        // Somebody else may have more luck: the lead passes on.
        self.with(|_, state| {
            state.seen = None;
            state.lead = None;
        });
    }
}

impl std::fmt::Debug for Candidate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Keys and headers may be secrets; they are never printed.
        f.write_str("Candidate")
    }
}
