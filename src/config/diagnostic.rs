//! Mistakes in a configuration: what is wrong, where, and what would be accepted.

use super::source::{FileId, Location};
use std::ops::Range;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration is refused.
    Error,
    /// It runs, but probably not as meant; `check --strict` refuses it.
    Warning,
}

impl Severity {
    /// The word in a report.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One mistake.
#[derive(Clone, Debug)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// The kind of mistake, stable, for tools (`unknown-key`).
    pub code: &'static str,
    /// What is wrong: lower case, values in backticks, no period.
    pub message: String,
    /// Where; none when a whole file or folder is meant.
    pub location: Option<Location>,
    /// What stands beside the caret; may be empty.
    pub label: String,
    /// What would be accepted.
    pub hint: Option<String>,
    /// Other places that matter (`first defined here`).
    pub related: Vec<(Location, String)>,
    /// Whether the text at the place may be a secret, so that no report shows it.
    pub secret: bool,
}

impl Diagnostic {
    /// An error at a place.
    pub fn error(code: &'static str, file: FileId, span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            location: Some(Location { file, span }),
            label: String::new(),
            hint: None,
            related: Vec::new(),
            secret: false,
        }
    }

    /// A warning at a place.
    pub fn warning(code: &'static str, file: FileId, span: Range<usize>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, span, message) }
    }

    /// An error that has no place in a file.
    pub fn global(code: &'static str, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            message: message.into(),
            location: None,
            label: String::new(),
            hint: None,
            related: Vec::new(),
            secret: false,
        }
    }

    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds a hint where there is one.
    #[must_use]
    pub fn maybe_hint(mut self, hint: Option<String>) -> Self {
        self.hint = hint.or(self.hint);
        self
    }

    /// Keeps the text at the place out of reports: it may be a secret that was written there by mistake.
    #[must_use]
    pub fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// Adds text beside the caret.
    #[must_use]
    pub fn label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Adds another place.
    #[must_use]
    pub fn related(mut self, location: Location, text: impl Into<String>) -> Self {
        self.related.push((location, text.into()));
        self
    }
}

/// All mistakes found so far, and the values that cannot be judged because a named value in them is wrong.
#[derive(Debug, Default)]
pub struct Diagnostics(pub Vec<Diagnostic>, Vec<Location>);

impl Diagnostics {
    /// Adds one.
    pub fn push(&mut self, diagnostic: Diagnostic) {
        self.0.push(diagnostic);
    }

    /// Notes a value whose text is not what its author meant: further mistakes in it are not reported.
    pub fn distrust(&mut self, value: Location) {
        self.1.push(value);
    }

    /// Whether a file has an error so far.
    pub fn has_error_in(&self, file: FileId) -> bool {
        let here = |one: &Diagnostic| one.location.as_ref().is_some_and(|at| at.file == file);
        self.0.iter().any(|one| one.severity == Severity::Error && here(one))
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|one| one.severity == Severity::Error).count()
    }

    /// How many warnings there are.
    pub fn warnings(&self) -> usize {
        self.0.len() - self.errors()
    }

    /// Puts them in the order of the files and lines they speak of.
    pub fn sort(&mut self) {
        let distrusted = std::mem::take(&mut self.1);
        self.0.retain(|one| {
            let Some(at) = &one.location else { return true };
            let within = |value: &Location| {
                value.file == at.file && value.span.start <= at.span.start && at.span.end <= value.span.end
            };
            matches!(one.code, "unknown-named-value" | "nested-named-value") || !distrusted.iter().any(within)
        });
        self.0.sort_by_key(|one| one.location.as_ref().map(|at| (at.file, at.span.start)));
        self.0.dedup_by(|a, b| a.location == b.location && a.message == b.message);
    }
}

/// The `did you mean` for a name that is not known: the closest of `known` when it is close enough.
pub fn suggest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    closest(found, known).map(|best| format!("did you mean `{best}`?"))
}

/// The closest of `known`, when it is close enough to be meant.
pub fn closest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let folded = found.to_ascii_lowercase().replace('_', "-");
    let allowed = (folded.len() / 3).clamp(1, 4);
    let known: Vec<&str> = known.into_iter().collect();
    let close = known
        .iter()
        .map(|name| (edits(&folded, &name.to_ascii_lowercase()), *name))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance);
    // `base-path` for `path`, `trip` for `trip-duration`: a word more or less, when only one name comes into question.
    let shares = |name: &str| {
        let has = |long: &str, short: &str| {
            long.strip_suffix(short).is_some_and(|rest| rest.ends_with('-'))
                || long.strip_prefix(short).is_some_and(|rest| rest.starts_with('-'))
        };
        has(&folded, name) || has(name, &folded)
    };
    let mut sharing = known.iter().copied().filter(|name| shares(name));
    close.map(|(_, name)| name).or_else(|| sharing.next().filter(|_| sharing.next().is_none()))
}

/// Damerau-Levenshtein distance with adjacent transpositions.
fn edits(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let cost = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + cost);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

/// `a`, `b` or `c`: a list for a message, cut where it gets long.
pub fn one_of<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<&str> = names.into_iter().collect();
    match names.as_slice() {
        [] => "nothing".to_owned(),
        [one] => format!("`{one}`"),
        [head @ .., last] if names.len() <= 12 => {
            let head: Vec<String> = head.iter().map(|name| format!("`{name}`")).collect();
            format!("{} or `{last}`", head.join(", "))
        }
        _ => {
            let head: Vec<String> = names[..12].iter().map(|name| format!("`{name}`")).collect();
            format!("{} and {} more", head.join(", "), names.len() - 12)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions_are_close_or_absent() {
        for (found, want) in [
            ("cals", Some("calls")),
            ("perid", Some("period")),
            ("reneval_period", Some("renewal-period")),
            ("Calls", Some("calls")),
            ("max-calls", Some("calls")),
            ("renewal", Some("renewal-period")),
            ("zzz", None),
        ] {
            assert_eq!(closest(found, ["calls", "period", "renewal-period"]), want, "{found}");
        }
    }
}
