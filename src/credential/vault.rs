//! Secrets of a key vault: fetched when a configuration first needs them, and again now and then, while the last value serves.

mod access;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use http::HeaderValue;
use parking_lot::Mutex;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::answer::plain;
use super::error::CredentialError;
use super::fetch::{Http, Reply, UrlProblem};
use crate::clock::{Clock, Nanos};
use crate::compile::Kept;
use crate::identity::KeyDigest;
use crate::telemetry::metrics::VaultMetrics;

pub use access::{Purpose, VaultAccess};

/// The version of the protocol: <https://learn.microsoft.com/rest/api/keyvault/secrets/get-secret/get-secret>.
const API_VERSION: &str = "api-version=7.4";
/// The longest secret that a key vault takes.
const LONGEST: usize = 25 * 1024;
/// How often it is looked whether a secret is due.
const LOOK: Duration = Duration::from_secs(1);
/// The pause after a first failure; it doubles up to the longest, and is never longer than the time between two fetches.
const FIRST_PAUSE: Duration = Duration::from_secs(15);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// Requests at the same time.
const MOST_AT_ONCE: usize = 8;

/// One secret of a vault.
pub struct VaultSecret {
    /// The named value.
    pub name: Arc<str>,
    http: Http,
    access: Arc<VaultAccess>,
    refresh: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    value: Option<Arc<str>>,
    fetched: Option<SystemTime>,
    next: Nanos,
    failures: u32,
    error: Option<Arc<CredentialError>>,
}

/// What the admin listener shows of a secret.
#[derive(Clone, Debug)]
pub struct SecretStatus {
    /// The named value.
    pub name: Arc<str>,
    /// Where it is.
    pub url: String,
    /// When its value was fetched.
    pub fetched: Option<SystemTime>,
    /// How many fetches failed since.
    pub failures: u32,
    /// Why the last one failed.
    pub error: Option<String>,
}

/// What a fetch brought.
type Fetched = Result<Arc<str>, Arc<CredentialError>>;

#[derive(Default, Deserialize)]
#[serde(default)]
struct Bundle {
    value: Option<String>,
    error: Option<Problem>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    code: String,
    message: String,
}

impl VaultSecret {
    /// A secret that has not been fetched.
    ///
    /// # Errors
    /// When the URL is refused.
    pub fn new(
        name: &str,
        url: &str,
        access: Arc<VaultAccess>,
        refresh: Duration,
        timeout: Duration,
        authorities: Option<&std::path::Path>,
    ) -> Result<Self, UrlProblem> {
        let http = Http::new(url, false, timeout, authorities)?;
        Ok(Self { name: name.into(), http, access, refresh, state: Mutex::default() })
    }

    /// Its value, once it was fetched.
    pub fn value(&self) -> Option<Arc<str>> {
        self.state.lock().value.clone()
    }

    /// Its state.
    pub fn status(&self) -> SecretStatus {
        let state = self.state.lock();
        SecretStatus {
            name: self.name.clone(),
            url: self.http.shown().to_owned(),
            fetched: state.fetched,
            failures: state.failures,
            error: state.error.as_ref().map(ToString::to_string),
        }
    }

    /// Why the last fetch failed.
    pub fn problem(&self) -> Option<Arc<CredentialError>> {
        self.state.lock().error.clone()
    }

    async fn ask(&self, token: &HeaderValue) -> Result<Reply, CredentialError> {
        self.http.ask(self.http.get(API_VERSION).header(AUTHORIZATION, token), None).await
    }

