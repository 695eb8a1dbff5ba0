//! What the metrics say, and that what they say stays bounded.

use std::time::Duration;

use http::Method;

use super::*;

fn record(method: &Method, status: u16) -> Record<'_> {
    Record {
        method,
        status: StatusCode::from_u16(status).unwrap(),
        duration: Duration::from_millis(3),
        request_bytes: 10,
        response_bytes: 1_000,
        client_aborted: false,
        upstream_truncated: false,
    }
}

#[track_caller]
fn assert_has(metrics: &Metrics, lines: &[&str]) {
    let text = metrics.render();
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "no line `{line}` in\n{text}");
    }
}

#[test]
fn an_exchange_is_counted_under_its_operation() {
    let metrics = Metrics::new(&Clock::manual());
    let api = metrics.api("orders");
    let operation = metrics.operation(&api, "GetOrder");
    operation.record(&record(&Method::GET, 200));
    operation.record(&record(&Method::GET, 204));
    operation.record(&Record { client_aborted: true, upstream_truncated: true, ..record(&Method::GET, 502) });
    operation.record(&record(&Method::from_bytes(b"PROPFIND").unwrap(), 200));
    metrics.unmatched().record(&record(&Method::GET, 404));
    assert_has(
        &metrics,
        &[
            r#"sluicegate_requests_total{api="orders",method="GET",operation="GetOrder",status="2xx"} 2"#,
            r#"sluicegate_requests_total{api="orders",method="GET",operation="GetOrder",status="5xx"} 1"#,
            r#"sluicegate_requests_total{api="orders",method="other",operation="GetOrder",status="2xx"} 1"#,
            r#"sluicegate_requests_total{api="unmatched",method="GET",operation="unmatched",status="4xx"} 1"#,
            r#"sluicegate_request_duration_seconds_bucket{api="orders",method="GET",operation="GetOrder",status="2xx",le="0.0025"} 0"#,
            r#"sluicegate_request_duration_seconds_bucket{api="orders",method="GET",operation="GetOrder",status="2xx",le="0.005"} 2"#,
            r#"sluicegate_request_body_bytes_total{api="orders"} 40"#,
            r#"sluicegate_response_body_bytes_total{api="orders"} 4000"#,
            "sluicegate_client_aborts_total 1",
            "sluicegate_upstream_truncated_total 1",
        ],
    );
}

#[test]
fn an_operation_that_was_never_called_has_no_series() {
    let metrics = Metrics::new(&Clock::manual());
    let api = metrics.api("orders");
    let operations: Vec<_> = (0..1_000).map(|n| metrics.operation(&api, &format!("Op{n}"))).collect();
    operations[7].record(&record(&Method::GET, 200));
    let text = metrics.render();
    assert!(text.contains("Op7\""));
    assert!(!text.contains("Op8\""));
}

#[test]
fn a_handle_is_small_because_there_are_many() {
    assert!(size_of::<OperationMetrics>() <= 48);
}

#[test]
fn labels_beyond_the_bound_are_counted_as_other_and_known_ones_survive_a_reload() {
    let bounds = Bounds { apis: 1, operations: 2, backends: 1, policies: 1 };
    let metrics = Metrics::bounded(&Clock::manual(), bounds);
    for _reload in 0..2 {
        let api = metrics.api("orders");
        for name in ["A", "B", "C", "D"] {
            metrics.operation(&api, name).record(&record(&Method::GET, 200));
        }
        for backend in ["erp", "crm"] {
            metrics.backend(backend).retry(Retry::Attempt);
        }
        for policy in ["limit-1", "limit-2"] {
            metrics.limit(policy).refused.inc();
        }
        metrics.policy_error("rate-limit", "RateLimitExceeded");
        metrics.policy_error("retry", "Anything");
    }
    let second = metrics.api("invoices");
    metrics.operation(&second, "A").record(&record(&Method::GET, 200));
    assert_has(
        &metrics,
        &[
            r#"sluicegate_requests_total{api="orders",method="GET",operation="A",status="2xx"} 2"#,
            r#"sluicegate_requests_total{api="orders",method="GET",operation="B",status="2xx"} 2"#,
            r#"sluicegate_requests_total{api="orders",method="GET",operation="other",status="2xx"} 4"#,
            r#"sluicegate_requests_total{api="other",method="GET",operation="other",status="2xx"} 1"#,
            r#"sluicegate_retries_total{backend="erp",reason="attempt"} 2"#,
            r#"sluicegate_retries_total{backend="other",reason="attempt"} 2"#,
            r#"sluicegate_limit_decisions_total{decision="refused",policy="limit-1"} 2"#,
            r#"sluicegate_limit_decisions_total{decision="refused",policy="other"} 2"#,
            r#"sluicegate_policy_errors_total{policy="rate-limit",reason="RateLimitExceeded"} 2"#,
            r#"sluicegate_policy_errors_total{policy="other",reason="other"} 2"#,
        ],
    );
}

