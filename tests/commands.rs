//! The commands that only look at a configuration: what they print and how they end.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};

const GATEWAY: &str = "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n\n[products.partners]\napis = [\"orders\"]\n\n\
    [[products.partners.inbound]]\npolicy = \"set-header\"\nname = \"x-partner\"\nvalue = \"yes\"\n\n\
    [[inbound]]\npolicy = \"set-header\"\nname = \"x-gateway\"\nvalue = \"yes\"\n";
const ORDERS: &str = "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"erp\"\n\n\
    [[operation]]\nname = \"List\"\nmatch = \"GET /\"\n\n\
    [[operation]]\nname = \"Get\"\nmatch = \"GET /{id}\"\n\n\
    [[operation.inbound]]\npolicy = \"rewrite-uri\"\ntemplate = \"/v2/{id}\"\n";
const HOSTED: &str = "[api]\nname = \"hosted\"\npath = \"/\"\nhosts = [\"api.contoso.com\"]\n\
    version = { scheme = \"path\", value = \"v1\" }\n\n[[operation]]\nname = \"Any\"\nmatch = \"* /*\"\n";

fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.args(arguments).current_dir(folder).output().unwrap()
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn check_tells_by_its_exit_code() {
    let good = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS)]);
    let empty = "[api]\nname = \"none\"\npath = \"/none\"\n";
    let warned = folder(&[("gateway.toml", ""), ("none.toml", empty)]);
    let bad = folder(&[("gateway.toml", "[servr]\n[stor]\n"), ("none.toml", empty)]);
    for (name, folder, arguments, code, last) in [
        ("good", &good, &["check", "."][..], 0, "ok: 1 API, 2 operations, 1 backend"),
        ("strict and good", &good, &["check", ".", "--strict"], 0, "ok: 1 API, 2 operations, 1 backend"),
        ("a warning", &warned, &["check", "."], 0, "ok: 1 API, 0 operations, 0 backends, 1 warning"),
        (
            "a strict warning",
            &warned,
            &["check", ".", "--strict"],
            3,
            "refused: 1 API, 0 operations, 0 backends, 1 warning",
        ),
        ("errors", &bad, &["check", "."], 3, "2 errors, 1 warning"),
        ("no folder", &good, &["check", "nowhere"], 3, "1 error"),
        ("an unknown format", &good, &["check", ".", "--format", "xml"], 2, ""),
    ] {
        let output = run(arguments, folder.path());
        assert_eq!(output.status.code(), Some(code), "{name}");
        assert_eq!(text(&output).lines().last().unwrap_or_default(), last, "{name}");
        assert!(!text(&output).contains('\u{1b}'), "{name}: colours are for terminals");
    }
}

#[test]
fn check_speaks_to_machines() {
    let bad = folder(&[("gateway.toml", "[servr]\n")]);
    let report: serde_json::Value =
        serde_json::from_slice(&run(&["check", ".", "--format", "json"], bad.path()).stdout).unwrap();
    assert_eq!(report["errors"], 1);
    assert_eq!(report["diagnostics"][0]["code"], "unknown-key");
    assert_eq!(report["diagnostics"][0]["location"]["line"], 1);
    let folder = bad.path().file_name().unwrap().to_str().unwrap();
    let report = run(&["check", folder, "--format", "sarif"], bad.path().parent().unwrap());
    let report: serde_json::Value = serde_json::from_slice(&report.stdout).unwrap();
    let result = &report["runs"][0]["results"][0];
    assert_eq!(result["ruleId"], "unknown-key");
    let file = &result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"];
    assert_eq!(*file, format!("{folder}/gateway.toml"));
}

#[test]
fn routes_lists_operations_with_their_policies() {
    let folder = folder(&[("gateway.toml", GATEWAY), ("hosted.toml", HOSTED), ("orders.toml", ORDERS)]);
    let output = run(&["routes", "."], folder.path());
    assert_eq!(output.status.code(), Some(0));
    let want = "\
METHOD  URL                                OPERATION    BACKEND
GET     http://127.0.0.1:8080/orders       orders/List  erp
        inbound: set-header (global)
        [with partners] inbound: set-header (global) → set-header (product)
GET     http://127.0.0.1:8080/orders/{id}  orders/Get   erp
        inbound: set-header (global) → rewrite-uri (operation)
        [with partners] inbound: set-header (global) → set-header (product) → rewrite-uri (operation)
*       http://api.contoso.com:8080/v1/*   hosted/Any   -
        inbound: set-header (global)
";
    assert_eq!(text(&output), want, "{}", text(&output));
    let output = run(&["routes", ".", "--format", "json"], folder.path());
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(list[1]["policies"]["inbound"][1]["place"], "orders.toml:15");
    assert_eq!(list[0]["products"][0]["policies"]["inbound"][1]["scope"], "product");
    let broken = self::folder(&[("gateway.toml", "[servr]")]);
    assert_eq!(run(&["routes", "."], broken.path()).status.code(), Some(3));
}

#[test]
fn docs_are_written_and_checked() {
    let folder = folder(&[]);
    assert_eq!(run(&["docs", "--check", "."], folder.path()).status.code(), Some(4), "nothing is there yet");
    assert_eq!(run(&["docs", "."], folder.path()).status.code(), Some(0));
    assert_eq!(run(&["docs", "--check", "."], folder.path()).status.code(), Some(0));
    let schema = std::fs::read(folder.path().join("schema.json")).unwrap();
    assert_eq!(run(&["schema"], folder.path()).stdout, schema);
}

#[test]
fn completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let output = run(&["completions", shell], Path::new("."));
        assert!(text(&output).contains("routes"), "{shell}");
    }
}

/// README.md shows a file and what is said of a mistake in it: both are what the program takes and says.
#[test]
fn the_readme_shows_what_check_prints() {
    let readme = include_str!("../README.md");
    let block = |kind: &str| {
        let (_, rest) = readme.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    let orders = block("toml");
    let backend = "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n";
    let right = folder(&[("gateway.toml", backend), ("orders.toml", orders)]);
    let output = run(&["check", ".", "--strict"], right.path());
    assert_eq!((output.status.code(), text(&output).as_str()), (Some(0), "ok: 1 API, 1 operation, 1 backend\n"));
    let wrong = folder(&[("gateway.toml", backend), ("orders.toml", &orders.replace("period =", "perod  ="))]);
    let output = run(&["check", "."], wrong.path());
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(text(&output), format!("{}\n1 error\n", block("text")), "README.md is stale");
}

#[test]
fn an_address_that_is_none_is_told_what_one_is() {
    let folder = folder(&[("gateway.toml", "")]);
    for option in ["--listen", "--admin"] {
        for address in ["8080", "localhost:8080"] {
            let output = run(&["run", ".", option, address], folder.path());
            let said = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(2), "{option} {address}");
            assert!(said.contains("expected an IP address and a port, as in `127.0.0.1:8080`"), "{said}");
        }
    }
}
