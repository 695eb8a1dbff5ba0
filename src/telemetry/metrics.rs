//! Prometheus metrics: the families, and handles that cost a few atomic additions for each exchange.
//!
//! Labels are names from the configuration or one of a fixed list. A raw path, a key or a consumer is never a label, and
//! every list of names is bounded ([`Bounds`]): what comes after the bound is counted under `other`.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use foldhash::fast::RandomState;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::clock::Clock;
use crate::server::Totals;
use exchange::Exchanges;
use upstream::Upstreams;

mod cache;
mod exchange;
mod limit;
mod process;
mod server;
mod shared_store;
mod store;
#[cfg(test)]
mod tests;
mod upstream;

pub use cache::{CacheMetrics, CacheResult, CacheStore, KindMetrics, MemoryMetrics};
pub use exchange::{ApiMetrics, OperationMetrics, Record};
pub use limit::{LimitMetrics, Overflows};
pub use server::KeySource;
pub use shared_store::SharedStoreMetrics;
pub use store::StoreMetrics;
pub use upstream::{BackendMetrics, Outcome, Retry};

/// Upper bounds of the duration histograms, in seconds: from a cached answer to the 120 s a connector waits.
pub const BUCKETS: &[f64] =
    &[0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0];

/// The content type of [`Metrics::render`].
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The label of everything beyond a bound.
const OTHER: &str = "other";
/// The `api` and `operation` of a request that matched no operation.
const UNMATCHED: &str = "unmatched";

const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", OTHER];
fn class_index(status: StatusCode) -> usize {
    match status.as_u16() / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => CLASSES.len() - 1,
    }
}

/// How many different names each label may take before the rest is counted as `other`.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// APIs, over the life of the process.
    pub apis: usize,
    /// Operations that were called at least once, over the life of the process.
    pub operations: usize,
    /// Backends.
    pub backends: usize,
    /// Policy ids in the limit metrics, and pairs of policy and reason in the error metrics.
    pub policies: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { apis: 2_000, operations: 10_000, backends: 1_000, policies: 2_000 }
    }
}

/// The most certificates whose end is told.
const MAX_CERTIFICATES: usize = 1000;

/// When the time of a certificate is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateEnd {
    shown_to: &'static str,
    name: Box<str>,
    end: SystemTime,
}

impl CertificateEnd {
    /// Of what a listener shows.
    pub fn of_listener(name: &str, end: SystemTime) -> Self {
        Self { shown_to: "clients", name: name.into(), end }
    }

    /// Of one of `[certificates]`, for backends.
    pub fn of_client(name: &str, end: SystemTime) -> Self {
        Self { shown_to: "backends", name: name.into(), end }
    }
}

/// A label's names so far. Names stay for the life of the process, so that a reload continues the same series.
struct Names {
    seen: Mutex<HashSet<Box<str>>>,
    max: usize,
}

impl Names {
    fn new(max: usize) -> Self {
        Self { seen: Mutex::default(), max }
    }

    /// Whether `name` may be a label of its own.
    fn admit(&self, name: &str) -> bool {
        let mut seen = self.seen.lock();
        if seen.contains(name) {
            return true;
        }
        let room = seen.len() < self.max;
        if room {
            seen.insert(name.into());
        }
        room
    }

    fn label<'n>(&self, name: &'n str) -> &'n str {
        if self.admit(name) { name } else { OTHER }
    }
}

/// Counters whose labels are literals that are not known beforehand. A flood of refused requests comes through here, so
/// counting takes no lock and copies nothing once the literals were seen.
struct Literals<const N: usize> {
    family: IntCounterVec,
    known: ArcSwap<HashMap<[&'static str; N], IntCounter, RandomState>>,
    max: usize,
}

impl<const N: usize> Literals<N> {
    fn new(family: IntCounterVec, max: usize) -> Self {
        Self { family, known: ArcSwap::default(), max }
    }

