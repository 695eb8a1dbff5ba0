//! The sections of the page.

use std::fmt::Write as _;

use super::chart::{Groups, OverTime, Series, bar};
use super::{escape, prose, thousands};
use crate::loadtest::analysis::{Point, Quantiles, Report, StrategyResult};
use crate::loadtest::arrivals::LADDER;
use crate::loadtest::metric::{Verdict, meaning};
use crate::loadtest::report::share;
use crate::loadtest::report::words::{self, Mark};

/// The width of a chart that has a line for itself.
const WIDE: (f64, f64) = (1000.0, 300.0);
/// The size of one of many.
const SMALL: (f64, f64) = (330.0, 150.0);
/// How many keys have a chart of their own.
const CHARTED_KEYS: usize = 6;

fn mark(mark: Mark) -> &'static str {
    match mark {
        Mark::Holds => "<span class=\"mark ok\">ok</span>",
        Mark::Fails => "<span class=\"mark bad\">FAIL</span>",
        Mark::Told => "<span class=\"mark seen\">seen</span>",
    }
}

/// What is asserted about these figures.
fn of(report: &Report, figures: &[&str]) -> &'static str {
    mark(Mark::of(report, figures))
}

/// What does not hold, before everything else.
pub(super) fn failures(out: &mut String, report: &Report) {
    verdicts(out, report.verdicts.iter().filter(|verdict| !verdict.holds), "What does not hold");
}

/// Everything that was asserted and holds.
pub(super) fn successes(out: &mut String, report: &Report) {
    verdicts(out, report.verdicts.iter().filter(|verdict| verdict.holds), "What holds");
}

fn verdicts<'r>(out: &mut String, verdicts: impl Iterator<Item = &'r Verdict>, title: &str) {
    let mut verdicts = verdicts.peekable();
    if verdicts.peek().is_none() {
        return;
    }
    let _ = write!(
        out,
        "<section>\n<h2>{title}</h2>\n<div class=\"scroll\"><table>\n<tr><th></th><th>Assertion</th><th>Found</th>\
         <th>Meaning</th></tr>\n"
    );
    for verdict in verdicts {
        let _ = writeln!(
            out,
            "<tr><td>{}</td><td><code>{}</code></td><td>{}</td><td class=\"soft\">{}</td></tr>",
            mark(if verdict.holds { Mark::Holds } else { Mark::Fails }),
            escape(&verdict.assertion),
            escape(&verdict.found),
            prose(meaning(&verdict.figure))
        );
    }
    out.push_str("</table></div>\n</section>\n");
}

pub(super) fn conformance(out: &mut String, report: &Report) {
    if report.conformance.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Conformance</h2>\n<p class=\"soft\">A reference limiter looks at what was admitted and refused. It reports only what is proven, whatever happened between sending and receiving.</p>\n");
    out.push_str("<div class=\"scroll\"><table>\n<tr><th>Limit</th><th>Too many admitted</th><th>Wrongly refused</th><th class=\"number\">Busiest period</th><th class=\"number\">Keys</th></tr>\n");
    for limit in &report.conformance {
        let excess = match &limit.worst {
            None => format!("{} none proven", of(report, &["excess", "excess.requests"])),
            Some(worst) => format!("{} {}", mark(Mark::Fails), words::excess(worst, limit)),
        };
        let refused = match limit.false_refusals {
            None => "<span class=\"soft\">not judged: there are other limits on the way</span>".to_owned(),
            Some(wrong) => format!(
                "{} {} of {} decisions ({})",
                of(report, &["false-rejections", "false-rejections.requests"]),
                thousands(wrong),
                thousands(limit.judged),
                share(wrong, limit.judged)
            ),
        };
        let _ = writeln!(
            out,
            "<tr><td><b>{}</b><br><span class=\"soft\">{}</span></td><td>{excess}</td><td>{refused}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            escape(&limit.terms),
            if limit.limit == limit.terms { "".into() } else { escape(&limit.limit) },
            limit.window_ratio.map_or_else(|| "-".to_owned(), |ratio| format!("{ratio:.2} × the limit")),
            thousands(limit.keys)
        );
    }
    out.push_str("</table></div>\n</section>\n");
}

