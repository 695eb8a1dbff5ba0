//! The report for people.

use std::fmt::Write as _;

use super::words::{self, Mark};
use super::{share, thousands};
use crate::loadtest::analysis::{Quantiles, Report};

/// Marks and colours, or marks alone.
#[derive(Clone, Copy, Debug)]
struct Marks {
    coloured: bool,
}

impl Marks {
    fn paint(self, code: &str, text: &str) -> String {
        if self.coloured { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_owned() }
    }

    fn title(self, text: &str) -> String {
        self.paint("1", text)
    }

    fn verdict(self, holds: bool) -> String {
        self.mark(if holds { Mark::Holds } else { Mark::Fails })
    }

    fn mark(self, mark: Mark) -> String {
        match mark {
            Mark::Holds => self.paint("32", "ok  "),
            Mark::Fails => self.paint("1;31", "FAIL"),
            Mark::Told => "    ".to_owned(),
        }
    }

    /// What is said of what is asserted about these figures.
    fn of(self, report: &Report, figures: &[&str]) -> String {
        self.mark(Mark::of(report, figures))
    }
}

/// The report as text, with colours or without.
pub fn render(report: &Report, coloured: bool) -> String {
    let marks = Marks { coloured };
    let mut out = String::new();
    let setting = &report.setting;
    let time = if setting.virtual_time { "virtual time" } else { "live" };
    let _ = writeln!(
        out,
        "{} {} ({time}, {:.1} s, seed {})",
        marks.title("Load test of"),
        setting.target,
        setting.seconds,
        setting.seed
    );
    if let Some(policy) = &setting.policy {
        let _ = writeln!(out, "  policy   {policy}");
    }
    let _ = writeln!(out, "  repeat   {}", setting.repeat);
    if setting.interrupted {
        let _ = writeln!(out, "  {}", marks.paint("33", "interrupted: what follows is about what was sent until then"));
    }
    let totals = &report.totals;
    let _ = writeln!(
        out,
        "  requests {}: {} admitted, {} refused, {} of unknown fate{}",
        thousands(totals.requests),
        thousands(totals.admitted),
        thousands(totals.refused),
        thousands(totals.unknown),
        if totals.errors > 0 { format!(" ({} without an answer)", thousands(totals.errors)) } else { String::new() }
    );
    let _ = writeln!(out, "  statuses {}", words::statuses(totals));
    for broken in &setting.broken {
        let _ = writeln!(out, "  {} {broken}", marks.paint("1;31", "broken:"));
    }
    bottleneck(&mut out, report, marks);
    conformance(&mut out, report, marks);
    honesty(&mut out, report, marks);
    if !report.findings.is_empty() {
        let _ = writeln!(out, "\n{}", marks.title("Probes"));
        for finding in &report.findings {
            let mark = match Mark::of_finding(report, finding) {
                Mark::Told => "seen".to_owned(),
                mark => marks.mark(mark),
            };
            let _ = writeln!(out, "  {mark} {:16} {}", finding.probe, finding.text);
        }
    }
    fairness(&mut out, report, marks);
    strategies(&mut out, report, marks);
    cost(&mut out, report, marks);
    if !setting.notes.is_empty() {
        let _ = writeln!(out, "\n{}", marks.title("Notes"));
        setting.notes.iter().for_each(|note| {
            let _ = writeln!(out, "  {note}");
        });
    }
    verdicts(&mut out, report, marks);
    out
}

/// What makes the figures less than they seem.
fn bottleneck(out: &mut String, report: &Report, marks: Marks) {
    if let Some(bottleneck) = &report.generator.bottleneck {
        let _ = writeln!(out, "  {} {bottleneck}", marks.paint("1;33", "bottleneck:"));
    }
}

fn conformance(out: &mut String, report: &Report, marks: Marks) {
    let _ = writeln!(out, "\n{}", marks.title("Conformance"));
    if report.conformance.is_empty() {
        let _ = writeln!(out, "  nothing is expected of a limit, so nothing was judged");
    }
    for limit in &report.conformance {
        let keys = format!("{} key{}", thousands(limit.keys), if limit.keys == 1 { "" } else { "s" });
        let name = if limit.limit == limit.terms { String::new() } else { format!("{}: ", limit.limit) };
        let _ = writeln!(out, "  {name}{} ({keys})", limit.terms);
        let _ = match &limit.worst {
            None => writeln!(out, "    {} no excess can be proven", marks.of(report, &["excess", "excess.requests"])),
            // One limit's excess may be within what is asserted, and another's not.
            Some(worst) => writeln!(out, "    {} {}", marks.verdict(false), words::excess(worst, limit)),
        };
        let mark = marks.of(report, &["false-rejections", "false-rejections.requests"]);
        let judged = thousands(limit.judged);
        let _ = match limit.false_refusals {
            Some(0) => writeln!(out, "    {mark} no refusal is proven wrong, of {judged} decisions"),
            Some(wrong) => writeln!(
                out,
                "    {mark} {} wrong refusals ({}) of {judged} decisions",
                thousands(wrong),
                share(wrong, limit.judged)
            ),
            None => writeln!(out, "         there are other limits on the way, so refusals are not judged"),
        };
        if let Some(ratio) = limit.window_ratio {
            let _ = writeln!(out, "    {} busiest period {ratio:.2} × the limit", marks.of(report, &["window"]));
        }
    }
}

