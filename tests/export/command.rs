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
    let notes = "note: operation `Any` is left out: a connector has no `* /*`\n\
        note: flows see no fields in the answers of `List`: no definition says what is in them\n";
    assert_eq!(err, notes);
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
        (
            "no audience",
            "policy = \"validate-azure-ad-token\"\ntenant-id = \"contoso.com\"",
            "`api://fill-in` in apiProperties.json is to be replaced",
        ),
        (
            "another issuer",
            "policy = \"validate-jwt\"\nopenid-config = [\"https://id.contoso.com/.well-known/openid-configuration\"]\n\
             audiences = [\"orders\"]",
            "tokens come from `https://id.contoso.com`, which is not Microsoft Entra ID: they have to be for `orders`",
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
        assert_eq!(err.contains("fill-in.invalid"), name == "another issuer", "{name}: {err}");
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

/// Runs the export of `orders` again, and returns how it ended with what it said.
fn again(folder: &Path, more: &[&str]) -> (Option<i32>, String) {
    let output = run(&[&[".", "--api", "orders", "--host", "gateway.contoso.com"], more].concat(), folder);
    (output.status.code(), said(&output).1)
}

const HINT: &str = "hint: `--out FOLDER` writes elsewhere; `--force` replaces the two files, whatever they hold\n";

#[test]
fn a_package_of_a_maker_is_not_overwritten() {
    for file in ["apiDefinition.swagger.json", "apiProperties.json"] {
        let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS)]);
        let place = folder.path().join("orders");
        std::fs::create_dir(&place).unwrap();
        std::fs::write(place.join(file), "{ \"mine\": true }").unwrap();
        let (code, err) = again(folder.path(), &[]);
        let want = format!("error: orders holds {file}, which is no earlier export, and it is not overwritten\n{HINT}");
        assert_eq!((code, err), (Some(4), want));
        assert_eq!(std::fs::read_to_string(place.join(file)).unwrap(), "{ \"mine\": true }");
        assert_eq!(names(&place), [file], "nothing else is written");

        let (code, err) = again(folder.path(), &["--out", "elsewhere"]);
        assert_eq!(code, Some(0), "{err}");
        let (code, err) = again(folder.path(), &["--force"]);
        assert_eq!(code, Some(0), "{err}");
        assert_ne!(std::fs::read_to_string(place.join(file)).unwrap(), "{ \"mine\": true }");
        let (code, err) = again(folder.path(), &[]);
        assert_eq!(code, Some(0), "it is an export now: {err}");
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn an_earlier_export_is_updated() {
    let token = "policy = \"validate-jwt\"\nopenid-config = [\"https://id.contoso.com\"]\naudiences = [\"orders\"]";
    let orders = ORDERS.replace("policy = \"api-key\"", token);
    let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", &orders)]);
    let place = folder.path().join("orders");
    let (code, err) = again(folder.path(), &[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(err.contains("`clientId`") && err.contains("fill-in.invalid"), "{err}");
    std::fs::write(place.join("icon.png"), "picture").unwrap();
    let edit = |file: &str, change: &dyn Fn(&mut Value)| {
        let path = place.join(file);
        let mut value: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut value);
        std::fs::write(path, value.to_string()).unwrap();
    };
    let settings = "/properties/connectionParameters/token/oAuthSettings";
    edit("apiProperties.json", &|value| {
        value["properties"]["iconBrandColor"] = "#aa0000".into();
        value["properties"]["publisher"] = "Contoso".into();
        let settings = value.pointer_mut(settings).unwrap();
        settings["clientId"] = "connector".into();
        for name in ["authorizationUrl", "tokenUrl", "refreshUrl"] {
            settings["customParameters"][name]["value"] = format!("https://id.contoso.com/{name}").into();
        }
        settings["customParameters"]["audience"] = serde_json::json!({ "value": "orders" });
    });
    edit("apiDefinition.swagger.json", &|value| {
        let scheme = &mut value["securityDefinitions"]["oauth2"];
        scheme["authorizationUrl"] = "https://id.contoso.com/authorizationUrl".into();
        scheme["tokenUrl"] = "https://id.contoso.com/tokenUrl".into();
    });
    // The API has changed as well.
    let more = "\n[[operation]]\nname = \"Get\"\nmatch = \"GET /{id}\"\n";
    std::fs::write(folder.path().join("orders.toml"), orders + more).unwrap();
    let (code, err) = again(folder.path(), &[]);
    assert_eq!(code, Some(0), "{err}");
    assert!(!err.contains("`clientId`") && !err.contains("fill-in.invalid"), "{err}");
    let read = |file: &str| -> Value { serde_json::from_slice(&std::fs::read(place.join(file)).unwrap()).unwrap() };
    let (definition, properties) = (read("apiDefinition.swagger.json"), read("apiProperties.json"));
    assert_eq!(definition["paths"]["/{id}"]["get"]["operationId"], "Get");
    assert_eq!(definition["securityDefinitions"]["oauth2"]["tokenUrl"], "https://id.contoso.com/tokenUrl");
    let found = properties.pointer(settings).unwrap();
    assert_eq!(found["clientId"], "connector");
    assert_eq!(found["customParameters"]["refreshUrl"]["value"], "https://id.contoso.com/refreshUrl");
    assert_eq!(found["customParameters"]["audience"]["value"], "orders");
    assert_eq!(properties["properties"]["iconBrandColor"], "#aa0000");
    assert_eq!(properties["properties"]["publisher"], "Contoso");
    let want = [".sluicegate-export.json", "apiDefinition.swagger.json", "apiProperties.json", "icon.png"];
    assert_eq!(names(&place), want);

    // What was changed elsewhere is the maker's.
    edit("apiDefinition.swagger.json", &|value| value["paths"]["/{id}"]["get"]["summary"] = "One order".into());
    let before = std::fs::read(place.join("apiDefinition.swagger.json")).unwrap();
    let (code, err) = again(folder.path(), &[]);
    let why = "error: orders holds apiDefinition.swagger.json, which was changed since it was exported, and it is not overwritten\n";
    assert_eq!((code, err), (Some(4), format!("{why}{HINT}")));
    assert_eq!(std::fs::read(place.join("apiDefinition.swagger.json")).unwrap(), before);
    let (code, err) = again(folder.path(), &["--force"]);
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(read("apiProperties.json").pointer(settings).unwrap()["clientId"], "connector");
}

#[test]
fn an_export_of_another_api_is_not_overwritten() {
    let other = ORDERS.replace("orders", "invoices");
    let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS), ("invoices.toml", &other)]);
    let arguments = [".", "--api", "invoices", "--host", "gateway.contoso.com", "--out", "made"];
    assert_eq!(run(&arguments, folder.path()).status.code(), Some(0));
    let (code, err) = again(folder.path(), &["--out", "made"]);
    let why = "error: made holds an export of the API `invoices`, and it is not overwritten\n";
    assert_eq!((code, err), (Some(4), format!("{why}{HINT}")));
}

/// A folder in the place of a file: neither it nor the other file is touched.
#[test]
fn what_cannot_be_written_leaves_what_was_there() {
    let folder = folder(&[("gateway.toml", GATEWAY), ("orders.toml", ORDERS)]);
    let place = folder.path().join("orders");
    assert_eq!(again(folder.path(), &[]).0, Some(0));
    let before = std::fs::read(place.join("apiDefinition.swagger.json")).unwrap();
    std::fs::create_dir(place.join(".apiDefinition.swagger.json.new")).unwrap();
    let (code, err) = again(folder.path(), &[]);
    assert_eq!(code, Some(1), "{err}");
    assert!(err.starts_with("error: orders/apiDefinition.swagger.json cannot be written: "), "{err}");
    assert_eq!(std::fs::read(place.join("apiDefinition.swagger.json")).unwrap(), before);
    std::fs::remove_dir(place.join(".apiDefinition.swagger.json.new")).unwrap();
    assert_eq!(again(folder.path(), &[]).0, Some(0), "and it is still an export");
}
