//! Prometheus metrics: the families, and handles that cost a few atomic additions for each exchange.
//!
//! Labels are names from the configuration or one of a fixed list. A raw path, a key or a consumer is never a label, and
//! every list of names is bounded ([`Bounds`]): what comes after the bound is counted under `other`.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{Method, StatusCode};
use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::{
    Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

use crate::clock::Clock;

mod process;
#[cfg(test)]
mod tests;

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
const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", OTHER];

fn class_index(status: StatusCode) -> usize {
    match status.as_u16() / 100 {
        class @ 1..=5 => usize::from(class) - 1,
        _ => CLASSES.len() - 1,
    }
}

fn method_index(method: &Method) -> usize {
    match *method {
        Method::GET => 0,
        Method::HEAD => 1,
        Method::POST => 2,
        Method::PUT => 3,
        Method::PATCH => 4,
        Method::DELETE => 5,
        Method::OPTIONS => 6,
        Method::TRACE => 7,
        Method::CONNECT => 8,
        _ => METHODS.len() - 1,
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

/// Every metric of the gateway, in a registry of its own.
pub struct Metrics {
    registry: Registry,
    names: Vec<String>,
    exchanges: Arc<Exchanges>,
    upstreams: Arc<Upstreams>,
    unmatched: OperationMetrics,
    limit_decisions: IntCounterVec,
    limit_shadow_refused: IntCounterVec,
    limits: Names,
    policy_errors: IntCounterVec,
    error_pairs: Names,
    auth_failures: IntCounterVec,
    auth_reasons: Names,
    reloads: IntCounterVec,
    reload_success: IntGauge,
    reload_timestamp: Gauge,
    /// Exchanges between the request's head and the last byte of the answer; see [`Held`].
    pub in_flight: IntGauge,
    /// Client connections that are open now; see [`Held`].
    pub connections_open: IntGauge,
    /// Client connections accepted.
    pub connections_accepted: IntCounter,
    /// Client connections refused, because of a limit or while draining.
    pub connections_refused: IntCounter,
    /// Access-log lines dropped because the sink was gone or too slow.
    pub access_log_dropped: IntCounter,
}

/// What all operations share.
struct Exchanges {
    requests: IntCounterVec,
    durations: HistogramVec,
    request_bytes: IntCounterVec,
    response_bytes: IntCounterVec,
    client_aborts: IntCounter,
    upstream_truncated: IntCounter,
    apis: Names,
    operations: Names,
}

/// What all backends share.
struct Upstreams {
    requests: IntCounterVec,
    durations: HistogramVec,
    retries: IntCounterVec,
    backends: Names,
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
            limits: Names::new(bounds.policies),
            policy_errors: families.counters(
                "policy_errors_total",
                "Errors raised by policies and by the parts of the gateway that stand in for one.",
                &["policy", "reason"],
            ),
            error_pairs: Names::new(bounds.policies),
            auth_failures: families.counters(
                "auth_failures_total",
                "Requests whose key, token or other credential was not accepted.",
                &["reason"],
            ),
            auth_reasons: Names::new(bounds.policies),
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
            in_flight: families.gauge("in_flight_requests", "Exchanges in progress."),
            connections_open: families.gauge("connections_open", "Client connections that are open."),
            connections_accepted: families.counter("connections_accepted_total", "Client connections accepted."),
            connections_refused: families.counter("connections_refused_total", "Client connections refused."),
            access_log_dropped: families.counter(
                "access_log_dropped_lines_total",
                "Access-log lines dropped because the sink was gone or too slow.",
            ),
            registry: families.registry,
            names: families.names,
        }
    }

    /// The full name of every family, those without a series yet included.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// The text exposition format, for `/metrics`.
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
        BackendMetrics {
            name: self.upstreams.backends.label(name).into(),
            upstreams: Arc::clone(&self.upstreams),
            attempts: Default::default(),
            retries: Default::default(),
        }
    }

    /// The handle of a limit, by the policy's `id` or place. Resolve it once, when the configuration is compiled.
    pub fn limit(&self, policy: &str) -> LimitMetrics {
        let policy = self.limits.label(policy);
        let decision = |decision| self.limit_decisions.with_label_values(&[policy, decision]);
        LimitMetrics {
            admitted: decision("admitted"),
            refused: decision("refused"),
            overflow: decision("overflow"),
            shadow_refused: self.limit_shadow_refused.with_label_values(&[policy]),
        }
    }

    /// Counts an error of a policy. Both names are literals in the program, which bounds the labels.
    pub fn policy_error(&self, policy: &'static str, reason: &'static str) {
        let pair = if self.error_pairs.admit(&[policy, reason].join("\0")) { [policy, reason] } else { [OTHER; 2] };
        self.policy_errors.with_label_values(&pair).inc();
    }

    /// Counts a refused credential.
    pub fn auth_failure(&self, reason: &'static str) {
        self.auth_failures.with_label_values(&[self.auth_reasons.label(reason)]).inc();
    }

    /// A configuration was loaded and is in force.
    pub fn config_loaded(&self, at: SystemTime) {
        self.reloads.with_label_values(&["success"]).inc();
        self.reload_success.set(1);
        self.reload_timestamp.set(seconds(at));
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

/// The counters of one API.
pub struct ApiMetrics {
    name: Box<str>,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
}

impl ApiMetrics {
    fn new(exchanges: &Exchanges, name: &str) -> Self {
        Self {
            name: name.into(),
            request_bytes: exchanges.request_bytes.with_label_values(&[name]),
            response_bytes: exchanges.response_bytes.with_label_values(&[name]),
        }
    }
}

/// What one exchange adds to the metrics.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// The method of the request, as received.
    pub method: &'a Method,
    /// The status of the answer.
    pub status: StatusCode,
    /// From the request's head to the last byte of the answer.
    pub duration: Duration,
    /// Bytes of the request's body that were read.
    pub request_bytes: u64,
    /// Bytes of the answer's body that were sent.
    pub response_bytes: u64,
    /// The client went away before the answer was complete.
    pub client_aborted: bool,
    /// The backend broke off its answer after its head was sent on.
    pub upstream_truncated: bool,
}

/// The series of one operation: names until it is called, then one counter and one histogram for each method and
/// status class seen.
pub struct OperationMetrics {
    exchanges: Arc<Exchanges>,
    api: Arc<ApiMetrics>,
    name: Box<str>,
    // A pointer, because most of 100,000 operations are never called and the table below is over a kilobyte.
    table: OnceLock<Box<Table>>,
}

struct Table {
    label: Box<str>,
    cells: [[OnceLock<Cell>; CLASSES.len()]; METHODS.len()],
}

struct Cell {
    requests: IntCounter,
    durations: Histogram,
}

impl OperationMetrics {
    fn new(exchanges: &Arc<Exchanges>, api: &Arc<ApiMetrics>, name: &str) -> Self {
        Self { exchanges: Arc::clone(exchanges), api: Arc::clone(api), name: name.into(), table: OnceLock::new() }
    }

    /// Counts one exchange.
    pub fn record(&self, record: &Record<'_>) {
        let cell = self.cell(method_index(record.method), class_index(record.status));
        cell.requests.inc();
        cell.durations.observe(record.duration.as_secs_f64());
        // Most requests have no body, and an addition of nothing still costs the cache line.
        if record.request_bytes > 0 {
            self.api.request_bytes.inc_by(record.request_bytes);
        }
        if record.response_bytes > 0 {
            self.api.response_bytes.inc_by(record.response_bytes);
        }
        if record.client_aborted {
            self.exchanges.client_aborts.inc();
        }
        if record.upstream_truncated {
            self.exchanges.upstream_truncated.inc();
        }
    }

    fn cell(&self, method: usize, class: usize) -> &Cell {
        let table = self.table.get_or_init(|| {
            let own = self.exchanges.operations.admit(&[&*self.api.name, &*self.name].join("\0"));
            let label = if own { &*self.name } else { OTHER };
            Box::new(Table { label: label.into(), cells: Default::default() })
        });
        table.cells[method][class].get_or_init(|| {
            let labels = [&*self.api.name, &*table.label, CLASSES[class], METHODS[method]];
            Cell {
                requests: self.exchanges.requests.with_label_values(&labels),
                durations: self.exchanges.durations.with_label_values(&labels),
            }
        })
    }
}

impl std::fmt::Debug for OperationMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OperationMetrics({}/{})", self.api.name, self.name)
    }
}

