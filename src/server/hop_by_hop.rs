//! Removes the fields that concern one connection only, in both directions (RFC 9110 §7.6.1).
//!
//! It runs before the gateway adds fields of its own, so that a client cannot have one of those removed by naming it in
//! `Connection`.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");

/// `Content-Length` and `Host` frame and address the message: a `Connection` that names them is ignored, since removing
/// them would change what the message is. So are the fields that intermediaries are told apart by.
const PROTECTED: [HeaderName; 3] = [header::HOST, header::CONTENT_LENGTH, header::VIA];

/// Removes hop-by-hop fields and the fields that `Connection` names. Tells whether `Connection` asked to close.
pub fn strip(headers: &mut HeaderMap) -> bool {
    let mut found = false;
    let mut connection = false;
    // One pass over what is there is cheaper than nine lookups of what mostly is not.
    for name in headers.keys() {
        if *name == header::CONNECTION {
            connection = true;
        } else if is_hop_by_hop(name) {
            found = true;
        }
    }
    let mut close = false;
    if connection {
        close = remove_named(headers);
    }
    if found {
        for name in [
            header::TRANSFER_ENCODING,
            header::TE,
            header::TRAILER,
            header::UPGRADE,
            header::PROXY_AUTHENTICATE,
            header::PROXY_AUTHORIZATION,
            KEEP_ALIVE,
            PROXY_CONNECTION,
            HTTP2_SETTINGS,
        ] {
            headers.remove(name);
        }
    }
    close
}

/// Whether the field concerns one connection only, apart from `Connection` itself.
pub fn is_hop_by_hop(name: &HeaderName) -> bool {
    // Standard names compare as small integers; only custom names compare as text.
    matches!(
        *name,
        header::TRANSFER_ENCODING
            | header::TE
            | header::TRAILER
            | header::UPGRADE
            | header::PROXY_AUTHENTICATE
            | header::PROXY_AUTHORIZATION
    ) || matches!(name.as_str(), "keep-alive" | "proxy-connection" | "http2-settings")
}

/// Whether the field makes an HTTP/2 message malformed (RFC 9113 §8.2.2); `Connection` and `TE` are for the caller to judge.
pub(crate) fn is_forbidden_in_http2(name: &HeaderName) -> bool {
    matches!(*name, header::TRANSFER_ENCODING | header::UPGRADE)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// Whether any `Connection` value has this token.
pub fn connection_has(headers: &HeaderMap, token: &str) -> bool {
    headers.get_all(header::CONNECTION).iter().any(|value| tokens(value).any(|it| it.eq_ignore_ascii_case(token)))
}

fn tokens(value: &HeaderValue) -> impl Iterator<Item = &str> {
    value.to_str().unwrap_or_default().split(',').map(str::trim).filter(|token| !token.is_empty())
}

fn remove_named(headers: &mut HeaderMap) -> bool {
    let mut close = false;
    // Mostly one value: a well-known word, with nothing to remove.
    let mut iter = headers.get_all(header::CONNECTION).iter();
    if let (Some(only), None) = (iter.next(), iter.next()) {
        let only = only.as_bytes();
        if only.eq_ignore_ascii_case(b"keep-alive") || only.eq_ignore_ascii_case(b"close") {
            close = only.len() == 5;
            headers.remove(header::CONNECTION);
            return close;
        }
    }
    let values: smallvec::SmallVec<[HeaderValue; 2]> = headers.get_all(header::CONNECTION).iter().cloned().collect();
    headers.remove(header::CONNECTION);
    for token in values.iter().flat_map(tokens) {
        if token.eq_ignore_ascii_case("close") {
            close = true;
        } else if let Ok(name) = HeaderName::from_bytes(token.as_bytes())
            && !PROTECTED.contains(&name)
        {
            headers.remove(name);
        }
    }
    close
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn removes_what_concerns_the_connection_only() {
        struct Case {
            name: &'static str,
            fields: &'static [(&'static str, &'static str)],
            want: &'static [&'static str],
            close: bool,
        }
        for Case { name, fields, want, close } in [
            Case {
                name: "nothing to do",
                fields: &[("accept", "a"), ("x-a", "b")],
                want: &["accept", "x-a"],
                close: false,
            },
            Case {
                name: "the standard fields",
                fields: &[
                    ("te", "trailers"),
                    ("trailer", "x"),
                    ("upgrade", "h2c"),
                    ("keep-alive", "timeout=5"),
                    ("proxy-connection", "keep-alive"),
                    ("proxy-authorization", "Basic eA=="),
                    ("proxy-authenticate", "Basic"),
                    ("transfer-encoding", "chunked"),
                    ("http2-settings", "AAMAAABkAAQAAP__"),
                    ("x-a", "b"),
                ],
                want: &["x-a"],
                close: false,
            },
            Case {
                name: "named fields, over several lines, in any case",
                fields: &[
                    ("connection", "X-A, close"),
                    ("connection", " x-B ,"),
                    ("x-a", "1"),
                    ("x-b", "2"),
                    ("x-c", "3"),
                ],
                want: &["x-c"],
                close: true,
            },
            Case {
                name: "framing and address stay",
                fields: &[
                    ("connection", "host, content-length, via"),
                    ("host", "a"),
                    ("content-length", "1"),
                    ("via", "x"),
                ],
                want: &["content-length", "host", "via"],
                close: false,
            },
            Case { name: "close alone", fields: &[("connection", "Close")], want: &[], close: true },
            Case { name: "keep-alive alone", fields: &[("connection", "Keep-Alive")], want: &[], close: false },
        ] {
            let mut headers = HeaderMap::new();
            for (field, value) in fields {
                headers.append(*field, HeaderValue::from_static(value));
            }
            assert_eq!(strip(&mut headers), close, "{name}");
            let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
            left.sort_unstable();
            assert_eq!(left, want, "{name}");
        }
    }
}
