//! Operation templates: `/orders/{id}`, `/People('{id}')`, `/files/{*rest}`, `/get?kind={kind}&flag=1`.
//!
//! Grammar, as Azure API Management's URL templates: whole-segment and part-segment variables, one `{*rest}` or `*` as the
//! last segment, and query parameters that take part in matching with a literal value or a variable.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use super::path::{self, Dots};
use super::query;

/// A mistake in a template, a host pattern or a base path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct TemplateError {
    /// The bytes of the text that are wrong.
    pub span: Range<usize>,
    /// What is wrong: lower case, no period.
    pub message: String,
    /// What would be accepted.
    pub hint: Option<String>,
}

impl TemplateError {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: Some(hint.into()) }
    }
}

/// The segments of a template; each makes matching recurse once.
const MAX_SEGMENTS: usize = 100;

/// A parsed operation template. Clones share one allocation.
#[derive(Clone, PartialEq, Eq)]
pub struct Template(Arc<Inner>);

#[derive(PartialEq, Eq)]
struct Inner {
    source: Box<str>,
    segments: Box<[Segment]>,
    query: Box<[QueryPart]>,
    names: Box<[Box<str>]>,
}

/// One path segment of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Segment {
    /// Text in normal form; empty for a trailing slash.
    Literal(Box<str>),
    /// `{name}`
    Variable,
    /// `pre{a}-{b}post`
    Pattern(SegmentPattern),
    /// `{*rest}`: what is left, at least one segment.
    Rest,
    /// `*`: what is left, even nothing, without a name.
    Wildcard,
}

/// Literal text around variables in one segment: `prefix`, then a variable before each of `literals` and one after the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SegmentPattern {
    pub(super) prefix: Box<str>,
    pub(super) literals: Box<[Box<str>]>,
    pub(super) suffix: Box<str>,
}

/// A query parameter that takes part in matching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryPart {
    /// Decoded.
    pub(super) name: Box<str>,
    /// Decoded text, or nothing for a variable.
    pub(super) literal: Option<Box<str>>,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// The first mistake, with where it is and what would be accepted.
    pub fn parse(source: &str) -> Result<Self, TemplateError> {
        if !source.starts_with('/') {
            let hint = format!("write `/{source}`");
            return Err(TemplateError::new(0..source.len(), "a template begins with `/`", hint));
        }
        let (path, query_start) = match source.find('?') {
            Some(mark) => (&source[..mark], mark + 1),
            None => (source, source.len()),
        };
        let mut parser = Parser { source, names: Vec::new() };
        let segments = parser.path(path)?;
        let query = parser.query(query_start)?;
        Ok(Self(Arc::new(Inner {
            source: source.into(),
            segments: segments.into(),
            query: query.into(),
            names: parser.names.into_iter().map(|(name, _)| name).collect(),
        })))
    }

    /// The names of the variables: those of the path in order, then those of the query.
    pub fn names(&self) -> &[Box<str>] {
        &self.0.names
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.0.source
    }

    /// Whether the template itself names this (decoded) query parameter, so that rewrite-uri does not copy it.
    pub fn has_query_parameter(&self, name: &str) -> bool {
        self.0.query.iter().any(|part| *part.name == *name)
    }

    pub(super) fn segments(&self) -> &[Segment] {
        &self.0.segments
    }

    pub(super) fn query(&self) -> &[QueryPart] {
        &self.0.query
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Template({:?})", self.as_str())
    }
}

/// A run of literal text, or the inside of a pair of braces, with its place in the source.
pub(super) enum Piece<'a> {
    Literal { text: &'a str, at: usize },
    Variable { name: &'a str, span: Range<usize> },
}

/// Splits `source[range]` into literal text and `{…}`; checks the braces, not the names.
pub(super) fn pieces(source: &str, range: Range<usize>) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = range.start;
    while at < range.end {
        let rest = &source[at..range.end];
        let Some(brace) = rest.find(['{', '}']) else {
            pieces.push(Piece::Literal { text: rest, at });
            break;
        };
        if brace > 0 {
            pieces.push(Piece::Literal { text: &rest[..brace], at });
        }
        let open = at + brace;
        if rest.as_bytes()[brace] == b'}' {
            let hint = "remove it, or write `{name}`; a literal brace is `%7B` or `%7D`";
            return Err(TemplateError::new(open..open + 1, "`}` without `{` before it", hint));
        }
        let inside = &rest[brace + 1..];
        let close = match inside.find(['{', '}', '/']) {
            Some(close) if inside.as_bytes()[close] == b'}' => close,
            _ => {
                let hint = "close the variable in the same segment, as in `{name}`; a literal brace is `%7B`";
                return Err(TemplateError::new(open..open + 1, "`{` without `}` after it", hint));
            }
        };
        let end = open + close + 2;
        pieces.push(Piece::Variable { name: &inside[..close], span: open..end });
        at = end;
    }
    Ok(pieces)
}

