//! What became of a package: what is exact, approximated and unsupported.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::template::Grade;

/// One thing that was carried over, or not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// How well.
    pub grade: Grade,
    /// What: `policy 3, setheader "Add key"`.
    pub subject: String,
    /// What differs.
    pub note: String,
}

/// What became of one package.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// The API.
    pub api: String,
    /// Where it came from.
    pub source: String,
    /// How many operations it has.
    pub operations: usize,
    /// What was changed by hand and by the maker in different ways.
    pub conflicts: Vec<String>,
    /// What is left to be done, for people.
    pub to_do: Option<String>,
    /// What was decided because the platform does not say what it does.
    pub decisions: Vec<&'static str>,
    /// What was carried over.
    pub entries: Vec<Entry>,
    /// What was wrong with the files: `file:line:column: text`.
    pub warnings: Vec<String>,
}

impl Report {
    /// Adds an entry.
    pub fn add(&mut self, grade: Grade, subject: impl Into<String>, note: impl Into<String>) {
        self.entries.push(Entry { grade, subject: subject.into(), note: note.into() });
    }

    /// Adds a decision, once.
    pub fn decide(&mut self, decision: &'static str) {
        if !self.decisions.contains(&decision) {
            self.decisions.push(decision);
        }
    }

    /// How many entries have a grade.
    pub fn count(&self, grade: Grade) -> usize {
        self.entries.iter().filter(|entry| entry.grade == grade).count()
    }

    /// `planner: 25 operations; 30 exact, 9 approximated, 0 unsupported`.
    pub fn summary(&self) -> String {
        let [exact, near, not] = [Grade::Exact, Grade::Approximated, Grade::Unsupported].map(|grade| self.count(grade));
        let operations = if self.operations == 1 { "operation" } else { "operations" };
        format!("{}: {} {operations}; {exact} exact, {near} approximated, {not} unsupported", self.api, self.operations)
    }

    /// The summary with what else the report has, where only one line of it is shown.
    pub fn line(&self) -> String {
        let decisions = match self.decisions.len() {
            0 => String::new(),
            1 => "; 1 decision".to_owned(),
            count => format!("; {count} decisions"),
        };
        let to_do = self.to_do.as_ref().map(|to_do| format!("; to do: {to_do}")).unwrap_or_default();
        format!("{}{decisions}{to_do}", self.summary())
    }

    /// The report for people.
    pub fn text(&self) -> String {
        let mut out = format!("# {}\n\nFrom `{}`.\n", self.summary(), self.source);
        if let Some(to_do) = &self.to_do {
            let _ = writeln!(out, "\nTo do: {to_do}.");
        }
        if !self.conflicts.is_empty() {
            out.push_str("\n## Conflicts\n\n");
            for conflict in &self.conflicts {
                let _ = writeln!(out, "* {conflict}");
            }
        }
        for (grade, title) in
            [(Grade::Unsupported, "Unsupported"), (Grade::Approximated, "Approximated"), (Grade::Exact, "Exact")]
        {
            let mut entries = self.entries.iter().filter(|entry| entry.grade == grade).peekable();
            if entries.peek().is_some() {
                let _ = writeln!(out, "\n## {title}\n");
            }
            for entry in entries {
                let colon = if entry.note.is_empty() { "" } else { ": " };
                let _ = writeln!(out, "* {}{colon}{}", entry.subject, entry.note);
            }
        }
        if !self.decisions.is_empty() {
            out.push_str("\n## Where the platform does not say what it does\n\n");
            for decision in &self.decisions {
                let _ = writeln!(out, "* {decision}");
            }
        }
        if !self.warnings.is_empty() {
            out.push_str("\n## Faults of the files\n\n");
            for warning in &self.warnings {
                let _ = writeln!(out, "* {warning}");
            }
        }
        out
    }

    /// The report for scripts.
    pub fn json(&self) -> Value {
        let entry =
            |entry: &Entry| json!({ "grade": entry.grade.as_str(), "subject": entry.subject, "note": entry.note });
        json!({
            "api": self.api,
            "source": self.source,
            "operations": self.operations,
            "entries": self.entries.iter().map(entry).collect::<Vec<_>>(),
            "conflicts": self.conflicts,
            "warnings": self.warnings,
            "decisions": self.decisions,
            "toDo": self.to_do,
        })
    }
}
