//! Tables into typed values, with every mistake of a table reported at once and at its place.
//!
//! serde stops at the first error. Here the offending key is noted, taken out and the table read again, until it
//! reads or until nothing more can be taken out.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue, ValueDeserializer};

use super::diagnostic::{Diagnostic, Diagnostics, closest, one_of, suggest};
use super::source::FileId;

/// A TOML table with the place of every key and value.
pub type Table<'i> = DeTable<'i>;

/// A TOML value with its place.
pub type Value<'i> = Spanned<DeValue<'i>>;

/// Reads `T` from a table. `place` is where a missing key is reported. Mistakes go to `diagnostics`; the answer is
/// there only when there was none.
pub fn read<T: DeserializeOwned>(
    table: &Table<'_>,
    file: FileId,
    place: &Range<usize>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let before = diagnostics.errors();
    read_what_is_right(table, file, place, diagnostics).filter(|_| diagnostics.errors() == before)
}

/// Reads `T` from a table without the keys that are wrong, so that what else is wrong can be found; the mistakes go to
/// `diagnostics`. No answer when a key is missing that is needed.
pub fn read_what_is_right<T: DeserializeOwned>(
    table: &Table<'_>,
    file: FileId,
    place: &Range<usize>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    // serde takes what it reads; without a mistake the table is copied once.
    let read =
        |table: Table<'_>| T::deserialize(ValueDeserializer::from(Spanned::new(place.clone(), DeValue::Table(table))));
    let mut error = match read(table.clone()) {
        Ok(value) => return Some(value),
        Err(error) => error,
    };
    let mut table = table.clone();
    // Keys that are missing because their mistakes have been reported: taken out, or meant by a key that was.
    let mut accounted: Vec<String> = Vec::new();
    loop {
        let span = error.span().unwrap_or_else(|| place.clone());
        let message = error.message();
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        if missing.is_none_or(|key| !accounted.iter().any(|gone| gone == key)) {
            diagnostics.push(explain(message, file, span.clone()));
        }
        if let Some(rest) = message.strip_prefix("unknown field ") {
            let names: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
            let meant = names.split_first().and_then(|(found, known)| closest(found, known.iter().copied()));
            accounted.extend(meant.map(str::to_owned));
        }
        accounted.push(take_out(&mut table, &span)?);
        error = match read(table.clone()) {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
    }
}

/// Removes the key or the value that stands at `span`; answers the key that was removed. The place of a table under a
/// header of its own is only the header, so every table is searched.
fn take_out(table: &mut Table<'_>, span: &Range<usize>) -> Option<String> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let mut found = table.keys().find(|key| key.span() == *span).cloned();
    if found.is_none() {
        // A list of tables stands where its first table stands: what is inside comes first.
        if let Some(name) = table.iter_mut().find_map(|(_, value)| take_out_of(value, span)) {
            return Some(name);
        }
        found = table.iter().find(|(_, value)| within(value.span())).map(|(key, _)| key.clone());
    }
    let key = found?;
    table.remove(&key);
    Some(key.into_inner().into_owned())
}

fn take_out_of(value: &mut Value<'_>, span: &Range<usize>) -> Option<String> {
    match value.get_mut() {
        DeValue::Table(inner) => take_out(inner, span),
        DeValue::Array(list) => {
            if list.iter().any(|item| item.span() == *span) {
                for item in std::mem::replace(list, DeArray::new()) {
                    if item.span() != *span {
                        list.push(item);
                    }
                }
                return Some(String::new());
            }
            list.iter_mut().find_map(|item| take_out_of(item, span))
        }
        _ => None,
    }
}

/// serde's and toml's wording, in ours.
fn explain(message: &str, file: FileId, span: Range<usize>) -> Diagnostic {
    let (message, hint) = match message.split_once("; hint: ") {
        Some((message, hint)) => (message, Some(hint.to_owned())),
        None => (message, None),
    };
    let quoted = |text: &str| -> Vec<String> { text.split('`').skip(1).step_by(2).map(str::to_owned).collect() };
    let diagnostic = if let Some(rest) = message.strip_prefix("unknown field ") {
        let names = quoted(rest);
        let (found, known) = names.split_first().map_or(("", &[][..]), |(found, known)| (found.as_str(), known));
        Diagnostic::error("unknown-key", file, span, format!("unknown key `{found}`"))
            .label(format!("expected {}", one_of(known.iter().map(String::as_str))))
            .maybe_hint(suggest(found, known.iter().map(String::as_str)))
    } else if let Some(rest) = message.strip_prefix("unknown variant ") {
        let names = quoted(rest);
        let (found, known) = names.split_first().map_or(("", &[][..]), |(found, known)| (found.as_str(), known));
        Diagnostic::error("unknown-value", file, span, format!("unknown value `{found}`"))
            .label(format!("expected {}", one_of(known.iter().map(String::as_str))))
            .maybe_hint(suggest(found, known.iter().map(String::as_str)))
    } else if let Some(rest) = message.strip_prefix("missing field ") {
        let names = quoted(rest);
        let name = names.first().map_or("", String::as_str);
        Diagnostic::error("missing-key", file, span, format!("missing key `{name}`"))
    } else if let Some(rest) = message.strip_prefix("duplicate field ") {
        // TOML itself refuses a key that stands twice; these are two names for one thing.
        Diagnostic::error("bad-policy", file, span, format!("{rest} is given twice, by two of its names"))
    } else if let Some(rest) = message.strip_prefix("invalid type: ") {
        let (found, expected) = rest.split_once(", expected ").unwrap_or((rest, "something else"));
        Diagnostic::error(
            "wrong-type",
            file,
            span,
            format!("expected {}, found {}", toml_words(expected), toml_words(found)),
        )
    } else if let Some(rest) = message.strip_prefix("invalid value: ") {
        let (found, expected) = rest.split_once(", expected ").unwrap_or((rest, "something else"));
        Diagnostic::error(
            "bad-value",
            file,
            span,
            format!("expected {}, found {}", toml_words(expected), toml_words(found)),
        )
    } else if message.starts_with("expected text or an expression") || message.starts_with("C#") {
        Diagnostic::error("bad-expression", file, span, message)
    } else {
        Diagnostic::error("bad-value", file, span, message)
    };
    diagnostic.maybe_hint(hint)
}

/// Rust's names for types, in TOML's.
fn toml_words(text: &str) -> String {
    let text = match text {
        "u8" => "an integer from 0 to 255",
        "u16" => "an integer from 0 to 65535",
        "u32" | "u64" | "usize" => "an integer of zero or more",
        "i64" | "i32" => "an integer",
        "a nonzero u32" | "a nonzero u64" | "a nonzero usize" | "a nonzero u16" => "an integer of 1 or more",
        "f64" => "a number",
        "a boolean" => "`true` or `false`",
        "a string" => "text",
        "a sequence" => "a list",
        "sequence" => "a list",
        "map" => "a table",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    for (rust, toml) in [
        ("string \"", "the text \""),
        ("integer `", "the integer `"),
        ("floating point `", "the number `"),
        ("boolean `", "`"),
    ] {
        if let Some(rest) = text.strip_prefix(rust) {
            return format!("{toml}{rest}");
        }
    }
    text.to_owned()
}

/// Takes a key out of a table, with its value.
pub fn take<'i>(table: &mut Table<'i>, name: &str) -> Option<(Spanned<String>, Value<'i>)> {
    let key = table.keys().find(|key| key.get_ref() == name)?.clone();
    let value = table.remove(&key)?;
    Some((Spanned::new(key.span(), key.into_inner().into_owned()), value))
}

/// The text of a value, when it is text.
pub fn as_text<'a>(value: &'a Value<'_>) -> Option<&'a str> {
    match value.get_ref() {
        DeValue::String(text) => Some(text),
        _ => None,
    }
}
