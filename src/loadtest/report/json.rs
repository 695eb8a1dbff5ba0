//! The report for programs.

use crate::loadtest::analysis::Report;

/// Everything, as one object.
pub fn render(report: &Report) -> String {
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}
