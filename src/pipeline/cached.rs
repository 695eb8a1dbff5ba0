//! What a cache of answers has to do with an exchange: what came of the look, and what may come to be kept.

use std::sync::Arc;

use http::header::{CACHE_CONTROL, EXPIRES, HeaderMap, HeaderValue, PRAGMA, VARY};
use http::{Response, StatusCode};

use crate::body::Body;
use crate::cache::answer::{Candidate, Kept};

/// What came of the look, as the log and the `Cache-Status` header tell it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheStatus {
    /// The answer was kept.
    Hit,
    /// Another request fetched it at the same time.
    Shared,
    /// It was not kept.
    Miss,
    /// It cannot be kept, as was found out a moment ago.
    Pass,
    /// The request is of a kind that is not looked up.
    Bypass,
}

impl CacheStatus {
    /// The name in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Shared => "shared",
            Self::Miss => "miss",
            Self::Pass => "pass",
            Self::Bypass => "bypass",
        }
    }

    /// The `Cache-Status` of the answer (RFC 9211 §2).
    pub fn header(self) -> &'static str {
        match self {
            Self::Hit => "sluicegate; hit",
            Self::Shared => "sluicegate; fwd=miss; collapsed",
            Self::Miss => "sluicegate; fwd=miss",
            Self::Pass | Self::Bypass => "sluicegate; fwd=bypass",
        }
    }
}

/// What caches of callers are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Downstream {
    /// They keep nothing.
    Nothing,
    /// The caller's own may keep it.
    Private,
    /// All may keep it.
    Public,
}

/// What a cache of answers has to do with an exchange.
#[derive(Debug)]
pub struct Cached {
    /// What came of the look.
    pub status: CacheStatus,
    /// What may come to be kept, when nothing was found.
    pub candidate: Option<Arc<Candidate>>,
    /// How long what was found is kept.
    pub found: Option<Kept>,
    /// What caches of callers are told.
    pub downstream: Downstream,
    /// Whether they have to ask again once it is over.
    pub must_revalidate: bool,
    /// The request headers that they have to tell answers apart by, besides those that the backend names.
    pub vary: Option<HeaderValue>,
}

impl Cached {
    /// A look that nothing came of.
    pub fn bypassed() -> Self {
        Self {
            status: CacheStatus::Bypass,
            candidate: None,
            found: None,
            downstream: Downstream::Nothing,
            must_revalidate: false,
            vary: None,
        }
    }

    /// The backend's answer, before outbound.
    pub fn see(&self, response: &mut Response<Body>) {
        if let Some(candidate) = &self.candidate {
            candidate.see(response);
        }
    }

    /// The status of the backend's answer that may come to be kept.
    pub fn candidate_status(&self) -> Option<StatusCode> {
        self.candidate.as_ref()?.status()
    }

    /// Tells caches of callers how long they may keep it. Together with `Age`, which counts from when the backend made it.
    pub fn tell(&self, kept: Kept, headers: &mut HeaderMap) {
        headers.remove(EXPIRES);
        headers.remove(PRAGMA);
        let scope = match self.downstream {
            Downstream::Nothing => {
                headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                return;
            }
            Downstream::Private => "private",
            Downstream::Public => "public",
        };
        let seconds = (kept.lifetime + kept.age).as_secs();
        let revalidate = if self.must_revalidate { ", must-revalidate" } else { "" };
        if let Ok(value) = HeaderValue::try_from(format!("{scope}, max-age={seconds}{revalidate}")) {
            headers.insert(CACHE_CONTROL, value);
        }
        if let Some(vary) = &self.vary {
            headers.append(VARY, vary.clone());
        }
    }
}