#[test]
fn an_attempt_is_counted_by_its_outcome() {
    let metrics = Metrics::new(&Clock::manual());
    let backend = metrics.backend("erp");
    for outcome in [
        Outcome::Answered(StatusCode::OK),
        Outcome::Answered(StatusCode::SERVICE_UNAVAILABLE),
        Outcome::ConnectError,
        Outcome::Timeout,
        Outcome::Reset,
    ] {
        backend.attempt(outcome, Duration::from_secs(1));
    }
    backend.retry(Retry::BudgetRefused);
    let outcomes = ["2xx", "5xx", "connect_error", "timeout", "reset"];
    for outcome in outcomes {
        assert_has(
            &metrics,
            &[
                &format!(r#"sluicegate_upstream_requests_total{{backend="erp",outcome="{outcome}"}} 1"#),
                &format!(r#"sluicegate_upstream_duration_seconds_sum{{backend="erp",outcome="{outcome}"}} 1"#),
            ],
        );
    }
    assert_has(&metrics, &[r#"sluicegate_retries_total{backend="erp",reason="budget_refused"} 1"#]);
    backend.circuit_open().inc();
    assert_has(&metrics, &[r#"sluicegate_backend_circuit_open{backend="erp"} 1"#]);
}

#[test]
fn reloads_keep_the_time_of_the_configuration_in_force() {
    let clock = Clock::manual();
    let metrics = Metrics::new(&clock);
    metrics.config_loaded(clock.wall(), &[]);
    clock.advance(Duration::from_secs(60));
    metrics.config_failed();
    assert_has(
        &metrics,
        &[
            r#"sluicegate_config_reload_total{result="success"} 1"#,
            r#"sluicegate_config_reload_total{result="failure"} 1"#,
            "sluicegate_config_last_reload_success 0",
            "sluicegate_config_last_reload_timestamp_seconds 1767225600",
            "process_start_time_seconds 1767225600",
        ],
    );
}

#[test]
fn ends_of_certificates_are_those_of_the_configuration_in_force() {
    let clock = Clock::manual();
    let metrics = Metrics::new(&clock);
    let later = |seconds| clock.wall() + Duration::from_secs(seconds);
    let listener = CertificateEnd::of_listener("server.tls", later(60));
    metrics.config_loaded(clock.wall(), &[listener.clone(), CertificateEnd::of_client("erp", later(120))]);
    assert_has(
        &metrics,
        &[
            r#"sluicegate_certificate_not_after_seconds{name="server.tls",shown_to="clients"} 1767225660"#,
            r#"sluicegate_certificate_not_after_seconds{name="erp",shown_to="backends"} 1767225720"#,
        ],
    );
    metrics.config_loaded(clock.wall(), &[listener]);
    let text = metrics.render();
    assert!(text.contains("certificate_not_after_seconds{name=\"server.tls\"") && !text.contains("\"erp\""), "{text}");
}

#[test]
fn counts_of_workers_and_key_sources_show_when_asked_for() {
    let metrics = Metrics::new(&Clock::manual());
    let source =
        KeySource { source: "https://a/keys".to_owned(), keys: 2, age: Some(Duration::from_secs(3)), failures: 1 };
    metrics.observe(&Totals { in_flight: 3, accepted: 5, closed_idle: 2, ..Totals::default() }, &[source]);
    metrics.observe(&Totals { in_flight: 2, accepted: 7, closed_idle: 2, ..Totals::default() }, &[]);
    let text = metrics.render();
    assert!(!text.contains("https://a/keys"), "a source that is gone is not shown:\n{text}");
    assert_has(
        &metrics,
        &[
            "sluicegate_in_flight_requests 2",
            "sluicegate_connections_accepted_total 7",
            r#"sluicegate_connections_closed_total{reason="idle"} 2"#,
        ],
    );
}

#[test]
fn names_follow_the_conventions_and_are_unique() {
    let metrics = Metrics::new(&Clock::manual());
    let mut seen = HashSet::new();
    for name in metrics.names() {
        assert!(name.starts_with("sluicegate_") || name.starts_with("process_"), "{name}");
        assert!(seen.insert(name), "{name} twice");
    }
    assert!(metrics.render().contains(concat!("sluicegate_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_measured_when_asked() {
    let metrics = Metrics::new(&Clock::manual());
    let text = metrics.render();
    for name in ["process_resident_memory_bytes", "process_open_fds", "process_max_fds", "process_cpu_seconds_total"] {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<f64>().ok());
        assert!(value.is_some_and(|value| value >= 0.0), "{name} in\n{text}");
    }
}
