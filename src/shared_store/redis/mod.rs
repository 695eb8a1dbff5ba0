//! A Redis or Valkey server, one of its clusters, or one that Sentinels name: asked within a bounded time, and not at all while it
//! fails.
//!
//! * Each worker has one connection, made when it is first needed. Simultaneous requests are pipelined on it.
//! * Whatever goes wrong opens the breaker, which all workers share: for `pause` nobody asks, then one request finds out whether
//!   the store is back. An outage costs one time-out, not one for each request.
//! * After any failure the connection is given up: the server may have lost its place as the master, or the answers their order.

mod connection;
mod settings;

use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use redis::{Cmd, ErrorKind, FromRedisValue, RedisError, ServerErrorKind};

use self::connection::{Connector, discard, slot};
pub use self::settings::{Settings, Topology};
use crate::clock::Clock;
use crate::gateway::breaker::{Breaker, BreakerSettings, CallEnd};
use crate::telemetry::metrics::SharedStoreMetrics;

/// Why the store did not answer. For the log: it may name hosts, never a password.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// It failed a moment ago, so it was not asked.
    #[error("the store failed a moment ago and is not asked for now")]
    Resting,
    /// No connection came about.
    #[error("cannot connect to the store: {0}")]
    Connect(Arc<RedisError>),
    /// The answer took too long.
    #[error("the store did not answer within {0:?}")]
    Timeout(std::time::Duration),
    /// It answered with an error, or the connection broke.
    #[error("the store failed: {0}")]
    Failed(Arc<RedisError>),
}

impl StoreError {
    /// The label of its metric.
    const fn outcome(&self) -> &'static str {
        match self {
            Self::Resting => "resting",
            Self::Connect(_) => "connect_error",
            Self::Timeout(_) => "timeout",
            Self::Failed(_) => "error",
        }
    }
}

/// A script and its digest, under which a server keeps it.
#[derive(Debug)]
pub struct Script {
    text: &'static str,
    digest: String,
}

impl Script {
    /// A script that touches its first key only.
    pub fn new(text: &'static str) -> Self {
        Self { text, digest: hex_sha1(text) }
    }
}

