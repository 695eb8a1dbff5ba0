//! Reload: validate, build, put in force with one pointer; a broken configuration changes nothing and is reported.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep, timeout};

use super::logging::OpenLog;
use super::source::{Source, Stamp};
use super::status::{Current, Status, summary};
use super::watch::Watch;
use crate::compile::Loaded;
use crate::compile::settings::Process as Settings;
use crate::config::render;
use crate::credential::VaultSecret;
use crate::gateway::Gateway;
use crate::gateway::handle::Entry;

/// Files are read once nothing has happened to them for so long.
const QUIET: Duration = Duration::from_millis(40);
/// But no later than this after the first change.
const LATEST: Duration = Duration::from_millis(100);
/// How often files are looked at without a hint: some file systems send none.
const POLL: Duration = Duration::from_secs(5);

/// Keeps what is in force the same as what is in the files.
pub(super) struct Reloader {
    pub(super) source: Source,
    pub(super) entry: Arc<Entry>,
    pub(super) status: Arc<Status>,
    pub(super) log: OpenLog,
    /// What the process was started with.
    pub(super) started: Settings,
    /// The files as last loaded, whether or not they went into force.
    pub(super) seen: Option<Stamp>,
    /// Configurations that requests may still use. They are dropped from here, so that no worker has to stop for the
    /// work of taking a large one apart.
    pub(super) retired: Vec<Arc<Gateway>>,
    /// What the last configuration was refused for, held so that the key vault is asked for it again.
    pub(super) missing_secrets: Vec<Arc<VaultSecret>>,
}

/// Why to look at the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cause {
    Change,
    Hangup,
    Again,
}

/// What came of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The files changed while they were read.
    Again,
}

/// Wakes the reloader.
#[derive(Clone, Debug, Default)]
pub(super) struct Signals {
    /// Something happened to the files.
    pub(super) changed: Arc<Notify>,
    /// Somebody asks for a reload.
    pub(super) hangup: Arc<Notify>,
    /// Somebody asks for a reload of what has not changed.
    pub(super) again: Arc<Notify>,
}

impl Reloader {
    /// Reloads for as long as the process lives.
    pub(super) async fn run(mut self, signals: Signals) {
        let mut watch = match self.source.origin().folder() {
            None => None,
            Some(_) => Watch::new(signals.changed.clone())
                .inspect_err(
                    |error| tracing::warn!(%error, "files cannot be watched; looking at them now and then instead"),
                )
                .ok(),
        };
        let mut poll = interval_at(Instant::now() + POLL, POLL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            if let (Some(watch), Some(folder)) = (&mut watch, self.source.origin().folder()) {
                watch.follow(folder, self.source.files());
            }
            let cause = tokio::select! {
                () = signals.hangup.notified() => Cause::Hangup,
                () = signals.again.notified() => Cause::Again,
                () = signals.changed.notified() => {
                    settle(&signals.changed).await;
                    Cause::Change
                }
                _ = poll.tick() => Cause::Change,
            };
            // Reading and compiling block, and this runtime answers health checks.
            let look = tokio::task::spawn_blocking(move || {
                let outcome = self.look(cause);
                (self, outcome)
            });
            let Ok((reloader, outcome)) = look.await else {
                tracing::error!("the reload failed; the configuration stays as it is until the next start");
                return;
            };
            self = reloader;
            if outcome == Outcome::Again {
                sleep(QUIET).await;
                signals.changed.notify_one();
            }
        }
    }

    fn look(&mut self, cause: Cause) -> Outcome {
        self.retired.retain(|gateway| Arc::strong_count(gateway) > 1);
        if cause == Cause::Hangup {
            self.log.reopen();
            self.source.shared().vault.ask_again(&self.source.shared().clock);
        }
        let again = cause == Cause::Again || (cause == Cause::Hangup && self.status.has_failed());
        if !again && Some(self.source.stamp()) == self.seen {
            if cause == Cause::Hangup {
                tracing::info!("the configuration has not changed");
            }
            return Outcome::Done;
        }
        let Some((loaded, stamp)) = self.source.load() else { return Outcome::Again };
        self.seen = Some(stamp);
        self.take(loaded, stamp);
        Outcome::Done
    }

