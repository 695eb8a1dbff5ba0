//! Text. Positions and lengths count characters, from 0.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::{Evaluated, Function};
use crate::expression::evaluate::{Call, append, too_long};
use crate::expression::format::number;
use crate::expression::{EvaluationError, MAX_ITEMS, MAX_TEXT, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "concat(value…)",
        "Joins the texts of values.",
        "concat('Hello', ' ', 'World')",
        "'Hello World'",
        |call| {
            let mut text = String::new();
            for index in 0..call.arguments.len() {
                append(&mut text, &call.value(index)?.to_text()?)?;
            }
            Ok(Value::Str(text.into()))
        },
    ),
    Function::new(
        "endsWith(text, ending)",
        "Whether text ends with another, without case.",
        "endsWith('hello world', 'WORLD')",
        "true",
        |call| {
            let (text, ending) = folded(call)?;
            Ok(Value::Bool(text.ends_with(&*ending)))
        },
    ),
    Function::new(
        "formatNumber(number, format, [locale])",
        "A number in a .NET numeric format; the locale is `en-US`.",
        "formatNumber(1234567890, '0,0.00')",
        "'1,234,567,890.00'",
        |call| {
            let value = call.value(0)?;
            if value.as_float().is_none() {
                return Err(call.mismatch(0, "a number", &value));
            }
            check_locale(call, 2)?;
            number::format(&value, &call.text(1)?)
                .map(|text| Value::Str(text.into()))
                .map_err(|message| call.error(message))
        },
    ),
    Function::new(
        "guid([format])",
        "A new random UUID, in .NET format `D`, `N`, `B` or `P`.",
        "guid()",
        "'00000000-0000-4007-8000-000000000007'",
        guid,
    )
    .reads(super::Needs::NONE),
    Function::new(
        "indexOf(text, part)",
        "Where a part first occurs, without case; -1 where it does not.",
        "indexOf('hello world', 'World')",
        "6",
        |call| {
            let (text, part) = folded(call)?;
            Ok(position(&text, text.find(&*part)))
        },
    ),
    Function::new("isFloat(text, [locale])", "Whether text is a number.", "isFloat('10.5')", "true", |call| {
        check_locale(call, 1)?;
        let text = call.text(0)?;
        Ok(Value::Bool(super::conversion::parse_float(&text).is_some()))
    }),
    Function::new("isInt(text)", "Whether text is a whole number.", "isInt('10.5')", "false", |call| {
        Ok(Value::Bool(call.text(0)?.trim().parse::<i64>().is_ok()))
    }),
    Function::new(
        "lastIndexOf(text, part)",
        "Where a part last occurs, without case; -1 where it does not.",
        "lastIndexOf('hello world hello world', 'world')",
        "18",
        |call| {
            let (text, part) = folded(call)?;
            if part.is_empty() && !text.is_empty() {
                // As documented for Logic Apps.
                return Ok(Value::Int(integer(text.chars().count()) - 1));
            }
            Ok(position(&text, text.rfind(&*part)))
        },
    ),
    Function::new(
        "nthIndexOf(text, part, occurrence)",
        "Where a part occurs for the n-th time, from the end where n is negative; -1 where it does not.",
        "nthIndexOf('123456789123465789', '1', 2)",
        "9",
        |call| {
            let (text, part) = folded(call)?;
            let occurrence = call.integer(2)?;
            let nth = usize::try_from(occurrence.unsigned_abs()).unwrap_or(usize::MAX);
            let found = match (part.is_empty(), nth.checked_sub(1)) {
                (true, _) | (_, None) => None,
                (_, Some(skipped)) if occurrence > 0 => text.match_indices(&*part).nth(skipped),
                (_, Some(skipped)) => text.rmatch_indices(&*part).nth(skipped),
            };
            Ok(position(&text, found.map(|(at, _)| at)))
        },
    ),
    Function::new(
        "replace(text, part, replacement)",
        "Replaces every occurrence of a part, with case.",
        "replace('the old string', 'old', 'new')",
        "'the new string'",
        replace,
    ),
    Function::new(
        "slice(text, start, [end])",
        "The part from a start up to an end; negative positions count from the end.",
        "slice('Hello World', 2, 5)",
        "'llo'",
        slice,
    ),
    Function::new(
        "split(text, separator)",
        "The parts of text between separators, as an array.",
        "split('a_b_c', '_')",
        r#"["a","b","c"]"#,
        |call| {
            let (text, separator) = (call.text(0)?, call.text(1)?);
            if separator.is_empty() {
                return Ok(Value::from_owned_json(Json::Array(vec![Json::String(text.into_owned())])));
            }
            let parts: Vec<Json> = text.split(&*separator).take(MAX_ITEMS + 1).map(Json::from).collect();
            super::collection::bounded(call, parts)
        },
    )
    .structured(),
    Function::new(
        "startsWith(text, beginning)",
        "Whether text starts with another, without case.",
        "startsWith('hello world', 'Hello')",
        "true",
        |call| {
            let (text, beginning) = folded(call)?;
            Ok(Value::Bool(text.starts_with(&*beginning)))
        },
    ),
    Function::new(
        "substring(text, start, [length])",
        "The part of a length from a start; an error where the text is shorter.",
        "substring('hello world', 6, 5)",
        "'world'",
        |call| {
            let text = call.text(0)?;
            let start = call.count(1)?;
            let beyond = || call.error("the text ends before the part does");
            let from = offset(&text, start).ok_or_else(beyond)?;
            let to =
                if call.has(2) { from + offset(&text[from..], call.count(2)?).ok_or_else(beyond)? } else { text.len() };
            Ok(Value::Str(cut(text, from, to)))
        },
    ),
    Function::new("toLower(text)", "Text in lower case.", "toLower('Hello World')", "'hello world'", |call| {
        let text = call.text(0)?;
        Ok(Value::Str(if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_uppercase()) {
            text
        } else {
            text.to_lowercase().into()
        }))
    }),
    Function::new("toUpper(text)", "Text in upper case.", "toUpper('Hello World')", "'HELLO WORLD'", |call| {
        let text = call.text(0)?;
        Ok(Value::Str(if text.bytes().all(|byte| byte.is_ascii() && !byte.is_ascii_lowercase()) {
            text
        } else {
            text.to_uppercase().into()
        }))
    }),
    Function::new(
        "trim(text)",
        "Text without white space around it.",
        "trim(' Hello World  ')",
        "'Hello World'",
        |call| {
            let text = call.text(0)?;
            let from = text.len() - text.trim_start().len();
            let to = from + text.trim().len();
            Ok(Value::Str(cut(text, from, to)))
        },
    ),
];

