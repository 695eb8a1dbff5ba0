//! Callers who choose the host or the path of the backend, and try to choose another one than they may.

use crate::scripted::{Act, Scripted, body, gateway, get, status};
use crate::support::gateway::Gateway;
use crate::support::wire::Message;

const CONFIG: &str = r#"
[errors]
format = "connector"

[backends.own]
url = "{{backend}}/v1"
"#;

const API: &str = r#"
[api]
name    = "api"
path    = "/api"
backend = "own"

[[operation]]
name  = "Host"
match = "GET /host"

[[operation.inbound]]
policy        = "dynamic-host-url"
url           = "http://@headers('x-host')/base"
allowed-hosts = ["{{allowed}}"]

[[operation]]
name  = "Inside"
match = "GET /inside"

[[operation.inbound]]
policy        = "dynamic-host-url"
url           = "http://@headers('x-host'){{port}}/base"
allowed-hosts = ["{{allowed}}"]

[[operation]]
name  = "Path"
match = "GET /path"

[[operation.inbound]]
policy = "route-request"
path   = "/files/@queryParameters('p')"

[[operation]]
name  = "Whole"
match = "GET /whole"

[[operation.inbound]]
policy = "route-request"
path   = "@queryParameters('p')"
"#;

/// A gateway that lets callers name the first backend; the second one must never hear of it.
fn start() -> (Gateway, Scripted, Scripted) {
    let answer = |name: &'static str| move |_: &str, _: usize| Act::Answer(format!("\"{name}\""));
    let (own, other) = (Scripted::start(answer("own")), Scripted::start(answer("other")));
    let allowed = own.address.to_string();
    let port = format!(":{}", own.address.port());
    let api = API.replace("{{allowed}}", &allowed).replace("{{port}}", &port);
    (gateway(&own, &[("gateway.toml", CONFIG), ("api.toml", &api)]), own, other)
}

fn ask(gateway: &Gateway, target: &str, hosts: &[&str]) -> Message {
    let fields = hosts.iter().map(|host| ("x-host".to_owned(), (*host).to_owned())).collect();
    gateway.send(&Message { fields, ..get(target) }).unwrap()
}

/// What the error of an answer says.
fn message(answer: &Message) -> String {
    let error: serde_json::Value = serde_json::from_str(body(answer)).unwrap();
    error["error"]["message"].as_str().unwrap_or_else(|| panic!("{error}")).to_owned()
}

#[test]
fn nobody_reaches_a_host_that_is_not_allowed() {
    let (gateway, own, other) = start();
    let (allowed, evil) = (own.address.to_string(), other.address.to_string());
    let not_allowed = "The host that the header 'x-host' names is not allowed.";
    let no_address = "The header 'x-host' gives no valid address for the backend.";
    let missing = "The header 'x-host' is missing; the backend's address depends on it.";
    for (host, want) in [
        (allowed.clone(), None),
        (format!("  {allowed}\t"), None),
        (format!("{allowed}/more"), None),
        (evil.clone(), Some(("403", not_allowed))),
        (format!("{allowed}@{evil}"), Some(("403", not_allowed))),
        (format!("127.0.0.1@{evil}"), Some(("403", not_allowed))),
        (format!("ann:secret@{allowed}"), Some(("400", no_address))),
        (format!("{evil}/@{allowed}"), Some(("403", not_allowed))),
        (format!("{evil}#@{allowed}"), Some(("403", not_allowed))),
        (format!("{evil}?@{allowed}"), Some(("403", not_allowed))),
        (format!("{evil}\\@{allowed}"), Some(("400", no_address))),
        (format!("{evil}%2f@{allowed}"), Some(("400", no_address))),
        (format!("{allowed}:80"), Some(("400", no_address))),
        (format!("{allowed}.evil.example"), Some(("400", no_address))),
        ("127.0.0.1".to_owned(), Some(("403", not_allowed))),
        (format!("127.0.0.1.:{}", own.address.port()), Some(("403", not_allowed))),
        (format!("[::1]:{}", own.address.port()), Some(("403", not_allowed))),
        (format!("[::ffff:127.0.0.1]:{}", own.address.port()), Some(("403", not_allowed))),
        (format!("2130706433:{}", own.address.port()), Some(("403", not_allowed))),
        (format!("0x7f.0.0.1:{}", own.address.port()), Some(("403", not_allowed))),
        (format!("%31{}", &allowed[1..]), Some(("400", no_address))),
        (format!("{allowed}\tx"), Some(("400", no_address))),
        (String::new(), Some(("400", "The header 'x-host' is empty; the backend's address depends on it."))),
    ] {
        let answer = ask(&gateway, "/api/host", &[&host]);
        match want {
            None => {
                assert_eq!((status(&answer), body(&answer)), ("200", "\"own\""), "{host:?}");
                let heard = own.rest();
                let [request] = &heard[..] else { panic!("{host:?}: {heard:?}") };
                assert_eq!(request.field("host"), Some(allowed.as_str()), "{host:?}");
            }
            Some((code, why)) => {
                assert_eq!((status(&answer), message(&answer).as_str()), (code, why), "{host:?}");
                assert!(own.rest().is_empty(), "{host:?}");
            }
        }
        assert!(other.rest().is_empty(), "{host:?} reached the other one");
    }
    // Two fields of one name are one value to the gateway, and no address.
    let twice = ask(&gateway, "/api/host", &[&allowed, &evil]);
    assert_eq!((status(&twice), message(&twice).as_str()), ("400", no_address));
    let none = ask(&gateway, "/api/host", &[]);
    assert_eq!((status(&none), message(&none).as_str()), ("400", missing));
    assert!(own.rest().is_empty() && other.rest().is_empty());
}

