//! What can be wrong with an expression: its text when it is read, its values when it runs.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

/// A mistake in the text of an expression, found while the configuration is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyntaxError {
    /// The bytes of the text that are wrong.
    pub range: Range<usize>,
    /// What was found and what would be accepted: lower case, values in backticks, no period.
    pub message: String,
    /// What to write instead, where that can be guessed.
    pub hint: Option<String>,
}

impl SyntaxError {
    pub(super) fn new(range: Range<usize>, message: impl Into<String>) -> Self {
        Self { range, message: message.into(), hint: None }
    }

    pub(super) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl fmt::Display for SyntaxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        match &self.hint {
            Some(hint) => write!(f, " (hint: {hint})"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for SyntaxError {}

/// An expression that cannot be evaluated for this exchange. Goes to on-error, as a failing expression does in Azure API
/// Management.
///
/// The message may quote names and short scalars of the configuration, never the content of a header or a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvaluationError(Cow<'static, str>);

impl EvaluationError {
    /// An error with this message: lower case, values in backticks, no period.
    pub fn new(message: impl Into<Cow<'static, str>>) -> Self {
        Self(message.into())
    }

    /// The message, without copying it where it is a literal.
    pub fn into_message(self) -> Cow<'static, str> {
        self.0
    }
}

impl fmt::Display for EvaluationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for EvaluationError {}
