//! Secrets of a key vault: a changed one is a reload, a vault that is away changes nothing, and nothing ever shows one.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use crate::support::{Folder, Gateway, SAMPLE_API, backend, eventually, program};

/// The secret that the vault gives; none while it is broken.
type Held = Arc<Mutex<Option<&'static str>>>;

/// An identity endpoint, a vault, and a backend that answers with the key that it is shown.
fn platform(held: &Held) -> SocketAddr {
    let held = held.clone();
    backend(move |stream| {
        let (path, fields) = head(stream);
        let field = |name: &str| fields.iter().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
        let (status, body) = if path.starts_with("/identity?") && field("metadata: ") == "true" {
            ("200 OK", r#"{"access_token":"hush-token","expires_in":"3600"}"#.to_owned())
        } else if path.starts_with("/secrets/") {
            match *held.lock().unwrap() {
                _ if field("authorization: ") != "Bearer hush-token" => ("401 Unauthorized", String::new()),
                Some(value) => ("200 OK", format!(r#"{{"value":"{value}"}}"#)),
                None => ("503 Service Unavailable", "hush".to_owned()),
            }
        } else {
            ("200 OK", field("x-functions-key: "))
        };
        let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
        let _ = stream.get_mut().write_all(answer.as_bytes());
    })
}

fn head(stream: &mut BufReader<TcpStream>) -> (String, Vec<String>) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if !stream.read_line(&mut line).is_ok_and(|read| read > 2) {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
    (path, lines)
}

fn folder(address: SocketAddr) -> Folder {
    let gateway = format!(
        r#"
[telemetry]
log-level = "trace"

[named-values]
functions-key = {{ key-vault = "http://{address}/secrets/functions-key" }}

[key-vault]
refresh = "1s"

[managed-identity]
endpoint = "http://{address}/identity"

[backends.sample]
url = "http://{address}"

[backends.sample.credentials]
header.x-functions-key = "{{{{functions-key}}}}"
"#
    );
    Folder::new(&[("gateway.toml", &gateway), ("sample.toml", SAMPLE_API)])
}

#[test]
fn a_changed_secret_is_a_reload_and_a_broken_vault_is_none() {
    let held: Held = Arc::new(Mutex::new(Some("hush-one")));
    let folder = folder(platform(&held));
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.get("/sample/a").text(), "hush-one");
    *held.lock().unwrap() = Some("hush-two");
    eventually("the new secret", || (gateway.get("/sample/a").text() == "hush-two").then_some(()));
    let (status, detail) = gateway.ready();
    assert_eq!((status, &detail["configuration"]["needs_restart"]), (200, &serde_json::json!([])));
    *held.lock().unwrap() = None;
    let series = "sluicegate_key_vault_fetches_total{result=\"failed\"}";
    eventually("a failed fetch", || gateway.metric(series).filter(|failed| *failed >= 2.0));
    assert_eq!(gateway.get("/sample/a").text(), "hush-two", "the last one serves on");
    let (status, detail) = gateway.ready();
    let secret = &detail["vault_secrets"][0];
    assert_eq!((status, &secret["named_value"]), (200, &"functions-key".into()), "{detail}");
    assert!(secret["failures"].as_u64() >= Some(1), "{detail}");
    assert!(
        secret["last_error"].as_str().unwrap().ends_with("/secrets/functions-key` answered with status 503"),
        "{detail}"
    );
    assert!(secret["fetched_at"].is_string(), "{detail}");
    gateway.says("a secret of the key vault cannot be fetched");
    *held.lock().unwrap() = Some("hush-three");
    eventually("the newest secret", || (gateway.get("/sample/a").text() == "hush-three").then_some(()));
    let pages = ["/readyz", "/metrics", "/config"].map(|page| gateway.admin(page).text().to_owned());
    assert!(pages[2].contains("functions-key"), "{}", pages[2]);
    let shown = format!("{}{pages:?}{:?}", gateway.stderr(), gateway.access_log(3));
    let at = shown.find("hush").map(|at| &shown[at.saturating_sub(200)..at]);
    assert_eq!(at, None);
}

#[test]
fn nothing_starts_without_a_secret_and_a_check_asks_nobody() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder(address);
    let output = program().arg("run").arg(folder.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(3), "{stderr}");
    let want = format!(
        "error[missing-secret]: named value `functions-key` cannot be had from the key vault: `http://{address}/identity` did \
         not answer: "
    );
    assert!(stderr.contains(&want), "{stderr}");
    let output = program().arg("check").arg(folder.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*stdout), (Some(0), "ok: 1 API, 1 operation, 1 backend\n"));
}
