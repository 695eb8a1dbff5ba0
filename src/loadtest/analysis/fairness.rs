//! How evenly keys are served, and whether a noisy one disturbs the others.

use serde::Serialize;

use super::Evidence;
use super::honesty::share;
use crate::loadtest::plan::Role;
use crate::loadtest::record::{Fate, Record};

/// How evenly keys are served.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Fairness {
    /// Jain's index over what the keys of the main traffic had admitted: 1 when all had the same, 1/n when one had all.
    pub jain: Option<f64>,
    /// Keys that the index is over.
    pub keys: u64,
    /// Requests of well-behaved callers beside a noisy one.
    pub victims: u64,
    /// Of these, the ones that were refused.
    pub victims_refused: u64,
    /// What the noisy one had admitted, in percent of what it asked.
    pub neighbour_admitted: Option<f64>,
}

/// `(Σx)² / n·Σx²` (Jain, Chiu and Hawe, 1984).
pub fn jain(values: &[f64]) -> Option<f64> {
    let (sum, squares) = values.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    (squares > 0.0).then(|| sum * sum / (values.len() as f64 * squares))
}

pub(super) fn judge(evidence: &Evidence<'_>) -> Fairness {
    let mut fairness = Fairness::default();
    if let Some(phase) = evidence.plan.phases.iter().find(|phase| phase.role == Role::Traffic) {
        let keys = phase.keys.range();
        let mut admitted = vec![0.0; keys.len()];
        for (record, fate) in evidence.of(Role::Traffic) {
            if fate == Fate::Admitted && keys.contains(&record.attempt.key.0) {
                admitted[(record.attempt.key.0 - keys.start) as usize] += 1.0;
            }
        }
        if keys.len() > 1 {
            (fairness.jain, fairness.keys) = (jain(&admitted), keys.len() as u64);
        }
    }
    // What was counted before may be why one is refused at first.
    let judged = |record: &Record| record.sent >= evidence.plan.clouded_until();
    for (_, fate) in evidence.of(Role::Victims).filter(|(record, _)| judged(record)) {
        fairness.victims += 1;
        fairness.victims_refused += u64::from(fate == Fate::Refused);
    }
    let (mut all, mut admitted) = (0, 0);
    for (_, fate) in evidence.of(Role::Neighbour) {
        all += 1;
        admitted += u64::from(fate == Fate::Admitted);
    }
    fairness.neighbour_admitted = share(admitted, all);
    fairness
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jains_index() {
        for (values, want) in [
            (&[3.0, 3.0, 3.0][..], Some(1.0)),
            (&[8.0, 0.0, 0.0, 0.0], Some(0.25)),
            (&[1.0, 3.0], Some(0.8)),
            (&[0.0, 0.0], None),
        ] {
            assert_eq!(jain(values), want, "{values:?}");
        }
    }
}
