//! The worked example of `policies/contacts.toml`: a custom connector's two app registrations, and the commands of its comments as
//! they stand there.

use std::path::Path;
use std::process::Command;

use super::issuer::Issuer;
use super::support::{Gateway, eventually, program};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

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
    assert_eq!(statuses, ["200", "200", "200", "401"], "{shown}");
    assert!(shown.contains(r#""x-user-name":"ann@contoso.example""#), "the backend learns who calls: {shown}");
    assert_eq!(shown.matches(r#""x-user-name":"#).count(), 1, "an application by itself has no name: {shown}");
    assert_eq!(shown.matches(r#""x-user-id":"#).count(), 2, "{shown}");
    // Only the backend of calendar.toml is shown a token, and it is another one.
    assert_eq!(
        shown.to_lowercase().matches(r#""authorization":"#).count(),
        1,
        "the token stays in the gateway: {shown}"
    );
    assert!(shown.contains(r#"error="invalid_token", error_description="The audience is not allowed""#), "{shown}");
    assert!(shown.contains("note: it is for Microsoft Graph"), "{shown}");
    let last = shown.lines().last().unwrap();
    assert!(last.starts_with("refused by validate-azure-ad-token (contacts.toml:"), "{shown}");
    assert_eq!(output.status.code(), Some(4), "{shown}");
}
