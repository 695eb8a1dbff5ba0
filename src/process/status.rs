//! What the process says of itself: whether it is ready, which configuration is in force, what is wrong with the next one.

use std::sync::Arc;
use std::time::SystemTime;

use parking_lot::Mutex;
use serde_json::{Value as Json, json};

use crate::compile::Loaded;
use crate::config::{Severity, render};
use crate::store::Health;

/// Key, value with secrets masked, file and line.
pub type View = Vec<(String, String, String)>;

/// The state of the process, as readiness and the admin listener show it.
#[derive(Debug, Default)]
pub struct Status(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    serving: bool,
    draining: bool,
    current: Option<Current>,
    last_error: Option<Failure>,
    /// Settings that differ from those that the process started with.
    restart: Vec<&'static str>,
    /// That of the embedded store, when there is one.
    store: Option<Arc<Health>>,
}

/// The configuration in force.
#[derive(Debug)]
pub struct Current {
    /// Its number.
    pub generation: u64,
    /// When it went into force.
    pub loaded_at: SystemTime,
    /// The digest of its files.
    pub digest: String,
    /// Its settings.
    pub view: View,
}

/// Why the files as they are now are not in force.
#[derive(Debug)]
struct Failure {
    since: SystemTime,
    summary: String,
    diagnostics: Json,
}

impl Status {
    /// Requests are answered from now on.
    pub(super) fn serving(&self) {
        self.0.lock().serving = true;
    }

    /// Counts are kept in a store.
    pub(super) fn watch(&self, store: Arc<Health>) {
        self.0.lock().store = Some(store);
    }

    /// The process is about to stop.
    pub(super) fn draining(&self) {
        self.0.lock().draining = true;
    }

    /// A configuration went into force.
    pub(super) fn loaded(&self, current: Current, restart: Vec<&'static str>) {
        let mut state = self.0.lock();
        state.current = Some(current);
        state.last_error = None;
        state.restart = restart;
    }

    /// A configuration was not taken over. The time of the first of several failures stays.
    pub(super) fn failed(&self, now: SystemTime, summary: String, diagnostics: Json) {
        let mut state = self.0.lock();
        let since = state.last_error.as_ref().map_or(now, |failure| failure.since);
        state.last_error = Some(Failure { since, summary, diagnostics });
    }

    /// Whether the last configuration was not taken over.
    pub fn has_failed(&self) -> bool {
        self.0.lock().last_error.is_some()
    }

    /// Whether requests should be sent here.
    pub fn is_ready(&self) -> bool {
        let state = self.0.lock();
        state.serving && !state.draining
    }

    /// The detail of readiness.
    pub fn detail(&self) -> Json {
        let state = self.0.lock();
        let error = state.last_error.as_ref().map(|failure| {
            json!({
                "since": timestamp(failure.since),
                "summary": failure.summary,
                "diagnostics": failure.diagnostics,
            })
        });
        let configuration = state.current.as_ref().map(|current| {
            json!({
                "generation": current.generation,
                "loaded_at": timestamp(current.loaded_at),
                "digest": current.digest,
                "last_error": error,
                "needs_restart": state.restart,
            })
        });
        json!({
            "ready": state.serving && !state.draining,
            "draining": state.draining,
            "configuration": configuration,
            "store": state.store.as_ref().map(|store| store.detail()),
        })
    }

    /// Looks at the configuration in force.
    pub fn with_current<T>(&self, look: impl FnOnce(&Current) -> T) -> Option<T> {
        self.0.lock().current.as_ref().map(look)
    }
}

/// RFC 3339, to the second.
pub fn timestamp(time: SystemTime) -> String {
    jiff::Timestamp::try_from(time).map_or_else(|_| String::new(), |time| format!("{time:.0}"))
}

/// The first mistake in one line, and all of them as JSON.
pub(super) fn summary(loaded: &Loaded) -> (String, Json) {
    let errors = loaded.diagnostics.errors();
    let first = loaded.diagnostics.0.iter().find(|one| one.severity == Severity::Error);
    let first = first.map_or_else(String::new, |first| match &first.location {
        Some(location) => format!("{}: {}", loaded.sources.place(location), first.message),
        None => first.message.clone(),
    });
    let summary = if errors > 1 { format!("{first} (and {} more)", errors - 1) } else { first };
    let mut report: Json =
        serde_json::from_str(&render::json(&loaded.diagnostics, &loaded.sources)).unwrap_or_default();
    (summary, report["diagnostics"].take())
}