/// Checks the name of a variable.
pub(super) fn check_name(name: &str, span: &Range<usize>) -> Result<(), TemplateError> {
    if name.trim().is_empty() {
        return Err(TemplateError::new(span.clone(), "a variable has no name", "write `{name}`"));
    }
    let allowed = |character: char| {
        character.is_alphanumeric() || matches!(character, '_' | '-' | '.' | '$' | '@' | ':' | '(' | ')' | ' ')
    };
    if name.trim() != name || !name.chars().all(allowed) {
        let hint = "use letters, digits, `_`, `-`, `.`, `$`, `@`, `:` and inner spaces";
        return Err(TemplateError::new(span.clone(), format!("`{name}` cannot be the name of a variable"), hint));
    }
    Ok(())
}

/// Literal path text in normal form, so that comparing it with a normal path is comparing bytes.
pub(super) fn literal(text: &str, at: usize) -> Result<String, TemplateError> {
    let mut out = String::with_capacity(text.len());
    for (offset, character) in text.char_indices() {
        let hint = match character {
            '*' => "`*` is the whole last segment, `{*name}` gives it a name, and `%2A` is a literal `*`",
            '#' => "a fragment is never sent; write `%23` for a literal `#`",
            '?' => "write `%3F` for a literal `?`",
            ' ' => "write `%20` for a space",
            character if character.is_control() || character.is_whitespace() => "remove it",
            _ => continue,
        };
        let span = at + offset..at + offset + character.len_utf8();
        return Err(TemplateError::new(span, format!("{character:?} cannot stand here"), hint));
    }
    path::normalise_text(text, at, &mut out).map_err(|error| match error {
        path::PathError::InvalidEscape { at: percent } => {
            let end = text.len().min(percent - at + 3) + at;
            let end = (percent + 1..=end).rev().find(|end| text.is_char_boundary(end - at)).unwrap_or(percent + 1);
            let hint = "write two hexadecimal digits after `%`, or `%25` for a literal `%`";
            TemplateError::new(percent..end, "invalid percent-escape", hint)
        }
        path::PathError::ControlCharacter { at: byte } => {
            TemplateError::new(byte..byte + 3, "an escaped control character never matches", "remove it")
        }
        error => TemplateError::new(at..at + text.len(), error.to_string(), "remove it"),
    })?;
    Ok(out)
}

struct Parser<'a> {
    source: &'a str,
    names: Vec<(Box<str>, Range<usize>)>,
}

