//! The parts of an absolute URI (RFC 3986 §3), as .NET's `Uri` names them.

use std::ops::Range;

use super::text::cut;
use super::{Evaluated, Function};
use crate::expression::evaluate::Call;
use crate::expression::{EvaluationError, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function::new(
        "uriHost(uri)",
        "The host.",
        "uriHost('https://www.contoso.com:8080/a')",
        "'www.contoso.com'",
        |call| part(call, |parts| parts.host),
    ),
    Function::new(
        "uriPath(uri)",
        "The path.",
        "uriPath('https://contoso.com/a/b.htm?date=today')",
        "'/a/b.htm'",
        |call| path(call, |parts| parts.path),
    ),
    Function::new(
        "uriPathAndQuery(uri)",
        "The path and the query.",
        "uriPathAndQuery('https://contoso.com/a?date=today#top')",
        "'/a?date=today'",
        |call| path(call, |parts| parts.path.start..parts.query.end),
    ),
    Function::new(
        "uriPort(uri)",
        "The port, the scheme's own where none is written.",
        "uriPort('https://contoso.com/a')",
        "443",
        |call| {
            let uri = call.text(0)?;
            let parts = Parts::of(call, &uri)?;
            let port = match (&uri[parts.port], uri[parts.scheme].to_ascii_lowercase().as_str()) {
                ("", "https" | "wss") => 443,
                ("", "http" | "ws") => 80,
                ("", "ftp") => 21,
                ("", _) => -1,
                (port, _) => port
                    .parse::<u16>()
                    .map(i64::from)
                    .map_err(|_| call.error("the port is not a number up to 65535"))?,
            };
            Ok(Value::Int(port))
        },
    ),
    Function::new(
        "uriQuery(uri)",
        "The query with its `?`.",
        "uriQuery('https://contoso.com/a?date=today')",
        "'?date=today'",
        |call| part(call, |parts| parts.query),
    ),
    Function::new("uriScheme(uri)", "The scheme.", "uriScheme('https://contoso.com/a')", "'https'", |call| {
        part(call, |parts| parts.scheme)
    }),
];

/// Where the parts are.
struct Parts {
    scheme: Range<usize>,
    host: Range<usize>,
    port: Range<usize>,
    path: Range<usize>,
    query: Range<usize>,
}

impl Parts {
    fn of(call: &Call<'_>, uri: &str) -> Result<Self, EvaluationError> {
        let scheme_end = uri.find("://").filter(|end| {
            uri.starts_with(|first: char| first.is_ascii_alphabetic())
                && uri[..*end].bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        });
        let Some(scheme_end) = scheme_end else { return Err(call.error("the text is not an absolute URI")) };
        let from = scheme_end + 3;
        let find = |from: usize, stops: &[char]| uri[from..].find(stops).map_or(uri.len(), |at| from + at);
        let authority_end = find(from, &['/', '?', '#']);
        let host_start = uri[from..authority_end].rfind('@').map_or(from, |at| from + at + 1);
        let port_mark = uri[host_start..authority_end]
            .rfind(':')
            .map(|at| host_start + at)
            // The colons in `[::1]` are the host's.
            .filter(|at| !uri[*at..authority_end].contains(']'));
        let host_end = port_mark.unwrap_or(authority_end);
        let path_end = find(authority_end, &['?', '#']);
        Ok(Self {
            scheme: 0..scheme_end,
            host: host_start..host_end,
            port: port_mark.map_or(authority_end, |at| at + 1)..authority_end,
            path: authority_end..path_end,
            query: path_end..find(path_end, &['#']),
        })
    }
}

fn part<'a>(call: &Call<'a>, choose: fn(Parts) -> Range<usize>) -> Evaluated<'a> {
    let uri = call.text(0)?;
    let range = choose(Parts::of(call, &uri)?);
    Ok(Value::Str(cut(uri, range.start, range.end)))
}

/// An empty path is `/` (RFC 3986 §6.2.3).
fn path<'a>(call: &Call<'a>, choose: fn(Parts) -> Range<usize>) -> Evaluated<'a> {
    let uri = call.text(0)?;
    let parts = Parts::of(call, &uri)?;
    let is_empty = parts.path.is_empty();
    let range = choose(parts);
    Ok(Value::Str(if is_empty { format!("/{}", &uri[range]).into() } else { cut(uri, range.start, range.end) }))
}