fn honesty(out: &mut String, report: &Report, marks: Marks) {
    let honesty = &report.honesty;
    if honesty.refusals + honesty.told == 0 {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Honesty"));
    let mut line = |figures: &[&str], text: String| {
        let _ = writeln!(out, "  {} {text}", marks.of(report, figures));
    };
    if honesty.waited > 0 {
        let share = share(honesty.admitted, honesty.waited);
        line(&["retry-after.honest"], format!("Retry-After: {} ({share})", words::waited(honesty)));
    }
    if let Some(late) = honesty.late_by {
        let text = format!("Retry-After: the longest wait was {late:.2} s too long (up to 1 s is rounding)");
        line(&["retry-after.late"], text);
    }
    if honesty.refusals > 0 {
        let text = format!(
            "Retry-After: {} of {} refusals had none, and {} said 0",
            thousands(honesty.missing),
            thousands(honesty.refusals),
            thousands(honesty.zeros)
        );
        line(&["retry-after.missing", "retry-after.zero"], text);
    }
    if honesty.told > 0 {
        let (untold, told) = (thousands(honesty.untold), thousands(honesty.told));
        line(&["ratelimit.missing"], format!("RateLimit: {untold} of {told} answers had none"));
    }
    if honesty.remaining_judged > 0 {
        let (right, all) = (thousands(honesty.remaining_true), thousands(honesty.remaining_judged));
        line(&["ratelimit.remaining"], format!("remaining: {right} of {all} answers said truly how much is left"));
    }
    if honesty.reset_waited > 0 {
        line(&["ratelimit.reset", "ratelimit.reset-late"], format!("reset: {}", words::reset(honesty)));
    }
}

fn fairness(out: &mut String, report: &Report, marks: Marks) {
    let fairness = &report.fairness;
    if fairness.jain.is_none() && fairness.victims == 0 {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Fairness"));
    if let Some(jain) = fairness.jain {
        let (mark, keys) = (marks.of(report, &["fairness.jain"]), thousands(fairness.keys));
        let _ = writeln!(out, "  {mark} Jain's index {jain:.4} over {keys} keys (1 is even)");
    }
    if fairness.victims > 0 {
        let _ = writeln!(out, "  {} {}", marks.of(report, &["victims.refused"]), words::victims(fairness));
    }
}

fn strategies(out: &mut String, report: &Report, marks: Marks) {
    if report.strategies.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Client strategies"));
    let _ = writeln!(
        out,
        "  {:19} {:>9} {:>7} {:>7} {:>10} {:>8} {:>11}",
        "", "succeeded", "median", "99 %", "all done", "goodput", "per success"
    );
    for one in &report.strategies {
        let seconds = words::seconds;
        let _ = writeln!(
            out,
            "  {:19} {:>9} {:>7} {:>7} {:>10} {:>8} {:>11}",
            one.strategy,
            format!("{}/{}", one.succeeded, one.calls),
            seconds(one.took.map(|took| took.p50)),
            seconds(one.took.map(|took| took.p99)),
            if one.unfinished > 0 {
                format!("{} waiting", one.unfinished)
            } else {
                seconds(one.completed.map(|it| it * 1e3))
            },
            one.goodput.map_or("-".to_owned(), |goodput| format!("{goodput:.2}/s")),
            one.attempts_per_success.map_or("-".to_owned(), |attempts| format!("{attempts:.2} req.")),
        );
    }
}

fn quantiles(out: &mut String, name: &str, quantiles: Option<Quantiles>) {
    if let Some(it) = quantiles {
        let _ = writeln!(
            out,
            "  {name:16} {:>9.3} {:>9.3} {:>9.3} {:>9.3} {:>9.3}  ({})",
            it.p50,
            it.p90,
            it.p99,
            it.p999,
            it.max,
            thousands(it.count)
        );
    }
}

fn cost(out: &mut String, report: &Report, marks: Marks) {
    if report.setting.virtual_time {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Amplification"));
    for (figure, text) in words::amplification(report) {
        let _ = writeln!(out, "  {} {text}", marks.of(report, &[figure]));
    }
    let whose = if report.latency_of_all { "all requests" } else { "the main traffic" };
    let title = format!("Latency of {whose} in ms, from when a request was meant to be sent");
    let _ = writeln!(out, "\n{}", marks.title(&title));
    let _ = writeln!(out, "  {:16} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "50 %", "90 %", "99 %", "99.9 %", "most");
    quantiles(out, "admitted", report.admitted_latency);
    quantiles(out, "refused", report.refused_latency);
    quantiles(out, "generator's lag", report.generator.lag);
    quantiles(out, "for a connection", report.generator.waiting);
    let _ = writeln!(out, "  {}", words::pace(report));
    bottleneck(out, report, marks);
}

fn verdicts(out: &mut String, report: &Report, marks: Marks) {
    if report.verdicts.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Verdict"));
    for verdict in &report.verdicts {
        let _ = writeln!(out, "  {} {:32} {}", marks.verdict(verdict.holds), verdict.assertion, verdict.found);
    }
    let failed = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
    let summary = match failed {
        0 => marks.paint("1;32", &format!("all {} hold", report.verdicts.len())),
        failed => marks.paint("1;31", &format!("{failed} of {} do not hold", report.verdicts.len())),
    };
    let _ = writeln!(out, "  {summary}");
}