#[test]
fn a_host_inside_a_url_does_not_end_it() {
    let (gateway, own, other) = start();
    let evil = other.address.to_string();
    for host in [format!("{evil}/"), format!("{evil}#"), format!("{evil}?"), format!("x@{evil}/"), format!("{evil}\\")]
    {
        let answer = ask(&gateway, "/api/inside", &[&host]);
        assert!(["400", "403"].contains(&status(&answer)), "{host}: {}", answer.first_line);
        assert!(message(&answer).contains("'x-host'"), "{host}: {}", message(&answer));
        assert!(own.rest().is_empty() && other.rest().is_empty(), "{host}");
    }
    let answer = ask(&gateway, "/api/inside", &["127.0.0.1"]);
    assert_eq!((status(&answer), own.rest().len()), ("200", 1));
}

#[test]
fn a_path_that_callers_choose_stays_one_segment() {
    let (gateway, own, other) = start();
    let evil = other.address;
    let no_path = "The query parameter 'p' gives no valid path for the backend.";
    let empty = "The query parameter 'p' is empty; the backend's path depends on it.";
    let refused = "A path parameter is not allowed.";
    for (value, want) in [
        ("a%20b", Ok("a%20b")),
        ("a+b", Ok("a%20b")),
        ("a%2Fb", Ok("a%2Fb")),
        ("a?b=c", Ok("a%3Fb%3Dc")),
        ("a%23b", Ok("a%23b")),
        ("%252e%252e", Ok("%252e%252e")),
        ("@x", Ok("%40x")),
        ("..", Err(refused)),
        ("../x", Err(refused)),
        ("..%2Fx", Err(refused)),
        ("%2e%2e%2Fx", Err(refused)),
        ("x%2F..%2F..%2Fy", Err(refused)),
        ("..%5Cx", Err(refused)),
        ("%0d%0aHost:%20evil", Err(no_path)),
        ("a%00b", Err(no_path)),
        ("", Err(empty)),
    ] {
        for (operation, before) in [("path", "/v1/files/"), ("whole", "/v1/")] {
            let answer = ask(&gateway, &format!("/api/{operation}?p={value}"), &[]);
            match want {
                Ok(segment) => {
                    let target = own.target();
                    let path = target.split('?').next().unwrap();
                    assert_eq!((status(&answer), path), ("200", &*format!("{before}{segment}")), "{operation} {value}");
                }
                Err(why) => {
                    assert_eq!((status(&answer), message(&answer).as_str()), ("400", why), "{operation} {value}");
                    assert!(own.rest().is_empty(), "{operation} {value}");
                }
            }
        }
    }
    for value in [format!("http://{evil}/"), format!("//{evil}/"), format!("@{evil}")] {
        let answer = ask(&gateway, &format!("/api/whole?p={value}"), &[]);
        assert_eq!((status(&answer), body(&answer)), ("200", "\"own\""), "{value}");
        assert!(own.target().starts_with("/v1/"), "{value}");
    }
    assert!(other.rest().is_empty());
}
