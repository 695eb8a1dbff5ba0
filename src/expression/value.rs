//! The values that expressions work on, borrowed from the exchange wherever they can be.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::{Number, Value as Json};

use super::EvaluationError;

/// What an expression evaluates to.
#[derive(Clone, Debug, PartialEq)]
pub enum Value<'a> {
    /// Null, and whatever is not there.
    Null,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// Text.
    Str(Cow<'a, str>),
    /// An array or an object; scalars have their own variants.
    Json(Cow<'a, Json>),
}

impl<'a> Value<'a> {
    /// A view of a JSON value.
    pub fn from_json(json: &'a Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => Self::from_number(number),
            Json::String(text) => Self::Str(Cow::Borrowed(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(Cow::Borrowed(json)),
        }
    }

    /// A JSON value that the expression owns.
    pub fn from_owned_json(json: Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(value),
            Json::Number(number) => Self::from_number(&number),
            Json::String(text) => Self::Str(Cow::Owned(text)),
            Json::Array(_) | Json::Object(_) => Self::Json(Cow::Owned(json)),
        }
    }

    fn from_number(number: &Number) -> Self {
        match number.as_i64() {
            Some(integer) => Self::Int(integer),
            None => number.as_f64().map_or(Self::Null, Self::Float),
        }
    }

    /// Text where there is some, null where not.
    pub fn from_text(text: Option<impl Into<Cow<'a, str>>>) -> Self {
        text.map_or(Self::Null, |text| Self::Str(text.into()))
    }

    /// The value as text inside text: null is empty, booleans are `True` and `False` as .NET writes them (hence Logic Apps
    /// and Azure API Management), arrays and objects are compact JSON.
    pub fn to_text(&self) -> Result<Cow<'_, str>, EvaluationError> {
        match self {
            Self::Str(text) => Ok(Cow::Borrowed(text)),
            other => other.write_text(),
        }
    }

    /// [`Value::to_text`] for a value that is no longer needed.
    pub fn into_text(self) -> Result<Cow<'a, str>, EvaluationError> {
        match self {
            Self::Str(text) => Ok(text),
            other => other.write_text(),
        }
    }

    fn write_text(&self) -> Result<Cow<'static, str>, EvaluationError> {
        Ok(match self {
            Self::Null => Cow::Borrowed(""),
            Self::Bool(true) => Cow::Borrowed("True"),
            Self::Bool(false) => Cow::Borrowed("False"),
            Self::Int(number) => Cow::Owned(itoa::Buffer::new().format(*number).to_owned()),
            Self::Float(number) => Cow::Owned(float_text(*number)),
            Self::Str(text) => Cow::Owned(text.clone().into_owned()),
            Self::Json(json) => Cow::Owned(serde_json::to_string(json).map_err(unwritable)?),
        })
    }

    /// The value as a condition: a boolean, or the text `true` or `false` in any case.
    pub fn to_bool(&self) -> Result<bool, EvaluationError> {
        match self {
            Self::Bool(value) => Ok(*value),
            Self::Str(text) => {
                parse_bool(text).ok_or(EvaluationError::new("expected `true` or `false`, found other text"))
            }
            other => Err(EvaluationError::new(format!("expected `true` or `false`, found {}", other.kind()))),
        }
    }

    /// The value as a whole number: a number without fraction, or text that is one.
    pub fn to_i64(&self) -> Result<i64, EvaluationError> {
        let found = match self {
            Self::Int(number) => return Ok(*number),
            Self::Float(number) => match float_as_integer(*number) {
                Some(integer) => return Ok(integer),
                None => "a number with a fraction",
            },
            Self::Str(text) => match text.trim().parse() {
                Ok(number) => return Ok(number),
                Err(_) => "other text",
            },
            other => other.kind(),
        };
        Err(EvaluationError::new(format!("expected a whole number, found {found}")))
    }

    /// The value as JSON. Numbers that JSON cannot hold become null.
    pub fn into_json(self) -> Json {
        match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(value),
            Self::Int(number) => Json::Number(number.into()),
            Self::Float(number) => Number::from_f64(number).map_or(Json::Null, Json::Number),
            Self::Str(text) => Json::String(text.into_owned()),
            Self::Json(json) => json.into_owned(),
        }
    }

    /// The same value, borrowed from this one.
    pub fn borrow(&self) -> Value<'_> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(*value),
            Self::Int(number) => Value::Int(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Str(text) => Value::Str(Cow::Borrowed(text)),
            Self::Json(json) => Value::Json(Cow::Borrowed(json)),
        }
    }

    /// The same value, borrowing nothing.
    pub fn into_static(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Bool(value) => Value::Bool(value),
            Self::Int(number) => Value::Int(number),
            Self::Float(number) => Value::Float(number),
            Self::Str(text) => Value::Str(Cow::Owned(text.into_owned())),
            Self::Json(json) => Value::Json(Cow::Owned(json.into_owned())),
        }
    }

    /// What kind of value it is, for messages.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "a whole number",
            Self::Float(_) => "a number",
            Self::Str(_) => "text",
            Self::Json(json) if json.is_array() => "an array",
            Self::Json(_) => "an object",
        }
    }

    /// Whether two values are the same. Numbers compare by value; `true` equals 1, as the language's reference says.
    pub(super) fn equals(&self, other: &Value<'_>) -> bool {
        match (self, other) {
            (Self::Null, Value::Null) => true,
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Bool(flag), Value::Int(number)) | (Self::Int(number), Value::Bool(flag)) => {
                i64::from(*flag) == *number
            }
            (Self::Int(a), Value::Int(b)) => a == b,
            (Self::Str(a), Value::Str(b)) => a == b,
            (Self::Json(a), Value::Json(b)) => json_equals(a, b),
            (a, b) => a.order(b) == Some(Ordering::Equal),
        }
    }

    /// The order of two numbers or two texts (by code point); `None` for anything else.
    pub(super) fn order(&self, other: &Value<'_>) -> Option<Ordering> {
        match (self, other) {
            (Self::Int(a), Value::Int(b)) => Some(a.cmp(b)),
            (Self::Str(a), Value::Str(b)) => Some(a.as_ref().cmp(b.as_ref())),
            (Self::Float(a), Value::Float(b)) => a.partial_cmp(b),
            (Self::Int(a), Value::Float(b)) => order_mixed(*a, *b),
            (Self::Float(a), Value::Int(b)) => order_mixed(*b, *a).map(Ordering::reverse),
            _ => None,
        }
    }

    pub(super) fn as_float(&self) -> Option<f64> {
        match self {
            #[expect(clippy::cast_precision_loss, reason = "mixed arithmetic is done in floating point, as in .NET")]
            Self::Int(number) => Some(*number as f64),
            Self::Float(number) => Some(*number),
            _ => None,
        }
    }
}

