//! Rewrite templates: the path and query that rewrite-uri writes, with the values of matched variables filled in.

use std::ops::Range;

use super::path::{self, Dots, is_unreserved, push_escape};
use super::query;
use super::template::{Piece, TemplateError, check_name, literal, pieces};
use super::way_back::Sent;

/// A parsed rewrite template: `/v2/orders/{id}?expand={expand}`. Unlike an operation template it may name a variable
/// several times, anywhere in the path or the query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rewrite {
    path: Box<[Part]>,
    query: Box<[Part]>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(Box<str>),
    Variable { name: Box<str>, span: Range<usize> },
}

/// The value of a variable, still encoded as it was in the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// A part of the normalised path.
    Path(&'a str),
    /// The value of a query parameter, as it was sent.
    Query(&'a str),
}

impl<'a> Value<'a> {
    /// The value as text. Invalid UTF-8 becomes U+FFFD; in a path `+` is a plus, in a query a space.
    pub fn decode(self) -> std::borrow::Cow<'a, str> {
        match self {
            Self::Path(raw) => percent_encoding::percent_decode_str(raw).decode_utf8_lossy(),
            Self::Query(raw) => query::decode(raw),
        }
    }
}

/// Why a request's values do not fit the template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpandError {
    /// A value would turn a segment into `.` or `..`, or into one beside an escaped separator, and the backend may resolve
    /// it to another resource.
    #[error("a value turns a path segment into a dot segment")]
    DotSegment,
    /// A value from the query has a control character, which may not stand in a path.
    #[error("a value has a control character")]
    ControlCharacter,
}

impl Rewrite {
    /// Parses a template. A missing first `/` is added, as Azure API Management does.
    ///
    /// # Errors
    /// Where the template is wrong and what would be accepted.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        let (path_end, query_start) = match source.find('?') {
            Some(mark) => (mark, mark + 1),
            None => (source.len(), source.len()),
        };
        let mut path = parts(source, 0..path_end, |text, at| {
            let (mut out, mut start) = (String::new(), 0);
            for (offset, _) in text.match_indices(['/', '*']).chain([(text.len(), "")]) {
                out.push_str(&literal(&text[start..offset], at + start)?);
                // `*` means nothing in a rewrite template, so that it is an ordinary character.
                out.push_str(text.get(offset..offset + 1).unwrap_or_default());
                start = offset + 1;
            }
            Ok(out)
        })?;
        if !source.starts_with('/') {
            path.insert(0, Part::Literal("/".into()));
        }
        if let Some(segment) = source[..path_end].split('/').find(|text| path::dots(text.as_bytes()) != Dots::None) {
            let at = segment.as_ptr().addr() - source.as_ptr().addr();
            let message = format!("the dot segment `{segment}` never reaches a backend");
            return Err(TemplateError::new(at..at + segment.len(), message, "write the path that it leads to"));
        }
        let query = parts(source, query_start..source.len(), |text, at| {
            if let Some(hash) = text.find('#') {
                let hint = "a fragment is never sent; write `%23` for a literal `#`";
                return Err(TemplateError::new(at + hash..at + hash + 1, "`#` cannot stand here", hint));
            }
            Ok(query_text(text))
        })?;
        Ok(Self { path: path.into(), query: query.into() })
    }

    /// The variables, with where they are in the source, so that unknown ones can be reported.
    pub fn variables(&self) -> impl Iterator<Item = (&str, Range<usize>)> {
        self.path.iter().chain(&self.query).filter_map(|part| match part {
            Part::Variable { name, span } => Some((&**name, span.clone())),
            Part::Literal(_) => None,
        })
    }

    /// Where requests are sent by it.
    pub fn sent(&self) -> Sent {
        let mut target = String::new();
        let mut write = |parts: &[Part]| {
            for part in parts {
                match part {
                    Part::Literal(text) => target.push_str(text),
                    Part::Variable { name, .. } => target.extend(["{", name, "}"]),
                }
            }
        };
        write(&self.path);
        write(&[Part::Literal("?".into())]);
        write(&self.query);
        Sent::to(&target)
    }

    /// Whether the template has a query of its own.
    pub fn has_query(&self) -> bool {
        !self.query.is_empty()
    }

    /// Appends the path to `path` and the query to `query`. Variables without a value are empty.
    ///
    /// A value stays within its place: one from the query cannot bring a `/` into the path, none can add a parameter.
    ///
    /// # Errors
    /// See [`ExpandError`]; the client's mistake.
    pub fn expand<'v>(
        &self,
        mut value: impl FnMut(&str) -> Option<Value<'v>>,
        path: &mut String,
        query: &mut String,
    ) -> Result<(), ExpandError> {
        let start = path.len();
        for part in &self.path {
            match part {
                Part::Literal(text) => path.push_str(text),
                Part::Variable { name, .. } => match value(name) {
                    Some(Value::Path(raw)) => path.push_str(raw),
                    Some(Value::Query(raw)) => query_to_path(raw, path)?,
                    None => {}
                },
            }
        }
        if path[start..].split('/').any(|segment| path::dots(segment.as_bytes()) != Dots::None) {
            return Err(ExpandError::DotSegment);
        }
        for part in &self.query {
            match part {
                Part::Literal(text) => query.push_str(text),
                Part::Variable { name, .. } => match value(name) {
                    Some(Value::Path(raw)) => path_to_query(raw, query),
                    Some(Value::Query(raw)) => query.push_str(raw),
                    None => {}
                },
            }
        }
        Ok(())
    }
}

