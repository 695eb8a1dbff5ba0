//! What each policy does, as files that are readable without Rust: a configuration, requests, and what the backend and the
//! client see of them.
//!
//! A case is `POLICY.golden` or `POLICY.what-it-shows.golden` in this folder, or `gateway.what-it-shows.golden` for what is no
//! policy's own: scopes, products, versions, hosts, forms of errors. Text before the first section says what it shows.
//!
//! ```text
//! --- config: gateway.toml        optional; without it one backend, `upstream`, is defined
//! --- config: orders.toml         one section for each file of the configuration folder
//! --- file: keys.pem              other files that the configuration names
//! --- diagnostics                 what `check` says about the configuration; left out when it says nothing
//! --- request: what it shows      method and target, headers, an empty line, the body
//! --- upstream                    what the backend received, once for each time it was called; `none` when it was not
//! --- response                    what the client got
//! --- trace                       what the admin listener shows of the last request, where `[server] traces` is set
//! --- advance: 10s                moves the clock, between requests
//! ```
//!
//! `{{backend}}` and `{{backend-2}}` stand for the URLs of two [recording backends](support::backend), which do what `x-test-…`
//! headers of the request tell them. `{{authority}}`, `{{certificate erp}}`, `{{thumbprint erp}}` and others stand for
//! [certificates](support::certificates). The sections that the gateway makes are `diagnostics`, `upstream`, `response` and `trace`;
//! `UPDATE_GOLDEN=1 cargo test --test policies` rewrites them. Headers are sorted by name; those that the gateway adds to every
//! request and response are left out. Of a body in gzip its text is shown.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod case;
#[path = "../support/mod.rs"]
mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sluicegate::policy::KINDS;

/// In the place of a policy's name: what is no policy's own.
const GATEWAY: &str = "gateway";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies")
}

/// The names of the golden files; a file that is nothing of the kind is an error.
fn goldens() -> BTreeSet<String> {
    let mut goldens = BTreeSet::new();
    for entry in std::fs::read_dir(folder()).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name.ends_with(".golden") {
            let policy = name.split('.').next().unwrap();
            let known = policy == GATEWAY || KINDS.iter().any(|kind| kind.name == policy);
            assert!(known, "{name}: there is no policy `{policy}`");
            goldens.insert(name);
        } else {
            assert!(name.ends_with(".rs"), "{name} is not part of the test");
        }
    }
    goldens
}

#[test]
fn every_policy_has_a_golden() {
    let goldens = goldens();
    let missing: Vec<&str> =
        KINDS.iter().map(|kind| kind.name).filter(|name| !goldens.contains(&format!("{name}.golden"))).collect();
    assert!(missing.is_empty(), "no golden shows what these do: {}", missing.join(", "));
}

/// The example of a policy's documentation compiles as it stands, as a gateway.toml of its own.
#[test]
fn every_example_compiles() {
    for kind in KINDS {
        let schema = (kind.schema)(&mut schemars::SchemaGenerator::default());
        let text = schema.get("description").and_then(|text| text.as_str()).unwrap_or_default();
        let example = text.split("```toml\n").nth(1).and_then(|rest| rest.split("```").next());
        let example = example.unwrap_or_else(|| panic!("{}: there is no example", kind.name));
        let files = vec![("gateway.toml".to_owned(), example.to_owned())];
        let started = support::gateway::Gateway::start(files, None);
        assert!(started.gateway.is_some(), "{}:\n{}", kind.name, started.diagnostics);
    }
}

#[test]
fn every_policy_behaves_as_written() {
    #[expect(clippy::disallowed_methods, reason = "the way to run a test that rewrites its expectations")]
    let update = std::env::var("UPDATE_GOLDEN").is_ok_and(|value| value == "1");
    let mut failures = Vec::new();
    for name in goldens() {
        let path = folder().join(&name);
        let written = std::fs::read_to_string(&path).unwrap();
        let happened = case::run(&written).unwrap_or_else(|error| panic!("{name}: {error}"));
        if happened == written {
            continue;
        }
        if update {
            std::fs::write(&path, happened).unwrap();
        } else {
            failures.push(format!("=== {name}\n{}", case::difference(&written, &happened)));
        }
    }
    assert!(failures.is_empty(), "\n{}\nUPDATE_GOLDEN=1 rewrites the expectations.", failures.join("\n"));
}

/// What the golden of the policy cannot show.
#[test]
fn a_connection_whose_credentials_fail_shows_in_the_metrics() {
    const API: &str = r#"
[api]
name = "api"
path = "/api"
backend = "upstream"

[[outbound]]
policy = "set-connection-status"
status = 401

[[operation]]
name = "Test"
match = "GET /test"
"#;
    let backend = support::backend::Backend::start();
    let gateway =
        format!("[backends.upstream]\nurl = \"http://{}\"\n\n[connections.one]\napi = \"api\"\n", backend.address);
    let files = vec![("api.toml".to_owned(), API.to_owned()), ("gateway.toml".to_owned(), gateway)];
    let started = support::gateway::Gateway::start(files, None);
    let gateway = started.gateway.unwrap_or_else(|| panic!("{}", started.diagnostics));
    let call = |status: &str| {
        let fields =
            [("host", "gateway"), ("x-test-status", status)].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let request = support::wire::Message {
            first_line: "GET /api/test HTTP/1.1".into(),
            fields: fields.into(),
            ..Default::default()
        };
        gateway.send(&request).unwrap();
    };
    let shown =
        |value: u8| gateway.has_metric(&format!("sluicegate_connection_unauthenticated{{connection=\"one\"}} {value}"));
    assert!(shown(0));
    for (status, want) in [("401", 1), ("404", 1), ("200", 0)] {
        call(status);
        assert!(shown(want), "after {status}");
    }
}
