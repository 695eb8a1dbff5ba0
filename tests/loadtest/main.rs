//! `sluicegate loadtest` as its user runs it: what it says and how it ends, the bars that limits are held to, gateways of others,
//! several gateways on one Redis, and what happens around them.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod backend;
mod bars;
mod command;
mod foreign;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../process/support.rs"]
mod process;
mod redis;
mod served;
#[allow(dead_code, reason = "other tests use the rest")]
#[path = "../store/server.rs"]
mod server;
#[path = "../support/mod.rs"]
mod support;

use std::path::Path;
use std::process::{Command, Output};

const GATEWAY: &str =
    "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n\n[products.partners]\napis = [\"orders\"]\n";

/// 20 in two seconds, of each caller.
const SLIDING: &str = "policy = \"rate-limit\"\ncalls = 20\nperiod = \"2s\"";

/// An API with one limit.
fn orders(limit: &str) -> String {
    format!(
        "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"erp\"\n\n[[inbound]]\n{limit}\n\n\
         [[operation]]\nname = \"List\"\nmatch = \"GET /\"\n\n[[operation]]\nname = \"Create\"\nmatch = \"POST /\"\n"
    )
}

/// A folder with one API behind a product's keys.
fn folder(limit: &str) -> tempfile::TempDir {
    of(&[("gateway.toml", GATEWAY), ("orders.toml", &orders(limit))])
}

fn of(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.arg("loadtest").args(arguments).current_dir(folder).output().unwrap()
}

/// What a test found.
struct Found {
    code: Option<i32>,
    stderr: String,
    report: serde_json::Value,
}

/// Runs a test that is the same each time, and reads its report.
#[track_caller]
fn report(folder: &Path, arguments: &[&str]) -> Found {
    let output = run(folder, &[&["--seed", "1", "--format", "json"], arguments].concat());
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let report = serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("{arguments:?}: {stdout}{stderr}"));
    Found { code: output.status.code(), stderr: stderr.into_owned(), report }
}

impl Found {
    /// A figure; not a number when it was not measured.
    fn figure(&self, name: &str) -> f64 {
        self.report["metrics"][name]["value"].as_f64().unwrap_or(f64::NAN)
    }

    fn count(&self, pointer: &str) -> u64 {
        self.report.pointer(pointer).and_then(serde_json::Value::as_u64).unwrap_or_else(|| panic!("{pointer}: {self}"))
    }

    /// Everything that is asserted by itself holds, and nobody was refused or admitted who should not be.
    #[track_caller]
    fn assert_exact(&self, what: &str) {
        assert_eq!(self.code, Some(0), "{what}: {self}");
        assert_eq!(self.figure("excess.requests"), 0.0, "{what}: {self}");
        assert_eq!(self.figure("false-rejections.requests"), 0.0, "{what}: {self}");
        assert_eq!(self.figure("errors"), 0.0, "{what}: {self}");
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { code, stderr, report } = self;
        write!(f, "{code:?} {stderr}\n{:#}\n{:#}\n{:#}", report["totals"], report["verdicts"], report["findings"])
    }
}
