//! Reload: live at once, nothing dropped and nothing mixed; a broken configuration changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Answer, Client, Folder, Gateway, SAMPLE_BACKEND, eventually, program};

/// An API that states its version twice, in two scopes.
fn version(number: u32) -> String {
    format!(
        r#"
[api]
name = "sample"
path = "/sample"
backend = "sample"
[[outbound]]
policy = "set-header"
name = "x-first"
value = "{number}"
[[operation]]
name = "Any"
match = "GET /{{*rest}}"
[[operation.outbound]]
policy = "set-header"
name = "x-second"
value = "{number}"
"#
    )
}

const PATH: &str = "/sample/invoices?pageSize=1";

/// The version that answers; none while the API is not there, since a busy machine may see a file that was removed and not yet written again.
fn first(gateway: &Gateway) -> Option<u32> {
    gateway.get(PATH).field("x-first").map(|number| number.parse().unwrap())
}

#[test]
fn traffic_goes_on_while_files_change_and_no_answer_is_mixed() {
    let folder = Folder::new(&[("gateway.toml", SAMPLE_BACKEND), ("sample.toml", &version(0))]);
    let gateway = Gateway::run(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    let clients: Vec<_> = (0..3)
        .map(|_| {
            let (stop, address) = (stop.clone(), gateway.address);
            std::thread::spawn(move || {
                let mut client = Client::new(address);
                let mut answers: Vec<Option<Answer>> = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    answers.push(client.get(PATH));
                }
                answers
            })
        })
        .collect();
    let mut fastest = Duration::MAX;
    for number in 1..=9 {
        let text = version(number);
        let begun = Instant::now();
        match number % 3 {
            0 => folder.replace("sample.toml", &text),
            1 => folder.write("sample.toml", &text),
            _ => {
                fs::remove_file(folder.path().join("sample.toml")).unwrap();
                folder.write("sample.toml", &text);
            }
        }
        eventually("the new configuration", || (first(&gateway) == Some(number)).then_some(()));
        fastest = fastest.min(begun.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let mut seen = 0;
    for client in clients {
        for answer in client.join().unwrap() {
            let answer = answer.expect("no connection is dropped");
            // On a busy machine a file may be gone for longer than changes are waited for, and the API with it.
            if (answer.status, answer.complete, answer.field("x-second")) == (404, true, None) {
                continue;
            }
            assert_eq!((answer.status, answer.complete), (200, true), "{answer:?}");
            assert!(answer.field("x-first").is_some());
            assert_eq!(answer.field("x-first"), answer.field("x-second"), "an answer of two configurations");
            seen += 1;
        }
    }
    assert!(seen > 20, "{seen} answers");
    // The fastest, because the machine may be busy with other tests.
    assert!(fastest < Duration::from_millis(200), "{fastest:?}");
}

#[test]
fn a_broken_file_leaves_the_old_configuration_and_says_where() {
    let folder = Folder::new(&[("gateway.toml", SAMPLE_BACKEND), ("sample.toml", &version(1))]);
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.metric("sluicegate_config_last_reload_success"), Some(1.0));
    folder.replace("sample.toml", &version(2).replace("x-second", "x second"));
    let error = eventually("the error", || {
        let (status, detail) = gateway.ready();
        assert_eq!(status, 200, "it still serves");
        let error = &detail["configuration"]["last_error"];
        (!error.is_null()).then(|| error.clone())
    });
    assert!(error["summary"].as_str().unwrap().starts_with("sample.toml:15: "), "{error}");
    assert_eq!(error["diagnostics"][0]["location"]["line"], 15);
    assert!(error["since"].as_str().unwrap().ends_with('Z'), "{error}");
    assert_eq!(gateway.metric("sluicegate_config_last_reload_success"), Some(0.0));
    assert_eq!(gateway.metric("sluicegate_config_reload_total{result=\"failure\"}"), Some(1.0));
    assert_eq!(first(&gateway), Some(1));
    gateway.says("--> sample.toml:15:");

    // Back to what is in force, which is again no mistake.
    folder.replace("sample.toml", &version(1));
    eventually("the error to go", || gateway.ready().1["configuration"]["last_error"].is_null().then_some(()));
    assert_eq!(gateway.metric("sluicegate_config_last_reload_success"), Some(1.0));

    fs::remove_file(folder.path().join("gateway.toml")).unwrap();
    gateway.says("there is no gateway.toml");
    assert_eq!(first(&gateway), Some(1));
    folder.write("gateway.toml", SAMPLE_BACKEND);
    eventually("the error to go", || gateway.ready().1["configuration"]["last_error"].is_null().then_some(()));
}

/// A mounted config map: files are links to a link to the folder of one version.
#[test]
fn links_are_followed_when_they_are_swapped() {
    let mount = Folder::new(&[]);
    let put = |number: u32| {
        let data = mount.path().join(format!("..{number}"));
        fs::create_dir(&data).unwrap();
        fs::write(data.join("gateway.toml"), SAMPLE_BACKEND).unwrap();
        fs::write(data.join("sample.toml"), version(number)).unwrap();
        symlink(format!("..{number}"), mount.path().join("..data_tmp")).unwrap();
        fs::rename(mount.path().join("..data_tmp"), mount.path().join("..data")).unwrap();
    };
    put(1);
    for name in ["gateway.toml", "sample.toml"] {
        symlink(format!("..data/{name}"), mount.path().join(name)).unwrap();
    }
    let gateway = Gateway::run(mount.path());
    assert_eq!(first(&gateway), Some(1));
    for number in 2..=4 {
        put(number);
        fs::remove_dir_all(mount.path().join(format!("..{}", number - 1))).unwrap();
        eventually("the new configuration", || (first(&gateway) == Some(number)).then_some(()));
    }
    assert_eq!(gateway.metric("sluicegate_config_reload_total{result=\"failure\"}"), None);
}

#[test]
fn a_folder_that_is_replaced_as_a_whole_is_found_again() {
    let place = Folder::new(&[]);
    let put = |number: u32| {
        let folder = place.path().join(format!("v{number}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("gateway.toml"), SAMPLE_BACKEND).unwrap();
        fs::write(folder.join("sample.toml"), version(number)).unwrap();
        folder
    };
    let current = place.path().join("current");
    symlink(put(1), &current).unwrap();
    let gateway = Gateway::run(&current);
    for number in 2..=4 {
        // What is behind the link is watched anew each time.
        symlink(put(number), place.path().join("next")).unwrap();
        fs::rename(place.path().join("next"), &current).unwrap();
        eventually("the new configuration", || (first(&gateway) == Some(number)).then_some(()));
        fs::write(place.path().join(format!("v{number}/sample.toml")), version(number * 10)).unwrap();
        eventually("the changed file", || (first(&gateway) == Some(number * 10)).then_some(()));
    }
}

#[test]
fn a_secret_that_changes_is_read_again_and_never_shown() {
    let secrets = Folder::new(&[("token", "before\n")]);
    let named = format!("[named-values]\ntoken = {{ file = \"{}\" }}\n", secrets.path().join("token").display());
    let folder = Folder::new(&[
        ("gateway.toml", &format!("{named}{SAMPLE_BACKEND}")),
        ("sample.toml", &version(1).replace("\"1\"", "\"{{token}}\"")),
    ]);
    let gateway = Gateway::run(folder.path());
    let token = || gateway.get(PATH).field("x-second").unwrap().to_owned();
    assert_eq!(token(), "before");
    secrets.replace("token", "after\n");
    eventually("the new secret", || (token() == "after").then_some(()));
    for path in ["/config", "/config?format=text", "/readyz"] {
        let shown = gateway.admin(path).text().to_owned();
        assert!(!shown.contains("before") && !shown.contains("after"), "{path}: {shown}");
    }
}

#[test]
fn settings_of_the_process_wait_for_a_restart() {
    let folder = Folder::sample("[server]\nworkers = 1\n");
    let gateway = Gateway::run(folder.path());
    assert_eq!(gateway.ready().1["configuration"]["needs_restart"], serde_json::json!([]));
    folder.write(
        "gateway.toml",
        &format!(
            "[server]\nworkers = 2\nlisten = \"127.0.0.1:1\"\n[telemetry]\nlog-level = \"warn\"\n{SAMPLE_BACKEND}"
        ),
    );
    let wait = eventually("the warning", || {
        let wait = gateway.ready().1["configuration"]["needs_restart"].clone();
        (wait != serde_json::json!([])).then_some(wait)
    });
    assert_eq!(wait, serde_json::json!(["server.listen", "server.workers", "telemetry.log-level"]));
    gateway.says("changed settings wait for a restart");
    assert_eq!(gateway.get("/sample/invoices").status, 200);
}

#[test]
fn hangup_opens_the_access_log_again_and_the_same_content_does_nothing() {
    let logs = Folder::new(&[]);
    let log = logs.path().join("access.log");
    let folder = Folder::sample(&format!("[telemetry]\naccess-log-path = \"{}\"\n", log.display()));
    let gateway = Gateway::run(folder.path());
    let lines = |path| fs::read_to_string(path).map_or(0, |text: String| text.lines().count());
    gateway.get("/sample/invoices");
    eventually("the first line", || (lines(&log) == 1).then_some(()));
    let rotated = logs.path().join("access.log.1");
    fs::rename(&log, &rotated).unwrap();
    gateway.signal("HUP");
    gateway.says("the configuration has not changed");
    gateway.get("/sample/invoices");
    eventually("the second line", || (lines(&log) == 1).then_some(()));
    assert_eq!(lines(&rotated), 1);
    assert_eq!(gateway.ready().1["configuration"]["generation"], 1);
    assert_eq!(gateway.metric("sluicegate_config_reload_total{result=\"success\"}"), Some(1.0));
}

#[test]
fn a_certificate_that_cannot_be_used_changes_nothing() {
    let pem = |name: &str| {
        fs::read_to_string(format!("{}/tests/datapath/tls/{name}.pem", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let tls = "[server.tls]\ncertificate = \"certificate.pem\"\nkey = \"key.pem\"\n";
    let folder = Folder::sample(tls);
    folder.write("certificate.pem", &pem("certificate"));
    folder.write("key.pem", "no key");
    let output = program().arg("run").arg(folder.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    folder.write("key.pem", &pem("key"));
    let gateway = Gateway::run(folder.path());
    let series = "sluicegate_certificate_not_after_seconds{name=\"server.tls\",shown_to=\"clients\"}";
    let end = gateway.metric(series);
    assert!(end.is_some_and(|end| end > 1.7e9), "{end:?}");
    let summary = || gateway.ready().1["configuration"]["last_error"]["summary"].as_str().map(str::to_owned);
    folder.replace("certificate.pem", &pem("authority"));
    let error = eventually("the error", summary);
    assert!(error.starts_with("gateway.toml:3: "), "{error}");
    folder.replace("certificate.pem", &pem("certificate"));
    eventually("the error to go", || summary().is_none().then_some(()));
}
