//! Whether what the answers say about the future is true: `Retry-After`, and the fields that tell what is left.

use serde::Serialize;

use super::Evidence;
use crate::loadtest::expect::Expected;
use crate::loadtest::plan::Role;
use crate::loadtest::record::{Fate, KeyId, Kind};
use crate::loadtest::replay::{self, Span};

/// `Retry-After` and `RateLimit` against the truth. Shares are in percent; none where nothing was seen.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Honesty {
    /// Refusals that were looked at.
    pub refusals: u64,
    /// Without `Retry-After`.
    pub missing: u64,
    /// With a `Retry-After` of zero.
    pub zeros: u64,
    /// Clients that waited exactly as long as they were told.
    pub waited: u64,
    /// Of these, the ones that were admitted then.
    pub admitted: u64,
    /// The longest further wait that one was told, in seconds.
    pub early_by: Option<u32>,
    /// By how much the longest wait was too long, proven, in seconds; up to 1 is rounding.
    pub late_by: Option<f64>,
    /// Answers that said how much is left, where that is known.
    pub remaining_judged: u64,
    /// Of these, the ones that said the truth.
    pub remaining_true: u64,
    /// Answers, admitted and refused, of an operation whose answers are to carry `RateLimit`.
    pub told: u64,
    /// Of these, the ones that did not say how much is left.
    pub untold: u64,
    /// Clients that waited exactly until the reset that they were told.
    pub reset_waited: u64,
    /// Of these, the ones that were admitted then.
    pub reset_admitted: u64,
    /// The longest further wait that one was told, in seconds.
    pub reset_early_by: Option<u32>,
    /// By how much the farthest reset was later than one more request would have been admitted, proven, in seconds; up to 1 is
    /// rounding. Some tell when everything is back, so that this is no mistake by itself.
    pub reset_late_by: Option<f64>,
}

impl Honesty {
    /// The share of clients that were admitted after waiting as they were told.
    pub fn honest(&self) -> Option<f64> {
        share(self.admitted, self.waited)
    }

    /// By how much `Retry-After` was too early at most, as far as the next refusal tells, in seconds.
    pub fn early(&self) -> Option<f64> {
        (self.waited > 0).then(|| f64::from(self.early_by.unwrap_or(0)))
    }

    /// The same of the reset.
    pub fn reset_early(&self) -> Option<f64> {
        (self.reset_waited > 0).then(|| f64::from(self.reset_early_by.unwrap_or(0)))
    }
}

/// A share in percent; none of nothing.
pub(in crate::loadtest) fn share(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * part as f64 / whole as f64)
}

pub(super) fn judge(evidence: &Evidence<'_>) -> Honesty {
    let mut honesty = Honesty::default();
    if evidence.plan.limits.iter().any(|limit| limit.told) {
        for (record, fate) in evidence.records.iter().zip(&evidence.fates) {
            if *fate != Fate::Unknown && record.attempt.kind != Kind::Preflight && record.attempt.key != KeyId::MISSING
            {
                honesty.told += 1;
                honesty.untold += u64::from(record.remaining().is_none());
            }
        }
    }
    // A limit on requests at once cannot know how long to wait, and whose refusal it was does not show, but to clients that ask one
    // after the other and so never meet it.
    let at_once = evidence.plan.limits.iter().filter(|limit| !limit.terms.is_rate());
    let fewest = at_once.map(|limit| limit.terms.capacity()).min();
    if fewest.is_some_and(|fewest| fewest < 2) {
        return honesty;
    }
    let waits = |role: Role| matches!(role, Role::RetryAfter | Role::Reset);
    for (record, fate) in evidence.records.iter().zip(&evidence.fates) {
        let role = evidence.plan.phases[usize::from(record.attempt.phase)].role;
        if *fate == Fate::Refused && (fewest.is_none() || waits(role)) {
            honesty.refusals += 1;
            match record.retry_after() {
                None => honesty.missing += 1,
                Some(0) => honesty.zeros += 1,
                Some(_) => {}
            }
        }
    }
    for (record, fate) in evidence.of(Role::RetryAfter).filter(|(record, _)| record.attempt.refusals == 1) {
        honesty.waited += u64::from(fate != Fate::Unknown);
        honesty.admitted += u64::from(fate == Fate::Admitted);
        if fate == Fate::Refused {
            honesty.early_by = honesty.early_by.max(Some(record.retry_after().unwrap_or(0)));
        }
    }
    for (record, fate) in evidence.of(Role::Reset).filter(|(record, _)| record.attempt.refusals == 1) {
        honesty.reset_waited += u64::from(fate != Fate::Unknown);
        honesty.reset_admitted += u64::from(fate == Fate::Admitted);
        if fate == Fate::Refused {
            honesty.reset_early_by = honesty.reset_early_by.max(Some(record.reset().unwrap_or(0)));
        }
    }
    let cohorts = evidence.plan.phases.iter().filter(|phase| waits(phase.role));
    for key in cohorts.flat_map(|phase| phase.keys.range()) {
        one_client(evidence, key, &mut honesty);
    }
    honesty
}

