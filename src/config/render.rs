//! Mistakes as a person, an editor or a code scanner reads them: text with a caret, JSON, SARIF 2.1.0.

use std::fmt::Write as _;
use std::path::Path;

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use serde_json::{Value, json};

use super::codes;
use super::diagnostic::{Diagnostic, Diagnostics, Severity};
use super::source::{FileId, Location, Sources};

/// How the text form looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// Characters only.
    #[default]
    Plain,
    /// With the colours of a terminal (ECMA-48 §8.3.117).
    Coloured,
}

impl Style {
    /// Colours on a terminal, unless `NO_COLOR` (no-color.org) or a terminal without colours says otherwise.
    #[expect(clippy::disallowed_methods, reason = "`config` is the one module that reads the environment")]
    pub fn of(terminal: bool) -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        if moves_cursor(terminal) && !refused { Self::Coloured } else { Self::Plain }
    }

    /// A text in a colour: the parameters of `SGR` (`1;31`).
    pub fn paint(self, colour: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Coloured => format!("\u{1b}[{colour}m{text}\u{1b}[0m"),
        }
    }
}

/// Whether a line can be written over with another one: on a terminal that understands more than lines.
#[expect(clippy::disallowed_methods, reason = "`config` is the one module that reads the environment")]
pub fn moves_cursor(terminal: bool) -> bool {
    terminal && std::env::var_os("TERM").is_none_or(|value| value != "dumb")
}

const BOLD: &str = "1";
const BLUE: &str = "1;34";
const CYAN: &str = "1;36";

/// The colour of a severity.
fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
    }
}

/// The text form: file, line, column, the source line, a caret, the hint.
pub fn text(diagnostics: &Diagnostics, sources: &Sources) -> String {
    styled(diagnostics, sources, Style::Plain)
}

/// The text form in a style.
pub fn styled(diagnostics: &Diagnostics, sources: &Sources, style: Style) -> String {
    let mut out = String::new();
    // Two mistakes may be on one line, so that what one of them hides is hidden for all.
    let secrets = diagnostics.0.iter().filter(|one| one.secret).filter_map(|one| one.location.as_ref());
    let secrets: Vec<&Location> = secrets.collect();
    for diagnostic in &diagnostics.0 {
        one(&mut out, diagnostic, sources, &secrets, style);
        out.push('\n');
    }
    out
}

fn one(out: &mut String, diagnostic: &Diagnostic, sources: &Sources, secrets: &[&Location], style: Style) {
    let colour = colour(diagnostic.severity);
    let head = style.paint(colour, &format!("{}[{}]", diagnostic.severity.as_str(), diagnostic.code));
    let _ = writeln!(out, "{head}{}", style.paint(BOLD, &format!(": {}", diagnostic.message)));
    // All numbers of one report stand in one column.
    let lines = diagnostic.location.iter().chain(diagnostic.related.iter().map(|(at, _)| at));
    let gutter = lines.map(|at| sources.file(at.file).position(at.span.start).0.to_string().len()).max().unwrap_or(1);
    if let Some(location) = &diagnostic.location {
        snippet(out, &Marks { arrow: "-->", colour, gutter, style, secrets }, location, &diagnostic.label, sources);
    }
    for (location, text) in &diagnostic.related {
        snippet(out, &Marks { arrow: ":::", colour: BLUE, gutter, style, secrets }, location, text, sources);
    }
    if let Some(hint) = &diagnostic.hint {
        let _ = writeln!(out, "{:gutter$} {} {}: {hint}", "", style.paint(BLUE, "="), style.paint(CYAN, "hint"));
    }
}

/// How a snippet is drawn.
struct Marks<'a> {
    arrow: &'static str,
    colour: &'static str,
    gutter: usize,
    style: Style,
    /// Where secrets may stand.
    secrets: &'a [&'a Location],
}

/// A line of a file, with a star for every character of a secret. The quotes around it stay.
fn without_secrets(file: FileId, line: usize, secrets: &[&Location], sources: &Sources) -> String {
    let source = sources.file(file);
    let (text, start) = (source.line(line), source.start(line));
    let hidden = |at: usize| secrets.iter().any(|one| one.file == file && one.span.contains(&at));
    let letter = |(at, letter): (usize, char)| {
        if hidden(start + at) && !matches!(letter, '"' | '\'') { '*' } else { letter }
    };
    text.char_indices().map(letter).collect()
}