    fn inc(&self, names: [&'static str; N]) {
        match self.known.load().get(&names) {
            Some(counter) => counter.inc(),
            None => self.learn(names),
        }
    }

    #[cold]
    fn learn(&self, names: [&'static str; N]) {
        if self.known.load().len() >= self.max {
            return self.family.with_label_values(&[OTHER; N]).inc();
        }
        let counter = self.family.with_label_values(&names);
        counter.inc();
        self.known.rcu(|known| {
            let mut known = HashMap::clone(known);
            known.insert(names, counter.clone());
            known
        });
    }
}

/// Every metric of the gateway, in a registry of its own.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    exchanges: Arc<Exchanges>,
    upstreams: Arc<Upstreams>,
    unmatched: OperationMetrics,
    limit_decisions: IntCounterVec,
    limit_shadow_refused: IntCounterVec,
    limit_delayed: IntCounterVec,
    limits: Names,
    policy_errors: Literals<2>,
    auth_failures: Literals<1>,
    token_fetches: IntCounterVec,
    token_sources: Names,
    unauthenticated: prometheus::IntGaugeVec,
    connections: Names,
    vault_fetches: IntCounterVec,
    reloads: IntCounterVec,
    reload_success: IntGauge,
    reload_timestamp: Gauge,
    certificate_ends: GaugeVec,
    server: server::Server,
    shared_store: SharedStoreMetrics,
    cache: CacheMetrics,
    /// The embedded store.
    pub store: StoreMetrics,
    /// Access-log lines dropped because the sink was gone or too slow.
    pub access_log_dropped: IntCounter,
}

/// The series of one source of tokens for backends.
pub struct TokenSourceMetrics {
    /// Tokens that were issued.
    pub issued: IntCounter,
    /// Requests that the endpoint refused.
    pub refused: IntCounter,
    /// Requests without a usable answer.
    pub failed: IntCounter,
}

/// The series of the key vault.
pub struct VaultMetrics {
    /// Secrets that were fetched.
    pub fetched: IntCounter,
    /// Fetches that failed.
    pub failed: IntCounter,
}

/// Collects the families while they are made, so that each is registered and named once.
struct Families {
    registry: Registry,
    names: Vec<String>,
}

impl Families {
    fn add<C: Collector + Clone + 'static>(&mut self, family: prometheus::Result<C>) -> C {
        let family = family.expect("names and labels are literals in this file, and a test builds them all");
        self.names.extend(family.desc().iter().map(|desc| desc.fq_name.clone()));
        self.registry.register(Box::new(family.clone())).expect("each name is registered once, and a test builds all");
        family
    }

    fn counter(&mut self, name: &str, help: &str) -> IntCounter {
        self.add(IntCounter::with_opts(options(name, help)))
    }

    fn counters(&mut self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        self.add(IntCounterVec::new(options(name, help), labels))
    }

    fn gauge(&mut self, name: &str, help: &str) -> IntGauge {
        self.add(IntGauge::with_opts(options(name, help)))
    }

    fn histograms(&mut self, name: &str, help: &str, labels: &[&str]) -> HistogramVec {
        let options = HistogramOpts { common_opts: options(name, help), buckets: BUCKETS.to_vec() };
        self.add(HistogramVec::new(options, labels))
    }
}

fn options(name: &str, help: &str) -> Opts {
    Opts::new(name, help).namespace("sluicegate")
}

fn seconds(at: SystemTime) -> f64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

impl Metrics {
    /// All families at zero. The process is taken to start now.
    pub fn new(clock: &Clock) -> Self {
        Self::bounded(clock, Bounds::default())
    }

