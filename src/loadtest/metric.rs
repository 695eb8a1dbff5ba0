//! The figures by name, and assertions about them: `excess<=1%`, `retry-after.honest>=99%`.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use super::analysis::{Report, share};
use crate::config::diagnostic::suggest;

/// What a figure is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// Percent.
    Percent,
    /// Requests.
    Requests,
    /// Milliseconds.
    Milliseconds,
    /// Seconds.
    Seconds,
    /// A plain number.
    Number,
}

impl Unit {
    fn text(self, value: f64) -> String {
        let number = if value.fract() == 0.0 { format!("{value:.0}") } else { format!("{value:.3}") };
        let number = if number.contains('.') { number.trim_end_matches('0').trim_end_matches('.') } else { &number };
        match self {
            Self::Percent => format!("{number}%"),
            Self::Milliseconds => format!("{number}ms"),
            Self::Seconds => format!("{number}s"),
            Self::Requests | Self::Number => number.to_owned(),
        }
    }
}

/// A figure.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Metric {
    /// Its value.
    pub value: f64,
    /// What it is counted in.
    pub unit: Unit,
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.unit.text(self.value))
    }
}

/// The figures that can be asserted on, with their units and what they mean. Those of a strategy end in its name.
pub const METRICS: [(&str, Unit, &str); 47] = [
    ("excess", Unit::Percent, "the largest proven excess over a limit"),
    ("excess.requests", Unit::Requests, "the same in requests"),
    ("false-rejections", Unit::Percent, "requests that were refused although the limit surely had room"),
    ("false-rejections.requests", Unit::Requests, "the same in requests"),
    ("window", Unit::Number, "the most that one key had admitted in any period, over the limit"),
    ("retry-after.honest", Unit::Percent, "clients that were admitted after waiting exactly that long"),
    ("retry-after.missing", Unit::Percent, "refusals without it"),
    ("retry-after.zero", Unit::Percent, "refusals that say 0"),
    ("retry-after.early", Unit::Seconds, "how much longer one that had waited exactly that long was told to wait"),
    ("retry-after.late", Unit::Seconds, "by how much the longest wait was too long; up to 1 is rounding"),
    ("ratelimit.missing", Unit::Percent, "answers without `RateLimit`, where the policy says that they carry it"),
    ("ratelimit.remaining", Unit::Percent, "answers that say truly how much is left"),
    ("ratelimit.reset", Unit::Percent, "clients that were admitted after waiting until the reset"),
    ("ratelimit.reset-early", Unit::Seconds, "how much later the reset was for one that had waited until then"),
    (
        "ratelimit.reset-late",
        Unit::Seconds,
        "by how much the farthest reset was after the next request would be admitted",
    ),
    ("cold-start.excess", Unit::Requests, "too many of the very first requests"),
    ("simultaneous.excess", Unit::Requests, "too many at one instant"),
    ("refill.excess", Unit::Requests, "too many after rest"),
    ("boundary.excess", Unit::Requests, "too many around the end of a window"),
    ("ladder.least", Unit::Percent, "the least that was admitted of the limit on the overload ladder"),
    ("churn.excess", Unit::Requests, "too many of a key that was forgotten"),
    ("missing-key.excess", Unit::Requests, "too many without a key"),
    ("missing-key.refused", Unit::Requests, "refused without a key although there was room for them"),
    ("forged.admitted", Unit::Requests, "too many with a forged address"),
    ("ipv6.admitted", Unit::Requests, "too many from other addresses of one IPv6 network"),
    ("preflights.counted", Unit::Requests, "requests that preflights took away"),
    ("reload.excess", Unit::Requests, "too many after a reload"),
    ("outage.failed", Unit::Percent, "requests that failed while the shared store was cut off"),
    ("outage.p90", Unit::Milliseconds, "how long nine in ten answers took then"),
    ("fairness.jain", Unit::Number, "Jain's index over the keys of the traffic"),
    ("victims.refused", Unit::Percent, "requests of well-behaved callers that were refused beside a noisy one"),
    ("judged", Unit::Percent, "requests whose answers say whether they were admitted or refused"),
    ("errors", Unit::Percent, "requests without an answer"),
    ("admitted", Unit::Percent, "requests that were admitted"),
    ("latency.p50", Unit::Milliseconds, "latency of what was admitted"),
    ("latency.p99", Unit::Milliseconds, "99 in 100 of them are not above it"),
    ("latency.max", Unit::Milliseconds, "the slowest of them"),
    ("refusal-latency.p50", Unit::Milliseconds, "latency of what was refused"),
    ("refusal-latency.p99", Unit::Milliseconds, "99 in 100 of them are not above it"),
    ("lag.p99", Unit::Milliseconds, "how far the generator was behind"),
    ("rate", Unit::Number, "requests in the busiest second"),
    ("amplification", Unit::Number, "requests to the backend for each one that passed the limits"),
    ("duplicated-posts", Unit::Requests, "changing requests that reached the backend more than once"),
    ("completion", Unit::Seconds, "when all calls of a strategy were done: `completion.naive`"),
    ("goodput", Unit::Number, "successes each second of a strategy"),
    ("attempts", Unit::Number, "requests for each success of a strategy"),
    ("successes", Unit::Percent, "calls of a strategy that succeeded"),
];

