//! Keys that an issuer publishes: fetched once for all, refreshed on a timer and on need, kept through an outage.
//!
//! * Readers load one pointer; they never wait for a fetch unless they ask to.
//! * All fetches run on the control runtime, one at a time for each source. Whoever asks while one is under way shares it,
//!   from whatever runtime.
//! * The timer refetches every `refresh`. After a failure it tries again after `min_refetch`; while there are no keys
//!   at all, after 1 s, 2 s, 4 s … up to `min_refetch`, so that an issuer that starts after the gateway is found soon.
//! * A token with an unknown key may ask for a fetch at most every `min_refetch`, and not while the timer waits after a
//!   failure: tokens made up by callers cannot turn the gateway against the issuer.
//! * What was fetched serves until `stale_max` after its fetch; then there are no keys.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use reqwest::Client;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::task::AbortHandle;

use super::fetch::{self, FetchError, Fetched, UrlError};
use super::key_set::KeySet;
use super::subscription::KeyDigest;
use crate::clock::{Clock, Nanos};

/// Where an issuer publishes its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyLocation {
    /// The URL of a JSON Web Key Set.
    Jwks(String),
    /// The URL of an OpenID Connect discovery document, which names the issuer and the key set.
    Discovery(String),
}

impl KeyLocation {
    /// The URL as configured.
    pub fn url(&self) -> &str {
        match self {
            Self::Jwks(url) | Self::Discovery(url) => url,
        }
    }
}

/// How keys are fetched and kept.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct RemoteKeysOptions {
    /// How often the timer fetches. Default: 1 hour, as Azure API Management.
    pub refresh: Duration,
    /// The least time between fetches that tokens with unknown keys ask for, and after a failure. Default: 5 minutes, as
    /// Azure API Management.
    pub min_refetch: Duration,
    /// How long fetched keys serve when no later fetch succeeds. Default: 24 hours.
    pub stale_max: Duration,
    /// The time for a fetch, however many requests it takes and however slowly they are answered. Default: 10 seconds.
    pub timeout: Duration,
    /// The longest document that is read. Default: 1 MiB.
    pub max_bytes: usize,
    /// The most keys that a set may have. Default: 64.
    pub max_keys: usize,
    /// Whether plain `http` to other machines is allowed. Default: no.
    pub allow_http: bool,
    /// Whether a discovery document must name the issuer that its URL is made from (OpenID Connect Discovery 1.0 §4.3). Default:
    /// yes.
    pub check_issuer: bool,
}

impl Default for RemoteKeysOptions {
    fn default() -> Self {
        Self {
            refresh: Duration::from_secs(60 * 60),
            min_refetch: Duration::from_secs(5 * 60),
            stale_max: Duration::from_secs(24 * 60 * 60),
            timeout: Duration::from_secs(10),
            max_bytes: 1 << 20,
            max_keys: 64,
            allow_http: false,
            check_issuer: true,
        }
    }
}