fn bars(points: &[Point]) -> Vec<Series<'static>> {
    let series = |name, class, value: fn(&Point) -> u64| Series {
        name,
        class,
        values: points.iter().map(|point| value(point) as f64).collect(),
    };
    let mut bars = vec![
        series("admitted", "admitted", |point| point.admitted),
        series("refused", "refused", |point| point.refused),
    ];
    if points.iter().any(|point| point.unknown > 0) {
        bars.push(series("of unknown fate", "unknown", |point| point.unknown));
    }
    bars
}

fn stretch(step: f64) -> String {
    if step < 1.0 { format!("{:.0} ms", step * 1e3) } else { format!("{step:.0} s") }
}

pub(super) fn over_time(out: &mut String, report: &Report) {
    let timeline = &report.timeline;
    if timeline.total.iter().all(|point| point.offered == 0) {
        return;
    }
    let step = stretch(timeline.step);
    let level = timeline.allowed.map(|allowed| (allowed, "what the limits admit for ever".to_owned()));
    let chart = OverTime { step: timeline.step, bars: bars(&timeline.total), level, size: WIDE };
    let _ = writeln!(
        out,
        "<section>\n<h2>Admitted against configured</h2>\n<figure>{}{}<figcaption>The main traffic, in requests for each {step}. \
         Where a limit lets a burst through, what is admitted is above the line at first.</figcaption></figure>\n</section>",
        chart.draw("Requests of the main traffic over time"),
        chart.legend()
    );
}

pub(super) fn ladder(out: &mut String, report: &Report) {
    let timeline = &report.timeline;
    if timeline.ladder.iter().all(|point| point.offered == 0) {
        return;
    }
    let level = timeline.allowed_of_key.map(|allowed| (allowed, "what the limits admit for ever".to_owned()));
    let chart = OverTime { step: timeline.step, bars: bars(&timeline.ladder), level, size: (1000.0, 240.0) };
    let steps = LADDER.map(|times| format!("{times}×")).join(", ");
    let _ = writeln!(
        out,
        "<section>\n<h2>Overload ladder</h2>\n<figure>{}{}<figcaption>One key that asks for {steps} of its limit. What is admitted \
         must not fall as the load grows.</figcaption></figure>\n</section>",
        chart.draw("Requests of the overload ladder over time"),
        chart.legend()
    );
}

pub(super) fn keys(out: &mut String, report: &Report) {
    let timeline = &report.timeline;
    let fairness = &report.fairness;
    if timeline.busiest.len() > 1 {
        out.push_str("<section>\n<h2>For each key</h2>\n<div class=\"many\">\n");
        for (key, points) in timeline.busiest.iter().take(CHARTED_KEYS) {
            let level = timeline.allowed_of_key.map(|allowed| (allowed, String::new()));
            let chart = OverTime { step: timeline.step, bars: bars(points), level, size: SMALL };
            let sum = |of: fn(&Point) -> u64| thousands(points.iter().map(of).sum());
            let _ = writeln!(
                out,
                "<figure><h3>Key {key}</h3>{}<figcaption>{} of {} admitted</figcaption></figure>",
                chart.draw(&format!("Requests of key {key} over time")),
                sum(|point| point.admitted),
                sum(|point| point.offered)
            );
        }
        out.push_str("</div>\n</section>\n");
    }
    if fairness.jain.is_none() && fairness.victims == 0 {
        return;
    }
    out.push_str("<section>\n<h2>Fairness</h2>\n<ul>\n");
    if let Some(jain) = fairness.jain {
        let _ = writeln!(out, "<li>Jain's index {jain:.4} over {} keys; 1 is even.</li>", thousands(fairness.keys));
    }
    if fairness.victims > 0 {
        let _ = writeln!(out, "<li>{} {}.</li>", of(report, &["victims.refused"]), words::victims(fairness));
    }
    out.push_str("</ul>\n</section>\n");
}