/// Compares without rounding, so that the order is total.
fn order_mixed(integer: i64, float: f64) -> Option<Ordering> {
    if float.is_nan() {
        return None;
    }
    match float_as_integer(float.trunc()) {
        Some(whole) => Some(integer.cmp(&whole).then_with(|| 0.0_f64.total_cmp(&(float - float.trunc() + 0.0)))),
        None => Some(if float > 0.0 { Ordering::Less } else { Ordering::Greater }),
    }
}

/// Whether two JSON values are the same, numbers by value, objects in any order.
pub(super) fn json_equals(a: &Json, b: &Json) -> bool {
    match (a, b) {
        (Json::Array(a), Json::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| json_equals(a, b)),
        (Json::Object(a), Json::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(name, a)| b.get(name).is_some_and(|b| json_equals(a, b)))
        }
        (Json::Number(_), Json::Number(_)) => Value::from_json(a).equals(&Value::from_json(b)),
        (a, b) => a == b,
    }
}

pub(super) fn parse_bool(text: &str) -> Option<bool> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("true") {
        Some(true)
    } else if text.eq_ignore_ascii_case("false") {
        Some(false)
    } else {
        None
    }
}

/// A floating-point number as a whole one, where nothing is lost.
pub(super) fn float_as_integer(number: f64) -> Option<i64> {
    // -2^63 is exact; 2^63 is the first value that no longer fits.
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range and the missing fraction are checked")]
    (number.fract() == 0.0 && (-LIMIT..LIMIT).contains(&number)).then_some(number as i64)
}

/// .NET's `Double.ToString()` in the invariant culture: the shortest text that reads back the same, scientific from 1E+15
/// on and from 1E-05 down (learn.microsoft.com, "Standard numeric format strings").
pub(super) fn float_text(number: f64) -> String {
    if number == 0.0 {
        return "0".to_owned();
    }
    if !number.is_finite() {
        return if number.is_nan() {
            "NaN".to_owned()
        } else {
            format!("{}Infinity", if number < 0.0 { "-" } else { "" })
        };
    }
    if (1e-4..1e15).contains(&number.abs()) {
        return number.to_string();
    }
    let text = format!("{number:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) => match exponent.strip_prefix('-') {
            Some(digits) => format!("{mantissa}E-{digits:0>2}"),
            None => format!("{mantissa}E+{exponent:0>2}"),
        },
        None => text,
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape `map_err` takes")]
fn unwritable(error: serde_json::Error) -> EvaluationError {
    EvaluationError::new(format!("cannot write the value as JSON: {error}"))
}