/// A source of keys that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum RemoteKeysError {
    /// The URL is refused.
    #[error(transparent)]
    Url(#[from] UrlError),
    /// The timer would fetch without end.
    #[error("`refresh` must be at least one second")]
    RefreshTooShort,
    /// Keys would be too old before they are fetched again.
    #[error("`stale-max` ({stale_max:?}) must not be shorter than `refresh` ({refresh:?})")]
    StaleBeforeRefresh {
        /// The time that keys serve.
        stale_max: Duration,
        /// The time between fetches.
        refresh: Duration,
    },
    /// TLS could not be set up.
    #[error("the HTTPS client cannot be set up: {0}")]
    Client(#[source] reqwest::Error),
}

/// The keys of one source as last fetched.
#[derive(Debug)]
pub struct Snapshot {
    /// The keys.
    pub keys: KeySet,
    /// What discovery says the issuer is.
    pub issuer: Option<Arc<str>>,
    /// Changes whenever the keys do, and never comes back.
    pub generation: u64,
    fetched: Nanos,
    content: KeyDigest,
}

/// What the admin listener shows of a source.
#[derive(Clone, Debug)]
pub struct Status {
    /// How many keys are in force.
    pub keys: usize,
    /// How old they are.
    pub age: Option<Duration>,
    /// How many fetches failed since the last that did not.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<Arc<FetchError>>,
}

/// A source of keys; see the module.
pub struct RemoteKeys {
    location: KeyLocation,
    options: RemoteKeysOptions,
    clock: Clock,
    control: Handle,
    client: Client,
    current: ArcSwapOption<Snapshot>,
    fetches: AtomicU64,
    state: Mutex<State>,
    timer: OnceLock<AbortHandle>,
    /// Told after each fetch, because the result changes when the next one is due.
    wake: Arc<Notify>,
}

#[derive(Default)]
struct State {
    in_flight: Option<watch::Receiver<bool>>,
    /// When the last fetch began.
    attempted: Option<Nanos>,
    /// When a token last made us fetch.
    demanded: Option<Nanos>,
    failures: u32,
    error: Option<Arc<FetchError>>,
}

/// A fetch under way, to be awaited on any runtime. It ends whether the fetch succeeds or not.
#[derive(Clone, Debug)]
pub struct Refresh(watch::Receiver<bool>);

impl Refresh {
    /// Waits until the fetch is over. Dropping the future does not stop the fetch.
    pub async fn done(mut self) {
        // An error means that the control runtime is gone, and with it the fetch.
        let _ = self.0.wait_for(|done| *done).await;
    }
}

impl RemoteKeys {
    /// Checks what [`RemoteKeys::new`] would be given, without a network or a runtime.
    pub fn check(location: &KeyLocation, options: &RemoteKeysOptions) -> Result<(), RemoteKeysError> {
        Self::checked(location, options).map(|_| ())
    }

    fn checked(location: &KeyLocation, options: &RemoteKeysOptions) -> Result<reqwest::Url, RemoteKeysError> {
        let url = fetch::checked_url(location.url(), options.allow_http)?;
        if options.refresh < Duration::from_secs(1) {
            return Err(RemoteKeysError::RefreshTooShort);
        }
        if options.stale_max < options.refresh {
            let (stale_max, refresh) = (options.stale_max, options.refresh);
            return Err(RemoteKeysError::StaleBeforeRefresh { stale_max, refresh });
        }
        Ok(url)
    }

    /// A source that has fetched nothing yet. Fetches run on `control`, which must outlive it.
    pub fn new(
        location: KeyLocation,
        options: RemoteKeysOptions,
        clock: Clock,
        control: Handle,
    ) -> Result<Arc<Self>, RemoteKeysError> {
        let url = Self::checked(&location, &options)?;
        let client = fetch::client(&url, &options).map_err(RemoteKeysError::Client)?;
        Ok(Arc::new(Self {
            location,
            options,
            clock,
            control,
            client,
            current: ArcSwapOption::empty(),
            fetches: AtomicU64::new(0),
            state: Mutex::default(),
            timer: OnceLock::new(),
            wake: Arc::default(),
        }))
    }

    /// Fetches now and then on the timer, until the source is dropped. A second call does nothing.
    pub fn start(self: &Arc<Self>) {
        self.timer.get_or_init(|| self.control.spawn(keep_fresh(Arc::downgrade(self))).abort_handle());
    }

    /// Where the keys come from.
    pub fn location(&self) -> &KeyLocation {
        &self.location
    }

    /// The keys in force; nothing when none were ever fetched or the last are older than `stale_max`.
    pub fn current(&self) -> Option<Arc<Snapshot>> {
        let now = self.clock.now();
        self.current.load().as_ref().filter(|snapshot| self.in_force(snapshot, now)).map(Arc::clone)
    }

    /// How many fetches succeeded: tells whether keys came in while one was looking.
    pub(super) fn fetches(&self) -> u64 {
        self.fetches.load(Ordering::Acquire)
    }

    /// Whether the keys of `generation` are in force.
    pub(super) fn is_current(&self, generation: u64) -> bool {
        let now = self.clock.now();
        self.current
            .load()
            .as_ref()
            .is_some_and(|snapshot| snapshot.generation == generation && self.in_force(snapshot, now))
    }

    fn in_force(&self, snapshot: &Snapshot, now: Nanos) -> bool {
        now.since(snapshot.fetched) < self.options.stale_max
    }

    /// Asks for a fetch because a token needs a key that is not there. Gives the fetch to wait for, or nothing when one was
    /// made too recently.
    pub fn demand(self: &Arc<Self>) -> Option<Refresh> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        if let Some(refresh) = state.under_way() {
            return Some(refresh);
        }
        let since = |time: Option<Nanos>| time.map(|time| now.since(time));
        let demanded_lately = since(state.demanded).is_some_and(|since| since < self.options.min_refetch);
        let failed_lately =
            state.failures > 0 && since(state.attempted).is_some_and(|since| since < self.pause(state.failures, now));
        if demanded_lately || failed_lately {
            return None;
        }
        state.demanded = Some(now);
        Some(self.launch(&mut state, now))
    }

    /// Fetches now, or joins the fetch under way: for the timer and the administrator.
    pub fn refresh(self: &Arc<Self>) -> Refresh {
        let mut state = self.state.lock();
        state.under_way().unwrap_or_else(|| self.launch(&mut state, self.clock.now()))
    }

    /// Why the last fetch failed, when it did.
    pub fn last_error(&self) -> Option<Arc<FetchError>> {
        self.state.lock().error.clone()
    }

    /// The state of the source.
    pub fn status(&self) -> Status {
        let state = self.state.lock();
        let current = self.current();
        Status {
            keys: current.as_ref().map_or(0, |snapshot| snapshot.keys.len()),
            age: current.map(|snapshot| self.clock.now().since(snapshot.fetched)),
            failures: state.failures,
            error: state.error.clone(),
        }
    }

    fn launch(self: &Arc<Self>, state: &mut State, now: Nanos) -> Refresh {
        let (sender, receiver) = watch::channel(false);
        state.attempted = Some(now);
        state.in_flight = Some(receiver.clone());
        let keys = Arc::clone(self);
        self.control.spawn(async move {
            let result = fetch::fetch(&keys.client, &keys.location, &keys.options).await;
            keys.finish(result);
            keys.wake.notify_one();
            sender.send_replace(true);
        });
        Refresh(receiver)
    }

    fn finish(&self, result: Result<Fetched, FetchError>) {
        let url = self.location.url();
        let mut state = self.state.lock();
        state.in_flight = None;
        match result {
            Ok(fetched) => {
                state.failures = 0;
                state.error = None;
                self.publish(fetched);
            }
            Err(error) => {
                state.failures = state.failures.saturating_add(1);
                let serving = self.current().map_or(0, |snapshot| snapshot.keys.len());
                // While there are none it is tried every few seconds, which is not worth a line each.
                let failures = state.failures;
                if failures == 1 || self.pause(failures, self.clock.now()) >= self.options.min_refetch {
                    tracing::warn!(url, %error, failures, serving, "fetching keys failed");
                } else {
                    tracing::debug!(url, %error, failures, serving, "fetching keys failed again");
                }
                state.error = Some(Arc::new(error));
            }
        }
    }

    /// Called with the state locked, so that there is one writer.
    fn publish(&self, fetched: Fetched) {
        let url = self.location.url();
        let before = self.current.load_full();
        let same = before.as_ref().filter(|before| before.content == fetched.content);
        let generation = match (same, &before) {
            (Some(same), _) => same.generation,
            (None, before) => before.as_ref().map_or(0, |before| before.generation) + 1,
        };
        if same.is_none() {
            tracing::info!(
                url,
                keys = fetched.keys.len(),
                issuer = fetched.issuer.as_deref(),
                "verification keys changed"
            );
            if let Some(first) = fetched.skipped.first() {
                tracing::warn!(url, skipped = fetched.skipped.len(), %first, "the key set has keys that cannot be used");
            }
            let template = fetched.issuer.as_deref().filter(|issuer| issuer.contains('{') && self.options.check_issuer);
            if let Some(issuer) = template {
                tracing::warn!(
                    url,
                    issuer,
                    "the issuer is a template, which no token matches: use `entra` of the issuer, or list the issuers to accept"
                );
            }
        }
        let Fetched { keys, issuer, content, .. } = fetched;
        let snapshot = Snapshot { keys, issuer, generation, fetched: self.clock.now(), content };
        self.current.store(Some(Arc::new(snapshot)));
        self.fetches.fetch_add(1, Ordering::Release);
    }

    /// How long to wait after a failure.
    fn pause(&self, failures: u32, now: Nanos) -> Duration {
        let backoff = Duration::from_secs(1 << failures.saturating_sub(1).min(20));
        let serving = self.current.load().as_ref().is_some_and(|snapshot| self.in_force(snapshot, now));
        let pause = if serving { self.options.min_refetch } else { backoff.min(self.options.min_refetch) };
        pause.max(Duration::from_secs(1))
    }

    /// How long until the timer fetches.
    fn due_in(&self) -> Duration {
        let now = self.clock.now();
        let state = self.state.lock();
        let Some(attempted) = state.attempted else { return Duration::ZERO };
        let interval = if state.failures > 0 {
            self.pause(state.failures, now).min(self.options.refresh)
        } else {
            self.options.refresh
        };
        interval.saturating_sub(now.since(attempted))
    }
}

impl State {
    fn under_way(&self) -> Option<Refresh> {
        // A fetch whose sender is gone without a word ended with its runtime.
        let receiver = self.in_flight.as_ref().filter(|receiver| receiver.has_changed().is_ok())?;
        Some(Refresh(receiver.clone()))
    }
}

async fn keep_fresh(keys: Weak<RemoteKeys>) {
    loop {
        let Some(strong) = keys.upgrade() else { return };
        let wait = strong.due_in();
        if wait.is_zero() {
            let refresh = strong.refresh();
            drop(strong);
            refresh.done().await;
        } else {
            let wake = Arc::clone(&strong.wake);
            drop(strong);
            let _ = tokio::time::timeout(wait, wake.notified()).await;
        }
    }
}

impl Drop for RemoteKeys {
    fn drop(&mut self) {
        if let Some(timer) = self.timer.get() {
            timer.abort();
        }
    }
}

impl std::fmt::Debug for RemoteKeys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RemoteKeys({})", self.location.url())
    }
}

#[cfg(test)]
mod tests;