/// What a figure means; those of a strategy end in its name.
pub fn meaning(name: &str) -> &'static str {
    let fits = |known: &str| name.strip_prefix(known).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let known = METRICS.iter().filter(|(known, _, _)| fits(known)).max_by_key(|(known, _, _)| known.len());
    known.map_or("", |(_, _, meaning)| *meaning)
}

/// Puts the figures of a report together.
pub fn collect(report: &Report) -> BTreeMap<String, Metric> {
    let mut metrics = BTreeMap::new();
    let mut add = |name: &str, value: Option<f64>| {
        let base = |known: &str| name == known || name.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'));
        let known = METRICS.iter().filter(|(known, _, _)| base(known)).max_by_key(|(known, _, _)| known.len());
        if let (Some((_, unit, _)), Some(value)) = (known, value) {
            metrics.insert(name.to_owned(), Metric { value, unit: *unit });
        }
    };
    let limits = &report.conformance;
    let most = |value: &dyn Fn(&super::analysis::Conformance) -> Option<f64>| {
        limits.iter().filter_map(value).max_by(f64::total_cmp)
    };
    add("excess", most(&|limit| Some(limit.worst.as_ref().map_or(0.0, |worst| worst.percent))));
    add("excess.requests", most(&|limit| Some(limit.worst.as_ref().map_or(0.0, |worst| worst.requests as f64))));
    let wrong = |limit: &super::analysis::Conformance| limit.false_refusals;
    add("false-rejections", most(&|limit| share(wrong(limit)?, limit.judged)));
    add("false-rejections.requests", most(&|limit| Some(wrong(limit)? as f64)));
    add("window", most(&|limit| limit.window_ratio));
    let honesty = &report.honesty;
    add("retry-after.honest", honesty.honest());
    add("retry-after.missing", share(honesty.missing, honesty.refusals));
    add("retry-after.zero", share(honesty.zeros, honesty.refusals));
    add("retry-after.early", honesty.early());
    add("retry-after.late", honesty.late_by);
    add("ratelimit.missing", share(honesty.untold, honesty.told));
    add("outage.failed", report.outage.map(|outage| outage.failed));
    add("outage.p90", report.outage.map(|outage| outage.p90));
    add("ratelimit.remaining", share(honesty.remaining_true, honesty.remaining_judged));
    add("ratelimit.reset", share(honesty.reset_admitted, honesty.reset_waited));
    add("ratelimit.reset-early", honesty.reset_early());
    add("ratelimit.reset-late", honesty.reset_late_by);
    for (name, value) in report.findings.iter().filter_map(|finding| finding.metric) {
        add(name, Some(value));
    }
    add("fairness.jain", report.fairness.jain);
    add("victims.refused", share(report.fairness.victims_refused, report.fairness.victims));
    add("judged", report.totals.judged);
    add("errors", share(report.totals.errors, report.totals.requests));
    add("admitted", share(report.totals.admitted, report.totals.requests));
    if !report.setting.virtual_time {
        add("latency.p50", report.admitted_latency.map(|it| it.p50));
        add("latency.p99", report.admitted_latency.map(|it| it.p99));
        add("latency.max", report.admitted_latency.map(|it| it.max));
        add("refusal-latency.p50", report.refused_latency.map(|it| it.p50));
        add("refusal-latency.p99", report.refused_latency.map(|it| it.p99));
        add("lag.p99", report.generator.lag.map(|it| it.p99));
        add("rate", Some(report.generator.peak as f64));
    }
    add("amplification", report.amplification);
    add("duplicated-posts", report.upstream.and_then(|it| it.duplicates).map(|duplicates| duplicates as f64));
    for one in &report.strategies {
        let name = &one.strategy;
        add(&format!("completion.{name}"), one.completed);
        add(&format!("goodput.{name}"), one.goodput);
        add(&format!("attempts.{name}"), one.attempts_per_success);
        add(&format!("successes.{name}"), share(one.succeeded, one.calls));
    }
    metrics
}

