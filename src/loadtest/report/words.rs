//! Sentences that the report says alike as text and as a page.

use super::thousands;
use crate::loadtest::analysis::{Conformance, Fairness, Finding, Honesty, Outcome, Report, Totals, WorstExcess};
use crate::loadtest::record::KeyId;

/// What is said of something that is asserted on, found, or only told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Holds,
    Fails,
    Told,
}

impl Mark {
    /// Whether what is asserted about these figures holds.
    pub(super) fn of(report: &Report, figures: &[&str]) -> Self {
        let verdicts = figures.iter().filter_map(|figure| report.verdict_on(figure));
        match verdicts.reduce(|all, holds| all && holds) {
            Some(true) => Self::Holds,
            Some(false) => Self::Fails,
            None => Self::Told,
        }
    }

    /// What is asserted about a finding's figure, else what the probe makes of it.
    pub(super) fn of_finding(report: &Report, finding: &Finding) -> Self {
        let figures: &[&str] = match (finding.metric, finding.probe) {
            (Some((figure, _)), _) => &[figure],
            (None, "store-outage") => &["outage.failed", "outage.p90"],
            (None, _) => &[],
        };
        match (Self::of(report, figures), finding.outcome) {
            (Self::Told, Outcome::Right) => Self::Holds,
            (Self::Told, Outcome::Wrong) => Self::Fails,
            (mark, _) => mark,
        }
    }
}

/// `429 12×, 200 3×`.
pub(super) fn statuses(totals: &Totals) -> String {
    let answered = totals.statuses.iter().filter(|(status, _)| **status != 0);
    let all: Vec<String> = answered.map(|(status, count)| format!("{status} {}×", thousands(*count))).collect();
    if all.is_empty() { "none".to_owned() } else { all.join(", ") }
}

/// The largest excess, with everything that is known of it.
pub(super) fn excess(worst: &WorstExcess, limit: &Conformance) -> String {
    let key = match worst.key {
        Some(key) if key == KeyId::MISSING.0 => " without a key".to_owned(),
        Some(key) => format!(" of key {key}"),
        None => String::new(),
    };
    format!(
        "at least {} too many ({:.1} %): {} admitted{key} from {:.3} s to {:.3} s, {} allowed; {} of {} keys",
        thousands(worst.requests),
        worst.percent,
        thousands(worst.admitted),
        worst.from,
        worst.to,
        thousands(worst.allowed),
        thousands(limit.keys_in_excess),
        thousands(limit.keys),
    )
}

/// What became of clients that waited as long as `Retry-After` said.
pub(super) fn waited(honesty: &Honesty) -> String {
    let early = honesty.early_by.map(|early| format!("; the others were told to wait up to {early} s more"));
    format!(
        "{} of {} clients that waited exactly that long were admitted{}",
        thousands(honesty.admitted),
        thousands(honesty.waited),
        early.unwrap_or_default()
    )
}

/// What became of clients that waited for the reset.
pub(super) fn reset(honesty: &Honesty) -> String {
    let late = honesty
        .reset_late_by
        .map(|late| format!("; the farthest was {late:.2} s after the next one would be admitted"));
    let early = honesty.reset_early_by.map(|early| format!("; for the others it was up to {early} s later then"));
    format!(
        "{} of {} clients that waited until then were admitted{}{}",
        thousands(honesty.reset_admitted),
        thousands(honesty.reset_waited),
        early.unwrap_or_default(),
        late.unwrap_or_default()
    )
}

/// How well-behaved callers fared beside a noisy one.
pub(super) fn victims(fairness: &Fairness) -> String {
    let neighbour = fairness.neighbour_admitted.map(|share| format!("; the noisy one had {share:.0} % admitted"));
    format!(
        "beside a noisy neighbour, {} of {} requests of others were refused{}",
        thousands(fairness.victims_refused),
        thousands(fairness.victims),
        neighbour.unwrap_or_default()
    )
}

/// How many requests reached the backend, with the figure that each sentence is about.
pub(super) fn amplification(report: &Report) -> Vec<(&'static str, String)> {
    let Some(upstream) = report.upstream else {
        let why =
            "not measured: what reaches the backend is not seen from here; `--backend-at` or `--backend-count` tell";
        return vec![("amplification", why.to_owned())];
    };
    let requests = format!(
        "{} requests reached the backend, {:.3} for each one that passed the limits",
        thousands(upstream.requests),
        report.amplification.unwrap_or(0.0)
    );
    let twice = match upstream.duplicates {
        Some(duplicates) => format!("{} changing requests came more than once", thousands(duplicates)),
        None => "whether changing requests came more than once is not known: only their number was told".to_owned(),
    };
    vec![("amplification", requests), ("duplicated-posts", twice)]
}

/// How fast the generator went, and how hard its thread worked.
pub(super) fn pace(report: &Report) -> String {
    let busy = report
        .generator
        .busy
        .map(|busy| format!("; the generator's thread was at work for {:.0} % of the time", busy * 100.0));
    format!("{} requests in the busiest second{}", thousands(report.generator.peak), busy.unwrap_or_default())
}

/// Milliseconds as seconds; a dash where there are none.
pub(super) fn seconds(ms: Option<f64>) -> String {
    ms.map_or_else(|| "-".to_owned(), |ms| format!("{:.1} s", ms / 1e3))
}