fn parts(
    source: &str,
    range: Range<usize>,
    mut literal: impl FnMut(&str, usize) -> Result<String, TemplateError>,
) -> Result<Vec<Part>, TemplateError> {
    let parts = pieces(source, range)?.into_iter().map(|piece| match piece {
        Piece::Literal { text, at } => Ok(Part::Literal(literal(text, at)?.into())),
        Piece::Variable { name, span } => {
            // `{*rest}` is accepted for the catch-all of that name.
            let name = name.strip_prefix('*').unwrap_or(name);
            check_name(name, &span)?;
            Ok(Part::Variable { name: name.into(), span })
        }
    });
    parts.collect()
}

/// Literal query text: what may not stand in a request target is encoded, everything else stays.
fn query_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'<' | b'>' | b'\\' | b'^' | b'`' | b'|') {
            out.push(char::from(byte));
        } else {
            push_escape(byte, &mut out);
        }
    }
    out
}

fn query_to_path(raw: &str, out: &mut String) -> Result<(), ExpandError> {
    for byte in query::decoded(raw) {
        if byte.is_ascii_control() {
            return Err(ExpandError::ControlCharacter);
        }
        // RFC 3986 §3.3: `sub-delims`, `:` and `@` may stand in a segment; `;` is left out, it begins a parameter.
        if is_unreserved(byte) || b"!$&'()*+,=:@".contains(&byte) {
            out.push(char::from(byte));
        } else {
            push_escape(byte, out);
        }
    }
    Ok(())
}

fn path_to_query(raw: &str, out: &mut String) {
    for character in raw.chars() {
        match character {
            '&' | '+' | '=' | ';' if character.is_ascii() => push_escape(character as u8, out),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn expand(template: &str, values: &[(&str, Value<'static>)]) -> Result<String, ExpandError> {
        let rewrite = Rewrite::parse(template).expect(template);
        let (mut path, mut query) = (String::new(), String::new());
        let value = |name: &str| values.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
        rewrite.expand(value, &mut path, &mut query)?;
        Ok(if query.is_empty() { path } else { format!("{path}?{query}") })
    }

    #[test]
    fn expansion() {
        use Value::{Path, Query};
        for (template, value, want) in [
            ("/v2/orders/{id}", Path("42"), Ok("/v2/orders/42")),
            ("v2/{id}", Path("42"), Ok("/v2/42")),
            ("{id}", Path("42"), Ok("/42")),
            ("/", Path("42"), Ok("/")),
            ("", Path("42"), Ok("/")),
            ("/{id}/{id}?i={id}", Path("a%2Fb"), Ok("/a%2Fb/a%2Fb?i=a%2Fb")),
            ("/a{id}{id}.json", Path("7"), Ok("/a77.json")),
            ("/files/{*id}", Path("a/b/"), Ok("/files/a/b/")),
            ("/x?q={id}&k=1", Path("a&b=c+d"), Ok("/x?q=a%26b%3Dc%2Bd&k=1")),
            ("/x/{id}", Query("a%2fb+c%3Fd"), Ok("/x/a%2Fb%20c%3Fd")),
            ("/x?q={id}", Query("a%2fb+c"), Ok("/x?q=a%2fb+c")),
            ("/x?$filter=name eq '{id}'", Path("z"), Ok("/x?$filter=name%20eq%20'z'")),
            ("/caf\u{e9}/{id}/*", Path("z"), Ok("/caf%C3%A9/z/*")),
            ("/x/{other}", Path("z"), Ok("/x/")),
            ("/x/{id}/y", Path(".."), Err(ExpandError::DotSegment)),
            ("/x/{id}/y", Query("%2e%2E"), Err(ExpandError::DotSegment)),
            ("/x/.{id}", Path("."), Err(ExpandError::DotSegment)),
            ("/x/{id}", Query("..%3bx"), Ok("/x/..%3Bx")),
            ("/x/{id}", Query("../y"), Err(ExpandError::DotSegment)),
            ("/x/{id}", Query("a/y"), Ok("/x/a%2Fy")),
            ("/x/{id}", Query("%0d%0aHost:"), Err(ExpandError::ControlCharacter)),
            ("/x?q={id}", Query("%0d%0aHost:"), Ok("/x?q=%0d%0aHost:")),
        ] {
            assert_eq!(expand(template, &[("id", value)]).as_deref(), want.as_ref().copied(), "{template} {value:?}");
        }
    }

    #[test]
    fn mistakes() {
        for (template, span, message) in [
            ("/a/{id", 3..4, "`{` without `}` after it"),
            ("/a/id}", 5..6, "`}` without `{` before it"),
            ("/a/{}", 3..5, "a variable has no name"),
            ("/a?b={}", 5..7, "a variable has no name"),
            ("/a b", 2..3, "' ' cannot stand here"),
            ("/a#b", 2..3, "'#' cannot stand here"),
            ("/a?b#c", 4..5, "`#` cannot stand here"),
            ("/a/../b", 3..5, "the dot segment `..` never reaches a backend"),
            ("/a%2", 2..4, "invalid percent-escape"),
        ] {
            let error = Rewrite::parse(template).expect_err(template);
            assert_eq!((error.span, &*error.message), (span, message), "{template}");
            assert!(error.hint.is_some(), "{template}");
        }
    }

    #[test]
    fn variables_with_spans() {
        let rewrite = Rewrite::parse("/{a}/{b}?c={a}").expect("valid");
        assert_eq!(rewrite.variables().collect::<Vec<_>>(), [("a", 1..4), ("b", 5..8), ("a", 11..14)]);
    }
}
