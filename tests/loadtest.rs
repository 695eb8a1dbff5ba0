//! `sluicegate loadtest` as its user runs it.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;
use std::process::{Command, Output};

const GATEWAY: &str =
    "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n\n[products.partners]\napis = [\"orders\"]\n";

fn orders(limit: &str) -> String {
    format!(
        "[api]\nname = \"orders\"\npath = \"/orders\"\nbackend = \"erp\"\n\n[[inbound]]\n{limit}\n\n\
         [[operation]]\nname = \"List\"\nmatch = \"GET /\"\n\n[[operation]]\nname = \"Create\"\nmatch = \"POST /\"\n"
    )
}

fn folder(limit: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("gateway.toml"), GATEWAY).unwrap();
    std::fs::write(folder.path().join("orders.toml"), orders(limit)).unwrap();
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sluicegate"));
    command.arg("loadtest").args(arguments).current_dir(folder).output().unwrap()
}

fn figures(output: &Output) -> serde_json::Value {
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}{}", String::from_utf8_lossy(&output.stderr)))
}

const SLIDING: &str = "policy = \"rate-limit\"\ncalls = 20\nperiod = \"2s\"";

#[test]
fn it_ends_as_it_found() {
    let good = folder(SLIDING);
    let bad = folder("policy = \"rate-limit\"\ncalls = 0");
    let quick = ["--virtual-time", "--seed", "1", "--duration", "10s"];
    for (name, folder, arguments, code, says) in [
        ("all holds", &good, &["."][..], 0, "hold"),
        ("an assertion fails", &good, &[".", "--assert", "admitted>=100%"], 4, "do not hold"),
        ("nothing asserted", &good, &[".", "--no-default-assertions"], 0, "Load test of orders/List"),
        ("a broken folder", &bad, &["."], 3, "error"),
        ("no such operation", &good, &[".", "--operation", "Lst"], 2, "did you mean"),
        ("an unknown figure", &good, &[".", "--assert", "exces<=1%"], 2, "did you mean `excess`?"),
        ("a bad limit", &good, &["--expect", "5/1s fixd aligned"], 2, "did you mean `fixed`?"),
        ("an unknown probe", &good, &[".", "--probes", "refil"], 2, "did you mean `refill`?"),
        ("somebody else's limit", &good, &["--expect", "5/1s sliding"], 0, "what is expected"),
        ("figures", &good, &["--list-figures"], 0, "retry-after.honest"),
    ] {
        let arguments: Vec<&str> = arguments.iter().copied().chain(quick).collect();
        let output = run(folder.path(), &arguments);
        let all = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(code), "{name}: {all}");
        assert!(all.contains(says), "{name}: {all}");
        assert!(!all.contains('\u{1b}'), "{name}: colours are for terminals");
    }
    // An address that no machine has (RFC 5737): nothing is sent there.
    let output = run(good.path(), &["--url", "http://192.0.2.1/", "--expect", "5/1s sliding"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--allow-remote"));
}

#[test]
fn a_seed_repeats_it() {
    let folder = folder(SLIDING);
    let arguments =
        [".", "--virtual-time", "--seed", "9", "--shape", "poisson", "--distribution", "zipf", "--format", "json"];
    let once = run(folder.path(), &arguments);
    assert_eq!(once.stdout, run(folder.path(), &arguments).stdout);
    assert_eq!(figures(&once)["setting"]["seed"], 9);
}

/// The bars, over real connections: 64 clients on one key, no over-admission, no false rejection, and `Retry-After` is enough.
#[test]
fn every_algorithm_in_memory_keeps_its_promise_under_64_clients_on_one_key() {
    // Slow enough that one client after the other drains them on a busy machine too, and side by side.
    let algorithms = [
        ("sliding-window", ""),
        ("sliding-window", "slots = 10"),
        ("token-bucket", "burst = 5"),
        ("fixed-window", "start = \"clock\""),
        ("fixed-window", "start = \"first-call\""),
    ];
    std::thread::scope(|scope| {
        for (algorithm, rest) in algorithms {
            scope.spawn(move || keeps_its_promise(algorithm, rest));
        }
    });
}

fn keeps_its_promise(algorithm: &str, rest: &str) {
    let limit = format!("policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\nalgorithm = \"{algorithm}\"\n{rest}");
    let folder = folder(&limit);
    let output = run(
        folder.path(),
        &[
            ".",
            "--seed",
            "1",
            "--format",
            "json",
            "--keys",
            "1",
            "--connections",
            "64",
            "--rate",
            "64",
            "--shape",
            "burst=1s",
            "--duration",
            "7s",
            "--probes",
            "cold-start,simultaneous,reload,retry-after",
        ],
    );
    let report = figures(&output);
    let figure = |name: &str| report["metrics"][name]["value"].as_f64().unwrap_or(f64::NAN);
    let all = format!("{algorithm} {rest}: {:#}", report["verdicts"]);
    assert_eq!(output.status.code(), Some(0), "{all}");
    assert_eq!(figure("excess.requests"), 0.0, "{all}");
    assert_eq!(figure("false-rejections.requests"), 0.0, "{all}");
    assert_eq!(figure("retry-after.honest"), 100.0, "{all}");
    assert_eq!(figure("errors"), 0.0, "{all}");
    assert!(report["totals"]["refused"].as_u64().unwrap() > 300, "{all}");
}

#[test]
fn requests_at_once_are_limited_under_64_clients() {
    let folder = folder("policy = \"limit-concurrency\"\nmax-count = 8");
    let output = run(
        folder.path(),
        &[
            ".",
            "--seed",
            "1",
            "--format",
            "json",
            "--connections",
            "64",
            "--rate",
            "400",
            "--duration",
            "2s",
            "--latency",
            "100ms",
        ],
    );
    let report = figures(&output);
    assert_eq!(output.status.code(), Some(0), "{:#}", report["verdicts"]);
    assert_eq!(report["metrics"]["excess.requests"]["value"], 0.0);
    assert!(report["totals"]["refused"].as_u64().unwrap() > 100);
}

#[test]
fn changing_requests_reach_the_backend_once() {
    let folder = folder(SLIDING);
    let output = run(
        folder.path(),
        &[
            ".",
            "--seed",
            "1",
            "--format",
            "json",
            "--operation",
            "orders/Create",
            "--body",
            "{}",
            "--rate",
            "50",
            "--duration",
            "2s",
            "--probes",
            "none",
        ],
    );
    let report = figures(&output);
    assert_eq!(output.status.code(), Some(0), "{:#}", report["verdicts"]);
    assert_eq!(report["upstream"]["duplicates"], 0);
    assert_eq!(report["amplification"], 1.0);
    assert_eq!(report["upstream"]["requests"], report["totals"]["admitted"]);
}
