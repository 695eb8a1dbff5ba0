//! A path and a query with variables and expressions in them, whose values stay in their places.

use std::ops::Range;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::body_template::hole;
use super::unfit::{self, Made, Unfit};
use super::value::evaluation_failed;
use crate::compile::{CompileCx, CompileError};
use crate::config::Text;
use crate::expression::{Expression, Given, Place, Source};
use crate::pipeline::{Context, Fault};
use crate::routing::{self, Sent, query};

/// All but the unreserved characters (RFC 3986 §2.3).
const VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A path and query as connector templates write them: `/v2/@queryParameters('kind')/{id}?x=@headers('y')`.
#[derive(Debug)]
pub(super) struct RouteTemplate(Vec<Part>);

#[derive(Debug)]
enum Part {
    Text(String),
    Variable(String),
    Expression {
        expression: Expression,
        /// Whether it is a segment of the path alone: without a value the request would go somewhere else.
        is_segment: bool,
    },
}

impl RouteTemplate {
    /// Compiles a template. Variables that the operation's template does not have are reported.
    pub(super) fn compile(text: &Text, cx: &mut CompileCx<'_, '_>) -> Result<Self, CompileError> {
        let mut parts = Vec::new();
        let mut variables: Vec<(String, Range<usize>)> = Vec::new();
        let mut literal = String::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let Some(found) = rest.find(['@', '{']) else { break };
            literal.push_str(&rest[..found]);
            at += found;
            if text[at..].starts_with('{') {
                let close = text[at..].find('}').ok_or_else(|| CompileError {
                    span: Some(cx.inside(text, &(at..text.len()))),
                    code: "bad-template",
                    message: "the `{` is never closed".to_owned(),
                    hint: Some("`{name}` stands for a variable of the operation's template".to_owned()),
                })?;
                let name = text[at + 1..at + close].to_owned();
                flush(&mut parts, &mut literal);
                variables.push((name.clone(), at + 1..at + close));
                parts.push(Part::Variable(name));
                at += close + 1;
                continue;
            }
            match hole(text, at) {
                Some(hole) => {
                    flush(&mut parts, &mut literal);
                    let expression = cx.expression_in(text, hole.expression)?;
                    parts.push(Part::Expression { expression, is_segment: false });
                    at = hole.end;
                }
                None => {
                    let escaped = text[at + 1..].starts_with('@');
                    literal.push('@');
                    at += if escaped { 2 } else { 1 };
                }
            }
        }
        literal.push_str(&text[at..]);
        flush(&mut parts, &mut literal);
        if let Some(hash) = text.find('#') {
            return Err(CompileError {
                span: Some(cx.inside(text, &(hash..hash + 1))),
                code: "bad-template",
                message: "`#` cannot stand here".to_owned(),
                hint: Some("a fragment is never sent; write `%23` for a literal `#`".to_owned()),
            });
        }
        cx.check_variables(text, variables.iter().map(|(name, range)| (name.as_str(), range.clone())));
        mark_segments(&mut parts);
        Ok(Self(parts))
    }

    /// Where requests are sent by it.
    pub(super) fn sent(&self) -> Sent {
        let mut path = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => path.push_str(text),
                Part::Variable(name) => path.extend(["{", name, "}"]),
                // A parameter with it is no variable.
                Part::Expression { .. } if path.contains('?') => path.push('@'),
                Part::Expression { .. } => return Sent::Unknown,
            }
        }
        Sent::to(&path)
    }

    /// Path and query for an exchange. With `keep` the request's query is kept, but for parameters that the template names.
    pub(super) fn target(&self, cx: &Context<'_>, keep: bool) -> Result<PathAndQuery, Fault> {
        let mut made = String::with_capacity(64);
        for part in &self.0 {
            match part {
                Part::Text(text) => made.push_str(text),
                Part::Variable(name) => {
                    let value = cx.exchange.parameter(name).map(routing::Value::decode).unwrap_or_default();
                    made.extend(utf8_percent_encode(&value, VALUE));
                }
                Part::Expression { expression, is_segment } => {
                    let value = expression.text(cx).map_err(evaluation_failed)?;
                    if *is_segment && value.is_empty() {
                        without_value(expression, cx)?;
                    }
                    made.extend(utf8_percent_encode(&value, VALUE));
                }
            }
        }
        let (path, own) = made.split_once('?').unwrap_or((&made, ""));
        let slash = if path.starts_with('/') { "" } else { "/" };
        if path.split('/').any(is_dots) {
            return Err(Fault::client(
                StatusCode::BAD_REQUEST,
                "PathParameterInvalid",
                "A path parameter is not allowed.",
            ));
        }
        let path = format!("{slash}{path}");
        let path = routing::normalise(&path).map_err(|error| self.invalid(&error.to_string(), cx))?;
        let mut all = own.to_owned();
        if let Some(old) = cx.uri().and_then(Uri::query).filter(|_| keep) {
            query::merge(&mut all, old, |pair| query::find(own, &pair.name()).is_none());
        }
        let mark = if all.is_empty() { "" } else { "?" };
        PathAndQuery::from_maybe_shared(Bytes::from(format!("{path}{mark}{all}")))
            .map_err(|error| self.invalid(&error.to_string(), cx))
    }

    #[cold]
    fn invalid(&self, cause: &str, cx: &Context<'_>) -> Fault {
        let mut sources = Vec::new();
        for part in &self.0 {
            match part {
                Part::Text(_) => {}
                Part::Variable(name) => sources.push(Source {
                    place: Place::Path,
                    name: name.clone(),
                    has_default: false,
                    given: cx.exchange.parameter(name).map_or(Given::Nothing, |_| Given::Text),
                }),
                Part::Expression { expression, .. } => sources.extend(expression.sources(cx)),
            }
        }
        // A value that is not there makes no path invalid.
        sources.retain(|source| source.given == Given::Text);
        Unfit::Invalid(cause.to_owned()).fault(Made::Path, &sources, cx)
    }
}

/// Marks expressions that stand alone in a segment of the path.
fn mark_segments(parts: &mut [Part]) {
    let is_text = |part: Option<&Part>, fits: fn(&str) -> bool| match part {
        None => true,
        Some(Part::Text(text)) => fits(text),
        Some(_) => false,
    };
    for at in 0..parts.len() {
        if matches!(&parts[at], Part::Text(text) if text.contains('?')) {
            break;
        }
        let before = at.checked_sub(1).map(|at| &parts[at]);
        let alone = is_text(before, |text| text.ends_with('/'))
            && is_text(parts.get(at + 1), |text| text.starts_with(['/', '?']));
        if let Part::Expression { is_segment, .. } = &mut parts[at] {
            *is_segment = alone;
        }
    }
}

/// A segment of the path is without a value: `DELETE /items/{id}` must not become `DELETE /items/`. Where the template says what stands in
/// its place, be it nothing, that is meant.
#[cold]
fn without_value(expression: &Expression, cx: &Context<'_>) -> Result<(), Fault> {
    match &expression.sources(cx)[..] {
        [source] if !source.has_default && source.given != Given::Text => Err(unfit::missing(source, Made::Path, cx)),
        _ => Ok(()),
    }
}

fn flush(parts: &mut Vec<Part>, literal: &mut String) {
    if !literal.is_empty() {
        parts.push(Part::Text(std::mem::take(literal)));
    }
}

/// Whether a backend may take a segment for `.` or `..`.
fn is_dots(segment: &str) -> bool {
    let decoded = percent_decode_str(segment).decode_utf8_lossy();
    decoded.split(['/', '\\', ';']).any(|part| part == "." || part == "..")
}
