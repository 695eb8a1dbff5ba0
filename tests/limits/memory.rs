//! What a million keys take, each algorithm in a process of its own.

use std::io::{Read, Write};
use std::num::{NonZeroU32, NonZeroUsize};
use std::process::{Command, Stdio};
use std::time::Duration;

use sluicegate::clock::Clock;
use sluicegate::limit::{Algorithm, Limiter, Precision, Settings, WindowStart};

const KEYS: usize = 1_000_000;

fn algorithm(name: &str) -> Algorithm {
    let slots = NonZeroU32::new(16).unwrap();
    match name {
        "sliding window" => Algorithm::SlidingWindow { precision: Precision::Exact },
        "16 slots" => Algorithm::SlidingWindow { precision: Precision::Slots(slots) },
        "token bucket" => Algorithm::TokenBucket { burst: slots },
        "fixed window" => Algorithm::FixedWindow { start: WindowStart::Clock },
        other => panic!("{other}"),
    }
}

/// The bytes of memory that the process holds (proc(5), `statm`).
fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap();
    text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

#[test]
#[ignore = "runs in the processes that the other test starts, which name the algorithm"]
fn measure_one() {
    let mut name = String::new();
    std::io::stdin().read_to_string(&mut name).unwrap();
    let settings = Settings::new(algorithm(&name), NonZeroU32::new(100).unwrap(), Duration::from_secs(60));
    let before = resident();
    let limiter = Limiter::new(Settings { max_keys: NonZeroUsize::new(KEYS).unwrap(), ..settings }, Clock::manual());
    for number in 0..KEYS {
        assert!(limiter.decide(&format!("subscription-{number:08}"), 1).admitted);
    }
    assert_eq!(limiter.keys(), KEYS);
    println!("it takes {} bytes", resident() - before);
}

#[test]
fn a_million_keys_take_less_than_200_mib() {
    for name in ["sliding window", "16 slots", "token bucket", "fixed window"] {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "memory::measure_one", "--ignored", "--nocapture"]);
        let mut child = child.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(name.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let bytes = text.split("it takes ").nth(1).and_then(|rest| rest.split(' ').next());
        let mib = bytes.unwrap_or_else(|| panic!("{name}: {text}")).parse::<u64>().unwrap() >> 20;
        println!("{name}: {mib} MiB");
        assert!(mib < 200, "{name}: {mib} MiB");
    }
}
