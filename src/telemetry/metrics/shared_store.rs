//! The series of the shared store.

use std::time::Duration;

use prometheus::{Histogram, IntCounterVec, IntGauge};

use super::{Families, options};

/// Upper bounds in seconds: a store is asked within milliseconds or not at all.
const BUCKETS: &[f64] = &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1];

/// What is counted of the shared store. Clones count together.
#[derive(Clone)]
pub struct SharedStoreMetrics {
    failures: IntCounterVec,
    durations: Histogram,
    resting: IntGauge,
}

impl SharedStoreMetrics {
    pub(super) fn new(families: &mut Families) -> Self {
        let durations = prometheus::HistogramOpts {
            common_opts: options("shared_store_duration_seconds", "Time that the shared store took to answer."),
            buckets: BUCKETS.to_vec(),
        };
        Self {
            failures: families.counters(
                "shared_store_failures_total",
                "Requests that the shared store did not answer: connect_error, timeout, error, or resting (not asked, after a failure).",
                &["outcome"],
            ),
            durations: families.add(Histogram::with_opts(durations)),
            resting: families.gauge("shared_store_circuit_open", "Whether the shared store failed and is not asked for now."),
        }
    }

    /// Counts an answer.
    pub fn answered(&self, duration: Duration) {
        self.durations.observe(duration.as_secs_f64());
    }

    /// Counts a failure.
    pub fn count(&self, outcome: &str) {
        self.failures.with_label_values(&[outcome]).inc();
    }

    /// Whether the store rests.
    pub fn resting(&self) -> IntGauge {
        self.resting.clone()
    }
}

impl std::fmt::Debug for SharedStoreMetrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SharedStoreMetrics")
    }
}
