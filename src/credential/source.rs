//! A source of tokens: one endpoint, one way to ask it, and the tokens it gave.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use aws_lc_rs::digest::{Context, SHA256};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::asked::Asked;
use super::cache::SlotCache;
use super::error::CredentialError;
use super::fetch::Http;
use super::settings::{Settings, Target};
use super::slot::{Credential, Slot, Turn};
use crate::clock::{Clock, Nanos};
use crate::compile::Kept;
use crate::identity::KeyDigest;
use crate::telemetry::metrics::TokenSourceMetrics;

/// Requests to one endpoint at the same time.
const MOST_AT_ONCE: usize = 32;
/// Fetches that wait for their turn or are under way.
pub(super) const MOST_WAITING: usize = 1024;
/// After so many failures in a row, refusals apart, nobody asks for any token until the pause after the last is over.
const BROKEN_AFTER: u32 = 3;

/// A source of tokens; see [`super`].
pub struct TokenSource {
    /// Its name in the configuration.
    pub name: Arc<str>,
    /// How it asks.
    pub settings: Settings,
    pub(super) http: Http,
    pub(super) clock: Clock,
    pub(super) control: Handle,
    pub(super) places: Semaphore,
    pub(super) waiting: AtomicUsize,
    pub(super) callers: SlotCache,
    fixed: Mutex<HashMap<Arc<Target>, Weak<Slot>>>,
    health: Mutex<Health>,
    metrics: TokenSourceMetrics,
    /// Whether requests are traced, and what goes over the wire is told to who waits for it.
    watched: AtomicBool,
    /// The last fetch that nobody waited for.
    ahead: Mutex<Option<Arc<Asked>>>,
}

#[derive(Default)]
struct Health {
    failures: u32,
    last: Option<(Arc<CredentialError>, Nanos)>,
}

/// What the admin listener shows of a source.
#[derive(Clone, Debug)]
pub struct SourceStatus {
    /// Its name.
    pub name: Arc<str>,
    /// Its URL, without secrets.
    pub url: String,
    /// How many callers' tokens are kept.
    pub cached: usize,
    /// How many fetches failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

impl TokenSource {
    /// A source that has asked for nothing yet. Its fetches run on `control`, which must outlive it.
    pub fn new(
        name: &str,
        settings: Settings,
        http: Http,
        clock: Clock,
        control: Handle,
        metrics: TokenSourceMetrics,
    ) -> Self {
        Self {
            name: name.into(),
            callers: SlotCache::new(settings.capacity),
            settings,
            http,
            clock,
            control,
            places: Semaphore::new(MOST_AT_ONCE),
            waiting: AtomicUsize::new(0),
            fixed: Mutex::default(),
            health: Mutex::default(),
            metrics,
            watched: AtomicBool::new(false),
            ahead: Mutex::default(),
        }
    }

    /// The token for a purpose that the configuration names: the same for all that name it.
    pub fn fixed(self: &Arc<Self>, target: Target) -> Credential {
        let mut fixed = self.fixed.lock();
        if let Some(slot) = fixed.get(&target).and_then(Weak::upgrade) {
            return Credential::new(self.clone(), slot);
        }
        fixed.retain(|_, slot| slot.strong_count() > 0);
        let target = Arc::new(target);
        let slot = Slot::new(target.clone(), None);
        fixed.insert(target, Arc::downgrade(&slot));
        Credential::new(self.clone(), slot)
    }