    async fn fetch(&self, token: &HeaderValue, clock: &Clock) -> Result<Arc<str>, CredentialError> {
        let mut reply = self.ask(token).await?;
        if reply.status == 401 {
            let challenge = reply.challenge.as_deref();
            if let Some(newer) = self.access.renew(token, challenge, self.http.host(), clock).await? {
                reply = self.ask(&newer).await?;
            }
        }
        let Reply { status, body, challenge } = reply;
        let url = || self.http.shown().to_owned();
        // The message of a parser would quote the answer, and the answer holds a secret.
        let bundle: Option<Bundle> = serde_json::from_slice(&body).ok();
        if status != 200 {
            let Problem { code, message } = bundle.unwrap_or_default().error.unwrap_or_default();
            let code = if code.is_empty() { "no reason given" } else { &code };
            let mut description = plain(message.lines().next().unwrap_or_default(), 300);
            if let Some(wanted) = self.access.mismatch(challenge.as_deref()).await {
                let separator = if description.is_empty() { "" } else { " " };
                description.push_str(&format!("{separator}It wants a token for `{}`.", plain(wanted, 200)));
            }
            return Err(CredentialError::Refused {
                url: url(),
                status,
                error: plain(code, 60),
                description,
                consent: false,
                claims: None,
            });
        }
        let unusable = |problem: &str| CredentialError::Answer { url: url(), problem: problem.to_owned() };
        let value = bundle.ok_or_else(|| unusable("it is not a secret in JSON"))?.value;
        match value {
            None => Err(unusable("it has no `value`")),
            Some(value) if value.is_empty() => Err(unusable("the value is empty")),
            Some(value) if value.len() > LONGEST => Err(unusable("the value is longer than 25 KiB")),
            Some(value) => Ok(value.into()),
        }
    }

    /// Takes over what a fetch brought; whether the value is another one than before.
    fn settle(&self, fetched: Fetched, clock: &Clock) -> bool {
        let mut state = self.state.lock();
        let now = clock.now();
        match fetched {
            Ok(value) => {
                if state.failures > 0 {
                    tracing::info!(named_value = &*self.name, "the key vault gives the secret again");
                }
                // One that comes late is what a configuration has been refused for.
                let changed = state.value.as_ref().map_or(state.failures > 0, |old| *old != value);
                // Replicas that started together do not ask together for ever.
                let next = now + self.refresh.mul_f64(1.0 - fastrand::f64() / 10.0);
                if changed {
                    tracing::info!(named_value = &*self.name, "the key vault has another value");
                }
                *state = State { value: Some(value), fetched: Some(clock.wall()), next, failures: 0, error: None };
                changed
            }
            Err(error) => {
                let pause = FIRST_PAUSE.saturating_mul(1 << state.failures.min(6)).min(LONGEST_PAUSE).min(self.refresh);
                state.failures = state.failures.saturating_add(1);
                state.next = now + error.retry_after().map_or(pause, |asked| asked.max(pause));
                let serves = state.value.is_some();
                tracing::warn!(named_value = &*self.name, %error, failures = state.failures, serves, "a secret of the key vault cannot be fetched");
                state.error = Some(error);
                false
            }
        }
    }
}

/// The secrets in use, which outlive a reload that does not change where they are.
pub struct Vault {
    access: Kept<VaultAccess>,
    secrets: Kept<VaultSecret>,
    /// How often a value has changed.
    changes: AtomicU64,
    /// Wakes who keeps them fresh.
    asked: Notify,
    metrics: VaultMetrics,
}

impl Vault {
    /// None yet.
    pub fn new(metrics: VaultMetrics) -> Self {
        Self {
            access: Kept::default(),
            secrets: Kept::default(),
            changes: AtomicU64::new(0),
            asked: Notify::new(),
            metrics,
        }
    }

    /// The way to ask with this fingerprint: the one in use, with its token, else a new one.
    pub fn access(&self, fingerprint: &[u8], make: impl FnOnce() -> VaultAccess) -> Arc<VaultAccess> {
        self.access.get(KeyDigest::of(fingerprint).to_string(), make)
    }

    /// The secret with this fingerprint: the one in use, else a new one. Everything that makes a difference belongs into it.
    pub fn get(&self, fingerprint: &[u8], make: impl FnOnce() -> VaultSecret) -> Arc<VaultSecret> {
        self.secrets.get(KeyDigest::of(fingerprint).to_string(), make)
    }

    /// Every secret in use.
    pub fn all(&self) -> Vec<Arc<VaultSecret>> {
        self.secrets.all()
    }

