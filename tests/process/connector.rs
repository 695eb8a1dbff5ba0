//! The worked example of `policies/contacts.toml`: a custom connector's two app registrations, and the commands of its comments as
//! they stand there.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::support::{Gateway, eventually, program};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The running issuer.
struct Issuer {
    child: Child,
    url: String,
}

impl Issuer {
    fn spawn(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let url =
            lines.find_map(|line| line.unwrap().trim_start().strip_prefix("issuer ").map(|url| url.trim().to_owned()));
        // What it logs later goes nowhere, and must not stop it.
        std::thread::spawn(move || lines.count());
        Self { child, url: url.expect("the URL that the issuer tells as it starts") }
    }
}

impl Drop for Issuer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_commands_of_the_example_do_what_it_says() {
    let text = std::fs::read_to_string(format!("{ROOT}/policies/contacts.toml")).unwrap();
    let commands: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("#    $ ")).collect();
    let [issuer, gateway, rest @ ..] = &*commands else { panic!("{commands:?}") };
    // The first two serve until they are told to stop; here on free ports.
    let served = |line: &str| {
        let mut words = line.split(' ');
        assert_eq!(words.next(), Some("sluicegate"), "{line}");
        let mut command = program();
        command.current_dir(ROOT).args(words).args(["--listen", "127.0.0.1:0"]);
        command
    };
    let issuer = Issuer::spawn(&mut served(issuer));
    let gateway = Gateway::spawn(served(gateway).args(["--admin", "127.0.0.1:0"]).env("ENTRA_AUTHORITY", &issuer.url));
    eventually("the keys of the issuer", || gateway.stderr().contains("verification keys changed").then_some(()));

    let folder = tempfile::tempdir().unwrap();
    let script = rest
        .join("\n")
        .replace("http://127.0.0.1:9095", &issuer.url)
        .replace("http://127.0.0.1:8080", &format!("http://{}", gateway.address))
        .replace("/tmp/token", &folder.path().join("token").display().to_string());
    let own = Path::new(env!("CARGO_BIN_EXE_sluicegate")).parent().unwrap();
    let output = Command::new("sh")
        .args(["-c", &format!("PATH=\"$1:$PATH\"\n{script}"), "sh"])
        .arg(own)
        .current_dir(ROOT)
        .env("ENTRA_AUTHORITY", &issuer.url)
        .output()
        .unwrap();
    let shown = String::from_utf8(output.stdout).unwrap();
    // The body before it ends without a line break.
    let statuses: Vec<&str> = shown.split("HTTP/1.1 ").skip(1).map(|answer| &answer[..3]).collect();
    assert_eq!(statuses, ["200", "200", "401"], "{shown}");
    assert!(shown.contains(r#""x-user-name":"ann@contoso.example""#), "the backend learns who calls: {shown}");
    assert_eq!(shown.matches(r#""x-user-name":"#).count(), 1, "an application by itself has no name: {shown}");
    assert_eq!(shown.matches(r#""x-user-id":"#).count(), 2, "{shown}");
    assert!(!shown.to_lowercase().contains(r#""authorization":"#), "the token stays in the gateway: {shown}");
    assert!(shown.contains(r#"error="invalid_token", error_description="The audience is not allowed""#), "{shown}");
    assert!(shown.contains("note: it is for Microsoft Graph"), "{shown}");
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("refused by validate-azure-ad-token (contacts.toml:"), "{shown}");
    assert_eq!(output.status.code(), Some(4), "{shown}");
}