pub(super) fn probes(out: &mut String, report: &Report) {
    if report.findings.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Probes</h2>\n<div class=\"scroll\"><table>\n");
    for finding in &report.findings {
        let mark = mark(Mark::of_finding(report, finding));
        let _ =
            writeln!(out, "<tr><td>{mark}</td><td><b>{}</b></td><td>{}</td></tr>", finding.probe, prose(&finding.text));
    }
    out.push_str("</table></div>\n</section>\n");
}

pub(super) fn honesty(out: &mut String, report: &Report) {
    let honesty = &report.honesty;
    if honesty.refusals + honesty.told == 0 {
        return;
    }
    out.push_str("<section>\n<h2>Honesty</h2>\n<div class=\"scroll\"><table>\n");
    let mut row = |name: &str, figures: &[&str], (part, whole): (u64, u64), text: String| {
        if whole > 0 {
            let class = if Mark::of(report, figures) == Mark::Fails { "bad" } else { "ok" };
            let _ = writeln!(
                out,
                "<tr><td>{}</td><td><b>{name}</b></td><td class=\"number\">{}</td><td>{}</td><td class=\"soft\">{text}</td></tr>",
                of(report, figures),
                share(part, whole),
                bar(part as f64 / whole as f64, class)
            );
        }
    };
    let late = honesty.late_by.map_or_else(String::new, |late| {
        format!("; the longest wait was {late:.2} s too long, of which up to 1 s is rounding")
    });
    row(
        "Retry-After is enough",
        &["retry-after.honest", "retry-after.late"],
        (honesty.admitted, honesty.waited),
        format!("{}{late}", words::waited(honesty)),
    );
    row(
        "Retry-After is given",
        &["retry-after.missing", "retry-after.zero"],
        (honesty.refusals - honesty.missing - honesty.zeros, honesty.refusals),
        format!(
            "{} of {} refusals have none, {} say 0",
            thousands(honesty.missing),
            thousands(honesty.refusals),
            thousands(honesty.zeros)
        ),
    );
    row(
        "RateLimit is given",
        &["ratelimit.missing"],
        (honesty.told - honesty.untold, honesty.told),
        format!("{} of {} answers have none", thousands(honesty.untold), thousands(honesty.told)),
    );
    row(
        "What is left is true",
        &["ratelimit.remaining"],
        (honesty.remaining_true, honesty.remaining_judged),
        format!("{} of {} answers", thousands(honesty.remaining_true), thousands(honesty.remaining_judged)),
    );
    row(
        "The reset is true",
        &["ratelimit.reset", "ratelimit.reset-late"],
        (honesty.reset_admitted, honesty.reset_waited),
        words::reset(honesty),
    );
    out.push_str("</table></div>\n</section>\n");
}

pub(super) fn strategies(out: &mut String, report: &Report) {
    if report.strategies.is_empty() {
        return;
    }
    let most = |value: &dyn Fn(&StrategyResult) -> Option<f64>| {
        report.strategies.iter().filter_map(value).fold(f64::MIN_POSITIVE, f64::max)
    };
    let longest = most(&|one| one.completed);
    let dearest = most(&|one| one.attempts_per_success);
    out.push_str("<section>\n<h2>Client strategies</h2>\n<p class=\"soft\">Twice the limit at once, by clients that do different things when they are refused.</p>\n<div class=\"scroll\"><table>\n<tr><th>Strategy</th><th class=\"number\">Succeeded</th><th class=\"number\">Median</th><th class=\"number\">99 %</th><th>All done</th><th class=\"number\">Goodput</th><th>Requests for each success</th></tr>\n");
    for one in &report.strategies {
        let seconds = words::seconds;
        let done = match (one.unfinished, one.completed) {
            (0, Some(completed)) => format!("{completed:.1} s {}", bar(completed / longest, "admitted")),
            (waiting, _) => format!("{waiting} still waiting"),
        };
        let _ = writeln!(
            out,
            "<tr><td><b>{}</b></td><td class=\"number\">{} of {}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td>{done}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            escape(&one.strategy),
            thousands(one.succeeded),
            thousands(one.calls),
            seconds(one.took.map(|took| took.p50)),
            seconds(one.took.map(|took| took.p99)),
            one.goodput.map_or_else(|| "-".to_owned(), |goodput| format!("{goodput:.2}/s")),
            one.attempts_per_success.map_or_else(
                || "-".to_owned(),
                |attempts| format!("{attempts:.2} {}", bar(attempts / dearest, "refused"))
            )
        );
    }
    out.push_str("</table></div>\n</section>\n");
}

