//! Values of policies, compiled: literal wherever they can be, an expression where they must be.

use std::borrow::Cow;

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use hyper::ext::ReasonPhrase;

use crate::compile::{CompileCx, CompileError};
use crate::config::{At, Text};
use crate::expression::{EvaluationError, Expression, Needs, Source};
use crate::pipeline::{Context, Fault};

/// What an expression that fails becomes: Azure API Management answers 500 and tells on-error why.
#[cold]
#[expect(clippy::needless_pass_by_value, reason = "stands in `map_err`")]
pub fn evaluation_failed(error: EvaluationError) -> Fault {
    Fault::internal("ExpressionValueEvaluationFailure", format!("Expression evaluation failed. {error}."))
}

/// Text that varies with the exchange, or not.
#[derive(Debug)]
pub struct TextValue(Expression);

impl TextValue {
    /// Compiles a value.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        cx.expression(text).map(Self)
    }

    /// A text that is the same for every exchange.
    pub fn of(literal: &str) -> Self {
        Self(Expression::text_literal(literal))
    }

    /// What must be at hand before it is evaluated.
    pub fn needs(&self) -> Needs {
        self.0.needs()
    }

    /// The text, when it is the same for every exchange.
    pub fn literal(&self) -> Option<&str> {
        self.0.literal()
    }

    /// The named values of the caller and of its connection that it is made of.
    pub fn sources(&self, cx: &Context<'_>) -> Vec<Source> {
        self.0.sources(cx)
    }

    /// Those that the first `end` bytes of its text are made of.
    pub fn sources_until(&self, cx: &Context<'_>, end: usize) -> Vec<Source> {
        self.0.sources_until(cx, end)
    }

    /// The text for an exchange.
    pub fn text<'a>(&'a self, cx: &'a Context<'_>) -> Result<Cow<'a, str>, Fault> {
        match self.0.literal() {
            Some(text) => Ok(Cow::Borrowed(text)),
            None => self.0.text(cx).map_err(evaluation_failed),
        }
    }
}

/// A header's value that varies with the exchange, or not.
#[derive(Debug)]
pub enum HeaderText {
    /// The same for every exchange.
    Literal(HeaderValue),
    /// Evaluated for each exchange.
    Expression(Expression),
}

impl HeaderText {
    /// Compiles a header's value.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let expression = cx.expression(text)?;
        match expression.literal() {
            Some(literal) => HeaderValue::from_str(literal).map(Self::Literal).map_err(|_| {
                CompileError::at(text, "a header value cannot hold line breaks or other control characters")
                    .hint("RFC 9110 §5.5")
            }),
            None => Ok(Self::Expression(expression)),
        }
    }

    /// The value for an exchange. Text that would break the header's line is a failed evaluation, never a second header.
    pub fn value(&self, cx: &Context<'_>) -> Result<HeaderValue, Fault> {
        match self {
            Self::Literal(value) => Ok(value.clone()),
            Self::Expression(expression) => {
                let text = expression.text(cx).map_err(evaluation_failed)?;
                HeaderValue::from_str(&text).map_err(|_| {
                    Fault::internal(
                        "ExpressionValueEvaluationFailure",
                        "Expression evaluation failed. The result cannot stand in a header.",
                    )
                })
            }
        }
    }
}

/// A condition: `true`, `false`, or an expression that gives one of them.
#[derive(Debug)]
pub struct Condition(Expression);

impl Condition {
    /// Compiles a condition.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let expression = cx.expression(text)?;
        if let Some(literal) = expression.literal()
            && !matches!(literal.to_ascii_lowercase().as_str(), "true" | "false")
        {
            return Err(CompileError::at(text, format!("`{literal}` is neither true nor false"))
                .hint("`true`, `false`, or an expression such as `@equals(method(), 'GET')`"));
        }
        Ok(Self(expression))
    }

    /// Whether it holds for an exchange.
    pub fn holds(&self, cx: &Context<'_>) -> Result<bool, Fault> {
        self.0.boolean(cx).map_err(evaluation_failed)
    }
}

/// A status that varies with the exchange, or not.
#[derive(Debug)]
pub enum StatusValue {
    /// The same for every exchange.
    Literal(StatusCode),
    /// Evaluated for each exchange.
    Expression(Expression),
}

impl StatusValue {
    /// Compiles a status: a number, or an expression that gives one.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let expression = cx.expression(text)?;
        let Some(literal) = expression.literal() else { return Ok(Self::Expression(expression)) };
        let code: u16 = literal
            .parse()
            .map_err(|_| CompileError::at(text, format!("`{literal}` is not a status code")).hint("200 to 599"))?;
        cx.status(&At { value: code, span: text.span.clone() }).map(Self::Literal)
    }

    /// The status for an exchange.
    pub fn status(&self, cx: &Context<'_>) -> Result<StatusCode, Fault> {
        match self {
            Self::Literal(status) => Ok(*status),
            Self::Expression(expression) => {
                let code = expression.integer(cx).map_err(evaluation_failed)?;
                u16::try_from(code)
                    .ok()
                    .filter(|code| (200..=599).contains(code))
                    .and_then(|code| StatusCode::from_u16(code).ok())
                    .ok_or_else(|| {
                        Fault::internal(
                            "ExpressionValueEvaluationFailure",
                            format!("Expression evaluation failed. {code} is not a status that can be answered."),
                        )
                    })
            }
        }
    }
}

/// A reason phrase that varies with the exchange, or not.
#[derive(Debug)]
pub enum ReasonText {
    /// The same for every exchange.
    Literal(ReasonPhrase),
    /// Evaluated for each exchange.
    Expression(Expression),
}

impl ReasonText {
    /// Compiles a reason phrase.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let expression = cx.expression(text)?;
        match expression.literal() {
            Some(literal) => ReasonPhrase::try_from(literal.as_bytes()).map(Self::Literal).map_err(|_| {
                CompileError::at(text, "a reason phrase cannot hold line breaks or other control characters")
                    .hint("RFC 9112 §4")
            }),
            None => Ok(Self::Expression(expression)),
        }
    }

    /// The phrase for an exchange. Text that would break the status line is a failed evaluation.
    pub fn phrase(&self, cx: &Context<'_>) -> Result<ReasonPhrase, Fault> {
        match self {
            Self::Literal(phrase) => Ok(phrase.clone()),
            Self::Expression(expression) => {
                let text = expression.text(cx).map_err(evaluation_failed)?;
                ReasonPhrase::try_from(text.as_bytes())
                    .map_err(|_| evaluation_failed(EvaluationError::new("the result cannot stand in a status line")))
            }
        }
    }
}

/// A body that varies with the exchange, or not.
#[derive(Debug)]
pub enum BodyText {
    /// The same for every exchange.
    Literal(Bytes),
    /// Evaluated for each exchange.
    Expression(Expression),
}

impl BodyText {
    /// Compiles a body.
    pub fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let expression = cx.expression(text)?;
        Ok(match expression.literal() {
            Some(literal) => Self::Literal(Bytes::copy_from_slice(literal.as_bytes())),
            None => Self::Expression(expression),
        })
    }

    /// The bytes for an exchange: text as it is, an object or an array as compact JSON, nothing for null.
    pub fn bytes(&self, cx: &Context<'_>) -> Result<Bytes, Fault> {
        match self {
            Self::Literal(bytes) => Ok(bytes.clone()),
            Self::Expression(expression) => {
                expression.text(cx).map(|text| Bytes::from(text.into_owned())).map_err(evaluation_failed)
            }
        }
    }
}