/// How a figure is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    AtMost,
    AtLeast,
    Below,
    Above,
    Is,
}

const COMPARISONS: [(&str, Comparison); 5] = [
    ("<=", Comparison::AtMost),
    (">=", Comparison::AtLeast),
    ("==", Comparison::Is),
    ("<", Comparison::Below),
    (">", Comparison::Above),
];

/// What is to hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Assertion {
    metric: String,
    comparison: Comparison,
    value: Metric,
    /// Whether it holds when the figure was not measured.
    optional: bool,
}

impl fmt::Display for Assertion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = COMPARISONS.iter().find(|(_, it)| *it == self.comparison).map_or("", |(sign, _)| sign);
        write!(f, "{}{sign}{}", self.metric, self.value)
    }
}

impl FromStr for Assertion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let compact: String = text.chars().filter(|c| !c.is_whitespace()).collect();
        let found = COMPARISONS.iter().find_map(|(sign, comparison)| {
            compact.split_once(sign).map(|(name, value)| (name.to_owned(), *comparison, value.to_owned()))
        });
        let Some((name, comparison, value)) = found else {
            return Err(format!("`{text}` is no assertion; for example `excess<=1%` or `retry-after.honest>=99%`"));
        };
        let prefix = |known: &str| ["completion", "goodput", "attempts", "successes"].contains(&known);
        let fits = |known: &str| {
            if prefix(known) {
                name.strip_prefix(known).is_some_and(|rest| rest.starts_with('.'))
            } else {
                known == name
            }
        };
        let Some((_, unit, _)) = METRICS.iter().find(|(known, _, _)| fits(known)) else {
            let names = METRICS.map(|(name, _, _)| name);
            let hint = suggest(&name, names).unwrap_or_else(|| "--list-figures lists them".to_owned());
            return Err(format!("`{name}` is no figure of the report; {hint}"));
        };
        let digits = value.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(value.len());
        let (number, suffix) = value.split_at(digits);
        let scale = match (unit, suffix) {
            (_, "")
            | (Unit::Percent, "%")
            | (Unit::Milliseconds, "ms")
            | (Unit::Seconds, "s")
            | (Unit::Number, "x") => 1.0,
            (Unit::Milliseconds, "s") => 1_000.0,
            (Unit::Seconds, "ms") => 0.001,
            _ => {
                return Err(format!("`{value}` does not fit {name}, which is like `{}`", unit.text(1.0)));
            }
        };
        let number: f64 = number.parse().map_err(|_| format!("`{value}` is no number"))?;
        Ok(Self { metric: name, comparison, value: Metric { value: number * scale, unit: *unit }, optional: false })
    }
}

/// An assertion and whether it held.
#[derive(Clone, Debug, Serialize)]
pub struct Verdict {
    /// The figure that it is about.
    pub figure: String,
    /// What was to hold.
    pub assertion: String,
    /// Whether it held.
    pub holds: bool,
    /// What was found.
    pub found: String,
}

