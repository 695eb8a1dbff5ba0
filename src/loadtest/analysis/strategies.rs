//! Client strategies side by side: how long calls take, and how many requests that costs.

use serde::Serialize;

use super::{Evidence, Quantiles};
use crate::loadtest::plan::Role;
use crate::loadtest::session::Call;

/// How clients of one strategy fared.
#[derive(Clone, Debug, Serialize)]
pub struct StrategyResult {
    /// Its name.
    pub strategy: String,
    /// The calls they had to make.
    pub calls: u64,
    /// That succeeded.
    pub succeeded: u64,
    /// That were given up.
    pub gave_up: u64,
    /// That were not done when the test ended.
    pub unfinished: u64,
    /// The time that calls took, in milliseconds, of those that succeeded.
    pub took: Option<Quantiles>,
    /// When the last one succeeded, in seconds from the first request.
    pub completed: Option<f64>,
    /// Requests for each success.
    pub attempts_per_success: Option<f64>,
    /// Successes each second until the last one.
    pub goodput: Option<f64>,
}

pub(super) fn compare(evidence: &Evidence<'_>, calls: &[Call]) -> Vec<StrategyResult> {
    let mut results = Vec::new();
    for (number, phase) in (0_u16..).zip(&evidence.plan.phases) {
        if phase.role != Role::Strategy {
            continue;
        }
        let done: Vec<&Call> = calls.iter().filter(|call| call.phase == number).collect();
        let succeeded: Vec<&Call> = done.iter().filter(|call| call.succeeded).copied().collect();
        let requests = evidence.records.iter().filter(|record| record.attempt.phase == number).count();
        let count = succeeded.len() as u64;
        let completed = succeeded.iter().map(|call| call.ended.saturating_sub(phase.start) as f64 / 1e9);
        let completed = completed.max_by(f64::total_cmp);
        results.push(StrategyResult {
            strategy: phase.strategy.to_string(),
            calls: phase.arrivals.count(),
            succeeded: count,
            gave_up: done.len() as u64 - count,
            unfinished: phase.arrivals.count().saturating_sub(done.len() as u64),
            took: Quantiles::of(succeeded.iter().map(|call| call.took).collect()),
            completed,
            attempts_per_success: (count > 0).then(|| requests as f64 / count as f64),
            goodput: completed.filter(|seconds| *seconds > 0.0).map(|seconds| count as f64 / seconds),
        });
    }
    results
}