    /// A number that is another one when a value has changed.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::Acquire)
    }

    /// Fetches secrets that have no value yet, and waits for it: on a thread of its own, because a configuration is first read
    /// before anything runs.
    pub fn fetch_now(&self, secrets: &[Arc<VaultSecret>], clock: &Clock) {
        let new: Vec<Arc<VaultSecret>> = secrets.iter().filter(|secret| secret.value().is_none()).cloned().collect();
        if new.is_empty() {
            return;
        }
        let fetch = || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().ok()?;
            Some(runtime.block_on(fetch_all(&new, clock)))
        };
        let fetched = std::thread::scope(|scope| scope.spawn(fetch).join().ok().flatten());
        let interrupted = || new.iter().map(|_| Err(Arc::new(CredentialError::Interrupted))).collect();
        self.take(&new, fetched.unwrap_or_else(interrupted), clock);
    }

    /// Fetches what is due; whether a value has changed.
    pub async fn refresh(&self, clock: &Clock) -> bool {
        let now = clock.now();
        let mut due = self.all();
        due.retain(|secret| {
            let state = secret.state.lock();
            // What was never asked for belongs to a configuration that is being read.
            (state.value.is_some() || state.failures > 0) && now >= state.next
        });
        if due.is_empty() {
            return false;
        }
        let fetched = fetch_all(&due, clock).await;
        self.take(&due, fetched, clock)
    }

    /// Has every secret fetched again, whenever it is due: somebody knows that one has changed.
    pub fn ask_again(&self, clock: &Clock) {
        let now = clock.now();
        self.all().iter().for_each(|secret| secret.state.lock().next = now);
        self.asked.notify_one();
    }

    fn take(&self, secrets: &[Arc<VaultSecret>], fetched: Vec<Fetched>, clock: &Clock) -> bool {
        let mut changed = false;
        for (secret, fetched) in secrets.iter().zip(fetched) {
            if fetched.is_ok() { &self.metrics.fetched } else { &self.metrics.failed }.inc();
            changed |= secret.settle(fetched, clock);
        }
        if changed {
            self.changes.fetch_add(1, Ordering::AcqRel);
        }
        changed
    }

    /// Fetches secrets when they are due, for as long as the process lives, and says when a value has changed.
    pub async fn keep_fresh(&self, clock: &Clock, changed: impl Fn()) {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => {}
                () = self.asked.notified() => {}
            }
            if self.refresh(clock).await {
                changed();
            }
        }
    }
}

/// Fetches secrets with one token for each way to ask.
async fn fetch_all(secrets: &[Arc<VaultSecret>], clock: &Clock) -> Vec<Fetched> {
    type Token = Result<HeaderValue, Arc<CredentialError>>;
    let mut tokens: Vec<(Arc<VaultAccess>, Token)> = Vec::new();
    let mut results: Vec<Option<Fetched>> = secrets.iter().map(|_| None).collect();
    let mut under_way = JoinSet::new();
    for (place, secret) in secrets.iter().enumerate() {
        let known =
            tokens.iter().find(|(access, _)| Arc::ptr_eq(access, &secret.access)).map(|(_, token)| token.clone());
        let token = match known {
            Some(token) => token,
            None => {
                let token = secret.access.token(clock).await.map_err(Arc::new);
                tokens.push((secret.access.clone(), token.clone()));
                token
            }
        };
        match token {
            Err(error) => results[place] = Some(Err(error)),
            Ok(token) => {
                if under_way.len() >= MOST_AT_ONCE
                    && let Some(Ok((place, fetched))) = under_way.join_next().await
                {
                    results[place] = Some(fetched);
                }
                let (secret, clock) = (secret.clone(), clock.clone());
                under_way.spawn(async move { (place, secret.fetch(&token, &clock).await.map_err(Arc::new)) });
            }
        }
    }
    while let Some(joined) = under_way.join_next().await {
        if let Ok((place, fetched)) = joined {
            results[place] = Some(fetched);
        }
    }
    let interrupted = || Err(Arc::new(CredentialError::Interrupted));
    results.into_iter().map(|result| result.unwrap_or_else(interrupted)).collect()
}

impl std::fmt::Debug for VaultSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "VaultSecret({})", self.name)
    }
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Vault").field("secrets", &self.all()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
