//! The forms of the report say the same, and nothing that a target sends becomes markup.

use super::broken::{expected, order, report};
use super::flawed::{Flaw, Flawed};
use crate::loadtest::analysis::Report;
use crate::loadtest::probes::plan;
use crate::loadtest::report::{csv, html, json, junit, text};

fn broken() -> Report {
    let plan = plan(&order(expected(&["20/10s sliding"]), 7));
    let mut report = report(&plan, &mut Flawed::new(Flaw::ReloadRefills, &[(20, 10_000_000_000)]), 0);
    report.setting.target = "<script>alert(1)</script>".to_owned();
    report.setting.notes.push("a & b".to_owned());
    report
}

#[test]
fn the_page_is_complete_and_holds_nothing_from_outside() {
    let page = html::render(&broken());
    assert!(!page.contains("<script"), "no script, and none that a target names");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("a &amp; b"));
    for outside in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!page.contains(outside), "{outside}");
    }
    for part in [
        "What does not hold",
        "Conformance",
        "Admitted against configured",
        "Overload ladder",
        "Probes",
        "Honesty",
        "Client strategies",
        "All figures",
    ] {
        assert!(page.contains(part), "{part}");
    }
    for tag in ["section", "table", "figure", "svg", "details", "main", "html", "g", "ul"] {
        let (opened, closed) = (
            page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
            page.matches(&format!("</{tag}>")).count(),
        );
        assert_eq!(opened, closed, "{tag}");
    }
}

#[test]
fn the_forms_agree() {
    let report = broken();
    let failures = report.verdicts.iter().filter(|verdict| !verdict.holds).count();
    assert!(failures > 0);
    let xml = junit::render(&report);
    assert_eq!(xml.matches("<failure ").count(), failures);
    assert_eq!(xml.matches("<testcase ").count(), report.verdicts.len());
    assert!(xml.contains("name=\"load test of &lt;script&gt;") && !xml.contains('\u{1b}'));
    let plain = text::render(&report, false);
    assert!(plain.contains(&format!("{failures} of {} do not hold", report.verdicts.len())), "{plain}");
    let value: serde_json::Value = serde_json::from_str(&json::render(&report)).unwrap();
    assert_eq!(value["verdicts"].as_array().unwrap().len(), report.verdicts.len());
    assert_eq!(value["setting"]["seed"], 0);
    let table = csv::render(&report);
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split(',').collect()).collect();
    assert!(rows.iter().all(|row| row.len() == rows[0].len()));
    let total: u64 = rows.iter().filter(|row| row[0] == "total").map(|row| row[4].parse::<u64>().unwrap()).sum();
    let keys: u64 = rows.iter().filter(|row| row[0] == "key").map(|row| row[4].parse::<u64>().unwrap()).sum();
    assert_eq!(total, keys, "ten keys have all of the traffic");
    assert_eq!(total, report.timeline.total.iter().map(|point| point.offered).sum::<u64>());
}
