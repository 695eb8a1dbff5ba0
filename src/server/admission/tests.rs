//! What an admission may refuse.

use super::*;

struct Case {
    name: &'static str,
    version: Version,
    method: &'static str,
    target: &'static str,
    fields: &'static [(&'static str, &'static str)],
    want: Result<&'static str, u16>,
}

const PLAIN: Case = Case {
    name: "",
    version: Version::HTTP_11,
    method: "GET",
    target: "/a?b",
    fields: &[("host", "a.example")],
    want: Ok("a.example"),
};

fn request(case: &Case) -> Request<Body> {
    let mut request = Request::new(Body::Empty);
    *request.version_mut() = case.version;
    *request.method_mut() = case.method.parse().unwrap();
    *request.uri_mut() = case.target.parse().unwrap();
    for (name, value) in case.fields {
        request.headers_mut().append(*name, HeaderValue::from_static(value));
    }
    request
}

#[test]
fn admits_one_host_and_clear_framing() {
    let cases = [
        Case { name: "plain", ..PLAIN },
        Case { name: "upper case host", fields: &[("host", "A.Example:81")], want: Ok("a.example:81"), ..PLAIN },
        Case { name: "no host", fields: &[], want: Err(400), ..PLAIN },
        Case { name: "no host in HTTP/1.0", version: Version::HTTP_10, fields: &[], want: Err(400), ..PLAIN },
        Case { name: "two hosts", fields: &[("host", "a.example"), ("host", "a.example")], want: Err(400), ..PLAIN },
        Case { name: "bad host", fields: &[("host", "a.example/x")], want: Err(400), ..PLAIN },
        Case { name: "absolute form", target: "http://a.example/a?b", ..PLAIN },
        Case { name: "absolute form, no host", target: "http://a.example/a?b", fields: &[], ..PLAIN },
        Case {
            name: "absolute form, default port",
            target: "http://a.example:80/a?b",
            want: Ok("a.example:80"),
            ..PLAIN
        },
        Case { name: "absolute form, other host", target: "http://b.example/a?b", want: Err(400), ..PLAIN },
        Case { name: "absolute form, other scheme", target: "ftp://a.example/a?b", want: Err(400), ..PLAIN },
        Case { name: "user information", target: "http://u@a.example/a?b", fields: &[], want: Err(400), ..PLAIN },
        Case { name: "authority form", target: "a.example:80", want: Err(400), ..PLAIN },
        Case { name: "connect", method: "CONNECT", target: "a.example:80", want: Err(400), ..PLAIN },
        Case {
            name: "transfer encoding that is not chunked",
            fields: &[("host", "a.example"), ("transfer-encoding", "gzip, chunked")],
            want: Err(400),
            ..PLAIN
        },
        Case {
            name: "two transfer encodings",
            fields: &[("host", "a.example"), ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")],
            want: Err(400),
            ..PLAIN
        },
        Case {
            name: "chunked, and the head was seen",
            fields: &[("host", "a.example"), ("transfer-encoding", "Chunked")],
            ..PLAIN
        },
        Case { name: "expect", fields: &[("host", "a.example"), ("expect", "100-Continue")], ..PLAIN },
        Case { name: "expect more", fields: &[("host", "a.example"), ("expect", "tea")], want: Err(417), ..PLAIN },
        Case { name: "http/2", version: Version::HTTP_2, target: "http://a.example/a?b", fields: &[], ..PLAIN },
        Case {
            name: "http/2 with a connection field",
            version: Version::HTTP_2,
            target: "http://a.example/a?b",
            fields: &[("connection", "x")],
            want: Err(400),
            ..PLAIN
        },
        Case {
            name: "http/2 with te",
            version: Version::HTTP_2,
            target: "http://a.example/a?b",
            fields: &[("te", "trailers")],
            ..PLAIN
        },
        Case {
            name: "http/2 with a length",
            version: Version::HTTP_2,
            target: "http://a.example/a?b",
            fields: &[("content-length", "3")],
            ..PLAIN
        },
        Case {
            name: "http/2 with the same length twice",
            version: Version::HTTP_2,
            target: "http://a.example/a?b",
            fields: &[("content-length", "3"), ("content-length", "3")],
            want: Err(400),
            ..PLAIN
        },
        Case {
            name: "http/2 with te gzip",
            version: Version::HTTP_2,
            target: "http://a.example/a?b",
            fields: &[("te", "gzip")],
            want: Err(400),
            ..PLAIN
        },
    ];
    for case in cases {
        let connection = Connection::for_tests(Framing::Clear);
        let mut request = request(&case);
        let got = admit(&mut request, &connection);
        let got = got.map(|it| it.authority.as_str().to_owned()).map_err(|fault| fault.status.as_u16());
        assert_eq!(got.as_deref(), case.want.as_ref().copied(), "{}", case.name);
        if got.is_ok() {
            assert_eq!(request.uri(), "/a?b", "{}", case.name);
            for gone in ["te", "expect", "transfer-encoding"] {
                assert!(!request.headers().contains_key(gone), "{}: {gone}", case.name);
            }
        }
    }
}

#[test]
fn a_chunked_request_needs_a_head_that_was_seen() {
    let case = Case { fields: &[("host", "a.example"), ("transfer-encoding", "chunked")], ..PLAIN };
    for (framing, want) in [(Framing::Clear, true), (Framing::Ambiguous, false), (Framing::Unseen, false)] {
        let result = admit(&mut request(&case), &Connection::for_tests(framing));
        assert_eq!(result.is_ok(), want, "{framing:?}");
        if let Err(fault) = result {
            assert!(fault.headers.iter().any(|(name, value)| *name == header::CONNECTION && value == "close"));
        }
    }
}

#[test]
fn joins_cookie_crumbs() {
    let case = Case {
        version: Version::HTTP_2,
        target: "http://a.example/",
        fields: &[("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3")],
        ..PLAIN
    };
    let mut request = request(&case);
    admit(&mut request, &Connection::for_tests(Framing::Clear)).unwrap();
    let cookies: Vec<_> = request.headers().get_all(header::COOKIE).iter().collect();
    assert_eq!(cookies, ["a=1; b=2; c=3"]);
}

#[test]
fn only_a_whole_websocket_handshake_is_one() {
    let key = ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
    let host = ("host", "a.example");
    for (fields, want) in [
        (vec![host, key, ("connection", "keep-alive, Upgrade"), ("upgrade", "WebSocket")], true),
        (vec![host, key, ("upgrade", "websocket")], false),
        (vec![host, key, ("connection", "upgrade"), ("upgrade", "h2c")], false),
        (vec![host, ("connection", "upgrade"), ("upgrade", "websocket")], false),
    ] {
        let mut request = request(&Case { fields: &[], ..PLAIN });
        for (name, value) in &fields {
            request.headers_mut().append(*name, HeaderValue::from_static(value));
        }
        admit(&mut request, &Connection::for_tests(Framing::Clear)).unwrap();
        assert_eq!(request.extensions().get::<WebSocket>().is_some(), want, "{fields:?}");
        assert!(!request.headers().contains_key("upgrade") && !request.headers().contains_key("connection"));
    }
}
