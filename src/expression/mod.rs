//! Connector expressions: the value language of policies, as in Power Platform policy templates and Logic Apps.
//!
//! A value is text in which `@` starts an expression:
//!
//! | written | is |
//! |---|---|
//! | `plain text` | itself |
//! | `@headers('x-tenant')` | one call and nothing else: the call's value, with its type |
//! | `/v2/@pathParameters('id')/lines` | text with calls in it: text |
//! | `Bearer @{variables('token').value}` | text with a hole: text |
//! | `@@` | a literal `@` |
//!
//! Any other `@` (`maker@contoso.com`) is literal. After a call whose result is text or a number (`headers`, `queryParameters`,
//! `connectionParameters`, `concat` …) a following `.` or `/` is literal text, as connector templates need it:
//! `https://@headers('region').example.com`. After a call that can give an object (`body`, `item`, `variables`, `json` …)
//! `.name`, `['name']` and `[0]` read a property or an item; `?.name` and `?['name']` give null where there is none.
//! To put text such as `.json` behind such a call, write it as a hole: `@{body().id}.json`.
//!
//! Inside a call or a hole there is no `@`: arguments are calls, numbers, `true`, `false`, `null`, and text in single quotes
//! (`''` stands for one quote). Function names compare without case; property names compare exactly.
//!
//! Everything is bounded: the text of an expression, its depth, the texts and arrays it makes (see [`MAX_LENGTH`],
//! [`MAX_DEPTH`], [`MAX_TEXT`], [`MAX_ITEMS`]).

mod error;
mod evaluate;
mod facts;
mod format;
mod functions;
mod needs;
mod readings;
mod sources;
mod syntax;
#[doc(hidden)]
pub mod testing;
mod value;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

pub use error::{EvaluationError, SyntaxError};
pub use facts::Facts;
pub use functions::{FunctionDoc, catalogue};
pub use needs::Needs;
pub use sources::{Given, Place, Source};
pub use value::Value;

use evaluate::Node;

/// Dates and times by .NET's formats, and time zones by their names: for policies that read them.
pub(crate) mod dates {
    pub(crate) use super::format::date::{Moment, format, parse_exact};
    pub(crate) use super::format::zone::find as zone;
}

/// The longest text an expression may be written as, in bytes.
pub const MAX_LENGTH: usize = 16 * 1024;
/// How deep calls may be nested.
pub const MAX_DEPTH: usize = 64;
/// The longest text a function or an interpolation may make, in bytes. A fact that is passed on unchanged may be longer.
pub const MAX_TEXT: usize = 1024 * 1024;
/// The most items an array made by a function may have.
pub const MAX_ITEMS: usize = 100_000;

/// Whose rules the text follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Dialect {
    /// The gateway's own configuration: an unknown function is an error.
    Gateway,
}

/// A value of a policy, read and checked, ready to be evaluated for each exchange.
#[derive(Clone)]
pub struct Expression {
    node: Node,
    needs: Needs,
}

impl Expression {
    /// Reads an expression. The error says which bytes of `text` are wrong.
    pub fn parse(text: &str, dialect: Dialect) -> Result<Self, SyntaxError> {
        let (node, needs) = syntax::parse(text, dialect)?;
        Ok(Self { node, needs })
    }

    /// A text as it is, whatever stands in it.
    pub fn text_literal(text: &str) -> Self {
        Self { node: Node::Literal(Value::Str(text.to_owned().into())), needs: Needs::default() }
    }

    /// What must be at hand before this is evaluated.
    pub fn needs(&self) -> Needs {
        self.needs
    }

    /// The text, where it is the same for every exchange.
    pub fn literal(&self) -> Option<&str> {
        match &self.node {
            Node::Literal(Value::Str(text)) => Some(text),
            _ => None,
        }
    }

    /// The value, where it is the same for every exchange.
    pub fn constant(&self) -> Option<&Value<'static>> {
        match &self.node {
            Node::Literal(value) => Some(value),
            _ => None,
        }
    }

    /// Whether it is one call, and not text with calls in it.
    pub fn is_call(&self) -> bool {
        matches!(self.node, Node::Call { .. } | Node::Path { .. })
    }

    /// The value for this exchange, with its type.
    pub fn evaluate<'a>(&'a self, facts: &'a dyn Facts) -> Result<Value<'a>, EvaluationError> {
        self.node.evaluate(facts)
    }

    /// The value as text (see [`Value::to_text`]).
    pub fn text<'a>(&'a self, facts: &'a dyn Facts) -> Result<Cow<'a, str>, EvaluationError> {
        self.evaluate(facts)?.into_text()
    }

    /// The value as a condition (see [`Value::to_bool`]).
    pub fn boolean(&self, facts: &dyn Facts) -> Result<bool, EvaluationError> {
        self.evaluate(facts)?.to_bool()
    }

    /// The value as a whole number (see [`Value::to_i64`]).
    pub fn integer(&self, facts: &dyn Facts) -> Result<i64, EvaluationError> {
        self.evaluate(facts)?.to_i64()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Expression").field("node", &self.node).field("needs", &self.needs).finish()
    }
}
