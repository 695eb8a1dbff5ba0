//! The admin pages, and the access log.

use crate::support::{Client, Folder, Gateway, SAMPLE_API, SAMPLE_BACKEND, program};

#[test]
fn pages_are_what_they_say_and_nothing_else_is_there() {
    let folder = Folder::sample("");
    let gateway = Gateway::run(folder.path());
    for (method, path, status, kind, text) in [
        ("GET", "/", 200, "text/plain; charset=utf-8", "/healthz"),
        ("GET", "/healthz", 200, "text/plain; charset=utf-8", "ok\n"),
        ("GET", "/readyz", 200, "application/json", "\"key_sources\": []"),
        ("GET", "/metrics", 200, "text/plain; version=0.0.4; charset=utf-8", "sluicegate_build_info{"),
        ("GET", "/config", 200, "application/json", "\"sample:/v1\""),
        ("GET", "/config?format=text", 200, "text/plain; charset=utf-8", "# sample.toml:3"),
        ("GET", "/config?format=xml", 400, "text/plain; charset=utf-8", "`text` or `json`"),
        ("POST", "/healthz", 405, "text/plain; charset=utf-8", "only GET"),
        ("GET", "/sample/invoices", 404, "text/plain; charset=utf-8", "no such page"),
        ("GET", "/healthz/", 404, "text/plain; charset=utf-8", "no such page"),
    ] {
        let answer = Client::new(gateway.admin).request(method, path, "").unwrap();
        let name = format!("{method} {path}");
        assert_eq!((answer.status, answer.field("content-type")), (status, Some(kind)), "{name}");
        assert!(answer.text().contains(text), "{name}: {}", answer.text());
        assert_eq!(answer.field("cache-control"), Some("no-store"), "{name}");
    }
    let text = Client::new(gateway.admin).request("GET", "/config", "Accept: text/plain\r\n").unwrap();
    assert_eq!(text.field("content-type"), Some("text/plain; charset=utf-8"));
    let huge = format!("X-Filler: {}\r\n", "a".repeat(32 * 1024));
    assert_ne!(Client::new(gateway.admin).request("GET", "/healthz", &huge).map(|answer| answer.status), Some(200));
    assert_eq!(gateway.get("/readyz").status, 404, "never on the public listener");
}

#[test]
fn the_admin_listener_can_be_off() {
    let folder = Folder::sample("[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"off\"\n");
    let script = "test -z \"$SLUICEGATE_ADMIN_URL\"";
    let output = program().arg("oneshot").arg(folder.path()).args(["sh", "-c", script]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let folder = Folder::sample(
        r#"
[named-values]
plain = "shown"
hidden = { env = "SLUICEGATE_TEST_NOT_SET", default = "hush-1" }
[issuers.local]
issuer = "https://issuer.example"
secret = "aHVzaC0yLWh1c2gtMi1odXNoLTItaHVzaC0yLWh1c2gtMi0="
[subscriptions.contoso]
keys = ["sha256:ade937c23dc04c64b0bd37e190c26c8fdbe7bb3b824adc8660c02a968b492425"]
[[inbound]]
policy = "set-header"
name = "authorization"
value = "hush-3"
[[inbound]]
policy = "set-header"
name = "x-api-key"
value = "{{hidden}}"
[[inbound]]
policy = "set-header"
name = "x-plain"
value = "see-this"
"#,
    );
    let gateway = Gateway::run(folder.path());
    let answer = gateway.admin("/config");
    for secret in ["hush", "aHVzaC", "ade937"] {
        assert!(!answer.text().contains(secret), "{secret} in {}", answer.text());
    }
    let settings = answer.json()["settings"].as_array().unwrap().clone();
    for (key, value, line) in [
        ("named-values.plain", "shown", 3),
        ("named-values.hidden.env", "SLUICEGATE_TEST_NOT_SET", 4),
        ("named-values.hidden.default", "***", 4),
        ("issuers.local.secret", "***", 7),
        ("subscriptions.contoso.keys[0]", "***", 9),
        ("inbound[0].value", "***", 13),
        ("inbound[1].value", "{{hidden}}", 17),
        ("inbound[2].value", "see-this", 21),
    ] {
        let setting = settings.iter().find(|setting| setting["key"] == key).unwrap_or_else(|| panic!("no {key}"));
        assert_eq!(setting["value"], value, "{key}");
        assert_eq!((&setting["file"], &setting["line"]), (&"gateway.toml".into(), &line.into()), "{key}");
    }
}

#[test]
fn each_request_is_one_line_and_its_secrets_are_masked() {
    let api = SAMPLE_API.replace("[[operation]]",
        "key-query = \"shibboleth\"\n[[inbound]]\npolicy = \"api-key\"\nsources = [\"query\"]\nquery = \"mellon\"\n[[operation]]",
    );
    // One worker, so that lines are in the order of requests.
    let folder =
        Folder::new(&[("gateway.toml", &format!("[server]\nworkers = 1\n{SAMPLE_BACKEND}")), ("sample.toml", &api)]);
    let gateway = Gateway::run(folder.path());
    for path in [
        "/sample/invoices?page=1&sig=hush",
        "/sample/invoices?shibboleth=hush",
        "/sample/invoices?mellon=hush",
        "/nowhere?a=1",
    ] {
        gateway.get(path);
    }
    let lines = gateway.access_log(4);
    assert_eq!(lines.len(), 4);
    for (line, (path, query, status, operation)) in lines.iter().zip([
        ("/sample/invoices", "page=1&sig=***", 401, Some("Any")),
        ("/sample/invoices", "shibboleth=***", 401, Some("Any")),
        ("/sample/invoices", "mellon=***", 401, Some("Any")),
        ("/nowhere", "a=1", 404, None),
    ]) {
        assert_eq!((&line["path"], &line["query"]), (&path.into(), &query.into()), "{line}");
        assert_eq!((&line["status"], line["operation"].as_str()), (&status.into(), operation), "{line}");
    }
    assert_eq!(gateway.metric("sluicegate_connections_accepted_total"), Some(4.0));
    assert_eq!(gateway.metric("sluicegate_in_flight_requests"), Some(0.0));
}
