//! The series of the embedded store.

use prometheus::{IntCounter, IntGauge};

use super::Families;

/// What the store counts.
#[derive(Clone, Debug)]
pub struct StoreMetrics {
    /// Whether the last write succeeded.
    pub up: IntGauge,
    /// Writes that succeeded.
    pub synced: IntCounter,
    /// Writes that failed.
    pub failed: IntCounter,
    /// Damaged files that were set aside.
    pub set_aside: IntCounter,
}

impl StoreMetrics {
    pub(super) fn new(families: &mut Families) -> Self {
        let syncs = families.counters(
            "store_syncs_total",
            "Writes of counts to the embedded store, by result: success or failure.",
            &["result"],
        );
        Self {
            up: families.gauge("store_up", "Whether the embedded store could be written the last time; 0 without one."),
            synced: syncs.with_label_values(&["success"]),
            failed: syncs.with_label_values(&["failure"]),
            set_aside: families
                .counter("store_files_set_aside_total", "Damaged files of the embedded store that were set aside."),
        }
    }
}
