//! A mistake in a policy.

use std::ops::Range;

use crate::config::At;

/// A mistake in one policy, at a field of it.
#[derive(Debug)]
pub struct CompileError {
    /// The field's place; the policy's own when there is none.
    pub span: Option<Range<usize>>,
    /// The kind of mistake.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

impl CompileError {
    /// A value that cannot be, at its field.
    pub fn at<T>(field: &At<T>, message: impl Into<String>) -> Self {
        Self { span: Some(field.span.clone()), code: "bad-value", message: message.into(), hint: None }
    }

    /// Something wrong with the policy as a whole: keys that exclude or need each other.
    pub fn whole(message: impl Into<String>) -> Self {
        Self { span: None, code: "bad-policy", message: message.into(), hint: None }
    }

    /// The code of [`CompileError::reported`].
    pub(super) const REPORTED: &'static str = "reported";

    /// A failure whose causes have been reported.
    pub fn reported() -> Self {
        Self { span: None, code: Self::REPORTED, message: String::new(), hint: None }
    }

    /// Whether its causes have been reported.
    pub fn is_reported(&self) -> bool {
        self.code == Self::REPORTED
    }

    /// Says what would be accepted.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Names the kind of mistake.
    #[must_use]
    pub fn code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }
}
