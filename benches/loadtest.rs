//! How many requests a second the load test sends from one core, against its own stand-in backend on another.

use std::time::Duration;

use sluicegate::clock::Clock;
use sluicegate::loadtest::analysis::{Measured, Setting, analyse};
use sluicegate::loadtest::live::stand_in::{Manner, StandIn};
use sluicegate::loadtest::live::{self, Target};
use sluicegate::loadtest::plan::{Bounds, Plan};
use sluicegate::loadtest::probes::{Order, plan};
use sluicegate::loadtest::virtual_time::Look;

/// A plan of one stretch at this rate.
fn at(rate: f64, seconds: u64) -> Plan {
    plan(&Order {
        rate: Some(rate),
        duration: Some(seconds * 1_000_000_000),
        keyed: false,
        bounds: Bounds { requests: 2_000_000, rate: 1e6, connections: 64, duration: 60_000_000_000 },
        ..Order::default()
    })
}

fn main() {
    // Cargo runs benches as tests too, without `--bench`; then the speed is no matter.
    let short = !std::env::args().any(|argument| argument == "--bench");
    let backend = StandIn::start(([127, 0, 0, 1], 0).into(), Manner::default()).expect("a loopback port is free");
    let url = format!("http://{}/bench", backend.address).parse().expect("an address makes a URL");
    let mut best = 0.0_f64;
    for rate in if short { &[1_000.0][..] } else { &[20_000.0, 30_000.0, 40_000.0, 60_000.0, 80_000.0] } {
        let plan = at(*rate, if short { 1 } else { 4 });
        let target = Target::new(&url, None, Clock::system()).expect("the target is an address");
        let (acts, _listening) = tokio::sync::mpsc::unbounded_channel();
        let driven = live::run(&plan, target, Duration::from_secs(10), &acts, &mut |_, _| Look::GoOn)
            .expect("the runtime starts");
        let measured = Measured { upstream: None, busy: Some(driven.busy), connections: 64 };
        let report = analyse(&driven.session, &plan, Setting::default(), &measured, &[]);
        let seconds = driven.ended as f64 / 1e9;
        let achieved = report.totals.admitted as f64 / seconds;
        let lag = report.generator.lag.expect("requests were sent");
        let latency = report.admitted_latency.expect("requests were answered");
        eprintln!(
            "{rate:>6} wanted: {achieved:>6.0} a second, {:.2} ms behind at 99 %, latency {:.2} ms at 50 % and {:.2} ms at 99 %, \
             {} errors{}",
            lag.p99,
            latency.p50,
            latency.p99,
            report.totals.errors,
            report.generator.bottleneck.map(|it| format!("; bottleneck: {it}")).unwrap_or_default()
        );
        best = best.max(achieved);
    }
    assert!(short || best >= 30_000.0, "the bar is 30,000 a second");
}
