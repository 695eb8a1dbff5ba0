//! Subscription keys that come and go while the gateway runs, by the commands that its owner has.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::Value as Json;

use crate::support::{Client, Folder, Gateway, SAMPLE_API, SAMPLE_BACKEND, eventually, program};

fn key(arguments: &[&str], folder: &Path, input: &str) -> Output {
    let mut command = program();
    command.arg("key").args(arguments);
    command.arg("--folder").arg(folder);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a command prints that does what it is asked.
#[track_caller]
fn done(arguments: &[&str], folder: &Path, input: &str) -> String {
    let output = key(arguments, folder, input);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn guarded() -> Folder {
    let api = SAMPLE_API.replace("[[operation]]", "subscription-required = true\n[[operation]]");
    Folder::new(&[
        ("gateway.toml", &format!("[products.gold]\napis = [\"sample\"]\n[consumers.contoso]\n{SAMPLE_BACKEND}")),
        ("sample.toml", &api),
    ])
}

fn status(gateway: &Gateway, key: &str) -> u16 {
    let field = format!("ocp-apim-subscription-key: {}\r\n", key.trim());
    Client::new(gateway.address).request("GET", "/sample/orders", &field).unwrap().status
}

#[track_caller]
fn becomes(gateway: &Gateway, key: &str, want: u16) {
    eventually(&format!("{want} for a key"), || (status(gateway, key) == want).then_some(()));
}

#[test]
fn keys_are_made_replaced_and_ended_while_the_gateway_runs() {
    let folder = guarded();
    let gateway = Gateway::run(folder.path());
    assert_eq!(status(&gateway, "sgk_guess"), 401);

    let first = done(&["new", "contoso", "--product", "gold", "--consumer", "contoso"], folder.path(), "");
    becomes(&gateway, &first, 200);
    let path = folder.path().join("keys.toml");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

    // Comments of the owner stay.
    let text = fs::read_to_string(&path).unwrap();
    folder.replace("keys.toml", &text.replace("[subscriptions", "# pays in advance\n[subscriptions"));
    let second = done(&["rotate", "contoso", "--grace", "1h"], folder.path(), "");
    becomes(&gateway, &second, 200);
    assert_eq!(status(&gateway, &first), 200, "in its time of grace");
    assert!(fs::read_to_string(&path).unwrap().contains("# pays in advance\n[subscriptions.contoso]"));

    done(&["revoke", "--stdin"], folder.path(), &first);
    becomes(&gateway, &first, 401);
    assert_eq!(status(&gateway, &second), 200);

    let third = done(&["rotate", "contoso", "--key", "secondary"], folder.path(), "");
    becomes(&gateway, &third, 200);
    assert_eq!(status(&gateway, &second), 200, "two keys, so that one can be changed at a time");
    done(&["revoke", "contoso"], folder.path(), "");
    becomes(&gateway, &third, 401);
    assert_eq!(status(&gateway, &second), 401);

    let known = done(&["new", "tailspin", "--stdin"], folder.path(), "a-key-of-its-own-making\n");
    assert_eq!(known, "", "who gave the key knows it");
    becomes(&gateway, "a-key-of-its-own-making", 200);

    // Nothing that is kept or shown is a key: no more than its end.
    let list = done(&["list", "--format", "json"], folder.path(), "");
    let shown =
        [list.clone(), done(&["list"], folder.path(), ""), fs::read_to_string(&path).unwrap(), gateway.stderr()];
    for secret in [&first, &second, &third, &"a-key-of-its-own-making".to_owned()] {
        let five = &secret.trim()[secret.trim().len() - 5..];
        for text in &shown {
            assert!(!text.contains(five), "{text}");
        }
    }
    let list: Vec<Json> = serde_json::from_str(&list).unwrap();
    assert_eq!(list.len(), 2);
    assert_eq!(list[0]["consumer"], "contoso");
    let four = |key: &str| key.trim()[key.trim().len() - 4..].to_owned();
    let keys: Vec<(&str, &str, &str)> = (list[0]["keys"].as_array().unwrap().iter())
        .map(|key| (key["slot"].as_str().unwrap(), key["lastFour"].as_str().unwrap(), key["status"].as_str().unwrap()))
        .collect();
    // The first key had been revoked when the third was made, and then there is no need to know it any more.
    assert_eq!(keys, [("primary", four(&second).as_str(), "revoked"), ("secondary", four(&third).as_str(), "revoked")]);
}

#[test]
fn keys_change_under_load_and_nobody_with_a_good_key_notices() {
    let folder = guarded();
    let steady = done(&["new", "steady"], folder.path(), "");
    let replaced = done(&["new", "replaced"], folder.path(), "");
    let gateway = Gateway::run(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    let callers: Vec<_> = [&steady, &steady, &replaced]
        .map(|key| {
            let (stop, address, key) = (stop.clone(), gateway.address, key.trim().to_owned());
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                let field = format!("ocp-apim-subscription-key: {key}\r\n");
                let mut statuses = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    statuses.push(client.request("GET", "/sample/orders", &field).map(|answer| answer.status));
                }
                statuses
            })
        })
        .into();
    let replacement = done(&["rotate", "replaced", "--grace", "1h"], folder.path(), "");
    becomes(&gateway, &replacement, 200);
    for round in 0..4 {
        let name = format!("guest-{round}");
        let guest = done(&["new", &name], folder.path(), "");
        becomes(&gateway, &guest, 200);
        if round % 2 == 0 {
            done(&["revoke", &name], folder.path(), "");
        } else {
            // As somebody does with an editor.
            let text = fs::read_to_string(folder.path().join("keys.toml")).unwrap();
            let start = text.find(&format!("[subscriptions.{name}")).unwrap();
            folder.replace("keys.toml", &text[..start]);
        }
        becomes(&gateway, &guest, 401);
    }
    stop.store(true, Ordering::Relaxed);
    for (number, caller) in callers.into_iter().enumerate() {
        let statuses = caller.join().unwrap();
        assert!(statuses.len() > 20, "{} calls", statuses.len());
        // None is a connection that was closed.
        let other: Vec<_> = statuses.iter().filter(|status| **status != Some(200)).collect();
        assert!(other.is_empty(), "caller {number}: {other:?} of {}", statuses.len());
    }
    assert_eq!(gateway.metric("sluicegate_config_reload_total{result=\"failure\"}"), None);
}

