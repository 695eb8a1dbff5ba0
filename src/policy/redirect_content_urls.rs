//! Makes links to the backend, in headers and in the body, lead through the gateway.

use std::borrow::Cow;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, HeaderValue};
use memchr::memmem;
use schemars::JsonSchema;
use serde::Deserialize;

use super::link_field::each_target;
use super::public_link::{LinkRules, Links};
use super::{Policy, Sections};
use crate::body::coding;
use crate::compile::{CompileCx, CompileError};
use crate::config::At;
use crate::expression::Needs;
use crate::pipeline::{Apply, ApplyAsync, BoxFuture, Call, Context, Fault, Flow, Step};

/// Makes links to the backend lead through the gateway: in `Location` and other headers, relative or not, and every absolute link in a body of
/// text; see
/// [redirect-content-urls](https://learn.microsoft.com/azure/api-management/redirect-content-urls-policy) in Azure API Management.
///
/// Links are found and changed as by `update-next-link`: links to other hosts, and to paths outside the backend's base URL, stay as they are.
/// The `Location` of a 201 to which a webhook is deleted later, and of a 202 that is polled, has to lead through the gateway, because callers
/// often reach nothing else. It sees what was set before it: where a policy of one operation sets `Location`, another one of these stands behind
/// that policy, because the operation's own outbound runs after the API's. The opposite effect on requests, which Azure API Management has in inbound, is not there.
///
/// ```toml
/// [[outbound]]
/// policy = "redirect-content-urls"
/// body   = false
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RedirectContentUrls {
    /// The headers whose value is a link; of `Link` (RFC 8288), every link in it. Default `["location", "content-location", "operation-location",
    /// "azure-asyncoperation", "link"]`.
    headers: Option<Vec<At<String>>>,
    /// Whether absolute links in the body are changed too, wherever they stand, in JSON with escaped slashes as well. The body is held in memory, up
    /// to `[server.limits] buffer-size`; it is left alone when its type is not text (`text/*`, JSON, XML, JavaScript, a form) or it is compressed in another
    /// way than `gzip`, `deflate` and `br`.
    /// Default `true`, as in Azure API Management.
    body: Option<bool>,
    /// Other hosts in links that mean the backend: names by which it knows itself. Written as in `allowed-hosts` of `set-backend-service`.
    /// Default: none.
    #[serde(default)]
    hosts: Vec<At<String>>,
    /// Query parameters that are taken out of the links, for those that a policy has put into the request and that callers must not see
    /// (`api_key`). Default: none.
    #[serde(default)]
    remove_parameters: Vec<String>,
}

/// The headers whose value is a link, unless others are named.
pub(crate) const HEADERS: [&str; 5] =
    ["location", "content-location", "operation-location", "azure-asyncoperation", "link"];

impl Policy for RedirectContentUrls {
    const NAME: &'static str = "redirect-content-urls";
    const SECTIONS: Sections = Sections::OUTBOUND;

    // Asynchronous when it changes bodies: whether one is read depends on its type.
    fn compile(self, cx: &mut CompileCx<'_, '_>) -> Result<Step, CompileError> {
        cx.needs |= Needs::TARGET;
        let rules = LinkRules::compile(&self.hosts, self.remove_parameters, cx);
        let rules = cx.note(rules);
        let headers = match &self.headers {
            None => HEADERS.map(HeaderName::from_static).to_vec(),
            Some(names) => {
                let names: Vec<_> = names.iter().map(|name| cx.header_name(name)).collect();
                // All mistakes at once.
                let names: Vec<_> = names.into_iter().map(|name| cx.note(name)).collect();
                names.into_iter().collect::<Result<_, _>>()?
            }
        };
        let headers = Headers { names: headers, rules: rules? };
        if self.body.unwrap_or(true) {
            cx.needs |= Needs::INNER_BODY;
            return Ok(Step::asynchronous(WithBody(headers)));
        }
        Ok(Step::sync(headers))
    }
}

// === impl Apply, ApplyAsync ===

struct Headers {
    names: Vec<HeaderName>,
    rules: LinkRules,
}

impl Apply for Headers {
    fn apply(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        // Most answers have none of them.
        if self.names.iter().any(|name| cx.message.headers().contains_key(name))
            && let Some(links) = Links::of(&self.rules, cx)
        {
            self.redirect(&links, cx.message.headers_mut());
        }
        Ok(Flow::Next)
    }
}

impl Headers {
    fn redirect(&self, links: &Links<'_>, headers: &mut HeaderMap) {
        for name in &self.names {
            let values = headers.get_all(name).iter();
            let changed: Vec<HeaderValue> = values.map(|value| self.value(name, value, links)).collect();
            let mut changed = changed.into_iter();
            if let Some(first) = changed.next() {
                headers.insert(name.clone(), first);
                for value in changed {
                    headers.append(name.clone(), value);
                }
            }
        }
    }

