//! The series of APIs and operations: what one exchange adds.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus::{Histogram, HistogramVec, IntCounter, IntCounterVec};

use super::{CLASSES, Names, OTHER, class_index};

const METHODS: [&str; 10] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", OTHER];

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

/// What all operations share.
pub(super) struct Exchanges {
    pub(super) requests: IntCounterVec,
    pub(super) durations: HistogramVec,
    pub(super) request_bytes: IntCounterVec,
    pub(super) response_bytes: IntCounterVec,
    pub(super) validation: IntCounterVec,
    pub(super) tokens: IntCounterVec,
    pub(super) injected: IntCounterVec,
    pub(super) client_aborts: IntCounter,
    pub(super) upstream_truncated: IntCounter,
    pub(super) apis: Names,
    pub(super) operations: Names,
}

/// The counters of one API.
pub struct ApiMetrics {
    name: Box<str>,
    request_bytes: IntCounter,
    response_bytes: IntCounter,
    /// Of prompts and of completions; none for an API whose tokens nobody counts.
    tokens: OnceLock<[IntCounter; 2]>,
    /// Shared by all operations beyond the bound.
    other: OnceLock<Arc<Table>>,
}

impl ApiMetrics {
    pub(super) fn new(exchanges: &Exchanges, name: &str) -> Self {
        Self {
            name: name.into(),
            request_bytes: exchanges.request_bytes.with_label_values(&[name]),
            response_bytes: exchanges.response_bytes.with_label_values(&[name]),
            tokens: OnceLock::new(),
            other: OnceLock::new(),
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
    table: OnceLock<Arc<Table>>,
}

struct Table {
    label: Box<str>,
    cells: [[OnceLock<Cell>; CLASSES.len()]; METHODS.len()],
}

/// One counter and its histogram.
pub(super) struct Cell {
    pub(super) requests: IntCounter,
    pub(super) durations: Histogram,
}

impl Table {
    fn new(label: &str) -> Self {
        Self { label: label.into(), cells: Default::default() }
    }
}

impl OperationMetrics {
    pub(super) fn new(exchanges: &Arc<Exchanges>, api: &Arc<ApiMetrics>, name: &str) -> Self {
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

    /// Counts something in a message that is not as the API's definition says. Both names are literals in the program.
    pub fn validation(&self, policy: &'static str, action: &'static str) {
        let labels = [&*self.api.name, &*self.table().label, policy, action];
        self.exchanges.validation.with_label_values(&labels).inc();
    }

    /// Counts what an exchange has consumed of a language model.
    pub fn tokens(&self, prompt: u64, completion: u64) {
        let counter = |kind| self.exchanges.tokens.with_label_values(&[&*self.api.name, kind]);
        let [prompts, completions] = self.api.tokens.get_or_init(|| [counter("prompt"), counter("completion")]);
        prompts.inc_by(prompt);
        completions.inc_by(completion);
    }

    /// Counts a fault that a policy made up. The kind is a literal in the program.
    pub fn injected(&self, kind: &'static str) {
        self.exchanges.injected.with_label_values(&[&*self.api.name, kind]).inc();
    }

    fn table(&self) -> &Arc<Table> {
        self.table.get_or_init(|| {
            if self.exchanges.operations.admit(&[&*self.api.name, &*self.name].join("\0")) {
                Arc::new(Table::new(&self.name))
            } else {
                Arc::clone(self.api.other.get_or_init(|| Arc::new(Table::new(OTHER))))
            }
        })
    }

    fn cell(&self, method: usize, class: usize) -> &Cell {
        let table = self.table();
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
