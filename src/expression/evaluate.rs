//! The tree an expression is read into, and how it is evaluated.

use std::borrow::Cow;
use std::fmt;

use http::HeaderName;
use serde_json::Value as Json;

use super::functions::{Function, Gives};
use super::{EvaluationError, Facts, MAX_TEXT, Value};

/// One part of an expression.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Literal(Value<'static>),
    /// The name of a header, checked when the expression was read.
    Header(HeaderName),
    Call {
        function: &'static Function,
        arguments: Box<[Node]>,
    },
    /// Property and item access, kept flat so that a long path does not recurse.
    Path {
        target: Box<Node>,
        steps: Box<[Step]>,
    },
    /// Parts whose texts are joined.
    Template(Box<[Node]>),
}

/// One step of a path.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) key: Key,
    /// Written with `?`: null where the target is null or has no such property.
    pub(super) null_safe: bool,
}

#[derive(Clone, Debug)]
pub(super) enum Key {
    Name(Box<str>),
    Index(usize),
    Computed(Node),
}

impl Node {
    /// Whether the value can be an object or an array, so that a path behind it reads from it.
    pub(super) fn may_have_properties(&self) -> bool {
        match self {
            Self::Literal(value) => matches!(value, Value::Json(_)),
            Self::Header(_) | Self::Template(_) => false,
            Self::Path { .. } => true,
            Self::Call { function, arguments } => match function.gives {
                Gives::Scalar => false,
                Gives::Structure => true,
                Gives::Arguments => arguments.iter().any(Self::may_have_properties),
            },
        }
    }

    pub(super) fn evaluate<'a>(&'a self, facts: &'a dyn Facts) -> Result<Value<'a>, EvaluationError> {
        match self {
            Self::Literal(value) => Ok(value.borrow()),
            Self::Header(name) => Ok(Value::Str(Cow::Borrowed(name.as_str()))),
            Self::Call { function, arguments } => (function.run)(&Call { function, arguments, facts }),
            Self::Path { target, steps } => {
                let mut value = target.evaluate(facts)?;
                for step in steps {
                    value = step.apply(value, facts)?;
                }
                Ok(value)
            }
            Self::Template(parts) => join(parts, facts),
        }
    }
}

fn join<'a>(parts: &'a [Node], facts: &'a dyn Facts) -> Result<Value<'a>, EvaluationError> {
    if let [only] = parts {
        return Ok(Value::Str(only.evaluate(facts)?.into_text()?));
    }
    let length = |part: &Node| match part {
        Node::Literal(Value::Str(text)) => text.len(),
        _ => 32,
    };
    let mut text = String::with_capacity(parts.iter().map(length).sum());
    for part in parts {
        append(&mut text, &part.evaluate(facts)?.to_text()?)?;
    }
    Ok(Value::Str(Cow::Owned(text)))
}

/// Adds to a text that is being made, within [`MAX_TEXT`].
pub(super) fn append(text: &mut String, more: &str) -> Result<(), EvaluationError> {
    if text.len() + more.len() > MAX_TEXT {
        return Err(too_long());
    }
    text.push_str(more);
    Ok(())
}

pub(super) fn too_long() -> EvaluationError {
    EvaluationError::new("the text is longer than 1 MiB")
}

