//! Pages that the gateway collects.

use std::time::Duration;

use crate::scripted::{Act, Scripted, body, gateway, get, status};
use crate::support::wire::Message;

const GATEWAY: &str = r#"
[backends.erp]
url = "{{backend}}/v1"

[backends.erp.credentials]
query.api_key = "{{key}}"

[named-values]
key = "hush"

[server.limits]
buffer-size = "4KiB"
"#;

fn api(policy: &str) -> String {
    format!(
        r#"
[api]
name    = "api"
path    = "/api"
backend = "erp"

[[inbound]]
policy = "set-header"
name   = "x-tenant"
value  = "contoso"

[[backend]]
policy = "collect-pages"
items  = "@body().value"
{policy}

[[backend]]
policy   = "retry"
retries  = 1
backoff  = "fixed"
interval = "1ms"

[[outbound]]
policy   = "update-next-link"
property = "next"

[[outbound]]
policy = "set-header"
name   = "x-asked"
value  = "@queryParameters('top')"

[[operation]]
name  = "List"
match = "GET /orders"

[[operation.inbound]]
policy   = "rewrite-uri"
template = "/lists/orders"
"#
    )
}

/// The number of a page by the query of its request.
fn page(target: &str) -> u32 {
    let found = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("page="));
    found.map_or(1, |number| number.parse().unwrap())
}

/// A backend with so many pages of two orders, each of which links to the next one.
fn linked(pages: u32, failing: &'static [(usize, &'static str)]) -> Scripted {
    Scripted::start(move |target, number| {
        if let Some((_, status)) = failing.iter().find(|(at, _)| *at == number) {
            return Act::Status(status);
        }
        let page = page(target);
        let (first, second) = (page * 2 - 1, page * 2);
        let next =
            if page < pages { format!(r#","next":"/v1/lists/orders?page={}""#, page + 1) } else { String::new() };
        Act::Answer(format!(r#"{{"count":{}.0,"value":[{{"id":{first}}},{{"id":{second}}}]{next}}}"#, pages * 2))
    })
}

fn headers(message: &Message) -> [Option<&str>; 3] {
    ["x-collected-pages", "x-collected-partial", "x-asked"].map(|name| message.field(name))
}

#[test]
fn all_pages_are_one_answer() {
    let backend = linked(3, &[]);
    let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api("next-link = \"next\""))]);
    let answer = gateway.send(&get("/api/orders?top=2")).unwrap();
    assert_eq!(status(&answer), "200", "{}", body(&answer));
    assert_eq!(body(&answer), r#"{"count":6.0,"value":[{"id":1},{"id":2},{"id":3},{"id":4},{"id":5},{"id":6}]}"#);
    assert_eq!(headers(&answer), [Some("3"), None, Some("2")], "outbound reads the caller's request");
    let asked = backend.rest();
    let targets: Vec<&str> = asked.iter().map(|one| one.first_line.split(' ').nth(1).unwrap()).collect();
    let want = [
        "/v1/lists/orders?top=2&api_key=hush",
        "/v1/lists/orders?page=2&api_key=hush",
        "/v1/lists/orders?page=3&api_key=hush",
    ];
    assert_eq!(targets, want, "with the backend's own credentials");
    assert!(asked.iter().all(|one| one.field("x-tenant") == Some("contoso")), "each has the headers of the first");
}

#[test]
fn a_cursor_leads_on() {
    let backend = Scripted::start(|target, _| {
        let page = target.split(['?', '&']).find_map(|pair| pair.strip_prefix("after=")).unwrap_or("start");
        let (id, next) = match page {
            "start" => (1, r#""a b&c""#),
            "a%20b%26c" => (2, "17"),
            "17" => (3, "null"),
            other => panic!("{other}"),
        };
        Act::Answer(format!(r#"{{"value":[{id}],"meta":{{"next":{next},"size":1}}}}"#))
    });
    let policy = "cursor = \"@body().meta.next\"\nparameter = \"after\"";
    let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api(policy))]);
    let answer = gateway.send(&get("/api/orders?top=1")).unwrap();
    assert_eq!(body(&answer), r#"{"value":[1,2,3],"meta":{"size":1}}"#);
    let targets: Vec<String> = (0..3).map(|_| backend.target()).collect();
    let want = ["top=1", "top=1&after=a%20b%26c", "top=1&after=17"];
    assert_eq!(targets, want.map(|query| format!("/v1/lists/orders?{query}&api_key=hush")));
}

/// A backend whose pages are arrays, with the links beside them in the field `Link`.
fn with_link_field(pages: u32) -> Scripted {
    Scripted::start(move |target, _| {
        let page = page(target);
        let mut links = vec!["</v1/lists/orders?page=1>; rel=first".to_owned()];
        if page < pages {
            links.push(format!(r#"</v1/lists/orders?page={}>; title="a, b"; rel="next""#, page + 1));
        }
        let body = format!("[{page}]");
        let head = format!("HTTP/1.1 200 OK\r\nlink: {}\r\ncontent-length: {}", links.join(", "), body.len());
        Act::Send(Box::leak(format!("{head}\r\n\r\n{body}").into_boxed_str()))
    })
}

#[test]
fn the_field_link_leads_on() {
    let links = "[[outbound]]\npolicy = \"redirect-content-urls\"\nbody = false\n\n[[operation]]";
    for (bound, items, partial, link) in [
        ("", "[1,2,3]", None, "<http://gateway.test/api/orders?page=1>; rel=first"),
        (
            "max-pages = 2",
            "[1,2]",
            Some("max-pages"),
            r#"<http://gateway.test/api/orders?page=1>; rel=first, <http://gateway.test/api/orders?page=3>; title="a, b"; rel="next""#,
        ),
    ] {
        let backend = with_link_field(3);
        let policy = format!("next-link-header = \"link\"\n{bound}");
        let api = api(&policy).replace("@body().value", "@body()").replacen("[[operation]]", links, 1);
        let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api)]);
        let answer = gateway.send(&get("/api/orders?top=2")).unwrap();
        assert_eq!((body(&answer), headers(&answer)[1]), (items, partial), "{bound}");
        assert_eq!(answer.field("link"), Some(link), "{bound}");
    }
}

#[test]
fn a_page_that_failed_is_tried_again() {
    let backend = linked(2, &[(1, "503 Busy")]);
    let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api("next-link = \"next\""))]);
    let answer = gateway.send(&get("/api/orders")).unwrap();
    assert_eq!(headers(&answer)[..2], [Some("2"), None], "{}", body(&answer));
    assert_eq!(backend.rest().len(), 3);
}