#[test]
fn a_mistake_is_named_and_nothing_is_written() {
    let folder = guarded();
    let path = folder.path().join("keys.toml");
    for (arguments, code, want) in [
        (&["new", "a", "--product", "golf"][..], 3, "unknown product `golf`\nhint: did you mean `gold`?"),
        (&["new", "a", "--api", "simple"], 3, "unknown API `simple`\nhint: did you mean `sample`?"),
        (&["new", "a", "--consumer", "fabrikam"], 3, "unknown consumer `fabrikam`\nhint: there is contoso"),
        (&["new", "a", "--expires", "2020-01-01"], 1, "2020-01-01T00:00:00Z has passed already"),
        (&["new", "a", "--expires", "soon"], 2, "expected a while (`365d`), a date (`2027-01-31`)"),
        (&["new", "a", "--product", "gold", "--api", "sample"], 2, "cannot be used with"),
        (&["new", "a", "--stdin"], 1, "the key is empty"),
        (&["rotate", "a"], 1, "there is no subscription `a` in"),
        (&["revoke", "a"], 1, "there is no subscription `a` in"),
        (&["revoke"], 2, "required arguments were not provided"),
        (&["revoke", "a", "--stdin"], 2, "cannot be used with"),
    ] {
        let output = key(arguments, folder.path(), "");
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {stderr}");
        assert!(stderr.contains(want), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty() && !path.exists(), "{arguments:?}");
    }
    done(&["new", "a"], folder.path(), "");
    let output = key(&["new", "a"], folder.path(), "");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("there is a subscription `a` already\nhint: sluicegate key rotate a"), "{stderr}");
    let stderr = String::from_utf8(key(&["revoke", "--stdin"], folder.path(), "hush-hush").stderr).unwrap();
    assert!(stderr.contains("has this key") && !stderr.contains("hush"), "{stderr}");
    let elsewhere = tempfile::tempdir().unwrap();
    let output = key(&["list"], elsewhere.path(), "");
    assert_eq!(output.status.code(), Some(3));
}

#[test]
fn a_key_file_that_cannot_be_read_leaves_the_keys_in_force() {
    let folder = guarded();
    let known = done(&["new", "contoso"], folder.path(), "");
    let gateway = Gateway::run(folder.path());
    assert_eq!(status(&gateway, &known), 200);
    let path = folder.path().join("keys.toml");
    fs::rename(&path, folder.path().join("aside")).unwrap();
    fs::create_dir(&path).unwrap();
    gateway.says("the key file `keys.toml` cannot be read");
    assert_eq!(status(&gateway, &known), 200);
    fs::remove_dir(&path).unwrap();
    fs::write(&path, "[subscriptions.contoso]\nprimary = { digest = \"hush-hush\" }\n").unwrap();
    gateway.says("expected `sha256:` and 64 hexadecimal digits");
    assert_eq!(status(&gateway, &known), 200);
    assert!(!gateway.stderr().contains("hush"), "{}", gateway.stderr());
    fs::rename(folder.path().join("aside"), &path).unwrap();
    let other = done(&["rotate", "contoso"], folder.path(), "");
    becomes(&gateway, &other, 200);
}

/// A connection of its own to an address where nobody answers.
fn dead() -> std::net::SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