/// What a right limiter holds, unless the command line says otherwise.
const DEFAULTS: [&str; 27] = [
    "excess<=0%",
    "false-rejections<=0.1%",
    "retry-after.honest>=99.9%",
    "retry-after.missing<=0%",
    "retry-after.zero<=0%",
    "retry-after.late<=1.5s",
    "ratelimit.missing<=0%",
    "ratelimit.remaining>=99%",
    "ratelimit.reset>=99%",
    "cold-start.excess<=0",
    "simultaneous.excess<=0",
    "boundary.excess<=0",
    "refill.excess<=0",
    "ladder.least>=80%",
    "churn.excess<=0",
    "missing-key.excess<=0",
    "missing-key.refused<=0",
    "ipv6.admitted<=0",
    "forged.admitted<=0",
    "preflights.counted<=0",
    "reload.excess<=0",
    "outage.failed<=0%",
    "outage.p90<=250ms",
    "victims.refused<=0%",
    "judged>=50%",
    "errors<=0.1%",
    "duplicated-posts<=0",
];

/// The assertions of a test: those of the command line, and for other figures what a right limiter holds.
pub fn assertions(given: &[Assertion], with_defaults: bool) -> Vec<Assertion> {
    let defaults = DEFAULTS.iter().filter_map(|text| text.parse::<Assertion>().ok());
    let defaults = defaults.filter(|one| with_defaults && given.iter().all(|other| other.metric != one.metric));
    given.iter().cloned().chain(defaults.map(|one| Assertion { optional: true, ..one })).collect()
}

impl Assertion {
    /// Whether it holds; none when it is about something that was not measured and need not be.
    pub fn judge(&self, metrics: &BTreeMap<String, Metric>) -> Option<Verdict> {
        let Some(found) = metrics.get(&self.metric) else {
            return (!self.optional).then(|| self.verdict(false, "not measured".to_owned()));
        };
        let (is, wanted) = (found.value, self.value.value);
        let holds = match self.comparison {
            Comparison::AtMost => is <= wanted,
            Comparison::AtLeast => is >= wanted,
            Comparison::Below => is < wanted,
            Comparison::Above => is > wanted,
            Comparison::Is => is == wanted,
        };
        Some(self.verdict(holds, found.to_string()))
    }

    fn verdict(&self, holds: bool, found: String) -> Verdict {
        Verdict { figure: self.metric.clone(), assertion: self.to_string(), holds, found }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assertions_are_read_and_judged() {
        let metrics: BTreeMap<String, Metric> = [
            ("excess", 0.5, Unit::Percent),
            ("latency.p99", 12.0, Unit::Milliseconds),
            ("retry-after.late", 2.0, Unit::Seconds),
            ("goodput.naive", 3.0, Unit::Number),
        ]
        .into_iter()
        .map(|(name, value, unit)| (name.to_owned(), Metric { value, unit }))
        .collect();
        for (text, want) in [
            ("excess<=1%", Ok(true)),
            ("excess <= 0.5", Ok(true)),
            ("excess<0.5%", Ok(false)),
            ("latency.p99<=0.012s", Ok(true)),
            ("latency.p99<12ms", Ok(false)),
            ("retry-after.late<=2000ms", Ok(true)),
            ("goodput.naive>=3", Ok(true)),
            ("goodput.naive==2", Ok(false)),
            ("window<=1", Ok(false)),
            ("exces<=1%", Err("`exces` is no figure of the report; did you mean `excess`?")),
            ("excess<=1ms", Err("`1ms` does not fit excess, which is like `1%`")),
            ("excess<=x", Err("`x` does not fit excess")),
            ("excess", Err("`excess` is no assertion")),
            ("goodput>=1", Err("`goodput` is no figure of the report")),
        ] {
            match (text.parse::<Assertion>(), want) {
                (Ok(found), Ok(want)) => assert_eq!(found.judge(&metrics).unwrap().holds, want, "{text}"),
                (Err(found), Err(want)) => assert!(found.starts_with(want), "{text}: {found}"),
                (found, want) => panic!("{text}: {found:?}, not {want:?}"),
            }
        }
    }

    #[test]
    fn defaults_give_way_and_need_no_measurement() {
        let given: Assertion = "excess<=5%".parse().unwrap();
        let all = assertions(std::slice::from_ref(&given), true);
        assert_eq!(all.iter().filter(|one| one.metric == "excess").count(), 1);
        assert_eq!(all.len(), DEFAULTS.len(), "each default can be read");
        assert!(all[1].judge(&BTreeMap::new()).is_none());
        assert_eq!(given.judge(&BTreeMap::new()).unwrap().found, "not measured");
        assert_eq!(assertions(&[], false), []);
    }
}