impl Step {
    fn apply<'a>(&'a self, target: Value<'a>, facts: &'a dyn Facts) -> Result<Value<'a>, EvaluationError> {
        match &self.key {
            Key::Name(name) => self.property(target, name),
            Key::Index(index) => self.item(target, *index),
            Key::Computed(node) => match node.evaluate(facts)? {
                Value::Str(name) => self.property(target, &name),
                Value::Int(index) => match usize::try_from(index) {
                    Ok(index) => self.item(target, index),
                    Err(_) => Err(EvaluationError::new(format!("cannot read item `{index}`: items count from 0"))),
                },
                other => Err(EvaluationError::new(format!(
                    "a property is named by text or a number, found {}",
                    other.kind()
                ))),
            },
        }
    }

    fn property<'a>(&self, target: Value<'a>, name: &str) -> Result<Value<'a>, EvaluationError> {
        let found = match target {
            Value::Null if self.null_safe => return Ok(Value::Null),
            Value::Json(Cow::Borrowed(Json::Object(object))) => object.get(name).map(Value::from_json),
            Value::Json(Cow::Owned(Json::Object(mut object))) => object.swap_remove(name).map(Value::from_owned_json),
            other => {
                return Err(EvaluationError::new(format!("cannot read {} of {}", self.named(), other.kind())));
            }
        };
        match found {
            Some(value) => Ok(value),
            None if self.null_safe => Ok(Value::Null),
            None => Err(EvaluationError::new(match &self.key {
                Key::Name(name) => {
                    format!("there is no property `{name}`; write `?['{name}']` where it may be missing")
                }
                _ => "there is no such property; write `?[…]` where it may be missing".to_owned(),
            })),
        }
    }

    /// The property for a message. A name that was computed may come from the caller, and is not repeated.
    fn named(&self) -> String {
        match &self.key {
            Key::Name(name) => format!("property `{name}`"),
            _ => "a property".to_owned(),
        }
    }

    fn item<'a>(&self, target: Value<'a>, index: usize) -> Result<Value<'a>, EvaluationError> {
        let (found, length) = match target {
            Value::Null if self.null_safe => return Ok(Value::Null),
            Value::Json(Cow::Borrowed(Json::Array(items))) => (items.get(index).map(Value::from_json), items.len()),
            Value::Json(Cow::Owned(Json::Array(mut items))) => {
                let length = items.len();
                ((index < length).then(|| Value::from_owned_json(items.swap_remove(index))), length)
            }
            other => {
                return Err(EvaluationError::new(format!("cannot read item `{index}` of {}", other.kind())));
            }
        };
        match found {
            Some(value) => Ok(value),
            None if self.null_safe => Ok(Value::Null),
            None => Err(EvaluationError::new(format!("there is no item `{index}` in an array of {length}"))),
        }
    }
}

/// A call under way: the arguments are evaluated as the function asks for them, so that `if` and `or` can skip some.
pub(super) struct Call<'a> {
    pub(super) function: &'static Function,
    pub(super) arguments: &'a [Node],
    pub(super) facts: &'a dyn Facts,
}

impl<'a> Call<'a> {
    /// The argument at `index`; null where it is left out.
    pub(super) fn value(&self, index: usize) -> Result<Value<'a>, EvaluationError> {
        self.arguments.get(index).map_or(Ok(Value::Null), |node| node.evaluate(self.facts))
    }

    /// Whether the argument at `index` is written.
    pub(super) fn has(&self, index: usize) -> bool {
        index < self.arguments.len()
    }

    pub(super) fn text(&self, index: usize) -> Result<Cow<'a, str>, EvaluationError> {
        match self.value(index)? {
            Value::Str(text) => Ok(text),
            other => Err(self.mismatch(index, "text", &other)),
        }
    }

    /// Text that may be left out or null.
    pub(super) fn optional_text(&self, index: usize) -> Result<Option<Cow<'a, str>>, EvaluationError> {
        match self.value(index)? {
            Value::Null => Ok(None),
            Value::Str(text) => Ok(Some(text)),
            other => Err(self.mismatch(index, "text", &other)),
        }
    }

    pub(super) fn integer(&self, index: usize) -> Result<i64, EvaluationError> {
        let value = self.value(index)?;
        match &value {
            Value::Int(number) => Ok(*number),
            Value::Float(number) => {
                super::value::float_as_integer(*number).ok_or_else(|| self.mismatch(index, "a whole number", &value))
            }
            other => Err(self.mismatch(index, "a whole number", other)),
        }
    }

    /// A whole number that is not negative: a position, a length, a count.
    pub(super) fn count(&self, index: usize) -> Result<usize, EvaluationError> {
        let number = self.integer(index)?;
        usize::try_from(number).map_err(|_| self.error(format_args!("argument {} must not be negative", index + 1)))
    }

    pub(super) fn boolean(&self, index: usize) -> Result<bool, EvaluationError> {
        let value = self.value(index)?;
        value.to_bool().map_err(|_| self.mismatch(index, "`true` or `false`", &value))
    }

    pub(super) fn array(&self, index: usize) -> Result<Cow<'a, [Json]>, EvaluationError> {
        match self.value(index)? {
            Value::Json(Cow::Borrowed(Json::Array(items))) => Ok(Cow::Borrowed(items)),
            Value::Json(Cow::Owned(Json::Array(items))) => Ok(Cow::Owned(items)),
            other => Err(self.mismatch(index, "an array", &other)),
        }
    }

    /// An error that names the function.
    pub(super) fn error(&self, message: impl fmt::Display) -> EvaluationError {
        EvaluationError::new(format!("`{}`: {message}", self.function.name))
    }

    pub(super) fn mismatch(&self, index: usize, wanted: &str, found: &Value<'_>) -> EvaluationError {
        self.error(format_args!("expected {wanted} as argument {}, found {}", index + 1, found.kind()))
    }
}
