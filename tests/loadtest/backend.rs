//! What reaches the backend: each request once, unless the gateway tries again.

use super::{GATEWAY, SLIDING, of, orders, report};

/// Traffic of requests that change something.
const CREATE: [&str; 9] = [".", "--operation", "orders/Create", "--body", "{}", "--rate", "50", "--duration", "2s"];

#[test]
fn changing_requests_reach_the_backend_once() {
    let folder = super::folder(SLIDING);
    let found = report(folder.path(), &[&CREATE[..], &["--probes", "none"]].concat());
    found.assert_exact("once");
    assert_eq!(found.report["upstream"]["duplicates"], 0, "{found}");
    assert_eq!(found.report["amplification"], 1.0, "{found}");
    assert_eq!(found.report["upstream"]["requests"], found.report["totals"]["admitted"], "{found}");
}

#[test]
fn what_retries_cost_the_backend_is_counted() {
    struct Case<'a> {
        retry: &'a str,
        /// More requests than callers made.
        amplified: bool,
        /// Changing requests that came twice, which is told by the exit code.
        duplicated: bool,
    }
    let retry = "\n[[backend]]\npolicy = \"retry\"\nretries = 2\nbackoff = \"fixed\"\ninterval = \"1ms\"\n";
    let of_all = format!("{retry}any-method = true\n");
    for Case { retry, amplified, duplicated } in [
        Case { retry: "", amplified: false, duplicated: false },
        // A POST that may have arrived is not sent again.
        Case { retry, amplified: false, duplicated: false },
        Case { retry: &of_all, amplified: true, duplicated: true },
    ] {
        let api = orders(SLIDING).replacen("\n[[operation]]", &format!("{retry}\n[[operation]]"), 1);
        let folder = of(&[("gateway.toml", GATEWAY), ("orders.toml", &api)]);
        let failing = ["--probes", "none", "--backend-failures", "30"];
        let found = report(folder.path(), &[&CREATE[..], &failing].concat());
        assert_eq!(found.figure("amplification") > 1.0, amplified, "{retry}: {found}");
        assert_eq!(found.figure("duplicated-posts") > 0.0, duplicated, "{retry}: {found}");
        assert_eq!(found.code, Some(if duplicated { 4 } else { 0 }), "{retry}: {found}");
        let failed = found.report["totals"]["statuses"]["503"].as_u64().unwrap_or(0);
        assert!(amplified || failed > 0, "{retry}: the backend fails: {found}");
    }
}