/// How an attempt to reach a backend ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The backend answered.
    Answered(StatusCode),
    /// No connection came about: name resolution, refusal, TLS.
    ConnectError,
    /// The time for connecting or for the first byte ran out.
    Timeout,
    /// The connection broke before the head of an answer.
    Reset,
}

const OUTCOMES: [&str; CLASSES.len() + 3] =
    [CLASSES[0], CLASSES[1], CLASSES[2], CLASSES[3], CLASSES[4], CLASSES[5], "connect_error", "timeout", "reset"];

impl Outcome {
    fn index(self) -> usize {
        match self {
            Self::Answered(status) => class_index(status),
            Self::ConnectError => CLASSES.len(),
            Self::Timeout => CLASSES.len() + 1,
            Self::Reset => CLASSES.len() + 2,
        }
    }
}

/// What became of a wish to retry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// Another attempt was sent.
    Attempt,
    /// The retry budget was spent.
    BudgetRefused,
}

const RETRIES: [&str; 2] = ["attempt", "budget_refused"];

/// The series of one backend.
pub struct BackendMetrics {
    upstreams: Arc<Upstreams>,
    name: Box<str>,
    attempts: [OnceLock<Cell>; OUTCOMES.len()],
    retries: [OnceLock<IntCounter>; RETRIES.len()],
}

impl BackendMetrics {
    /// Counts one attempt; `duration` runs from its start to the answer's head or to its failure.
    pub fn attempt(&self, outcome: Outcome, duration: Duration) {
        let index = outcome.index();
        let cell = self.attempts[index].get_or_init(|| Cell {
            requests: self.upstreams.requests.with_label_values(&[&*self.name, OUTCOMES[index]]),
            durations: self.upstreams.durations.with_label_values(&[&*self.name, OUTCOMES[index]]),
        });
        cell.requests.inc();
        cell.durations.observe(duration.as_secs_f64());
    }

    /// Counts one retry, or one that the budget refused.
    pub fn retry(&self, retry: Retry) {
        let index = retry as usize;
        let counters = &self.upstreams.retries;
        self.retries[index].get_or_init(|| counters.with_label_values(&[&*self.name, RETRIES[index]])).inc();
    }
}

impl std::fmt::Debug for BackendMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BackendMetrics({})", self.name)
    }
}

/// The counters of one limit.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    /// Requests let through.
    pub admitted: IntCounter,
    /// Requests refused.
    pub refused: IntCounter,
    /// Requests decided by `on-overflow`, because the limit holds as many keys as it may.
    pub overflow: IntCounter,
    /// Requests that would have been refused, were the limit not in shadow mode.
    pub shadow_refused: IntCounter,
}

/// One unit of a gauge, given back when this is dropped, so that a cancelled exchange or connection is not counted for
/// ever.
#[derive(Debug)]
pub struct Held(IntGauge);

impl Held {
    /// Adds one to `gauge` until the answer is dropped.
    pub fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.0.dec();
    }
}
