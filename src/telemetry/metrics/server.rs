//! What sockets and key sources count for themselves, brought into the registry when Prometheus asks.

use std::time::Duration;

use parking_lot::Mutex;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::{Families, options};
use crate::server::Totals;

/// The families.
pub(super) struct Server {
    /// Two scrapes at a time would both add what one of them has found to be missing.
    scrape: Mutex<()>,
    in_flight: IntGauge,
    open: IntGauge,
    accepted: IntCounter,
    refused: IntCounter,
    accept_errors: IntCounter,
    closed: IntCounterVec,
    malformed: IntCounter,
    upstream_open: IntGauge,
    upstream_idle: IntGauge,
    upstream_opened: IntCounter,
    upstream_reused: IntCounter,
    replayed: IntCounter,
    keys: IntGaugeVec,
    keys_age: GaugeVec,
    keys_failures: IntGaugeVec,
}

/// The state of one source of token keys.
#[derive(Clone, Debug)]
pub struct KeySource {
    /// Its URL, without secrets.
    pub source: String,
    /// How many keys are in force.
    pub keys: usize,
    /// How old they are; none before they were first fetched.
    pub age: Option<Duration>,
    /// How many fetches failed since the last that did not.
    pub failures: u32,
}

impl Server {
    pub(super) fn new(families: &mut Families) -> Self {
        Self {
            scrape: Mutex::new(()),
            in_flight: families.gauge("in_flight_requests", "Exchanges in progress."),
            open: families.gauge("connections_open", "Client connections that are open."),
            accepted: families.counter("connections_accepted_total", "Client connections accepted."),
            refused: families
                .counter("connections_refused_total", "Client connections closed because a worker was full."),
            accept_errors: families.counter("accept_errors_total", "Failed attempts to accept a client connection."),
            closed: families.counters(
                "connections_closed_total",
                "Client connections that the gateway closed: idle, slow_head, stalled or handshake.",
                &["reason"],
            ),
            malformed: families
                .counter("malformed_requests_total", "Messages that are no HTTP, refused by the parser."),
            upstream_open: families.gauge("upstream_connections_open", "Connections to backends that are open."),
            upstream_idle: families.gauge("upstream_connections_idle", "Connections to backends that wait in a pool."),
            upstream_opened: families.counter("upstream_connections_opened_total", "Connections opened to backends."),
            upstream_reused: families
                .counter("upstream_connections_reused_total", "Requests sent over a connection from a pool."),
            replayed: families.counter(
                "upstream_replays_total",
                "Requests sent again because the pooled connection turned out to be dead.",
            ),
            keys: families
                .add(IntGaugeVec::new(options("token_keys", "Keys of a token issuer in force."), &["source"])),
            keys_age: families.add(GaugeVec::new(
                options("token_keys_age_seconds", "Time since the keys of a token issuer were fetched."),
                &["source"],
            )),
            keys_failures: families.add(IntGaugeVec::new(
                options("token_keys_failures", "Failed fetches of a token issuer's keys since the last good one."),
                &["source"],
            )),
        }
    }

    pub(super) fn observe(&self, totals: &Totals, sources: &[KeySource]) {
        let _scrape = self.scrape.lock();
        let gauge = |gauge: &IntGauge, value: u64| gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
        // A counter cannot be set; the workers' own only grow, so the difference is never negative.
        let counter = |counter: &IntCounter, value: u64| counter.inc_by(value.saturating_sub(counter.get()));
        gauge(&self.in_flight, totals.in_flight);
        gauge(&self.open, totals.open);
        gauge(&self.upstream_open, totals.upstream_open);
        gauge(&self.upstream_idle, totals.upstream_idle);
        counter(&self.accepted, totals.accepted);
        counter(&self.refused, totals.refused);
        counter(&self.accept_errors, totals.accept_errors);
        counter(&self.malformed, totals.bad_requests);
        counter(&self.upstream_opened, totals.upstream_opened);
        counter(&self.upstream_reused, totals.upstream_reused);
        counter(&self.replayed, totals.replayed);
        for (reason, value) in [
            ("idle", totals.closed_idle),
            ("slow_head", totals.closed_slow_head),
            ("stalled", totals.closed_stalled),
            ("handshake", totals.handshakes_failed),
        ] {
            counter(&self.closed.with_label_values(&[reason]), value);
        }
        // Sources come and go with reloads.
        self.keys.reset();
        self.keys_age.reset();
        self.keys_failures.reset();
        for source in sources {
            let label = [source.source.as_str()];
            gauge(&self.keys.with_label_values(&label), source.keys as u64);
            self.keys_failures.with_label_values(&label).set(source.failures.into());
            if let Some(age) = source.age {
                self.keys_age.with_label_values(&label).set(age.as_secs_f64());
            }
        }
    }
}
