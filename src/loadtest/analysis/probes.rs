//! What each probe found, in words and as a number that can be asserted on.

use serde::Serialize;

use super::conformance::excess_of;
use super::{Evidence, Quantiles};
use crate::limit::MissingKey;
use crate::loadtest::arrivals::LADDER;
use crate::loadtest::expect::{Counted, Scope};
use crate::loadtest::plan::{self, Act, Phase, Role};
use crate::loadtest::record::{Fate, Kind, Record};
use crate::loadtest::report::thousands;

/// What a finding means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// As it should be.
    Right,
    /// Not as it should be.
    Wrong,
    /// To know; neither right nor wrong.
    Seen,
}

/// What a probe found.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// The probe.
    pub probe: &'static str,
    /// What it means.
    pub outcome: Outcome,
    /// In words.
    pub text: String,
    /// The name of the metric, and its value: how many requests were too many.
    pub metric: Option<(&'static str, f64)>,
}

/// How the requests of a phase ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    admitted: u64,
    refused: u64,
    unknown: u64,
}

fn count<'a>(records: impl Iterator<Item = (&'a Record, Fate)>) -> Counts {
    let mut counts = Counts::default();
    for (_, fate) in records {
        counts.sent += 1;
        *match fate {
            Fate::Admitted => &mut counts.admitted,
            Fate::Refused => &mut counts.refused,
            Fate::Unknown => &mut counts.unknown,
        } += 1;
    }
    counts
}

pub(super) fn find(evidence: &Evidence<'_>) -> Vec<Finding> {
    let finders: [fn(&Evidence<'_>) -> Option<Finding>; 12] = [
        cold_start,
        simultaneous,
        refill,
        boundary,
        ladder,
        churn,
        missing_key,
        forged,
        ipv6,
        preflight,
        reload,
        outage,
    ];
    finders.iter().filter_map(|find| find(evidence)).collect()
}

fn phase<'a>(evidence: &Evidence<'a>, role: Role) -> Option<&'a Phase> {
    let asked = evidence.of(role).next().is_some();
    evidence.plan.phases.iter().find(|phase| phase.role == role && asked)
}

fn judged(probe: &'static str, metric: &'static str, excess: u64, text: String) -> Finding {
    let outcome = if excess == 0 { Outcome::Right } else { Outcome::Wrong };
    Finding { probe, outcome, text, metric: Some((metric, excess as f64)) }
}

/// How many of them, in words that name what is not known.
fn of_sent(counts: Counts) -> String {
    let unknown = if counts.unknown > 0 { format!(", {} unknown", counts.unknown) } else { String::new() };
    format!("{} of {} admitted{unknown}", counts.admitted, counts.sent)
}

fn capacity(evidence: &Evidence<'_>) -> u64 {
    plan::capacity(&evidence.plan.limits).unwrap_or(0)
}

/// How much there is from rest, in words, and what else is admitted beside it.
fn limit_is(evidence: &Evidence<'_>) -> String {
    let late = evidence.plan.limits.iter().any(|limit| limit.counted.is_late());
    let beside = if late { ", and requests count once they have been answered" } else { "" };
    format!("the limit is {}{beside}", capacity(evidence))
}

fn cold_start(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::ColdStart)?.keys.range();
    let counts = count(evidence.of(Role::ColdStart));
    let slowest = evidence.of(Role::ColdStart).map(|(record, _)| record.latency()).max().unwrap_or(0);
    let text = format!(
        "{} of the very first requests, all at once; {}; the slowest answer took {:.1} ms",
        of_sent(counts),
        limit_is(evidence),
        slowest as f64 / 1e6
    );
    Some(judged("cold-start", "cold-start.excess", excess_of(evidence, &keys), text))
}

