//! The verdicts as JUnit XML, which CI systems show.

use std::fmt::Write as _;

use super::{markup, text};
use crate::loadtest::analysis::Report;

/// One test case for each assertion; the report for people is the suite's output.
pub fn render(report: &Report) -> String {
    let setting = &report.setting;
    let failures = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
    let (tests, seconds) = (report.verdicts.len(), setting.seconds);
    let name = format!("load test of {}", setting.target);
    let name = markup::escape(&name);
    let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let _ = writeln!(
        out,
        "<testsuites tests=\"{tests}\" failures=\"{failures}\" time=\"{seconds:.3}\">\n  <testsuite name=\"{name}\" \
         tests=\"{tests}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\" time=\"{seconds:.3}\">\n    <properties>"
    );
    let policy = setting.policy.as_deref().unwrap_or_default();
    let seed = setting.seed.to_string();
    for (name, value) in [("seed", seed.as_str()), ("policy", policy), ("repeat", setting.repeat.as_str())] {
        let _ = writeln!(out, "      <property name=\"{name}\" value=\"{}\"/>", markup::escape(value));
    }
    out.push_str("    </properties>\n");
    for verdict in &report.verdicts {
        let name = markup::escape(&verdict.assertion);
        let found = markup::escape(&verdict.found);
        let _ = write!(out, "    <testcase classname=\"sluicegate.loadtest\" name=\"{name}\"");
        if verdict.holds {
            out.push_str("/>\n");
        } else {
            let _ = writeln!(
                out,
                ">\n      <failure type=\"assertion\" message=\"{name} does not hold: {found}\"/>\n    </testcase>"
            );
        }
    }
    let _ = writeln!(
        out,
        "    <system-out>{}</system-out>\n  </testsuite>\n</testsuites>",
        markup::escape(&text::render(report, false))
    );
    out
}
