//! How the store is: for readiness, metrics and the log.

use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::process::status::timestamp;
use crate::telemetry::metrics::StoreMetrics;

/// The state of the store, as readiness shows it.
#[derive(Debug)]
pub struct Health {
    path: String,
    metrics: StoreMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failing: Option<(SystemTime, String)>,
    written: Option<SystemTime>,
    /// A damaged file that was set aside since the start: when, where to, and why.
    set_aside: Option<(SystemTime, String, String)>,
}

impl Health {
    /// Of a store that has not been opened yet.
    pub fn new(path: String, metrics: StoreMetrics) -> Self {
        Self { path, metrics, state: Mutex::default() }
    }

    /// What was counted is on the disk.
    pub(super) fn written(&self, now: SystemTime) {
        let mut state = self.state.lock();
        state.written = Some(now);
        self.metrics.up.set(1);
        self.metrics.synced.inc();
        if let Some((since, _)) = state.failing.take() {
            let path = &self.path;
            tracing::info!(path, since = timestamp(since), "the store can be written again, and holds all counts");
        }
    }

    /// What was counted cannot be written; said once for each kind of failure.
    pub(super) fn failed(&self, now: SystemTime, error: String) {
        let mut state = self.state.lock();
        self.metrics.up.set(0);
        self.metrics.failed.inc();
        let new = state.failing.as_ref().is_none_or(|(_, known)| *known != error);
        if new {
            let path = &self.path;
            tracing::error!(path, "the store cannot be used, and counts are kept in memory until it can: {error}");
        }
        let since = state.failing.as_ref().map_or(now, |(since, _)| *since);
        state.failing = Some((since, error));
    }

    /// A damaged file was put out of the way.
    pub(super) fn set_aside(&self, now: SystemTime, place: String, why: String, lost: bool) {
        self.metrics.set_aside.inc();
        let path = &self.path;
        if lost {
            tracing::error!(
                path,
                set_aside = place,
                "the store's file cannot be used and was set aside: {why}; what it held is not counted any more, and quotas begin \
                 anew"
            );
        } else {
            tracing::error!(
                path,
                set_aside = place,
                "the store's file was set aside: {why}; a new one gets all counts"
            );
        }
        self.state.lock().set_aside = Some((now, place, why));
    }

    /// The detail of readiness.
    pub fn detail(&self) -> Json {
        let state = self.state.lock();
        json!({
            "path": self.path,
            "state": if state.failing.is_some() { "failing" } else { "ok" },
            "last_written": state.written.map(timestamp),
            "failing": state.failing.as_ref().map(|(since, error)| json!({ "since": timestamp(*since), "error": error })),
            "set_aside": state
                .set_aside
                .as_ref()
                .map(|(at, place, why)| json!({ "at": timestamp(*at), "file": place, "error": why })),
        })
    }
}
