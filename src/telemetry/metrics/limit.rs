//! The counters of one limit.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use prometheus::IntCounter;

use crate::clock::Nanos;

/// How long the log is silent on a limit's keys after it was told of them.
const SILENCE: Duration = Duration::from_secs(60);

/// The counters of one limit.
#[derive(Clone, Debug)]
pub struct LimitMetrics {
    /// Requests let through.
    pub admitted: IntCounter,
    /// Requests refused.
    pub refused: IntCounter,
    /// Requests decided by `on-overflow`.
    pub overflow: Overflows,
    /// Requests that would have been refused, were the limit not in shadow mode.
    pub shadow_refused: IntCounter,
    /// Requests that waited for their turn.
    pub delayed: IntCounter,
}

/// Requests decided by `on-overflow`, because the limit holds as many keys as it may. The log is told too, now and then.
#[derive(Clone, Debug)]
pub struct Overflows {
    count: IntCounter,
    policy: Arc<str>,
    tell_at: Arc<AtomicU64>,
}

impl Overflows {
    pub(super) fn new(count: IntCounter, policy: &str) -> Self {
        Self { count, policy: policy.into(), tell_at: Arc::default() }
    }

    /// Notes one.
    pub fn note(&self, now: Nanos) {
        self.count.inc();
        let tell_at = self.tell_at.load(Ordering::Relaxed);
        let next = (now + SILENCE).0;
        // One of those who come at once tells it.
        if now.0 >= tell_at
            && self.tell_at.compare_exchange(tell_at, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let policy = &*self.policy;
            tracing::warn!(
                policy,
                "the limit holds as many keys as `max-keys` allows; `on-overflow` decides on others"
            );
        }
    }
}