/// What happened to requests while the store was cut off: how many ended how, and their latency.
fn during_outage(evidence: &Evidence<'_>) -> Option<(Counts, Quantiles)> {
    let at = |wanted: Act| evidence.plan.acts.iter().find(|(_, act)| *act == wanted).map(|(at, _)| *at);
    let (down, up) = (at(Act::StoreDown)?, at(Act::StoreUp)?);
    let during = || evidence.of(Role::Outage).filter(|(record, _)| (down..up).contains(&record.attempt.intended));
    let latency = Quantiles::of(during().map(|(record, _)| record.latency()).collect())?;
    Some((count(during()), latency))
}

/// A store that is away costs one time-out, not one for each request.
const SLOW_OUTAGE_MS: f64 = 250.0;

fn outage(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Outage)?.keys.range();
    let (counts, latency) = during_outage(evidence)?;
    let text = format!(
        "without the store {}, {} refused; nine in ten answers within {:.1} ms, the slowest took {:.1} ms; {} over the limit in all",
        of_sent(counts),
        counts.refused,
        latency.p90,
        latency.max,
        excess_of(evidence, &keys)
    );
    let outcome = if counts.unknown > 0 || latency.p90 > SLOW_OUTAGE_MS { Outcome::Wrong } else { Outcome::Right };
    Some(Finding { probe: "store-outage", outcome, text, metric: None })
}

/// The share of requests that failed while the store was cut off, in percent, and how long nine in ten took at most, in ms.
pub(super) fn outage_figures(evidence: &Evidence<'_>) -> Option<(f64, f64)> {
    let (counts, latency) = during_outage(evidence)?;
    Some((100.0 * counts.unknown as f64 / counts.sent.max(1) as f64, latency.p90))
}

fn simultaneous(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Simultaneous)?.keys.range();
    let counts = count(evidence.of(Role::Simultaneous));
    let records = evidence.of(Role::Simultaneous).map(|(record, _)| record.latency()).collect();
    let slowest = Quantiles::of(records)
        .filter(|it| it.max > 0.0)
        .map(|it| format!("; the slowest answer took {:.1} ms", it.max));
    let text = format!("{} at one instant; {}{}", of_sent(counts), limit_is(evidence), slowest.unwrap_or_default());
    Some(judged("simultaneous", "simultaneous.excess", excess_of(evidence, &keys), text))
}

/// The bursts of a script: how many of each were admitted.
fn bursts(evidence: &Evidence<'_>, role: Role) -> Vec<Counts> {
    let mut moments: Vec<u64> = evidence.of(role).map(|(record, _)| record.attempt.intended).collect();
    moments.sort_unstable();
    moments.dedup();
    moments.iter().map(|at| count(evidence.of(role).filter(|(record, _)| record.attempt.intended == *at))).collect()
}

fn refill(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Refill)?.keys.range();
    let admitted: Vec<String> = bursts(evidence, Role::Refill).iter().map(|burst| burst.admitted.to_string()).collect();
    let text = format!(
        "{} admitted in bursts from rest, after rest and after long rest; {}",
        admitted.join(", "),
        limit_is(evidence)
    );
    Some(judged("refill", "refill.excess", excess_of(evidence, &keys), text))
}

fn boundary(evidence: &Evidence<'_>) -> Option<Finding> {
    phase(evidence, Role::Boundary)?;
    let phases = evidence.plan.phases.iter().filter(|phase| phase.role == Role::Boundary);
    let excess = phases.map(|phase| excess_of(evidence, &phase.keys.range())).max().unwrap_or(0);
    let counts = count(evidence.of(Role::Boundary));
    let text = match excess {
        0 => format!("{} in bursts over two periods, no more in any window than the limit allows", of_sent(counts)),
        excess => {
            format!("{} in bursts over two periods; {excess} too many around the end of a window", of_sent(counts))
        }
    };
    Some(judged("boundary", "boundary.excess", excess, text))
}

