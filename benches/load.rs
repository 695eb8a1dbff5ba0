//! What loading a configuration costs: 1,000 APIs of 100 operations each, from text to a gateway that can run.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use sluicegate::clock::Clock;
use sluicegate::compile::{self, Shared};
use sluicegate::config::render;

/// A new API of a team: a policy for each API, and a rewrite and a header for each operation.
fn api(number: u32, operations: u32) -> (String, String) {
    let mut text = format!(
        "[api]\nname = \"api-{number}\"\npath = \"/team-{}/api-{number}\"\nbackend = \"erp\"\n\n\
         [[inbound]]\npolicy = \"set-header\"\nname = \"x-api\"\nvalue = \"{{{{stage}}}}-{number}\"\n",
        number % 10,
    );
    for operation in 0..operations {
        let _ = write!(
            text,
            "\n[[operation]]\nname = \"Get{operation}\"\nmatch = \"GET /things-{operation}/{{id}}\"\n\n\
             [[operation.inbound]]\npolicy = \"rewrite-uri\"\ntemplate = \"/v2/things-{operation}/{{id}}\"\n\n\
             [[operation.outbound]]\npolicy = \"set-header\"\nname = \"x-thing\"\nvalue = \"@pathParameters('id')\"\n",
        );
    }
    (format!("api-{number:04}.toml"), text)
}

fn load(apis: u32, operations: u32) -> Duration {
    let gateway = "[named-values]\nstage = \"test\"\n\n[backends.erp]\nurl = \"https://erp.contoso.internal/v1\"\n\n\
                   [[inbound]]\npolicy = \"set-header\"\nname = \"x-gateway\"\nvalue = \"@requestId()\"\n";
    let mut files: Vec<_> = (0..apis).map(|number| api(number, operations)).collect();
    files.push(("gateway.toml".to_owned(), gateway.to_owned()));
    let bytes: usize = files.iter().map(|(_, text)| text.len()).sum();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime without I/O can start");
    let shared = Arc::new(Shared { offline: true, ..Shared::new(Clock::system(), runtime.handle().clone()) });
    let start = Instant::now();
    let loaded = compile::compile(files, None, &shared);
    let took = start.elapsed();
    assert_eq!(loaded.diagnostics.errors(), 0, "{}", render::text(&loaded.diagnostics, &loaded.sources));
    let count = loaded.gateway.map_or(0, |gateway| gateway.operations.len());
    eprintln!("{apis} APIs, {count} operations, {} KiB of TOML: loaded in {took:?}", bytes >> 10);
    took
}

fn main() {
    // Cargo runs benches as tests too, with `--test`; then the size is no matter.
    if std::env::args().any(|argument| argument == "--test") {
        load(10, 10);
        return;
    }
    load(10, 100);
    let took = load(1_000, 100);
    assert!(took < Duration::from_secs(2), "the bar is 2 s");
}
