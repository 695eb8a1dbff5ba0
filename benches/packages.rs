//! A thousand connector packages behind one gateway, with their policies and with validation: how long their import takes, and how
//! much memory the gateway holds. Both have a bar, and the bench fails beyond it.
//!
//! The packages are those of the folder that `SLUICEGATE_CONNECTORS` names, else the project's own, each as often as it takes. All is
//! done by the program itself, each command in a process of its own; `SLUICEGATE_PACKAGES` is another number of them.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a bench that cannot go on fails")]

#[path = "../tests/support/backend.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod backend;
#[path = "../tests/support/hosts.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod hosts;
#[path = "../tests/support/packages.rs"]
mod packages;
#[path = "../tests/process/support.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod support;
#[path = "../tests/support/wire.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod wire;

use std::process::Command;
use std::time::{Duration, Instant};

use packages::{Answers, Caller, Packages, memory, recording};
use support::{Gateway, program};

/// How long the import may take.
const MOST_TIME: Duration = Duration::from_secs(20);
/// How many kilobytes the gateway may hold.
const MOST_MEMORY: u64 = 1 << 20;

/// Runs a command to its good end.
fn timed(what: &str, command: &mut Command) -> Duration {
    let start = Instant::now();
    let out = command.output().unwrap();
    let took = start.elapsed();
    assert!(out.status.success(), "{what}: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout);
    let last = text.lines().rfind(|line| !line.is_empty() && !line.starts_with("next:")).unwrap_or_default();
    eprintln!("{what}: {took:.1?} ({last})");
    took
}

fn main() {
    // Cargo runs benches as tests too, without `--bench`; then the size is no matter.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let named = std::env::var("SLUICEGATE_PACKAGES").ok().map(|text| text.parse().unwrap());
    let count = named.unwrap_or(if short { 14 } else { 1_000 });
    let all = Packages::repeat(&packages::sources(), count);
    let out = all.out();
    let mut import = program();
    import.args(["import", "connector"]).arg(all.packages()).arg("--out").arg(&out).args(["--validate", "refuse"]);
    let took = timed("import", &mut import);
    let apis = all.apis();
    let operations: usize = apis.iter().map(|api| api.operations()).sum();
    assert_eq!(apis.len(), count, "every package is an API");
    all.connect(&apis);
    timed("check", program().arg("check").arg(&out));
    let backend = recording(&apis);
    let start = Instant::now();
    let gateway = Gateway::spawn(program().arg("run").arg(&out).args([
        "--listen",
        "127.0.0.1:0",
        "--admin",
        "127.0.0.1:0",
        "--stand-in",
        &backend.address.to_string(),
    ]));
    eprintln!("start: {:.1?}", start.elapsed());
    let mut most = 0;
    let mut tell = |when: &str| {
        let (holds, held) = memory(gateway.id());
        most = most.max(holds);
        eprintln!("memory {when}: {} MiB, at most {} MiB", holds >> 10, held >> 10);
    };
    tell("before a request");
    let mut answers = Answers::default();
    let start = Instant::now();
    let mut caller = Caller::new(gateway.address);
    apis.iter().for_each(|api| answers.of(api, &mut caller, &backend));
    eprintln!("requests to {operations} operations of {count} APIs: {:.1?}", start.elapsed());
    eprintln!("  as the definition says: {:?}, as it should be from {} APIs", answers.right, answers.passed.len());
    eprintln!("  without what must be there: {:?}, 400 from {} APIs", answers.wrong, answers.refused.len());
    answers
        .explained
        .iter()
        .for_each(|(why, count)| eprintln!("  another answer than it should be, {count} times: {why}"));
    assert!(answers.unexplained.is_empty(), "{}", answers.unexplained.join("\n\n"));
    tell("with every operation called");
    let metrics = gateway.admin("/metrics").body.len();
    tell(&format!("with {} KiB of metrics read", metrics >> 10));
    let gateway_file = out.join("gateway.toml");
    let text = std::fs::read_to_string(&gateway_file).unwrap();
    std::fs::write(out.join(".new"), text + "\n# touched\n").unwrap();
    std::fs::rename(out.join(".new"), gateway_file).unwrap();
    gateway.says("configuration reloaded");
    tell("after a reload");
    assert!(short || took < MOST_TIME, "the bar is {MOST_TIME:?} for the import");
    assert!(most < MOST_MEMORY, "the bar is {} MiB", MOST_MEMORY >> 10);
}