fn ladder(evidence: &Evidence<'_>) -> Option<Finding> {
    let phase = phase(evidence, Role::Ladder)?;
    let step = (phase.arrivals.length() / LADDER.len() as u64).max(1);
    let rate = plan::rate(&evidence.plan.limits)?;
    let allowed = rate * step as f64 / 1e9;
    let (mut least, mut all_sent) = (f64::MAX, true);
    let mut steps = Vec::new();
    for (number, times) in (0_u64..).zip(LADDER) {
        let (from, to) = (phase.start + number * step, phase.start + (number + 1) * step);
        let inside = |record: &Record| (from..to).contains(&record.attempt.intended);
        let counts = count(evidence.of(Role::Ladder).filter(|(record, _)| inside(record)));
        let share = counts.admitted as f64 / allowed;
        // A step that the end of the test, or its bound, cut short is none.
        all_sent &= counts.sent as f64 >= 0.95 * times * allowed - 1.0;
        // At first, what was counted before may be why so few are.
        if from >= evidence.plan.clouded_until() {
            least = least.min(share);
        }
        steps.push(format!("{times}×: {:.0} %", share * 100.0));
    }
    // A limit that lets no burst through admits every second of requests that come half as soon again, and is right to.
    const LEAST_BURST: u64 = 5;
    let limits = &evidence.plan.limits;
    // Sent so late, they were no ladder.
    let late = |record: &Record| record.sent.saturating_sub(record.attempt.intended) > step / 20;
    let longest = limits.iter().filter(|limit| limit.terms.is_rate()).map(|limit| limit.terms.period()).max();
    let moot = if !all_sent {
        Some("not all of it was sent")
    } else if evidence.of(Role::Ladder).any(|(record, _)| late(record)) {
        Some("some were sent too late")
    } else if longest.is_some_and(|longest| longest > step) {
        Some("the longest window is longer than a step, so that one may have all of it and the next one nothing")
    } else if limits.iter().any(|limit| limit.counted == Counted::All) {
        Some("refusals count")
    } else if capacity(evidence) < LEAST_BURST {
        Some("so small a burst loses what comes too soon")
    } else if least == f64::MAX {
        Some("what was counted before the test may be why")
    } else {
        None
    };
    let mut text = format!("admitted of what the limit gives at {}", steps.join(", "));
    if let Some(moot) = moot {
        text += &format!("; not judged: {moot}");
    }
    let outcome = match (moot, least < 0.8) {
        (Some(_), _) => Outcome::Seen,
        (None, true) => Outcome::Wrong,
        (None, false) => Outcome::Right,
    };
    Some(Finding { probe: "ladder", outcome, text, metric: moot.is_none().then_some(("ladder.least", 100.0 * least)) })
}

fn churn(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Churn)?.keys.range();
    let sent = thousands(count(evidence.of(Role::ChurnOthers)).sent);
    let excess = excess_of(evidence, &keys);
    let text = match excess {
        0 => format!("a drained key stayed limited while {sent} others came"),
        excess => format!("a drained key had {excess} too many after {sent} others came: it was forgotten"),
    };
    Some(judged("churn", "churn.excess", excess, text))
}

/// How many requests without a key the limits admit from rest, one after the other and at one instant; none where one of them does
/// not say what happens without it.
fn room_without_key(evidence: &Evidence<'_>) -> Option<(u64, u64)> {
    let (mut in_turn, mut at_once) = (u64::MAX, u64::MAX);
    for limit in evidence.plan.limits.iter().filter(|limit| !limit.shadow) {
        let room = match (limit.scope, limit.missing_key) {
            // At one instant all are admitted.
            (Scope::Shared, _) | (_, Some(MissingKey::OneKey)) if limit.counted.is_late() => return None,
            (Scope::Shared, _) | (_, Some(MissingKey::OneKey)) => limit.terms.capacity(),
            (_, Some(MissingKey::Unlimited)) => continue,
            (_, Some(MissingKey::Refused)) => 0,
            (_, Some(MissingKey::Otherwise) | None) => return None,
        };
        at_once = at_once.min(room);
        if limit.terms.is_rate() || room == 0 {
            in_turn = in_turn.min(room);
        }
    }
    Some((in_turn, at_once))
}

