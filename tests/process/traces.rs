//! Traces: what the admin listener tells of the last requests, in three forms, without a secret and without a change to what passes.

use std::io::{BufRead, Read, Write as _};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use base64::Engine as _;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value as Json, json};

use crate::support::{
    Client, Folder, Gateway, PATIENCE, SAMPLE_API, SAMPLE_BACKEND, backend, eventually, program, read_head,
};

/// The trace with an id, once it is there: the last byte of an answer may come before it.
#[track_caller]
fn trace(gateway: &Gateway, path: &str) -> String {
    eventually(path, || {
        let answer = gateway.admin(path);
        (answer.status == 200).then(|| answer.text().to_owned())
    })
}

fn send(gateway: &Gateway, path: &str, id: &str) {
    let answer = Client::new(gateway.address).request("GET", path, &format!("x-request-id: {id}\r\n")).unwrap();
    assert_eq!(answer.field("x-request-id"), Some(id));
}

#[test]
fn the_last_requests_are_told_in_three_forms_on_the_admin_listener_only() {
    let folder = Folder::sample("[server]\ntraces = 2\n");
    let gateway = Gateway::run(folder.path());
    gateway.says(&format!("traces   http://{}/traces", gateway.admin));
    assert_eq!(gateway.admin("/traces").text(), "no request has been traced yet\n");
    for id in ["one", "two", "three"] {
        send(&gateway, "/sample/invoices?pageSize=1&q=%3Cscript%3E", id);
        trace(&gateway, &format!("/traces/{id}"));
    }
    assert_eq!(gateway.admin("/traces/one").status, 404, "two are kept");
    let list = gateway.admin("/traces.json").json();
    let ids: Vec<&str> =
        list["traces"].as_array().unwrap().iter().map(|one| one["traceId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["three", "two"], "the newest first");
    let admin = |path: &str, accept: &str| {
        Client::new(gateway.admin).request("GET", path, &format!("accept: {accept}\r\n")).unwrap()
    };
    for (path, accept, kind, text) in [
        ("/traces", "text/html", "text/html; charset=utf-8", "<a href=\"/traces/three\">"),
        ("/traces/two", "text/html,*/*;q=0.8", "text/html; charset=utf-8", "<h2>backend</h2>"),
        ("/traces/two", "application/json", "application/json", "\"traceId\": \"two\""),
        ("/traces/two.json", "text/html", "application/json", "\"source\": \"forward-request\""),
        ("/traces/two", "*/*", "text/plain; charset=utf-8", "GET http://gateway.example/sample/invoices?pageSize=1"),
        ("/traces/two.txt", "text/html", "text/plain; charset=utf-8", "operation   `Any` (* /{*rest}) of API `sample`"),
    ] {
        let answer = admin(path, accept);
        assert_eq!((answer.status, answer.field("content-type")), (200, Some(kind)), "{path} {accept}");
        assert!(answer.text().contains(text), "{path} {accept}: {}", answer.text());
        assert!(!answer.text().contains("<script"), "{path}: what callers send is text");
        assert!(answer.field("content-security-policy").unwrap().starts_with("default-src 'none'"), "{path}");
    }
    let json = gateway.admin("/traces/two.json").json();
    let call = &json["traceEntries"]["backend"][0];
    assert_eq!(call["data"]["response"]["status"]["code"], 200, "{json:#}");
    assert_eq!(json["traceEntries"]["inbound"][1]["data"]["configuration"]["operation"], "Any");
    for path in ["/traces", "/traces/two"] {
        assert_eq!(gateway.get(path).status, 404, "{path} on the public listener");
    }
}

#[test]
fn a_caller_who_asks_learns_which_trace_is_its_own() {
    let folder = Folder::sample("");
    let ask = |gateway: &Gateway| {
        let fields = "ocp-apim-trace: true\r\nx-request-id: asked\r\n";
        let answer = Client::new(gateway.address).request("GET", "/sample/invoices", fields).unwrap();
        let field = |name: &str| answer.field(name).map(str::to_owned);
        (field("apim-trace-id"), field("ocp-apim-trace-location"))
    };
    let plain = Gateway::run(folder.path());
    assert_eq!(ask(&plain), (None, None), "requests are not traced");
    let off = plain.admin("/traces");
    assert!(off.status == 404 && off.text().contains("`traces = 100` below `[server]`"), "{}", off.text());
    let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let traced = Gateway::spawn(program().arg("run").arg(folder.path()).args(free).arg("--trace"));
    let location = format!("http://{}/traces/asked", traced.admin);
    assert_eq!(ask(&traced), (Some("asked".to_owned()), Some(location)));
    // Somebody behind a proxy is told the id, and not where the admin listener is.
    folder.replace("gateway.toml", &format!("[server]\ntrusted-proxies = [\"127.0.0.1\"]\n{SAMPLE_BACKEND}"));
    eventually("the new configuration", || traced.admin("/config").text().contains("trusted-proxies").then_some(()));
    let fields = "ocp-apim-trace: true\r\nx-request-id: far\r\nx-forwarded-for: 203.0.113.7\r\n";
    let answer = Client::new(traced.address).request("GET", "/sample/invoices", fields).unwrap();
    assert_eq!((answer.field("apim-trace-id"), answer.field("ocp-apim-trace-location")), (Some("far"), None));
    assert!(trace(&traced, "/traces/far").contains("caller      203.0.113.7"));
}

#[test]
fn a_reload_turns_traces_on_and_off() {
    let folder = Folder::sample("");
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.admin("/traces").status, 404);
    folder.replace("gateway.toml", &format!("[server]\ntraces = 10000\n{SAMPLE_BACKEND}"));
    eventually("traces", || (gateway.admin("/traces").status == 200).then_some(()));
    send(&gateway, "/sample/invoices", "kept");
    trace(&gateway, "/traces/kept");
    // A change of something else forgets none of them.
    let more = "[[outbound]]\npolicy = \"set-header\"\nname = \"x-new\"\nvalue = \"1\"\n";
    folder.replace("gateway.toml", &format!("[server]\ntraces = 10000\n{SAMPLE_BACKEND}{more}"));
    eventually("the policy", || gateway.get("/sample/invoices").field("x-new").map(drop));
    send(&gateway, "/sample/invoices", "after");
    let text = trace(&gateway, "/traces/after");
    assert!(text.contains("set-header[1]  gateway.toml:6 (global)") && text.contains("      + x-new: 1"), "{text}");
    assert_eq!(gateway.admin("/traces/kept").status, 200);
    folder.replace("gateway.toml", SAMPLE_BACKEND);
    eventually("no traces", || (gateway.admin("/traces").status == 404).then_some(()));
    assert_eq!(gateway.admin("/traces/kept").status, 404, "they are forgotten");
}

#[test]
fn a_stream_passes_piece_by_piece_and_its_beginning_is_shown() {
    let (go_on, wait) = mpsc::channel::<()>();
    let address = backend(move |stream| {
        read_head(stream);
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n5\r\nfirst\r\n";
        let _ = stream.get_mut().write_all(head.as_bytes());
        // Held back until the caller has the first piece: a gateway that waits for all of it would wait for ever.
        if wait.recv_timeout(PATIENCE).is_ok() {
            let _ = stream.get_mut().write_all(b"7\r\n second\r\n0\r\n\r\n");
        }
    });
    let gateway = format!("[server]\ntraces = 5\n[backends.sample]\nurl = \"http://{address}\"\n");
    let folder = Folder::new(&[("gateway.toml", &gateway), ("sample.toml", SAMPLE_API)]);
    let gateway = Gateway::run(folder.path());
    let mut client = Client::new(gateway.address);
    client.0.get_mut().write_all(b"GET /sample/x HTTP/1.1\r\nhost: a\r\nx-request-id: streamed\r\n\r\n").unwrap();
    read_head(&mut client.0);
    let mut first = [0; 10];
    client.0.read_exact(&mut first).unwrap();
    assert_eq!(&first, b"5\r\nfirst\r\n");
    go_on.send(()).unwrap();
    let mut rest = String::new();
    while client.0.read_line(&mut rest).is_ok_and(|read| read > 2) {}
    assert!(rest.contains(" second"), "{rest}");
    let text = trace(&gateway, "/traces/streamed");
    assert!(text.contains("< (body, 12 bytes)\n      <   first second\n"), "{text}");
}

/// Every secret that a request meets, in every form that it may have: none is in a trace, although the backend repeats all of them
/// in its answer.
#[test]
fn no_secret_is_in_a_trace() {
    const KEY: &str = "caller+key/0123";
    const SECRETS: [&str; 8] = [
        "connection+secret/1",
        "named-secret/2",
        "backend secret 3",
        "caller-token-4",
        "cookie-secret-5",
        "basic-password-6",
        "form-secret-7",
        KEY,
    ];
    let digest = sluicegate::identity::subscription::digest_of(KEY.as_bytes());
    let folder = Folder::new(&[
        (
            "gateway.toml",
            &format!(
                r#"
[server]
traces = 10
[named-values]
one = {{ env = "CONNECTION_SECRET" }}
two = {{ env = "NAMED_SECRET" }}
three = {{ env = "BACKEND_SECRET" }}
[subscriptions.contoso]
apis = ["shop"]
keys = ["{}"]
[connections.one]
api = "shop"
parameters = {{ api_key = "{{{{one}}}}", region = "eu" }}
[backends.shop]
url = "http://shop.example"
[backends.shop.credentials]
header = {{ x-backend = ["{{{{three}}}}"] }}
query = {{ b = ["{{{{three}}}}"] }}
"#,
                digest
            ),
        ),
        (
            "shop.toml",
            r#"
[api]
name = "shop"
path = "/shop"
backend = "shop"
subscription-required = true
[[inbound]]
policy = "authentication-connection"
scheme = "api-key"
name = "x-vendor"
[[inbound]]
policy = "set-header"
name = "x-plain"
value = "a {{two}} b"
[[inbound]]
policy = "set-query-parameter"
name = "note"
value = "{{two}}"
[[inbound]]
policy = "set-variable"
name = "kept"
value = "@concat(base64(connectionParameters('api_key')), ' ', connectionParameters('api_key'), ' ', connectionParameters('region'))"
[[inbound]]
policy = "set-property"
parent = "@body()"
name = "copied"
value = "@concat(headers('authorization'), headers('cookie'), variables('kept'))"
[[inbound]]
policy = "trace"
source = "a test"
message = "@{variables('kept')} and {{two}}"
[[operation]]
name = "Any"
match = "* /{*rest}"
"#,
        ),
    ]);
    let gateway = Gateway::spawn(
        program()
            .arg("run")
            .arg(folder.path())
            .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--stand-in", "echo"])
            .env("CONNECTION_SECRET", SECRETS[0])
            .env("NAMED_SECRET", SECRETS[1])
            .env("BACKEND_SECRET", SECRETS[2]),
    );
    let body = r#"{"client_secret":"form-secret-7","again":"form-secret-7"}"#;
    // `me:basic-password-6`.
    for (id, authorization) in [("bearer", "Bearer caller-token-4"), ("basic", "Basic bWU6YmFzaWMtcGFzc3dvcmQtNg==")] {
        let fields = format!(
            "x-request-id: {id}\r\nauthorization: {authorization}\r\ncookie: session=cookie-secret-5\r\n\
             content-type: application/json\r\nocp-apim-subscription-key: {KEY}\r\n"
        );
        let path = "/shop/x?subscription-key=caller%2Bkey%2F0123&other=basic-password-6";
        let answer = Client::new(gateway.address).send("POST", path, &fields, body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        // The backend was sent all of them, so that there is something to hide.
        for sent in [SECRETS[0], SECRETS[1], SECRETS[2], SECRETS[4], SECRETS[6]] {
            assert!(answer.text().contains(sent), "{sent} in {}", answer.text());
        }
        for form in ["txt", "json", "html"] {
            let text = trace(&gateway, &format!("/traces/{id}.{form}"));
            let hidden = SECRETS.iter().flat_map(|secret| {
                let encoded = secret.replace('+', "%2B").replace('/', "%2F").replace(' ', "%20");
                [(*secret).to_owned(), encoded]
            });
            // The first in Base64, and the whole of `Authorization: Basic`.
            let encoded = ["Y29ubmVjdGlvbitzZWNyZXQvMQ", "bWU6YmFzaWMtcGFzc3dvcmQtNg"].map(str::to_owned);
            for secret in hidden.chain(encoded) {
                // Of a Bearer request nobody knows that this is somebody's password.
                if id == "bearer" && secret == "basic-password-6" {
                    continue;
                }
                assert!(!text.contains(&secret), "{secret} in {id}.{form}: {text}");
            }
        }
        let text = trace(&gateway, &format!("/traces/{id}"));
        for shown in ["+ x-vendor: ***", "+ x-plain: a {{two}} b", "[verbose] a test:", "subscription `contoso`", " eu"]
        {
            assert!(text.contains(shown), "{shown} in {text}");
        }
    }
    assert!(!gateway.admin("/traces.txt").text().contains("caller%2Bkey"), "the list masks as well");
}

/// What no form of a trace may show of the calls below.
const OF_CALLS: [&str; 9] = [
    "client-secret-1",
    "issued-token-2",
    "refresh-token-3",
    "private-note-4",
    "discarded-password-5",
    "inner-secret-6",
    "unchanged-secret-7",
    "item-password-8",
    "far-away-secret-9",
];

/// A token endpoint, and a backend that fails once: both answer with secrets, compressed where they can.
fn secretive() -> SocketAddr {
    let failed = AtomicBool::new(false);
    backend(move |stream| {
        let head = read_head(stream);
        let answer = |status: &str, fields: &str, body: &[u8]| {
            let head = format!(
                "HTTP/1.1 {status}\r\ncontent-type: application/json\r\n{fields}content-length: {}\r\nconnection: close\r\n\r\n",
                body.len()
            );
            [head.as_bytes(), body].concat()
        };
        let gzip = |status: &str, body: Json| {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
            encoder.write_all(body.to_string().as_bytes()).unwrap();
            answer(status, "content-encoding: gzip\r\n", &encoder.finish().unwrap())
        };
        let bytes = if head.starts_with("POST /token") {
            let token = json!({
                "access_token": "issued-token-2", "refresh_token": "refresh-token-3", "token_type": "Bearer", "expires_in": 3600,
                "note": "private-note-4",
            });
            answer("200 OK", "", token.to_string().as_bytes())
        } else if !failed.swap(true, Ordering::SeqCst) {
            gzip(
                "503 Service Unavailable",
                json!({
                    "error": "down for now", "password": "discarded-password-5", "said": "discarded-password-5 issued-token-2",
                }),
            )
        } else {
            let items: Vec<Json> = (0..2_000).map(|id| json!({ "id": id, "password": "item-password-8" })).collect();
            gzip(
                "200 OK",
                json!({
                    "id": 7, "client_secret": "inner-secret-6", "items": items, "passwd": "unchanged-secret-7",
                    "at_the_end": { "client_token": "far-away-secret-9" },
                "said": "inner-secret-6 item-password-8 unchanged-secret-7 client-secret-1",
                }),
            )
        };
        let _ = stream.get_mut().write_all(&bytes);
    })
}

#[test]
fn no_secret_of_a_call_is_in_a_trace() {
    let address = secretive();
    let gateway = format!(
        r#"
[server]
traces = 10
[named-values]
hush = {{ env = "CLIENT_SECRET" }}
[token-sources.erp]
token-url = "http://{address}/token"
client-id = "gateway"
client-secret = "{{{{hush}}}}"
client-authentication = "post"
scope = "orders.read"
[backends.shop]
url = "http://{address}"
[backends.shop.credentials]
token-source = "erp"
"#
    );
    let api = r#"
[api]
name = "shop"
path = "/shop"
backend = "shop"
[[backend]]
policy = "retry"
retries = 1
interval = "0s"
[[outbound]]
policy = "set-property"
parent = "@body()"
name = "copied"
value = "@concat(body().client_secret, ' ', body().items[3].password, ' ', body().said)"
[[outbound]]
policy = "set-property"
parent = "@body()"
name = "password"
value = "@body().items[499].password"
[[operation]]
name = "Any"
match = "* /{*rest}"
"#;
    let other = r#"
[api]
name = "other"
path = "/other"
backend = "shop"
[[outbound]]
policy = "set-header"
name = "x-taken"
value = "a @{body().at_the_end.client_token} b"
[[operation]]
name = "Any"
match = "* /{*rest}"
"#;
    let folder = Folder::new(&[("gateway.toml", &gateway), ("shop.toml", api), ("other.toml", other)]);
    let free = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let gateway = Gateway::spawn(program().arg("run").arg(folder.path()).args(free).env("CLIENT_SECRET", OF_CALLS[0]));
    let answer = Client::new(gateway.address).request("GET", "/shop/x", "x-request-id: calls\r\n").unwrap();
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(answer.text().contains("\"copied\":\"inner-secret-6 item-password-8 inner-secret-6"), "{}", answer.text());
    for form in ["txt", "json", "html"] {
        let text = trace(&gateway, &format!("/traces/calls.{form}"));
        for secret in OF_CALLS {
            assert!(!text.contains(secret), "{secret} in calls.{form}: {text}");
            let encoded = base64::engine::general_purpose::STANDARD_NO_PAD.encode(secret);
            assert!(!text.contains(&encoded), "{secret} in Base64 in calls.{form}: {text}");
        }
    }
    // A secret that stands where nothing is shown of the body any more, and that a policy takes from there.
    let answer = Client::new(gateway.address).request("GET", "/other/x", "x-request-id: other\r\n").unwrap();
    assert_eq!(answer.field("x-taken"), Some("a far-away-secret-9 b"));
    for form in ["txt", "json", "html"] {
        let text = trace(&gateway, &format!("/traces/other.{form}"));
        assert!(text.contains("a *** b") && !text.contains("far-away"), "{form}: {text}");
    }
    let text = trace(&gateway, "/traces/calls");
    for shown in [
        "asks `erp` for a token; the request waited ",
        &format!("> POST http://{address}/token\n"),
        "grant_type=client_credentials&scope=orders.read&client_id=gateway&client_secret=***",
        r#"{"access_token":"***","refresh_token":"***","token_type":"Bearer","expires_in":3600,"note":"***"}"#,
        "< 503 Service Unavailable\n",
        r#"{"error":"down for now","password":"***","said":"*** ***"}"#,
        " of gzip, decoded here",
        "+ $.copied: \"*** *** *** *** *** {{hush}}\"",
        "+ $.password: \"***\"",
        "one place differs",
    ] {
        assert!(text.contains(shown), "{shown} in {text}");
    }
    let json = gateway.admin("/traces/calls.json").json();
    let backend = json["traceEntries"]["backend"].as_array().unwrap();
    let asked: Vec<&Json> = backend.iter().filter(|one| one["data"]["tokenSource"] == "erp").collect();
    let [asked] = asked[..] else { panic!("{json:#}") };
    assert_eq!(asked["data"]["response"]["status"]["code"], 200, "{asked:#}");
    assert!(asked["data"]["waited"].is_string() && asked["data"]["took"].is_string(), "{asked:#}");
    let edits = json["traceEntries"]["outbound"][0]["data"]["body"]["changes"].clone();
    assert_eq!(edits[0]["path"], "$.copied", "{json:#}");
}

#[test]
fn oneshot_prints_what_every_policy_did() {
    let folder = Folder::sample("");
    let output = program()
        .arg("oneshot")
        .arg(folder.path())
        .args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--trace", "--"])
        .args(["bash", "-c", ASK])
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(0), "{stderr}");
    assert!(stdout.starts_with("HTTP/1.1 200 OK"), "standard output is the command's: {stdout}");
    let text = stderr.split("\nGET http://gateway.test/sample/invoices -> 200 OK in ").nth(1);
    let text = text.unwrap_or_else(|| panic!("no trace in {stderr}"));
    assert!(
        text.contains("\nbackend\n  forward-request  at ") && text.contains("\nthe answer to the caller\n"),
        "{text}"
    );
}

/// One request, by what every bash has.
const ASK: &str = r#"
address=${SLUICEGATE_URL#http://}
exec 3<>"/dev/tcp/${address%:*}/${address##*:}"
printf 'GET /sample/invoices HTTP/1.1\r\nhost: gateway.test\r\nconnection: close\r\n\r\n' >&3
cat <&3
"#;
