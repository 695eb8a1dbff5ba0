//! `sluicegate export connector` as a person meets it: what it prints, how it ends, and what is wrong with what it was given.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

const GATEWAY: &str = "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n";
const ORDERS: &str = "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"erp\"\n\n\
    [[inbound]]\npolicy = \"api-key\"\n\n\
    [[operation]]\nname = \"List\"\nmatch = \"GET /\"\n\n\
    [[operation]]\nname = \"Any\"\nmatch = \"* /*\"\n";

fn folder(files: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(["export", "connector"]).args(arguments).current_dir(folder).output().unwrap()
}

fn said(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_owned()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

#[test]
fn two_files_are_written_and_what_is_left_out_is_told() {
    let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS)]);
    let output = run(&[".", "--api", "orders", "--host", "gateway.contoso.com"], folder.path());
    let (out, err) = said(&output);
    assert_eq!(output.status.code(), Some(0), "{err}");
    let want = "orders/apiDefinition.swagger.json\norders/apiProperties.json\nnext: sluicegate lint connector orders\n";
    assert_eq!(out, want);
    assert_eq!(err, "note: operation `Any` is left out: a connector has no `* /*`\n");
    let read = |name: &str| -> Value {
        serde_json::from_slice(&std::fs::read(folder.path().join("orders").join(name)).unwrap()).unwrap()
    };
    let definition = read("apiDefinition.swagger.json");
    assert_eq!(
        (definition["host"].as_str(), definition["basePath"].as_str()),
        (Some("gateway.contoso.com"), Some("/orders"))
    );
    assert_eq!(read("apiProperties.json")["properties"]["connectionParameters"]["api_key"]["type"], "securestring");
    // What `next` names is a command that takes it.
    let lint = Command::new(env!("CARGO_BIN_EXE_sluicegate"))
        .args(["lint", "connector", "orders"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert_eq!(lint.status.code(), Some(0), "{:?}", said(&lint));
}

#[test]
fn what_tokens_need_is_told() {
    let with = |policy: &str| ORDERS.replace("policy = \"api-key\"", policy);
    for (name, policy, note) in [
        ("no audience", "policy = \"validate-jwt\"\naudiences = []", "`validate-jwt` names no audience"),
        (
            "another issuer",
            "policy = \"validate-jwt\"\naudiences = [\"api://orders\"]",
            "where another issuer makes them",
        ),
        (
            "Entra ID",
            "policy = \"validate-azure-ad-token\"\naudiences = [\"api://orders\"]",
            "id of an app registration",
        ),
    ] {
        let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", &with(policy))]);
        let output = run(&[".", "--api", "orders", "--host", "gateway.contoso.com"], folder.path());
        let (_, err) = said(&output);
        assert_eq!(output.status.code(), Some(0), "{name}: {err}");
        assert!(err.contains(note), "{name}: {err}");
        assert_eq!(err.contains("another issuer"), name == "another issuer", "{name}: {err}");
    }
}

#[test]
fn machines_read_json() {
    let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS)]);
    let output = run(
        &[".", "--api", "orders", "--host", "gateway.contoso.com", "--out", "made", "--format", "json"],
        folder.path(),
    );
    let (out, err) = said(&output);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(report["api"], "orders");
    assert_eq!(report["definition"], "made/apiDefinition.swagger.json");
    assert_eq!(report["properties"], "made/apiProperties.json");
    assert_eq!(report["notes"][0], "operation `Any` is left out: a connector has no `* /*`");
}

#[test]
fn mistakes_are_told_and_nothing_is_written() {
    let good = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS), ("file", "")]);
    let bad = folder(&[("gateway.toml", "[servr]\n"), ("orders.toml", "[api\n")]);
    let broken = folder(&[
        ("gateway.toml", ""),
        ("orders.toml", "[api]\nname = \"orders\"\npath = \"/orders\"\ndefinition = \"orders.json\"\n"),
        ("orders.json", "{\"swagger\":"),
    ]);
    let host = "--host=gateway.contoso.com";
    for (name, folder, arguments, code, part) in [
        (
            "another name",
            &good,
            &[".", "--api", "order", host][..],
            3,
            "no API is called `order`; did you mean `orders`?",
        ),
        ("no folder", &good, &["nowhere", "--api", "orders", host], 3, "nowhere cannot be read"),
        ("no configuration", &bad, &[".", "--api", "orders", host], 3, "the folder has mistakes"),
        ("a broken definition", &broken, &[".", "--api", "orders", host], 3, "orders.json:1:"),
        ("no host", &good, &[".", "--api", "orders"], 2, "--host <GATEWAY>"),
        ("no API", &good, &[".", host], 2, "--api <API>"),
        ("no host at all", &good, &[".", "--api", "orders", "--host", "https://"], 2, "`` is no host"),
        (
            "another scheme",
            &good,
            &[".", "--api", "orders", "--host", "ftp://contoso.com"],
            2,
            "neither `https` nor `http`",
        ),
        ("an address of IPv6", &good, &[".", "--api", "orders", "--host", "[::1]:8080"], 2, "OpenAPI 2.0"),
        (
            "a file in the way",
            &good,
            &[".", "--api", "orders", host, "--out", "file"],
            1,
            "error: file cannot be written",
        ),
        ("another format", &good, &[".", "--api", "orders", host, "--format", "xml"], 2, "xml"),
    ] {
        let output = run(arguments, folder.path());
        let (out, err) = said(&output);
        assert_eq!(output.status.code(), Some(code), "{name}: {err}");
        assert!(err.contains(part), "{name}: {err}");
        assert_eq!(out, "", "{name}");
        assert!(!folder.path().join("orders").exists(), "{name}");
    }
}
