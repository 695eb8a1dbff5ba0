//! Where the report goes: standard output in one form, files in any.

use std::fmt::Write as _;
use std::path::Path;

use std::io::IsTerminal as _;

use super::{Format, Loadtest};
use crate::cli::exit;
use crate::cli::output::{complain, print};
use crate::loadtest::analysis::Report;
use crate::loadtest::metric::METRICS;
use crate::loadtest::report::{json, text};

/// Writes the report.
pub(super) fn write(arguments: &Loadtest, report: &Report) -> Result<(), u8> {
    let wanted = &arguments.report;
    let files = [(&wanted.json, Format::Json)];
    let mut failed = false;
    for (path, format) in files {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, render(report, format, false))
        {
            complain(&format!("error: the report cannot be written to `{}`: {error}\n", path.display()));
            failed = true;
        }
    }
    print(&render(report, wanted.format, std::io::stdout().is_terminal()));
    let written = files.iter().filter_map(|(path, _)| path.as_deref());
    if !failed && wanted.format == Format::Text {
        written.for_each(|path: &Path| complain(&format!("wrote {}\n", path.display())));
    }
    if failed { Err(exit::FAILED) } else { Ok(()) }
}

fn render(report: &Report, format: Format, coloured: bool) -> String {
    match format {
        Format::Text => text::render(report, coloured),
        _ => json::render(report),
    }
}

/// The figures that can be asserted on.
pub(super) fn figures() -> String {
    let mut out = String::new();
    let width = METRICS.iter().map(|(name, _, _)| name.len()).max().unwrap_or(0);
    for (name, unit, meaning) in METRICS {
        let _ = writeln!(out, "{name:width$}  {:12}  {meaning}", format!("{unit:?}").to_lowercase());
    }
    out
}
