//! Secrets of a key vault: a changed one is a reload, a vault that is away changes nothing, and nothing ever shows one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use crate::support::{Client, Folder, Gateway, PATIENCE, SAMPLE_API, backend, eventually, program};

/// The secret that the vault gives; none while it is broken.
type Held = Arc<Mutex<Option<&'static str>>>;

/// An identity endpoint, a vault, and a backend that answers with the key that it is shown.
fn platform(held: &Held) -> SocketAddr {
    let held = held.clone();
    backend(move |stream| {
        let (path, fields, form) = request(stream);
        let field = |name: &str| fields.iter().find_map(|line| line.strip_prefix(name)).unwrap_or("").to_owned();
        let (status, body) = if path.starts_with("/identity?") && field("metadata: ") == "true" {
            ("200 OK", r#"{"access_token":"hush-token","expires_in":"3600"}"#.to_owned())
        } else if path == "/token"
            && form == "grant_type=client_credentials&scope=https%3A%2F%2Fvault.azure.net%2F.default"
        {
            // `gateway:hush-client`
            match field("authorization: ").as_str() {
                "Basic Z2F0ZXdheTpodXNoLWNsaWVudA==" => ("200 OK", r#"{"access_token":"hush-token"}"#.to_owned()),
                _ => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            }
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

fn request(stream: &mut BufReader<TcpStream>) -> (String, Vec<String>, String) {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if !stream.read_line(&mut line).is_ok_and(|read| read > 2) {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or("").to_owned();
    let length = lines.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    let _ = stream.read_exact(&mut body);
    (path, lines, String::from_utf8(body).unwrap())
}

fn folder(address: SocketAddr) -> Folder {
    Folder::new(&[("gateway.toml", &gateway(address)), ("sample.toml", SAMPLE_API)])
}

fn gateway(address: SocketAddr) -> String {
    format!(
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
    )
}

/// Where a secret would be seen: logs, the access log and what the admin listener shows.
#[track_caller]
fn shows_no_secret(gateway: &Gateway, lines: usize) {
    let pages = ["/readyz", "/metrics", "/config"].map(|page| gateway.admin(page).text().to_owned());
    assert!(pages[2].contains("functions-key"), "{}", pages[2]);
    let shown = format!("{}{pages:?}{:?}", gateway.stderr(), gateway.access_log(lines));
    let at = shown.find("hush").map(|at| &shown[at.saturating_sub(200)..at]);
    assert_eq!(at, None);
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
    shows_no_secret(&gateway, 3);
}

#[test]
fn on_hangup_the_vault_is_asked_at_once() {
    let held: Held = Arc::new(Mutex::new(Some("hush-one")));
    let address = platform(&held);
    let toml = gateway(address).replace("refresh = \"1s\"", "refresh = \"4h\"");
    let folder = Folder::new(&[("gateway.toml", &toml), ("sample.toml", SAMPLE_API)]);
    let gateway = Gateway::run(folder.path());
    *held.lock().unwrap() = Some("hush-two");
    assert_eq!(gateway.get("/sample/a").text(), "hush-one");
    gateway.signal("HUP");
    eventually("the new secret", || (gateway.get("/sample/a").text() == "hush-two").then_some(()));
    assert_eq!(gateway.metric("sluicegate_key_vault_fetches_total{result=\"fetched\"}"), Some(2.0));
}

#[test]
fn a_secret_changes_under_load_and_no_request_is_lost() {
    const SECRETS: [&str; 4] = ["hush-0", "hush-1", "hush-2", "hush-3"];
    let held: Held = Arc::new(Mutex::new(Some(SECRETS[0])));
    let folder = folder(platform(&held));
    let gateway = Gateway::run(folder.path());
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let callers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(gateway.address);
                    let mut seen = Vec::new();
                    // Also when the test has failed, and nobody says that it is done.
                    let begun = Instant::now();
                    while !done.load(Ordering::SeqCst) && begun.elapsed() < 4 * PATIENCE {
                        let answer = client.get("/sample/a").expect("an answer on the same connection");
                        assert_eq!(answer.status, 200);
                        seen.push(answer.text().to_owned());
                    }
                    seen
                })
            })
            .collect();
        for secret in &SECRETS[1..] {
            *held.lock().unwrap() = Some(secret);
            eventually(secret, || (gateway.get("/sample/a").text() == *secret).then_some(()));
        }
        done.store(true, Ordering::SeqCst);
        for caller in callers {
            let mut seen = caller.join().unwrap();
            assert!(seen.is_sorted(), "the old one does not come back: {seen:?}");
            seen.dedup();
            assert!(seen.len() > 1 && seen.iter().all(|one| SECRETS.contains(&one.as_str())), "{seen:?}");
        }
    });
    assert_eq!(gateway.ready().1["configuration"]["generation"], 4, "one reload for each change");
    shows_no_secret(&gateway, SECRETS.len());
}

#[test]
fn a_secret_that_makes_no_sense_is_refused_unseen_and_the_old_one_serves_on() {
    let held: Held = Arc::new(Mutex::new(Some("7s")));
    let address = platform(&held);
    let text = gateway(address).replace("[backends.sample]", "[backends.sample]\ntimeout = \"{{functions-key}}\"");
    let folder = Folder::new(&[("gateway.toml", &text), ("sample.toml", SAMPLE_API)]);
    let gateway = Gateway::run(folder.path());
    *held.lock().unwrap() = Some("hush-soon");
    let error = eventually("a refused reload", || {
        let (_, detail) = gateway.ready();
        let error = &detail["configuration"]["last_error"];
        error.is_object().then(|| error.to_string())
    });
    assert!(error.contains("`{{functions-key}}`"), "what is wrong has a name: {error}");
    assert_eq!(gateway.get("/sample/a").text(), "7s");
    shows_no_secret(&gateway, 1);
    *held.lock().unwrap() = Some("8s");
    eventually("the next secret", || (gateway.get("/sample/a").text() == "8s").then_some(()));
    assert!(gateway.ready().1["configuration"]["last_error"].is_null());
}

#[test]
fn a_configuration_that_waits_for_the_vault_goes_into_force_when_it_is_back() {
    let held: Held = Arc::new(Mutex::new(None));
    let address = platform(&held);
    let folder = Folder::new(&[
        ("gateway.toml", &gateway(address).replace("{ key-vault = ", "\"hush-plain\" # ")),
        ("sample.toml", SAMPLE_API),
    ]);
    let served = Gateway::run(folder.path());
    assert_eq!(served.get("/sample/a").text(), "hush-plain");
    folder.replace("gateway.toml", &gateway(address));
    served.says("error[missing-secret]: named value `functions-key` cannot be had from the key vault: `http://");
    assert_eq!(served.get("/sample/a").text(), "hush-plain");
    // Nobody touches the files again.
    *held.lock().unwrap() = Some("hush-late");
    eventually("the secret", || (served.get("/sample/a").text() == "hush-late").then_some(()));
    assert!(served.ready().1["configuration"]["last_error"].is_null());
}

#[test]
fn the_vault_is_asked_as_a_client_that_has_a_secret_of_its_own() {
    let held: Held = Arc::new(Mutex::new(Some("hush-one")));
    let address = platform(&held);
    let own = format!(
        "[key-vault]\ncredentials = {{ token-url = \"http://{address}/token\", client-id = \"gateway\", \
         client-secret = \"{{{{client-secret}}}}\" }}"
    );
    let text = gateway(address)
        .replace("[key-vault]", &own)
        .replace("[named-values]", "[named-values]\nclient-secret = { file = \"client-secret\" }");
    let folder =
        Folder::new(&[("gateway.toml", &text), ("sample.toml", SAMPLE_API), ("client-secret", "hush-client\n")]);
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.get("/sample/a").text(), "hush-one");
    *held.lock().unwrap() = Some("hush-two");
    eventually("the new secret", || (gateway.get("/sample/a").text() == "hush-two").then_some(()));
    shows_no_secret(&gateway, 2);
}

#[test]
fn nothing_starts_without_a_secret_and_a_check_asks_nobody() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let folder = folder(address);
    let output = program().arg("run").arg(folder.path()).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    // Not 3, the configuration is not valid, with which a supervisor gives up.
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    let want = format!(
        "error[missing-secret]: named value `functions-key` cannot be had from the key vault: `http://{address}/identity` did \
         not answer: "
    );
    assert!(stderr.contains(&want), "{stderr}");
    assert!(stderr.contains("hint: a machine outside Azure has no identity of its own"), "{stderr}");
    let last = "error: the configuration is valid, but the key vault does not give its secrets\n";
    assert!(stderr.ends_with(last), "{stderr}");
    let output = program().arg("check").arg(folder.path()).output().unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    assert_eq!((output.status.code(), &*stdout), (Some(0), "ok: 1 API, 1 operation, 1 backend\n"));
}
