//! Requests to operations, by host, path, version and method.

use super::*;
use crate::routing::{BasePath, Build, Conflict, HostPattern, Overlap, Version};
use http::{HeaderName, HeaderValue};

fn base(path: &str) -> BasePath {
    BasePath::parse(path).expect(path)
}

#[track_caller]
fn build(operations: &[&'static str]) -> Build<&'static str, &'static str> {
    let mut builder = Router::builder();
    let api = builder.api("api", &[], &base("/api"), None);
    for &operation in operations {
        let (method, template) = operation.split_once(' ').expect("METHOD /template");
        let method = method.parse().expect("a method");
        builder.operation(api, method, &Template::parse(template).expect(template), operation);
    }
    builder.build()
}

type Found = Result<(&'static str, Vec<String>), Miss<&'static str>>;

#[track_caller]
fn route(router: &Router<&'static str, &'static str>, request: &str) -> Found {
    let (method, target) = request.split_once(' ').expect("METHOD /path");
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    let method: Method = method.parse().expect("a method");
    router.route("localhost:8080", &method, path, query, &HeaderMap::new()).map(|found| {
        let values = found.captures.iter().map(|capture| capture.value(path, query).decode().into_owned());
        (found.operation, values.collect())
    })
}

#[test]
fn operations() {
    let build = build(&[
        "GET /",
        "GET /orders",
        "POST /orders",
        "GET /orders/special",
        "GET /orders/{id}",
        "DELETE /orders/{id}",
        "GET /orders/{id}/lines/{line}",
        "GET /orders/special/lines",
        "GET /orders/{id}.json",
        "GET /orders/pre-{id}.json",
        "GET /People('{id}')",
        "GET /files/{*rest}",
        "GET /files/readme",
        "GET /slash/",
        "GET /all/{x}/b/*",
        "GET /find",
        "GET /find?kind={kind}",
        "GET /find?kind=big",
        "GET /find?kind={kind}&size={size}",
        "GET /caf\u{e9}",
    ]);
    assert_eq!(build.conflicts, []);
    for (request, want, values) in [
        ("GET /api", "GET /", &[][..]),
        ("GET /api/", "GET /", &[]),
        ("GET /API/ORDERS", "GET /orders", &[]),
        ("GET /api/orders/", "GET /orders", &[]),
        ("POST /api/orders", "POST /orders", &[]),
        ("GET /api/orders/special", "GET /orders/special", &[]),
        ("GET /api/orders/Special", "GET /orders/special", &[]),
        ("DELETE /api/orders/special", "DELETE /orders/{id}", &["special"]),
        ("GET /api/orders/AbC", "GET /orders/{id}", &["AbC"]),
        ("GET /api/orders/a%2Fb", "GET /orders/{id}", &["a/b"]),
        ("GET /api/orders/1+1", "GET /orders/{id}", &["1+1"]),
        ("GET /api/orders/42/", "GET /orders/{id}", &["42"]),
        ("GET /api/orders/special/lines", "GET /orders/special/lines", &[]),
        ("GET /api/orders/special/lines/7", "GET /orders/{id}/lines/{line}", &["special", "7"]),
        ("GET /api/orders/42.json", "GET /orders/{id}.json", &["42"]),
        ("GET /api/orders/pre-42.json", "GET /orders/pre-{id}.json", &["42"]),
        ("GET /api/orders/.json", "GET /orders/{id}", &[".json"]),
        ("GET /api/people('7')", "GET /People('{id}')", &["7"]),
        ("GET /api/files/a/b/c.txt", "GET /files/{*rest}", &["a/b/c.txt"]),
        ("GET /api/files/a/", "GET /files/{*rest}", &["a/"]),
        ("GET /api/files//a", "GET /files/{*rest}", &["/a"]),
        ("GET /api/files/readme", "GET /files/readme", &[]),
        ("GET /api/files/readme/x", "GET /files/{*rest}", &["readme/x"]),
        ("GET /api/slash/", "GET /slash/", &[]),
        ("GET /api/all/1/b", "GET /all/{x}/b/*", &["1"]),
        ("GET /api/all/1/b/", "GET /all/{x}/b/*", &["1"]),
        ("GET /api/all/1/b/c/d", "GET /all/{x}/b/*", &["1"]),
        ("GET /api/find", "GET /find", &[]),
        ("GET /api/find?other=1", "GET /find", &[]),
        ("GET /api/find?kind=a+b", "GET /find?kind={kind}", &["a b"]),
        ("GET /api/find?x=1&%6bind=small", "GET /find?kind={kind}", &["small"]),
        ("GET /api/find?kind=%62ig", "GET /find?kind=big", &[]),
        ("GET /api/find?kind=big&size=1", "GET /find?kind={kind}&size={size}", &["big", "1"]),
        ("GET /api/caf%C3%A9", "GET /caf\u{e9}", &[]),
    ] {
        let (operation, found) = route(&build.router, request).unwrap_or_else(|miss| panic!("{request}: {miss:?}"));
        assert_eq!(
            (operation, found.iter().map(String::as_str).collect::<Vec<_>>()),
            (want, values.to_vec()),
            "{request}"
        );
    }
    for (request, want) in [
        ("GET /", Miss::NoApi),
        ("GET /apis", Miss::NoApi),
        ("GET /api2/orders", Miss::NoApi),
        ("GET /api/nothing", Miss::NoOperation { api: "api" }),
        ("GET /api//orders", Miss::NoOperation { api: "api" }),
        ("GET /api/orders//", Miss::NoOperation { api: "api" }),
        ("GET /api/orders//lines/1", Miss::NoOperation { api: "api" }),
        ("GET /api/files", Miss::NoOperation { api: "api" }),
        ("GET /api/files/", Miss::NoOperation { api: "api" }),
        ("GET /api/slash", Miss::NoOperation { api: "api" }),
        ("PUT /api/orders", Miss::WrongMethod { api: "api", allowed: vec![Method::GET, Method::POST] }),
        ("OPTIONS /api/orders/9", Miss::WrongMethod { api: "api", allowed: vec![Method::GET, Method::DELETE] }),
        ("HEAD /api/orders", Miss::WrongMethod { api: "api", allowed: vec![Method::GET, Method::POST] }),
    ] {
        assert_eq!(route(&build.router, request), Err(want), "{request}");
    }
}

#[test]
fn a_query_that_does_not_match_is_no_operation() {
    let build = build(&["GET /find?kind=big", "POST /find?kind={kind}"]);
    let miss = Miss::NoOperation { api: "api" };
    assert_eq!(route(&build.router, "GET /api/find"), Err(miss.clone()));
    assert_eq!(
        route(&build.router, "GET /api/find?kind=small"),
        Err(Miss::WrongMethod { api: "api", allowed: vec![Method::POST] })
    );
    assert_eq!(route(&build.router, "POST /api/find"), Err(miss));
    assert_eq!(route(&build.router, "POST /api/find?kind"), Ok(("POST /find?kind={kind}", vec![String::new()])));
}

#[test]
fn backtracking_reaches_a_catch_all_above() {
    let build = build(&["GET /a/{x}/c", "GET /a/b/d", "GET /{*rest}", "GET /a/{x}-y/e"]);
    assert_eq!(build.conflicts, []);
    for (request, want) in [
        ("GET /api/a/b/c", "GET /a/{x}/c"),
        ("GET /api/a/b/d", "GET /a/b/d"),
        ("GET /api/a/b-y/c", "GET /a/{x}/c"),
        ("GET /api/a/b-y/e", "GET /a/{x}-y/e"),
        ("GET /api/a/b/e", "GET /{*rest}"),
        ("GET /api/a", "GET /{*rest}"),
    ] {
        assert_eq!(route(&build.router, request).map(|(found, _)| found), Ok(want), "{request}");
    }
    // What a failed branch captured is gone.
    assert_eq!(route(&build.router, "GET /api/a/b-y/z"), Ok(("GET /{*rest}", vec!["a/b-y/z".to_owned()])));
}

#[test]
fn parameters_by_name() {
    let build = build(&["GET /a/{x}/{y}?q={z}"]);
    let (path, query) = ("/api/a/1/two%20words", Some("q=%7e"));
    let found = build.router.route("h", &Method::GET, path, query, &HeaderMap::new()).expect("a match");
    assert_eq!(found.base_len, "/api".len());
    for (name, want) in [("x", Some("1")), ("y", Some("two words")), ("z", Some("~")), ("X", None), ("q", None)] {
        let value = build.router.parameter(&found, name, path, query).map(|value| value.decode().into_owned());
        assert_eq!(value.as_deref(), want, "{name}");
    }
    assert_eq!(build.router.template(&found).as_str(), "/a/{x}/{y}?q={z}");
}

#[test]
fn operation_conflicts() {
    type Want = Option<Option<Overlap>>;
    for (first, second, want) in [
        ("GET /a", "GET /a", Some(None)),
        ("GET /a", "GET /A", Some(None)),
        ("GET /a/{x}", "GET /a/{x}", Some(None)),
        ("GET /a?x={x}&y=1", "GET /a?y=1&x={x}", Some(None)),
        ("GET /a", "POST /a", None),
        ("GET /a", "GET /a/", None),
        ("GET /a/{x}", "GET /a/{y}", Some(Some(Overlap::VariableNames))),
        ("GET /a/{x}", "POST /a/{y}", None),
        ("GET /a/{*x}", "GET /a/*", Some(Some(Overlap::VariableNames))),
        ("GET /a/{x}-{y}", "GET /a/{x}.{y}", Some(Some(Overlap::Patterns))),
        ("GET /a/{x}-{y}/b", "GET /a/{z}.{y}/{b}", Some(Some(Overlap::Patterns))),
        ("GET /a/{x}-{y}/b", "GET /a/{x}.{y}/c", None),
        ("GET /a/{x}-{y}/b", "GET /a/{x}.{y}", None),
        ("GET /a/{x}-{y}/*", "GET /a/{x}.{y}", Some(Some(Overlap::Patterns))),
        ("GET /a/{x}-{y}", "POST /a/{x}.{y}", None),
        ("GET /a/{x}-{y}?k=1", "GET /a/{x}.{y}?k=2", None),
        ("GET /a/{x}.json", "GET /a/{x}.xml", None),
        ("GET /a/{x}--{y}", "GET /a/{x}.{y}", None),
        ("GET /a/{x}", "GET /a/{x}.{y}", None),
        ("GET /a/{x}", "GET /{*all}", None),
        ("GET /a?x={x}", "GET /a", None),
        ("GET /a?x={x}", "GET /a?x=1", None),
        ("GET /a?x=2", "GET /a?x=1", None),
        ("GET /a?x={x}", "GET /a?y={y}", Some(Some(Overlap::Query))),
        ("GET /a?x={x}", "GET /a?x={y}", Some(Some(Overlap::VariableNames))),
    ] {
        let want: Want = want;
        let want = want.map(|overlap| match overlap {
            None => Conflict::Duplicate { api: "api", first, second },
            Some(overlap) => Conflict::Ambiguous { api: "api", first, second, overlap },
        });
        assert_eq!(build(&[first, second]).conflicts, want.into_iter().collect::<Vec<_>>(), "{first} and {second}");
    }
}

#[test]
fn the_first_of_two_ambiguous_operations_answers() {
    for (operations, first, second) in [
        (&["GET /{a}-{b}", "GET /{a}.{b}"][..], "GET /{a}-{b}", "GET /{a}.{b}"),
        // The pattern is as old as its oldest operation.
        (&["POST /{a}-{b}", "GET /{a}.{b}", "GET /{a}-{b}"], "GET /{a}-{b}", "GET /{a}.{b}"),
        (&["GET /{x}", "GET /{y}"], "GET /{x}", "GET /{y}"),
    ] {
        let build = build(operations);
        assert!(
            matches!(build.conflicts[..], [Conflict::Ambiguous { first: one, second: two, .. }]
                if (one, two) == (first, second)),
            "{operations:?}: {:?}",
            build.conflicts
        );
        assert_eq!(route(&build.router, "GET /api/1-2.3").map(|(found, _)| found), Ok(first), "{operations:?}");
    }
}

#[test]
fn apis_by_host_and_base_path() {
    let mut builder = Router::builder();
    let host = |text: &str| [HostPattern::parse(text).expect(text)];
    let all = Template::parse("/*").expect("valid");
    for (id, hosts, path) in [
        ("root", &[][..], "/"),
        ("sales", &[], "/sales"),
        ("sales-eu", &[], "/sales/eu/"),
        ("exact", &host("api.contoso.com"), "/sales"),
        ("wild", &host("*.contoso.com"), "/sales"),
        ("wild-eu", &host("*.eu.contoso.com"), "/sales"),
        ("six", &host("[::1]"), "/six"),
    ] {
        let api = builder.api(id, hosts, &base(path), None);
        if id != "sales-eu" {
            builder.operation(api, Method::GET, &all, ());
        }
    }
    let Build { router, conflicts } = builder.build();
    assert_eq!(conflicts, []);
    for (host, path, want) in [
        ("localhost", "/", Ok("root")),
        ("localhost", "/salesman", Ok("root")),
        ("localhost", "/sales", Ok("sales")),
        ("localhost", "/Sales/x", Ok("sales")),
        ("localhost", "/sales/europe", Ok("sales")),
        // The longest base path decides, even when a shorter API could answer.
        ("localhost", "/sales/eu/x", Err(Miss::NoOperation { api: "sales-eu" })),
        ("API.contoso.com:443", "/sales", Ok("exact")),
        ("api.contoso.com.", "/sales", Ok("exact")),
        ("b.contoso.com", "/sales", Ok("wild")),
        ("a.b.contoso.com", "/sales", Ok("wild")),
        ("x.EU.contoso.com:8080", "/sales", Ok("wild-eu")),
        ("eu.contoso.com", "/sales", Ok("wild")),
        ("contoso.com", "/sales", Ok("sales")),
        (".contoso.com", "/sales", Ok("sales")),
        ("notcontoso.com", "/sales", Ok("sales")),
        // A more specific host without an API for the path leaves it to the others.
        ("api.contoso.com", "/other", Ok("root")),
        ("[::1]:8080", "/six", Ok("six")),
        ("", "/sales", Ok("sales")),
    ] {
        let found = router.route(host, &Method::GET, path, None, &HeaderMap::new()).map(|found| found.api);
        assert_eq!(found, want, "{host}{path}");
    }
}

#[test]
fn versions() {
    let version = |scheme: VersionScheme, name: &str| Some(Version::new(scheme, name).expect(name));
    let header = || VersionScheme::Header(HeaderName::from_static("api-version"));
    let query = || VersionScheme::Query("api-version".into());
    let mut builder = Router::builder();
    for (id, path, version) in [
        ("after-1", "/after", version(VersionScheme::PathAfter, "v1")),
        ("after-2", "/after", version(VersionScheme::PathAfter, "v2")),
        ("before-1", "/before", version(VersionScheme::PathBefore, "v1")),
        ("header-1", "/header", version(header(), "1")),
        ("header-2", "/header", version(header(), "2")),
        ("query-1", "/query", version(query(), "2024-01-01")),
        ("query-original", "/query", None),
        ("path-original", "/with-original", None),
        ("path-1", "/with-original", version(VersionScheme::PathAfter, "v1")),
    ] {
        let api = builder.api(id, &[], &base(path), version.as_ref());
        builder.operation(api, Method::GET, &Template::parse("/x").expect("valid"), ());
    }
    let Build { router, conflicts } = builder.build();
    assert_eq!(conflicts, []);
    for (path, query, header, want) in [
        ("/after/v1/x", None, None, Ok("after-1")),
        ("/after/V2/x", None, None, Ok("after-2")),
        ("/after/v3/x", None, None, Err(Miss::UnknownVersion { api: "after-1" })),
        ("/after/x", None, None, Err(Miss::UnknownVersion { api: "after-1" })),
        ("/v1/before/x", None, None, Ok("before-1")),
        ("/v9/before/x", None, None, Err(Miss::UnknownVersion { api: "before-1" })),
        ("/before/x", None, None, Err(Miss::UnknownVersion { api: "before-1" })),
        ("/v9/beforehand/x", None, None, Err(Miss::NoApi)),
        ("/header/x", None, Some("1"), Ok("header-1")),
        ("/header/x", None, Some("2"), Ok("header-2")),
        ("/header/x", None, Some("3"), Err(Miss::UnknownVersion { api: "header-1" })),
        ("/header/x", None, Some("\u{e9}"), Err(Miss::UnknownVersion { api: "header-1" })),
        ("/header/x", Some("api-version=1"), None, Err(Miss::UnknownVersion { api: "header-1" })),
        ("/header/y", None, Some("1"), Err(Miss::NoOperation { api: "header-1" })),
        ("/query/x", Some("a=1&api-version=2024%2D01-01"), None, Ok("query-1")),
        ("/query/x", Some("api-version=2"), None, Err(Miss::UnknownVersion { api: "query-1" })),
        ("/query/x", Some("a=1"), None, Ok("query-original")),
        ("/with-original/x", None, None, Ok("path-original")),
        ("/with-original/v1/x", None, None, Ok("path-1")),
        ("/with-original/v2/x", None, None, Err(Miss::NoOperation { api: "path-original" })),
    ] {
        let mut headers = HeaderMap::new();
        if let Some(value) = header {
            headers.insert("api-version", HeaderValue::from_bytes(value.as_bytes()).expect("a value"));
        }
        let found = router.route("h", &Method::GET, path, query, &headers).map(|found| found.api);
        assert_eq!(found, want, "{path} {query:?} {header:?}");
    }
}

#[test]
fn api_conflicts() {
    let v = |scheme, name: &str| Some(Version::new(scheme, name).expect(name));
    let host = HostPattern::parse("a.com").expect("valid");
    let shadowed = |host| Some(Conflict::ShadowedApi { first: 1, second: 2, host });
    for (name, first, second, want) in [
        ("other paths", (vec![], "/a", None), (vec![], "/b", None), None),
        ("same path", (vec![], "/a", None), (vec![], "/A/", None), shadowed(HostPattern::Any)),
        ("same path, other host", (vec![], "/a", None), (vec![host.clone()], "/a", None), None),
        ("same host twice", (vec![host.clone(), host.clone()], "/a", None), (vec![], "/a", None), None),
        (
            "one host in common",
            (vec![HostPattern::Any, host.clone()], "/a", None),
            (vec![host.clone()], "/a", None),
            shadowed(host),
        ),
        (
            "other versions",
            (vec![], "/a", v(VersionScheme::PathAfter, "v1")),
            (vec![], "/a", v(VersionScheme::PathAfter, "v2")),
            None,
        ),
        (
            "same version",
            (vec![], "/a", v(VersionScheme::Query("v".into()), "x")),
            (vec![], "/a", v(VersionScheme::Query("v".into()), "X")),
            shadowed(HostPattern::Any),
        ),
        (
            "a version that is another path",
            (vec![], "/a", v(VersionScheme::PathAfter, "v1")),
            (vec![], "/a/v1", None),
            shadowed(HostPattern::Any),
        ),
        (
            "two schemes",
            (vec![], "/a", v(VersionScheme::PathAfter, "v1")),
            (vec![], "/a", v(VersionScheme::Query("v".into()), "v2")),
            Some(Conflict::VersionSchemes { first: 1, second: 2, host: HostPattern::Any }),
        ),
    ] {
        let mut builder = Router::<u32, u32>::builder();
        for (id, (hosts, path, version)) in [(1, first), (2, second)] {
            builder.api(id, &hosts, &base(path), version.as_ref());
        }
        assert_eq!(builder.build().conflicts, want.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn base_path_mistakes() {
    for (path, span, message) in [
        ("orders", 0..6, "a template begins with `/`"),
        ("", 0..0, "a template begins with `/`"),
        ("/a/{id}", 3..7, "a base path has no variables"),
        ("/a/*", 3..4, "a base path has no variables"),
        ("/a//b", 2..3, "a base path has an empty segment"),
        ("//", 0..1, "a base path has an empty segment"),
        ("/a?b=1", 2..6, "a base path has no query"),
        ("/a b", 2..3, "' ' cannot stand here"),
    ] {
        let error = BasePath::parse(path).expect_err(path);
        assert_eq!((error.span, &*error.message), (span, message), "{path}");
    }
    for name in ["", "v1/v2", "{v}", "v1?x", "..", "*"] {
        assert!(Version::new(VersionScheme::PathAfter, name).is_err(), "{name}");
    }
    assert!(Version::new(VersionScheme::Query("v".into()), "a/b").is_ok());
}

mod properties {
    use super::*;
    use proptest::prelude::*;

    /// Whether a template without patterns matches, said in the plainest way.
    fn matches(template: &str, path: &str) -> bool {
        fn go(template: &[&str], path: &[&str]) -> bool {
            match (template, path) {
                ([], [] | [""]) => true,
                (["*"], _) => true,
                ([rest], [_, ..]) if rest.starts_with("{*") => path != [""],
                ([one, template @ ..], [two, path @ ..]) => {
                    let same = if one.starts_with('{') { !two.is_empty() } else { one == two };
                    same && go(template, path)
                }
                _ => false,
            }
        }
        let split = |text: &'_ str| text[1..].split('/').map(str::to_owned).collect::<Vec<_>>();
        let (template, path) = (split(template), split(path));
        let template: Vec<&str> = template.iter().map(String::as_str).collect();
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        go(&template, &path)
    }

    /// Smaller is tried first.
    fn order(template: &str) -> Vec<u8> {
        let kind = |segment: &str| match segment {
            "*" => 3,
            rest if rest.starts_with("{*") => 3,
            variable if variable.starts_with('{') => 1,
            _ => 0,
        };
        template[1..].split('/').map(kind).collect()
    }

    fn templates() -> impl Strategy<Value = Vec<String>> {
        let segment = prop_oneof![Just("a"), Just("b"), Just("{x}")];
        let end = prop_oneof![3 => Just(""), 1 => Just("/*"), 1 => Just("/{*r}")];
        let template = (proptest::collection::vec(segment, 1..4), end).prop_map(|(segments, end)| {
            let numbered = segments.iter().enumerate().map(|(at, segment)| segment.replace('x', &format!("x{at}")));
            format!("/{}{end}", numbered.collect::<Vec<_>>().join("/"))
        });
        proptest::collection::btree_set(template, 1..12).prop_map(|set| set.into_iter().collect())
    }

    proptest! {
        #[test]
        fn the_trie_finds_what_trying_all_templates_finds(
            templates in templates(), path in "(/[abc]?){1,5}",
        ) {
            let mut builder = Router::builder();
            let api = builder.api((), &[], &base("/"), None);
            for (index, template) in templates.iter().enumerate() {
                builder.operation(api, Method::GET, &Template::parse(template).expect("valid"), index);
            }
            let Build { router, conflicts } = builder.build();
            prop_assume!(conflicts.is_empty());
            let got = router.route("", &Method::GET, &path, None, &HeaderMap::new());
            let got = got.ok().map(|found| templates[found.operation].as_str());
            let matching = templates.iter().map(String::as_str).filter(|template| matches(template, &path));
            // A path that ends where a longer template's catch-all begins is the shorter template's.
            let want = matching.min_by_key(|template| {
                let mut key = order(template);
                let segments = path[1..].split('/').filter(|segment| !segment.is_empty()).count();
                key.push(if key.len() <= segments { 0 } else { 2 });
                key
            });
            prop_assert_eq!(got, want, "{} in {:?}", path, templates);
        }
    }
}
