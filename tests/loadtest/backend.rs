//! What reaches the backend: each request once, unless the gateway tries again.

use super::process::Gateway;
use super::{GATEWAY, SLIDING, of, orders, report, run};

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

/// A gateway that runs by itself sends what it admits to the test's own backend, which counts it.
#[test]
fn what_reaches_the_backend_of_a_gateway_that_runs_by_itself_is_counted_there() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let backend = format!("127.0.0.1:{port}");
    let retry =
        "\n[[backend]]\npolicy = \"retry\"\nretries = 2\nbackoff = \"fixed\"\ninterval = \"1ms\"\nany-method = true\n";
    let api = orders(SLIDING).replacen("\n[[operation]]", &format!("{retry}\n[[operation]]"), 1);
    let folder =
        of(&[("gateway.toml", &format!("[backends.erp]\nurl = \"http://{backend}\"\n")), ("orders.toml", &api)]);
    let gateway = Gateway::run(folder.path());
    let url = format!("http://{}", gateway.address);
    let at = ["--url", &url, "--backend-at", &backend, "--backend-failures", "30", "--probes", "none"];
    let found = report(folder.path(), &[&CREATE[..], &at].concat());
    assert!(found.figure("amplification") > 1.0, "{found}");
    assert!(found.figure("duplicated-posts") > 0.0, "{found}");
    assert_eq!(found.code, Some(4), "{found}");
    assert_eq!(found.figure("excess.requests"), 0.0, "{found}");
}

#[test]
fn a_command_tells_what_has_reached_somebody_elses_backend() {
    let echo = "match = \"GET /\"\n[[operation.inbound]]\npolicy = \"rewrite-uri\"\ntemplate = \"/echo\"\n";
    let api = orders(SLIDING).replacen("match = \"GET /\"\n", echo, 1);
    let files = of(&[("gateway.toml", "[backends.erp]\nurl = \"sample:/v1\"\n"), ("orders.toml", &api)]);
    let gateway = Gateway::run(files.path());
    let url = format!("http://{}", gateway.address);
    let load = [".", "--url", &url, "--duration", "1s", "--rate", "50", "--keys", "1", "--probes", "none"];
    let sum = "awk '/^sluicegate_upstream_requests_total/ { n += $2 } END { print n + 0 }'";
    let count = format!("curl -s http://{}/metrics | {sum}", gateway.admin);
    let found = report(files.path(), &[&load[..], &["--backend-count", &count]].concat());
    found.assert_exact("counted");
    assert_eq!(found.figure("amplification"), 1.0, "{found}");
    assert_eq!(found.report["upstream"]["duplicates"], serde_json::Value::Null, "{found}");
    // Without one it is said that nobody knows.
    let output = run(files.path(), &load);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("not measured: what reaches the backend is not seen from here"), "{text}");
    for (command, says) in [
        ("exit 3", "--backend-count failed: exit status: 3 of `exit 3`"),
        ("echo many", "`echo many` is to print a number, and printed `many`"),
    ] {
        let output = run(files.path(), &[&load[..], &["--backend-count", command]].concat());
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{command}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{command}: {output:?}");
    }
    let own = run(files.path(), &[".", "--backend-count", "echo 1"]);
    assert_eq!(own.status.code(), Some(2), "the test's own counts by itself: {own:?}");
}

/// Each answer of the test's own backend reports its tokens, so that a limit of them is one of requests.
#[test]
fn a_limit_of_tokens_is_judged() {
    let limit = "policy = \"llm-token-limit\"\ncounter-key = \"@headers('x-key')\"\ntokens-per-minute = 1000";
    let gateway = "[backends.erp]\nurl = \"https://erp.contoso.internal\"\n";
    let folder = of(&[("gateway.toml", gateway), ("orders.toml", &orders(limit))]);
    let load =
        [".", "--operation", "orders/Create", "--keys", "2", "--rate", "100", "--duration", "3s", "--tokens", "100"];
    for more in [&["--probes", "simultaneous,forged-address"][..], &["--virtual-time", "--probes", "retry-after"]] {
        let found = report(folder.path(), &[&load[..], more].concat());
        found.assert_exact("tokens");
        let terms = found.report["conformance"][0]["terms"].as_str().unwrap();
        assert_eq!(terms, "10/1m sliding", "{found}");
        assert!(found.count("/totals/refused") > 150 && found.count("/totals/admitted") >= 20, "{found}");
    }
    // Counted ahead in full, no more than the limit are admitted at one instant.
    let ahead = orders(&format!("{limit}\nreserve = 100"));
    let folder = of(&[("gateway.toml", gateway), ("orders.toml", &ahead)]);
    let found = report(folder.path(), &[&load[..], &["--probes", "simultaneous"]].concat());
    found.assert_exact("reserved");
    let text = found.report["findings"][0]["text"].as_str().unwrap();
    assert!(text.starts_with("10 of 20 admitted at one instant; the limit is 10"), "{text}");
}