    /// As [`Metrics::new`], with other bounds on the number of label values.
    pub fn bounded(clock: &Clock, bounds: Bounds) -> Self {
        let mut families = Families { registry: Registry::new(), names: Vec::new() };
        let exchanges = Arc::new(Exchanges {
            requests: families.counters(
                "requests_total",
                "Requests answered, by API, operation, status class and method.",
                &["api", "operation", "status", "method"],
            ),
            durations: families.histograms(
                "request_duration_seconds",
                "Time from the request's head to the last byte of the answer.",
                &["api", "operation", "status", "method"],
            ),
            request_bytes: families.counters(
                "request_body_bytes_total",
                "Bytes of request bodies received from clients.",
                &["api"],
            ),
            response_bytes: families.counters(
                "response_body_bytes_total",
                "Bytes of response bodies sent to clients.",
                &["api"],
            ),
            validation: families.counters(
                "validation_failures_total",
                "What was found in messages that is not as their API's definition says, by policy and action.",
                &["api", "operation", "policy", "action"],
            ),
            tokens: families.counters(
                "llm_tokens_total",
                "Tokens of language models that were consumed where a limit counts them, by kind: prompt or completion.",
                &["api", "kind"],
            ),
            injected: families.counters(
                "injected_faults_total",
                "Faults that policies made up for requests, by API and kind: error or latency.",
                &["api", "kind"],
            ),
            client_aborts: families
                .counter("client_aborts_total", "Exchanges whose client went away before the answer was complete."),
            upstream_truncated: families
                .counter("upstream_truncated_total", "Answers that a backend broke off after their head was sent on."),
            apis: Names::new(bounds.apis),
            operations: Names::new(bounds.operations),
        });
        let upstreams = Arc::new(Upstreams {
            requests: families.counters(
                "upstream_requests_total",
                "Attempts to reach a backend, by outcome: a status class, connect_error, timeout or reset.",
                &["backend", "outcome"],
            ),
            durations: families.histograms(
                "upstream_duration_seconds",
                "Time from the start of an attempt to the head of the backend's answer, or to its failure.",
                &["backend", "outcome"],
            ),
            retries: families.counters(
                "retries_total",
                "Retries sent (attempt) and retries that the budget refused (budget_refused).",
                &["backend", "reason"],
            ),
            circuits: families.add(prometheus::IntGaugeVec::new(
                options(
                    "backend_circuit_open",
                    "Endpoints of a backend whose circuit breaker is open, or waits for the call that closes it.",
                ),
                &["backend"],
            )),
            backends: Names::new(bounds.backends),
        });
        let build = families.add(prometheus::IntGaugeVec::new(
            options("build_info", "Always 1; the label tells the version."),
            &["version"],
        ));
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let api = Arc::new(ApiMetrics::new(&exchanges, UNMATCHED));
        let process = process::Process::new(seconds(clock.wall()));
        families.names.extend(process.desc().iter().map(|desc| desc.fq_name.clone()));
        families.registry.register(Box::new(process)).expect("no other family has a name of the process's");
        Self {
            unmatched: OperationMetrics::new(&exchanges, &api, UNMATCHED),
            exchanges,
            upstreams,
            limit_decisions: families.counters(
                "limit_decisions_total",
                "Decisions of rate, quota and concurrency limits: admitted, refused, or overflow (too many keys).",
                &["policy", "decision"],
            ),
            limit_shadow_refused: families.counters(
                "limit_shadow_refused_total",
                "Requests that a limit in shadow mode would have refused.",
                &["policy"],
            ),
            limit_delayed: families.counters(
                "limit_delayed_total",
                "Requests that waited for their turn before a limit decided.",
                &["policy"],
            ),
            limits: Names::new(bounds.policies),
            policy_errors: Literals::new(
                families.counters(
                    "policy_errors_total",
                    "Errors raised by policies and by the parts of the gateway that stand in for one.",
                    &["policy", "reason"],
                ),
                bounds.policies,
            ),
            auth_failures: Literals::new(
                families.counters(
                    "auth_failures_total",
                    "Requests whose key, token or other credential was not accepted.",
                    &["reason"],
                ),
                bounds.policies,
            ),
            token_fetches: families.counters(
                "backend_token_fetches_total",
                "Fetches of tokens for backends, by source and result: issued, refused or failed.",
                &["source", "result"],
            ),
            token_sources: Names::new(bounds.backends),
            unauthenticated: families.add(prometheus::IntGaugeVec::new(
                options(
                    "connection_unauthenticated",
                    "1 while the backend says that the credentials of a connection do not work.",
                ),
                &["connection"],
            )),
            connections: Names::new(bounds.backends),
            vault_fetches: families.counters(
                "key_vault_fetches_total",
                "Fetches of secrets from the key vault, by result: fetched or failed.",
                &["result"],
            ),
            reloads: families.counters(
                "config_reload_total",
                "Loads of the configuration, the first included, by result: success or failure.",
                &["result"],
            ),
            reload_success: families
                .gauge("config_last_reload_success", "Whether the last load of the configuration succeeded."),
            reload_timestamp: families.add(Gauge::with_opts(options(
                "config_last_reload_timestamp_seconds",
                "When the configuration in force was loaded, in seconds since 1970.",
            ))),
            certificate_ends: families.add(GaugeVec::new(
                options(
                    "certificate_not_after_seconds",
                    "When the time of a certificate is over that the gateway shows to clients or to backends, in seconds since 1970.",
                ),
                &["shown_to", "name"],
            )),
            server: server::Server::new(&mut families),
            shared_store: SharedStoreMetrics::new(&mut families),
            cache: CacheMetrics::new(&mut families),
            store: StoreMetrics::new(&mut families),
            access_log_dropped: families.counter(
                "access_log_dropped_lines_total",
                "Access-log lines dropped because the sink was gone or too slow.",
            ),
            registry: families.registry,
            names: families.names,
        }
    }