/// The first two arguments in lower case. Only characters whose lower case is one character change, so that positions stay.
fn folded<'a>(call: &Call<'a>) -> Result<(Cow<'a, str>, Cow<'a, str>), EvaluationError> {
    let fold = |text: Cow<'a, str>| {
        if text.is_ascii() && !text.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return text;
        }
        let lower = |character: char| {
            let mut lower = character.to_lowercase();
            match (lower.next(), lower.next()) {
                (Some(only), None) => only,
                _ => character,
            }
        };
        Cow::Owned(text.chars().map(lower).collect())
    };
    Ok((fold(call.text(0)?), fold(call.text(1)?)))
}

/// A byte offset as a position in characters; -1 for none.
fn position<'a>(text: &str, found: Option<usize>) -> Value<'a> {
    Value::Int(found.map_or(-1, |at| integer(text[..at].chars().count())))
}

pub(super) fn integer(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// The byte offset of a position in characters, which may be the end.
pub(super) fn offset(text: &str, position: usize) -> Option<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(position)
}

pub(super) fn cut(text: Cow<'_, str>, from: usize, to: usize) -> Cow<'_, str> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[from..to]),
        Cow::Owned(text) => Cow::Owned(text[from..to].to_owned()),
    }
}

fn replace<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let (text, part, replacement) = (call.text(0)?, call.text(1)?, call.text(2)?);
    if part.is_empty() {
        return Err(call.error("there must be something to replace"));
    }
    let found = text.matches(&*part).count();
    if found == 0 {
        return Ok(Value::Str(text));
    }
    if text.len() - found * part.len() + found.saturating_mul(replacement.len()) > MAX_TEXT {
        return Err(too_long());
    }
    Ok(Value::Str(text.replace(&*part, &replacement).into()))
}

fn slice<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let text = call.text(0)?;
    let length = integer(text.chars().count());
    let place = |position: i64| {
        let position = if position < 0 { length.saturating_add(position) } else { position };
        usize::try_from(position.clamp(0, length)).unwrap_or(0)
    };
    let from = place(call.integer(1)?);
    let to = place(if call.has(2) { call.integer(2)? } else { length });
    match (offset(&text, from), offset(&text, to)) {
        (Some(from), Some(to)) if from < to => Ok(Value::Str(cut(text, from, to))),
        _ => Ok(Value::Str(Cow::Borrowed(""))),
    }
}

/// RFC 9562 §5.4, version 4.
fn guid<'a>(call: &Call<'a>) -> Evaluated<'a> {
    let (high, low) = (call.facts.random(), call.facts.random());
    let high = (high & !0xf000) | 0x4000;
    let low = (low & (u64::MAX >> 2)) | (1 << 63);
    let dashed = format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    );
    let format = call.optional_text(0)?;
    let text = match format.as_deref() {
        None | Some("" | "D" | "d") => dashed,
        Some("N" | "n") => dashed.replace('-', ""),
        Some("B" | "b") => format!("{{{dashed}}}"),
        Some("P" | "p") => format!("({dashed})"),
        Some(_) => return Err(call.error("expected the format `D`, `N`, `B` or `P`")),
    };
    Ok(Value::Str(text.into()))
}

/// Only the locale of the gateway's own formats is known: silently formatting in another would be worse than an error.
pub(super) fn check_locale(call: &Call<'_>, index: usize) -> Result<(), EvaluationError> {
    match call.optional_text(index)? {
        Some(locale) if !locale.is_empty() && !locale.eq_ignore_ascii_case("en-us") => {
            Err(call.error("only the locale `en-US` is supported"))
        }
        _ => Ok(()),
    }
}