fn missing_key(evidence: &Evidence<'_>) -> Option<Finding> {
    phase(evidence, Role::MissingKey)?;
    let plan = evidence.plan;
    let counts = count(evidence.of(Role::MissingKey));
    let words = match counts {
        Counts { admitted, sent, .. } if admitted == sent => "not limited at all",
        Counts { admitted: 0, .. } => "refused",
        _ => "limited together",
    };
    let mut text = format!("requests without a key are {words} ({})", of_sent(counts));
    let Some((room, at_once)) = room_without_key(evidence).filter(|_| !plan.limits.iter().all(|limit| limit.shadow))
    else {
        return Some(Finding { probe: "missing-key", outcome: Outcome::Seen, text, metric: None });
    };
    // All are admitted where a limit is shared with nobody and has room; more than it has is what tells.
    let excess = if room == 0 || counts.admitted == counts.sent { counts.admitted.saturating_sub(room) } else { 0 };
    if excess > 0 {
        text += &format!("; {excess} too many");
        return Some(judged("missing-key", "missing-key.excess", excess, text));
    }
    // What got no answer may have been admitted, and so may what others, or who came before, took the room of.
    let unanswered = evidence.of(Role::MissingKey).filter(|(record, _)| record.status == 0).count() as u64;
    let told = !plan.others && !plan.used.missing && plan::keys_are_apart(&plan.limits);
    let wrong = if told { at_once.min(counts.sent).saturating_sub(counts.admitted + unanswered) } else { 0 };
    if wrong > 0 {
        text += &format!("; {wrong} of them although there was room");
        return Some(judged("missing-key", "missing-key.refused", wrong, text));
    }
    Some(judged("missing-key", "missing-key.excess", 0, text))
}

fn forged(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Forged)?.keys.range();
    let counts = count(evidence.of(Role::Forged).filter(|(record, _)| record.attempt.kind == Kind::Forged));
    let excess = excess_of(evidence, &keys);
    let text = format!("{} from a drained caller that forges `X-Forwarded-For` and `Forwarded`", of_sent(counts));
    Some(judged("forged-address", "forged.admitted", excess, text))
}

fn ipv6(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Ipv6)?.keys.range();
    let counts = count(evidence.of(Role::Ipv6));
    let text = format!("{} from as many addresses of one IPv6 network (/64)", of_sent(counts));
    Some(judged("ipv6-network", "ipv6.admitted", excess_of(evidence, &keys), text))
}

fn preflight(evidence: &Evidence<'_>) -> Option<Finding> {
    phase(evidence, Role::Preflight)?;
    let of = |kind: Kind| count(evidence.of(Role::Preflight).filter(|(record, _)| record.attempt.kind == kind));
    let (preflights, plain) = (of(Kind::Preflight), of(Kind::Plain));
    let counted = capacity(evidence).min(plain.sent).saturating_sub(plain.admitted + plain.unknown);
    let text =
        format!("after {} preflights ({} refused), {} requests", preflights.sent, preflights.refused, of_sent(plain));
    if evidence.plan.used.keys && preflights.refused == 0 {
        // Others may have used the key just before.
        return Some(Finding { probe: "preflight", outcome: Outcome::Seen, text, metric: None });
    }
    Some(judged("preflight", "preflights.counted", counted + preflights.refused, text))
}

fn reload(evidence: &Evidence<'_>) -> Option<Finding> {
    let keys = phase(evidence, Role::Reload)?.keys.range();
    let admitted: Vec<String> = bursts(evidence, Role::Reload).iter().map(|burst| burst.admitted.to_string()).collect();
    let text = format!("{} admitted before and after a reload of an unchanged limit", admitted.join(" and "));
    Some(judged("reload", "reload.excess", excess_of(evidence, &keys), text))
}
