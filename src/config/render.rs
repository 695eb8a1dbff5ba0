//! Mistakes as a person, an editor or a code scanner reads them: text with a caret, JSON, SARIF 2.1.0.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::diagnostic::{Diagnostic, Diagnostics};
use super::source::{Location, Sources};

/// The text form: file, line, column, the source line, a caret, the hint.
pub fn text(diagnostics: &Diagnostics, sources: &Sources) -> String {
    let mut out = String::new();
    for diagnostic in &diagnostics.0 {
        one(&mut out, diagnostic, sources);
        out.push('\n');
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic, sources: &Sources) {
    let _ = writeln!(out, "{}[{}]: {}", diagnostic.severity.as_str(), diagnostic.code, diagnostic.message);
    let mut gutter = 1;
    if let Some(location) = &diagnostic.location {
        gutter = snippet(out, "-->", location, &diagnostic.label, sources);
    }
    for (location, text) in &diagnostic.related {
        gutter = gutter.max(snippet(out, ":::", location, text, sources));
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{:gutter$} = hint: {hint}", "");
    }
}

fn snippet(out: &mut String, arrow: &str, location: &Location, label: &str, sources: &Sources) -> usize {
    let file = sources.file(location.file);
    let (line, column) = file.position(location.span.start);
    let source = file.line(line).replace('\t', " ");
    let gutter = line.to_string().len();
    let span_text = file.text.get(location.span.clone()).unwrap_or_default();
    let first_line = span_text.lines().next().unwrap_or_default();
    let width =
        first_line.trim_end().chars().count().clamp(1, source.chars().count().saturating_sub(column - 1).max(1));
    let _ = writeln!(out, "{:gutter$}{arrow} {}:{line}:{column}", "", file.name);
    let _ = writeln!(out, "{:gutter$} |", "");
    let _ = writeln!(out, "{line} | {source}");
    let marks = format!("{:gutter$} | {:indent$}{} {label}", "", "", "^".repeat(width), indent = column - 1);
    let _ = writeln!(out, "{}", marks.trim_end());
    gutter
}

fn place(location: &Location, sources: &Sources) -> Value {
    let file = sources.file(location.file);
    let (line, column) = file.position(location.span.start);
    let (end_line, end_column) = file.position(location.span.end);
    json!({ "file": file.name, "line": line, "column": column, "endLine": end_line, "endColumn": end_column })
}

/// The JSON form: one object with a list, for editors and scripts.
pub fn json(diagnostics: &Diagnostics, sources: &Sources) -> String {
    let list: Vec<Value> = diagnostics
        .0
        .iter()
        .map(|one| {
            json!({
                "severity": one.severity.as_str(),
                "code": one.code,
                "message": one.message,
                "location": one.location.as_ref().map(|at| place(at, sources)),
                "label": Some(&one.label).filter(|label| !label.is_empty()),
                "hint": one.hint,
                "related": one.related.iter().map(|(at, text)| json!({ "message": text, "location": place(at, sources) })).collect::<Vec<_>>(),
            })
        })
        .collect();
    let report = json!({ "errors": diagnostics.errors(), "warnings": diagnostics.warnings(), "diagnostics": list });
    format!("{report:#}\n")
}

/// The SARIF 2.1.0 form (OASIS), which code hosts show beside the changed line.
pub fn sarif(diagnostics: &Diagnostics, sources: &Sources) -> String {
    let mut rules: Vec<&str> = diagnostics.0.iter().map(|one| one.code).collect();
    rules.sort_unstable();
    rules.dedup();
    let results: Vec<Value> = diagnostics
        .0
        .iter()
        .map(|one| {
            let mut message = one.message.clone();
            if let Some(hint) = &one.hint {
                let _ = write!(message, "; {hint}");
            }
            let physical = |at: &Location, text: Option<&str>| {
                let file = sources.file(at.file);
                let (line, column) = file.position(at.span.start);
                let (end_line, end_column) = file.position(at.span.end);
                let mut location = json!({ "physicalLocation": {
                    "artifactLocation": { "uri": file.name },
                    "region": { "startLine": line, "startColumn": column, "endLine": end_line, "endColumn": end_column },
                }});
                if let Some(text) = text {
                    location["message"] = json!({ "text": text });
                }
                location
            };
            json!({
                "ruleId": one.code,
                "level": one.severity.as_str(),
                "message": { "text": message },
                "locations": one.location.iter().map(|at| physical(at, None)).collect::<Vec<_>>(),
                "relatedLocations": one.related.iter().map(|(at, text)| physical(at, Some(text))).collect::<Vec<_>>(),
            })
        })
        .collect();
    let report = json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "sluicegate",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": rules.iter().map(|rule| json!({ "id": rule })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{report:#}\n")
}
