//! The report for people.

use std::fmt::Write as _;

use super::thousands;
use crate::loadtest::analysis::{Conformance, Outcome, Quantiles, Report};

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
        if holds { self.paint("32", "ok  ") } else { self.paint("1;31", "FAIL") }
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
    let statuses: Vec<String> = totals
        .statuses
        .iter()
        .filter(|(status, _)| **status != 0)
        .map(|(status, count)| format!("{status} {}×", thousands(*count)))
        .collect();
    let _ = writeln!(out, "  statuses {}", if statuses.is_empty() { "none".to_owned() } else { statuses.join(", ") });
    conformance(&mut out, report, marks);
    honesty(&mut out, report, marks);
    if !report.findings.is_empty() {
        let _ = writeln!(out, "\n{}", marks.title("Probes"));
        for finding in &report.findings {
            let mark = match finding.outcome {
                Outcome::Right => marks.verdict(true),
                Outcome::Wrong => marks.verdict(false),
                Outcome::Seen => "seen".to_owned(),
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

fn conformance(out: &mut String, report: &Report, marks: Marks) {
    let _ = writeln!(out, "\n{}", marks.title("Conformance"));
    if report.conformance.is_empty() {
        let _ = writeln!(out, "  nothing is expected of a limit, so nothing was judged");
    }
    for limit in &report.conformance {
        let Conformance { keys, worst, .. } = limit;
        let name = if limit.limit == limit.terms { String::new() } else { format!("{}: ", limit.limit) };
        let _ =
            writeln!(out, "  {name}{} ({} key{})", limit.terms, thousands(*keys), if *keys == 1 { "" } else { "s" });
        match worst {
            None => {
                let _ = writeln!(out, "    {} no excess can be proven", marks.verdict(true));
            }
            Some(worst) => {
                let key = match worst.key {
                    Some(u32::MAX) => " without a key".to_owned(),
                    Some(key) => format!(" of key {key}"),
                    None => String::new(),
                };
                let _ = writeln!(
                    out,
                    "    {} at least {} too many ({:.1} %): {} admitted{key} from {:.3} s to {:.3} s, {} allowed; {} of {} keys",
                    marks.verdict(false),
                    thousands(worst.requests),
                    worst.percent,
                    thousands(worst.admitted),
                    worst.from,
                    worst.to,
                    thousands(worst.allowed),
                    thousands(limit.keys_in_excess),
                    thousands(*keys),
                );
            }
        }
        match limit.false_refusals {
            Some(0) => {
                let _ = writeln!(
                    out,
                    "    {} no refusal is proven wrong, of {} decisions",
                    marks.verdict(true),
                    thousands(limit.judged)
                );
            }
            Some(wrong) => {
                let share = 100.0 * wrong as f64 / limit.judged.max(1) as f64;
                let _ = writeln!(
                    out,
                    "    {} {} wrong refusals ({share:.3} %) of {} decisions",
                    marks.verdict(share <= 0.1),
                    thousands(wrong),
                    thousands(limit.judged)
                );
            }
            None => {
                let _ = writeln!(out, "    there are other limits on the way, so refusals are not judged");
            }
        }
        if let Some(ratio) = limit.window_ratio {
            let _ = writeln!(out, "         busiest period {ratio:.2} × the limit");
        }
    }
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 { "-".to_owned() } else { format!("{:.2} %", 100.0 * part as f64 / whole as f64) }
}

fn honesty(out: &mut String, report: &Report, marks: Marks) {
    let honesty = &report.honesty;
    if honesty.refusals == 0 {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Honesty"));
    if honesty.waited > 0 {
        let _ = write!(
            out,
            "  {} Retry-After: {} of {} clients that waited exactly that long were admitted ({})",
            marks.verdict(honesty.admitted == honesty.waited),
            honesty.admitted,
            honesty.waited,
            share(honesty.admitted, honesty.waited)
        );
        if let Some(early) = honesty.early_by {
            let _ = write!(out, "; the others were told to wait up to {early} s more");
        }
        out.push('\n');
    }
    if let Some(late) = honesty.late_by {
        let _ = writeln!(
            out,
            "  {} the longest wait was {late:.2} s too long (up to 1 s is rounding)",
            marks.verdict(late <= 1.5)
        );
    }
    let _ = writeln!(
        out,
        "  {} of {} refusals, {} had no Retry-After and {} said 0",
        marks.verdict(honesty.missing + honesty.zeros == 0),
        thousands(honesty.refusals),
        thousands(honesty.missing),
        thousands(honesty.zeros)
    );
    if honesty.remaining_judged > 0 {
        let _ = writeln!(
            out,
            "  {} {} of {} answers said truly how much is left",
            marks.verdict(honesty.remaining_true == honesty.remaining_judged),
            thousands(honesty.remaining_true),
            thousands(honesty.remaining_judged)
        );
    }
    if honesty.reset_waited > 0 {
        let _ = writeln!(
            out,
            "  {} reset: {} of {} clients that waited exactly that long were admitted",
            marks.verdict(honesty.reset_admitted == honesty.reset_waited),
            honesty.reset_admitted,
            honesty.reset_waited
        );
    }
}

fn fairness(out: &mut String, report: &Report, marks: Marks) {
    let fairness = &report.fairness;
    if fairness.jain.is_none() && fairness.victims == 0 {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Fairness"));
    if let Some(jain) = fairness.jain {
        let _ = writeln!(out, "       Jain's index {jain:.4} over {} keys (1 is even)", thousands(fairness.keys));
    }
    if fairness.victims > 0 {
        let neighbour =
            fairness.neighbour_admitted.map_or(String::new(), |it| format!("; the noisy one had {it:.0} % admitted"));
        let _ = writeln!(
            out,
            "  {} beside a noisy neighbour, {} of {} requests of others were refused{neighbour}",
            marks.verdict(fairness.victims_refused == 0),
            thousands(fairness.victims_refused),
            thousands(fairness.victims),
        );
    }
}

fn strategies(out: &mut String, report: &Report, marks: Marks) {
    if report.strategies.is_empty() {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Client strategies"));
    let _ = writeln!(
        out,
        "  {:20} {:>9} {:>10} {:>11} {:>11} {:>10} {:>16}",
        "", "succeeded", "median", "99 %", "all done", "goodput", "requests/success"
    );
    for one in &report.strategies {
        let seconds = |ms: Option<f64>| ms.map_or("-".to_owned(), |ms| format!("{:.1} s", ms / 1e3));
        let _ = writeln!(
            out,
            "  {:20} {:>9} {:>10} {:>11} {:>11} {:>10} {:>16}",
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
            one.attempts_per_success.map_or("-".to_owned(), |attempts| format!("{attempts:.2}")),
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
    if let Some(upstream) = report.upstream {
        let _ = writeln!(out, "\n{}", marks.title("Amplification"));
        let times = report.amplification.unwrap_or(0.0);
        let _ = writeln!(
            out,
            "       {} requests to the backend, {times:.3} for each one admitted",
            thousands(upstream.requests)
        );
        let _ = writeln!(
            out,
            "  {} {} changing requests came more than once",
            marks.verdict(upstream.duplicates == 0),
            thousands(upstream.duplicates)
        );
    }
    if report.setting.virtual_time {
        return;
    }
    let _ = writeln!(out, "\n{}", marks.title("Latency in ms, from when a request was meant to be sent"));
    let _ = writeln!(out, "  {:16} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "50 %", "90 %", "99 %", "99.9 %", "most");
    quantiles(out, "admitted", report.admitted_latency);
    quantiles(out, "refused", report.refused_latency);
    quantiles(out, "generator's lag", report.generator.lag);
    quantiles(out, "for a connection", report.generator.waiting);
    let busy = report
        .generator
        .busy
        .map_or(String::new(), |busy| format!(", the generator's thread {:.0} % at work", busy * 100.0));
    let _ = writeln!(out, "  {} requests in the busiest second{busy}", thousands(report.generator.peak));
    if let Some(bottleneck) = &report.generator.bottleneck {
        let _ = writeln!(out, "  {} {bottleneck}", marks.paint("1;33", "bottleneck:"));
    }
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
