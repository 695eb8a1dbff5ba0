//! Keys and tokens: how a key becomes a digest, and that no log ever shows one.

use std::io::Write;
use std::process::Stdio;

use crate::support::{Client, Folder, Gateway, SAMPLE_BACKEND, program};

fn digest(input: &str) -> (Option<i32>, String, String) {
    let mut child = program()
        .args(["key", "digest"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may stop reading, or have stopped, when it has seen enough.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_key_is_kept_as_its_digest() {
    let demo = "sha256:ade937c23dc04c64b0bd37e190c26c8fdbe7bb3b824adc8660c02a968b492425\n";
    for input in ["contoso-demo-key", "contoso-demo-key\n"] {
        assert_eq!(digest(input), (Some(0), demo.to_owned(), String::new()), "{input:?}");
    }
    for (input, want) in [("", "the key is empty"), ("hush hush", "character 5"), (&"k".repeat(1 << 20), "4096 bytes")]
    {
        let (code, stdout, stderr) = digest(input);
        assert_eq!((code, stdout.as_str()), (Some(1), ""), "{want}");
        assert!(stderr.starts_with("error: ") && stderr.contains(want) && !stderr.contains("hush"), "{stderr}");
    }
}

#[test]
fn no_log_shows_a_key_or_a_token() {
    let digest = digest("hush-key").1;
    let gateway = format!(
        "[telemetry]\nlog-level = \"trace\"\n[subscriptions.contoso]\nkeys = [\"{}\"]\n{SAMPLE_BACKEND}",
        digest.trim()
    );
    let api = r#"
[api]
name = "sample"
path = "/sample"
backend = "sample"

[[operation]]
name = "Key"
match = "GET /key/{*rest}"
[[operation.inbound]]
policy = "api-key"
sources = ["header", "query", "cookie", "basic"]
header = "x-shibboleth"
query = "shibboleth"
cookie = "shibboleth"

[[operation]]
name = "Token"
match = "GET /token"
[[operation.inbound]]
policy = "validate-jwt"
query-parameter = "bearing"
audiences = ["sample"]
keys = [{ secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" }]

[[operation]]
name = "Header"
match = "GET /header"
[[operation.inbound]]
policy = "validate-jwt"
audiences = ["sample"]
keys = [{ secret = "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=" }]
"#;
    let folder = Folder::new(&[("gateway.toml", &gateway), ("sample.toml", api)]);
    let gateway = Gateway::run(folder.path());
    let requests = [
        ("/sample/key/v1?shibboleth=hush-key", ""),
        ("/sample/key/v1?shibboleth=hush-wrong", ""),
        ("/sample/key/v1", "x-shibboleth: hush-key\r\n"),
        ("/sample/key/v1", "x-shibboleth: hush-wrong\r\n"),
        ("/sample/key/v1", "cookie: shibboleth=hush-key\r\n"),
        ("/sample/key/v1", "authorization: Basic dTpodXNo\r\n"),
        ("/sample/token?bearing=hush.hush.hush", ""),
        ("/sample/token?bearing=eyJhbGciOiJIUzI1NiJ9.e30.dTpodXNo", ""),
        ("/sample/header", "authorization: Bearer hush.hush.hush\r\n"),
        ("/sample/header", "authorization: Bearer eyJhbGciOiJIUzI1NiJ9.e30.dTpodXNo\r\n"),
        ("/nowhere?shibboleth=hush-key&bearing=hush", ""),
    ];
    for (path, fields) in requests {
        Client::new(gateway.address).request("GET", path, fields).unwrap();
    }
    let lines = gateway.access_log(requests.len());
    let refused = lines.iter().filter(|line| line["status"] == 401).count();
    assert_eq!(refused, 7, "{lines:#?}");
    gateway.says("the signature is not valid for 1 candidate key(s)");
    let logs = format!("{lines:?}{}", gateway.stderr());
    for secret in ["hush", "dTpodXNo"] {
        let at = logs.find(secret).map(|at| &logs[at.saturating_sub(200)..at]);
        assert_eq!(at, None, "{secret}");
    }
}