pub(super) fn latency(out: &mut String, report: &Report) {
    if report.setting.virtual_time {
        return;
    }
    out.push_str("<section>\n<h2>Amplification</h2>\n<ul>\n");
    for (figure, text) in words::amplification(report) {
        let _ = writeln!(out, "<li>{} {}.</li>", of(report, &[figure]), prose(&text));
    }
    out.push_str("</ul>\n</section>\n");
    let rows = [
        ("admitted", "admitted", report.admitted_latency),
        ("refused", "refused", report.refused_latency),
        ("generator's lag", "lag", report.generator.lag),
    ];
    let groups = ["50 %", "90 %", "99 %", "99.9 %", "most"];
    let values = |it: &Quantiles| vec![it.p50, it.p90, it.p99, it.p999, it.max];
    let bars: Vec<Series<'_>> = rows
        .iter()
        .filter_map(|(name, class, quantiles)| Some(Series { name, class, values: values(quantiles.as_ref()?) }))
        .collect();
    if bars.is_empty() {
        return;
    }
    let chart = Groups { groups: groups.into(), bars, unit: "ms", size: (1000.0, 280.0) };
    let _ = writeln!(
        out,
        "<section>\n<h2>The cost of saying no</h2>\n<figure>{}<figcaption>Latency of {} in milliseconds, each line ten times the \
         one before, from when a request was meant to be sent.</figcaption></figure>\n<div class=\"scroll\"><table>\n<tr><th></th>{}<th class=\"number\">Requests</th></tr>",
        chart.draw("Latency of admitted and refused requests"),
        if report.latency_of_all { "all requests" } else { "the main traffic" },
        groups.map(|group| format!("<th class=\"number\">{group}</th>")).concat()
    );
    for (name, _, quantiles) in rows.iter().chain(&[("waiting for a connection", "", report.generator.waiting)]) {
        let Some(quantiles) = quantiles else { continue };
        let cells: String =
            values(quantiles).iter().map(|ms| format!("<td class=\"number\">{ms:.3} ms</td>")).collect();
        let _ = writeln!(
            out,
            "<tr><td><b>{name}</b></td>{cells}<td class=\"number\">{}</td></tr>",
            thousands(quantiles.count)
        );
    }
    let _ = writeln!(out, "</table></div>\n<p class=\"soft\">{}.</p>\n</section>", words::pace(report));
}

pub(super) fn notes(out: &mut String, report: &Report) {
    if report.setting.notes.is_empty() {
        return;
    }
    out.push_str("<section>\n<h2>Notes</h2>\n<ul>\n");
    for note in &report.setting.notes {
        let _ = writeln!(out, "<li>{}</li>", prose(note));
    }
    out.push_str("</ul>\n</section>\n");
}

pub(super) fn figures(out: &mut String, report: &Report) {
    out.push_str("<details>\n<summary>All figures</summary>\n<div class=\"scroll\"><table>\n");
    for (name, metric) in &report.metrics {
        let _ = writeln!(
            out,
            "<tr><td><code>{}</code></td><td class=\"number\">{}</td><td class=\"soft\">{}</td></tr>",
            escape(name),
            escape(&metric.to_string()),
            prose(meaning(name))
        );
    }
    out.push_str("</table></div>\n</details>\n");
}