    /// The token for a purpose and a caller that only a request tells.
    pub fn credential(self: &Arc<Self>, target: &Arc<Target>, subject: Option<&str>) -> Credential {
        let mut digest = Context::new(&SHA256);
        for part in [subject, target.scope.as_deref(), target.resource.as_deref(), target.audience.as_deref()] {
            // With its length, so that no two lists of texts look the same; nothing is not the same as an empty text.
            digest.update(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
            digest.update(part.unwrap_or_default().as_bytes());
        }
        let place = KeyDigest::from_digest(digest.finish().as_ref());
        let slot = self.callers.get(place, self.clock.now(), || Slot::new(target.clone(), Some(place)));
        Credential::new(self.clone(), slot)
    }

    /// Its state.
    pub fn status(&self) -> SourceStatus {
        let health = self.health.lock();
        SourceStatus {
            name: self.name.clone(),
            url: self.http.shown().to_owned(),
            cached: self.callers.len(),
            failures: health.failures,
            error: health.last.as_ref().filter(|_| health.failures > 0).map(|(error, _)| error.to_string()),
        }
    }

    /// Says whether requests are traced.
    pub(super) fn watch(&self, traced: bool) {
        self.watched.store(traced, Ordering::Relaxed);
        if !traced {
            drop(self.take_ahead());
        }
    }

    pub(super) fn is_watched(&self) -> bool {
        self.watched.load(Ordering::Relaxed)
    }

    /// A fetch ended that nobody waited for.
    pub(super) fn fetched_ahead(&self, asked: Option<Arc<Asked>>) {
        if asked.is_some() {
            *self.ahead.lock() = asked;
        }
    }

    /// The last fetch that nobody waited for, when no trace has told of it yet.
    pub(super) fn take_ahead(&self) -> Option<Arc<Asked>> {
        self.ahead.lock().take()
    }

    pub(super) fn queue(self: &Arc<Self>) -> Option<Turn> {
        Turn::take(self, MOST_WAITING)
    }

    /// Why nobody asks right now, when the endpoint has failed again and again.
    pub(super) fn paused(&self, now: Nanos) -> Option<Arc<CredentialError>> {
        let health = self.health.lock();
        let (error, until) = health.last.as_ref().filter(|_| health.failures >= BROKEN_AFTER)?;
        (now < *until).then(|| error.clone())
    }

    pub(super) fn succeeded(&self) {
        self.metrics.issued.inc();
        let mut health = self.health.lock();
        if health.failures > 0 {
            tracing::info!(source = &*self.name, "tokens can be had again");
        }
        *health = Health::default();
    }

    pub(super) fn failed(&self, error: &Arc<CredentialError>, until: Nanos) {
        let for_caller = self.settings.grant.is_for_caller();
        if error.is_refusal() {
            self.metrics.refused.inc();
            // What callers bring is their business; that the gateway itself is refused is an operator's.
            if for_caller {
                tracing::debug!(source = &*self.name, %error, "no token for the caller's");
                return;
            }
        } else {
            self.metrics.failed.inc();
        }
        let mut health = self.health.lock();
        health.failures = health.failures.saturating_add(1);
        tracing::warn!(source = &*self.name, %error, failures = health.failures, "no token could be had");
        // One target that is refused says nothing of the others.
        if error.is_refusal() && health.failures >= BROKEN_AFTER {
            health.failures = BROKEN_AFTER - 1;
        }
        health.last = Some((error.clone(), until));
    }
}

impl std::fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TokenSource({})", self.name)
    }
}

/// The sources in use, which outlive a reload that does not change them, and their tokens with them.
#[derive(Debug, Default)]
pub struct TokenSources(Kept<TokenSource>);

impl TokenSources {
    /// The source with this fingerprint: the one in use, else a new one. Everything that makes a difference, secrets included,
    /// belongs into the fingerprint.
    pub fn get(&self, fingerprint: &[u8], make: impl FnOnce() -> TokenSource) -> Arc<TokenSource> {
        self.0.get(KeyDigest::of(fingerprint).to_string(), make)
    }

    /// Says whether requests are traced.
    pub fn watch(&self, traced: bool) {
        self.all().iter().for_each(|source| source.watch(traced));
    }

    /// Every source in use.
    pub fn all(&self) -> Vec<Arc<TokenSource>> {
        self.0.all()
    }
}