impl Parser<'_> {
    fn path(&mut self, path: &str) -> Result<Vec<Segment>, TemplateError> {
        let mut segments = Vec::new();
        if path == "/" {
            return Ok(segments);
        }
        let mut at = 1;
        for text in path[1..].split('/') {
            let range = at..at + text.len();
            let is_last = range.end == path.len();
            if segments.len() == MAX_SEGMENTS {
                let message = format!("a template has at most {MAX_SEGMENTS} segments");
                return Err(TemplateError::new(at..path.len(), message, "end it with `{*rest}`"));
            }
            segments.push(self.segment(text, range, is_last)?);
            at += text.len() + 1;
        }
        Ok(segments)
    }

    fn segment(&mut self, text: &str, range: Range<usize>, is_last: bool) -> Result<Segment, TemplateError> {
        if text == "*" {
            return if is_last { Ok(Segment::Wildcard) } else { Err(not_last(range)) };
        }
        let pieces = pieces(self.source, range.clone())?;
        if let [Piece::Variable { name, span }] = &pieces[..] {
            let Some(name) = name.strip_prefix('*') else {
                self.declare(name, span)?;
                return Ok(Segment::Variable);
            };
            if !is_last {
                return Err(not_last(range));
            }
            self.declare(name, span)?;
            return Ok(Segment::Rest);
        }
        // Literal texts with one variable between each two of them: begins and ends with a literal, perhaps empty.
        let mut literals: Vec<Box<str>> = Vec::new();
        let mut previous: Option<Range<usize>> = None;
        for piece in pieces {
            match piece {
                Piece::Literal { text, at } => {
                    literals.push(literal(text, at)?.into());
                    previous = None;
                }
                Piece::Variable { name, span } => {
                    if let Some(previous) = previous {
                        let message = "two variables with nothing between them";
                        let hint = "put text between them, as in `{a}-{b}`";
                        return Err(TemplateError::new(previous.start..span.end, message, hint));
                    }
                    if name.starts_with('*') {
                        let message = format!("`{{{name}}}` shares its segment with other text");
                        return Err(TemplateError::new(span, message, "make it the whole last segment"));
                    }
                    self.declare(name, &span)?;
                    if literals.is_empty() {
                        literals.push("".into());
                    }
                    previous = Some(span);
                }
            }
        }
        if previous.is_some() {
            literals.push("".into());
        }
        let mut literals = literals.into_iter();
        let prefix = literals.next().unwrap_or_default();
        let Some(suffix) = literals.next_back() else {
            if path::dots(prefix.as_bytes()) != Dots::None {
                let message = format!("the dot segment `{text}` never matches");
                return Err(TemplateError::new(range, message, "write the path that it leads to"));
            }
            return Ok(Segment::Literal(prefix));
        };
        Ok(Segment::Pattern(SegmentPattern { prefix, literals: literals.collect(), suffix }))
    }

    fn query(&mut self, start: usize) -> Result<Vec<QueryPart>, TemplateError> {
        let mut parts: Vec<QueryPart> = Vec::new();
        let mut at = start;
        if start >= self.source.len() {
            return Ok(parts);
        }
        for text in self.source[start..].split('&') {
            let range = at..at + text.len();
            at = range.end + 1;
            let (name, value) = text.split_once('=').unwrap_or((text, ""));
            if name.is_empty() {
                let hint = "write `?name={variable}` or `?name=value`";
                return Err(TemplateError::new(range, "a query parameter has no name", hint));
            }
            let name_span = range.start..range.start + name.len();
            if name.contains(['{', '}']) {
                let hint = "only the value may be a variable, as in `?name={variable}`";
                return Err(TemplateError::new(name_span, "a variable as the name of a query parameter", hint));
            }
            let name = query_literal(name, name_span.clone())?;
            if parts.iter().any(|part| part.name == name) {
                let message = format!("the query parameter `{name}` is listed twice");
                return Err(TemplateError::new(name_span, message, "remove one of them"));
            }
            let value_span = range.end - value.len()..range.end;
            let literal = match &pieces(self.source, value_span.clone())?[..] {
                [] => Some("".into()),
                [Piece::Literal { text, .. }] => Some(query_literal(text, value_span)?),
                [Piece::Variable { name, span }] if !name.starts_with('*') => {
                    self.declare(name, span)?;
                    None
                }
                _ => {
                    let hint = "make the whole value a literal or one `{variable}`";
                    return Err(TemplateError::new(value_span, "a query value mixes text and variables", hint));
                }
            };
            parts.push(QueryPart { name, literal });
        }
        Ok(parts)
    }

    fn declare(&mut self, name: &str, span: &Range<usize>) -> Result<(), TemplateError> {
        check_name(name, span)?;
        if let Some((_, first)) = self.names.iter().find(|(known, _)| **known == *name) {
            let message = format!("the variable `{name}` is named twice");
            let hint = format!("it is already at byte {}; give this one another name", first.start);
            return Err(TemplateError::new(span.clone(), message, hint));
        }
        self.names.push((name.into(), span.clone()));
        Ok(())
    }
}

fn not_last(range: Range<usize>) -> TemplateError {
    TemplateError::new(range, "a catch-all is not the last segment", "move it to the end, or write `{name}`")
}