fn hex_sha1(text: &str) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    digest.as_ref().iter().fold(String::with_capacity(40), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A store; see the module.
pub struct Redis {
    /// Unlike any other store's of this process.
    id: u64,
    settings: Settings,
    connector: Connector,
    breaker: Arc<Breaker>,
    clock: Clock,
    metrics: SharedStoreMetrics,
    /// Whether it failed last; answers look here and take no lock.
    is_failing: AtomicBool,
    /// Why it failed last, while it does.
    failing: Mutex<Option<StoreError>>,
    /// How often it began to fail.
    outages: AtomicU64,
}

impl std::fmt::Debug for Redis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Redis").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Redis {
    /// A store that has not been connected to yet.
    ///
    /// # Errors
    /// When a URL is not one of a store.
    pub fn new(settings: Settings, clock: Clock, metrics: SharedStoreMetrics) -> Result<Self, RedisError> {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let connector = Connector::new(&settings)?;
        let breaker =
            BreakerSettings { failures: 1, interval: settings.pause, trip: settings.pause, accept_retry_after: false };
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            breaker: Arc::new(Breaker::new(breaker, metrics.resting())),
            settings,
            connector,
            clock,
            metrics,
            is_failing: AtomicBool::new(false),
            failing: Mutex::default(),
            outages: AtomicU64::new(0),
        })
    }

    /// How it is reached.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Why it does not answer; nothing while it does.
    pub fn failing(&self) -> Option<StoreError> {
        self.failing.lock().clone()
    }

    /// A number that no other outage has: what was noted in one of them is not to be found in the next.
    pub fn outage(&self) -> u64 {
        self.outages.load(Ordering::Relaxed)
    }

    /// Runs a script on one key: one atomic step in one round trip. `arguments` adds what follows the key.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn run<T: FromRedisValue>(
        &self,
        script: &Script,
        key: &[u8],
        arguments: impl Fn(&mut Cmd),
    ) -> Result<T, StoreError> {
        let command = |name: &str, body: &str| {
            let mut command = redis::cmd(name);
            command.arg(body).arg(1).arg(key);
            arguments(&mut command);
            command
        };
        match self.ask(&command("EVALSHA", &script.digest)).await {
            // Once for each server and script, until the server forgets its scripts.
            Err(StoreError::Failed(error)) if is_unknown_script(&error) => {
                self.ask(&command("EVAL", script.text)).await
            }
            answer => answer,
        }
    }

    /// Sends one command.
    ///
    /// # Errors
    /// When the store does not answer in time.
    pub async fn ask<T: FromRedisValue>(&self, command: &Cmd) -> Result<T, StoreError> {
        let Ok(admission) = self.breaker.admit(self.clock.now()) else {
            self.metrics.count(StoreError::Resting.outcome());
            return Err(StoreError::Resting);
        };
        let started = self.clock.now();
        let answer = self.exchange(command, admission.is_probe()).await;
        let now = self.clock.now();
        match &answer {
            Err(StoreError::Failed(error)) if is_unknown_script(error) => admission.end(CallEnd::Success, now),
            // Another request saw the failure first and opened the breaker while this one waited for the connection.
            Err(StoreError::Resting) => admission.end(CallEnd::Unknown, now),
            Err(error) => {
                self.metrics.count(error.outcome());
                admission.end(CallEnd::Failure { retry_after: None }, now);
                self.note(Some(error));
            }
            Ok(_) => {
                self.metrics.answered(now.since(started));
                admission.end(CallEnd::Success, now);
                self.note(None);
            }
        }
        answer
    }

    /// Asks whether it is there.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn ping(&self) -> Result<(), StoreError> {
        self.ask::<redis::Value>(&redis::cmd("PING")).await.map(|_| ())
    }

    async fn exchange<T: FromRedisValue>(&self, command: &Cmd, probe: bool) -> Result<T, StoreError> {
        let slot = slot(self.id);
        let mut connection = match slot.get() {
            Some(connection) => connection.clone(),
            None => {
                let connect = slot.get_or_try_init(|| async {
                    // Those who waited behind a failed attempt do not make one of their own.
                    if !probe && self.breaker.is_open() {
                        return Err(StoreError::Resting);
                    }
                    let connecting = self.connector.connect(&self.settings);
                    match tokio::time::timeout(self.settings.connect_timeout, connecting).await {
                        Ok(connected) => connected.map_err(|error| StoreError::Connect(Arc::new(error))),
                        Err(_) => Err(StoreError::Timeout(self.settings.connect_timeout)),
                    }
                });
                connect.await?.clone()
            }
        };
        let answer = match tokio::time::timeout(self.settings.timeout, connection.query(command)).await {
            Ok(answer) => answer.map_err(|error| {
                if error.is_timeout() {
                    StoreError::Timeout(self.settings.timeout)
                } else {
                    StoreError::Failed(Arc::new(error))
                }
            }),
            Err(_) => Err(StoreError::Timeout(self.settings.timeout)),
        };
        match &answer {
            Err(StoreError::Failed(error)) if is_unknown_script(error) => {}
            Err(_) => discard(self.id, &slot),
            Ok(_) => {}
        }
        answer
    }

    /// Logs when the store begins to fail and when it answers again, not each request in between.
    fn note(&self, error: Option<&StoreError>) {
        if error.is_none() && !self.is_failing.load(Ordering::Relaxed) {
            return;
        }
        let mut failing = self.failing.lock();
        match (&*failing, error) {
            (None, Some(error)) => {
                self.outages.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, "the shared store fails");
            }
            (Some(_), None) => tracing::info!("the shared store answers again"),
            (None, None) | (Some(_), Some(_)) => {}
        }
        self.is_failing.store(error.is_some(), Ordering::Relaxed);
        *failing = error.cloned();
    }
}

fn is_unknown_script(error: &RedisError) -> bool {
    error.kind() == ErrorKind::Server(ServerErrorKind::NoScript)
}
