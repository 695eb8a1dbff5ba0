//! From one kind of value to another. There are no binary values: `base64ToBinary` gives text, and fails where it is none.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use serde_json::Value as Json;

use super::collection::array;
use super::text::check_locale;
use super::{Evaluated, Function};
use crate::expression::evaluate::{Call, too_long};
use crate::expression::value::{float_as_integer, parse_bool};
use crate::expression::{EvaluationError, MAX_TEXT, Value};

/// Everything but RFC 3986's unreserved characters, as .NET's `Uri.EscapeDataString`.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "array(value)",
        "An array of one value; an array stays as it is.",
        "array('hello')",
        r#"["hello"]"#,
        |call| {
            Ok(match call.value(0)? {
                Value::Json(json) if json.is_array() => Value::Json(json),
                value => array(vec![value.into_json()]),
            })
        },
    )
    .structured(),
    Function::new("base64(text)", "Text as Base64 of its UTF-8.", "base64('hello')", "'aGVsbG8='", |call| {
        let text = call.value(0)?;
        encode(&text.to_text()?).map(|text| Value::Str(text.into()))
    }),
    Function::new(
        "base64ToBinary(text)",
        "The same as `base64ToString`.",
        "base64ToBinary('aGVsbG8=')",
        "'hello'",
        |call| decode(call, &call.text(0)?),
    ),
    Function::new("base64ToString(text)", "Text from Base64.", "base64ToString('aGVsbG8=')", "'hello'", |call| {
        decode(call, &call.text(0)?)
    }),
    Function::new(
        "bool(value)",
        "A boolean from text `true` or `false`, or from a number: false where it is 0.",
        "bool(1)",
        "true",
        |call| match call.value(0)? {
            Value::Bool(value) => Ok(Value::Bool(value)),
            Value::Int(number) => Ok(Value::Bool(number != 0)),
            Value::Float(number) => Ok(Value::Bool(number != 0.0)),
            Value::Str(text) => {
                parse_bool(&text).map(Value::Bool).ok_or_else(|| call.error("the text is not `true` or `false`"))
            }
            other => Err(call.mismatch(0, "text or a number", &other)),
        },
    ),
    Function::new(
        "createArray(value…)",
        "An array of the values.",
        "createArray('h', 1, true)",
        r#"["h",1,true]"#,
        |call| {
            (0..call.arguments.len())
                .map(|index| call.value(index).map(Value::into_json))
                .collect::<Result<_, _>>()
                .map(array)
        },
    )
    .structured(),
    Function::new(
        "dataUri(text)",
        "Text as a `data:` URI.",
        "dataUri('hello')",
        "'data:text/plain;charset=utf-8;base64,aGVsbG8='",
        |call| {
            let encoded = encode(&call.text(0)?)?;
            Ok(Value::Str(format!("data:text/plain;charset=utf-8;base64,{encoded}").into()))
        },
    ),
    Function::new(
        "dataUriToString(uri)",
        "The text in a `data:` URI (RFC 2397).",
        "dataUriToString('data:text/plain;charset=utf-8;base64,aGVsbG8=')",
        "'hello'",
        |call| {
            let uri = call.text(0)?;
            let (head, data) = uri
                .strip_prefix("data:")
                .and_then(|rest| rest.split_once(','))
                .ok_or_else(|| call.error("the text is not a `data:` URI"))?;
            if head.to_ascii_lowercase().ends_with(";base64") { decode(call, data) } else { unescape(call, data) }
        },
    ),
    Function::new(
        "decodeBase64(text)",
        "The same as `base64ToString`.",
        "decodeBase64('aGVsbG8=')",
        "'hello'",
        |call| decode(call, &call.text(0)?),
    ),
    Function::new(
        "decodeUriComponent(text)",
        "Text with percent-encoded characters decoded.",
        "decodeUriComponent('https%3A%2F%2Fcontoso.com')",
        "'https://contoso.com'",
        |call| unescape(call, &call.text(0)?),
    ),
    Function::new(
        "encodeUriComponent(text)",
        "Text with all but letters, digits and `-._~` percent-encoded.",
        "encodeUriComponent('https://contoso.com')",
        "'https%3A%2F%2Fcontoso.com'",
        escape,
    ),
    Function::new("float(value, [locale])", "A number from text.", "float('10.333')", "10.333", |call| {
        check_locale(call, 1)?;
        match call.value(0)? {
            Value::Str(text) => {
                parse_float(&text).map(Value::Float).ok_or_else(|| call.error("the text is not a number"))
            }
            value => match value.as_float() {
                Some(number) => Ok(Value::Float(number)),
                None => Err(call.mismatch(0, "text or a number", &value)),
            },
        }
    }),
    Function::new(
        "int(value)",
        "A whole number from text, or from a number without fraction.",
        "int('10')",
        "10",
        |call| match call.value(0)? {
            Value::Int(number) => Ok(Value::Int(number)),
            Value::Float(number) => {
                float_as_integer(number).map(Value::Int).ok_or_else(|| call.error("the number has a fraction"))
            }
            Value::Str(text) => {
                text.trim().parse().map(Value::Int).map_err(|_| call.error("the text is not a whole number"))
            }
            other => Err(call.mismatch(0, "text or a number", &other)),
        },
    ),
    Function::new("json(text)", "The value that a JSON text stands for.", r#"json('{"a":[1]}').a[0]"#, "1", |call| {
        match call.value(0)? {
            Value::Str(text) => serde_json::from_str::<Json>(&text).map(Value::from_owned_json).map_err(|error| {
                call.error(format_args!("the text is not JSON at line {}, column {}", error.line(), error.column()))
            }),
            Value::Json(json) => Ok(Value::Json(json)),
            other => Err(call.mismatch(0, "text", &other)),
        }
    })
    .structured(),
    Function::new(
        "string(value)",
        "The text of a value: null is empty, booleans are `True` and `False`, arrays and objects are JSON.",
        "string(createArray(1, 'a'))",
        r#"'[1,"a"]'"#,
        |call| call.value(0)?.into_text().map(Value::Str),
    ),
    Function::new(
        "uriComponent(text)",
        "The same as `encodeUriComponent`.",
        "uriComponent('a b/ä')",
        "'a%20b%2F%C3%A4'",
        escape,
    ),
    Function::new(
        "uriComponentToString(text)",
        "The same as `decodeUriComponent`.",
        "uriComponentToString('a%20b%2F%C3%A4')",
        "'a b/ä'",
        |call| unescape(call, &call.text(0)?),
    ),
];

