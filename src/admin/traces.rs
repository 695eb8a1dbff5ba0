//! `/traces`: the last requests, and what each policy did to one of them. HTML for a browser, JSON for a program, text for a terminal.

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Request, Response, StatusCode};

use super::pages::{JSON, TEXT, page};
use crate::trace::{self, Trace, Traces};

const HTML: &str = "text/html; charset=utf-8";

/// How a page is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Html,
    Json,
    Text,
}

/// The form that the end of a path names, and the path without it.
fn split(path: &str) -> (&str, Option<Form>) {
    for (ending, form) in [(".json", Form::Json), (".txt", Form::Text), (".html", Form::Html)] {
        if let Some(path) = path.strip_suffix(ending) {
            return (path, Some(form));
        }
    }
    (path, None)
}

/// The form that a client prefers: the one of these that it names first.
fn accepted(accept: &str) -> Form {
    let kinds = accept.split(',').filter_map(|kind| match kind.split(';').next()?.trim() {
        "text/html" | "application/xhtml+xml" => Some(Form::Html),
        JSON | "text/json" => Some(Form::Json),
        "text/plain" => Some(Form::Text),
        _ => None,
    });
    // curl and the like accept anything.
    kinds.into_iter().next().unwrap_or(Form::Text)
}

/// Answers a request for `/traces` and what is below it.
pub(super) fn answer<B>(request: &Request<B>, traces: &Traces, is_on: bool) -> Response<Bytes> {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let path = request.uri().path().strip_prefix("/traces").unwrap_or_default();
    // An id may end like a form does.
    let exact = path.strip_prefix('/').and_then(|id| traces.find(id));
    let (path, named) = if exact.is_some() { (path, None) } else { split(path) };
    let form = named.unwrap_or_else(|| accepted(accept));
    let mut response = match path {
        "" | "/" if !is_on => page(
            StatusCode::NOT_FOUND,
            TEXT,
            "requests are not traced; `traces = 100` below `[server]` in gateway.toml, or `sluicegate run --trace`\n",
        ),
        "" | "/" => list(traces, form),
        _ => match exact.or_else(|| traces.find(path.strip_prefix('/')?)) {
            Some(trace) => one(&trace, form),
            None => page(StatusCode::NOT_FOUND, TEXT, "there is no such trace; `/traces` lists those that are kept\n"),
        },
    };
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    // A page shows what callers sent; whatever it is, nothing of it runs or is loaded.
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    );
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn list(traces: &Traces, form: Form) -> Response<Bytes> {
    let all = traces.all();
    let all = all.iter().map(|trace| &**trace);
    match form {
        Form::Html => page(StatusCode::OK, HTML, trace::html_list(all)),
        Form::Json => page(StatusCode::OK, JSON, format!("{:#}\n", trace::json_list(all))),
        Form::Text => page(StatusCode::OK, TEXT, trace::text_list(all)),
    }
}

fn one(found: &Trace, form: Form) -> Response<Bytes> {
    match form {
        Form::Html => page(StatusCode::OK, HTML, trace::html_page(found)),
        Form::Json => page(StatusCode::OK, JSON, format!("{:#}\n", trace::json(found))),
        Form::Text => page(StatusCode::OK, TEXT, trace::text(found)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_form_that_is_named_counts() {
        for (accept, want) in [
            ("", Form::Text),
            ("*/*", Form::Text),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", Form::Html),
            ("application/json, text/plain, */*", Form::Json),
            ("text/plain;q=0.5", Form::Text),
        ] {
            assert_eq!(accepted(accept), want, "{accept}");
        }
    }
}