/// How much of a line is shown: a minified file has only one, which may be megabytes long.
const LONGEST_LINE: usize = 160;
/// How much of what stands before a mistake is kept of a line that is longer.
const BEFORE: usize = 60;

/// The part of a line around its column `column`, counted from 1, and the column in it.
fn window(line: &str, column: usize) -> (String, usize) {
    let skipped = match line.chars().nth(LONGEST_LINE) {
        None => 0,
        Some(_) => column.saturating_sub(BEFORE + 1),
    };
    let mut rest = line.chars().skip(skipped);
    let mut part: String = if skipped > 0 { "…".to_owned() } else { String::new() };
    part.extend(rest.by_ref().take(LONGEST_LINE));
    if rest.next().is_some() {
        part.push('…');
    }
    (part, if skipped > 0 { column - skipped + 1 } else { column })
}

fn snippet(out: &mut String, marks: &Marks<'_>, location: &Location, label: &str, sources: &Sources) {
    let Marks { arrow, colour, gutter, style, secrets } = *marks;
    let file = sources.file(location.file);
    let (line, column) = file.position(location.span.start);
    let source = without_secrets(location.file, line, secrets, sources).replace('\t', " ");
    let (source, indented) = window(&source, column);
    let span_text = file.text.get(location.span.clone()).unwrap_or_default();
    let first_line = span_text.lines().next().unwrap_or_default();
    let width =
        first_line.trim_end().chars().count().clamp(1, source.chars().count().saturating_sub(indented - 1).max(1));
    let bar = style.paint(BLUE, "|");
    let _ = writeln!(out, "{:gutter$}{} {}:{line}:{column}", "", style.paint(BLUE, arrow), file.name);
    let _ = writeln!(out, "{:gutter$} {bar}", "");
    let number = style.paint(BLUE, &format!("{line:>gutter$}"));
    let _ = writeln!(out, "{}", format!("{number} {bar} {source}").trim_end());
    let carets = style.paint(colour, format!("{} {label}", "^".repeat(width)).trim_end());
    let _ = writeln!(out, "{:gutter$} {bar} {:indent$}{carets}", "", "", indent = indented - 1);
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

/// A relative or absolute reference (RFC 3986 §4.1) to a file of the folder.
fn uri(folder: &Path, name: &str) -> String {
    const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'#').add(b'%').add(b'<').add(b'>').add(b'?').add(b'`');
    let path = folder.join(name);
    let path = path.strip_prefix(".").unwrap_or(&path);
    utf8_percent_encode(&path.to_string_lossy(), UNSAFE).to_string()
}

/// The SARIF 2.1.0 form (OASIS), which code hosts show beside the changed line.
/// Files are named by their path from where the command ran, which in a pipeline is the top of the repository.
pub fn sarif(diagnostics: &Diagnostics, sources: &Sources, folder: &Path) -> String {
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
                    "artifactLocation": { "uri": uri(folder, &file.name) },
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
                "rules": rules.iter().map(|rule| json!({ "id": rule, "shortDescription": { "text": codes::meaning(rule) } })).collect::<Vec<_>>(),
            }},
            "columnKind": "unicodeCodePoints",
            "results": results,
        }],
    });
    format!("{report:#}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minified file is one line: what is shown of it is the part around the mistake.
    #[test]
    fn of_a_long_line_only_a_part_is_shown() {
        let text = format!("{{{}\"here\":1{}}}", "\"é\":0,".repeat(20_000), ",\"z\":0".repeat(20_000));
        let mut sources = Sources::default();
        let file = sources.add("long.json", text.clone());
        for (name, find, column) in
            [("its begin", "\"é\"", 2), ("its middle", "\"here\"", 120_002), ("its end", "}", text.chars().count())]
        {
            let at = text.find(find).unwrap();
            let mut diagnostics = Diagnostics::default();
            diagnostics.push(Diagnostic::error("syntax", file, at..at + find.len(), "a mistake"));
            let shown = super::text(&diagnostics, &sources);
            let lines: Vec<&str> = shown.lines().collect();
            assert_eq!(lines[1], format!(" --> long.json:1:{column}"), "{name}");
            assert!(lines[3].chars().count() < LONGEST_LINE + 10, "{name}: {}", lines[3]);
            let caret = lines[4].chars().position(|letter| letter == '^').unwrap();
            let marked: String = lines[3].chars().skip(caret).take(find.chars().count()).collect();
            assert_eq!(marked, find, "{name}");
        }
    }
}
