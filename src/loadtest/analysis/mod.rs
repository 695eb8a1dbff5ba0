//! What the answers add up to.

mod conformance;
mod fairness;
mod honesty;
mod latency;
mod probes;
mod strategies;
mod timeline;

use std::collections::BTreeMap;

use serde::Serialize;

pub use conformance::{Conformance, WorstExcess};
pub use fairness::Fairness;
pub use honesty::Honesty;
pub(in crate::loadtest) use honesty::share;
pub use latency::{Generator, Quantiles};
pub use probes::{Finding, Outcome};
pub use strategies::StrategyResult;
pub use timeline::{KeyRow, Point, Timeline};

use super::metric::{self, Assertion, Metric, Verdict};
use super::plan::{Plan, Role};
use super::record::{Fate, Kind, Record};
use super::report::thousands;
use super::session::Session;

/// What happened at the backend, when it is the test's own or tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Upstream {
    /// Requests that it was sent.
    pub requests: u64,
    /// Requests that change something and came more than once; none where only their number is known.
    pub duplicates: Option<u64>,
}

/// What the outage of the shared store cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Outage {
    /// Requests that failed during it, in percent.
    pub failed: f64,
    /// How long nine in ten answers took at most, in milliseconds.
    pub p90: f64,
}

/// How a test was run.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Setting {
    /// What was tested: a URL, or a folder's operation.
    pub target: String,
    /// The command line that repeats it.
    pub repeat: String,
    /// A digest of the configuration.
    pub policy: Option<String>,
    /// The seed.
    pub seed: u64,
    /// Whether time was virtual.
    pub virtual_time: bool,
    /// Whether it was ended early by a signal.
    pub interrupted: bool,
    /// What was to happen around the target and did not, so that the test was not the one that was asked for.
    pub broken: Vec<String>,
    /// How long it took, in seconds of the test's own time.
    pub seconds: f64,
    /// What was left out, and why.
    pub notes: Vec<String>,
}

/// How many requests ended how.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Totals {
    /// Requests that were answered, or would not be.
    pub requests: u64,
    /// That passed the limits.
    pub admitted: u64,
    /// That a limit refused.
    pub refused: u64,
    /// Of which nobody knows.
    pub unknown: u64,
    /// That got no answer; part of `unknown`.
    pub errors: u64,
    /// How many of a hundred answers say what a limit decided; those without a key, and while the store is away, need not. None
    /// where no limit is expected.
    pub judged: Option<f64>,
    /// How often each status came; 0 stands for none.
    pub statuses: BTreeMap<u16, u64>,
    /// Calls that were still waiting to try again at the end.
    pub unfinished: u64,
}

/// Everything that a test found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// How it was run.
    pub setting: Setting,
    /// The counts.
    pub totals: Totals,
    /// Each limit against what it promises.
    pub conformance: Vec<Conformance>,
    /// What the probes found.
    pub findings: Vec<Finding>,
    /// What the outage of the shared store cost.
    pub outage: Option<Outage>,
    /// `Retry-After` and `RateLimit` against the truth.
    pub honesty: Honesty,
    /// How evenly keys were served.
    pub fairness: Fairness,
    /// Client strategies side by side.
    pub strategies: Vec<StrategyResult>,
    /// Requests to the backend.
    pub upstream: Option<Upstream>,
    /// Requests to the backend for each one that passed the limits.
    pub amplification: Option<f64>,
    /// Latency of what was admitted, in milliseconds.
    pub admitted_latency: Option<Quantiles>,
    /// Latency of what was refused, in milliseconds.
    pub refused_latency: Option<Quantiles>,
    /// Whether these latencies are of all requests, because the main traffic has too few.
    pub latency_of_all: bool,
    /// Whether the figures can be trusted.
    pub generator: Generator,
    /// Admitted against configured over time.
    pub timeline: Timeline,
    /// All figures, by name.
    pub metrics: BTreeMap<String, Metric>,
    /// What was to hold, and whether it did.
    pub verdicts: Vec<Verdict>,
}

impl Report {
    /// Whether everything held.
    pub fn holds(&self) -> bool {
        self.verdicts.iter().all(|verdict| verdict.holds)
    }

    /// Whether what is asserted about a figure holds; none when nothing is.
    pub fn verdict_on(&self, figure: &str) -> Option<bool> {
        let about = self.verdicts.iter().filter(|verdict| verdict.figure == figure);
        about.map(|verdict| verdict.holds).reduce(|all, holds| all && holds)
    }
}

/// What the parts of the analysis look at.
pub(super) struct Evidence<'a> {
    plan: &'a Plan,
    records: &'a [Record],
    fates: Vec<Fate>,
    /// The records of each key by their places, and of requests without a key as the last; preflights are left out.
    by_key: Vec<Vec<u32>>,
}