#[test]
fn bounds_end_a_collection_where_a_caller_can_go_on() {
    struct Case {
        bound: &'static str,
        pages: &'static str,
        partial: &'static str,
        items: usize,
        next: u32,
    }
    for Case { bound, pages, partial, items, next } in [
        Case { bound: "max-pages = 2", pages: "2", partial: "max-pages", items: 4, next: 3 },
        Case { bound: "max-items = 3", pages: "2", partial: "max-items", items: 4, next: 3 },
        Case { bound: "max-bytes = \"250B\"", pages: "3", partial: "max-bytes", items: 6, next: 4 },
    ] {
        let backend = linked(100, &[]);
        let policy = format!("next-link = \"next\"\n{bound}");
        let partly = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api(&policy))]);
        let answer = partly.send(&get("/api/orders?top=2")).unwrap();
        assert_eq!(headers(&answer), [Some(pages), Some(partial), Some("2")], "{bound}");
        let read: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(read["value"].as_array().unwrap().len(), items, "{bound}");
        assert_eq!(read["next"], format!("http://gateway.test/api/orders?page={next}"), "{bound}");

        let policy = format!("{policy}\non-limit = \"fail\"");
        let strictly = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api(&policy))]);
        let answer = strictly.send(&get("/api/orders?top=2")).unwrap();
        assert_eq!(status(&answer), "502", "{bound}");
    }
}

#[test]
fn what_the_gateway_holds_bounds_a_collection_too() {
    let backend = linked(10_000, &[]);
    let policy = "next-link = \"next\"\nmax-pages = 1000\nmax-items = 1000000";
    let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api(policy))]);
    let answer = gateway.send(&get("/api/orders")).unwrap();
    assert_eq!(headers(&answer)[1], Some("max-bytes"), "{}", body(&answer));
    assert!(answer.body.len() <= 4096, "{}", answer.body.len());
}

#[test]
fn time_ends_a_collection_by_the_clock() {
    for (outcome, want) in [("partial", ("200", Some("max-time"))), ("fail", ("502", None))] {
        let backend = Scripted::start(|target, _| match page(target) {
            1 => Act::Answer(r#"{"value":[1],"next":"?page=2"}"#.to_owned()),
            _ => Act::Begin("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{"),
        });
        let policy = format!("next-link = \"next\"\nmax-time = \"30s\"\non-limit = \"{outcome}\"");
        let gateway = gateway(&backend, &[("gateway.toml", GATEWAY), ("api.toml", &api(&policy))]);
        let answer = std::thread::scope(|scope| {
            let asked = scope.spawn(|| gateway.send(&get("/api/orders")));
            (0..2).for_each(|_| drop(backend.target()));
            gateway.clock.advance(Duration::from_secs(30));
            asked.join().unwrap().unwrap()
        });
        assert_eq!((status(&answer), headers(&answer)[1]), want, "{outcome}: {}", body(&answer));
    }
}