#[test]
fn no_key_is_shown_anywhere_whatever_becomes_of_the_call() {
    const SOURCES: &str = r#"
policy = "api-key"
sources = ["header", "query", "cookie", "basic", "body"]
header = "x-shibboleth"
query = "shibboleth"
cookie = "shibboleth"
body = "/auth/shibboleth"
"#;
    for format in ["apim", "connector", "problem"] {
        let dead = dead();
        let operation = |name: &str, more: &str| {
            format!(
                "[[operation]]\nname = \"{name}\"\nmatch = \"* /{name}/{{*rest}}\"\n[[operation.inbound]]{SOURCES}{more}\n"
            )
        };
        // One lets the key go on to a backend, which is dead for another.
        let kept = "strip = false\n";
        let nobody = "strip = false\n[[operation.inbound]]\npolicy = \"set-backend-service\"\nbackend = \"dead\"\n";
        let api = format!(
            "[api]\nname = \"sample\"\npath = \"/sample\"\nbackend = \"sample\"\n{}{}{}",
            operation("taken", ""),
            operation("kept", kept),
            operation("dead", nobody)
        );
        let own = SAMPLE_API.replace("sample", "own").replace("backend = \"own\"", "backend = \"sample\"");
        let own =
            own.replace("[[operation]]", "subscription-required = true\nkey-query = \"shibboleth\"\n[[operation]]");
        let gateway = format!(
            "[errors]\nformat = \"{format}\"\n[telemetry]\nlog-level = \"trace\"\n\
             [backends.dead]\nurl = \"http://{dead}\"\n{SAMPLE_BACKEND}"
        );
        let folder = Folder::new(&[("gateway.toml", &gateway), ("sample.toml", &api), ("own.toml", &own)]);
        done(&["new", "contoso", "--stdin"], folder.path(), "hush-hush-good-key");
        let gateway = Gateway::run(folder.path());
        let mut calls = 0;
        let mut shown = String::new();
        for (key, basic) in
            [("hush-hush-good-key", "dTpodXNoLWh1c2gtZ29vZC1rZXk="), ("hush-hush-wrong", "dTpodXNoLWh1c2gtd3Jvbmc=")]
        {
            let body = format!(r#"{{"auth":{{"shibboleth":"{key}"}}}}"#);
            let with_body = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
            for operation in ["taken", "kept", "dead"] {
                let path = format!("/sample/{operation}/x");
                for (method, path, fields, body) in [
                    ("GET", path.clone(), format!("x-shibboleth: {key}\r\n"), ""),
                    ("GET", format!("{path}?shibboleth={key}"), String::new(), ""),
                    ("GET", path.clone(), format!("cookie: shibboleth={key}\r\n"), ""),
                    ("GET", path.clone(), format!("authorization: Basic {basic}\r\n"), ""),
                    ("POST", path.clone(), with_body.clone(), &body),
                ] {
                    let after = if body.is_empty() { String::new() } else { format!("\r\n{body}") };
                    let mut client = Client::new(gateway.address);
                    let answer = client.request(method, &path, &format!("{fields}{after}")).unwrap();
                    let good = key.ends_with("good-key");
                    let want = match (good, operation) {
                        (false, _) => 401,
                        (true, "dead") => 502,
                        (true, _) => 404,
                    };
                    assert_eq!(answer.status, want, "{format} {operation} {fields}");
                    shown += &format!("{:?} {}", answer.fields, answer.text());
                    calls += 1;
                }
            }
            for (path, fields) in [
                ("/own/x".to_owned(), format!("ocp-apim-subscription-key: {key}\r\n")),
                (format!("/own/x?shibboleth={key}"), String::new()),
                (format!("/nowhere?shibboleth={key}"), format!("ocp-apim-subscription-key: {key}\r\n")),
            ] {
                let answer = Client::new(gateway.address).request("GET", &path, &fields).unwrap();
                shown += &format!("{:?} {}", answer.fields, answer.text());
                calls += 1;
            }
        }
        assert!(
            shown.contains("401") || shown.contains("Access denied"),
            "{format}: the errors are among what was seen"
        );
        let lines = gateway.access_log(calls);
        for page in ["/", "/readyz", "/metrics", "/config", "/config?format=text"] {
            shown += gateway.admin(page).text();
        }
        let everything = format!("{shown}{lines:?}{}", gateway.stderr());
        assert!(everything.contains("contoso"), "{}", gateway.stderr());
        assert!(gateway.stderr().contains("DEBUG"), "the log says all it can: {}", gateway.stderr());
        for secret in ["hush", "dTpodXNo"] {
            let at = everything.find(secret).map(|at| &everything[at.saturating_sub(300)..at + 10]);
            assert_eq!(at, None, "{format}: {secret}");
        }
    }
}