/// A finite number in the invariant culture, with `,` between thousands allowed before the point.
pub(super) fn parse_float(text: &str) -> Option<f64> {
    let text = text.trim();
    let digits = text.trim_start_matches(['-', '+']);
    // Rust also reads `inf` and `nan`.
    if !digits.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return None;
    }
    let point = text.find('.').unwrap_or(text.len());
    if text[point..].contains(',') {
        return None;
    }
    let number: f64 = if text.contains(',') { text.replace(',', "").parse() } else { text.parse() }.ok()?;
    number.is_finite().then_some(number)
}

fn encode(text: &str) -> Result<String, EvaluationError> {
    if text.len() > MAX_TEXT / 4 * 3 {
        return Err(too_long());
    }
    Ok(STANDARD.encode(text))
}

fn decode<'a>(call: &Call<'_>, text: &str) -> Evaluated<'a> {
    let bytes = STANDARD.decode(text.trim()).map_err(|_| call.error("the text is not Base64"))?;
    let text = String::from_utf8(bytes).map_err(|_| call.error("the decoded bytes are not text in UTF-8"))?;
    Ok(Value::Str(text.into()))
}

fn escape<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let text = call.text(0)?;
    if text.len() > MAX_TEXT / 3 {
        return Err(too_long());
    }
    let escaped = Cow::from(utf8_percent_encode(&text, COMPONENT));
    // Nothing to escape: the text itself, still borrowed from where it came from.
    Ok(Value::Str(match escaped {
        Cow::Borrowed(same) if same.len() == text.len() => text,
        escaped => escaped.into_owned().into(),
    }))
}

fn unescape<'a>(call: &Call<'_>, text: &str) -> Evaluated<'a> {
    match percent_decode_str(text).decode_utf8() {
        Ok(text) => Ok(Value::Str(text.into_owned().into())),
        Err(_) => Err(call.error("the decoded bytes are not text in UTF-8")),
    }
}