impl<'a> Evidence<'a> {
    fn new(session: &'a Session<'_>, plan: &'a Plan) -> Self {
        let records = session.records.as_slice();
        let fates = records.iter().map(|record| session.fate(record.status)).collect();
        let mut by_key = vec![Vec::new(); plan.keys as usize + 1];
        for (place, record) in (0_u32..).zip(records) {
            if record.attempt.kind != Kind::Preflight {
                let key = (record.attempt.key.0 as usize).min(plan.keys as usize);
                by_key[key].push(place);
            }
        }
        Self { plan, records, fates, by_key }
    }

    /// The records of a phase's role with their fates.
    fn of(&self, role: Role) -> impl Iterator<Item = (&'a Record, Fate)> + '_ {
        let is = move |record: &Record| self.plan.phases[usize::from(record.attempt.phase)].role == role;
        self.records.iter().zip(&self.fates).filter(move |(record, _)| is(record)).map(|(record, fate)| (record, *fate))
    }
}

/// What a run measured beside the answers.
#[derive(Clone, Debug, Default)]
pub struct Measured {
    /// What happened at the backend.
    pub upstream: Option<Upstream>,
    /// How much of the time the generator's thread was at work, where that can be told.
    pub busy: Option<f64>,
    /// How many connections there were at most.
    pub connections: usize,
}

/// Puts the report together.
pub fn analyse(
    session: &Session<'_>,
    plan: &Plan,
    setting: Setting,
    measured: &Measured,
    assertions: &[Assertion],
) -> Report {
    let evidence = Evidence::new(session, plan);
    let mut totals = Totals { unfinished: session.unfinished, ..Totals::default() };
    for (record, fate) in evidence.records.iter().zip(&evidence.fates) {
        totals.requests += 1;
        *totals.statuses.entry(record.status).or_default() += 1;
        totals.errors += u64::from(record.status == 0);
        *match fate {
            Fate::Admitted => &mut totals.admitted,
            Fate::Refused => &mut totals.refused,
            Fate::Unknown => &mut totals.unknown,
        } += 1;
    }
    totals.judged = judged(&evidence).filter(|_| !plan.limits.is_empty());
    // Preflights are answered by the gateway itself. What failed behind the limits passed them too.
    let passed = |(record, fate): &(&Record, &Fate)| {
        (**fate == Fate::Admitted || (**fate == Fate::Unknown && record.status >= 500))
            && record.attempt.kind != Kind::Preflight
    };
    let passed = evidence.records.iter().zip(&evidence.fates).filter(passed).count();
    let latency_of_all = !latency::traffic_suffices(&evidence);
    let (admitted_latency, refused_latency) = latency::by_fate(&evidence, latency_of_all);
    let conformance = conformance::judge(&evidence);
    let mut report = Report {
        findings: probes::find(&evidence),
        outage: probes::outage_figures(&evidence).map(|(failed, p90)| Outage { failed, p90 }),
        honesty: honesty::judge(&evidence),
        fairness: fairness::judge(&evidence),
        strategies: strategies::compare(&evidence, &session.calls),
        amplification: measured.upstream.map(|upstream| upstream.requests as f64 / passed.max(1) as f64),
        upstream: measured.upstream,
        generator: latency::generator(&evidence, measured, setting.virtual_time),
        timeline: timeline::draw(&evidence),
        conformance,
        admitted_latency,
        refused_latency,
        latency_of_all,
        totals,
        setting,
        metrics: BTreeMap::new(),
        verdicts: Vec::new(),
    };
    if let Some(hint) = hint(&report.totals) {
        report.setting.notes.push(hint);
    }
    if session.bounded {
        report.setting.notes.push(format!("the bound of {} requests was reached", thousands(plan.bounds.requests)));
    }
    report.metrics = metric::collect(&report);
    report.verdicts = assertions.iter().filter_map(|assertion| assertion.judge(&report.metrics)).collect();
    report
}

/// How many of a hundred answers say what a limit decided.
fn judged(evidence: &Evidence<'_>) -> Option<f64> {
    let phases = &evidence.plan.phases;
    let counts =
        |record: &Record| !matches!(phases[usize::from(record.attempt.phase)].role, Role::MissingKey | Role::Outage);
    let fates = evidence.records.iter().zip(&evidence.fates).filter(|(record, _)| counts(record));
    let (mut known, mut all) = (0, 0);
    for (_, fate) in fates {
        all += 1;
        known += u64::from(*fate != Fate::Unknown);
    }
    share(known, all)
}

/// What may help where most answers say nothing about the limits.
fn hint(totals: &Totals) -> Option<String> {
    totals.judged.filter(|judged| *judged < 50.0)?;
    let telling = |status: u16| status == 429 || (200..400).contains(&status);
    let statuses = totals.statuses.iter().filter(|(status, _)| **status != 0 && !telling(**status));
    let (status, count) = statuses.max_by_key(|(_, count)| **count)?;
    let help = match status {
        401 | 403 => "; keys that the gateway knows come from --keys-from, other credentials from --header",
        404 | 405 => "; what is asked for comes from --path and --method",
        _ => "; a limit that refuses with another status is expected with `status=`",
    };
    Some(format!(
        "{count} of {} answers have the status {status}, which says nothing about the limits{help}",
        totals.requests
    ))
}