    fn value(&self, name: &HeaderName, value: &HeaderValue, links: &Links<'_>) -> HeaderValue {
        let Ok(text) = value.to_str() else { return value.clone() };
        let changed =
            if name == http::header::LINK { each_target(text, |link| links.public(link)) } else { links.public(text) };
        changed.and_then(|text| HeaderValue::from_str(&text).ok()).unwrap_or_else(|| value.clone())
    }
}

struct WithBody(Headers);

impl ApplyAsync for WithBody {
    fn apply<'a>(&'a self, mut call: Call<'a>) -> BoxFuture<'a, Result<Flow, Fault>> {
        Box::pin(async move {
            call.with(|cx| Apply::apply(&self.0, cx))?;
            if !is_text(call.message.headers()) {
                return Ok(Flow::Next);
            }
            call.exchange.read(&mut call.message).await?;
            call.with(|cx| self.body(cx))
        })
    }
}

impl WithBody {
    fn body(&self, cx: &mut Context<'_>) -> Result<Flow, Fault> {
        let changed = match (cx.message.body().bytes(), Links::of(&self.0.rules, cx)) {
            (Some(bytes), Some(links)) => redirected(bytes, &links),
            _ => None,
        };
        if let Some(changed) = changed {
            if changed.len() as u64 > cx.exchange.gateway.settings.buffer_size {
                return Err(cx.body_too_large());
            }
            cx.set_body(changed.into());
        }
        Ok(Flow::Next)
    }
}

/// Whether a body is text that can be read.
fn is_text(headers: &HeaderMap) -> bool {
    let plain = !coding::is_coded(headers) || coding::is_readable(headers);
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (main, sub) = kind.split_once('/').unwrap_or((&kind, ""));
    let is_text = main == "text"
        || sub.ends_with("+json")
        || sub.ends_with("+xml")
        || matches!(sub, "json" | "xml" | "javascript" | "x-www-form-urlencoded" | "x-ndjson");
    plain && is_text
}

/// The text with every absolute link to the backend changed; none when there is none.
fn redirected(text: &Bytes, links: &Links<'_>) -> Option<Vec<u8>> {
    let is_backend = |scheme: &str, authority: &str| links.is_backend(scheme, authority);
    each_url(text, is_backend, |url| links.public(url))
}

/// Changes the URLs of a text whose scheme and authority are wanted. Linear in the text: of other URLs only the
/// authority is read, and no wanted one is looked for inside another.
fn each_url(
    text: &[u8],
    wanted: impl Fn(&str, &str) -> bool,
    change: impl Fn(&str) -> Option<String>,
) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let (mut written, mut seen) = (0, 0);
    for colon in memmem::find_iter(text, ":") {
        let Some(found) = Found::at(text, colon).filter(|found| found.start >= seen) else { continue };
        let part = |range| std::str::from_utf8(&text[range]).unwrap_or_default();
        if !wanted(part(found.start..colon), part(found.authority.clone())) {
            continue;
        }
        let end = found.query_end(text, found.end(text));
        seen = end;
        let Ok(url) = std::str::from_utf8(&text[found.start..end]) else { continue };
        let url = if found.is_escaped { Cow::Owned(url.replace("\\/", "/")) } else { Cow::Borrowed(url) };
        let ampersand = ["&amp;", "\\u0026"].into_iter().find(|written| url.contains(written));
        let new = match ampersand {
            None => change(&url),
            Some(written) => change(&url.replace(written, "&")).map(|new| new.replace('&', written)),
        };
        let new = if found.is_escaped { new.map(|new| new.replace('/', "\\/")) } else { new };
        let Some(new) = new else { continue };
        out.extend_from_slice(&text[written..found.start]);
        out.extend_from_slice(new.as_bytes());
        written = end;
        // A link whose path is told by a query has one already.
        if new.contains('?') && text.get(end) == Some(&b'?') {
            out.push(b'&');
            written += 1;
        }
    }
    if written == 0 {
        return None;
    }
    out.extend_from_slice(&text[written..]);
    Some(out)
}

/// Where a URL of http or https begins in a text.
struct Found {
    start: usize,
    authority: std::ops::Range<usize>,
    /// Whether its slashes are escaped, as some writers of JSON do.
    is_escaped: bool,
}

impl Found {
    /// The URL whose scheme ends at a colon.
    fn at(text: &[u8], colon: usize) -> Option<Self> {
        let (before, after) = (&text[..colon], &text[colon + 1..]);
        let is_escaped = after.starts_with(b"\\/\\/");
        if !is_escaped && !after.starts_with(b"//") {
            return None;
        }
        let scheme = [&b"https"[..], b"http"].into_iter().find(|scheme| {
            before.len() >= scheme.len() && before[before.len() - scheme.len()..].eq_ignore_ascii_case(scheme)
        })?;
        let start = colon - scheme.len();
        if start > 0 && text[start - 1].is_ascii_alphanumeric() {
            return None;
        }
        let from = colon + 1 + if is_escaped { 4 } else { 2 };
        let inside = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_~:[]%@".contains(byte);
        let length = text[from..].iter().take_while(|byte| inside(byte)).count();
        Some(Self { start, authority: from..from + length, is_escaped })
    }

