//! Conformance both ways: what was admitted above the limit, and what was refused below it.

use std::collections::HashSet;

use serde::Serialize;

use super::Evidence;
use crate::limit::MissingKey;
use crate::loadtest::expect::{Counted, Expected, Scope, Terms, WindowStart};
use crate::loadtest::plan::Role;
use crate::loadtest::record::{Fate, KeyId, Record};
use crate::loadtest::replay::{self, Excess, History, Span};

/// One limit against what it promises.
#[derive(Clone, Debug, Serialize)]
pub struct Conformance {
    /// The limit's name.
    pub limit: String,
    /// What it promises.
    pub terms: String,
    /// The largest excess over what it promises, proven.
    pub worst: Option<WorstExcess>,
    /// How many keys had an excess.
    pub keys_in_excess: u64,
    /// How many keys were judged.
    pub keys: u64,
    /// The most that one key had admitted in any period, over the limit: a fixed window shows up to 2.
    pub window_ratio: Option<f64>,
    /// Refusals that were proven wrong. With several limits a refusal is wrong when each had room.
    pub false_refusals: Option<u64>,
    /// Requests that were admitted or refused, but for those of the many that ask once to crowd others out and were admitted.
    pub judged: u64,
}

/// The largest excess.
#[derive(Clone, Debug, Serialize)]
pub struct WorstExcess {
    /// The number of the key; none where all keys count together.
    pub key: Option<u32>,
    /// How many were admitted.
    pub admitted: u64,
    /// How many might have been.
    pub allowed: u64,
    /// How many too many.
    pub requests: u64,
    /// The same as a share of what was allowed.
    pub percent: f64,
    /// When that time began, in seconds.
    pub from: f64,
    /// When it ended.
    pub to: f64,
}

/// The histories that a limit keeps, with the key of each and the records of its refusals.
struct Kept {
    /// Requests that were admitted or refused, but for what the crowd had admitted.
    judged: u64,
    histories: Vec<History>,
    keys: Vec<Option<u32>>,
    refusals: Vec<Vec<u32>>,
}

/// The empty history of one key under a limit.
fn history(limit: &Expected, used_before: bool) -> History {
    History { used_before, late: limit.counted.is_late(), ..History::default() }
}

/// When a limit decided on a request, and counted it.
fn span(limit: &Expected, record: &Record) -> Span {
    if limit.counted.is_late() { record.span().late() } else { record.span() }
}

/// The largest proven excess of each key; none where what counts is not known.
fn excess(limit: &Expected, histories: &[History]) -> Vec<Option<Excess>> {
    if limit.counted == Counted::Perhaps {
        return vec![None; histories.len()];
    }
    replay::excess(&limit.terms, histories)
}

fn kept(evidence: &Evidence<'_>, limit: &Expected) -> Kept {
    let mut kept = Kept { judged: 0, histories: Vec::new(), keys: Vec::new(), refusals: Vec::new() };
    let (phases, used) = (&evidence.plan.phases, evidence.plan.used);
    let mut add = |key: Option<u32>, places: &mut dyn Iterator<Item = u32>| {
        let used_before = if key == Some(KeyId::MISSING.0) { used.missing } else { used.keys };
        let (mut history, mut refusals) = (history(limit, used_before), Vec::new());
        for place in places {
            let (record, fate) = (&evidence.records[place as usize], evidence.fates[place as usize]);
            let span = span(limit, record);
            let of_crowd = phases[usize::from(record.attempt.phase)].role == Role::ChurnOthers;
            kept.judged += u64::from(fate == Fate::Refused || fate == Fate::Admitted && !of_crowd);
            match fate {
                Fate::Admitted if limit.shadow => {}
                Fate::Admitted => history.admitted.push(span),
                Fate::Unknown => history.unknown.push(span),
                Fate::Refused => {
                    history.refused.push(span);
                    refusals.push(place);
                }
            }
        }
        kept.histories.push(history);
        kept.keys.push(key);
        kept.refusals.push(refusals);
    };
    if limit.scope == Scope::Shared {
        add(None, &mut evidence.by_key.iter().flatten().copied());
        return kept;
    }
    // Who decides while the store cannot be reached begins anew, which the probe tells by itself.
    let outage = evidence.plan.phases.iter().find(|phase| phase.role == Role::Outage);
    let outage = outage.map_or(0..0, |phase| phase.keys.range());
    for (key, places) in (0_u32..).zip(&evidence.by_key) {
        let missing = key == evidence.plan.keys;
        if outage.contains(&key) {
            continue;
        }
        // Without a key only one that all such requests share can be judged.
        if !places.is_empty() && (!missing || limit.missing_key == Some(MissingKey::OneKey)) {
            add(Some(if missing { KeyId::MISSING.0 } else { key }), &mut places.iter().copied());
        }
    }
    kept
}