    /// Puts a configuration in force, or says why not.
    fn take(&mut self, mut loaded: Loaded, stamp: Stamp) {
        let report = render::text(&loaded.diagnostics, &loaded.sources);
        self.missing_secrets = std::mem::take(&mut loaded.missing_secrets);
        let Some(mut gateway) = loaded.gateway.take() else {
            let (short, all) = summary(&loaded);
            return self.refuse(&short, &report, all);
        };
        gateway.access_log = match self.log.follow(&loaded.process, &gateway) {
            Ok(log) => log,
            Err(error) => return self.refuse(&chain(&error), "", Json::Null),
        };
        let restart = needs_restart(&self.started, &loaded.process);
        if let (Some(tls), Some(config)) = (&self.started.server.tls, loaded.process.tls.take()) {
            tls.replace(config);
        }
        if !report.is_empty() {
            tracing::warn!("the configuration has warnings\n{report}");
        }
        if !restart.is_empty() {
            tracing::warn!(settings = restart.join(", "), "changed settings wait for a restart");
        }
        let shared = self.source.shared();
        let now = shared.clock.wall();
        tracing::info!(
            generation = gateway.generation,
            apis = gateway.apis.len(),
            operations = gateway.operations.len(),
            "configuration reloaded"
        );
        let generation = gateway.generation;
        if let Some(limits) = loaded.limits {
            limits.commit();
        }
        self.retired.push(self.entry.current());
        shared.metrics.config_loaded(now, &gateway.certificate_ends);
        shared.traces.keep(gateway.tracing.as_ref().map_or(0, |tracing| tracing.keep()));
        self.entry.swap(Arc::new(gateway));
        let current = Current { generation, loaded_at: now, digest: stamp.text(), view: loaded.view };
        self.status.loaded(current, restart);
    }

    fn refuse(&self, summary: &str, report: &str, diagnostics: Json) {
        let shared = self.source.shared();
        shared.metrics.config_failed();
        self.status.failed(shared.clock.wall(), summary.to_owned(), diagnostics);
        let report = format!("{summary}\n{report}");
        tracing::error!("the configuration is not valid, and the one before it stays in force: {}", report.trim_end());
    }
}

/// Waits until nothing has changed for a moment: whoever writes several files writes them one after another.
async fn settle(changed: &Notify) {
    let latest = Instant::now() + LATEST;
    while timeout(QUIET, changed.notified()).await.is_ok() && Instant::now() < latest {}
}

/// An error with all its causes, in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        source = cause.source();
    }
    text
}

/// Settings that differ, of those that only the start of the process reads.
fn needs_restart(started: &Settings, loaded: &Settings) -> Vec<&'static str> {
    let (old, new) = (&started.server, &loaded.server);
    [
        ("server.listen", old.listen != new.listen),
        ("server.admin", started.admin != loaded.admin),
        ("server.workers", old.workers != new.workers),
        // The files, and what is asked of clients, are followed; TLS itself is not switched.
        ("server.tls", started.server.tls.is_some() != loaded.tls.is_some()),
        ("server.limits.head-size", old.head_size != new.head_size),
        ("server.limits.header-count", old.head_fields != new.head_fields),
        ("server.limits.uri-length", old.limits.target != new.limits.target),
        ("server.limits.body-size", old.limits.body != new.limits.body),
        ("server.limits.connections", old.max_connections != new.max_connections),
        ("server.timeouts.head", old.head_timeout != new.head_timeout),
        ("server.timeouts.keep-alive", old.keep_alive != new.keep_alive),
        ("server.timeouts.body", old.body_timeout != new.body_timeout),
        ("server.timeouts.send", old.send_timeout != new.send_timeout),
        ("store", started.store != loaded.store),
        ("telemetry.log-level", started.log_level != loaded.log_level),
        ("telemetry.log-format", started.log_format != loaded.log_format),
    ]
    .into_iter()
    .filter_map(|(name, differs)| differs.then_some(name))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_differs_waits_for_a_restart() {
        let started = Settings::default();
        assert_eq!(needs_restart(&started, &started), [""; 0]);
        let mut loaded = started.clone();
        loaded.admin = Some(([127, 0, 0, 1], 9090).into());
        loaded.server.workers = 3;
        loaded.log_query = true;
        assert_eq!(needs_restart(&started, &loaded), ["server.admin", "server.workers"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_of_changes_is_one_and_a_stream_does_not_wait_for_ever() {
        let changed = Notify::new();
        let started = Instant::now();
        settle(&changed).await;
        assert_eq!(started.elapsed(), QUIET);
        let started = Instant::now();
        tokio::select! {
            () = settle(&changed) => {}
            () = async { loop { sleep(QUIET / 4).await; changed.notify_one() } } => {}
        }
        assert!(started.elapsed() >= LATEST && started.elapsed() <= LATEST + QUIET, "{:?}", started.elapsed());
    }
}
