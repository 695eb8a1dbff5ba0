//! The bars, over real connections to a gateway of the test's own: no over-admission, no false rejection, and `Retry-After` is enough.

use super::{folder, report};

/// Every way of counting.
const ALGORITHMS: [&str; 5] = [
    "algorithm = \"sliding-window\"",
    "algorithm = \"sliding-window\"\nslots = 10",
    "algorithm = \"token-bucket\"\nburst = 5",
    "algorithm = \"fixed-window\"\nstart = \"clock\"",
    "algorithm = \"fixed-window\"\nstart = \"first-call\"",
];

/// Tests them side by side.
fn each(test: impl Fn(&str) + Sync) {
    std::thread::scope(|scope| {
        for algorithm in ALGORITHMS {
            let test = &test;
            scope.spawn(move || test(algorithm));
        }
    });
}

#[test]
fn every_algorithm_in_memory_keeps_its_promise_under_64_clients_on_one_key() {
    // Slow enough that one client after the other drains them on a busy machine too.
    each(|algorithm| {
        let folder = folder(&format!("policy = \"rate-limit\"\ncalls = 5\nperiod = \"6s\"\n{algorithm}"));
        let clients = ["--keys", "1", "--connections", "64", "--rate", "64", "--shape", "burst=1s", "--duration", "7s"];
        let probes = ["--probes", "cold-start,simultaneous,reload,retry-after"];
        let found = report(folder.path(), &[&["."], &clients[..], &probes].concat());
        found.assert_exact(algorithm);
        assert_eq!(found.figure("retry-after.honest"), 100.0, "{algorithm}: {found}");
        assert!(found.count("/totals/refused") > 300, "{algorithm}: {found}");
    });
}

/// A thousand clients and more, so that one in a thousand would show; the period is long enough for a busy machine to drain the keys in.
#[test]
fn waiting_as_long_as_retry_after_says_is_enough_for_999_of_1000_clients() {
    let (waited, admitted) = (std::sync::atomic::AtomicU64::new(0), std::sync::atomic::AtomicU64::new(0));
    each(|algorithm| {
        let algorithm = algorithm.replace("burst = 5", "burst = 2");
        let folder = folder(&format!("policy = \"rate-limit\"\ncalls = 2\nperiod = \"5s\"\n{algorithm}"));
        let found = report(folder.path(), &[".", "--duration", "0s", "--probes", "retry-after", "--cohort", "250"]);
        found.assert_exact(&algorithm);
        waited.fetch_add(found.count("/honesty/waited"), std::sync::atomic::Ordering::Relaxed);
        admitted.fetch_add(found.count("/honesty/admitted"), std::sync::atomic::Ordering::Relaxed);
        assert_eq!(found.figure("retry-after.missing") + found.figure("retry-after.zero"), 0.0, "{algorithm}: {found}");
    });
    let (waited, admitted) = (waited.into_inner(), admitted.into_inner());
    assert!(waited > 1_000, "only {waited} clients were refused and waited");
    assert!(admitted as f64 >= 0.999 * waited as f64, "{admitted} of {waited} were admitted");
}

#[test]
fn requests_at_once_are_limited_under_64_clients() {
    let folder = folder("policy = \"limit-concurrency\"\nmax-count = 8");
    let load = [".", "--connections", "64", "--rate", "400", "--duration", "2s", "--latency", "100ms"];
    let found = report(folder.path(), &load);
    found.assert_exact("at once");
    assert!(found.count("/totals/refused") > 100, "{found}");
}

/// Requests that wait their turn are no more than the limit allows either.
#[test]
fn a_waiting_line_admits_what_the_limit_allows() {
    let limit = "policy = \"rate-limit\"\ncalls = 20\nperiod = \"2s\"\non-limit = \"delay\"\nmax-delay = \"1s\"";
    let folder = folder(limit);
    let load = [".", "--keys", "1", "--connections", "64", "--duration", "4s", "--probes", "simultaneous"];
    let found = report(folder.path(), &load);
    found.assert_exact("delayed");
    assert!(found.count("/totals/refused") > 0 && found.count("/totals/admitted") > 20, "{found}");
}