    /// The counters of the shared store.
    pub fn shared_store(&self) -> SharedStoreMetrics {
        self.shared_store.clone()
    }

    /// The counters of the cache.
    pub fn cache(&self) -> CacheMetrics {
        self.cache.clone()
    }

    /// The full name of every family, those without a series yet included.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text exposition format, for `/metrics`. At the bound of operations this is tens of megabytes and takes half a
    /// second, so it belongs on a thread that serves no traffic.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if let Err(error) = TextEncoder::new().encode_utf8(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        text
    }

    /// The handle of an API. Resolve it once, when the configuration is compiled.
    pub fn api(&self, name: &str) -> Arc<ApiMetrics> {
        Arc::new(ApiMetrics::new(&self.exchanges, self.exchanges.apis.label(name)))
    }

    /// The handle of an operation. Resolve it once; its series come into being when it is first called.
    pub fn operation(&self, api: &Arc<ApiMetrics>, name: &str) -> OperationMetrics {
        OperationMetrics::new(&self.exchanges, api, name)
    }

    /// The handle for requests that match no operation.
    pub fn unmatched(&self) -> &OperationMetrics {
        &self.unmatched
    }

    /// The handle of a backend. Resolve it once, when the configuration is compiled.
    pub fn backend(&self, name: &str) -> BackendMetrics {
        BackendMetrics::new(&self.upstreams, name)
    }

    /// The handle of a limit, by the policy's `id` or place. Resolve it once, when the configuration is compiled.
    pub fn limit(&self, policy_id: &str) -> LimitMetrics {
        let policy = self.limits.label(policy_id);
        let decision = |decision| self.limit_decisions.with_label_values(&[policy, decision]);
        LimitMetrics {
            admitted: decision("admitted"),
            refused: decision("refused"),
            overflow: Overflows::new(decision("overflow"), policy_id),
            shadow_refused: self.limit_shadow_refused.with_label_values(&[policy]),
            delayed: self.limit_delayed.with_label_values(&[policy]),
        }
    }

    /// The handle of a source of tokens for backends. Resolve it once, when the configuration is compiled.
    pub fn token_source(&self, name: &str) -> TokenSourceMetrics {
        let source = self.token_sources.label(name);
        let result = |result| self.token_fetches.with_label_values(&[source, result]);
        TokenSourceMetrics { issued: result("issued"), refused: result("refused"), failed: result("failed") }
    }

    /// Whether the credentials of a connection do not work. Resolve it once, when the configuration is compiled.
    pub fn connection(&self, name: &str) -> IntGauge {
        self.unauthenticated.with_label_values(&[self.connections.label(name)])
    }

    /// The handle of the key vault.
    pub fn vault(&self) -> VaultMetrics {
        let result = |result| self.vault_fetches.with_label_values(&[result]);
        VaultMetrics { fetched: result("fetched"), failed: result("failed") }
    }

    /// Counts an error of a policy. Both names are literals in the program, which bounds the labels.
    pub fn policy_error(&self, policy: &'static str, reason: &'static str) {
        self.policy_errors.inc([policy, reason]);
    }

    /// Counts a refused credential.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.inc([reason]);
    }

    /// Brings in what the sockets and the sources of token keys have counted; to be called before [`Metrics::render`].
    pub fn observe(&self, totals: &Totals, sources: &[KeySource]) {
        self.server.observe(totals, sources);
    }

    /// A configuration was loaded and is in force.
    pub fn config_loaded(&self, at: SystemTime, certificates: &[CertificateEnd]) {
        self.reloads.with_label_values(&["success"]).inc();
        self.reload_success.set(1);
        self.reload_timestamp.set(seconds(at));
        // What is no longer shown does not expire.
        self.certificate_ends.reset();
        for CertificateEnd { shown_to, name, end } in certificates.iter().take(MAX_CERTIFICATES) {
            self.certificate_ends.with_label_values(&[*shown_to, &**name]).set(seconds(*end));
        }
    }

    /// A configuration could not be loaded; the one before it stays in force.
    pub fn config_failed(&self) {
        self.reloads.with_label_values(&["failure"]).inc();
        self.reload_success.set(0);
    }
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Metrics").field("families", &self.names.len()).finish_non_exhaustive()
    }
}