/// Keys that came when the table of keys may have been full, so that refusing them may have been right.
fn crowded(evidence: &Evidence<'_>) -> HashSet<u32> {
    let held = evidence.plan.limits.iter().filter_map(|limit| limit.max_keys).min();
    if held.is_none_or(|held| u64::from(evidence.plan.keys) < held) {
        return HashSet::new();
    }
    let others = evidence.plan.phases.iter().filter(|phase| phase.role == Role::ChurnOthers);
    others.flat_map(|phase| phase.keys.range()).collect()
}

/// Judges each limit.
pub(super) fn judge(evidence: &Evidence<'_>) -> Vec<Conformance> {
    let limits = &evidence.plan.limits;
    let kept: Vec<Kept> = limits.iter().map(|limit| kept(evidence, limit)).collect();
    // How many limits surely had room for each refused request.
    let mut room = vec![0_u8; evidence.records.len()];
    for (limit, kept) in limits.iter().zip(&kept) {
        for (history, refusals) in kept.histories.iter().zip(&kept.refusals) {
            for (place, wrong) in refusals.iter().zip(wrong(limit, history)) {
                room[*place as usize] += u8::from(wrong);
            }
        }
    }
    let crowded = crowded(evidence);
    limits
        .iter()
        .zip(&kept)
        .map(|(limit, kept)| {
            let found = excess(limit, &kept.histories);
            let refusals = kept.refusals.iter().flatten();
            let wrong = |place: &&u32| {
                usize::from(room[**place as usize]) == limits.len()
                    && !crowded.contains(&evidence.records[**place as usize].attempt.key.0)
            };
            let wrong = refusals.filter(wrong).count() as u64;
            let window_ratio = limit.terms.is_rate().then(|| {
                let period = limit.terms.period();
                let busiest = kept.histories.iter().map(|history| replay::busiest_window(history, period)).max();
                busiest.unwrap_or(0) as f64 / (limit.terms.rate() * period as f64 / 1e9)
            });
            Conformance {
                limit: limit.name.clone(),
                terms: limit.terms.to_string(),
                keys_in_excess: found.iter().flatten().count() as u64,
                keys: kept.histories.len() as u64,
                worst: worst(&found, &kept.keys),
                window_ratio,
                false_refusals: (!evidence.plan.others).then_some(wrong),
                judged: kept.judged,
            }
        })
        .collect()
}

fn worst(found: &[Option<Excess>], keys: &[Option<u32>]) -> Option<WorstExcess> {
    let found = found.iter().zip(keys).filter_map(|(found, key)| Some((found.as_ref()?, *key)));
    let (worst, key) = found.max_by(|(a, _), (b, _)| a.percent().total_cmp(&b.percent()))?;
    Some(WorstExcess {
        key,
        admitted: worst.admitted,
        allowed: worst.allowed,
        requests: worst.requests(),
        percent: worst.percent(),
        from: worst.from as f64 / 1e9,
        to: worst.to as f64 / 1e9,
    })
}

/// Whether a limit that only counts had room is no question.
fn wrong(limit: &Expected, history: &History) -> Vec<bool> {
    if limit.shadow { vec![true; history.refused.len()] } else { replay::false_refusals(&limit.terms, history) }
}

/// The excess of some keys under all limits, in requests: for probes that ask of one key.
pub(super) fn excess_of(evidence: &Evidence<'_>, keys: &std::ops::Range<u32>) -> u64 {
    // What is left of a sequence when others' requests are left out keeps to a limit that all share, but for windows that begin
    // with somebody's request.
    let from_first_call = |terms: &Terms| matches!(terms, Terms::FixedWindow { start: WindowStart::FirstCall, .. });
    let judged = |limit: &&Expected| !limit.shadow && (limit.scope == Scope::PerKey || !from_first_call(&limit.terms));
    let mut most = 0;
    for limit in evidence.plan.limits.iter().filter(judged) {
        let mut histories: Vec<History> = Vec::new();
        for places in keys.clone().filter_map(|key| evidence.by_key.get(key as usize)) {
            if histories.is_empty() || limit.scope == Scope::PerKey {
                histories.push(history(limit, evidence.plan.used.keys));
            }
            let Some(history) = histories.last_mut() else { continue };
            for place in places {
                let span = span(limit, &evidence.records[*place as usize]);
                match evidence.fates[*place as usize] {
                    Fate::Admitted => history.admitted.push(span),
                    Fate::Unknown => history.unknown.push(span),
                    Fate::Refused => {}
                }
            }
        }
        let found = excess(limit, &histories);
        most = most.max(found.iter().flatten().map(Excess::requests).max().unwrap_or(0));
    }
    most
}
