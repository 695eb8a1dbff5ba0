//! Tables into typed values, with every mistake of a table reported at once and at its place.
//!
//! serde stops at the first error. Here the offending key is noted, taken out and the table read again, until it
//! reads or until nothing more can be taken out.

use std::ops::Range;

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::diagnostic::{Diagnostic, Diagnostics, one_of, suggest};
use super::source::FileId;

/// A TOML table with the place of every key and value.
pub type Table<'i> = DeTable<'i>;

/// A TOML value with its place.
pub type Value<'i> = Spanned<DeValue<'i>>;

/// Reads `T` from a table. `place` is where a missing key is reported. Mistakes go to `diagnostics`; the answer is
/// there only when there was none.
pub fn read<T: DeserializeOwned>(
    table: Table<'_>,
    file: FileId,
    place: &Range<usize>,
    diagnostics: &mut Diagnostics,
) -> Option<T> {
    let mut table = table;
    let mut removed: Vec<String> = Vec::new();
    let mut clean = true;
    loop {
        let spanned = Spanned::new(place.clone(), DeValue::Table(table.clone()));
        let error = match T::deserialize(ValueDeserializer::from(spanned)) {
            Ok(value) => return clean.then_some(value),
            Err(error) => error,
        };
        let span = error.span().unwrap_or_else(|| place.clone());
        let missing = error.message().strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
        match missing {
            Some(key) if removed.iter().any(|gone| gone == key) => return None,
            _ => diagnostics.push(explain(error.message(), file, span.clone())),
        }
        clean = false;
        match take_out(&mut table, &span) {
            Some(key) => removed.push(key),
            None => return None,
        }
    }
}

/// Removes the key or the value that stands at `span`; answers the key of the top table that was touched.
fn take_out(table: &mut Table<'_>, span: &Range<usize>) -> Option<String> {
    let within = |outer: Range<usize>| outer.start <= span.start && span.end <= outer.end;
    let hit =
        table.iter().find(|(key, value)| key.span() == *span || within(value.span())).map(|(key, _)| key.clone())?;
    let name = hit.get_ref().to_string();
    if hit.span() != *span
        && let Some(value) = table.get_mut(&hit)
        && let DeValue::Table(inner) = value.get_mut()
        && take_out(inner, span).is_some()
    {
        return Some(name);
    }
    table.remove(&hit);
    Some(name)
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
        "a sequence" => "a list",
        "sequence" => "a list",
        "map" => "a table",
        "a map" => "a table",
        other if other.starts_with("struct ") => "a table",
        other => other,
    };
    match text.strip_prefix("string \"") {
        Some(rest) => format!("the text \"{rest}"),
        None => text.to_owned(),
    }
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