    /// Where the query behind a path ends. One that holds another URL, or escapes of JSON that may be anything, is none of it.
    fn query_end(&self, text: &[u8], path: usize) -> usize {
        if text.get(path) != Some(&b'?') {
            return path;
        }
        let mut end = path + 1;
        loop {
            match text.get(end) {
                Some(b'\\') if text[end..].starts_with(b"\\u0026") => end += 6,
                Some(b'\\') => return path,
                None | Some(b'"' | b'<' | b'>' | b'`' | b'#' | b'{' | b'}' | b'|' | b'^' | 0..=b' ' | 0x7f..) => break,
                Some(b':') if text[end + 1..].starts_with(b"//") => return path,
                Some(_) => end += 1,
            }
        }
        // What a sentence puts behind a URL.
        let written = text[path..end].iter().rposition(|byte| !b"'),.;:!".contains(byte));
        path + written.map_or(0, |last| last + 1)
    }

    /// Where its path ends: at the query, or at what stands in no URL.
    fn end(&self, text: &[u8]) -> usize {
        let mut end = self.authority.end;
        let slash: &[u8] = if self.is_escaped { b"\\/" } else { b"/" };
        if !text[end..].starts_with(slash) {
            return end;
        }
        while let Some(byte) = text.get(end) {
            match byte {
                b'\\' if self.is_escaped && text.get(end + 1) == Some(&b'/') => end += 1,
                b'\\' | b'"' | b'<' | b'>' | b'`' | b'?' | b'#' | b'{' | b'}' | b'|' | b'^' | 0..=b' ' | 0x7f => break,
                _ => {}
            }
            end += 1;
        }
        end
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routing::query;

    #[test]
    fn urls_are_found_in_any_text() {
        let wanted = |scheme: &str, authority: &str| scheme == "http" && authority == "erp:8000";
        let change = |url: &str| {
            let rest = url.strip_prefix("http://erp:8000")?;
            let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
            let mut query = query.to_owned();
            query::remove(&mut query, "code");
            let mark = if query.is_empty() { "" } else { "?" };
            Some(format!("https://gw{path}{mark}{query}"))
        };
        for (text, want) in [
            ("no link", None),
            ("http://other/x", None),
            ("xhttp://erp:8000/x", None),
            ("http://erp:80001/x", None),
            (
                r#"{"a":"http://erp:8000/x?y=http://erp:8000/z","n":1.0}"#,
                Some(r#"{"a":"https://gw/x?y=https://gw/z","n":1.0}"#),
            ),
            (r#"{"a":"http:\/\/erp:8000\/x\/y"}"#, Some(r#"{"a":"https:\/\/gw\/x\/y"}"#)),
            ("<a href='http://erp:8000/x'>http://erp:8000</a>", Some("<a href='https://gw/x'>https://gw</a>")),
            ("'http://erp:8000', (http://erp:8000)", Some("'https://gw', (https://gw)")),
            ("http://erp:8000/find/a?p=2 http://erp:8000/find/b", Some("https://gw/find/a?p=2 https://gw/find/b")),
            ("http://other/http://erp:8000/x", Some("http://other/https://gw/x")),
            ("http://http://http://http://", None),
            ("http://erp:8000/a/http://erp:8000/b", Some("https://gw/a/http://erp:8000/b")),
            ("'http://erp:8000/x?code=1'", Some("'https://gw/x'")),
            ("(see http://erp:8000/x?a=1&code=2).", Some("(see https://gw/x?a=1).")),
            ("<a href='http://erp:8000/x?code=1&amp;a=1&amp;b=2'>", Some("<a href='https://gw/x?a=1&amp;b=2'>")),
            (r#""http://erp:8000/x?code=1\u0026a=1\u0026b=2""#, Some(r#""https://gw/x?a=1\u0026b=2""#)),
            (r#""http:\/\/erp:8000\/x?a=1&code=2""#, Some(r#""https:\/\/gw\/x?a=1""#)),
            (r#""http://erp:8000/x?code\u003d1&a=1""#, Some(r#""https://gw/x?code\u003d1&a=1""#)),
            ("see http://erp:8000/caf\u{e9}#top, http://other/", Some("see https://gw/caf\u{e9}#top, http://other/")),
        ] {
            let got = each_url(text.as_bytes(), wanted, change).map(|text| String::from_utf8(text).unwrap());
            assert_eq!(got.as_deref(), want, "{text}");
        }
    }

    #[test]
    fn only_text_is_read() {
        for (kind, coding, want) in [
            ("application/json; charset=utf-8", "", true),
            ("application/vnd.x+json", "identity", true),
            ("text/html", "", true),
            ("text/html", "gzip", true),
            ("text/html", "zstd", false),
            ("application/octet-stream", "", false),
            ("", "", false),
        ] {
            let mut headers = HeaderMap::new();
            for (name, value) in [(CONTENT_TYPE, kind), (http::header::CONTENT_ENCODING, coding)] {
                if !value.is_empty() {
                    headers.insert(name, HeaderValue::from_static(value));
                }
            }
            assert_eq!(is_text(&headers), want, "{kind} {coding}");
        }
    }
}