/// A client of a cohort is alone with its key and asks one after the other, so that the reference knows what is left.
fn one_client(evidence: &Evidence<'_>, key: u32, honesty: &mut Honesty) {
    let Some(places) = evidence.by_key.get(key as usize) else { return };
    // Nor does anything else count, or refuse, that the reference does not see.
    let alone = crate::loadtest::plan::keys_are_apart(&evidence.plan.limits) && !evidence.plan.others;
    let limits: Vec<&Expected> =
        evidence.plan.limits.iter().filter(|limit| !limit.shadow && limit.terms.is_rate()).collect();
    let used = evidence.plan.used.keys;
    let mut admitted: Vec<Span> = Vec::new();
    for place in places {
        let record = &evidence.records[*place as usize];
        match evidence.fates[*place as usize] {
            Fate::Unknown => return,
            Fate::Admitted => {
                admitted.push(record.span());
                // What is left once it has been counted, the answer's head cannot tell.
                let told = |limit: &&&Expected| !limit.counted.is_late();
                let known = limits.iter().map(|limit| {
                    Some(limit).filter(told).and_then(|limit| replay::remaining(&limit.terms, &admitted, record.span()))
                });
                let known: Option<Vec<(u64, u64)>> = known.collect();
                if let (Some(known), Some(said), true) = (known, record.remaining(), alone && !used) {
                    let least = known.iter().map(|(least, _)| *least).min().unwrap_or(0);
                    let most = known.iter().map(|(_, most)| *most).min().unwrap_or(u64::MAX);
                    honesty.remaining_judged += 1;
                    honesty.remaining_true += u64::from((least..=most).contains(&said.into()));
                }
            }
            Fate::Refused => {
                let at = limits.iter().map(|limit| {
                    if !limit.counted.is_late() {
                        return replay::admits_at(&limit.terms, &admitted, used);
                    }
                    let counted: Vec<Span> = admitted.iter().map(|span| span.late().when_counted()).collect();
                    replay::admits_at(&limit.terms, &counted, used)
                });
                let at: Option<u64> = at.collect::<Option<Vec<u64>>>().and_then(|all| all.into_iter().max());
                let Some(at) = at.filter(|_| alone) else { continue };
                let late = |said: Option<u32>, known: &mut Option<f64>| {
                    let Some(said) = said else { return };
                    let told = record.sent.saturating_add(u64::from(said) * 1_000_000_000);
                    let late = told.saturating_sub(at) as f64 / 1e9;
                    *known = Some(known.map_or(late, |known| known.max(late)));
                };
                late(record.retry_after(), &mut honesty.late_by);
                late(record.reset(), &mut honesty.reset_late_by);
            }
        }
    }
}
