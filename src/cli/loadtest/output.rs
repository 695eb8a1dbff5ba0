//! Where the report goes: standard output in one form, files in any.

use std::fmt::Write as _;
use std::path::Path;

use super::{Format, Loadtest, usage};
use crate::cli::exit;
use crate::cli::output::{complain, print, style};
use crate::config::render::Style;
use crate::loadtest::analysis::Report;
use crate::loadtest::metric::METRICS;
use crate::loadtest::report::{csv, html, json, junit, text};

/// Refuses to begin a test whose report cannot be written where it is wanted.
pub(super) fn check(arguments: &Loadtest) -> Result<(), u8> {
    let wanted = &arguments.report;
    for path in [&wanted.json, &wanted.junit, &wanted.csv, &wanted.html].into_iter().flatten() {
        let there = std::fs::metadata(path).ok();
        // A pipe or a device is opened once, when there is something to say.
        if there.as_ref().is_some_and(|there| !there.is_file() && !there.is_dir()) {
            continue;
        }
        // What is there already stays until there is something to take its place.
        if let Err(error) = std::fs::OpenOptions::new().append(true).create(true).open(path) {
            return Err(usage(&format!("the report cannot be written to `{}`: {error}", path.display())));
        }
        if there.is_none() {
            // Nothing is lost when it stays: it is empty.
            let _ = std::fs::remove_file(path);
        }
    }
    Ok(())
}

/// Writes the report.
pub(super) fn write(arguments: &Loadtest, report: &Report) -> Result<(), u8> {
    let wanted = &arguments.report;
    let files = [
        (&wanted.json, Format::Json),
        (&wanted.junit, Format::Junit),
        (&wanted.csv, Format::Csv),
        (&wanted.html, Format::Html),
    ];
    let mut failed = false;
    for (path, format) in files {
        if let Some(path) = path
            && let Err(error) = std::fs::write(path, render(report, format, false))
        {
            complain(&format!("error: the report cannot be written to `{}`: {error}\n", path.display()));
            failed = true;
        }
    }
    print(&render(report, wanted.format, style() == Style::Coloured));
    let written = files.iter().filter_map(|(path, _)| path.as_deref());
    if !failed && wanted.format == Format::Text {
        written.for_each(|path: &Path| complain(&format!("wrote {}\n", path.display())));
    }
    if failed { Err(exit::FAILED) } else { Ok(()) }
}

fn render(report: &Report, format: Format, coloured: bool) -> String {
    match format {
        Format::Text => text::render(report, coloured),
        Format::Json => json::render(report),
        Format::Junit => junit::render(report),
        Format::Csv => csv::render(report),
        Format::Html => html::render(report),
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