fn query_literal(text: &str, span: Range<usize>) -> Result<Box<str>, TemplateError> {
    if let Some(bad) = text.find(|character: char| character.is_control() || matches!(character, '#' | '?' | '*')) {
        let end = bad + text[bad..].chars().next().map_or(1, char::len_utf8);
        let message = format!("{:?} cannot stand in a query parameter", &text[bad..end]);
        return Err(TemplateError::new(span.start + bad..span.start + end, message, "write it as a percent-escape"));
    }
    match query::decode(text) {
        Cow::Borrowed(text) => Ok(text.into()),
        Cow::Owned(text) => Ok(text.into()),
    }
}

// === matching one segment ===

impl SegmentPattern {
    /// How many bytes are literal: the more, the earlier the pattern is tried.
    pub(super) fn literal_len(&self) -> usize {
        self.prefix.len() + self.suffix.len() + self.literals.iter().map(|literal| literal.len()).sum::<usize>()
    }

    /// Where the variables are in `segment`, pushed in order; pushes nothing when it does not match.
    ///
    /// Delimiters are found from right to left, as in ASP.NET's complex segments: `{name}.{ext}` reads `a.b.c` as `a.b`
    /// and `c`. Every variable has at least one byte. No delimiter begins inside an escape.
    pub(super) fn captures(&self, segment: &str, mut push: impl FnMut(Range<usize>)) -> bool {
        let bytes = segment.as_bytes();
        if bytes.len() < self.literal_len() + self.literals.len() + 1
            || !bytes[..self.prefix.len()].eq_ignore_ascii_case(self.prefix.as_bytes())
        {
            return false;
        }
        let start = self.prefix.len();
        let mut end = bytes.len() - self.suffix.len();
        if !bytes[end..].eq_ignore_ascii_case(self.suffix.as_bytes()) || inside_escape(bytes, end) {
            return false;
        }
        let mut found: smallvec::SmallVec<[Range<usize>; 4]> = smallvec::SmallVec::new();
        for literal in self.literals.iter().rev() {
            let literal = literal.as_bytes();
            // One byte for the variable on either side.
            let Some(last) = end.checked_sub(literal.len() + 1) else { return false };
            let Some(at) = (start + 1..=last)
                .rev()
                .find(|&at| bytes[at..at + literal.len()].eq_ignore_ascii_case(literal) && !inside_escape(bytes, at))
            else {
                return false;
            };
            found.push(at + literal.len()..end);
            end = at;
        }
        push(start..end);
        found.into_iter().rev().for_each(push);
        true
    }

    /// Whether some segment matches both. The variables take up whatever lies between, so only the ends can disagree.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let starts = self.prefix.len().min(other.prefix.len());
        let ends = self.suffix.len().min(other.suffix.len());
        let (own, others) = (self.suffix.as_bytes(), other.suffix.as_bytes());
        self.prefix.as_bytes()[..starts].eq_ignore_ascii_case(&other.prefix.as_bytes()[..starts])
            && own[own.len() - ends..].eq_ignore_ascii_case(&others[others.len() - ends..])
    }

    /// Whether both match the same segments in the same way.
    pub(super) fn same_shape(&self, other: &Self) -> bool {
        self.prefix.eq_ignore_ascii_case(&other.prefix)
            && self.suffix.eq_ignore_ascii_case(&other.suffix)
            && self.literals.len() == other.literals.len()
            && self.literals.iter().zip(&other.literals).all(|(one, two)| one.eq_ignore_ascii_case(two))
    }
}

fn inside_escape(bytes: &[u8], at: usize) -> bool {
    (at >= 1 && bytes[at - 1] == b'%') || (at >= 2 && bytes[at - 2] == b'%')
}

impl Segment {
    /// Whether some request segment matches both.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Literal(one), Self::Literal(two)) => one.eq_ignore_ascii_case(two),
            (Self::Literal(text), Self::Pattern(pattern)) | (Self::Pattern(pattern), Self::Literal(text)) => {
                pattern.captures(text, |_| {})
            }
            (Self::Literal(text), Self::Variable) | (Self::Variable, Self::Literal(text)) => !text.is_empty(),
            (Self::Pattern(one), Self::Pattern(two)) => one.overlaps(two),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
