//! The series of backends: attempts and retries.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use http::StatusCode;
use prometheus::{HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec};

use super::exchange::Cell;
use super::{CLASSES, Names, class_index};

/// What all backends share.
pub(super) struct Upstreams {
    pub(super) requests: IntCounterVec,
    pub(super) durations: HistogramVec,
    pub(super) retries: IntCounterVec,
    pub(super) circuits: IntGaugeVec,
    pub(super) backends: Names,
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
    pub(super) fn new(upstreams: &Arc<Upstreams>, name: &str) -> Self {
        Self {
            name: upstreams.backends.label(name).into(),
            upstreams: Arc::clone(upstreams),
            attempts: Default::default(),
            retries: Default::default(),
        }
    }

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

    /// How many of the backend's circuit breakers are open. The series comes into being when this is first asked for.
    pub fn circuit_open(&self) -> IntGauge {
        self.upstreams.circuits.with_label_values(&[&*self.name])
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
