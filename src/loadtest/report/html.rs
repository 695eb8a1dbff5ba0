//! The report as one page with charts: no script, no other file, nothing that is fetched.

mod chart;
mod sections;

use std::fmt::Write as _;

use super::{markup::escape, thousands, words};
use crate::loadtest::analysis::Report;

/// How the page looks; light and dark, as the reader's system is.
const STYLE: &str = include_str!("html/style.css");

/// The page.
pub fn render(report: &Report) -> String {
    let mut out = String::with_capacity(64 * 1024);
    let setting = &report.setting;
    let title = format!("Load test of {}", setting.target);
    let _ = write!(
        out,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\">\n<meta name=\"generator\" content=\"sluicegate {}\">\n\
         <title>{}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        env!("CARGO_PKG_VERSION"),
        escape(&title)
    );
    head(&mut out, report, &title);
    for section in [
        sections::failures,
        sections::conformance,
        sections::over_time,
        sections::ladder,
        sections::keys,
        sections::probes,
        sections::honesty,
        sections::strategies,
        sections::latency,
        sections::notes,
        sections::successes,
        sections::figures,
    ] {
        section(&mut out, report);
    }
    out.push_str("</main>\n</body>\n</html>\n");
    out
}

fn head(out: &mut String, report: &Report, title: &str) {
    let setting = &report.setting;
    let failed = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
    let (class, word) = match (failed, report.verdicts.len()) {
        (_, 0) => ("seen", "nothing was asserted".to_owned()),
        (0, all) => ("ok", format!("all {all} assertions hold")),
        (failed, all) => ("bad", format!("{failed} of {all} assertions do not hold")),
    };
    let _ = write!(out, "<header>\n<h1>{}</h1>\n<p class=\"badge {class}\">{word}</p>\n", escape(title));
    if setting.interrupted {
        out.push_str("<p class=\"warning\">It was interrupted: this is about what was sent until then.</p>\n");
    }
    for broken in &setting.broken {
        let _ = writeln!(out, "<p class=\"warning\">Broken: {}.</p>", escape(broken));
    }
    if let Some(bottleneck) = &report.generator.bottleneck {
        let _ = writeln!(out, "<p class=\"warning\">Bottleneck: {}.</p>", escape(bottleneck));
    }
    let totals = &report.totals;
    let share = |part: u64| format!("{:.1} %", 100.0 * part as f64 / totals.requests.max(1) as f64);
    out.push_str("<div class=\"cards\">\n");
    for (class, number, name) in [
        (
            "",
            thousands(totals.requests),
            format!(
                "requests in {:.1} s{}",
                setting.seconds,
                if setting.virtual_time { " of virtual time" } else { "" }
            ),
        ),
        ("admitted", thousands(totals.admitted), format!("admitted, {}", share(totals.admitted))),
        ("refused", thousands(totals.refused), format!("refused, {}", share(totals.refused))),
        (
            "unknown",
            thousands(totals.unknown),
            format!("of unknown fate, {} without an answer", thousands(totals.errors)),
        ),
    ] {
        let _ = writeln!(out, "<div class=\"card\"><b class=\"{class}\">{number}</b><span>{name}</span></div>");
    }
    out.push_str("</div>\n<dl>\n");
    let mut row = |name: &str, value: &str, code: bool| {
        let value = escape(value);
        let value = if code { format!("<code>{value}</code>") } else { value.into_owned() };
        let _ = writeln!(out, "<dt>{name}</dt><dd>{value}</dd>");
    };
    if let Some(policy) = &setting.policy {
        row("Policy", policy, false);
    }
    row("Seed", &setting.seed.to_string(), false);
    row("Again", &setting.repeat, true);
    row("Statuses", &words::statuses(totals), false);
    out.push_str("</dl>\n</header>\n");
}
